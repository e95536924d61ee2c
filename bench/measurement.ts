/** What a measurement is. `bench/measurements.ts` lists them; `bench/main.ts` runs them and writes docs/performance.md. */

export interface Context {
  /** For CI: small sizes, few repeats, some three minutes for all measurements. */
  readonly quick: boolean;
  /** Also what a machine without caches takes, which is minutes of downloading. */
  readonly cold: boolean;
  /** Empty, of this measurement alone, and removed after it. */
  readonly scratch: string;
  readonly signal: AbortSignal;
  say(line: string): void;
}

export interface Goal {
  /** With what was measured, as a sentence: "At most 1.10 × of the critical path: 1.07 ×". */
  readonly text: string;
  readonly met: boolean;
}

export interface Section {
  /** Without its heading. A plot is shown by `![what it shows](performance/NAME.svg)`. */
  readonly markdown: string;
  /** SVG by NAME, which begins with the measurement's number: "2-timeline". */
  readonly plots?: Readonly<Record<string, string>>;
}

/** `R`: what `run` found out, as plain data that JSON carries: the page is made of it alone. */
export interface Measurement<R = unknown> {
  /** Of the list in docs/performance.md, and the key in the JSON. */
  readonly number: number;
  readonly title: string;
  /** What keeps it from running here, in words; it's left out then, and the page says why. */
  missing?(ctx: Pick<Context, "quick" | "cold">): string | undefined;
  run(ctx: Context): Promise<R>;
  /** None where the result is of a `quick` run that is too small to tell. */
  goals(result: R): readonly Goal[];
  /** Pure: the same result gives the same page. */
  render(result: R): Section;
}

/** Of something that was repeated. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
  readonly times: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const [min, max] = [sorted[0], sorted.at(-1)];
  if (min === undefined || max === undefined) throw new RangeError("a spread of nothing");
  const upper = sorted[sorted.length >> 1] ?? max;
  const lower = sorted[(sorted.length - 1) >> 1] ?? min;
  return { min, median: (lower + upper) / 2, max, times: sorted.length };
}
