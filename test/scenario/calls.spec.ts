import assert from "node:assert/strict";
import { Calls, type CallCounts, isReading, total } from "../../bench/calls";
import { populateLab } from "../../lab/embedded/populate";
import { missingFor } from "../../lab/lab";
import { say, sayFailures, Scene, type Site } from "../openstack/support";
import { skipBecause } from "../support/skip";

const VOLUMES_EACH = 4;
const [FEW, MANY] = [3, 12] as const;
/** What belongs to one instance or volume, and how often it's made for each volume. */
const own: Readonly<Record<string, number>> = {
  "DELETE nova /v2.1/servers/{id}/os-volume_attachments/{id}": 1,
  "POST nova /v2.1/servers/{id}/os-volume_attachments": 1,
  // Lock, stop, start, unlock.
  "POST nova /v2.1/servers/{id}/action": 4 / VOLUMES_EACH,
  // Twice for the plan, by `check` and under the lease; once to prove that all is attached.
  "GET nova /v2.1/servers/{id}/os-volume_attachments": 3 / VOLUMES_EACH,
};

/** Counts of calls stay what they are on a slow machine; docs/performance.md has them of larger sizes. */
describe("calls of a switchover (embedded)", function () {
  this.timeout(600_000);
  let scene: Scene;

  before(async function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
    scene = await Scene.open({ flavour: "embedded", instances: 1, dataPath: "files" });
    scene.configure({ promotion: "immediate" });
    await scene.up();
  });
  sayFailures(() => scene);
  after(() => scene?.close());

  async function switchover(site: Site, more: number): Promise<{ counts: CallCounts; seconds: number }> {
    const o = { dir: scene.lab.dir, instances: more, volumesPerInstance: VOLUMES_EACH, progress: say };
    await populateLab(o);
    const calls = await Calls.begin(scene.lab);
    const began = Date.now();
    try {
      assert.equal((await scene.flip(site)).verdict, "completed");
    } finally {
      await calls.stop();
    }
    return { counts: calls.counts(), seconds: (Date.now() - began) / 1000 };
  }

  it("are four for each volume; everything else is listed, so often as time passes", async () => {
    const small = await switchover("idr", FEW);
    const large = await switchover("iprod", MANY - FEW);
    const perVolume = (fits: (route: string) => boolean): number =>
      (total(large.counts, fits) - total(small.counts, fits)) / ((MANY - FEW) * VOLUMES_EACH);
    for (const [route, wanted] of Object.entries(own))
      assert.equal(
        perVolume((one) => one === route),
        wanted,
        route,
      );
    const others = Object.keys(large.counts).filter((route) => !(route in own));
    const changing = others.filter((route) => !isReading(route));
    assert.deepEqual(
      changing.filter((route) => perVolume((one) => one === route) > 0.1),
      [],
    );
    // A list is asked for five times a second at most; that of volumes is two requests, one for each backend.
    for (const route of others.filter(isReading)) {
      const count = large.counts[route] ?? 0;
      assert.ok(count <= 10 * large.seconds, `${route}: ${count} in ${large.seconds} s`);
    }
    say(
      `a volume: ${perVolume(() => true).toFixed(2)} calls, of which ${perVolume((one) => !isReading(one)).toFixed(2)} change something`,
    );
  });
});
