/** Rows of Cinder's tables that more than one of its services works on. */
import { randomUUID } from "node:crypto";
import { sqlTime } from "../clock";
import type { Database, Row } from "../database";

export async function volumeRow(database: Database, id: string): Promise<Row | undefined> {
  return database.row("SELECT * FROM cinder.volumes WHERE deleted = 0 AND id = ?", [id]);
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
    const changed = await database.change(
      "UPDATE cinder.quota_usages SET in_use = in_use + ?, updated_at = ? WHERE deleted = 0 AND project_id = ? AND resource = ?",
      [delta, sqlTime(), projectId, resource],
    );
    if (changed === 0)
      await database.insert("cinder.quota_usages", {
        project_id: projectId,
        resource,
        in_use: delta,
        reserved: 0,
        race_preventer: 1,
      });
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
