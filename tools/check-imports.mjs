// Checks the imports against tools/import-rules.cjs: node tools/check-imports.mjs
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { cruise } from "dependency-cruiser";
import extractTSConfig from "dependency-cruiser/config-utl/extract-ts-config";

import rules from "./import-rules.cjs";

const projectRoot = path.resolve(import.meta.dirname, "..");

/**
 * @param {string} root the checkout
 * @returns {Promise<{problems: string[], modules: number}>} one sentence for each forbidden import, and for each place that no rule knows
 */
export async function checkImports(root = projectRoot) {
  const { PLACES, LIB_PLACES, forbidden, options } = rules;
  const present = PLACES.filter((place) => fs.existsSync(path.join(root, place)));
  const problems = [
    ...unknownPlaces(root, "", PLACES).map(
      (place) => `${place} isn't in PLACES of tools/import-rules.cjs, so no rule covers it`,
    ),
    ...unknownPlaces(root, "lib", LIB_PLACES).map(
      (place) => `lib/${place} isn't in LIB_PLACES of tools/import-rules.cjs, so no rule covers it`,
    ),
  ];
  const tsConfigFile = path.join(root, "tsconfig.json");
  const { output } = await cruise(
    present,
    { ...options, baseDir: root, validate: true, ruleSet: { forbidden }, tsConfig: { fileName: tsConfigFile } },
    undefined,
    { tsConfig: extractTSConfig(tsConfigFile) },
  );
  for (const { rule, from, to, cycle } of output.summary.violations) {
    const comment = forbidden.find(({ name }) => name === rule.name)?.comment;
    const what = cycle ? [from, ...cycle.map(({ name }) => name)].join(" → ") : `${from} → ${to}`;
    problems.push(`${what} is forbidden (${rule.name})${comment ? `: ${comment}` : ""}`);
  }
  const ours = output.modules.filter(({ source }) => PLACES.includes(source.split("/")[0]));
  return { problems, modules: ours.length };
}

/** Source files and folders with source files directly in `folder` that `known` doesn't name. */
function unknownPlaces(root, folder, known) {
  const where = path.join(root, folder);
  if (!fs.existsSync(where)) return [];
  return fs
    .readdirSync(where, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith(".") && !["node_modules", "dist"].includes(name) && !known.includes(name))
    .filter((entry) => (entry.isDirectory() ? hasSource(path.join(where, entry.name)) : entry.name.endsWith(".ts")))
    .map(({ name }) => name);
}

function hasSource(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).some((entry) => {
    if (entry.isDirectory()) return entry.name !== "node_modules" && hasSource(path.join(folder, entry.name));
    return entry.name.endsWith(".ts");
  });
}

async function main() {
  const { problems, modules } = await checkImports();
  problems.forEach((problem) => console.error(problem));
  console.log(`imports: ${modules} files, ${problems.length === 0 ? "all rules hold" : `${problems.length} problems`}`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) void main();
