import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { WrittenBreadcrumb } from "../guest/guest";
import { runGuest } from "../guest/main";
import type { LabDescription } from "../lab";
import { projectRoot } from "../pulumi";

/** What the guests wrote and find, by their own commands: by the connection that Nova has. */
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
    return [
      process.execPath,
      "-r",
      "ts-node/register/transpile-only",
      path.join(projectRoot, "lab", "guest", "main.ts"),
      ...this.breadcrumbArguments(devices, stage),
    ];
  }

  async format(device: string): Promise<void> {
    await this.run(this.ofAll("mkfs", "--device", device));
  }

  async breadcrumb(devices: readonly string[], stage: string): Promise<void> {
    await this.run(this.breadcrumbArguments(devices, stage));
  }

  async check(): Promise<CheckResult> {
    const lines = await this.run(this.ofAll("check", "--expected", this.record, "--json"), true);
    return JSON.parse(lines.at(-1) ?? "") as CheckResult;
  }

  async list(device: string, instance: string): Promise<string[]> {
    const one = ["--lab", this.lab.dir, "--instance", instance];
    const lines = await this.run(["list", ...one, "--device", device, "--json"], true);
    const outcomes = JSON.parse(lines.join("\n")) as { result?: { name: string }[] }[];
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

  private breadcrumbArguments(devices: readonly string[], stage: string): string[] {
    return this.ofAll("breadcrumb", "--device", devices.join(","), "--stage", stage, "--record", this.record);
  }

  private ofAll(verb: string, ...more: string[]): string[] {
    return [verb, "--lab", this.lab.dir, "--all", this.prefix, ...more];
  }

  /** In this process, as a new one for each takes longer than what it does. Returns the lines that it printed. */
  private async run(args: readonly string[], anyCode = false): Promise<string[]> {
    const lines: string[] = [];
    const errors: string[] = [];
    const code = await runGuest(args, { out: (line) => lines.push(line), err: (line) => errors.push(line) });
    if (code !== 0 && !(anyCode && lines.length > 0))
      throw new Error(`The guests' command failed (${code}):\n${errors.join("\n").slice(-3000)}`);
    return lines;
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
