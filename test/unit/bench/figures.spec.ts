import assert from "node:assert/strict";
import type { Journey } from "../../../bench/journey";
import { chainOf, limit, ratioOf } from "../../../bench/limit";
import { spreadOf } from "../../../bench/measurement";
import type { ProductionRuns } from "../../../bench/production";
import { polledByVolume, requests, type Requests } from "../../../bench/requests";
import { exponentOf, scale, type Scale } from "../../../bench/scale";
import { service } from "../../../bench/service";

describe("what is made of measurements", () => {
  it("is the middle and both ends of what was repeated", () => {
    assert.deepEqual(spreadOf([3, 1, 2]), { min: 1, median: 2, max: 3, times: 3 });
    assert.deepEqual(spreadOf([4, 1, 2, 3]), { min: 1, median: 2.5, max: 4, times: 4 });
    assert.throws(() => spreadOf([]), RangeError);
  });

  it("is the exponent of growth, where there is more to see than noise", () => {
    const square = [10, 100, 1000].map((x) => [x, 3 * x ** 2] as const);
    assert.equal(exponentOf(square, 0)?.toFixed(6), "2.000000");
    assert.equal(exponentOf(square, 1000)?.toFixed(6), "2.000000");
    assert.equal(exponentOf(square, 1e6), undefined);
  });

  const delays = { api: 40, stop: 5_000, detach: 2_000, attach: 3_000, start: 10_000 };
  const chain = { delays, volumesEach: 4 } as const;
  const journey: Journey = {
    to: "idr",
    instances: 1,
    volumes: 4,
    wallSeconds: 60,
    engineSeconds: 55,
    steps: [
      { id: "quiesce/stop-instances", fromSeconds: 1, toSeconds: 7 },
      { id: "detach/volumes", fromSeconds: 7, toSeconds: 16 },
      { id: "cutover/failover-host", fromSeconds: 16, toSeconds: 20 },
      { id: "attach/volumes", fromSeconds: 20, toSeconds: 33 },
      { id: "start/instances", fromSeconds: 33, toSeconds: 44 },
      { id: "promote/stop-services", fromSeconds: 44, toSeconds: 55 },
    ],
    perInstance: [
      {
        name: "one",
        steps: {
          "quiesce/stop-instances": { fromSeconds: 1.5, toSeconds: 7 },
          "start/instances": { fromSeconds: 33, toSeconds: 43.5 },
        },
      },
    ],
    calls: {},
    memory: { provider: 1, all: 2 },
  };
  const runs: ProductionRuns = { ...chain, alone: journey, journeys: [journey] };

  it("is the shortest chain of an instance, by the delays, with the steps that are taken once for all", () => {
    const seconds = Object.fromEntries(chainOf(chain).map((step) => [step.step, step.seconds]));
    assert.deepEqual(seconds, {
      "hold/lock-instances": 0.04,
      "quiesce/stop-instances": 5.04,
      "detach/volumes": 8.92,
      "attach/volumes": 13.36,
      "start/instances": 10.04,
      "start/unlock-instances": 0.04,
    });
    const once = 4 + 11;
    assert.equal(ratioOf(runs, journey).toFixed(6), (55 / (37.44 + once)).toFixed(6));
    const { markdown, plots = {} } = limit.render(runs);
    assert.match(markdown, /\| `detach\/volumes` +\| 8\.92/);
    assert.deepEqual(Object.keys(plots), ["2-timeline", "2-instances"]);
    for (const svg of Object.values(plots)) assert.match(svg, /^<svg /);
    assert.deepEqual(limit.render(runs), limit.render(runs));
  });

  it("is how long an instance is down, and whether the rest comes after it", async () => {
    const down = { ...spreadOf([42]), times: 1 };
    const times = {
      volumesEach: 4,
      journeys: [
        {
          to: "idr",
          instances: 1,
          wholeSeconds: 60,
          downSeconds: down,
          fromFirstToLastSeconds: 42,
          promoteSeconds: 11,
          reprotectSeconds: 0,
          afterwards: true,
        },
      ],
    };
    assert.deepEqual(
      service.goals(times).map(({ met }) => met),
      [true],
    );
    assert.match(service.goals(times)[0]?.text ?? "", /70.*% of the whole/);
  });

  const calls = (perVolume: number, polls: number): Requests => {
    const counts = (instances: number, polled: number) => ({
      "DELETE nova /v2.1/servers/{id}/os-volume_attachments/{id}": instances * 4,
      "GET nova /v2.1/servers/{id}/os-volume_attachments": instances * 4 * (perVolume - 1) + instances * polled,
      "GET nova /v2.1/servers/detail": 20 * (polled + 1),
    });
    const pace = (times: number) => ({
      times,
      small: counts(10, polls * times),
      large: counts(40, polls * times),
    });
    return { instances: [10, 40], volumesEach: 4, paces: [pace(1), pace(2)] };
  };

  it("is what a volume more costs, and what is polled by volume", () => {
    assert.deepEqual(polledByVolume(calls(3, 0)), []);
    assert.deepEqual(
      requests.goals(calls(3, 0)).map(({ met }) => met),
      [true, true],
    );
    assert.deepEqual(polledByVolume(calls(3, 2)), ["GET nova /v2.1/servers/{id}/os-volume_attachments"]);
    assert.deepEqual(
      requests.goals(calls(5, 2)).map(({ met }) => met),
      [false, false],
    );
  });

  it("is what ten thousand volumes cost more than none", () => {
    const preview = (volumes: number, seconds: number, mib: number): Scale["previews"][number] => ({
      instances: volumes / 4,
      volumes,
      seconds: spreadOf([seconds]),
      memory: spreadOf([mib]),
    });
    const linear: Scale = { previews: [preview(0, 2, 400), preview(1000, 2.4, 420), preview(10_000, 6, 600)] };
    assert.deepEqual(
      scale.goals(linear).map(({ met }) => met),
      [true, true],
    );
    const square: Scale = { previews: [preview(0, 2, 400), preview(1000, 2.4, 420), preview(10_000, 42, 600)] };
    assert.deepEqual(
      scale.goals(square).map(({ met }) => met),
      [false, false],
    );
    assert.match(scale.render(linear).plots?.["4-time"] ?? "", /^<svg /);
  });
});
