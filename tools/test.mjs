// Runs the tests: node tools/test.mjs [level …] [--with LEVEL] [--jobs N] [--json FILE]; without a level, those that need
// no real OpenStack. `--with` adds one to them. The last line printed is "N passed, N failed, N skipped" for all of them;
// the exit code is 0 only if something ran and nothing failed. A skipped test must say why (test/support/skip.ts), or it
// counts as failed.
//
// A job is one mocha process: a level (Pulumi's mocks are global to a process), or, of levels that bring labs up, one file
// or folder. `--jobs` of them run side by side, 2 where absent, the longest first.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { environmentFor } from "./run.mjs";
import { ensureToolchain, SetupError } from "./setup.mjs";

// What each needs to be set up. Contract tests start MariaDB, RabbitMQ, NetApp's client, and cinder-manage of former
// releases.
export const LEVELS = {
  unit: ["node_modules"],
  contract: ["node_modules", "system", "python", "python-older"],
  scenario: ["node_modules", "pulumi", "embedded"],
  pulumi: ["node_modules", "pulumi", "system"],
  openstack: ["all"],
  full: ["all"],
};
const BY_DEFAULT = ["unit", "contract", "scenario", "pulumi"];
const SPLIT = ["scenario", "openstack", "full"];
/** Jobs that take minutes; a long one that begins last would run alone. */
const LONGEST_FIRST = [
  "openstack/outages",
  "openstack/switchover",
  "openstack/hazards",
  "openstack/roots",
  "scenario/outages",
  "scenario/switchover",
  "contract",
  "pulumi",
];

const projectRoot = path.resolve(import.meta.dirname, "..");

/**
 * Runs the levels and prints as they run: of several jobs side by side each line with the job's name before it.
 * @param {string[]} levels keys of LEVELS
 * @param {{root?: string, jobs?: number, print?: (line: string) => void,
 *   toolchain?: (need: string[]) => Promise<object>}} [options]
 *   root: where test/<level>/ and node_modules are
 * @returns {Promise<{passed: number, failed: number, skipped: number, failures: string[], hazards: object[], ok: boolean}>}
 *   failures: each in full, printed again at the end, where the tail of a long output shows them
 *   hazards: rows that the tests recorded (test/openstack/hazards/support.ts), printed as a table after their job
 */
export async function runLevels(levels, options = {}) {
  const { root = projectRoot, jobs: atOnce = 2, print = (line) => console.log(line) } = options;
  const prepare = oneByOne(options.toolchain ?? ((need) => ensureToolchain({ need, root })));
  const jobs = levels.flatMap((level) => jobsOf(level, root));
  for (const level of levels) {
    const files = jobs.filter((job) => job.level === level).flatMap((job) => job.files).length;
    print(files === 0 ? `${level}: no tests yet` : `${level}: ${files} files`);
  }
  const total = { passed: 0, failed: 0, skipped: 0, failures: [], hazards: [] };
  const waiting = jobs.toSorted((a, b) => rank(a) - rank(b));
  const lane = async () => {
    for (let job = waiting.shift(); job !== undefined && !stopped.by; job = waiting.shift()) {
      const { name } = job;
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
      total.failures.push(...failures);
      total.passed += result.passed;
      total.failed += failures.length;
      total.skipped += reasoned.length;
      print(`${name}: ${summary({ passed: result.passed, failed: failures.length, skipped: reasoned.length })}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  if (stopped.by) process.exit(128 + os.constants.signals[stopped.by]);
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
        env: {
          ...environmentFor(toolchain),
          CHEESECAKE_TEST_RESULT: resultFile,
          CHEESECAKE_TEST_HAZARDS: hazardsFile,
        },
      },
    );
    const hazards = rowsOf(hazardsFile);
    if (!fs.existsSync(resultFile))
      return { ...nothing, hazards, problems: [`mocha ended with ${ended} before it had a result`] };
    const result = JSON.parse(fs.readFileSync(resultFile, "utf8"));
    // mocha's exit code is the number of failures, so anything else says that it broke afterwards.
    const expected = Math.min(result.failed.length, 255);
    return {
      ...result,
      hazards,
      problems: ended === expected ? [] : [`mocha ended with ${ended} after ${result.failed.length} failures`],
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

/** The signal that told us to end. */
const stopped = { by: undefined };

/**
 * Runs a program in a process group of its own and prints its lines; ends the whole group with it, or when we are told to
 * end.
 */
function runInGroup(program, args, { cwd, env, print }) {
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
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", async (code, signal) => {
      killGroup(stopped.by ? "SIGKILL" : "SIGTERM"); // what a test has left behind
      handlers.forEach(([name, handler]) => process.off(name, handler));
      // What it printed last is read yet; a process that left the group may hold the pipe for ever.
      await Promise.race([Promise.all(outputs), sleep(1_000)]);
      child.stdout.destroy();
      child.stderr.destroy();
      resolve(code ?? signal);
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
    const jobs = Number(values.jobs ?? 2);
    if (!Number.isInteger(jobs) || jobs < 1) throw new Error(`--jobs ${values.jobs}: a number from 1 on is needed`);
    return { levels: [...new Set([...named, ...values.with])], jobs, jsonFile: values.json };
  } catch (error) {
    throw new SetupError(error.message, { cause: error });
  }
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
