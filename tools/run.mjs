// Runs one of the project's TypeScript programs on the toolchain that tools/setup.mjs provides:
//   node tools/run.mjs [--need all|part,…] -- <script.ts> [arguments …]
// The program sees Node 24, pulumi and the system tools on PATH, and these variables:
//   CINDER_CHEESECAKE_PYTHON        interpreter with the OpenStack services
//   CINDER_CHEESECAKE_PULUMI_BIN    folder with pulumi and its hosts
//   CINDER_CHEESECAKE_PULUMI_HOME   a PULUMI_HOME with the OpenStack plugin, to link to (not to write to)
//   CINDER_CHEESECAKE_BENCH_BIN     folder with the command lines and Ansible that are measured against
//   CINDER_CHEESECAKE_TOOLCHAIN     all paths, as JSON (what `node tools/setup.mjs --json` prints)
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { cacheFolder, ensureToolchain, parseArguments, SetupError } from "./setup.mjs";

/** The environment for programs that use the toolchain; only what was asked for is in it. */
export function environmentFor(toolchain, env = process.env) {
  const searchPath = [
    toolchain.nodeModules && path.join(toolchain.nodeModules, ".bin"),
    toolchain.pulumiBinDir,
    env.PATH,
    toolchain.system && "/usr/sbin:/sbin", // servers live there, and it isn't on every user's PATH
  ];
  const added = {
    PATH: searchPath.filter(Boolean).join(path.delimiter),
    PULUMI_SKIP_UPDATE_CHECK: "1",
    // Every `up` starts Pulumi's program and provider anew: most of that is compiling what was compiled before.
    NODE_COMPILE_CACHE: env.NODE_COMPILE_CACHE ?? path.join(cacheFolder(env), "node"),
    TS_NODE_TRANSPILE_ONLY: env.TS_NODE_TRANSPILE_ONLY ?? "true", // types are checked once, by `npm run types`
    CINDER_CHEESECAKE_TOOLCHAIN: JSON.stringify(toolchain),
    CINDER_CHEESECAKE_PYTHON: toolchain.python,
    CINDER_CHEESECAKE_PULUMI_BIN: toolchain.pulumiBinDir,
    CINDER_CHEESECAKE_PULUMI_HOME: toolchain.pulumiHome,
    CINDER_CHEESECAKE_BENCH_BIN: toolchain.benchBinDir,
  };
  return { ...env, ...Object.fromEntries(Object.entries(added).filter(([, value]) => value !== undefined)) };
}

/**
 * What a program really needs of "all": an embedded lab, the demo's default, has no OpenStack, and does without programs
 * that can't be installed; a lab that is only looked at or taken down needs nothing of its own. Quick measurements are of
 * embedded labs alone.
 */
export function needOf(need, [script = "", ...args]) {
  const folder = path.basename(path.dirname(script));
  if (folder === "lab" && ["status", "down"].includes(args[0])) return ["node_modules"];
  if (folder === "bench" && args.includes("--quick")) return ["node_modules", "pulumi", "embedded"];
  const { values } = parseArgs({ args, options: { flavour: { type: "string" } }, strict: false });
  const embedded = (values.flavour ?? (folder === "demo" ? "embedded" : "openstack")) === "embedded";
  return need.flatMap((part) => (part === "all" && embedded ? ["node_modules", "pulumi", "embedded"] : [part]));
}

/** Waits for a child as if this process were it: signals go on to it, and its end becomes ours. */
export function become(child) {
  // A terminal sends Ctrl-C to the whole group itself; sent on, it would arrive twice.
  const passOn = process.stdin.isTTY ? ["SIGTERM", "SIGHUP"] : ["SIGTERM", "SIGHUP", "SIGINT"];
  const handlers = ["SIGTERM", "SIGHUP", "SIGINT"].map((name) => {
    const handler = () => passOn.includes(name) && child.kill(name);
    process.on(name, handler);
    return [name, handler];
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      handlers.forEach(([name, handler]) => process.off(name, handler));
      resolve(code ?? 128 + os.constants.signals[signal]);
    });
  });
}

async function main() {
  const { need, rest } = parseArguments(process.argv.slice(2));
  if (rest.length === 0)
    throw new SetupError("Nothing to run: node tools/run.mjs [--need a,b] -- <script.ts> [arguments …]");
  const toolchain = await ensureToolchain({ need: ["node_modules", ...needOf(need, rest)] });
  const child = spawn(toolchain.node, ["-r", "ts-node/register", ...rest], {
    stdio: "inherit",
    env: environmentFor(toolchain),
  });
  process.exitCode = await become(child);
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) {
  main().catch((error) => {
    process.stderr.write(error instanceof SetupError ? `${error.message}\n` : `${error.stack}\n`);
    process.exitCode = 1;
  });
}
