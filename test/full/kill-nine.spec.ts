import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { projectRoot } from "../../lab/pulumi";
import { missingForLab } from "../../lab/openstack/up";
import { otherSite, sayFailures, Scene, type Site } from "../openstack/support";
import { skipBecause } from "../support/skip";

/** How many switchovers are killed, and from which seed their moments come; a seed gives the same moments again. */
const RUNS = Number(process.env["CHEESECAKE_KILLS"] ?? 50);
const SEED = process.env["CHEESECAKE_KILL_SEED"] ?? "1";
/** Set: the result goes into docs/kill-nine.md. */
const WRITE = process.env["CHEESECAKE_WRITE_DOCS"] !== undefined;

/** In this order, over and over: each leaves the sites as the next one needs them. */
const journeys = ["planned", "failback", "unplanned", "reprotect", "failback"] as const;
type Journey = (typeof journeys)[number];

interface Row {
  readonly run: number;
  readonly journey: Journey;
  readonly way: string;
  /** Share of what the journey takes without a kill. */
  readonly moment: number;
  readonly whom: "cli" | "tree";
  /** The last line that was printed. */
  readonly at: string;
  readonly resumed: boolean;
  readonly end: string;
  readonly bytesLost: string;
}

/** kill -9 at any moment, `up` again: the same end, nothing twice, no byte lost that the last transfer had. */
describe(`killed ${RUNS} times at random moments (seed ${SEED})`, function () {
  this.timeout(0);
  let scene: Scene;
  const rows: Row[] = [];
  /** What each journey takes when nobody kills it. */
  const takesMs = new Map<Journey, number>();

  before(async function () {
    const missing = missingForLab(process.env["CINDER_CHEESECAKE_PYTHON"]);
    if (missing !== undefined) skipBecause(this, missing);
    scene = await Scene.open();
    await scene.begin();
  });

  sayFailures(() => scene);
  after(async () => {
    if (rows.length > 0) console.log(table(rows));
    if (WRITE && rows.length === RUNS) writeFileSync(path.join(projectRoot, "docs", "kill-nine.md"), page(rows));
    await scene?.close();
  });

  it("is measured once without a kill", async () => {
    for (const journey of journeys.slice(0, 4)) await travel(journey, 0);
  });

  for (let run = 1; run <= RUNS; run++) {
    const journey = journeys[(run + 3) % journeys.length] ?? "planned"; // begins at idr
    it(`${run}: ${journey}`, async () => {
      await travel(journey, run);
    });
  }

  it("were killed under way, most of them, and in most phases", () => {
    const under = rows.filter(({ resumed }) => resumed);
    assert.ok(under.length >= 0.6 * RUNS, `${under.length} of ${RUNS}`);
    const phases = new Set(under.map(({ at }) => at.split("/")[0]));
    assert.ok(RUNS < 50 || phases.size >= 7, [...phases].join());
  });

  /** One journey, killed once where `run` isn't 0, resumed, and looked at. */
  async function travel(journey: Journey, run: number): Promise<void> {
    const moment = random(`${SEED} ${run} moment`);
    const whom = random(`${SEED} ${run} whom`) < 0.5 ? "cli" : "tree";
    const from = (await scene.pulumi.outputs(scene.recovery))["activeSite"] as Site;
    const to = journey === "reprotect" ? from : otherSite(from);
    const prepared = await prepare(journey, from, to, run);
    const kill = run === 0 ? undefined : ({ afterMs: moment * (takesMs.get(journey) ?? 0), whom } as const);
    const { killed, at, tookMs } = await scene.upKilledAfter(kill);
    if (run === 0) takesMs.set(journey, tookMs);
    let end = "";
    try {
      if (killed) {
        await scene.afterKill();
        await scene.up();
      }
      const report = scene.lastReport();
      assert.deepEqual([report.verdict, report.to], ["completed", to]);
      scene.assertOnce(report.switchoverId);
      end = `${report.verdict}, ${String((await scene.pulumi.outputs(scene.recovery))["status"]).replace(/ \(.*\)/, "")}`;
    } finally {
      if (journey === "unplanned") await scene.setReachable(from, true);
    }
    const missing = await scene.missing();
    assert.deepEqual(missing, prepared.lost);
    if (prepared.lost.length > 0) scene.forget(prepared.stage, prepared.kept);
    if (journey !== "unplanned") {
      scene.configure({ unplanned: undefined, reprotect: undefined });
      await scene.assertNormal(to);
    }
    const bytesLost = prepared.lost.length === 0 ? "0" : "what was written after the last transfer";
    if (run > 0)
      rows.push({
        run,
        journey,
        way: journey === "reprotect" ? `at ${to}` : `${from} → ${to}`,
        moment,
        whom,
        at,
        resumed: killed,
        end,
        bytesLost,
      });
  }

  /** Writes, sets what the journey needs, and says what it has to lose. */
  async function prepare(journey: Journey, from: Site, to: Site, run: number) {
    const nothing = { stage: "", kept: scene.writes(), lost: [] as string[] };
    if (journey === "reprotect") {
      scene.configure({ unplanned: undefined, reprotect: "discardDiverged" });
      return nothing;
    }
    await scene.write(`before-${run}-${journey}`);
    if (journey !== "unplanned") {
      scene.configure({ activeSite: to, unplanned: undefined });
      return nothing;
    }
    await scene.transferAll(to);
    const kept = scene.writes();
    const stage = `untransferred-${run}`;
    await scene.write(stage);
    const devices = await scene.devices();
    const guests = (await scene.servers()).map(({ name }) => name);
    await scene.setReachable(from, false);
    scene.configure({ activeSite: to, unplanned: { from, acceptLossSeconds: 7200 } });
    const lost = devices.flatMap((device) =>
      guests.flatMap((guest) => [`fill ${guest} ${device}`, `missing ${guest} ${device} ${guest}-${stage}`]),
    );
    return { stage, kept, lost: lost.sort() };
  }
});

/** Between 0 and 1, the same for the same text on every machine. */
function random(text: string): number {
  return createHash("sha256").update(text).digest().readUInt32BE(0) / 2 ** 32;
}

function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    String(row.run),
    row.journey,
    row.way,
    `${Math.round(row.moment * 100)} %`,
    row.whom === "cli" ? "the CLI" : "the whole tree",
    row.resumed ? row.at : `${row.at} (had ended)`,
    row.end,
    row.bytesLost,
  ]);
  const head = ["run", "journey", "way", "moment", "killed", "at", "after the next up", "lost"];
  return [head, head.map(() => "---"), ...cells].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function page(rows: readonly Row[]): string {
  const resumed = rows.filter((row) => row.resumed).length;
  const phases = new Set(rows.filter((row) => row.resumed).map((row) => row.at.split("/")[0]));
  return `# Killed at random moments

Written by \`CHEESECAKE_WRITE_DOCS=1 npm run test:full\` (test/full/kill-nine.spec.ts), seed ${SEED}: ${rows.length} switchovers of 3
instances on the real lab. \`pulumi up\` got SIGKILL at a random share of the time that the journey takes undisturbed,
the CLI alone or the whole process tree; then \`pulumi cancel --yes\` and \`pulumi up\` again. ${resumed} were under way when they
were killed, in ${phases.size} different phases (before the first step included); the others had just ended.

Checked after each: no process of the product is left 10 s after the kill; the journal says \`completed\` at the right site;
no item of any step was carried out twice; every instance runs, unlocked, with its volumes under their device names;
and every byte that was written is read back through the path that Nova names. After an unplanned one exactly what was
written after the last transfer is missing.

A run that is [asked to stop](switchover.md#stop) does less: it ends between two items. That is tried at each boundary of
each step by test/unit/switchover/stop.spec.ts.

${table(rows)}
`;
}
