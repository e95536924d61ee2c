/**
 * The simulators as JavaScript, kept in the cache: a service that is started by plain Node is there in a third of a
 * second, and a switchover restarts several.
 */
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as ts from "typescript";
import { cacheFolder } from "../openstack/slots";

const source = path.join(__dirname, "..", "simulators");

/** Returns the folder that has them; made anew where a source or the compiler is another one. */
export function transpiledSimulators(): string {
  const files = fs
    .readdirSync(source, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .sort();
  const texts = files.map((file) => [file, fs.readFileSync(path.join(source, file), "utf8")] as const);
  const hash = crypto
    .createHash("sha256")
    .update(`${ts.version}\n${JSON.stringify(texts)}`)
    .digest("hex")
    .slice(0, 16);
  const target = path.join(cacheFolder(), `simulators-${hash}`);
  if (fs.existsSync(target)) return target;
  const draft = `${target}.${process.pid}`;
  const compilerOptions: ts.CompilerOptions = {
    module: ts.ModuleKind.CommonJS,
    target: ts.ScriptTarget.ES2022,
    esModuleInterop: true,
    useDefineForClassFields: false,
    inlineSourceMap: true,
  };
  for (const [file, text] of texts) {
    const { outputText } = ts.transpileModule(text, { compilerOptions, fileName: path.join(source, file) });
    const made = path.join(draft, file.replace(/\.ts$/, ".js"));
    fs.mkdirSync(path.dirname(made), { recursive: true });
    fs.writeFileSync(made, outputText);
  }
  // Another lab may have been faster; its result is the same.
  if (fs.existsSync(target)) fs.rmSync(draft, { recursive: true });
  else fs.renameSync(draft, target);
  return target;
}
