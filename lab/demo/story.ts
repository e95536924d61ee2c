import { readFileSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import type { Report } from "../../lib/switchover";
import { dataPathLine, type Flavour, labDown, type LabDescription, labUp, readLab } from "../lab";
import { progressTo } from "../openstack/progress";
import { LabPulumi } from "../pulumi";
import type { CheckResult } from "./guests";
import { Guests } from "./guests";

/** The closing facts, as `--json` writes them. */
export interface DemoFacts {
  readonly verdict: "passed" | "failed";
  /** How guests reached their volumes, and why where it wasn't iSCSI. */
  readonly dataPath: LabDescription["dataPath"];
  readonly dataPathReason?: string;
  readonly filesystem: LabDescription["filesystem"];
  readonly instances: number;
  /** By device, over all instances: files (row B7) expected and found. */
  readonly devices: Readonly<
    Record<string, { readonly expectedPerInstance: number; readonly expected: number; readonly found: number }>
  >;
  readonly sample: readonly {
    readonly instance: string;
    readonly files: Readonly<Record<string, readonly string[]>>;
  }[];
  readonly problems: readonly string[];
  readonly switchovers: readonly {
    readonly direction: string;
    readonly mode: string;
    readonly rtoSeconds?: number;
    readonly rpoSeconds?: number;
    /** Of files written before it began: bytes that aren't found, or not as they were written. */
    readonly bytesLost: number;
    readonly steps: readonly { readonly id: string; readonly durationSeconds?: number }[];
  }[];
  /** In their order; the lab's end, which is after the last, isn't among them. */
  readonly stages: readonly { readonly name: string; readonly seconds: number }[];
  readonly seconds: number;
}

/** What each device holds at the end, file by file: row B7 of the runbook. */
const wanted: Readonly<Record<string, readonly string[]>> = {
  vdb: ["pre-failover", "post-recover-from-failover", "down-services"],
  vdc: ["post-failover", "down-services"],
  vdd: ["pre-failback"],
  vde: ["post-failback"],
};
const prefix = "guest-";
/** The OpenStack plugin waits some 10 s for each volume, instance and attachment; all of a set wait side by side. */
const PARALLEL = "64";

/** The story of the runbook, stage by stage, on a lab of its own. Leaves nothing running unless `keep`. */
export async function runDemo(o: {
  readonly flavour: Flavour;
  readonly instances: number;
  readonly keep: boolean;
  readonly dir: string;
  readonly signal: AbortSignal;
  readonly print: (line: string) => void;
}): Promise<DemoFacts> {
  const begun = Date.now();
  const python = process.env["CINDER_CHEESECAKE_PYTHON"] ?? "";
  const stages: { readonly name: string; readonly begunMs: number }[] = [];
  const say = (name: string): void => {
    if (o.signal.aborted) throw new Error("Stopped, as asked.");
    stages.push({ name, begunMs: Date.now() });
    o.print(`\n━━ ${stages.length}. ${name}  (${Math.round((Date.now() - begun) / 1000)} s)`);
  };
  let pulumi: LabPulumi | undefined;
  try {
    const cloud = { openstack: "A real OpenStack", embedded: "A simulated OpenStack" }[o.flavour];
    say(`${cloud} with two ONTAP clusters on loopback`);
    await labUp({
      flavour: o.flavour,
      dir: o.dir,
      python,
      supervise: false,
      progress: progressTo((line) => o.print(`   ${line}`)),
    });
    const lab = readLab(o.dir);
    pulumi = new LabPulumi(lab, (line) => o.print(`   │ ${line}`));
    const guests = new Guests(lab, prefix);
    const { recoveryStack, testLabStack } = pulumi;
    await pulumi.init({ instances: o.instances });

    say("Both sites declared: stanzas, peering, mirrors; iprod becomes active");
    await pulumi.up(recoveryStack);

    say(`${o.instances} instances boot from their root volumes, each with a data volume vdb`);
    await pulumi.up(testLabStack, "--parallel", PARALLEL);
    await guests.format("vdb");
    await guests.breadcrumb(["vdb"], "pre-failover");

    say("The switchover to idr: first its preview");
    await pulumi.set(recoveryStack, "activeSite", "idr");
    await pulumi.preview(recoveryStack);
    say("…and now the switchover itself, promotion deferred");
    await pulumi.up(recoveryStack);
    await guests.breadcrumb(["vdb"], "post-recover-from-failover");

    say("New volumes at idr while it's failed over: vdc");
    await pulumi.set(testLabStack, "lab.dataVolumeSets", "2");
    await pulumi.up(testLabStack, "--parallel", PARALLEL);
    await guests.format("vdc");
    await guests.breadcrumb(["vdc"], "post-failover");

    say("Promotion: Cinder's services are down for it, users' I/O goes on");
    await pulumi.set(recoveryStack, "promotion", "immediate");
    await pulumi.set(
      recoveryStack,
      "hooks",
      JSON.stringify([
        {
          name: "down-services",
          when: "during:promote",
          command: guests.breadcrumbCommand(["vdb", "vdc"], "down-services"),
          timeoutSeconds: 900,
        },
      ]),
    );
    await pulumi.up(recoveryStack);
    await pulumi.unset(recoveryStack, "hooks");

    say("A third set of volumes at the promoted site: vdd");
    await pulumi.set(testLabStack, "lab.dataVolumeSets", "3");
    await pulumi.up(testLabStack, "--parallel", PARALLEL);
    await guests.format("vdd");
    await guests.breadcrumb(["vdd"], "pre-failback");

    say("Failback: the same change, the other way round");
    await pulumi.set(recoveryStack, "activeSite", "iprod");
    await pulumi.preview(recoveryStack);
    await pulumi.up(recoveryStack);

    say("A last set of volumes at home: vde");
    await pulumi.set(testLabStack, "lab.dataVolumeSets", "4");
    await pulumi.up(testLabStack, "--parallel", PARALLEL);
    await guests.format("vde");
    await guests.breadcrumb(["vde"], "post-failback");

    say("What every instance holds");
    const checked = await guests.check();
    const facts = await closingFacts(lab, o.instances, guests, checked);
    if (o.keep) o.print(howToGoOn(pulumi));
    const endedMs = Date.now();
    const secondsOf = (fromMs: number, toMs: number): number => Math.round((toMs - fromMs) / 100) / 10;
    return {
      ...facts,
      stages: stages.map(({ name, begunMs }, at) => ({
        name,
        seconds: secondsOf(begunMs, stages[at + 1]?.begunMs ?? endedMs),
      })),
      seconds: Math.round((endedMs - begun) / 1000),
    };
  } finally {
    if (!o.keep) {
      o.print("\n━━ Everything is taken down again");
      pulumi?.remove();
      await labDown(o.dir, { keepLogs: false, progress: progressTo((line) => o.print(`   ${line}`)) });
      // The reports and what the guests wrote down: the next demo begins with nothing.
      rmSync(o.dir, { recursive: true, force: true });
    }
  }
}

async function closingFacts(
  lab: LabDescription,
  instances: number,
  guests: Guests,
  checked: CheckResult,
): Promise<Omit<DemoFacts, "stages" | "seconds">> {
  const written = guests.written();
  const problems = [
    ...checked.errors,
    ...checked.problems.map(
      (problem) => `${problem.kind}: ${problem.instance} ${problem.device} ${problem.file}: ${problem.detail}`,
    ),
    // What was never written can't be missed by the comparison above.
    ...Object.entries(wanted).flatMap(([device, stages]) =>
      stages.flatMap((stage) => {
        const instancesWith = written.filter((crumb) => crumb.device === device && crumb.stage === stage).length;
        return instancesWith === instances ? [] : [`${stage} was written on ${device} of ${instancesWith} instances`];
      }),
    ),
  ];
  const lost = new Set(
    checked.problems.filter(({ kind }) => kind !== "unexpected").map(({ instance, file }) => `${instance} ${file}`),
  );
  const missing = (device: string): number =>
    checked.problems.filter((problem) => problem.device.endsWith(device) && problem.kind !== "unexpected").length;
  const devices = Object.fromEntries(
    Object.entries(wanted).map(([device, stages]) => {
      const expected = stages.length * instances;
      return [device, { expectedPerInstance: stages.length, expected, found: Math.max(0, expected - missing(device)) }];
    }),
  );
  const names = Array.from(
    { length: Math.min(3, instances) },
    (_, at) => `${prefix}${String(at + 1).padStart(Math.max(2, String(instances).length), "0")}`,
  );
  const sample = await Promise.all(
    names.map(async (instance) => ({
      instance,
      files: Object.fromEntries(
        await Promise.all(
          Object.keys(wanted).map(async (device) => [device, await guests.list(device, instance)] as const),
        ),
      ),
    })),
  );
  return {
    verdict: problems.length === 0 ? "passed" : "failed",
    dataPath: lab.dataPath,
    ...(lab.dataPathReason === undefined ? {} : { dataPathReason: lab.dataPathReason }),
    filesystem: lab.filesystem,
    instances,
    devices,
    sample,
    problems,
    switchovers: reportsOf(lab.dir)
      .filter((report) => report.kind === "switchover")
      .map((report) => ({
        direction: `${report.from} → ${report.to}`,
        mode: report.mode,
        ...(report.rtoSeconds === undefined ? {} : { rtoSeconds: report.rtoSeconds }),
        ...(report.rpoSeconds === undefined ? {} : { rpoSeconds: report.rpoSeconds }),
        bytesLost: written
          .filter((crumb) => crumb.writtenAt < report.startedAt && lost.has(`${crumb.instance} ${crumb.file}`))
          .reduce((sum, crumb) => sum + crumb.sizeBytes, 0),
        steps: report.steps.map(({ id, durationSeconds }) => ({
          id,
          ...(durationSeconds === undefined ? {} : { durationSeconds }),
        })),
      })),
  };
}

function reportsOf(dir: string): Report[] {
  const folder = path.join(dir, "reports");
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const names = entries.map((entry) => entry.name).sort();
  return names.map((name) => JSON.parse(readFileSync(path.join(folder, name, "report.json"), "utf8")) as Report);
}

export function closingTable(facts: DemoFacts): string {
  const lines = ["", "What the devices hold at the end (row B7 of the runbook):", ""];
  for (const { instance, files } of facts.sample) {
    lines.push(`  ${instance}`);
    for (const [device, names] of Object.entries(files))
      lines.push(`    ${device}  ${String(names.length).padStart(2)} files  ${names.join(", ")}`);
  }
  lines.push("", `  In total, ${facts.instances} instances:`);
  for (const [device, count] of Object.entries(facts.devices))
    lines.push(`    ${device}  ${count.expectedPerInstance} a device  found ${count.found} of ${count.expected}`);
  lines.push("", "  Switchovers:");
  for (const s of facts.switchovers)
    lines.push(
      `    ${s.direction}  ${s.mode}  RTO ${s.rtoSeconds ?? "–"} s  RPO ${s.rpoSeconds ?? "–"} s  bytes lost ${s.bytesLost}`,
    );
  lines.push("", `  Data path: ${dataPathLine(facts)}`);
  for (const problem of facts.problems.slice(0, 20)) lines.push(`  ✗ ${problem}`);
  lines.push("", `  Verdict: ${facts.verdict}, after ${facts.seconds} s`);
  return lines.join("\n");
}

function howToGoOn(pulumi: LabPulumi): string {
  return [
    "",
    "The lab is kept. To go on by hand, from this folder:",
    "",
    `    . ${pulumi.environmentFile}`,
    `    pulumi stack select ${pulumi.recoveryStack}`,
    "    pulumi config set activeSite idr",
    "    pulumi preview",
    "    pulumi up",
    "",
    "and to end it: npm run lab -- down --dir .lab/demo",
  ].join("\n");
}
