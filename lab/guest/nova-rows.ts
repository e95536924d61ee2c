/** Instances with their attached volumes, from the databases of Nova and Cinder (nova 34 db/main/models.py, cinder 29 db/models.py). Reads only. */
import type { Connection, RowDataPacket } from "mysql2/promise";
import type { InstanceRow } from "./disk";

/**
 * Instances by display name or uuid, or all whose display name begins with a prefix, by name. Deleted ones don't count; a name that two
 * instances share comes twice.
 */
export async function readInstances(
  database: Connection,
  which: { names: readonly string[] } | { prefix: string },
): Promise<InstanceRow[]> {
  if ("names" in which && which.names.length === 0) return [];
  const [condition, parameters] =
    "prefix" in which
      ? ["LEFT(display_name, CHAR_LENGTH(?)) = ?", [which.prefix, which.prefix]]
      : ["(display_name IN (?) OR uuid IN (?))", [which.names, which.names]];
  const [instances] = await database.query<RowDataPacket[]>(
    `SELECT uuid, display_name, vm_state, power_state, host FROM nova.instances WHERE deleted = 0 AND ${condition} ORDER BY display_name`,
    parameters,
  );
  if (instances.length === 0) return [];
  const [mappings] = await database.query<RowDataPacket[]>(
    `SELECT instance_uuid, device_name, volume_id, attachment_id, connection_info FROM nova.block_device_mapping
     WHERE deleted = 0 AND destination_type = 'volume' AND volume_id IS NOT NULL AND instance_uuid IN (?) ORDER BY device_name`,
    [instances.map((instance) => instance.uuid as string)],
  );
  const connectors = await readConnectors(
    database,
    mappings.map((mapping) => mapping.attachment_id as string | null).filter((id) => id !== null),
  );
  return instances.map((instance) => ({
    uuid: instance.uuid as string,
    name: instance.display_name as string,
    vmState: instance.vm_state as string | null,
    powerState: instance.power_state as number | null,
    host: instance.host as string | null,
    volumes: mappings
      .filter((mapping) => mapping.instance_uuid === instance.uuid)
      .map((mapping) => ({
        device: mapping.device_name as string | null,
        volumeId: mapping.volume_id as string,
        connectionInfo: mapping.connection_info as string | null,
        connector: connectors.get(mapping.attachment_id as string) ?? null,
      })),
  }));
}

/** attachment id → connector (JSON text) */
async function readConnectors(
  database: Connection,
  attachmentIds: readonly string[],
): Promise<Map<string, string | null>> {
  if (attachmentIds.length === 0) return new Map();
  const [rows] = await database.query<RowDataPacket[]>(
    "SELECT id, connector FROM cinder.volume_attachment WHERE deleted = 0 AND id IN (?)",
    [attachmentIds],
  );
  return new Map(rows.map((row) => [row.id as string, row.connector as string | null]));
}
