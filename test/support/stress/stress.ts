/**
 * Switchovers back and forth on one lab, each made to fail and killed as its seed says, and carried on with until it's done:
 * then everything has to be as after the same journey undisturbed.
 */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import type { SwitchoverState } from "../../../lib/switchover";
import { type StressRuns, stressTables } from "../reliability";
import { callKey } from "../faults/cases";
import type { Site } from "../../openstack/site-pair";
import { FaultLab, isLoss, type Journey, type JourneyName, journeyOf, type Made } from "../faults/lab";
import { assertOnce, effectsOf } from "../faults/matrix";
import { type Called, drawRound, faultOf, type Round, type StressFault } from "./draws";
import type { Order, Told } from "./engine";

/** No run of the engine takes that long; one that does hangs. */
const LONGEST_RUN_MS = 180_000;
const LOOK_EVERY_MS = 200;

interface Outcome {
  readonly round: Round;
  /** Why the round failed. */
  readonly failed?: string;
  readonly faults: readonly (StressFault & { readonly met: boolean })[];
  /** The step that each kill hit; undefined where the run had ended before. */
  readonly kills: readonly (string | undefined)[];
  /** Runs that ended with an error, and what it was. */
  readonly stops: readonly string[];
  readonly runs: number;
}

/** A journey without faults and kills. */
interface Whole {
  readonly calls: readonly Called[];
  readonly effects: ReadonlyMap<string, number>;
  readonly takesMs: number;
}

type Ended =
  | { readonly end: "completed"; readonly state: SwitchoverState }
  | { readonly end: "stopped"; readonly why: string }
  | { readonly end: "killed"; readonly at: string };

export class Stress {
  private lab: FaultLab | undefined;
  private at: Site = "iprod";
  /** Of this lab, whose ids are in them. */
  private readonly wholes = new Map<JourneyName, Whole>();
  /** What is at rest at each site. */
  private readonly rest = new Map<Site, object>();

  constructor(private readonly say: (line: string) => void) {}

  async close(): Promise<void> {
    await this.lab?.close();
    this.lab = undefined;
    this.wholes.clear();
    this.rest.clear();
  }

  /** One after another, whatever becomes of each; `onRound` gets the numbers so far. */
  async rounds(
    seeds: readonly number[],
    onRound: (numbers: StressRuns) => Promise<void> = async () => undefined,
  ): Promise<{ readonly numbers: StressRuns; readonly failures: readonly string[] }> {
    const began = Date.now();
    const outcomes: Outcome[] = [];
    for (const seed of seeds) {
      const outcome = await this.round(seed);
      outcomes.push(outcome);
      this.say(lineOf(outcome));
      await onRound(numbersOf(outcomes, (Date.now() - began) / 60_000));
    }
    const numbers = numbersOf(outcomes, (Date.now() - began) / 60_000);
    for (const line of stressTables(numbers).split("\n")) this.say(line);
    return { numbers, failures: outcomes.filter(({ failed }) => failed !== undefined).map(lineOf) };
  }

  private async round(seed: number): Promise<Outcome> {
    const round = drawRound(seed);
    const attempt = new Attempt(round);
    try {
      // Odd ones lead from iprod to idr, even ones back.
      await this.toStartOf(round, seed % 2 === 1 ? "iprod" : "idr");
      for (const [part, name] of round.parts.entries()) await this.part(name, part, attempt);
      await this.assertAtRest();
      return attempt.outcome();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      await this.close(); // the next one begins on a new lab
      return attempt.outcome(why);
    }
  }

  // ----------------------------------------------------------------------------------------------- without disturbance

  private async open(): Promise<FaultLab> {
    if (this.lab !== undefined) return this.lab;
    this.at = "iprod";
    return (this.lab = await FaultLab.open());
  }

  /** Everything that the round is compared with is there, and production is where it begins. */
  private async toStartOf({ parts }: Round, site: Site): Promise<void> {
    await this.open();
    if (parts.some((name) => !this.wholes.has(name)))
      for (const name of parts) this.wholes.set(name, await this.whole(name));
    for (const _ of this.rest.size < 2 ? ["there", "back"] : []) {
      await this.whole("planned");
      this.rest.set(this.at, await (await this.open()).endState());
    }
    if (this.at !== site) await this.whole("planned");
  }

  private async whole(name: JourneyName): Promise<Whole> {
    const lab = await this.open();
    const journey = journeyOf(name, this.at);
    const mark = await lab.begin(journey, this.at);
    const began = Date.now();
    const run = await lab.run(journey);
    const takesMs = Date.now() - began;
    if (run.state === undefined) throw run.error;
    await this.arrived(lab, name, journey, run.state, mark);
    this.say(`${name} to ${journey.to} undisturbed: ${(takesMs / 1000).toFixed(1)} s, ${run.calls.length} calls`);
    return { calls: called(run.calls), effects: effects(run.calls, journey), takesMs };
  }

  private async arrived(
    lab: FaultLab,
    name: JourneyName,
    { from, to }: Journey,
    state: SwitchoverState,
    mark: string,
  ): Promise<void> {
    lab.state = state;
    assert.deepEqual([...new Set(await lab.read(to))], [mark], "other bytes than were written");
    if (isLoss(name)) await lab.setReachable(from, true);
    this.at = to;
  }

  // ---------------------------------------------------------------------------------------------------- with disturbance

  /** One journey, begun again until it's done. */
  private async part(name: JourneyName, part: number, attempt: Attempt): Promise<void> {
    const whole = this.wholes.get(name);
    const { lab } = this;
    assert.ok(whole && lab);
    const journey = journeyOf(name, this.at);
    const { round } = attempt;
    const faults = attempt.draw(part, whole.calls);
    const kills = round.kills.filter((kill) => kill.part === part);
    const mark = await lab.begin(journey, this.at);
    await lab.collect("", journey); // what was asked before
    const made: Made[] = [];
    const twofold = new Set<string>();
    const look = async (): Promise<void> => {
      made.push(...(await lab.collect("", journey)));
      // A lost site keeps its LUN maps until it's asked for: nothing can be done about it (invariant 2).
      if (!isLoss(name) && name !== "reprotect") (await lab.twofold()).forEach((lun) => twofold.add(lun));
    };
    const most = 2 + faults.length + kills.length;
    for (let run = 1; ; run++) {
      assert.ok(run <= most, `${most} runs, and it isn't done: ${attempt.stops.at(-1) ?? ""}`);
      const open = faults.filter((fault) => !isMet(fault, made));
      const kill = kills.shift();
      const before = made.length;
      attempt.runs++;
      const ended = await this.run(journey, open, kill && kill.moment * whole.takesMs, look);
      await lab.disarm();
      for (const fault of open) if (isMet(fault, made)) attempt.met.add(fault);
      if (kill !== undefined) attempt.kills.push(ended.end === "killed" ? ended.at : undefined);
      if (ended.end === "completed") {
        await this.arrived(lab, name, journey, ended.state, mark);
        break;
      }
      if (ended.end === "killed") await lab.letLeaseRunOut();
      else {
        attempt.stops.push(ended.why);
        assert.ok(
          made.slice(before).some(({ fault }) => fault !== undefined),
          `stopped without a fault: ${ended.why}`,
        );
      }
      if (round.restarts && !isLoss(name)) await lab.housekeeping();
      await lab.collect("", journey); // of the housekeeping
    }
    assert.deepEqual([...twofold], [], "writable and mapped at both sites");
    const isRefused = faults.some((fault) => refusesToTurnRound(fault) && attempt.met.has(fault));
    const seen = isRefused ? made.filter(({ path: below }) => !below.startsWith(RELATIONSHIPS)) : made;
    assertOnce(effects(seen, journey), whole.effects);
    if (isRefused) this.assertMadeAnewOnce(made);
    const { switchoverId, verdict, mode, rpoSeconds, lostVolumes } = await lab.report();
    assert.equal(verdict, "completed");
    assert.deepEqual(lostVolumes, []);
    if (mode === "planned" && name.startsWith("planned")) assert.equal(rpoSeconds, 0);
    // A final transfer of a run that was cut off doesn't count.
    const carriedOut = (await lab.carriedOut(switchoverId)).filter((item) => !item.startsWith("final-sync/"));
    assert.deepEqual(carriedOut, [...new Set(carriedOut)], "carried out twice");
  }

  /** A change of a mirror at most once for each FlexVol: it may have been turned round, or deleted and made anew. */
  private assertMadeAnewOnce(made: readonly Made[]): void {
    const flexVols = this.lab?.pair.flexVols.length ?? 0;
    const changesOf = made.filter(({ path: below }) => below.startsWith(RELATIONSHIPS));
    const often = [...effectsOf(changesOf)].filter(([, count]) => count > flexVols);
    assert.deepEqual(often, [], `more often than there are FlexVols (${flexVols})`);
  }

  /** One `up` in a process of its own; never rejects but for one that hangs or dies by itself. */
  private async run(
    journey: Journey,
    faults: readonly StressFault[],
    killAfterMs: number | undefined,
    look: () => Promise<void>,
  ): Promise<Ended> {
    const { lab } = this;
    assert.ok(lab);
    const child = fork(path.join(__dirname, "engine.ts"), {
      execArgv: ["-r", "ts-node/register"],
    });
    const told: Told[] = [];
    let at = "before";
    let kill: NodeJS.Timeout | undefined;
    child.on("message", (message: Told) => {
      told.push(message);
      if (!("step" in message)) return;
      if (killAfterMs !== undefined) kill ??= setTimeout(() => child.kill("SIGKILL"), killAfterMs);
      at = message.step;
    });
    let hangs = false;
    const deadline = setTimeout(() => {
      hangs = true;
      child.kill("SIGKILL");
    }, LONGEST_RUN_MS);
    const exit = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    let going = true;
    const looking = (async () => {
      for (; going; await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))) await look();
    })();
    const order: Order = { lab: lab.lab, state: lab.state, journey, faults };
    child.send(order);
    const [code, signal] = await exit;
    clearTimeout(deadline);
    clearTimeout(kill);
    going = false;
    await looking;
    await look();
    assert.ok(!hangs, `the run hangs in ${at}`);
    const last = told.at(-1);
    if (last !== undefined && "state" in last) return { end: "completed", state: last.state };
    if (last !== undefined && "stopped" in last) {
      const { facts, stopped } = last;
      assert.ok(facts, `it ended with ${stopped}`);
      for (const name of ["attempted", "seen", "state"] as const)
        assert.ok((facts[name] ?? "") !== "", `the error doesn't tell its ${name}: ${stopped}`);
      return { end: "stopped", why: stopped };
    }
    assert.equal(signal, "SIGKILL", `the engine's process ended with ${code ?? signal ?? ""} in ${at}`);
    return { end: "killed", at };
  }

  // -------------------------------------------------------------------------------------------------------------- at rest

  private async assertAtRest(): Promise<void> {
    const { lab } = this;
    assert.ok(lab);
    const faults = (await lab.verify()).flatMap(({ what, faults: found }) => found.map((fault) => `${what}: ${fault}`));
    assert.deepEqual(faults, []);
    assert.deepEqual(await lab.endState(), this.rest.get(this.at));
    assert.equal(await lab.lease(), undefined);
  }
}

/** What a round has come to so far. */
class Attempt {
  readonly faults: StressFault[] = [];
  readonly met = new Set<StressFault>();
  readonly kills: (string | undefined)[] = [];
  readonly stops: string[] = [];
  runs = 0;

  constructor(readonly round: Round) {}

  draw(part: number, calls: readonly Called[]): StressFault[] {
    const drawn = this.round.faults.filter((fault) => fault.part === part).map((fault) => faultOf(fault, calls));
    this.faults.push(...drawn);
    return drawn;
  }

  outcome(failed?: string): Outcome {
    return {
      round: this.round,
      ...(failed === undefined ? {} : { failed }),
      faults: this.faults.map((fault) => ({ ...fault, met: this.met.has(fault) })),
      kills: this.kills,
      stops: this.stops,
      runs: this.runs,
    };
  }
}

const RELATIONSHIPS = "/api/snapmirror/relationships";

/** Then the engine makes new mirrors, by design: another way to the same end. */
const refusesToTurnRound = ({ call }: StressFault): boolean =>
  call.step === "promote/reverse-mirrors" && call.method === "PATCH";

const isMet = ({ call, effect }: StressFault, made: readonly Made[]): boolean =>
  made.some(
    (one) =>
      one.fault === effect.kind && one.system === call.system && one.method === call.method && one.path === call.path,
  );

/** In an order that doesn't depend on which of two calls at once came first. */
function called(calls: readonly Made[]): Called[] {
  const found = new Map<string, Called>();
  for (const { step, system, method, path, status } of calls) {
    const key = `${step} ${callKey({ step, system, method, path, status })}`;
    found.set(key, { step, system, method, path, status, times: (found.get(key)?.times ?? 0) + 1 });
  }
  return [...found.keys()].sort().flatMap((key) => found.get(key) ?? []);
}

/** How often each change took effect, whichever way the journey went. */
function effects(calls: readonly Made[], { from, to }: Journey): Map<string, number> {
  const neutral = calls.map((call) => ({ ...call, what: call.what.replaceAll(from, "FROM").replaceAll(to, "TO") }));
  return effectsOf(neutral);
}

function numbersOf(outcomes: readonly Outcome[], minutes: number): StressRuns {
  const seeds = outcomes.map(({ round }) => round.seed);
  const count = (names: readonly string[]): Record<string, number> =>
    Object.fromEntries([...new Set(names)].sort().map((name) => [name, names.filter((one) => one === name).length]));
  const faults = outcomes.flatMap((outcome) => outcome.faults);
  const hits = outcomes.flatMap((outcome) => outcome.kills.filter((step) => step !== undefined));
  const failed = outcomes.filter((outcome) => outcome.failed !== undefined).length;
  const loads = outcomes.map(
    (outcome) => `${outcome.faults.filter(({ met }) => met).length} ${outcome.kills.filter(Boolean).length}`,
  );
  return {
    passed: outcomes.length - failed,
    failed,
    seeds: [Math.min(...seeds), Math.max(...seeds)],
    minutes: Math.round(minutes),
    rounds: count(outcomes.map(({ round }) => round.parts.join(", then "))),
    runs: {
      begun: outcomes.reduce((sum, { runs }) => sum + runs, 0),
      killed: hits.length,
      stopped: outcomes.reduce((sum, { stops }) => sum + stops.length, 0),
    },
    disturbed: Object.entries(count(loads)).map(([load, rounds]) => {
      const [met = 0, kills = 0] = load.split(" ").map(Number);
      return { faults: met, kills, rounds };
    }),
    faults: Object.entries(count(faults.map(({ kind }) => kind))).map(([kind, drawn]) => ({
      kind,
      drawn,
      met: faults.filter((fault) => fault.kind === kind && fault.met).length,
    })),
    kills: count(hits),
  };
}

/** A round and what became of it, in a line or more: enough to repeat it. */
function lineOf({ round, failed, faults, kills, stops, runs }: Outcome): string {
  const { seed, parts, restarts } = round;
  return [
    `seed ${seed}: ${parts.join(", then ")}: ${failed === undefined ? "passed" : "FAILED"} in ${runs} runs${restarts ? ", cinder-volume restarted between" : ""}`,
    ...faults.map(
      ({ call, kind, nth, count, met }) =>
        `  ${met ? "met" : "not met"}: ${kind}, ${call.step}: ${call.system} ${call.method} ${call.path}, from the ${nth}. on, ${count === 0 ? "all" : count}`,
    ),
    ...kills.map((at) => (at === undefined ? "  not killed, as it had ended" : `  killed in ${at}`)),
    ...round.kills.map(({ part, moment }) => `  kill drawn: ${parts[part] ?? ""} at ${Math.round(moment * 100)} %`),
    ...stops.map((why) => `  stopped: ${why}`),
    ...(failed === undefined
      ? []
      : [`  ${failed}`, `  again: CHEESECAKE_STRESS_SEED=${seed} CHEESECAKE_STRESS_ROUNDS=1`]),
  ].join("\n        ");
}
