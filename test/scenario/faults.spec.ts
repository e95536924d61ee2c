import assert from "node:assert/strict";
import { missingFor } from "../../lab/lab";
import { sampleOf } from "../support/faults/cases";
import { Matrix, rowsOf } from "../support/faults/matrix";
import { faultTable } from "../support/reliability";
import { skipBecause } from "../support/skip";

const SEED = 1;
const SIZE = 12;

const say = (line: string): void => console.log(`      ${line}`);

describe("a call of the engine that fails (a sample; all of them: test/full/faults.spec.ts)", function () {
  this.timeout(600_000);
  const matrix = new Matrix(say);

  before(function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
  });
  after(() => matrix.close());

  it("stops with an error that tells where, or doesn't matter; the next up completes", async () => {
    const cases = await matrix.cases(SEED);
    const sample = sampleOf(cases, SIZE, SEED);
    const outcomes = await matrix.run(sample, ({ case: one, end, why }) =>
      say(`${end}: ${one.id}${why === undefined ? "" : `\n        ${why}`}`),
    );
    say(`${sample.length} of ${cases.length} cases; in brackets: stopped, completed by the next up`);
    faultTable(rowsOf(outcomes)).split("\n").forEach(say);
    const failures = outcomes.filter(({ end }) => end === "failed").map(({ case: one, why }) => `${one.id}: ${why}`);
    assert.deepEqual(failures, []);
    assert.equal(outcomes.length, SIZE);
  });
});
