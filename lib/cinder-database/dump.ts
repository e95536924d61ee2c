import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Connection as CallbackConnection } from "mysql2";
import type mysql from "mysql2/promise";
import { DrError } from "../errors";
import type { Database, Row } from "./connection";
import { quoteName } from "./sql";

export interface DumpResult {
  readonly bytes: number;
  readonly sha256: string;
  readonly tables: number;
}

const endMarker = "-- Dump completed";
const timeoutMs = 30 * 60_000;

/**
 * Dump of Cinder's schema in one consistent snapshot, mode 0600, by mariadb-dump where it is installed. It appears
 * under its name only after it was flushed and read back. Safe to repeat: a whole dump that is there already stays, as a
 * repeat may come after the change it was taken for; a partial one from a killed process is written anew.
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
  await rm(partial, { force: true });
  const handle = await open(partial, "wx", 0o600);
  try {
    if (!(await runMariadbDump(database, handle, attempted))) await dumpByConnection(database, handle, attempted);
    await handle.sync();
  } finally {
    await handle.close();
  }
  const written = await inspect(partial);
  if (written === undefined || !written.complete || written.tables !== expected)
    throw failed(
      attempted,
      `the dump ${written?.complete === true ? "is whole" : "has no end"} and holds ${written?.tables ?? 0} of ${expected} tables`,
      "Make room on the disk, then repeat",
    );
  await rename(partial, file);
  const folder = await open(path.dirname(file), "r");
  await folder.sync().finally(() => folder.close());
  return result(written);
}

const result = ({ bytes, sha256, tables }: DumpResult): DumpResult => ({ bytes, sha256, tables });

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

/** Reads the whole file back from the disk; undefined if there is none. */
async function inspect(file: string): Promise<(DumpResult & { readonly complete: boolean }) | undefined> {
  const handle = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  const hash = createHash("sha256");
  let bytes = 0;
  let tables = 0;
  let last = "";
  let rest = "";
  for await (const chunk of handle.createReadStream() as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    const lines = (rest + chunk.toString("latin1")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("CREATE TABLE ")) tables += 1;
      if (line !== "") last = line;
    }
  }
  return { bytes, sha256: hash.digest("hex"), tables, complete: last.startsWith(endMarker) && rest === "" };
}

/** False = it isn't installed. The password goes by the environment of the child alone, not by its arguments. */
async function runMariadbDump(database: Database, handle: FileHandle, attempted: string): Promise<boolean> {
  const { host, port, user, password, tls, caFile, cinderSchema } = database.options;
  const where = host.startsWith("/") ? [`--socket=${host}`] : ["--protocol=tcp", `--host=${host}`, `--port=${port}`];
  const encryption = tls
    ? ["--ssl", "--ssl-verify-server-cert", ...(caFile === undefined ? [] : [`--ssl-ca=${caFile}`])]
    : ["--skip-ssl"];
  const child = spawn(
    "mariadb-dump",
    [
      "--no-defaults",
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
    // eslint-disable-next-line no-restricted-properties -- surroundings of a started program, not configuration
    { stdio: ["ignore", handle.fd, "pipe"], env: { ...process.env, MYSQL_PWD: password }, timeout: timeoutMs },
  );
  let complaint = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (complaint = (complaint + text).slice(-2000)));
  const outcome = await new Promise<{ code: number | null } | "absent">((resolve, reject) => {
    child.on("error", (error: NodeJS.ErrnoException) => (error.code === "ENOENT" ? resolve("absent") : reject(error)));
    child.on("close", (code) => resolve({ code }));
  });
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
  const rows = async (connection: mysql.Connection, sql: string): Promise<Row[]> =>
    (await connection.query(sql))[0] as Row[];
  await database.exclusively(attempted, async (connection) => {
    // DDL in between would show tables that the snapshot doesn't have; nobody migrates Cinder in a switchover.
    await connection.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    await connection.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
    await handle.write(
      "SET NAMES utf8mb4;\nSET TIME_ZONE='+00:00';\nSET FOREIGN_KEY_CHECKS=0;\nSET UNIQUE_CHECKS=0;\nSET SQL_MODE='NO_AUTO_VALUE_ON_ZERO';\n",
    );
    for (const status of await rows(
      connection,
      `SHOW FULL TABLES FROM ${quoteName(schema)} WHERE Table_type = 'BASE TABLE'`,
    )) {
      const table = String(Object.values(status)[0]);
      const name = `${quoteName(schema)}.${quoteName(table)}`;
      const [create] = await rows(connection, `SHOW CREATE TABLE ${name}`);
      await handle.write(`DROP TABLE IF EXISTS ${quoteName(table)};\n${String(create?.["Create Table"])};\n`);
      const stream = (connection as unknown as { connection: CallbackConnection }).connection
        .query({ sql: `SELECT * FROM ${name}`, rowsAsArray: true })
        .stream();
      for await (const row of stream as AsyncIterable<readonly unknown[]>)
        await handle.write(`INSERT INTO ${quoteName(table)} VALUES (${row.map(dumpLiteral).join(",")});\n`);
    }
    await handle.write(`SET FOREIGN_KEY_CHECKS=1;\nSET UNIQUE_CHECKS=1;\n${endMarker}\n`);
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
