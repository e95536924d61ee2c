import assert from "node:assert/strict";
import type { HookSpec, Intent } from "../../../lib/switchover";
import { Journal } from "../../../lib/switchover/journal";
import { buildReport, reportAsMarkdown } from "../../../lib/switchover/report";
import { hookSchema } from "../../../lib/topology/hooks";
import { at, fails, journals, killAt, lost, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, World } from "./world";

const newJournal = journals();
let world: World;
let dr: Operator;
beforeEach(() => {
  world = new World();
  dr = operator(world, newJournal());
});
afterEach(() => assert.deepEqual(world.violations, []));

const hook = (name: string, when: HookSpec["when"], more: Partial<HookSpec> = {}): HookSpec =>
  hookSchema.parse({ name, when, command: ["/bin/freeze", "two words"], ...more });
const hookCalls = (): string[] => world.calls.filter((call) => call.startsWith("hook ")).map((call) => call.slice(5));
const position = (call: string): number => {
  const found = world.calls.indexOf(call);
  assert.ok(found >= 0, `${call} in ${world.calls.join(", ")}`);
  return found;
};
const up = (intent: Intent) => dr.up(intent, at("iprod"));
const entries = async () => Journal.read((await Journal.list(dr.journalDir)).at(-1) ?? "");

describe("a hook", () => {
  it("stands in the preview with what it runs and what its failure means, and isn't run by it", async () => {
    const http = { method: "POST", url: "https://chat.example.org/{secret:chat}", headers: {} } as const;
    const hooks = [
      hook("freeze", "before:quiesce", { timeoutSeconds: 60 }),
      hookSchema.parse({ name: "tell", when: "after:start", http, onFailure: "continue" }),
    ];
    const { sentences } = await dr.preview(intentTo("idr", { hooks }), at("iprod"));
    const told = sentences.filter((sentence) => sentence.includes("Hook"));
    assert.match(told[0] ?? "", /^\d+\. quiesce: Hook "freeze", before quiesce: run \/bin\/freeze "two words" \(at most 60 s; if it fails: the run stops\)$/); // prettier-ignore
    assert.match(told[1] ?? "", /^\d+\. start: Hook "tell", after start: POST https:\/\/chat\.example\.org\/\{secret:chat\} \(at most 300 s; if it fails: a warning, and on\)$/); // prettier-ignore
    assert.deepEqual(world.calls, []);
  });

  it("is told of the run", async () => {
    await up(intentTo("idr", { hooks: [hook("freeze", "before:quiesce")] }));
    const [facts] = world.hooked;
    const [switchoverId] = world.journals.keys();
    assert.deepEqual(facts, {
      pair: "pair",
      switchoverId,
      kind: "switchover",
      mode: "planned",
      route: "failover-host",
      from: "iprod",
      to: "idr",
      when: "before",
      phase: "quiesce",
      hook: "freeze",
      instances: ["server-0", "server-1"],
    });
  });

  it("that may fail leaves a warning, and isn't run again", async () => {
    world.faults.hook.set("tell", 1);
    const intent = intentTo("idr", { hooks: [hook("tell", "after:start", { onFailure: "continue" })] });
    await assert.rejects(dr.up(intent, at("iprod"), killAt("promote/stop-services", "before-call")));
    await up(intent);
    assert.deepEqual(hookCalls(), ["tell"]);
    assert.ok(dr.said.some((line) => /^warning: hook "tell" failed: it ended with status 1/.test(line)));
    const report = buildReport(await entries());
    assert.equal(report.verdict, "completed");
    const told = report.hooks.map(({ startedAt: _, endedAt: __, ...outcome }) => outcome);
    assert.deepEqual(told, [
      { name: "tell", step: "hook/after-start/tell", passed: false, said: "it ended with status 1", durationSeconds: 0, output: "tell said so" },
    ]); // prettier-ignore
    assert.match(
      report.warnings.join(),
      /hook "tell" failed: it ended with status 1 after 0 s; its last output: tell said so/,
    );
    assert.match(reportAsMarkdown(report), /\| tell \| after-start\/tell \| 0 s \| ✗ it ended with status 1 \|/);
  });

  it("is journalled before it's called, and what came of it after", async () => {
    await up(intentTo("idr", { hooks: [hook("freeze", "before:quiesce")] }));
    const own = (await entries()).filter((entry) => "step" in entry && entry.step === "hook/before-quiesce/freeze");
    assert.deepEqual(
      own.map((entry) => (entry.type === "step" ? entry.event : entry.type)),
      ["begin", "intent", "done", "end"],
    );
    const done = own.find((entry) => entry.type === "done");
    assert.deepEqual(done?.type === "done" && done.facts, {
      passed: true,
      said: "it ended with status 0",
      exitCode: 0,
      durationSeconds: 0,
      output: "freeze said so",
    });
  });

  it("before the cutover doesn't stand in the way of going back", async () => {
    world.faults.hook.set("check", 1);
    const hooks = [hook("check", "before:cutover"), hook("check2", "before:promote")];
    const untouched = new World().endState();
    await assert.rejects(up(intentTo("idr", { hooks })), fails("failure-state", /hook\/before-cutover\/check/));
    await up(intentTo("iprod", { hooks }));
    assert.deepEqual(world.endState(), untouched);
  });

  it("of the way back runs there, and nowhere else", async () => {
    const hooks = [
      hook("freeze", "before:quiesce"),
      hook("back", "before:abort"),
      hook("unfreeze", "after:abort"),
      hook("started", "after:start"),
    ];
    await assert.rejects(
      dr.up(intentTo("idr", { hooks }), at("iprod"), killAt("final-sync/update-mirrors", "before-call")),
    );
    const { sentences } = await dr.preview(intentTo("iprod", { hooks }), at("iprod"));
    assert.match(sentences.find((line) => /^\d+\./.test(line)) ?? "", /^1\. abort: Hook "back"/);
    await up(intentTo("iprod", { hooks }));
    assert.deepEqual(hookCalls(), ["freeze", "back", "unfreeze"]);
    assert.ok(position("hook back") < position("server-0 attach 00"));
    assert.ok(position("hook unfreeze") > position("server-0 start"));
    assert.deepEqual(
      world.hooked.map(({ kind, from, to }) => [kind, from, to]),
      [["switchover", "iprod", "idr"], ["abort", "idr", "iprod"], ["abort", "idr", "iprod"]],
    ); // prettier-ignore
  });

  it("that fails for good can be corrected or taken out, and the run goes on; a new one counts next time", async () => {
    for (const next of [[hook("cut", "after:cutover", { command: ["/bin/repaired"] })], []]) {
      world = new World();
      dr = operator(world, newJournal());
      world.faults.hook.set("cut", 1);
      await assert.rejects(up(intentTo("idr", { hooks: [hook("cut", "after:cutover")] })));
      const intent = intentTo("idr", { hooks: [...next, hook("new", "before:hold"), hook("newer", "after:start")] });
      const { sentences } = await dr.preview(intent, at("iprod"));
      assert.match(sentences[0] ?? "", /^Go on/);
      assert.equal(
        sentences.some((line) => line.includes("/bin/freeze")),
        false,
      );
      assert.equal(
        sentences.some((line) => line.includes("/bin/repaired")),
        next.length > 0,
      );
      await up(intent);
      assert.deepEqual(hookCalls(), next.length > 0 ? ["cut", "cut"] : ["cut"]);
    }
  });

  it("that was changed underway has to be approved again", async () => {
    world.faults.hook.set("cut", 1);
    const intent = intentTo("idr", { hooks: [hook("cut", "after:cutover")], requireApproval: true });
    const { digest } = await dr.preview(intent, at("iprod"));
    await assert.rejects(up({ ...intent, approvedPlan: digest }), fails("failure-state", /cut/));
    const changed = { ...intent, hooks: [hook("cut", "after:cutover", { command: ["/bin/other"] })] };
    await assert.rejects(up({ ...changed, approvedPlan: digest }), fails("precondition", /was approved, but/));
    assert.deepEqual(hookCalls(), ["cut"]);
    const again = await dr.preview(changed, at("iprod"));
    await up({ ...changed, approvedPlan: again.digest });
    assert.deepEqual(hookCalls(), ["cut", "cut"]);
  });

  it("of a phase that the failover doesn't have isn't run", async () => {
    world.reachable.iprod = false;
    const hooks = [hook("sync", "after:final-sync"), hook("stop", "before:quiesce")];
    await up(intentTo("idr", { hooks, unplanned: lost }));
    assert.deepEqual(hookCalls(), ["stop"]);
  });

  it("runs while Cinder is stopped also for a reprotect", async () => {
    world.reachable.iprod = false;
    await up(intentTo("idr", { unplanned: lost }));
    world.reachable.iprod = true;
    world.unfenced = "iprod";
    const before = world.calls.length;
    await dr.up(
      intentTo("idr", { reprotect: "discardDiverged", hooks: [hook("down", "during:promote")] }),
      at("idr", true, false),
    );
    const calls = world.calls.slice(before);
    assert.ok(calls.indexOf("hook down") > calls.indexOf("stop cinder-volume@c1"));
    assert.ok(calls.indexOf("hook down") < calls.indexOf("start cinder-volume@c1"));
  });
});
