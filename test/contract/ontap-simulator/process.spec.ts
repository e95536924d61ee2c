/* eslint-disable @typescript-eslint/no-unsafe-member-access -- wire answers are looked at as they come */
import { strict as assert } from "node:assert";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, promises as fs, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Client, createLun, makeCertificate } from "./support";

const main = path.resolve(__dirname, "../../../lab/simulators/ontap/main.ts");

interface Running {
  child: ChildProcess;
  /** the "ready" line, or everything it said on stderr when it ended first */
  said: string;
  code: number | null;
}

function start(config: string): Promise<Running> {
  const child = spawn(process.execPath, ["-r", "ts-node/register", main, "--config", config], {
    env: { ...process.env, TS_NODE_TRANSPILE_ONLY: "true" },
  });
  let [out, err] = ["", ""];
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  return new Promise((resolve) => {
    child.stdout.on("data", (data: Buffer) => {
      out += data.toString();
      if (out.includes("\n")) resolve({ child, said: out.trim(), code: null });
    });
    child.on("close", (code) => resolve({ child, said: err.trim(), code }));
  });
}

const end = ({ child }: Running, signal: NodeJS.Signals): Promise<number | null> =>
  new Promise((resolve) => {
    child.on("close", (code) => resolve(code));
    child.kill(signal);
  });

describe("the simulator as a process", function () {
  this.timeout(60_000);
  let dir: string;
  let config: string;
  beforeEach(() => {
    dir = mkdtempSync(path.join(tmpdir(), "ontap-process-"));
    config = path.join(dir, "config.json");
    const cluster = (name: string): unknown => ({
      name,
      address: "127.0.0.1",
      port: 0,
      username: "admin",
      password: "secret-of-the-test",
      interclusterAddresses: [],
      aggregates: ["aggr1"],
      svms: [{ name: "svm1", iscsiAddresses: [], volumes: [{ name: "vol1", type: "rw", sizeBytes: 2 ** 30 }] }],
    });
    writeFileSync(
      config,
      JSON.stringify({
        stateDir: path.join(dir, "state"),
        tls: makeCertificate(dir, ["127.0.0.1"]),
        control: { address: "127.0.0.1", port: 0 },
        clusters: [cluster("a"), cluster("b")],
      }),
      { mode: 0o600 },
    );
  });
  afterEach(() => fs.rm(dir, { recursive: true, force: true }));

  it("goes on where it was after SIGTERM, with the same LUNs, and refuses a taken port in one sentence", async () => {
    const first = await start(config);
    assert.match(first.said, /^ready: a https:\/\/127\.0\.0\.1:\d+, b https:/);
    const origin = /https:\S+?(?=,)/.exec(first.said)?.[0] ?? "";
    const uuid = await createLun(new Client(origin), "svm1", "/vol/vol1/kept");

    const taken = path.join(dir, "taken.json");
    const second = JSON.parse(await fs.readFile(config, "utf8")) as { stateDir: string; clusters: { port: number }[] };
    for (const c of second.clusters) c.port = Number(new URL(origin).port);
    second.stateDir = path.join(dir, "other");
    writeFileSync(taken, JSON.stringify(second), { mode: 0o600 });
    const refused = await start(taken);
    assert.equal(refused.code, 1);
    assert.match(refused.said, /^ONTAP simulator: 127\.0\.0\.1:\d+ is taken by another process; .*\.$/);

    assert.equal(await end(first, "SIGTERM"), 0);
    const again = await start(config);
    const answer = await new Client(/https:\S+?(?=,)/.exec(again.said)?.[0] ?? "").get(
      "/storage/luns?fields=status.state",
    );
    assert.deepEqual([answer.body.num_records, answer.body.records[0].uuid], [1, uuid]);
    assert.equal(await end(again, "SIGTERM"), 0);
  });

  it("refuses a configuration that others can read, or that isn't one", async () => {
    await fs.chmod(config, 0o644);
    assert.match((await start(config)).said, /chmod 600/);
    writeFileSync(config, "{}");
    await fs.chmod(config, 0o600);
    assert.match((await start(config)).said, /not usable: .*clusters must be a list of two/);
  });
});
