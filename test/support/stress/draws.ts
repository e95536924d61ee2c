/** What happens in a round, by its seed alone: so that any of them can be repeated alone. */
import { type Call, changes, draw, effectOf, kinds, meets } from "../faults/cases";
import type { Fault, JourneyName } from "../faults/lab";

/** Journeys of a round; each leaves the other site active and protected. */
const ways: readonly { readonly parts: readonly JourneyName[]; readonly weight: number }[] = [
  { parts: ["planned"], weight: 6 },
  { parts: ["planned, deferred", "promotion"], weight: 5 },
  { parts: ["planned, direct"], weight: 4 },
  { parts: ["unplanned", "reprotect"], weight: 2 },
  { parts: ["unplanned, direct", "reprotect"], weight: 2 },
];

export interface DrawnFault {
  readonly part: number;
  /** Whether the call changes something. */
  readonly changing: boolean;
  /** Shares: of the calls, of the kinds that the call can meet, of the times that the step makes it. */
  readonly call: number;
  readonly kind: number;
  readonly nth: number;
  /** 0: as long as the run lasts. */
  readonly count: number;
}

export interface DrawnKill {
  readonly part: number;
  /** Share of what the journey takes undisturbed. */
  readonly moment: number;
}

export interface Round {
  readonly seed: number;
  readonly parts: readonly JourneyName[];
  readonly faults: readonly DrawnFault[];
  /** Each hits a run of its own, the second one the run that resumes. */
  readonly kills: readonly DrawnKill[];
  /** Somebody restarts cinder-volume where a run has stopped: NetApp's driver looks after its mirrors then. */
  readonly restarts: boolean;
}

export function drawRound(seed: number): Round {
  const below = (what: string, limit: number): number => draw(`stress ${seed} ${what}`, limit);
  const share = (what: string): number => below(what, 1000) / 1000;
  const tickets = ways.flatMap(({ parts, weight }) => Array.from({ length: weight }, () => parts));
  const parts = tickets[below("way", tickets.length)] ?? [];
  const several = <T>(what: string, most: number, make: (name: string) => T): T[] =>
    Array.from({ length: below(what, most + 1) }, (_, at) => make(`${what} ${at}`));
  return {
    seed,
    parts,
    faults: several("faults", 3, (name) => ({
      part: below(`${name} part`, parts.length),
      changing: below(`${name} changing`, 2) === 0,
      call: share(`${name} call`),
      kind: share(`${name} kind`),
      nth: share(`${name} nth`),
      count: below(`${name} count`, 4),
    })),
    kills: several("kills", 2, (name) => ({
      part: below(`${name} part`, parts.length),
      moment: share(`${name} moment`),
    })),
    restarts: below("restarts", 3) === 0,
  };
}

/** What only a round has, beside the kinds of `cases.ts`. */
const furtherKinds = ["late answer", "done twice"] as const;
export type StressKind = (typeof kinds)[number] | (typeof furtherKinds)[number];

export interface StressFault extends Fault {
  readonly kind: StressKind;
}

export interface Called extends Call {
  /** How often the step makes it. */
  readonly times: number;
}

/** Which call that is, and what it meets: of the calls that the journey makes undisturbed. */
export function faultOf(drawn: DrawnFault, calls: readonly Called[]): StressFault {
  const pick = <T>(from: readonly T[], share: number): T => {
    const picked = from[Math.floor(share * from.length)];
    if (picked === undefined) throw new Error("there is nothing to draw from");
    return picked;
  };
  const call = pick(
    calls.filter((one) => changes(one) === drawn.changing),
    drawn.call,
  );
  // Only the OpenStack simulators repeat a request.
  const further = furtherKinds.filter(
    (kind) => kind !== "done twice" || (changes(call) && !call.system.startsWith("ontap")),
  );
  const kind = pick([...kinds.filter((one) => meets(call, one)), ...further], drawn.kind);
  const { step, system, method, path } = call;
  const fault = {
    call: { step, system, method, path },
    kind,
    nth: 1 + Math.floor(drawn.nth * call.times),
    count: drawn.count,
  };
  switch (kind) {
    case "late answer":
      return { ...fault, effect: { kind: "delay", delayMs: 2_000 } };
    case "done twice":
      return { ...fault, effect: { kind: "twice" } };
    case "answer that never changes":
      return { ...fault, ...effectOf({ call, kind }), nth: 1 };
    default:
      return { ...fault, effect: effectOf({ call, kind }).effect };
  }
}
