/**
 * cinder-volume (Cinder 29: cinder/service.py, cinder/volume/manager.py): a manager for each enabled backend of the
 * controller's cinder.conf, as that was when the process started.
 */
import { sqlTime, pause } from "../clock";
import type { SimulatorConfig } from "../config";
import type { Database, Row } from "../database";
import type { Arguments, Rpc } from "../rpc";
import { RemoteError } from "../rpc";
import { CinderConf } from "./conf";
import { backendOf, InvalidReplicationTarget, poolOf } from "./driver";
import type { Connector, VolumeDriver } from "./driver";
import { FileDriver } from "./file-driver";
import { NetAppDriver } from "./netapp-driver";
import {
  beginWork,
  connectedAttachment,
  createdVolume,
  endWork,
  ensureService,
  flatConnection,
  heartbeat,
  releaseQuota,
  softDelete,
  typeName,
  volumeRow,
} from "./rows";

const BINARY = "cinder-volume";
const VERSIONS = ["3.20", "1.39"] as const;

export interface VolumeServiceOptions {
  config: SimulatorConfig;
  controller: string;
  database: Database;
  rpc: Rpc;
  log: (line: string) => void;
  readImage: (id: string) => Promise<Buffer>;
}

export async function startVolumeService(o: VolumeServiceOptions): Promise<{ close(): void }> {
  const file = o.config.controllers.find(({ name }) => name === o.controller)?.cinderConf ?? "";
  const conf = CinderConf.read(file);
  const backends = conf.enabledBackends();
  const managers = backends.map((stanza) => new VolumeManager(o, conf, stanza));
  await Promise.all(managers.map((manager) => manager.start()));
  return { close: () => managers.forEach((manager) => manager.close()) };
}

class VolumeManager {
  /** `host@backend` */
  private readonly host: string;
  private driver: VolumeDriver | undefined;
  private ready = false;
  private service: Row = {};
  private readonly timers: NodeJS.Timeout[] = [];
  /** One thing after another for each volume. */
  private readonly locks = new Map<string, Promise<unknown>>();

  constructor(
    private readonly o: VolumeServiceOptions,
    private readonly conf: CinderConf,
    private readonly stanza: string,
  ) {
    this.host = conf.hostOf(stanza, o.controller);
  }

  async start(): Promise<void> {
    const { database, rpc } = this.o;
    this.service = await ensureService(database, { host: this.host, binary: BINARY, versions: VERSIONS });
    this.say(`INFO Starting volume driver of ${this.host}`);
    try {
      this.driver = this.makeDriver();
      await this.driver.setup();
      await this.initHost();
      this.ready = true;
      this.say("INFO Driver initialization completed successfully.");
    } catch (error) {
      this.say(`ERROR Failed to initialize driver. ${describe(error)}`);
    }
    const [ownHost = ""] = this.host.split("@");
    const handler = (method: string, args: Arguments) => this.handle(method, args);
    await rpc.serve(BINARY, this.host, handler);
    await rpc.serve(`${BINARY}.${this.host}`, ownHost, handler);
    if (this.ready) await this.initWithRpc();
    else this.say("ERROR Cannot complete RPC initialization because driver isn't initialized properly.");
    this.repeat(this.conf.number("DEFAULT", "report_interval", 10), () => this.report());
    this.repeat(this.conf.number("DEFAULT", "backend_stats_polling_interval", 60), () => this.publish());
  }

  close(): void {
    this.timers.forEach((timer) => clearInterval(timer));
    this.driver?.close();
  }

  private say(line: string): void {
    this.o.log(`${new Date().toISOString()} ${BINARY} ${this.host} ${line}`);
  }

  private repeat(seconds: number, work: () => Promise<void>): void {
    let busy = false;
    const round = (): void => {
      if (busy) return;
      busy = true;
      work()
        .catch((error: unknown) => this.say(`ERROR ${describe(error)}`))
        .finally(() => (busy = false));
    };
    round();
    this.timers.push(setInterval(round, seconds * 1000));
  }

  private makeDriver(): VolumeDriver {
    const wanted = this.conf.get(this.stanza, "volume_driver") ?? "";
    if (!this.conf.has(this.stanza)) throw new Error(`there is no section [${this.stanza}]`);
    if (wanted.endsWith("NetAppDriver"))
      return new NetAppDriver(
        this.conf,
        this.stanza,
        this.service["active_backend_id"] as string | null,
        this.o.config.housekeepingSeconds,
        (line) => this.say(line),
      );
    if (wanted.endsWith("LabFileVolumes")) return new FileDriver(this.conf, this.stanza);
    throw new Error(`volume_driver ${wanted} isn't simulated`);
  }

  private async initHost(): Promise<void> {
    const { database } = this.o;
    const mine = "deleted = 0 AND (host = ? OR host LIKE CONCAT(?, '#%'))";
    const uuid = this.service["uuid"] ?? null;
    await database.change(`UPDATE cinder.volumes SET service_uuid = ? WHERE ${mine} AND NOT service_uuid <=> ?`, [
      uuid,
      this.host,
      this.host,
      uuid,
    ]);
    const left = await database.rows(
      `SELECT * FROM cinder.volumes WHERE ${mine} AND status IN ('creating', 'downloading', 'deleting')`,
      [this.host, this.host],
    );
    for (const volume of left) {
      const id = String(volume["id"]);
      if (volume["status"] === "deleting")
        void this.deleteVolume(id).catch((error: unknown) => this.say(describe(error)));
      else await database.update("cinder.volumes", { id }, { status: "error" });
      if (volume["status"] !== "deleting") await endWork(database, id);
    }
  }

  private async initWithRpc(): Promise<void> {
    const stats = await this.need().stats();
    const row = await this.row();
    const wanted = stats.replication_enabled ? "enabled" : "disabled";
    if (row["replication_status"] !== "failed-over" && row["replication_status"] !== wanted)
      await this.setService({ replication_status: wanted });
    this.say("INFO Driver post RPC initialization completed successfully.");
  }

  private async row(): Promise<Row> {
    const sql = "SELECT * FROM cinder.services WHERE deleted = 0 AND host = ? AND `binary` = ?";
    const row = await this.o.database.row(sql, [this.host, BINARY]);
    if (row === undefined) throw new Error("ServiceNotFound");
    return row;
  }

  private async setService(set: Row): Promise<void> {
    const at = sqlTime();
    await this.o.database.update("cinder.services", { host: this.host, binary: BINARY }, { ...set, modified_at: at });
  }

  private async report(): Promise<void> {
    if (!this.ready) {
      this.say(`ERROR Manager for service ${BINARY} ${this.host} is not in the started state. Skipping the heartbeat.`);
      return;
    }
    // A row that was removed meanwhile comes back.
    this.service = await ensureService(this.o.database, { host: this.host, binary: BINARY, versions: VERSIONS });
    await heartbeat(this.o.database, this.host, BINARY);
  }

  private async publish(): Promise<void> {
    if (!this.ready) return;
    const capabilities = await this.need().stats();
    await this.o.rpc.fanout("cinder-scheduler", "update_service_capabilities", {
      service_name: "volume",
      host: this.host,
      capabilities,
      timestamp: new Date().toISOString().replace("Z", "000"),
    });
  }

  private need(): VolumeDriver {
    if (this.driver === undefined || !this.ready)
      throw new RemoteError("DriverNotInitialized", "Volume driver not ready.");
    return this.driver;
  }

  private serially<T>(id: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.locks.get(id) ?? Promise.resolve()).then(work, work);
    const settled = turn.catch(() => undefined);
    this.locks.set(id, settled);
    void settled.then(() => this.locks.get(id) === settled && this.locks.delete(id));
    return turn;
  }

  // -------------------------------------------------------------------------------------------------------- messages

  private handle(method: string, args: Arguments): Promise<unknown> {
    const id = typeof args["volume_id"] === "string" ? args["volume_id"] : "";
    switch (method) {
      case "create_volume":
        return this.serially(id, () => this.createVolume(id, args));
      case "delete_volume":
        return this.serially(id, () => this.deleteVolume(id));
      case "extend_volume":
        return this.serially(id, () => this.extendVolume(id, Number(args["new_size"])));
      case "create_snapshot":
        return this.createSnapshot(String(args["snapshot_id"]));
      case "delete_snapshot":
        return this.deleteSnapshot(String(args["snapshot_id"]));
      case "attachment_update":
        return this.serially(id, () =>
          this.attachmentUpdate(id, String(args["attachment_id"]), args["connector"] as Connector),
        );
      case "attachment_delete":
        return this.serially(id, () => this.attachmentDelete(id, String(args["attachment_id"])));
      case "failover_host":
        return this.failover(args["secondary_backend_id"] as string | null);
      case "freeze_host":
        return this.setService({ disabled: 1, disabled_reason: "frozen" }).then(() => true);
      case "thaw_host":
        return this.setService({ disabled: 0, disabled_reason: "" }).then(() => true);
      case "publish_service_capabilities":
        return this.publish();
      default:
        throw new Error(`cinder-volume doesn't know the message ${method}`);
    }
  }

  private async createVolume(id: string, args: Arguments): Promise<void> {
    const { database, config } = this.o;
    await pause(config.delays.create);
    const volume = await volumeRow(database, id);
    if (volume === undefined) return;
    try {
      const driver = this.need();
      let update: Row;
      const image = args["image_id"];
      if (typeof args["snapshot_id"] === "string") {
        const snapshot = await database.row("SELECT * FROM cinder.snapshots WHERE deleted = 0 AND id = ?", [
          args["snapshot_id"],
        ]);
        update = await driver.createFromSnapshot(volume, snapshot ?? {});
      } else if (typeof args["source_volid"] === "string")
        update = await driver.createClone(volume, (await volumeRow(database, args["source_volid"])) ?? {});
      else if (typeof image === "string") {
        if (driver.createFromImage === undefined)
          throw new Error("volumes from images aren't simulated for this driver");
        await database.update("cinder.volumes", { id }, { status: "downloading" });
        update = await driver.createFromImage(volume, () => this.o.readImage(image));
        const metadata = (args["image_metadata"] ?? {}) as Record<string, string>;
        for (const [key, value] of Object.entries(metadata))
          await database.insert("cinder.volume_glance_metadata", { volume_id: id, key, value });
        update = { ...update, bootable: 1 };
      } else update = await driver.createVolume(volume);
      const done = createdVolume(this.service["uuid"] ?? null, driver.sharedTargets);
      await database.update("cinder.volumes", { id }, { ...update, ...(await this.exported(driver, volume)), ...done });
    } catch (error) {
      this.say(`ERROR create_volume ${id}: ${describe(error)}`);
      await database.update("cinder.volumes", { id }, { status: "error" });
    } finally {
      await endWork(database, id);
    }
  }

  /** create_export at creation (flows/manager/create_volume.py leaves it to the driver): the location is known then. */
  private exported(driver: VolumeDriver, volume: Row): Promise<Row> {
    return driver.createExport(volume);
  }

  private async deleteVolume(id: string): Promise<void> {
    const { database, config } = this.o;
    await pause(config.delays.delete);
    const volume = await volumeRow(database, id);
    if (volume === undefined) return;
    try {
      await this.need().deleteVolume(volume);
    } catch (error) {
      this.say(`ERROR delete_volume ${id}: ${describe(error)}`);
      await database.update("cinder.volumes", { id }, { status: "error_deleting" });
      await endWork(database, id);
      return;
    }
    for (const table of ["volume_metadata", "volume_admin_metadata", "volume_glance_metadata"])
      await softDelete(database, table, { volume_id: id });
    const end = { status: "deleted", deleted: 1, deleted_at: sqlTime(), terminated_at: sqlTime() };
    await database.update("cinder.volumes", { id }, end);
    const type = await typeName(database, volume["volume_type_id"] as string | null);
    await releaseQuota(database, String(volume["project_id"]), "volumes", Number(volume["size"]), type);
    await endWork(database, id);
  }

  private async extendVolume(id: string, size: number): Promise<void> {
    const { database } = this.o;
    const volume = await volumeRow(database, id);
    if (volume === undefined) return;
    try {
      await this.need().extendVolume(volume, size);
    } catch (error) {
      this.say(`ERROR extend_volume ${id}: ${describe(error)}`);
      await database.update("cinder.volumes", { id }, { status: "error_extending" });
      return;
    }
    const attached = volume["attach_status"] === "attached";
    await database.update("cinder.volumes", { id }, { size, status: attached ? "in-use" : "available" });
  }

  private async createSnapshot(id: string): Promise<void> {
    const { database, config } = this.o;
    await pause(config.delays.create);
    const snapshot = await database.row("SELECT * FROM cinder.snapshots WHERE deleted = 0 AND id = ?", [id]);
    const volume = snapshot && (await volumeRow(database, String(snapshot["volume_id"])));
    if (snapshot === undefined || volume === undefined) return;
    try {
      await this.need().createSnapshot(snapshot, volume);
      await database.update("cinder.snapshots", { id }, { status: "available", progress: "100%" });
    } catch (error) {
      this.say(`ERROR create_snapshot ${id}: ${describe(error)}`);
      await database.update("cinder.snapshots", { id }, { status: "error" });
    } finally {
      await endWork(database, id);
    }
  }

  private async deleteSnapshot(id: string): Promise<void> {
    const { database, config } = this.o;
    await pause(config.delays.delete);
    const snapshot = await database.row("SELECT * FROM cinder.snapshots WHERE deleted = 0 AND id = ?", [id]);
    if (snapshot === undefined) return;
    try {
      await this.need().deleteSnapshot(snapshot, {});
    } catch (error) {
      this.say(`ERROR delete_snapshot ${id}: ${describe(error)}`);
      await database.update("cinder.snapshots", { id }, { status: "error_deleting" });
      return;
    }
    await database.update("cinder.snapshots", { id }, { status: "deleted", deleted: 1, deleted_at: sqlTime() });
    const type = await typeName(database, snapshot["volume_type_id"] as string | null);
    await releaseQuota(database, String(snapshot["project_id"]), "snapshots", Number(snapshot["volume_size"]), type);
  }

  // ------------------------------------------------------------------------------------------------------- attachments

  private async attachmentUpdate(volumeId: string, attachmentId: string, connector: Connector): Promise<unknown> {
    const { database } = this.o;
    const attachment = await database.row("SELECT * FROM cinder.volume_attachment WHERE deleted = 0 AND id = ?", [
      attachmentId,
    ]);
    const volume = await volumeRow(database, volumeId);
    if (attachment === undefined || volume === undefined)
      throw new RemoteError(
        "VolumeAttachmentNotFound",
        `Volume attachment could not be found with filter: attachment_id = ${attachmentId}.`,
      );
    try {
      const driver = this.need();
      const location = await driver.createExport(volume);
      if (Object.keys(location).length > 0) await database.update("cinder.volumes", { id: volumeId }, location);
      const connection = await driver.initializeConnection({ ...volume, ...location }, connector);
      const mode =
        attachment["attach_mode"] === "null" || attachment["attach_mode"] === null
          ? "rw"
          : String(attachment["attach_mode"]);
      const info = flatConnection(connection, attachmentId, mode, connector);
      const attaching = connectedAttachment(info, mode, connector);
      await database.update("cinder.volume_attachment", { id: attachmentId }, attaching);
      await database.update("cinder.volumes", { id: volumeId }, { status: "attaching", attach_status: "attaching" });
      return info;
    } catch (error) {
      if (error instanceof RemoteError) throw error;
      this.say(`ERROR attachment_update ${attachmentId}: ${describe(error)}`);
      throw new RemoteError(
        "VolumeBackendAPIException",
        `Bad or unexpected response from the storage volume backend API: ${describe(error)}`,
      );
    }
  }

  private async attachmentDelete(volumeId: string, attachmentId: string): Promise<void> {
    const { database } = this.o;
    const attachment = await database.row("SELECT * FROM cinder.volume_attachment WHERE deleted = 0 AND id = ?", [
      attachmentId,
    ]);
    const volume = await volumeRow(database, volumeId);
    if (attachment === undefined || volume === undefined) return;
    const driver = this.need();
    if (attachment["connector"] === null) return;
    const connector = JSON.parse(String(attachment["connector"])) as Connector;
    // _is_multiattached: others of the volume from the same host.
    const [others] = await database.rows(
      "SELECT COUNT(*) AS n FROM cinder.volume_attachment WHERE deleted = 0 AND volume_id = ? AND id <> ? AND attached_host = ? AND attach_status = 'attached'",
      [volumeId, attachmentId, attachment["attached_host"] ?? null],
    );
    try {
      await driver.terminateConnection(volume, connector, Number(others?.["n"]));
    } catch (error) {
      this.say(`ERROR Terminate volume connection failed: ${describe(error)}`);
      throw new RemoteError(
        "VolumeBackendAPIException",
        `Bad or unexpected response from the storage volume backend API: Terminate volume connection failed: ${describe(error)}`,
      );
    }
  }

  // ---------------------------------------------------------------------------------------------------------- failover

  private async failover(secondaryId: string | null): Promise<void> {
    const { database } = this.o;
    const wanted = secondaryId ?? undefined;
    const row = await this.row();
    const wasFailedOver = Boolean(row["active_backend_id"]);
    const mine = "deleted = 0 AND (host = ? OR host LIKE CONCAT(?, '#%'))";
    const volumes = await database.rows(`SELECT * FROM cinder.volumes WHERE ${mine}`, [this.host, this.host]);
    const isReplicated = (volume: Row): boolean =>
      !["disabled", "not-capable"].includes(String(volume["replication_status"]));
    if (wanted !== "default" && !wasFailedOver)
      for (const volume of volumes.filter((each) => !isReplicated(each)))
        await this.setNotFailedOver(volume, "not-capable");
    const replicated = volumes.filter(isReplicated);
    this.say(`INFO Failing over to ${wanted ?? "a target of the driver's choice"}`);
    let result: { activeBackendId: string; updates: Map<string, string> };
    try {
      const driver = this.need();
      if (driver.failoverHost === undefined) throw new RemoteError("NotImplementedError", "the driver has no failover");
      result = await driver.failoverHost(replicated, wanted);
    } catch (error) {
      if (error instanceof InvalidReplicationTarget) {
        this.say(`ERROR Invalid replication target specified for failover: ${error.message}`);
        // It's returned to what it was.
        const back = row["active_backend_id"] ? "failed-over" : "enabled";
        await this.setService({ replication_status: back });
      } else {
        this.say(`ERROR An error occurred while attempting to failover: ${describe(error)}`);
        await this.setService({ disabled: 1, replication_status: "failover-error" });
      }
      return;
    }
    for (const [id, status] of result.updates)
      await database.update("cinder.volumes", { id }, { replication_status: status });
    if (wanted === "default") {
      const frozen = Number(row["frozen"]) === 1;
      await this.setService({
        replication_status: "enabled",
        active_backend_id: "",
        disabled: frozen ? 1 : 0,
        disabled_reason: frozen ? "frozen" : "",
      });
    } else
      await this.setService({
        replication_status: "failed-over",
        active_backend_id: result.activeBackendId,
        disabled: 1,
        disabled_reason: "failed-over",
      });
    this.say("INFO Failed over to replication target successfully.");
  }

  /** A volume that isn't replicated is lost to its users; so are its snapshots. */
  private async setNotFailedOver(volume: Row, status: string): Promise<void> {
    const { database } = this.o;
    const id = String(volume["id"]);
    const set = { previous_status: volume["status"] ?? null, status: "error", replication_status: status };
    await database.update("cinder.volumes", { id }, set);
    await database.update("cinder.snapshots", { volume_id: id }, { status: "error" });
  }
}

export { backendOf, poolOf, beginWork };

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
