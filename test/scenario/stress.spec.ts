import assert from "node:assert/strict";
import { missingFor } from "../../lab/lab";
import { skipBecause } from "../support/skip";
import { Stress } from "../support/stress/stress";

/** Planned with deferred promotion, killed in both its parts; planned, killed while it goes on after a kill. */
const SEEDS = [3, 38];

const say = (line: string): void => console.log(`      ${line}`);

describe("a switchover with faults and kills at random (a sample; all of them: test/full/stress.spec.ts)", function () {
  this.timeout(600_000);
  const stress = new Stress(say);

  before(function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
  });
  after(() => stress.close());

  it("ends as if nothing had happened", async () => {
    const { numbers, failures } = await stress.rounds(SEEDS);
    assert.deepEqual(failures, []);
    assert.equal(numbers.passed, SEEDS.length);
    assert.ok(numbers.runs.killed > 0 && numbers.faults.some(({ met }) => met > 0), "nothing was disturbed");
  });
});
