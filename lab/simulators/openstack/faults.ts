/** Faults on request: by service, method and path, from the nth call on, for so many calls. */
import { faultPath } from "../fault-path";

export interface FaultRule {
  method?: string;
  /** `*` stands for anything, `{id}` for one UUID: "/v3/volumes/*". */
  path: string;
  /** Counted from 1; default 1. */
  nth?: number;
  /** How many calls from the nth on; default 1; 0: all. */
  count?: number;
  /** Only calls of this User-Agent; "" stands for none. */
  who?: string;
  effect:
    | { kind: "delay"; delayMs: number }
    | { kind: "status"; status: number; body: unknown; headers?: Record<string, string> }
    /** The connection is reset; nothing is done. */
    | { kind: "reset" }
    /** No answer, nothing is done, the connection stays. */
    | { kind: "hang" }
    /** Done, but the connection is reset instead of an answer. */
    | { kind: "lost-answer" }
    /** Done, but the connection is reset after half of the answer. */
    | { kind: "half-answer" }
    /** Answered as the first time that the rule met this URL, whatever has changed since. */
    | { kind: "frozen" }
    /** Done twice, as when a proxy repeats a request; the second answer is sent. */
    | { kind: "twice" };
}

const kinds = ["delay", "status", "reset", "hang", "lost-answer", "half-answer", "frozen", "twice"];

/** `Answer`: what a service answers with. */
export class Faults<Answer> {
  private armed: { rule: FaultRule; pattern: RegExp; seen: number }[] = [];
  /** What frozen calls were answered at first, by method and URL. */
  readonly frozen = new Map<string, Answer>();

  add(rule: FaultRule): void {
    if (typeof rule.path !== "string" || !kinds.includes(rule.effect.kind))
      throw new Error(`A fault needs a path and an effect whose kind is one of ${kinds.join(", ")}.`);
    this.armed.push({ rule, pattern: faultPath(rule.path), seen: 0 });
  }

  clear(): void {
    this.armed = [];
    this.frozen.clear();
  }

  /** Counts the call for every rule that it matches, and returns the effects that apply to it. */
  hit(method: string, path: string, who: string): FaultRule["effect"][] {
    return this.armed.flatMap((armed) => {
      const { rule, pattern } = armed;
      if ((rule.method ?? method) !== method || (rule.who ?? who) !== who || !pattern.test(path)) return [];
      armed.seen++;
      const first = rule.nth ?? 1;
      const count = rule.count ?? 1;
      return armed.seen >= first && (count === 0 || armed.seen < first + count) ? [rule.effect] : [];
    });
  }
}
