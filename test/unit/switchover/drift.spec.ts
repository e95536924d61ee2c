import assert from "node:assert/strict";
import { exitCodes } from "../../../cli/exit-codes";
import type { Intent, Mismatch } from "../../../lib/switchover";
import { observeState, outputsOf, statusOf, toldOf, verdictOf } from "../../../lib/switchover";
import type { Judgement } from "../../../lib/switchover";
import { cliOn, folder } from "../cli/support";
import { read } from "../docs/documents";
import { at, look, operator } from "./support";
import type { Operator } from "./support";
import { intentTo, pair, World } from "./world";

/**
 * The table of drift in docs/switchover.md: each row is a case here, and each case a row. What it quotes is what is said,
 * and what `up` makes of it is done here, as far as it does anything.
 */
type Site = "iprod" | "idr";
interface Case {
  arrange(world: World, dr: Operator): void | Promise<unknown>;
  /** Where production ran, as the state has it. */
  readonly state?: Site;
}

const other = (site: Site): Site => (site === "iprod" ? "idr" : "iprod");

function found<T>(thing: T | undefined): T {
  assert.ok(thing !== undefined);
  return thing;
}

function edit(world: World, from: string, to: string, names: readonly string[] = ["c1", "c2"]): void {
  for (const name of names) {
    const controller = found(world.controllers[name]);
    assert.ok(controller.content.includes(from));
    controller.content = controller.content.replace(from, to);
  }
}
const enabled = "enabled_backends = loweropenstack1, iprod";

const mirrorOf = (world: World, flexVol: string) => found(world.mirrors.find((mirror) => mirror.flexVol === flexVol));

/** By the array's own command. */
const setMirror = (world: World, flexVol: string, state: "paused" | "broken_off"): Promise<void> =>
  found(world.ports().arrays["idr"]).setMirrorState(mirrorOf(world, flexVol).uuid, state);

/** Instances are stopped and their volumes detached; what puts it all back. */
async function detached(world: World): Promise<() => Promise<void>> {
  const { compute } = world.ports();
  const before = [...world.servers].map(([id, { running, attachments }]) => ({ id, running, attachments }));
  for (const { id, running, attachments } of before) {
    if (running) await compute.stop(id);
    for (const { volumeId } of attachments) await compute.detachVolume(id, volumeId);
  }
  return async () => {
    for (const { id, running, attachments } of before) {
      for (const a of attachments) await compute.attachVolume({ ...a, serverId: id });
      if (running) await compute.start(id);
    }
  };
}

/** The whole data path's part of the runbook. */
async function failOver(world: World): Promise<void> {
  const attach = await detached(world);
  await world.ports().blockStorage.failoverHost("cinder@iprod", "idr");
  await attach();
}

const failOverAlone = (world: World): Promise<void> => world.ports().blockStorage.failoverHost("cinder@iprod", "idr");

const moveRows = (world: World): Promise<unknown> =>
  world.ports().database.promote({
    fromHost: "cinder@iprod",
    toHost: "cinder@idr",
    toBackendId: "idr",
    expected: { volumes: world.volumes.size },
    writeFence: false,
    takeInFlight: false,
  });

/** The fence as a promotion leaves it, and the new site's row as its first start makes it. */
async function promote(world: World): Promise<void> {
  edit(world, enabled, "enabled_backends = loweropenstack1, idr");
  Object.assign(world.rows.idr, { exists: true, replicationStatus: "enabled" });
  await moveRows(world);
}

const reverseMirrors = async (world: World): Promise<void> => {
  const idr = found(world.ports().arrays["idr"]);
  for (const mirror of await idr.listMirrors(pair.flexVols)) await idr.reverseMirror(mirror);
};

const switchedOver = (dr: Operator): Promise<unknown> => dr.up(intentTo("idr"), at("iprod"));

const cases: Readonly<Record<string, Case>> = {
  nothing: { arrange: () => undefined },
  "the standby site's driver tried once, which left its services row": {
    arrange: (world) => void Object.assign(world.rows.idr, { exists: true, replicationStatus: "not-capable" }),
  },
  "`enabled_backends` edited on one controller": {
    arrange: (world) => edit(world, enabled, "enabled_backends = loweropenstack1, idr", ["c2"]),
  },
  "both sites enabled on every controller": {
    arrange: (world) => edit(world, enabled, "enabled_backends = loweropenstack1, iprod, idr"),
  },
  "the site taken out of `enabled_backends` on every controller": {
    arrange: (world) => edit(world, enabled, "enabled_backends = loweropenstack1"),
  },
  "the other site enabled on every controller, and nothing else done": {
    arrange: (world) => edit(world, enabled, "enabled_backends = loweropenstack1, idr"),
  },
  "a cinder.conf that can't be relied on": {
    arrange: (world) =>
      void (found(world.controllers["c2"]).dropIns = {
        "/etc/cinder/cinder.conf.d/x.conf": "[DEFAULT]\nenabled_backends = idr\n",
      }),
  },
  "`replication_device` taken out on one controller": {
    arrange: (world) => edit(world, "replication_device = backend_id:idr\n", "", ["c2"]),
  },
  "`failover-host` by somebody else, under way": {
    arrange: (world) => void Object.assign(world.rows.iprod, { replicationStatus: "failing-over" }),
  },
  "`failover-host`, and cinder-volume died over it": {
    arrange: (world) => {
      Object.assign(world.rows.iprod, { replicationStatus: "failing-over" });
      for (const { units } of Object.values(world.controllers))
        for (const unit of units) if (unit.role === "volume") unit.active = false;
    },
  },
  "`failover-host`, which failed": {
    arrange: async (world) => {
      world.faults.failoverError = 1;
      await failOverAlone(world);
    },
  },
  "failed over to a backend that is neither site": {
    arrange: (world) =>
      void Object.assign(world.rows.iprod, { replicationStatus: "failed-over", activeBackendId: "elsewhere" }),
  },
  "`active_backend_id` written without a failover": {
    arrange: (world) => void Object.assign(world.rows.iprod, { activeBackendId: "idr" }),
  },
  "a failed failover hidden by a restart of cinder-volume: the row is disabled": {
    // As cinder/volume/manager.py: `failover` leaves it, and `init_host_with_rpc` then.
    arrange: (world) => void Object.assign(world.rows.iprod, { disabled: true, replicationStatus: "enabled" }),
  },
  "the same: volumes' rows are failed over": {
    arrange: (world) => {
      const volume = found(world.volumes.get("00"));
      world.volumes.set("00", { ...volume, replicationStatus: "failed-over" });
    },
  },
  "the same: a mirror is broken off, or somebody broke it off": {
    arrange: (world) => setMirror(world, "pool2", "broken_off"),
  },
  "failed over by hand, and the row put back to enabled": {
    arrange: async (world) => {
      await failOver(world);
      Object.assign(world.rows.iprod, { replicationStatus: "enabled", activeBackendId: null, disabled: false });
    },
  },
  "a mirror paused": { arrange: (world) => setMirror(world, "pool1", "paused") },
  "a mirror deleted": {
    arrange: (world) => found(world.ports().arrays["idr"]).deleteMirror(mirrorOf(world, "pool1").uuid),
  },
  "a mirror made the other way, onto production": {
    arrange: (world) =>
      void world.mirrors.push({ uuid: "x", from: "idr", flexVol: "pool1", state: "snapmirrored", transfers: [] }),
  },
  "a volume's `host` written over": {
    arrange: (world) => {
      const volume = found(world.volumes.get("00"));
      world.volumes.set("00", { ...volume, host: "cinder@idr#pool1" });
    },
  },
  "one volume connected to the other site": {
    arrange: (world) => void (found(world.connections.get("a-00")).site = "idr"),
  },
  "both sites writable and mapped": {
    arrange: async (world) => {
      world.unfenced = "idr";
      await setMirror(world, "pool1", "broken_off");
      world.maps.idr.set("00", "stranger");
    },
  },
  "failed over by hand, instances and all": { arrange: failOver },
  "failed over by hand, instances left where they were": {
    arrange: (world) => {
      world.unfenced = "iprod";
      return failOverAlone(world);
    },
  },
  "failed over by hand, and a mirror left out": {
    arrange: async (world) => {
      const attach = await detached(world);
      world.faults.unbrokenFlexVol = "pool2";
      await failOverAlone(world);
      await attach();
    },
  },
  "failed over by hand, and cinder.conf edited": {
    arrange: async (world) => {
      await failOver(world);
      edit(world, enabled, "enabled_backends = loweropenstack1, idr");
    },
  },
  "failed over by hand, and the volumes' rows moved": {
    arrange: async (world) => {
      await failOver(world);
      await moveRows(world);
    },
  },
  "promoted by hand, and the mirrors not turned round": {
    arrange: async (world) => {
      await failOver(world);
      await promote(world);
    },
  },
  "switched over by hand, all of it": {
    arrange: async (world) => {
      await failOver(world);
      await promote(world);
      await reverseMirrors(world);
    },
  },
  "after a switchover, the fence cleared": {
    state: "idr",
    arrange: async (world, dr) => {
      await switchedOver(dr);
      Object.assign(world.rows.iprod, { replicationStatus: "enabled", activeBackendId: null, disabled: false });
    },
  },
  "after a switchover, the former cinder.conf put back everywhere": {
    state: "idr",
    arrange: async (world, dr) => {
      await switchedOver(dr);
      edit(world, "enabled_backends = loweropenstack1, idr", enabled);
    },
  },
};

const newFolder = folder();

async function start(one: Case) {
  const world = new World();
  const cli = cliOn(world, newFolder());
  const dr = operator(world, cli.journalDir);
  await one.arrange(world, dr);
  assert.deepEqual(world.violations, []);
  const state = one.state ?? "iprod";
  const seen = await statusOf({ pair, ports: world.ports(), journalDir: cli.journalDir, expected: state });
  return { world, cli, dr, state, ...seen };
}

/** What `up` would do, in the table's words. */
async function decided(dr: Operator, intent: Intent, state: Site): Promise<string> {
  const { failures, decision, sentences, mode, route } = await dr.preview(intent, at(state));
  if (failures.length > 0) {
    for (const { message, remedy } of failures) assert.ok(message !== "" && remedy.length > 10, message);
    return "refused";
  }
  if (decision === "switchover") return mode === "planned" ? "switchover" : `switchover (${mode}, ${route})`;
  assert.equal(sentences.length === 0, decision === "nothing");
  return decision === "promote" ? "promotion" : decision;
}

const givingUp = (site: Site): Partial<Intent> => ({
  unplanned: { from: site, force: true, acceptUnknownLoss: true, acceptLossSeconds: 3600 },
});

describe("the table of drift in docs/switchover.md", () => {
  const section = read("docs/switchover.md").text.split("\n## Drift\n")[1]?.split("\n## ")[0] ?? "";
  const table = [...section.matchAll(/^\| (.*) \|$/gm)]
    .map(([, line = ""]) => line.split(" | ").map((cell) => cell.trim()))
    .filter((cells) => cells.length === 5);
  const documented = new Map(
    table.slice(2).map(([what = "", word, said, asBefore, elsewhere]) => [what, { word, said, asBefore, elsewhere }]),
  );
  const told: string[] = [];
  after(() => console.log(`    ${told.length} drift cases told as documented`));

  it("has a row for each case, and a case for each row", () =>
    assert.deepEqual([...documented.keys()].sort(), Object.keys(cases).sort()));

  for (const [what, one] of Object.entries(cases)) {
    it(`tells ${what}`, async () => {
      const { world, cli, dr, state, verdict, judgement } = await start(one);
      const calls = [...world.calls];
      const { mismatches } = verdict;
      for (const { seen, expected, remedy } of mismatches) assert.ok(seen !== expected && remedy.length > 20, remedy);

      const intent = intentTo(state);
      const away = intentTo(other(state));
      const first = await decided(dr, away, state);
      const completed = first === "refused" ? await decided(dr, { ...away, ...givingUp(state) }, state) : "";
      const seen = {
        word: judgement.word,
        said: judgement.word === "in place" ? "–" : `\`${judgement.said}\``,
        asBefore: await decided(dr, intent, state),
        elsewhere: first === "refused" && completed !== "refused" ? `refused; with \`unplanned\`: ${completed}` : first,
      };
      assert.deepEqual(seen, documented.get(what));

      // The command line says the same, and so does a refresh.
      const answer = await cli.run(["status", "--json"], { settings: { activeSite: state } });
      const facts = JSON.parse(answer.out) as { verdict: Judgement; mismatches: readonly Mismatch[] };
      assert.deepEqual([facts.verdict, facts.mismatches], [judgement, mismatches]);
      assert.equal(answer.code, judgement.word === "in place" ? exitCodes.fine : exitCodes.mismatch);
      const lines = await cli.run(["status"], { settings: { activeSite: state } });
      assert.ok(lines.out.includes(`\nverdict          ${judgement.word}: ${judgement.said}\n`), lines.out);
      for (const mismatch of mismatches) assert.ok(lines.out.includes(toldOf(mismatch)), lines.out);
      const outputs = outputsOf(pair, { verdict, judgement });
      assert.equal(outputs.status.includes(judgement.said), judgement.word !== "in place");
      assert.equal(outputs.mismatches?.length ?? 0, mismatches.length);

      assert.deepEqual(world.calls, calls, "looking changes nothing");
      told.push(what);
    });

    it(`does what it decides after ${what}`, async () => {
      const { world, cli, dr, state } = await start(one);
      const row = found(documented.get(what));
      const gone = row.elsewhere?.startsWith("refused;") === true;
      const intent = intentTo(other(state), gone ? givingUp(state) : {});
      const before = [...world.calls];
      if (row.elsewhere === "refused") {
        await assert.rejects(dr.up(intent, at(state)));
        assert.deepEqual(world.calls, before);
        return;
      }
      // Nothing is asked of a site that is given up, so its maps stay until it's protected again.
      if (gone) world.unfenced = state;
      const after = await dr.up(intent, at(state));
      if (row.elsewhere === "adopt") assert.deepEqual(world.calls, before);
      assert.deepEqual([after.activeSite, after.promoted], [other(state), true]);
      assert.equal(world.activeData(), other(state));
      assert.deepEqual(world.violations, []);
      const { promoted, half, mismatches } = await observeState({ pair, ports: world.ports() });
      assert.deepEqual([promoted, half], [true, undefined]);
      if (after.protected) return assert.deepEqual(mismatches, []);

      // What that leaves: no replication, and with a site that was given up its maps.
      await dr.up(intentTo(other(state), { reprotect: "discardDiverged" }), after);
      const end = await statusOf({ pair, ports: world.ports(), journalDir: cli.journalDir, expected: other(state) });
      assert.deepEqual([end.judgement.word, end.verdict.protected, end.verdict.mismatches], ["in place", true, []]);
      assert.deepEqual(world.violations, []);
    });
  }

  it("names an array that doesn't answer as not compared, and no alarm", async () => {
    const { world, cli } = await start({ arrange: (world) => void (world.reachable.idr = false) });
    const answer = await cli.run(["status"]);
    assert.equal(answer.code, exitCodes.mismatch);
    assert.match(
      answer.out,
      /^not compared +the array of "idr" can't be asked: its mirrors and LUN maps aren't compared/m,
    );
    assert.match(answer.out, /^verdict +in place: every system that answers names "iprod"$/m);
    assert.deepEqual(world.calls, []);
  });

  it("raises the alarm where a lost site comes back with its maps, until it's protected again", async () => {
    const world = new World();
    const cli = cliOn(world, newFolder());
    const dr = operator(world, cli.journalDir);
    world.reachable.iprod = false;
    await dr.up(intentTo("idr", { unplanned: { from: "iprod", acceptLossSeconds: 3600 } }), at("iprod"));
    world.reachable.iprod = true;
    world.unfenced = "iprod";
    const settings = { activeSite: "idr" };
    const back = await cli.run(["status"], { settings });
    assert.equal(back.code, exitCodes.mismatch);
    assert.match(
      back.out,
      /^verdict +alarm: FlexVol pool1: writable and mapped to hosts at both sites: svm-idr maps 2 LUNs \(\/vol\/pool1\/volume-00 to host/m,
    );
    assert.match(back.out, /^way on .*after an unplanned failover reprotect does that/m);
    await dr.up(intentTo("idr", { reprotect: "discardDiverged" }), at("idr", true, false));
    assert.match((await cli.run(["status"], { settings })).out, /^verdict +in place/m);
  });

  it("raises none over a site whose SVM serves nobody what it maps", async () => {
    const { world } = await start(found(cases["both sites writable and mapped"]));
    for (const [served, alarms] of [[true, 1], [false, 0]] as const) {
      const observation = structuredClone(await look(world));
      const idr = observation.arrays["idr"];
      assert.ok(idr?.ok === true);
      if (!served) Object.assign(idr.value, { svmState: "stopped" });
      assert.equal(verdictOf(observation).mismatches.filter(({ kind }) => kind === "alarm").length, alarms);
    } // prettier-ignore
  });

  it("goes on with a promotion after our own failover that left an instance on a lost host", async () => {
    const world = new World();
    const dr = operator(world, cliOn(world, newFolder()).journalDir);
    world.reachable.iprod = false;
    found(world.servers.get("server-1")).as = { hostStatus: "DOWN" };
    const unplanned = { from: "iprod", acceptLossSeconds: 3600 };
    const after = await dr.up(intentTo("idr", { unplanned, promotion: "deferred" }), at("iprod"));
    assert.match(after.status, /^failed over to idr, not promoted, unprotected; unfinished: 2 attachments: /);
    assert.equal((await dr.preview(intentTo("idr"), after)).decision, "promote");
  });
});
