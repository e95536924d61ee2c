// Makes what the package holds: JavaScript and types in dist/, from tsconfig.build.json.
//   node tools/build.mjs [folder instead of dist/]
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const projectRoot = path.resolve(import.meta.dirname, "..");
const outDir = path.resolve(process.argv[2] ?? path.join(projectRoot, "dist"));

// What a former build left would be packed.
fs.rmSync(outDir, { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json", "--outDir", outDir], {
  cwd: projectRoot,
  stdio: "inherit",
});
