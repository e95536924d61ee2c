import type { PrivateMariadb } from "../cinder-database/private-mariadb";

export const iprod = "cinder-a@iprod";
export const idr = "cinder-a@idr";

/**
 * Production ran on iprod, `failover-host` went to idr, and Cinder is still failed over: every kind of row that names a
 * host or a service, live and deleted, also of other backends. The row of idr is as an earlier failback left it, and
 * frozen, which `db reset_active_backend` asks for.
 */
export const rows = `
  INSERT INTO services (id, uuid, host, \`binary\`, topic, availability_zone, report_count, disabled, disabled_reason, replication_status, active_backend_id, frozen, deleted) VALUES
    (1, 'uuid-iprod', '${iprod}', 'cinder-volume', 'cinder-volume', 'nova', 5, 1, 'failed-over', 'failed-over', 'idr', 0, 0),
    (2, 'uuid-idr', '${idr}', 'cinder-volume', 'cinder-volume', 'nova', 5, 1, 'frozen', 'failed-over', 'iprod', 1, 0),
    (3, 'uuid-nfs', 'cinder-a@nfs', 'cinder-volume', 'cinder-volume', 'nova', 5, 0, NULL, 'disabled', NULL, 0, 0),
    (4, 'uuid-sched', 'cinder-a', 'cinder-scheduler', 'cinder-scheduler', 'nova', 5, 0, NULL, 'not-capable', NULL, 0, 0),
    (5, 'uuid-backup', 'cinder-a', 'cinder-backup', 'cinder-backup', 'nova', 5, 0, NULL, 'not-capable', NULL, 0, 0),
    (6, 'uuid-old', '${iprod}', 'cinder-volume', 'cinder-volume', 'nova', 5, 0, NULL, 'enabled', NULL, 0, 1);
  SET @type = (SELECT id FROM volume_types LIMIT 1);
  INSERT INTO volumes (id, host, status, replication_status, service_uuid, provider_location, availability_zone, volume_type_id, use_quota, deleted) VALUES
    ('v1', '${iprod}#pool1', 'in-use', 'failed-over', 'uuid-iprod', 'svm_prod:/vol/pool1/volume-v1', 'nova', @type, 1, 0),
    ('v2', '${iprod}#pool2', 'available', 'failed-over', 'uuid-iprod', NULL, 'nova', @type, 1, 0),
    ('v3', '${iprod}', 'error', 'not-capable', 'uuid-iprod', NULL, 'nova', @type, 1, 0),
    ('v4', '${iprod}#pool1', 'deleted', 'enabled', 'uuid-iprod', NULL, 'nova', @type, 1, 1),
    ('v5', 'cinder-a@iprod2#pool1', 'available', 'enabled', NULL, NULL, 'nova', @type, 1, 0),
    ('v6', 'cinder-a@nfs#share', 'available', NULL, 'uuid-nfs', NULL, 'nova', @type, 1, 0),
    ('v7', '${iprod}#pool1', 'available', NULL, 'uuid-iprod', NULL, 'nova', @type, 1, 0);
  INSERT INTO volume_attachment (id, volume_id, attached_host, instance_uuid, attach_status, connector, connection_info, deleted) VALUES
    ('a1', 'v1', 'compute-1', 'i1', 'attached', '{"host": "compute-1"}', '{"target_portal": "127.0.0.1:3260"}', 0);
  INSERT INTO snapshots (id, volume_id, status, volume_type_id, use_quota, deleted) VALUES ('s1', 'v1', 'available', @type, 1, 0);
  INSERT INTO \`groups\` (id, host, status, replication_status, availability_zone, deleted) VALUES
    ('g1', '${iprod}#pool1', 'available', 'disabled', 'nova', 0), ('g2', '${iprod}#pool1', 'deleted', 'disabled', 'nova', 1);
  INSERT INTO consistencygroups (id, user_id, project_id, volume_type_id, host, status, availability_zone, deleted) VALUES
    ('c1', 'u', 'p', @type, '${iprod}#pool1', 'available', 'nova', 0);
  INSERT INTO image_volume_cache_entries (host, image_id, volume_id, size, last_used) VALUES ('${iprod}#pool1', 'i1', 'v2', 1, NOW());
  INSERT INTO backups (id, user_id, project_id, volume_id, host, service, availability_zone, status, deleted) VALUES
    ('b1', 'u', 'p', 'v1', 'cinder-a', 'cinder.backup.drivers.nfs.NFSBackupDriver', 'nova', 'available', 0);
`;

/** What is written down for the same purpose, in its order: pools one by one, as the new host is taken literally. */
export const commands: readonly (readonly string[])[] = [
  ...["#pool1", "#pool2", ""].map((pool) => [
    "volume", "update_host", "--currenthost", iprod + pool, "--newhost", idr + pool,
  ]),
  ["volume", "update_service"],
  ["cg", "update_cg_host", "--currenthost", `${iprod}#pool1`, "--newhost", `${idr}#pool1`],
  ["backup", "update_backup_host", "--currenthost", iprod, "--newhost", idr],
  ["db", "reset_active_backend", "--backend-host", idr],
]; // prettier-ignore

/** Rows by table and key, without what says only when a row was last written. */
export type Content = ReadonlyMap<string, ReadonlyMap<string, Readonly<Record<string, unknown>>>>;

export async function contentOf(server: PrivateMariadb, schema: string): Promise<Content> {
  const content = new Map<string, Map<string, Record<string, unknown>>>();
  for (const row of await server.sql("SHOW TABLES", schema)) {
    const table = String(Object.values(row)[0]);
    const byKey = new Map<string, Record<string, unknown>>();
    for (const { updated_at: _, ...one } of await server.sql(`SELECT * FROM \`${table}\``, schema))
      byKey.set(String(one["id"] ?? Object.values(one)[0]), one);
    content.set(table, byKey);
  }
  return content;
}

/** By `table.column`: what became of which value, in how many rows. */
export function changesOf(before: Content, after: Content): ReadonlyMap<string, string> {
  const found = new Map<string, Map<string, number>>();
  for (const [table, rowsBefore] of before) {
    const rowsAfter = after.get(table);
    if (rowsAfter?.size !== rowsBefore.size) throw new Error(`${table}: rows came or went`);
    for (const [key, row] of rowsBefore)
      for (const [column, value] of Object.entries(row)) {
        const now = rowsAfter.get(key)?.[column];
        if (now === value) continue;
        const changes = found.get(`${table}.${column}`) ?? new Map<string, number>();
        found.set(`${table}.${column}`, changes);
        const change = `${shown(value)} → ${shown(now)}`;
        changes.set(change, (changes.get(change) ?? 0) + 1);
      }
  }
  return new Map(
    [...found].map(([column, changes]) => [
      column,
      [...changes].map(([change, count]) => (count === 1 ? change : `${count} × ${change}`)).join(", "),
    ]),
  );
}

const shown = (value: unknown): string => {
  if (value === null || value === undefined) return "NULL";
  const text = typeof value === "string" || typeof value === "number" ? String(value) : JSON.stringify(value);
  return text === "" ? '""' : text.replace(/^cinder-a@/, "@");
};
