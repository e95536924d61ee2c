import { DrError } from "../errors";
import { type CommandRunner, failed, succeed } from "./runner";

export interface UnitState {
  /** True for anything but "no process of it is left": also while it starts or stops. */
  readonly active: boolean;
  /** Nothing starts it: no reboot, no dependency, no restart policy. */
  readonly masked: boolean;
}

/** How services are operated on one host. Every method is safe to repeat. */
export interface ServiceManager {
  /** Of each unit, in the same order, by as few commands as the manager allows. Throws `config` for one that isn't there. */
  states(units: readonly string[]): Promise<readonly UnitState[]>;
  stop(unit: string): Promise<void>;
  mask(unit: string): Promise<void>;
  unmask(unit: string): Promise<void>;
  start(unit: string): Promise<void>;
  restart(unit: string): Promise<void>;
  /** Where its output goes when no log file is configured. */
  markOutput(unit: string): Promise<string>;
  readOutputSince(unit: string, mark: string): Promise<string>;
}

/** cinder-volume may take its TimeoutStopSec, and a container its grace period, before it is killed. */
const operateTimeoutMs = 300_000;

// -------------------------------------------------------------------------------------------------------------- systemd

const dropIn = "99-cinder-cheesecake-masked.conf";

/** `systemctl mask` refuses units whose file lies in /etc/systemd/system: there a drop-in says that it mustn't start. */
const dropInScript = `set -eu
d="/etc/systemd/system/$1.d"
mkdir -p -- "$d"
printf '[Unit]\\nAssertPathExists=/nonexistent/masked-by-cinder-cheesecake\\n' > "$d/${dropIn}"
sync -- "$d/${dropIn}"
systemctl daemon-reload
`;
const dropInRemovalScript = `set -eu
f="/etc/systemd/system/$1.d/${dropIn}"
[ ! -e "$f" ] || { rm -f -- "$f"; systemctl daemon-reload; }
`;

export class SystemdManager implements ServiceManager {
  constructor(
    private readonly runner: CommandRunner,
    private readonly where: string,
  ) {}

  async states(units: readonly string[]): Promise<readonly UnitState[]> {
    return (await this.statesIfThere(units)).map((state, at) => {
      if (state === undefined) throw noSuch(this.where, "unit", units[at] ?? "");
      return state;
    });
  }

  /** Undefined where there is no such unit. */
  async statesIfThere(units: readonly string[]): Promise<readonly (UnitState | undefined)[]> {
    const properties = "LoadState,ActiveState,MainPID,TasksCurrent,DropInPaths";
    const text = await this.systemctl("show", `--property=${properties}`, ...units);
    // A paragraph for each, in the order asked for.
    const paragraphs = text.trim().split("\n\n");
    assertAll(this.where, "systemctl show", units, paragraphs);
    return paragraphs.map(stateIn);
  }

  async stop(unit: string): Promise<void> {
    await this.systemctl("stop", unit);
  }

  /** Persistent, not --runtime: a reboot in the middle of a switchover must not start the site that is left. */
  async mask(unit: string): Promise<void> {
    const argv = ["systemctl", "mask", "--", unit];
    const result = await this.runner.run(argv);
    if (result.code === 0) return;
    if (!/already exists/.test(result.stderr)) throw failed(this.where, argv, result);
    await succeed(this.runner, this.where, ["sh", "-c", dropInScript, "sh", unit]);
  }

  async unmask(unit: string): Promise<void> {
    await succeed(this.runner, this.where, ["sh", "-c", dropInRemovalScript, "sh", unit]);
    await this.systemctl("unmask", unit);
  }

  async start(unit: string): Promise<void> {
    // A unit that failed too often in a row would refuse.
    await this.runner.run(["systemctl", "reset-failed", "--", unit]);
    await this.systemctl("start", unit);
  }

  async restart(unit: string): Promise<void> {
    await this.systemctl("restart", unit);
  }

  async markOutput(unit: string): Promise<string> {
    const text = await succeed(this.runner, this.where, [
      "journalctl",
      `--unit=${unit}`,
      "--lines=0",
      "--show-cursor",
      "--no-pager",
      "--quiet",
    ]);
    const cursor = /^-- cursor: (\S+)$/m.exec(text)?.[1];
    return cursor ?? "";
  }

  async readOutputSince(unit: string, mark: string): Promise<string> {
    const since = mark === "" ? [] : [`--after-cursor=${mark}`];
    return succeed(this.runner, this.where, [
      "journalctl",
      `--unit=${unit}`,
      ...since,
      "--lines=5000",
      "--output=short-iso",
      "--no-pager",
      "--quiet",
    ]);
  }

  private systemctl(verb: string, ...args: readonly string[]): Promise<string> {
    const options = args.filter((word) => word.startsWith("--"));
    const units = args.slice(options.length);
    return succeed(this.runner, this.where, ["systemctl", verb, ...options, "--", ...units], {
      timeoutMs: operateTimeoutMs,
    });
  }
}

function stateIn(properties: string): UnitState | undefined {
  const value = (key: string): string => new RegExp(`^${key}=(.*)$`, "m").exec(properties)?.[1] ?? "";
  if (value("LoadState") === "not-found" || value("LoadState") === "") return undefined;
  const tasks = Number(value("TasksCurrent")); // "[not set]" without a control group; 2^64-1 in some versions
  const processes = Number.isSafeInteger(tasks) && tasks > 0;
  return {
    active:
      !["inactive", "failed"].includes(value("ActiveState")) || !["0", ""].includes(value("MainPID")) || processes,
    masked: value("LoadState") === "masked" || value("DropInPaths").includes(dropIn),
  };
}

// ---------------------------------------------------------------------------------------------------------------- kolla

/**
 * Containers of kolla-ansible. Up to 2023.1 Docker's restart policy keeps them up (`unless-stopped`); later releases
 * leave that to a systemd unit `kolla-<container>-container.service`, which would start a stopped container again: there
 * that unit is masked and stopped too.
 */
export class KollaManager implements ServiceManager {
  private readonly systemd: SystemdManager;

  constructor(
    private readonly runner: CommandRunner,
    private readonly where: string,
    private readonly engine: "docker" | "podman",
  ) {
    this.systemd = new SystemdManager(runner, where);
  }

  async states(containers: readonly string[]): Promise<readonly UnitState[]> {
    const lines = await this.inspect(containers);
    const units = await this.systemd.statesIfThere(containers.map(unitFor));
    return containers.map((_, at) => {
      const [status = "", pid = "", policy = ""] = (lines[at] ?? "").split(" ");
      const runs = !["created", "exited", "dead", "configured", "stopped"].includes(status) || pid !== "0";
      const unpoliced = ["no", ""].includes(policy);
      const unit = units[at];
      if (unit === undefined) return { active: runs, masked: unpoliced };
      return { active: runs || unit.active, masked: unpoliced && unit.masked };
    });
  }

  /** A line for each. */
  private async inspect(containers: readonly string[]): Promise<readonly string[]> {
    const argv = [
      this.engine,
      "inspect",
      "--format={{.State.Status}} {{.State.Pid}} {{.HostConfig.RestartPolicy.Name}}",
      ...containers,
    ];
    const result = await this.runner.run(argv);
    if (result.code === 0) {
      const lines = result.stdout.toString("utf8").trimEnd().split("\n");
      assertAll(this.where, `${this.engine} inspect`, containers, lines);
      return lines;
    }
    const said = /^.*no such (object|container).*$/im.exec(result.stderr)?.[0] ?? "";
    const [missing] = containers.filter((name) => said.includes(name)).sort((a, b) => b.length - a.length);
    if (missing !== undefined) throw noSuch(this.where, "container", missing);
    throw failed(this.where, argv, result);
  }

  async mask(container: string): Promise<void> {
    const unit = await this.unitOf(container);
    if (unit !== undefined) await this.systemd.mask(unit);
    else await this.operate("update", "--restart=no", container);
  }

  async stop(container: string): Promise<void> {
    const unit = await this.unitOf(container);
    if (unit !== undefined) await this.systemd.stop(unit);
    await this.operate("stop", container);
  }

  async unmask(container: string): Promise<void> {
    const unit = await this.unitOf(container);
    if (unit !== undefined) await this.systemd.unmask(unit);
    else await this.operate("update", "--restart=unless-stopped", container);
  }

  async start(container: string): Promise<void> {
    const unit = await this.unitOf(container);
    if (unit !== undefined) await this.systemd.start(unit);
    else await this.operate("start", container);
  }

  async restart(container: string): Promise<void> {
    const unit = await this.unitOf(container);
    if (unit !== undefined) await this.systemd.restart(unit);
    else await this.operate("restart", container);
  }

  async markOutput(): Promise<string> {
    return (await succeed(this.runner, this.where, ["date", "+%s"])).trim();
  }

  async readOutputSince(container: string, mark: string): Promise<string> {
    const argv = [this.engine, "logs", `--since=${mark}`, container];
    const result = await this.runner.run(argv);
    if (result.code !== 0) throw failed(this.where, argv, result);
    return result.stdout.toString("utf8") + result.stderr;
  }

  private async unitOf(container: string): Promise<string | undefined> {
    const unit = unitFor(container);
    const [state] = await this.systemd.statesIfThere([unit]);
    return state === undefined ? undefined : unit;
  }

  private async operate(...args: readonly string[]): Promise<void> {
    await succeed(this.runner, this.where, [this.engine, ...args], { timeoutMs: operateTimeoutMs });
  }
}

const unitFor = (container: string): string => `kolla-${container}-container.service`;

// --------------------------------------------------------------------------------------------------------------- custom

export interface CustomCommands {
  readonly start: readonly string[];
  readonly stop: readonly string[];
  readonly mask: readonly string[];
  readonly unmask: readonly string[];
  /** Exit code 0 = yes, 3 = no; anything else is an error. */
  readonly isActive: readonly string[];
  readonly isMasked: readonly string[];
}

export class CustomManager implements ServiceManager {
  constructor(
    private readonly runner: CommandRunner,
    private readonly where: string,
    private readonly commands: CustomCommands,
  ) {}

  async states(services: readonly string[]): Promise<readonly UnitState[]> {
    const questions = services.flatMap((service) => [this.argv("isActive", service), this.argv("isMasked", service)]);
    const codes = await this.runner.exitCodes(questions);
    const answers = await Promise.all(
      questions.map(async (argv, at) => (codes[at] === 0 || codes[at] === 3 ? codes[at] === 0 : await this.ask(argv))),
    );
    return services.map((_, at) => ({ active: answers[2 * at] === true, masked: answers[2 * at + 1] === true }));
  }

  stop(service: string): Promise<void> {
    return this.tell("stop", service);
  }
  mask(service: string): Promise<void> {
    return this.tell("mask", service);
  }
  unmask(service: string): Promise<void> {
    return this.tell("unmask", service);
  }
  start(service: string): Promise<void> {
    return this.tell("start", service);
  }
  async restart(service: string): Promise<void> {
    await this.tell("stop", service);
    await this.tell("start", service);
  }

  markOutput(service: string): Promise<string> {
    return Promise.reject(this.noLog(service));
  }
  readOutputSince(service: string): Promise<string> {
    return Promise.reject(this.noLog(service));
  }

  private noLog(service: string): DrError {
    return new DrError({
      code: "config",
      attempted: `Read the log of ${service} on ${this.where}`,
      seen: "services under custom commands have no log unless their logFile is configured",
      remedy: "Configure logFile for this unit",
    });
  }

  private argv(verb: keyof CustomCommands, service: string): string[] {
    return this.commands[verb].map((word) => word.replaceAll("{service}", () => service));
  }

  private async tell(verb: keyof CustomCommands, service: string): Promise<void> {
    await succeed(this.runner, this.where, this.argv(verb, service), {
      timeoutMs: operateTimeoutMs,
      leavesProcesses: true,
    });
  }

  /** Again by itself, for what it says where it fails. */
  private async ask(argv: readonly string[]): Promise<boolean> {
    const result = await this.runner.run(argv);
    if (result.code === 0 || result.code === 3) return result.code === 0;
    throw failed(this.where, argv, result);
  }
}

/** Answers are told apart by their order alone: one too many, or too few, and a unit would be taken for another. */
function assertAll(where: string, command: string, asked: readonly string[], answers: readonly string[]): void {
  if (answers.length !== asked.length)
    throw new DrError({
      code: "remote",
      attempted: `Look at ${asked.join(", ")} on ${where}`,
      seen: `${command} answered for ${answers.length} of ${asked.length}: ${answers.join(" / ").slice(0, 300)}`,
      state: "Nothing was changed",
      remedy: "See what that account's shell prints besides, and that every name is one unit's own, without a wildcard",
    });
}

const noSuch = (where: string, kind: string, name: string): DrError =>
  new DrError({
    code: "config",
    attempted: `Look at the ${kind} ${name} on ${where}`,
    seen: `there is no such ${kind}`,
    remedy: "Correct the unit's name in the site pair's configuration",
  });
