import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import type { Mode } from "../../../lib/switchover/intent";
import type { ExecutionEvent } from "../../../lib/switchover/execute";
import type { CinderVolume, Server } from "../../../lib/switchover/ports";
import { preflight } from "../../../lib/switchover/preflight";
import { read } from "../docs/documents";
import { at, journals, killAt, look, lost, operator } from "./support";
import { intentTo, World } from "./world";

/**
 * The table of states in docs/switchover.md: each row is a case here, and each case a row. What the table says is done is
 * compared with what a whole switchover does.
 */
interface Case {
  arrange(world: World): void;
  /** Between the preview and up. */
  between?(world: World): void;
  event?(world: World, event: ExecutionEvent): void;
  /** The volume that is looked at in the end. */
  readonly volume?: string;
  /** Or calls that may not be seen. */
  readonly untouched?: RegExp;
  /** What else holds where it was moved. */
  holds?(world: World): void;
}

function found<T>(thing: T | undefined): T {
  assert.ok(thing !== undefined);
  return thing;
}

const change = (world: World, id: string, more: Partial<CinderVolume>): void =>
  void world.volumes.set(id, { ...found(world.volumes.get(id)), ...more });
const serverOf = (world: World, id = "server-0") => found(world.servers.get(id));

/** Stopped and locked by us, with all its volumes on it. */
function staysOff(world: World, ...ids: readonly string[]): void {
  for (const id of ids) {
    const { running, locked } = serverOf(world, id);
    assert.deepEqual([running, locked], [false, true]);
    assert.doesNotMatch(world.calls.join("\n"), new RegExp(`^${id} (detach|attach|start|unlock)`, "m"));
  }
}

/** It has come to rest by the time that the hold waits for it. */
const restsLater = (world: World, rest: () => void): void =>
  void (world.meanwhile = (call) => void (call.startsWith("disable") && rest()));

const attached = (more: Partial<CinderVolume>): Case => ({ arrange: (world) => change(world, "00", more) });
const spare = (more: Partial<CinderVolume> = {}): Case => ({
  volume: "spare",
  arrange: (world) => world.addVolume("spare", more),
});
const spareWithoutLun = (status: string): Case => ({
  volume: "spare",
  arrange: (world) => {
    world.addVolume("spare", { status });
    for (const site of ["iprod", "idr"] as const) world.luns[site].delete("spare");
  },
});
const passing = (status: string): Case => ({
  arrange: (world) => {
    change(world, "00", { status });
    restsLater(world, () => change(world, "00", { status: "in-use" }));
  },
});
const passingSpare = (status: string): Case => ({
  volume: "spare",
  arrange: (world) => {
    spareWithoutLun(status).arrange(world);
    restsLater(world, () => {
      if (world.volumes.get("spare")?.status === status) world.addVolume("spare");
    });
  },
});
const snapshotIs = (status: string, then: string): Case => ({
  arrange: (world) => {
    for (const site of ["iprod", "idr"] as const)
      world.luns[site].set("snapshot-s", { flexVol: "pool1", sizeBytes: 2 ** 30 });
    world.snapshots.push({ id: "s", volumeId: "00", status });
    restsLater(world, () => world.snapshots.splice(0, 1, { id: "s", volumeId: "00", status: then }));
  },
});
const instance = (as: Partial<Server>): Case => ({ arrange: (world) => void (serverOf(world).as = as) });
const inTask = (as: Partial<Server>, ranAfterwards = true): Case => ({
  arrange: (world) => {
    serverOf(world).as = as;
    restsLater(world, () => {
      delete serverOf(world).as;
      serverOf(world).running = ranAfterwards;
    });
  },
  holds: (world) => assert.equal(serverOf(world).running, ranAfterwards),
});
const foreignLun = (mapped: boolean): Case => ({
  untouched: /database/,
  arrange: (world) => {
    world.luns.iprod.set("database", { flexVol: "pool1", sizeBytes: 1, name: "database" });
    if (mapped) world.maps.iprod.set("database", "somebody");
  },
});

const cases: Readonly<Record<string, readonly Case[]>> = {
  "volume `available`": [spare()],
  "volume `in-use`": [{ arrange: () => undefined }],
  "volume `awaiting-transfer`": [spare({ status: "awaiting-transfer" })],
  "volume `creating`, `managing`": ["creating", "managing"].map(passingSpare),
  "volume `attaching`, `detaching`": ["attaching", "detaching"].map(passing),
  "volume `downloading`, `extending`, `uploading`, `backing-up`, `restoring-backup`, `retyping`, `reverting`": [
    "downloading",
    "extending",
    "uploading",
    "backing-up",
    "restoring-backup",
    "retyping",
    "reverting",
  ].map(passing),
  "volume `deleting`, `unmanaging`": ["deleting", "unmanaging"].map((status) => ({
    ...spare({ status }),
    arrange: (world) => {
      world.addVolume("spare", { status });
      restsLater(world, () => void world.volumes.delete("spare"));
    },
  })),
  "volume in any of these for ever, not attached": ["creating", "deleting"].map(spareWithoutLun),
  "volume in any of these for ever, attached": ["attaching", "extending", "backing-up"].map((status) =>
    attached({ status }),
  ),
  "volume `reserved` for a shelved instance": [{ arrange: (world) => world.shelveAndOffload("server-0") }],
  "volume `reserved` otherwise": [
    {
      volume: "spare",
      arrange: (world) => {
        world.addVolume("spare", { status: "reserved" });
        world.unfinished.set("a-spare", { volumeId: "spare", serverId: "nobody" });
      },
    },
  ],
  "volume `available`, with an attachment left over": [
    {
      volume: "spare",
      arrange: (world) => {
        world.addVolume("spare");
        world.unfinished.set("a-spare", { volumeId: "spare", serverId: "nobody" });
      },
    },
  ],
  "volume `error`, `error_…`, `maintenance`, not attached": ["error", "error_restoring", "maintenance"].map((status) =>
    spare({ status }),
  ),
  "volume `error_deleting`, `error_managing`, without a LUN": ["error_deleting", "error_managing"].map(spareWithoutLun),
  "volume `error`, `error_extending`, attached": ["error", "error_extending"].map((status) => attached({ status })),
  "volume in a migration": ["migrating", "target:1"].map((migrationStatus) => spare({ migrationStatus })),
  "volume after a migration": ["success", "error", "deleting"].map((migrationStatus) => attached({ migrationStatus })),
  "volume attached to several instances": [
    {
      arrange: (world) => {
        const volume = found(world.volumes.get("00"));
        const more = { attachmentId: "x", serverId: "server-1", device: "/dev/vdd" };
        change(world, "00", { multiattach: true, attachments: [...volume.attachments, more] });
        const second = { ...more, volumeId: "00", deleteOnTermination: false };
        serverOf(world, "server-1").attachments.push(second);
      },
      holds: (world) => staysOff(world, "server-0", "server-1"),
    },
  ],
  "volume attached to a host, not to an instance": [
    {
      volume: "spare",
      arrange: (world) => {
        const attachment = { attachmentId: "b", serverId: "", device: "", host: "metal" };
        world.addVolume("spare", { status: "in-use", attachments: [attachment] });
        world.connections.set("b", { volumeId: "spare", serverId: "", site: "iprod" });
        world.maps.iprod.set("spare", "metal");
      },
    },
  ],
  "volume not replicated in Cinder's eyes": ["disabled", "not-capable"].map((replicationStatus) =>
    attached({ replicationStatus }),
  ),
  "volume in a volume group, encrypted": [attached({ groupId: "g", encrypted: true })],
  "volume with snapshots `available`, `error`": [
    snapshotIs("available", "available"),
    {
      arrange: (world) => void world.snapshots.push({ id: "s", volumeId: "00", status: "error" }),
    },
  ],
  "volume with a snapshot `creating`, `deleting`, `backing-up`": ["creating", "deleting", "backing-up"].map((status) =>
    snapshotIs(status, "available"),
  ),
  "volume whose LUN has another name": [spare({ nameId: "former" })],
  "volume that is a root": [
    {
      volume: "root-server-0",
      arrange: (world) => void world.bootFromVolume("server-0"),
    },
  ],
  "volume that is a root, without `novaManage`": [
    {
      arrange: (world) => {
        world.bootFromVolume("server-0");
        const ports = world.ports.bind(world);
        world.ports = () => {
          const { novaManage: _none, ...others } = ports();
          return others;
        };
      },
    },
  ],
  "volume of another backend": [
    {
      volume: "other",
      arrange: (world) => {
        world.addVolume("other", { host: "cinder@loweropenstack1#pool1" });
        for (const site of ["iprod", "idr"] as const) world.luns[site].delete("other");
      },
    },
  ],
  "volume deleted between preview and up": [{ ...spare(), between: (world) => void world.volumes.delete("spare") }],
  "volume made between preview and up": [
    { volume: "spare", arrange: () => undefined, between: (world) => world.addVolume("spare") },
  ],
  "volume made between plan and hold": [
    { volume: "spare", arrange: (world) => restsLater(world, () => world.addVolume("spare")) },
  ],
  "LUN that isn't Cinder's (any more), not mapped": [foreignLun(false)],
  "LUN that isn't Cinder's (any more), mapped": [foreignLun(true)],

  "instance `ACTIVE`": [{ arrange: () => undefined, holds: (world) => assert.equal(serverOf(world).running, true) }],
  "instance `SHUTOFF`": [
    {
      volume: "10",
      arrange: (world) => assert.equal(serverOf(world, "server-1").running, false),
      holds: (world) => assert.equal(serverOf(world, "server-1").running, false),
    },
  ],
  "instance `REBOOT`, `HARD_REBOOT`, `PASSWORD`": [
    inTask({ status: "REBOOT", taskState: "rebooting" }),
    inTask({ status: "HARD_REBOOT", taskState: "rebooting_hard" }),
    inTask({ status: "PASSWORD", taskState: "updating_password" }),
  ],
  "instance in a task of another kind": [
    inTask({ status: "SHUTOFF", taskState: "powering-on" }),
    inTask({ status: "SHUTOFF", taskState: "rebooting_hard" }),
    inTask({ status: "ACTIVE", taskState: "image_snapshot" }),
    inTask({ status: "ACTIVE", taskState: "powering-off" }, false),
  ],
  "instance `ERROR`": [
    { ...instance({ status: "ERROR" }), holds: (world) => assert.equal(serverOf(world).running, false) },
  ],
  "instance `PAUSED`, `SUSPENDED`, `RESCUE`, `VERIFY_RESIZE`, `SHELVED`": [
    "PAUSED",
    "SUSPENDED",
    "RESCUE",
    "VERIFY_RESIZE",
    "SHELVED",
  ].map((status) => instance({ status })),
  "instance `MIGRATING`, `RESIZE`, `REVERT_RESIZE`, `REBUILD`": ["MIGRATING", "RESIZE", "REVERT_RESIZE", "REBUILD"].map(
    (status) => instance({ status, taskState: "t" }),
  ),
  "instance `SHELVED_OFFLOADED`": [
    {
      volume: "root-server-0",
      arrange: (world) => {
        world.bootFromVolume("server-0");
        world.shelveAndOffload("server-0");
        world.faults.novaManage = "not configured here";
      },
    },
    {
      arrange: (world) => world.shelveAndOffload("server-0"),
      holds: (world) =>
        assert.deepEqual(
          world.calls.filter((call) => call.startsWith("server-0")),
          ["server-0 lock", "server-0 unlock"],
        ),
    },
  ],
  "instance `SHELVED_OFFLOADED` that is being unshelved": [
    {
      arrange: (world) => {
        world.shelveAndOffload("server-0");
        serverOf(world).as = { status: "SHELVED_OFFLOADED", taskState: "spawning" };
      },
    },
  ],
  "instance `SOFT_DELETED`, or deleted with its volumes attached": [
    { arrange: (world) => void world.servers.delete("server-0") },
    { arrange: (world) => void (serverOf(world).as = { status: "SOFT_DELETED" }) },
  ],
  "instance that Nova doesn't list, though it isn't deleted": [
    { arrange: (world) => void world.faults.unlisted.add("server-0") },
  ],
  "instance deleted meanwhile": [
    {
      arrange: (world) =>
        void (world.meanwhile = (call) => {
          if (call !== "server-0 stop") return;
          for (const id of ["00", "01"]) {
            world.maps.iprod.delete(id);
            world.connections.delete(`a-${id}`);
            change(world, id, { status: "available", attachments: [] });
          }
          world.servers.delete("server-0");
        }),
    },
  ],
  "instance locked": [
    {
      volume: "10",
      arrange: (world) => assert.equal(serverOf(world, "server-1").locked, true),
      holds: (world) => assert.equal(serverOf(world, "server-1").locked, true),
    },
  ],
  "instance on a disabled compute host": [instance({ hostStatus: "MAINTENANCE" })],
  "instance on a compute host that doesn't report": [
    instance({ host: "gone", hostStatus: "UNKNOWN" }),
    instance({ host: "gone", hostStatus: "MAINTENANCE" }),
  ],
  "instance on a compute host that was forced down": [instance({ host: "gone", hostStatus: "DOWN" })],
  "instance started meanwhile": [
    {
      arrange: () => undefined,
      event: (world, { step, kind }) => {
        if (step === "quiesce/stop-instances" && kind === "recorded") serverOf(world).running = true;
      },
    },
  ],
  "instance with tags on its attachments": [
    {
      arrange: (world) => {
        const server = serverOf(world);
        server.attachments = server.attachments.map((a) => ({ ...a, tag: `tag-${a.volumeId}` }));
      },
      holds: (world) =>
        assert.deepEqual(
          serverOf(world).attachments.map(({ tag }) => tag),
          ["tag-00", "tag-01"],
        ),
    },
  ],
  "instance without a volume of the pair": [
    {
      untouched: /^bystander/,
      arrange: (world) =>
        void world.servers.set("bystander", { name: "bystander", running: true, locked: false, attachments: [] }),
    },
  ],
};

const newJournal = journals();

/** In the table's words. */
async function outcome(mode: Mode, one: Case): Promise<string> {
  const world = new World();
  one.arrange(world);
  if (mode === "unplanned") world.reachable.iprod = false;
  const intent = intentTo("idr", mode === "planned" ? {} : { unplanned: lost });
  const { failures, warnings } = preflight(await look(world), intent, "iprod");
  if (failures.length > 0) {
    for (const { message, remedy } of failures) assert.ok(message !== "" && remedy.length > 10, message);
    return `refused (${[...new Set(failures.map(({ id }) => `\`${id.split(":")[0] ?? ""}\``))].sort().join(", ")})`;
  }
  one.between?.(world);
  const dr = operator(world, newJournal());
  try {
    await dr.up(intent, at("iprod"), (event) => one.event?.(world, event));
  } catch (error) {
    assert.ok(DrError.is(error), String(error));
    return `stops (\`${error.code}\`)`;
  } finally {
    assert.deepEqual(world.violations, []);
  }
  if (one.untouched !== undefined)
    return world.calls.some((call) => one.untouched?.test(call)) ? "touched" : "not touched";
  one.holds?.(world);
  const id = one.volume ?? "00";
  const volume = world.volumes.get(id);
  const waited = warnings.some(
    (line) => line.includes("the switchover waits for it") && !dr.said.join().includes("without waiting"),
  );
  if (waited) return "waits";
  if (volume?.host.startsWith("cinder@idr#") !== true) return "not touched";
  const elsewhere = [...world.connections.values()].some((each) => each.volumeId === id && each.site !== "idr");
  if (!elsewhere && volume.status !== "reserved") return "moved";
  assert.ok(warnings.length > 0, "the preview names it");
  assert.doesNotMatch(dr.said.join("\n"), /not in the plan/);
  return "left";
}

it("leaves an instance with a volume that Cinder has as available, unplanned", async () => {
  const mismatch: Case = {
    volume: "01",
    arrange: (world) => {
      change(world, "00", { status: "available", attachments: [] });
      world.connections.delete("a-00");
      world.faults.rowLingers.set("00", Number.POSITIVE_INFINITY);
    },
    holds: (world) => staysOff(world, "server-0"),
  };
  assert.equal(await outcome("planned", mismatch), "refused (`attachment-mismatch`)");
  assert.equal(await outcome("unplanned", mismatch), "left");
});

it("starts and unlocks again what was stopped to be left, where the failover is aborted", async () => {
  const world = new World();
  cases["volume attached to several instances"]?.[0]?.arrange(world);
  world.reachable.iprod = false;
  const dr = operator(world, newJournal());
  const kill = killAt("quiesce/stop-instances", "recorded", "server-0");
  await assert.rejects(dr.up(intentTo("idr", { unplanned: lost }), at("iprod"), kill));
  staysOff(world, "server-0");
  world.reachable.iprod = true;
  await dr.up(intentTo("iprod"), at("iprod"));
  assert.deepEqual([serverOf(world).running, serverOf(world).locked], [true, false]);
  assert.doesNotMatch(world.calls.join(), /(detach|attach) /);
});

describe("the table of states in docs/switchover.md", () => {
  const section = read("docs/switchover.md").text.split("\n## States\n")[1]?.split("\n## ")[0] ?? "";
  const table = [...section.matchAll(/^\| ((?:volume|LUN|instance) .*) \|$/gm)].map(([, line = ""]) =>
    line.split("|").map((cell) => cell.trim()),
  );
  const documented = new Map(
    table.map(([state = "", planned, unplanned, ...others]) => [state, { planned, unplanned, others }]),
  );

  it("has a row for each case, and a case for each row", () =>
    assert.deepEqual([...documented.keys()].sort(), Object.keys(cases).sort()));

  it("has a remedy where something is refused", () => {
    for (const [state, { planned, unplanned, others }] of documented)
      assert.ok(!/^(refused|stops)/.test(`${planned}${unplanned}`) || (others[1] ?? "–") !== "–", state);
  });

  for (const [state, variants] of Object.entries(cases))
    for (const mode of ["planned", "unplanned"] as const)
      it(`tells what is done about ${state}, ${mode}`, async () => {
        for (const one of variants) assert.equal(await outcome(mode, one), documented.get(state)?.[mode]);
      });
});
