/**
 * The processes of a lab, kept as files: what systemd is to a controller, for a machine that has none.
 *
 *   <lab>/services/<host>/<name>.json   what to run (ServiceDefinition)
 *   <lab>/run/<host>/<name>.json        what was started (RunRecord)
 *   <lab>/run/<host>/<name>.masked      present while the service must not be started
 *
 * Exit codes are systemctl's: is-active 0 or 3 (is-masked likewise), an unknown service 4 or 5, a refused or failed command 1.
 *
 * Only Node's built-in modules and erasable types: `bin/lab-service` runs this file directly, without a loader, since
 * every start and stop on a controller goes through it.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";

/** One service of one host of the lab. */
export interface ServiceDefinition {
  /** Program and arguments; never a secret, as any user of the machine may read them. */
  command: string[];
  env: Record<string, string>;
  /** Takes stdout and stderr, appended. */
  log: string;
  /** Time for a graceful end after SIGTERM; SIGKILL follows. */
  stopTimeoutSeconds: number;
}

export interface ServiceId {
  host: string;
  name: string;
}

/** `wanted` is what an operator last asked for; the process may have died since. */
interface RunRecord {
  wanted: boolean;
  pid: number;
  /** Start time of the process in clock ticks since boot: a reused pid has another one. */
  startTicks: string;
}

/** A refusal or failure, with systemctl's exit code. */
export class ServiceError extends Error {
  exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = "ServiceError";
    this.exitCode = exitCode;
  }
}

export const LAB_VARIABLE = "LAB_DIR";
const SERVICE_VARIABLE = "LAB_SERVICE";
const SUPERVISOR: ServiceId = { host: "lab", name: "supervisor" };

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const label = (id: ServiceId) => `${id.host}/${id.name}`;
const definitionFile = (lab: string, id: ServiceId) => path.join(lab, "services", id.host, `${id.name}.json`);
const runFile = (lab: string, id: ServiceId, suffix: string) => path.join(lab, "run", id.host, `${id.name}.${suffix}`);

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function writeWhole(file: string, text: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}`;
  fs.writeFileSync(draft, text);
  fs.renameSync(draft, file);
}

interface ProcessStat {
  state: string;
  session: number;
  startTicks: string;
}

/** What /proc/<pid>/stat says (proc(5)); undefined when there's no such process, or only its zombie. */
function processStat(pid: number): ProcessStat | undefined {
  const text = readText(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name in parentheses may hold blanks and parentheses itself.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state = "", , , session = ""] = fields;
  return state === "Z" || state === "X" ? undefined : { state, session: Number(session), startTicks: fields[19] ?? "" };
}

function processIds(): number[] {
  return fs
    .readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number);
}

/** All processes whose environment carries the lab's marker, whoever started them. */
export function processesOfLab(lab: string): number[] {
  const marker = `${LAB_VARIABLE}=${lab}`;
  return processIds().filter(
    (pid) =>
      pid !== process.pid &&
      processStat(pid) !== undefined &&
      (readText(`/proc/${pid}/environ`) ?? "").split("\0").includes(marker),
  );
}

export function listServices(lab: string): ServiceId[] {
  const root = path.join(lab, "services");
  if (!fs.existsSync(root)) return [];
  return fs.readdirSync(root).flatMap((host) =>
    fs
      .readdirSync(path.join(root, host))
      .filter((file) => file.endsWith(".json"))
      .map((file) => ({ host, name: file.slice(0, -".json".length) })),
  );
}

export function readService(lab: string, id: ServiceId): ServiceDefinition {
  const text = readText(definitionFile(lab, id));
  if (text === undefined) throw new ServiceError(`Unit ${id.name}.service could not be found on ${id.host}.`, 5);
  return JSON.parse(text) as ServiceDefinition;
}

/** Installs or replaces a definition; a running process is left as it is. */
export function writeService(lab: string, id: ServiceId, definition: ServiceDefinition): void {
  writeWhole(definitionFile(lab, id), JSON.stringify(definition, null, 2) + "\n");
}

function readRun(lab: string, id: ServiceId): RunRecord | undefined {
  const text = readText(runFile(lab, id, "json"));
  return text === undefined ? undefined : (JSON.parse(text) as RunRecord);
}

export function isMasked(lab: string, id: ServiceId): boolean {
  return fs.existsSync(runFile(lab, id, "masked"));
}

/** The service's first process if it's alive: the recorded pid with the recorded start time. */
export function mainPid(lab: string, id: ServiceId): number | undefined {
  const run = readRun(lab, id);
  return run && processStat(run.pid)?.startTicks === run.startTicks ? run.pid : undefined;
}

/**
 * Every process of the service: its session (programs that rewrite their title lose their environment) and whatever
 * carries its marker (programs that open a session of their own, or whose start was cut off before it was recorded).
 */
export function processesOf(lab: string, id: ServiceId): number[] {
  const run = readRun(lab, id);
  const leader = run && processStat(run.pid);
  // A pid isn't handed out again while a session of that number exists; a leader with another start time is a stranger.
  const session = run && (leader === undefined || leader.startTicks === run.startTicks) ? run.pid : undefined;
  const markers = [`${LAB_VARIABLE}=${lab}`, `${SERVICE_VARIABLE}=${label(id)}`];
  return processIds().filter((pid) => {
    const stat = processStat(pid);
    if (stat === undefined || pid === process.pid) return false;
    if (stat.session === session) return true;
    const environment = (readText(`/proc/${pid}/environ`) ?? "").split("\0");
    return markers.every((marker) => environment.includes(marker));
  });
}

/**
 * One start or stop of a service at a time, between processes. The lock names its owner by pid and start time, so that
 * one left by a killed process is taken over.
 */
async function locked<T>(lab: string, id: ServiceId, work: () => Promise<T>): Promise<T> {
  const file = runFile(lab, id, "lock");
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const own = `${process.pid} ${processStat(process.pid)?.startTicks ?? ""}`;
  const draft = `${file}.${process.pid}`;
  fs.writeFileSync(draft, own);
  try {
    for (;;) {
      try {
        fs.linkSync(draft, file);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
        const [pid, ticks] = (readText(file) ?? "").split(" ");
        if (pid && processStat(Number(pid))?.startTicks !== ticks) fs.rmSync(file, { force: true });
        else await sleep(50);
      }
    }
  } finally {
    fs.rmSync(draft, { force: true });
  }
  try {
    return await work();
  } finally {
    fs.rmSync(file, { force: true });
  }
}

/** Signals the service's processes and waits until none is left. */
async function endProcesses(lab: string, id: ServiceId, timeoutSeconds: number): Promise<void> {
  let signal: NodeJS.Signals = "SIGTERM";
  const deadline = Date.now() + timeoutSeconds * 1000;
  const told = new Set<number>();
  for (;;) {
    const alive = processesOf(lab, id);
    if (alive.length === 0) return;
    if (signal === "SIGTERM" && Date.now() > deadline) {
      signal = "SIGKILL";
      told.clear();
    }
    for (const pid of alive.filter((pid) => !told.has(pid))) {
      told.add(pid);
      try {
        process.kill(pid, signal);
      } catch {
        // It ended by itself meanwhile.
      }
    }
    await sleep(50);
  }
}

/**
 * Starts the service, detached from the caller: own session, stdin closed, output into its log. Already running: nothing.
 * Refused while masked. It doesn't wait until the program is ready.
 */
export async function start(lab: string, id: ServiceId): Promise<void> {
  const definition = readService(lab, id);
  await locked(lab, id, async () => {
    // Read under the lock: a mask that came meanwhile counts.
    if (isMasked(lab, id)) throw new ServiceError(`Failed to start ${id.name}.service: Unit is masked on ${id.host}.`);
    const running = mainPid(lab, id);
    if (running !== undefined) {
      const run = readRun(lab, id);
      if (run && !run.wanted) writeWhole(runFile(lab, id, "json"), JSON.stringify({ ...run, wanted: true }));
      return;
    }
    await endProcesses(lab, id, definition.stopTimeoutSeconds); // children that outlived their parent
    fs.mkdirSync(path.dirname(definition.log), { recursive: true });
    const log = fs.openSync(definition.log, "a");
    const [program = "", ...args] = definition.command;
    const environment = {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      LANG: "C.UTF-8",
      ...definition.env,
      [LAB_VARIABLE]: lab,
      [SERVICE_VARIABLE]: label(id),
    };
    const child = spawn(program, args, { cwd: "/", detached: true, stdio: ["ignore", log, log], env: environment });
    fs.closeSync(log);
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (cause) => reject(new ServiceError(`Failed to start ${label(id)}: ${cause.message}`)));
    });
    child.unref();
    const pid = child.pid ?? 0;
    const startTicks = processStat(pid)?.startTicks ?? "ended";
    writeWhole(runFile(lab, id, "json"), JSON.stringify({ wanted: true, pid, startTicks } satisfies RunRecord));
  });
}

/**
 * Ends the service and returns when none of its processes is left; the time for a graceful end is the service's own
 * unless given. A repeat finds nothing to do.
 */
export async function stop(lab: string, id: ServiceId, timeoutSeconds?: number): Promise<void> {
  const { stopTimeoutSeconds } = readService(lab, id);
  await locked(lab, id, async () => {
    const run = readRun(lab, id);
    // First, so that a supervisor leaves it alone from here on.
    if (run?.wanted) writeWhole(runFile(lab, id, "json"), JSON.stringify({ ...run, wanted: false }));
    await endProcesses(lab, id, timeoutSeconds ?? stopTimeoutSeconds);
  });
}

export async function restart(lab: string, id: ServiceId): Promise<void> {
  if (isMasked(lab, id)) throw new ServiceError(`Failed to restart ${id.name}.service: Unit is masked on ${id.host}.`);
  await stop(lab, id);
  await start(lab, id);
}

/** From now on `start` is refused; a running process is left alone, as systemctl does. */
export async function mask(lab: string, id: ServiceId): Promise<void> {
  readService(lab, id);
  // Under the lock, so that no start that began before is still on its way when this returns.
  await locked(lab, id, () => Promise.resolve(writeWhole(runFile(lab, id, "masked"), "")));
}

export function unmask(lab: string, id: ServiceId): void {
  readService(lab, id);
  fs.rmSync(runFile(lab, id, "masked"), { force: true });
}

/**
 * Starts again, within a second, what has died: `died` restarts what was not stopped deliberately, `stopped` even that,
 * as a cluster manager does that doesn't know about the maintenance. Only a mask keeps it off. Services that were never
 * started stay as they are. Runs until it's ended.
 */
async function supervise(lab: string, restarts: "died" | "stopped"): Promise<void> {
  for (;;) {
    for (const id of listServices(lab)) {
      if (label(id) === label(SUPERVISOR) || isMasked(lab, id)) continue;
      const run = readRun(lab, id);
      if (run && (run.wanted || restarts === "stopped") && mainPid(lab, id) === undefined) {
        console.log(`${new Date().toISOString()} ${label(id)} isn't running: starting it`);
        await start(lab, id).catch((error: unknown) => console.log(String(error)));
      }
    }
    await sleep(300);
  }
}

/** Turns the supervisor on (in one of its two modes) or off; `program` is the path of bin/lab-service. */
export async function setSupervisor(lab: string, restarts: "died" | "stopped" | "off", program: string): Promise<void> {
  if (fs.existsSync(definitionFile(lab, SUPERVISOR))) await stop(lab, SUPERVISOR);
  if (restarts === "off") return;
  writeService(lab, SUPERVISOR, {
    command: [program, "--lab", lab, "supervise", `run-${restarts}`],
    env: {},
    log: path.join(lab, "logs", SUPERVISOR.host, `${SUPERVISOR.name}.log`),
    stopTimeoutSeconds: 5,
  });
  await start(lab, SUPERVISOR);
}

export interface ServiceStatus extends ServiceId {
  active: boolean;
  masked: boolean;
  pid: number | undefined;
  processes: number;
  /** Proportional set size of all its processes. */
  memoryMiB: number;
}

export function statusOf(lab: string, id: ServiceId): ServiceStatus {
  const pid = mainPid(lab, id);
  const processes = processesOf(lab, id);
  const kib = processes.map((each) =>
    Number(/^Pss:\s+(\d+)/m.exec(readText(`/proc/${each}/smaps_rollup`) ?? "")?.[1] ?? 0),
  );
  const memoryMiB = Math.round(kib.reduce((sum, each) => sum + each, 0) / 1024);
  return { ...id, active: pid !== undefined, masked: isMasked(lab, id), pid, processes: processes.length, memoryMiB };
}

export function lastLines(file: string, count: number): string {
  return (readText(file) ?? "").trimEnd().split("\n").slice(-count).join("\n");
}

const USAGE = `lab-service --lab DIR --host HOST COMMAND SERVICE
  start | stop | restart | mask | unmask | is-active | is-masked | status | pids | log
lab-service --lab DIR list
lab-service --lab DIR supervise on [--even-stopped] | off`;

async function main(args: string[]): Promise<number> {
  const options = new Map<string, string>();
  const words: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    if (word === "--lab" || word === "--host") options.set(word, args[++at] ?? "");
    else words.push(word);
  }
  const [command, name = ""] = words;
  const lab = options.has("--lab") ? path.resolve(options.get("--lab") ?? "") : undefined;
  if (lab === undefined || command === undefined) throw new ServiceError(USAGE, 2);
  if (!fs.existsSync(path.join(lab, "services"))) throw new ServiceError(`No lab in ${lab}.`, 4);
  if (command === "list") {
    for (const id of listServices(lab)) console.log(label(id), mainPid(lab, id) === undefined ? "inactive" : "active");
    return 0;
  }
  if (command === "supervise") {
    const program = path.join(path.dirname(process.argv[1] ?? ""), "bin", "lab-service");
    if (name === "run-died" || name === "run-stopped") await supervise(lab, name === "run-died" ? "died" : "stopped");
    else if (name === "off") await setSupervisor(lab, "off", program);
    else if (name === "on") {
      await setSupervisor(lab, words.includes("--even-stopped") ? "stopped" : "died", program);
    } else throw new ServiceError(USAGE, 2);
    return 0;
  }
  const host = options.get("--host");
  if (host === undefined || name === "") throw new ServiceError(USAGE, 2);
  const id: ServiceId = { host, name: name.replace(/\.service$/, "") };
  const active = mainPid(lab, id) !== undefined;
  switch (command) {
    case "start":
      await start(lab, id);
      return 0;
    case "stop":
      await stop(lab, id);
      return 0;
    case "restart":
      await restart(lab, id);
      return 0;
    case "mask":
      await mask(lab, id);
      return 0;
    case "unmask":
      unmask(lab, id);
      return 0;
    case "is-active":
      readService(lab, id);
      console.log(active ? "active" : "inactive");
      return active ? 0 : 3;
    case "is-masked":
      readService(lab, id);
      console.log(isMasked(lab, id) ? "masked" : "not masked");
      return isMasked(lab, id) ? 0 : 3;
    case "pids":
      readService(lab, id);
      for (const pid of processesOf(lab, id)) console.log(pid);
      return 0;
    case "log":
      console.log(lastLines(readService(lab, id).log, 200));
      return 0;
    case "status": {
      const { log } = readService(lab, id);
      const status = statusOf(lab, id);
      console.log(`${id.name}.service on ${id.host}`);
      console.log(`   Loaded: ${status.masked ? "masked" : `loaded (${definitionFile(lab, id)})`}`);
      console.log(`   Active: ${active ? "active (running)" : "inactive (dead)"}`);
      if (status.pid !== undefined) console.log(` Main PID: ${status.pid}`);
      console.log(`    Tasks: ${status.processes}`);
      console.log(`   Memory: ${status.memoryMiB} MiB`);
      console.log(`      Log: ${log}`);
      return active ? 0 : 3;
    }
    default:
      throw new ServiceError(USAGE, 2);
  }
}

if (process.argv[1]?.endsWith("/service-manager.ts")) {
  main(process.argv.slice(2)).then(
    (code) => {
      process.exitCode = code;
    },
    (error: unknown) => {
      console.error(error instanceof Error ? error.message : String(error));
      process.exitCode = error instanceof ServiceError ? error.exitCode : 1;
    },
  );
}
