/** One switchover by `pulumi up`, and what its report, its journal and the lab's recorders tell of it. */
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import type { LabDescription } from "../lab/lab";
import type { LabPulumi } from "../lab/pulumi";
import type { Report } from "../lib/switchover";
import type { JournalEntry } from "../lib/switchover/journal";
import { type CallCounts, Calls } from "./calls";
import { type Peaks, watchMemory } from "./memory";

export interface StepTime {
  readonly id: string;
  /** From the beginning of the switchover. */
  readonly fromSeconds: number;
  readonly toSeconds: number;
}

/** Of one instance, from the beginning of the switchover. */
export interface InstanceTimes {
  readonly name: string;
  /** Intent and outcome of what is done with it, by step. */
  readonly steps: Readonly<Record<string, { readonly fromSeconds: number; readonly toSeconds: number }>>;
}

export interface Journey {
  readonly to: string;
  readonly instances: number;
  readonly volumes: number;
  /** Of `pulumi up`. */
  readonly wallSeconds: number;
  /** From the journal's first entry to its last one. */
  readonly engineSeconds: number;
  readonly steps: readonly StepTime[];
  readonly perInstance: readonly InstanceTimes[];
  readonly calls: CallCounts;
  readonly memory: Peaks;
}

/** What is done with each instance, in this order; what lies between two of these is done with all at once. */
export const instanceSteps = [
  "hold/lock-instances",
  "quiesce/stop-instances",
  "detach/volumes",
  "attach/volumes",
  "start/instances",
  "start/unlock-instances",
] as const;

/** @throws Error where `up` fails, or its report says anything else than that it's completed. */
export async function journey(lab: LabDescription, pulumi: LabPulumi, to: string): Promise<Journey> {
  await pulumi.set(pulumi.recoveryStack, "activeSite", to);
  const calls = await Calls.begin(lab);
  const memory = watchMemory(pulumi);
  const began = Date.now();
  try {
    await pulumi.up(pulumi.recoveryStack);
  } finally {
    memory.stop();
    await calls.stop();
  }
  const wallSeconds = (Date.now() - began) / 1000;
  const { report, entries } = lastSwitchover(lab);
  if (report.verdict !== "completed" || report.to !== to)
    throw new Error(`The switchover to ${to} isn't completed: ${report.verdict}, to ${report.to}.`);
  return {
    to,
    instances: report.servers.length,
    volumes: report.servers.reduce((sum, { attachments }) => sum + attachments.length, 0),
    wallSeconds,
    engineSeconds: report.durationSeconds,
    steps: stepTimes(entries),
    perInstance: instanceTimes(entries, report),
    calls: calls.counts(),
    memory: memory.peaks(),
  };
}

function lastSwitchover(lab: LabDescription): { report: Report; entries: JournalEntry[] } {
  const folder = path.join(lab.dir, "reports");
  const reports = readdirSync(folder, { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? [one.name] : []));
  const report = JSON.parse(readFileSync(path.join(folder, reports.sort().at(-1) ?? "", "report.json"), "utf8")) as Report; // prettier-ignore
  const lines = readFileSync(path.join(folder, `${report.switchoverId}.jsonl`), "utf8")
    .trim()
    .split("\n");
  return { report, entries: lines.map((line) => JSON.parse(line) as JournalEntry) };
}

function stepTimes(entries: readonly JournalEntry[]): StepTime[] {
  const since = clockFrom(entries);
  const begun = new Map<string, number>();
  return entries.flatMap((entry): StepTime[] => {
    if (entry.type !== "step") return [];
    const seconds = since(entry.at);
    if (entry.event === "begin") begun.set(entry.step, seconds);
    return entry.event === "end"
      ? [{ id: entry.step, fromSeconds: begun.get(entry.step) ?? seconds, toSeconds: seconds }]
      : [];
  });
}

function instanceTimes(entries: readonly JournalEntry[], report: Report): InstanceTimes[] {
  const since = clockFrom(entries);
  const at = new Map<string, number>();
  for (const entry of entries)
    if (entry.type === "intent" || entry.type === "done")
      at.set(`${entry.type} ${entry.step} ${entry.item}`, since(entry.at));
  return report.servers.map(({ id, name }) => ({
    name,
    steps: Object.fromEntries(
      instanceSteps.flatMap((step) => {
        const fromSeconds = at.get(`intent ${step} ${id}`);
        const toSeconds = at.get(`done ${step} ${id}`);
        return fromSeconds === undefined || toSeconds === undefined
          ? []
          : [[step, { fromSeconds, toSeconds }] as const];
      }),
    ),
  }));
}

function clockFrom(entries: readonly JournalEntry[]): (at: string) => number {
  const began = Date.parse(entries[0]?.at ?? "");
  return (at) => (Date.parse(at) - began) / 1000;
}
