/**
 * Every call of the engine meets every fault that it can meet, over every journey (test/support/faults/cases.ts), on embedded
 * labs. CHEESECAKE_FAULTS=500 takes so many of the cases, drawn by the seed.
 */
import assert from "node:assert/strict";
import { missingFor } from "../../lab/lab";
import { sampleOf } from "../support/faults/cases";
import { Matrix, rowsOf } from "../support/faults/matrix";
import { faultTable, tellReliability } from "../support/reliability";
import { skipBecause } from "../support/skip";

const SEED = 1;
const SIZE = Number(process.env["CHEESECAKE_FAULTS"] ?? Infinity);

const say = (line: string): void => console.log(`      ${new Date().toISOString().slice(11, 19)} ${line}`);

describe("calls of the engine that fail", function () {
  this.timeout(6 * 3_600_000);
  const matrix = new Matrix(say);

  before(function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
  });
  after(() => matrix.close());

  it("stop with an error that tells where, or don't matter; the next up completes", async () => {
    const all = await matrix.cases(SEED);
    const cases = SIZE < all.length ? sampleOf(all, SIZE, SEED) : all;
    assert.ok(all.length >= 300, `only ${all.length} cases`);
    const outcomes = await matrix.run(cases, ({ case: one, end, why }, left) =>
      say(`${end}, ${left} left: ${one.id}${why === undefined ? "" : `\n        ${why}`}`),
    );
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
