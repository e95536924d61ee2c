import assert from "node:assert/strict";
import type { DrErrorCode } from "../../../lib/errors";
import { withRowsWhereUnreachable } from "../../../lib/connections/rows-where-unreachable";
import { applySwitchover, type SwitchoverState } from "../../../lib/switchover";
import { mapsByPath } from "../../../lib/switchover/context";
import { divergence } from "../../../lib/switchover/difference";
import { digestOf, planReprotect } from "../../../lib/switchover/plan";
import type { Ports } from "../../../lib/switchover/ports";
import { leadsToLun } from "../../../lib/switchover/steps/attach-volumes";
import { at, fails, journals, killAt, Killed, look, lost, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, pair, World } from "./world";

const newJournal = journals();
const discard = intentTo("idr", { reprotect: "discardDiverged" });
const keep = intentTo("idr", { reprotect: "keepDiverged" });

/** Production at idr after iprod was lost; iprod is back, with its maps, and pool2 has nothing in common any more. */
async function returned(): Promise<{ world: World; dr: Operator; state: SwitchoverState }> {
  const world = new World();
  const dr = operator(world, newJournal());
  world.reachable.iprod = false;
  const state = await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
  world.reachable.iprod = true;
  world.unfenced = "iprod";
  world.uncommon.add("pool2");
  world.calls.length = 0;
  return { world, dr, state };
}
const asides = (world: World): string[] =>
  Object.keys(world.flexVolType.iprod).filter((name) => name.includes("_former_"));
function withRows(world: World): Ports {
  const ports = world.ports();
  const rows = {
    listVolumes: async (host: string) => [...world.volumes.values()].filter((one) => one.host.startsWith(`${host}#`)),
    listSnapshots: async () => world.snapshots,
    listAttachments: async () =>
      [...world.connections].map(([id, { volumeId, serverId }]) => ({ id, volumeId, serverId, status: "attached" })),
  };
  return { ...ports, blockStorage: withRowsWhereUnreachable(ports.blockStorage, rows) };
}
const replication = (world: World): boolean[] =>
  Object.values(world.controllers).map(({ content }) => /\[idr\][^[]*replication_device/.test(content));

describe("a reprotect without a common snapshot", () => {
  it("is the same wherever it's cut off, at each single call", async function () {
    this.timeout(120_000);
    for (const reprotect of ["discardDiverged", "keepDiverged"] as const) {
      const whole = await returned();
      await whole.dr.up(intentTo("idr", { reprotect }), whole.state);
      const expected = { ...(whole.world.endState() as object), types: undefined };
      assert.ok(whole.world.calls.some((call) => call.startsWith("rename LUN")));
      for (let cut = 1; cut <= whole.world.calls.length; cut++) {
        const { world, dr, state } = await returned();
        const where = `after call ${cut}, ${whole.world.calls[cut - 1] ?? ""}`;
        world.meanwhile = () => {
          if (world.calls.length === cut) throw new Killed(where);
        };
        await assert.rejects(dr.up(intentTo("idr", { reprotect }), state), /./, where);
        world.meanwhile = () => undefined;
        await dr.up(intentTo("idr", { reprotect }), state);
        assert.deepEqual({ ...(world.endState() as object), types: undefined }, expected, where);
        assert.deepEqual(world.violations, [], where);
        assert.equal(asides(world).length, reprotect === "keepDiverged" ? 1 : 0, where);
        const kept = [...world.luns.iprod.values()].filter(({ flexVol }) => /_(diverged|former)_/.test(flexVol));
        assert.ok(
          kept.every(({ name }) => /^diverged-(?!diverged)/.test(name ?? "")),
          where,
        );
      }
    }
  });

  it("takes nothing for uncommon that is offline", async () => {
    for (const site of ["iprod", "idr"] as const) {
      const { world, dr, state } = await returned();
      world.uncommon.clear();
      world.faults.offline = `${site}:pool2`;
      await assert.rejects(
        dr.up(discard, state),
        fails("precondition", new RegExp(`FlexVol "pool2" of "${site}" is offline, needed online`)),
      );
      assert.deepEqual(world.calls, []);
    }
  });

  it("looks again before it renames: at what is common, at the state, and at production's side; and goes on once that's right", async () => {
    const cases: [(world: World) => void, (world: World) => void, DrErrorCode, RegExp][] = [
      [(world) => world.uncommon.clear(), () => undefined, "conflict", /its snapshot snap is common after all/],
      [(world) => (world.faults.offline = "iprod:pool2"), (world) => (world.faults.offline = ""), "conflict", /of type rw and offline, needed rw and online/],
      [(world) => (world.flexVolType.idr["pool2"] = "dp"), (world) => (world.flexVolType.idr["pool2"] = "rw"), "invariant", /it is of type dp there, not rw/],
      [(world) => world.maps.iprod.set("01", "stranger"), (world) => world.maps.iprod.delete("01"), "invariant", /is mapped to stranger/],
    ];
    for (const [change, undo, code, message] of cases) {
      const { world, dr, state } = await returned();
      let changed = false;
      world.meanwhile = (call) => {
        if (changed || !call.startsWith("unmap") || world.maps.iprod.size > 0) return;
        changed = true;
        change(world);
      };
      await assert.rejects(dr.up(discard, state), fails(code, message));
      assert.ok(!world.calls.some((call) => call.startsWith("rename")));
      // Cinder runs, and other changes of the stack aren't held up by it.
      const idle = await dr.preview(intentTo("idr"), state);
      assert.deepEqual([idle.decision, idle.failures], ["nothing", []]);
      assert.match(idle.warnings.join("\n"), /isn't finished: set reprotect/);
      assert.equal((await dr.up(intentTo("idr"), state)).protected, false);
      undo(world);
      world.violations.length = 0;
      assert.equal((await dr.up(discard, state)).protected, true);
      assert.equal([...world.journals.values()].filter(({ open }) => open).length, 0);
    }
  }); // prettier-ignore

  it("needs the LUNs unmapped at its own boundary, too", async () => {
    const { world, dr, state } = await returned();
    await assert.rejects(dr.up(discard, state, killAt("reprotect/fence-source", "recorded")));
    world.maps.iprod.set("01", "stranger");
    await assert.rejects(dr.up(discard, state), fails("invariant", /nothing was renamed/));
    world.maps.iprod.clear();
    assert.equal((await dr.up(discard, state)).protected, true);
  });

  it("ends what mirrors there are in both directions, whatever left them", async () => {
    const { world, dr, state } = await returned();
    world.mirrors.push({ uuid: "back", from: "idr", flexVol: "pool2", state: "broken_off", transfers: [] });
    assert.equal((await dr.up(discard, state)).protected, true);
    assert.deepEqual(world.mirrors.map(({ from, flexVol, state: now }) => [from, flexVol, now]).sort(), [
      ["idr", "pool1", "snapmirrored"],
      ["idr", "pool2", "snapmirrored"],
    ]);
  });

  it("uses an empty destination that is there, waits for a baseline that runs, and refuses one that holds something", async () => {
    const empty = await returned();
    empty.world.flexVolType.iprod["pool2"] = "dp";
    empty.world.empty.add("iprod:pool2");
    assert.equal((await empty.dr.up(discard, empty.state)).protected, true);
    assert.ok(!empty.world.calls.some((call) => /^rename|^create iprod/.test(call)));

    const running = await returned();
    running.world.flexVolType.iprod["pool2"] = "dp";
    const baseline = { sinceMs: running.world.nowMs, seconds: 600 };
    running.world.mirrors = running.world.mirrors.filter(({ flexVol }) => flexVol !== "pool2");
    running.world.mirrors.push({ uuid: "new", from: "idr", flexVol: "pool2", state: "uninitialized", transfers: [], baseline });
    assert.equal((await running.dr.up(discard, running.state)).protected, true);
    assert.ok(!running.world.calls.some((call) => /^rename|^create/.test(call)));

    const held = await returned();
    held.world.flexVolType.iprod["pool2"] = "dp";
    const { findings } = await divergence(await look(held.world), held.world.ports(), "idr");
    assert.deepEqual(findings.map(({ id }) => id), ["common-snapshot:pool2"]);
    await assert.rejects(held.dr.up(discard, held.state), fails("precondition", /"pool2" of "iprod" is of type dp, and none/));
    assert.deepEqual(held.world.calls, []);
  }); // prettier-ignore

  it("begins a baseline again that failed, a few times in each run", async () => {
    const { world, dr, state } = await returned();
    world.faults.baseline = 1;
    // Its first one isn't taken for running, and Cinder runs on.
    await assert.rejects(
      dr.up(discard, state),
      fails("wait-timeout", /Begin a new baseline of "pool2".* uninitialized, failed/),
    );
    assert.ok(!world.calls.some((call) => call.startsWith("stop ")));
    assert.equal((await dr.up(discard, state)).protected, true);

    const later = await returned();
    await assert.rejects(later.dr.up(discard, later.state, killAt("promote/start-services", "recorded")));
    const mirror = later.world.mirrors.find(({ flexVol }) => flexVol === "pool2") ?? assert.fail();
    Object.assign(mirror, { state: "uninitialized", failed: true });
    later.world.faults.baseline = 5;
    await assert.rejects(
      later.dr.up(discard, later.state),
      fails("failure-state", /the baseline is failed after 3 attempts/),
    );
    assert.equal(asides(later.world).length, 1);
    later.world.faults.baseline = 1;
    assert.equal((await later.dr.up(discard, later.state)).protected, true);
    assert.match(later.dr.said.join("\n"), /pool2: the baseline is failed .*; beginning it again/);
    assert.equal(asides(later.world).length, 0);
  });

  it("deletes only what nobody uses, while its successor is whole", async () => {
    const { world, dr, state } = await returned();
    await assert.rejects(dr.up(discard, state, killAt("reprotect/wait-healthy", "recorded", "pool2")));
    const successor = world.mirrors.find(({ flexVol }) => flexVol === "pool2") ?? assert.fail();
    // The wait is over: its own look counts.
    await assert.rejects(dr.up(discard, state, killAt("reprotect/delete-set-aside", "before-call")));
    successor.state = "paused";
    await assert.rejects(
      dr.up(discard, state),
      fails("invariant", /its mirror is paused, healthy, needed snapmirrored/),
    );
    successor.state = "snapmirrored";
    world.unfenced = "iprod";
    const [rescued] =
      [...world.luns.iprod].find(([, { flexVol }]) => /_(diverged|former)_/.test(flexVol)) ?? assert.fail();
    world.maps.iprod.set(rescued, "rescue");
    await assert.rejects(dr.up(discard, state), fails("precondition", /is mapped to rescue: somebody uses it/));
    assert.equal(asides(world).length, 1);
    world.maps.iprod.delete(rescued);
    assert.equal((await dr.up(discard, state)).protected, true);
    assert.equal(asides(world).length, 0);
  });

  it("is bound by its digest: which FlexVols, and what becomes of them", async () => {
    const { world, dr, state } = await returned();
    const observation = await look(world);
    const baseline = { flexVol: "pool2", sizeBytes: 1, baselineBytes: 1, setAside: true };
    const plan = (baselines: (typeof baseline)[], intent = keep) =>
      digestOf(planReprotect({ intent, observation, activeSite: "idr", resyncs: ["pool1"], baselines, warnings: [] }));
    const digests = [
      plan([]),
      plan([baseline]),
      plan([{ ...baseline, flexVol: "pool1" }]),
      plan([{ ...baseline, setAside: false }]),
      plan([baseline], discard),
    ];
    assert.equal(new Set(digests).size, digests.length);

    for (const digest of ["", "of another plan"])
      await assert.rejects(
        applySwitchover({
          pair,
          intent: discard,
          state,
          ports: world.ports(),
          stack: "test",
          journalDir: dr.journalDir,
          previewed: { digest, mode: "planned", route: "failover-host" },
          signal: new AbortController().signal,
          progress: () => undefined,
        }),
        fails("stale-plan", /Nothing was changed/),
      );
    assert.deepEqual(world.calls, []);
  });
});

describe("a reprotect that doesn't get on", () => {
  it("starts Cinder again without replication where the site is lost anew, when it's no longer asked for", async () => {
    const { world, dr, state } = await returned();
    await assert.rejects(dr.up(discard, state, killAt("promote/edit-configuration", "recorded")));
    world.reachable.iprod = false;
    await assert.rejects(dr.up(discard, state), fails("unreachable", /./));
    const preview = await dr.preview(intentTo("idr"), state);
    assert.equal(preview.decision, "abort");
    assert.ok(preview.sentences.length > 1);
    await assert.rejects(dr.up(intentTo("idr"), state, killAt("promote/drain-queues", "recorded")));
    const done = await dr.up(discard, state);
    assert.deepEqual([done.activeSite, done.promoted, done.protected], ["idr", true, false]);
    assert.deepEqual(replication(world), [false, false]);
    const units = Object.values(world.controllers).flatMap((controller) => controller.units);
    assert.ok(units.every(({ masked, active, startedHere }) => !masked && (active || !startedHere)));
    world.reachable.iprod = true;
    assert.equal((await dr.up(discard, done)).protected, true);
    assert.deepEqual(world.violations, []);
  });

  it("goes on although it's no longer asked for where Cinder is stopped for it, and the site answers", async () => {
    const { world, dr, state } = await returned();
    await assert.rejects(dr.up(discard, state, killAt("promote/edit-configuration", "recorded")));
    assert.equal((await dr.up(intentTo("idr"), state)).protected, true);
    assert.deepEqual(world.violations, []);
  });

  for (const step of ["promote/edit-configuration", "promote/drain-queues", "reprotect/wait-healthy"])
    it(`is no reason to stay at a site that is lost: ${step}`, async () => {
      const { world, state } = await returned();
      world.uncommon.clear();
      const journalDir = newJournal();
      const dr = operator(world, journalDir);
      await assert.rejects(dr.up(discard, state, killAt(step, "recorded")));
      world.reachable.idr = false;
      world.faults.driverDead = true;
      if (step === "promote/edit-configuration") {
        // Nothing is replicated to the other site yet.
        await assert.rejects(away(world, journalDir, state), fails("precondition", /mirror|Nothing was changed/));
        return;
      }
      world.meanwhile = (call) => {
        if (call.includes("start cinder-volume")) world.faults.driverDead = false;
      };
      const done = await away(world, journalDir, state);
      assert.deepEqual([done.activeSite, done.promoted], ["iprod", true]);
      assert.equal([...world.journals.values()].filter(({ open }) => open).length, 0);
    });

  /** As Pulumi runs it: the rows tell of volumes while Cinder's API is stopped. */
  function away(world: World, journalDir: string, state: SwitchoverState): Promise<SwitchoverState> {
    return applySwitchover({
      pair,
      intent: intentTo("iprod", { unplanned: { from: "idr", acceptLossSeconds: 3600 } }),
      state,
      ports: withRows(world),
      stack: "test",
      journalDir,
      signal: new AbortController().signal,
      progress: () => undefined,
    });
  }

  it("does what is asked for now as long as Cinder runs, and later only what was begun", async () => {
    const early = await returned();
    await assert.rejects(early.dr.up(discard, early.state, killAt("reprotect/begin-baselines", "recorded")));
    assert.equal((await early.dr.up(keep, early.state)).protected, true);
    assert.equal(early.world.clones.size, 1);
    assert.equal(asides(early.world).length, 1);

    const late = await returned();
    await assert.rejects(late.dr.up(discard, late.state, killAt("promote/start-services", "recorded")));
    await assert.rejects(
      late.dr.up(keep, late.state),
      fails("precondition", /was begun with discardDiverged, not keepDiverged/),
    );
    assert.equal(asides(late.world).length, 1);
    assert.equal((await late.dr.up(discard, late.state)).protected, true);
  });

  it("is planned anew where one more FlexVol has nothing in common since", async () => {
    const { dr, state } = await returned();
    await assert.rejects(dr.up(keep, state, killAt("promote/stop-services", "before-call")));
    await assert.rejects(dr.up(discard, state), fails("precondition", /was begun with keepDiverged/));
    const other = await returned();
    await assert.rejects(other.dr.up(keep, other.state, killAt("reprotect/begin-baselines", "recorded", "pool2")));
    other.world.uncommon.add("pool1");
    const preview = await other.dr.preview(keep, other.state);
    assert.match(preview.sentences.join("\n"), /\(pool2, pool1\)/);
    assert.equal((await other.dr.up(keep, other.state)).protected, true);
    assert.equal(asides(other.world).length, 2);
  });
});

describe("LUNs of the same name", () => {
  it("stop whatever would start the driver beside them", async () => {
    const shadow = (world: World, site: "iprod" | "idr") =>
      world.luns[site].set("clone", { flexVol: "drill", sizeBytes: 1, name: "volume-00" });
    const refused = fails("precondition", /LUNs with the names of the pair's volumes/);
    const reprotected = await returned();
    shadow(reprotected.world, "idr");
    await assert.rejects(reprotected.dr.up(discard, reprotected.state), refused);

    const deferred = new World();
    const dr = operator(deferred, newJournal());
    const state = await dr.up(intentTo("idr", { promotion: "deferred" }), at("iprod"));
    shadow(deferred, "idr");
    await assert.rejects(dr.up(intentTo("idr"), state), refused);

    const reloaded = new World();
    shadow(reloaded, "iprod");
    const revised = { ...at("iprod"), backendRevisions: { iprod: "former" } };
    await assert.rejects(
      operator(reloaded, newJournal()).up(intentTo("iprod", { backendRevisions: { iprod: "changed" } }), revised),
      refused,
    );
  });

  it("count for an attachment only under its own number", async () => {
    const world = new World();
    const { volumes } = await look(world);
    const [volume] = volumes["iprod"] ?? [];
    const listed = await (world.ports().arrays["iprod"] ?? assert.fail()).listLunMaps(pair.flexVols);
    const maps = mapsByPath(listed);
    assert.ok(leadsToLun({ type: "iscsi", lun: 1 }, maps, volume));
    assert.ok(!leadsToLun({ type: "iscsi", lun: 2 }, maps, volume));
    assert.ok(!leadsToLun({ type: "iscsi", lun: 1 }, mapsByPath(listed.slice(1)), volume));
    assert.ok(!leadsToLun(undefined, maps, volume));
    assert.ok(!leadsToLun({ type: "iscsi", lun: 1 }, maps, undefined));
  });
});
