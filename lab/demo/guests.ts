import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { WrittenBreadcrumb } from "../guest/guest";
import type { LabDescription } from "../lab";
import { projectRoot } from "../pulumi";

/** What the guests wrote and find, through their own command line: by the connection that Nova has. */
export class Guests {
  /** What was written, with its digest: what has to be found at the end. */
  readonly record: string;

  constructor(
    private readonly lab: LabDescription,
    private readonly prefix: string,
  ) {
    this.record = path.join(lab.dir, "breadcrumbs.jsonl");
  }

  /** As a command for hooks and for an operator's shell. */
  breadcrumbCommand(devices: readonly string[], stage: string): string[] {
    return this.command("breadcrumb", "--device", devices.join(","), "--stage", stage, "--record", this.record);
  }

  async format(device: string): Promise<void> {
    await this.run(this.command("mkfs", "--device", device));
  }

  async breadcrumb(devices: readonly string[], stage: string): Promise<void> {
    await this.run(this.breadcrumbCommand(devices, stage));
  }

  async check(): Promise<CheckResult> {
    const { stdout } = await this.run(this.command("check", "--expected", this.record, "--json"), true);
    const last = stdout.trim().split("\n").at(-1) ?? "";
    return JSON.parse(last) as CheckResult;
  }

  async list(device: string, instance: string): Promise<string[]> {
    const { stdout } = await this.run(
      [...this.base(), "list", "--lab", this.lab.dir, "--instance", instance, "--device", device, "--json"],
      true,
    );
    const outcomes = JSON.parse(stdout) as { result?: { name: string }[] }[];
    return outcomes.flatMap((outcome) => (outcome.result ?? []).map((file) => file.name));
  }

  /** What was written, in its order. */
  written(): WrittenBreadcrumb[] {
    if (!existsSync(this.record)) return [];
    const lines = readFileSync(this.record, "utf8").split("\n");
    return lines
      .filter((line) => line !== "")
      .flatMap((line) => JSON.parse(line) as { result?: WrittenBreadcrumb }[])
      .flatMap(({ result }) => result ?? []);
  }

  private base(): string[] {
    return [
      process.execPath,
      "-r",
      "ts-node/register/transpile-only",
      path.join(projectRoot, "lab", "guest", "main.ts"),
    ];
  }

  private command(verb: string, ...args: string[]): string[] {
    return [...this.base(), verb, "--lab", this.lab.dir, "--all", this.prefix, ...args];
  }

  private run(command: readonly string[], anyCode = false): Promise<{ stdout: string }> {
    return new Promise((resolve, reject) => {
      const [program, ...args] = command;
      const child = spawn(program ?? "", args, { cwd: projectRoot, stdio: ["ignore", "pipe", "pipe"] });
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
      child.on("error", reject);
      child.on("close", (code) => {
        if (code === 0 || (anyCode && stdout !== "")) resolve({ stdout });
        else reject(new Error(`The guests' command failed (${code ?? "signal"}):\n${stderr.slice(-3000)}`));
      });
    });
  }
}

export interface CheckResult {
  readonly devices: number;
  readonly files: number;
  readonly problems: readonly {
    readonly kind: string;
    readonly instance: string;
    readonly device: string;
    readonly file: string;
    readonly detail: string;
  }[];
  readonly errors: readonly string[];
}
