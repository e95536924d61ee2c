/**
 * Runs one of the simulated services as a process: `main.ts --config FILE --service NAME --host HOST`. Ends on SIGTERM or
 * SIGINT. Services: rabbitmq, identity (Keystone, Glance, Neutron, Placement), nova-api, nova-compute, cinder-api,
 * cinder-scheduler, cinder-volume.
 */
import { Broker } from "./broker";
import { CinderApi, cinderService } from "./cinder/api";
import { imageMetadata } from "./cinder/rows";
import { startScheduler } from "./cinder/scheduler";
import { startVolumeService } from "./cinder/volume-service";
import { readConfig } from "./config";
import type { SimulatorConfig } from "./config";
import { Database } from "./database";
import { Glance, glanceService } from "./glance";
import { ApiService } from "./http";
import type { Route, ServiceOptions } from "./http";
import { Keystone, keystoneService } from "./keystone";
import { Neutron, neutronService } from "./neutron";
import { NovaApi, novaService } from "./nova/api";
import { CinderCalls } from "./nova/cinder-calls";
import { startCompute } from "./nova/compute";
import { ensureNovaService, novaHeartbeat } from "./nova/rows";
import { placementRoutes, placementService } from "./placement";
import { Rpc } from "./rpc";
import { Tokens } from "./tokens";

const log = (line: string): void => console.log(line);

class Host {
  readonly tokens: Tokens;
  private readonly closing: (() => unknown)[] = [];

  constructor(
    readonly config: SimulatorConfig,
    readonly host: string,
  ) {
    this.tokens = new Tokens(config);
  }

  database(): Database {
    const database = Database.open(this.config);
    this.closing.push(() => database.close());
    return database;
  }

  rpc(): Rpc {
    const rpc = new Rpc(this.config, log);
    this.closing.push(() => rpc.close());
    return rpc;
  }

  async api(
    port: keyof SimulatorConfig["ports"],
    service: Pick<ServiceOptions, "name" | "versions" | "refusal" | "unauthorised">,
    routes: Route[],
  ): Promise<void> {
    const { config, tokens } = this;
    const at = { address: config.address, port: config.ports[port], delayMs: config.delays.api ?? 0 };
    const api = new ApiService({ ...service, ...at, tokens, routes, log });
    await api.listen();
    this.closing.push(() => api.close());
  }

  /** A token of a service's user, for what the services ask of each other. */
  serviceToken(user: string): string {
    const { users, projects } = this.config.identity;
    const id = users.find(({ name }) => name === user)?.id ?? "";
    const project = projects.find(({ name }) => name === "service")?.id ?? "";
    return this.tokens.issue(id, project, Date.now() + 600_000);
  }

  async readGlance(below: string): Promise<Response> {
    const url = `http://${this.config.address}:${this.config.ports.glance}/v2/images/${below}`;
    const response = await fetch(url, { headers: { "x-auth-token": this.serviceToken("cinder") } });
    if (!response.ok) throw new Error(`Glance: ${response.status} for ${below}`);
    return response;
  }

  keep(running: { close(): void }): void {
    this.closing.push(() => running.close());
  }

  async close(): Promise<void> {
    for (const close of this.closing.reverse()) await close();
  }
}

const services: Record<string, (host: Host) => Promise<void>> = {
  rabbitmq: async (host) => {
    const { messageQueue } = host.config;
    const { host: address, port, user, password, vhost } = messageQueue;
    const broker = new Broker({ address, port, user, password, vhost, log });
    await broker.listen();
    host.keep({ close: () => void broker.close() });
  },
  identity: async (host) => {
    const { config, tokens } = host;
    await host.api("keystone", keystoneService(config), new Keystone(config, tokens).routes());
    await host.api("glance", glanceService(config), new Glance(config).routes());
    await host.api("neutron", neutronService(config), new Neutron(config).routes());
    await host.api("placement", placementService(config), placementRoutes());
  },
  "nova-api": async (host) => {
    const { config, tokens } = host;
    const database = host.database();
    const binaries = [
      ["nova-scheduler", "scheduler"],
      ["nova-conductor", "conductor"],
    ] as const;
    for (const [binary, topic] of binaries) await ensureNovaService(database, { host: host.host, binary, topic });
    const beat = (): void =>
      binaries.forEach(
        ([binary]) => void novaHeartbeat(database, host.host, binary).catch((error: unknown) => log(String(error))),
      );
    beat();
    const timer = setInterval(beat, config.heartbeatSeconds * 1000);
    host.keep({ close: () => clearInterval(timer) });
    const api = new NovaApi({ config, database, rpc: host.rpc(), cinder: new CinderCalls(config, tokens) });
    await host.api("nova", novaService(config), api.routes());
  },
  "nova-compute": async (host) => {
    const { config, tokens } = host;
    const cinder = new CinderCalls(config, tokens);
    host.keep(await startCompute({ config, host: host.host, database: host.database(), rpc: host.rpc(), cinder, log }));
  },
  "cinder-api": async (host) => {
    const { config } = host;
    const database = host.database();
    const readImageMetadata = async (id: string): Promise<Record<string, string>> =>
      imageMetadata((await (await host.readGlance(id)).json()) as Record<string, unknown>);
    const novaUses = async (attachment: string): Promise<boolean> =>
      (
        await database.rows("SELECT id FROM nova.block_device_mapping WHERE deleted = 0 AND attachment_id = ?", [
          attachment,
        ])
      ).length > 0;
    const api = new CinderApi({ config, database, rpc: host.rpc(), readImageMetadata, novaUses });
    await host.api("cinder", cinderService(config), api.routes());
  },
  "cinder-scheduler": async (host) => {
    const { config, host: controller } = host;
    host.keep(await startScheduler({ config, controller, database: host.database(), rpc: host.rpc(), log }));
  },
  "cinder-volume": async (host) => {
    const { config, host: controller } = host;
    const readImage = async (id: string): Promise<Buffer> =>
      Buffer.from(await (await host.readGlance(`${id}/file`)).arrayBuffer());
    host.keep(
      await startVolumeService({ config, controller, database: host.database(), rpc: host.rpc(), log, readImage }),
    );
  },
};

function option(name: string): string {
  const at = process.argv.indexOf(`--${name}`);
  const value = at < 0 ? undefined : process.argv[at + 1];
  if (value === undefined) throw new Error("Usage: main.ts --config FILE --service NAME --host HOST");
  return value;
}

async function main(): Promise<void> {
  const service = option("service");
  const start = services[service];
  if (start === undefined) throw new Error(`${service} is none of ${Object.keys(services).join(", ")}.`);
  const host = new Host(readConfig(option("config")), option("host"));
  const end = (): void => {
    void host.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  await start(host);
  log(`${new Date().toISOString()} ready: ${service} on ${option("host")}`);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exit(1);
});
