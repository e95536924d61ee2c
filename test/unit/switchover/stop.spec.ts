import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setImmediate as turn, setTimeout as delay } from "node:timers/promises";
import { DrError } from "../../../lib/errors";
import { openSwitchover, requestStop, statusOf, type StopOutcome } from "../../../lib/switchover";
import type { ExecutionEvent } from "../../../lib/switchover/execute";
import type { JournalEntry } from "../../../lib/switchover/journal";
import type { Clock, CoordinationPort } from "../../../lib/switchover/ports";
import { Stop, stopWithinSeconds } from "../../../lib/switchover/stop";
import { buildReport } from "../../../lib/switchover/report";
import { hookSchema } from "../../../lib/topology/hooks";
import { priorityGroupsSchema } from "../../../lib/topology/priority-groups";
import { at, fails, journals, killAt, lost, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, pair, World } from "./world";

const newJournal = journals();
const start = (): { world: World; dr: Operator } => {
  const world = new World();
  return { world, dr: operator(world, newJournal()) };
};

const entriesOf = (world: World): JournalEntry[] =>
  ([...world.journals.values()].at(-1)?.entries ?? []).map((line) => JSON.parse(line) as JournalEntry);
const last = (world: World): JournalEntry => entriesOf(world).at(-1) ?? assert.fail("no journal");

/** What was intended and isn't done. */
function halfDone(world: World): string[] {
  const key = (entry: { step: string; item: string }): string => `${entry.step} ${entry.item}`;
  const open = new Set<string>();
  for (const entry of entriesOf(world))
    if (entry.type === "intent") open.add(key(entry));
    else if (entry.type === "done") open.delete(key(entry));
  return [...open];
}

const journeys = [
  { name: "planned", prepare: () => undefined, intent: intentTo("idr"), state: at("iprod") },
  {
    name: "planned, direct route",
    prepare: () => undefined,
    intent: intentTo("idr", { route: "direct" }),
    state: at("iprod"),
  },
  {
    name: "unplanned",
    prepare: (world: World) => void (world.reachable.iprod = false),
    intent: intentTo("idr", { unplanned: lost }),
    state: at("iprod"),
  },
  {
    name: "abort",
    prepare: async (_world: World, dr: Operator) =>
      assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("final-sync/update-mirrors", "recorded"))),
    intent: intentTo("iprod"),
    state: at("iprod"),
  },
];

describe("a switchover that is asked to stop", () => {
  for (const { name, prepare, intent, state } of journeys)
    it(`finishes what is under way, begins nothing new, and goes on to the same end: ${name}`, async function () {
      this.timeout(240_000);
      const { world: whole, dr: uncut } = start();
      await prepare(whole, uncut);
      const before = whole.calls.length;
      const boundaries: ExecutionEvent[] = [];
      await uncut.up(intent, state, (event) => void boundaries.push(event));
      const repeatable = (call: string): boolean => call.startsWith("transfer ");
      const calls = whole.calls.slice(before).filter((call) => !repeatable(call));
      assert.ok(boundaries.length > 10, String(boundaries.length));
      const lastStep = boundaries.at(-1)?.step;

      for (const boundary of boundaries) {
        const where = `asked ${boundary.kind} of ${boundary.step} ${boundary.item}`;
        const { world, dr } = start();
        await prepare(world, dr);
        const begun = world.calls.length;
        const stop = new AbortController();
        const ask = ({ kind, step, item }: ExecutionEvent): void => {
          if (kind === boundary.kind && step === boundary.step && item === boundary.item)
            stop.abort(new DrError({ code: "stopped", attempted: "Switch over", seen: "Ctrl-C" }));
        };
        const outcome = await dr.up(intent, state, ask, { signal: stop.signal }).then(
          () => "completed",
          (error: unknown) => {
            assert.ok(DrError.is(error, "stopped"), `${where}: ${String(error)}`);
            return "stopped";
          },
        );
        assert.deepEqual(world.violations, [], where);
        assert.deepEqual(halfDone(world), [], where);
        assert.equal(world.lease, undefined, "the lease was given back");
        // Past the last item there's nothing to stop.
        if (boundary.step !== lastStep) assert.equal(outcome, "stopped", where);
        if (outcome === "stopped") {
          const entry = last(world);
          assert.ok(entry.type === "stopped" && entry.by === "Ctrl-C" && entry.state !== "", JSON.stringify(entry));
          const run = entriesOf(world).slice(entriesOf(world).findLastIndex(({ type }) => type === "resume") + 1);
          assert.ok(!run.some(({ type }) => type === "failed"), "it's no failure");
          await dr.up(intent, state);
        }
        assert.deepEqual(world.endState(), whole.endState(), where);
        assert.deepEqual(world.violations, [], where);
        const made = world.calls.slice(begun).filter((call) => !repeatable(call));
        assert.deepEqual(made.sort(), [...calls].sort(), where);
      }
    });

  it("doesn't wait for the end of a pause after a priority group, which begins anew, and reports where it stands", async () => {
    const world = new World();
    const database = { name: "database", instances: [{ name: "server-0" }], priority: 1, pauseAfterSeconds: 5 };
    const openstack = { ...pair.openstack, priorityGroups: priorityGroupsSchema.parse([database]) };
    const dr = operator(world, newJournal(), "test", { ...pair, openstack });
    const stop = new AbortController();
    const ask = ({ kind, step }: ExecutionEvent): void => {
      if (kind === "before-call" && step === "start/pause")
        stop.abort(new DrError({ code: "stopped", attempted: "Switch over", seen: "Ctrl-C" }));
    };
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), ask, { signal: stop.signal }), fails("stopped", /pause/));
    const seconds = (entry: JournalEntry | undefined): number => Date.parse(entry?.at ?? "") / 1000;
    const paused = (): number => seconds(entriesOf(world).findLast((e) => e.type === "intent" && e.step === "start/pause")); // prettier-ignore
    assert.ok(seconds(last(world)) - paused() < 5);
    const report = buildReport(entriesOf(world));
    assert.equal(report.verdict, "open");
    assert.match(report.summary, /^Stopped on request \(Ctrl-C\) at start\/pause, and not finished: production is at "idr"/); // prettier-ignore
    assert.match(report.remaining[0] ?? "", /`cheesecake resume`/);
    assert.deepEqual([report.stopped?.by, report.stopped?.step], ["Ctrl-C", "start/pause"]);
    await dr.up(intentTo("idr"), at("iprod"));
    const done = entriesOf(world).find((e) => e.type === "done" && e.step === "start/pause");
    assert.ok(seconds(done) - paused() >= 5);
    assert.equal(buildReport(entriesOf(world)).stopped, undefined);
    assert.deepEqual(world.violations, []);
  });

  it("ends a hook once its time is over, without calling that a failure, and runs it again", async () => {
    const { world, dr } = start();
    const cutOff = new AbortController();
    world.faults.hookHangs.add("freeze");
    const hooks = [hookSchema.parse({ name: "freeze", when: "before:quiesce", command: ["/bin/freeze"] })];
    const ask = ({ kind, step }: ExecutionEvent): void => {
      if (kind === "before-call" && step.startsWith("hook/")) setTimeout(() => cutOff.abort(), 5);
    };
    await assert.rejects(
      dr.up(intentTo("idr", { hooks }), at("iprod"), ask, { cutOff: cutOff.signal }),
      fails("stopped", /Run hook "freeze".*was killed before its end/),
    );
    assert.equal(last(world).type, "stopped");
    assert.ok(!entriesOf(world).some(({ type }) => type === "failed"));
    world.faults.hookHangs.clear();
    await dr.up(intentTo("idr", { hooks }), at("iprod"));
    assert.equal(world.calls.filter((call) => call === "hook freeze").length, 2);
    assert.deepEqual(world.violations, []);
  });

  it("begins nothing where it's asked before", async () => {
    const { world, dr } = start();
    const signal = AbortSignal.abort();
    await assert.rejects(
      dr.up(intentTo("idr"), at("iprod"), undefined, { signal }),
      fails("stopped", /Nothing was changed/),
    );
    assert.deepEqual([world.calls, world.journals.size, world.lease], [[], 0, undefined]);
  });

  it("changes nothing where it's asked while it still looks whether there's something to do", async () => {
    const { world, dr } = start();
    const stop = new AbortController();
    const ports = world.ports();
    const listServers = async () => {
      // The step has begun, and looks at its first items.
      if (dr.said.at(-1)?.includes("hold/lock-instances: ") === true) stop.abort();
      return ports.compute.listServers();
    };
    const up = dr.up(intentTo("idr"), at("iprod"), undefined, {
      signal: stop.signal,
      ports: { ...ports, compute: { ...ports.compute, listServers } },
    });
    await assert.rejects(up, fails("stopped", /hold\/lock-instances/));
    assert.ok(entriesOf(world).some((entry) => entry.type === "step" && entry.step === "hold/lock-instances"));
    assert.ok(!entriesOf(world).some((entry) => entry.type === "intent" && entry.step === "hold/lock-instances"));
    assert.equal(last(world).type, "stopped");
    assert.ok(!world.calls.some((call) => call.endsWith(" lock")), world.calls.join(", "));
  });

  it("begins no other item of the step, says what Ctrl-C does, and what becomes of it", async () => {
    const { world, dr } = start();
    const stop = new AbortController();
    const ask = ({ step }: ExecutionEvent): void => {
      if (step === "detach/volumes") stop.abort();
    };
    const oneByOne = { ...pair, openstack: { ...pair.openstack, instancesAtOnce: 1 } };
    const up = dr.up(intentTo("idr"), at("iprod"), ask, { signal: stop.signal, pair: oneByOne });
    await assert.rejects(up, fails("stopped", /Production's data is at "iprod"\. Instances may be stopped/));
    const begun = entriesOf(world).filter((entry) => entry.type === "intent" && entry.step === "detach/volumes");
    assert.deepEqual([begun.length, halfDone(world)], [1, []]);
    assert.match(
      dr.said.join("\n"),
      /^Ctrl-C, or `cheesecake stop`, stops at the next safe point: what is under way gets 60 s/m,
    );
    assert.match(
      dr.said.join("\n"),
      /^stopping at the next safe point \(.*\): what is under way gets 60 s to be finished/m,
    );
  });

  it("doesn't wait any longer for what takes long, nor where it has to end at once", async () => {
    for (const how of ["late", "cut off"] as const) {
      const [signal, cutOff] = [new AbortController(), new AbortController()];
      const slept: number[] = [];
      let pass: () => void = () => undefined;
      const clock: Clock = {
        now: () => new Date(0),
        sleep: (ms) => (slept.push(ms), new Promise((resolve) => (pass = resolve))),
      };
      const stop = new Stop({
        pair: "pair",
        coordination: new World().ports().coordination,
        clock,
        signal: signal.signal,
        cutOff: cutOff.signal,
        say: () => undefined,
      });
      assert.deepEqual([stop.asked.aborted, stop.cutOff.aborted], [false, false]);
      if (how === "late") {
        signal.abort();
        await turn();
        assert.deepEqual([stop.asked.aborted, stop.cutOff.aborted], [true, false]);
        assert.deepEqual(slept, [stopWithinSeconds * 1000]);
        pass();
        await turn();
      } else cutOff.abort();
      assert.deepEqual([stop.asked.aborted, stop.cutOff.aborted], [true, true], how);
    }
  });
});

/** Whoever asks has a clock of its own: the world's time is the run's. */
const asking = (world: World, journalDir: string, coordination: CoordinationPort = world.ports().coordination) => {
  const said: string[] = [];
  const clock: Clock = { now: () => new Date(), sleep: () => delay(2) };
  const outcome = (waitSeconds = 60): Promise<StopOutcome> =>
    requestStop({ pair, journalDir, waitSeconds, ports: { coordination, clock }, say: (line) => said.push(line) });
  return { said, outcome };
};

/** So that a look at the request ends before the next call. */
const unhurried = async (): Promise<void> => delay(2);

/** The database as it is for one who doesn't reach it. */
const unreachable = (): Promise<never> =>
  Promise.reject(new DrError({ code: "unreachable", attempted: "Ask the database", seen: "no answer" }));

describe("a request to stop", () => {
  it("reaches the run that holds the lease, which stops, and is told with what stands", async () => {
    const { world, dr } = start();
    const { said, outcome } = asking(world, dr.journalDir);
    let asked: Promise<StopOutcome> | undefined;
    await assert.rejects(
      dr.up(intentTo("idr"), at("iprod"), async ({ step }) => {
        if (step === "quiesce/stop-instances") asked ??= outcome();
        await unhurried();
      }),
      fails("stopped", /`cheesecake stop` by \S+ on /),
    );
    const { run, said: told, open } = (await asked) ?? assert.fail("not asked");
    assert.equal(run, "stopped");
    // Where that is depends on when it heard of it.
    const stopped = last(world);
    assert.ok(stopped.type === "stopped" && /^Production's data is at "(iprod|idr)"\./.test(stopped.state));
    assert.equal(told, `Stopped at ${stopped.step}. ${stopped.state}`);
    assert.match(open ?? "", /-switchover-iprod-idr$/);
    assert.match(said.join("\n"), /^asked \S+ on \S+ \(pid \d+, stack test\) to stop at the next safe point; waiting/);

    const status = await statusOf({ pair, ports: world.ports(), journalDir: dr.journalDir, expected: "iprod" });
    assert.match(
      status.judgement.said,
      /-switchover-iprod-idr was stopped by request at 2026-.*Z, at \S+ \(`cheesecake stop` by .*\)$/,
    );
    assert.equal((await dr.up(intentTo("idr"), at("iprod"))).activeSite, "idr", "the next run isn't meant");
    assert.equal(await openSwitchover({ pair, ports: world.ports(), journalDir: dr.journalDir }), undefined);
    assert.deepEqual(world.violations, []);
  });

  it("isn't heeded by the next run where the one that was asked died", async () => {
    const { world, dr } = start();
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "after-call")));
    const entry = entriesOf(world)[0];
    assert.ok(entry?.type === "begin" && entry.run !== undefined);
    world.stopRequest = { token: entry.run, by: "somebody" };
    writeFileSync(
      path.join(dr.journalDir, `${entry.switchoverId}.stop`),
      JSON.stringify({ token: entry.run, by: "x" }),
    );
    assert.equal((await dr.up(intentTo("idr"), at("iprod"), unhurried)).activeSite, "idr");
    assert.ok(!entriesOf(world).some(({ type }) => type === "stopped"));
    assert.deepEqual(readdirSync(dr.journalDir).filter((name) => name.endsWith(".stop")), []); // prettier-ignore
  });

  it("is told where there's nothing to stop, and what is open", async () => {
    const { world, dr } = start();
    assert.deepEqual(await asking(world, dr.journalDir).outcome(), { run: "idle", said: "No run is under way" });
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "after-call")));
    const { run, open } = await asking(world, dr.journalDir).outcome();
    assert.deepEqual([run, open], ["idle", [...world.journals.keys()][0]]);
  });

  it("is told where the run ends otherwise: completed, failed, or not within the time", async () => {
    for (const [how, expected] of [
      ["completed", "ended"],
      ["failed", "failed"],
      ["late", "running"],
    ] as const) {
      const { world, dr } = start();
      const found = world.ports().coordination;
      const deaf: CoordinationPort = { ...found, requestStop: () => Promise.resolve() };
      const { outcome } = asking(world, dr.journalDir, deaf);
      let asked: Promise<StopOutcome> | undefined;
      const run = dr.up(intentTo("idr"), at("iprod"), async ({ step, kind }) => {
        if (step !== "attach/volumes" || kind !== "before-call") return unhurried();
        asked ??= outcome(how === "late" ? 0 : 60);
        if (how === "failed") throw new Error("the array burns");
        if (how === "late") await asked;
      });
      if (how === "failed") await assert.rejects(run);
      else await run;
      const { run: told, said } = (await asked) ?? assert.fail("not asked");
      assert.equal(told, expected);
      if (how === "failed") assert.match(said, /It ended without having finished: the array burns/);
      if (how === "completed") assert.match(said, /-switchover-iprod-idr had ended before: completed/);
    }
  });

  it("is told where the holder of the lease doesn't renew it", async () => {
    const { world, dr } = start();
    const holder = { owner: "ops", host: "bastion", pid: 7, stack: "test", planDigest: "" };
    await world.ports().coordination.acquireLease(pair.name, holder, "token", 30);
    world.nowMs += 31_000;
    const { run, said } = await asking(world, dr.journalDir).outcome();
    assert.deepEqual([run, /ops on bastion \(pid 7, stack test\) doesn't renew its lease/.test(said)], ["dead", true]);
  });

  it("isn't told as done where another run took the lease, nor as having changed nothing where that can't be read", async () => {
    for (const [how, ended, told] of [
      ["taken over", "running", /but ann on bastion .* is at it now/],
      ["unread", "ended", /^It ended, but how can't be read: [^]*no answer/],
    ] as const) {
      const { world, dr } = start();
      const found = world.ports().coordination;
      const holder = { owner: "ops", host: "bastion", pid: 7, stack: "test", planDigest: "" };
      await found.acquireLease(pair.name, holder, "token", 30);
      const asked = asking(world, dr.journalDir, { ...found, listSwitchovers: unreachable }).outcome();
      await delay(10);
      const lease = world.lease ?? assert.fail("nobody has it");
      world.lease = how === "unread" ? undefined : { ...lease, token: "another", owner: "ann" };
      const { run, said } = await asked;
      assert.deepEqual([run, told.test(said)], [ended, true], said);
    }
  });

  it("isn't told that its run failed by what a former one failed by", async () => {
    const world = new World();
    const group = { name: "database", instances: [{ name: "server-0" }], priority: 1, approveAfter: true };
    const openstack = { ...pair.openstack, priorityGroups: priorityGroupsSchema.parse([group]) };
    const dr = operator(world, newJournal(), "test", { ...pair, openstack });
    await assert.rejects(
      dr.up(intentTo("idr"), at("iprod"), ({ step }) => {
        if (step === "attach/volumes") throw new Error("the array burns");
      }),
    );
    const deaf: CoordinationPort = { ...world.ports().coordination, requestStop: () => Promise.resolve() };
    let asked: Promise<StopOutcome> | undefined;
    const up = dr.up(intentTo("idr"), at("iprod"), async ({ step }) => {
      if (step === "attach/volumes") asked ??= asking(world, dr.journalDir, deaf).outcome();
      await unhurried();
    });
    await assert.rejects(up, (error) => DrError.is(error, "approval"));
    const { run, said } = (await asked) ?? assert.fail("not asked");
    assert.deepEqual([run, said], ["failed", "It ended without having finished"]);
  });

  it("goes by a file beside the journal where the database doesn't answer", async () => {
    const { world, dr } = start();
    const away = { ...world.ports().coordination, findLease: unreachable, requestStop: unreachable, listSwitchovers: unreachable }; // prettier-ignore
    const { said, outcome } = asking(world, dr.journalDir, away);
    let asked: Promise<StopOutcome> | undefined;
    await assert.rejects(
      dr.up(intentTo("idr"), at("iprod"), async ({ step }) => {
        if (step === "quiesce/stop-instances") asked ??= outcome();
        await unhurried();
      }),
      fails("stopped", /`cheesecake stop` by \S+ on /),
    );
    const { run, said: told } = (await asked) ?? assert.fail("not asked");
    assert.equal(run, "stopped", told);
    assert.match(
      said.join("\n"),
      /^the database doesn't answer \(no answer\); asked by .*-iprod-idr\.stop, waiting up to/,
    );
    assert.equal((await dr.up(intentTo("idr"), at("iprod"))).activeSite, "idr");
  });

  it("says where it finds no run by either way, and where nothing takes the file away", async () => {
    const { world, dr } = start();
    const away = { ...world.ports().coordination, findLease: unreachable };
    const nowhere = fails("unreachable", /no switchover is open in .*Press Ctrl-C where it runs/s);
    await assert.rejects(asking(world, dr.journalDir, away).outcome(), nowhere);
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "after-call")));
    const { run, said } = await asking(world, dr.journalDir, away).outcome(0);
    assert.equal(run, "running");
    assert.match(said, /\.stop away: the run is still at it, or is gone/);
    const [id = ""] = world.journals.keys();
    assert.ok(existsSync(path.join(dr.journalDir, `${id}.stop`)));
    // It's for the run that is gone.
    assert.equal((await dr.up(intentTo("idr"), at("iprod"), unhurried)).activeSite, "idr");
    await assert.rejects(asking(world, dr.journalDir, away).outcome(), nowhere);
  });
});
