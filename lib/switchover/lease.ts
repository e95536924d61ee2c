import { randomUUID } from "node:crypto";
import { DrError } from "../errors";
import type { Clock, CoordinationPort, LeaseHolder } from "./ports";

/**
 * One switchover at a time for each pair: a row with an owner and an expiry, changed by conditional UPDATE only. Not
 * GET_LOCK: on Galera two nodes grant the same lock at once.
 */
export const leaseSeconds = 30;
/** A renewal younger than this is proof enough for the next mutating call. */
const freshMs = 3_000;
/** A renewal whose answer took longer proves nothing any more: too little of the lease may be left for the call. */
const provenMs = 15_000;
const renewEveryMs = 8_000;

export class Lease {
  private renewedAtMs: number;
  private lost = false;
  private readonly closed = new AbortController();

  private constructor(
    private readonly pair: string,
    /** No other run ever has it. */
    readonly token: string,
    private readonly coordination: CoordinationPort,
    private readonly clock: Clock,
    askedMs: number,
    private readonly onRenewal: (token: string) => void,
  ) {
    this.renewedAtMs = askedMs;
  }

  /** Waits for another holder up to the expiry of its lease, and takes over then: a dead holder doesn't renew. */
  static async acquire(o: {
    readonly pair: string;
    readonly holder: LeaseHolder;
    readonly coordination: CoordinationPort;
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly say: (line: string) => void;
    /** With every renewal, also with one that fails. */
    readonly onRenewal?: (token: string) => void;
  }): Promise<Lease> {
    const token = randomUUID();
    const deadline = o.clock.now().getTime() + 3 * leaseSeconds * 1000;
    let told = "";
    let asked: number;
    for (;;) {
      asked = o.clock.now().getTime();
      const row = await o.coordination.acquireLease(o.pair, o.holder, token, leaseSeconds);
      if (row !== undefined) break;
      const held = await o.coordination.findLease(o.pair);
      if (held !== undefined && told !== held.token) {
        told = held.token;
        o.say(`waiting for the lease of pair "${o.pair}", held by ${held.owner} on ${held.host} (pid ${held.pid})`);
      }
      if (o.clock.now().getTime() > deadline)
        throw new DrError({
          code: "lease",
          attempted: `Take the lease of pair "${o.pair}"`,
          seen:
            held === undefined
              ? "it changes hands"
              : `${held.owner} on ${held.host} (pid ${held.pid}, stack ${held.stack}) holds it and renews it`,
          state: "Nothing was changed by this run.",
          remedy: "Let that run finish, or end it; then run this again.",
        });
      await o.clock.sleep(1_000, o.signal);
    }
    const lease = new Lease(o.pair, token, o.coordination, o.clock, asked, o.onRenewal ?? (() => undefined));
    lease.keep();
    return lease;
  }

  /** Called before every mutating call. */
  async guard(): Promise<void> {
    if (!this.lost && this.ageMs() > freshMs) await this.renew();
    if (!this.lost && this.ageMs() > provenMs)
      throw new DrError({
        code: "lease",
        attempted: `Go on with the switchover of pair "${this.pair}"`,
        seen: `the database took ${Math.round(this.ageMs() / 1000)} s to renew the lease`,
        state: "This run stopped before its next change; the journal tells what was done.",
        remedy: "Find out what slows the database down, then run again: it goes on from here.",
      });
    if (this.lost)
      throw new DrError({
        code: "lease",
        attempted: `Go on with the switchover of pair "${this.pair}"`,
        seen: "the lease was taken over by another run",
        state: "This run stopped before its next change; the journal tells what was done.",
        remedy: "Let the other run finish.",
      });
  }

  /** A lease that can't be given back runs out by itself: no reason to fail, or to hide what failed before. */
  async release(): Promise<void> {
    this.closed.abort();
    if (!this.lost) await this.coordination.releaseLease(this.pair, this.token).catch(() => undefined);
  }

  private ageMs(): number {
    return Math.abs(this.clock.now().getTime() - this.renewedAtMs);
  }

  private async renew(): Promise<void> {
    const asked = this.clock.now().getTime();
    this.onRenewal(this.token);
    if (await this.coordination.renewLease(this.pair, this.token, leaseSeconds)) this.renewedAtMs = asked;
    else this.lost = true;
  }

  /** Renews in the background while a step waits; a failure here shows at the next guard. */
  private keep(): void {
    const loop = async (): Promise<void> => {
      while (!this.closed.signal.aborted && !this.lost) {
        await this.clock.sleep(renewEveryMs, this.closed.signal);
        await this.renew().catch(() => undefined);
      }
    };
    loop().catch(() => undefined);
  }
}
