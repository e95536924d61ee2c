/** A MariaDB of its own, as durable as it comes. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import mysql from "mysql2/promise";
import { databaseUser } from "../../lab/openstack/up";
import { requireProgram } from "../../lab/programs";

export const HOST = "127.0.0.1";
/** Of an account that may do everything, from this machine. */
export const ACCOUNT = { user: "bench", password: "bench" };

export interface Mariadb {
  readonly port: number;
  readonly version: string;
  connect(): Promise<mysql.Connection>;
  stop(): Promise<void>;
}

/** In an empty folder. Settings are MariaDB's own but for memory, which they leave for a laptop. */
export async function startMariadb(folder: string): Promise<Mariadb> {
  fs.mkdirSync(folder, { recursive: true });
  const user = databaseUser(folder);
  const data = path.join(folder, "data");
  const socket = path.join(folder, "my.sock");
  const port = await freePort();
  if (user === "mysql") execFileSync("chown", ["mysql:mysql", folder]);
  const asUser = process.getuid?.() === 0 ? [`--user=${user}`] : [];
  execFileSync(
    requireProgram("mariadb-install-db"),
    ["--no-defaults", ...asUser, `--datadir=${data}`, "--auth-root-authentication-method=normal", "--skip-test-db"],
    { stdio: "pipe" },
  );
  const server = spawn(
    requireProgram("mariadbd"),
    [
      "--no-defaults",
      ...asUser,
      `--datadir=${data}`,
      `--socket=${socket}`,
      `--pid-file=${path.join(folder, "pid")}`,
      `--bind-address=${HOST}`,
      `--port=${port}`,
      "--skip-name-resolve",
      "--innodb-buffer-pool-size=1G",
      "--innodb-log-file-size=512M",
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let log = "";
  server.stderr.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-4000)));
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      const root = await mysql.createConnection({ socketPath: socket, user: "root" });
      await root.query(`CREATE USER ${ACCOUNT.user}@'${HOST}' IDENTIFIED BY '${ACCOUNT.password}'`);
      await root.query(`GRANT ALL ON *.* TO ${ACCOUNT.user}@'${HOST}'`);
      await root.end();
      break;
    } catch (error) {
      if (server.exitCode !== null || server.signalCode !== null || Date.now() > deadline) {
        server.kill("SIGKILL");
        throw new Error(`mariadbd didn't start: ${log}`, { cause: error });
      }
      await sleep(100);
    }
  }
  const connect = (): Promise<mysql.Connection> =>
    mysql.createConnection({ host: HOST, port, ...ACCOUNT, multipleStatements: true });
  const first = await connect();
  const [rows] = await first.query("SELECT VERSION() AS version");
  await first.end();
  return {
    port,
    version: (rows as { version: string }[])[0]?.version ?? "",
    connect,
    stop: async () => {
      if (server.exitCode === null && server.signalCode === null) {
        const ended = once(server, "exit");
        server.kill("SIGTERM");
        await ended;
      }
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no free port");
  return address.port;
}
