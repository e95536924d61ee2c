import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/**
 * A folder in which there's room for so many bytes: a file system of its own where this user may mount one; else this
 * process and its children may write no longer file anywhere. Resolves to which of the two it was.
 */
export async function withLittleRoom(
  bytes: number,
  work: (folder: string) => Promise<void>,
): Promise<"a full disk" | "a limit of files' size"> {
  const folder = mkdtempSync(path.join(tmpdir(), "little-room-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", folder]).status === 0;
  const limit = (size: number | "unlimited"): void =>
    void execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${size}:`]);
  try {
    if (!mounted) limit(bytes);
    await work(folder);
  } finally {
    if (mounted) execFileSync("umount", [folder]);
    else limit("unlimited");
    rmSync(folder, { recursive: true });
  }
  return mounted ? "a full disk" : "a limit of files' size";
}
