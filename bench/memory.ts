/** What the processes of one Pulumi command hold at most, by /proc. */
import { readdirSync, readFileSync } from "node:fs";
import type { LabPulumi } from "../lab/pulumi";

/** In MiB. */
export interface Peaks {
  /** Of the process that runs the dynamic providers, and with them the engine. */
  readonly provider: number;
  /** Of the command and all that it started, at one moment. */
  readonly all: number;
}

export interface MemoryWatch {
  stop(): void;
  peaks(): Peaks;
}

export function watchMemory(pulumi: Pick<LabPulumi, "environment">): MemoryWatch {
  const mark = `PULUMI_BACKEND_URL=${pulumi.environment()["PULUMI_BACKEND_URL"] ?? ""}\0`;
  const before = new Set(pids());
  const own = new Set<number>();
  let provider = 0;
  let all = 0;
  const look = (): void => {
    let sum = 0;
    for (const pid of pids()) {
      if (before.has(pid)) continue;
      try {
        // Asked until it's true: what has just been forked has its parent's.
        if (!own.has(pid) && !read(pid, "environ").includes(mark)) continue;
        own.add(pid);
        const status = read(pid, "status");
        sum += mebibytes(status, "VmRSS");
        if (/dynamic-provider/.test(read(pid, "cmdline"))) provider = Math.max(provider, mebibytes(status, "VmHWM"));
      } catch {
        // It has just ended.
      }
    }
    all = Math.max(all, sum);
  };
  const timer = setInterval(look, 100);
  return {
    stop: () => clearInterval(timer),
    peaks: () => ({ provider: Math.round(provider), all: Math.round(all) }),
  };
}

const pids = (): number[] => readdirSync("/proc").map(Number).filter(Number.isInteger);
const read = (pid: number, file: string): string => readFileSync(`/proc/${pid}/${file}`, "utf8");

function mebibytes(status: string, name: string): number {
  const [, kib = "0"] = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status) ?? [];
  return Number(kib) / 1024;
}
