/** Numbers of what was made to fail, in docs/reliability.json; docs/reliability.md is made of it. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { format } from "prettier";

export interface Count {
  readonly passed: number;
  readonly failed: number;
}

export interface Reliability {
  /** Calls of the engine that failed (test/full/faults.spec.ts). */
  readonly faultCases?: Count & {
    readonly seed: number;
    readonly cases: readonly FaultRow[];
    readonly journeys: Readonly<Record<string, number>>;
  };
  /** Runs that were cut off (test/unit/switchover/crash-matrix.spec.ts). */
  readonly crashPoints?: Count & { readonly plans: readonly (Count & { readonly plan: string })[] };
  /** What operators get wrong (test/support/bad-input.ts), counted by tools/test.mjs. */
  readonly badInputs?: Count & { readonly areas: readonly (Count & { readonly area: string })[] };
  /** Switchovers with faults and kills at random (test/full/stress.spec.ts). */
  readonly stressRuns?: StressRuns;
}

export interface StressRuns extends Count {
  /** The first and the last. */
  readonly seeds: readonly [number, number];
  /** Of the whole, undisturbed journeys that a round is compared with included. */
  readonly minutes: number;
  /** Rounds, by their journeys. */
  readonly rounds: Readonly<Record<string, number>>;
  /** Processes of the engine: begun, killed, ended with an error. */
  readonly runs: { readonly begun: number; readonly killed: number; readonly stopped: number };
  /** Rounds, by how many faults they met and how often they were killed. */
  readonly disturbed: readonly { readonly faults: number; readonly kills: number; readonly rounds: number }[];
  readonly faults: readonly { readonly kind: string; readonly drawn: number; readonly met: number }[];
  /** Kills, by the step that they hit. */
  readonly kills: Readonly<Record<string, number>>;
}

/** Cases of one kind of fault at one system. */
export interface FaultRow {
  readonly system: string;
  readonly kind: string;
  readonly completed: number;
  /** Stopped with an error; the next up completed it. */
  readonly stopped: number;
  readonly failed: number;
}

const docs = path.resolve(__dirname, "..", "..", "docs");
const json = path.join(docs, "reliability.json");

/** With CHEESECAKE_WRITE_DOCS set; what other tests wrote stays. */
export async function tellReliability(numbers: Reliability): Promise<void> {
  if (process.env["CHEESECAKE_WRITE_DOCS"] === undefined) return;
  const before = existsSync(json) ? (JSON.parse(readFileSync(json, "utf8")) as Reliability) : {};
  const all: Reliability = { ...before, ...numbers };
  const options = { printWidth: 120 };
  writeFileSync(json, await format(JSON.stringify(all), { ...options, parser: "json" }));
  writeFileSync(path.join(docs, "reliability.md"), await format(page(all), { ...options, parser: "markdown" }));
}

/** Kinds of faults by systems: cases, those that stopped first in brackets. */
export function faultTable(rows: readonly FaultRow[]): string {
  const systems = [...new Set(rows.map(({ system }) => system))].sort();
  const lines = [...new Set(rows.map(({ kind }) => kind))].map((kind) => [
    kind,
    ...systems.map((system) => {
      const row = rows.find((one) => one.system === system && one.kind === kind);
      if (row === undefined) return "–";
      const { completed, stopped, failed } = row;
      return `${completed + stopped + failed} (${stopped})${failed > 0 ? `, ${failed} failed` : ""}`;
    }),
  ]);
  return table(["fault", ...systems], lines);
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

const page = ({ faultCases, crashPoints, badInputs, stressRuns }: Reliability): string => `# Made to fail

Written by \`CHEESECAKE_WRITE_DOCS=1\` and the tests that are named. The figures are in
[reliability.json](reliability.json), too. Of switchovers killed at random moments there is [a page of its own](kill-nine.md).
${
  faultCases === undefined
    ? ""
    : `
## Calls that fail

\`test/full/faults.spec.ts\`, seed ${faultCases.seed}, on the embedded lab: **${faultCases.passed} passed, ${faultCases.failed} failed**. Cases are made of
recordings: a call that changes something meets every fault at every step of every journey that makes it, one that only
reads meets each of them once. Journeys: ${Object.entries(faultCases.journeys)
        .map(([name, count]) => `${name} ${count}`)
        .join("; ")}.

A case passes where \`up\` completes, or stops with an error that names step, object, what was seen, the state of things
and what to do, and the next \`up\` completes (in brackets); each time with the end state, the bytes and the changes of a
journey without a fault, none of them twice; with no LUN writable and mapped at both sites at any time; and after a
restart of cinder-volume, over which NetApp's driver looks after its mirrors, wherever a run stopped.

${faultTable(faultCases.cases)}

\`ontap-from\` is the site that is left, \`ontap-to\` the other one.
`
}${
  crashPoints === undefined
    ? ""
    : `
## Runs that are cut off

\`test/unit/switchover/crash-matrix.spec.ts\`, in memory: **${crashPoints.passed} passed, ${crashPoints.failed} failed**. Each plan is cut off before
each call, after it, and after its entry in the journal; the run that resumes it is cut off, too; the next one completes it.

${table(
  ["plan", "points"],
  crashPoints.plans.map(({ plan, passed, failed }) => [plan, `${passed}${failed > 0 ? `, ${failed} failed` : ""}`]),
)}
`
}${
  badInputs === undefined
    ? ""
    : `
## Bad input

\`test/unit\` and \`test/contract\`: **${badInputs.passed} passed, ${badInputs.failed} failed**. What operators get wrong: each case is refused with a
message that names what is at fault and what to do, all faults at once, no secret in it; and nothing has changed.

${table(
  ["area", "cases"],
  badInputs.areas.map(({ area, passed, failed }) => [
    area,
    `${passed + failed}${failed > 0 ? `, ${failed} failed` : ""}`,
  ]),
)}
`
}${
  stressRuns === undefined
    ? ""
    : `
## Switchovers with faults and kills at random

\`test/full/stress.spec.ts\`, seeds ${stressRuns.seeds.join(" to ")}, on the embedded lab, in ${stressRuns.minutes} minutes: **${stressRuns.passed} passed,
${stressRuns.failed} failed**. Each seed is a round: ${listOf(stressRuns.rounds)}. Up to three faults
and two kills are drawn for each: which call meets which fault, at which of its times and how often; and when the process
that runs the engine gets SIGKILL. \`up\` is run again until it's done: ${stressRuns.runs.begun} processes, of which ${stressRuns.runs.killed} were killed and
${stressRuns.runs.stopped} stopped with an error. \`CHEESECAKE_STRESS_SEED=17 CHEESECAKE_STRESS_ROUNDS=1\` repeats one round alone.

A round passes where every disk holds the bytes that were written to it last, none another disk's; \`verify\` proves the
end; everything that a journey may change is as after undisturbed ones; no change took effect more often than in an
undisturbed one, and no item of a step was carried out twice; nothing is open, locked, masked or waiting in a queue; and,
planned, nothing was lost, and at none of five looks a second a LUN was writable and mapped at both sites. A run stops only
where it met a fault, and its error tells step, object, what was seen and the state of things.

${stressTables(stressRuns)}
`
}`;

const listOf = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join("; ");

/** Rounds by faults and kills, faults by kind, kills by step. */
export function stressTables({ disturbed, faults, kills }: StressRuns): string {
  const most = (of: "faults" | "kills"): number[] => [
    ...Array(1 + Math.max(0, ...disturbed.map((one) => one[of]))).keys(),
  ];
  const rounds = (met: number, killed: number): number =>
    disturbed.find((one) => one.faults === met && one.kills === killed)?.rounds ?? 0;
  return [
    table(
      ["rounds that met", ...most("kills").map((count) => `killed ${count} times`)],
      most("faults").map((met) => [`${met} faults`, ...most("kills").map((killed) => String(rounds(met, killed)))]),
    ),
    table(
      ["fault", "drawn", "met"],
      faults.map(({ kind, drawn, met }) => [kind, String(drawn), String(met)]),
    ),
    table(
      ["killed in", "times"],
      Object.entries(kills).map(([step, count]) => [step, String(count)]),
    ),
  ].join("\n\n");
}

/** By tools/test.mjs, which runs without a loader. */
if (require.main === module) void tellReliability(JSON.parse(process.argv[2] ?? "{}") as Reliability);
