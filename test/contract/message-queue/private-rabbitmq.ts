import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Where Debian has the server's own script; the one on PATH insists on the user rabbitmq. */
export const rabbitmqServer = "/usr/lib/rabbitmq/bin/rabbitmq-server";

export interface PrivateRabbitmq {
  readonly folder: string;
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

/** A real RabbitMQ with node name, cookie, epmd and folders of its own, ended by its own process group. User guest. */
export async function startRabbitmq(host: string, port: number): Promise<PrivateRabbitmq> {
  const folder = mkdtempSync(path.join(tmpdir(), "rabbitmq-"));
  for (const name of ["mnesia", "log", "home", "etc"]) mkdirSync(path.join(folder, name));
  const etc = (name: string, content: string): string => {
    const file = path.join(folder, "etc", name);
    writeFileSync(file, content);
    return file;
  };
  writeFileSync(path.join(folder, "home/.erlang.cookie"), "contract");
  chmodSync(path.join(folder, "home/.erlang.cookie"), 0o400);
  const epmdPort = String(port + 2);
  const env = {
    PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
    HOME: path.join(folder, "home"),
    LANG: "C.UTF-8",
    RABBITMQ_NODENAME: `contract${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: host,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(port + 1),
    RABBITMQ_MNESIA_BASE: path.join(folder, "mnesia"),
    RABBITMQ_LOG_BASE: path.join(folder, "log"),
    RABBITMQ_CONFIG_FILE: etc("rabbitmq.conf", `loopback_users = none\nlisteners.tcp.default = ${host}:${port}\n`),
    RABBITMQ_CONF_ENV_FILE: etc("rabbitmq-env.conf", ""),
    RABBITMQ_ENABLED_PLUGINS_FILE: etc("enabled_plugins", "[].\n"),
    RABBITMQ_ADVANCED_CONFIG_FILE: etc("advanced.config", "[].\n"),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
    ERL_EPMD_PORT: epmdPort,
    ERL_EPMD_ADDRESS: "127.0.0.1",
  };
  const children: ChildProcess[] = [];
  const stop = async (): Promise<void> => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
      const ended = once(child, "exit");
      process.kill(-child.pid, "SIGTERM");
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  // In the foreground, or the server would start a daemon that outlives it.
  children.push(spawn("epmd", ["-port", epmdPort, "-address", "127.0.0.1"], { env, stdio: "ignore", detached: true }));
  await listening("127.0.0.1", Number(epmdPort));
  const server = spawn(rabbitmqServer, [], { env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  children.push(server);
  let output = "";
  for (const stream of [server.stdout, server.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const deadline = Date.now() + 90_000;
  while (!output.includes("Starting broker... completed")) {
    if (server.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`RabbitMQ didn't start: ${output.slice(-2000)}`);
    }
    await sleep(50);
  }
  return { folder, host, port, stop };
}

export const installed = (): boolean => existsSync(rabbitmqServer);

async function listening(host: string, port: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const socket = connect(port, host);
    try {
      await once(socket, "connect");
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(50);
    } finally {
      socket.destroy();
    }
  }
}
