import assert from "node:assert/strict";
import type { Intent, SwitchoverState } from "../../../lib/switchover";
import type { ExecutionEvent } from "../../../lib/switchover/execute";
import { DrError } from "../../../lib/errors";
import { type HookSpec, hookSchema } from "../../../lib/topology/hooks";
import { priorityGroupsSchema } from "../../../lib/topology/priority-groups";
import type { SitePair } from "../../../lib/topology/site-pair";
import { tellReliability } from "../../support/reliability";
import { at, journals, Killed, killAt, lost, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, pair, World } from "./world";

/**
 * Every plan is cut off at every boundary of every item (before the call, after the call, after the journal entry), and
 * so is the run that resumes it; the next one ends as if neither had been, no call is made twice, and at no point are both
 * sides writable and mapped or would the driver's housekeeping have overwritten the active site.
 */
interface Journey {
  readonly name: string;
  readonly prepare?: (world: World, dr: Operator) => Promise<unknown>;
  readonly intent: Intent;
  readonly state: SwitchoverState;
  /** The pair with its groups. */
  readonly on?: SitePair;
  /** Of instances that are started, the first before the second. */
  readonly starts?: readonly (readonly [string, string])[];
}

const hook = (name: string, when: HookSpec["when"], more: Partial<HookSpec> = {}): HookSpec =>
  hookSchema.parse({ name, when, command: ["true"], ...more });

/** A pause and an approval between two groups; hooks everywhere, one of which fails. */
const grouped: SitePair = {
  ...pair,
  openstack: {
    ...pair.openstack,
    priorityGroups: priorityGroupsSchema.parse([
      { name: "app", instances: [{ name: "server-0" }], dependsOn: ["database"] },
      { name: "database", instances: [{ metadata: { tier: "db" } }], pauseAfterSeconds: 5, approveAfter: true },
    ]),
  },
};
const hooks = [
  hook("freeze", "before:quiesce", { group: "app" }),
  hook("cut", "after:cutover", { onFailure: "continue" }),
  hook("check", "after:start", { group: "database" }),
  hook("down", "during:promote"),
  hook("tell", "after:start"),
  hook("back", "before:abort"),
  hook("unfreeze", "after:abort"),
];
async function threeTiers(world: World): Promise<void> {
  const tagged = world.servers.get("server-1");
  assert.ok(tagged !== undefined);
  Object.assign(tagged, { running: true, locked: false, as: { metadata: { tier: "db" } } });
  world.faults.hook.set("cut", 99);
}
const tiers = [["server-1", "server-0"]] as const;

async function lostAndBack(world: World, dr: Operator): Promise<void> {
  world.reachable.iprod = false;
  await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
  world.reachable.iprod = true;
  world.unfenced = "iprod";
}

/** Towards idr, with an instance that boots from the pair. */
async function cutOffThere(world: World, dr: Operator, step: string, kind: ExecutionEvent["kind"]): Promise<void> {
  world.bootFromVolume("server-0");
  await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt(step, kind)), killed);
}

const journeys: readonly Journey[] = [
  { name: "planned", intent: intentTo("idr"), state: at("iprod") },
  {
    name: "planned, an attach given up on whose name the next one gets",
    prepare: async (world) => void world.faults.attachFallsBack.set("00", 1),
    intent: intentTo("idr"),
    state: at("iprod"),
  },
  {
    name: "planned, mirrors turned round by a new relationship",
    prepare: async (world) => void (world.reversal = "refused"),
    intent: intentTo("idr"),
    state: at("iprod"),
  },
  { name: "planned, promotion deferred", intent: intentTo("idr", { promotion: "deferred" }), state: at("iprod") },
  {
    name: "promotion after it was deferred",
    prepare: (_world, dr) => dr.up(intentTo("idr", { promotion: "deferred" }), at("iprod")),
    intent: intentTo("idr"),
    state: at("idr", false, false),
  },
  { name: "planned, direct route", intent: intentTo("idr", { route: "direct" }), state: at("iprod") },
  {
    name: "failback",
    prepare: (_world, dr) => dr.up(intentTo("idr"), at("iprod")),
    intent: intentTo("iprod"),
    state: at("idr"),
  },
  {
    name: "failback, direct route",
    prepare: (_world, dr) => dr.up(intentTo("idr"), at("iprod")),
    intent: intentTo("iprod", { route: "direct" }),
    state: at("idr"),
  },
  {
    name: "abort after the final transfer",
    prepare: (world, dr) => cutOffThere(world, dr, "final-sync/update-mirrors", "recorded"),
    intent: intentTo("iprod"),
    state: at("iprod"),
  },
  {
    name: "abort in the middle of the detaching",
    prepare: (world, dr) => cutOffThere(world, dr, "detach/volumes", "after-call"),
    intent: intentTo("iprod"),
    state: at("iprod"),
  },
  ...(["failover-host", "direct"] as const).map((route) => ({
    name: `planned, with hooks and priority groups, ${route}`,
    on: grouped,
    prepare: threeTiers,
    intent: intentTo("idr", { hooks, route }),
    state: at("iprod"),
    starts: tiers,
  })),
  {
    name: "unplanned, with hooks and priority groups",
    on: grouped,
    prepare: async (world) => {
      await threeTiers(world);
      world.reachable.iprod = false;
    },
    intent: intentTo("idr", { hooks, unplanned: lost }),
    state: at("iprod"),
    starts: tiers,
  },
  {
    name: "abort, with hooks and priority groups",
    on: grouped,
    prepare: async (world, dr) => {
      await threeTiers(world);
      const cut = killAt("final-sync/update-mirrors", "recorded");
      await assert.rejects(dr.up(intentTo("idr", { hooks }), at("iprod"), cut), killed);
    },
    intent: intentTo("iprod", { hooks }),
    state: at("iprod"),
    starts: tiers,
  },
  {
    name: "unplanned",
    prepare: async (world) => void (world.reachable.iprod = false),
    intent: intentTo("idr", { unplanned: lost }),
    state: at("iprod"),
  },
  {
    name: "unplanned, promotion deferred",
    prepare: async (world) => void (world.reachable.iprod = false),
    intent: intentTo("idr", { unplanned: lost, promotion: "deferred" }),
    state: at("iprod"),
  },
  {
    name: "promotion after an unplanned failover",
    prepare: async (world, dr) => {
      world.reachable.iprod = false;
      await dr.up(intentTo("idr", { unplanned: lost, promotion: "deferred" }), at("iprod"));
    },
    intent: intentTo("idr"),
    state: at("idr", false, false),
  },
  {
    name: "unplanned, direct route",
    prepare: async (world) => void (world.reachable.iprod = false),
    intent: intentTo("idr", { unplanned: lost, route: "direct" }),
    state: at("iprod"),
  },
  ...(["failover-host", "direct"] as const).map((route) => ({
    name: `planned, an instance boots from the pair, ${route}`,
    prepare: async (world: World) => void world.bootFromVolume("server-0"),
    intent: intentTo("idr", { route }),
    state: at("iprod"),
  })),
  {
    name: "failback, an instance boots from the pair",
    prepare: async (world, dr) => {
      world.bootFromVolume("server-0");
      await dr.up(intentTo("idr"), at("iprod"));
    },
    intent: intentTo("iprod"),
    state: at("idr"),
  },
  {
    name: "unplanned, an instance boots from the pair",
    prepare: async (world) => {
      world.bootFromVolume("server-0");
      world.reachable.iprod = false;
    },
    intent: intentTo("idr", { unplanned: lost }),
    state: at("iprod"),
  },
  {
    name: "reprotect after the lost site's return",
    prepare: lostAndBack,
    intent: intentTo("idr", { reprotect: "discardDiverged" }),
    state: at("idr", true, false),
  },
  {
    name: "reprotect that keeps what diverged",
    prepare: lostAndBack,
    intent: intentTo("idr", { reprotect: "keepDiverged" }),
    state: at("idr", true, false),
  },
  {
    name: "reprotect where one FlexVol has no snapshot in common any more",
    prepare: async (world, dr) => {
      await lostAndBack(world, dr);
      world.uncommon.add("pool2");
    },
    intent: intentTo("idr", { reprotect: "discardDiverged" }),
    state: at("idr", true, false),
  },
];

const newJournal = journals();
const start = (on: SitePair = pair): { world: World; dr: Operator } => {
  const world = new World();
  return { world, dr: operator(world, newJournal(), "test", on) };
};
/** Whoever waits for an approval gets it. */
async function up(dr: Operator, journey: Journey, onEvent?: (event: ExecutionEvent) => void): Promise<unknown> {
  try {
    return await dr.up(journey.intent, journey.state, onEvent);
  } catch (error) {
    if (!DrError.is(error, "approval")) throw error;
    await dr.approve();
    return up(dr, journey, onEvent);
  }
}
const instances = (world: World): unknown =>
  [...world.servers].map(([id, { running, locked, attachments }]) => [id, running, locked, attachments.length]);
const killed = (error: Error): boolean => error.cause instanceof Killed || error instanceof Killed;

/** Ends a run at its nth event, whatever it is. */
function killAtEvent(nth: number): (event: ExecutionEvent) => void {
  let seen = 0;
  return (event) => {
    seen += 1;
    if (seen >= nth) throw new Killed(`${event.kind} ${event.step}`);
  };
}

/** A supervisor restarts whatever isn't masked, and the driver does its housekeeping. */
function restartUnmasked(world: World): void {
  for (const [name, controller] of Object.entries(world.controllers))
    if (controller.units.some((unit) => unit.role === "volume" && unit.startedHere && !unit.masked))
      world.startVolumeService(name);
}

const points: { plan: string; passed: number; failed: number }[] = [];

/** Tries every boundary, and says at the end what failed where. */
async function atEach(
  plan: string,
  boundaries: readonly ExecutionEvent[],
  work: (boundary: ExecutionEvent, index: number) => Promise<void>,
): Promise<void> {
  assert.ok(boundaries.length > 5, `only ${boundaries.length} boundaries`);
  const failures: string[] = [];
  for (const [index, boundary] of boundaries.entries())
    await work(boundary, index).catch((error: unknown) =>
      failures.push(`cut off ${boundary.kind} of ${boundary.step} ${boundary.item}: ${String(error)}`),
    );
  points.push({ plan, passed: boundaries.length - failures.length, failed: failures.length });
  assert.deepEqual(failures, []);
}

describe("a switchover that is cut off", () => {
  after(async () => {
    const sum = (of: "passed" | "failed"): number => points.reduce((total, point) => total + point[of], 0);
    console.log(`    ${sum("passed")} points passed, ${sum("failed")} failed`);
    await tellReliability({ crashPoints: { passed: sum("passed"), failed: sum("failed"), plans: points } });
  });

  for (const journey of journeys)
    it(`ends as if it hadn't been: ${journey.name}`, async function () {
      this.timeout(480_000);
      const { world: whole, dr: uncut } = start(journey.on);
      await journey.prepare?.(whole, uncut);
      const before = whole.calls.length;
      const boundaries: ExecutionEvent[] = [];
      await up(uncut, journey, (event) => void boundaries.push(event));
      const calls = whole.calls.slice(before);
      assert.deepEqual(whole.violations, []);
      assert.deepEqual([...new Set(boundaries.map(({ kind }) => kind))], ["before-call", "after-call", "recorded"]);

      await atEach(journey.name, boundaries, async ({ step, kind, item }, index) => {
        const { world, dr } = start(journey.on);
        await journey.prepare?.(world, dr);
        const begun = world.calls.length;
        await assert.rejects(up(dr, journey, killAt(step, kind, item)), killed);
        restartUnmasked(world);
        assert.deepEqual(world.violations, []);
        // The run that resumes it is cut off at one of its own first boundaries, where it has so many.
        await up(dr, journey, killAtEvent(1 + (index % 7))).then(
          () => undefined,
          (error: Error) => assert.ok(killed(error), String(error)),
        );
        restartUnmasked(world);
        assert.deepEqual(world.violations, []);
        const hasEnded = [...world.journals.values()].every(({ open }) => !open);
        if (!hasEnded) await up(dr, journey);
        assert.deepEqual(world.endState(), whole.endState());
        assert.deepEqual(world.violations, []);
        const repeatable = (call: string): boolean =>
          call.startsWith("transfer ") || call.startsWith("hook ") || call.startsWith("restart ");
        const made = world.calls.slice(begun);
        const once = (all: readonly string[]): string[] => all.filter((call) => !repeatable(call)).sort();
        assert.deepEqual(once(made), once(calls));
        // A hook whose outcome wasn't recorded runs again, and none is left out.
        const names = (all: readonly string[]): Set<string> => new Set(all.filter((call) => call.startsWith("hook ")));
        assert.deepEqual(names(made), names(calls));
        for (const [first, second] of journey.starts ?? [])
          assert.ok(made.indexOf(`${first} start`) < made.indexOf(`${second} start`), `${first} before ${second}`);
      });
    });

  for (const route of ["failover-host", "direct"] as const)
    it(`goes on without a source that is lost at the same moment: planned, ${route}`, async function () {
      this.timeout(240_000);
      const intent = intentTo("idr", { route });
      const boundaries: ExecutionEvent[] = [];
      await start().dr.up(intent, at("iprod"), (event) => void boundaries.push(event));
      await atEach(
        `planned, its source lost at the same moment, ${route}`,
        boundaries,
        async ({ step, kind, item }) => {
          const { world, dr } = start();
          await assert.rejects(dr.up(intent, at("iprod"), killAt(step, kind, item)), killed);
          world.reachable.iprod = false;
          const state = await dr.up(intentTo("idr", { route, unplanned: lost }), at("iprod"));
          assert.deepEqual([state.activeSite, state.promoted], ["idr", true]);
          assert.deepEqual(instances(world), instances(new World()));
          assert.deepEqual(world.violations, []);
        },
      );
    });

  it("goes back to where it was when activeSite is set back before cutover", async function () {
    this.timeout(120_000);
    const startBooted = (): ReturnType<typeof start> => {
      const started = start();
      started.world.bootFromVolume("server-0");
      return started;
    };
    const untouched = startBooted().world.endState() as { open: number };
    const probe = startBooted();
    const boundaries: ExecutionEvent[] = [];
    await probe.dr.up(intentTo("idr"), at("iprod"), (event) => void boundaries.push(event));
    const cutover = boundaries.findIndex((event) => event.step === "cutover/failover-host");
    assert.ok(cutover > 9);
    await atEach("planned, then aborted", boundaries.slice(0, cutover), async ({ step, kind, item }) => {
      const { world, dr } = startBooted();
      await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt(step, kind, item)), killed);
      await dr.up(intentTo("iprod"), at("iprod"));
      assert.deepEqual(world.endState(), untouched);
      assert.deepEqual(world.violations, []);
    });
  });

  it("refuses to go back once the cutover was begun", async () => {
    const { world, dr } = start();
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("cutover/failover-host", "after-call")), killed);
    const calls = world.calls.length;
    await assert.rejects(dr.up(intentTo("iprod"), at("iprod")), /past its cutover/);
    assert.equal(world.calls.length, calls);
  });

  it("takes a switchover as ended that died between its last entry and the closing of its row", async () => {
    const { world, dr } = start();
    await dr.up(intentTo("idr"), at("iprod"));
    const [journal] = world.journals.values();
    assert.ok(journal !== undefined);
    journal.open = true;
    await dr.up(intentTo("iprod"), at("idr"));
    assert.equal(journal.open, false);
    assert.equal(world.activeData(), "iprod");
  });
});
