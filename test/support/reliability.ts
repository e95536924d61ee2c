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

const page = ({ faultCases, crashPoints }: Reliability): string => `# Made to fail

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
}`;
