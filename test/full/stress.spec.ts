/**
 * Switchovers back and forth that meet faults and kills at random, each by a seed of its own. CHEESECAKE_STRESS_SEED is the
 * first one, CHEESECAKE_STRESS_ROUNDS says how many.
 */
import assert from "node:assert/strict";
import { missingFor } from "../../lab/lab";
import { tellReliability } from "../support/reliability";
import { skipBecause } from "../support/skip";
import { Stress } from "../support/stress/stress";

const SEED = Number(process.env["CHEESECAKE_STRESS_SEED"] ?? 1);
const ROUNDS = Number(process.env["CHEESECAKE_STRESS_ROUNDS"] ?? 100);

const say = (line: string): void => console.log(`      ${new Date().toISOString().slice(11, 19)} ${line}`);

describe(`each of ${ROUNDS} switchovers with faults and kills at random (seeds from ${SEED} on)`, function () {
  this.timeout(6 * 3_600_000);
  const stress = new Stress(say);

  before(function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
  });
  after(() => stress.close());

  it("ends as if nothing had happened", async () => {
    const seeds = Array.from({ length: ROUNDS }, (_, at) => SEED + at);
    const { numbers, failures } = await stress.rounds(seeds, (stressRuns) => tellReliability({ stressRuns }));
    assert.deepEqual(failures, []);
    assert.equal(numbers.passed, ROUNDS);
  });
});
