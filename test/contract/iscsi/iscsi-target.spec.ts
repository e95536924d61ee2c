import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { IscsiTarget } from "../../../lab/simulators/ontap/iscsi/iscsi-target";
import type { LunMap } from "../../../lab/simulators/ontap/iscsi/lun-tables";
import { qemuIo, run } from "./initiator";

const MIB = 1 << 20;
const IQN = "iqn.1992-08.com.netapp:sn.19d04b8e94d711e88370005056b48fd2:vs.4";
const HOST_1 = "iqn.1994-05.com.redhat:host1";
const HOST_2 = "iqn.1994-05.com.redhat:host2";
const ADDRESSES = ["127.91.7.1", "127.91.7.2"] as const;
const PORTAL = `${ADDRESSES[0]}:3260`;

describe("IscsiTarget", () => {
  let folder: string;
  let target: IscsiTarget;
  let lines: string[];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "iscsi-"));
    lines = [];
    target = createTarget();
    await target.start();
  });
  afterEach(async () => {
    await target.close();
    assert.deepEqual(await tgtdsIn(folder), []);
    await rm(folder, { recursive: true });
  });

  function createTarget(): IscsiTarget {
    const portals = ADDRESSES.map((address) => ({ address, port: 3260 }));
    return new IscsiTarget({ iqn: IQN, portals, stateDir: join(folder, "state"), log: (line) => lines.push(line) });
  }

  async function map(name: string, lun: number, initiator: string, changes: Partial<LunMap> = {}): Promise<LunMap> {
    const file = join(folder, name);
    const sizeBytes = changes.sizeBytes ?? 8 * MIB;
    await writeFile(file, "", { flag: "a" });
    await truncate(file, sizeBytes);
    const naa = `600a0980${Buffer.from(name.padEnd(12, "0").slice(0, 12)).toString("hex")}`;
    const defaults = {
      igroup: `ig-${initiator}`,
      initiators: [initiator],
      serial: name.padEnd(12, "0"),
      readOnly: false,
    };
    return { ...defaults, lun, file, naa, sizeBytes, ...changes };
  }

  const disk = (lun: number, initiator: string, portal = PORTAL) => ({ portal, iqn: IQN, lun, initiator });

  async function assertServed(lun: number, initiator: string, ...commands: string[]): Promise<void> {
    const { ok, output } = await qemuIo(disk(lun, initiator), ...commands);
    assert.ok(ok, output);
  }

  it("reads and writes the LUN's file, by every portal", async () => {
    const lun = await map("a", 1, HOST_1);
    await target.setMaps([lun]);
    await assertServed(1, HOST_1, "write -P 0x5a 4k 8k", "flush");
    const { ok, output } = await qemuIo(disk(1, HOST_1, `${ADDRESSES[1]}:3260`), "read -P 0x5a 4k 8k");
    assert.ok(ok, output);
    const bytes = await readFile(lun.file);
    assert.deepEqual(bytes.subarray(4096, 12288), Buffer.alloc(8192, 0x5a));
    assert.equal(bytes[4095], 0);
    assert.equal(bytes[12288], 0);
  });

  it("refuses an initiator to which nothing is mapped, by the login's status", async () => {
    await target.setMaps([await map("a", 1, HOST_1)]);
    const { ok, output } = await qemuIo(disk(1, HOST_2), "read 0 512");
    assert.ok(!ok);
    assert.match(output, /Authorization failure\(514\)/);
  });

  it("refuses another target's name", async () => {
    await target.setMaps([await map("a", 1, HOST_1)]);
    const { ok, output } = await qemuIo({ ...disk(1, HOST_1), iqn: `${IQN}9` }, "read 0 512");
    assert.ok(!ok);
    assert.match(output, /Target not found\(515\)/);
  });

  it("gives two hosts different bytes under the same LUN number", async () => {
    await target.setMaps([await map("a", 1, HOST_1), await map("b", 1, HOST_2)]);
    await assertServed(1, HOST_1, "write -P 1 0 4k");
    await assertServed(1, HOST_2, "write -P 2 0 4k");
    await assertServed(1, HOST_1, "read -P 1 0 4k");
    await assertServed(1, HOST_2, "read -P 2 0 4k");
  });

  it("serves an initiator the union of its igroups, and an igroup to all of its initiators", async () => {
    const shared = { igroup: "both", initiators: [HOST_1, HOST_2] };
    await target.setMaps([await map("a", 1, HOST_1), await map("b", 2, HOST_1, shared)]);
    await assertServed(1, HOST_1, "read 0 4k");
    await assertServed(2, HOST_1, "write -P 7 0 4k", "flush");
    await assertServed(2, HOST_2, "read -P 7 0 4k");
    assert.ok(!(await qemuIo(disk(1, HOST_2), "read 0 4k")).ok);
  });

  it("refuses maps that give one initiator a number twice, and keeps those it serves", async () => {
    const kept = await map("a", 1, HOST_1);
    await target.setMaps([kept]);
    const conflict = await map("b", 1, HOST_1, { igroup: "other" });
    await assert.rejects(target.setMaps([kept, conflict]), /LUN 1 of .*host1 is both .*\/a and .*\/b/);
    await assertServed(1, HOST_1, "read 0 4k");
  });

  it("refuses a map whose file has another size", async () => {
    const lun = await map("a", 1, HOST_1);
    await assert.rejects(target.setMaps([{ ...lun, sizeBytes: 9 * MIB }]), /has 8388608 bytes, its map says 9437184/);
  });

  it("fails a live session's I/O once stopped, and serves the same bytes after start", async () => {
    await target.setMaps([await map("a", 1, HOST_1)]);
    const session = openSession(disk(1, HOST_1));
    assert.match(await session.command("write -P 9 0 4k"), /wrote 4096/);
    await target.stop();
    const refused = await qemuIo(disk(1, HOST_1), "read 0 4k");
    assert.ok(!refused.ok);
    assert.match(refused.output, /Connection refused|Failed to connect/i);
    await session.kill();
    await target.start();
    await assertServed(1, HOST_1, "read -P 9 0 4k");
  });

  it("changes nothing in a file once stop has returned, though a client is writing", async () => {
    const lun = await map("a", 1, HOST_1);
    await target.setMaps([lun]);
    const session = openSession(disk(1, HOST_1));
    assert.match(await session.command("write -P 1 0 4k"), /wrote/);
    for (let i = 2; i < 200; i++) session.send(`write -P ${i} 0 1M`);
    await target.stop();
    const before = await readFile(lun.file);
    await session.kill();
    await target.start();
    assert.ok(before.equals(await readFile(lun.file)));
  });

  it("takes maps while stopped", async () => {
    await target.stop();
    await target.setMaps([await map("a", 1, HOST_1)]);
    await target.start();
    await assertServed(1, HOST_1, "read 0 4k");
  });

  it("cuts a removed LUN for a live session and leaves its neighbour", async () => {
    const [a, b] = [await map("a", 1, HOST_1), await map("b", 2, HOST_1)];
    await target.setMaps([a, b]);
    const cut = openSession(disk(1, HOST_1));
    const live = openSession(disk(2, HOST_1));
    assert.match(await cut.command("read 0 4k"), /read 4096/);
    assert.match(await live.command("read 0 4k"), /read 4096/);
    await target.setMaps([b]);
    assert.match(await cut.command("read 0 4k"), /read failed/);
    assert.match(await live.command("read 0 4k"), /read 4096/);
    await Promise.all([cut.kill(), live.kill()]);
    assert.ok(!(await qemuIo(disk(1, HOST_1), "read 0 4k")).ok);
  });

  it("gives a number to another LUN, and refuses the host when its last map is gone", async () => {
    await target.setMaps([await map("a", 1, HOST_1)]);
    await assertServed(1, HOST_1, "write -P 1 0 4k");
    await target.setMaps([await map("b", 1, HOST_1)]);
    await assertServed(1, HOST_1, "read -P 0 0 4k");
    await target.setMaps([]);
    assert.match((await qemuIo(disk(1, HOST_1), "read 0 4k")).output, /Authorization failure/);
    await target.setMaps([await map("a", 1, HOST_1)]);
    await assertServed(1, HOST_1, "read -P 1 0 4k");
  });

  it("serves a grown file in its new size", async () => {
    await target.setMaps([await map("a", 1, HOST_1)]);
    assert.ok(!(await qemuIo(disk(1, HOST_1), "write 12M 4k")).ok);
    await target.setMaps([await map("a", 1, HOST_1, { sizeBytes: 16 * MIB })]);
    await assertServed(1, HOST_1, "write -P 3 12M 4k", "read -P 3 12M 4k");
  });

  it("refuses writes to a read-only LUN, and takes them once it isn't", async () => {
    const lun = await map("a", 1, HOST_1);
    await target.setMaps([{ ...lun, readOnly: true }]);
    const reader = openSession(disk(1, HOST_1), ["-r"]);
    assert.match(await reader.command("read 0 4k"), /read 4096/);
    await reader.kill();
    assert.ok(!(await qemuIo(disk(1, HOST_1), "write -P 3 0 4k")).ok);
    assert.ok((await readFile(lun.file)).every((byte) => byte === 0));
    await target.setMaps([lun]);
    await assertServed(1, HOST_1, "write -P 3 0 4k");
  });

  it("reports ONTAP's vendor, the serial number and the NAA name", async () => {
    await target.setMaps([await map("serial", 1, HOST_1)]);
    const url = `iscsi://${PORTAL}/${IQN}/1`;
    assert.match((await run("iscsi-inq", ["-i", HOST_1, url])).output, /Vendor:NETAPP\s+Product:LUN C-Mode/);
    assert.match((await run("iscsi-inq", ["-i", HOST_1, "-e", "1", "-c", "128", url])).output, /\[\s*serial000000\]/);
    const identification = (await run("iscsi-inq", ["-i", HOST_1, "-e", "1", "-c", "131", url])).output;
    assert.match(identification, /600a098073657269616c3030/);
  });

  it("frees a thin LUN's blocks on UNMAP", async () => {
    const lun = await map("a", 1, HOST_1);
    await target.setMaps([lun]);
    await assertServed(1, HOST_1, "write -P 3 0 1M", "flush");
    assert.ok((await stat(lun.file)).blocks >= MIB / 512);
    await assertServed(1, HOST_1, "discard 0 1M", "read -P 0 0 1M");
    assert.equal((await stat(lun.file)).blocks, 0);
  });

  it("names the SVM's target and its portals to anyone who asks", async () => {
    const { output } = await run("iscsi-ls", [`iscsi://${PORTAL}`]);
    for (const address of ADDRESSES) assert.match(output, new RegExp(`Target:${IQN} Portal:${address}:3260,1`));
  });

  it("lists an initiator's LUNs", async () => {
    await target.setMaps([await map("a", 1, HOST_1), await map("b", 7, HOST_1), await map("c", 3, HOST_2)]);
    const { output } = await run("iscsi-ls", ["-s", "-i", HOST_1, `iscsi://${PORTAL}`]);
    assert.match(output, /Lun:1 /);
    assert.match(output, /Lun:7 /);
    assert.doesNotMatch(output, /Lun:3 /);
  });

  it("serves 300 LUNs to one host", async () => {
    const maps = await Promise.all(Array.from({ length: 300 }, (_, i) => map(`v${i + 1}`, i + 1, HOST_1)));
    await target.setMaps(maps);
    await assertServed(300, HOST_1, "write -P 4 0 4k", "flush");
    await target.setMaps(maps.slice(1));
    await assertServed(300, HOST_1, "read -P 4 0 4k");
    assert.ok(!(await qemuIo(disk(1, HOST_1), "read 0 4k")).ok);
  }).timeout(60_000);

  it("replaces a tgtd that has died at the next change, and refuses its host until then", async () => {
    const lun = await map("a", 1, HOST_1);
    await target.setMaps([lun]);
    for (const pid of await tgtdsIn(folder)) process.kill(pid, "SIGKILL");
    await poll(async () => (await tgtdsIn(folder)).length === 0);
    await poll(async () => /Service unavailable/i.test((await qemuIo(disk(1, HOST_1), "read 0 4k")).output));
    await target.setMaps([lun]);
    await assertServed(1, HOST_1, "read 0 4k");
  });

  it("leaves no tgtd when its process is killed", async () => {
    const lun = await map("a", 1, HOST_1);
    const program = `
      const { IscsiTarget } = require(${JSON.stringify(require.resolve("../../../lab/simulators/ontap/iscsi/iscsi-target"))});
      const target = new IscsiTarget({ iqn: ${JSON.stringify(IQN)}, portals: [{ address: "127.91.7.3", port: 3260 }],
        stateDir: ${JSON.stringify(join(folder, "killed"))}, log: () => undefined });
      target.start().then(() => target.setMaps([${JSON.stringify(lun)}])).then(() => console.log("serving"));`;
    const child = spawn(process.execPath, ["-r", "ts-node/register", "-e", program], {
      env: { ...process.env, TS_NODE_TRANSPILE_ONLY: "true" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    assert.equal(line, "serving");
    assert.equal((await tgtdsIn(join(folder, "killed"))).length, 1);
    child.kill("SIGKILL");
    await poll(async () => (await tgtdsIn(folder)).length === 0);
  });
});

/** A qemu-io that keeps its session open between commands. */
function openSession(o: { portal: string; iqn: string; lun: number; initiator: string }, options: string[] = []) {
  const file = {
    driver: "iscsi",
    transport: "tcp",
    portal: o.portal,
    target: o.iqn,
    lun: o.lun,
    "initiator-name": o.initiator,
  };
  const child = spawn("qemu-io", [...options, "-f", "raw", `json:${JSON.stringify({ driver: "raw", file })}`]);
  child.stdin.on("error", () => undefined);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return {
    send: (command: string) => child.stdin.write(`${command}\n`),
    command: async (command: string): Promise<string> => {
      output = "";
      child.stdin.write(`${command}\n`);
      await poll(() => Promise.resolve(/ops\/sec|failed|can't/i.test(output)));
      return output;
    },
    kill: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGKILL");
        await once(child, "exit");
      }
    },
  };
}

/** Process ids of the tgtds that work in a folder. */
async function tgtdsIn(folder: string): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const [command, environment] = await Promise.all(
      ["comm", "environ"].map((name) => readFile(`/proc/${pid}/${name}`, "utf8").catch(() => "")),
    );
    if (command === "tgtd\n" && environment?.includes(`PWD=${folder}`)) found.push(pid);
  }
  return found;
}

async function poll(isDone: () => Promise<boolean>, deadlineMs = 10_000): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await isDone())) {
    if (performance.now() > deadline) throw new Error(`not so within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
