/** Rows of Nova's tables that its API and its compute hosts both work on. */
import { randomBytes, randomUUID } from "node:crypto";
import type { Connector } from "../cinder/driver";
import { sqlTime } from "../clock";
import type { SimulatorConfig } from "../config";
import type { Database, Row, Value } from "../database";

/** power_state */
export const RUNNING = 1;

/** A live instance. */
export function instanceRow(database: Database, uuid: string): Promise<Row | undefined> {
  return database.row("SELECT * FROM nova.instances WHERE deleted = 0 AND uuid = ?", [uuid]);
}

// What each step of an instance's life writes: nova-api and nova-compute do it, and `populate.ts` does all at once.

export const buildingInstance = (
  instance: { uuid: string; name: string; userId: string; projectId: string; key: Row | undefined },
  flavor: Row,
): Row => ({
  user_id: instance.userId,
  project_id: instance.projectId,
  image_ref: "",
  kernel_id: "",
  ramdisk_id: "",
  launch_index: 0,
  key_name: instance.key?.["name"] ?? null,
  key_data: instance.key?.["public_key"] ?? null,
  power_state: 0,
  vm_state: "building",
  task_state: "scheduling",
  memory_mb: flavor["memory_mb"] ?? null,
  vcpus: flavor["vcpus"] ?? null,
  hostname: instance.name.toLowerCase(),
  user_data: "",
  reservation_id: `r-${randomBytes(4).toString("hex")}`,
  display_name: instance.name,
  locked: 0,
  instance_type_id: flavor["id"] ?? null,
  uuid: instance.uuid,
  root_device_name: "/dev/vda",
  config_drive: "",
  progress: 0,
  auto_disk_config: 0,
  shutdown_terminate: 0,
  disable_terminate: 0,
  root_gb: flavor["root_gb"] ?? null,
  ephemeral_gb: 0,
  cleaned: 0,
  hidden: 0,
});

export const networkCache = (uuid: string): Row => ({ instance_uuid: uuid, network_info: "[]" });

export const placedInstance = (host: string): Row => ({ host, node: host, launched_on: host });

export const activeInstance = (): Row => ({
  vm_state: "active",
  task_state: null,
  power_state: RUNNING,
  launched_at: sqlTime(),
  availability_zone: "nova",
});

interface NewMapping {
  uuid: string;
  instanceUuid: string;
  volumeId: string;
  size: number;
  deleteOnTermination: boolean;
}

export const rootMapping = (mapping: NewMapping & { attachmentId: string }): Row => ({
  device_name: "/dev/vda",
  delete_on_termination: mapping.deleteOnTermination ? 1 : 0,
  volume_id: mapping.volumeId,
  volume_size: mapping.size,
  no_device: 0,
  instance_uuid: mapping.instanceUuid,
  source_type: "volume",
  destination_type: "volume",
  device_type: "disk",
  disk_bus: "virtio",
  boot_index: 0,
  attachment_id: mapping.attachmentId,
  uuid: mapping.uuid,
  encrypted: 0,
});

export const dataMapping = (mapping: NewMapping & { device: string; tag: string | null }): Row => ({
  device_name: mapping.device,
  delete_on_termination: mapping.deleteOnTermination ? 1 : 0,
  volume_id: mapping.volumeId,
  volume_size: mapping.size,
  instance_uuid: mapping.instanceUuid,
  source_type: "volume",
  destination_type: "volume",
  tag: mapping.tag,
  uuid: mapping.uuid,
  encrypted: 0,
});

/** What Nova keeps of Cinder's connection, from which the host connects again at a start. */
export const connectedMapping = (info: object, instanceUuid: string, volumeId: string): Row => ({
  connection_info: JSON.stringify({
    ...info,
    status: "reserved",
    instance: instanceUuid,
    attached_at: "",
    detached_at: "",
    volume_id: volumeId,
    serial: volumeId,
  }),
});

/** What a compute host tells Cinder of itself. */
export const connectorOf = (
  { name, initiator }: SimulatorConfig["computes"][number],
  ip: string,
  mountpoint: string,
): Connector => ({
  ip,
  host: name,
  initiator,
  multipath: false,
  enforce_multipath: true,
  platform: "x86_64",
  os_type: "linux",
  do_local_attach: false,
  mountpoint,
});

export function mappings(database: Database, uuid: string): Promise<Row[]> {
  return database.rows("SELECT * FROM nova.block_device_mapping WHERE deleted = 0 AND instance_uuid = ? ORDER BY id", [
    uuid,
  ]);
}

/** Nova marks a deleted row with its own id. */
export async function deleteMapping(database: Database, id: Value): Promise<void> {
  await database.update("nova.block_device_mapping", { id }, { deleted: id, deleted_at: sqlTime() });
}

export async function setInstance(database: Database, uuid: string, set: Row): Promise<void> {
  await database.update("nova.instances", { uuid }, set);
}

export async function ensureNovaService(
  database: Database,
  service: { host: string; binary: string; topic: string | null },
): Promise<void> {
  const found = await database.row("SELECT id FROM nova.services WHERE deleted = 0 AND host = ? AND `binary` = ?", [
    service.host,
    service.binary,
  ]);
  if (found !== undefined) return;
  await database.insert("nova.services", {
    ...service,
    report_count: 0,
    disabled: 0,
    forced_down: 0,
    version: 74,
    uuid: randomUUID(),
  });
}

export async function novaHeartbeat(database: Database, host: string, binary: string): Promise<void> {
  const now = sqlTime();
  await database.change(
    "UPDATE nova.services SET report_count = report_count + 1, last_seen_up = ?, updated_at = ? WHERE deleted = 0 AND host = ? AND `binary` = ?",
    [now, now, host, binary],
  );
}

/** servicegroup/drivers/db.py is_up */
export function isNovaServiceUp(row: Row, downSeconds: number): boolean {
  const last = row["last_seen_up"] ?? row["created_at"];
  return (
    Date.now() - Date.parse(`${String(last).replace(" ", "T")}Z`) <= downSeconds * 1000 && row["forced_down"] !== 1
  );
}

export const newAction = (
  action: string,
  uuid: string,
  requestId: string,
  { userId, projectId }: { userId: string; projectId: string },
): Row => ({
  action,
  instance_uuid: uuid,
  request_id: requestId,
  user_id: userId,
  project_id: projectId,
  start_time: sqlTime(),
});

export const newEvent = (event: string, actionId: number, host: string): Row => ({
  event,
  action_id: actionId,
  start_time: sqlTime(),
  host,
});

export const endedEvent = (result: string): Row => ({ finish_time: sqlTime(), result });

/** Who did what with an instance, and how it ended: nova.instance_actions with one event. */
export class Actions {
  constructor(private readonly database: Database) {}

  async begin(
    action: string,
    uuid: string,
    requestId: string,
    user: { userId: string; projectId: string },
  ): Promise<number> {
    return this.database.insert("nova.instance_actions", newAction(action, uuid, requestId, user));
  }

  async event<T>(actionId: number, event: string, host: string, work: () => Promise<T>): Promise<T> {
    const id = await this.database.insert("nova.instance_actions_events", newEvent(event, actionId, host));
    const end = async (result: string, set: Row = {}): Promise<void> => {
      await this.database.update("nova.instance_actions_events", { id }, { ...endedEvent(result), ...set });
      await this.database.update(
        "nova.instance_actions",
        { id: actionId },
        result === "Error" ? { message: "Error" } : {},
      );
    };
    try {
      const result = await work();
      await end("Success");
      return result;
    } catch (error) {
      const details = error instanceof Error ? error.message : String(error);
      await end("Error", { traceback: `Traceback (simulated): ${details}\n`, details });
      throw error;
    }
  }
}

/** vda, vdb, …, vdz, vdaa */
export function deviceName(index: number): string {
  let letters = "";
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1)
    letters = String.fromCharCode(97 + (rest % 26)) + letters;
  return `/dev/vd${letters}`;
}

/** The lowest free name, as libvirt gives it. */
export function nextDevice(taken: readonly (string | null)[]): string {
  const used = new Set(taken.map((name) => `/dev/${(name ?? "").replace("/dev/", "")}`));
  for (let index = 0; ; index++) if (!used.has(deviceName(index))) return deviceName(index);
}
