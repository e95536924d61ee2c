import assert from "node:assert/strict";
import type { PlannedStep } from "../../../lib/switchover/plan";
import { Progress } from "../../../lib/switchover/progress";

const step = (id: string, forecastSeconds: number): PlannedStep => ({
  id,
  phase: id.split("/")[0] as PlannedStep["phase"],
  sentence: `${id} is done`,
  forecastSeconds,
});

/** A run whose time passes only here. */
function begin(steps: readonly PlannedStep[], ended: readonly string[] = []) {
  let nowMs = Date.parse("2026-01-01T00:00:00Z");
  let retries = 0;
  const progress = new Progress(
    steps,
    ({ id }) => ended.includes(id),
    () => new Date(nowMs),
    () => retries,
  );
  return {
    progress,
    pass: (seconds: number) => void (nowMs += seconds * 1000),
    repeat: (n: number) => void (retries += n),
  };
}

const [hold, detach, attach] = [step("hold/it", 10), step("detach/volumes", 100), step("attach/volumes", 300)];
const plan = [hold, detach, attach] as const;

describe("the progress of a run", () => {
  it("tells step, count, time to go, the slowest object and repeated requests", () => {
    const { progress, pass, repeat } = begin(plan);
    assert.equal(progress.stepBegins(hold, 1, 0), "[1/3] hold/it: hold/it is done (about 7 min to go)");
    pass(10);
    progress.stepEnds();
    assert.equal(
      progress.stepBegins(detach, 49, 0),
      "[2/3] detach/volumes: detach/volumes is done (about 7 min to go; hold/it took 10 s)",
    );
    for (const name of ["slow", "quick"]) progress.itemBegins(name, `web-${name}`);
    pass(3);
    progress.itemEnds("quick");
    progress.itemBegins("later", "web-later");
    pass(42);
    repeat(2);
    assert.match(
      progress.status(),
      /^\[2\/3\] detach\/volumes: 1 of 49, since 45 s; about .* to go; slowest: web-slow, since 45 s; 2 requests repeated$/,
    );
    progress.itemEnds("slow");
    assert.match(progress.status(), /2 of 49.*slowest: web-later, since 42 s/);
  });

  it("scales the forecast by what was seen, the more the longer it was seen", () => {
    for (const [pace, least, most] of [
      [1, 295, 305],
      [2, 500, 600],
      [0.5, 150, 180],
    ] as const) {
      const { progress, pass } = begin(plan);
      assert.equal(progress.secondsToGo(), 410);
      for (const planned of [hold, detach]) {
        progress.stepBegins(planned, 1, 0);
        pass(planned.forecastSeconds * pace);
        progress.stepEnds();
      }
      assert.ok(progress.secondsToGo() > least && progress.secondsToGo() < most, `${pace}: ${progress.secondsToGo()}`);
      // In the middle of a step its own items count.
      progress.stepBegins(attach, 100, 0);
      for (let item = 0; item < 50; item++) progress.itemBegins(String(item), "");
      pass(150 * pace);
      for (let item = 0; item < 50; item++) progress.itemEnds(String(item));
      const half = progress.secondsToGo();
      assert.ok(half > least / 2.2 && half < most / 1.8, `${pace}: ${half}`);
    }
  });

  it("counts down through a step of one item, and isn't below nothing where that takes longer", () => {
    const { progress, pass } = begin(plan);
    progress.stepBegins(hold, 1, 0);
    pass(4);
    assert.equal(progress.secondsToGo(), 406);
    pass(600);
    assert.equal(progress.secondsToGo(), 400);
    assert.match(progress.status(), /^\[1\/3\] hold\/it: since 10 min 4 s; about 7 min to go$/);
  });

  it("counts what an earlier run did as done, not as seen", () => {
    const { progress, pass } = begin(plan, ["hold/it"]);
    assert.equal(progress.secondsToGo(), 400);
    assert.equal(
      progress.stepBegins(detach, 50, 40),
      "[2/3] detach/volumes: detach/volumes is done (40 of 50 are done; about 5 min to go)",
    );
    assert.equal(progress.secondsToGo(), 320);
    pass(20);
    progress.stepEnds();
    assert.equal(Math.round(progress.secondsToGo()), 300, "20 of 100 s were left, and 20 it took");
  });

  it("tells no negative times where the clock is put back", () => {
    const { progress, pass } = begin(plan);
    progress.stepBegins(hold, 1, 0);
    pass(-3600);
    assert.match(progress.status(), /^\[1\/3\] hold\/it: since 0 s; about 7 min to go$/);
    progress.stepEnds();
    assert.match(progress.stepBegins(detach, 49, 0), /about 3 min to go; hold\/it took 0 s\)$/);
    progress.stepEnds();
    assert.ok(progress.secondsToGo() > 0, String(progress.secondsToGo()));
    assert.match(progress.summary(), /this run took 0 s,/);
  });

  it("claims no precision", () => {
    const told = (seconds: number): string | undefined => {
      const planned = step("a/b", seconds);
      return /\((.*) to go/.exec(begin([planned]).progress.stepBegins(planned, 1, 0))?.[1];
    };
    assert.deepEqual(
      [0, 8, 14, 47, 61, 130, 610, 3500, 7300].map(told),
      ["some seconds", "some seconds", "about 10 s", "about 50 s", "about 1 min", "about 2 min", "about 10 min", "about 60 min", "about 2 h"], // prettier-ignore
    );
  });

  it("tells of 10,000 volumes in a line for each step and a heartbeat, whatever a step remarks on each", () => {
    const volumes = 10_000;
    const steps = ["hold/a", "quiesce/b", "detach/c", "attach/d", "start/e"].map((id) => step(id, 600));
    const { progress, pass } = begin(steps);
    const lines: string[] = [];
    let seconds = 0;
    for (const planned of steps) {
      lines.push(progress.stepBegins(planned, volumes, 0));
      for (let volume = 0; volume < volumes; volume++) {
        progress.itemBegins(String(volume), `volume-${volume}`);
        const remark = progress.remark(`removing a LUN map: volume-${volume}`);
        if (remark !== undefined) lines.push(remark);
        pass(0.06);
        seconds += 0.06;
        if (Math.floor(seconds / 30) > Math.floor((seconds - 0.06) / 30)) lines.push(progress.status());
        progress.itemEnds(String(volume));
      }
      progress.stepEnds();
    }
    lines.push(progress.summary());
    const heartbeats = lines.filter((line) => line.includes(" of 10000, since ")).length;
    assert.ok(heartbeats >= 95 && heartbeats <= 100, String(heartbeats));
    const remarks = lines.filter((line) => line.startsWith("removing"));
    assert.equal(remarks.length, 25 * steps.length);
    assert.match(remarks[24] ?? "", /\(further ones of this step are not shown\)$/);
    assert.equal(lines.length, steps.length + heartbeats + remarks.length + 1);
    assert.ok(Math.max(...lines.map((line) => line.length)) < 160);
    assert.match(lines.at(-1) ?? "", /^all 5 steps are done; this run took 50 min, the forecast for all was 50 min$/); // prettier-ignore
  });
});
