import { durationOf } from "./duration";
import type { PlannedStep } from "./plan";

/**
 * How far a run is, in words: fed by what the engine does, asked by whoever shows it. Time is handed in. One line for each
 * step that begins is worth keeping; how things stand is told when it's asked for, however many items there are.
 */

/** What is seen counts more the longer it was seen; the forecast counts like so much of it. */
const PRIOR_SECONDS = 10;
const SLOWEST_PACE = 10;
/** What a step remarks on single objects. */
const REMARKS_OF_A_STEP = 25;

interface Running {
  readonly planned: PlannedStep;
  readonly beganMs: number;
  readonly items: number;
  /** By an earlier run. */
  readonly before: number;
  done: number;
  /** Those under way, the one that began first first. */
  readonly underWay: Map<string, { readonly label: string; readonly sinceMs: number }>;
  remarks: number;
}

export class Progress {
  private latestMs = Number.NEGATIVE_INFINITY;
  private readonly beganMs: number;
  /** By identity: a plan may have a step more than once. */
  private readonly left: Set<PlannedStep>;
  private running: Running | undefined;
  private last: { readonly step: string; readonly seconds: number } | undefined;
  /** Of the steps that this run ended, or its part of them. */
  private seenSeconds = 0;
  private foreseenSeconds = 0;

  constructor(
    private readonly steps: readonly PlannedStep[],
    hasEnded: (planned: PlannedStep) => boolean,
    private readonly now: () => Date,
    /** Requests that were sent again, so far. */
    private readonly retries: () => number = () => 0,
  ) {
    this.beganMs = this.nowMs();
    this.left = new Set(steps.filter((planned) => !hasEnded(planned)));
  }

  stepBegins(planned: PlannedStep, items: number, done: number): string {
    this.left.add(planned);
    this.running = { planned, beganMs: this.nowMs(), items, before: done, done, underWay: new Map(), remarks: 0 };
    const last = this.last === undefined ? "" : `; ${this.last.step} took ${durationOf(this.last.seconds)}`;
    const resumed = done === 0 ? "" : `${done} of ${items} are done; `;
    return `${this.position(planned)}: ${planned.sentence} (${resumed}${this.toGo()}${last})`;
  }

  itemBegins(key: string, label: string): void {
    this.running?.underWay.set(key, { label, sinceMs: this.nowMs() });
  }

  itemEnds(key: string): void {
    if (this.running === undefined) return;
    this.running.underWay.delete(key);
    this.running.done += 1;
  }

  stepEnds(): void {
    if (this.running === undefined) return;
    const { planned, beganMs, items, before } = this.running;
    const seconds = (this.nowMs() - beganMs) / 1000;
    this.seenSeconds += seconds;
    this.foreseenSeconds += planned.forecastSeconds * (items === 0 ? 1 : 1 - before / items);
    this.last = { step: planned.id, seconds };
    this.left.delete(planned);
    this.running = undefined;
  }

  /** A word of the running step on one object, as long as there aren't too many. */
  remark(line: string): string | undefined {
    if (this.running === undefined) return line;
    this.running.remarks += 1;
    if (this.running.remarks < REMARKS_OF_A_STEP) return line;
    return this.running.remarks === REMARKS_OF_A_STEP ? `${line} (further ones of this step are not shown)` : undefined;
  }

  /** How things stand now. */
  status(): string {
    const retries = this.retries();
    const repeated = retries === 0 ? [] : [`${retries} ${retries === 1 ? "request" : "requests"} repeated`];
    if (this.running === undefined) return [this.toGo(), ...repeated].join("; ");
    const { planned, beganMs, items, done, underWay } = this.running;
    const nowMs = this.nowMs();
    const count = items > 1 ? `${done} of ${items}, ` : "";
    const [slowest] = underWay.values();
    return [
      `${this.position(planned)}: ${count}since ${durationOf((nowMs - beganMs) / 1000)}`,
      this.toGo(),
      ...(slowest === undefined || items <= 1
        ? []
        : [`slowest: ${slowest.label}, since ${durationOf((nowMs - slowest.sinceMs) / 1000)}`]),
      ...repeated,
    ].join("; ");
  }

  summary(): string {
    const forecast = this.steps.reduce((sum, planned) => sum + planned.forecastSeconds, 0);
    const retries = this.retries();
    const repeated = retries === 0 ? "" : `; ${retries} requests repeated`;
    return `all ${this.steps.length} steps are done; this run took ${durationOf((this.nowMs() - this.beganMs) / 1000)}, the forecast for all was ${durationOf(forecast)}${repeated}`;
  }

  /** The plan's forecast of what is left, at the pace that was seen. */
  secondsToGo(): number {
    const now = this.running;
    let seen = this.seenSeconds;
    let foreseen = this.foreseenSeconds;
    let current = 0;
    const elapsed = now === undefined ? 0 : (this.nowMs() - now.beganMs) / 1000;
    if (now !== undefined && now.done > now.before) {
      seen += elapsed;
      foreseen += (now.planned.forecastSeconds * (now.done - now.before)) / now.items;
    }
    const pace = Math.min(SLOWEST_PACE, (seen + PRIOR_SECONDS) / (foreseen + PRIOR_SECONDS));
    if (now !== undefined) {
      const share = now.items === 0 ? 1 : 1 - now.done / now.items;
      current = now.planned.forecastSeconds * share * pace;
      // Nothing of it is done yet: what has passed was part of it.
      if (now.done === now.before) current = Math.max(0, current - elapsed);
    }
    const later = [...this.left].filter((planned) => planned !== now?.planned);
    return current + pace * later.reduce((sum, planned) => sum + planned.forecastSeconds, 0);
  }

  private toGo(): string {
    return `${about(this.secondsToGo())} to go`;
  }

  private position(planned: PlannedStep): string {
    return `[${this.steps.indexOf(planned) + 1}/${this.steps.length}] ${planned.id}`;
  }

  /** Never before what it was: a clock may be put back. */
  private nowMs(): number {
    this.latestMs = Math.max(this.latestMs, this.now().getTime());
    return this.latestMs;
  }
}

/** As precise as a forecast is. */
function about(seconds: number): string {
  if (seconds < 10) return "some seconds";
  if (seconds < 60) return `about ${10 * Math.round(seconds / 10)} s`;
  if (seconds < 600) return `about ${Math.round(seconds / 60)} min`;
  if (seconds < 5400) return `about ${5 * Math.round(seconds / 300)} min`;
  return `about ${Math.round(seconds / 1800) / 2} h`;
}
