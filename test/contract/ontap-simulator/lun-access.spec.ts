/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment -- wire answers are looked at as they come */
import { strict as assert } from "node:assert";
import * as path from "node:path";
import { chooseStorage } from "../../../lab/embedded/data-path";
import { copyBlocks, writeBlocks, type Disk } from "../../../lab/guest/disk";
import { inquire } from "../../../lab/simulators/ontap/iscsi/file-client";
import { DrError } from "../../../lib/errors";
import { run } from "../iscsi/initiator";
import { skipBecause } from "../../support/skip";
import {
  createLun,
  idle,
  lunFile,
  mirror,
  peer,
  read,
  setState,
  startPair,
  until,
  type Client,
  type Pair,
} from "./support";

const MIB = 2 ** 20;
const HOST = "iqn.1994-05.com.redhat:host1";
const OTHER_HOST = "iqn.1994-05.com.redhat:host2";
const PORTAL_A = "127.77.1.1:3260";
const PORTAL_B = "127.77.2.1:3260";
const TEXT = "written by the guest";

/** The same rules whichever way hosts reach their LUNs: real iSCSI by tgtd, and the files that the portals name. */
for (const { kind, dataPath } of [
  { kind: "tgtd", dataPath: "iscsi" },
  { kind: "files", dataPath: "files" },
] as const)
  describe(`hosts' access to LUNs (${kind})`, function () {
    this.timeout(60_000);
    let pair: Pair;
    let iqn: string;
    let lun: string;
    const access = { dataPath, deadlineMs: 10_000 };

    before(function () {
      if (kind === "files") return;
      const { dataPath: possible, dataPathReason } = chooseStorage({});
      if (possible !== "iscsi") skipBecause(this, dataPathReason ?? "there is no iSCSI here");
    });
    beforeEach(async () => {
      pair = await startPair({ iscsi: kind });
      iqn = await iqnOf(pair.a);
      lun = await createLun(pair.a, "svm_prod", "/vol/vol1/lun1");
      await createIgroup(pair.a, "svm_prod", "hosts", HOST);
      await mapLun(pair.a, "svm_prod", "/vol/vol1/lun1", "hosts");
    });
    afterEach(() => pair.close());

    async function iqnOf(cluster: Client): Promise<string> {
      return (await cluster.get("/protocols/san/iscsi/services?fields=target.name")).body.records[0].target
        .name as string;
    }

    async function createIgroup(cluster: Client, svm: string, name: string, initiator: string): Promise<void> {
      const group = {
        svm: { name: svm },
        name,
        os_type: "linux",
        protocol: "iscsi",
        initiators: [{ name: initiator }],
      };
      await cluster.must("POST", "/protocols/san/igroups", group);
    }

    async function mapLun(cluster: Client, svm: string, name: string, igroup: string): Promise<void> {
      const map = { svm: { name: svm }, lun: { name }, igroup: { name: igroup } };
      await cluster.must("POST", "/protocols/san/lun-maps", map);
    }

    async function unmap(): Promise<void> {
      const maps = (await pair.a.get("/protocols/san/lun-maps?fields=lun.uuid,igroup.uuid")).body.records;
      for (const map of maps as { lun: { uuid: string }; igroup: { uuid: string } }[])
        await pair.a.must("DELETE", `/protocols/san/lun-maps/${map.lun.uuid}/${map.igroup.uuid}`);
    }

    async function setSvm(state: "stopped" | "running"): Promise<void> {
      const { uuid } = (await pair.a.get("/svm/svms?name=svm_prod")).body.records[0];
      await pair.a.must("PATCH", `/svm/svms/${uuid as string}`, { state });
    }

    function disk(changes: Partial<Disk["paths"][0]> & { initiator?: string } = {}): Disk {
      const { initiator = HOST, ...where } = changes;
      const paths = [{ portal: PORTAL_A, iqn, lun: 1, ...where }];
      return { instance: "vm-1", device: "vdb", volumeId: "volume", initiator, paths };
    }

    async function readDisk(from = disk(), offset = 0): Promise<string> {
      const bytes = await copyBlocks(from, offset, 512, path.join(pair.dir, `copy-${Math.random()}`), access);
      return bytes.toString("latin1").replace(/\0+$/, "");
    }

    const writeDisk = (to = disk(), offset = 0) => {
      const bytes = Buffer.alloc(512);
      bytes.write(TEXT);
      return writeBlocks(to, [{ offset, bytes }], access);
    };

    const fails = (code: "unreachable" | "remote", seen: RegExp) => (error: unknown) => {
      assert.ok(DrError.is(error, code), String(error));
      assert.match(error.seen ?? "", seen);
      return true;
    };
    const closed = fails("unreachable", /^portal 127\.77\.1\.1:3260 can't be reached \(/);
    const notAdmitted = fails(
      "unreachable",
      /^portal .* refused the login of iqn\S+ to iqn\S+: not in an igroup with a mapped LUN/,
    );
    const notMapped = fails("remote", /^portal .*, LUN \d+ of iqn\S+: not mapped \(/);

    it("a mapped LUN is read and written, and its file has the bytes", async () => {
      await writeDisk();
      assert.equal(await readDisk(), TEXT);
      assert.equal(await read(lunFile(pair, "prod", "/vol/vol1/lun1"), 0, 100), TEXT);
    });

    it("an inquiry answers with the LUN's serial number", async () => {
      const { serial } = pair.simulator.luns()[0] ?? {};
      assert.ok(serial);
      if (dataPath === "files") {
        assert.equal((await inquire({ portal: PORTAL_A, iqn, lun: 1, initiator: HOST }, 5000)).serial, serial);
        return;
      }
      const vital = ["-e", "1", "-c", "128"];
      const { output } = await run("iscsi-inq", ["-i", HOST, ...vital, `iscsi://${PORTAL_A}/${iqn}/1`]);
      assert.ok(output.includes(serial), output);
    });

    it("a stopped SVM refuses connections, and serves the same bytes when it runs again", async () => {
      await writeDisk();
      await setSvm("stopped");
      await assert.rejects(readDisk(), closed);
      await assert.rejects(writeDisk(), closed);
      await setSvm("running");
      assert.equal(await readDisk(), TEXT);
    });

    it("so does a disabled iSCSI service, and a cluster that is cut off", async () => {
      const { uuid } = (await pair.a.get("/svm/svms?name=svm_prod")).body.records[0];
      const service = `/protocols/san/iscsi/services/${uuid as string}`;
      await pair.a.must("PATCH", service, { enabled: false });
      await assert.rejects(readDisk(), closed);
      await pair.a.must("PATCH", service, { enabled: true });
      await readDisk();
      await pair.simulator.setReachable("prod", false, "refuse");
      await assert.rejects(readDisk(), closed);
      await pair.simulator.setReachable("prod", true);
      await readDisk();
    });

    it("another initiator's login is refused, and so is another target's name", async () => {
      await assert.rejects(readDisk(disk({ initiator: OTHER_HOST })), notAdmitted);
      await assert.rejects(
        readDisk(disk({ iqn: `${iqn}9` })),
        fails("unreachable", /refused the login of .*: .*Target not found\(515\)/),
      );
    });

    it("an unmapped LUN isn't there, and the host isn't let in when its last map is gone", async () => {
      await createLun(pair.a, "svm_prod", "/vol/vol1/lun2");
      await assert.rejects(readDisk(disk({ lun: 2 })), notMapped);
      await assert.rejects(writeDisk(disk({ lun: 2 })), notMapped);
      await unmap();
      await assert.rejects(readDisk(), notAdmitted);
    });

    it("a LUN of an offline volume isn't there", async () => {
      const { uuid } = (await pair.a.get("/storage/volumes?name=vol1")).body.records[0];
      await pair.a.must("PATCH", `/storage/volumes/${uuid as string}`, { state: "offline" });
      await assert.rejects(readDisk(), notAdmitted);
    });

    it("a number that is mapped anew is the new LUN", async () => {
      await writeDisk();
      await createLun(pair.a, "svm_prod", "/vol/vol1/lun2");
      await unmap();
      await mapLun(pair.a, "svm_prod", "/vol/vol1/lun2", "hosts");
      assert.equal(await readDisk(), "");
      await unmap();
      await mapLun(pair.a, "svm_prod", "/vol/vol1/lun1", "hosts");
      assert.equal(await readDisk(), TEXT);
    });

    it("another host sees another LUN under the same number", async () => {
      await createLun(pair.a, "svm_prod", "/vol/vol1/lun2");
      await createIgroup(pair.a, "svm_prod", "others", OTHER_HOST);
      await mapLun(pair.a, "svm_prod", "/vol/vol1/lun2", "others");
      await writeDisk();
      assert.equal(await readDisk(disk({ initiator: OTHER_HOST })), "");
    });

    it("I/O goes to the end of the LUN and no further, until it has grown", async () => {
      await writeDisk(disk(), 16 * MIB - 512);
      const outside = fails("remote", /^portal .*, LUN 1 of iqn/);
      await assert.rejects(writeDisk(disk(), 20 * MIB), outside);
      await assert.rejects(readDisk(disk(), 20 * MIB), outside);
      await pair.a.must("PATCH", `/storage/luns/${lun}`, { space: { size: 32 * MIB } });
      await writeDisk(disk(), 20 * MIB);
      assert.equal(await readDisk(disk(), 20 * MIB), TEXT);
      assert.equal(await readDisk(disk(), 16 * MIB - 512), TEXT);
    });

    it("a mirror's destination is read and not written, until it's broken off", async () => {
      await writeDisk();
      await peer(pair);
      const relationship = await mirror(pair);
      await setState(pair.b, relationship, "snapmirrored");
      await until("the destination has the LUN", async () => {
        await idle(pair.b, relationship);
        return pair.simulator.luns().find((each) => each.cluster === "dr");
      });
      await createIgroup(pair.b, "svm_dr", "hosts", HOST);
      await mapLun(pair.b, "svm_dr", "/vol/vol1/lun1", "hosts");
      const destination = disk({ portal: PORTAL_B, iqn: await iqnOf(pair.b) });
      assert.equal(await readDisk(destination), TEXT);
      await assert.rejects(writeDisk(destination, 4096), fails("remote", /^portal 127\.77\.2\.1:3260, LUN 1 of iqn/));
      assert.equal(await readDisk(destination, 4096), "");
      await setState(pair.b, relationship, "paused");
      await setState(pair.b, relationship, "broken_off");
      await writeDisk(destination, 4096);
      assert.equal(await readDisk(destination, 4096), TEXT);
      assert.equal(await readDisk(disk(), 4096), "");
    });

    it("the next path is taken where one is closed, and all are named when none works", async () => {
      const paths = ["127.77.1.99:3260", PORTAL_A].map((portal) => ({ portal, iqn, lun: 1 }));
      await writeDisk({ ...disk(), paths });
      await setSvm("stopped");
      await assert.rejects(
        writeDisk({ ...disk(), paths }),
        fails("unreachable", /^all 2 paths failed: portal 127\.77\.1\.99:3260 .*; portal 127\.77\.1\.1:3260/),
      );
    });
  });
