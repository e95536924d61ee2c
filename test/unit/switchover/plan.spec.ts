import assert from "node:assert/strict";
import fc from "fast-check";
import { DrError } from "../../../lib/errors";
import type { Intent } from "../../../lib/switchover";
import type { Observation } from "../../../lib/switchover/observation";
import { compareDevices, planAbort, planActivation, planPromotion, planReload, planReprotect, planSwitchover, planWithoutSource } from "../../../lib/switchover/plan"; // prettier-ignore
import type { Plan } from "../../../lib/switchover/plan";
import { hookSchema } from "../../../lib/topology/hooks";
import { stepById } from "../../../lib/switchover/steps";
import { at, journals, look, lost, operator } from "./support";
import { intentTo, World } from "./world";

const newJournal = journals();
let observation: Observation;
before(async () => void (observation = await look(new World())));

const plan = (more: Partial<Intent> = {}, o: Observation = observation): Plan =>
  planSwitchover({ intent: intentTo("idr", more), observation: o, from: "iprod", route: more.route ?? "failover-host", warnings: [] }); // prettier-ignore
const steps = (p: Plan): string[] => p.steps.map((step) => step.id);

const hold = ["hold/disable-backend", "hold/lock-instances", "hold/drain-transient"];
const quiesce = ["pre-sync/update-mirrors", "quiesce/stop-instances", "detach/volumes", "detach/unmap-source", "final-sync/update-mirrors"]; // prettier-ignore
const attach = ["attach/volumes", "start/instances", "start/unlock-instances"];
const edit = ["promote/edit-configuration", "promote/dump-database", "promote/update-database"];
const start = ["promote/drain-queues", "promote/start-services"];
const stop = ["promote/stop-services"];
const failover = ["cutover/failover-host", "cutover/verify-destination"];
const reverse = "promote/reverse-mirrors";
const wait = "reprotect/wait-healthy";

describe("the order of steps", () => {
  const rows: readonly (readonly [string, () => Plan, readonly string[]])[] = [
    ["planned", () => plan(), [...hold, ...quiesce, ...failover, ...attach, ...stop, ...edit, reverse, ...start, wait]],
    ["planned, deferred", () => plan({ promotion: "deferred" }), [...hold, ...quiesce, ...failover, ...attach, "start/enable-backend"]],
    ["planned, direct", () => plan({ route: "direct" }), [...hold, ...quiesce, "promote/stop-services", "cutover/break-mirrors", ...edit, reverse, ...start, "cutover/verify-destination", ...attach, wait]],
    ["unplanned", () => plan({ unplanned: lost }), [...hold, "quiesce/stop-instances", ...failover, "detach/volumes", ...attach, ...stop, ...edit, ...start]],
    ["unplanned, direct", () => plan({ unplanned: lost, route: "direct" }), [...hold, "quiesce/stop-instances", "promote/stop-services", "cutover/break-mirrors", ...edit, ...start, "cutover/verify-destination", "detach/volumes", ...attach]],
    ["source lost on the way", () => planWithoutSource(plan(), "planned", [reverse, wait]), [...hold, "quiesce/stop-instances", "detach/volumes", ...failover, ...attach, ...stop, ...edit, ...start]],
    ["promotion", () => planPromotion({ intent: intentTo("idr"), observation, to: "idr", mode: "planned", warnings: [] }), [...stop, ...edit, reverse, ...start, wait]],
    ["promotion, unplanned", () => planPromotion({ intent: intentTo("idr"), observation, to: "idr", mode: "unplanned", warnings: [] }), [...stop, ...edit, ...start]],
    ["reprotect", () => planReprotect({ intent: intentTo("idr", { reprotect: "keepDiverged" }), observation, activeSite: "idr", resyncs: ["pool1", "pool2"], baselines: [], warnings: [] }), ["reprotect/fence-source", "reprotect/keep-diverged", "promote/stop-services", "promote/edit-configuration", reverse, ...start, wait]],
    ["reprotect, discarding", () => planReprotect({ intent: intentTo("idr", { reprotect: "discardDiverged" }), observation, activeSite: "idr", resyncs: ["pool1", "pool2"], baselines: [], warnings: [] }), ["reprotect/fence-source", "promote/stop-services", "promote/edit-configuration", reverse, ...start, wait]],
    ["activation", () => planActivation({ intent: intentTo("iprod"), observation, site: "iprod" }), ["promote/edit-configuration", "activate/restart-volume-service"]],
    ["reload", () => planReload({ intent: intentTo("iprod"), observation, site: "iprod" }), ["activate/restart-volume-service"]],
    ["abort", () => planAbort(plan(), []), [...attach, "start/enable-backend"]],
  ]; // prettier-ignore
  for (const [name, make, expected] of rows)
    it(name, () => {
      assert.deepEqual(steps(make()), expected);
      for (const step of make().steps) assert.equal(stepById(step.id).id, step.id);
    });

  it("stops everything before a mirror is broken, and moves rows before mirrors are turned", () => {
    const before = (p: Plan, a: string, b: string): void => assert.ok(steps(p).indexOf(a) < steps(p).indexOf(b), `${a} before ${b}`);
    for (const p of [plan(), plan({ route: "direct" })]) {
      before(p, "detach/unmap-source", "final-sync/update-mirrors");
      before(p, "promote/stop-services", "promote/update-database");
      before(p, "promote/dump-database", "promote/update-database");
      before(p, "promote/update-database", reverse);
      before(p, "promote/drain-queues", "promote/start-services");
    }
  }); // prettier-ignore
});

describe("a plan's servers", () => {
  it("have their volumes in device order, with what can't be found again", () => {
    const [first, second] = plan().servers;
    assert.deepEqual(first?.attachments.map((a) => [a.volumeId, a.device, a.deleteOnTermination, a.connectionBefore?.iqn]), [["00", "/dev/vdb", false, "iqn.iprod"], ["01", "/dev/vdc", true, "iqn.iprod"]]);
    assert.deepEqual([first?.running, first?.lockedBefore, second?.running, second?.lockedBefore], [true, false, false, true]);
  }); // prettier-ignore

  it("sort devices as Nova names them", () => {
    const names = Array.from({ length: 60 }, (_, i) => `/dev/vd${i < 26 ? "" : String.fromCharCode(96 + Math.floor(i / 26))}${String.fromCharCode(97 + (i % 26))}`); // prettier-ignore
    fc.assert(
      fc.property(fc.shuffledSubarray(names, { minLength: 60 }), (shuffled) => {
        assert.deepEqual(shuffled.sort(compareDevices), names);
      }),
    );
  });
});

describe("a plan's digest", () => {
  type Draft = { -readonly [K in keyof Observation]: Observation[K] };
  const changed = (change: (o: Draft) => void): Plan => {
    const copy: Draft = structuredClone(observation);
    change(copy);
    return plan({}, copy);
  };

  const bound: readonly (readonly [string, () => Plan])[] = [
    ["mode", () => plan({ unplanned: lost })],
    ["route", () => plan({ route: "direct" })],
    ["promotion", () => plan({ promotion: "deferred" })],
    ["starting incomplete instances", () => plan({ startIncomplete: true })],
    ["hooks", () => plan({ hooks: [hookSchema.parse({ name: "h", when: "before:hold", command: ["x"] })] })],
    ["direction", () => planSwitchover({ intent: intentTo("iprod"), observation, from: "idr", route: "failover-host", warnings: [] })],
    ["an instance more", () => changed((o) => void (o.servers = o.servers.slice(1)))],
    ["a volume more", () => changed((o) => void (o.volumes = { ...o.volumes, iprod: o.volumes["iprod"]?.slice(1) ?? [] }))],
    ["device order", () => changed((o) => void (o.serverAttachments = { ...o.serverAttachments, "server-0": (o.serverAttachments["server-0"] ?? []).map((a) => ({ ...a, device: a.device === "/dev/vdb" ? "/dev/vdc" : "/dev/vdb" })) }))],
    ["a relationship less", () => changed((o) => { const seen = o.arrays["idr"]; assert.ok(seen?.ok === true); o.arrays = { ...o.arrays, idr: { ok: true, value: { ...seen.value, mirrors: seen.value.mirrors.slice(1) } } }; })],
  ]; // prettier-ignore
  for (const [name, make] of bound) it(`changes with ${name}`, () => assert.notEqual(make().digest, plan().digest));

  it("doesn't change with times, lags, bytes, what is locked or runs, warnings, or the order of listings", () => {
    const seen = changed((o) => {
      o.at = "2030-01-01T00:00:00Z";
      const idr = o.arrays["idr"];
      assert.ok(idr?.ok === true);
      const mirrors = idr.value.mirrors.map((m) => ({ ...m, lagSeconds: 7, exportedSnapshot: "later" }));
      o.arrays = { ...o.arrays, idr: { ok: true, value: { ...idr.value, mirrors } } };
      o.servers = o.servers.toReversed().map((s) => ({ ...s, locked: !s.locked, status: "SHUTOFF" }));
      o.volumes = { ...o.volumes, iprod: (o.volumes["iprod"] ?? []).toReversed() };
    });
    assert.equal(seen.digest, plan().digest);
  });

  it("is its content's, also where a plan was made from another", () => {
    assert.notEqual(planAbort(plan(), []).digest, plan().digest);
    assert.notEqual(planWithoutSource(plan(), "planned", [reverse, wait]).digest, plan().digest);
  });
});

describe("an approved plan", () => {
  it("is carried out; another is refused before the first change, naming the instances and how to approve it", async () => {
    const world = new World();
    const dr = operator(world, newJournal());
    const { digest } = await dr.preview(intentTo("idr"), at("iprod"));
    const approved = intentTo("idr", { approvedPlan: digest });
    const attachments = world.servers.get("server-1")?.attachments ?? [];
    world.servers.set("server-2", { name: "late-comer", running: true, locked: false, attachments: [] });
    const like = world.volumes.get("00");
    assert.ok(like !== undefined && attachments.length === 2);
    const late = { attachmentId: "late", serverId: "server-2", device: "/dev/vdb" };
    world.volumes.set("20", { ...like, id: "20", name: "v20", attachments: [late] });
    world.luns.iprod.set("20", { flexVol: "pool1", sizeBytes: 2 ** 30 });
    world.servers.get("server-2")?.attachments.push({ ...late, volumeId: "20", deleteOnTermination: false });
    world.connections.set("late", { volumeId: "20", serverId: "server-2", site: "iprod" });
    await assert.rejects(dr.up(approved, at("iprod")), (error) => {
      assert.ok(DrError.is(error, "precondition"));
      assert.match(error.message, /late-comer \(vdb\).*pulumi config set approvedPlan/);
      return true;
    });
    const preview = await dr.preview(approved, at("iprod"));
    assert.deepEqual(preview.failures.map((failure) => failure.field), ["approvedPlan"]);
    assert.deepEqual([world.calls, world.journals.size], [[], 0]);
    await dr.up({ ...approved, approvedPlan: preview.digest }, at("iprod"));
    assert.equal(world.servers.get("server-2")?.running, true);
  }); // prettier-ignore

  it("is needed where the stack requires one", async () => {
    const world = new World();
    const dr = operator(world, newJournal());
    await assert.rejects(dr.up(intentTo("idr", { requireApproval: true }), at("iprod")), /requires an approved plan/);
    assert.deepEqual(world.calls, []);
  });
});

describe("planning a finished switchover", () => {
  it("gives nothing to do, whatever it was about", async function () {
    this.timeout(60_000);
    const shape = fc.record({
      servers: fc.integer({ min: 0, max: 4 }),
      volumesEach: fc.integer({ min: 1, max: 5 }),
      route: fc.constantFrom("failover-host" as const, "direct" as const),
      isUnplanned: fc.boolean(),
      reversal: fc.constantFrom("swap" as const, "refused" as const),
    });
    await fc.assert(
      fc.asyncProperty(shape, async ({ servers, volumesEach, route, isUnplanned, reversal }) => {
        const world = new World(servers, volumesEach);
        world.reversal = reversal;
        world.reachable.iprod = !isUnplanned;
        const dr = operator(world, newJournal());
        const state = await dr.up(intentTo("idr", { route, ...(isUnplanned ? { unplanned: lost } : {}) }), at("iprod"));
        const { length } = world.calls;
        const preview = await dr.preview(intentTo("idr"), state);
        assert.deepEqual([preview.decision, preview.sentences, preview.digest, preview.failures], ["nothing", [], "", []]);
        assert.equal((await dr.up(intentTo("idr"), state)).activeSite, "idr");
        assert.equal(world.calls.length, length);
        assert.deepEqual(world.violations, []);
      }),
      { numRuns: 40 },
    );
  }); // prettier-ignore
});
