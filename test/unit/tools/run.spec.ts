import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

const projectRoot = path.resolve(__dirname, "../../..");
const runFile = path.join(projectRoot, "tools/run.mjs");

const { needOf } = createRequire(__filename)(runFile) as {
  needOf: (need: string[], rest: string[]) => string[];
};

describe("the launcher", function () {
  this.timeout(120_000); // starts programs, on machines that may be busy

  let folder: string;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), "cheesecake-run-"))));
  afterEach(() => fs.rmSync(folder, { recursive: true }));

  const command = (source: string, ...args: string[]): string[] => {
    const file = path.join(folder, "program.ts");
    fs.writeFileSync(file, source);
    return [runFile, "--need", "node_modules", "--", file, ...args];
  };

  it("runs a TypeScript program on the project's Node, with its arguments, and ends as it ends", () => {
    const source = `const [a, b]: string[] = process.argv.slice(2);
      console.log(JSON.stringify({ a, b, node: process.version, toolchain: process.env.CINDER_CHEESECAKE_TOOLCHAIN }));
      process.exit(7);`;
    const { status, stdout } = spawnSync(process.execPath, command(source, "--need", "x y"), { encoding: "utf8" });
    const seen = JSON.parse(stdout) as { a: string; b: string; node: string; toolchain: string };
    assert.deepEqual([seen.a, seen.b], ["--need", "x y"]);
    assert.match(seen.node, /^v24\./);
    const nodeModules = path.join(projectRoot, "node_modules");
    assert.deepEqual(JSON.parse(seen.toolchain), { nodeModules, node: path.join(nodeModules, ".bin/node") });
    assert.equal(status, 7);
  });

  it("passes a signal on and ends by the program's answer to it", async () => {
    const source = `process.on("SIGTERM", () => { console.log("told"); process.exit(3); });
      setInterval(() => {}, 1e9); console.log("up");`;
    const launcher = spawn(process.execPath, command(source), { stdio: ["ignore", "pipe", "ignore"] });
    const exited = once(launcher, "exit");
    let output = "";
    for await (const chunk of launcher.stdout) {
      output += String(chunk);
      if (output === "up\n") launcher.kill("SIGTERM");
    }
    assert.equal(output, "up\ntold\n");
    assert.deepEqual(await exited, [3, null]);
  });

  it("reports a program that a signal ended the way a shell does", () => {
    const { status } = spawnSync(process.execPath, command(`process.kill(process.pid, "SIGKILL");`));
    assert.equal(status, 137);
  });

  it("sets up for a program what it needs of everything", () => {
    const demo = (...args: string[]) => needOf(["all"], ["lab/demo/main.ts", ...args]);
    assert.deepEqual(demo("--instances", "3"), ["node_modules", "pulumi", "embedded"]);
    assert.deepEqual(demo("--flavour", "embedded"), ["node_modules", "pulumi", "embedded"]);
    assert.deepEqual(demo("--flavour", "openstack", "--keep"), ["all"]);
    assert.deepEqual(demo("--instances", "3", "--flavour=openstack"), ["all"]);
    const lab = (...args: string[]) => needOf(["all"], ["lab/main.ts", ...args]);
    assert.deepEqual(lab("up"), ["all"]);
    assert.deepEqual(lab("up", "--flavour=embedded"), ["node_modules", "pulumi", "embedded"]);
    assert.deepEqual(lab("down", "--dir", "x"), ["node_modules"]);
    const bench = (...args: string[]) => needOf(["all", "bench"], ["bench/main.ts", ...args]);
    assert.deepEqual(bench("--only", "2"), ["all", "bench"]);
    assert.deepEqual(bench("--quick"), ["node_modules", "pulumi", "embedded"]);
    assert.deepEqual(needOf(["python"], ["x.ts", "down", "--flavour", "embedded"]), ["python"]);
  });

  it("asks for a program and refuses what it doesn't know", () => {
    const refused = (...args: string[]) => spawnSync(process.execPath, [runFile, ...args], { encoding: "utf8" }).stderr;
    assert.match(refused(), /^Nothing to run: node tools\/run\.mjs/);
    assert.match(refused("--needs", "all"), /^Unknown argument --needs/);
    assert.match(refused("--need", "docker", "--", "x.ts"), /^There is no part "docker"/);
  });
});
