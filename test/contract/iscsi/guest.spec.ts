import assert from "node:assert/strict";
import { mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkBreadcrumbs } from "../../../lab/guest/breadcrumbs";
import { findDisk, type Disk, type InstanceRow } from "../../../lab/guest/disk";
import { FILESYSTEM_BYTES, Guest } from "../../../lab/guest/guest";
import { FileTarget } from "../../../lab/simulators/ontap/iscsi/file-target";
import { IscsiTarget } from "../../../lab/simulators/ontap/iscsi/iscsi-target";
import type { LunMap } from "../../../lab/simulators/ontap/iscsi/lun-tables";
import { DrError } from "../../../lib/errors";

const LUN_BYTES = 64 << 20;
const IQN = "iqn.1992-08.com.netapp:sn.29d04b8e94d711e88370005056b48fd2:vs.5";
const HOST = "iqn.1994-05.com.redhat:guest-host";
const ADDRESS = "127.91.8.1";
const VOLUMES = ["0b54b7f8-2b3c-4c5c-9d54-0d2f4f1f0001", "0b54b7f8-2b3c-4c5c-9d54-0d2f4f1f0002"] as const;

/** With the programs of iSCSI and of ext4, and without both. */
const WAYS = [
  { dataPath: "iscsi", filesystem: "ext4" },
  { dataPath: "files", filesystem: "archive" },
] as const;

for (const way of WAYS)
  describe(`Guest on ${way.dataPath === "files" ? "a FileTarget" : "an IscsiTarget"} (${way.filesystem})`, () => {
    let folder: string;
    let target: IscsiTarget | FileTarget;
    let maps: LunMap[];
    let now: Date;
    const guest = new Guest({ ...way, deadlineMs: 10_000, now: () => now });

    beforeEach(async () => {
      now = new Date("2026-01-01T00:00:00Z");
      folder = await mkdtemp(join(tmpdir(), "guest-spec-"));
      const portals = [{ address: ADDRESS, port: 3260 }];
      const options = { iqn: IQN, portals, log: () => undefined };
      target =
        way.dataPath === "files"
          ? new FileTarget(options)
          : new IscsiTarget({ ...options, stateDir: join(folder, "state") });
      maps = [];
      for (const [i, volume] of VOLUMES.entries()) {
        const file = join(folder, volume);
        await writeFile(file, "");
        await truncate(file, LUN_BYTES);
        const lun = { lun: i + 1, file, serial: `serial${i}`, naa: `600a0980${String(i).padStart(24, "0")}` };
        maps.push({ ...lun, igroup: "openstack-1", initiators: [HOST], sizeBytes: LUN_BYTES, readOnly: false });
      }
      await target.start();
      await target.setMaps(maps);
    });
    afterEach(async () => {
      await target.close();
      await rm(folder, { recursive: true });
    });

    /** vdb is LUN 1 and vdc LUN 2, unless they're swapped. */
    function disk(device: "vdb" | "vdc", o: { swapped?: boolean; portals?: string[]; initiator?: string } = {}): Disk {
      const portals = o.portals ?? [`${ADDRESS}:3260`];
      const volume = (name: string, volumeId: string, lun: number) => {
        const paths = {
          target_portals: portals,
          target_iqns: portals.map(() => IQN),
          target_luns: portals.map(() => lun),
        };
        const data = { target_portal: portals[0], target_iqn: IQN, target_lun: lun, ...paths };
        return {
          device: `/dev/${name}`,
          volumeId,
          connectionInfo: JSON.stringify({ driver_volume_type: "iscsi", data }),
          connector: JSON.stringify({ initiator: o.initiator ?? HOST }),
        };
      };
      const [first, second] = o.swapped ? ([VOLUMES[1], VOLUMES[0]] as const) : VOLUMES;
      const luns = o.swapped ? ([2, 1] as const) : ([1, 2] as const);
      const instance: InstanceRow = {
        uuid: "u",
        name: "vm-07",
        vmState: "active",
        powerState: 1,
        host: "compute-1",
        volumes: [volume("vdb", first, luns[0]), volume("vdc", second, luns[1])],
      };
      return findDisk(instance, device, {});
    }

    async function filesOf(of: Disk) {
      return { instance: of.instance, device: of.device, volumeId: of.volumeId, files: await guest.list(of) };
    }

    it("formats, writes, lists, reads and checks", async () => {
      assert.deepEqual(await guest.mkfs(disk("vdb")), { label: "vm-07", uuid: VOLUMES[0] });
      assert.deepEqual(await guest.list(disk("vdb")), []);
      const sha256 = await guest.write(disk("vdb"), "notes.txt", Buffer.from("first"));
      await guest.write(disk("vdb"), "big", Buffer.alloc(1_000_000, 0x61));
      assert.notEqual(await guest.write(disk("vdb"), "notes.txt", Buffer.from("second")), sha256);
      assert.deepEqual(
        (await guest.list(disk("vdb"))).map((file) => [file.name, file.sizeBytes]),
        [
          ["big", 1_000_000],
          ["notes.txt", 6],
        ],
      );
      assert.equal((await guest.read(disk("vdb"), "notes.txt")).toString(), "second");
      assert.deepEqual(await guest.fsck(disk("vdb")), { label: "vm-07", uuid: VOLUMES[0] });
      await assert.rejects(guest.list(disk("vdc")), /list on \/dev\/vdc of vm-07: there's no filesystem/);
    });

    it("never formats a filesystem away", async () => {
      await guest.mkfs(disk("vdb"));
      await assert.rejects(guest.mkfs(disk("vdb")), (error) => DrError.is(error, "precondition"));
    });

    it("goes on with a filesystem of the other kind", async () => {
      await guest.mkfs(disk("vdb"));
      const sha256 = await guest.write(disk("vdb"), "first", Buffer.from("first"));
      const filesystem = way.filesystem === "ext4" ? "archive" : "ext4";
      const other = new Guest({ ...way, filesystem, deadlineMs: 10_000, now: () => now });
      await assert.rejects(other.mkfs(disk("vdb")), /there is a filesystem already \(label vm-07/);
      await other.write(disk("vdb"), "second", Buffer.from("second"));
      assert.deepEqual(
        (await guest.examine(disk("vdb"))).map((file) => file.name),
        ["first", "second"],
      );
      assert.equal((await other.list(disk("vdb")))[0]?.sha256, sha256);
    });

    it("formats a device that holds other bytes", async () => {
      const [map] = maps;
      assert.ok(map);
      await writeFile(map.file, Buffer.alloc(FILESYSTEM_BYTES, 0xff), { flag: "r+" });
      await guest.mkfs(disk("vdb"));
      await guest.breadcrumb(disk("vdb"), "pre-failover");
      await guest.fsck(disk("vdb"));
    });

    it("finds every breadcrumb again, and sees swapped devices", async () => {
      const expected = [];
      for (const device of ["vdb", "vdc"] as const) {
        await guest.mkfs(disk(device));
        expected.push(await guest.breadcrumb(disk(device), "pre-failover"));
      }
      assert.deepEqual(checkBreadcrumbs(expected, [await filesOf(disk("vdb")), await filesOf(disk("vdc"))]), []);
      const swapped = [await filesOf(disk("vdb", { swapped: true })), await filesOf(disk("vdc", { swapped: true }))];
      assert.deepEqual(
        checkBreadcrumbs(expected, swapped).map((problem) => `${problem.kind} ${problem.device}`),
        ["swapped vdb", "swapped vdc"],
      );
    });

    it("sees damage: to a file by its digest, to the filesystem by fsck", async () => {
      await guest.mkfs(disk("vdb"));
      const crumb = await guest.breadcrumb(disk("vdb"), "pre-failover");
      const [map] = maps;
      assert.ok(map);
      const file = await open(map.file, "r+");
      try {
        const { buffer } = await file.read(Buffer.alloc(FILESYSTEM_BYTES), 0, FILESYSTEM_BYTES, 0);
        await file.write("X", buffer.indexOf("stage: pre-failover") + 7);
        const problems = checkBreadcrumbs([crumb], [await filesOf(disk("vdb"))]);
        assert.deepEqual(
          problems.map((problem) => problem.kind),
          ["corrupted"],
        );
        // e2fsck doesn't look at contents. The archive knows their digests.
        if (way.filesystem === "ext4") await guest.fsck(disk("vdb"));
        else await assert.rejects(guest.fsck(disk("vdb")), /its content has SHA-256/);
        const metadata = { ext4: 4 * 1024 /* a bitmap */, archive: 1024 /* the first file's header */ }[way.filesystem];
        await file.write(Buffer.alloc(1024, 0xff), 0, 1024, metadata);
        await assert.rejects(guest.fsck(disk("vdb")), (error) => DrError.is(error, "failure-state"));
      } finally {
        await file.close();
      }
    });

    it("fills with bytes that the seed decides, and hashes them", async () => {
      await guest.mkfs(disk("vdb"));
      const before = await guest.hash(disk("vdb"), 0);
      const sha256 = await guest.fill(disk("vdb"), 20_000_001, "seed");
      assert.deepEqual(await guest.hash(disk("vdb"), 20_000_001), { filesystem: before.filesystem, fill: sha256 });
      assert.equal(await guest.fill(disk("vdc"), 20_000_001, "seed"), sha256);
      assert.notEqual(await guest.fill(disk("vdc"), 20_000_001, "other"), sha256);
    });

    it("says that the portal refused the login", async () => {
      await assert.rejects(
        guest.list(disk("vdb", { initiator: "iqn.stranger" })),
        (error) =>
          DrError.is(error, "unreachable") &&
          error.message.startsWith(
            `I/O error on /dev/vdb of vm-07: portal ${ADDRESS}:3260 refused the login of iqn.stranger to ${IQN}: not in an igroup`,
          ),
      );
    });

    it("says that the portal is closed, and finds everything once it's open again", async () => {
      await guest.mkfs(disk("vdb"));
      const crumb = await guest.breadcrumb(disk("vdb"), "pre-failover");
      await target.stop();
      const closed = (error: unknown) =>
        DrError.is(error, "unreachable") && /vdb of vm-07: portal .* can't be reached/.test(error.message);
      await assert.rejects(guest.list(disk("vdb")), closed);
      await assert.rejects(guest.write(disk("vdb"), "x", Buffer.from("x")), closed);
      await target.start();
      assert.deepEqual(checkBreadcrumbs([crumb], [await filesOf(disk("vdb"))]), []);
    });

    it("says which LUN is not there", async () => {
      await target.setMaps(maps.slice(0, 1));
      await assert.rejects(
        guest.list(disk("vdc")),
        (error) =>
          DrError.is(error, "remote") &&
          /\/dev\/vdc of vm-07: portal .*, LUN 2 of iqn.*: not mapped/.test(error.message),
      );
    });

    it("says that the LUN refuses writes", async () => {
      await guest.mkfs(disk("vdb"));
      await target.setMaps(maps.map((map) => ({ ...map, readOnly: true })));
      await assert.rejects(
        guest.breadcrumb(disk("vdb"), "x"),
        (error) => DrError.is(error, "remote") && /LUN 1/.test(error.message),
      );
      assert.deepEqual(await guest.list(disk("vdb")), []);
    });

    it("goes on by the next path, and names them all when none works", async () => {
      const portals = ["127.91.8.9:3260", `${ADDRESS}:3260`];
      await guest.mkfs(disk("vdb", { portals }));
      await target.stop();
      await assert.rejects(
        guest.list(disk("vdb", { portals })),
        /all 2 paths failed: portal 127.91.8.9:3260 .*; portal 127.91.8.1:3260/,
      );
    });

    it("gives up a portal that takes connections and never answers", async () => {
      const taken: Socket[] = [];
      const silent = createServer((socket) => taken.push(socket)).listen(3260, "127.91.8.5");
      await once(silent, "listening");
      try {
        const impatient = new Guest({ ...way, deadlineMs: 300, now: () => now });
        await assert.rejects(
          impatient.list(disk("vdb", { portals: ["127.91.8.5:3260"] })),
          (error) => DrError.is(error, "unreachable") && /no answer within 300 ms/.test(error.message),
        );
      } finally {
        silent.close();
        // Nobody reads from them, so that nobody sees that their other side is gone.
        taken.forEach((socket) => socket.destroy());
      }
    });
  });
