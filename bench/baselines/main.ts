import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { flavours } from "../../lab/lab";
import { machine } from "../machine";
import { formerResults, writePage } from "../page";
import { type BaselineResult, baselines, measureLab, type Size, withRuns } from ".";
import { contenderNames } from "./contenders";
import { productionTiming, VOLUMES_PER_INSTANCE } from "./stage";

/**
 * Measurement 1 alone, at other sizes:
 * `node tools/run.mjs --need all,bench -- bench/baselines/main.ts [--flavour F] [--sizes 10,49] [--repeats N] [--who NAME,…] [--fast] [--write] [--json FILE]`
 * `--fast`: the embedded lab without production's delays. `--write`: what was measured takes its place in docs/performance.*,
 * beside the other lab and other sizes, as all of it together takes hours.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      flavour: { type: "string", default: "embedded" },
      sizes: { type: "string", default: "10" },
      repeats: { type: "string", default: "1" },
      who: { type: "string", default: contenderNames.join(",") },
      fast: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      json: { type: "string" },
    },
  });
  const flavour = flavours.find((name) => name === values.flavour);
  const who = contenderNames.filter((name) => values.who.split(",").includes(name));
  const repeats = Number(values.repeats);
  const sizes = values.sizes.split(",").map((size): Size => ({ instances: Number(size), repeats }));
  if (flavour === undefined || who.length === 0 || sizes.some(({ instances }) => !(instances > 0)) || !(repeats > 0))
    throw new Error(
      `Needed: --flavour ${flavours.join("|")}, --sizes 10,49, --repeats 1, --who ${contenderNames.join(",")}`,
    );
  const abort = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => abort.abort(new Error(name)));
  const scratch = mkdtempSync(path.join(os.tmpdir(), "cheesecake-bench-"));
  const began = Date.now();
  const say = (line: string): void =>
    console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(5)} s  ${line}`);
  const begun = { quick: false, measuredAt: new Date(began).toISOString(), machine: machine() };
  const timing = flavour === "embedded" && !values.fast ? productionTiming : undefined;
  try {
    const runs = await measureLab({ scratch, signal: abort.signal, say }, { flavour, sizes, who, timing });
    const result: BaselineResult = { volumesPerInstance: VOLUMES_PER_INSTANCE, labs: [{ flavour, runs }] };
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
    if (values.write && (timing !== undefined) === (flavour === "embedded")) {
      const { number } = baselines;
      const former = formerResults()[number]?.result as BaselineResult | undefined;
      const seconds = Math.round((Date.now() - began) / 1000);
      await writePage({ [number]: { ...begun, seconds, result: withRuns(former, flavour, runs) } });
    }
    console.log(baselines.render(result).markdown);
    for (const { text, met } of baselines.goals(result)) console.log(`${met ? "met" : "NOT MET"}: ${text}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
