import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inquire, withLun } from "../../../lab/simulators/ontap/iscsi/file-client";
import { FileTarget } from "../../../lab/simulators/ontap/iscsi/file-target";
import type { LunMap } from "../../../lab/simulators/ontap/iscsi/lun-tables";

const MIB = 1 << 20;
const IQN = "iqn.1992-08.com.netapp:sn.49d04b8e94d711e88370005056b48fd2:vs.7";
const HOST = "iqn.1994-05.com.redhat:host1";
const OTHER_HOST = "iqn.1994-05.com.redhat:host2";
const ADDRESSES = ["127.91.9.1", "127.91.9.2"] as const;
const PORTAL = `${ADDRESSES[0]}:3260`;

/** What the files' way has of its own; the rules that it shares with real iSCSI are in ../ontap-simulator/lun-access.spec.ts. */
describe("FileTarget", () => {
  let folder: string;
  let target: FileTarget;
  let lines: string[];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "file-target-"));
    lines = [];
    const portals = ADDRESSES.map((address) => ({ address, port: 3260 }));
    target = new FileTarget({ iqn: IQN, portals, log: (line) => lines.push(line) });
    await target.start();
  });
  afterEach(async () => {
    await target.close();
    await rm(folder, { recursive: true });
  });

  async function map(name: string, lun: number, changes: Partial<LunMap> = {}): Promise<LunMap> {
    const file = join(folder, name);
    const sizeBytes = changes.sizeBytes ?? 8 * MIB;
    await writeFile(file, "", { flag: "a" });
    await truncate(file, sizeBytes);
    const naa = `600a0980${Buffer.from(name.padEnd(12, "0")).toString("hex")}`;
    const defaults = { igroup: "ig", initiators: [HOST], serial: name.padEnd(12, "0"), readOnly: false };
    return { ...defaults, lun, file, naa, sizeBytes, ...changes };
  }

  const at = (lun: number, changes: Partial<{ portal: string; iqn: string; initiator: string }> = {}) => ({
    portal: PORTAL,
    iqn: IQN,
    initiator: HOST,
    lun,
    ...changes,
  });

  /** Writes the first MiB again and again, each time with another byte, until that fails. Returns when the first is written. */
  async function startWriting(lun: number): Promise<{ ended: Promise<unknown>; settled: () => boolean }> {
    let begun: () => void = () => undefined;
    const first = new Promise<void>((resolve) => (begun = resolve));
    let settled = false;
    const ended = withLun(at(lun), 10_000, async (open) => {
      for (let byte = 1; ; byte = (byte % 250) + 1) {
        await open.write(0, Buffer.alloc(MIB, byte));
        begun();
      }
    })
      .catch((error: unknown) => error)
      .finally(() => (settled = true));
    await first;
    return { ended, settled: () => settled };
  }

  it("answers by every portal which file a LUN is", async () => {
    const lun = await map("a", 1);
    await target.setMaps([lun]);
    for (const address of ADDRESSES)
      assert.deepEqual(await inquire(at(1, { portal: `${address}:3260` }), 5000), {
        file: lun.file,
        sizeBytes: 8 * MIB,
        readOnly: false,
        serial: "a00000000000",
      });
  });

  it("reads and writes that file", async () => {
    const lun = await map("a", 1);
    await target.setMaps([lun]);
    const read = await withLun(at(1), 5000, async (open) => {
      await open.write(MIB - 1, Buffer.from("across two chunks"));
      await open.flush();
      return open.read(MIB - 1, 17);
    });
    assert.equal(read.toString(), "across two chunks");
    assert.equal((await readFile(lun.file)).toString("latin1", MIB - 1, MIB + 16), "across two chunks");
  });

  it("refuses reads and writes beyond the LUN's size, and leaves the file as it is", async () => {
    const lun = await map("a", 1);
    await target.setMaps([lun]);
    const outside = /LBA_OUT_OF_RANGE.*: bytes 8388600 to 8388610 of 8388608/;
    await assert.rejects(
      withLun(at(1), 5000, (open) => open.write(8 * MIB - 8, Buffer.alloc(10, 1))),
      outside,
    );
    await assert.rejects(
      withLun(at(1), 5000, (open) => open.read(8 * MIB - 8, 10)),
      outside,
    );
    assert.equal((await stat(lun.file)).size, 8 * MIB);
    assert.ok((await readFile(lun.file)).every((byte) => byte === 0));
  });

  it("closes the connection of a real iSCSI initiator, and says why in its log", async () => {
    const socket = connect(3260, ADDRESSES[0]);
    socket.write(Buffer.concat([Buffer.from([0x43, 0x87]), Buffer.alloc(46)]));
    await once(socket.resume(), "close");
    assert.match(lines.join(), /connection dropped: not a client of LUN files/);
  });

  it("closes the connection of a client that asks before it has logged in, or for something unknown", async () => {
    for (const line of ['{"inquiry":{"lun":1}}\n', '{"format":{"lun":1}}\n', "{]\n", `{${" ".repeat(10_000)}`]) {
      const socket = connect(3260, ADDRESSES[0]);
      socket.write(line);
      await once(socket.resume(), "close");
    }
    assert.equal(lines.length, 4);
  });

  it("changes nothing in a file once stop has returned, though a client was writing", async () => {
    const lun = await map("a", 1);
    await target.setMaps([lun]);
    const writing = await startWriting(1);
    await target.stop();
    const before = await readFile(lun.file);
    assert.match(String(await writing.ended), /the portal ended the session/);
    assert.ok(before.equals(await readFile(lun.file)));
    await assert.rejects(inquire(at(1), 5000), /ECONNREFUSED/);
  });

  it("ends the sessions of a LUN that is unmapped or becomes read-only, and leaves its neighbour's", async () => {
    const [a, b] = [await map("a", 1), await map("b", 2)];
    await target.setMaps([a, b]);
    const neighbour = await startWriting(2);
    for (const changed of [[b], [{ ...a, readOnly: true }, b]]) {
      await target.setMaps([a, b]);
      const writing = await startWriting(1);
      await target.setMaps(changed);
      const before = await readFile(a.file);
      await writing.ended;
      assert.ok(before.equals(await readFile(a.file)));
    }
    assert.ok(!neighbour.settled());
    await target.stop();
    await neighbour.ended;
  });

  for (const [what, take] of [
    ["an unmapped LUN", (kept: LunMap) => target.setMaps([kept])],
    ["a stop", () => target.stop()],
  ] as const)
    it(`waits with ${what} until the client has let go, and takes none of its writes after that`, async () => {
      const [a, b] = [await map("a", 1), await map("b", 2)];
      await target.setMaps([a, b]);
      const order: string[] = [];
      let letGo: () => void = () => undefined;
      let begin: () => void = () => undefined;
      const begun = new Promise<void>((resolve) => (begin = resolve));
      const held = withLun(at(1), 10_000, async (open) => {
        begin();
        await new Promise<void>((resolve) => (letGo = resolve));
        order.push("let go");
        await open.write(0, Buffer.alloc(512, 1));
      }).catch((error: unknown) => String(error));
      await begun;
      const taken = take(b).then(() => order.push("taken"));
      for (let i = 0; i < 5; i++) await inquire(at(2), 5000).catch(() => undefined);
      letGo();
      assert.match(String(await held), /the portal ended the session/);
      await taken;
      assert.deepEqual(order, ["let go", "taken"]);
      assert.ok((await readFile(a.file)).every((byte) => byte === 0));
    });

  it("leaves a session alone when its LUN grows", async () => {
    await target.setMaps([await map("a", 1)]);
    const writing = await startWriting(1);
    await target.setMaps([await map("a", 1, { sizeBytes: 16 * MIB })]);
    assert.ok(!writing.settled());
    await target.stop();
    await writing.ended;
  });

  it("gives up at the deadline, also in the middle of its I/O", async () => {
    await target.setMaps([await map("a", 1)]);
    const endless = withLun(at(1), 200, async (open) => {
      for (;;) await open.read(0, 8 * MIB);
    });
    await assert.rejects(endless, /^Error: no answer within 200 ms$/);
  });

  it("refuses maps that give one initiator a number twice, and a map whose file has another size", async () => {
    const a = await map("a", 1);
    await target.setMaps([a]);
    const conflict = { ...(await map("b", 1)), igroup: "other" };
    await assert.rejects(
      target.setMaps([a, conflict]),
      /LUN 1 of .*host1 is both .*\/a and .*\/b \(igroups ig and other\)/,
    );
    await assert.rejects(target.setMaps([{ ...a, sizeBytes: 9 * MIB }]), /has 8388608 bytes, its map says 9437184/);
    assert.equal((await inquire(at(1), 5000)).file, a.file);
  });

  it("takes a change for what all maps with it would be: others keep theirs, a number may go to another LUN", async () => {
    const [a, b, c] = [await map("a", 1), await map("b", 2), await map("c", 2)];
    const other = await map("a", 1, { igroup: "other", initiators: [OTHER_HOST] });
    await target.setMaps([a, b, other]);
    const writing = await startWriting(2);
    await target.changeMaps({ removed: [b], added: [c] });
    await writing.ended;
    assert.equal((await inquire(at(1), 5000)).file, a.file);
    assert.equal((await inquire(at(2), 5000)).file, c.file);
    await assert.rejects(target.changeMaps({ removed: [], added: [b] }), /LUN 2 of .*host1 is both .*\/c and .*\/b/);
    await target.changeMaps({ removed: [a, c], added: [] });
    await assert.rejects(inquire(at(1), 5000), /no LUN is mapped to it/);
    assert.equal((await inquire(at(1, { initiator: OTHER_HOST }), 5000)).file, other.file);
  });

  it("gives two hosts different files under the same LUN number, and takes maps while stopped", async () => {
    await target.stop();
    const [a, b] = [await map("a", 1), await map("b", 1, { igroup: "other", initiators: [OTHER_HOST] })];
    await target.setMaps([a, b]);
    await target.start();
    assert.equal((await inquire(at(1), 5000)).file, a.file);
    assert.equal((await inquire(at(1, { initiator: OTHER_HOST }), 5000)).file, b.file);
  });
});
