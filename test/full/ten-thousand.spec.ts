import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { populateLab } from "../../lab/embedded/populate";
import { runGuest } from "../../lab/guest/main";
import { labStatus, missingFor } from "../../lab/lab";
import { statusTable } from "../../lab/openstack/status";
import { say, sayFailures, Scene, type Site } from "../openstack/support";
import { skipBecause } from "../support/skip";

const INSTANCES = 2500;
const VOLUMES_PER_INSTANCE = 4;
const DEVICES = ["vdb", "vdc", "vdd", "vde"];

/** The size that a large cloud has: there and back, every volume at its place, a sample's bytes read again. */
describe(`${INSTANCES * VOLUMES_PER_INSTANCE} volumes on ${INSTANCES} instances (embedded lab)`, function () {
  this.timeout(0);
  let scene: Scene;
  let attached: Attached[];
  const sample = Array.from({ length: 10 }, (_, index) => 1 + Math.floor((index * INSTANCES) / 10)).map(
    (number) => `populated-${String(number).padStart(5, "0")}`,
  );

  before(async function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
    // Four tgtd with thousands of LUNs each are no part of what is proved here.
    scene = await Scene.open({ flavour: "embedded", instances: 1, computes: 4, dataPath: "files" });
    scene.configure({ promotion: "immediate" });
    await scene.up();
    const { instances, volumes } = await populateLab({
      dir: scene.lab.dir,
      instances: INSTANCES,
      volumesPerInstance: VOLUMES_PER_INSTANCE,
      progress: say,
    });
    assert.deepEqual([instances, volumes], [INSTANCES, INSTANCES * VOLUMES_PER_INSTANCE]);
    attached = await attachments();
    await guest("mkfs", "--device", DEVICES.join(","));
    await guest("breadcrumb", "--device", DEVICES.join(","), "--stage", "at-first", "--record", scene.record);
  });
  sayFailures(() => scene);
  after(() => scene?.close());

  async function guest(verb: string, ...args: string[]): Promise<void> {
    const errors: string[] = [];
    const output = { out: () => undefined, err: (line: string) => void errors.push(line) };
    const which = sample.flatMap((name) => ["--instance", name]);
    const code = await runGuest([verb, "--lab", scene.lab.dir, ...which, ...args], output);
    assert.deepEqual([code, errors], [0, []]);
  }

  interface Attached {
    instance: string;
    device: string;
    volume: string;
  }

  async function attachments(): Promise<Attached[]> {
    const rows = await scene.sql(
      "SELECT instance_uuid AS instance, device_name AS device, volume_id AS volume FROM nova.block_device_mapping WHERE deleted = 0 ORDER BY instance_uuid, device_name",
    );
    return (rows as Attached[]).map(({ instance, device, volume }) => ({ instance, device, volume }));
  }

  /** Every volume is on its instance under its device, connected to a LUN of its own at the site, and to nothing elsewhere. */
  async function assertAllAt(site: Site): Promise<void> {
    assert.deepEqual(await attachments(), attached);
    interface Lun {
      cluster: string;
      path: string;
      maps: { initiators: string[]; logicalUnitNumber: number }[];
    }
    const mapped = ((await scene.luns()) as Lun[]).filter(({ maps }) => maps.length > 0);
    assert.deepEqual(
      [mapped.length, mapped.filter(({ cluster }) => cluster !== scene.lab.arrays[site].cluster).length],
      [INSTANCES * VOLUMES_PER_INSTANCE, 0],
    );
    const lunOf = new Map(mapped.map((lun) => [lun.path.split("/volume-")[1], lun]));
    const rows = (await scene.sql(
      "SELECT b.volume_id AS volume, b.connection_info AS info, i.host FROM nova.block_device_mapping b JOIN nova.instances i ON i.uuid = b.instance_uuid WHERE b.deleted = 0 AND b.device_name <> '/dev/vda'",
    )) as { volume: string; info: string; host: string }[];
    assert.equal(rows.length, INSTANCES * VOLUMES_PER_INSTANCE);
    const initiatorOf = new Map(scene.lab.computes.map(({ name, initiator }) => [name, initiator]));
    const wrong = rows.filter(({ volume, info, host }) => {
      const { data } = JSON.parse(info) as { data: { target_lun: number; target_portal: string } };
      const map = lunOf.get(volume)?.maps[0];
      const atSite = scene.lab.arrays[site].iscsiAddresses.some((address) =>
        data.target_portal.startsWith(`${address}:`),
      );
      return !atSite || map?.logicalUnitNumber !== data.target_lun || map.initiators[0] !== initiatorOf.get(host);
    });
    assert.deepEqual(wrong, []);
    const states = (await scene.sql(
      "SELECT vm_state, task_state, locked, COUNT(*) AS n FROM nova.instances WHERE deleted = 0 GROUP BY vm_state, task_state, locked",
    )) as object[];
    assert.deepEqual(
      states.map((row) => ({ ...row })),
      [{ vm_state: "active", task_state: null, locked: 0, n: INSTANCES }],
    );
    const hosts = (await scene.sql(
      "SELECT status, SUBSTRING_INDEX(host, '#', 1) AS backend, COUNT(*) AS n FROM cinder.volumes WHERE deleted = 0 AND replication_status IS NOT NULL GROUP BY 1, 2",
    )) as object[];
    assert.deepEqual(
      hosts.map((row) => ({ ...row })),
      [{ status: "in-use", backend: `${scene.lab.volumeHost}@${site}`, n: INSTANCES * VOLUMES_PER_INSTANCE }],
    );
    await guest("check", "--expected", scene.record);
  }

  async function travel(to: Site): Promise<void> {
    const began = Date.now();
    let peakMiB = 0;
    const look = setInterval(() => {
      for (const pid of scene.providers()) peakMiB = Math.max(peakMiB, peakMemoryMiB(pid));
    }, 1000);
    try {
      const report = await scene.flip(to);
      assert.deepEqual([report.verdict, report.to], ["completed", to]);
      say(`to ${to}: ${Math.round((Date.now() - began) / 1000)} s, RTO ${report.rtoSeconds ?? "?"} s`);
    } finally {
      clearInterval(look);
      say(`peak RSS of the engine's process: ${peakMiB} MiB`);
      console.log(statusTable(labStatus(scene.lab.dir)));
    }
  }

  it("goes to idr as a whole", async () => {
    await travel("idr");
    await assertAllAt("idr");
  });

  it("comes back as a whole", async () => {
    await guest("breadcrumb", "--device", DEVICES.join(","), "--stage", "at-idr", "--record", scene.record);
    await travel("iprod");
    await assertAllAt("iprod");
  });
});

function peakMemoryMiB(pid: number): number {
  try {
    const [, kib = 0] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Math.round(Number(kib) / 1024);
  } catch {
    return 0; // it ended just now
  }
}
