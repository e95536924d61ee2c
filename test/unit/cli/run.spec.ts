import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdir, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { exitCodes } from "../../../cli/exit-codes";
import { DrError } from "../../../lib/errors";
import { type Report, verifyEndState } from "../../../lib/switchover";
import { code, read, rows } from "../docs/documents";
import { at, killAt, lost, operator } from "../switchover/support";
import { intentTo, pair, World } from "../switchover/world";
import { type Answer, cliOn, fileIn, folder, secrets } from "./support";

const newFolder = folder();
const root = path.resolve(__dirname, "../../..");

/** A command line and Pulumi's way, on the same world, journals and stack. */
function begin(world = new World()) {
  const cli = cliOn(world, newFolder());
  return { world, cli, pulumi: operator(world, cli.journalDir) };
}

const digestIn = ({ out }: Answer): string => /--digest (\S+)/.exec(out)?.[1] ?? assert.fail(out);
const ended = (answer: Answer, code: number, text?: RegExp): void => {
  assert.equal(answer.code, code, `${answer.out}\n${answer.err}`);
  if (text !== undefined) assert.match(`${answer.out}\n${answer.err}`, text);
};

/** What a switchover to idr by Pulumi's way ends in. */
async function endOfUp(): Promise<unknown> {
  const { world, pulumi } = begin();
  await pulumi.up(intentTo("idr"), at("iprod"));
  return world.endState();
}

/** But mirrors are updated twice by every switchover. */
function assertOnce({ calls }: World): void {
  const once = calls.filter((call) => !call.startsWith("transfer "));
  assert.deepEqual(once, [...new Set(once)]);
}

describe("cheesecake status", () => {
  it("says where production runs, as a table and as JSON", async () => {
    const { cli } = begin();
    const table = await cli.run(["status"]);
    ended(table, 0, /^active site +iprod$/m);
    assert.match(table.out, /^promoted +yes\nprotected +yes\nopen switchover +none\nrun +none$/m);
    const mirror = { from: "iprod", to: "idr", state: "snapmirrored", healthy: true, lagSeconds: 60 };
    const due = { targetLagSeconds: 7200, scheduleSeconds: 3600 };
    const ready = { to: "idr", ready: true, reasons: [] };
    const { readiness, ...facts } = JSON.parse((await cli.run(["status", "--json"])).out) as {
      readiness: readonly { readonly warnings: readonly string[] }[];
    };
    assert.deepEqual(
      readiness.map(({ warnings: _, ...rest }) => rest),
      [
        { ...ready, mode: "planned" },
        { ...ready, mode: "unplanned", lossSeconds: 60 },
      ],
    );
    assert.deepEqual(facts, {
      pair: "pair",
      at: "2026-01-01T00:00:00.000Z",
      mirrors: [
        { flexVol: "pool1", ...mirror, ...due },
        { flexVol: "pool2", ...mirror, ...due },
      ],
      lastSwitchover: null,
      activeSite: "iprod",
      promoted: true,
      protected: true,
      openSwitchover: null,
      run: null,
      verdict: { word: "in place", said: 'every system names "iprod"', remedy: "" },
      mismatches: [],
      unseen: [],
    });
  });

  it("ends with 4 where the systems contradict each other", async () => {
    const { world, cli } = begin();
    const [first] = Object.values(world.controllers);
    assert.ok(first);
    first.content = first.content.replace("loweropenstack1, iprod", "loweropenstack1, idr");
    ended(
      await cli.run(["status"]),
      4,
      /^mismatch +enabled_backends of \/etc\/cinder\/cinder\.conf on c1: "idr", expected "iprod", as 4 volumes on cinder@iprod have it$/m,
    );
  });

  it("names what is open, and who is at it", async () => {
    const { world, cli, pulumi } = begin();
    await assert.rejects(pulumi.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "before-call")));
    const other = { owner: "ops", host: "bastion", pid: 7, stack: "test", planDigest: "" };
    await world.ports().coordination.acquireLease(pair.name, other, "token", 30);
    const answer = await cli.run(["status"]);
    ended(answer, 0, /^open switchover +\S+-switchover-iprod-idr \(switchover "iprod" → "idr"\)$/m);
    assert.match(answer.out, /^run +ops on bastion \(pid 7, stack test\)$/m);
  });
});

describe("cheesecake plan", () => {
  it("prints Pulumi's own runbook with its digest, and changes nothing", async () => {
    const { world, cli, pulumi } = begin();
    const { sentences, digest } = await pulumi.preview(intentTo("idr"), at("iprod"));
    const answer = await cli.run(["plan", "--to", "idr"]);
    ended(answer, 0);
    const lines = answer.out.split("\n").map((line) => line.trim());
    for (const sentence of sentences) {
      const said = sentence
        .replace(/^(Users|Data|Not touched|Approval): /, "")
        .replace(/^(\d+\.) [a-z-]+:/, "$1")
        .replace(/(about .* in all): .*/, "$1");
      assert.ok(lines.includes(said), sentence);
    }
    assert.equal(digestIn(answer), digest);
    assert.deepEqual(world.calls, []);
  });

  it("ends with 3 where preflight refuses, with every failure", async () => {
    const { world, cli } = begin();
    world.reachable.iprod = false;
    ended(await cli.run(["plan", "--to", "idr"]), 3, /✗ /);
    ended(await cli.run(["plan", "--to", "idr", "--unplanned-from", "iprod"]), 3, /✗ .*\n +→ .*acceptLossSeconds/);
    const flags = ["--unplanned-from", "iprod", "--accept-loss-seconds", "3600"];
    const planned = await cli.run(["plan", "--to", "idr", ...flags]);
    ended(planned, 0, /^unplanned switchover "iprod" → "idr"/m);
    ended(planned, 0, /^To do this: the same options, with apply instead of plan, and --digest /m);
    assert.deepEqual(world.calls, []);
  });

  it("has nothing to do where production runs already", async () => {
    ended(await begin().cli.run(["plan", "--to", "iprod"]), 0, /Nothing to do: production runs at "iprod"/);
  });

  it("takes promotion and route from its options", async () => {
    const { cli } = begin();
    const answer = await cli.run(["plan", "--to", "idr", "--promotion", "deferred"]);
    ended(answer, 0, /\(failover-host, promotion deferred\)/);
    ended(await cli.run(["plan", "--to", "idr", "--route", "direct"]), 0, /\(direct, promotion immediate\)/);
  });

  it("doesn't take what was accepted for one site for the other's loss", async () => {
    const { world, cli } = begin();
    world.reachable.iprod = false;
    const settings = { unplanned: { from: "idr", acceptUnknownLoss: true } };
    ended(await cli.run(["plan", "--to", "idr", "--unplanned-from", "iprod"], { settings }), 3);
    const same = { unplanned: { from: "iprod", acceptUnknownLoss: true } };
    ended(await cli.run(["plan", "--to", "idr", "--unplanned-from", "iprod"], { settings: same }), 0);
  });
});

describe("cheesecake apply", () => {
  it("carries out the plan that was read, ends like Pulumi's way, and Pulumi finds nothing to do but to adopt it", async () => {
    const { world, cli, pulumi } = begin();
    const digest = digestIn(await cli.run(["plan", "--to", "idr"]));
    const answer = await cli.run(["apply", "--to", "idr", "--digest", digest]);
    ended(answer, 0, /^active at idr \(cinder@idr\), protected$/m);
    assert.match(answer.out, /^\[\d+\/\d+\] cutover\/failover-host: /m);
    assert.deepEqual(world.endState(), await endOfUp());
    ended(await cli.run(["verify"]), 0);

    const calls = [...world.calls];
    const { decision, digest: left } = await pulumi.preview(intentTo("idr"), at("iprod"));
    assert.deepEqual([decision, left], ["adopt", ""]);
    const adopted = await pulumi.up(intentTo("idr"), at("iprod"));
    assert.deepEqual(world.calls, calls, "nothing was done twice");
    assert.deepEqual([adopted.activeSite, adopted.promoted, adopted.protected], ["idr", true, true]);
    const report = JSON.parse((await cli.run(["report", "--json"])).out) as Report;
    assert.equal(adopted.lastSwitchoverId, report.switchoverId);
    const folder = `${report.switchoverId.split("-")[0] ?? ""}-iprod-idr`;
    assert.equal(adopted.reportDirectory, path.join(cli.journalDir, folder));
    assert.equal((await pulumi.preview(intentTo("idr"), adopted)).decision, "nothing");
    assert.deepEqual(world.violations, []);
  });

  it("wants a digest or --yes, and a digest where approval is required", async () => {
    const { world, cli } = begin();
    ended(await cli.run(["apply", "--to", "idr"]), 2, /neither --digest nor --yes/);
    const settings = { requireApproval: true };
    ended(await cli.run(["apply", "--to", "idr", "--yes"], { settings }), 2, /requireApproval/);
    assert.deepEqual([world.calls, world.journals.size], [[], 0]);
    const digest = digestIn(await cli.run(["plan", "--to", "idr"], { settings }));
    ended(await cli.run(["apply", "--to", "idr", "--digest", digest], { settings }), 0);
  });

  it("refuses another plan than the one that was read", async () => {
    const { world, cli } = begin();
    const digest = digestIn(await cli.run(["plan", "--to", "idr"]));
    world.servers.delete("server-1");
    ended(await cli.run(["apply", "--to", "idr", "--digest", digest]), 3, /was approved, but what would be done now/);
    assert.deepEqual([world.calls, world.journals.size], [[], 0]);
  });

  it("refuses while another run holds the lease, and names it", async () => {
    const { world, cli } = begin();
    const other = { owner: "ops", host: "bastion", pid: 7, stack: "test", planDigest: "" };
    await world.ports().coordination.acquireLease(pair.name, other, "token", 3600);
    ended(await cli.run(["apply", "--to", "idr", "--yes"]), 3, /the lease is held by ops on bastion \(pid 7\)/);
    assert.deepEqual([world.calls, world.journals.size], [[], 0]);
  });

  it("refuses a stack that doesn't own the pair, and one that isn't named", async () => {
    const { world, cli } = begin();
    world.owner = "other";
    ended(await cli.run(["apply", "--to", "idr", "--yes"]), 3, /belongs to stack "other"/);
    assert.deepEqual(world.calls, []);
    ended(await cli.run(["apply", "--to", "idr", "--yes", "--stack", "other"]), 0);
  });

  it("promotes and protects the active site", async () => {
    const { cli } = begin();
    ended(await cli.run(["apply", "--to", "idr", "--promotion", "deferred", "--yes"]), 0, /not promoted, unprotected/);
    ended(await cli.run(["verify"]), 4, /"idr" is failed over to, not promoted/);
    ended(await cli.run(["apply", "--to", "idr", "--yes"]), 0, /active at idr .*, protected/);
    ended(await cli.run(["verify"]), 0);
  });

  it("fails over from a lost site, and protects anew when it's back", async () => {
    const { world, cli } = begin();
    world.reachable.iprod = false;
    const flags = ["--unplanned-from", "iprod", "--accept-loss-seconds", "3600"];
    ended(await cli.run(["apply", "--to", "idr", ...flags, "--yes"]), 0, /active at idr .*, unprotected/);
    ended(await cli.run(["verify"]), 4, /✗ mirrors/);
    world.reachable.iprod = true;
    world.unfenced = "iprod";
    ended(await cli.run(["apply", "--to", "idr", "--reprotect", "keepDiverged", "--yes"]), 0, /, protected/);
    ended(await cli.run(["verify"]), 0);
    assert.deepEqual(world.violations, []);
  });
});

describe("cheesecake resume", () => {
  it("goes on with what it was stopped in itself: the same end, nothing twice", async () => {
    const { world, cli } = begin();
    const stopped = await cli.run(["apply", "--to", "idr", "--yes"], { stopAt: /detach\/volumes/ });
    ended(stopped, 1, /-switchover-iprod-idr isn't finished: `cheesecake resume` goes on/);
    assert.equal(world.lease, undefined, "the lease was given up");
    ended(await cli.run(["verify"]), 4, /✗ journal: .*\n +.* isn't finished/);
    ended(await cli.run(["resume"]), 0, /^Resume \S+-switchover-iprod-idr/m);
    assert.deepEqual(world.endState(), await endOfUp());
    assertOnce(world);
    ended(await cli.run(["resume"]), 3, /No switchover is open/);
  });

  it("goes on with what Pulumi's way began, and Pulumi's way with what it began", async () => {
    for (const [step, kind] of [
      ["hold/lock-instances", "before-call"],
      ["cutover/failover-host", "after-call"],
      ["promote/update-database", "recorded"],
    ] as const) {
      const { world, cli, pulumi } = begin();
      await assert.rejects(pulumi.up(intentTo("idr"), at("iprod"), killAt(step, kind)));
      world.lease = undefined;
      ended(await cli.run(["resume"]), 0);
      assert.deepEqual(world.endState(), await endOfUp(), step);
      assert.deepEqual(world.violations, []);
    }
    const { world, cli, pulumi } = begin();
    ended(await cli.run(["apply", "--to", "idr", "--yes"], { stopAt: /attach\/volumes/ }), 1);
    assert.equal((await pulumi.up(intentTo("idr"), at("iprod"))).activeSite, "idr");
    assert.deepEqual(world.endState(), await endOfUp());
    assertOnce(world);
  });

  it("goes on without the source that was lost on the way", async () => {
    const { world, cli } = begin();
    ended(await cli.run(["apply", "--to", "idr", "--yes"], { stopAt: /quiesce\/stop/ }), 1);
    world.reachable.iprod = false;
    ended(await cli.run(["resume"]), 1);
    const flags = ["--unplanned-from", lost.from, "--accept-loss-seconds", String(lost.acceptLossSeconds)];
    ended(await cli.run(["resume", ...flags]), 0, /going on unplanned/);
  });

  it("is taken back before the cutover by applying the old site", async () => {
    const { world, cli } = begin();
    ended(await cli.run(["apply", "--to", "idr", "--yes"], { stopAt: /detach\/volumes/ }), 1);
    ended(await cli.run(["apply", "--to", "iprod", "--yes"]), 0, /^Abort /m);
    assert.equal(world.activeData(), "iprod");
    ended(await cli.run(["report"]), 0, /aborted/);
  });

  it("isn't told as nothing changed where the journal of what is open can't be written to", async () => {
    for (const again of [["resume"], ["apply", "--to", "idr", "--yes"], ["apply", "--to", "iprod", "--yes"]]) {
      const { world, cli } = begin();
      ended(await cli.run(["apply", "--to", "idr", "--yes"], { stopAt: /detach\/volumes/ }), 1);
      world.faults.journalWrite.before = 1;
      ended(await cli.run(again), 1, /connection lost.*\n.*-switchover-iprod-idr isn't finished/);
    }
  });

  it("refuses a digest that isn't that of what is open", async () => {
    const { world, cli } = begin();
    ended(await cli.run(["apply", "--to", "idr", "--yes"], { stopAt: /detach\/volumes/ }), 1);
    const calls = [...world.calls];
    ended(await cli.run(["resume", "--digest", "0123"]), 3, /Plan 0123 was approved/);
    assert.deepEqual(world.calls, calls);
  });
});

describe("cheesecake verify", () => {
  const differences: readonly (readonly [string, (world: World) => void, RegExp])[] = [
    [
      "cinder.conf without replication_device",
      ({ controllers }) => {
        for (const controller of Object.values(controllers))
          controller.content = controller.content.replace("replication_device = backend_id:iprod\n", "");
      },
      /✗ cinder\.conf.*\n +.* on c1: replication_device of \[idr\] is not set, not backend_id:iprod/,
    ],
    ["a service that doesn't run", ({ controllers }) => controllers["c1"]?.units.filter(({ role }) => role === "scheduler").forEach((unit) => (unit.active = false)), / cinder-scheduler on c1 doesn't run/],
    ["a backend that is disabled", ({ rows }) => void (rows.idr.disabled = true), /✗ database.*\n +cinder@idr is disabled/],
    ["a fence that was cleared", ({ rows }) => void Object.assign(rows.iprod, { replicationStatus: "enabled", activeBackendId: null }), /the services row of cinder@iprod is no fence: enabled to "", disabled/],
    ["a fence that was made anew", ({ rows }) => void Object.assign(rows.iprod, { replicationStatus: "not-capable", activeBackendId: null, disabled: false }), /the services row of cinder@iprod is no fence: not-capable to "", enabled/],
    ["a fence that is gone", ({ rows }) => void (rows.iprod.exists = false), /there is no services row of cinder@iprod, which is the fence; needed: failed-over to "idr"/],
    ["a volume left behind", ({ volumes }) => { const [v] = volumes.values(); if (v) volumes.set(v.id, { ...v, host: "cinder@iprod#pool1" }); }, /1 rows of volumes name cinder@iprod/],
    ["a mirror that was broken off", ({ mirrors }) => mirrors.filter(({ flexVol }) => flexVol === "pool2").forEach((m) => (m.state = "broken_off")), /✗ mirrors.*\n +pool2: broken_off/],
    ["a LUN that is gone", ({ luns }) => void luns.idr.delete("00"), /✗ LUNs.*\n +volume "v00" \(00\) has no LUN/],
    ["a LUN that the other site maps", ({ maps }) => void maps.iprod.set("00", "host"), /"iprod" maps \/vol\/pool1\/volume-00 to host still/],
    ["a connection to the other site", ({ connections }) => [...connections.values()].filter(({ volumeId }) => volumeId === "01").forEach((c) => (c.site = "iprod")), /✗ attachments.*\n +"v01" \(01\) leads to iqn\.iprod at iprod:3260, not to iqn\.idr/],
    ["a LUN that isn't mapped", ({ maps }) => void maps.idr.delete("10"), /"v10" \(10\) leads to LUN 1, under which its own LUN isn't mapped/],
    ["volumes that changed places", ({ servers }) => { const server = servers.get("server-0"); if (server) server.attachments = server.attachments.map((a) => ({ ...a, device: a.device === "/dev/vdb" ? "/dev/vdc" : "/dev/vdb" })); }, /✗ instances.*\n +server-0 has "v00" \(00\) at \/dev\/vdc, not at \/dev\/vdb/],
    ["an instance that doesn't run", ({ servers }) => { const server = servers.get("server-0"); if (server) server.running = false; }, /server-0 ran before and is SHUTOFF/],
  ]; // prettier-ignore
  for (const [name, spoil, told] of differences)
    it(`ends with 4 and names ${name}`, async () => {
      const { world, cli } = begin();
      ended(await cli.run(["apply", "--to", "idr", "--yes"]), 0);
      ended(await cli.run(["verify"]), 0);
      spoil(world);
      ended(await cli.run(["verify"]), 4, told);
      const { verified } = JSON.parse((await cli.run(["verify", "--json"])).out) as { verified: boolean };
      assert.equal(verified, false);
    });

  it("ends with 4 where the systems can't be asked, and says which", async () => {
    const { world, cli } = begin();
    world.reachable.idr = false;
    ended(await cli.run(["verify"]), 4, /✗ mirrors.*\n +the array of "idr" can't be asked/);
    const { blockStorage, ...ports } = world.ports();
    const silent = () => Promise.reject(new DrError({ code: "unreachable", attempted: "List", seen: "no answer" }));
    const proofs = await verifyEndState({
      pair,
      journalDir: cli.journalDir,
      ports: { ...ports, blockStorage: { ...blockStorage, listConnections: silent } },
    });
    assert.deepEqual(proofs.find(({ what }) => what === "attachments")?.faults, ["List: no answer."]);
  });
});

describe("cheesecake report", () => {
  it("prints the last one, or the one named, as Markdown and as JSON", async () => {
    const { world, cli } = begin();
    ended(await cli.run(["report"]), 3, /No switchover of pair "pair" is recorded/);
    ended(await cli.run(["apply", "--to", "idr", "--yes"]), 0);
    world.nowMs += 600_000;
    ended(await cli.run(["apply", "--to", "iprod", "--yes"]), 0);
    ended(await cli.run(["report"]), 0, /^# switchover idr → iprod: completed$/m);
    const [first = ""] = [...world.journals.keys()];
    const { switchoverId, to } = JSON.parse((await cli.run(["report", first, "--json"])).out) as Report;
    assert.deepEqual([switchoverId, to], [first, "idr"]);
    ended(await cli.run(["report", "another"]), 3, /No switchover another of pair "pair"/);
  });
});

describe("cheesecake approve", () => {
  const priorityGroups = [{ name: "database", instances: [{ name: "server-0" }], priority: 1, approveAfter: true }];
  const settings = { pair: { ...pair, openstack: { ...pair.openstack, priorityGroups } } };

  it("lets a switchover go on that waits for it, and nothing else", async () => {
    const { world, cli } = begin();
    ended(await cli.run(["approve"], { settings }), 3, /nothing waits for an approval/);
    ended(await cli.run(["apply", "--to", "idr", "--yes"], { settings }), 5, /it waits for an approval.*`cheesecake approve database`/); // prettier-ignore
    ended(await cli.run(["status"], { settings }), 0, /^waits for +the approval of group "database"$/m);
    const { out } = await cli.run(["status", "--json"], { settings });
    const { openSwitchover } = JSON.parse(out) as { openSwitchover: { awaitsApprovalOf: string } };
    assert.equal(openSwitchover.awaitsApprovalOf, "database");
    const calls = world.calls.length;
    ended(await cli.run(["resume"], { settings }), 5, /! it waits for the approval of group "database"/);
    ended(await cli.run(["approve", "apps"], { settings }), 3, /it's group "database" that waits for one/);
    ended(await cli.run(["approve", "database", "--by", "ann"], { settings }), 0, /is approved\.\nTo go on: `cheesecake resume`/); // prettier-ignore
    assert.equal(world.calls.length, calls);
    ended(await cli.run(["resume"], { settings }), 0);
    const journal = [...world.journals.values()].flatMap(({ entries }) => entries);
    assert.ok(journal.some((line) => line.includes('"type":"approve","group":"database","by":"ann"')));
  });
});

describe("cheesecake report and history", () => {
  it("write the page beside the journals, and say where", async () => {
    const { cli } = begin();
    await cli.run(["apply", "--to", "idr", "--yes"]);
    const answer = await cli.run(["report"]);
    const folder = /^report: (.*)\/report\.html$/m.exec(answer.out)?.[1] ?? "";
    assert.equal(path.dirname(folder), cli.journalDir);
    await rm(folder, { recursive: true });
    ended(await cli.run(["history"]), 0, /completed .* cheesecake report \d{8}T\d{6}Z-pair-switchover-iprod-idr$/m);
    ended(await cli.run(["report"]), 0);
    assert.deepEqual((await readdir(folder)).sort(), ["report.html", "report.json", "report.md"]);
    ended(await cli.run(["history"]), 0, new RegExp(`completed .* ${folder}$`, "m"));
  });

  it("list nothing where nothing was done, and what was done newest first, for people and machines", async () => {
    const { world, cli } = begin();
    ended(await cli.run(["history"]), 0, /^No switchover of pair "pair" is recorded\.$/m);
    assert.deepEqual(JSON.parse((await cli.run(["history", "--json"])).out), { switchovers: [], unread: [] });
    await cli.run(["apply", "--to", "idr", "--yes"]);
    world.nowMs += 600_000;
    await cli.run(["apply", "--to", "iprod", "--yes"]);
    const { out } = await cli.run(["history"]);
    const [head, ...lines] = out.trimEnd().split("\n");
    assert.match(head ?? "", /^when +from → to +kind +mode +verdict +RTO +RPO +volumes +duration +report$/);
    assert.deepEqual(lines.map((line) => /idr → iprod|iprod → idr/.exec(line)?.[0]), ["idr → iprod", "iprod → idr"]); // prettier-ignore
    const { switchovers } = JSON.parse((await cli.run(["history", "--json"])).out) as { switchovers: { to: string }[] };
    assert.deepEqual(switchovers.map(({ to }) => to), ["iprod", "idr"]); // prettier-ignore
  });

  it("tell what was done also where it can't be written", async () => {
    const { world, cli } = begin();
    await cli.run(["apply", "--to", "idr", "--yes"]);
    const answer = await cli.run(["report"]);
    const folder = /^report: (.*)\/report\.html$/m.exec(answer.out)?.[1] ?? "";
    await rm(folder, { recursive: true });
    await writeFile(folder, "in the way");
    const refused = await cli.run(["report"]);
    ended(refused, 3, /The report isn't written: .*(EEXIST|ENOTDIR)/);
    assert.match(refused.out, /^# switchover iprod → idr: completed/);
    // Each journal's damage is told, and so is that it's all there is.
    for (const journal of world.journals.values()) journal.entries.splice(1, 1, "{ torn");
    for (const file of (await readdir(cli.journalDir)).filter((name) => name.endsWith(".jsonl")))
      await writeFile(path.join(cli.journalDir, file), "no journal\n");
    ended(await cli.run(["history"]), 4, /not read: /);
    ended(await cli.run(["report"]), 3, /Ask again where one of its copies can be read/);
  });
});

describe("the command line", () => {
  it("ends with 2 where it's misused, and asks no system", async () => {
    const { world, cli } = begin();
    for (const args of [
      ["apply", "--yes"],
      ["plan", "--to", "mars"],
      ["plan", "--to", "idr", "--route", "scenic"],
      ["plan", "--to", "idr", "--accept-loss-seconds", "many"],
      ["plan", "--to", "idr", "--accept-loss-seconds", "5"],
      ["status", "--database-password", "x"],
      ["switch"],
    ])
      ended(await cli.run(args), 2, /./);
    ended(await cli.run(["plan", "--to", "idr"], { settings: { promotion: "later" } }), 2, /promotion: /);
    for (const args of [["resume"], ["apply", "--to", "idr", "--yes"]])
      ended(await cli.run(args, { file: "pair.yaml" }), 2, /Name it by --stack/);
    assert.deepEqual(world.calls, []);
    ended(await cli.run(["--help"]), 0);
  });

  it("is told in docs/cli.md: every option of every command, every exit code", async () => {
    const { cli } = begin();
    const told = rows(read("docs/cli.md"));
    const options = new Map<string, string[]>();
    const commands = [
      "status",
      "exporter",
      "plan",
      "apply",
      "resume",
      "approve",
      "stop",
      "verify",
      "history",
      "report",
    ];
    for (const command of commands) {
      assert.ok(
        told.some(([first = ""]) => first.startsWith(`\`${command}`)),
        command,
      );
      const { out } = await cli.run([command, "--help"]);
      for (const [, option = ""] of out.matchAll(/^ {2}(--[a-z-]+)/gm))
        options.set(option, [...(options.get(option) ?? []), command]);
    }
    const documented = told.flatMap(([first, of = ""]) => {
      const option = /^--[a-z-]+/.exec(code(first) ?? "")?.[0];
      return option === undefined
        ? []
        : [[option, of.startsWith("all") ? "all" : of.replace(/, required$/, "")] as const];
    });
    const real = [...options].map(
      ([option, of]) =>
        [option, of.length === commands.length ? "all" : of.map((name) => `\`${name}\``).join(", ")] as const,
    );
    assert.deepEqual(documented.sort(), real.sort());
    const codes = [...read("docs/cli.md").text.matchAll(/^\| (\d+) +\|/gm)].map(([, number]) => Number(number));
    assert.deepEqual(codes, [...Object.values(exitCodes), 130]);
  });

  it("prints no secret, whatever happens", async () => {
    const { world, cli } = begin();
    for (const args of [
      ["status"],
      ["plan", "--to", "idr"],
      ["apply", "--to", "idr", "--yes"],
      ["verify"],
      ["history"],
      ["report"],
    ])
      await cli.run(args);
    world.reachable.idr = false;
    for (const args of [["status", "--json"], ["plan", "--to", "iprod"], ["verify"]]) await cli.run(args);
    await cli.run(["plan", "--to", "idr"], {
      settings: { ontapPasswords: ["hush-7"], databasePassword: { a: "hush-8" } },
    });
    assert.doesNotMatch(cli.printed(), /hush/);
  });

  it("runs from any folder, as the package's program", () => {
    const dir = newFolder();
    fileIn(dir, "config.yaml", { program: "disaster-recovery", activeSite: "mars", pair, ...secrets });
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      [path.join(root, "cli", "cheesecake.cjs"), "status", "--config", "config.yaml"],
      { cwd: dir, encoding: "utf8", env: { PATH: process.env["PATH"], HOME: os.homedir() } },
    );
    assert.deepEqual([status, stdout], [2, ""], stderr);
    assert.match(stderr, /activeSite: "mars" is not one of iprod, idr/);
  });
});
