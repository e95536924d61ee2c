/** Faults on request: by method and path, from the nth call on, for so many calls. */
import { faultPath } from "../fault-path";
import type { Reply } from "./api";
import { OntapError } from "./errors";

export interface FaultRule {
  cluster?: string;
  /** "PATCH"; any without it */
  method?: string;
  /** Path after /api; `*` stands for anything, `{id}` for one UUID: "/snapmirror/relationships/{id}". */
  path: string;
  /** counted from 1; default 1 */
  nth?: number;
  /** how many calls from the nth on; default 1; 0: all */
  count?: number;
  /** only calls of this User-Agent; "" stands for none */
  who?: string;
  effect:
    | { kind: "delay"; delayMs: number }
    | { kind: "status"; status: number; code: string; message: string; headers?: Record<string, string> }
    /** the connection is reset; nothing is done */
    | { kind: "reset" }
    /** no answer, nothing is done, the connection stays */
    | { kind: "hang" }
    /** done, but the connection is reset instead of an answer */
    | { kind: "lost-answer" }
    /** done, but the connection is reset after half of the answer */
    | { kind: "half-answer" }
    /** answered as the first time that the rule met this URL, whatever has changed since */
    | { kind: "frozen" }
    /** 202, and the job fails without having done anything */
    | { kind: "job-failure"; code: string; message: string };
}

interface Armed {
  id: number;
  rule: FaultRule;
  pattern: RegExp;
  seen: number;
}

const kinds = ["delay", "status", "reset", "hang", "lost-answer", "half-answer", "frozen", "job-failure"];

export class Faults {
  private armed: Armed[] = [];
  private lastId = 0;
  /** what frozen calls were answered at first, by cluster, method and URL */
  readonly frozen = new Map<string, Reply>();

  add(rule: FaultRule): number {
    if (typeof rule.path !== "string" || !kinds.includes(rule.effect.kind)) {
      throw new Error(`A fault needs a path and an effect whose kind is one of ${kinds.join(", ")}.`);
    }
    this.armed.push({ id: ++this.lastId, rule, pattern: faultPath(rule.path), seen: 0 });
    return this.lastId;
  }

  clear(): void {
    this.armed = [];
    this.frozen.clear();
  }

  list(): { id: number; rule: FaultRule; seen: number }[] {
    return this.armed.map(({ id, rule, seen }) => ({ id, rule, seen }));
  }

  /** Counts the call for every rule that it matches, and returns the effects that apply to it. */
  hit(cluster: string, method: string, path: string, who: string): FaultRule["effect"][] {
    const effects: FaultRule["effect"][] = [];
    for (const armed of this.armed) {
      const { rule, pattern } = armed;
      if ((rule.cluster ?? cluster) !== cluster || (rule.method ?? method) !== method) continue;
      if ((rule.who ?? who) !== who || !pattern.test(path)) continue;
      armed.seen++;
      const first = rule.nth ?? 1;
      const count = rule.count ?? 1;
      if (armed.seen >= first && (count === 0 || armed.seen < first + count)) effects.push(rule.effect);
    }
    return effects;
  }
}

export const faultError = (effect: { status?: number; code: string; message: string }): OntapError =>
  new OntapError(effect.status ?? 400, effect.code, effect.message);
