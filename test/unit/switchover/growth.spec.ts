import assert from "node:assert/strict";
import { applySwitchover } from "../../../lib/switchover";
import { Live } from "../../../lib/switchover/context";
import type { JournalEntry } from "../../../lib/switchover/journal";
import type { Observation } from "../../../lib/switchover/observation";
import { planSwitchover } from "../../../lib/switchover/plan";
import type { Ports } from "../../../lib/switchover/ports";
import { preflight } from "../../../lib/switchover/preflight";
import { buildReport } from "../../../lib/switchover/report";
import { verdictOf } from "../../../lib/switchover/verdict";
import { at, journals, look } from "./support";
import { intentTo, pair, World } from "./world";

const newJournal = journals();
const VOLUMES = 4;

/** What it's made of, all the way down; each reading of a property counts, be it an element of a list or its length. */
function counted<T extends object>(value: T, count: () => void): T {
  const known = new WeakMap<object, object>();
  const wrap = <V>(seen: V): V => {
    if (typeof seen !== "object" || seen === null) return seen;
    const before = known.get(seen);
    if (before !== undefined) return before as V;
    const proxy: object = new Proxy(seen, {
      get: (target, name, receiver): unknown => {
        count();
        return wrap(Reflect.get(target, name, receiver));
      },
    });
    known.set(seen, proxy);
    return proxy as V;
  };
  return wrap(value);
}

/** Four times as many instances cost four times as much, and not a tenth more. */
function assertLinear(what: string, small: number, large: number): void {
  assert.ok(small > 0 && large <= 4.4 * small, `${what}: ${small} → ${large}`);
}

describe("growth with the number of instances", () => {
  it("is linear where a switchover is judged and planned", async () => {
    const readings = async (instances: number): Promise<Record<string, number>> => {
      const seen = await look(new World(instances, VOLUMES));
      const intent = intentTo("idr");
      const of = (work: (observation: Observation) => unknown): number => {
        let count = 0;
        work(counted(seen, () => (count += 1)));
        return count;
      };
      return {
        verdict: of(verdictOf),
        preflight: of((observation) => preflight(observation, intent, "iprod")),
        plan: of((observation) =>
          planSwitchover({ intent, observation, from: "iprod", route: "failover-host", warnings: [] }),
        ),
      };
    };
    const [small, large] = [await readings(100), await readings(400)];
    for (const [what, count] of Object.entries(small)) assertLinear(what, count, large[what] ?? Number.NaN);
  });

  /** What a whole switchover asks of Nova and Cinder, by method. */
  async function journey(
    instances: number,
    prepare: (world: World) => void = () => undefined,
  ): Promise<Map<string, number>> {
    const world = new World(instances, VOLUMES);
    prepare(world);
    const calls = new Map<string, number>();
    const recorded = <P extends object>(port: P): P =>
      new Proxy(port, {
        get: (target, name, receiver): unknown => {
          if (typeof name === "string") calls.set(name, (calls.get(name) ?? 0) + 1);
          return Reflect.get(target, name, receiver);
        },
      });
    const ports: Ports = world.ports();
    await applySwitchover({
      pair,
      intent: intentTo("idr"),
      state: at("iprod"),
      ports: { ...ports, compute: recorded(ports.compute), blockStorage: recorded(ports.blockStorage) },
      stack: "test",
      journalDir: newJournal(),
      signal: new AbortController().signal,
      progress: () => undefined,
    });
    assert.equal(world.activeData(), "idr");
    return calls;
  }

  const changing = ["lock", "unlock", "stop", "start", "detachVolume", "attachVolume"];

  it("is that of what has to be changed, and of two looks at each instance; all else is listed", async () => {
    const [small, large] = [await journey(4), await journey(16)];
    const added = (name: string): number => (large.get(name) ?? 0) - (small.get(name) ?? 0);
    const perVolume = (names: readonly string[]): number =>
      names.reduce((sum, name) => sum + added(name), 0) / (12 * VOLUMES);
    assert.equal(added("detachVolume"), 12 * VOLUMES);
    assert.equal(added("attachVolume"), 12 * VOLUMES);
    // Lock, unlock, stop and start are shared by the volumes of an instance.
    assert.equal(perVolume(changing), 3);
    assert.equal(added("listServerAttachments"), 2 * 12);
    // How often these are listed follows from the time, which a world in memory doesn't tell.
    const shared = ["listServers", "listVolumes", "listConnections"];
    const others = [...large.keys()].filter(
      (name) => ![...changing, ...shared, "listServerAttachments"].includes(name),
    );
    assert.deepEqual(
      others.filter((name) => added(name) > 0),
      [],
    );
  });

  it("isn't that of polls: whatever takes long is listed more often, and no instance is asked by itself", async () => {
    const lingering = (world: World) => {
      for (const id of world.volumes.keys()) world.faults.rowLingers.set(id, 40);
    };
    const [quick, slow] = [await journey(8), await journey(8, lingering)];
    assert.ok((slow.get("listServers") ?? 0) > (quick.get("listServers") ?? 0), "it was polled more often");
    const lists = ["listServers", "listVolumes", "listConnections", "listServices", "listComputeServices"];
    for (const [name, count] of slow) if (!lists.includes(name)) assert.equal(count, quick.get(name), name);
  });

  it("is linear where the report is made of the journal", async () => {
    const readings = async (instances: number): Promise<number> => {
      const world = new World(instances, VOLUMES);
      const seen = await look(world);
      const intent = intentTo("idr");
      const plan = planSwitchover({ intent, observation: seen, from: "iprod", route: "failover-host", warnings: [] });
      const when = { at: world.ports().clock.now().toISOString() };
      const entries: JournalEntry[] = [
        { ...when, type: "begin", switchoverId: "s", stack: "test", plan },
        ...plan.servers.flatMap(({ id }): JournalEntry[] =>
          ["quiesce/stop-instances", "detach/volumes", "attach/volumes", "start/instances"].map((step) => ({
            ...when,
            type: "done",
            step,
            item: id,
            already: false,
            facts: {},
          })),
        ),
      ];
      let count = 0;
      buildReport(counted(entries, () => (count += 1)));
      return count;
    };
    assertLinear("report", await readings(50), await readings(200));
  });
});

describe("a list that many wait for", () => {
  it("is asked for five times a second at most, whoever asks", async () => {
    const world = new World();
    const ports = world.ports();
    const begun: number[] = [];
    const listServers = () => {
      begun.push(world.nowMs);
      return ports.compute.listServers();
    };
    const live = new Live(pair, { ...ports, compute: { ...ports.compute, listServers } });
    for (let time = 0; time < 4; time++) await Promise.all([live.servers(), live.servers()]);
    const first = begun[0] ?? 0;
    assert.deepEqual(
      begun.map((ms) => ms - first),
      [0, 200, 400, 600],
    );
  });

  it("isn't asked for again before it has rested as long as it took", async () => {
    const world = new World();
    const ports = world.ports();
    const begun: number[] = [];
    const listServers = async () => {
      begun.push(world.nowMs);
      world.nowMs += 700;
      return ports.compute.listServers();
    };
    const live = new Live(pair, { ...ports, compute: { ...ports.compute, listServers } });
    await live.servers();
    await live.servers();
    assert.equal((begun[1] ?? 0) - (begun[0] ?? 0), 1400);
  });

  it("is believed for some seconds where it's no younger anyway, but not when it failed", async () => {
    const world = new World();
    const ports = world.ports();
    let asked = 0;
    const listComputeServices = async () => {
      if (++asked === 1) throw new Error("no answer");
      return ports.compute.listComputeServices();
    };
    const live = new Live(pair, { ...ports, compute: { ...ports.compute, listComputeServices } });
    await assert.rejects(live.computeServices(), /no answer/);
    await live.computeServices();
    await live.computeServices();
    assert.equal(asked, 2);
    world.nowMs += 5_000;
    await live.computeServices();
    assert.equal(asked, 3);
  });

  it("is neither waited for nor believed until a clock that was put back has caught up", async () => {
    const world = new World();
    const ports = world.ports();
    let asked = 0;
    const listServers = () => {
      asked += 1;
      return ports.compute.listServers();
    };
    const live = new Live(pair, { ...ports, compute: { ...ports.compute, listServers } });
    await live.servers();
    world.nowMs -= 3_600_000;
    const putBackMs = world.nowMs;
    await live.serversJustNow();
    assert.equal(asked, 2);
    assert.ok(world.nowMs - putBackMs <= 200, `waited ${world.nowMs - putBackMs} ms`);
  });

  it("isn't rested from for long where the clock was put forward while it was asked for", async () => {
    const world = new World();
    const ports = world.ports();
    const listServers = () => {
      world.nowMs += 3_600_000;
      return ports.compute.listServers();
    };
    const live = new Live(pair, { ...ports, compute: { ...ports.compute, listServers } });
    await live.servers();
    const putForwardMs = world.nowMs;
    await live.servers();
    const restedMs = world.nowMs - 3_600_000 - putForwardMs;
    assert.ok(restedMs <= 5_000, `rested ${restedMs} ms`);
  });

  it("tells how things were when a step began until the next one begins", async () => {
    const world = new World();
    const live = new Live(pair, world.ports());
    const isLocked = async () => (await live.serversAtBoundary()).get("server-0")?.locked;
    assert.equal(await isLocked(), false);
    const server = world.servers.get("server-0") ?? assert.fail();
    server.locked = true;
    assert.equal(await isLocked(), false);
    live.atBoundary();
    assert.equal(await isLocked(), true);
  });
});
