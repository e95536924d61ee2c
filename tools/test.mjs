// Runs the tests: node tools/test.mjs [level …] [--with LEVEL] [--json FILE]; without a level, those that need no real
// OpenStack. `--with` adds one to them. One mocha process for each level (Pulumi's mocks are global to a process), one
// after another. The last line printed is "N passed, N failed, N skipped" for all of them; the exit code is 0 only if
// something ran and nothing failed. A skipped test must say why (test/support/skip.ts), or it counts as failed.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { environmentFor } from "./run.mjs";
import { ensureToolchain, SetupError } from "./setup.mjs";

// In the order of running, with what each needs to be set up. Contract tests start MariaDB, RabbitMQ, NetApp's client, and
// cinder-manage of former releases.
export const LEVELS = {
  unit: ["node_modules"],
  contract: ["node_modules", "system", "python", "python-older"],
  scenario: ["node_modules", "pulumi", "embedded"],
  pulumi: ["node_modules", "pulumi", "system"],
  openstack: ["all"],
  full: ["all"],
};
const BY_DEFAULT = ["unit", "contract", "scenario", "pulumi"];

const projectRoot = path.resolve(import.meta.dirname, "..");

/**
 * Runs the levels and prints as they run.
 * @param {string[]} levels keys of LEVELS
 * @param {{root?: string, print?: (line: string) => void, toolchain?: (need: string[]) => Promise<object>}} [options]
 *   root: where test/<level>/ and node_modules are
 * @returns {Promise<{passed: number, failed: number, skipped: number, failures: string[], hazards: object[], ok: boolean}>}
 *   failures: a line for each, printed again at the end, where the tail of a long output shows them
 *   hazards: rows that the tests recorded (test/openstack/hazards/support.ts), printed as a table after their level
 */
export async function runLevels(levels, options = {}) {
  const { root = projectRoot, print = console.log } = options;
  const prepare = options.toolchain ?? ((need) => ensureToolchain({ need, root }));
  const total = { passed: 0, failed: 0, skipped: 0, failures: [], hazards: [] };
  for (const level of levels) {
    const files = specFiles(path.join(root, "test", level)).map((file) => path.relative(root, file));
    if (files.length === 0) {
      print(`${level}: no tests yet`);
      continue;
    }
    print(`${level}: ${files.length} files`);
    const result = await runLevel(level, files, { root, prepare });
    const reasoned = result.skipped.filter(({ reason }) => reason);
    reasoned.forEach(({ title, reason }) => print(`skipped: ${title}: ${reason}`));
    const unexplained = result.skipped.filter(({ reason }) => !reason);
    const failures = [
      ...result.failed.map(({ title, reason }) => `${title}: ${beginningOf(reason)}`),
      ...unexplained.map(({ title }) => `${title}: skipped without a reason (use test/support/skip.ts)`),
      ...result.problems.map((problem) => `${level}: ${problem}`),
    ];
    if (result.hazards?.length > 0) tableOf(result.hazards).forEach((line) => print(line));
    total.hazards.push(...(result.hazards ?? []));
    total.failures.push(...failures);
    total.passed += result.passed;
    total.failed += failures.length;
    total.skipped += reasoned.length;
    print(`${level}: ${summary({ passed: result.passed, failed: failures.length, skipped: reasoned.length })}`);
  }
  total.failures.forEach((failure) => print(`failed: ${failure}`));
  return { ...total, ok: total.failed === 0 && total.passed > 0 };
}

function beginningOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > 300 ? `${line.slice(0, 300)} …` : line;
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

/** Problems are what makes a level fail beside its failed tests: no toolchain, a crash, no result. */
async function runLevel(level, files, { root, prepare }) {
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
        ...files,
      ],
      {
        cwd: root,
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

/** Runs a program in a process group of its own, and ends the whole group with it, or when we are told to end. */
function runInGroup(program, args, { cwd, env }) {
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ["ignore", "inherit", "inherit"] });
  const killGroup = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  };
  let stoppedBy;
  const handlers = ["SIGINT", "SIGTERM", "SIGHUP"].map((name) => {
    const handler = () => {
      stoppedBy = name;
      killGroup("SIGTERM");
      setTimeout(() => killGroup("SIGKILL"), 10_000).unref();
    };
    process.on(name, handler);
    return [name, handler];
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      killGroup(stoppedBy ? "SIGKILL" : "SIGTERM"); // what a test has left behind
      handlers.forEach(([name, handler]) => process.off(name, handler));
      if (stoppedBy) process.exit(128 + os.constants.signals[stoppedBy]);
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
      options: { with: { type: "string", multiple: true, default: [] }, json: { type: "string" } },
      allowPositionals: true,
    });
    const named = positionals.length > 0 ? positionals : BY_DEFAULT;
    return { levels: [...new Set([...named, ...values.with])], jsonFile: values.json };
  } catch (error) {
    throw new SetupError(error.message, { cause: error });
  }
}

async function main() {
  const { levels, jsonFile } = parseLevels(process.argv.slice(2));
  const unknown = levels.filter((level) => !(level in LEVELS));
  if (unknown.length > 0)
    throw new SetupError(
      `There is no test level ${unknown.join(", ")}: name any of ${Object.keys(LEVELS).join(", ")}.`,
    );
  const total = await runLevels(levels);
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
