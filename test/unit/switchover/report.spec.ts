import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Intent, Report, SwitchoverState } from "../../../lib/switchover";
import { Journal } from "../../../lib/switchover/journal";
import type { JournalEntry } from "../../../lib/switchover/journal";
import { buildReport, reportAsHtml, reportAsMarkdown } from "../../../lib/switchover/report";
import { widened } from "../../support/reports";
import { at, journals, killAt, lost, operator } from "./support";
import { intentTo, World } from "./world";

const newJournal = journals();

interface Told {
  readonly report: Report;
  readonly entries: readonly JournalEntry[];
  readonly state: SwitchoverState;
}

async function told(world: World, intent: Intent, state = at("iprod")): Promise<Told> {
  const journalDir = newJournal();
  const after = await operator(world, journalDir).up(intent, state);
  const [file] = await Journal.list(journalDir);
  const entries = await Journal.read(file ?? "");
  return { report: buildReport(entries), entries, state: after };
}

const msBetween = (a: string | undefined, b: string | undefined): number => Date.parse(b ?? "") - Date.parse(a ?? "");

/** A report gives seconds with one decimal. */
const inTenths = (ms: number): number => Math.round(ms / 100) / 10;

describe("a report", () => {
  it("tells the whole of a planned switchover, without loss", async () => {
    const { report, entries, state } = await told(new World(), intentTo("idr"));
    assert.deepEqual(
      [report.verdict, report.kind, report.mode, report.from, report.to, report.rpoSeconds, report.resumes],
      ["completed", "switchover", "planned", "iprod", "idr", 0, 0],
    );
    assert.deepEqual([report.lostVolumes, report.lostSnapshotIds, report.remaining], [[], [], []]);
    assert.deepEqual(Object.keys(report.recoveryPoints), ["pool1", "pool2"]);
    for (const { attachments } of report.servers)
      for (const { before, after } of attachments) assert.deepEqual([before?.iqn, after?.iqn], ["iqn.iprod", "iqn.idr"]);
    for (const { id, flexVol, luns } of report.volumes)
      for (const site of ["iprod", "idr"]) {
        const { lunPath, serial } = luns[site] ?? assert.fail(`${id} at ${site}`);
        assert.deepEqual([lunPath, serial.startsWith(site)], [`/vol/${flexVol}/volume-${id}`, true]);
      }
    const stored = JSON.parse(await readFile(path.join(state.reportDirectory ?? "", "report.json"), "utf8")) as Report;
    assert.deepEqual(stored, JSON.parse(JSON.stringify(report)));
    assert.equal(report.durationSeconds, inTenths(msBetween(entries[0]?.at, entries.at(-1)?.at)));
  }); // prettier-ignore

  it("counts the outage from the first stop to the last start", async () => {
    const { report, entries } = await told(new World(), intentTo("idr"));
    const of = (step: string, event: string) => entries.find((e) => e.type === "step" && e.step === step && e.event === event)?.at;
    assert.equal(report.rtoSeconds, inTenths(msBetween(of("quiesce/stop-instances", "begin"), of("start/instances", "end"))));
    assert.ok((report.rtoSeconds ?? 0) < report.durationSeconds);
  }); // prettier-ignore

  it("calls an instance that was found stopped, and was started, back", async () => {
    const { entries } = await told(new World(), intentTo("idr"));
    const found = buildReport(
      entries
        .filter((e) => !(e.type === "intent" && e.step === "quiesce/stop-instances"))
        .map((e) => (e.type === "done" && e.step === "quiesce/stop-instances" ? { ...e, already: true } : e)),
    );
    const [ran] = found.servers;
    assert.ok(ran?.running === true && (ran.downSeconds ?? -1) >= 0);
    assert.doesNotMatch(reportAsHtml(found), /not back/);
    // As many were out of service as were started.
    assert.match(reportAsHtml(widened(found, 60)), /At most [1-9]\d+ of \d+ running instances/);
  });

  it("names what an unplanned failover lost, and what is left to do", async () => {
    const world = new World();
    world.reachable.iprod = false;
    world.luns.idr.delete("01");
    world.snapshots.push({ id: "s1", volumeId: "00", status: "available" });
    const { report } = await told(world, intentTo("idr", { unplanned: lost }));
    assert.deepEqual(report.lostVolumes, [{ id: "01", name: "v01" }]);
    assert.deepEqual(report.lostSnapshotIds, ["s1"]);
    assert.match(report.remaining.join("\n"), /"iprod" isn't protected yet and holds the only copy/);
    assert.match(report.remaining.join("\n"), /^Instance "server-0" \(server-0\) is left stopped: /m);
    const text = reportAsMarkdown(report);
    assert.match(text, /- volume "v01" \(01\)\n- snapshot s1/);
    assert.match(text, /# switchover iprod → idr: completed/);
  });

  it("takes the oldest recovery point for the loss, and no figure where one isn't known", async () => {
    const world = new World();
    world.reachable.iprod = false;
    const { entries } = await told(world, intentTo("idr", { unplanned: lost }));
    const cutover = entries.find((e) => e.type === "step" && e.step === "cutover/verify-destination")?.at ?? "";
    const point = (seconds: number) => ({
      snapshot: "s",
      at: new Date(Date.parse(cutover) - seconds * 1000).toISOString(),
    });
    const rpo = (recoveryPoints: object): number | undefined =>
      buildReport(
        entries.map((e) =>
          e.type === "done" && e.step === "cutover/failover-host" ? { ...e, facts: { recoveryPoints } } : e,
        ),
      ).rpoSeconds;
    assert.equal(rpo({ pool1: point(60), pool2: point(900) }), 900);
    assert.equal(rpo({ pool1: point(60) }), undefined);
  });

  it("says failed and open as long as it is, and counts resumes and repeats", async () => {
    const world = new World();
    const journalDir = newJournal();
    const dr = operator(world, journalDir);
    const now = async (): Promise<Report> => buildReport(await Journal.read((await Journal.list(journalDir))[0] ?? ""));
    world.faults.attachFallsBack.set("01", 99);
    await assert.rejects(dr.up(intentTo("idr"), at("iprod")));
    const failed = await now();
    assert.equal(failed.verdict, "failed");
    assert.match(
      failed.steps.find((step) => step.id === "attach/volumes")?.failures.join() ?? "",
      /"v01" is available/,
    );
    assert.match(failed.remaining.join(), /run again/);
    world.faults.attachFallsBack.clear();
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("promote/dump-database", "recorded")));
    await dr.up(intentTo("idr"), at("iprod"));
    const done = await now();
    assert.deepEqual([done.verdict, done.resumes], ["completed", 2]);
    assert.equal(done.steps.find((step) => step.id === "final-sync/update-mirrors")?.items, 2);
  });

  it("tells an aborted one as the way back", async () => {
    const world = new World();
    const journalDir = newJournal();
    const dr = operator(world, journalDir);
    await assert.rejects(dr.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "recorded")));
    await dr.up(intentTo("iprod"), at("iprod"));
    const report = buildReport(await Journal.read((await Journal.list(journalDir))[0] ?? ""));
    assert.deepEqual(
      [report.verdict, report.kind, report.to, report.rpoSeconds],
      ["aborted", "abort", "iprod", undefined],
    );
  });

  it("says of a deferred promotion what it leaves open", async () => {
    const { report, state } = await told(new World(), intentTo("idr", { promotion: "deferred" }));
    assert.match(report.remaining.join(), /failed over to, not promoted, unprotected/);
    assert.match(state.status, /failed over to idr, not promoted, unprotected/);
  });
});
