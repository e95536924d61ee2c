import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Intent, SwitchoverState } from "../../../lib/switchover";
import { applySwitchover } from "../../../lib/switchover";
import type { ExecutionEvent } from "../../../lib/switchover/execute";
import { intentTo, pair, World } from "./world";

/**
 * Every plan is cut off at every boundary of every item (before the call, after the call, after the journal entry) and
 * resumed: the end is the same, no call is made twice, and at no point are both sides writable and mapped or would the
 * driver's housekeeping have overwritten the active site.
 */
class Killed extends Error {}

interface Journey {
  readonly name: string;
  readonly prepare?: (world: World, run: Runner) => Promise<void>;
  readonly intent: Intent;
  readonly state: SwitchoverState;
}
type Runner = (
  world: World,
  intent: Intent,
  state: SwitchoverState | undefined,
  onEvent?: (event: ExecutionEvent) => void,
) => Promise<SwitchoverState>;

const at = (activeSite: string, promoted = true, isProtected = true): SwitchoverState => ({
  activeSite,
  promoted,
  protected: isProtected,
  observedSite: activeSite,
  status: "",
  backendRevisions: {},
});

const lost = { from: "iprod", acceptLossSeconds: 3600 };

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
    prepare: async (world, run) => void (await run(world, intentTo("idr", { promotion: "deferred" }), at("iprod"))),
    intent: intentTo("idr"),
    state: at("idr", false, false),
  },
  { name: "planned, direct route", intent: intentTo("idr", { route: "direct" }), state: at("iprod") },
  {
    name: "failback",
    prepare: async (world, run) => void (await run(world, intentTo("idr"), at("iprod"))),
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
    prepare: async (world, run) => {
      world.bootFromVolume("server-0");
      await run(world, intentTo("idr"), at("iprod"));
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
    prepare: async (world, run) => {
      world.reachable.iprod = false;
      await run(world, intentTo("idr", { unplanned: lost }), at("iprod"));
      world.reachable.iprod = true;
      world.unfenced = "iprod";
    },
    intent: intentTo("idr", { reprotect: "discardDiverged" }),
    state: at("idr", true, false),
  },
];

/** Thousands of journal entries, each with its fsync: in memory where there's a place for it. */
const memory = existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();

describe("a switchover that is cut off", () => {
  let directory = "";
  before(async () => void (directory = await mkdtemp(path.join(memory, "crash-matrix-"))));
  after(() => rm(directory, { recursive: true }));

  let runs = 0;
  const runner = (): Runner => {
    const journalDir = path.join(directory, String(++runs));
    return (world, intent, state, onEvent) =>
      applySwitchover({
        pair,
        intent,
        ...(state === undefined ? {} : { state }),
        ports: world.ports(),
        stack: "test",
        journalDir,
        signal: new AbortController().signal,
        progress: () => undefined,
        ...(onEvent === undefined ? {} : { onEvent }),
      });
  };

  for (const journey of journeys)
    it(`ends as if it hadn't been: ${journey.name}`, async function () {
      this.timeout(240_000);
      const whole = new World();
      const run = runner();
      await journey.prepare?.(whole, run);
      const before = whole.calls.length;
      const boundaries: ExecutionEvent[] = [];
      await run(whole, journey.intent, journey.state, (event) => void boundaries.push(event));
      const calls = whole.calls.slice(before);
      assert.deepEqual(whole.violations, []);
      assert.ok(boundaries.length > 9, `only ${boundaries.length} boundaries`);

      for (const [index, boundary] of boundaries.entries()) {
        const where = `${boundary.kind} of ${boundary.step} ${boundary.item}`;
        const world = new World();
        const resumed = runner();
        await journey.prepare?.(world, resumed);
        const begun = world.calls.length;
        let seen = 0;
        await assert.rejects(
          resumed(world, journey.intent, journey.state, () => {
            if (seen++ === index) throw new Killed(where);
          }),
          (error: Error) => error.message.includes(where),
        );
        // A supervisor restarts whatever isn't masked, and the driver does its housekeeping.
        for (const [name, controller] of Object.entries(world.controllers))
          if (controller.units.some((unit) => unit.role === "volume" && unit.startedHere && !unit.masked))
            world.startVolumeService(name);
        assert.deepEqual(world.violations, [], `cut off ${where}`);
        await resumed(world, journey.intent, journey.state);
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

  it("goes back to where it was when activeSite is set back before cutover", async function () {
    this.timeout(120_000);
    const newWorld = (): World => {
      const world = new World();
      world.bootFromVolume("server-0");
      return world;
    };
    const untouched = newWorld().endState() as { open: number };
    const probe = newWorld();
    const steps: ExecutionEvent[] = [];
    await runner()(probe, intentTo("idr"), at("iprod"), (event) => void steps.push(event));
    const cutover = steps.findIndex((event) => event.step === "cutover/failover-host");
    for (let index = 0; index <= cutover - 1; index++) {
      const world = newWorld();
      const run = runner();
      let seen = 0;
      await assert.rejects(
        run(world, intentTo("idr"), at("iprod"), () => {
          if (seen++ === index) throw new Killed("here");
        }),
      );
      await run(world, intentTo("iprod"), at("iprod"));
      assert.deepEqual(world.endState(), untouched, `cut off at ${steps[index]?.step ?? ""}`);
      assert.deepEqual(world.violations, []);
    }
  });

  it("refuses to go back once the cutover was begun", async () => {
    const world = new World();
    const run = runner();
    await assert.rejects(
      run(world, intentTo("idr"), at("iprod"), (event) => {
        if (event.step === "cutover/failover-host" && event.kind === "after-call") throw new Killed("here");
      }),
    );
    const calls = world.calls.length;
    await assert.rejects(run(world, intentTo("iprod"), at("iprod")), /past its cutover/);
    assert.equal(world.calls.length, calls);
  });

  it("takes a switchover as ended that died between its last entry and the closing of its row", async () => {
    const world = new World();
    const run = runner();
    await run(world, intentTo("idr"), at("iprod"));
    const [journal] = world.journals.values();
    assert.ok(journal !== undefined);
    journal.open = true;
    await run(world, intentTo("iprod"), at("idr"));
    assert.equal(journal.open, false);
    assert.equal(world.activeData(), "iprod");
  });
});
