import assert from "node:assert/strict";
import fc from "fast-check";
import type { HookSpec } from "../../../lib/switchover";
import { Journal } from "../../../lib/switchover/journal";
import { forecastSeconds, planAbort, planSwitchover } from "../../../lib/switchover/plan";
import { preflight } from "../../../lib/switchover/preflight";
import { buildReport, reportAsMarkdown } from "../../../lib/switchover/report";
import { hookSchema } from "../../../lib/topology/hooks";
import { priorityGroupsSchema, startOrderOf } from "../../../lib/topology/priority-groups";
import { type SitePair } from "../../../lib/topology/site-pair";
import { at, fails, journals, killAt, look, lost, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, pair, World } from "./world";

type Declared = Parameters<typeof priorityGroupsSchema.parse>[0];
const withGroups = (groups: Declared): SitePair => ({
  ...pair,
  openstack: { ...pair.openstack, priorityGroups: priorityGroupsSchema.parse(groups) },
});
const hook = (name: string, when: HookSpec["when"], group?: string): HookSpec =>
  hookSchema.parse({ name, when, command: ["true"], ...(group === undefined ? {} : { group }) });

/** Four instances that all run, with a volume each. */
function fourInstances(): World {
  const world = new World(4, 1);
  for (const server of world.servers.values()) Object.assign(server, { running: true, locked: false });
  return world;
}

const database = { name: "database", instances: [{ id: "server-3" }], priority: 1, pauseAfterSeconds: 5 };
const apps = { name: "apps", instances: [{ name: "server-1" }, { name: "server-2" }], dependsOn: ["database"] };

describe("the order of priority groups", () => {
  const orderOf = (groups: Declared): string[] =>
    startOrderOf(priorityGroupsSchema.parse(groups)).order.map(({ name }) => name);
  const group = (name: string, more: object = {}): Record<string, unknown> => ({
    name,
    instances: [{ id: name }],
    ...more,
  });

  it("goes by priority, then as they are declared; a dependency counts more", () => {
    assert.deepEqual(orderOf([group("c", { priority: 5 }), group("b"), group("a", { priority: 1 }), group("d")]), ["a", "b", "d", "c"]); // prettier-ignore
    assert.deepEqual(orderOf([group("a", { priority: 1, dependsOn: ["z"] }), group("z", { priority: 5 })]), ["z", "a"]);
  });

  it("has each group once, after all that it depends on, whatever they are", () => {
    const declared = fc.uniqueArray(fc.tuple(fc.nat(20), fc.integer({ min: 1, max: 5 }), fc.array(fc.nat(20))), { selector: ([n]) => n, maxLength: 12 }); // prettier-ignore
    fc.assert(
      fc.property(declared, (rows) => {
        const names = rows.map(([n]) => n);
        // On smaller numbers alone: so there's no circle.
        const groups = rows.map(([n, priority, on]) => ({ name: `${n}`, priority, dependsOn: on.filter((m) => m < n && names.includes(m)).map(String) })); // prettier-ignore
        const { order, circle } = startOrderOf(groups);
        assert.deepEqual(circle, []);
        assert.deepEqual(order.map(({ name }) => name).sort(), groups.map(({ name }) => name).sort());
        order.forEach(({ dependsOn }, index) =>
          dependsOn.forEach((name) => assert.ok(order.findIndex((each) => each.name === name) < index)),
        );
      }),
    );
  });

  it("is refused for circles, unknown groups and names that are used twice, all at once", () => {
    const { error } = priorityGroupsSchema.safeParse([
      group("a", { dependsOn: ["b"] }),
      group("b", { dependsOn: ["a"] }),
      group("c", { dependsOn: ["nobody"] }),
      group("c"),
    ]);
    assert.deepEqual(
      error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`),
      [
        '2.dependsOn: there\'s no group "nobody"',
        '3.name: group "c" is declared twice',
        ": these depend on each other in a circle: a, b",
      ],
    );
    const taken = priorityGroupsSchema.safeParse([group("default")]);
    assert.match(taken.error?.issues[0]?.message ?? "", /the name of the instances that no group names/);
  });

  it("takes an instance by exactly one of id, name and metadata", () => {
    for (const selector of [{}, { id: "1", name: "a" }, { metadata: {} }])
      assert.equal(priorityGroupsSchema.safeParse([{ name: "a", instances: [selector] }]).success, false);
  });
});

describe("a switchover with priority groups", () => {
  const newJournal = journals();
  let world: World;
  let dr: Operator;
  const open = (groups: Declared): void => {
    world = fourInstances();
    dr = operator(world, newJournal(), "test", withGroups(groups));
  };
  afterEach(() => assert.deepEqual(world.violations, []));
  const actions = (what: RegExp): string[] => world.calls.filter((call) => what.test(call));

  it("stops the last ones first, and starts the next ones when the former are ACTIVE, after their hook and their pause", async () => {
    open([apps, database]);
    const hooks = [
      hook("check", "after:start", "database"),
      hook("freeze", "before:quiesce", "database"),
      hook("all", "after:start"),
    ];
    const startedAt = new Map<string, number>();
    world.meanwhile = (call) => void startedAt.set(call, world.nowMs);
    for (const id of world.servers.keys()) world.faults.task.set(id, 2);
    await dr.up(intentTo("idr", { hooks }), at("iprod"));
    assert.deepEqual(
      actions(/ (stop|start)$|^hook/).map((call) => call.replace("server-", "")),
      ["0 stop", "1 stop", "2 stop", "hook freeze", "3 stop", "3 start", "hook check", "1 start", "2 start", "0 start", "hook all"],
    ); // prettier-ignore
    const pause = (startedAt.get("server-1 start") ?? 0) - (startedAt.get("hook check") ?? 0);
    assert.ok(pause >= 5_000, `${pause} ms`);
    assert.deepEqual(world.hooked.map(({ group, instances }) => [group, instances]), [["database", ["server-3"]], ["database", ["server-3"]], [undefined, ["server-0", "server-1", "server-2", "server-3"]]]); // prettier-ignore
  });

  it("says it in the preview, and in the report for each group", async () => {
    open([apps, { ...database, approveAfter: true }]);
    const { sentences } = await dr.preview(intentTo("idr"), at("iprod"));
    assert.deepEqual(
      sentences.filter((line) => /group/.test(line)).map((line) => line.replace(/^\d+\. /, "")),
      [
        'quiesce: Stop 1 instance of group "default"',
        'quiesce: Stop 2 instances of group "apps"',
        'quiesce: Stop 1 instance of group "database"',
        'start: Start the 1 instance of group "database" that ran',
        'start: Wait 5 s after group "database"',
        'start: End as waiting until group "database" is approved (`cheesecake approve database`)',
        'start: Start the 2 instances of group "apps" that ran',
        'start: Start the 1 instance of group "default" that ran',
        'Users: one group after another is started: "database", "apps", "default"',
        'Users: after group "database" the run ends, and nothing more is started until somebody approves it (cheesecake approve database): that counts on top',
      ],
    );
    await assert.rejects(dr.up(intentTo("idr"), at("iprod")), fails("approval", /waits for an approval/));
    await dr.approve();
    await dr.up(intentTo("idr"), at("iprod"));
    const entries = await Journal.read((await Journal.list(dr.journalDir))[0] ?? "");
    const report = buildReport(entries);
    const starts = report.steps.filter(({ id }) => id === "start/instances");
    assert.deepEqual(
      starts.map(({ group, items, failures }) => [group, items, failures]),
      [["database", 1, []], ["apps", 2, []], ["default", 1, []]],
    ); // prettier-ignore
    for (const { durationSeconds } of starts) assert.ok((durationSeconds ?? 99) < 5);
    assert.ok((report.rtoSeconds ?? 0) >= 5, "until the last group is ACTIVE");
  });

  it("ends as waiting for an approval, is open meanwhile, and goes on after it", async () => {
    open([{ ...database, approveAfter: true }]);
    await assert.rejects(dr.approve(), fails("precondition", /nothing waits for an approval/));
    await assert.rejects(dr.up(intentTo("idr"), at("iprod")), fails("approval", /cheesecake approve database/));
    assert.deepEqual(actions(/ start$/), ["server-3 start"]);
    const [file = ""] = await Journal.list(dr.journalDir);
    const waiting = buildReport(await Journal.read(file));
    assert.equal(waiting.verdict, "open");
    assert.equal(waiting.remaining[0], 'See that group "database" works, then approve it: `cheesecake approve database`.'); // prettier-ignore
    assert.equal((await dr.open())?.awaitsApprovalOf, "database");
    const { warnings, runbook } = await dr.preview(intentTo("idr"), at("iprod"));
    assert.match(warnings.join(), /waits for the approval of group "database"/);
    // What was started already isn't told as stopped.
    assert.match(runbook?.users[0] ?? "", /^running: 3 instances, stopped already and started again: server-0, server-1, server-2$/); // prettier-ignore
    assert.ok(runbook?.checks.some(({ mark, text }) => mark === "!" && text.startsWith("it waits for the approval")));

    const calls = world.calls.length;
    await assert.rejects(dr.up(intentTo("idr"), at("iprod")), fails("approval", /waits/));
    await assert.rejects(dr.approve("apps"), fails("precondition", /it's group "database" that waits/));
    assert.equal(world.calls.length, calls, "nothing is done meanwhile");

    await dr.approve("database");
    assert.equal((await dr.open())?.awaitsApprovalOf, undefined);
    await assert.rejects(dr.approve(), fails("precondition", /nothing waits/));
    await dr.up(intentTo("idr"), at("iprod"));
    const done = (await Journal.read(file)).find((e) => e.type === "done" && e.step === "start/await-approval");
    assert.equal(done?.type === "done" && done.facts["approvedBy"], "ann");
    const report = buildReport(await Journal.read(file));
    assert.deepEqual(report.approvals.map(({ group, by }) => [group, by]), [["database", "ann"]]); // prettier-ignore
    assert.match(reportAsMarkdown(report), /\| Approved \| database by ann at /);
  });

  it("goes the way back in their order, without an approval", async () => {
    open([{ ...database, approveAfter: true }, apps]);
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("final-sync/update-mirrors", "before-call")));
    await dr.up(intentTo("iprod"), at("iprod"));
    assert.deepEqual(
      actions(/ start$/).map((call) => call.split(" ")[0]),
      ["server-3", "server-1", "server-2", "server-0"],
    );
  });

  it("keeps the groups it was begun with, whatever becomes of an instance's properties", async () => {
    open([{ name: "tier", instances: [{ metadata: { tier: "1", site: "a" } }], priority: 1 }]);
    const tagged = world.servers.get("server-2");
    assert.ok(tagged !== undefined);
    tagged.as = { metadata: { tier: "1", site: "a", more: "x" } };
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("cutover/failover-host", "before-call")));
    tagged.as = {};
    world.reachable.iprod = false;
    await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    assert.equal(actions(/ start$/)[0], "server-2 start");
  });

  it("refuses unknown instances and ones of two groups, all at once; unplanned it says so and goes on", async () => {
    const groups = [
      { name: "a", instances: [{ id: "server-0" }, { id: "nobody" }, { name: "nothing" }] },
      { name: "b", instances: [{ name: "server-0" }, { metadata: { tier: "9" } }] },
    ];
    open(groups);
    const observation = await look(world, withGroups(groups));
    const planned = preflight(observation, intentTo("idr", { hooks: [hook("h", "after:start", "c")] }), "iprod");
    assert.deepEqual(
      planned.failures.map(({ id, message }) => `${id}: ${message}`),
      [
        'hook:h: hook "h" is one of group "c", which there isn\'t',
        'group-instance: group "a": no instance with volumes of the pair has the id nobody',
        'group-instance: group "a": no instance with volumes of the pair has the name "nothing"',
        'group-overlap: instance "server-0" (server-0) is in the groups "a" and "b"',
      ],
    );
    assert.match(planned.warnings.join(), /group "b": no instance .* has tier=9/);
    world.reachable.iprod = false;
    const dead = await look(world, withGroups(groups));
    const unplanned = preflight(dead, intentTo("idr", { unplanned: lost }), "iprod");
    assert.deepEqual(unplanned.failures, []);
    assert.match(unplanned.warnings.join(), /the id nobody.*in the groups "a" and "b"/);
    const plan = planSwitchover({ intent: intentTo("idr", { unplanned: lost }), observation: dead, from: "iprod", route: "failover-host", warnings: [] }); // prettier-ignore
    assert.deepEqual(plan.groups?.map(({ name, serverIds }) => [name, serverIds]), [["a", ["server-0"]], ["default", ["server-1", "server-2", "server-3"]]]); // prettier-ignore
  });

  it("has another digest where an instance changes its group; without groups it's planned as ever", async () => {
    open([]);
    const observation = await look(world);
    const of = (groups: Declared) =>
      planSwitchover({ intent: intentTo("idr"), observation: { ...observation, pair: withGroups(groups) }, from: "iprod", route: "failover-host", warnings: [] }); // prettier-ignore
    const digests = [
      of([]),
      of([database]),
      of([{ ...database, pauseAfterSeconds: 6 }]),
      of([{ ...database, approveAfter: true }]),
      of([{ ...database, instances: [{ id: "server-2" }] }]),
    ].map(({ digest }) => digest);
    assert.equal(new Set(digests).size, digests.length);
    assert.equal("groups" in of([]), false);
    const nobody = planSwitchover({ intent: intentTo("idr"), observation: { ...observation, servers: [], pair: withGroups([{ name: "a", instances: [{ metadata: { a: "b" } }] }]) }, from: "iprod", route: "failover-host", warnings: [] }); // prettier-ignore
    for (const each of [nobody, planAbort(nobody, [])]) {
      assert.equal(each.steps.filter(({ id }) => id === "start/instances").length, 1);
      assert.ok(Number.isFinite(forecastSeconds(each)));
    }
    assert.equal(
      of([]).steps.some(({ group }) => group !== undefined),
      false,
    );
  });
});
