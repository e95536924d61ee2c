import { spawn } from "node:child_process";
import { childEnvironment } from "../child-environment";
import { messageOf } from "../errors";
import type { HookOutcome } from "../switchover/ports";
import { Tail } from "./tail";

/**
 * Runs an operator's command without a shell, with a deadline, after which its whole process group ends with it. What came
 * of it is told, and the last of its output, without the secrets.
 */
export function runCommand(o: {
  readonly command: readonly string[];
  readonly timeoutSeconds: number;
  readonly env: Readonly<Record<string, string>>;
  /** For its standard input. */
  readonly input?: string;
  /** That its output may not show. */
  readonly secrets?: readonly string[];
  /** It's killed then, as at its deadline. */
  readonly signal?: AbortSignal;
}): Promise<HookOutcome> {
  const [program, ...args] = o.command;
  const begunMs = performance.now();
  return new Promise((resolve) => {
    const child = spawn(program ?? "", args, {
      env: { ...childEnvironment(), ...o.env },
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    const tail = new Tail(o.secrets ?? []);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => tail.add(text));
    }
    // One that doesn't read its input has it closed in the middle.
    child.stdin.on("error", () => undefined);
    child.stdin.end(o.input ?? "");
    let killed: "timedOut" | "cutOff" | undefined;
    const kill = (why: typeof killed): void => {
      killed ??= why;
      endGroup(child.pid);
      // What left the group may hold them open for ever.
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
    };
    const timer = setTimeout(() => kill("timedOut"), o.timeoutSeconds * 1000);
    const cutOff = (): void => kill("cutOff");
    o.signal?.addEventListener("abort", cutOff, { once: true });
    if (o.signal?.aborted === true) cutOff();
    const ended = (how: Omit<HookOutcome, "durationSeconds" | "output">): void => {
      clearTimeout(timer);
      o.signal?.removeEventListener("abort", cutOff);
      const output = tail.text();
      const durationSeconds = Math.round((performance.now() - begunMs) / 100) / 10;
      resolve({ ...how, durationSeconds, ...(output === "" ? {} : { output }) });
    };
    child.on("error", (error) => ended({ passed: false, said: `it couldn't be started (${messageOf(error)})` }));
    child.on("close", (code, signal) => {
      if (killed === "cutOff") ended({ passed: false, said: "it was killed before its end", cutOff: true });
      else if (killed === "timedOut")
        ended({ passed: false, said: `it didn't end within ${o.timeoutSeconds} s and was killed`, timedOut: true });
      else if (code === null) ended({ passed: false, said: `it ended with ${signal ?? "no status"}` });
      else ended({ passed: code === 0, said: `it ended with status ${code}`, exitCode: code });
    });
  });
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody of it is left.
  }
}
