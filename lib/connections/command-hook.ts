import { spawn } from "node:child_process";
import { childEnvironment } from "../child-environment";
import { DrError, messageOf } from "../errors";

const tailBytes = 4_000;

/**
 * Runs an operator's command without a shell, with a deadline; its whole process group ends with it. The last lines of
 * its output are in the error, so a hook must not print secrets.
 */
export function runCommandHook(hook: {
  readonly name: string;
  readonly command: readonly string[];
  readonly timeoutSeconds: number;
  readonly env: Readonly<Record<string, string>>;
}): Promise<void> {
  const [program, ...args] = hook.command;
  const attempted = `Run hook "${hook.name}"`;
  return new Promise((resolve, reject) => {
    const child = spawn(program ?? "", args, {
      env: { ...childEnvironment(), ...hook.env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    let tail = "";
    const keep = (chunk: Buffer): void => {
      tail = (tail + chunk.toString()).slice(-tailBytes);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }, hook.timeoutSeconds * 1000);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(
        new DrError({
          code: "precondition",
          attempted,
          seen: messageOf(error),
          remedy: "Correct the hook's command, then run again.",
        }),
      );
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve();
      const how = timedOut
        ? `it didn't end within ${hook.timeoutSeconds} s`
        : `it ended with ${signal ?? `status ${code ?? "?"}`}`;
      reject(
        new DrError({
          code: timedOut ? "wait-timeout" : "failure-state",
          attempted,
          seen: tail.trim() === "" ? how : `${how}; its last output: ${tail.trim()}`,
          remedy: "Repair what it does, or take it out of the hooks; then run again: the hook runs again.",
        }),
      );
    });
  });
}
