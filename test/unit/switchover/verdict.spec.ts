import assert from "node:assert/strict";
import type { Observation } from "../../../lib/switchover/observation";
import { decide, verdictOf } from "../../../lib/switchover/verdict";
import type { Mismatch } from "../../../lib/switchover/drift";
import type { Decision, Verdict } from "../../../lib/switchover/verdict";
import { look } from "./support";
import { World } from "./world";

const live = (site: string | undefined, more: Partial<Verdict> = {}): Verdict => ({
  ...(site === undefined ? {} : { site }),
  promoted: site !== undefined,
  protected: site !== undefined,
  replicating: site !== undefined,
  mismatches: [],
  unseen: [],
  ...more,
});
const contradiction: Mismatch = { kind: "stray", what: "controllers", seen: "differ", expected: "one", remedy: "" };
type Question = Parameters<typeof decide>[0];
const ask = (state: string | undefined, configured: string, verdict: Verdict, more: Partial<Question> = {}): Decision =>
  decide({
    ...(state === undefined
      ? {}
      : { state: { activeSite: state, promoted: true, protected: true, backendRevisions: {} } }),
    configured,
    promotion: "immediate",
    reprotect: false,
    verdict,
    volumes: 4,
    ...more,
  });

describe("decide", () => {
  const rows: readonly (readonly [string, Decision, Partial<Decision> & { action: Decision["action"] }])[] = [
    ["no state, C = L: adopts", ask(undefined, "iprod", live("iprod")), { action: "adopt", site: "iprod" }],
    ["no state, C = L not promoted: adopts", ask(undefined, "idr", live("idr", { promoted: false })), { action: "adopt", site: "idr" }],
    ["no state, nothing enabled, no volumes: activates", ask(undefined, "iprod", live(undefined), { volumes: 0 }), { action: "activate", site: "iprod" }],
    ["no state, nothing enabled, volumes: refuses", ask(undefined, "iprod", live(undefined)), { action: "refuse" }],
    ["no state, C ≠ L: refuses", ask(undefined, "idr", live("iprod")), { action: "refuse" }],
    ["S = C = L: nothing", ask("iprod", "iprod", live("iprod")), { action: "nothing" }],
    ["S = C ≠ L: refuses drift", ask("iprod", "iprod", live("idr")), { action: "refuse" }],
    ["S = C ≠ L not promoted: refuses drift", ask("iprod", "iprod", live("idr", { promoted: false })), { action: "refuse" }],
    ["S ≠ C = L: adopts", ask("iprod", "idr", live("idr")), { action: "adopt", site: "idr" }],
    ["S ≠ C = L not promoted: promotes", ask("iprod", "idr", live("idr", { promoted: false })), { action: "promote", to: "idr" }],
    ["S ≠ C = L not promoted, deferred: adopts", ask("iprod", "idr", live("idr", { promoted: false }), { promotion: "deferred" }), { action: "adopt", site: "idr" }],
    ["S ≠ C, L = S: switches over", ask("iprod", "idr", live("iprod")), { action: "switchover", from: "iprod", to: "idr" }],
    ["S ≠ C, L = S, not promoted: refuses to leave it", ask("idr", "iprod", live("idr", { promoted: false })), { action: "refuse" }],
    ["S = C, nothing enabled: refuses", ask("iprod", "iprod", live(undefined)), { action: "refuse" }],
    ["S = C, nothing enabled, no volumes: refuses all the same", ask("iprod", "iprod", live(undefined), { volumes: 0 }), { action: "refuse" }],
    ["contradiction: refuses", ask("iprod", "idr", live(undefined, { mismatches: [contradiction] }), { volumes: 0 }), { action: "refuse" }],
    ["contradiction without a state: doesn't activate", ask(undefined, "idr", live(undefined, { mismatches: [contradiction] }), { volumes: 0 }), { action: "refuse" }],
    ["S = C = L not promoted: promotes", ask("idr", "idr", live("idr", { promoted: false })), { action: "promote", to: "idr" }],
    ["S = C = L not promoted, deferred: nothing", ask("idr", "idr", live("idr", { promoted: false }), { promotion: "deferred" }), { action: "nothing" }],
    ["no mirror back, reprotect asked for: reprotects", ask("idr", "idr", live("idr", { protected: false, replicating: false }), { reprotect: true }), { action: "reprotect", site: "idr" }],
    ["no mirror back, reprotect not asked for: nothing", ask("idr", "idr", live("idr", { protected: false, replicating: false })), { action: "nothing" }],
    ["mirror unhealthy, reprotect left in: nothing", ask("idr", "idr", live("idr", { protected: false }), { reprotect: true }), { action: "nothing" }],
  ]; // prettier-ignore
  for (const [name, decision, expected] of rows)
    it(name, () => assert.deepEqual({ ...decision, ...expected }, decision));

  it("reloads when the active stanza changed, and only that one", () => {
    const state = { activeSite: "idr", promoted: true, protected: true, backendRevisions: { iprod: "1", idr: "1" } };
    const changed = (backendRevisions: Record<string, string>, verdict = live("idr")): Decision["action"] =>
      ask("idr", "idr", verdict, { state, backendRevisions }).action;
    assert.equal(changed({ iprod: "1", idr: "2" }), "reload");
    assert.equal(changed({ iprod: "2", idr: "1" }), "nothing");
    assert.equal(changed({ iprod: "1" }), "nothing");
  });

  it("doesn't reload a stanza that isn't in use before its promotion", () => {
    const state = { activeSite: "idr", promoted: false, protected: false, backendRevisions: { idr: "1" } };
    const verdict = live("idr", { promoted: false });
    const decision = ask("idr", "idr", verdict, { state, backendRevisions: { idr: "2" }, promotion: "deferred" });
    assert.equal(decision.action, "nothing");
  });

  it("says how to adopt where it refuses drift", () => {
    const decision = ask("iprod", "iprod", live("idr"));
    assert.equal(decision.action === "refuse" && /set activeSite to "idr" and run up/.test(decision.remedy), true);
  });
});

describe("verdictOf", () => {
  const conf = (world: World, name: string, from: string, to: string): void => {
    const controller = world.controllers[name];
    assert.ok(controller !== undefined);
    assert.ok(controller.content.includes(from));
    controller.content = controller.content.replace(from, to);
  };
  const bothConfs = (world: World, from: string, to: string): void => {
    conf(world, "c1", from, to);
    conf(world, "c2", from, to);
  };
  const enabled = "enabled_backends = loweropenstack1, iprod";

  it("sees the active site, promoted and protected", async () => {
    assert.deepEqual(verdictOf(await look(new World())), {
      site: "iprod",
      promoted: true,
      protected: true,
      replicating: true,
      mismatches: [],
      unseen: [],
    });
  });

  it("sees a failover that isn't promoted", async () => {
    const world = new World();
    Object.assign(world.rows.iprod, { replicationStatus: "failed-over", activeBackendId: "idr", disabled: true });
    for (const mirror of world.mirrors) mirror.state = "broken_off";
    const { site, promoted, half } = verdictOf(await look(world));
    const left = { left: "iprod", attachments: 4, unbroken: [] };
    assert.deepEqual({ site, promoted, half }, { site: "idr", promoted: false, half: left });
  });

  it("sees nothing where no site is enabled and no volume is there", async () => {
    const world = new World(0);
    bothConfs(world, enabled, "enabled_backends = loweropenstack1");
    assert.deepEqual(verdictOf(await look(world)), {
      promoted: false,
      protected: false,
      mismatches: [],
      unseen: [],
    });
  });

  it("gives no site where controllers differ, both are enabled, or the database can't be asked", async () => {
    const differing = new World();
    conf(differing, "c2", enabled, "enabled_backends = idr");
    assert.equal(verdictOf(await look(differing)).site, undefined);
    const both = new World();
    bothConfs(both, enabled, "enabled_backends = iprod,idr");
    assert.equal(verdictOf(await look(both)).site, undefined);
    const failedOver = new World();
    Object.assign(failedOver.rows.iprod, { replicationStatus: "failed-over", activeBackendId: "idr" });
    const blind: Observation = { ...(await look(failedOver)), database: { ok: false, error: "down" }, serviceRows: [] };
    assert.equal(verdictOf(blind).site, undefined, "the failover shows in the rows alone");
  });

  it("tells unhealthy from unprotected, and leaves open what the other site doesn't answer", async () => {
    const observation = await look(new World());
    const sick: Observation = structuredClone(observation);
    const idr = sick.arrays["idr"];
    assert.ok(idr?.ok === true);
    Object.assign(idr.value.mirrors[0] ?? {}, { healthy: false });
    assert.deepEqual([verdictOf(sick).protected, verdictOf(sick).replicating], [false, true]);
    const dead: Observation = { ...observation, arrays: { ...observation.arrays, idr: { ok: false, error: "dead" } } };
    assert.deepEqual([verdictOf(dead).protected, verdictOf(dead).replicating], [false, undefined]);
  });
});
