/** Which faults are tried: every call of a recorded journey, with every fault that it can meet. */
import { createHash } from "node:crypto";

/** `ontap-from`: at the site that is left (after a loss: that was lost); `ontap-to`: at the other one. */
export type System = "keystone" | "cinder" | "nova" | "ontap-from" | "ontap-to";

/** A call of the engine, ids replaced by `*`: the same at every run. */
export interface Call {
  /** Of the journal; `before` the first one, `after` the last. */
  readonly step: string;
  readonly system: System;
  readonly method: string;
  readonly path: string;
  readonly status: number;
}

export const kinds = [
  "409",
  "500",
  "503 with Retry-After",
  "no answer before the deadline",
  "connection reset",
  "half an answer",
  "done, but the answer lost",
  "job that fails",
  "answer that never changes",
] as const;
export type Kind = (typeof kinds)[number];

export interface FaultCase {
  readonly id: string;
  readonly journey: string;
  readonly call: Call;
  readonly kind: Kind;
}

export const callKey = ({ system, method, path }: Call): string => `${system} ${method} ${path}`;
export const changes = ({ system, method }: Call): boolean => system !== "keystone" && method !== "GET";

const jobs = /\/cluster\/jobs\//;

export function meets(call: Call, kind: Kind): boolean {
  switch (kind) {
    case "done, but the answer lost":
      return changes(call); // of a read it's the same as a reset
    case "job that fails":
      return changes(call) && call.system.startsWith("ontap") && call.status === 202;
    case "answer that never changes":
      // A token is another one each time; versions and identities never change anyway.
      return (
        call.method === "GET" &&
        (jobs.test(call.path) || /\/(servers|volumes|os-|attachments|snapmirror|storage|protocols)/.test(call.path))
      );
    default:
      return true;
  }
}

/**
 * A call that changes something meets every fault at every step of every journey that makes it; one that only reads meets
 * every fault once, at a step of a journey that the seed draws: its way through the client is the same wherever it's asked.
 */
export function casesOf(recordings: ReadonlyMap<string, readonly Call[]>, seed: number): FaultCase[] {
  const cases = new Map<string, FaultCase>();
  const add = (journey: string, call: Call, kind: Kind): void => {
    const id = `${journey} / ${call.step} / ${callKey(call)} / ${kind}`;
    cases.set(id, { id, journey, call, kind });
  };
  const reads = new Map<string, { journey: string; call: Call }[]>();
  for (const [journey, calls] of recordings)
    for (const call of calls) {
      if (changes(call)) kinds.filter((kind) => meets(call, kind)).forEach((kind) => add(journey, call, kind));
      else reads.set(callKey(call), [...(reads.get(callKey(call)) ?? []), { journey, call }]);
    }
  for (const [key, places] of reads)
    for (const kind of kinds) {
      const unique = [...new Map(places.map((place) => [`${place.journey} ${place.call.step}`, place])).values()];
      const drawn = unique[draw(`${seed} ${key} ${kind}`, unique.length)];
      if (drawn !== undefined && meets(drawn.call, kind)) add(drawn.journey, drawn.call, kind);
    }
  return [...cases.values()];
}

/** So many of them, drawn by the seed, each kind and journey about equally often. */
export function sampleOf(cases: readonly FaultCase[], size: number, seed: number): FaultCase[] {
  const order = [...cases].sort((a, b) => draw(`${seed} ${a.id}`, 2 ** 32) - draw(`${seed} ${b.id}`, 2 ** 32));
  const taken: FaultCase[] = [];
  const count = (of: (one: FaultCase) => string, value: string) => taken.filter((one) => of(one) === value).length;
  const weight = (one: FaultCase) => count(({ kind }) => kind, one.kind) + count(({ journey }) => journey, one.journey);
  while (taken.length < size && order.length > 0) {
    const least = order.reduce((best, one) => (weight(one) < weight(best) ? one : best));
    taken.push(...order.splice(order.indexOf(least), 1));
  }
  return taken;
}

/** The same for the same text on every machine. */
export function draw(text: string, below: number): number {
  return createHash("sha256").update(text).digest().readUInt32BE(0) % below;
}

// --------------------------------------------------------------------------------------------------------------- effects

export interface Effect {
  readonly effect: Readonly<Record<string, unknown>> & { readonly kind: string };
  /** 0: as long as the run lasts. A read is repeated by the client, so that once alone would never be seen. */
  readonly count: number;
}

/** As the simulators' faults are written. */
export function effectOf({ call, kind }: Pick<FaultCase, "call" | "kind">): Effect {
  const lasting = changes(call) ? 1 : 0;
  switch (kind) {
    case "409":
      return { effect: refusal(call, 409), count: 1 };
    case "500":
      return { effect: refusal(call, 500), count: lasting };
    case "503 with Retry-After":
      return { effect: { ...refusal(call, 503), headers: { "retry-after": "1" } }, count: 1 };
    case "no answer before the deadline":
      return { effect: { kind: "hang" }, count: lasting };
    case "connection reset":
      return { effect: { kind: "reset" }, count: lasting };
    case "half an answer":
      return { effect: { kind: "half-answer" }, count: lasting };
    case "done, but the answer lost":
      return { effect: { kind: "lost-answer" }, count: 1 };
    case "job that fails":
      return { effect: { kind: "job-failure", code: "13303847", message: "The operation failed." }, count: 1 };
    case "answer that never changes":
      return { effect: { kind: "frozen" }, count: 0 };
  }
}

function refusal({ system }: Call, status: 409 | 500 | 503): Effect["effect"] {
  const message = { 409: "Conflict with what is under way.", 500: "Internal error.", 503: "Service unavailable." }[
    status
  ];
  if (system.startsWith("ontap"))
    return { kind: "status", status, code: status === 409 ? "262256" : "262145", message };
  const fault = { 409: "conflictingRequest", 500: "computeFault", 503: "serviceUnavailable" }[status];
  return { kind: "status", status, body: { [system === "keystone" ? "error" : fault]: { code: status, message } } };
}
