import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import mysql from "mysql2/promise";

export interface PrivateMariadb {
  readonly folder: string;
  readonly socket: string;
  readonly host: string;
  readonly port: number;
  /** As root, many statements at once. */
  sql(text: string, schema?: string): Promise<Record<string, unknown>[]>;
  /** By SIGKILL, as by a power failure of its host whose disk had everything that was flushed. */
  kill(): Promise<void>;
  /** Again, on what is on its disk. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** A real MariaDB in a folder and at a loopback address of its own, ended by its own pid. */
export async function startMariadb(
  host: string,
  port: number,
  options: readonly string[] = [],
): Promise<PrivateMariadb> {
  const folder = mkdtempSync(path.join(tmpdir(), "mariadb-"));
  chmodSync(folder, 0o755);
  const data = path.join(folder, "data");
  const socket = path.join(folder, "my.sock");
  const asRoot = process.getuid?.() === 0;
  if (asRoot) execFileSync("chown", ["mysql:mysql", folder]);
  const user = asRoot ? ["--user=mysql"] : [];
  execFileSync(
    "mariadb-install-db",
    ["--no-defaults", ...user, `--datadir=${data}`, "--auth-root-authentication-method=normal", "--skip-test-db"],
    { stdio: "pipe" },
  );
  const connect = (schema?: string): Promise<mysql.Connection> =>
    mysql.createConnection({
      socketPath: socket,
      user: "root",
      multipleStatements: true,
      dateStrings: true,
      ...(schema === undefined ? {} : { database: schema }),
    });
  let server: ChildProcess;
  const start = async (): Promise<void> => {
    server = spawn(
      "mariadbd",
      [
        "--no-defaults",
        ...user,
        `--datadir=${data}`,
        `--socket=${socket}`,
        `--pid-file=${path.join(folder, "my.pid")}`,
        `--bind-address=${host}`,
        `--port=${port}`,
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-flush-method=nosync",
        "--innodb-doublewrite=0",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=16M",
        "--performance-schema=OFF",
        ...options,
      ],
      { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } },
    );
    let log = "";
    server.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-4000)));
    const deadline = Date.now() + 30_000;
    for (;;) {
      try {
        await (await connect()).end();
        break;
      } catch (error) {
        if (server.exitCode !== null || server.signalCode !== null || Date.now() > deadline)
          throw new Error(`mariadbd didn't start: ${log}`, { cause: error });
        await sleep(50);
      }
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, "exit");
    server.kill(signal);
    await ended;
  };
  await start();
  return {
    folder,
    socket,
    host,
    port,
    sql: async (text, schema) => {
      const connection = await connect(schema);
      try {
        return (await connection.query(text))[0] as Record<string, unknown>[];
      } finally {
        await connection.end();
      }
    },
    kill: () => end("SIGKILL"),
    start,
    stop: async () => {
      await end("SIGTERM");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export const schemaFile = path.join(__dirname, "../../fixtures/cinder-29-schema.sql");

/** Cinder 29's own tables, empty, in a new schema. */
export async function createCinderSchema(server: PrivateMariadb, schema: string): Promise<void> {
  await server.sql(`CREATE DATABASE ${schema} CHARACTER SET utf8mb3`);
  await server.sql(readFileSync(schemaFile, "utf8"), schema);
}

/** Every row of every table of a schema. */
export async function contentOf(server: PrivateMariadb, schema: string): Promise<string> {
  const content: unknown[] = [];
  for (const row of await server.sql("SHOW TABLES", schema)) {
    const table = String(Object.values(row)[0]);
    content.push(
      table,
      (await server.sql(`SELECT * FROM \`${table}\``, schema)).map((one) => JSON.stringify(one)).sort(),
    );
  }
  return JSON.stringify(content);
}

export function writePem(folder: string, name: string, pem: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, pem);
  chmodSync(file, 0o644);
  return file;
}
