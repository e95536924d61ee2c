import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { machine } from "./machine";
import type { Context } from "./measurement";
import { measurements } from "./measurements";
import { goalsOf, type Results, resultsFile, writePage } from "./page";

/**
 * `npm run bench -- [--quick] [--only 2,3] [--cold] [--json FILE]`: measures, and writes docs/performance.{json,md} with its
 * plots. What isn't measured in this run stays as it is there; a quick run's figures don't take the place of a full one's.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      cold: { type: "boolean", default: false },
      only: { type: "string" },
      json: { type: "string" },
    },
  });
  const { quick, cold } = values;
  const chosen = values.only?.split(",").map(Number) ?? measurements.map(({ number }) => number);
  const unknown = chosen.filter((number) => !measurements.some((one) => one.number === number));
  if (unknown.length > 0)
    throw new Error(`--only ${values.only ?? ""}: needed are some of ${measurements.map((one) => one.number).join()}.`);
  const abort = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => abort.abort(new Error(name)));

  const began = Date.now();
  const say = (line: string): void =>
    console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(5)} s  ${line}`);
  const measured: Results = {};
  for (const measurement of measurements) {
    const { number, title } = measurement;
    if (!chosen.includes(number)) continue;
    abort.signal.throwIfAborted();
    const missing = measurement.missing?.({ quick, cold });
    say(`━━ ${number}. ${title}${missing === undefined ? "" : `: left out, ${missing}`}`);
    if (missing !== undefined) continue;
    const scratch = mkdtempSync(path.join(os.tmpdir(), "cheesecake-bench-"));
    const ctx: Context = { quick, cold, scratch, signal: abort.signal, say: (line) => say(`   ${line}`) };
    const begun = Date.now();
    const entry = { quick, measuredAt: new Date(begun).toISOString(), machine: machine() };
    try {
      const result = await measurement.run(ctx);
      measured[number] = { ...entry, seconds: Math.round((Date.now() - begun) / 1000), result };
    } catch (error) {
      abort.signal.throwIfAborted();
      const failed = error instanceof Error ? (error.stack ?? error.message) : String(error);
      say(`   failed: ${failed}`);
      process.exitCode = 1;
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
  // As JSON has it, so that the page is made of what is in the file.
  const results = JSON.parse(JSON.stringify(measured)) as Results;
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  await writePage(results);
  for (const { number } of measurements)
    for (const { text, met } of goalsOf(number, results)) say(`${met ? "met    " : "NOT MET"} ${number}. ${text}`);
  say(`${resultsFile}, and docs/performance.md of it`);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
