import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { DrError } from "../../../lib/errors";
import { listHistory } from "../../../lib/switchover";
import { hookSchema } from "../../../lib/topology/hooks";
import { priorityGroupsSchema } from "../../../lib/topology/priority-groups";
import { Journal } from "../../../lib/switchover/journal";
import type { Report } from "../../../lib/switchover/report";
import { buildReport, reportAsHtml, reportAsMarkdown, reportSchema, writeReport } from "../../../lib/switchover/report";
import { reportFrom, widened } from "../../support/reports";
import { at, fails, journals, killAt, lost, operator } from "./support";
import { intentTo, pair, World } from "./world";

const newJournal = journals();
const schemaFile = path.resolve(__dirname, "../../../docs/report.schema.json");

const unreachable = (): DrError =>
  new DrError({ code: "unreachable", attempted: "Read the journals", seen: "the database doesn't answer" });

const unplanned = (): World => {
  const world = new World();
  world.reachable.iprod = false;
  world.luns.idr.delete("01");
  return world;
};

const grouped = { ...pair, openstack: { ...pair.openstack, priorityGroups: priorityGroupsSchema.parse([{ name: "database", instances: [{ name: "server-0" }], priority: 1, approveAfter: true }]) } }; // prettier-ignore

/** One that the run is gone on from, and one that ends it where it fails. */
const hooked = (failing: string): Promise<Report> => {
  const world = new World();
  world.faults.hook.set(failing, 1);
  const hooks = [
    hookSchema.parse({ name: "tell", when: "before:quiesce", command: ["/bin/tell"], onFailure: "continue" }),
    hookSchema.parse({ name: "freeze", when: "before:detach", command: ["/bin/freeze"] }),
  ];
  return reportFrom(world, intentTo("idr", { hooks }));
};

/** Whatever a report may have to tell, by name. */
const stories: Readonly<Record<string, () => Promise<Report>>> = {
  planned: () => reportFrom(new World()),
  direct: () => reportFrom(new World(), intentTo("idr", { route: "direct" })),
  deferred: () => reportFrom(new World(), intentTo("idr", { promotion: "deferred" })),
  unplanned: () => reportFrom(unplanned(), intentTo("idr", { unplanned: lost })),
  "booted from volume": () => {
    const world = new World();
    world.bootFromVolume("server-0");
    return reportFrom(world);
  },
  "a hook that failed, gone on from": () => hooked("tell"),
  "a hook that ended its run": () => hooked("freeze"),
  "waits for an approval": () => reportFrom(new World(), intentTo("idr"), undefined, grouped),
  failed: () => {
    const world = new World();
    world.faults.attachFallsBack.set("01", 99);
    return reportFrom(world);
  },
  ...Object.fromEntries(
    ["hold/lock-instances", "quiesce/stop-instances", "detach/volumes", "cutover/failover-host", "attach/volumes", "start/instances", "promote/update-database"].flatMap(
      (step) =>
        (["before-call", "recorded"] as const).map((kind) => [
          `cut off ${kind} ${step}`,
          () => reportFrom(new World(), intentTo("idr"), killAt(step, kind)),
        ]),
    ),
  ),
}; // prettier-ignore

describe("report.json", () => {
  for (const [name, tell] of Object.entries(stories))
    it(`keeps to its schema, and its other forms tell it: ${name}`, async () => {
      const report = await tell();
      assert.deepEqual(reportSchema.parse(JSON.parse(JSON.stringify(report))), report);
      for (const text of [
        reportAsMarkdown(report),
        reportAsHtml(report)
          .replaceAll("&quot;", '"')
          .replaceAll(/<\/?code>/g, "`"),
      ]) {
        // The page parts the verdict from what follows it.
        for (const said of [...report.summary.split(": ").slice(-1), ...report.remaining])
          assert.ok(text.toLowerCase().includes(said.toLowerCase()), said);
        assert.doesNotMatch(text, /undefined|NaN|\[object/);
      }
    });

  it("has its schema in docs/report.schema.json", () => {
    const schema = { title: "report.json of cinder-cheesecake", ...z.toJSONSchema(reportSchema) };
    const text = `${JSON.stringify(schema, null, 2)}\n`;
    if (process.env["CHEESECAKE_WRITE_DOCS"]) writeFileSync(schemaFile, text);
    assert.equal(readFileSync(schemaFile, "utf8"), text, "CHEESECAKE_WRITE_DOCS=1 writes it anew");
  });
});

describe("the report of a recorded switchover", () => {
  const recorded = path.resolve(__dirname, "../../fixtures/journals/planned-switchover.jsonl");

  it("has both sides of every volume, as a lab's array told them", async () => {
    const report = buildReport(await Journal.read(recorded));
    assert.deepEqual(reportSchema.parse(JSON.parse(JSON.stringify(report))), report);
    assert.deepEqual([report.verdict, report.from, report.to, report.volumes.length], ["completed", "idr", "iprod", 9]);
    for (const { id, flexVol, luns } of report.volumes) {
      assert.deepEqual(Object.values(luns).map(({ lunPath }) => lunPath), Array(2).fill(`/vol/${flexVol}/volume-${id}`)); // prettier-ignore
      assert.notEqual(luns["idr"]?.serial, luns["iprod"]?.serial);
    }
    for (const { before, after } of report.servers.flatMap(({ attachments }) => attachments)) {
      assert.deepEqual([before?.iqn, after?.iqn], [report.sites["idr"]?.iqn, report.sites["iprod"]?.iqn]);
      assert.ok(report.sites["idr"]?.portals?.includes(before?.portal ?? ""));
      assert.ok(report.sites["iprod"]?.portals?.includes(after?.portal ?? ""));
    }
    assert.deepEqual([report.database?.before["volumes"], report.database?.after["volumes"]], [9, 9]);
    const html = reportAsHtml(report);
    for (const { id } of report.volumes) assert.equal(html.split(`data-volume="${id}"`).length, 2);
  });
});

describe("a report's account", () => {
  it("has the outage of each instance, and of each work its time", async () => {
    const { servers, rtoSeconds = 0 } = await reportFrom(new World());
    const [ran, stood] = servers;
    assert.deepEqual(
      ran?.timeline.map(({ step }) => step),
      ["quiesce/stop-instances", "detach/volumes", "attach/volumes", "start/instances"],
    );
    const times = ran?.timeline.flatMap((span) => [span.startedAt ?? "", span.endedAt ?? ""]) ?? [];
    assert.deepEqual(times.toSorted(), times);
    assert.ok((ran?.downSeconds ?? 0) > 0 && (ran?.downSeconds ?? 0) <= rtoSeconds);
    assert.deepEqual([stood?.running, stood?.downSeconds], [false, undefined]);
  });

  it("has what came of each hook, and where it failed what that meant", async () => {
    const outcomes = ({ hooks }: Report) => hooks.map(({ name, passed, said = "" }) => [name, passed, /status \d/.exec(said)?.[0]]); // prettier-ignore
    const warned = await hooked("tell");
    assert.deepEqual(outcomes(warned), [["tell", false, "status 1"], ["freeze", true, "status 0"]]); // prettier-ignore
    assert.deepEqual([warned.verdict, warned.warnings.filter((line) => line.startsWith("hook")).length], ["completed", 1]); // prettier-ignore
    assert.match(reportAsHtml(warned), /✗ it ended with status 1<details>.*tell said so/);
    assert.match(reportAsMarkdown(warned), /\| freeze \| before-detach\/freeze \| 0 s \| ✓ it ended with status 0 \|/);
    const stopped = await hooked("freeze");
    assert.deepEqual(outcomes(stopped), [["tell", true, "status 0"], ["freeze", false, "status 1"]]); // prettier-ignore
    assert.equal(stopped.warnings.some((line) => line.startsWith("hook")), false); // prettier-ignore
    assert.match(stopped.summary, /^Failed at hook\/before-detach\/freeze, /);
  });

  it("has a step of priority groups once for each, with its own part, and what is waited for", async () => {
    const report = await reportFrom(new World(), intentTo("idr"), undefined, grouped);
    const starts = report.steps.filter(({ id }) => id === "start/instances");
    assert.deepEqual(starts.map(({ group, items, endedAt }) => [group, items, endedAt !== undefined]), [["database", 1, true], ["default", 0, false]]); // prettier-ignore
    assert.equal(report.rtoSeconds, undefined);
    const { steps } = report;
    const outage = steps.slice(steps.findIndex(({ id }) => id === "quiesce/stop-instances"), steps.findLastIndex(({ id }) => id === "start/instances") + 1); // prettier-ignore
    assert.equal(report.rtoForecastSeconds, outage.reduce((sum, { forecastSeconds }) => sum + forecastSeconds, 0)); // prettier-ignore
    assert.match(report.summary, /^Waits for the approval of group "database": production is at "idr"/);
    assert.match(report.remaining[0] ?? "", /`cheesecake approve database`/);
    assert.match(reportAsHtml(report), /start\/instances \(default\)/);
  });

  it("pictures both sites before and after, with the mirrors' direction", async () => {
    const { before, after } = await reportFrom(new World());
    const mirrors = ({ mirrors: all }: Report["before"]) => all.map((m) => `${m.flexVol} ${m.source} → ${m.destination} ${m.state}`); // prettier-ignore
    assert.deepEqual([before.servedBy, before.attachments, before.protected], ["iprod", { iprod: 4 }, true]);
    assert.deepEqual(mirrors(before), ["pool1 iprod → idr snapmirrored", "pool2 iprod → idr snapmirrored"]);
    assert.deepEqual([after.servedBy, after.attachments, after.protected], ["idr", { idr: 4 }, true]);
    assert.deepEqual(mirrors(after), ["pool1 idr → iprod snapmirrored", "pool2 idr → iprod snapmirrored"]);
  });

  it("says of one that was cut off what stands, and how to go on", async () => {
    const cases = [
      { step: "detach/volumes", servedBy: "iprod", stopped: 1, back: true },
      { step: "cutover/failover-host", servedBy: undefined, stopped: 1, back: false },
      { step: "attach/volumes", servedBy: "idr", stopped: 1, back: false },
      { step: "promote/update-database", servedBy: "idr", stopped: 0, back: false },
    ] as const;
    for (const { step, servedBy, stopped, back } of cases) {
      const { verdict, after, remaining, summary } = await reportFrom(new World(), intentTo("idr"), killAt(step, "before-call")); // prettier-ignore
      assert.equal(verdict, "open");
      assert.deepEqual([after.servedBy, after.instancesStopped], [servedBy, stopped], step);
      assert.equal(after.protected, false, step);
      assert.equal(after.cinderStopped, step.startsWith("promote/"));
      assert.match(summary, /^Not finished: /);
      assert.match(remaining[0] ?? "", /under way, .*`cheesecake stop`/);
      assert.match(remaining[1] ?? "", new RegExp(`with step \\d+ of 21, ${step}: .pulumi up. with activeSite "idr"`));
      assert.equal(remaining.some((line) => line.startsWith('Or back: set activeSite to "iprod"')), back, step); // prettier-ignore
    }
  });

  it("tells an abort in the folder of what was given up, with the steps that were done of it", async () => {
    const journalDir = newJournal();
    const dr = operator(new World(), journalDir);
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "recorded")));
    const before = await foldersIn(journalDir);
    const after = await dr.up(intentTo("iprod"), at("iprod"));
    assert.deepEqual([await foldersIn(journalDir), before], [["20260101T000000Z-iprod-idr"], before]);
    const report = JSON.parse(await readFile(path.join(after.reportDirectory ?? "", "report.json"), "utf8")) as Report;
    assert.deepEqual([report.verdict, report.begunAs.kind, report.after.servedBy], ["aborted", "switchover", "iprod"]);
    assert.deepEqual(
      [report.after.attachments, report.after.detached, report.after.protected],
      [{ iprod: 4 }, 0, true],
    );
    assert.ok(report.steps.some(({ id, durationSeconds }) => id === "quiesce/stop-instances" && durationSeconds !== undefined)); // prettier-ignore
  });

  it("leaves out of the pictures' time what lay between two runs", async () => {
    const world = new World();
    const journalDir = newJournal();
    const dr = operator(world, journalDir);
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("attach/volumes", "before-call")));
    world.nowMs += 36 * 3600 * 1000;
    await dr.up(intentTo("idr"), at("iprod"));
    const report = buildReport(await Journal.read((await Journal.list(journalDir))[0] ?? ""));
    assert.equal(report.pauses.length, 1);
    assert.match(reportAsHtml(report), /<title>paused for 36 h<\/title>/);
    // In 570 units for less than a minute of work, each step is still seen.
    const widths = [...reportAsHtml(report).matchAll(/width="([\d.]+)" height="11" class="bar"/g)].map(([, w]) => Number(w)); // prettier-ignore
    assert.ok(Math.max(...widths) > 50, widths.join(" "));
  });

  it("counts the time until an approval, and from it to the next run, as one in which no run was at it", async () => {
    const world = new World();
    const journalDir = newJournal();
    const dr = operator(world, journalDir, "test", grouped);
    await assert.rejects(dr.up(intentTo("idr"), at("iprod")), fails("approval", /database/));
    world.nowMs += 3 * 3600 * 1000;
    await dr.approve();
    world.nowMs += 3600 * 1000;
    await dr.up(intentTo("idr"), at("iprod"));
    const { pauses } = buildReport(await Journal.read((await Journal.list(journalDir))[0] ?? ""));
    const hours = pauses.map(({ from, to }) => Math.round((Date.parse(to) - Date.parse(from)) / 3_600_000));
    assert.deepEqual(hours, [4]);
  });

  it("grows by less than a kilobyte a volume", async () => {
    const report = await reportFrom(new World(3, 4));
    const [small, large] = [widened(report, 100), widened(report, 300)].map((one) => reportAsHtml(one).length);
    assert.ok(((large ?? 0) - (small ?? 0)) / 800 < 1000, `${small ?? ""} → ${large ?? ""}`);
  });
});

describe("report.html", () => {
  it("takes no name for markup", async () => {
    const world = new World();
    const name = `<script>alert("1")</script>&amp;`;
    const server = world.servers.get("server-0") ?? assert.fail();
    server.name = name;
    const volume = world.volumes.get("00") ?? assert.fail();
    world.volumes.set("00", { ...volume, name: `${name}|\n` });
    const report = await reportFrom(world);
    assert.equal(report.servers[0]?.name, name);
    const html = reportAsHtml(report);
    assert.deepEqual(html.match(/<script/g), ["<script"], "its own");
    assert.ok(html.includes("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;"));
    const markdown = reportAsMarkdown(report);
    assert.doesNotMatch(markdown, /<script/);
    const row = markdown.split("\n").find((line) => line.includes(`alert("1")`)) ?? "";
    assert.equal(row.match(/(?<!\\)\|/g)?.length, 9, row);
  });

  it("forbids everything but its own style and script, which it names by their content", async () => {
    const html = reportAsHtml(await reportFrom(new World()));
    const [, policy = ""] = /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(html) ?? [];
    assert.match(policy, /^default-src 'none'; style-src 'sha256-[^ ]+'; script-src 'sha256-[^ ]+'; base-uri 'none'; form-action 'none'$/); // prettier-ignore
    assert.doesNotMatch(html, /(src|href)="(?!#)|url\((?!#)|@import| style="| on[a-z]+="/);
  });
});

const foldersIn = async (directory: string): Promise<string[]> =>
  (await readdir(directory, { withFileTypes: true })).flatMap((one) => (one.isDirectory() ? [one.name] : [])).sort();

describe("a report's folder", () => {
  it("is its owner's alone, and a repeat replaces what's in it", async () => {
    const directory = newJournal();
    await mkdir(directory, { recursive: true });
    const report = await reportFrom(new World());
    const folder = await writeReport(directory, report);
    assert.equal(path.basename(folder), "20260101T000000Z-iprod-idr");
    assert.equal(await writeReport(directory, { ...report, summary: "again" }), folder);
    assert.deepEqual((await readdir(folder)).sort(), ["report.html", "report.json", "report.md"]);
    const modes = await Promise.all([folder, ...["html", "json", "md"].map((form) => path.join(folder, `report.${form}`))].map(async (file) => ((await stat(file)).mode & 0o777).toString(8))); // prettier-ignore
    assert.deepEqual(modes, ["700", "600", "600", "600"]);
    for (const form of ["html", "json", "md"])
      assert.match(await readFile(path.join(folder, `report.${form}`), "utf8"), /again/i, form);
  });

  it("ends no run where it can't be written, nor hides what ended one: that is said", async () => {
    for (const broken of [false, true]) {
      const [world, journalDir] = [new World(), newJournal()];
      await mkdir(journalDir, { recursive: true });
      writeFileSync(path.join(journalDir, "20260101T000000Z-iprod-idr"), "in the way");
      if (broken) world.faults.attachFallsBack.set("01", 99);
      const dr = operator(world, journalDir);
      const run = dr.up(intentTo("idr"), at("iprod"));
      if (broken) await assert.rejects(run, /"v01" is available/);
      else assert.equal((await run).reportDirectory, undefined);
      assert.match(dr.said.join("\n"), /^the report isn't written: .*(EEXIST|ENOTDIR).*`cheesecake report`/m);
    }
  });

  it("isn't taken from another pair's of the same second", async () => {
    const directory = newJournal();
    const report = await reportFrom(new World());
    const other = { ...report, switchoverId: report.switchoverId.replace("-pair-", "-other-"), pair: "other" };
    const folders = [await writeReport(directory, report), await writeReport(directory, other), await writeReport(directory, report), await writeReport(directory, other)]; // prettier-ignore
    assert.deepEqual(folders.map((folder) => path.basename(folder)), ["20260101T000000Z-iprod-idr", other.switchoverId, "20260101T000000Z-iprod-idr", other.switchoverId]); // prettier-ignore
    assert.equal((JSON.parse(await readFile(path.join(folders[0] ?? "", "report.json"), "utf8")) as Report).pair, "pair"); // prettier-ignore
  });
});

describe("the history", () => {
  const told = async (world: World, journalDir: string) => listHistory({ pair, ports: world.ports(), journalDir });

  it("has each switchover, newest first, with where its report is", async () => {
    const [world, journalDir] = [new World(), newJournal()];
    const dr = operator(world, journalDir);
    assert.deepEqual(await told(world, journalDir), { switchovers: [], unread: [] });
    const there = await dr.up(intentTo("idr"), at("iprod"));
    world.nowMs += 60_000;
    await assert.rejects(dr.up(intentTo("iprod"), there, killAt("attach/volumes", "recorded")));
    const { switchovers, unread } = await told(world, journalDir);
    assert.deepEqual(unread, []);
    assert.deepEqual(
      switchovers.map((past) => [
        past.from,
        past.to,
        past.kind,
        past.mode,
        past.verdict,
        past.rpoSeconds,
        past.volumes,
      ]),
      [
        ["idr", "iprod", "switchover", "planned", "failed", 0, 4],
        ["iprod", "idr", "switchover", "planned", "completed", 0, 4],
      ],
    );
    assert.deepEqual(
      switchovers.map(({ reportDirectory = "" }) => path.basename(reportDirectory)),
      await foldersIn(journalDir).then((folders) => folders.reverse()),
    );
    assert.ok((switchovers[1]?.rtoSeconds ?? 0) > 0);
    assert.equal(switchovers[0]?.rtoSeconds, undefined);
  });

  it("takes each from the copy that knows more, also on a machine that has none of them, or without the database", async () => {
    const [world, journalDir] = [new World(), newJournal()];
    const first = await operator(world, journalDir).up(intentTo("idr"), at("iprod"));
    world.nowMs += 60_000;
    await operator(world, newJournal()).up(intentTo("iprod"), first);
    const elsewhere = await told(world, newJournal());
    assert.deepEqual(elsewhere.switchovers.map(({ to, verdict, reportDirectory }) => [to, verdict, reportDirectory]), [["iprod", "completed", undefined], ["idr", "completed", undefined]]); // prettier-ignore
    // The database was restored from a dump of before its end.
    const [journal] = [...world.journals.values()];
    journal?.entries.splice(3);
    assert.deepEqual((await told(world, journalDir)).switchovers.map(({ verdict }) => verdict), ["completed", "completed"]); // prettier-ignore
    assert.equal((await told(world, newJournal())).switchovers[1]?.verdict, "open");
    const { coordination, ...ports } = world.ports();
    const gone = () => Promise.reject(unreachable());
    const blind = { ...ports, coordination: { ...coordination, listSwitchovers: gone, readJournal: gone } };
    const without = await listHistory({ pair, ports: blind, journalDir });
    assert.deepEqual(without.switchovers.map(({ to, verdict }) => [to, verdict]), [["idr", "completed"]]); // prettier-ignore
    assert.match(without.unread.join(), /doesn't answer/);
  });

  it("tells the others where one can't be read", async () => {
    const [world, journalDir] = [new World(), newJournal()];
    const there = await operator(world, journalDir).up(intentTo("idr"), at("iprod"));
    world.nowMs += 60_000;
    await operator(world, journalDir).up(intentTo("iprod"), there);
    const [first] = [...world.journals.values()];
    first?.entries.splice(1, 1, "{ torn");
    const files = await Journal.list(journalDir);
    writeFileSync(files[0] ?? "", "no journal\n");
    const { switchovers, unread } = await told(world, journalDir);
    assert.deepEqual(switchovers.map(({ to }) => to), ["iprod"]); // prettier-ignore
    assert.equal(unread.length, 2, "both copies");
  });
});
