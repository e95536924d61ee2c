import assert from "node:assert/strict";
import { withRowsWhereUnreachable } from "../../../lib/connections/rows-where-unreachable";
import { DrError } from "../../../lib/errors";
import type { HookSpec, Intent } from "../../../lib/switchover";
import { Live } from "../../../lib/switchover/context";
import type { JournalEntry } from "../../../lib/switchover/journal";
import { Journal } from "../../../lib/switchover/journal";
import type { ArrayPort } from "../../../lib/switchover/ports";
import { buildReport } from "../../../lib/switchover/report";
import { Heartbeats } from "../../../lib/switchover/steps/heartbeats";
import { hookSchema } from "../../../lib/topology/hooks";
import { at, fails, journals, killAt, lost, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, pair, World } from "./world";

const newJournal = journals();
const toIdr = intentTo("idr");
let world: World;
let dr: Operator;
beforeEach(() => {
  world = new World();
  dr = operator(world, newJournal());
});
afterEach(() => assert.deepEqual(world.violations, []));

const devices = (id: string): (string | undefined)[] => (world.servers.get(id)?.attachments ?? []).map((a) => a.device);
const calls = (pattern: RegExp): string[] => world.calls.filter((call) => pattern.test(call));
/** Does it once, after the first call that fits. */
function after(pattern: RegExp, change: () => void): void {
  let done = false;
  world.meanwhile = (call) => {
    if (done || !pattern.test(call)) return;
    done = true;
    change();
  };
}
function attachElsewhere(volumeId: string): void {
  world.maps.iprod.set(volumeId, "stranger");
}
async function completed(intent: Intent = toIdr): Promise<void> {
  await dr.up(intent, at("iprod"));
  assert.equal(world.activeData(), "idr");
  for (const id of world.servers.keys()) assert.deepEqual(devices(id), ["/dev/vdb", "/dev/vdc"]);
}

describe("a call that fails", () => {
  const state = "Whether it took effect isn't known.";
  const unanswered = {
    code: "unreachable",
    attempted: "POST x",
    seen: "no answer",
    state,
    context: { url: "x" },
  } as const;
  const failing = (step: string) => (event: { readonly step: string }) => {
    if (event.step === step) throw new DrError(unanswered);
  };
  const told: readonly (readonly [step: string, told: string])[] = [
    ["hold/lock-instances", `${state} Production's data is at "iprod".`],
    ["detach/volumes", `${state} Production's data is at "iprod". Instances may be stopped.`],
    ["cutover/failover-host", `${state} The cutover to "idr" was begun: its mirrors may be broken off. Instances may be stopped.`],
    ["attach/volumes", `${state} Production's data is at "idr". Instances may be stopped.`],
    ["promote/edit-configuration", `${state} Production's data is at "idr". Cinder's services may be stopped.`],
  ]; // prettier-ignore
  for (const [step, expected] of told)
    it(`tells how things are: ${step}`, () =>
      assert.rejects(dr.up(toIdr, at("iprod"), failing(step)), (error) => {
        assert.ok(DrError.is(error, "unreachable"));
        assert.equal(error.state, expected);
        return true;
      }));
});

describe("hold", () => {
  it("rolls a volume back that was left detaching by somebody", async () => {
    const forgotten = world.volumes.get("00");
    assert.ok(forgotten !== undefined);
    world.volumes.set("00", { ...forgotten, status: "detaching" });
    await completed();
    assert.deepEqual(calls(/roll back/), ["roll back 00"]);
    assert.match(dr.said.join("\n"), /rolling volume "v00" back: it was left detaching/);
  });

  it("stops at a volume made between plan and hold; the way back undoes the hold", async () => {
    const untouched = JSON.stringify(world.endState());
    after(/disable/, () => {
      const like = world.volumes.get("00");
      assert.ok(like !== undefined);
      world.volumes.set("new", { ...like, id: "new", name: "new", status: "available", attachments: [] });
    });
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("stale-plan", /new volume "new"/));
    assert.deepEqual(calls(/stop|detach/), []);
    await dr.up(intentTo("iprod"), at("iprod"));
    world.volumes.delete("new");
    assert.equal(JSON.stringify(world.endState()), untouched);
  });

  it("stops where a volume that it waits for ends in error", async () => {
    world.addVolume("spare", { status: "creating" });
    after(/disable/, () => world.setStatus("spare", "error"));
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("stale-plan", /volume "vspare" is error/));
    assert.deepEqual(calls(/stop|detach/), []);
  });

  it("stops where a volume was detached between plan and hold", async () => {
    after(/disable/, () => void world.ports().compute.detachVolume("server-0", "01"));
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("stale-plan", /detached meanwhile: "v01" from "server-0"/));
    assert.deepEqual(calls(/stop/), []);
  });

  it("says in an unplanned failover what wasn't planned, and goes on", async () => {
    world.reachable.iprod = false;
    after(/disable/, () => void world.ports().compute.detachVolume("server-0", "01"));
    await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    assert.match(dr.said.join("\n"), /not in the plan: detached meanwhile: "v01"/);
  });

  it("doesn't wait in an unplanned failover for what hangs with the lost site", async () => {
    const like = world.volumes.get("00");
    assert.ok(like !== undefined);
    world.volumes.set("hung", { ...like, id: "hung", name: "hung", status: "deleting", attachments: [] });
    world.luns.iprod.set("hung", { flexVol: "pool1", sizeBytes: 2 ** 30 });
    world.reachable.iprod = false;
    await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    assert.match(dr.said.join("\n"), /going on without waiting any longer.*"hung" is deleting/);
  });

  it("leaves a backend disabled on the way back that was disabled before", async () => {
    Object.assign(world.rows.iprod, { disabled: true, disabledReason: "maintenance" });
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("quiesce/stop-instances", "after-call")));
    await dr.up(intentTo("iprod"), at("iprod"));
    assert.equal(world.rows.iprod.disabled, true);
    assert.equal(world.rows.iprod.disabledReason, "maintenance");
  });

  it("survives an instance that its user deletes meanwhile, and leaves its volumes alone", async () => {
    world = new World(3);
    dr = operator(world, newJournal());
    after(/server-0 stop/, () => {
      for (const { volumeId } of world.servers.get("server-2")?.attachments ?? []) world.maps.iprod.delete(volumeId);
      for (const id of ["20", "21"]) {
        const volume = world.volumes.get(id);
        assert.ok(volume !== undefined);
        world.volumes.set(id, { ...volume, status: "available", attachments: [] });
        world.connections.delete(`a-${id}`);
      }
      world.servers.delete("server-2");
    });
    await dr.up(toIdr, at("iprod"));
    assert.deepEqual(devices("server-0"), ["/dev/vdb", "/dev/vdc"]);
    assert.deepEqual(calls(/attach 2\d/), []);
  });
});

describe("a shelved instance", () => {
  it("can't be unshelved by its users from the hold to the end", async () => {
    world.shelveAndOffload("server-0");
    world.shelveAndOffload("server-1");
    const { locked: shelvedAndLocked } = world.servers.get("server-1") ?? assert.fail();
    assert.equal(shelvedAndLocked, true);
    await dr.up(toIdr, at("iprod"), ({ step }) => {
      if (step.startsWith("cutover/")) assert.equal(world.servers.get("server-0")?.locked, true);
    });
    assert.deepEqual(calls(/^server-/), ["server-0 lock", "server-0 unlock"]);
  });

  it("is unlocked where the switchover is aborted, or goes on unplanned", async () => {
    world.shelveAndOffload("server-0");
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("hold/drain-transient", "recorded")));
    world.reachable.iprod = false;
    const again = killAt("cutover/failover-host", "before-call");
    await assert.rejects(dr.up(intentTo("idr", { unplanned: lost }), at("iprod"), again));
    assert.equal(world.servers.get("server-0")?.locked, true);
    await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    assert.equal(world.servers.get("server-0")?.locked, false);

    const other = new World();
    other.shelveAndOffload("server-0");
    const operates = operator(other, newJournal());
    await assert.rejects(operates.up(toIdr, at("iprod"), killAt("detach/volumes", "recorded")));
    await operates.up(intentTo("iprod"), at("iprod"));
    assert.equal(other.servers.get("server-0")?.locked, false);
  });
});

describe("quiesce and detach", () => {
  it("doesn't take an instance for detached where Nova couldn't read its mappings", async () => {
    world.faults.detachRolledBack.set("00", 1);
    await dr.up(toIdr, at("iprod"), ({ step, kind }) => {
      if (step !== "detach/volumes") world.faults.mappingsUnread.clear();
      else if (kind === "before-call") world.faults.mappingsUnread.add("server-0");
    });
    assert.equal(world.activeData(), "idr");
  });
  it("doesn't attach twice where Nova couldn't read an instance's mappings", async () => {
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("attach/volumes", "after-call")));
    for (const id of world.servers.keys()) world.faults.mappingsUnread.add(id);
    await completed();
  });
  it("is patient with an instance while others at its compute host go on", async () => {
    // A look every 200 ms: one after 300 s, the other after 600 s, more than it may stall.
    world.faults.rowLingers.set("00", 3_000).set("10", 1_500);
    await completed();
  });
  it("detaches what Nova didn't list when the step began", async () => {
    world.faults.mappingsUnread.add("server-0");
    await completed();
  });
  it("asks again for a detach that Nova rolled back to in-use", async () => {
    world.faults.detachRolledBack.set("00", 2);
    await completed();
    assert.equal(calls(/detach 00/).length, 3);
  });

  it("gives up on one that is always rolled back, with the instance stopped and everything at the source", async () => {
    world.faults.detachRolledBack.set("00", 99);
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /vdb \("v00"\) is in-use after 4 attempts/));
    assert.deepEqual(
      calls(/failover|attach 00/).filter((call) => !call.includes("detach")),
      [],
    );
  });

  it("rolls back and repeats a detach that was forgotten", async () => {
    world.faults.detachStuck.set("00", 1);
    await completed();
    assert.equal(calls(/roll back 00/).length, 1);
    assert.equal(calls(/detach 00/).length, 2);
  });

  it("asks only once where Nova's row outlives Cinder's, also when resumed in between", async () => {
    world.faults.rowLingers.set("00", 6);
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("detach/volumes", "after-call")));
    await completed();
    assert.equal(calls(/detach 00/).length, 1);
  });

  it("names a volume whose state somebody reset, instead of waiting for it", async () => {
    world.faults.rowLingers.set("00", 1e6);
    await assert.rejects(
      dr.up(toIdr, at("iprod")),
      fails("failure-state", /Cinder has "v00" as available, Nova still has it/),
    );
  });

  it("waits for a stop that was asked for before it was cut off, and starts again on the way back", async () => {
    world.faults.task.set("server-0", 3);
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("quiesce/stop-instances", "after-call")));
    await dr.up(intentTo("iprod"), at("iprod"));
    assert.equal(world.servers.get("server-0")?.running, true);
    assert.equal(calls(/start/).length, 1);
  });

  it("doesn't take a detach under way for an attached volume on the way back", async () => {
    world.faults.detachStuck.set("00", 1);
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("detach/volumes", "after-call")));
    assert.equal(world.volumes.get("00")?.status, "detaching");
    await assert.rejects(dr.up(intentTo("iprod"), at("iprod")), fails("wait-timeout", /vdb is detaching/));
    assert.deepEqual(calls(/start/), []);
  });

  for (const [recorded, step] of [
    ["quiesce/stop-instances", "detach/volumes"],
    ["detach/volumes", "detach/unmap-source"],
    ["final-sync/update-mirrors", "cutover/failover-host"],
  ] as const)
    it(`stops before ${step} where an auto-healer started an instance again`, async () => {
      const heal = (event: { step: string; kind: string }): void => {
        const server = world.servers.get("server-0");
        if (event.step === recorded && event.kind === "recorded" && server !== undefined) server.running = true;
      };
      await assert.rejects(
        dr.up(toIdr, at("iprod"), heal),
        fails("failure-state", new RegExp(`${step}.*"server-0" run again`)),
      );
      assert.deepEqual(calls(/failover/), []);
    });

  it("removes a LUN map that stayed behind", async () => {
    after(/server-1 detach 11/, () => attachElsewhere("00"));
    await completed();
    assert.equal(calls(/unmap iprod 00/).length, 1);
  });

  it("doesn't cut off somebody who uses a LUN of his own on these FlexVols", async () => {
    after(/server-1 detach 11/, () => {
      world.luns.iprod.set("database", { flexVol: "pool1", sizeBytes: 1, name: "database" });
      world.maps.iprod.set("database", "somebody");
      attachElsewhere("00");
    });
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("invariant", /database is mapped to somebody/));
    assert.deepEqual(calls(/unmap|failover/), ["unmap iprod 00"]);
  });

  it("doesn't remove the map of a shelved instance's volume while it's being unshelved", async () => {
    world.shelveAndOffload("server-0");
    after(/server-1 detach 11/, () => attachElsewhere("00"));
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /volume "v00" is reserved/));
    assert.deepEqual(calls(/unmap|failover/), []);
  });

  it("doesn't remove the map of a volume that somebody attached elsewhere", async () => {
    after(/server-1 detach 11/, () => {
      attachElsewhere("00");
      world.setStatus("00", "in-use");
    });
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /volume "v00" is in-use/));
    assert.deepEqual(calls(/unmap|failover/), []);
  });
});

describe("final-sync and cutover", () => {
  it("doesn't send failover-host where an instance was started since the step began", async () => {
    const starting = dr.up(toIdr, at("iprod"), ({ step, kind }) => {
      const server = world.servers.get("server-0");
      if (step === "cutover/failover-host" && kind === "before-call" && server !== undefined) server.running = true;
    });
    await assert.rejects(starting, fails("failure-state", /run again, although all instances were stopped/));
    assert.deepEqual(calls(/failover/), []);
  });
  const twice = (then: () => void): void => {
    let transfers = 0;
    world.meanwhile = (call) => {
      if (call.startsWith("transfer") && ++transfers === 4) then();
    };
  };

  it("doesn't fail over where a volume was attached elsewhere after the final transfer", async () => {
    twice(() => attachElsewhere("00"));
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("invariant", /volume-00 is mapped to stranger/));
    assert.deepEqual(calls(/failover/), []);
  });

  it("doesn't fail over where that happened while the heartbeats were awaited", async () => {
    const ports = world.ports();
    let beats = 0;
    dr = operator(
      Object.assign(Object.create(world) as World, {
        ports: () => ({
          ...ports,
          messageQueue: {
            ...ports.messageQueue,
            listBackendQueues: (host: string) => {
              if (calls(/transfer/).length >= 4 && beats++ === 0) attachElsewhere("00");
              return ports.messageQueue.listBackendQueues(host);
            },
          },
        }),
      }),
      newJournal(),
    );
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("invariant", /mapped to stranger/));
    assert.equal(beats, 1);
    assert.deepEqual(calls(/failover/), []);
  });

  it("makes the final transfer again when resumed, as detached volumes may have been used since", async () => {
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("cutover/failover-host", "before-call")));
    const before = calls(/transfer/).length;
    world.luns.iprod.set("00", { flexVol: "pool1", sizeBytes: 2 ** 31 });
    await completed();
    assert.equal(calls(/transfer/).length, before + 2);
    assert.equal(world.luns.idr.get("00")?.sizeBytes, 2 ** 31);
  });

  it("asks nothing of a backend that sends no heartbeat", async () => {
    world.faults.silent = true;
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("wait-timeout", /0 of 2 heartbeats/));
    assert.deepEqual(calls(/failover/), []);
  });

  it("counts heartbeats from its first look, anew where the row was made anew", () => {
    const counted = new Heartbeats();
    const rows = [undefined, { id: 1, reportCount: 7 }, { id: 1, reportCount: 8 }, { id: 2, reportCount: 0 }, { id: 2, reportCount: 2 }];
    assert.deepEqual(rows.map((row) => counted.until(row)), [0, 0, 1, 0, 2]);
  }); // prettier-ignore

  it("asks nothing of a backend whose queue nobody consumes", async () => {
    const ports = world.ports();
    const { messageQueue } = ports;
    const deaf = { listBackendQueues: async (host: string) => (await messageQueue.listBackendQueues(host)).map((q) => (calls(/transfer/).length < 4 ? q : { ...q, consumers: 0 })) };
    const seen = Object.assign(Object.create(world) as World, { ports: () => ({ ...ports, messageQueue: { ...messageQueue, ...deaf } }) });
    await assert.rejects(operator(seen, newJournal()).up(toIdr, at("iprod")), fails("precondition", /nothing consumes its queue/));
    assert.deepEqual(calls(/failover/), []);
  }); // prettier-ignore

  for (const [name, reads] of [["takes a row that a database's node has late", 1], ["doesn't wait for a failover that was refused at once", 99]] as const)
    it(name, async () => {
      const ports = world.ports();
      let stale = 0;
      const database = {
        ...ports.database,
        listServiceRows: async () => {
          const rows = await ports.database.listServiceRows();
          if (calls(/failover-host/).length === 0 || stale >= reads) return rows;
          stale += 1;
          return rows.map((row) => ({ ...row, replicationStatus: "enabled", activeBackendId: null }));
        },
      };
      const seen = Object.assign(Object.create(world) as World, { ports: () => ({ ...ports, database }) });
      const run = operator(seen, newJournal()).up(toIdr, at("iprod"));
      if (reads === 1) await run;
      else await assert.rejects(run, fails("failure-state", /the services row went to enabled/));
      assert.equal(stale, Math.min(reads, 6));
    }); // prettier-ignore

  it("goes on by the direct route after a failover-error, on the same journal, and says so in the preview", async () => {
    world.faults.failoverError = 1;
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /failover-error.*set route to "direct"/));
    const direct = intentTo("idr", { route: "direct" });
    const preview = await dr.preview(direct, at("iprod"));
    assert.equal(preview.route, "direct");
    assert.match(preview.sentences.join("\n"), /Break 2 mirrors/);
    assert.doesNotMatch(preview.sentences.join("\n"), /Stop 1 instance/);
    await completed(direct);
    assert.equal(world.journals.size, 1);
    assert.deepEqual(world.rows.iprod.activeBackendId, "idr");
  });

  it("goes on by the direct route where Cinder's failover left a FlexVol unbroken", async () => {
    world.faults.unbrokenFlexVol = "pool2";
    const told = fails("failure-state", /couldn't fail over .*pool2.* is snapmirrored.*set route to "direct"/i);
    await assert.rejects(dr.up(toIdr, at("iprod")), told);
    await assert.rejects(dr.up(toIdr, at("iprod")), told);
    assert.equal(calls(/failover-host/).length, 1);
    await completed(intentTo("idr", { route: "direct" }));
    assert.equal(world.journals.size, 1);
    assert.deepEqual(
      [...world.volumes.values()].filter(({ replicationStatus }) => replicationStatus === "error"),
      [],
    );
  });

  it("refuses a changed plan on the way that isn't the approved one", async () => {
    world.faults.failoverError = 1;
    await assert.rejects(dr.up(toIdr, at("iprod")));
    const direct = intentTo("idr", { route: "direct", requireApproval: true });
    await assert.rejects(dr.up(direct, at("iprod")), fails("precondition", /requires an approved plan/));
    const { digest } = await dr.preview(direct, at("iprod"));
    await completed({ ...direct, approvedPlan: digest });
  });

  it("doesn't miss snapshots and volumes that their users deleted since the plan", async () => {
    world.snapshots.push({ id: "s1", volumeId: "00", status: "available" });
    after(/server-0 stop/, () => world.snapshots.pop());
    await completed();
  });

  it("takes a migrated volume along, whose LUN has another name", async () => {
    const migrated = world.volumes.get("00");
    assert.ok(migrated !== undefined);
    world.volumes.set("00", { ...migrated, nameId: "77" });
    for (const luns of Object.values(world.luns)) {
      luns.set("77", luns.get("00") ?? assert.fail());
      luns.delete("00");
    }
    await completed();
  });

  it("stops where a snapshot made since the plan isn't at the destination", async () => {
    after(/failover/, () => world.snapshots.push({ id: "s2", volumeId: "00", status: "available" }));
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /no LUN for snapshots s2/));
    assert.deepEqual(calls(/ attach /), []);
  });

  it("refuses to go on where another hand failed it over to a stranger", async () => {
    after(/server-1 detach 11/, () =>
      Object.assign(world.rows.iprod, { replicationStatus: "failed-over", activeBackendId: "elsewhere" }),
    );
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /failed over to "elsewhere"/));
  });
});

describe("a cinder-volume that dies on the way", () => {
  const kill = (): void => {
    for (const { units } of Object.values(world.controllers))
      for (const unit of units) if (unit.role === "volume") unit.active = false;
  };

  it("is asked for no detach; with it alive again the run goes on", async () => {
    after(/ stop/, kill);
    await assert.rejects(
      dr.up(toIdr, at("iprod")),
      fails("precondition", /no cinder-volume consumes the queue of cinder@iprod/),
    );
    assert.deepEqual(calls(/ detach/), []);
    for (const unit of world.controllers["c1"]?.units ?? []) if (unit.role === "volume") unit.active = true;
    await completed();
  });

  for (const [step, running] of [["hold/lock-instances", true], ["quiesce/stop-instances", false]] as const)
    it(`isn't needed on the way back after ${step}, as nothing has to be attached`, async () => {
      const untouched = JSON.stringify(world.endState());
      await assert.rejects(dr.up(toIdr, at("iprod"), killAt(step, "recorded", "server-0")));
      assert.equal(world.servers.get("server-0")?.running, running);
      kill();
      await dr.up(intentTo("iprod"), at("iprod"));
      for (const unit of world.controllers["c1"]?.units ?? []) if (unit.role === "volume") unit.active = true;
      assert.equal(JSON.stringify(world.endState()), untouched);
    }); // prettier-ignore

  it("is asked for no attach on the way back", async () => {
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("final-sync/update-mirrors", "before-call")));
    kill();
    await assert.rejects(dr.up(intentTo("iprod"), at("iprod")), fails("precondition", /no cinder-volume consumes/));
    assert.deepEqual(calls(/ attach /), []);
  });

  it("over a failover leaves its row failing-over: found out, and passed by the direct route", async () => {
    const ports = world.ports();
    const failoverHost = async (): Promise<void> => {
      world.rows.iprod.replicationStatus = "failing-over";
      world.queues.set("cinder-volume.cinder@iprod", ["failover"]);
      kill();
    };
    const seen = Object.assign(Object.create(world) as World, {
      ports: () => ({ ...ports, blockStorage: { ...ports.blockStorage, failoverHost } }),
    });
    const there = operator(seen, newJournal());
    await assert.rejects(there.up(toIdr, at("iprod")), fails("failure-state", /failing-over, and no cinder-volume.*Set route to "direct"/));
    await there.up(intentTo("idr", { route: "direct" }), at("iprod"));
    assert.equal(world.activeData(), "idr");
    assert.equal(calls(/drain/).length, 1);
  }); // prettier-ignore
});

describe("attach and start", () => {
  it("names a mapping without attachment, and how to remove it", async () => {
    after(/failover-host/, () => {
      world.faults.rowLingers.set("00", 9999);
      world.servers.get("server-0")?.attachments.push({ serverId: "server-0", volumeId: "00", device: "/dev/vdb", deleteOnTermination: false });
    });
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /mapping without attachment of 00 .*UPDATE block_device_mapping/s));
    assert.equal(world.servers.get("server-0")?.running, false);
  }); // prettier-ignore

  it("attaches again, in order, what fell back to available", async () => {
    world.faults.attachFallsBack.set("01", 2);
    await completed();
    assert.equal(calls(/ attach 01/).length, 3);
  });

  it("gives each its own name where Nova gives up on the first while the second is asked for", async () => {
    world.faults.attachFallsBack.set("00", 2);
    await completed();
    const names = world.servers.get("server-0")?.attachments.map(({ volumeId, device }) => [volumeId, device]);
    assert.deepEqual(names?.sort(), [["00", "/dev/vdb"], ["01", "/dev/vdc"]]);
    assert.equal(calls(/ attach 00/).length, 3);
  }); // prettier-ignore

  it("gives up where the first always falls back, and gives names anew once it doesn't", async () => {
    world.faults.attachFallsBack.set("00", 99);
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /"v00" is available.* after 4 attempts/));
    assert.equal(world.servers.get("server-0")?.running, false);
    world.faults.attachFallsBack.clear();
    await completed();
    assert.deepEqual(world.servers.get("server-0")?.attachments.find(({ volumeId }) => volumeId === "01")?.device, "/dev/vdc"); // prettier-ignore
  });

  it("gives up where it always falls back, with the instance stopped", async () => {
    world.faults.attachFallsBack.set("01", 99);
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /"v01" is available after 4 attempts/));
    assert.equal(world.servers.get("server-0")?.running, false);
  });

  it("doesn't start an instance whose volume got a wrong name; goes on once it's detached by hand", async () => {
    world.faults.device.set("00", "/dev/vdf");
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /as \/dev\/vdb: Nova took \/dev\/vdf/));
    assert.deepEqual(calls(/start/), []);
    await assert.rejects(
      dr.up(toIdr, at("iprod")),
      fails("failure-state", /"v00" is \/dev\/vdf instead of \/dev\/vdb|vdb/),
    );
    for (const { volumeId } of world.servers.get("server-0")?.attachments ?? [])
      await world.ports().compute.detachVolume("server-0", volumeId);
    await completed();
  });

  it("starts who ran and unlocks who was unlocked", async () => {
    await completed();
    assert.deepEqual([...world.servers].map(([id, s]) => [id, s.running, s.locked]), [["server-0", true, false], ["server-1", false, true]]); // prettier-ignore
  });
});

describe("an unplanned failover", () => {
  const short = (): void => {
    world.luns.idr.delete("01");
    world.reachable.iprod = false;
  };

  it("names lost volumes and leaves their instance stopped, locked and untouched", async () => {
    short();
    await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    assert.equal(world.servers.get("server-0")?.running, false);
    assert.equal(world.servers.get("server-0")?.locked, true);
    assert.deepEqual(calls(/server-0 (detach|attach|start|unlock)/), []);
    assert.match(dr.said.join("\n"), /lost: no LUN for volumes "v01"/);
  });

  for (const gateway of [false, true])
    it(`reads rows while cinder-api is dead, and starts it${gateway ? "; behind a gateway, too" : ""}`, async () => {
      world.reachable.iprod = false;
      world.faults.gateway = gateway;
      for (const unit of world.controllers["c1"]?.units ?? []) unit.active = false;
      const ports = world.ports();
      const rows = {
        listVolumes: async (host: string) => [...world.volumes.values()].filter((v) => v.host.startsWith(`${host}#`)),
        listSnapshots: async () => [],
        listAttachments: async () => [],
      };
      const blockStorage = withRowsWhereUnreachable(ports.blockStorage, rows);
      const seen = Object.assign(Object.create(world) as World, { ports: () => ({ ...ports, blockStorage }) });
      await operator(seen, newJournal()).up(intentTo("idr", { unplanned: lost }), at("iprod"));
      assert.equal(world.activeData(), "idr");
      assert.deepEqual(calls(/disable|failover-host/), []);
    });

  it("starts it without them where that is asked for", async () => {
    short();
    await dr.up(intentTo("idr", { unplanned: lost, startIncomplete: true }), at("iprod"));
    assert.equal(world.servers.get("server-0")?.running, true);
    assert.deepEqual(devices("server-0"), ["/dev/vdb"]);
  });

  it("takes a volume that is shorter than Cinder has it for lost", async () => {
    world.luns.idr.set("01", { flexVol: "pool2", sizeBytes: 2 ** 29 });
    world.reachable.iprod = false;
    await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    assert.match(dr.said.join("\n"), /too small for volumes "v01"/);
  });

  it("goes on where a planned one lost its source half-way through the detaches, and starts who ran at first", async () => {
    world.faults.detachStuck.set("01", 1);
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("detach/volumes", "after-call")));
    world.reachable.iprod = false;
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("unreachable", /./));
    const unplanned = intentTo("idr", { unplanned: lost });
    const preview = await dr.preview(unplanned, at("iprod"));
    assert.deepEqual([preview.mode, preview.failures], ["unplanned", []]);
    const state = await dr.up(unplanned, at("iprod"));
    assert.equal(world.servers.get("server-0")?.running, true);
    assert.equal(state.activeSite, "idr");
    assert.equal(world.journals.size, 1);
  });

  it("tells what is to be put back where it leaves an instance that it has detached by half", async () => {
    world.faults.detachStuck.set("01", 1);
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("detach/volumes", "after-call")));
    world.reachable.iprod = false;
    Object.assign(world.servers.get("server-0") ?? {}, { as: { host: "gone", hostStatus: "DOWN", status: "SHUTOFF" } });
    const preview = await dr.preview(intentTo("idr", { unplanned: lost }), at("iprod"));
    assert.deepEqual(preview.failures, []);
    const told =
      /"server-0" \(server-0\) is left underway: .*attach in this order what it lacks of "v00" \(00\) at \/dev\/vdb, "v01" \(01\) at \/dev\/vdc, then unlock it/;
    assert.match(preview.warnings.join("\n"), told);
    assert.doesNotMatch(preview.warnings.join("\n"), /"server-1".*is left underway/);
  });

  for (const mode of ["unplanned", "planned"] as const)
    it(`promotes first, by the direct route, where the driver died after the failover: ${mode}`, async () => {
      const unplanned = intentTo("idr", { unplanned: lost });
      if (mode === "unplanned") world.reachable.iprod = false;
      const cut = killAt("cutover/verify-destination", "recorded");
      await assert.rejects(dr.up(mode === "unplanned" ? unplanned : toIdr, at("iprod"), cut));
      world.reachable.iprod = false;
      world.faults.driverDead = true;
      after(/start cinder-volume/, () => (world.faults.driverDead = false));
      await assert.rejects(
        dr.up(unplanned, at("iprod")),
        fails(
          "precondition",
          /cinder-volume of cinder@iprod is down, .*its driver isn't initialised.* set route to direct/,
        ),
      );
      const direct = { ...unplanned, route: "direct" } as const;
      const preview = await dr.preview(direct, at("iprod"));
      assert.deepEqual([preview.route, preview.failures], ["direct", []]);
      const state = await dr.up(direct, at("iprod"));
      assert.deepEqual([state.activeSite, state.promoted, state.protected], ["idr", true, false]);
      assert.equal(world.servers.get("server-0")?.running, true);
      assert.equal(calls(/failover/).length, 1);
      assert.deepEqual(world.violations, []);
      assert.equal(world.journals.size, 1);
      world.reachable.iprod = true;
      world.unfenced = world.maps.iprod.size > 0 ? "iprod" : undefined;
      assert.equal((await dr.up(intentTo("idr", { reprotect: "discardDiverged" }), state)).protected, true);
    });

  it("goes past a failover that is under way in a process whose driver died", async () => {
    after(/failover-host/, () => {
      Object.assign(world.rows.iprod, { replicationStatus: "failing-over", activeBackendId: null });
      world.faults.driverDead = true;
    });
    const stuck = fails("failure-state", /sent no heartbeat for 90 s: one with a dead driver.*Set route to "direct"/);
    await assert.rejects(dr.up(toIdr, at("iprod")), stuck);
    const direct = intentTo("idr", { route: "direct" });
    assert.equal((await dr.preview(direct, at("iprod"))).route, "direct");
    after(/start cinder-volume/, () => (world.faults.driverDead = false));
    await completed(direct);
  });

  it("counts heartbeats where the API's clock calls a living service down", async () => {
    world.faults.calledDown = true;
    world.reachable.iprod = false;
    await completed(intentTo("idr", { unplanned: lost }));
    assert.equal(
      dr.said.some((line) => /direct/.test(line)),
      true,
    );
  });

  it("stays on the ordinary route past the failover while its cinder-volume serves", async () => {
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("cutover/verify-destination", "recorded")));
    const preview = await dr.preview(intentTo("idr", { route: "direct" }), at("iprod"));
    assert.equal(preview.route, "failover-host");
  });

  it("goes on without the source where it died after the cutover; the protection is asked for later", async () => {
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("attach/volumes", "recorded")));
    world.reachable.iprod = false;
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("unreachable", /./));
    const unplanned = intentTo("idr", { unplanned: lost });
    assert.doesNotMatch((await dr.preview(unplanned, at("iprod"))).sentences.join("\n"), /round/);
    const state = await dr.up(unplanned, at("iprod"));
    assert.deepEqual([state.activeSite, state.promoted, state.protected], ["idr", true, false]);
    world.reachable.iprod = true;
    const again = await dr.up(intentTo("idr", { reprotect: "discardDiverged" }), state);
    assert.equal(again.protected, true);
  });

  it("declares a replication that other hands began anew, when asked to protect", async () => {
    world.reachable.iprod = false;
    const state = await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    world.reachable.iprod = true;
    world.unfenced = "iprod";
    world.maps.iprod.clear();
    world.mirrors = world.mirrors.map((mirror) => ({ ...mirror, uuid: `new-${mirror.flexVol}`, from: "idr", state: "snapmirrored" }));
    const before = world.calls.length;
    const seen = await dr.up(toIdr, state);
    assert.equal(seen.protected, false);
    assert.deepEqual(world.calls.slice(before), []);
    const again = await dr.up(intentTo("idr", { reprotect: "discardDiverged" }), seen);
    assert.equal(again.protected, true);
    assert.deepEqual(world.calls.slice(before).filter((call) => /reverse|create mirror|snapmirrored/.test(call)), []);
    assert.match(world.controllers["c1"]?.content ?? "", /replication_device/);
  }); // prettier-ignore

  it("is followed by a promotion that waits for what users do meanwhile, and takes none of it half-way", async () => {
    world.reachable.iprod = false;
    const state = await dr.up(intentTo("idr", { promotion: "deferred", unplanned: lost }), at("iprod"));
    world.addVolume("spare", { status: "extending" });
    const before = world.calls.length;
    await assert.rejects(dr.up(toIdr, state), fails("wait-timeout", /volume spare extending.*weren't stopped/));
    assert.deepEqual(world.calls.slice(before).filter((call) => /stop/.test(call)), []);
    world.addVolume("spare");
    assert.equal((await dr.up(toIdr, state)).promoted, true);
  }); // prettier-ignore

  it("is followed by a promotion that doesn't touch the lost site, also where it began as planned", async () => {
    const deferred = intentTo("idr", { promotion: "deferred" });
    await assert.rejects(dr.up(deferred, at("iprod"), killAt("quiesce/stop-instances", "recorded")));
    world.reachable.iprod = false;
    const state = await dr.up({ ...deferred, unplanned: lost }, at("iprod"));
    world.reachable.iprod = true;
    world.unfenced = "iprod";
    world.maps.iprod.clear();
    const before = world.calls.length;
    await dr.up(toIdr, state);
    assert.deepEqual(world.calls.slice(before).filter((call) => /reverse|create mirror|snapmirrored|unmap/.test(call)), []);
  }); // prettier-ignore

  it("keeps what diverged in clones, split before the resync", async () => {
    world.reachable.iprod = false;
    const state = await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    world.reachable.iprod = true;
    world.unfenced = "iprod";
    await dr.up(intentTo("idr", { reprotect: "keepDiverged" }), state);
    assert.equal(world.clones.size, 2);
    assert.deepEqual([...world.clones.values()], [0, 0]);
    const firstReversal = world.calls.findIndex((call) => call.startsWith("reverse"));
    assert.ok(world.calls.findLastIndex((call) => call.startsWith("clone")) < firstReversal);
    // NetApp's driver goes by a LUN's name alone.
    const kept = [...world.luns.iprod.values()].filter(({ flexVol }) => /_(diverged|former)_/.test(flexVol));
    assert.deepEqual(
      kept.map(({ name }) => name).sort(),
      ["00", "01", "10", "11"].map((id) => `diverged-volume-${id}`),
    );
  });

  it("is refused where another LUN has a volume's name, and proves that none was served for it", async () => {
    world.luns.idr.set("clone", { flexVol: "clone_for_a_test", sizeBytes: 2 ** 30, name: "volume-00" });
    const shadowed = /SVM "svm-idr" of "idr" has 1 LUNs with the names .*: \/vol\/clone_for_a_test\/volume-00\./;
    const refused = (await dr.preview(toIdr, at("iprod"))).failures.map(({ message }) => message);
    assert.match(refused.join("\n"), shadowed);
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("precondition", shadowed));
    assert.deepEqual(world.calls, []);

    world.luns.idr.delete("clone");
    world.faults.otherLun.add("00");
    await assert.rejects(
      dr.up(toIdr, at("iprod")),
      fails("failure-state", /"v00" leads to LUN 1, under which its own LUN isn't mapped/),
    );
    assert.equal(world.servers.get("server-0")?.running, false);
  });

  it("begins anew where no snapshot is common: what was there is renamed, and deleted last if at all", async () => {
    const ends: Record<string, string[]> = {};
    for (const reprotect of ["keepDiverged", "discardDiverged"] as const) {
      const world = new World();
      const dr = operator(world, newJournal());
      world.reachable.iprod = false;
      const state = await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
      world.reachable.iprod = true;
      world.unfenced = "iprod";
      world.uncommon.add("pool2");
      world.luns.iprod.set("only-there", { flexVol: "pool2", sizeBytes: 2 ** 30 });
      const preview = await dr.preview(intentTo("idr", { reprotect }), state);
      assert.deepEqual(preview.failures, []);
      assert.match(preview.warnings.join("\n"), /"pool2": no snapshot is common .*: a new baseline of up to 2.0 GiB/);
      assert.match(preview.sentences.join("\n"), /1 FlexVol by resync: .*; 1 FlexVol by the new baseline/);
      const before = world.calls.length;
      const again = await dr.up(intentTo("idr", { reprotect }), state);
      assert.equal(again.protected, true);
      assert.deepEqual(world.violations, []);
      assert.equal(world.flexVolType.iprod["pool2"], "dp");
      assert.deepEqual(world.luns.iprod.get("01"), { flexVol: "pool2", sizeBytes: 2 ** 30 });
      const asides = Object.keys(world.flexVolType.iprod).filter((name) => /^pool2_former_\w+$/.test(name));
      ends[reprotect] = asides.map(() => "set aside");
      assert.equal(
        [...world.luns.iprod.keys()].some((id) => id.endsWith("/only-there")),
        asides.length > 0,
      );
      // A clone of what is resynced, none of what is whole.
      assert.equal(world.clones.size, reprotect === "keepDiverged" ? 1 : 0);
      const calls = world.calls.slice(before);
      const firstUnmap = calls.findIndex((call) => call.startsWith("unmap"));
      assert.ok(firstUnmap >= 0 && firstUnmap < calls.indexOf("rename iprod pool2"), calls.join("\n"));
      assert.ok(calls.indexOf("rename iprod pool2") < calls.indexOf("create iprod pool2"), calls.join("\n"));
    }
    assert.deepEqual(ends, { keepDiverged: ["set aside"], discardDiverged: [] });
  });

  it("replicates to a site that was built anew, without its FlexVols", async () => {
    world.reachable.iprod = false;
    const state = await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    Object.assign(world.reachable, { iprod: true });
    world.mirrors = [];
    for (const flexVol of pair.flexVols) {
      world.uncommon.add(flexVol);
      delete world.flexVolType.iprod[flexVol];
    }
    world.luns.iprod.clear();
    world.maps.iprod.clear();
    const again = await dr.up(intentTo("idr", { reprotect: "keepDiverged" }), state);
    assert.equal(again.protected, true);
    assert.deepEqual(Object.keys(world.flexVolType.iprod), pair.flexVols);
    assert.equal(world.clones.size, 0);
  });

  it("deletes nothing while the new baseline isn't whole, and waits for as long as it advances", async () => {
    world.reachable.iprod = false;
    const state = await dr.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    world.reachable.iprod = true;
    world.unfenced = "iprod";
    world.uncommon.add("pool2");
    world.baselineSeconds = 20_000;
    const begun = world.nowMs;
    const again = await dr.up(intentTo("idr", { reprotect: "discardDiverged" }), state);
    assert.equal(again.protected, true);
    assert.ok(world.nowMs - begun >= 20_000_000);
    assert.deepEqual(world.violations, []);

    const stuck = new World();
    const other = operator(stuck, newJournal());
    stuck.reachable.iprod = false;
    const lostState = await other.up(intentTo("idr", { unplanned: lost }), at("iprod"));
    stuck.reachable.iprod = true;
    stuck.uncommon.add("pool2");
    stuck.baselineSeconds = Number.POSITIVE_INFINITY;
    await assert.rejects(
      other.up(intentTo("idr", { reprotect: "discardDiverged" }), lostState),
      fails("wait-timeout", /after 7200 s without progress still uninitialized/),
    );
    assert.ok(!stuck.calls.includes("delete iprod FlexVol"));
  });
});

describe("a compute host that is lost underway", () => {
  it("is refused by name, and gone on without once its instances are evacuated", async () => {
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("detach/volumes", "recorded")));
    world.computes = [
      { host: "compute", up: false, enabled: true },
      { host: "other", up: true, enabled: true },
    ];
    const evacuate = fails("failure-state", /nova-compute on "compute" is down.*server evacuate/);
    await assert.rejects(dr.up(toIdr, at("iprod")), evacuate);
    for (const server of world.servers.values()) server.as = { host: "other" };
    await completed();
  });
});

describe("promote", () => {
  it("waits for what users began since their instances run again, and stops no service before", async () => {
    after(/unlock/, () => world.setStatus("00", "backing-up"));
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("wait-timeout", /volume 00 backing-up.*weren't stopped/));
    assert.deepEqual(calls(/stop cinder/), []);
    world.setStatus("00", "in-use");
    await completed();
  });

  it("waits for that also where one of Cinder's services has died", async () => {
    after(/unlock/, () => {
      world.setStatus("00", "backing-up");
      const scheduler = world.controllers["c1"]?.units.find(({ role }) => role === "scheduler");
      Object.assign(scheduler ?? {}, { active: false });
    });
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("wait-timeout", /volume 00 backing-up.*weren't stopped/));
    world.setStatus("00", "in-use");
    await completed();
  });

  it("refuses what is left half-way by the services' end, and says how to reset it without them", async () => {
    after(/stop cinder-api/, () => world.setStatus("00", "backing-up"));
    const stopped = fails("failure-state", /volume 00 is backing-up.*DELETE FROM workers/);
    await assert.rejects(dr.up(toIdr, at("iprod")), stopped);
    await assert.rejects(dr.up(toIdr, at("iprod")), stopped);
    world.setStatus("00", "in-use");
    await completed();
  });

  it("waits for that a short time after an unplanned failover, too", async () => {
    world.reachable.iprod = false;
    after(/unlock/, () => world.setStatus("00", "backing-up"));
    const ports = world.ports.bind(world);
    let asked = 0;
    world.ports = () => {
      const all = ports();
      const listVolumesInFlight: typeof all.database.listVolumesInFlight = async (host) => {
        if (++asked === 2) world.setStatus("00", "in-use");
        if (asked <= 2) assert.deepEqual(calls(/stop cinder/), []);
        return all.database.listVolumesInFlight(host);
      };
      return { ...all, database: { ...all.database, listVolumesInFlight } };
    };
    await completed(intentTo("idr", { unplanned: lost }));
    assert.doesNotMatch(dr.said.join("\n"), /without waiting|moved as they are/);
  });

  it("moves users' volumes as they are that don't come to rest after an unplanned failover", async () => {
    world.reachable.iprod = false;
    after(/unlock/, () => world.setStatus("00", "backing-up"));
    await completed(intentTo("idr", { unplanned: lost }));
    assert.match(dr.said.join("\n"), /going on without waiting any longer: .*volume 00 backing-up/);
  });

  it("moves what was left half-way by the lost site, and lists it in the report", async () => {
    world.addVolume("spare", { status: "creating" });
    world.addVolume("moving", { migrationStatus: "migrating" });
    world.addVolume("retyped", { status: "retyping", migrationStatus: "migrating" });
    world.reachable.iprod = false;
    await completed(intentTo("idr", { unplanned: lost }));
    const [journal] = [...world.journals.values()];
    const report = buildReport((journal?.entries ?? []).map((line) => JSON.parse(line) as JournalEntry));
    const remaining = report.remaining.join("\n");
    assert.match(remaining, /Volume spare is creating: reset its state \(openstack volume set --state\)\.$/m);
    const migration = "reset its migration \\(cinder reset-state --reset-migration-status";
    assert.match(
      remaining,
      new RegExp(`Volume moving is available, migration migrating: ${migration} moving\\)\\.$`, "m"),
    );
    assert.match(remaining, new RegExp(`Volume retyped is retyping, .*: ${migration} retyped\\) and its state`));
  });

  it("moves volumes made after a deferred failover, too, and names those that weren't planned", async () => {
    await dr.up(intentTo("idr", { promotion: "deferred" }), at("iprod"));
    const { volumes } = world;
    const like = (id: string): void => {
      volumes.set(id, { ...(volumes.get("00") ?? assert.fail()), id, name: id, status: "available", attachments: [] });
      world.luns.idr.set(id, { flexVol: "pool1", sizeBytes: 2 ** 30 });
    };
    like("before-plan");
    like("deleted");
    after(/stop cinder-api/, () => (like("after-plan"), volumes.delete("deleted")));
    await dr.up(toIdr, at("idr", false, false));
    const hosts = new Set([...volumes.values()].map((volume) => volume.host.split("#")[0]));
    assert.deepEqual([...hosts], ["cinder@idr"]);
    assert.match(dr.said.join("\n"), /not in the plan, moved all the same: volumes after-plan$/m);
    assert.match(dr.said.join("\n"), /not on cinder@iprod any more: volumes deleted$/m);
  });

  it("names ten of many such volumes; the journal has them all", async () => {
    await dr.up(intentTo("idr", { promotion: "deferred" }), at("iprod"));
    const ids = Array.from({ length: 12 }, (_, n) => `new-${n + 10}`);
    after(/stop cinder-api/, () => {
      for (const id of ids) {
        const like = world.volumes.get("00") ?? assert.fail();
        world.volumes.set(id, { ...like, id, name: id, status: "available", attachments: [] });
      }
    });
    await dr.up(toIdr, at("idr", false, false));
    assert.match(dr.said.join("\n"), /moved all the same: volumes new-10, .*, new-19 and 2 more$/m);
    const entries = [...world.journals.values()].flatMap((journal) => journal.entries);
    assert.ok(entries.some((entry) => ids.every((id) => entry.includes(`"${id}"`)) && entry.includes('"made"')));
  });

  it("has in the journal what waits in a queue before that is removed", async () => {
    let inJournal: readonly string[] = [];
    after(/stop cinder-volume@c2/, () => void world.queues.set("cinder-volume.cinder@idr", ["failover"]));
    const { meanwhile } = world;
    world.meanwhile = (call) => {
      meanwhile(call);
      if (call.startsWith("drain")) inJournal = [...world.journals.values()].flatMap(({ entries }) => entries);
    };
    await completed();
    assert.match(inJournal.at(-1) ?? "", /"intent".*"waiting":\[\{"method":"failover"/);
  });

  it("calls protected what it proved, where the other site doesn't answer right after", async () => {
    const state = await dr.up(toIdr, at("iprod"), ({ step, kind }) => {
      if (step === "reprotect/wait-healthy" && kind === "recorded") world.reachable.iprod = false;
    });
    assert.deepEqual([state.activeSite, state.promoted, state.protected], ["idr", true, true]);
    assert.match(state.status, /^active at idr .*, protected$/);
  });
});

describe("a plan with a step of another version", () => {
  it("isn't gone on with, and nothing is done", async () => {
    await assert.rejects(dr.up(toIdr, at("iprod"), killAt("hold/lock-instances", "before-call")));
    for (const journal of world.journals.values())
      journal.entries = journal.entries.map((line) => line.replaceAll("promote/drain-queues", "promote/drain-rivers"));
    const before = world.calls.length;
    const elsewhere = operator(world, newJournal());
    await assert.rejects(elsewhere.up(toIdr, at("iprod")), fails("journal", /promote\/drain-rivers: this version doesn't know it/)); // prettier-ignore
    assert.equal(world.calls.length, before);
  });
});

describe("hooks", () => {
  const hook = (name: string, when: HookSpec["when"], more: Partial<HookSpec> = {}): HookSpec =>
    hookSchema.parse({ name, when, command: ["true"], ...more });

  it("end the run where one fails, and go on from it", async () => {
    world.faults.hook.set("drain", 1);
    const intent = intentTo("idr", { hooks: [hook("first", "before:hold"), hook("drain", "before:cutover")] });
    await assert.rejects(
      dr.up(intent, at("iprod")),
      fails(
        "failure-state",
        /hook\/before-cutover\/drain \(drain\).*status 1 after 0 s; its last output: drain said so/,
      ),
    );
    assert.deepEqual(calls(/failover/), []);
    await completed(intent);
    assert.deepEqual(calls(/hook/), ["hook first", "hook drain", "hook drain"]);
    const [file] = await Journal.list(dr.journalDir);
    const failed = (await Journal.read(file ?? "")).filter((entry) => entry.type === "failed");
    assert.equal(failed.length, 1);
  });

  it("frame their whole phase on the direct route, and those during promote run, too", async () => {
    const hooks = [
      hook("before", "before:promote"),
      hook("during", "during:promote"),
      hook("after", "after:promote"),
      hook("cut", "after:cutover"),
    ];
    await completed(intentTo("idr", { hooks, route: "direct" }));
    const position = (call: string): number => world.calls.indexOf(call);
    assert.deepEqual(calls(/hook/), ["hook before", "hook during", "hook after", "hook cut"]);
    assert.ok(position("hook before") < position("stop cinder-api@c1"));
    assert.ok(position("hook during") < position("promote"));
    assert.ok(position("hook after") > position("start cinder-api@c1"));
    assert.ok(position("hook cut") > position("broken_off iprod pool2"));
  });
});

describe("the moving parts", () => {
  it("are listed once for all who ask at the same time, and anew for who asks later", async () => {
    const ports = world.ports();
    let listings = 0;
    const { iprod, idr } = ports.arrays;
    assert.ok(iprod !== undefined && idr !== undefined);
    const counted: ArrayPort = { ...iprod, listLunMaps: (flexVols) => ((listings += 1), iprod.listLunMaps(flexVols)) };
    const live = new Live(pair, { ...ports, arrays: { iprod: counted, idr } });
    const maps = await Promise.all(Array.from({ length: 100 }, () => live.lunMaps("iprod")));
    assert.deepEqual([listings, maps[99]?.size], [1, 4]);
    world.maps.iprod.delete("00");
    assert.deepEqual([(await live.lunMaps("iprod")).size, listings], [3, 2]);
    assert.equal((await live.lunMaps("idr")).size, 0);
  });
});

describe("an instance that boots from the pair", () => {
  let root = "";
  beforeEach(() => void (root = world.bootFromVolume("server-0")));

  const nova = () => world.servers.get("server-0")?.attachments.find((a) => a.volumeId === root);
  const rootSite = () => world.connections.get(nova()?.attachmentId ?? "")?.site;
  async function moved(intent: Intent = toIdr): Promise<void> {
    await dr.up(intent, at("iprod"));
    assert.equal(rootSite(), "idr");
    assert.equal(world.activeData(), "idr");
    assert.deepEqual(nova()?.device, "/dev/vda");
    assert.equal(world.unfinished.size, 0);
    assert.equal(world.volumes.get(root)?.status, "in-use");
    assert.deepEqual([...world.maps.idr.keys()].sort(), [...world.volumes.keys()].sort());
  }
  const refreshed = (): string[] => calls(/refresh/);

  it("is stopped; its root is unmapped at the source before the final transfer, and renewed at the destination", async () => {
    let mapped = -1;
    world.meanwhile = (call) => {
      if (/transfer/.test(call)) mapped = world.maps.iprod.size;
    };
    await moved();
    assert.equal(mapped, 0);
    assert.deepEqual(refreshed(), [`server-0 refresh ${root}`]);
    assert.deepEqual(calls(new RegExp(`detach ${root}|attach ${root}`)), []);
    const order = ["server-0 stop", `unmap iprod ${root}`, "failover-host cinder@iprod idr", `server-0 refresh ${root}`, "server-0 start"].map((call) => world.calls.indexOf(call));
    assert.deepEqual(order, [...order].sort((a, b) => a - b));
    assert.ok((order[0] ?? -1) >= 0);
  }); // prettier-ignore

  it("is moved in the preview's own words, and the digest covers it", async () => {
    const { sentences, digest } = await dr.preview(toIdr, at("iprod"));
    assert.match(sentences.join("\n"), /Unmap 1 root at "iprod".*\n[^]*Renew the connection of 1 root to "idr" by nova-manage/);
    assert.notEqual(digest, (await operator(new World(), newJournal()).preview(toIdr, at("iprod"))).digest);
  }); // prettier-ignore

  it("isn't unmapped while it's being uploaded", async () => {
    after(/detach/, () => world.setStatus(root, "uploading"));
    const busy = fails("failure-state", /volume "vroot-server-0" is uploading.*or wait until .* has ended/s);
    await assert.rejects(dr.up(toIdr, at("iprod")), busy);
    assert.equal(world.maps.iprod.has(root), true);
  });

  it("isn't unmapped while it's attached to another instance besides", async () => {
    after(/detach/, () => {
      const volume = world.volumes.get(root);
      assert.ok(volume !== undefined);
      const stranger = { attachmentId: "x", serverId: "stranger", device: "/dev/vdx" };
      world.volumes.set(root, { ...volume, attachments: [...volume.attachments, stranger] });
    });
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("failure-state", /volume "vroot-server-0" is in-use/));
    assert.equal(world.maps.iprod.has(root), true);
  });

  it("needs nova-manage, which preflight tries", async () => {
    world.faults.novaManage = "no such container";
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("precondition", /nova-manage.*no such container/));
    assert.deepEqual(world.calls, []);
  });

  for (const stage of ["created", "removed", "updated", "saved"] as const)
    it(`is finished where nova-manage died when its attachment was ${stage}`, async () => {
      world.faults.refresh.set(root, stage);
      await assert.rejects(dr.up(toIdr, at("iprod")), fails("remote", new RegExp(`died when ${stage}`)));
      assert.deepEqual(calls(/start/).filter((call) => call.startsWith("server-0")), []);
      await moved();
      const completed = stage === "saved" ? [`complete the attachment of ${root}`] : [];
      assert.deepEqual(calls(/complete/), completed);
      assert.equal(refreshed().length, 1 - completed.length);
    }); // prettier-ignore

  for (const [status, says] of [[500, /with an administrator's password/], [404, /Delete attachment \S+: status 404/], [503, /Delete attachment \S+: status 503/]] as const)
    it(`names the way round a deletion that Cinder answers with ${status}`, async () => {
      world.faults.refresh.set(root, "created");
      await assert.rejects(dr.up(toIdr, at("iprod")), fails("remote", /died when created/));
      world.faults.deleteAttachment = status;
      await assert.rejects(dr.up(toIdr, at("iprod")), (error: unknown) => {
        assert.ok(DrError.is(error) && says.test(error.message), String(error));
        assert.equal(error.message.includes("administrator"), status === 500);
        return true;
      });
      await moved();
    }); // prettier-ignore

  it("isn't judged by rows that have no connection, while Cinder's API is away", async () => {
    const ports = world.ports();
    const rows = {
      listVolumes: async (host: string) => [...world.volumes.values()].filter((v) => v.host.startsWith(`${host}#`)),
      listSnapshots: async () => [],
      listAttachments: async () => (await ports.blockStorage.listAttachments()).map(({ connection: _, ...row }) => row),
    };
    let away = false;
    const listAttachments = async () => {
      if (away) throw new DrError({ code: "unreachable", attempted: "List the attachments", seen: "no answer" });
      return ports.blockStorage.listAttachments();
    };
    const blockStorage = withRowsWhereUnreachable({ ...ports.blockStorage, listAttachments }, rows);
    const seen = Object.assign(Object.create(world) as World, { ports: () => ({ ...ports, blockStorage }) });
    const there = operator(seen, newJournal());
    after(/refresh/, () => void (away = true));
    await assert.rejects(there.up(toIdr, at("iprod")), fails("unreachable", /List the attachments/));
    away = false;
    await there.up(toIdr, at("iprod"));
    assert.deepEqual(refreshed(), [`server-0 refresh ${root}`]);
  });

  it("waits for another refresh of it", async () => {
    world.faults.refresh.set(root, "busy");
    await moved();
  });

  it("isn't started, nor refreshed again, where Cinder couldn't connect its root; by hand is the way", async () => {
    world.faults.refresh.set(root, "refused");
    await assert.rejects(dr.up(toIdr, at("iprod")), fails("remote", /Unexpected error/));
    await assert.rejects(
      dr.up(toIdr, at("iprod")),
      fails("failure-state", /without a connection.*Shelve and unshelve/s),
    );
    assert.deepEqual(calls(/server-0 start/), []);
    // As shelving and unshelving leaves it.
    const id = nova()?.attachmentId ?? "";
    world.unfinished.delete(id);
    world.connections.set(id, { volumeId: root, serverId: "server-0", site: "idr" });
    world.maps.idr.set(root, "host");
    world.setStatus(root, "in-use");
    await dr.up(toIdr, at("iprod"));
    assert.deepEqual(calls(/server-0 start/), ["server-0 start"]);
  });

  it("stays stopped where its root was lost, also if incomplete instances are to be started", async () => {
    world.reachable.iprod = false;
    world.luns.idr.delete(root);
    await dr.up(intentTo("idr", { unplanned: lost, startIncomplete: true }), at("iprod"));
    assert.deepEqual(refreshed(), []);
    assert.equal(world.servers.get("server-0")?.running, false);
  });

  it("is told in the report, root first", async () => {
    await moved();
    const [report] = [...world.journals.values()].map((journal) => buildReport(journal.entries.map((line) => JSON.parse(line) as JournalEntry)));
    const seen = report?.servers.find((server) => server.name === "server-0")?.attachments.map((a) => [a.device, a.before?.iqn, a.after?.iqn]);
    assert.deepEqual(seen, ["/dev/vda", "/dev/vdb", "/dev/vdc"].map((device) => [device, "iqn.iprod", "iqn.idr"]));
  }); // prettier-ignore
});
