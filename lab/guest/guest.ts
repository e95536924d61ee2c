/**
 * What an instance does with its data volumes. Each call reads the filesystem's area of the disk, works on that copy, and
 * writes the changed blocks back. So calls on one disk come one after another; different disks may be worked on side by side.
 *
 * If the process dies while blocks are written back, the filesystem may be half-changed, as after a power cut without a journal: `fsck`
 * says so, and the same `write` again completes it.
 */
import { createCipheriv, createHash } from "node:crypto";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DrError } from "../../lib/errors";
import { breadcrumbName, formatBreadcrumb, type Breadcrumb } from "./breadcrumbs";
import type { DataPath, FilesystemKind } from "../description";
import { archive } from "./archive";
import { copyBlocks, inFolder, planRuns, writeBlocks, type Disk } from "./disk";
import { ext4 } from "./ext4";
import { sha256Of, type FileFacts, type Filesystem, type FilesystemTools } from "./filesystem";

const KINDS: Readonly<Record<FilesystemKind, FilesystemTools>> = { ext4, archive };

/** The filesystem is smaller than its device, so that an operation moves little: hundreds are done in a switchover. */
export const FILESYSTEM_BYTES = 4 << 20;
const FILL_RUN_BYTES = 8 << 20;
const IMAGE = "image";

export interface WrittenBreadcrumb extends Breadcrumb {
  file: string;
  sizeBytes: number;
  sha256: string;
}

export class Guest {
  constructor(
    private readonly o: {
      /** For one command on one path. */
      deadlineMs: number;
      now: () => Date;
      dataPath: DataPath;
      /** What `mkfs` makes. Whatever is on a disk already is used as what it is. */
      filesystem: FilesystemKind;
    },
  ) {}

  /** Makes the filesystem. @throws DrError `precondition` when there's one: formatting twice would lose what it holds. */
  async mkfs(disk: Disk): Promise<Filesystem> {
    const filesystem = { label: disk.instance, uuid: disk.volumeId };
    await inFolder(async (folder) => {
      const before = await this.readArea(disk, folder);
      const found = recognise(before);
      if (found)
        throw refusal(
          disk,
          "mkfs",
          `there is a filesystem already (label ${found.filesystem.label}, UUID ${found.filesystem.uuid})`,
        );
      await writeFile(join(folder, IMAGE), "");
      await truncate(join(folder, IMAGE), FILESYSTEM_BYTES);
      await KINDS[this.o.filesystem].make(folder, IMAGE, filesystem);
      await this.writeBack(disk, before, folder);
    });
    return filesystem;
  }

  /** Writes a file in the root folder, replacing one of that name. Returns the sha256 of its content. */
  async write(disk: Disk, name: string, content: Buffer): Promise<string> {
    await this.mounted(disk, "write", async ({ folder, before, tools }) => {
      await tools.put(folder, IMAGE, name, content);
      await this.writeBack(disk, before, folder);
    });
    return sha256Of(content);
  }

  /** Writes the breadcrumb of a stage. */
  async breadcrumb(disk: Disk, stage: string): Promise<WrittenBreadcrumb> {
    const { instance, device, volumeId } = disk;
    const breadcrumb = { instance, device, volumeId, stage, writtenAt: this.o.now().toISOString() };
    const file = breadcrumbName(instance, stage);
    const content = Buffer.from(formatBreadcrumb(breadcrumb));
    return { ...breadcrumb, file, sizeBytes: content.length, sha256: await this.write(disk, file, content) };
  }

  /** The files in the root folder, with their content, by name. */
  list(disk: Disk): Promise<FileFacts[]> {
    return this.mounted(disk, "list", ({ folder, tools }) => tools.files(folder, IMAGE));
  }

  /** @throws DrError `precondition` when there's no such file */
  async read(disk: Disk, name: string): Promise<Buffer> {
    const files = await this.list(disk);
    const file = files.find((candidate) => candidate.name === name);
    if (file) return file.content;
    throw refusal(
      disk,
      `read ${name}`,
      `there's no such file (files: ${files.map((other) => other.name).join(", ") || "none"})`,
    );
  }

  /** @throws DrError `failure-state` with the checker's words when the filesystem is damaged */
  fsck(disk: Disk): Promise<Filesystem> {
    return this.mounted(disk, "fsck", async (mounted) => {
      await assertClean(disk, mounted);
      return mounted.filesystem;
    });
  }

  /** `fsck` and `list` on one and the same state of the disk. */
  examine(disk: Disk): Promise<FileFacts[]> {
    return this.mounted(disk, "examine", async (mounted) => {
      await assertClean(disk, mounted);
      return mounted.tools.files(mounted.folder, IMAGE);
    });
  }

  /** Writes `bytes` reproducible bytes behind the filesystem's area, to have something to transfer and to compare. Returns their sha256. */
  async fill(disk: Disk, bytes: number, seed: string): Promise<string> {
    const cipher = createCipheriv("aes-256-ctr", createHash("sha256").update(seed).digest(), Buffer.alloc(16));
    const data = cipher.update(Buffer.alloc(bytes));
    const runs = [];
    for (let start = 0; start < bytes; start += FILL_RUN_BYTES) {
      runs.push({ offset: FILESYSTEM_BYTES + start, bytes: data.subarray(start, start + FILL_RUN_BYTES) });
    }
    await writeBlocks(disk, runs, this.o);
    return sha256Of(data);
  }

  /** sha256 of the filesystem's area, and of `fillBytes` bytes behind it. */
  async hash(disk: Disk, fillBytes: number): Promise<{ filesystem: string; fill: string }> {
    return inFolder(async (folder) => {
      const bytes = FILESYSTEM_BYTES + fillBytes;
      const all = await copyBlocks(disk, 0, bytes, join(folder, IMAGE), this.o);
      return {
        filesystem: sha256Of(all.subarray(0, FILESYSTEM_BYTES)),
        fill: sha256Of(all.subarray(FILESYSTEM_BYTES)),
      };
    });
  }

  private readArea(disk: Disk, folder: string): Promise<Buffer> {
    return copyBlocks(disk, 0, FILESYSTEM_BYTES, join(folder, IMAGE), this.o);
  }

  private async mounted<T>(disk: Disk, what: string, work: (mounted: Mounted) => Promise<T>): Promise<T> {
    return inFolder(async (folder) => {
      const before = await this.readArea(disk, folder);
      const found = recognise(before);
      if (!found) throw refusal(disk, what, "there's no filesystem: neither an ext4 nor an archive");
      return work({ folder, before, ...found });
    });
  }

  private async writeBack(disk: Disk, before: Buffer, folder: string): Promise<void> {
    await writeBlocks(disk, planRuns(before, await readFile(join(folder, IMAGE))), this.o);
  }
}

interface Recognised {
  filesystem: Filesystem;
  tools: FilesystemTools;
}

interface Mounted extends Recognised {
  folder: string;
  before: Buffer;
}

/** By the disk's content alone: it may have been formatted elsewhere. */
function recognise(image: Buffer): Recognised | undefined {
  for (const tools of Object.values(KINDS)) {
    const filesystem = tools.parse(image);
    if (filesystem) return { filesystem, tools };
  }
  return undefined;
}

async function assertClean(disk: Disk, { folder, tools }: Mounted): Promise<void> {
  const damage = await tools.findDamage(folder, IMAGE);
  if (damage === undefined) return;
  throw new DrError({
    code: "failure-state",
    attempted: `fsck of /dev/${disk.device} of ${disk.instance}`,
    seen: damage,
  });
}

function refusal(disk: Disk, what: string, seen: string): DrError {
  return new DrError({ code: "precondition", attempted: `${what} on /dev/${disk.device} of ${disk.instance}`, seen });
}
