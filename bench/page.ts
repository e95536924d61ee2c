/** docs/performance.md and its plots, of docs/performance.json alone. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { format } from "prettier";
import { projectRoot } from "../lab/pulumi";
import type { Machine } from "./machine";
import type { Goal } from "./measurement";
import { measurements } from "./measurements";

export interface Entry {
  readonly quick: boolean;
  readonly measuredAt: string;
  readonly seconds: number;
  readonly machine: Machine;
  readonly result: unknown;
}

/** By the measurement's number. */
export type Results = Record<number, Entry>;

const docs = path.join(projectRoot, "docs");
const plots = path.join(docs, "performance");
export const resultsFile = path.join(docs, "performance.json");

export function goalsOf(number: number, results: Results): readonly Goal[] {
  const entry = results[number];
  return entry === undefined ? [] : (measurements.find((one) => one.number === number)?.goals(entry.result) ?? []);
}

export const formerResults = (): Results =>
  existsSync(resultsFile) ? (JSON.parse(readFileSync(resultsFile, "utf8")) as Results) : {};

/** Of what was measured before, too: that stays where this run has nothing, or less. */
export async function writePage(measured: Results): Promise<void> {
  const before = formerResults();
  const kept = Object.entries(before).filter(([number, { quick }]) => !quick || measured[Number(number)] === undefined);
  const better = Object.entries(measured).filter(
    ([number, { quick }]) => !quick || before[Number(number)]?.quick !== false,
  );
  const results: Results = { ...Object.fromEntries(kept), ...Object.fromEntries(better) };
  const options = { printWidth: 120 };
  writeFileSync(resultsFile, await format(JSON.stringify(results), { ...options, parser: "json" }));
  const page = pageOf(results);
  mkdirSync(plots, { recursive: true });
  for (const stale of readdirSync(plots)) rmSync(path.join(plots, stale));
  for (const [name, svg] of Object.entries(page.plots)) writeFileSync(path.join(plots, `${name}.svg`), svg);
  writeFileSync(path.join(docs, "performance.md"), await format(page.markdown, { ...options, parser: "markdown" }));
}

export function pageOf(results: Results): {
  readonly markdown: string;
  readonly plots: Readonly<Record<string, string>>;
} {
  const plotsOfAll: Record<string, string> = {};
  const sections = measurements.map((measurement) => {
    const { number, title } = measurement;
    const heading = `## ${number}. ${title}`;
    const entry = results[number];
    if (entry === undefined) return `${heading}\n\nNot measured yet.`;
    const { markdown, plots: own = {} } = measurement.render(entry.result);
    Object.assign(plotsOfAll, own);
    return `${heading}\n\n${markdown.trim()}\n\n${provenance(entry)}`;
  });
  const goals = measurements.flatMap(({ number }) =>
    goalsOf(number, results).map(({ text, met }) => `| ${number} | ${met ? "met" : "**not met**"} | ${text} |`),
  );
  const markdown = `# Performance

Written by \`npm run bench\` from [performance.json](performance.json), which it writes, too; nothing here is written by
hand. \`npm run bench -- --quick\` takes some three minutes, \`--only 2,3\` measures these alone.

| No. | Goal | What was measured |
| --- | --- | --- |
${goals.join("\n")}

How it's measured: on one machine in one run, and what is compared is compared in that run, since seconds of one machine
say little about another. What is repeated is given as median (least–most). Counts, of calls, rows or bytes, are
preferred to times wherever they say it. Delays "as in production" are those of the embedded lab: 40 ms for each call of
an API, 2 s for a detach, 3 s for an attach, 5 s for a stop, 10 s for a start, 100 MiB/s for SnapMirror.

${sections.join("\n\n")}
`;
  return { markdown, plots: plotsOfAll };
}

function provenance({ quick, measuredAt, seconds, machine }: Entry): string {
  const { cpu, cores, memoryGiB, kernel, node, pulumi, commit, load } = machine;
  return `_${quick ? "A quick run. " : ""}Measured ${measuredAt.slice(0, 16).replace("T", " ")} UTC at ${commit} in ${seconds} s, on ${cores} cores of ${cpu} with ${memoryGiB} GiB, ${kernel}, Node.js ${node}, Pulumi ${pulumi}; load before it ${load}._`;
}
