import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { utils } from "ssh2";
import type { LabDescription } from "./lab";
import { pairOfLab, secretsOfLab } from "./pair";
import { readSecret } from "./lab";

export const projectRoot = path.resolve(__dirname, "..");

export interface CommandResult {
  /** -1 where a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  /** Both streams, as they came. */
  readonly output: string;
}

export interface RunOptions {
  readonly quiet?: boolean;
  /** A failure is a result, too. */
  readonly anyCode?: boolean;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Each line as it comes, with the CLI's process id. */
  readonly onLine?: (line: string, pid: number) => void;
}

/**
 * The CLI's own lines, fewer of them: what a provider says without the stack's name before it, resources of the test lab
 * counted instead of listed one by one.
 */
function readable(print: (line: string) => void): (line: string) => void {
  let finished = 0;
  let toldAtMs = Date.now();
  return (line) => {
    if (/^@ (updating|previewing|refreshing|destroying)|provider config warning|^\s*$/.test(line)) return;
    if (/ openstack:\S+ \S+ (creating|updating|deleting)/.test(line)) return;
    if (/ openstack:\S+ \S+ (created|updated|deleted)/.test(line)) {
      finished += 1;
      if (Date.now() - toldAtMs < 10_000) return;
      toldAtMs = Date.now();
      print(` … ${finished} resources so far, the latest:${line.replace(/^ [+~-]+ +/, " ")}`);
      return;
    }
    print(line.replace(/^\s*\+?\s*pulumi:pulumi:Stack \S+ (?:running|creating \(\d+s\)) (?=\S| )/, "    "));
  };
}

/**
 * The Pulumi CLI on a lab's two stacks, as an operator would use it: state in the lab's folder, passphrase in a file of
 * its own. `environmentFile` gives the same surroundings to a shell.
 */
export class LabPulumi {
  /** The pair of sites. */
  readonly recoveryStack: string;
  /** The demo project with its instances. */
  readonly testLabStack: string;
  readonly environmentFile: string;
  private readonly home: string;

  constructor(
    private readonly lab: LabDescription,
    private readonly print: (line: string) => void,
  ) {
    this.recoveryStack = `lab-${lab.slot}`;
    this.testLabStack = `lab-${lab.slot}-guests`;
    this.home = path.join(lab.dir, "pulumi");
    this.environmentFile = path.join(this.home, "environment.sh");
  }

  /** Creates both stacks with their configuration; stacks that are there keep theirs. */
  async init(o: { readonly instances: number }): Promise<void> {
    mkdirSync(path.join(this.home, "state"), { recursive: true });
    const passphrase = path.join(this.home, "passphrase");
    if (!existsSync(passphrase)) writeFileSync(passphrase, randomBytes(18).toString("base64url"), { mode: 0o600 });
    const template = process.env["CINDER_CHEESECAKE_PULUMI_HOME"];
    const plugins = path.join(this.home, "home", "plugins");
    mkdirSync(path.dirname(plugins), { recursive: true });
    if (template !== undefined && !existsSync(plugins)) symlinkSync(path.join(template, "plugins"), plugins);
    writeFileSync(
      this.environmentFile,
      Object.entries(this.environment())
        .map(([name, value]) => `export ${name}='${value.replaceAll("'", `'\\''`)}'\n`)
        .join(""),
      { mode: 0o600 },
    );
    await this.create(
      this.recoveryStack,
      {
        program: "disaster-recovery",
        activeSite: "iprod",
        promotion: "deferred",
        // There and back, again and again.
        minimumSecondsBetweenSwitchovers: 0,
        journalDir: path.join(this.lab.dir, "reports"),
        pair: pairOfLab(this.lab),
      },
      secretsOfLab(this.lab),
    );
    await this.create(
      this.testLabStack,
      {
        program: "test-lab",
        lab: {
          authUrl: this.lab.endpoints.identity,
          region: this.lab.region,
          admin: { username: this.lab.admin.username, project: this.lab.admin.project },
          demo: { username: this.lab.demo.username, project: this.lab.demo.project },
          image: this.lab.image,
          flavor: this.lab.flavor,
          instances: o.instances,
          dataBackendName: pairOfLab(this.lab).name,
          dataVolumeSets: 1,
          publicKey: this.publicKey(),
        },
      },
      { adminPassword: readSecret(this.lab.admin.passwordFile), demoPassword: readSecret(this.lab.demo.passwordFile) },
    );
  }

  configFile(stack: string): string {
    return path.join(projectRoot, "stacks", `Pulumi.${stack}.yaml`);
  }

  async set(stack: string, key: string, value: string): Promise<void> {
    await this.run(["config", "set", "--stack", stack, "--path", key, value], { quiet: true });
  }

  async unset(stack: string, key: string): Promise<void> {
    await this.run(["config", "rm", "--stack", stack, "--path", key], { quiet: true });
  }

  preview(stack: string, ...more: string[]): Promise<CommandResult> {
    return this.run(["preview", "--stack", stack, "--non-interactive", "--diff", "--suppress-outputs", ...more]);
  }

  up(stack: string, ...more: string[]): Promise<CommandResult> {
    const flags = ["--yes", "--skip-preview", "--non-interactive", "--suppress-outputs"];
    // Instances and volumes go with the lab. To write the whole state before and after each of hundreds takes longer than
    // to make them, so it's written at the end.
    const env = stack === this.testLabStack ? { PULUMI_EXPERIMENTAL: "true", PULUMI_SKIP_CHECKPOINTS: "true" } : {};
    return this.run(["up", "--stack", stack, ...flags, ...more], { env });
  }

  async outputs(stack: string): Promise<Record<string, unknown>> {
    const { stdout } = await this.run(["stack", "output", "--stack", stack, "--json"], { quiet: true });
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  /** Takes away both stacks: their files in the checkout, and the state, which knows only what is about to go. */
  remove(): void {
    for (const stack of [this.recoveryStack, this.testLabStack]) rmSync(this.configFile(stack), { force: true });
    rmSync(this.home, { recursive: true, force: true });
  }

  environment(): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "",
      PULUMI_HOME: path.join(this.home, "home"),
      PULUMI_BACKEND_URL: `file://${path.join(this.home, "state")}`,
      PULUMI_CONFIG_PASSPHRASE_FILE: path.join(this.home, "passphrase"),
      PULUMI_SKIP_UPDATE_CHECK: "1",
      PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK: "1",
    };
  }

  /** Throws with the last lines where the command fails, unless `anyCode`. */
  run(args: readonly string[], o: RunOptions = {}): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const child = spawn("pulumi", args, {
        cwd: projectRoot,
        env: { ...process.env, ...this.environment(), ...o.env },
        stdio: [o.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      });
      if (o.input !== undefined) child.stdin?.end(o.input);
      let stdout = "";
      let output = "";
      let rest = "";
      const tail: string[] = [];
      const show = readable(this.print);
      const lines = (chunk: Buffer): void => {
        output += chunk.toString();
        const parts = (rest + chunk.toString()).split("\n");
        rest = parts.pop() ?? "";
        for (const line of parts) {
          tail.push(line);
          if (tail.length > 60) tail.shift();
          if (o.quiet !== true) show(line);
          o.onLine?.(line, child.pid ?? 0);
        }
      };
      child.stdout?.on("data", (chunk: Buffer) => {
        stdout += chunk.toString();
        lines(chunk);
      });
      child.stderr?.on("data", lines);
      child.on("error", reject);
      child.on("close", (code) => {
        if (code === 0 || o.anyCode === true) resolve({ code: code ?? -1, stdout, output });
        else
          reject(
            new Error(
              `pulumi ${args.slice(0, 2).join(" ")} ended with ${code ?? "a signal"}:\n${[...tail, rest].join("\n")}`,
            ),
          );
      });
    });
  }

  private async create(
    stack: string,
    config: Readonly<Record<string, unknown>>,
    secrets: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const { stdout } = await this.run(["stack", "ls", "--json"], { quiet: true });
    const file = this.configFile(stack);
    if ((JSON.parse(stdout) as { name: string }[]).some(({ name }) => name === stack)) {
      if (existsSync(file)) return;
    } else {
      // A file without the stack is of another lab, which had this one's number and was removed by hand.
      rmSync(file, { force: true });
      await this.run(["stack", "init", stack, "--non-interactive", "--no-select"], { quiet: true });
    }
    // Plain settings by file, as an operator would edit it; secrets through standard input, so that no process list shows them.
    const head = existsSync(file) ? readFileSync(file, "utf8") : "";
    const settings = Object.entries(config).map(
      ([key, value]) => `  cinder-cheesecake:${key}: ${JSON.stringify(value)}\n`,
    );
    writeFileSync(file, `${head}config:\n${settings.join("")}`, { mode: 0o600 });
    for (const [key, value] of Object.entries(secrets))
      await this.run(["config", "set", "--stack", stack, "--secret", `cinder-cheesecake:${key}`], {
        quiet: true,
        input: typeof value === "string" ? value : JSON.stringify(value),
      });
  }

  private publicKey(): string {
    return utils.generateKeyPairSync("ed25519", { comment: "guest" }).public;
  }
}
