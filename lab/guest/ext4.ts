/** A small ext4 in an image file, by e2fsprogs: nothing is mounted, so no privilege is needed. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DrError } from "../../lib/errors";

export interface FileFacts {
  name: string;
  sizeBytes: number;
  sha256: string;
  content: Buffer;
}

export interface Filesystem {
  /** Both as written by mkfs: the instance's name (16 bytes of it) and the volume's id. */
  label: string;
  uuid: string;
}

const DEADLINE_MS = 20_000;
const SUPERBLOCK = 1024;

/** What the superblock says (Linux fs/ext4/ext4.h: s_magic 0x38, s_uuid 0x68, s_volume_name 0x78), or undefined where there's none. Pure. */
export function parseFilesystem(image: Buffer): Filesystem | undefined {
  if (image.readUInt16LE(SUPERBLOCK + 0x38) !== 0xef53) return undefined;
  const uuid = image.toString("hex", SUPERBLOCK + 0x68, SUPERBLOCK + 0x78);
  return {
    label: image.toString("utf8", SUPERBLOCK + 0x78, SUPERBLOCK + 0x88).replace(/\0.*$/s, ""),
    uuid: uuid.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
  };
}

/** Makes a filesystem on an image of zeroes. Without a journal: nothing here is ever mounted, so nobody would replay one. */
export async function makeFilesystem(folder: string, image: string, filesystem: Filesystem): Promise<void> {
  const label = Buffer.from(filesystem.label).subarray(0, 16).toString("utf8");
  const options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-b", "1024", "-N", "256"];
  await run(folder, "mke2fs", [...options, "-E", "nodiscard", "-L", label, "-U", filesystem.uuid, image]);
}

/** Puts a file in the root folder, in place of one that has its name. */
export async function putFile(folder: string, image: string, name: string, content: Buffer): Promise<void> {
  assertPlainName(name);
  await writeFile(join(folder, "content"), content);
  await debugfs(folder, image, ["-w"], [`rm ${name}`, `write content ${name}`]);
}

/** The files in the root folder, by name. */
export async function getFiles(folder: string, image: string): Promise<FileFacts[]> {
  const target = join(folder, "files");
  await mkdir(target);
  await debugfs(folder, image, [], ["rdump / files"]);
  const names = (await readdir(target, { withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const content = await readFile(join(target, name));
      return { name, sizeBytes: content.length, sha256: sha256Of(content), content };
    }),
  );
}

/** Checks without repairing. Returns what e2fsck found, or undefined when the filesystem is clean. */
export async function findDamage(folder: string, image: string): Promise<string | undefined> {
  const { code, output } = await execute(folder, "e2fsck", ["-f", "-n", image]);
  return code === 0 ? undefined : output.trim();
}

export function sha256Of(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
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

/** debugfs reads its commands by words: a name with a space would be two. */
function assertPlainName(name: string): void {
  if (/^[\w][\w.:+-]*$/.test(name) && name !== "lost+found") return;
  throw new DrError({
    code: "config",
    attempted: `Write file ${JSON.stringify(name)}`,
    seen: "letters, digits and . : + - _ are allowed",
  });
}
