/** Rows of Nova's tables that its API and its compute hosts both work on. */
import { randomUUID } from "node:crypto";
import { sqlTime } from "../clock";
import type { Database, Row, Value } from "../database";

/** A live instance. */
export function instanceRow(database: Database, uuid: string): Promise<Row | undefined> {
  return database.row("SELECT * FROM nova.instances WHERE deleted = 0 AND uuid = ?", [uuid]);
}

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

/** Who did what with an instance, and how it ended: nova.instance_actions with one event. */
export class Actions {
  constructor(private readonly database: Database) {}

  async begin(
    action: string,
    uuid: string,
    requestId: string,
    user: { userId: string; projectId: string },
  ): Promise<number> {
    const { userId: user_id, projectId: project_id } = user;
    const row = { action, instance_uuid: uuid, request_id: requestId, user_id, project_id, start_time: sqlTime() };
    return this.database.insert("nova.instance_actions", row);
  }

  async event<T>(actionId: number, event: string, host: string, work: () => Promise<T>): Promise<T> {
    const id = await this.database.insert("nova.instance_actions_events", {
      event,
      action_id: actionId,
      start_time: sqlTime(),
      host,
    });
    const end = async (result: string, set: Row = {}): Promise<void> => {
      await this.database.update("nova.instance_actions_events", { id }, { finish_time: sqlTime(), result, ...set });
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

/** The lowest free name, as libvirt gives it: vda, vdb, …, vdz, vdaa. */
export function nextDevice(taken: readonly (string | null)[]): string {
  const used = new Set(taken.map((name) => (name ?? "").replace("/dev/", "")));
  for (let index = 0; ; index++) {
    let letters = "";
    for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1)
      letters = String.fromCharCode(97 + (rest % 26)) + letters;
    if (!used.has(`vd${letters}`)) return `/dev/vd${letters}`;
  }
}
