import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";
import { type Layout } from "./files";
import { LAB_VARIABLE, lastLines, mainPid, readService, type ServiceId } from "./service-manager";

/** Tells what was done and when, in seconds since the start. */
export type Progress = (message: string) => void;

export function progressTo(write: (line: string) => void): Progress {
  const startMs = Date.now();
  return (message) => write(`${((Date.now() - startMs) / 1000).toFixed(1).padStart(6)} s  ${message}`);
}

const run = promisify(execFile);

/**
 * Runs a tool of the lab; its output goes to logs/control/<name>.log. It carries the lab's marker, so that `down` ends
 * it too. Secrets go in by `env`, never by `args`.
 */
export async function runTool(
  layout: Layout,
  name: string,
  program: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<void> {
  const log = layout.log("control", name);
  fs.mkdirSync(path.dirname(log), { recursive: true });
  const options = {
    env: {
      PATH: `${path.dirname(program)}:/usr/sbin:/usr/bin:/sbin:/bin`,
      PYTHONWARNINGS: "ignore",
      ...env,
      [LAB_VARIABLE]: layout.dir,
    },
    maxBuffer: 64 << 20,
  };
  try {
    const { stdout, stderr } = await run(program, args, options);
    fs.appendFileSync(log, stdout + stderr);
  } catch (error) {
    const { stdout = "", stderr = "", code } = error as { stdout?: string; stderr?: string; code?: unknown };
    fs.appendFileSync(log, stdout + stderr);
    throw new Error(
      `${path.basename(program)} ${args.filter((arg) => !arg.startsWith("/")).join(" ")} failed (${String(code)}). ` +
        `The end of ${log}:\n${lastLines(log, 15)}`,
      { cause: error },
    );
  }
}

/** Repeats the probe until it's true. A service that has died meanwhile ends the wait at once, with its log's end. */
export async function waitUntil(
  layout: Layout,
  what: string,
  probe: () => Promise<boolean>,
  watched: readonly ServiceId[],
  timeoutMs = 120_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    if (await probe().catch(() => false)) return;
    const dead = watched.filter((id) => mainPid(layout.dir, id) === undefined);
    if (dead.length > 0 || Date.now() > deadline) {
      const shown = dead.length > 0 ? dead : watched;
      const logs = shown.map((id) => readService(layout.dir, id).log);
      const why = dead.length > 0 ? `${dead.map(({ host, name }) => `${host}/${name}`).join(", ")} ended` : "timed out";
      throw new Error(
        `Waiting until ${what}: ${why}. The lab stays as it is; see below, then \`up\` again or \`down\`.` +
          logs.map((log) => `\nThe end of ${log}:\n${lastLines(log, 15)}`).join(""),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
