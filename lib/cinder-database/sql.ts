/** Pure: names, values and conditions as SQL text. */

/** Tables of Cinder 29 whose live rows name a volume backend, with the condition for "live". Snapshots follow their volume; backups name the host of cinder-backup. */
export const hostTables = [
  { table: "volumes", live: "deleted = 0" },
  { table: "groups", live: "deleted = 0" },
  { table: "consistencygroups", live: "deleted = 0" },
  { table: "image_volume_cache_entries", live: "TRUE" },
] as const;
export type HostTable = (typeof hostTables)[number]["table"];

export const quoteName = (name: string): string => `\`${name.replaceAll("`", "``")}\``;

/**
 * Rows of `<host>@<backend>` or `<host>@<backend>#<pool>`. Cinder compares with BINARY (the collation takes "A" for
 * "a"); the first half of the condition lets the server use its index.
 */
export function namesHost(backendHost: string): { readonly sql: string; readonly values: readonly string[] } {
  const pools = `${backendHost.replace(/[%_|]/g, "|$&")}#%`;
  return {
    sql: "(host = ? OR host LIKE ? ESCAPE '|') AND (BINARY host = ? OR BINARY host LIKE ? ESCAPE '|')",
    values: [backendHost, pools, backendHost, pools],
  };
}

/** A literal that means the same under every sql_mode and character set of the session. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value !== "string") throw new TypeError(`no SQL literal for a ${typeof value}`);
  if (/^[\w@#.: +-]*$/.test(value)) return `'${value}'`;
  return `CONVERT(X'${Buffer.from(value, "utf8").toString("hex")}' USING utf8mb3)`;
}

/** What the promotion changes of each table, beside the key. */
export const changedColumns = {
  volumes: { key: "id", columns: ["host", "replication_status", "service_uuid"] },
  groups: { key: "id", columns: ["host"] },
  consistencygroups: { key: "id", columns: ["host"] },
  image_volume_cache_entries: { key: "id", columns: ["host"] },
  services: {
    key: "id",
    columns: ["replication_status", "active_backend_id", "disabled", "disabled_reason", "frozen"],
  },
} as const;

/** Rows that had the same in every column that is changed. A hundred thousand volumes differ in a handful of ways. */
export interface RowGroup {
  readonly keys: readonly string[];
  readonly before: Readonly<Record<string, unknown>>;
}
/** By table. */
export type BeforeImage = Readonly<Record<string, readonly RowGroup[]>>;

/**
 * Statements that put the rows back as they were, in one transaction, for any MySQL client that has no schema chosen.
 * Only rows that still are as the promotion left them are put back: a volume moved or removed since stays.
 */
export function rollbackStatements(schema: string, image: BeforeImage, toHost: string): string[] {
  const statements: string[] = [];
  for (const [table, { key, columns }] of Object.entries(changedColumns)) {
    const condition = table === "services" ? "" : ` AND SUBSTRING_INDEX(host, '#', 1) = BINARY ${literal(toHost)}`;
    for (const { keys, before } of image[table] ?? []) {
      const assignments = columns.map((column) => `${quoteName(column)} = ${literal(before[column])}`).join(", ");
      for (let start = 0; start < keys.length; start += 500) {
        const some = keys
          .slice(start, start + 500)
          .map(literal)
          .join(", ");
        statements.push(
          `UPDATE ${quoteName(schema)}.${quoteName(table)} SET ${assignments} WHERE ${quoteName(key)} IN (${some})${condition}`,
        );
      }
    }
  }
  return statements.length === 0 ? [] : ["START TRANSACTION", ...statements, "COMMIT"];
}

/** As it's stored; formerly row by row. */
export function readBeforeImage(text: string): BeforeImage {
  const stored = JSON.parse(text) as Record<string, readonly (RowGroup | Readonly<Record<string, unknown>>)[]>;
  const group = (row: RowGroup | Readonly<Record<string, unknown>>): RowGroup =>
    Array.isArray(row["keys" as keyof typeof row])
      ? (row as RowGroup)
      : { keys: [String((row as Record<string, unknown>)["id"])], before: row as Record<string, unknown> };
  return Object.fromEntries(Object.entries(stored).map(([table, rows]) => [table, rows.map(group)]));
}

/** Rights that `SHOW GRANTS` gives on a schema, in capitals; "ALL PRIVILEGES" among them. */
export function grantedOn(schema: string, grants: readonly string[]): ReadonlySet<string> {
  const rights = new Set<string>();
  for (const grant of grants) {
    const match = /^GRANT (.+?) ON (?:(\*)|`((?:[^`]|``)*)`)\.\* TO /.exec(grant);
    if (match === null) continue;
    const [, list = "", everywhere, pattern = ""] = match;
    if (everywhere === undefined && !likeToRegExp(pattern.replaceAll("``", "`")).test(schema)) continue;
    for (const right of list.split(",")) rights.add(right.trim().toUpperCase());
  }
  return rights;
}

/** Schema names in grants are LIKE patterns. */
function likeToRegExp(pattern: string): RegExp {
  const source = pattern.replace(/\\([%_\\])|%|_|[.*+?^${}()|[\]\\]/g, (found, escaped: string | undefined) => {
    if (escaped !== undefined) return escaped.replace(/[\\]/g, "\\$&");
    return found === "%" ? ".*" : found === "_" ? "." : `\\${found}`;
  });
  return new RegExp(`^${source}$`);
}
