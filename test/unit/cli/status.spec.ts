import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { exitCodes } from "../../../cli/exit-codes";
import { exposition } from "../../../cli/metrics";
import { type Overview, overviewOf } from "../../../lib/switchover";
import { Journal } from "../../../lib/switchover/journal";
import { scheduleSecondsOf } from "../../../lib/switchover/schedule";
import { at, killAt, operator } from "../switchover/support";
import { intentTo, pair, World } from "../switchover/world";
import { cliOn, folder } from "./support";

const newFolder = folder();

function begin(world = new World()) {
  const cli = cliOn(world, newFolder());
  return { world, cli, pulumi: operator(world, cli.journalDir) };
}

type Ports = ReturnType<World["ports"]>;

/** Changes what the systems are seen by. */
function through(world: World, change: (ports: Ports) => Ports): void {
  const ports = world.ports.bind(world);
  world.ports = () => change(ports());
}

const overview = (world: World, journalDir: string, more: Partial<Parameters<typeof overviewOf>[0]> = {}) =>
  overviewOf({ pair, ports: world.ports(), journalDir, intent: intentTo("iprod"), readiness: true, ...more });

const readinessOf = ({ readiness = [] }: Overview) =>
  Object.fromEntries(readiness.map(({ mode, ready, reasons }) => [mode, [ready, ...reasons.map((r) => r.message)]]));

describe("cheesecake status, of a switchover now", () => {
  it("is ready in both modes, and tells what would be lost", async () => {
    const { world, cli } = begin();
    const { readiness = [] } = await overview(world, cli.journalDir);
    assert.deepEqual(
      readiness.map(({ to, mode, ready, lossSeconds }) => [to, mode, ready, lossSeconds]),
      [
        ["idr", "planned", true, undefined],
        ["idr", "unplanned", true, 60],
      ],
    );
    const { out } = await cli.run(["status"]);
    assert.match(out, /^ready +to "idr", planned: yes\nready +to "idr", unplanned: yes, losing 1 min$/m);
    assert.match(out, /^mirror +pool1 "iprod" → "idr": snapmirrored, 1 min behind \(target 2 h, schedule 1 h\)$/m);
    assert.match(out, /^last switchover +none is recorded$/m);
    assert.deepEqual(world.calls, []);
  });

  it("is for the way home after a switchover, which it tells, and how long ago that was", async () => {
    const { world, cli } = begin();
    await cli.run(["apply", "--to", "idr", "--yes"]);
    const settings = { activeSite: "idr" };
    const { out } = await cli.run(["status"], { settings });
    assert.match(out, /^last switchover +"iprod" → "idr", planned, completed 2026-01-01T\S+, RTO \d+ s$/m);
    assert.match(out, /^ready +to "iprod", planned: no\n +✗ the switchover .* ended 0 s ago, needed 600 s/m);
    world.nowMs += 600_000;
    assert.match((await cli.run(["status"], { settings })).out, /^ready +to "iprod", planned: yes$/m);
  });

  it("tells ten reasons of many, and while a switchover isn't finished that alone", async () => {
    const many = begin(new World(15));
    for (const server of many.world.servers.values()) server.as = { status: "PAUSED" };
    const ready = /^ready +to "idr", planned: no\n((?: {17}.*\n)+)/m;
    const reasonsIn = (out: string): string[] => (ready.exec(out)?.[1] ?? "").trimEnd().split("\n");
    const told = reasonsIn((await many.cli.run(["status"])).out);
    assert.equal(told.length, 11);
    assert.match(told.at(-1) ?? "", /^ +and \d+ more reasons, all of them in --json$/);

    const { world, cli, pulumi } = begin();
    await assert.rejects(pulumi.up(intentTo("idr"), at("iprod"), killAt("hold/lock-instances", "before-call")));
    world.computes = world.computes.map((compute) => ({ ...compute, up: false }));
    const [only, more] = reasonsIn((await cli.run(["status"])).out);
    assert.match(only ?? "", /✗ .*isn't finished/);
    assert.match(more ?? "", /^ +and \d+ more reasons/);
  });

  it("isn't ready while the standby doesn't answer, in either mode", async () => {
    const { world, cli } = begin();
    world.reachable.idr = false;
    const seen = await overview(world, cli.journalDir);
    const { planned = [], unplanned = [] } = readinessOf(seen);
    for (const [ready, first] of [planned, unplanned]) {
      assert.equal(ready, false);
      assert.match(String(first), /the array of "idr" can't be asked/);
    }
    assert.deepEqual(
      seen.mirrors.map(({ state, lagSeconds }) => [state, lagSeconds]),
      [
        [undefined, undefined],
        [undefined, undefined],
      ],
      "its mirrors aren't known",
    );
    assert.equal(seen.readiness?.[1]?.lossSeconds, undefined);
    assert.match((await cli.run(["status"])).out, /^mirror +pool1 "iprod" → "idr": "idr" doesn't answer$/m);
  });

  it("is ready for a failover, not for a switchover, while the active site's array doesn't answer", async () => {
    const { world, cli } = begin();
    world.reachable.iprod = false;
    const { planned = [], unplanned = [] } = readinessOf(await overview(world, cli.journalDir));
    assert.equal(planned[0], false);
    assert.deepEqual(unplanned, [true]);
  });

  it("isn't ready before a promotion, nor while something is open, nor where the systems contradict each other", async () => {
    const deferred = begin();
    await deferred.cli.run(["apply", "--to", "idr", "--promotion", "deferred", "--yes"]);
    const first = readinessOf(await overview(deferred.world, deferred.cli.journalDir));
    assert.match(String(first["planned"]?.[1]), /"idr" is failed over to, but not promoted/);

    const open = begin();
    await assert.rejects(open.pulumi.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "before-call")));
    const second = readinessOf(await overview(open.world, open.cli.journalDir));
    for (const mode of ["planned", "unplanned"]) assert.match(String(second[mode]?.[1]), /-switchover-iprod-idr isn't/);

    const contradiction = begin();
    const [controller] = Object.values(contradiction.world.controllers);
    assert.ok(controller);
    controller.content = controller.content.replace("loweropenstack1, iprod", "loweropenstack1, idr");
    const { readiness = [] } = await overview(contradiction.world, contradiction.cli.journalDir);
    assert.deepEqual(
      readiness.map(({ to, ready, reasons }) => [to, ready, reasons.length > 0]),
      ["iprod", "iprod", "idr", "idr"].map((to) => [to, false, true]),
    );
  });

  it("isn't ready where it can't be read whether something is open, and doesn't say that nothing is", async () => {
    const { world, cli, pulumi } = begin();
    await assert.rejects(pulumi.up(intentTo("idr"), at("iprod"), killAt("hold/disable-backend", "before-call")));
    const [file = ""] = await Journal.list(cli.journalDir);
    writeFileSync(file, "another journal\n");
    const seen = await overview(world, cli.journalDir);
    assert.deepEqual([seen.open, /differs between/.test(seen.openUnknown ?? "")], [undefined, true]);
    const both = Object.values(readinessOf(seen));
    assert.equal(both.length, 2);
    for (const [ready, ...reasons] of both) {
      assert.equal(ready, false);
      assert.ok(reasons.some((reason) => String(reason).startsWith("whether a switchover is open can't be told")));
    }
    assert.doesNotMatch((await exposition({ pair: "pair", seen: { overview: seen, beganMs: 0, tookSeconds: 0 } })).text, /^cheesecake_open_switchover\{/m); // prettier-ignore
    const { out, code } = await cli.run(["status"]);
    assert.match(out, /^open switchover +unclear$/m);
    assert.equal(code, exitCodes.mismatch);
  });

  it("doesn't say that no switchover is recorded where that can't be read", async () => {
    const { world, cli } = begin();
    const listSwitchovers = () => Promise.reject(new Error("hush-db: no answer"));
    through(world, (ports) => ({ ...ports, coordination: { ...ports.coordination, listSwitchovers } }));
    const { out, code } = await cli.run(["status"]);
    assert.match(out, /^last switchover +unclear$/m);
    assert.equal(code, exitCodes.mismatch);
  });

  it("asks Nova for nothing without readiness", async () => {
    const { world, cli } = begin();
    through(world, (ports) => ({
      ...ports,
      compute: new Proxy(ports.compute, { get: (_, name) => assert.fail(`Nova is asked: ${String(name)}`) }),
    }));
    const { out, code } = await cli.run(["status", "--no-readiness"]);
    assert.equal(code, exitCodes.fine, out);
    assert.doesNotMatch(out, /^ready/m);
  });

  it("tells a mirror that is late, and one that is missing", async () => {
    const { world, cli } = begin();
    through(world, (ports) => {
      const { idr } = ports.arrays;
      assert.ok(idr);
      const listMirrors = async (names: readonly string[]) =>
        (await idr.listMirrors(names)).slice(0, 1).map((mirror) => ({ ...mirror, lagSeconds: 7201 }));
      return { ...ports, arrays: { ...ports.arrays, idr: { ...idr, listMirrors } } };
    });
    const { out } = await cli.run(["status"]);
    assert.match(out, /^mirror +pool1 .* 2 h behind TOO LATE \(target 2 h, schedule 1 h\)$/m);
    assert.match(out, /^mirror +pool2 "iprod" → "idr": missing, unhealthy/m);
  });

  it("reads an ended journal once, and an open one each time", async () => {
    const { world, cli, pulumi } = begin();
    let reads = 0;
    through(world, (ports) => ({
      ...ports,
      coordination: {
        ...ports.coordination,
        readJournal: (id) => {
          reads++;
          return ports.coordination.readJournal(id);
        },
      },
    }));
    const seen = async (before?: Overview) => {
      reads = 0;
      return overview(world, cli.journalDir, { readiness: false, history: before?.history });
    };
    await pulumi.up(intentTo("idr"), at("iprod"));
    const first = await seen();
    assert.deepEqual([reads, first.last?.verdict, first.last?.to], [1, "completed", "idr"]);
    const second = await seen(first);
    assert.deepEqual([reads, second.last], [0, first.last]);
    await assert.rejects(pulumi.up(intentTo("iprod"), at("idr"), killAt("detach/volumes", "before-call")));
    const third = await seen(second);
    assert.deepEqual([third.last?.verdict, third.last?.to], ["failed", "iprod"]);
    await seen(third);
    assert.ok(reads > 0);
  });
});

describe("cheesecake status --watch", () => {
  /** After each look the next one of these happens; then it's ended. */
  function meanwhile(world: World, ...events: readonly (() => unknown)[]): void {
    const left = [...events];
    through(world, (ports) => ({
      ...ports,
      clock: {
        ...ports.clock,
        sleep: async (ms) => {
          const event = left.shift();
          if (event === undefined) throw new Error("Ctrl-C");
          world.nowMs += ms;
          await event();
        },
      },
    }));
  }

  it("prints everything once, then a line for each change, and none for a lag that grows", async () => {
    const { world, cli } = begin();
    let lagSeconds = 60;
    through(world, (ports) => {
      const { idr } = ports.arrays;
      assert.ok(idr);
      const listMirrors = async (names: readonly string[]) =>
        (await idr.listMirrors(names)).map((mirror) => ({ ...mirror, lagSeconds }));
      return { ...ports, arrays: { ...ports.arrays, idr: { ...idr, listMirrors } } };
    });
    meanwhile(
      world,
      () => (lagSeconds = 120),
      () => (world.reachable.iprod = false),
      () => (world.reachable.iprod = true),
      () => (lagSeconds = 8000),
    );
    const { out, code } = await cli.run(["status", "--watch", "--every", "10"]);
    const [, changes = ""] = out.split(/^ready .*unplanned.*\n/m);
    const lines = changes.split("\n");
    assert.deepEqual(
      lines.map((line) => line.replace(/no: .*/, "no").replace(/no: .* →/, "no →")),
      [
        '2026-01-01T00:00:20.000Z verdict: in place: every system names "iprod" → in place: every system that answers names "iprod"',
        '2026-01-01T00:00:20.000Z array of "iprod": answers → doesn\'t answer',
        '2026-01-01T00:00:20.000Z ready to "idr", planned: yes → no',
        '2026-01-01T00:00:30.000Z verdict: in place: every system that answers names "iprod" → in place: every system names "iprod"',
        '2026-01-01T00:00:30.000Z array of "iprod": doesn\'t answer → answers',
        '2026-01-01T00:00:30.000Z ready to "idr", planned: no',
        '2026-01-01T00:00:40.000Z mirror pool1 "iprod" → "idr": snapmirrored, lag fine → snapmirrored, lag late',
        '2026-01-01T00:00:40.000Z mirror pool2 "iprod" → "idr": snapmirrored, lag fine → snapmirrored, lag late',
      ],
    );
    assert.equal(code, exitCodes.fine);
  });

  it("redraws in a terminal, and prints a line of JSON for each look where that's asked for", async () => {
    const drawn: (readonly string[])[] = [];
    const { world, cli } = begin();
    meanwhile(world, () => undefined);
    const { out } = await cli.run(["status", "--watch"], { redraw: (lines) => void drawn.push(lines) });
    assert.equal(out, "");
    assert.deepEqual([drawn.length, drawn[1]?.at(-1)], [2, "2026-01-01T00:00:30.000Z, every 30 s"]);
    const json = begin();
    meanwhile(json.world, () => undefined);
    const lines = (await json.cli.run(["status", "--watch", "--json", "--no-readiness"])).out.split("\n");
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { at: string }).at),
      ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:30.000Z"],
    );
  });
});

describe("scheduleSecondsOf", () => {
  it("knows ONTAP's own schedules, and takes the declared time for others", () => {
    assert.equal(scheduleSecondsOf({ schedule: "hourly" }), 3600);
    assert.equal(scheduleSecondsOf({ schedule: "5min" }), 300);
    assert.equal(scheduleSecondsOf({ schedule: "ours" }), undefined);
    assert.equal(scheduleSecondsOf({ schedule: "hourly", scheduleSeconds: 1200 }), 1200);
  });
});
