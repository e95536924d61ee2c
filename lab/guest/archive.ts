/**
 * A filesystem's stand-in where e2fsprogs are missing: a tar archive at the beginning of the image, which any `tar` lists. Its global
 * header has label and UUID; each member's header has the SHA-256 of its content. Members are only ever appended, and the last one
 * of a name counts: so a write that was cut off leaves the files before it whole, and the same write again completes it.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Header, Pax } from "tar";
import { DrError } from "../../lib/errors";
import {
  assertPlainName,
  factsOf,
  sha256Of,
  type FileFacts,
  type Filesystem,
  type FilesystemTools,
} from "./filesystem";

const BLOCK_BYTES = 512;
/** Two blocks of zeroes (POSIX pax, "ustar Interchange Format"). */
const END_BYTES = 2 * BLOCK_BYTES;
const MARK = "guest-archive";
const TYPES: ReadonlySet<string> = new Set(["GlobalExtendedHeader", "ExtendedHeader", "File"]);

interface Member {
  name: string;
  content: Buffer;
  /** As recorded when it was written; empty where its header doesn't say. */
  sha256: string;
}

interface Contents {
  members: Member[];
  /** Where the next member goes. */
  end: number;
  headerDamage: string | undefined;
}

export const archive: FilesystemTools = {
  parse: parseArchive,
  make: async (folder, image, filesystem) => {
    const empty = await readFile(join(folder, image));
    new Pax({ comment: JSON.stringify({ kind: MARK, ...filesystem }) }, true).encode().copy(empty);
    await writeFile(join(folder, image), empty);
  },
  put: async (folder, image, name, content) => {
    assertPlainName(name);
    const bytes = await readFile(join(folder, image));
    const { members, end, headerDamage } = readMembers(bytes);
    const present = latest(members).get(name);
    if (present && present.sha256 === sha256Of(content) && present.content.equals(content)) return;
    const member = encodeMember(name, content);
    const room = bytes.length - END_BYTES - end;
    if (member.length > room)
      throw new DrError({
        code: "failure-state",
        attempted: `Write ${name} (${content.length} bytes) into the archive on the disk`,
        seen: `no space left: ${member.length} bytes are needed, ${Math.max(0, room)} are free`,
      });
    member.copy(bytes, end);
    // What a write that was cut off left is overwritten. Anything else there may be files: they'd be hidden for good.
    const damage = headerDamage ?? strayBytes(bytes, end + member.length);
    if (damage !== undefined)
      throw new DrError({
        code: "failure-state",
        attempted: `Write ${name} into the archive on the disk`,
        seen: `the archive is damaged: ${damage}; nothing was written`,
      });
    await writeFile(join(folder, image), bytes);
  },
  files: async (folder, image) => {
    const { members } = readMembers(await readFile(join(folder, image)));
    const files = [...latest(members).values()].map(({ name, content }): FileFacts => factsOf(name, content));
    return files.sort((a, b) => (a.name < b.name ? -1 : 1));
  },
  findDamage: async (folder, image) => {
    const bytes = await readFile(join(folder, image));
    const { members, end, headerDamage } = readMembers(bytes);
    const wrong = [...latest(members).values()].filter(({ sha256, content }) => sha256 !== sha256Of(content));
    const problems = [
      headerDamage ?? strayBytes(bytes, end) ?? [],
      ...wrong.map(
        ({ name, sha256, content }) => `${name}: its content has SHA-256 ${sha256Of(content)}, written was ${sha256}`,
      ),
    ].flat();
    return problems.length === 0 ? undefined : problems.join("; ");
  },
};

function parseArchive(image: Buffer): Filesystem | undefined {
  const header = new Header(image, 0);
  if (!header.cksumValid || header.type !== "GlobalExtendedHeader") return undefined;
  const { comment } = Pax.parse(bodyOf(image, 0, header.size ?? 0).toString("utf8"), undefined, true);
  const about = parseObject(comment);
  if (about?.kind !== MARK || typeof about.label !== "string" || typeof about.uuid !== "string") return undefined;
  return { label: about.label, uuid: about.uuid };
}

function parseObject(text: string | undefined): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text ?? "");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function encodeMember(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  // The same bytes for the same file, whenever it's written.
  new Header({ path: name, size: content.length, type: "File", mode: 0o644, mtime: new Date(0) }).encode(header, 0);
  const padding = Buffer.alloc(padded(content.length) - content.length);
  return Buffer.concat([new Pax({ path: name, comment: sha256Of(content) }).encode(), header, content, padding]);
}

function readMembers(image: Buffer): Contents {
  const members: Member[] = [];
  let extended: Pax | undefined;
  /** Behind the last whole member: a header whose member was cut off doesn't count. */
  let end = 0;
  for (let at = 0; at + BLOCK_BYTES <= image.length;) {
    const header = new Header(image, at);
    if (header.nullBlock) break;
    const size = header.size ?? 0;
    const next = at + BLOCK_BYTES + padded(size);
    if (!header.cksumValid || next > image.length || !TYPES.has(header.type))
      return { members, end, headerDamage: `at byte ${at} there's no header of a member` };
    const body = bodyOf(image, at, size);
    if (header.type === "ExtendedHeader") extended = Pax.parse(body.toString("utf8"));
    else end = next;
    if (header.type === "File") {
      members.push({ name: extended?.path ?? header.path ?? "", content: body, sha256: extended?.comment ?? "" });
      extended = undefined;
    }
    at = next;
  }
  return { members, end, headerDamage: undefined };
}

/** What is behind the archive's end, where only zeroes may be: a block that was lost in the middle looks like its end. */
function strayBytes(image: Buffer, end: number): string | undefined {
  const rest = image.subarray(end);
  if (rest.equals(Buffer.alloc(rest.length))) return undefined;
  return `behind its end at byte ${end} there are bytes, from ${end + rest.findIndex((byte) => byte !== 0)} on`;
}

function latest(members: readonly Member[]): Map<string, Member> {
  return new Map(members.map((member) => [member.name, member]));
}

const bodyOf = (image: Buffer, at: number, size: number): Buffer =>
  image.subarray(at + BLOCK_BYTES, at + BLOCK_BYTES + size);

const padded = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
