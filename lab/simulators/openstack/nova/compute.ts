/**
 * nova-compute (Nova 34: compute/manager.py) with the lab's hypervisor (lab/openstack/drivers/nova_virt): names devices
 * as libvirt does, proves a path before it calls a volume attached, and is slow, or fails, over a dead one.
 */
import { execFile } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import * as net from "node:net";
import path from "node:path";
import { promisify } from "node:util";
import { inquire as inquireFile } from "../../ontap/iscsi/file-client";
import { pause, sqlTime } from "../clock";
import type { SimulatorConfig } from "../config";
import type { Database, Row } from "../database";
import type { Json } from "../http";
import type { Arguments, Rpc } from "../rpc";
import { RemoteError } from "../rpc";
import type { CinderCalls } from "./cinder-calls";
import {
  Actions,
  activeInstance,
  connectedMapping,
  connectorOf,
  dataMapping,
  deleteMapping,
  ensureNovaService,
  instanceRow,
  mappings,
  nextDevice,
  novaHeartbeat,
  placedInstance,
  RUNNING,
  setInstance,
} from "./rows";

const run = promisify(execFile);
const BINARY = "nova-compute";
const connectTimeoutMs = 5_000;
const inquiryTimeoutMs = 30_000;
const SHUTDOWN = 4;

interface ConnectionInfo {
  driver_volume_type: string;
  data: Json;
}

export interface ComputeOptions {
  config: SimulatorConfig;
  host: string;
  database: Database;
  rpc: Rpc;
  cinder: CinderCalls;
  log: (line: string) => void;
}

export async function startCompute(o: ComputeOptions): Promise<{ close(): void }> {
  const compute = new Compute(o);
  await ensureNovaService(o.database, { host: o.host, binary: BINARY, topic: "compute" });
  await o.rpc.serve("compute", o.host, (method, args) => compute.handle(method, args));
  const beat = (): void =>
    void ensureNovaService(o.database, { host: o.host, binary: BINARY, topic: "compute" })
      .then(() => novaHeartbeat(o.database, o.host, BINARY))
      .catch((error: unknown) => o.log(String(error)));
  beat();
  const timer = setInterval(beat, o.config.heartbeatSeconds * 1000);
  return { close: () => clearInterval(timer) };
}

class Compute {
  private readonly actions: Actions;
  /** One thing after another for each instance (utils.synchronized(instance.uuid)). */
  private readonly locks = new Map<string, Promise<unknown>>();
  private readonly own: SimulatorConfig["computes"][number];

  constructor(private readonly o: ComputeOptions) {
    this.actions = new Actions(o.database);
    const own = o.config.computes.find(({ name }) => name === o.host);
    if (own === undefined) throw new Error(`${o.host} is no compute host of this lab`);
    this.own = own;
    mkdirSync(path.dirname(own.hypervisorLog), { recursive: true });
  }

  handle(method: string, args: Arguments): Promise<unknown> {
    const uuid = String(args["instance_uuid"]);
    const actionId = Number(args["action_id"]);
    const recorded = (event: string, work: () => Promise<void>) => () =>
      this.actions.event(actionId, event, this.o.host, work);
    switch (method) {
      case "build_and_run_instance":
        return this.serially(
          uuid,
          recorded("compute__do_build_and_run_instance", () => this.build(uuid)),
        );
      case "reserve_block_device_name":
        return this.serially(uuid, () => this.reserve(uuid, args));
      case "attach_volume":
        return this.serially(
          uuid,
          recorded("compute_attach_volume", () => this.attach(uuid, Number(args["mapping_id"]))),
        );
      case "detach_volume":
        return this.serially(
          uuid,
          recorded("compute_detach_volume", () => this.detach(uuid, String(args["volume_id"]))),
        );
      case "stop_instance":
        return this.serially(
          uuid,
          recorded("compute_stop_instance", () => this.stop(uuid)),
        );
      case "start_instance":
        // It doesn't take the lock.
        return recorded("compute_start_instance", () => this.start(uuid))();
      case "reboot_instance":
        return this.serially(
          uuid,
          recorded("compute_reboot_instance", () => this.reboot(uuid, String(args["reboot_type"]))),
        );
      case "terminate_instance":
        return this.serially(
          uuid,
          recorded("compute_terminate_instance", () => this.terminate(uuid)),
        );
      default:
        throw new Error(`nova-compute doesn't know the message ${method}`);
    }
  }

  private serially<T>(uuid: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.locks.get(uuid) ?? Promise.resolve()).then(work, work);
    const settled = turn.catch(() => undefined);
    this.locks.set(uuid, settled);
    void settled.then(() => this.locks.get(uuid) === settled && this.locks.delete(uuid));
    return turn;
  }

  // ------------------------------------------------------------------------------------------------------- instances

  private async build(uuid: string): Promise<void> {
    const { database, config } = this.o;
    await setInstance(database, uuid, { ...placedInstance(this.o.host), task_state: "block_device_mapping" });
    try {
      for (const mapping of await mappings(database, uuid)) await this.connectMapping(uuid, mapping, "spawn");
      await setInstance(database, uuid, { task_state: "spawning" });
      await pause(config.delays.boot);
    } catch (error) {
      await setInstance(database, uuid, { vm_state: "error", task_state: null });
      throw error;
    }
    await setInstance(database, uuid, activeInstance());
  }

  private async stop(uuid: string): Promise<void> {
    const { database, config } = this.o;
    await pause(config.delays.stop);
    await setInstance(database, uuid, { vm_state: "stopped", task_state: null, power_state: SHUTDOWN });
  }

  private async start(uuid: string): Promise<void> {
    const { database, config } = this.o;
    try {
      for (const mapping of await mappings(database, uuid)) {
        const info = infoOf(mapping);
        if (info === undefined) continue;
        await this.connect(info);
        this.note("power_on", uuid, mapping["device_name"], info);
      }
      await pause(config.delays.start);
    } catch (error) {
      await setInstance(database, uuid, { task_state: null });
      throw error;
    }
    await setInstance(database, uuid, { vm_state: "active", task_state: null, power_state: RUNNING });
  }

  private async reboot(uuid: string, type: string): Promise<void> {
    const { database } = this.o;
    if (type === "HARD") {
      await this.start(uuid);
      return;
    }
    await setInstance(database, uuid, { vm_state: "active", task_state: null, power_state: RUNNING });
  }

  private async terminate(uuid: string): Promise<void> {
    const { database, cinder } = this.o;
    for (const mapping of await mappings(database, uuid)) {
      const volume = String(mapping["volume_id"]);
      const info = infoOf(mapping);
      if (info !== undefined) await this.disconnect(info).catch((error: unknown) => this.o.log(String(error)));
      if (mapping["attachment_id"] !== null)
        await cinder
          .deleteAttachment(String(mapping["attachment_id"]))
          .catch((error: unknown) => this.o.log(String(error)));
      if (mapping["delete_on_termination"] === 1)
        await cinder.deleteVolume(volume).catch((error: unknown) => this.o.log(String(error)));
      await deleteMapping(database, mapping["id"] ?? null);
    }
    const row = await instanceRow(database, uuid);
    const end = {
      vm_state: "deleted",
      task_state: null,
      terminated_at: sqlTime(),
      deleted_at: sqlTime(),
      deleted: row?.["id"] ?? 1,
      power_state: 0,
    };
    await setInstance(database, uuid, end);
  }

  // --------------------------------------------------------------------------------------------------------- volumes

  /** The name that was asked for is ignored, as libvirt's driver does. */
  private async reserve(uuid: string, args: Arguments): Promise<unknown> {
    const { database } = this.o;
    const taken = await mappings(database, uuid);
    const device = nextDevice(taken.map((mapping) => mapping["device_name"] as string | null));
    const mapping = dataMapping({
      uuid: String(args["mapping_uuid"]),
      instanceUuid: uuid,
      volumeId: String(args["volume_id"]),
      size: Number(args["volume_size"]),
      deleteOnTermination: args["delete_on_termination"] === true,
      device,
      tag: typeof args["tag"] === "string" ? args["tag"] : null,
    });
    const id = await database.insert("nova.block_device_mapping", mapping);
    return { id, device };
  }

  private async attach(uuid: string, mappingId: number): Promise<void> {
    const { database, cinder, config } = this.o;
    const mapping = await database.row("SELECT * FROM nova.block_device_mapping WHERE deleted = 0 AND id = ?", [
      mappingId,
    ]);
    if (mapping === undefined) return;
    await pause(config.delays.attach);
    try {
      await this.connectMapping(uuid, mapping, "attach");
    } catch (error) {
      await deleteMapping(database, mappingId);
      if (mapping["attachment_id"] !== null)
        await cinder
          .deleteAttachment(String(mapping["attachment_id"]))
          .catch((also: unknown) => this.o.log(String(also)));
      throw error;
    }
  }

  /** Cinder maps, the host connects, Cinder is told (virt/block_device.py _volume_attach). */
  private async connectMapping(uuid: string, mapping: Row, operation: string): Promise<void> {
    const { database, cinder } = this.o;
    const volume = String(mapping["volume_id"]);
    const attachment = String(mapping["attachment_id"]);
    const device = String(mapping["device_name"]);
    const connector = connectorOf(this.own, this.o.config.address, device);
    const info = (await cinder.updateAttachment(attachment, connector)) as unknown as ConnectionInfo;
    try {
      await this.connect(info);
    } catch (error) {
      await this.disconnect(info).catch(() => undefined);
      throw error;
    }
    const connected = connectedMapping(info, uuid, volume);
    await database.update("nova.block_device_mapping", { id: mapping["id"] ?? null }, connected);
    this.note(operation, uuid, device, info);
    await cinder.completeAttachment(attachment);
  }

  private async detach(uuid: string, volume: string): Promise<void> {
    const { database, cinder, config } = this.o;
    const mapping = (await mappings(database, uuid)).find((each) => each["volume_id"] === volume);
    if (mapping === undefined) return;
    await pause(config.delays.detach);
    const info = infoOf(mapping);
    try {
      if (info !== undefined) {
        await this.disconnect(info);
        this.note("detach", uuid, mapping["device_name"], info);
      }
    } catch (error) {
      // The volume goes back to in-use; Nova's row and the attachment stay.
      await cinder.rollDetaching(volume);
      throw error;
    }
    // Where Cinder fails here, the volume stays `detaching`, and Nova's row stays.
    await cinder.deleteAttachment(String(mapping["attachment_id"]));
    await deleteMapping(database, mapping["id"] ?? null);
  }

  // ------------------------------------------------------------------------------------------------------------ paths

  /** Throws unless the target serves this LUN to this host now, through one of its portals. */
  private async connect(info: ConnectionInfo): Promise<void> {
    if (info.driver_volume_type !== "iscsi") return;
    const refusals: string[] = [];
    for (const portal of portalsOf(info)) {
      const url = `iscsi://${portal}/${String(info.data["target_iqn"])}/${String(info.data["target_lun"])}`;
      try {
        await this.inquire(portal, info, url);
        return;
      } catch (error) {
        const { stderr = "", message } = error as { stderr?: string; message: string };
        refusals.push(`${url}: ${stderr.trim() || message}`);
      }
    }
    throw new RemoteError(
      "VolumeAttachFailed",
      `Volume ${String(info.data["volume_id"])} could not be attached. Reason: ${refusals.join("; ")}`,
    );
  }

  private async inquire(portal: string, { data }: ConnectionInfo, url: string): Promise<void> {
    const { initiator } = this.own;
    if (this.o.config.dataPath === "files") {
      const at = { portal, iqn: String(data["target_iqn"]), lun: Number(data["target_lun"]), initiator };
      await inquireFile(at, inquiryTimeoutMs);
    } else await run("iscsi-inq", ["-i", initiator, url], { timeout: inquiryTimeoutMs });
  }

  /** Flushes; over a dead path that takes its time, or fails while the lab says so. */
  private async disconnect(info: ConnectionInfo): Promise<void> {
    if (info.driver_volume_type !== "iscsi") return;
    for (const portal of portalsOf(info)) {
      if (await answers(portal)) return;
      this.o.log(`Portal ${portal} does not answer.`);
    }
    await pause(this.o.config.delays.deadPathDetach);
    if (existsSync(this.own.failDeadPathDetachFile))
      throw new RemoteError("DeviceDetachFailed", "Device detach failed: flush failed: no portal answers");
  }

  private note(operation: string, server: string, device: unknown, info: ConnectionInfo): void {
    const { data } = info;
    const line = {
      at: Date.now() / 1000,
      operation,
      server,
      volume: data["volume_id"] ?? null,
      device,
      portal: data["target_portal"] ?? null,
      iqn: data["target_iqn"] ?? null,
      lun: data["target_lun"] ?? null,
    };
    appendFileSync(this.own.hypervisorLog, `${JSON.stringify(line)}\n`);
  }
}

function infoOf(mapping: Row): ConnectionInfo | undefined {
  const text = mapping["connection_info"];
  return typeof text === "string" ? (JSON.parse(text) as ConnectionInfo) : undefined;
}

function portalsOf({ data }: ConnectionInfo): string[] {
  const many = data["target_portals"];
  return Array.isArray(many) && many.length > 0 ? (many as string[]) : [String(data["target_portal"])];
}

function answers(portal: string): Promise<boolean> {
  const at = portal.lastIndexOf(":");
  return new Promise((resolve) => {
    const socket = net.connect({
      host: portal.slice(0, at),
      port: Number(portal.slice(at + 1)),
      timeout: connectTimeoutMs,
    });
    const end = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
    socket.once("timeout", () => end(false));
  });
}
