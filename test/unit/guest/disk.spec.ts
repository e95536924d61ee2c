import assert from "node:assert/strict";
import fc from "fast-check";
import { findDisk, planRuns, type InstanceRow } from "../../../lab/guest/disk";
import { DrError } from "../../../lib/errors";

const data = { target_portal: "127.0.1.1:3260", target_iqn: "iqn.1992-08.com.netapp:sn.1:vs.2", target_lun: 3 };

function instance(
  changes: Partial<InstanceRow> = {},
  info: unknown = { driver_volume_type: "iscsi", data },
): InstanceRow {
  return {
    uuid: "6c1f2f6e-0000-4000-8000-000000000001",
    name: "vm-07",
    vmState: "active",
    powerState: 1,
    host: "compute-1",
    volumes: [
      {
        device: "/dev/vdb",
        volumeId: "vol-1",
        connectionInfo: JSON.stringify(info),
        connector: JSON.stringify({ initiator: "iqn.host" }),
      },
    ],
    ...changes,
  };
}

const refusal = (text: RegExp) => (error: unknown) => DrError.is(error, "precondition") && text.test(error.message);

describe("findDisk", () => {
  it("takes portal, IQN and LUN from connection_info and the initiator from the attachment's connector", () => {
    assert.deepEqual(findDisk(instance(), "/dev/vdb", {}), {
      instance: "vm-07",
      device: "vdb",
      volumeId: "vol-1",
      initiator: "iqn.host",
      paths: [{ portal: "127.0.1.1:3260", iqn: data.target_iqn, lun: 3 }],
    });
  });

  it("takes all paths when there are several", () => {
    const several = {
      ...data,
      target_portals: ["127.0.1.1:3260", "127.0.1.2:3260"],
      target_iqns: [data.target_iqn, data.target_iqn],
      target_luns: [3, 3],
    };
    const { paths } = findDisk(instance({}, { driver_volume_type: "iscsi", data: several }), "vdb", {});
    assert.deepEqual(
      paths.map((path) => path.portal),
      ["127.0.1.1:3260", "127.0.1.2:3260"],
    );
  });

  it("takes the host's initiator name where the attachment has no connector", () => {
    const [volume] = instance().volumes;
    assert.ok(volume);
    const disk = findDisk(instance({ volumes: [{ ...volume, connector: null }] }), "vdb", { "compute-1": "iqn.other" });
    assert.equal(disk.initiator, "iqn.other");
  });

  const refused: [string, InstanceRow, string, RegExp][] = [
    ["a stopped instance", instance({ vmState: "stopped", powerState: 4 }), "vdb", /isn't running .*stopped.*4/],
    ["an instance that is powered off behind Nova's back", instance({ powerState: 4 }), "vdb", /isn't running/],
    ["a device that isn't there", instance(), "vdc", /\/dev\/vdc of vm-07: 0 volumes .*devices: \/dev\/vdb/],
    [
      "two volumes on one device",
      instance({ volumes: [...instance().volumes, ...instance().volumes] }),
      "vdb",
      /2 volumes/,
    ],
    ["another protocol", instance({}, { driver_volume_type: "nfs", data }), "vdb", /type nfs, not iscsi/],
    ["CHAP", instance({}, { driver_volume_type: "iscsi", data: { ...data, auth_method: "CHAP" } }), "vdb", /CHAP/],
    ["a connection without a portal", instance({}, { driver_volume_type: "iscsi", data: {} }), "vdb", /no portal/],
    ["an attachment without connection_info", instance({}, null), "vdb", /no connection_info/],
  ];
  for (const [name, row, device, text] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => findDisk(row, device, {}), refusal(text));
    });
  }

  it("refuses a host whose initiator name isn't known", () => {
    const [volume] = instance().volumes;
    assert.ok(volume);
    const row = instance({ volumes: [{ ...volume, connector: null }] });
    assert.throws(() => findDisk(row, "vdb", {}), refusal(/initiator name of host compute-1/));
  });
});

describe("planRuns", () => {
  const BLOCK = 4096;

  it("plans nothing for equal images", () => {
    assert.deepEqual(planRuns(Buffer.alloc(10 * BLOCK), Buffer.alloc(10 * BLOCK)), []);
  });

  it("joins near changes and keeps distant ones apart", () => {
    const after = Buffer.alloc(100 * BLOCK);
    for (const block of [1, 3, 50]) after[block * BLOCK + 7] = 1;
    const runs = planRuns(Buffer.alloc(100 * BLOCK), after);
    assert.deepEqual(
      runs.map((run) => [run.offset / BLOCK, run.bytes.length / BLOCK]),
      [
        [1, 3],
        [50, 1],
      ],
    );
  });

  it("turns the one image into the other, whatever they are", () => {
    const image = fc.uint8Array({ minLength: 64 * BLOCK, maxLength: 64 * BLOCK });
    const changes = fc.array(fc.tuple(fc.nat(64 * BLOCK - 1), fc.nat(255)), { maxLength: 20 });
    fc.assert(
      fc.property(image, changes, (bytes, edits) => {
        const before = Buffer.from(bytes);
        const after = Buffer.from(before);
        for (const [at, value] of edits) after[at] = value;
        for (const run of planRuns(before, after)) run.bytes.copy(before, run.offset);
        assert.ok(before.equals(after));
      }),
      { numRuns: 30 },
    );
  });

  it("never plans a run that is longer than 8 MiB", () => {
    const runs = planRuns(Buffer.alloc(20 << 20), Buffer.alloc(20 << 20, 1));
    assert.deepEqual(
      runs.map((run) => run.bytes.length >> 20),
      [8, 8, 4],
    );
  });
});
