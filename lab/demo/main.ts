import { writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { flavours } from "../lab";
import { closingTable, runDemo } from "./story";

/** `npm run demo -- [--flavour embedded|openstack] [--instances N] [--keep] [--json FILE] [--dir DIR]` */
const { values } = parseArgs({
  options: {
    flavour: { type: "string", default: "embedded" },
    instances: { type: "string", default: "49" },
    keep: { type: "boolean", default: false },
    json: { type: "string" },
    dir: { type: "string", default: path.join(".lab", "demo") },
  },
});

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());

async function main(): Promise<void> {
  const instances = Number(values.instances);
  if (!Number.isInteger(instances) || instances < 1)
    throw new Error(`--instances ${values.instances}: a whole number from 1 on is needed.`);
  const flavour = flavours.find((each) => each === values.flavour);
  if (flavour === undefined) throw new Error(`--flavour ${values.flavour}: one of ${flavours.join(", ")} is needed.`);
  const facts = await runDemo({
    flavour,
    instances,
    keep: values.keep,
    dir: values.dir,
    signal: stop.signal,
    print: (line) => console.log(line),
  });
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(facts, null, 2)}\n`);
  console.log(closingTable(facts));
  process.exitCode = facts.verdict === "passed" ? 0 : 1;
}

main().catch((error: unknown) => {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  if (values.json !== undefined)
    writeFileSync(
      values.json,
      `${JSON.stringify({ verdict: "failed", error: error instanceof Error ? error.message : String(error) }, null, 2)}\n`,
    );
  process.exitCode = 1;
});
