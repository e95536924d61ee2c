import { readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { DrError, messageOf } from "../errors";
import type { SitePair } from "../topology/site-pair";
import type { JournalEntry } from "./journal";
import { Journal } from "./journal";
import type { Clock, CoordinationPort, LeaseRow, Ports } from "./ports";

/**
 * A run that is asked to stop begins nothing new, and finishes what is under way: between two items it's safe. It's asked
 * by its process (Ctrl-C), or from anywhere: by a row beside the lease, and where the database doesn't answer, by a file
 * beside the journal. A request names the run by its lease's token, which no other run ever has: so no later run heeds it.
 */

/** So long what is under way may take; then it's no longer waited for, which is as safe as a kill. */
export const stopWithinSeconds = 60;

export const aboutStopping =
  `Ctrl-C, or \`cheesecake stop\`, stops at the next safe point: what is under way gets ${stopWithinSeconds} s to be finished, nothing new is begun, and the next run goes on from there. ` +
  "A second Ctrl-C ends it at once: as safe, but an item may be half done, which the next run finishes, once the lease has run out";

const fileOf = (directory: string, switchoverId: string): string => path.join(directory, `${switchoverId}.stop`);

/** The run's side. */
export class Stop {
  private readonly own = new AbortController();
  private readonly late = new AbortController();
  private readonly closed = new AbortController();
  /** Nothing new is begun. */
  readonly asked: AbortSignal;
  /** Nothing is waited for any more. */
  readonly cutOff: AbortSignal;
  private file: string | undefined;
  private looking = false;

  constructor(
    private readonly o: {
      readonly pair: string;
      readonly coordination: CoordinationPort;
      readonly clock: Clock;
      readonly signal: AbortSignal;
      readonly cutOff?: AbortSignal | undefined;
      readonly say: (line: string) => void;
    },
  ) {
    const cutOff = o.cutOff === undefined ? [] : [o.cutOff];
    this.asked = AbortSignal.any([o.signal, ...cutOff, this.own.signal]);
    this.cutOff = AbortSignal.any([...cutOff, this.late.signal]);
    if (this.asked.aborted) this.begin();
    else this.asked.addEventListener("abort", () => this.begin(), { once: true });
  }

  /** Whoever asked, and how. */
  get by(): string {
    const reason: unknown = this.asked.reason;
    return DrError.is(reason) ? reason.seen : "asked to";
  }

  /** From here on a file can ask, too. What an earlier run was asked is past. */
  async watchFile(directory: string, switchoverId: string): Promise<void> {
    this.file = fileOf(directory, switchoverId);
    await rm(this.file, { force: true }).catch(() => undefined);
  }

  /** Looks whether somebody asked, one look at a time; what can't be read asks nothing. */
  look(token: string): void {
    if (this.asked.aborted || this.looking) return;
    this.looking = true;
    const found = (by: string | undefined): void => {
      if (by !== undefined) this.own.abort(stopped(`\`cheesecake stop\` by ${by}`));
    };
    const nothing = (): undefined => undefined;
    const inRow = this.o.coordination.findStop(this.o.pair, token).then(found, nothing);
    const inFile = this.inFile(token).then(found, nothing);
    void Promise.all([inRow, inFile]).then(() => (this.looking = false));
  }

  async close(): Promise<void> {
    this.closed.abort();
    // Tells who waits beside it, and nobody after this run is meant by it.
    if (this.file !== undefined) await rm(this.file, { force: true }).catch(() => undefined);
  }

  private async inFile(token: string): Promise<string | undefined> {
    if (this.file === undefined) return undefined;
    try {
      const asked = JSON.parse(await readFile(this.file, "utf8")) as { token?: unknown; by?: unknown };
      return asked.token === token ? String(asked.by) : undefined;
    } catch {
      return undefined; // none, or one that is being written
    }
  }

  private begin(): void {
    if (this.closed.signal.aborted) return;
    const under = `what is under way gets ${stopWithinSeconds} s to be finished`;
    this.o.say(`stopping at the next safe point (${this.by}): ${under}, nothing new is begun`);
    this.o.clock.sleep(stopWithinSeconds * 1000, this.closed.signal).then(
      () => this.late.abort(stopped(this.by)),
      () => undefined,
    );
  }
}

const stopped = (seen: string): DrError => new DrError({ code: "stopped", attempted: "Switch over", seen });

/** Before anything is begun. */
export function refuseIfAsked(stop: Stop): void {
  if (stop.asked.aborted)
    throw new DrError({
      code: "stopped",
      attempted: "Begin a switchover",
      seen: `stopped: ${stop.by}`,
      state: "Nothing was changed.",
    });
}

/** Where the last run of a switchover was stopped on request. */
export interface StoppedAt {
  readonly at: string;
  readonly by: string;
  readonly step: string;
  /** In which state things are. */
  readonly state: string;
}

/** Where the last run of a journal was stopped on request. */
export function stoppedAt(entries: readonly JournalEntry[]): StoppedAt | undefined {
  const last = entries.findLast(({ type }) => type === "begin" || type === "resume" || type === "stopped");
  return last?.type === "stopped" ? last : undefined;
}

// --------------------------------------------------------------------------------------------------- who asks for it

/** What became of a request to stop. */
export interface StopOutcome {
  /**
   * `idle`: no run is under way. `dead`: one is, by its lease, but it doesn't renew that. `running`: the time is over,
   * or another run is at it.
   */
  readonly run: "idle" | "stopped" | "ended" | "failed" | "dead" | "running";
  readonly said: string;
  /** What isn't finished. */
  readonly open?: string;
}

interface StopQuestion {
  readonly pair: SitePair;
  readonly ports: Pick<Ports, "coordination" | "clock">;
  readonly journalDir: string;
  readonly waitSeconds: number;
  readonly say: (line: string) => void;
}

/** Asks the run that is under way to stop, wherever it is, and waits until it did. */
export async function requestStop(o: StopQuestion): Promise<StopOutcome> {
  const { coordination } = o.ports;
  const by = `${os.userInfo().username} on ${os.hostname()}`;
  let lease: LeaseRow | undefined;
  try {
    lease = await coordination.findLease(o.pair.name);
    if (lease === undefined) return { run: "idle", said: "No run is under way", ...(await openOf(o)) };
    await coordination.requestStop(o.pair.name, lease.token, by);
  } catch (error) {
    if (!DrError.is(error, "unreachable")) throw error;
    return requestByFile(o, by, error);
  }
  const who = whoHas(lease);
  const { token } = lease;
  o.say(`asked ${who} to stop at the next safe point; waiting for it, up to ${o.waitSeconds} s`);
  const ended = await waited<"expired" | { readonly next: LeaseRow | undefined }>(o, async () => {
    const now = await coordination.findLease(o.pair.name).catch((error: unknown) => {
      if (DrError.is(error, "unreachable")) return lease;
      throw error;
    });
    if (now?.token !== token) return { next: now };
    return now.expired ? "expired" : undefined;
  });
  if (ended === undefined)
    return { run: "running", said: `${who} is still at it: it was asked, and stops when it can` };
  if (ended === "expired")
    return {
      run: "dead",
      said: `${who} doesn't renew its lease: it has ended, or it will before its next change`,
      ...(await openOf(o)),
    };
  if (ended.next !== undefined)
    return { run: "running", said: `${who} ended, but ${whoHas(ended.next)} is at it now: ask again to stop that one` };
  const { entries, faults } = await lastEntries(o);
  if (entries.some((entry) => runOf(entry) === token)) return toldBy(entries);
  if (faults.length > 0) return { run: "ended", said: `It ended, but how can't be read: ${faults.join("; ")}` };
  return { run: "ended", said: "It ended before it began a switchover: nothing was changed" };
}

const whoHas = ({ owner, host, pid, stack }: LeaseRow): string => `${owner} on ${host} (pid ${pid}, stack ${stack})`;

/** Where the database doesn't answer: the run that writes its journal into this very folder. */
async function requestByFile(o: StopQuestion, by: string, cause: DrError): Promise<StopOutcome> {
  for (const file of (await Journal.list(o.journalDir)).reverse()) {
    const entries = await Journal.read(file);
    const [begin] = entries;
    const token = tokenOf(entries);
    if (begin?.type !== "begin" || begin.plan.pair !== o.pair.name) continue;
    if (token === undefined || entries.at(-1)?.type === "end" || stoppedAt(entries) !== undefined) break;
    const request = fileOf(o.journalDir, begin.switchoverId);
    await writeFile(request, JSON.stringify({ token, by }), { mode: 0o600 });
    o.say(`the database doesn't answer (${cause.seen}); asked by ${request}, waiting up to ${o.waitSeconds} s`);
    const gone = await waited(o, async () => {
      const left = await readFile(request, "utf8").catch(() => undefined);
      return left === undefined ? "gone" : undefined;
    });
    if (gone !== undefined) return toldBy(await Journal.read(file));
    return {
      run: "running",
      said: `nothing took ${request} away: the run is still at it, or is gone, or runs elsewhere; without the database it makes no further change`,
      open: begin.switchoverId,
    };
  }
  throw new DrError({
    code: "unreachable",
    attempted: `Ask the run of pair "${o.pair.name}" to stop`,
    seen: `${messageOf(cause)}; and no switchover is open in ${o.journalDir}`,
    state: "Nothing was changed. A run that can't reach the database either makes no further change",
    remedy: "Press Ctrl-C where it runs, or do this in its folder",
    cause,
  });
}

async function waited<T>(o: StopQuestion, look: () => Promise<T | undefined>): Promise<T | undefined> {
  const deadline = o.ports.clock.now().getTime() + o.waitSeconds * 1000;
  for (;;) {
    const seen = await look();
    if (seen !== undefined || o.ports.clock.now().getTime() >= deadline) return seen;
    await o.ports.clock.sleep(1_000);
  }
}

const runOf = (entry: JournalEntry): string | undefined =>
  entry.type === "begin" || entry.type === "resume" ? entry.run : undefined;

const isRun = ({ type }: JournalEntry): boolean => type === "begin" || type === "resume";

function tokenOf(entries: readonly JournalEntry[]): string | undefined {
  const last = entries.findLast(isRun);
  return last && runOf(last);
}

/** Of the newest switchover, and what of it couldn't be read. */
async function lastEntries(
  o: StopQuestion,
): Promise<{ readonly entries: readonly JournalEntry[]; readonly faults: readonly string[] }> {
  const { name: pair } = o.pair;
  const { coordination } = o.ports;
  const faults: string[] = [];
  const onFault = (fault: string): void => void faults.push(fault);
  for await (const { entries } of Journal.all({ directory: o.journalDir, coordination, pair, onFault }))
    return { entries, faults };
  return { entries: [], faults };
}

/** What can't be read isn't told of. */
async function openOf(o: StopQuestion): Promise<{ readonly open?: string }> {
  const { entries } = await lastEntries(o);
  const [begin] = entries;
  return begin?.type !== "begin" || entries.at(-1)?.type === "end" ? {} : { open: begin.switchoverId };
}

function toldBy(entries: readonly JournalEntry[]): StopOutcome {
  const [begin] = entries;
  if (begin?.type !== "begin") return { run: "ended", said: "It ended" };
  const last = entries.at(-1);
  if (last?.type === "end") return { run: "ended", said: `${begin.switchoverId} had ended before: ${last.outcome}` };
  const open = begin.switchoverId;
  const stop = stoppedAt(entries);
  if (stop !== undefined) return { run: "stopped", said: `Stopped at ${stop.step}. ${stop.state}`, open };
  // A former run's isn't this one's.
  const failed = entries.slice(entries.findLastIndex(isRun)).findLast(({ type }) => type === "failed");
  const why = failed?.type === "failed" ? `: ${failed.error}` : "";
  return { run: "failed", said: `It ended without having finished${why}`, open };
}
