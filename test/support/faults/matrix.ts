/**
 * One fault after another on one lab: each case's end is the next one's start. A case ends with the end state that the
 * journey has without a fault, at once or after a second `up`; and what may never be is looked for on the way.
 */
import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import type { FaultRow } from "../reliability";
import { type Call, callKey, casesOf, changes, effectOf, type FaultCase, kinds } from "./cases";
import type { Site } from "../../openstack/site-pair";
import { FaultLab, isLoss, type Journey, type JourneyName as Way, journeyOf, type Made, type Run } from "./lab";

/** By the names that cases have: there by two runs, back by one. */
const ways = {
  planned: "planned, deferred",
  promotion: "promotion",
  failback: "planned",
  unplanned: "unplanned",
  "unplanned, direct": "unplanned, direct",
  reprotect: "reprotect",
} as const satisfies Record<string, Way>;
export type JourneyName = keyof typeof ways;
const journeys = Object.keys(ways) as JourneyName[];

type Stage = "whole" | "not promoted" | "unprotected";

export interface Outcome {
  readonly case: FaultCase;
  /** `stopped`: and completed by the next up. */
  readonly end: "completed" | "stopped" | "failed";
  /** The error of the run that stopped, or why the case failed. */
  readonly why?: string;
}

/** The journey without a fault. */
interface Whole {
  readonly end: object;
  readonly effects: ReadonlyMap<string, number>;
}

export class Matrix {
  readonly recordings = new Map<JourneyName, readonly Call[]>();
  private lab: FaultLab | undefined;
  private at: Site = "iprod";
  private stage: Stage = "whole";
  /** Whether the last case that failed left its lab without a database. */
  private broke = false;
  private wholes = new Map<string, Whole>();

  constructor(private readonly say: (line: string) => void) {}

  async close(): Promise<void> {
    const { lab } = this;
    this.lab = undefined;
    await lab?.close();
    this.at = "iprod";
    this.stage = "whole";
    this.wholes = new Map();
  }

  /** Every journey once without a fault: what it calls. */
  async record(): Promise<ReadonlyMap<JourneyName, readonly Call[]>> {
    for (const name of [
      "planned",
      "promotion",
      "failback",
      "unplanned",
      "reprotect",
      "unplanned, direct",
      "reprotect",
    ] as const)
      await this.whole(name);
    return this.recordings;
  }

  async cases(seed: number): Promise<readonly FaultCase[]> {
    return casesOf(await this.record(), seed);
  }

  /** All of them, in an order in which each begins where another ended. */
  async run(cases: readonly FaultCase[], onOutcome: (outcome: Outcome) => void): Promise<readonly Outcome[]> {
    const outcomes: Outcome[] = [];
    const again = new Set<FaultCase>();
    const waiting = new Map(journeys.map((name) => [name, cases.filter(({ journey }) => journey === name)]));
    const left = (): number => [...waiting.values()].flat().length;
    while (left() > 0) {
      const open = this.possible().sort((a, b) => (waiting.get(b)?.length ?? 0) - (waiting.get(a)?.length ?? 0));
      const name = open[0] ?? "planned";
      const next = waiting.get(name)?.shift();
      if (next === undefined) {
        await this.whole(name);
        continue;
      }
      const outcome = await this.one(name, next);
      if (outcome.end === "failed" && this.broke && !again.has(next)) {
        this.say(`MariaDB's server has crashed, which no fault asks of it; once more: ${next.id}`);
        again.add(next);
        waiting.get(name)?.unshift(next);
        continue;
      }
      outcomes.push(outcome);
      onOutcome(outcome);
    }
    return outcomes;
  }

  // -------------------------------------------------------------------------------------------------------- journeys

  private possible(): JourneyName[] {
    if (this.stage === "not promoted") return ["promotion"];
    if (this.stage === "unprotected") return ["reprotect"];
    return [this.at === "iprod" ? "planned" : "failback", "unplanned", "unplanned, direct"];
  }

  private arrived(name: JourneyName, { to }: Journey): void {
    this.at = to;
    this.stage = name === "planned" ? "not promoted" : isLoss(name) ? "unprotected" : "whole";
  }

  private async open(): Promise<FaultLab> {
    return (this.lab ??= await FaultLab.open());
  }

  /** Without a fault; remembered for its direction. */
  private async whole(name: JourneyName): Promise<Whole> {
    const lab = await this.open();
    const journey = journeyOf(ways[name], this.at);
    const mark = await lab.begin(journey, this.at);
    const began = Date.now();
    const run = await lab.run(journey);
    if (run.state === undefined) throw run.error;
    lab.state = run.state;
    const whole = { end: await lab.endState(), effects: effectsOf(run.calls) };
    assert.deepEqual([...new Set(await lab.read(journey.to))], [mark]);
    await lab.setReachable(journey.from, true);
    this.say(
      `${name} to ${journey.to} without a fault: ${((Date.now() - began) / 1000).toFixed(1)} s, ${run.calls.length} calls`,
    );
    if (!this.recordings.has(name)) this.recordings.set(name, distinct(run.calls));
    this.wholes.set(`${name} ${journey.to}`, whole);
    this.arrived(name, journey);
    return whole;
  }

  // ------------------------------------------------------------------------------------------------------------- cases

  private async one(name: JourneyName, fault: FaultCase): Promise<Outcome> {
    let stopped: string | undefined;
    try {
      const journey = await this.toStartOf(name);
      const { lab } = this;
      const whole = this.wholes.get(`${name} ${journey.to}`);
      assert.ok(lab && whole);
      const mark = await lab.begin(journey, this.at);
      const watch = this.watch(lab, name);
      const first = await lab.run(journey, [{ call: fault.call, ...effectOf(fault) }]);
      const calls = [...first.calls];
      let last = first;
      if (first.state === undefined) {
        stopped = tellsAll(first);
        if (!isLoss(name)) await lab.housekeeping();
        last = await lab.run(journey);
        calls.push(...last.calls);
        if (last.state === undefined)
          throw new Error(`the second up failed, too: ${String(last.error)} (the first: ${stopped})`);
      }
      lab.state = last.state;
      await watch();
      assert.ok(
        first.calls.some((call) => call.fault !== undefined),
        "the fault wasn't met",
      );
      assert.deepEqual(await lab.endState(), whole.end);
      assert.deepEqual([...new Set(await lab.read(journey.to))], [mark], "other bytes than were written");
      // Where the array doesn't turn a mirror round, a new one is made: by other calls, to the same end.
      const anew = first.said.some((line) => line.includes("doesn't turn mirrors round"));
      const counted = anew ? calls.filter((call) => !call.path.startsWith("/api/snapmirror/")) : calls;
      assertOnce(effectsOf(counted), whole.effects);
      await lab.setReachable(journey.from, true);
      this.arrived(name, journey);
    } catch (error) {
      this.broke = this.lab !== undefined && !this.lab.databaseRuns();
      await this.close(); // the next one begins on a new lab
      return { case: fault, end: "failed", why: error instanceof Error ? error.message : String(error) };
    }
    if (stopped === undefined) return { case: fault, end: "completed" };
    return { case: fault, end: "stopped", why: stopped };
  }

  /** Brings the lab to where the journey begins; without what it is to be compared with, that is made first. */
  private async toStartOf(name: JourneyName): Promise<Journey> {
    await this.open();
    for (;;) {
      const journey = journeyOf(ways[name], this.at);
      if (!this.possible().includes(name)) await this.whole(this.onTheWayTo(name));
      else if (this.wholes.has(`${name} ${journey.to}`)) return journey;
      else await this.whole(name);
    }
  }

  private onTheWayTo(name: JourneyName): JourneyName {
    const [only, ...others] = this.possible();
    if (others.length === 0 || name !== "reprotect") return only ?? "planned";
    return "unplanned";
  }

  /** Looks again and again, besides the journey; resolves to a check of what was seen. */
  private watch(lab: FaultLab, name: JourneyName): () => Promise<void> {
    // A lost site keeps its LUN maps until it's asked for: nothing can be done about it (invariant 2).
    if (isLoss(name) || name === "reprotect") return async () => undefined;
    const seen = new Set<string>();
    let going = true;
    const loop = (async () => {
      while (going) {
        (await lab.twofold()).forEach((path) => seen.add(path));
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
    })();
    return async () => {
      going = false;
      await loop;
      assert.deepEqual([...seen], [], "writable and mapped at both sites");
    };
  }
}

function distinct(calls: readonly Call[]): Call[] {
  const found = new Map<string, Call>();
  for (const { step, system, method, path, status } of calls) {
    const call = { step, system, method, path, status };
    if (!found.has(`${step} ${callKey(call)}`)) found.set(`${step} ${callKey(call)}`, call);
  }
  return [...found.values()];
}

/**
 * How often each change took effect. A transfer is made again by every run that needs one, and takes nothing away. Where
 * freeze and thaw had to open a backend, Cinder had answered its `enable` with 200 and done nothing.
 */
export function effectsOf(calls: readonly Made[]): Map<string, number> {
  const effects = new Map<string, number>();
  const inVain = calls.some(({ path }) => path.endsWith("/os-services/thaw")) ? ["/os-services/enable"] : [];
  for (const call of calls) {
    if (!call.done || !changes(call) || ["/transfers", ...inVain].some((end) => call.path.endsWith(end))) continue;
    const key = `${call.system} ${call.method} ${call.what}`;
    effects.set(key, (effects.get(key) ?? 0) + 1);
  }
  return effects;
}

export function assertOnce(seen: ReadonlyMap<string, number>, whole: ReadonlyMap<string, number>): void {
  const more = [...seen].filter(([key, count]) => count > (whole.get(key) ?? 0));
  assert.deepEqual(
    more.map(([key, count]) => `${count} × ${key}, not ${whole.get(key) ?? 0} ×`),
    [],
  );
}

/** A run that stops says where, on what, what it saw, and in which state things are. */
function tellsAll({ error }: Run): string {
  assert.ok(DrError.is(error), `it ended with ${String(error)}`);
  const { attempted, seen, state } = error;
  for (const [name, text] of Object.entries({ attempted, seen, state }))
    assert.ok(text !== undefined && text !== "", `the error doesn't tell its ${name}: ${error.message}`);
  return error.message;
}

// --------------------------------------------------------------------------------------------------------------- results

export function rowsOf(outcomes: readonly Outcome[]): FaultRow[] {
  const systems = [...new Set(outcomes.map((one) => one.case.call.system))].sort();
  return kinds.flatMap((kind) =>
    systems.flatMap((system) => {
      const here = outcomes.filter((one) => one.case.kind === kind && one.case.call.system === system);
      const count = (end: Outcome["end"]): number => here.filter((one) => one.end === end).length;
      if (here.length === 0) return [];
      return [{ system, kind, completed: count("completed"), stopped: count("stopped"), failed: count("failed") }];
    }),
  );
}
