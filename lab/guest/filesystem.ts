/** What a guest does with a filesystem, whichever kind it is. It works on an image, a copy of the filesystem's area of the disk. */
import { createHash } from "node:crypto";
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

/** One kind of filesystem. `image` is the name of the image's file in `folder`, where a kind may keep files of its own. */
export interface FilesystemTools {
  /** What the image says it is; undefined where it holds no filesystem of this kind. Pure. */
  parse(image: Buffer): Filesystem | undefined;
  /** Makes a filesystem on an image of zeroes. */
  make(folder: string, image: string, filesystem: Filesystem): Promise<void>;
  /** Puts a file in the root folder, in place of one that has its name. */
  put(folder: string, image: string, name: string, content: Buffer): Promise<void>;
  /** The files in the root folder, by name. */
  files(folder: string, image: string): Promise<FileFacts[]>;
  /** Checks without repairing. Returns what was found, or undefined when the filesystem is clean. */
  findDamage(folder: string, image: string): Promise<string | undefined>;
}

export function factsOf(name: string, content: Buffer): FileFacts {
  return { name, sizeBytes: content.length, sha256: sha256Of(content), content };
}

export function sha256Of(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** debugfs reads its commands by words: a name with a space would be two. */
export function assertPlainName(name: string): void {
  if (/^[\w][\w.:+-]*$/.test(name) && name !== "lost+found") return;
  throw new DrError({
    code: "config",
    attempted: `Write file ${JSON.stringify(name)}`,
    seen: "letters, digits and . : + - _ are allowed",
  });
}
