/** Which programs this machine has. */
import * as fs from "node:fs";
import * as path from "node:path";

/** Where a program is, or undefined. Servers live in sbin, which isn't on an ordinary user's PATH. */
export function findProgram(name: string, searchPath = process.env["PATH"] ?? ""): string | undefined {
  const folders = [...searchPath.split(path.delimiter), "/usr/local/sbin", "/usr/sbin", "/sbin"];
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
