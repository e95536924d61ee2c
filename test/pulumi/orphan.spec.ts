import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PulumiProject } from "./support/pulumi-project";

describe("a provider whose CLI ends", function () {
  this.timeout(120_000);
  let project: PulumiProject;
  let folder: string;
  let trace: string;
  let cli: ChildProcess;

  beforeEach(async function () {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "orphan-"));
    trace = path.join(folder, "trace");
    project = await PulumiProject.create(this, path.join(__dirname, "projects/slow"), { plain: { trace } });
    cli = project.start("up", "--yes");
    await until("the provider takes steps", 90_000, () => read(trace).includes("step 3"));
  });
  afterEach(() => {
    if (cli?.exitCode === null) cli.kill("SIGKILL");
    project?.remove();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const providerPid = () => Number(/^pid (\d+)$/m.exec(read(trace))?.[1]);

  it("stops at a step's boundary and is gone within 10 s of a SIGKILL", async () => {
    cli.kill("SIGKILL");
    await until("the provider process is gone", 10_000, () => !isAlive(providerPid()));
    assert.match(read(trace), /^stopped: .*(engine is gone|nobody reads the output)/m);
  });

  it("stops at the first Ctrl-C, with its end told and the stack unlocked; what it told of itself meanwhile isn't repeated", async () => {
    let output = "";
    for (const stream of [cli.stdout, cli.stderr]) stream?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const ended = once(cli, "close");
    await until("it tells how it stands", 10_000, () => /at step \d+/.test(output));
    cli.kill("SIGINT");
    await until("the provider heard of it", 5_000, () => /^stopped: /m.test(read(trace)));
    assert.match(read(trace), /^stopped: .*Ctrl-C/m);
    await ended;
    const [shown = "", repeated = ""] = output.split("Diagnostics:");
    assert.match(shown, /at step \d+/);
    assert.match(repeated, /^ +step 3$/m);
    assert.match(repeated, /error: stopped/);
    assert.doesNotMatch(repeated, /at step/);
    await until("the provider process is gone", 10_000, () => !isAlive(providerPid()));
    assert.equal((await project.run("preview")).exitCode, 0, "another run finds no lock");
  });

  it("stops when the second interrupt reaches it", async () => {
    process.kill(providerPid(), "SIGINT");
    await until("the provider process is gone", 10_000, () => !isAlive(providerPid()));
    assert.match(read(trace), /^stopped: .*SIGINT/m);
  });
});

const read = (file: string) => (fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "");

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(what: string, timeoutMs: number, reached: () => boolean): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!reached()) {
    assert.ok(Date.now() < deadline, `not within ${timeoutMs} ms: ${what}`);
    await delay(50);
  }
}
