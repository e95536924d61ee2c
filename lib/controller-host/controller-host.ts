import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { DrError } from "../errors";
import {
  type CustomCommands,
  CustomManager,
  KollaManager,
  type ServiceManager,
  SystemdManager,
  type UnitState,
} from "./managers";
import { type CommandRunner, LocalRunner, type SshOptions, SshRunner, failed, succeed } from "./runner";

export type ServiceRole = "api" | "scheduler" | "volume" | "backup";

export interface ServiceUnit {
  readonly role: ServiceRole;
  readonly unit: string;
  readonly startedHere: boolean;
  readonly logFile?: string | undefined;
}

export type ControllerServices =
  | { readonly manager: "systemd"; readonly units: readonly ServiceUnit[] }
  | { readonly manager: "kolla"; readonly engine: "docker" | "podman"; readonly units: readonly ServiceUnit[] }
  | { readonly manager: "custom"; readonly commands: CustomCommands; readonly units: readonly ServiceUnit[] };

interface Common {
  readonly name: string;
  readonly cinderConf: string;
  readonly services: ControllerServices;
}
export type ControllerOptions =
  (Common & { readonly kind: "local" }) | (Common & SshOptions & { readonly kind: "ssh" });

export interface FileVersion {
  readonly content: string;
  /** Of the file's bytes, hexadecimal. */
  readonly sha256: string;
}

export interface UnitStatus {
  readonly role: ServiceRole;
  readonly unit: string;
  readonly startedHere: boolean;
  readonly active: boolean;
  readonly masked: boolean;
}

/** How long a unit may take to be gone, or to be there, after its manager has said that it's done. */
const settleTimeoutMs = 60_000;
const pollMs = 500;
const maxLogBytes = 1024 * 1024;

/** One controller host. Files are read and written by programs every controller has (sh, coreutils), so local and SSH are one. */
export class ControllerHost {
  readonly name: string;
  readonly cinderConf: string;
  private readonly manager: ServiceManager;
  private readonly units: readonly ServiceUnit[];

  constructor(
    options: ControllerOptions,
    private readonly runner: CommandRunner = options.kind === "local" ? new LocalRunner() : new SshRunner(options),
  ) {
    this.name = options.name;
    this.cinderConf = options.cinderConf;
    this.units = options.services.units;
    this.manager = managerOf(options.services, this.runner, options.name);
  }

  close(): Promise<void> {
    return this.runner.close();
  }

  async listUnits(): Promise<readonly UnitStatus[]> {
    const states = await this.manager.states(this.units.map(({ unit }) => unit));
    return this.units.map(({ role, unit, startedHere }, at) => ({ role, unit, startedHere, ...told(states[at]) }));
  }

  private async state(unit: string): Promise<UnitState> {
    const [state] = await this.manager.states([unit]);
    return told(state);
  }

  /** Masked first: a restart policy or a dependency could start it again after the stop. */
  async stopAndMask(unit: string): Promise<void> {
    this.known(unit);
    const { active, masked } = await this.state(unit);
    if (!masked) await this.manager.mask(unit);
    if (active) await this.manager.stop(unit);
    await this.until(unit, "stopped and masked", (state) => !state.active && state.masked);
  }

  async unmaskAndStart(unit: string): Promise<void> {
    if ((await this.unmasked(unit)).active) return;
    await this.manager.start(unit);
    await this.until(unit, "running", (state) => state.active);
  }

  async unmask(unit: string): Promise<void> {
    await this.unmasked(unit);
  }

  private async unmasked(unit: string): Promise<UnitState> {
    this.known(unit);
    const before = await this.state(unit);
    if (!before.masked) return before;
    await this.manager.unmask(unit);
    return this.until(unit, "unmasked", (state) => !state.masked);
  }

  async restart(unit: string): Promise<void> {
    this.known(unit);
    if ((await this.state(unit)).masked)
      throw new DrError({
        code: "precondition",
        attempted: `Restart ${unit} on ${this.name}`,
        seen: "it is masked, so somebody means it not to run",
        state: "Nothing was changed",
        remedy: "Unmask it first if it shall run",
      });
    await this.manager.restart(unit);
    await this.until(unit, "running", (state) => state.active);
  }

  private async until(unit: string, wanted: string, met: (state: UnitState) => boolean): Promise<UnitState> {
    const deadline = performance.now() + settleTimeoutMs;
    for (;;) {
      const state = await this.state(unit);
      if (met(state)) return state;
      if (performance.now() > deadline)
        throw new DrError({
          code: "wait-timeout",
          attempted: `Wait until ${unit} on ${this.name} is ${wanted}`,
          seen: `after ${settleTimeoutMs} ms it is ${state.active ? "active" : "not active"} and ${state.masked ? "masked" : "not masked"}`,
          remedy: "Look at the unit and its log on the host, then repeat",
          context: { unit, ...state },
        });
      await sleep(pollMs);
    }
  }

  // ------------------------------------------------------------------------------------------------------------- files

  /** Symbolic links are followed. Throws `config` for a file that isn't UTF-8: the service itself couldn't read it. */
  async readFile(path: string): Promise<FileVersion> {
    const argv = ["cat", "--", path];
    const result = await this.runner.run(argv);
    if (result.code !== 0) throw failed(this.name, argv, result);
    return this.decode(path, result.stdout);
  }

  /**
   * Files that oslo.config reads after cinder.conf without being told to (find_config_dirs of oslo_config/cfg.py), in its
   * order: what they say counts more. A `--config-dir` of a command line isn't known here.
   */
  async listDropIns(): Promise<readonly string[]> {
    const found = await succeed(this.runner, this.name, ["sh", "-c", dropInScript, "sh", this.cinderConf]);
    return found.split("\n").filter((path) => path !== "");
  }

  private decode(path: string, bytes: Buffer): FileVersion {
    try {
      const content = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      return { content, sha256: sha256(bytes) };
    } catch (error) {
      throw new DrError({
        code: "config",
        attempted: `Read ${path} on ${this.name}`,
        seen: `it isn't valid UTF-8, near line ${new TextDecoder().decode(bytes).split("\ufffd", 1)[0]?.split("\n").length}`,
        state: "Nothing was changed",
        remedy: "Correct the file's encoding",
        cause: error,
      });
    }
  }

  /**
   * Temporary file beside it, flushed, then renamed over it: a process that dies leaves the old file or the new one.
   * `expected` is the SHA-256 of what was read. Safe to repeat: a file that holds the content already is success.
   */
  async writeFile(path: string, content: string, expected: string): Promise<FileVersion> {
    const wanted = sha256(Buffer.from(content, "utf8"));
    const argv = ["sh", "-c", writeScript, "sh", path, expected, wanted];
    const result = await this.runner.run(argv, { stdin: content });
    if (result.code === 0) return { content, sha256: wanted };
    if (result.code === conflictCode)
      throw new DrError({
        code: "conflict",
        attempted: `Write ${path} on ${this.name}`,
        seen: `it was changed by somebody else since it was read (SHA-256 ${result.stdout.toString("utf8").trim()}, ${expected} expected)`,
        state: "The file is as they left it",
        remedy: "Find out who writes it (configuration management?), then repeat",
        context: { path, expected },
      });
    throw failed(this.name, ["write", path], result);
  }

  // -------------------------------------------------------------------------------------------------------------- logs

  async markLog(unit: string): Promise<string> {
    const { logFile } = this.known(unit);
    if (logFile === undefined) return `output:${await this.manager.markOutput(unit)}`;
    const text = await succeed(this.runner, this.name, [
      "sh",
      "-c",
      'stat -L -c "%i %s" -- "$1" 2>/dev/null || echo 0 0',
      "sh",
      logFile,
    ]);
    return `file:${text.trim()}`;
  }

  /** At most the first MiB: what is looked for stands near the mark. A file that was rotated since is found by its inode. */
  async readLogSince(unit: string, mark: string): Promise<string> {
    const { logFile } = this.known(unit);
    const [, kind, rest = ""] = /^(output|file):(.*)$/s.exec(mark) ?? [];
    if (kind === "output" && logFile === undefined)
      return (await this.manager.readOutputSince(unit, rest)).slice(0, maxLogBytes);
    const [, inode, offset] = /^(\d+) (\d+)$/.exec(rest) ?? [];
    if (kind !== "file" || logFile === undefined || inode === undefined || offset === undefined)
      throw new DrError({
        code: "invariant",
        attempted: `Read the log of ${unit} on ${this.name}`,
        seen: `the mark ${JSON.stringify(mark)} wasn't made with this configuration`,
        remedy: "Mark the log anew",
      });
    return succeed(this.runner, this.name, ["sh", "-c", logScript, "sh", logFile, inode, offset, String(maxLogBytes)]);
  }

  private known(unit: string): ServiceUnit {
    const found = this.units.find((one) => one.unit === unit);
    if (found !== undefined) return found;
    throw new DrError({
      code: "config",
      attempted: `Operate ${unit} on ${this.name}`,
      seen: `it is none of the configured units ${this.units.map((one) => one.unit).join(", ")}`,
      remedy: "Add it to the controller's units",
    });
  }
}

const conflictCode = 9;

/** path, SHA-256 expected, SHA-256 of the new content, which comes by standard input and so is in no process list. */
const writeScript = `set -eu
digest() { sha256sum < "$1" | cut -d ' ' -f 1; }
f=$(readlink -e -- "$1")
unchanged() { seen=$(digest "$f"); [ "$seen" = "$1" ] || { echo "$seen"; exit ${conflictCode}; }; }
[ "$(digest "$f")" != "$3" ] || exit 0
unchanged "$2"
t=$(mktemp -- "$(dirname -- "$f")/.$(basename -- "$f").XXXXXX")
trap 'rm -f -- "$t"' EXIT
cat > "$t"
[ "$(digest "$t")" = "$3" ] || { echo "the content arrived incomplete" >&2; exit 1; }
chown --reference="$f" -- "$t"
chmod --reference="$f" -- "$t"
sync -- "$t"
unchanged "$2"
mv -fT -- "$t" "$f"
trap - EXIT
sync -- "$(dirname -- "$f")"
`;

/** path of cinder.conf */
const dropInScript = `d=$(dirname -- "$1")
for f in "$d"/cinder.conf.d/*.conf "$d"/cinder-volume.conf.d/*.conf; do [ ! -f "$f" ] || printf '%s\\n' "$f"; done
`;

/** path, inode, offset, limit. A log truncated in place (copytruncate) is shorter than the mark and read from its start. */
const logScript = `set -eu
{
  now=$(stat -L -c %i -- "$1" 2>/dev/null || echo 0)
  if [ "$now" = "$2" ]; then
    size=$(stat -L -c %s -- "$1")
    from=$3; [ "$size" -ge "$3" ] || from=0
    tail -c +$((from + 1)) -- "$1"
  else
    if [ "$2" != 0 ]; then
      old=$(find "$(dirname -- "$(readlink -f -- "$1")")" -maxdepth 1 -type f -inum "$2" | head -n 1)
      case "$old" in "" | *.gz | *.xz | *.bz2 | *.zst) ;; *) tail -c +$(($3 + 1)) -- "$old" ;; esac
    fi
    [ "$now" = 0 ] || cat -- "$1"
  fi
} | head -c "$4"
`;

function told(state: UnitState | undefined): UnitState {
  if (state === undefined) throw new Error("a service manager told less than it was asked");
  return state;
}

function managerOf(services: ControllerServices, runner: CommandRunner, where: string): ServiceManager {
  switch (services.manager) {
    case "systemd":
      return new SystemdManager(runner, where);
    case "kolla":
      return new KollaManager(runner, where, services.engine);
    case "custom":
      return new CustomManager(runner, where, services.commands);
  }
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
