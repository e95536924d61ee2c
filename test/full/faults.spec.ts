/**
 * Every call of the engine meets every fault that it can meet, over every journey (test/support/faults/cases.ts), on
 * embedded labs side by side: a case mostly waits. CHEESECAKE_FAULTS=500 takes so many of the cases, drawn by the seed;
 * CHEESECAKE_FAULTS_FILE=FILE keeps what became of each, so that a run of an hour that was ended goes on with the rest.
 */
import assert from "node:assert/strict";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { missingFor } from "../../lab/lab";
import { type FaultCase, sampleOf } from "../support/faults/cases";
import { Matrix, type Outcome, rowsOf } from "../support/faults/matrix";
import { faultTable, tellReliability } from "../support/reliability";
import { skipBecause } from "../support/skip";

const SEED = 1;
const LABS = 3;
const FILE = process.env["CHEESECAKE_FAULTS_FILE"];
const SIZE = Number(process.env["CHEESECAKE_FAULTS"] ?? Infinity);

const say = (line: string): void => console.log(`      ${new Date().toISOString().slice(11, 19)} ${line}`);

describe("calls of the engine that fail", function () {
  this.timeout(6 * 3_600_000);
  const matrices = Array.from({ length: LABS }, () => new Matrix(say));

  before(function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
  });
  after(() => Promise.all(matrices.map((matrix) => matrix.close())));

  it("stop with an error that tells where, or don't matter; the next up completes", async () => {
    const [first] = matrices;
    assert.ok(first);
    const all = await first.cases(SEED);
    const cases = SIZE < all.length ? sampleOf(all, SIZE, SEED) : all;
    assert.ok(all.length >= 300, `only ${all.length} cases`);
    const earlier = keptOf(cases);
    const waiting = cases.filter((one) => !earlier.some((outcome) => outcome.case === one));
    let left = waiting.length;
    const tell = (outcome: Outcome): void => {
      const { case: one, end, why } = outcome;
      say(`${end}, ${--left} left: ${one.id}${why === undefined ? "" : `\n        ${why}`}`);
      if (FILE !== undefined) appendFileSync(FILE, `${JSON.stringify({ id: one.id, end, why })}\n`);
    };
    const shares = matrices.map((_, share) => waiting.filter((_case, at) => at % LABS === share));
    // All of them to their end: one that goes on would bring labs up behind the hook that takes them down.
    const runs = await Promise.allSettled(matrices.map((matrix, at) => matrix.run(shares[at] ?? [], tell)));
    const outcomes = runs.flatMap((run) => {
      if (run.status === "rejected") throw run.reason;
      return run.value;
    });
    outcomes.push(...earlier);
    const rows = rowsOf(outcomes);
    faultTable(rows).split("\n").forEach(say);
    const failures = outcomes.filter(({ end }) => end === "failed").map(({ case: one, why }) => `${one.id}: ${why}`);
    const journeys: Record<string, number> = {};
    for (const { case: one } of outcomes) journeys[one.journey] = (journeys[one.journey] ?? 0) + 1;
    await tellReliability({
      faultCases: {
        passed: outcomes.length - failures.length,
        failed: failures.length,
        seed: SEED,
        cases: rows,
        journeys,
      },
    });
    assert.deepEqual(failures, []);
  });
});

/** What became of them in the run that this one goes on with. */
function keptOf(cases: readonly FaultCase[]): Outcome[] {
  if (FILE === undefined || !existsSync(FILE)) return [];
  const rows = readFileSync(FILE, "utf8").trim().split("\n");
  const kept = rows.map((row) => JSON.parse(row) as Pick<Outcome, "end" | "why"> & { readonly id: string });
  return cases.flatMap((one) => {
    const found = kept.findLast(({ id }) => id === one.id);
    return found === undefined ? [] : [{ ...found, case: one }];
  });
}
