import { execFile, type ExecFileException } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export const root = path.resolve(__dirname, "../..");

export interface Outcome {
  readonly code: number;
  /** stdout and stderr. */
  readonly output: string;
}

/** Runs a program to its end. */
export function run(program: string, args: readonly string[], cwd: string, env = process.env): Promise<Outcome> {
  return new Promise((resolve) =>
    execFile(program, args, { cwd, env, maxBuffer: 1 << 26 }, (error: ExecFileException | null, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: `${stdout}${stderr}` }),
    ),
  );
}

export async function succeed(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, output } = await run(program, args, cwd);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}:\n${output}`);
  return output;
}

/** The package as npm makes it of this checkout; the file's path. Builds dist/. */
export async function packInto(folder: string): Promise<string> {
  await succeed("npm", ["pack", "--pack-destination", folder], root);
  const [file] = fs.readdirSync(folder).filter((name) => name.endsWith(".tgz"));
  if (file === undefined) throw new Error("npm pack left no package");
  return path.join(folder, file);
}

/**
 * A project of somebody else's in a folder of its own, with the package and with what any Pulumi project has beside it,
 * installed by npm: of the versions that this project itself uses, so that they are in npm's cache already.
 */
export async function newProject(packageFile: string, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "my-cloud-"));
  const { devDependencies } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as {
    devDependencies: Record<string, string>;
  };
  const beside = ["@pulumi/pulumi", "@types/node", "typescript"].map((name) => [name, devDependencies[name]] as const);
  const dependencies = { ...Object.fromEntries(beside), "cinder-cheesecake": `file:${packageFile}` };
  const written = { ...files, "package.json": JSON.stringify({ name: "my-cloud", private: true, dependencies }) };
  for (const [name, text] of Object.entries(written)) fs.writeFileSync(path.join(folder, name), text);
  await succeed("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund"], folder);
  return folder;
}
