import assert from "node:assert/strict";
import type { Intent, SwitchoverState } from "../../../lib/switchover";
import type { ExecutionEvent } from "../../../lib/switchover/execute";
import { at, journals, Killed, killAt, lost, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, World } from "./world";

/**
 * Every plan is cut off at every boundary of every item (before the call, after the call, after the journal entry) and
 * resumed: the end is the same, no call is made twice, and at no point are both sides writable and mapped or would the
 * driver's housekeeping have overwritten the active site.
 */
interface Journey {
  readonly name: string;
  readonly prepare?: (world: World, dr: Operator) => Promise<unknown>;
  readonly intent: Intent;
  readonly state: SwitchoverState;
}

const journeys: readonly Journey[] = [
  { name: "planned", intent: intentTo("idr"), state: at("iprod") },
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
    name: "unplanned",
    prepare: async (world) => void (world.reachable.iprod = false),
    intent: intentTo("idr", { unplanned: lost }),
    state: at("iprod"),
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
    prepare: async (world, dr) => {
      world.reachable.iprod = false;
      await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
      world.reachable.iprod = true;
      world.unfenced = "iprod";
    },
    intent: intentTo("idr", { reprotect: "discardDiverged" }),
    state: at("idr", true, false),
  },
  {
    name: "reprotect where one FlexVol has no snapshot in common any more",
    prepare: async (world, dr) => {
      world.reachable.iprod = false;
      await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
      world.reachable.iprod = true;
      world.unfenced = "iprod";
      world.uncommon.add("pool2");
    },
    intent: intentTo("idr", { reprotect: "discardDiverged" }),
    state: at("idr", true, false),
  },
];

const newJournal = journals();
const start = (): { world: World; dr: Operator } => {
  const world = new World();
  return { world, dr: operator(world, newJournal()) };
};
const instances = (world: World): unknown =>
  [...world.servers].map(([id, { running, locked, attachments }]) => [id, running, locked, attachments.length]);
const killed = (error: Error): boolean => error.cause instanceof Killed || error instanceof Killed;

describe("a switchover that is cut off", () => {
  for (const journey of journeys)
    it(`ends as if it hadn't been: ${journey.name}`, async function () {
      this.timeout(240_000);
      const { world: whole, dr: uncut } = start();
      await journey.prepare?.(whole, uncut);
      const before = whole.calls.length;
      const boundaries: ExecutionEvent[] = [];
      await uncut.up(journey.intent, journey.state, (event) => void boundaries.push(event));
      const calls = whole.calls.slice(before);
      assert.deepEqual(whole.violations, []);
      assert.ok(boundaries.length > 9, `only ${boundaries.length} boundaries`);

      for (const boundary of boundaries) {
        const where = `${boundary.kind} of ${boundary.step} ${boundary.item}`;
        const { world, dr } = start();
        await journey.prepare?.(world, dr);
        const begun = world.calls.length;
        const cut = killAt(boundary.step, boundary.kind, boundary.item);
        await assert.rejects(dr.up(journey.intent, journey.state, cut), killed, where);
        // A supervisor restarts whatever isn't masked, and the driver does its housekeeping.
        for (const [name, controller] of Object.entries(world.controllers))
          if (controller.units.some((unit) => unit.role === "volume" && unit.startedHere && !unit.masked))
            world.startVolumeService(name);
        assert.deepEqual(world.violations, [], `cut off ${where}`);
        await dr.up(journey.intent, journey.state);
        assert.deepEqual(world.endState(), whole.endState(), `cut off ${where}`);
        assert.deepEqual(world.violations, [], `cut off ${where}`);
        const repeatable = (call: string): boolean =>
          call.startsWith("transfer ") || call.startsWith("hook ") || call.startsWith("restart ");
        const made = world.calls
          .slice(begun)
          .filter((call) => !repeatable(call))
          .sort();
        assert.deepEqual(made, calls.filter((call) => !repeatable(call)).sort(), `cut off ${where}`);
      }
    });

  for (const route of ["failover-host", "direct"] as const)
    it(`goes on without a source that is lost at the same moment: planned, ${route}`, async function () {
      this.timeout(240_000);
      const intent = intentTo("idr", { route });
      const boundaries: ExecutionEvent[] = [];
      await start().dr.up(intent, at("iprod"), (event) => void boundaries.push(event));
      assert.ok(boundaries.length > 9, `only ${boundaries.length} boundaries`);
      for (const boundary of boundaries) {
        const where = `cut off ${boundary.kind} of ${boundary.step} ${boundary.item}`;
        const { world, dr } = start();
        const cut = killAt(boundary.step, boundary.kind, boundary.item);
        await assert.rejects(dr.up(intent, at("iprod"), cut), killed, where);
        world.reachable.iprod = false;
        const state = await dr
          .up(intentTo("idr", { route, unplanned: lost }), at("iprod"))
          .catch((error: unknown) => assert.fail(`${where}: ${String(error)}`));
        assert.deepEqual([state.activeSite, state.promoted], ["idr", true], where);
        assert.deepEqual(instances(world), instances(new World()), where);
        assert.deepEqual(world.violations, [], where);
      }
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
    for (const { step, kind, item } of boundaries.slice(0, cutover)) {
      const { world, dr } = startBooted();
      await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt(step, kind, item)), killed);
      await dr.up(intentTo("iprod"), at("iprod"));
      assert.deepEqual(world.endState(), untouched, `cut off ${kind} of ${step} ${item}`);
      assert.deepEqual(world.violations, []);
    }
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
