/**
 * What NetApp's ONTAP driver of Cinder 29 does with iSCSI and REST (cinder/volume/drivers/netapp/dataontap: block_base.py,
 * block_cmode.py, utils/data_motion.py, client/client_cmode_rest.py), its hazards included. Requests are those that the
 * real one was recorded with; performance counters are asked for at setup only.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Row } from "../database";
import type { CinderConf } from "./conf";
import { InvalidReplicationTarget, poolOf, snapshotName, volumeName } from "./driver";
import type { ConnectionInfo, Connector, PoolStats, Stats, VolumeDriver } from "./driver";
import { NaApiError, OntapRest } from "./ontap-client";
import type { Json, Query } from "./ontap-client";

class NetAppDriverException extends Error {
  override name = "NetAppDriverException";
}

interface Lun {
  path: string;
  vserver: string;
  flexVol: string;
  uuid: string;
  spaceAllocated: boolean;
}

interface Mirror {
  uuid: string;
  state: string;
  /** idle where snapmirrored, else the state */
  status: string;
  transferState: string | undefined;
  lagSeconds: number | undefined;
  destinationVolume: string;
}

const GIB = 2 ** 30;
const OPENSTACK_PREFIX = "openstack-";
const DELETED_PREFIX = "deleted_cinder_";
const QUIESCE_RETRY_MS = 5000;
const BREAK_RETRY_MS = 2000;
const BREAK_RETRIES = 5;
const SNAPSHOT_SWEEP_MS = 60_000;
const HOUR_MS = 3_600_000;
const REST_NO_SUCH_LUN_MAP = "5374922";
const REST_RELATION_EXISTS = "6619637";
const lunFields =
  "svm.name,location.volume.name,space.size,location.qtree.name,name,os_type,space.scsi_thin_provisioning_support_enabled,space.guarantee.requested,uuid";
const mirrorFields =
  "state,source.svm.name,source.path,destination.svm.name,destination.path,transfer.state,transfer.end_time,lag_time,healthy,uuid";
const flexVolFilter: Query = {
  type: "rw",
  style: "flex*",
  is_svm_root: "false",
  "error_state.is_inconsistent": "false",
  state: "online",
};

const at = (record: unknown, path: string): unknown =>
  path.split(".").reduce<unknown>((value, key) => (value as Json | undefined)?.[key], record);
const text = (record: unknown, path: string): string => {
  const value = at(record, path);
  return typeof value === "string" ? value : "";
};

/**
 * As client_cmode_rest.py `_parse_lagtime`: by strptime's %H, %M and %S. From 24 hours on, however it's written, it
 * throws, and with it whatever asked for the mirrors.
 */
export function parseLag(lag: string): number {
  const [, hours, minutes, seconds] = /^PT(?:(\d{1,2})H)?(?:(\d{1,2})M)?(?:(\d{1,2})S)?$/.exec(lag) ?? [];
  const parts = [hours, minutes, seconds].map((part) => Number(part ?? 0));
  const [h = 0, m = 0, s = 0] = parts;
  if ((hours ?? minutes ?? seconds) === undefined || h > 23 || m > 59 || s > 61)
    throw new Error(`time data '${lag}' does not match format`);
  return h * 3600 + m * 60 + s;
}

export interface Target {
  iqn: string;
  portals: readonly string[];
}

export const lunPath = (volume: Row): string => `/vol/${poolOf(String(volume["host"]))}/${volumeName(volume)}`;

export const connectionInfo = (
  volume: Row,
  { iqn, portals }: Target,
  lun: number,
  discard: boolean,
): ConnectionInfo => ({
  driver_volume_type: "iscsi",
  data: {
    target_discovered: false,
    target_portal: portals[0],
    target_iqn: iqn,
    target_lun: lun,
    volume_id: volume["id"],
    target_portals: portals,
    target_iqns: portals.map(() => iqn),
    target_luns: portals.map(() => lun),
    discard,
  },
});

export class NetAppDriver implements VolumeDriver {
  readonly name = "NetAppISCSIDriver";
  readonly version = "3.0.0";
  readonly sharedTargets = true;
  private client: OntapRest;
  private readonly clients = new Map<string, OntapRest>();
  private readonly luns = new Map<string, Lun>();
  private flexVols = new Map<string, Json>();
  private failedOver: boolean;
  private failedOverTo: string | undefined;
  private readonly targets: readonly string[];
  private readonly timers: NodeJS.Timeout[] = [];
  private nodeOf = "";

  constructor(
    private readonly conf: CinderConf,
    private readonly stanza: string,
    activeBackendId: string | null,
    private readonly housekeepingSeconds: number,
    private readonly log: (line: string) => void,
  ) {
    this.failedOverTo = (activeBackendId ?? "").trim() || undefined;
    this.failedOver = this.failedOverTo !== undefined;
    this.targets = conf
      .all(stanza, "replication_device")
      .map((device) => /(?:^|,)\s*backend_id\s*:\s*([^,]+)/.exec(device)?.[1]?.trim() ?? "");
    if (conf.get(stanza, "netapp_use_legacy_client")?.toLowerCase() !== "false")
      throw new NetAppDriverException("the legacy client (ZAPI) isn't simulated: set netapp_use_legacy_client = False");
    for (const option of ["netapp_login", "netapp_password", "netapp_server_hostname", "netapp_vserver"])
      if (conf.get(stanza, option) === undefined) throw new Error(`Configuration value ${option} is not set.`);
    this.client = this.clientOf(stanza);
  }

  get replicationEnabled(): boolean {
    return this.targets.length > 0;
  }

  async setup(): Promise<void> {
    // do_setup
    this.client = await this.openClient(this.failedOverTo ?? this.stanza);
    for (const path of ["/storage/aggregates", "/storage/disks", "/snapmirror/relationships", "/storage/volumes"])
      // Malformed by the driver itself; only an unauthorised answer would matter.
      await this.client.get(`${path}?return_records=false?max_records=10000`, {}, false).catch((error: unknown) => {
        if (!(error instanceof NaApiError)) throw error;
      });
    const counters = "/cluster/counter/tables/system:constituent";
    const counter = "average_processor_busy_percent";
    await this.client.get(counters, { "counter_schemas.name": counter, fields: "counter_schemas.*" }, false);
    await this.client.get(`${counters}/rows`, { "counters.name": counter, fields: "counters.*" }, false);
    // check_for_setup_error
    if ((await this.listFlexVols()).length === 0)
      throw new NetAppDriverException(
        "No pools are available for provisioning volumes. Ensure that the configuration option netapp_pool_name_search_pattern is set correctly.",
      );
    // Its loop is over the storage catalogue, which isn't filled yet; what it needs is that the own site answers.
    if (this.replicationEnabled) await this.openClient(this.stanza);
    await this.updateCatalogue();
    this.luns.clear();
    await this.readLuns();
    this.every(HOUR_MS, () => this.updateCatalogue(), "storage service catalogue");
    this.every(SNAPSHOT_SWEEP_MS, () => this.sweepSnapshots(), "snapshots marked for deletion");
    this.every(this.housekeepingSeconds * 1000, () => this.housekeeping(), "housekeeping", 0);
    this.every(HOUR_MS, () => this.tellEms(), "EMS", 0);
  }

  close(): void {
    for (const timer of this.timers) clearTimeout(timer);
    for (const client of this.clients.values()) client.close();
  }

  async stats(): Promise<Stats> {
    const pools: PoolStats[] = [];
    for (const [name, record] of this.flexVols) {
      const fields = "name,space.available,space.afs_total";
      const [space] = await this.client.list("/storage/volumes", { ...flexVolFilter, fields, name });
      const [aggregate = ""] = ((record["aggregates"] ?? []) as Json[]).map((each) => text(each, "name"));
      const blockStorage = "space.block_storage.available,space.block_storage.size,space.block_storage.used";
      await this.client.get("/storage/aggregates", { name: aggregate, fields: blockStorage }, false);
      await this.client.get("/storage/file/clone/split-status", {
        "volume.name": name,
        "svm.name": this.client.vserver,
      });
      const total = Number(at(space, "space.afs_total") ?? 0) / GIB;
      const free = Number(at(space, "space.available") ?? 0) / GIB;
      const own = [...this.luns.values()].filter(({ flexVol }) => flexVol === name).length;
      pools.push({
        pool_name: name,
        total_capacity_gb: Math.round(total * 100) / 100,
        free_capacity_gb: Math.round(free * 100) / 100,
        provisioned_capacity_gb: own === 0 ? 0 : Math.round((total - free) * 100) / 100,
        max_over_subscription_ratio: this.conf.get(this.stanza, "max_over_subscription_ratio") ?? "20.0",
        reserved_percentage: 0,
        QoS_support: true,
        consistencygroup_support: true,
        consistent_group_snapshot_enabled: true,
        multiattach: true,
        online_extend_support: false,
        thin_provisioning_support: true,
        thick_provisioning_support: false,
        netapp_aggregate: aggregate,
        netapp_thin_provisioned: "true",
        netapp_mirrored: this.replicationEnabled ? "true" : "false",
      });
    }
    return {
      volume_backend_name: this.conf.get(this.stanza, "volume_backend_name") ?? "NetApp_iSCSI_Cluster_direct",
      vendor_name: "NetApp",
      driver_version: this.version,
      storage_protocol: "iSCSI",
      replication_enabled: this.replicationEnabled,
      ...(this.replicationEnabled
        ? { replication_count: this.targets.length, replication_targets: [...this.targets], replication_type: "async" }
        : {}),
      sparse_copy_volume: true,
      pools,
    };
  }

  // --------------------------------------------------------------------------------------------------------- volumes

  async createVolume(volume: Row): Promise<Row> {
    const pool = poolOf(String(volume["host"]));
    await this.client.post("/storage/luns", this.newLun(volume));
    const lun = { path: lunPath(volume), vserver: this.client.vserver, flexVol: pool, uuid: "", spaceAllocated: false };
    this.luns.set(volumeName(volume), lun);
    return this.modelUpdate();
  }

  /** Body of the request that makes the volume's LUN. */
  newLun(volume: Row): Json {
    return {
      name: lunPath(volume),
      "space.size": String(Number(volume["size"]) * GIB),
      os_type: this.conf.get(this.stanza, "netapp_lun_ostype") ?? "linux",
      "space.guarantee.requested": this.reserved(),
      "space.scsi_thin_provisioning_support_enabled": "true",
    };
  }

  async createFromSnapshot(volume: Row, snapshot: Row): Promise<Row> {
    return this.cloneInto(snapshotName(snapshot), volume, Number(snapshot["volume_size"]));
  }

  async createClone(volume: Row, source: Row): Promise<Row> {
    return this.cloneInto(volumeName(source), volume, Number(source["size"]));
  }

  async deleteVolume(volume: Row): Promise<void> {
    await this.deleteLun(volumeName(volume));
  }

  async extendVolume(volume: Row, sizeGiB: number): Promise<void> {
    const lun = await this.lunOf(volumeName(volume));
    if (lun === undefined) throw new NetAppDriverException(`LUN not found for ${volumeName(volume)}`);
    await this.client.list("/storage/luns", { fields: lunFields, name: lun.path });
    const [found] = await this.client.list("/storage/luns", { name: lun.path });
    const body = { name: lun.path, "space.size": sizeGiB * GIB };
    await this.client.patch(`/storage/luns/${text(found, "uuid")}`, body);
  }

  async createSnapshot(snapshot: Row, volume: Row): Promise<void> {
    await this.clone(volumeName(volume), snapshotName(snapshot));
  }

  async deleteSnapshot(snapshot: Row): Promise<void> {
    await this.deleteLun(snapshotName(snapshot));
  }

  // ------------------------------------------------------------------------------------------------------- attaching

  async createExport(volume: Row): Promise<Row> {
    const lun = await this.lunOf(volumeName(volume));
    return { provider_location: lun === undefined ? null : this.location(lun.path) };
  }

  location(lunPath: string): string {
    return `${this.client.vserver}:${lunPath}`;
  }

  async initializeConnection(volume: Row, connector: Connector): Promise<ConnectionInfo> {
    const lun = await this.lunOf(volumeName(volume));
    const [, path] = String(volume["provider_location"] ?? "").split(":");
    if (lun === undefined || path === undefined)
      throw new NetAppDriverException(`Volume ${volumeName(volume)} could not be found on the storage`);
    const number = await this.mapLun(lun.path, connector.initiator);
    const target = await this.target();
    const [mapped] = await this.client.list("/storage/luns", { fields: lunFields, name: path });
    // The driver compares with the text "true", and REST says a boolean: seen to be false always.
    const discard = at(mapped, "space.scsi_thin_provisioning_support_enabled") === "true";
    return connectionInfo(volume, target, number, discard);
  }

  /** What hosts log in to. */
  async target(): Promise<Target> {
    const interfaces = await this.client.list("/network/ip/interfaces", {
      services: "data_iscsi",
      fields: "ip.address,enabled",
    });
    // _get_targets_from_list takes the enabled ones, or all where none is.
    const enabled = interfaces.filter((each) => each["enabled"] === true);
    const portals = (enabled.length > 0 ? enabled : interfaces).map((each) => `${text(each, "ip.address")}:3260`);
    if (portals.length === 0) throw new Error(`Failed to get the LUN target list of ${this.stanza}`);
    const [service] = await this.client.list("/protocols/san/iscsi/services", { fields: "target.name" });
    const iqn = text(service, "target.name");
    if (iqn === "") throw new Error(`Failed to get the target IQN of ${this.stanza}`);
    return { iqn, portals };
  }

  async terminateConnection(volume: Row, connector: Connector | undefined, others: number): Promise<void> {
    if (others > 0) return;
    const lun = await this.lunOf(volumeName(volume));
    if (lun === undefined) throw new TypeError("'NoneType' object is not subscriptable");
    const maps = await this.client.list("/protocols/san/lun-maps", {
      "lun.name": lun.path,
      fields: "igroup.name,logical_unit_number,svm.name",
    });
    let igroups = maps.map((map) => text(map, "igroup.name"));
    if (connector !== undefined) {
      const own = (await this.igroupsOf(connector.initiator)).map((igroup) => text(igroup, "name"));
      igroups = igroups.filter((name) => own.includes(name));
      igroups = igroups
        .filter((name) => name.startsWith(OPENSTACK_PREFIX))
        .slice(0, 1)
        .concat(igroups)
        .slice(0, 1);
    }
    for (const igroup of igroups) await this.unmap(lun.path, igroup);
  }

  // ------------------------------------------------------------------------------------------------------ replication

  async failoverHost(
    volumes: readonly Row[],
    secondaryId: string | undefined,
  ): Promise<{ activeBackendId: string; updates: Map<string, string> }> {
    if (secondaryId === this.stanza)
      throw new InvalidReplicationTarget("Cannot failover to the same host as the primary.");
    if (secondaryId === "default") {
      await this.useBackend(this.stanza);
      this.failedOver = false;
      this.failedOverTo = this.stanza;
      const updates = new Map(volumes.map((volume) => [String(volume["id"]), "enabled"]));
      // failover_host calls _failover_completed, which believes in a failover again.
      await this.failoverCompleted(this.stanza);
      return { activeBackendId: this.stanza, updates };
    }
    if (this.targets.length === 0) throw new InvalidReplicationTarget("No replication targets configured for backend.");
    if (secondaryId !== undefined && !this.targets.includes(secondaryId))
      throw new InvalidReplicationTarget(`${secondaryId} is not among replication targets`);
    const pools = [...this.flexVols.keys()];
    const target = secondaryId ?? (await this.chooseTarget(pools));
    if (target === undefined) throw new NetAppDriverException("No suitable host was found to failover.");
    for (const device of this.targets)
      for (const pool of pools)
        await this.updateMirror(device, pool).catch((error: unknown) => {
          if (!(error instanceof NaApiError)) throw error;
        });
    const failed: string[] = [];
    for (const device of this.targets)
      for (const pool of pools)
        try {
          await this.breakMirror(device, pool);
        } catch (error) {
          if (!(error instanceof NaApiError)) throw error;
          this.log(`Unable to break SnapMirror of ${pool}: ${error.message}`);
          if (device === target) failed.push(pool);
        }
    const updates = new Map(
      volumes.map((volume) => [
        String(volume["id"]),
        failed.includes(poolOf(String(volume["host"]))) ? "error" : "failed-over",
      ]),
    );
    await this.failoverCompleted(target);
    return { activeBackendId: target, updates };
  }

  private async failoverCompleted(target: string): Promise<void> {
    await this.useBackend(target);
    this.failedOver = true;
    this.failedOverTo = target;
  }

  /** _update_zapi_client */
  private async useBackend(stanza: string): Promise<void> {
    this.client = await this.openClient(stanza);
    await this.updateCatalogue();
    this.luns.clear();
  }

  private async chooseTarget(pools: readonly string[]): Promise<string | undefined> {
    const worst: { target: string; lag: number }[] = [];
    for (const target of this.targets) {
      const client = await this.openClient(target);
      const found = (await this.mirrors(client, target, "*", "*")).filter((mirror) =>
        pools.includes(mirror.destinationVolume),
      );
      if (found.length > 0)
        worst.push({ target, lag: Math.max(...found.map(({ lagSeconds }) => lagSeconds ?? Infinity)) });
    }
    return worst.sort((a, b) => a.lag - b.lag)[0]?.target;
  }

  private async housekeeping(): Promise<void> {
    await this.client.delete("/storage/qos/policies", { name: `${DELETED_PREFIX}*` });
    if (!this.replicationEnabled || this.failedOver) return;
    for (const target of this.targets) for (const pool of this.flexVols.keys()) await this.ensureMirror(target, pool);
  }

  /** create_snapmirror: makes what isn't there; resumes and resyncs what isn't in step. */
  private async ensureMirror(target: string, pool: string): Promise<void> {
    const destination = await this.openClient(target);
    const source = await this.openClient(this.stanza);
    const [volume] = await source.list("/storage/volumes", { ...flexVolFilter, fields: flexVolFields, name: pool });
    if (volume === undefined) throw new NetAppDriverException(`FlexVol ${pool} not found`);
    if (
      Number((await destination.get("/storage/volumes", { name: pool, return_records: "false" }))["num_records"]) === 0
    )
      await this.createDestination(destination, target, pool, volume);
    const [mirror] = await this.mirrors(destination, target, pool, pool);
    if (mirror === undefined) {
      const policy = this.conf.get(this.stanza, "netapp_replication_policy") ?? "MirrorAllSnapshots";
      const paths = {
        source: { path: `${source.vserver}:${pool}` },
        destination: { path: `${destination.vserver}:${pool}` },
      };
      await destination
        .post("/snapmirror/relationships", { ...paths, policy: { name: policy } })
        .catch((error: unknown) => {
          if (!(error instanceof NaApiError) || error.code !== REST_RELATION_EXISTS) throw error;
        });
      const [made] = await this.mirrors(destination, target, pool, pool);
      if (made === undefined) throw new NetAppDriverException(`no relationship of ${pool} after its creation`);
      await destination.patch(`/snapmirror/relationships/${made.uuid}`, { state: "snapmirrored" }, {}, false);
      return;
    }
    if (["snapmirrored", "in_sync"].includes(mirror.state)) return;
    try {
      // resume_snapmirror, and then resync_snapmirror, which is the same.
      for (let time = 0; time < 2; time++) {
        const query = {
          "source.path": `${source.vserver}:${pool}`,
          "destination.path": `${destination.vserver}:${pool}`,
          fields: "uuid,policy.type",
        };
        const [found] = await destination.list("/snapmirror/relationships", query);
        await destination.patch(`/snapmirror/relationships/${text(found, "uuid")}`, { state: "snapmirrored" });
      }
    } catch (error) {
      if (!(error instanceof NaApiError)) throw error;
      this.log(`Could not re-sync SnapMirror of ${pool}: ${error.message}`);
    }
  }

  private async createDestination(destination: OntapRest, target: string, pool: string, source: Json): Promise<void> {
    const map = this.conf
      .all(this.stanza, "netapp_replication_aggregate_map")
      .find((each) => new RegExp(`backend_id\\s*:\\s*${target}(,|$)`).test(each));
    const [aggregate = ""] = ((source["aggregates"] ?? []) as Json[]).map((each) => text(each, "name"));
    const pairs = (map ?? "").split(",").map((pair) => pair.trim().split(":"));
    const mapped = pairs.find(([from]) => from === aggregate)?.[1];
    if (mapped === undefined)
      throw new NetAppDriverException(`Unable to find aggregate mapping for ${target}: ${aggregate}`);
    await destination.post("/storage/volumes", {
      name: pool,
      size: String(at(source, "space.size")),
      type: "dp",
      style: "flexvol",
      aggregates: [{ name: mapped }],
      "guarantee.type": text(source, "guarantee.type") || "none",
    });
  }

  private async updateMirror(target: string, pool: string): Promise<void> {
    const client = await this.openClient(target);
    const mirror = await this.mirrorOf(client, target, pool);
    await client.post(`/snapmirror/relationships/${mirror.uuid}/transfers`, undefined, {}, false);
  }

  private async breakMirror(target: string, pool: string): Promise<void> {
    const client = await this.openClient(target);
    const mirror = await this.mirrorOf(client, target, pool);
    await client.patch(`/snapmirror/relationships/${mirror.uuid}`, { state: "paused" });
    const patienceMs = this.conf.number(this.stanza, "netapp_snapmirror_quiesce_timeout", 3600) * 1000;
    for (let waited = 0; ; waited += QUIESCE_RETRY_MS) {
      const { status } = await this.mirrorOf(client, target, pool);
      if (["quiesced", "paused"].includes(status)) break;
      if (waited >= patienceMs) {
        await this.abortTransfers(client, mirror.uuid);
        break;
      }
      await delay(QUIESCE_RETRY_MS);
    }
    for (let attempt = 1; ; attempt++) {
      const { transferState } = await this.mirrorOf(client, target, pool);
      if (transferState === "success") break;
      if (attempt >= BREAK_RETRIES)
        throw new NetAppDriverException(
          "Transfer state did not reach the expected state. Retries exhausted. Aborting.",
        );
      await delay(BREAK_RETRY_MS);
    }
    await client.patch(`/snapmirror/relationships/${mirror.uuid}`, { state: "broken_off" });
    await client.patch("/storage/volumes", { "nas.path": `/${pool}` }, { name: pool });
  }

  private async abortTransfers(client: OntapRest, uuid: string): Promise<void> {
    const running = await client.list(`/snapmirror/relationships/${uuid}/transfers`, { state: "transferring" });
    if (running.length === 0) throw new NaApiError("", "no transfer in progress");
    for (const transfer of running)
      await client.patch(`/snapmirror/relationships/${uuid}/transfers/${text(transfer, "uuid")}`, { state: "aborted" });
  }

  private async mirrorOf(client: OntapRest, target: string, pool: string): Promise<Mirror> {
    const [mirror] = await this.mirrors(client, target, pool, pool);
    if (mirror !== undefined) return mirror;
    throw new NetAppDriverException(
      `Failed to get information about relationship between source ${this.clientOf(this.stanza).vserver}:${pool} and destination ${client.vserver}:${pool}.`,
    );
  }

  private async mirrors(client: OntapRest, _target: string, source: string, destination: string): Promise<Mirror[]> {
    const records = await client.list("/snapmirror/relationships", {
      fields: mirrorFields,
      "source.path": `${this.clientOf(this.stanza).vserver}:${source}`,
      "destination.path": `${client.vserver}:${destination}`,
    });
    return records.map((record) => ({
      uuid: text(record, "uuid"),
      state: text(record, "state"),
      status: text(record, "state") === "snapmirrored" ? "idle" : text(record, "state"),
      transferState: text(record, "transfer.state") || undefined,
      lagSeconds: text(record, "lag_time") === "" ? undefined : parseLag(text(record, "lag_time")),
      destinationVolume: text(record, "destination.path").split(":")[1] ?? "",
    }));
  }

  // ------------------------------------------------------------------------------------------------------------- LUNs

  private async cloneInto(source: string, volume: Row, sourceGiB: number): Promise<Row> {
    await this.clone(source, volumeName(volume));
    if (sourceGiB !== Number(volume["size"])) await this.extendVolume(volume, Number(volume["size"]));
    return this.modelUpdate();
  }

  private async clone(source: string, name: string): Promise<void> {
    const lun = await this.lunOf(source);
    if (lun === undefined) throw new NetAppDriverException(`LUN ${source} not found`);
    await this.client.post("/storage/luns", {
      svm: { name: this.client.vserver },
      name: `/vol/${lun.flexVol}/${name}`,
      clone: { source: { name: lun.path } },
      space: { guarantee: { requested: this.reserved() === "true" } },
    });
    const path = `/vol/${lun.flexVol}/${name}`;
    const [made] = await this.client.list("/storage/luns", { fields: lunFields, name: path });
    if (made === undefined) throw new NetAppDriverException(`No cloned LUN named ${name} found on the filer`);
    this.remember(made);
  }

  private async deleteLun(name: string): Promise<void> {
    const lun = await this.lunOf(name);
    if (lun === undefined) {
      this.log(`No entry in LUN table for volume/snapshot ${name}.`);
      return;
    }
    await this.client.delete("/storage/luns", {
      name: lun.path,
      svm: this.client.vserver,
      allow_delete_while_mapped: "true",
    });
    this.luns.delete(name);
  }

  /** The initiator's igroup, made where there is none. */
  async igroupOf(initiator: string): Promise<string> {
    const [known] = (await this.igroupsOf(initiator)).filter((igroup) =>
      text(igroup, "name").startsWith(OPENSTACK_PREFIX),
    );
    if (known !== undefined) return text(known, "name");
    const igroup = `${OPENSTACK_PREFIX}${randomUUID()}`;
    const type = this.conf.get(this.stanza, "netapp_host_type") ?? "linux";
    await this.client.post("/protocols/san/igroups", { name: igroup, protocol: "iscsi", os_type: type });
    const [made] = await this.client.list("/protocols/san/igroups", { name: igroup, fields: "uuid" });
    await this.client.post(`/protocols/san/igroups/${text(made, "uuid")}/initiators`, { name: initiator });
    return igroup;
  }

  private async mapLun(path: string, initiator: string): Promise<number> {
    const igroup = await this.igroupOf(initiator);
    try {
      const body = { "lun.name": path, "igroup.name": igroup };
      const answer = await this.client.post("/protocols/san/lun-maps", body, { return_records: "true" });
      return Number(at((answer["records"] as Json[] | undefined)?.[0], "logical_unit_number"));
    } catch (error) {
      if (!(error instanceof NaApiError)) throw error;
      // Mapped already: then that number.
      const own = (await this.igroupsOf(initiator)).map((each) => text(each, "name"));
      const fields = "igroup.name,logical_unit_number,svm.name";
      const maps = await this.client.list("/protocols/san/lun-maps", { "lun.name": path, fields });
      const map = maps.find((each) => own.includes(text(each, "igroup.name")));
      if (map === undefined) throw error;
      return Number(at(map, "logical_unit_number"));
    }
  }

  private async unmap(path: string, igroup: string): Promise<void> {
    const query = { "igroup.name": igroup, "lun.name": path, fields: "lun.uuid,igroup.uuid" };
    const [map] = await this.client.list("/protocols/san/lun-maps", query);
    if (map === undefined) return;
    await this.client
      .delete(`/protocols/san/lun-maps/${text(map, "lun.uuid")}/${text(map, "igroup.uuid")}`)
      .catch((error: unknown) => {
        if (!(error instanceof NaApiError) || error.code !== REST_NO_SUCH_LUN_MAP) throw error;
      });
  }

  private igroupsOf(initiator: string): Promise<Json[]> {
    const query = { "svm.name": this.client.vserver, "initiators.name": initiator, fields: "name,protocol,os_type" };
    return this.client.list("/protocols/san/igroups", query);
  }

  /** From the table of LUNs, which is read anew for one that isn't in it. */
  private async lunOf(name: string): Promise<Lun | undefined> {
    if (!this.luns.has(name)) await this.readLuns();
    return this.luns.get(name);
  }

  private async readLuns(): Promise<void> {
    for (const record of await this.client.list("/storage/luns", {
      "svm.name": this.client.vserver,
      fields: lunFields,
    }))
      this.remember(record);
  }

  private remember(record: Json): void {
    const path = text(record, "name");
    this.luns.set(path.split("/").at(-1) ?? "", {
      path,
      vserver: text(record, "svm.name"),
      flexVol: text(record, "location.volume.name"),
      uuid: text(record, "uuid"),
      spaceAllocated: at(record, "space.scsi_thin_provisioning_support_enabled") === true,
    });
  }

  // ------------------------------------------------------------------------------------------------------ storage pools

  /** FlexVols that match netapp_pool_name_search_pattern: anchored, comma-separated regular expressions. */
  async listFlexVols(): Promise<string[]> {
    const patterns = (this.conf.get(this.stanza, "netapp_pool_name_search_pattern") ?? "(.+)")
      .split(",")
      .map((part) => new RegExp(`^${part.trim().replace(/^\^?/, "").replace(/\$?$/, "")}$`));
    const records = await this.client.list("/storage/volumes", { ...flexVolFilter, fields: "name" });
    return records
      .map((record) => text(record, "name"))
      .filter((name) => patterns.some((pattern) => pattern.test(name)));
  }

  private async updateCatalogue(): Promise<void> {
    const found = new Map<string, Json>();
    const { vserver } = this.client;
    for (const name of await this.listFlexVols()) {
      const [record] = await this.client.list("/storage/volumes", { ...flexVolFilter, fields: flexVolFields, name });
      if (record === undefined) continue;
      found.set(name, record);
      const efficiency = "efficiency.state,efficiency.compression";
      await this.client.get("/storage/volumes", { "efficiency.volume_path": `/vol/${name}`, fields: efficiency });
      const logical = { volume: name, vserver, fields: "logical-data-size,logical-data-limit" };
      await this.client.get("/private/cli/volume/efficiency", logical, false);
      const mirrored = { "source.path": `${vserver}:${name}`, state: "snapmirrored", return_records: "false" };
      await this.client.get("/snapmirror/relationships", mirrored);
      const encrypted = { "encryption.enabled": "true", name, "svm.name": vserver, return_records: "false" };
      await this.client.get("/storage/volumes", encrypted);
      const [aggregate = ""] = ((record["aggregates"] ?? []) as Json[]).map((each) => text(each, "name"));
      const raid = "name,block_storage.primary.raid_type,block_storage.storage_type,home_node.name";
      await this.client.get("/storage/aggregates", { name: aggregate, fields: raid }, false);
      await this.client.get("/storage/disks", { "aggregates.name": aggregate, fields: "effective_type" }, false);
      await this.client.get("/storage/luns", {
        "location.volume.name": name,
        "svm.name": vserver,
        fields: "space.size,name",
      });
    }
    this.flexVols = found;
  }

  private async sweepSnapshots(): Promise<void> {
    const query = { ...flexVolFilter, "svm.name": this.client.vserver, fields: "name,uuid" };
    for (const volume of await this.client.list("/storage/volumes", query)) {
      const marked = { name: `${DELETED_PREFIX}*`, fields: "name,uuid,owners" };
      const snapshots = await this.client.list(`/storage/volumes/${text(volume, "uuid")}/snapshots`, marked);
      for (const snapshot of snapshots)
        await this.client.delete(`/storage/volumes/${text(volume, "uuid")}/snapshots/${text(snapshot, "uuid")}`);
    }
  }

  private async tellEms(): Promise<void> {
    const message = {
      computer_name: this.nodeOf,
      event_source: "Cinder driver NetApp_iSCSI_Cluster_direct",
      app_version: "29.0.0|simulated",
      category: "provisioning",
      severity: "notice",
      autosupport_required: false,
    };
    for (const [id, event_description] of [
      ["0", "OpenStack Cinder connected to cluster node"],
      ["1", JSON.stringify({ pools: { vserver: this.client.vserver, flexvols: [...this.flexVols.keys()] } })],
    ])
      await this.client.post("/support/ems/application-logs", { ...message, event_id: id, event_description });
  }

  // ------------------------------------------------------------------------------------------------------------ others

  private clientOf(stanza: string): OntapRest {
    const known = this.clients.get(stanza);
    if (known !== undefined) return known;
    if (!this.conf.has(stanza)) throw new Error(`Could not find backend stanza ${stanza} in configuration.`);
    const client = new OntapRest(this.conf, stanza);
    this.clients.set(stanza, client);
    return client;
  }

  /** The driver makes a client anew for nearly every step, and each asks the cluster who it is. */
  private async openClient(stanza: string): Promise<OntapRest> {
    const client = this.clientOf(stanza);
    await client.get("/cluster", { fields: "version" }, false);
    const fields = "model,name,is_all_flash_optimized,is_all_flash_select_optimized";
    const [node] = await client.list("/cluster/nodes", { fields }, false);
    this.nodeOf = text(node, "name");
    return client;
  }

  modelUpdate(): Row {
    return this.replicationEnabled ? { replication_status: "enabled" } : {};
  }

  private reserved(): string {
    return (this.conf.get(this.stanza, "netapp_lun_space_reservation") ?? "enabled") === "enabled" ? "true" : "false";
  }

  /** As oslo.service's FixedIntervalLoopingCall: the first exception ends the loop until the next start. */
  private every(intervalMs: number, work: () => Promise<void>, what: string, firstMs = intervalMs): void {
    const round = (): void => {
      work().then(
        () => this.timers.push(setTimeout(round, intervalMs)),
        (error: unknown) =>
          this.log(
            `ERROR Fixed interval looping call failed (${what}): ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`,
          ),
      );
    };
    this.timers.push(setTimeout(round, firstMs));
  }
}

const flexVolFields =
  "aggregates.name,name,svm.name,nas.path,type,guarantee.honored,guarantee.type,space.snapshot.reserve_percent,space.size,qos.policy.name,snapshot_policy,language,style";
