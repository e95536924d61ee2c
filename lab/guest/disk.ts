/**
 * A volume as its instance sees it: what Nova's rows say about the connection, and block I/O along it, as the compute host's initiator.
 * Over real iSCSI, where LUN files are never touched; or, in a lab without iSCSI programs, on the file that the portal names for each
 * operation.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { DrError, messageOf } from "../../lib/errors";
import type { DataPath } from "../description";
import { withLun, type OpenLun } from "../simulators/ontap/iscsi/file-client";

/** One way to the LUN. */
export interface DiskPath {
  /** address:port */
  portal: string;
  iqn: string;
  lun: number;
}

export interface Disk {
  /** Display name of the instance, and name of the device in it without /dev/ ("vdb"). */
  instance: string;
  device: string;
  volumeId: string;
  /** Initiator name of the compute host. */
  initiator: string;
  /** Tried in this order, the next one only where the one before can't be reached or refuses the login. */
  paths: DiskPath[];
}

/** One attached volume of an instance: nova.block_device_mapping with the connector of cinder.volume_attachment. */
export interface AttachmentRow {
  device: string | null;
  volumeId: string;
  /** JSON texts, as stored. */
  connectionInfo: string | null;
  connector: string | null;
}

/** A row of nova.instances with its volumes. */
export interface InstanceRow {
  uuid: string;
  name: string;
  vmState: string | null;
  powerState: number | null;
  host: string | null;
  volumes: AttachmentRow[];
}

const POWER_STATE_RUNNING = 1; // nova/compute/power_state.py

/**
 * The disk behind a device of a running instance. Pure.
 * @param device with or without /dev/
 * @param initiators host → initiator name, where the attachment's connector doesn't say it
 * @throws DrError `precondition` when the instance isn't running, the device isn't attached, or its connection isn't plain iSCSI
 */
export function findDisk(instance: InstanceRow, device: string, initiators: Readonly<Record<string, string>>): Disk {
  const name = device.replace(/^\/dev\//, "");
  const attempted = `I/O on /dev/${name} of ${instance.name}`;
  const refuse = (seen: string): never => {
    throw new DrError({ code: "precondition", attempted, seen });
  };
  if (instance.vmState !== "active" || instance.powerState !== POWER_STATE_RUNNING) {
    const states = `vm_state ${String(instance.vmState)}, power_state ${String(instance.powerState)}`;
    return refuse(`the instance isn't running (${states}; needed: active, ${POWER_STATE_RUNNING})`);
  }
  const volumes = instance.volumes.filter((volume) => volume.device?.replace(/^\/dev\//, "") === name);
  const [volume] = volumes;
  if (!volume || volumes.length > 1) {
    const attached = instance.volumes.map((other) => other.device ?? "no device name").join(", ") || "none";
    return refuse(`${volumes.length} volumes are attached there, needed 1 (devices: ${attached})`);
  }
  const info = parseObject(volume.connectionInfo) ?? refuse("Nova has no connection_info for it");
  if (info.driver_volume_type !== "iscsi")
    refuse(`its connection is of type ${String(info.driver_volume_type)}, not iscsi`);
  const data = asObject(info.data) ?? refuse("its connection_info has no data");
  if (data.auth_method !== undefined && data.auth_method !== null)
    refuse("its connection asks for CHAP, which isn't supported here");
  const initiator = parseObject(volume.connector)?.initiator ?? initiators[instance.host ?? ""];
  if (typeof initiator !== "string") return refuse(`the initiator name of host ${String(instance.host)} isn't known`);
  const paths = pathsOf(data);
  if (paths.length === 0) return refuse("its connection_info names no portal, IQN and LUN");
  return { instance: instance.name, device: name, volumeId: volume.volumeId, initiator, paths };
}

function pathsOf(data: Record<string, unknown>): DiskPath[] {
  const list = (many: unknown, one: unknown): unknown[] =>
    Array.isArray(many) && many.length > 0 ? (many as unknown[]) : [one];
  const portals = list(data.target_portals, data.target_portal);
  const iqns = list(data.target_iqns, data.target_iqn);
  const luns = list(data.target_luns, data.target_lun);
  return portals.flatMap((portal, i) => {
    const iqn = iqns[i] ?? iqns[0];
    const lun = luns[i] ?? luns[0];
    const complete = typeof portal === "string" && typeof iqn === "string" && typeof lun === "number";
    return complete ? [{ portal, iqn, lun }] : [];
  });
}

/** Bytes to be written at an offset of the disk. */
export interface BlockRun {
  offset: number;
  bytes: Buffer;
}

/** How the blocks of a disk are reached. */
export interface BlockAccess {
  dataPath: DataPath;
  /** For one command on one path. */
  deadlineMs: number;
}

const SECTOR_BYTES = 512;
const BLOCK_BYTES = 4096;
/** Unchanged blocks between two runs that are cheaper to send than another command. */
const JOIN_BYTES = 4 * BLOCK_BYTES;
const MAX_RUN_BYTES = 8 << 20;

/** What has to be written to turn `before` into `after` (same length). Pure. */
export function planRuns(before: Buffer, after: Buffer): BlockRun[] {
  const runs: { start: number; end: number }[] = [];
  for (let start = 0; start < after.length; start += BLOCK_BYTES) {
    const end = Math.min(start + BLOCK_BYTES, after.length);
    if (after.compare(before, start, end, start, end) === 0) continue;
    const last = runs.at(-1);
    if (last && start - last.end <= JOIN_BYTES && end - last.start <= MAX_RUN_BYTES) last.end = end;
    else runs.push({ start, end });
  }
  return runs.map(({ start, end }) => ({ offset: start, bytes: after.subarray(start, end) }));
}

/**
 * Copies `bytes` bytes of the disk from `offset` into a new file, and returns them.
 * @throws DrError `unreachable` (no connection, login refused, no answer) or `remote` (the LUN failed)
 */
export function copyBlocks(
  disk: Disk,
  offset: number,
  bytes: number,
  file: string,
  access: BlockAccess,
): Promise<Buffer> {
  const copy = access.dataPath === "files" ? copyFromFile : copyByQemu;
  return overPaths(disk, (path) => copy(disk, path, { offset, bytes, file, deadlineMs: access.deadlineMs }));
}

/**
 * Writes the runs and flushes them. If the process dies in the middle, some are written and others aren't, as when a machine loses
 * power; writing the same runs again completes it.
 * @throws DrError as `copyBlocks`
 */
export async function writeBlocks(disk: Disk, runs: readonly BlockRun[], access: BlockAccess): Promise<void> {
  if (runs.length === 0) return;
  if (access.dataPath === "iscsi") return writeByQemu(disk, runs, access.deadlineMs);
  await overPaths(disk, (path) =>
    atFile(disk, path, access.deadlineMs, async (lun) => {
      for (const { offset, bytes } of runs) await lun.write(offset, bytes);
      await lun.flush();
    }),
  );
}

interface Copy {
  offset: number;
  bytes: number;
  file: string;
  deadlineMs: number;
}

async function copyFromFile(disk: Disk, path: DiskPath, { offset, bytes, file, deadlineMs }: Copy): Promise<Buffer> {
  const content = await atFile(disk, path, deadlineMs, (lun) => lun.read(offset, bytes));
  await writeFile(file, content);
  return content;
}

/** Does I/O on the file that the portal names now. @throws DrError in the words of the iSCSI programs' failures */
async function atFile<T>(
  disk: Disk,
  path: DiskPath,
  deadlineMs: number,
  work: (lun: OpenLun) => Promise<T>,
): Promise<T> {
  try {
    return await withLun({ ...path, initiator: disk.initiator }, deadlineMs, work);
  } catch (error) {
    const text = messageOf(error);
    throw ioError(disk, path, text, /^no answer within/.test(text) ? "unreachable" : undefined);
  }
}

async function copyByQemu(disk: Disk, path: DiskPath, { offset, bytes, file, deadlineMs }: Copy): Promise<Buffer> {
  // convert asks for several blocks at once and skips holes: three times as fast as `qemu-img dd`.
  const source = imageOf(disk, path, { offset, size: Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES });
  await runQemu(disk, path, dirname(file), deadlineMs, "qemu-img", ["convert", "-O", "raw", source, basename(file)]);
  return (await readFile(file)).subarray(0, bytes);
}

async function writeByQemu(disk: Disk, runs: readonly BlockRun[], deadlineMs: number): Promise<void> {
  await inFolder(async (folder) => {
    const commands: string[] = [];
    for (const [i, { offset, bytes }] of runs.entries()) {
      await writeFile(join(folder, `run-${i}`), bytes);
      commands.push("-c", `write -s run-${i} ${offset} ${bytes.length}`);
    }
    await overPaths(disk, async (path) => {
      const args = ["-f", "raw", ...commands, "-c", "flush", imageOf(disk, path, {})];
      const output = await runQemu(disk, path, folder, deadlineMs, "qemu-io", args);
      const written = output.match(/^wrote (\d+)\/\1 bytes/gm)?.length ?? 0;
      if (written !== runs.length) throw ioError(disk, path, `${written} of ${runs.length} writes done: ${output}`);
    });
  });
}

function imageOf(disk: Disk, path: DiskPath, area: { offset?: number; size?: number }): string {
  const { portal, iqn: target, lun } = path;
  const file = { driver: "iscsi", transport: "tcp", portal, target, lun, "initiator-name": disk.initiator };
  return `json:${JSON.stringify({ driver: "raw", ...area, file })}`;
}

async function overPaths<T>(disk: Disk, work: (path: DiskPath) => Promise<T>): Promise<T> {
  const failures: DrError[] = [];
  for (const path of disk.paths) {
    try {
      return await work(path);
    } catch (error) {
      if (!DrError.is(error, "unreachable")) throw error;
      failures.push(error);
    }
  }
  const [first] = failures;
  if (first && failures.length === 1) throw first;
  throw new DrError({
    code: "unreachable",
    attempted: `I/O on /dev/${disk.device} of ${disk.instance}`,
    seen: `all ${failures.length} paths failed: ${failures.map((failure) => failure.seen).join("; ")}`,
  });
}

/**
 * Runs a QEMU program to its end, or kills it at the deadline.
 * @throws DrError `unreachable` (no connection, login refused, no answer: another path may work) or `remote` (the LUN failed)
 */
function runQemu(
  disk: Disk,
  path: DiskPath,
  cwd: string,
  deadlineMs: number,
  program: string,
  args: readonly string[],
): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { cwd, timeout: deadlineMs, killSignal: "SIGKILL" as const, env: { ...process.env, LC_ALL: "C" } };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (!error) resolve(stdout + stderr);
      else if (error.killed) reject(ioError(disk, path, `no answer within ${deadlineMs} ms`, "unreachable"));
      else if (error.code === "ENOENT") reject(ioError(disk, path, `${program} isn't installed`, "config"));
      else reject(ioError(disk, path, stdout + stderr));
    });
  });
}

/** The failure of one path in words. `text` is what the program printed, or what the client of LUN files says in its stead. */
function ioError(disk: Disk, path: DiskPath, text: string, code?: "unreachable" | "config"): DrError {
  const printed = text
    .replaceAll(/json:\{.*\}/g, "the disk")
    .replaceAll(/\s+/g, " ")
    .trim();
  const [seen, found] = explain(path, disk.initiator, printed);
  return new DrError({
    code: code ?? found,
    attempted: `I/O error on /dev/${disk.device} of ${disk.instance}`,
    seen,
    context: { ...path, initiator: disk.initiator, volumeId: disk.volumeId },
  });
}

/** What a QEMU program printed, in the field's words, and whether another path may work. */
function explain(path: DiskPath, initiator: string, printed: string): [string, "unreachable" | "remote"] {
  const portal = `portal ${path.portal}`;
  const login = `${portal} refused the login of ${initiator} to ${path.iqn}`;
  if (/Authorization failure/i.test(printed))
    return [`${login}: not in an igroup with a mapped LUN (${printed})`, "unreachable"];
  if (/Failed to log in|Target not found|Service unavailable/i.test(printed))
    return [`${login}: ${printed}`, "unreachable"];
  const lun = `${portal}, LUN ${path.lun} of ${path.iqn}`;
  if (/LOGICAL_UNIT_NOT_SUPPORTED/.test(printed)) return [`${lun}: not mapped (${printed})`, "remote"];
  if (/SENSE KEY/.test(printed)) return [`${lun}: ${printed}`, "remote"];
  if (/refused|unreachable|timed? ?out|Failed to connect/i.test(printed))
    return [`${portal} can't be reached (${printed})`, "unreachable"];
  return [`${lun}: ${printed}`, "remote"];
}

/** A folder of its own for the programs' files, gone afterwards. */
export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "guest-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function parseObject(text: string | null): Record<string, unknown> | undefined {
  return text === null ? undefined : asObject(JSON.parse(text));
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
