/** cinder-scheduler (Cinder 29): knows the backends by what they report to it, and chooses a pool for a new volume. */
import type { SimulatorConfig } from "../config";
import type { Database } from "../database";
import type { Arguments, Rpc } from "../rpc";
import { textOf } from "../text";
import { CinderConf } from "./conf";
import type { PoolStats, Stats } from "./driver";
import { backendOf } from "./driver";
import { endWork, ensureService, heartbeat, isUp, scheduledVolume, useQuota, typeName } from "./rows";

const BINARY = "cinder-scheduler";
const VERSIONS = ["3.12", "1.39"] as const;

interface Pool {
  name: string;
  stats: PoolStats;
  backend: Stats;
  timestamp: string;
  allocatedGiB: number;
}

export async function startScheduler(o: {
  config: SimulatorConfig;
  controller: string;
  database: Database;
  rpc: Rpc;
  log: (line: string) => void;
}): Promise<{ close(): void }> {
  const file = o.config.controllers.find(({ name }) => name === o.controller)?.cinderConf ?? "";
  const interval = CinderConf.read(file).number("DEFAULT", "report_interval", 10);
  const scheduler = new Scheduler(o.config, o.database, o.rpc, o.log);
  await ensureService(o.database, { host: o.controller, binary: BINARY, versions: VERSIONS });
  await o.rpc.serve(BINARY, o.controller, (method, args) => scheduler.handle(method, args));
  // So that it knows them at once, and not only when they report next.
  await o.rpc.fanout("cinder-volume", "publish_service_capabilities", {});
  const beat = (): void =>
    void ensureService(o.database, { host: o.controller, binary: BINARY, versions: VERSIONS })
      .then(() => heartbeat(o.database, o.controller, BINARY))
      .catch((error: unknown) => o.log(String(error)));
  beat();
  const timer = setInterval(beat, interval * 1000);
  return { close: () => clearInterval(timer) };
}

class Scheduler {
  /** By `host@backend`: what it reported last, and when. */
  private readonly backends = new Map<string, { stats: Stats; timestamp: string }>();
  /** What was placed since a pool's last report, GiB. */
  private readonly placed = new Map<string, number>();

  constructor(
    private readonly config: SimulatorConfig,
    private readonly database: Database,
    private readonly rpc: Rpc,
    private readonly log: (line: string) => void,
  ) {}

  async handle(method: string, args: Arguments): Promise<unknown> {
    switch (method) {
      case "update_service_capabilities": {
        const host = String(args["host"]);
        this.backends.set(host, { stats: args["capabilities"] as Stats, timestamp: String(args["timestamp"]) });
        for (const name of this.placed.keys()) if (backendOf(name) === host) this.placed.delete(name);
        return undefined;
      }
      case "create_volume":
        return this.createVolume(args);
      case "extend_volume":
        return this.extendVolume(args);
      case "get_pools":
        return this.describePools();
      default:
        throw new Error(`cinder-scheduler doesn't know the message ${method}`);
    }
  }

  /** Of backends that are up and enabled (host_manager.py _update_backend_state_map). */
  private async pools(): Promise<Pool[]> {
    const services = await this.database.rows(
      "SELECT * FROM cinder.services WHERE deleted = 0 AND `binary` = 'cinder-volume' ORDER BY id",
    );
    const allocated = await this.database.rows(
      "SELECT host, SUM(size) AS gib FROM cinder.volumes WHERE deleted = 0 AND host IS NOT NULL GROUP BY host",
    );
    const inUse = new Map(allocated.map((row) => [String(row["host"]), Number(row["gib"])]));
    const usable = services.filter(
      (row) => row["disabled"] !== 1 && row["frozen"] !== 1 && isUp(row, this.config.serviceDownSeconds),
    );
    return usable.flatMap((row) => {
      const host = String(row["host"]);
      const reported = this.backends.get(host);
      if (reported === undefined) return [];
      return reported.stats.pools.map((stats) => {
        const name = `${host}#${stats.pool_name}`;
        return {
          name,
          stats,
          backend: reported.stats,
          timestamp: reported.timestamp,
          allocatedGiB: inUse.get(name) ?? 0,
        };
      });
    });
  }

  private async describePools(): Promise<unknown> {
    return (await this.pools()).map(({ name, stats, backend, timestamp, allocatedGiB }) => {
      const { pools: _pools, ...ofBackend } = backend;
      return {
        name,
        capabilities: {
          ...stats,
          allocated_capacity_gb: allocatedGiB,
          ...ofBackend,
          timestamp,
          filter_function: null,
          goodness_function: null,
        },
      };
    });
  }

  private virtualFree(pool: Pool): number {
    const {
      total_capacity_gb: total,
      provisioned_capacity_gb: provisioned,
      max_over_subscription_ratio: ratio,
    } = pool.stats;
    return total * Number(ratio) - provisioned - (this.placed.get(pool.name) ?? 0);
  }

  private async createVolume(args: Arguments): Promise<void> {
    const id = String(args["volume_id"]);
    const volume = await this.database.row("SELECT * FROM cinder.volumes WHERE deleted = 0 AND id = ?", [id]);
    if (volume === undefined) return;
    const specs = await this.database.rows(
      "SELECT `key`, value FROM cinder.volume_type_extra_specs WHERE deleted = 0 AND volume_type_id = ?",
      [volume["volume_type_id"] ?? null],
    );
    const size = Number(volume["size"]);
    const fitting = (await this.pools())
      .filter((pool) => specs.every((spec) => satisfies(pool, String(spec["key"]), String(spec["value"]))))
      .filter((pool) => this.virtualFree(pool) >= size && pool.stats.free_capacity_gb > 0);
    const [best] = fitting.sort((a, b) => this.virtualFree(b) - this.virtualFree(a) || (a.name < b.name ? -1 : 1));
    if (best === undefined) {
      this.log(
        `ERROR Failed to run task cinder.scheduler.flows.create_volume.ScheduleCreateVolumeTask;volume:create: No valid backend was found (${id})`,
      );
      await this.database.update("cinder.volumes", { id }, { status: "error" });
      await endWork(this.database, id);
      return;
    }
    this.placed.set(best.name, (this.placed.get(best.name) ?? 0) + size);
    await this.database.update("cinder.volumes", { id }, scheduledVolume(best.name));
    await this.toBackend(best.name, "create_volume", args);
  }

  /** Only where the backend takes part in scheduling, else the volume stays as it was (hazard 8). */
  private async extendVolume(args: Arguments): Promise<void> {
    const [id, size] = [String(args["volume_id"]), Number(args["new_size"])];
    const volume = await this.database.row("SELECT * FROM cinder.volumes WHERE deleted = 0 AND id = ?", [id]);
    if (volume === undefined) return;
    const pool = (await this.pools()).find(({ name }) => name === volume["host"]);
    const more = size - Number(volume["size"]);
    if (pool !== undefined && this.virtualFree(pool) >= more) {
      await this.toBackend(pool.name, "extend_volume", { volume_id: id, new_size: size });
      return;
    }
    this.log(`ERROR Failed to extend_volume: No valid backend was found (${id})`);
    await this.database.update("cinder.volumes", { id }, { status: volume["previous_status"] ?? "available" });
    const type = await typeName(this.database, volume["volume_type_id"] as string | null);
    await useQuota(this.database, String(volume["project_id"]), "volumes", 0, -more, type);
  }

  private async toBackend(host: string, method: string, args: Arguments): Promise<void> {
    const backend = backendOf(host);
    await this.rpc.cast(`cinder-volume.${backend}.${backend.split("@")[0] ?? ""}`, method, args, "cinder");
  }
}

/** Capabilities filter: an extra spec against what the pool or its backend reports. */
function satisfies(pool: Pool, key: string, wanted: string): boolean {
  const has = pool.stats[key] ?? (pool.backend as unknown as Record<string, unknown>)[key];
  if (key.includes(":") && !key.startsWith("capabilities:")) return true;
  const boolean = /^<is>\s*(.+)$/i.exec(wanted)?.[1];
  if (boolean !== undefined) return String(has === true || has === "true").toLowerCase() === boolean.toLowerCase();
  if (/^(<|>|=|s|<in>|<or>)/.test(wanted)) throw new Error(`the extra spec ${key}=${wanted} isn't simulated`);
  return has !== undefined && textOf(has) === wanted;
}
