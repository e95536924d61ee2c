import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

const projectRoot = path.resolve(__dirname, "../../..");

describe("the test runner", function () {
  this.timeout(120_000); // starts programs, on machines that may be busy

  let root: string;

  beforeEach(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), "cheesecake-runner-"));
    fs.cpSync(path.join(projectRoot, "tools"), path.join(root, "tools"), { recursive: true });
    for (const name of ["package.json", "package-lock.json", "tsconfig.json", ".mocharc.cjs", "test/support/skip.ts"]) {
      fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
      fs.copyFileSync(path.join(projectRoot, name), path.join(root, name));
    }
    fs.symlinkSync(path.join(projectRoot, "node_modules"), path.join(root, "node_modules"));
    needNothing(path.join(root, "tools/test.mjs"));
  });

  afterEach(() => fs.rmSync(root, { recursive: true }));

  it("adds up its levels in the last line", () => {
    spec("unit/a", `it("passes", () => {}); it("passes too", () => {});`);
    spec("unit/deeper/b", `it("passes", () => {});`);
    const { status, lines } = run("unit", "contract");
    assert.equal(lines.at(-1), "3 passed, 0 failed, 0 skipped");
    assert.ok(lines.includes("contract: no tests yet"));
    assert.equal(status, 0);
  });

  it("runs what needs no real OpenStack, and the levels that are added", () => {
    const levelsOf = (lines: string[]) =>
      lines.flatMap((line) => /^(\w+): (1 files|no tests yet)$/.exec(line)?.[1] ?? []);
    spec("unit/a", `it("passes", () => {});`);
    const ordinary = ["unit", "contract", "scenario", "pulumi"];
    assert.deepEqual(levelsOf(run().lines), ordinary);
    const { lines, status } = run("--with", "openstack", "--with=full", "--with", "unit");
    assert.deepEqual(levelsOf(lines), [...ordinary, "openstack", "full"]);
    assert.equal(lines.at(-1), "1 passed, 0 failed, 0 skipped");
    assert.equal(status, 0);
  });

  it("prints the hazards that a level met, and writes them as JSON where asked to", () => {
    const row = { id: "D1", behaviour: "b", produced: "p", handled: "h", lost: "0" };
    spec(
      "unit/a",
      `import { appendFileSync } from "node:fs";
       it("meets one", () => appendFileSync(process.env["CHEESECAKE_TEST_HAZARDS"] ?? "", '${JSON.stringify(row)}\\n'));`,
    );
    const file = path.join(root, "hazards.json");
    const { status, lines } = run("unit", "--json", file);
    assert.ok(lines.includes("hazards met: 1"), lines.join("\n"));
    assert.deepEqual(JSON.parse(fs.readFileSync(file, "utf8")), [row]);
    assert.equal(status, 0);
  });

  it("fails when a test fails", () => {
    spec("unit/a", `it("passes", () => {}); it("fails", () => { throw new Error("on purpose"); });`);
    spec("contract/a", `it("passes", () => {});`);
    const { status, lines } = run("unit", "contract");
    // Said again at the end: the first failure of a long run is the one that explains the others.
    const at = lines.indexOf("failed: fails: Error: on purpose");
    assert.ok(at > lines.findLastIndex((line) => line.includes("✔")), lines.join("\n"));
    assert.match(lines[at + 1] ?? "", /^ +at .*a\.spec\.ts/);
    assert.equal(lines.at(-1), "2 passed, 1 failed, 0 skipped");
    assert.equal(status, 1);
  });

  it("runs two jobs side by side: a level, or a file or folder of one that has a lab", () => {
    // Each ends only once the other one has begun.
    const meets = (own: string, other: string) =>
      `import { existsSync, writeFileSync } from "node:fs";
       it("meets ${other}", async () => {
         writeFileSync("${own}", "");
         while (!existsSync("${other}")) await new Promise((resolve) => setTimeout(resolve, 20));
       }).timeout(60_000);`;
    spec("openstack/switchover", meets("a", "b"));
    spec("openstack/hazards/one", meets("b", "a"));
    spec("openstack/hazards/two", `it("runs in the process of one", () => {});`);
    const { status, lines } = run("openstack");
    assert.equal(lines.at(-1), "3 passed, 0 failed, 0 skipped");
    assert.ok(lines.includes("openstack: 3 files"));
    assert.ok(lines.some((line) => /^openstack\/hazards: 2 passed, 0 failed, 0 skipped \(\d+ s\)$/.test(line)));
    assert.ok(
      lines.some((line) => /^openstack\/switchover │ +✔ meets b/.test(line)),
      lines.join("\n"),
    );
    assert.equal(status, 0);
  });

  it("runs one job after the other where told to", () => {
    spec("unit/a", `it("passes", () => {});`);
    spec("contract/a", `it("passes", () => {});`);
    const { lines } = run("unit", "contract", "--jobs", "1");
    const endOf = (job: string): number => lines.findIndex((line) => line.startsWith(`${job}: 1 passed`));
    assert.ok(endOf("contract") < endOf("unit"), lines.join("\n"));
    assert.ok(lines.every((line) => !line.includes("│")));
    assert.match(run("unit", "--jobs", "none").stderr, /^--jobs none: a number from 1 on is needed/);
  });

  it("prints why a test was skipped, also one skipped by a hook", () => {
    spec(
      "unit/a",
      `import { skipBecause } from "../support/skip";
       it("passes", () => {});
       it("needs a moon", function () { skipBecause(this, "there is no moon"); });
       describe("all of these", () => {
         before(function () { skipBecause(this, "there is no sun"); });
         it("need a sun", () => {});
       });`,
    );
    const { status, lines } = run("unit");
    assert.ok(lines.includes("skipped: needs a moon: there is no moon"));
    assert.ok(lines.includes("skipped: all of these need a sun: there is no sun"));
    assert.equal(lines.at(-1), "1 passed, 0 failed, 2 skipped");
    assert.equal(status, 0);
  });

  it("fails when a test was skipped without a reason", () => {
    spec("unit/a", `it("passes", () => {}); it.skip("is left out", () => {});`);
    const { status, lines } = run("unit");
    assert.equal(lines.at(-1), "1 passed, 1 failed, 0 skipped");
    assert.equal(status, 1);
  });

  it("fails when a level ends before its tests do", () => {
    spec("unit/a", `it("passes", () => {}); it("ends the process", () => process.exit(0));`);
    const { status, lines } = run("unit");
    assert.ok(lines.includes("failed: unit: mocha ended with 0 before it had a result"));
    assert.equal(lines.at(-1), "0 passed, 1 failed, 0 skipped");
    assert.equal(status, 1);
  });

  it("fails when a file can't be loaded", () => {
    spec("unit/a", `import "./nowhere";`);
    const { status, lines } = run("unit");
    assert.equal(lines.at(-1), "0 passed, 1 failed, 0 skipped");
    assert.equal(status, 1);
  });

  it("fails when nothing ran", () => {
    const { status, lines } = run("unit");
    assert.equal(lines.at(-1), "0 passed, 0 failed, 0 skipped");
    assert.equal(status, 1);
  });

  it("refuses a level that doesn't exist", () => {
    const { status, stderr } = run("everything");
    assert.match(stderr, /no test level everything: name any of unit, contract, scenario, pulumi, openstack/);
    assert.equal(status, 1);
    assert.match(run("--with", "everything").stderr, /no test level everything/);
    assert.match(run("--without", "unit").stderr, /^Unknown option '--without'/);
  });

  it("ends what its tests have started when it's told to end", async () => {
    spec(
      "unit/a",
      `import { spawn } from "node:child_process";
       it("takes for ever", (done) => { console.log("pids", process.pid, spawn("sleep", ["1000"]).pid); }).timeout(0);`,
    );
    const runner = spawn(process.execPath, [path.join(root, "tools/test.mjs"), "unit"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(runner, "exit");
    let pids: number[] = [];
    for await (const line of createInterface({ input: runner.stdout })) {
      if (!line.startsWith("pids ")) continue;
      pids = line.split(" ").slice(1).map(Number);
      runner.kill("SIGTERM");
    }
    assert.deepEqual(await exited, [143, null]);
    assert.equal(pids.length, 2);
    for (const pid of pids) await ends(pid);
  });

  it("ends what a test has left behind", async () => {
    spec(
      "unit/a",
      `import { spawn } from "node:child_process";
       it("leaves a process", () => { const child = spawn("sleep", ["1000"], { stdio: "ignore" }); child.unref(); console.log("pid", child.pid); });`,
    );
    const { lines } = run("unit");
    const pid = Number(lines.find((line) => line.startsWith("pid "))?.slice(4));
    assert.ok(pid > 0);
    await ends(pid);
  });

  it("ends a job that goes on after its tests, and tells what they left open", () => {
    spec("unit/a", `it("leaves a timer", () => void setInterval(() => undefined, 1000));`);
    const { lines, status } = run("unit");
    assert.match(lines.join("\n"), /^left open: .*Timeout/m);
    assert.ok(lines.includes("unit: went on after its tests, by what they left open, and was ended"), lines.join("\n"));
    assert.equal(lines.at(-1), "1 passed, 0 failed, 0 skipped");
    assert.equal(status, 0);
  });

  /** What the levels need takes minutes to set up on a new machine; the specs here need none of it. */
  function needNothing(file: string): void {
    const text = fs.readFileSync(file, "utf8");
    const changed = text.replace(/^( {2}\w+: )\["(?:all|node_modules)".*\],$/gm, '$1["node_modules"],');
    assert.notEqual(changed, text);
    fs.writeFileSync(file, changed);
  }

  function spec(name: string, body: string): void {
    const file = path.join(root, "test", `${name}.spec.ts`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, `${body}\nexport {};\n`);
  }

  function run(...levels: string[]): { status: number | null; lines: string[]; stderr: string } {
    const program = path.join(root, "tools/test.mjs");
    const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...levels], { encoding: "utf8" });
    return { status, lines: stdout.trim().split("\n"), stderr };
  }
});

/** A process that was sent a signal may take a moment to go. */
async function ends(pid: number): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (isRunning(pid)) {
    assert.ok(Date.now() < deadline, `process ${pid} is left behind`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether it runs; a zombie that nobody has waited for yet doesn't. */
function isRunning(pid: number): boolean {
  const state = fs.existsSync(`/proc/${pid}/stat`) ? fs.readFileSync(`/proc/${pid}/stat`, "utf8") : "";
  return state !== "" && !/\) [ZX]/.test(state);
}
