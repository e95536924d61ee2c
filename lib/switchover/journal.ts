import { mkdir, open, readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { DrError, messageOf } from "../errors";
import type { Plan, PlannedStep } from "./plan";
import { partOf } from "./planned-step";
import type { Clock, CoordinationPort } from "./ports";

/**
 * What was intended and what came of it: one JSON object a line, in a local file and in the schema
 * `cinder_cheesecake` beside Cinder's database, since the machine that runs this may be lost with the site. An intent is
 * on both before the call it announces. The plan, with all that can't be found again later, is the first entry.
 */

export type Facts = Readonly<Record<string, unknown>>;

export type JournalEntry = { readonly at: string } & (
  | {
      readonly type: "begin";
      readonly switchoverId: string;
      readonly stack: string;
      readonly plan: Plan;
      /** The token of the run's lease: a request to stop is for that run alone. */
      readonly run?: string;
    }
  | { readonly type: "resume"; readonly owner: string; readonly run?: string }
  /** On request, at this step, before its next item or in one that took too long; in which state things were then. */
  | { readonly type: "stopped"; readonly by: string; readonly step: string; readonly state: string }
  /** The way back was chosen before cutover: from here on the abort's plan counts. */
  | { readonly type: "abort"; readonly plan: Plan }
  /** The mode changed on the same journal: the source died before cutover and `unplanned` was declared. */
  | { readonly type: "replan"; readonly plan: Plan }
  /** With a group: its part of the step alone. */
  | { readonly type: "step"; readonly step: string; readonly event: "begin" | "end"; readonly group?: string }
  /** What comes after this group may be started. */
  | { readonly type: "approve"; readonly group: string; readonly by: string }
  /** With what its call takes away, where nothing else would know it any more. */
  | { readonly type: "intent"; readonly step: string; readonly item: string; readonly facts?: Facts }
  | {
      readonly type: "done";
      readonly step: string;
      readonly item: string;
      readonly already: boolean;
      readonly facts: Facts;
    }
  | { readonly type: "failed"; readonly step: string; readonly item: string; readonly error: string }
  | { readonly type: "end"; readonly outcome: "completed" | "aborted" }
);

type EntryBody = JournalEntry extends infer E ? (E extends { at: string } ? Omit<E, "at"> : never) : never;

export class Journal {
  private tail: Promise<void> = Promise.resolve();
  /** For their turn to be written. */
  private readonly waiting: JournalEntry[] = [];
  /** An entry that is in one copy only: nothing more is written, or the copies would part. */
  private failure: { readonly error: unknown } | undefined;
  private unsettled: (() => Promise<void>) | undefined;
  /** Items and steps since the plan that counts, and facts since the beginning, by step. */
  private readonly done = new Map<string, Set<string>>();
  private readonly begun = new Set<string>();
  private readonly ended = new Set<string>();
  private readonly facts = new Map<string, Map<string, Facts>>();

  private constructor(
    readonly switchoverId: string,
    readonly file: string,
    private readonly pair: string,
    private readonly coordination: CoordinationPort,
    private readonly clock: Clock,
    private readonly recorded: JournalEntry[],
  ) {
    for (const entry of recorded) this.remember(entry);
  }

  static async begin(o: {
    readonly directory: string;
    readonly coordination: CoordinationPort;
    readonly clock: Clock;
    readonly stack: string;
    readonly plan: Plan;
    readonly run?: string;
  }): Promise<Journal> {
    const stamp = o.clock
      .now()
      .toISOString()
      .replace(/[-:]/g, "")
      .replace(/\.\d+Z$/, "Z");
    // As long as the database's column takes.
    const switchoverId = `${stamp}-${o.plan.pair}-${o.plan.kind}-${o.plan.from}-${o.plan.to}`.slice(0, 64);
    await mkdir(o.directory, { recursive: true });
    const journal = new Journal(
      switchoverId,
      fileOf(o.directory, switchoverId),
      o.plan.pair,
      o.coordination,
      o.clock,
      [],
    );
    const run = o.run === undefined ? {} : { run: o.run };
    await journal.append({ type: "begin", switchoverId, stack: o.stack, plan: o.plan, ...run });
    return journal;
  }

  /**
   * The switchover of this pair that is neither completed nor aborted. Only reads: its run may be alive. Whoever goes on
   * with it, under the lease, calls `settle` first.
   */
  static async findOpen(o: {
    readonly directory: string;
    readonly coordination: CoordinationPort;
    readonly clock: Clock;
    readonly pair: string;
  }): Promise<Journal | undefined> {
    const listed = (await o.coordination.listSwitchovers(o.pair)).filter((switchover) => switchover.open);
    const open = [];
    for (const switchover of listed)
      if (!hasEnded(await o.coordination.readJournal(switchover.switchoverId), switchover.switchoverId))
        open.push(switchover);
    if (open.length > 1)
      throw new DrError({
        code: "journal",
        attempted: `Find the open switchover of pair "${o.pair}"`,
        seen: `${open.length} are open: ${open.map((switchover) => switchover.switchoverId).join(", ")}`,
        remedy: "Find out which one has to be finished; close the others (cinder_cheesecake.switchover, closed_at).",
      });
    const id = open[0]?.switchoverId;
    if (id === undefined) return undefined;
    const file = fileOf(o.directory, id);
    const stored = await o.coordination.readJournal(id);
    const local = await readLines(file);
    const shared = Math.min(stored.length, local.length);
    for (let index = 0; index < shared; index++)
      if (stored[index] !== local[index])
        throw new DrError({
          code: "journal",
          attempted: `Read the journal of ${id}`,
          seen: `entry ${index} differs between ${file} and the database`,
          remedy: "Keep both, find out which one is right, and move the other away.",
        });
    const lines = stored.length >= local.length ? stored : local;
    const journal = new Journal(
      id,
      file,
      o.pair,
      o.coordination,
      o.clock,
      lines.map((line) => decode(line, id)),
    );
    journal.unsettled = async () => {
      await mkdir(o.directory, { recursive: true });
      if (stored.length < lines.length)
        await o.coordination.appendJournal(id, stored.length, o.pair, lines.slice(stored.length));
      if (local.length < lines.length) await appendDurably(file, lines.slice(local.length));
    };
    return journal;
  }

  /** Closes what had ended when its run died: the last entry was written, the row wasn't closed. Under the lease. */
  static async closeEnded(coordination: CoordinationPort, pair: string): Promise<void> {
    for (const { switchoverId, open } of await coordination.listSwitchovers(pair))
      if (open && hasEnded(await coordination.readJournal(switchoverId), switchoverId))
        await coordination.closeSwitchover(switchoverId);
  }

  /** Brings file and database to the same length: a process can die between the two writes of one entry. */
  async settle(): Promise<void> {
    await this.unsettled?.();
    this.unsettled = undefined;
  }

  static async read(file: string): Promise<JournalEntry[]> {
    return (await readLines(file)).map((line) => decode(line, file));
  }

  /**
   * Every switchover of a pair, newest first: of each the longer of both copies, as far as they can be read. What can't be
   * is told, and doesn't hide the rest.
   */
  static async *all(o: {
    readonly directory: string;
    readonly coordination: Pick<CoordinationPort, "listSwitchovers" | "readJournal">;
    readonly pair: string;
    readonly onFault?: (fault: string) => void;
  }): AsyncGenerator<{ readonly switchoverId: string; readonly entries: readonly JournalEntry[] }> {
    const read = async <T>(work: () => Promise<T>, otherwise: T): Promise<T> => {
      try {
        return await work();
      } catch (error) {
        if (!DrError.is(error, "unreachable") && !DrError.is(error, "journal")) throw error;
        o.onFault?.(messageOf(error));
        return otherwise;
      }
    };
    const listed = (await read(() => o.coordination.listSwitchovers(o.pair), [])).map((one) => one.switchoverId);
    const local = (await Journal.list(o.directory)).map((file) => path.basename(file, ".jsonl"));
    const here = new Set(local);
    const stampOf = (id: string): string => id.split("-")[0] ?? "";
    const ids = [...new Set([...listed, ...local.reverse()])];
    for (const id of ids.sort((a, b) => stampOf(b).localeCompare(stampOf(a)))) {
      const stored = listed.includes(id)
        ? await read(async () => (await o.coordination.readJournal(id)).map((line) => decode(line, id)), [])
        : [];
      const file = here.has(id) ? await read(() => Journal.read(fileOf(o.directory, id)), []) : [];
      const entries = stored.length >= file.length ? stored : file;
      const [begin] = entries;
      if (begin?.type === "begin" && begin.plan.pair === o.pair) yield { switchoverId: id, entries };
    }
  }

  static async list(directory: string): Promise<string[]> {
    const names = await readdir(directory).catch(() => []);
    return names
      .filter((name) => name.endsWith(".jsonl"))
      .sort()
      .map((name) => path.join(directory, name));
  }

  get entries(): readonly JournalEntry[] {
    return this.recorded;
  }

  /** The plan that counts now: the abort's where one was begun. */
  get plan(): Plan {
    const plan = lastPlanOf(this.recorded);
    if (plan !== undefined) return plan;
    throw new DrError({ code: "journal", attempted: `Read the plan of ${this.switchoverId}`, seen: "no begin entry" });
  }

  isDone(step: string, item: string): boolean {
    return this.done.get(step)?.has(item) === true;
  }

  isEnded(step: string): boolean {
    return this.ended.has(step);
  }

  /** Of a step that is done for one group after another, its group's part. */
  isPassed({ id, group }: Pick<PlannedStep, "id" | "group">): boolean {
    return this.ended.has(id) || (group !== undefined && this.ended.has(partOf({ id, group })));
  }

  approvalOf(group: string): { readonly by: string; readonly at: string } | undefined {
    return this.recorded.find((entry) => entry.type === "approve" && entry.group === group) as
      Extract<JournalEntry, { type: "approve" }> | undefined;
  }

  isBegun(step: string): boolean {
    return this.begun.has(step);
  }

  /** From the moment the cutover may have begun, or Cinder's services stop: then there is no way back, only forward. */
  get pastCutover(): boolean {
    return this.cutoverBegun || this.touched("promote/");
  }

  /** From the moment a mirror may have been broken, also by other hands: then the step is done without an intent. */
  get cutoverBegun(): boolean {
    return this.touched("cutover/");
  }

  private touched(phase: string): boolean {
    return this.recorded.some(
      (entry) => (entry.type === "intent" || entry.type === "done") && entry.step.startsWith(phase),
    );
  }

  factsOf(step: string): ReadonlyMap<string, Facts> {
    return this.facts.get(step) ?? new Map<string, Facts>();
  }

  /** What is asked for each item, of a journal with several entries for each. */
  private remember(entry: JournalEntry): void {
    if (entry.type === "begin" || entry.type === "abort") {
      // Since the plan that counts was written.
      this.done.clear();
      this.begun.clear();
      this.ended.clear();
    } else if (entry.type === "step") {
      this.begun.add(entry.step);
      if (entry.event === "end")
        this.ended.add(partOf({ id: entry.step, ...(entry.group === undefined ? {} : { group: entry.group }) }));
    } else if (entry.type === "done") {
      if (!this.done.has(entry.step)) this.done.set(entry.step, new Set());
      this.done.get(entry.step)?.add(entry.item);
      if (!this.facts.has(entry.step)) this.facts.set(entry.step, new Map());
      this.facts.get(entry.step)?.set(entry.item, entry.facts);
    }
  }

  /**
   * In the database and on disk (fsync) when it resolves. Concurrent calls keep their order, and those that come while one
   * is written are written together: dozens of instances begin and end at the same time. The database comes first: it
   * refuses a second writer of the same journal before that one's lines are in the file.
   */
  append(body: EntryBody): Promise<void> {
    this.waiting.push({ at: this.clock.now().toISOString(), ...body });
    const result = this.tail.then(() => this.write());
    this.tail = result.catch(() => undefined);
    return result;
  }

  private async write(): Promise<void> {
    if (this.failure !== undefined) throw this.failure.error;
    const entries = this.waiting.splice(0);
    if (entries.length === 0) return; // the one before took it along
    const lines = entries.map((entry) => JSON.stringify(entry));
    try {
      await this.coordination.appendJournal(this.switchoverId, this.recorded.length, this.pair, lines);
      await appendDurably(this.file, lines);
    } catch (error) {
      this.failure = { error };
      throw error;
    }
    for (const entry of entries) {
      this.recorded.push(entry);
      this.remember(entry);
    }
  }

  async close(outcome: "completed" | "aborted"): Promise<void> {
    await this.append({ type: "end", outcome });
    await this.coordination.closeSwitchover(this.switchoverId);
  }
}

/**
 * What was completed, newest first, by the database's copies; with a time, what was closed no longer ago. Read as it is
 * asked for: each is a query.
 */
export async function* endedSwitchovers(
  coordination: Pick<CoordinationPort, "listSwitchovers" | "readJournal">,
  pair: string,
  closedWithinSeconds = Infinity,
): AsyncGenerator<{
  readonly switchoverId: string;
  readonly plan: Plan;
  readonly entries: readonly JournalEntry[];
  readonly endedAt: string;
}> {
  for (const { switchoverId, closedSecondsAgo = 0 } of await coordination.listSwitchovers(pair)) {
    if (closedSecondsAgo > closedWithinSeconds) continue;
    const entries = (await coordination.readJournal(switchoverId)).map((line) => decode(line, switchoverId));
    const plan = lastPlanOf(entries);
    const last = entries.at(-1);
    if (plan !== undefined && last?.type === "end" && last.outcome === "completed")
      yield { switchoverId, plan, entries, endedAt: last.at };
  }
}

function lastPlanOf(entries: readonly JournalEntry[]): Plan | undefined {
  return entries
    .flatMap((e) => (e.type === "begin" || e.type === "abort" || e.type === "replan" ? [e.plan] : []))
    .at(-1);
}

function hasEnded(lines: readonly string[], id: string): boolean {
  const last = lines.at(-1);
  return last !== undefined && decode(last, id).type === "end";
}

function fileOf(directory: string, id: string): string {
  return path.join(directory, `${id}.jsonl`);
}

/** A line that was cut by the process's death has no newline yet: it announced nothing that was begun. */
async function readLines(file: string): Promise<string[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.split("\n").slice(0, -1);
}

/** @throws DrError `journal` for whatever the disk refuses; what was written of a line counts as torn. */
async function appendDurably(file: string, lines: readonly string[]): Promise<void> {
  try {
    const handle = await open(file, "a+", 0o600);
    try {
      const { size } = await handle.stat();
      // A torn line of a run that died is cut off first.
      if (size > 0) {
        const last = Buffer.alloc(1);
        await handle.read(last, 0, 1, size - 1);
        if (last.toString() !== "\n")
          await handle.truncate(Buffer.byteLength((await readLines(file)).map((l) => `${l}\n`).join("")));
      }
      await handle.appendFile(lines.map((line) => `${line}\n`).join(""));
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new DrError({
      code: "journal",
      attempted: `Write the journal ${file}`,
      seen: messageOf(error),
      remedy: "Make room on the disk of journalDir, or correct its rights; then run again: it goes on from here.",
      cause: error,
    });
  }
}

function decode(line: string, where: string): JournalEntry {
  try {
    return JSON.parse(line) as JournalEntry;
  } catch (error) {
    throw new DrError({
      code: "journal",
      attempted: `Read the journal ${where}`,
      seen: messageOf(error),
      remedy: "Restore it from its other copy.",
    });
  }
}
