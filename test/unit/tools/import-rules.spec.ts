import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const projectRoot = path.resolve(__dirname, "../../..");

// [importing file, what it imports, the rule that must refuse it]
const FORBIDDEN: [string, string, string][] = [
  ["index.ts", "./lib/errors", "index"],
  ["index.ts", "./components/pair", "index"],
  ["stacks/pair.ts", "../cli/status", "stacks"],
  ["components/pair.ts", "../stacks/pair", "components"],
  ["dynamic-providers/backend.ts", "../components/pair", "dynamic-providers"],
  ["lib/switchover/execute.ts", "../../dynamic-providers/backend", "lib"],
  ["lib/http/client.ts", "../../lab/main", "lib"],
  ["cli/status.ts", "../dynamic-providers/backend", "cli"],
  ["lab/main.ts", "../test/support/poll", "lab"],
  ["lib/cinder/client.ts", "@pulumi/pulumi", "without-pulumi"],
  ["cli/status.ts", "@pulumi/pulumi", "without-pulumi"],
  ["cli/status.ts", "../lib/ontap/client", "cli-thin"],
  ["cli/status.ts", "../lib/switchover/execute", "cli-thin"],
  ["lib/settings.ts", "node:fs", "settings-without-io"],
  ["lib/topology/pair.ts", "../http/client", "lib-words"],
  ["lib/http/client.ts", "../ontap/client", "lib-base"],
  ["lib/cinder/client.ts", "../nova/client", "clients-apart"],
  ["lib/cinder-database/client.ts", "../cinder/client", "clients-apart"],
  ["lib/ontap/client.ts", "../switchover/ports", "clients-apart"],
  ["lib/switchover/observe.ts", "../ontap/client", "switchover-sees-ports"],
  ["lib/switchover/observe.ts", "../connections", "switchover-sees-ports"],
  ["lib/switchover/steps/attach.ts", "undici", "switchover-without-network"],
  ["lib/switchover/steps/attach.ts", "node:child_process", "switchover-without-network"],
  ["lib/switchover/plan.ts", "node:fs", "decisions-without-io"],
  ["lib/switchover/plan/order.ts", "node:fs/promises", "decisions-without-io"],
  ["lib/switchover/preflight.ts", "mysql2", "decisions-without-io"],
  ["lib/switchover/preflight/names.ts", "node:net", "decisions-without-io"],
  ["lab/simulators/ontap/server.ts", "../../../lib/errors", "simulators-apart"],
  ["lab/simulators/ontap/server.ts", "../../openstack/up", "simulators-apart"],
  ["lib/nova/client.ts", "mocha", "dev-dependencies"],
  ["lib/nova/client.ts", "./nowhere", "no-missing"],
];

const ALLOWED: [string, string][] = [
  ["index.ts", "./stacks/pair"],
  ["stacks/pair.ts", "../components/pair"],
  ["components/pair.ts", "../dynamic-providers/backend"],
  ["components/pair.ts", "@pulumi/pulumi"],
  ["dynamic-providers/backend.ts", "../lib/connections"],
  ["lib/connections.ts", "../lib/ontap/client"],
  ["lib/connections.ts", "./switchover/ports"],
  ["lib/ontap/client.ts", "../http/client"],
  ["lib/ontap/client.ts", "./types"],
  ["lib/nova/client.ts", "../openstack/service-api"],
  ["lib/http/client.ts", "undici"],
  ["lib/switchover/journal.ts", "node:fs"],
  ["lib/switchover/plan.ts", "../topology/pair"],
  ["cli/status.ts", "../lib/connections"],
  ["cli/status.ts", "../lib/settings"],
  ["stacks/pair.ts", "../lib/settings"],
  ["lib/settings.ts", "./switchover/intent"],
  ["lab/main.ts", "../lib/topology/pair"],
  ["lab/simulators/ontap/server.ts", "fastify"],
  ["lab/simulators/ontap/server.ts", "../clock"],
  ["test/unit/x.spec.ts", "../../lib/nova/client"],
];

describe("the import rules", function () {
  this.timeout(120_000); // starts programs, on machines that may be busy

  let root: string;

  beforeEach(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), "cheesecake-imports-"));
    for (const name of ["package.json", "tsconfig.json"]) {
      fs.copyFileSync(path.join(projectRoot, name), path.join(root, name));
    }
    fs.symlinkSync(path.join(projectRoot, "node_modules"), path.join(root, "node_modules"));
  });

  afterEach(() => fs.rmSync(root, { recursive: true }));

  it("refuse every forbidden import, also one of types alone, by the rule meant for it", () => {
    write([...FORBIDDEN, ...ALLOWED], "import type * as it");
    const problems = check();
    for (const [from, to, rule] of FORBIDDEN) {
      const found = problems.some((problem) => {
        const [importing, imported = ""] = problem.split(" → ");
        return (
          importing === from &&
          imported.includes(path.posix.basename(to).replace("node:", "")) &&
          imported.includes(`(${rule})`)
        );
      });
      // npm-dev is judged for what exists at run time only.
      if (rule !== "dev-dependencies") assert.ok(found, `${from} may import ${to}, by\n${problems.join("\n")}`);
    }
  });

  it("refuse a devDependency that production code would load", () => {
    write([["lib/nova/client.ts", "mocha"]]);
    assert.match(check().join("\n"), /^lib\/nova\/client\.ts → .*mocha.*\(dev-dependencies\)/m);
  });

  it("refuse a cycle", () => {
    write([
      ["lib/nova/a.ts", "./b"],
      ["lib/nova/b.ts", "./a"],
    ]);
    assert.match(check().join("\n"), /lib\/nova\/a\.ts → .*no-cycles/);
  });

  it("refuse a folder that no rule knows", () => {
    write([
      ["commands/status.ts", "../lib/errors"],
      ["lib/swift/client.ts", "../errors"],
    ]);
    const problems = check();
    assert.ok(problems.some((problem) => problem.startsWith("commands isn't in PLACES")));
    assert.ok(problems.some((problem) => problem.startsWith("lib/swift isn't in LIB_PLACES")));
  });

  it("allow everything else", () => {
    write(ALLOWED);
    assert.deepEqual(check(), []);
  });

  /** Writes the importing files, and an empty file for each file imported that exists in the real layout. */
  function write(imports: readonly (readonly [string, string, ...unknown[]])[], how = "import * as it"): void {
    const contents = new Map<string, string>();
    for (const [from, to] of imports) {
      const number = contents.get(from)?.split("\n").length ?? 0;
      contents.set(from, `${contents.get(from) ?? ""}${how}${number} from "${to}";\n`);
      if (!to.startsWith(".") || to === "./nowhere") continue;
      const target = path.posix.join(path.posix.dirname(from), `${to}.ts`);
      if (!contents.has(target)) contents.set(target, "");
    }
    for (const [file, content] of contents) {
      fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
      fs.writeFileSync(path.join(root, file), `${content}export {};\n`);
    }
  }

  /** In a process of its own, since dependency-cruiser keeps what it has read. */
  function check(): string[] {
    const tool = path.join(projectRoot, "tools/check-imports.mjs");
    const program = `import(${JSON.stringify(tool)}).then(async ({ checkImports }) =>
      console.log(JSON.stringify((await checkImports(${JSON.stringify(root)})).problems)))`;
    return JSON.parse(execFileSync(process.execPath, ["-e", program], { encoding: "utf8" })) as string[];
  }
});
