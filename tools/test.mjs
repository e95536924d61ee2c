// Runs the tests: node tools/test.mjs [level …]; without one, all but `full`, which takes hours. One mocha process for
// each level (Pulumi's mocks are global to a process), one after another. The last line printed is "N passed, N failed, N skipped" for all of them; the exit code is 0 only if
// something ran and nothing failed. A skipped test must say why (test/support/skip.ts), or it counts as failed.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { environmentFor } from "./run.mjs";
import { ensureToolchain, SetupError } from "./setup.mjs";

// In the order of running, with what each needs to be set up. Contract tests start MariaDB, RabbitMQ and NetApp's client.
export const LEVELS = {
  unit: ["node_modules"],
  contract: ["node_modules", "system", "python"],
  scenario: ["node_modules", "system", "python"],
  pulumi: ["node_modules", "pulumi", "system"],
  openstack: ["all"],
  full: ["all"],
};
const ordinary = Object.keys(LEVELS).filter((level) => level !== "full");

const projectRoot = path.resolve(import.meta.dirname, "..");

/**
 * Runs the levels and prints as they run.
 * @param {string[]} levels keys of LEVELS
 * @param {{root?: string, print?: (line: string) => void, toolchain?: (need: string[]) => Promise<object>}} [options]
 *   root: where test/<level>/ and node_modules are
 * @returns {Promise<{passed: number, failed: number, skipped: number, ok: boolean}>}
 */
export async function runLevels(levels, options = {}) {
  const { root = projectRoot, print = console.log } = options;
  const prepare = options.toolchain ?? ((need) => ensureToolchain({ need, root }));
  const total = { passed: 0, failed: 0, skipped: 0 };
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
    unexplained.forEach(({ title }) => print(`failed: ${title}: skipped without a reason (use test/support/skip.ts)`));
    result.problems.forEach((problem) => print(`failed: ${level}: ${problem}`));
    total.passed += result.passed;
    total.failed += result.failed + unexplained.length + result.problems.length;
    total.skipped += reasoned.length;
    print(
      `${level}: ${summary({ ...result, failed: result.failed + unexplained.length + result.problems.length, skipped: reasoned.length })}`,
    );
  }
  return { ...total, ok: total.failed === 0 && total.passed > 0 };
}

export const summary = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

/** Problems are what makes a level fail beside its failed tests: no toolchain, a crash, no result. */
async function runLevel(level, files, { root, prepare }) {
  const nothing = { passed: 0, failed: 0, skipped: [] };
  let toolchain;
  try {
    toolchain = await prepare(LEVELS[level]);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    return { ...nothing, problems: [error.message] };
  }
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "cheesecake-test-"));
  const resultFile = path.join(scratch, "result.json");
  try {
    const ended = await runInGroup(
      toolchain.node,
      [
        path.join(root, "node_modules", "mocha", "bin", "mocha.js"),
        "--reporter",
        path.join(import.meta.dirname, "mocha-reporter.cjs"),
        ...files,
      ],
      { cwd: root, env: { ...environmentFor(toolchain), CHEESECAKE_TEST_RESULT: resultFile } },
    );
    if (!fs.existsSync(resultFile))
      return { ...nothing, problems: [`mocha ended with ${ended} before it had a result`] };
    const result = JSON.parse(fs.readFileSync(resultFile, "utf8"));
    // mocha's exit code is the number of failures, so anything else says that it broke afterwards.
    const expected = Math.min(result.failed, 255);
    return {
      ...result,
      problems: ended === expected ? [] : [`mocha ended with ${ended} after ${result.failed} failures`],
    };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
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

async function main() {
  const levels = process.argv.slice(2);
  const unknown = levels.filter((level) => !(level in LEVELS));
  if (unknown.length > 0)
    throw new SetupError(
      `There is no test level ${unknown.join(", ")}: name any of ${Object.keys(LEVELS).join(", ")}.`,
    );
  const total = await runLevels(levels.length > 0 ? levels : ordinary);
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
