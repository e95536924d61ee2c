import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { checksOf, groups } from "../../../lib/switchover/checks";
import { durationOf } from "../../../lib/switchover/duration";
import { linesOf } from "../../../lib/switchover";
import type { Plan } from "../../../lib/switchover";
import { planSwitchover } from "../../../lib/switchover/plan";
import { inputLinesOf, markdownOf, runbookOf } from "../../../lib/switchover/runbook";
import { cliOn, folder } from "../cli/support";
import { read, root } from "../docs/documents";
import { at, journals, killAt, look, lost, operator } from "./support";
import { intentTo, pair, World } from "./world";

const newFolder = folder();
const journalDir = journals();
const snapshots = path.join(root, "test", "fixtures", "runbook");

/** As it was read by somebody who took it for good; UPDATE_SNAPSHOTS=1 writes it anew, to be read again. */
function assertSnapshot(name: string, text: string): void {
  const file = path.join(snapshots, name);
  if (process.env["UPDATE_SNAPSHOTS"] === "1") writeFileSync(file, `${text}\n`);
  assert.equal(`${text}\n`, readFileSync(file, "utf8"), `${file} differs`);
}

async function planOf(world: World, more: Parameters<typeof intentTo>[1] = {}): Promise<Plan> {
  const intent = intentTo("idr", more);
  return planSwitchover({
    intent,
    observation: await look(world),
    from: "iprod",
    route: "failover-host",
    warnings: [],
  });
}

const runbook = (plan: Plan, more: Partial<Parameters<typeof runbookOf>[0]> = {}) =>
  runbookOf({ plan, pair, intent: intentTo("idr"), findings: [], warnings: [], complete: true, ...more });

describe("the runbook", () => {
  for (const [name, args] of [
    ["planned.txt", []],
    ["planned.json", ["--json"]],
    ["planned.md", ["--markdown"]],
  ] as const)
    it(`of a planned switchover reads as ${name}`, async () => {
      const { code, out } = await cliOn(new World(3), newFolder()).run(["plan", "--to", "idr", ...args]);
      assert.equal(code, 0);
      assertSnapshot(name, out);
    });

  it("of a failover that is refused reads as refused.txt, with every ✗ and its remedy", async () => {
    const world = new World(3);
    world.reachable.iprod = false;
    const flags = ["--unplanned-from", "iprod", "--accept-loss-seconds", "30"];
    const { code, out, err } = await cliOn(world, newFolder()).run(["plan", "--to", "idr", ...flags]);
    assert.equal(code, 3);
    assertSnapshot("refused.txt", `${out}\n${err}`);
  });

  it("is Pulumi's input but for what is only of this moment: time and lag change neither it nor the digest", async () => {
    const world = new World();
    const dr = operator(world, journalDir());
    const first = await dr.preview(intentTo("idr"), at("iprod"));
    const ports = world.ports.bind(world);
    world.nowMs += 86_400_000;
    world.ports = () => {
      const real = ports();
      const arrays = Object.entries(real.arrays).map(([site, array]) => [
        site,
        {
          ...array,
          listMirrors: async (names: readonly string[]) =>
            (await array.listMirrors(names)).map((m) => ({ ...m, lagSeconds: 9000, exportedSnapshot: "newer" })),
          findChangedBytes: async () => 2 ** 30,
        },
      ]);
      return { ...real, arrays: Object.fromEntries(arrays) as typeof real.arrays };
    };
    const second = await dr.preview(intentTo("idr"), at("iprod"));
    assert.notDeepEqual(second.warnings, first.warnings);
    assert.ok(first.runbook && second.runbook);
    assert.notDeepEqual(linesOf(second.runbook), linesOf(first.runbook));
    assert.deepEqual(second.sentences, first.sentences);
    assert.equal(second.digest, first.digest);
  });

  it("stays of one length, however many instances and FlexVols there are", async () => {
    const few = runbook(await planOf(new World(2, 1)));
    const world = new World(300, 1);
    const plan = await planOf(world);
    const [mirror] = plan.mirrors;
    assert.ok(mirror);
    const mirrors = Array.from({ length: 40 }, (_, index) => ({
      ...mirror,
      flexVol: `pool${index}`,
      lagSeconds: index,
    }));
    const many = runbook({ ...plan, mirrors }, { differences: mirrors.map(({ flexVol }) => `${flexVol} differs`) });
    assert.equal(inputLinesOf(many).length, inputLinesOf(few).length);
    assert.ok(linesOf(many).length < linesOf(few).length + 40);
    assert.ok(Math.max(...linesOf(many).map((line) => line.length)) < 300);
    const text = linesOf(many).join("\n");
    assert.match(text, /running: 299 instances, stopped and started again: (\S+, ){4}\S+ and 294 more/);
    assert.match(text, /and 30 more, at most 39 s behind/);
    assert.match(text, /and 20 more$/m);
    assert.equal(many.instances.length, 300, "its data names all");
  });

  it("tells the time without instances from the first stop to the last start, against the whole", async () => {
    for (const more of [{}, { unplanned: lost }]) {
      const plan = await planOf(new World(5), more);
      const { interruptionSeconds, forecastSeconds, users } = runbook(plan);
      const ids = plan.steps.map(({ id }) => id);
      const seconds = plan.steps
        .slice(ids.indexOf("quiesce/stop-instances"), ids.indexOf("start/instances") + 1)
        .reduce((sum, step) => sum + step.forecastSeconds, 0);
      assert.equal(interruptionSeconds, seconds);
      assert.ok(seconds < forecastSeconds);
      assert.ok(
        users.some((line) => line.includes(`about ${durationOf(seconds)} of the ${durationOf(forecastSeconds)}`)),
      );
    }
  });

  it("tells that nobody is interrupted where no instance runs", async () => {
    const world = new World();
    for (const server of world.servers.values()) server.running = false;
    const { users } = runbook(await planOf(world));
    assert.ok(users.includes("no instance that uses this backend runs: nobody is interrupted"));
    assert.ok(users.includes("off: 2 instances, with volumes that are moved, and left off: server-0, server-1"));
  });

  it("tells what would be lost, and what isn't known of it", async () => {
    const plan = await planOf(new World(), { unplanned: lost });
    const text = (mirrors: Plan["mirrors"]): string => linesOf(runbook({ ...plan, mirrors })).join("\n");
    assert.match(text(plan.mirrors), /pool1: 1 min behind now: as much is lost, newest snapshot snap/);
    const unknown = plan.mirrors.map(({ lagSeconds: _, ...mirror }) => mirror);
    assert.match(text(unknown), /pool1: how far it is behind isn't known, nor what is lost/);
  });

  it("explains approval where it's used: how it's given, and that it counts for one plan", async () => {
    const plan = await planOf(new World());
    const told = (more: Parameters<typeof intentTo>[1]): string =>
      runbook(plan, { intent: intentTo("idr", more) }).approval.join("\n");
    const give = `pulumi config set approvedPlan ${plan.digest}; without Pulumi, cheesecake apply --digest ${plan.digest}`;
    assert.ok(told({}).startsWith("none is asked for") && told({}).endsWith(give));
    assert.ok(told({ requireApproval: true }).includes(`(requireApproval)`));
    assert.ok(told({ requireApproval: true }).includes(give));
    assert.match(told({ requireApproval: true }), /pulumi config rm approvedPlan/);
    assert.match(told({ approvedPlan: plan.digest }), /names this very plan/);
    assert.ok(told({ approvedPlan: "other" }).startsWith(`approvedPlan names another plan (other): ${give}`));
  });

  it("tells both ways of giving it where up refuses", async () => {
    const dr = operator(new World(), journalDir());
    const { failures, digest } = await dr.preview(intentTo("idr", { requireApproval: true }), at("iprod"));
    assert.equal(failures.length, 1);
    assert.match(failures[0]?.message ?? "", /requireApproval/);
    for (const way of [
      `pulumi config set approvedPlan ${digest}`,
      `cheesecake apply --digest ${digest}`,
      "pulumi config rm approvedPlan",
    ])
      assert.ok(failures[0]?.remedy.includes(way), way);
  });

  it("of what goes on has the steps that are left, under their numbers", async () => {
    const dr = operator(new World(), journalDir());
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("attach/volumes", "before-call")));
    const { runbook: left, sentences } = await dr.preview(intentTo("idr"), at("iprod"));
    assert.ok(left);
    const steps = left.phases.flatMap((phase) => phase.steps);
    assert.deepEqual([steps[0]?.number, steps[0]?.id, steps.at(-1)?.number], [11, "attach/volumes", 21]);
    assert.match(left.users.join("\n"), /stopped already and started again/);
    assert.deepEqual(left.approval, ["none is asked for: it goes on as it was begun"]);
    assert.match(sentences[0] ?? "", /^Resume /);
  });

  it("keeps a table's cells apart, whatever a system's name or word is", async () => {
    const plan = await planOf(new World());
    const text = markdownOf(runbook(plan, { warnings: ["a | b\nc <img src=x> [d](e)"] }));
    assert.match(text, /^\| ! \| Mind \| a \\\| b c &lt;img src=x> \\\[d\\\]\(e\) \| {2}\|$/m);
  });
});

describe("the checks", () => {
  it("know every finding of preflight, and each in one group", () => {
    const files = ["preflight", "expectations", "difference"].map((name) => read(`lib/switchover/${name}.ts`).text);
    const made = files.flatMap((text) => [
      ...[...text.matchAll(/\bfail\(\s*["`]([a-z-]+)/g)].map(([, id = ""]) => id),
      ...[...text.matchAll(/\bid: ["`]([a-z-]+)/g)].map(([, id = ""]) => id),
    ]);
    assert.ok(made.length > 50);
    const known = groups.flatMap(({ ids }) => ids);
    assert.equal(new Set(known).size, known.length);
    // Of a restart alone.
    const others = ["restart-resyncs"];
    assert.deepEqual([...new Set(made)].filter((id) => !known.includes(id)).sort(), others);
    assert.deepEqual(
      known.filter((id) => !made.includes(id)),
      [],
    );
  });

  const finding = (id: string) => ({ id, message: `${id} is wrong`, remedy: "Mend it." });
  const marks = (ids: readonly string[], complete = true) =>
    checksOf({ mode: "planned", findings: ids.map(finding), warnings: ["mind"], complete }).map(
      ({ mark, name }) => `${mark} ${name}`,
    );

  it("pass where nothing was found, and only where it was looked for", () => {
    assert.equal(marks([]).filter((text) => text.startsWith("✓")).length, groups.length);
    assert.deepEqual(marks(["svm-state:idr"]).slice(0, 3), ["✓ What was asked for", "✗ Arrays", "✓ Mirrors"]);
    assert.deepEqual(marks(["array-unreachable:idr"]).slice(1, 3), ["✗ Arrays", "– Mirrors"]);
    for (const name of ["What was asked for", "Volumes"])
      assert.ok(marks(["array-unreachable:iprod"]).includes(`– ${name}`), `${name}: neither lag nor LUNs are known`);
    assert.deepEqual(marks(["device-gap:a", "device-gap:b"], false), ["✗ Instances", "✗ Instances", "! Mind"]);
    assert.deepEqual(marks(["unfinished"], false), ["✗ Beginning", "! Mind"]);
  });
});

describe("durationOf", () => {
  it("tells two units at most", () => {
    const told = [0, 0.34, 9.96, 59.4, 59.7, 60, 394, 3600, 7500, 90_061].map(durationOf);
    assert.deepEqual(told, [
      "0 s",
      "0.3 s",
      "10 s",
      "59 s",
      "1 min",
      "1 min",
      "6 min 34 s",
      "1 h",
      "2 h 5 min",
      "25 h 1 min",
    ]);
  });
});
