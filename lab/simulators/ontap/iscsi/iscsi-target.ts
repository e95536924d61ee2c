/**
 * The iSCSI service of one simulated ONTAP SVM, served by real tgtd processes.
 *
 * ONTAP numbers LUNs per igroup: two hosts may both see a LUN 1 of the same IQN, and mean different LUNs. tgtd has one LUN table per
 * target name. So each initiator has a tgtd of its own, under the SVM's IQN, holding the union of what its igroups map, and
 * a TCP router on the SVM's portals reads the first login request and hands the connection to the initiator's tgtd.
 * An initiator to which nothing is mapped is refused by the router (and by tgtd's own list of initiators, should it get there).
 *
 * Not as on ONTAP: maps are all it's told, so an initiator whose igroup has no map at all is refused as one without an igroup is; each
 * initiator has SCSI reservations of its own; CHAP isn't offered.
 */
import { mkdir } from "node:fs/promises";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { answerDiscovery, LoginStatus, Opcode, parseKeys, parsePdu, rejectLogin, type Pdu } from "./pdu";
import { Tgtd, type ServedLun } from "./tgtd";

const FIRST_LOGIN_DEADLINE_MS = 15_000;

/** One LUN map: LUN number `lun` of every initiator of the igroup is `file`. `naa` is 32 hex digits, with or without "naa.". */
export interface LunMap {
  igroup: string;
  initiators: readonly string[];
  lun: number;
  file: string;
  serial: string;
  naa: string;
  sizeBytes: number;
  readOnly: boolean;
}

export interface IscsiTargetOptions {
  iqn: string;
  portals: { address: string; port: number }[];
  /** Folder of its own for sockets; two targets can't share it. */
  stateDir: string;
  log: (line: string) => void;
}

/**
 * Calls may overlap: they're carried out one after another. tgtd processes live from the first map of their initiator until
 * `close`, and end with this process however that ends.
 */
export class IscsiTarget {
  private servers: Server[] = [];
  private readonly connections = new Set<Socket>();
  private readonly tgtds = new Map<string, Tgtd>();
  /** Initiators that have at least one LUN now: only they may log in. */
  private admitted = new Set<string>();
  private count = 0;
  private queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly o: IscsiTargetOptions) {}

  /** Opens the portals. A repeat does nothing. @throws when a portal can't be bound; none is open then. */
  start(): Promise<void> {
    return this.serialised(async () => {
      if (this.servers.length > 0) return;
      try {
        for (const { address, port } of this.o.portals) {
          const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.accept(socket));
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
    return this.serialised(() => this.closePortals());
  }

  /**
   * Serves exactly `maps` when it returns; works while stopped, too. A removed map cuts its LUN for live sessions; a grown file, another
   * `readOnly` or serial takes effect in live sessions. A repeat does nothing.
   * @throws on maps that `planTables` refuses: nothing is changed then. When a file is missing or has another size than its map says,
   * the table of its initiators stays as it was. When tgtd itself fails, its initiator is refused until the next call.
   */
  setMaps(maps: readonly LunMap[]): Promise<void> {
    return this.serialised(async () => {
      const tables = planTables(maps);
      this.admitted = new Set([...this.admitted].filter((initiator) => tables.has(initiator)));
      const initiators = new Set([...this.tgtds.keys(), ...tables.keys()]);
      const results = await Promise.allSettled(
        [...initiators].map((initiator) => this.serve(initiator, tables.get(initiator) ?? [])),
      );
      const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
      if (failures.length > 0) throw new AggregateError(failures, `${this.o.iqn}: ${failures.map(String).join("; ")}`);
    });
  }

  /** Stops and ends every process this object started. */
  close(): Promise<void> {
    return this.serialised(async () => {
      this.admitted.clear();
      const ended = [...this.tgtds.values()].map((tgtd) => tgtd.kill());
      this.tgtds.clear();
      await Promise.all([this.closePortals(), ...ended]);
    });
  }

  private async serve(initiator: string, luns: readonly ServedLun[]): Promise<void> {
    let tgtd = this.tgtds.get(initiator);
    if (tgtd && !tgtd.usable) {
      this.tgtds.delete(initiator);
      await tgtd.kill();
      tgtd = undefined;
    }
    if (!tgtd) {
      if (luns.length === 0) return;
      await mkdir(this.o.stateDir, { recursive: true });
      const { iqn, stateDir, log } = this.o;
      tgtd = await Tgtd.start({
        iqn,
        initiator,
        stateDir,
        log,
        address: this.internalAddress(),
        name: `tgtd-${++this.count}`,
      });
      this.tgtds.set(initiator, tgtd);
    }
    await tgtd.setLuns(luns);
    if (luns.length > 0) this.admitted.add(initiator);
  }

  /** tgtd listens beside the SVM's first portal, on an ephemeral port: nobody else binds there. */
  private internalAddress(): string {
    const [portal] = this.o.portals;
    if (!portal) throw new Error(`${this.o.iqn} has no portal`);
    return portal.address;
  }

  private async closePortals(): Promise<void> {
    const closed = this.servers.map((server) => new Promise((resolve) => server.close(resolve)));
    this.servers = [];
    for (const socket of this.connections) socket.resetAndDestroy();
    await Promise.all(closed);
    await Promise.all([...this.tgtds.values()].filter((tgtd) => tgtd.usable).map((tgtd) => tgtd.waitUntilIdle()));
  }

  private accept(socket: Socket): void {
    this.track(socket);
    socket.setTimeout(FIRST_LOGIN_DEADLINE_MS, () => socket.destroy());
    let received: Buffer = Buffer.alloc(0);
    let discovery = false;
    let statSn = 0;
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      try {
        for (let pdu = parsePdu(received); pdu; pdu = parsePdu(received)) {
          if (!discovery) {
            discovery = isDiscovery(pdu);
            if (!discovery) {
              socket.off("data", onData).pause().setTimeout(0);
              this.route(socket, pdu, received);
              return;
            }
          }
          received = received.subarray(pdu.bytes);
          const step = answerDiscovery(pdu, statSn, this.o);
          if (step.response.length > 0) statSn++;
          socket.write(step.response);
          if (step.end) socket.end();
        }
      } catch (error) {
        this.o.log(`${socket.remoteAddress ?? "?"}: connection dropped: ${String(error)}`);
        socket.destroy();
      }
    };
    socket.on("data", onData).on("end", () => socket.end());
  }

  /** A normal session: refuse it, or join it to its initiator's tgtd, beginning with the bytes read so far. */
  private route(socket: Socket, login: Pdu, received: Buffer): void {
    const keys = parseKeys(login.data);
    const initiator = keys.get("InitiatorName");
    const target = keys.get("TargetName");
    const refuse = (status: number, why: string): void => {
      this.o.log(`login of ${initiator ?? "?"} to ${target ?? "?"} refused: ${why}`);
      socket.end(rejectLogin(login, status));
      socket.resume();
    };
    if (initiator === undefined || target === undefined)
      return refuse(LoginStatus.missingParameter, "a name is missing");
    if (target !== this.o.iqn) return refuse(LoginStatus.targetNotFound, `the target here is ${this.o.iqn}`);
    if (!this.admitted.has(initiator)) return refuse(LoginStatus.authorizationFailure, "no LUN is mapped to it");
    const tgtd = this.tgtds.get(initiator);
    if (!tgtd?.usable) return refuse(LoginStatus.serviceUnavailable, "its tgtd has failed");

    const upstream = connect({ host: tgtd.address, port: tgtd.port, noDelay: true });
    this.track(upstream);
    // One end gone without a proper end: so is the other.
    socket.once("close", () => upstream.destroy());
    upstream.once("close", () => socket.destroy());
    upstream.write(received);
    socket.pipe(upstream).pipe(socket);
  }

  private track(socket: Socket): void {
    this.connections.add(socket);
    socket.on("error", () => undefined).once("close", () => this.connections.delete(socket));
  }

  private serialised<T>(work: () => Promise<T>): Promise<T> {
    const result = this.queue.then(work);
    this.queue = result.catch(() => undefined);
    return result;
  }
}

/** LUN table of each initiator: the union over the igroups it's in. @throws on maps that ONTAP or tgtd can't have. */
export function planTables(maps: readonly LunMap[]): Map<string, ServedLun[]> {
  const tables = new Map<string, Map<number, LunMap>>();
  for (const map of maps) {
    if (!Number.isInteger(map.lun) || map.lun < 1 || map.lun > 4095) {
      throw new Error(`igroup ${map.igroup}: LUN number ${map.lun} of ${map.file} isn't in 1..4095`);
    }
    // Where tgtd would misread the text of a parameter list.
    if (/[,\s]/.test(map.file + map.serial + map.naa))
      throw new Error(`${map.file}: comma or space in its path, serial or NAA`);
    for (const initiator of map.initiators) {
      const table = tables.get(initiator) ?? new Map<number, LunMap>();
      tables.set(initiator, table);
      const other = table.get(map.lun);
      if (other && other.file !== map.file) {
        const where = `igroups ${other.igroup} and ${map.igroup}`;
        throw new Error(`LUN ${map.lun} of ${initiator} is both ${other.file} and ${map.file} (${where})`);
      }
      table.set(map.lun, map);
    }
  }
  return new Map([...tables].map(([initiator, table]) => [initiator, [...table.values()]]));
}

function isDiscovery(first: Pdu): boolean {
  if (first.opcode !== Opcode.loginRequest) throw new Error(`opcode 0x${first.opcode.toString(16)} before a login`);
  return parseKeys(first.data).get("SessionType") === "Discovery";
}
