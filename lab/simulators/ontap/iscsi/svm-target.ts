/** What every way to serve an SVM's LUNs has in common: its portals, their connections, and the maps taken over one call after another. */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Mutex } from "../mutex";
import { changeTables, planTables, type LunMap, type LunTable, type MapChange } from "./lun-tables";

export interface TargetOptions {
  iqn: string;
  portals: { address: string; port: number }[];
  log: (line: string) => void;
}

/** Calls may overlap: they're carried out one after another. */
export abstract class SvmTarget<Options extends TargetOptions = TargetOptions> {
  /** Initiators that have at least one LUN now: only they may log in. */
  protected admitted = new Set<string>();
  /** What each initiator is served. */
  private readonly tables = new Map<string, LunTable>();
  private servers: Server[] = [];
  private readonly connections = new Set<Socket>();
  private readonly inTurn = new Mutex();

  constructor(protected readonly o: Options) {}

  /** A new connection, already tracked. */
  protected abstract accept(socket: Socket): void;
  /** Initiators that something is kept for. */
  protected abstract served(): Iterable<string>;
  /** Makes the initiator's LUN table exactly this one. */
  protected abstract serve(initiator: string, table: LunTable): Promise<void>;
  /** Called when no portal listens and all connections are being cut: settles when nothing can be written any more. */
  protected abstract quiesce(): Promise<void>;
  /** Forgets all tables at once, and ends whatever serves them. */
  protected abstract end(): Promise<void>;

  /** Opens the portals. A repeat does nothing. @throws when a portal can't be bound; none is open then. */
  start(): Promise<void> {
    return this.inTurn.run(async () => {
      if (this.servers.length > 0) return;
      try {
        for (const { address, port } of this.o.portals) {
          const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
            this.track(socket);
            this.accept(socket);
          });
          this.servers.push(server);
          server.listen({ host: address, port });
          await once(server, "listening");
        }
      } catch (cause) {
        await this.closePortals();
        throw new Error(`${this.o.iqn}: can't open its portals`, { cause });
      }
    });
  }

  /** Closes the portals and cuts every session; returns when nothing can be written any more. Maps are kept. A repeat does nothing. */
  stop(): Promise<void> {
    return this.inTurn.run(() => this.closePortals());
  }

  /**
   * Serves exactly `maps` when it returns; works while stopped, too. A removed map cuts its LUN for live sessions; a grown file, another
   * `readOnly` or serial takes effect in live sessions. A repeat does nothing.
   * @throws on maps that `planTables` refuses: nothing is changed then. When a file is missing or has another size than its map says,
   * the table of its initiators stays as it was.
   */
  setMaps(maps: readonly LunMap[]): Promise<void> {
    return this.inTurn.run(async () => {
      const tables = planTables(maps);
      const gone = [...this.served()].filter((initiator) => !tables.has(initiator));
      await this.take(new Map([...tables, ...gone.map((initiator) => [initiator, new Map()] as const)]));
    });
  }

  /** As setMaps, told only what has changed since: among thousands of LUNs one more or less costs little. @throws as setMaps */
  changeMaps(change: MapChange): Promise<void> {
    return this.inTurn.run(() => this.take(changeTables(this.tables, change)));
  }

  private async take(tables: ReadonlyMap<string, LunTable>): Promise<void> {
    for (const [initiator, table] of tables) if (table.size === 0) this.admitted.delete(initiator);
    const results = await Promise.allSettled(
      [...tables].map(async ([initiator, table]) => {
        await this.serve(initiator, table);
        this.tables.set(initiator, table);
        if (table.size > 0) this.admitted.add(initiator);
      }),
    );
    const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    if (failures.length > 0) throw new AggregateError(failures, `${this.o.iqn}: ${failures.map(String).join("; ")}`);
  }

  /** Stops, and ends everything this object started. */
  close(): Promise<void> {
    return this.inTurn.run(async () => {
      this.admitted.clear();
      this.tables.clear();
      const ended = this.end();
      await Promise.all([this.closePortals(), ended]);
    });
  }

  /** Counts as a connection of this target: cut when the portals close. */
  protected track(socket: Socket): void {
    this.connections.add(socket);
    socket.on("error", () => undefined).once("close", () => this.connections.delete(socket));
  }

  private async closePortals(): Promise<void> {
    const closed = this.servers.map((server) => new Promise((resolve) => server.close(resolve)));
    this.servers = [];
    this.cut(this.connections);
    await Promise.all([this.quiesce(), ...closed]);
  }

  /** Ends connections of an SVM that serves them no longer. */
  protected cut(connections: Iterable<Socket>): void {
    for (const socket of connections) socket.resetAndDestroy();
  }
}
