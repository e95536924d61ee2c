import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { skipBecause } from "../../support/skip";

export interface Outcome {
  readonly exitCode: number | null;
  /** stdout and stderr as they came. */
  readonly output: string;
}

/** As in the test projects' Pulumi.yaml; git ignores it. */
const stackConfigDir = path.resolve(__dirname, "../../../.lab/stacks");

interface StateResource {
  readonly urn: string;
  readonly type: string;
  readonly inputs: Record<string, unknown>;
  readonly outputs: Record<string, unknown>;
  readonly initErrors?: readonly string[];
}

/** The real CLI on a project's folder, with a home, a state and a stack configuration of its own. */
export class PulumiProject {
  private readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), "pulumi-test-"));
  /** Unlike any other run's: the stack's configuration stands in the project's `stackConfigDir`. */
  private readonly stack = path.basename(this.folder).toLowerCase();
  private readonly env: NodeJS.ProcessEnv;

  private constructor(private readonly directory: string) {
    const state = path.join(this.folder, "state");
    const home = path.join(this.folder, "home");
    fs.mkdirSync(state);
    fs.mkdirSync(home);
    const template = process.env["CINDER_CHEESECAKE_PULUMI_HOME"];
    if (template !== undefined) fs.symlinkSync(path.join(template, "plugins"), path.join(home, "plugins"));
    const binaries = process.env["CINDER_CHEESECAKE_PULUMI_BIN"] ?? "";
    this.env = {
      ...process.env,
      PATH: [binaries, process.env["PATH"]].join(path.delimiter),
      PULUMI_HOME: home,
      PULUMI_BACKEND_URL: `file://${state}`,
      PULUMI_CONFIG_PASSPHRASE: "for this test only",
      PULUMI_SKIP_UPDATE_CHECK: "1",
      NO_COLOR: "1",
    };
  }

  /** `secrets` are set encrypted; keys may be paths, as `ontapPasswords.iprod`. */
  static async create(
    context: Mocha.Context,
    directory: string,
    config: { readonly plain: Readonly<Record<string, string>>; readonly secrets?: Readonly<Record<string, string>> },
  ): Promise<PulumiProject> {
    if (process.env["CINDER_CHEESECAKE_PULUMI_BIN"] === undefined)
      skipBecause(context, "the Pulumi CLI isn't set up; `node tools/test.mjs pulumi` does it");
    const project = new PulumiProject(directory);
    await project.succeed("stack", "init");
    const entries = [
      ...Object.entries(config.plain).flatMap(([key, value]) => ["--plaintext", `${key}=${value}`]),
      ...Object.entries(config.secrets ?? {}).flatMap(([key, value]) => ["--secret", `${key}=${value}`]),
    ];
    await project.succeed("config", "set-all", "--path", ...entries);
    return project;
  }

  run(...args: string[]): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const child = this.start(...args);
      let output = "";
      for (const stream of [child.stdout, child.stderr])
        stream?.on("data", (chunk: Buffer) => (output += chunk.toString()));
      child.on("error", reject);
      child.on("close", (exitCode) => resolve({ exitCode, output }));
    });
  }

  async succeed(...args: string[]): Promise<string> {
    const { exitCode, output } = await this.run(...args);
    if (exitCode !== 0) throw new Error(`pulumi ${args.join(" ")} ended with ${exitCode}:\n${output}`);
    return output;
  }

  /** Standard input is closed, so nothing can wait for an answer. */
  start(...args: string[]): ChildProcess {
    const initialising = args[0] === "stack" && args[1] === "init";
    const stack = initialising ? [this.stack] : ["--stack", this.stack];
    return spawn("pulumi", ["-C", this.directory, "--non-interactive", ...args, ...stack], {
      env: this.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** The state file as text: what an onlooker could read. */
  stateText(): string {
    const stacks = path.join(this.folder, "state", ".pulumi", "stacks");
    const files = fs
      .readdirSync(stacks, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(`${this.stack}.json`));
    return fs.readFileSync(path.join(stacks, files[0] ?? ""), "utf8");
  }

  resources(): readonly StateResource[] {
    const state = JSON.parse(this.stateText()) as { checkpoint: { latest: { resources?: StateResource[] } } };
    return state.checkpoint.latest.resources ?? [];
  }

  remove(): void {
    fs.rmSync(path.join(stackConfigDir, `Pulumi.${this.stack}.yaml`), { force: true });
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
