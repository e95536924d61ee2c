/**
 * `npm run record`: brings a real lab up, lets the product and the OpenStack plugin go through their scenarios, and
 * writes what they and the services said to test/fixtures/openstack-traffic/. The embedded lab's simulator is made from
 * that, and held to it (test/contract/openstack-simulator).
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import type { LabDescription } from "../lab";
import { labDown, labUp, readSecret } from "../lab";
import { progressTo } from "../openstack/progress";
import { LabPulumi, projectRoot } from "../pulumi";
import { askAround } from "./questions";
import { RecordingProxy } from "./proxy";
import { readRows } from "./rows";
import { StatementLog } from "./statements";

const FOLDER = path.join(projectRoot, "test", "fixtures", "openstack-traffic");
const INSTANCES = 2;

/** Everything that may not be written down. */
function secretsOf(lab: LabDescription): string[] {
  const folder = path.dirname(lab.admin.passwordFile);
  const { secret } = JSON.parse(readFileSync(lab.applicationCredentialFile, "utf8")) as { secret: string };
  const files = readdirSync(folder).map((name) => path.join(folder, name));
  return [secret, ...files.filter((file) => !file.endsWith(".json")).map(readSecret)];
}

/** Versions of what answered. */
function originOf(lab: LabDescription): Record<string, string> {
  const names = ["keystone", "cinder", "nova", "glance", "neutron", "openstack-placement", "oslo.messaging"];
  const script = `import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in ${JSON.stringify(names)}}))`;
  const versions = JSON.parse(execFileSync(lab.python, ["-c", script], { encoding: "utf8" })) as Record<string, string>;
  const mariadb = execFileSync("/usr/sbin/mariadbd", ["--version"], { encoding: "utf8" }).trim();
  return { ...versions, mariadb, "@pulumi/openstack": "3.15.2 (terraform-provider-openstack 1.54.1)" };
}

/** Structure of the schemas that the simulator keeps its state in, as the services' own tools made them. */
function dumpSchema(lab: LabDescription, schema: string, tables: readonly string[] = []): string {
  const { socket } = lab.database;
  const options = ["--socket", socket, "--no-data", "--skip-comments", "--skip-dump-date", "--skip-add-drop-table"];
  return execFileSync("mysqldump", [...options, schema, ...tables], { encoding: "utf8", maxBuffer: 64 << 20 })
    .replace(/ AUTO_INCREMENT=\d+/g, "")
    .replace(/^\/\*M?!.*\*\/;\n/gm, "");
}

const NOVA_TABLES = [
  ...["instances", "instance_extra", "instance_system_metadata", "instance_metadata", "instance_info_caches"],
  ...["block_device_mapping", "services", "compute_nodes", "instance_actions", "instance_actions_events"],
];
const NOVA_API_TABLES = [
  "flavors",
  "flavor_extra_specs",
  "key_pairs",
  "quotas",
  "quota_classes",
  "host_mappings",
  "cell_mappings",
];

async function main(): Promise<void> {
  const python = process.env["CINDER_CHEESECAKE_PYTHON"] ?? "";
  const dir = process.argv[2] ?? mkdtempSync(path.join(os.tmpdir(), "cheesecake-record-"));
  const progress = progressTo((line) => console.log(line));
  let pulumi: LabPulumi | undefined;
  let proxy: RecordingProxy | undefined;
  try {
    const lab = await labUp({ dir, python, progress });
    const address = new URL(lab.endpoints.identity).hostname.replace(/\.1$/, ".2");
    proxy = await RecordingProxy.start(lab, address, secretsOf(lab));
    const statements = await StatementLog.begin(lab);
    const recorded = proxy;
    const cli = new LabPulumi(proxy.through(lab), (line) => console.log(`   │ ${line}`));
    pulumi = cli;
    const { recoveryStack, testLabStack } = cli;
    const rows: Record<string, Awaited<ReturnType<typeof readRows>>> = {};
    const stage = async (name: string, work: () => Promise<unknown>): Promise<void> => {
      progress(name);
      recorded.stage = name;
      await work();
      rows[name] = await readRows(lab);
    };
    await cli.init({ instances: INSTANCES });
    await stage("declare both sites", () => cli.up(recoveryStack));
    await cli.set(testLabStack, "lab.dataVolumeSets", "2");
    await stage("make the test lab", () => cli.up(testLabStack));
    await cli.set(recoveryStack, "activeSite", "idr");
    await stage("preview the switchover", () => cli.preview(recoveryStack));
    await stage("switch over to idr, promotion deferred", () => cli.up(recoveryStack));
    await cli.set(testLabStack, "lab.dataVolumeSets", "3");
    await stage("make volumes while failed over", () => cli.up(testLabStack));
    await cli.set(recoveryStack, "promotion", "immediate");
    await stage("promote idr", () => cli.up(recoveryStack));
    await stage("look again", async () => {
      await cli.up(recoveryStack, "--refresh");
      await cli.up(testLabStack, "--refresh");
    });
    await cli.set(recoveryStack, "activeSite", "iprod");
    await stage("fail back to iprod", () => cli.up(recoveryStack));
    await stage("ask around", () => askAround(recorded.through(lab)));
    const destroy = (stack: string) =>
      cli.run(["destroy", "--stack", stack, "--yes", "--skip-preview", "--non-interactive"], { anyCode: true });
    await stage("destroy the test lab", () => destroy(testLabStack));
    await stage("destroy the pair", () => destroy(recoveryStack));

    mkdirSync(FOLDER, { recursive: true });
    const lines = recorded.calls.map((call) => JSON.stringify(call)).join("\n") + "\n";
    writeFileSync(path.join(FOLDER, "traffic.jsonl.gz"), gzipSync(lines, { level: 9 }));
    // What Cinder's NetApp driver asked of the clusters, among the rest.
    const { address: arrays, port } = lab.arrayControl;
    const asked = (await (await fetch(`http://${arrays}:${port}/requests`)).json()) as { who: string }[];
    const driver = asked.filter(({ who }) => who.startsWith("python-")).map((request) => JSON.stringify(request));
    writeFileSync(path.join(FOLDER, "ontap-driver.jsonl.gz"), gzipSync(driver.join("\n") + "\n", { level: 9 }));
    const origin = { made: "by npm run record", instances: INSTANCES, calls: recorded.calls.length, ...originOf(lab) };
    writeFileSync(path.join(FOLDER, "origin.json"), JSON.stringify(origin, null, 2) + "\n");
    const tables = JSON.stringify(rows) + "\n";
    assert.ok(!secretsOf(lab).some((secret) => tables.includes(secret)), "a secret is in the database's rows");
    writeFileSync(path.join(FOLDER, "rows.json.gz"), gzipSync(tables, { level: 9 }));
    writeFileSync(path.join(FOLDER, "statements.json"), JSON.stringify(await statements.end(), null, 2) + "\n");
    const head = "-- Nova's tables as `nova-manage db sync` made them; see origin.json.\n";
    writeFileSync(path.join(FOLDER, "nova-schema.sql"), head + dumpSchema(lab, "nova", NOVA_TABLES));
    writeFileSync(path.join(FOLDER, "nova-api-schema.sql"), head + dumpSchema(lab, "nova_api", NOVA_API_TABLES));
    progress(`${recorded.calls.length} calls are in ${FOLDER}`);
  } finally {
    await proxy?.close();
    if (process.argv[2] === undefined) {
      pulumi?.remove();
      await labDown(dir, { progress });
    }
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
