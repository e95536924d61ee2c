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
import { connect, type Socket } from "node:net";
import { refusalOf, type LunTable } from "./lun-tables";
import { answerDiscovery, LoginStatus, Opcode, parseKeys, parsePdu, rejectLogin, type Pdu } from "./pdu";
import { SvmTarget, type TargetOptions } from "./svm-target";
import { Tgtd } from "./tgtd";

const FIRST_LOGIN_DEADLINE_MS = 15_000;

export interface IscsiTargetOptions extends TargetOptions {
  /** Folder of its own for sockets; two targets can't share it. */
  stateDir: string;
}

/**
 * tgtd processes live from the first map of their initiator until `close`, and end with this process however that ends. When a tgtd
 * fails, its initiator is refused until the next `setMaps`.
 */
export class IscsiTarget extends SvmTarget<IscsiTargetOptions> {
  private readonly tgtds = new Map<string, Tgtd>();
  private count = 0;

  protected served(): Iterable<string> {
    return this.tgtds.keys();
  }

  protected async quiesce(): Promise<void> {
    await Promise.all([...this.tgtds.values()].filter((tgtd) => tgtd.usable).map((tgtd) => tgtd.waitUntilIdle()));
  }

  protected async end(): Promise<void> {
    const ended = [...this.tgtds.values()].map((tgtd) => tgtd.kill());
    this.tgtds.clear();
    await Promise.all(ended);
  }

  protected async serve(initiator: string, table: LunTable): Promise<void> {
    let tgtd = this.tgtds.get(initiator);
    if (tgtd && !tgtd.usable) {
      this.tgtds.delete(initiator);
      await tgtd.kill();
      tgtd = undefined;
    }
    if (!tgtd) {
      if (table.size === 0) return;
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
    await tgtd.setLuns([...table.values()]);
  }

  /** tgtd listens beside the SVM's first portal, on an ephemeral port: nobody else binds there. */
  private internalAddress(): string {
    const [portal] = this.o.portals;
    if (!portal) throw new Error(`${this.o.iqn} has no portal`);
    return portal.address;
  }

  protected accept(socket: Socket): void {
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
    const refusal = refusalOf({ initiator, target }, { iqn: this.o.iqn, admitted: this.admitted });
    if (refusal) return refuse(refusal.status, refusal.why);
    const tgtd = this.tgtds.get(initiator ?? "");
    if (!tgtd?.usable) return refuse(LoginStatus.serviceUnavailable, "its tgtd has failed");

    const upstream = connect({ host: tgtd.address, port: tgtd.port, noDelay: true });
    this.track(upstream);
    // One end gone without a proper end: so is the other.
    socket.once("close", () => upstream.destroy());
    upstream.once("close", () => socket.destroy());
    upstream.write(received);
    socket.pipe(upstream).pipe(socket);
  }
}

function isDiscovery(first: Pdu): boolean {
  if (first.opcode !== Opcode.loginRequest) throw new Error(`opcode 0x${first.opcode.toString(16)} before a login`);
  return parseKeys(first.data).get("SessionType") === "Discovery";
}
