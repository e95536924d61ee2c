import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import {
  isMasked,
  mainPid,
  mask,
  processesOf,
  processesOfLab,
  restart,
  type ServiceId,
  start,
  statusOf,
  stop,
  unmask,
  writeService,
} from "../../lab/openstack/service-manager";

const run = promisify(execFile);
const PROGRAM = path.join(__dirname, "../../lab/openstack/bin/lab-service");

async function until(holds: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 15_000; !holds();) {
    if (Date.now() > deadline) throw new Error("what was waited for hasn't come true within 15 s");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const exists = (pid: number) =>
  fs.existsSync(`/proc/${pid}`) && !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"));

describe("the lab's service manager", function () {
  this.timeout(30_000);
  const id: ServiceId = { host: "controller-1", name: "cinder-volume" };
  let lab: string;

  /** A service that runs this shell text. */
  const install = (script: string, stopTimeoutSeconds = 5) =>
    writeService(lab, id, {
      command: ["/bin/sh", "-c", script],
      env: { GREETING: "hello" },
      log: path.join(lab, "logs", "service.log"),
      stopTimeoutSeconds,
    });
  const log = () => {
    const file = path.join(lab, "logs", "service.log");
    return fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
  };

  beforeEach(() => {
    lab = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "services-")));
  });

  afterEach(async () => {
    await stop(lab, id);
    assert.deepEqual(processesOfLab(lab), []);
    fs.rmSync(lab, { recursive: true });
  });

  it("starts once, with the service's environment and not the caller's", async () => {
    install("env; exec sleep 1000");
    process.env["OF_THE_CALLER"] = "yes";
    try {
      await start(lab, id);
    } finally {
      delete process.env["OF_THE_CALLER"];
    }
    const pid = mainPid(lab, id);
    await start(lab, id);
    assert.equal(mainPid(lab, id), pid);
    await until(() => log().includes("GREETING=hello"));
    assert.ok(!log().includes("OF_THE_CALLER"));
  });

  it("stops the whole group, those too that ignore SIGTERM or opened a session of their own", async () => {
    install("trap '' TERM; setsid sleep 1001 & sleep 1002 & echo ready; while :; do sleep 1003; done", 1);
    await start(lab, id);
    await until(() => log().includes("ready") && processesOf(lab, id).length === 4);
    const all = processesOf(lab, id);
    await stop(lab, id);
    assert.deepEqual(all.filter(exists), []);
    assert.equal(mainPid(lab, id), undefined);
  });

  it("answers its short questions by the shell alone, as it does in full", async () => {
    const ask = (question: string, host = id.host): string => {
      const words = [question, `${id.name}.service`];
      const [short, full] = [
        ["--lab", lab, "--host", host],
        ["--host", host, "--lab", lab],
      ].map((options) => {
        const { status, stdout, stderr } = spawnSync(PROGRAM, [...options, ...words], { encoding: "utf8" });
        return `${status} ${stdout}${stderr}`.trim();
      });
      assert.equal(short, full);
      return short ?? "";
    };
    install("exec sleep 1000");
    assert.deepEqual([ask("is-active"), ask("is-masked")], ["3 inactive", "3 not masked"]);
    await start(lab, id);
    await mask(lab, id);
    assert.deepEqual([ask("is-active"), ask("is-masked")], ["0 active", "0 masked"]);
    process.kill(mainPid(lab, id) ?? 0, "SIGKILL");
    await until(() => mainPid(lab, id) === undefined);
    assert.equal(ask("is-active"), "3 inactive");
    const file = path.join(lab, "run", id.host, `${id.name}.json`);
    fs.writeFileSync(file, JSON.stringify({ wanted: true, pid: process.pid, startTicks: "1" }));
    assert.equal(ask("is-active"), "3 inactive", "the pid is another's now");
    fs.rmSync(file);
    assert.match(ask("is-active", "elsewhere"), /^5 .*could not be found on elsewhere/);
  });

  it("refuses to start or restart what is masked, and leaves a running one alone", async () => {
    install("exec sleep 1000");
    await start(lab, id);
    const pid = mainPid(lab, id);
    await mask(lab, id);
    assert.equal(mainPid(lab, id), pid);
    await assert.rejects(restart(lab, id), { exitCode: 1, message: /masked/ });
    assert.equal(mainPid(lab, id), pid);
    await stop(lab, id);
    await assert.rejects(start(lab, id), { exitCode: 1, message: /masked/ });
    unmask(lab, id);
    await start(lab, id);
    assert.equal(isMasked(lab, id), false);
  });

  it("doesn't take a stranger with the recorded pid for its service", async () => {
    install("exec sleep 1000");
    const record = path.join(lab, "run", id.host, `${id.name}.json`);
    fs.mkdirSync(path.dirname(record), { recursive: true });
    fs.writeFileSync(record, JSON.stringify({ wanted: true, pid: process.pid, startTicks: "1" }));
    assert.equal(statusOf(lab, id).active, false);
    assert.deepEqual(processesOf(lab, id), []);
    await stop(lab, id); // this very process isn't ended
    await start(lab, id);
    assert.notEqual(mainPid(lab, id), process.pid);
  });

  it("ends what a start that was cut off before its record has left", async () => {
    install("exec sleep 1000");
    await start(lab, id);
    const orphan = mainPid(lab, id) ?? 0;
    fs.rmSync(path.join(lab, "run", id.host, `${id.name}.json`));
    await start(lab, id);
    assert.equal(exists(orphan), false);
    assert.equal(processesOf(lab, id).length, 1);
  });

  it("takes a lock over that a killed command has left", async () => {
    install("exec sleep 1000");
    fs.mkdirSync(path.join(lab, "run", id.host), { recursive: true });
    const { pid } = spawnSync("/bin/true");
    fs.writeFileSync(path.join(lab, "run", id.host, `${id.name}.lock`), `${pid} 12345`);
    await start(lab, id);
    assert.notEqual(mainPid(lab, id), undefined);
  });

  it("answers on the command line with systemctl's exit codes, and holds no pipe of its caller", async () => {
    install("exec sleep 1000");
    const command = (...words: string[]) => run(PROGRAM, ["--lab", lab, "--host", id.host, ...words]);
    await assert.rejects(command("is-active", id.name), { code: 3, stdout: "inactive\n" });
    await assert.rejects(command("is-masked", id.name), { code: 3 });
    await assert.rejects(command("start", "nothing"), { code: 5, stderr: /could not be found/ });
    await command("start", id.name); // returns only when its output's pipes are closed by everyone
    assert.equal((await command("is-active", id.name)).stdout, "active\n");
    assert.equal((await command("pids", `${id.name}.service`)).stdout.trim(), String(mainPid(lab, id)));
    await command("mask", id.name);
    await command("is-masked", id.name);
    await command("stop", id.name);
    await assert.rejects(command("start", id.name), { code: 1, stderr: /masked/ });
  });
});
