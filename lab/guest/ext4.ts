/** A small ext4 in an image file, by e2fsprogs: nothing is mounted, so no privilege is needed. */
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DrError } from "../../lib/errors";
import { assertPlainName, factsOf, type FileFacts, type Filesystem, type FilesystemTools } from "./filesystem";

const DEADLINE_MS = 20_000;
const SUPERBLOCK = 1024;

export const ext4: FilesystemTools = {
  parse: parseFilesystem,
  make: makeFilesystem,
  put: putFile,
  files: getFiles,
  findDamage,
};
/** What it runs. */
export const E2FSPROGS = ["mke2fs", "debugfs", "e2fsck"] as const;

/** What the superblock says (Linux fs/ext4/ext4.h: s_magic 0x38, s_uuid 0x68, s_volume_name 0x78), or undefined where there's none. Pure. */
function parseFilesystem(image: Buffer): Filesystem | undefined {
  if (image.readUInt16LE(SUPERBLOCK + 0x38) !== 0xef53) return undefined;
  const uuid = image.toString("hex", SUPERBLOCK + 0x68, SUPERBLOCK + 0x78);
  return {
    label: image.toString("utf8", SUPERBLOCK + 0x78, SUPERBLOCK + 0x88).replace(/\0.*$/s, ""),
    uuid: uuid.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
  };
}

/** Without a journal: nothing here is ever mounted, so nobody would replay one. */
async function makeFilesystem(folder: string, image: string, filesystem: Filesystem): Promise<void> {
  const label = Buffer.from(filesystem.label).subarray(0, 16).toString("utf8");
  const options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-b", "1024", "-N", "256"];
  await run(folder, "mke2fs", [...options, "-E", "nodiscard", "-L", label, "-U", filesystem.uuid, image]);
}

async function putFile(folder: string, image: string, name: string, content: Buffer): Promise<void> {
  assertPlainName(name);
  await writeFile(join(folder, "content"), content);
  await debugfs(folder, image, ["-w"], [`rm ${name}`, `write content ${name}`]);
}

async function getFiles(folder: string, image: string): Promise<FileFacts[]> {
  const target = join(folder, "files");
  await mkdir(target);
  await debugfs(folder, image, [], ["rdump / files"]);
  const names = (await readdir(target, { withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
  return Promise.all(names.sort().map(async (name) => factsOf(name, await readFile(join(target, name)))));
}

async function findDamage(folder: string, image: string): Promise<string | undefined> {
  const { code, output } = await execute(folder, "e2fsck", ["-f", "-n", image]);
  return code === 0 ? undefined : output.trim();
}

/** debugfs always exits with 0, so what it prints on stderr decides. */
async function debugfs(
  folder: string,
  image: string,
  options: readonly string[],
  commands: readonly string[],
): Promise<void> {
  await writeFile(join(folder, "commands"), `${commands.join("\n")}\n`);
  const { code, errors } = await execute(folder, "debugfs", [...options, "-f", "commands", image]);
  const faults = errors.split("\n").filter((line) => line !== "" && !/^debugfs \d|^rm: File not found/.test(line));
  if (code !== 0 || faults.length > 0)
    throw failure("debugfs", commands.join("; "), faults.join("; ") || `exit code ${code}`);
}

async function run(folder: string, program: string, args: readonly string[]): Promise<void> {
  const { code, output } = await execute(folder, program, args);
  if (code !== 0) throw failure(program, args.join(" "), output.trim());
}

function execute(
  cwd: string,
  program: string,
  args: readonly string[],
): Promise<{ code: number; output: string; errors: string }> {
  const path = `/usr/sbin:/sbin:${process.env.PATH ?? ""}`;
  const options = {
    cwd,
    timeout: DEADLINE_MS,
    killSignal: "SIGKILL" as const,
    env: { ...process.env, PATH: path, LC_ALL: "C" },
  };
  return new Promise((resolve, reject) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") reject(failure(program, args.join(" "), error.message));
      else resolve({ code: typeof error?.code === "number" ? error.code : 0, output: stdout + stderr, errors: stderr });
    });
  });
}

function failure(program: string, what: string, seen: string): DrError {
  return new DrError({ code: "failure-state", attempted: `${program} ${what}`, seen });
}
