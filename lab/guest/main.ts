/**
 * Command line of the guest: `main.ts breadcrumb --lab DIR --all vm- --device vdb --stage pre-failover`.
 * Exit code 0 when everything asked for was done and found, 1 otherwise, with one line for each failure on stderr.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { createConnection } from "mysql2/promise";
import pLimit from "p-limit";
import { messageOf } from "../../lib/errors";
import type { DataPath, FilesystemKind, LabDescription } from "../description";
import { checkBreadcrumbs, type DeviceFiles, type ExpectedBreadcrumb } from "./breadcrumbs";
import { findDisk, type Disk, type InstanceRow } from "./disk";
import { Guest } from "./guest";
import { readInstances } from "./nova-rows";

/** Whom to ask about instances. */
interface Surroundings {
  database: { host: string; port: number; user: string; password: string };
  /** host → initiator name */
  initiators: Record<string, string>;
  dataPath: DataPath;
  filesystem: FilesystemKind;
}

interface Options {
  lab?: string;
  database?: { host: string; port: number };
  databaseUser?: string;
  databasePasswordFile?: string;
  dataPath: DataPath;
  filesystem: FilesystemKind;
  instance: string[];
  all?: string;
  concurrency: number;
  deadline: number;
  json?: true;
}

type CheckOptions = Options & { expect: [string, string[]][]; expected?: string };

/** One device of one instance: what came of it. */
interface Outcome<T> {
  instance: string;
  device: string;
  result?: T;
  error?: string;
}

/** Where results and failures go, a line at a time. */
export interface Output {
  out: (line: string) => void;
  err: (line: string) => void;
}

/** Carries out the command in `argv` (without node and script). Returns the exit code. */
export async function runGuest(argv: readonly string[], output: Output): Promise<number> {
  let failures = 0;
  const print: Output = {
    out: output.out,
    err: (line) => {
      failures++;
      output.err(line);
    },
  };
  const program = new Command("guest").description(
    "What instances do with their data volumes, along Nova's connection.",
  );

  const devices = (name: string, description: string) =>
    withCommonOptions(program.command(name).description(description)).requiredOption(
      "--device <names>",
      "devices, such as vdb or vdb,vdc",
      (value: string) => value.split(","),
    );

  devices("mkfs", "make a small filesystem on devices that have no filesystem").action(
    (o: Options & { device: string[] }) =>
      onDevices(
        o,
        print,
        (guest, disk) => guest.mkfs(disk),
        (made) => `formatted, UUID ${made.uuid}`,
      ),
  );
  devices("breadcrumb", "write the file that says who wrote it, where, and at which stage")
    .requiredOption("--stage <name>", "such as pre-failover")
    .option("--record <file>", "append what was written, for a later `check --expected`")
    .action((o: Options & { device: string[]; stage: string; record?: string }) =>
      onDevices(
        o,
        print,
        (guest, disk) => guest.breadcrumb(disk, o.stage),
        (written) => `wrote ${written.file} ${written.sha256}`,
      ),
    );
  devices("list", "list the files with size and sha256").action((o: Options & { device: string[] }) =>
    onDevices(
      o,
      print,
      async (guest, disk) =>
        (await guest.list(disk)).map(({ name, sizeBytes, sha256 }) => ({ name, sizeBytes, sha256 })),
      (files) => files.map((file) => `\n  ${file.name} ${file.sizeBytes} ${file.sha256}`).join("") || "no files",
    ),
  );
  devices("read", "print a file")
    .requiredOption("--file <name>")
    .action((o: Options & { device: string[]; file: string }) =>
      onDevices(
        o,
        print,
        async (guest, disk) => (await guest.read(disk, o.file)).toString("utf8"),
        (text) => `\n${text}`,
      ),
    );
  devices("fsck", "check the filesystem").action((o: Options & { device: string[] }) =>
    onDevices(
      o,
      print,
      (guest, disk) => guest.fsck(disk),
      (filesystem) => `clean, label ${filesystem.label}, UUID ${filesystem.uuid}`,
    ),
  );
  devices("fill", "write reproducible bytes behind the filesystem")
    .requiredOption("--bytes <number>", "how many", parseCount)
    .requiredOption("--seed <text>", "what they're made from, together with instance and device")
    .action((o: Options & { device: string[]; bytes: number; seed: string }) =>
      onDevices(
        o,
        print,
        (guest, disk) => guest.fill(disk, o.bytes, `${o.seed} ${disk.instance} ${disk.device}`),
        (sha256) => `filled ${o.bytes} bytes ${sha256}`,
      ),
    );
  devices("hash", "sha256 of the filesystem's area and of the filled bytes behind it")
    .option("--bytes <number>", "filled bytes", parseCount, 0)
    .action((o: Options & { device: string[]; bytes: number }) =>
      onDevices(
        o,
        print,
        (guest, disk) => guest.hash(disk, o.bytes),
        (hash) => `filesystem ${hash.filesystem} fill ${hash.fill}`,
      ),
    );
  withCommonOptions(program.command("check").description("compare the breadcrumbs with those that must be there"))
    .option("--expect <device=stage,…>", "stages of a device, on every instance; repeatable", parseExpected, [])
    .option("--expected <file>", "JSON of `breadcrumb --json` runs, one array after another: compares the bytes, too")
    .action((o: CheckOptions) => check(o, print));

  await program.parseAsync(argv, { from: "user" }).catch((error: unknown) => print.err(messageOf(error)));
  return failures === 0 ? 0 : 1;
}

function withCommonOptions(command: Command): Command {
  return command
    .option("--lab <dir>", "folder of the lab")
    .option("--database <host:port>", "instead of --lab", parseAddress)
    .option("--database-user <name>", "with --database")
    .option("--database-password-file <file>", "with --database")
    .addOption(new Option("--data-path <kind>", "with --database").choices(["iscsi", "files"]).default("iscsi"))
    .addOption(new Option("--filesystem <kind>", "with --database").choices(["ext4", "archive"]).default("ext4"))
    .option("--instance <name-or-uuid>", "repeatable", (value: string, former: string[]) => [...former, value], [])
    .option("--all <prefix>", "all instances whose name begins so")
    .option("--concurrency <number>", "instances at a time", parseCount, 4)
    .option("--deadline <milliseconds>", "for one command on one path", parseCount, 15_000)
    .option("--json", "print results as JSON");
}

/** Carries out `work` on the devices asked for: instances side by side, the devices of one after another. */
async function onDevices<T>(
  o: Options & { device: string[]; record?: string },
  print: Output,
  work: (guest: Guest, disk: Disk) => Promise<T>,
  describe: (result: T) => string,
): Promise<void> {
  const surroundings = readSurroundings(o);
  const outcomes = await workOn(
    o,
    surroundings,
    (await findInstances(o, surroundings)).map((instance) => ({ instance, devices: o.device })),
    work,
  );
  if (o.record !== undefined) appendFileSync(o.record, `${JSON.stringify(outcomes)}\n`);
  if (o.json) print.out(JSON.stringify(outcomes));
  for (const { instance, device, result, error } of outcomes) {
    if (error !== undefined) print.err(error);
    else if (!o.json) print.out(`${instance} ${device}: ${describe(result as T)}`);
  }
}

async function check(o: CheckOptions, print: Output): Promise<void> {
  const surroundings = readSurroundings(o);
  const instances = await findInstances(o, surroundings);
  const expected: ExpectedBreadcrumb[] = instances.flatMap(({ name }) =>
    o.expect.flatMap(([device, stages]) => stages.map((stage) => ({ instance: name, device, stage }))),
  );
  if (o.expected !== undefined) {
    const names = new Set(instances.map((instance) => instance.name));
    expected.push(...readWritten(o.expected).filter((crumb) => names.has(crumb.instance)));
  }
  if (expected.length === 0) throw new Error("Nothing is expected: give --expect or --expected.");
  const devicesOf = (name: string) => [
    ...new Set(expected.filter((crumb) => crumb.instance === name).map((crumb) => crumb.device)),
  ];
  const outcomes = await workOn(
    o,
    surroundings,
    instances.map((instance) => ({ instance, devices: devicesOf(instance.name).sort() })),
    async (guest, disk): Promise<DeviceFiles> => {
      return {
        instance: disk.instance,
        device: disk.device,
        volumeId: disk.volumeId,
        files: await guest.examine(disk),
      };
    },
  );
  const seen = outcomes.flatMap(({ result }) => result ?? []);
  const problems = checkBreadcrumbs(expected, seen);
  const errors = outcomes.flatMap(({ error }) => error ?? []);
  const files = seen.reduce((sum, device) => sum + device.files.length, 0);
  if (o.json) print.out(JSON.stringify({ devices: seen.length, files, problems, errors }));
  else print.out(`${seen.length} devices, ${files} files, ${problems.length + errors.length} problems`);
  for (const error of errors) print.err(error);
  for (const { kind, instance, device, file, detail } of problems)
    print.err(`${kind}: ${instance} ${device} ${file}: ${detail}`);
}

async function workOn<T>(
  o: Options,
  surroundings: Surroundings,
  tasks: readonly { instance: InstanceRow; devices: readonly string[] }[],
  work: (guest: Guest, disk: Disk) => Promise<T>,
): Promise<Outcome<T>[]> {
  const guest = new Guest({
    deadlineMs: o.deadline,
    now: () => new Date(),
    dataPath: surroundings.dataPath,
    filesystem: surroundings.filesystem,
  });
  const limit = pLimit(o.concurrency);
  const outcomes = tasks.map(({ instance, devices }) =>
    limit(async () => {
      const done: Outcome<T>[] = [];
      for (const device of devices) {
        const where = { instance: instance.name, device };
        try {
          done.push({ ...where, result: await work(guest, findDisk(instance, device, surroundings.initiators)) });
        } catch (error) {
          done.push({ ...where, error: messageOf(error) });
        }
      }
      return done;
    }),
  );
  return (await Promise.all(outcomes)).flat();
}

async function findInstances(o: Options, surroundings: Surroundings): Promise<InstanceRow[]> {
  if ((o.all === undefined) === (o.instance.length === 0)) throw new Error("Give either --instance or --all.");
  const database = await createConnection({ ...surroundings.database, connectTimeout: o.deadline });
  try {
    const found = await readInstances(database, o.all === undefined ? { names: o.instance } : { prefix: o.all });
    const missing = o.instance.filter(
      (name) => !found.some((instance) => [instance.name, instance.uuid].includes(name)),
    );
    if (missing.length > 0) throw new Error(`Nova has no instance ${missing.join(", ")}.`);
    if (found.length === 0) throw new Error(`Nova has no instance whose name begins with "${o.all ?? ""}".`);
    const twice = found.filter((instance, i) => found[i + 1]?.name === instance.name).map((instance) => instance.name);
    if (twice.length > 0) throw new Error(`Several instances are called ${twice.join(", ")}: give their uuids.`);
    return found;
  } finally {
    await database.end();
  }
}

function readSurroundings(o: Options): Surroundings {
  if (o.lab !== undefined) {
    // Not by lab.ts's own reader: loading that means loading everything that builds a lab, a second on each call.
    const lab = JSON.parse(readFileSync(join(o.lab, "lab.json"), "utf8")) as LabDescription;
    const { host, port, services } = lab.database;
    return {
      database: { host, port, user: services.user, password: readPassword(services.passwordFile) },
      initiators: Object.fromEntries(lab.computes.map((compute) => [compute.name, compute.initiator])),
      dataPath: lab.dataPath,
      filesystem: lab.filesystem,
    };
  }
  const { database, databaseUser: user, databasePasswordFile: file, dataPath, filesystem } = o;
  if (!database || user === undefined || file === undefined) {
    throw new Error("Give --lab, or --database, --database-user and --database-password-file.");
  }
  return { database: { ...database, user, password: readPassword(file) }, initiators: {}, dataPath, filesystem };
}

/** What `breadcrumb --json` printed: arrays, one a line. */
function readWritten(file: string): ExpectedBreadcrumb[] {
  const lines = readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "");
  const outcomes = lines.flatMap((line) => JSON.parse(line) as Outcome<ExpectedBreadcrumb>[]);
  return outcomes.flatMap(({ result }) => result ?? []);
}

const readPassword = (file: string) => readFileSync(file, "utf8").trim();

function parseExpected(value: string, former: [string, string[]][]): [string, string[]][] {
  const [, device, stages] = /^([^=]+)=(.+)$/.exec(value) ?? [];
  if (device === undefined || stages === undefined) throw new InvalidArgumentError("needed: device=stage,stage");
  return [...former, [device, stages.split(",")]];
}

function parseAddress(value: string): { host: string; port: number } {
  const [, host, port] = /^(.+):(\d+)$/.exec(value) ?? [];
  if (host === undefined || port === undefined) throw new InvalidArgumentError("needed: host:port");
  return { host, port: Number(port) };
}

function parseCount(value: string): number {
  if (!/^\d+$/.test(value)) throw new InvalidArgumentError("needed: a number");
  return Number(value);
}

if (require.main === module) {
  const line = (stream: NodeJS.WriteStream) => (text: string) => stream.write(`${text}\n`);
  void runGuest(process.argv.slice(2), { out: line(process.stdout), err: line(process.stderr) }).then((code) => {
    process.exitCode = code;
  });
}
