/** Which programs this machine has. */
import * as fs from "node:fs";
import * as path from "node:path";

/** Servers live in sbin, which isn't on an ordinary user's PATH; Fedora's MariaDB in libexec, Homebrew's in its own folder. */
const BEYOND_PATH = [
  ...["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/libexec"],
  ...["/opt/homebrew/opt/mariadb/bin", "/usr/local/opt/mariadb/bin"],
];

/** Where a program is, or undefined. */
export function findProgram(name: string, searchPath = process.env["PATH"] ?? ""): string | undefined {
  const folders = [...searchPath.split(path.delimiter), ...BEYOND_PATH];
  return folders
    .filter((folder) => folder !== "")
    .map((folder) => path.join(folder, name))
    .find((file) => {
      try {
        fs.accessSync(file, fs.constants.X_OK);
        return fs.statSync(file).isFile();
      } catch {
        return false;
      }
    });
}

/** @throws Error where this machine doesn't have it; what a lab needs is asked for before it's brought up. */
export function requireProgram(name: string): string {
  const file = findProgram(name);
  if (file === undefined) throw new Error(`${name} can't be found on this machine.`);
  return file;
}
