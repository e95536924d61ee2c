/** Rows of Cinder's tables that more than one of its services works on. */
import { randomUUID } from "node:crypto";
import { sqlTime } from "../clock";
import type { Database, Row, Value } from "../database";
import type { ConnectionInfo, Connector } from "./driver";

export async function volumeRow(database: Database, id: string): Promise<Row | undefined> {
  return database.row("SELECT * FROM cinder.volumes WHERE deleted = 0 AND id = ?", [id]);
}

// What each step of a volume's life writes: its service does it, and `populate.ts` does all at once.

export const creatingVolume = (volume: {
  id: string;
  userId: string;
  projectId: string;
  name: string | null;
  size: number;
  typeId: Value;
}): Row => ({
  created_at: sqlTime(),
  id: volume.id,
  user_id: volume.userId,
  project_id: volume.projectId,
  host: null,
  size: volume.size,
  availability_zone: "nova",
  status: "creating",
  attach_status: "detached",
  display_name: volume.name,
  display_description: null,
  snapshot_id: null,
  source_volid: null,
  volume_type_id: volume.typeId,
  bootable: 0,
  multiattach: 0,
  replication_status: null,
  shared_targets: 1,
  use_quota: 1,
});

export const scheduledVolume = (host: string): Row => ({ host, scheduled_at: sqlTime() });

export const createdVolume = (serviceUuid: Value, sharedTargets: boolean): Row => ({
  status: "available",
  launched_at: sqlTime(),
  service_uuid: serviceUuid,
  shared_targets: sharedTargets ? 1 : 0,
});

export const reservedAttachment = (id: string, volumeId: string, instanceUuid: string): Row => ({
  id,
  volume_id: volumeId,
  instance_uuid: instanceUuid,
  attach_status: "reserved",
  attach_mode: "null",
});

/** _parse_connection_options and attachment_update: the driver's data, flat. */
export function flatConnection(
  { driver_volume_type, data }: ConnectionInfo,
  attachmentId: string,
  mode: string,
  connector: Connector,
): Record<string, unknown> {
  const { discard, ...rest } = data;
  return {
    ...rest,
    qos_specs: null,
    access_mode: mode,
    encrypted: false,
    cacheable: false,
    driver_volume_type,
    ...(discard === undefined ? {} : { discard }),
    attachment_id: attachmentId,
    ...(connector["enforce_multipath"] === undefined ? {} : { enforce_multipath: connector["enforce_multipath"] }),
  };
}

export const connectedAttachment = (info: Record<string, unknown>, mode: string, connector: Connector): Row => ({
  connection_info: JSON.stringify(info),
  connector: JSON.stringify(connector),
  attach_status: "attaching",
  attached_host: connector.host,
  attach_mode: mode,
  ...(connector.mountpoint === undefined ? {} : { mountpoint: connector.mountpoint }),
});

export const completedAttachment = (): Row => ({ attach_status: "attached", attach_time: sqlTime() });
export const attachedVolume: Row = { status: "in-use", attach_status: "attached" };

/** Properties that a volume made from the image carries. */
export function imageMetadata(image: Readonly<Record<string, unknown>>): Record<string, string> {
  const names = {
    image_id: "id",
    image_name: "name",
    checksum: "checksum",
    container_format: "container_format",
    disk_format: "disk_format",
    min_disk: "min_disk",
    min_ram: "min_ram",
    size: "size",
  };
  return Object.fromEntries(Object.entries(names).map(([key, name]) => [key, String(image[name])]));
}

/** Of every row of the table with that column. */
export async function softDelete(database: Database, table: string, where: Row): Promise<void> {
  await database.update(`cinder.${table}`, where, { deleted: 1, deleted_at: sqlTime() });
}

/** The services row, made where there is none (cinder/service.py). */
export async function ensureService(
  database: Database,
  service: { host: string; binary: string; versions: readonly [rpc: string, objects: string] },
): Promise<Row> {
  const { host, binary, versions } = service;
  const read = () =>
    database.row("SELECT * FROM cinder.services WHERE deleted = 0 AND host = ? AND `binary` = ?", [host, binary]);
  const found = await read();
  if (found !== undefined) return found;
  await database.insert("cinder.services", {
    host,
    binary,
    topic: binary,
    report_count: 0,
    disabled: 0,
    availability_zone: "nova",
    rpc_current_version: versions[0],
    object_current_version: versions[1],
    replication_status: "not-capable",
    frozen: 0,
    uuid: randomUUID(),
  });
  return (await read()) ?? {};
}

/** `updated_at` of a heartbeat is what says whether a service is up. */
export async function heartbeat(database: Database, host: string, binary: string): Promise<void> {
  await database.change(
    "UPDATE cinder.services SET report_count = report_count + 1, updated_at = ? WHERE deleted = 0 AND host = ? AND `binary` = ?",
    [sqlTime(), host, binary],
  );
}

/** As objects/service.py is_up. */
export const isUp = (service: Row, downSeconds: number): boolean =>
  Date.now() - Date.parse(`${String(service["updated_at"] ?? service["created_at"]).replace(" ", "T")}Z`) <=
  downSeconds * 1000;

/** Gives back what a volume or snapshot took of its project's quota. */
export async function releaseQuota(
  database: Database,
  projectId: string,
  kind: "volumes" | "snapshots",
  gigabytes: number,
  type: string | null,
): Promise<void> {
  await useQuota(database, projectId, kind, -1, -gigabytes, type);
}

/** Counts in cinder.quota_usages. */
export async function useQuota(
  database: Database,
  projectId: string,
  kind: "volumes" | "snapshots",
  count: number,
  gigabytes: number,
  type: string | null,
): Promise<void> {
  const names: [string, number][] = [
    [kind, count],
    ["gigabytes", gigabytes],
    ...(type === null
      ? []
      : ([
          [`${kind}_${type}`, count],
          [`gigabytes_${type}`, gigabytes],
        ] as [string, number][])),
  ];
  for (const [resource, delta] of names) {
    if (delta === 0) continue;
    const now = sqlTime();
    // One statement: requests come side by side, and the first ones of a project and type all find no row.
    await database.change(
      `INSERT INTO cinder.quota_usages (created_at, deleted, project_id, resource, in_use, reserved, race_preventer)
       VALUES (?, 0, ?, ?, ?, 0, 1) ON DUPLICATE KEY UPDATE in_use = in_use + VALUES(in_use), updated_at = ?`,
      [now, projectId, resource, delta, now],
    );
  }
}

export async function typeName(database: Database, id: string | null): Promise<string | null> {
  const row = id === null ? undefined : await database.row("SELECT name FROM cinder.volume_types WHERE id = ?", [id]);
  return row === undefined ? null : String(row["name"]);
}

/** A row in `workers` says that somebody works on the resource; whatever the engine finds there is in flight. */
export async function beginWork(database: Database, kind: string, id: string, status: string): Promise<void> {
  await endWork(database, id);
  await database.insert("cinder.workers", {
    resource_type: kind,
    resource_id: id,
    status,
    race_preventer: 0,
    updated_at: sqlTime(),
  });
}
export async function endWork(database: Database, id: string): Promise<void> {
  await database.change("DELETE FROM cinder.workers WHERE resource_id = ?", [id]);
}
