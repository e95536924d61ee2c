/** The rows that a switchover touches, as the services keep them: what the simulator keeps is compared with them. */
import mysql from "mysql2/promise";
import type { LabDescription } from "../description";
import { readSecret } from "../lab";

export type Row = Record<string, unknown>;

/** Table → columns that tell its rows apart. */
export const TABLES: Readonly<Record<string, readonly string[]>> = {
  "cinder.services": ["binary", "host"],
  "cinder.volumes": ["id"],
  "cinder.volume_attachment": ["volume_id"],
  "cinder.volume_admin_metadata": ["volume_id", "key"],
  "cinder.volume_metadata": ["volume_id", "key"],
  "cinder.volume_glance_metadata": ["volume_id", "key"],
  "cinder.snapshots": ["id"],
  "cinder.quota_usages": ["project_id", "resource"],
  "nova.instances": ["uuid"],
  "nova.block_device_mapping": ["volume_id"],
};

/** Rows that aren't deleted, by table: times as text, JSON as what it says. */
export async function readRows(lab: LabDescription): Promise<Record<string, Row[]>> {
  const { host, port, services } = lab.database;
  const password = readSecret(services.passwordFile);
  const connection = await mysql.createConnection({ host, port, user: services.user, password, dateStrings: true });
  try {
    const tables: Record<string, Row[]> = {};
    for (const table of Object.keys(TABLES)) {
      const [rows] = await connection.query<mysql.RowDataPacket[]>(`SELECT * FROM ${table} WHERE deleted = 0`);
      tables[table] = rows.map((row) =>
        Object.fromEntries(Object.entries(row as Row).map(([column, value]) => [column, parsed(value)])),
      );
    }
    return tables;
  } finally {
    await connection.end();
  }
}

const parsed = (value: unknown): unknown =>
  typeof value === "string" && /^[[{]/.test(value) ? (JSON.parse(value) as unknown) : value;
