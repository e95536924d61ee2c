// Runs the tests: node tools/test.mjs [level …] [--with LEVEL] [--jobs N] [--json FILE]; without a level, those that need
// no real OpenStack. `--with` adds one to them. The last line printed is "N passed, N failed, N skipped" for all of them;
// the exit code is 0 only if something ran and nothing failed. A skipped test must say why (test/support/skip.ts), or it
// counts as failed.
//
// A job is one mocha process: a level (Pulumi's mocks are global to a process), or, of levels that bring labs up, one file
// or folder. `--jobs` of them run side by side, the longest first.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { parseArgs, promisify } from "node:util";

import { environmentFor } from "./run.mjs";
import { ensureToolchain, SetupError } from "./setup.mjs";

// What each needs to be set up. Contract tests start MariaDB, RabbitMQ, NetApp's client, cinder-manage of former releases,
// and a browser.
export const LEVELS = {
  unit: ["node_modules"],
  contract: ["node_modules", "system", "python", "python-older", "browser"],
  scenario: ["node_modules", "pulumi", "embedded"],
  pulumi: ["node_modules", "pulumi", "system"],
  openstack: ["all"],
  full: ["all"],
};
const BY_DEFAULT = ["unit", "contract", "scenario", "pulumi"];
const SPLIT = ["scenario", "openstack", "full"];
/** Jobs that take minutes: a long one that begins last would run alone. Those with a real OpenStack not all at once. */
const LONGEST_FIRST = [
  "openstack/outages",
  "scenario/outages",
  "openstack/switchover",
  "contract",
  "openstack/hazards",
  "scenario/cli",
  "scenario/switchover",
  "openstack/roots",
  "scenario/faults",
  "unit",
  "scenario/hazards",
  "pulumi",
  "scenario/stress",
];
/** Most of the time a job with a lab waits: three keep two cores busy. */
const JOBS = 3;

const projectRoot = path.resolve(import.meta.dirname, "..");

/**
 * Runs the levels and prints as they run: of several jobs side by side each line with the job's name before it.
 * @param {string[]} levels keys of LEVELS
 * @param {{root?: string, jobs?: number, print?: (line: string) => void,
 *   toolchain?: (need: string[]) => Promise<object>}} [options]
 *   root: where test/<level>/ and node_modules are
 * @returns {Promise<{passed: number, failed: number, skipped: number, failures: string[], hazards: object[],
 *   badInputs: {area: string, passed: boolean}[], incomplete: Set<string>, ok: boolean}>}
 *   failures: each in full, printed again at the end, where the tail of a long output shows them
 *   hazards: rows that the tests recorded (test/openstack/hazards/support.ts), printed as a table after their job
 *   badInputs: one for each case (test/support/bad-input.ts), printed as a table at the end
 *   incomplete: levels of which something was skipped, or a job broke
 */
export async function runLevels(levels, options = {}) {
  const { root = projectRoot, jobs: atOnce = JOBS, print = (line) => console.log(line) } = options;
  const prepare = oneByOne(options.toolchain ?? ((need) => ensureToolchain({ need, root })));
  const jobs = levels.flatMap((level) => jobsOf(level, root));
  for (const level of levels) {
    const files = jobs.filter((job) => job.level === level).flatMap((job) => job.files).length;
    print(files === 0 ? `${level}: no tests yet` : `${level}: ${files} files`);
  }
  const total = { passed: 0, failed: 0, skipped: 0, failures: [], hazards: [], badInputs: [], incomplete: new Set() };
  const waiting = jobs.toSorted((a, b) => rank(a) - rank(b));
  const lane = async () => {
    for (let job = waiting.shift(); job !== undefined && !stopped.by; job = waiting.shift()) {
      const { name } = job;
      const beganAtMs = Date.now();
      const line = jobs.length > 1 && atOnce > 1 ? (text) => print(`${name} │ ${text}`) : print;
      const result = await runJob(job, { root, prepare, print: line });
      const reasoned = result.skipped.filter(({ reason }) => reason);
      reasoned.forEach(({ title, reason }) => line(`skipped: ${title}: ${reason}`));
      const unexplained = result.skipped.filter(({ reason }) => !reason);
      const failures = [
        ...result.failed.map(({ title, reason }) => `${title}: ${beginningOf(reason)}`),
        ...unexplained.map(({ title }) => `${title}: skipped without a reason (use test/support/skip.ts)`),
        ...result.problems.map((problem) => `${name}: ${problem}`),
      ];
      if (result.hazards?.length > 0) tableOf(result.hazards).forEach((row) => line(row));
      total.hazards.push(...(result.hazards ?? []));
      total.badInputs.push(...(result.badInputs ?? []));
      total.failures.push(...failures);
      if (result.skipped.length + result.problems.length > 0) total.incomplete.add(job.level);
      total.passed += result.passed;
      total.failed += failures.length;
      total.skipped += reasoned.length;
      const counts = summary({ passed: result.passed, failed: failures.length, skipped: reasoned.length });
      if (result.leftOpen) print(`${name}: went on after its tests, by what they left open, and was ended`);
      print(`${name}: ${counts} (${Math.round((Date.now() - beganAtMs) / 1000)} s)`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  if (stopped.by) process.exit(128 + os.constants.signals[stopped.by]);
  if (total.badInputs.length > 0) tableOfBadInputs(total.badInputs).forEach((line) => print(line));
  total.failures.forEach((failure) => print(`failed: ${failure}`));
  return { ...total, ok: total.failed === 0 && total.passed > 0 };
}

const rank = ({ name }) => (LONGEST_FIRST.includes(name) ? LONGEST_FIRST.indexOf(name) : LONGEST_FIRST.length);

function jobsOf(level, root) {
  const folder = path.join(root, "test", level);
  const jobs = new Map();
  for (const file of specFiles(folder)) {
    const [part] = path.relative(folder, file).split(path.sep);
    const name = SPLIT.includes(level) ? `${level}/${part.replace(/\.spec\.ts$/, "")}` : level;
    jobs.set(name, [...(jobs.get(name) ?? []), path.relative(root, file)]);
  }
  return [...jobs].map(([name, files]) => ({ level, name, files }));
}

/** Two set-ups at once would install the same things. */
function oneByOne(work) {
  let last = Promise.resolve();
  return (input) => {
    const result = last.then(() => work(input));
    last = result.catch(() => undefined);
    return result;
  };
}

/** What the services logged stands at the end of it. */
function beginningOf(text) {
  const lines = text.trim().split("\n");
  const more = lines.length > 40 ? [...lines.slice(0, 20), "…", ...lines.slice(-20)] : lines;
  return more.map((line) => (line.length > 300 ? `${line.slice(0, 300)} …` : line)).join("\n  ");
}

/** One hazard a block: its lines are too long for columns. */
function tableOf(hazards) {
  const lines = hazards.flatMap(({ id, behaviour, produced, handled, lost }) => [
    `${id.padEnd(6)} ${behaviour}`,
    `       produced: ${produced}`,
    `       handled:  ${handled}`,
    `       lost:     ${lost}`,
  ]);
  return ["", `hazards met: ${hazards.length}`, ...lines, ""];
}

function countsByArea(badInputs) {
  const areas = [...new Set(badInputs.map(({ area }) => area))].sort();
  return areas.map((area) => {
    const cases = badInputs.filter((one) => one.area === area);
    const passed = cases.filter((one) => one.passed).length;
    return { area, passed, failed: cases.length - passed };
  });
}

function tableOfBadInputs(badInputs) {
  const areas = countsByArea(badInputs);
  const rows = areas.map(({ area, passed, failed }) => [area, passed + failed, passed]);
  const all = [1, 2].map((column) => rows.reduce((sum, row) => sum + row[column], 0));
  const lines = [["bad input", "cases", "passed"], ...rows, ["all", ...all]].map(
    ([area, cases, passed]) => `  ${area.padEnd(20)} ${String(cases).padStart(6)} ${String(passed).padStart(7)}`,
  );
  return ["", ...lines, ""];
}

export const summary = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

/** Problems are what makes a job fail beside its failed tests: no toolchain, a crash, no result. */
async function runJob({ level, files }, { root, prepare, print }) {
  const nothing = { passed: 0, failed: [], skipped: [] };
  let toolchain;
  try {
    toolchain = await prepare(LEVELS[level]);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    return { ...nothing, problems: [error.message] };
  }
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "cheesecake-test-"));
  const resultFile = path.join(scratch, "result.json");
  const hazardsFile = path.join(scratch, "hazards.jsonl");
  const badInputsFile = path.join(scratch, "bad-inputs.jsonl");
  try {
    const ended = await runInGroup(
      toolchain.node,
      [
        path.join(root, "node_modules", "mocha", "bin", "mocha.js"),
        "--reporter",
        path.join(import.meta.dirname, "mocha-reporter.cjs"),
        process.stdout.isTTY ? "--color" : "--no-color",
        ...files,
      ],
      {
        cwd: root,
        print,
        isDone: () => fs.existsSync(resultFile),
        env: {
          ...environmentFor(toolchain),
          CHEESECAKE_TEST_RESULT: resultFile,
          CHEESECAKE_TEST_HAZARDS: hazardsFile,
          CHEESECAKE_TEST_BAD_INPUTS: badInputsFile,
        },
      },
    );
    const told = { hazards: rowsOf(hazardsFile), badInputs: rowsOf(badInputsFile) };
    if (!fs.existsSync(resultFile))
      return { ...nothing, ...told, problems: [`mocha ended with ${ended} before it had a result`] };
    const result = JSON.parse(fs.readFileSync(resultFile, "utf8"));
    // mocha's exit code is the number of failures, so anything else says that it broke afterwards.
    const expected = Math.min(result.failed.length, 255);
    return {
      ...result,
      ...told,
      leftOpen: ended === LEFT_OPEN,
      problems: [expected, LEFT_OPEN].includes(ended)
        ? []
        : [`mocha ended with ${ended} after ${result.failed.length} failures`],
    };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

function rowsOf(file) {
  if (!fs.existsSync(file)) return [];
  return fs
    .readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** How a process ended that was done but went on. */
const LEFT_OPEN = "left open";
const LEFT_OPEN_AFTER_MS = 10_000;

/** The signal that told us to end. */
const stopped = { by: undefined };

/**
 * Runs a program in a process group of its own and prints its lines; ends the whole group with it, when we are told to
 * end, or some time after it's done.
 */
function runInGroup(program, args, { cwd, env, print, isDone }) {
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const outputs = [child.stdout, child.stderr].map((stream) => {
    createInterface({ input: stream }).on("line", print);
    return once(stream, "close");
  });
  const killGroup = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  };
  const handlers = ["SIGINT", "SIGTERM", "SIGHUP"].map((name) => {
    const handler = () => {
      stopped.by = name;
      killGroup("SIGTERM");
      setTimeout(() => killGroup("SIGKILL"), 10_000).unref();
    };
    process.on(name, handler);
    return [name, handler];
  });
  let doneAtMs;
  let leftOpen = false;
  const watch = setInterval(() => {
    if (isDone()) doneAtMs ??= Date.now();
    leftOpen = Date.now() > doneAtMs + LEFT_OPEN_AFTER_MS;
    if (leftOpen) killGroup("SIGKILL");
  }, 1_000);
  const unwatch = () => {
    clearInterval(watch);
    handlers.forEach(([name, handler]) => process.off(name, handler));
  };
  return new Promise((resolve, reject) => {
    child.on("error", (error) => {
      unwatch();
      reject(error);
    });
    child.on("exit", async (code, signal) => {
      unwatch();
      killGroup(stopped.by ? "SIGKILL" : "SIGTERM"); // what a test has left behind
      // What it printed last is read yet; a process that left the group may hold the pipe for ever.
      await Promise.race([Promise.all(outputs), sleep(1_000)]);
      child.stdout.destroy();
      child.stderr.destroy();
      resolve(leftOpen ? LEFT_OPEN : (code ?? signal));
    });
  });
}

function specFiles(folder) {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".spec.ts"))
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function parseLevels(args) {
  try {
    const { values, positionals } = parseArgs({
      args,
      options: {
        with: { type: "string", multiple: true, default: [] },
        jobs: { type: "string" },
        json: { type: "string" },
      },
      allowPositionals: true,
    });
    const named = positionals.length > 0 ? positionals : BY_DEFAULT;
    const jobs = Number(values.jobs ?? JOBS);
    if (!Number.isInteger(jobs) || jobs < 1) throw new Error(`--jobs ${values.jobs}: a number from 1 on is needed`);
    return { levels: [...new Set([...named, ...values.with])], jobs, jsonFile: values.json };
  } catch (error) {
    throw new SetupError(error.message, { cause: error });
  }
}

/** The other figures are written by the tests that have them. */
async function writeReliability({ badInputs }) {
  const areas = countsByArea(badInputs);
  const sum = (key) => areas.reduce((total, area) => total + area[key], 0);
  const numbers = { badInputs: { passed: sum("passed"), failed: sum("failed"), areas } };
  const toolchain = await ensureToolchain({ need: ["node_modules"], root: projectRoot });
  const args = ["-r", "ts-node/register", "test/support/reliability.ts", JSON.stringify(numbers)];
  await promisify(execFile)(toolchain.node, args, { cwd: projectRoot, env: environmentFor(toolchain) });
}

async function main() {
  const { levels, jobs, jsonFile } = parseLevels(process.argv.slice(2));
  const unknown = levels.filter((level) => !(level in LEVELS));
  if (unknown.length > 0)
    throw new SetupError(
      `There is no test level ${unknown.join(", ")}: name any of ${Object.keys(LEVELS).join(", ")}.`,
    );
  const total = await runLevels(levels, { jobs });
  if (jsonFile) fs.writeFileSync(jsonFile, `${JSON.stringify(total.hazards, null, 2)}\n`);
  // Only both levels, run whole, have all of the catalogue.
  const whole = ["unit", "contract"].every((level) => levels.includes(level) && !total.incomplete.has(level));
  if (process.env.CHEESECAKE_WRITE_DOCS && whole && total.badInputs.length > 0)
    await writeReliability(total).catch((error) => {
      total.ok = false;
      console.log(`docs/reliability.json isn't written: ${error.message}`);
    });
  process.exitCode = total.ok ? 0 : 1;
  console.log(summary(total));
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) {
  main().catch((error) => {
    console.error(error instanceof SetupError ? error.message : error.stack);
    process.exitCode = 1;
    console.log("0 passed, 1 failed, 0 skipped");
  });
}
