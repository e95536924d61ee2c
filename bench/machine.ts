import { execFileSync } from "node:child_process";
import os from "node:os";
import { projectRoot } from "../lab/pulumi";

/** What the figures depend on besides the program. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly pulumi: string;
  readonly commit: string;
  /** Processes that wanted to run beside it, on average of the minute before. */
  readonly load: number;
}

export function machine(): Machine {
  const told = (program: string, ...args: string[]): string => {
    try {
      return execFileSync(program, args, {
        cwd: projectRoot,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }).trim();
    } catch {
      return "unknown";
    }
  };
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model ?? "unknown",
    cores: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
    pulumi: told("pulumi", "version"),
    commit: told("git", "rev-parse", "--short", "HEAD"),
    load: Math.round((os.loadavg()[0] ?? 0) * 10) / 10,
  };
}
