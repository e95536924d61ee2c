import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Connection as CallbackConnection } from "mysql2";
import type mysql from "mysql2/promise";
import { childEnvironment } from "../child-environment";
import { DrError, messageOf } from "../errors";
import type { Database, Row } from "./connection";
import { changedColumns, quoteName } from "./sql";

export interface DumpResult {
  readonly bytes: number;
  readonly sha256: string;
  readonly tables: number;
  /** Rows of each table that the promotion changes, deleted ones among them. */
  readonly rows: Readonly<Record<string, number>>;
}

const endMarker = "-- Dump completed";
const timeoutMs = 30 * 60_000;

/**
 * Dump of Cinder's schema in one consistent snapshot, mode 0600, by mariadb-dump where it is installed. It appears
 * under its name only after it was flushed and read back: its end is there, every table, and every row of those that
 * the promotion changes. Safe to repeat: a whole dump that is there already stays, as a repeat may come after the change
 * it was taken for; a partial one from a killed process is written anew.
 */
export async function dumpSchema(database: Database, file: string): Promise<DumpResult> {
  const attempted = `Dump the schema ${database.options.cinderSchema} to ${file}`;
  const expected = await countTables(database, attempted);
  const present = await inspect(file);
  if (present !== undefined) {
    if (present.complete && present.tables === expected) return result(present);
    throw failed(
      attempted,
      "a file of this name is there, and it isn't a whole dump of the schema",
      "Move it away, then repeat",
    );
  }
  const partial = `${file}.partial`;
  const written = await onDisk(attempted, partial, async () => {
    await rm(partial, { force: true });
    const handle = await open(partial, "wx", 0o600);
    try {
      if (!(await runMariadbDump(database, handle, partial, attempted)))
        await dumpByConnection(database, handle, attempted);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return inspect(partial);
  });
  const rows = await countRows(database, attempted);
  const faults = [
    ...(written?.complete === true ? [] : ["it has no end"]),
    ...(written?.tables === expected ? [] : [`it holds ${written?.tables ?? 0} of ${expected} tables`]),
    ...Object.entries(rows).flatMap(([table, count]) =>
      written?.rows[table] === count ? [] : [`it holds ${written?.rows[table] ?? 0} of ${count} rows of ${table}`],
    ),
  ];
  if (written === undefined || faults.length > 0)
    throw failed(
      attempted,
      `what was written isn't the schema: ${faults.join(", ")}`,
      "See that nothing writes to the schema, and that the disk of journalDir has room; then repeat",
    );
  await onDisk(attempted, file, async () => {
    await rename(partial, file);
    const folder = await open(path.dirname(file), "r");
    await folder.sync().finally(() => folder.close());
  });
  return result(written);
}

const result = ({ bytes, sha256, tables, rows }: DumpResult): DumpResult => ({ bytes, sha256, tables, rows });

/** What this machine's disk refuses, in words: it's no fault of the database. */
async function onDisk<T>(attempted: string, file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (DrError.is(error)) throw error;
    throw new DrError({
      code: "precondition",
      attempted,
      seen: `${file} can't be written: ${messageOf(error)}`,
      state: "The database wasn't changed",
      remedy: "Make room on the disk of journalDir, then repeat",
      cause: error,
    });
  }
}

async function countTables(database: Database, attempted: string): Promise<number> {
  return database.run(attempted, async (session) => {
    const [row] = await session.rows<{ n: number }>(
      "SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'",
      [database.options.cinderSchema],
    );
    const tables = Number(row?.n);
    if (tables === 0) throw failed(attempted, "the schema has no tables", "Correct the schema's name");
    return tables;
  });
}

/** Nobody changes them meanwhile: Cinder's services are stopped. */
async function countRows(database: Database, attempted: string): Promise<Readonly<Record<string, number>>> {
  return database.run(attempted, async (session) => {
    const counts: Record<string, number> = {};
    for (const table of Object.keys(changedColumns)) {
      const [row] = await session.rows<{ n: number }>(
        `SELECT COUNT(*) AS n FROM ${quoteName(database.options.cinderSchema)}.${quoteName(table)}`,
      );
      counts[table] = Number(row?.n);
    }
    return counts;
  });
}

/** Reads the whole file back from the disk; undefined if there is none. */
async function inspect(file: string): Promise<(DumpResult & { readonly complete: boolean }) | undefined> {
  const handle = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  const hash = createHash("sha256");
  const rows = Object.fromEntries(Object.keys(changedColumns).map((table) => [table, 0]));
  let bytes = 0;
  let tables = 0;
  let last = "";
  let rest = "";
  /** Whose rows follow: newer mariadb-dumps write each on a line of its own. */
  let table = "";
  for await (const chunk of handle.createReadStream() as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    const lines = (rest + chunk.toString("latin1")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("CREATE TABLE ")) tables += 1;
      table = /^INSERT INTO `(\w+)` VALUES/.exec(line)?.[1] ?? (line.startsWith("(") ? table : "");
      const before = rows[table];
      if (before !== undefined) rows[table] = before + rowsIn(line);
      if (line !== "") last = line;
    }
  }
  return { bytes, sha256: hash.digest("hex"), tables, rows, complete: last.startsWith(endMarker) && rest === "" };
}

/** Outermost brackets; text in quotes has no line break, but brackets as it likes. */
function rowsIn(line: string): number {
  let depth = 0;
  let rows = 0;
  for (const [bracket] of line.replace(/'[^'\\]*(?:\\.[^'\\]*)*'/g, "").matchAll(/[()]/g)) {
    if (bracket === "(" && depth++ === 0) rows += 1;
    if (bracket === ")") depth -= 1;
  }
  return rows;
}

/**
 * False = it isn't installed. The password goes by an option file that has no name any more when it's written: it's in
 * no process list and no environment, and a kill leaves nothing of it behind.
 */
async function runMariadbDump(
  database: Database,
  handle: FileHandle,
  file: string,
  attempted: string,
): Promise<boolean> {
  const optionFile = `${file}.cnf`;
  await rm(optionFile, { force: true });
  const options = await open(optionFile, "wx+", 0o600);
  try {
    await rm(optionFile);
    // At a position, as some systems' /dev/fd shares ours.
    await options.write(`[client]\npassword="${database.options.password.replace(/["\\]/g, "\\$&")}"\n`, 0);
    return await mariadbDump(database, handle.fd, options.fd, attempted);
  } finally {
    await options.close();
  }
}

async function mariadbDump(database: Database, output: number, options: number, attempted: string): Promise<boolean> {
  const { host, port, user, tls, caFile, cinderSchema } = database.options;
  const where = host.startsWith("/") ? [`--socket=${host}`] : ["--protocol=tcp", `--host=${host}`, `--port=${port}`];
  const encryption = tls
    ? ["--ssl", "--ssl-verify-server-cert", ...(caFile === undefined ? [] : [`--ssl-ca=${caFile}`])]
    : ["--skip-ssl"];
  const child = spawn(
    "mariadb-dump",
    [
      "--defaults-file=/dev/fd/3",
      ...where,
      `--user=${user}`,
      ...encryption,
      "--single-transaction",
      "--quick",
      "--skip-lock-tables",
      "--hex-blob",
      "--no-tablespaces",
      "--default-character-set=utf8mb4",
      cinderSchema,
    ],
    { stdio: ["ignore", output, "pipe", options], env: childEnvironment() },
  );
  // Not spawn's own: that would keep a process without mariadb-dump from ending for as long.
  const deadline = setTimeout(() => child.kill(), timeoutMs);
  let complaint = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (complaint = (complaint + text).slice(-2000)));
  const outcome = await new Promise<{ code: number | null } | "absent">((resolve, reject) => {
    child.on("error", (error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? resolve("absent") : reject(error)));
    child.on("close", (code) => resolve({ code }));
  }).finally(() => clearTimeout(deadline));
  if (outcome === "absent") return false;
  if (outcome.code !== 0)
    throw failed(
      attempted,
      `mariadb-dump ended with ${outcome.code ?? "a signal"}: ${complaint.trim()}`,
      "Correct the cause, then repeat",
    );
  return true;
}

/** The same by our own connection: structure and rows, restorable by any client. */
export async function dumpByConnection(database: Database, handle: FileHandle, attempted: string): Promise<void> {
  const schema = database.options.cinderSchema;
  const write = (text: string): Promise<void> => onDisk(attempted, "the dump", () => handle.appendFile(text));
  const rows = async (connection: mysql.Connection, sql: string): Promise<Row[]> =>
    (await connection.query(sql))[0] as Row[];
  await database.exclusively(attempted, async (connection) => {
    // DDL in between would show tables that the snapshot doesn't have; nobody migrates Cinder in a switchover.
    await connection.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    await connection.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
    await write(
      "SET NAMES utf8mb4;\nSET TIME_ZONE='+00:00';\nSET FOREIGN_KEY_CHECKS=0;\nSET UNIQUE_CHECKS=0;\nSET SQL_MODE='NO_AUTO_VALUE_ON_ZERO';\n",
    );
    for (const status of await rows(
      connection,
      `SHOW FULL TABLES FROM ${quoteName(schema)} WHERE Table_type = 'BASE TABLE'`,
    )) {
      const table = String(Object.values(status)[0]);
      const name = `${quoteName(schema)}.${quoteName(table)}`;
      const [create] = await rows(connection, `SHOW CREATE TABLE ${name}`);
      await write(`DROP TABLE IF EXISTS ${quoteName(table)};\n${String(create?.["Create Table"])};\n`);
      const { connection: plain } = connection as unknown as { readonly connection: CallbackConnection };
      const stream = plain.query({ sql: `SELECT * FROM ${name}`, rowsAsArray: true }).stream();
      // mysql2 3.24 tells a lost connection to the connection alone: its streams would wait for ever.
      const lost = (error: Error): void => void stream.destroy(error);
      plain.once("error", lost);
      try {
        for await (const row of stream as AsyncIterable<readonly unknown[]>)
          await write(`INSERT INTO ${quoteName(table)} VALUES (${row.map(dumpLiteral).join(",")});\n`);
      } finally {
        plain.off("error", lost);
      }
    }
    await write(`SET FOREIGN_KEY_CHECKS=1;\nSET UNIQUE_CHECKS=1;\n${endMarker}\n`);
  });
}

/** Any text as hexadecimal, so that no sql_mode changes what it means on the way back. */
function dumpLiteral(value: unknown): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (Buffer.isBuffer(value)) return value.length === 0 ? "''" : `X'${value.toString("hex")}'`;
  if (typeof value !== "string") throw new TypeError(`no SQL literal for a ${typeof value}`);
  if (/^[\w@#.:/ +-]*$/.test(value)) return `'${value}'`;
  return `CONVERT(X'${Buffer.from(value, "utf8").toString("hex")}' USING utf8mb4)`;
}

function failed(attempted: string, seen: string, remedy: string): DrError {
  return new DrError({ code: "remote", attempted, seen, state: "The database wasn't changed", remedy });
}
