/**
 * The bytes of LUNs: sparse files, copies, and differences by 4 KiB blocks over allocated extents.
 * `cp` and `perl` do what Node can't: sparse copies and SEEK_DATA. Without `perl` files are read from end to end.
 */
import { execFile } from "node:child_process";
import { promises as fs } from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";
import pLimit from "p-limit";

const run = promisify(execFile);
const processes = pLimit(3);
export const blockBytes = 4096;
const chunkBytes = 1 << 20;
const files = pLimit(16);

/** Something for each of many files, several at once; the results in their order. */
export const forEachFile = <T, R>(items: Iterable<T>, work: (item: T) => Promise<R>): Promise<R[]> =>
  Promise.all(Array.from(items, (item) => files(() => work(item))));

export interface Range {
  offset: number;
  length: number;
}

export async function createSparse(file: string, sizeBytes: number): Promise<void> {
  await fs.mkdir(path.dirname(file), { recursive: true });
  const handle = await fs.open(file, "wx", 0o600);
  try {
    await handle.truncate(sizeBytes);
  } finally {
    await handle.close();
  }
}

export async function resize(file: string, sizeBytes: number): Promise<void> {
  await fs.truncate(file, sizeBytes);
}

export const remove = (file: string): Promise<void> => fs.rm(file, { force: true, recursive: true });

/** GNU's; Apple's cp clones, which keeps holes. */
const copyOptions = process.platform === "darwin" ? ["-c"] : ["--sparse=always", "--reflink=auto"];

/** A sparse copy with times kept; several files go into a directory under their own names. */
export async function copyInto(files: readonly string[], target: string): Promise<void> {
  for (let i = 0; i < files.length; i += 200) {
    const some = files.slice(i, i + 200);
    await processes(() => run("cp", ["-a", ...copyOptions, "--", ...some, target]));
  }
}

async function dataExtents(file: string): Promise<readonly Range[]> {
  const { size, blocks } = await fs.stat(file);
  if (size === 0 || blocks === 0) return [];
  const whole = [{ offset: 0, length: size }];
  return size <= 4 * chunkBytes ? whole : ((await lookUpExtents(file)) ?? whole);
}

/** For each file named on standard input, ended by NUL, a line: its extents' beginnings and ends, or what failed. Linux's numbers. */
const seekData = `
  my ($SEEK_DATA, $SEEK_HOLE, $ENXIO) = (3, 4, 6);
  $/ = "\\0";
  FILE: while (my $file = <STDIN>) {
    chomp $file;
    my ($at, $handle, @ends) = (0);
    my $failed = sub { print "failed: $!\\n" };
    open($handle, "<", $file) or $failed->(), next;
    while (defined(my $data = sysseek($handle, $at, $SEEK_DATA))) {
      $at = sysseek($handle, $data, $SEEK_HOLE) or $failed->(), next FILE;
      push @ends, $data + 0, $at + 0;
    }
    $! == $ENXIO or $failed->(), next;
    print "@ends\\n";
  }`;

interface LookUp {
  readonly file: string;
  readonly resolve: (extents: readonly Range[] | undefined) => void;
  readonly reject: (error: unknown) => void;
}
let waiting: LookUp[] = [];
const oneLookUp = pLimit(1);

/**
 * Undefined where there's no `perl`, or another system's numbers. It takes far longer to start than to look at a file, so
 * those that are asked for while it's at work share the next one.
 */
function lookUpExtents(file: string): Promise<readonly Range[] | undefined> {
  return new Promise((resolve, reject) => {
    waiting.push({ file, resolve, reject });
    if (waiting.length === 1) setImmediate(() => void oneLookUp(lookUpWaiting));
  });
}

async function lookUpWaiting(): Promise<void> {
  const batch = waiting;
  waiting = [];
  try {
    const lines = await seekDataIn(batch.map(({ file }) => file));
    for (const [index, { file, resolve, reject }] of batch.entries()) {
      const line = lines?.[index];
      if (line?.startsWith("failed") === true) reject(new Error(`Look for the extents of ${file}: ${line}`));
      else resolve(line === undefined ? undefined : extentsOf(line));
    }
  } catch (error) {
    for (const { reject } of batch) reject(error);
  }
}

/** A line for each file. */
async function seekDataIn(names: readonly string[]): Promise<readonly string[] | undefined> {
  if (process.platform !== "linux") return undefined;
  const running = run("perl", ["-e", seekData], { maxBuffer: 1 << 28 });
  running.child.stdin?.on("error", () => undefined); // it ended before it had read all: what `run` throws says why
  running.child.stdin?.end(names.map((name) => `${name}\0`).join(""));
  try {
    const lines = (await running).stdout.split("\n").slice(0, -1);
    if (lines.length !== names.length) throw new Error(`perl told of ${lines.length} files, asked for ${names.length}`);
    return lines;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function extentsOf(line: string): Range[] {
  const ends = line.split(" ").filter(Boolean).map(Number);
  return ends.flatMap((end, i) => {
    const offset = ends[i - 1] ?? 0;
    return i % 2 === 1 ? [{ offset, length: end - offset }] : [];
  });
}

/** Union of ranges, rounded out to blocks, cut at `size`, in order. */
export function mergeRanges(ranges: readonly Range[], sizeBytes: number): Range[] {
  const rounded = ranges
    .map((r) => ({
      from: Math.floor(r.offset / blockBytes) * blockBytes,
      to: Math.min(sizeBytes, Math.ceil((r.offset + r.length) / blockBytes) * blockBytes),
    }))
    .filter((r) => r.to > r.from)
    .sort((a, b) => a.from - b.from);
  const out: { from: number; to: number }[] = [];
  for (const r of rounded) {
    const last = out[out.length - 1];
    if (last && r.from <= last.to) last.to = Math.max(last.to, r.to);
    else out.push({ ...r });
  }
  return out.map((r) => ({ offset: r.from, length: r.to - r.from }));
}

async function readAt(handle: fs.FileHandle | undefined, buffer: Buffer, offset: number): Promise<void> {
  let done = 0;
  while (handle !== undefined && done < buffer.length) {
    const { bytesRead } = await handle.read(buffer, done, buffer.length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  buffer.fill(0, done);
}

/**
 * By inodes and the times of their last change, which, unlike those of modification, nobody can set: a copy, a restore and a
 * reused inode each have their own. Asked for again and again as long as nobody writes.
 */
const found = new Map<string, readonly Range[]>();
const foundAtMost = 20_000;

/** Where `next` differs from `base` (undefined: from all zeros), as runs of whole blocks inside next's size. */
export async function difference(
  base: string | undefined,
  next: string,
  signal?: AbortSignal,
): Promise<readonly Range[]> {
  const pair = async (): Promise<string | undefined> => {
    const files = base === undefined ? [next] : [base, next];
    const stats = await Promise.all(files.map((file) => fs.stat(file, { bigint: true })));
    // Changed in this clock tick: what comes next leaves no trace. By a clock that was put back nothing can be told.
    if (stats.some(({ ctimeMs }) => Number(ctimeMs) > Date.now() - 50)) return undefined;
    return stats.map(({ dev, ino, ctimeNs, size }) => `${dev} ${ino} ${ctimeNs} ${size}`).join(" ");
  };
  const before = await pair();
  const known = before === undefined ? undefined : found.get(before);
  if (known !== undefined) return known;
  const ranges = await compare(base, next, signal);
  if (before !== undefined && signal?.aborted !== true && (await pair()) === before) {
    if (found.size >= foundAtMost) found.clear();
    found.set(before, ranges);
  }
  return ranges;
}

async function compare(base: string | undefined, next: string, signal?: AbortSignal): Promise<Range[]> {
  const { size } = await fs.stat(next);
  const extents = (await Promise.all((base === undefined ? [next] : [next, base]).map(dataExtents))).flat();
  const out: Range[] = [];
  if (extents.length === 0) return out;
  const nextHandle = await fs.open(next, "r");
  let baseHandle: fs.FileHandle | undefined;
  try {
    if (base !== undefined) baseHandle = await fs.open(base, "r");
    const [a, b] = [Buffer.allocUnsafe(chunkBytes), Buffer.allocUnsafe(chunkBytes)];
    for (const extent of mergeRanges(extents, size)) {
      for (let offset = extent.offset; offset < extent.offset + extent.length; offset += chunkBytes) {
        if (signal?.aborted) return out;
        const length = Math.min(chunkBytes, extent.offset + extent.length - offset);
        const [x, y] = [a.subarray(0, length), b.subarray(0, length)];
        await readAt(nextHandle, x, offset);
        await readAt(baseHandle, y, offset);
        if (x.equals(y)) continue;
        for (let i = 0; i < length; i += blockBytes) {
          const end = Math.min(length, i + blockBytes);
          if (x.compare(y, i, end, i, end) === 0) continue;
          const last = out[out.length - 1];
          if (last && last.offset + last.length === offset + i) last.length += end - i;
          else out.push({ offset: offset + i, length: end - i });
        }
      }
    }
  } finally {
    await nextHandle.close();
    await baseHandle?.close();
  }
  return out;
}

export const bytesOf = (ranges: readonly Range[]): number => ranges.reduce((sum, r) => sum + r.length, 0);

/** Writes the ranges of `source` into `target` in place (same inode: a target that serves it sees the new bytes). */
export async function applyRanges(source: string, target: string, ranges: readonly Range[]): Promise<void> {
  const { size, atime, mtime } = await fs.stat(source);
  if (ranges.length === 0) {
    // Of thousands of LUNs most haven't changed.
    if ((await fs.stat(target)).size !== size) await fs.truncate(target, size);
    await fs.utimes(target, atime, mtime);
    return;
  }
  const from = await fs.open(source, "r");
  const to = await fs.open(target, "r+");
  try {
    if ((await to.stat()).size !== size) await to.truncate(size);
    const buffer = Buffer.allocUnsafe(chunkBytes);
    for (const range of ranges) {
      for (let offset = range.offset; offset < range.offset + range.length; offset += chunkBytes) {
        const part = buffer.subarray(0, Math.min(chunkBytes, range.offset + range.length - offset));
        await readAt(from, part, offset);
        await to.write(part, 0, part.length, offset);
      }
    }
    await to.utimes(atime, mtime);
  } finally {
    await from.close();
    await to.close();
  }
}

/**
 * Same size and time of modification, and not modified about when the older one was copied (a write in the same clock tick
 * as the copy would leave no trace).
 */
export async function seemsUnchanged(base: string, baseCopiedAtMs: number, next: string): Promise<boolean> {
  const [a, b] = await Promise.all([fs.stat(base, { bigint: true }), fs.stat(next, { bigint: true })]);
  if (a.ino === b.ino) return true;
  return a.size === b.size && a.mtimeNs === b.mtimeNs && Number(a.mtimeMs) < baseCopiedAtMs - 50;
}
