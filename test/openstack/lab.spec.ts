import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import mysql from "mysql2/promise";
import type { RowDataPacket } from "mysql2";
import type { LabDescription } from "../../lab/lab";
import { labDown, labStatus, labUp, readLab, readSecret } from "../../lab/lab";
import { Session } from "../../lab/openstack/cloud";
import { processesOfLab } from "../../lab/openstack/service-manager";
import { reserveSlot, releaseSlots, slotsOf } from "../../lab/openstack/slots";
import { missingForLab } from "../../lab/openstack/up";
import { skipBecause } from "../support/skip";
import { enableSite, ontapClient, peerSites, setSvmState } from "./site-pair";

const run = promisify(execFile);
const UP_TIMEOUT_MS = 600_000;

interface Volume {
  id: string;
  status: string;
  attachments: { device: string; server_id: string }[];
}
interface Server {
  id: string;
  status: string;
  "OS-EXT-STS:task_state": string | null;
}

/** Polls until the predicate holds; the last thing seen is in the error. */
async function until<T>(
  what: string,
  read: () => Promise<T>,
  holds: (seen: T) => boolean,
  timeoutMs = 120_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const seen = await read();
    if (holds(seen)) return seen;
    if (Date.now() > deadline) throw new Error(`${what} hasn't come true; last seen: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** What a person does with the cloud, by plain requests. */
class Cloud {
  constructor(
    private readonly lab: LabDescription,
    private readonly session: Session,
  ) {}

  static async of(lab: LabDescription): Promise<Cloud> {
    const { username, passwordFile, project } = lab.admin;
    return new Cloud(lab, await Session.open(lab.endpoints.identity, username, readSecret(passwordFile), project));
  }

  request<T>(
    method: string,
    service: keyof LabDescription["endpoints"],
    below: string,
    body?: Record<string, unknown>,
  ): Promise<T> {
    return this.session.request<T>(method, this.lab.endpoints[service] + below, body);
  }

  async createType(name: string, backend: string): Promise<void> {
    await this.request("POST", "blockStorage", "/types", {
      volume_type: { name, extra_specs: { volume_backend_name: backend } },
    });
  }

  async volume(id: string): Promise<Volume> {
    return (await this.request<{ volume: Volume }>("GET", "blockStorage", `/volumes/${id}`)).volume;
  }

  async createVolume(name: string, type: string): Promise<string> {
    const body = { volume: { name, size: 1, volume_type: type } };
    const { volume } = await this.request<{ volume: Volume }>("POST", "blockStorage", "/volumes", body);
    await until(
      `volume ${name} is made`,
      () => this.volume(volume.id),
      ({ status }) => status === "available",
    );
    return volume.id;
  }

  async server(id: string): Promise<Server> {
    return (await this.request<{ server: Server }>("GET", "compute", `/servers/${id}`)).server;
  }

  /** Boots from a new root volume made from the lab's image. */
  async createServer(name: string): Promise<string> {
    const { images } = await this.request<{ images: { id: string; name: string }[] }>(
      "GET",
      "image",
      `/v2/images?name=${this.lab.image}`,
    );
    const { flavors } = await this.request<{ flavors: { id: string; name: string }[] }>("GET", "compute", "/flavors");
    const root = {
      boot_index: 0,
      uuid: images[0]?.id,
      source_type: "image",
      destination_type: "volume",
      volume_size: 1,
    };
    const { server } = await this.request<{ server: Server }>("POST", "compute", "/servers", {
      server: {
        name,
        flavorRef: flavors.find((flavor) => flavor.name === this.lab.flavor)?.id,
        block_device_mapping_v2: [{ ...root, delete_on_termination: true }],
      },
    });
    await until(
      `server ${name} is up`,
      () => this.server(server.id),
      ({ status }) => status === "ACTIVE" || status === "ERROR",
    );
    assert.equal((await this.server(server.id)).status, "ACTIVE");
    return server.id;
  }

  /** Asks for a device and returns the one that the volume got. */
  async attach(server: string, volume: string, device: string): Promise<string> {
    await this.request("POST", "compute", `/servers/${server}/os-volume_attachments`, {
      volumeAttachment: { volumeId: volume, device },
    });
    const seen = await until(
      "the volume is attached",
      () => this.volume(volume),
      ({ status }) => status !== "reserved" && status !== "attaching",
    );
    assert.equal(seen.status, "in-use");
    return seen.attachments[0]?.device ?? "";
  }

  async detach(server: string, volume: string): Promise<void> {
    await this.request("DELETE", "compute", `/servers/${server}/os-volume_attachments/${volume}`);
    await until(
      "the volume is detached",
      () => this.volume(volume),
      ({ status }) => status === "available",
    );
  }
}

async function query(lab: LabDescription, account: "services" | "product", sql: string): Promise<RowDataPacket[]> {
  const {
    host,
    port,
    [account]: { user, passwordFile },
  } = lab.database;
  const connection = await mysql.createConnection({ host, port, user, password: readSecret(passwordFile) });
  try {
    return (await connection.query<RowDataPacket[]>(sql))[0];
  } finally {
    await connection.end();
  }
}

const hypervisorLog = (lab: LabDescription) =>
  lab.computes
    .flatMap(({ hypervisorLog }) =>
      fs.existsSync(hypervisorLog) ? fs.readFileSync(hypervisorLog, "utf8").trim().split("\n") : [],
    )
    .map((line) => JSON.parse(line) as { operation: string; volume: string; device: string; portal: string | null });

describe("a lab with a real OpenStack", function () {
  this.timeout(UP_TIMEOUT_MS);
  const python = process.env["CINDER_CHEESECAKE_PYTHON"] ?? "";
  let dir: string;
  let lab: LabDescription;
  let cloud: Cloud;

  before(async function () {
    const missing = missingForLab(python);
    if (missing !== undefined) skipBecause(this, missing);
    dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "lab-")));
    lab = await labUp({ dir, python, progress: () => undefined });
    cloud = await Cloud.of(lab);
  });

  after(async () => {
    if (dir !== undefined) await labDown(dir);
  });

  const service = (host: string, ...words: string[]) =>
    run(lab.serviceManager, ["--lab", dir, "--host", host, ...words]);
  const codeOf = async (work: Promise<unknown>): Promise<number> =>
    work.then(
      () => 0,
      (error: { code?: number }) => error.code ?? -1,
    );

  it("describes itself without a secret", () => {
    assert.deepEqual(readLab(dir), lab);
    const text = fs.readFileSync(path.join(dir, "lab.json"), "utf8");
    for (const name of fs.readdirSync(path.join(dir, "secrets"))) {
      const file = path.join(dir, "secrets", name);
      assert.equal(fs.statSync(file).mode & 0o777, 0o600, name);
      if (!name.endsWith(".json")) assert.ok(!text.includes(readSecret(file)), name);
    }
  });

  it("runs everything but the standby cinder-volume", () => {
    const down = labStatus(dir).filter(({ active }) => !active);
    assert.deepEqual(
      down.map(({ host, name }) => `${host} ${name}`),
      ["controller-2 cinder-volume"],
    );
  });

  it("gives another lab other addresses, and the same one its own again", async () => {
    const other = fs.mkdtempSync(path.join(os.tmpdir(), "lab-"));
    try {
      const slot = await reserveSlot(other);
      assert.notEqual(slot, lab.slot);
      assert.equal(await reserveSlot(other), slot);
    } finally {
      releaseSlots(other);
      fs.rmdirSync(other);
    }
    assert.deepEqual(slotsOf(dir), [lab.slot]);
  });

  it("boots a server from a root volume and attaches a data volume under the next free name", async () => {
    await cloud.createType("netapp_nfs", "loweropenstack1");
    const server = await cloud.createServer("on-files");
    const volume = await cloud.createVolume("beside", "netapp_nfs");
    assert.equal(await cloud.attach(server, volume, "/dev/vdx"), "/dev/vdb", "libvirt ignores the name asked for");
    await cloud.detach(server, volume);
  });

  it("lets the switchover's database account do what a switchover needs, and no more", async () => {
    await query(lab, "product", "CREATE SCHEMA IF NOT EXISTS cinder_cheesecake");
    await query(lab, "product", "UPDATE cinder.volumes SET host = host WHERE id = ''");
    await query(lab, "product", "SELECT connection_info FROM nova.block_device_mapping LIMIT 1");
    for (const forbidden of [
      "DELETE FROM cinder.volumes",
      "SELECT * FROM keystone.user",
      "UPDATE nova.block_device_mapping SET deleted = 0",
    ])
      await assert.rejects(query(lab, "product", forbidden), { code: "ER_TABLEACCESS_DENIED_ERROR" }, forbidden);
  });

  it("keeps a service down while it's masked", async () => {
    const host = "controller-2";
    await service(host, "stop", "cinder-scheduler");
    assert.equal(await codeOf(service(host, "is-active", "cinder-scheduler")), 3);
    await service(host, "mask", "cinder-scheduler");
    await assert.rejects(service(host, "start", "cinder-scheduler"), /masked/);
    assert.equal(await codeOf(service(host, "is-masked", "cinder-scheduler")), 0);
    await service(host, "unmask", "cinder-scheduler");
    await service(host, "start", "cinder-scheduler");
    assert.equal(await codeOf(service(host, "is-active", "cinder-scheduler")), 0);
  });

  it("has a supervisor that restarts what died, and even what was stopped, but nothing masked", async () => {
    const supervise = (...words: string[]) => run(lab.serviceManager, ["--lab", dir, "supervise", ...words]);
    const active = () => codeOf(service("control", "is-active", "placement"));
    const pid = async () => Number((await service("control", "pids", "placement")).stdout.split("\n")[0]);
    await supervise("on");
    try {
      process.kill(await pid(), "SIGKILL");
      await until("placement is started again", active, (code) => code === 0);
      await supervise("on", "--even-stopped");
      await service("control", "stop", "placement");
      await until("placement is started although it was stopped", active, (code) => code === 0);
      await service("control", "mask", "placement");
      await service("control", "stop", "placement");
      await service("controller-2", "restart", "cinder-scheduler"); // the supervisor has gone round by now
      assert.equal(await active(), 3);
    } finally {
      await supervise("off");
      await service("control", "unmask", "placement");
      await service("control", "start", "placement");
    }
  });

  describe("with NetApp's driver", () => {
    const pools = ["pool1", "pool2"];
    let server: string;
    let volume: string;

    const backendRow = async () =>
      (
        await query(
          lab,
          "services",
          `SELECT * FROM cinder.services WHERE host = '${lab.volumeHost}@iprod' AND deleted = 0`,
        )
      )[0];
    const mapsOf = async (site: "iprod" | "idr") => {
      const client = ontapClient(lab, site);
      try {
        return (await client.listLunMaps(pools)).map(({ lunPath }) => lunPath.split("/").at(-1));
      } finally {
        await client.close();
      }
    };
    const act = (action: "os-start" | "os-stop") =>
      cloud.request("POST", "compute", `/servers/${server}/action`, { [action]: null });
    const settled = (status: string) =>
      until(
        `the server is ${status}`,
        () => cloud.server(server),
        (seen) => seen.status === status && seen["OS-EXT-STS:task_state"] === null,
      );

    before(async () => {
      await peerSites(lab);
      enableSite(lab, "iprod");
      await service("controller-1", "restart", "cinder-volume");
      await until("the backend has registered", backendRow, (row) => row?.["replication_status"] === "enabled");
      await cloud.createType("netapp_iscsi", "netapp_iscsi");
      server = await cloud.createServer("on-iscsi");
      volume = await cloud.createVolume("data", "netapp_iscsi");
      assert.equal(await cloud.attach(server, volume, "/dev/vdb"), "/dev/vdb");
    });

    it("maps what is attached at the active site", async () => {
      assert.deepEqual(await mapsOf("iprod"), [`volume-${volume}`]);
      assert.deepEqual(await mapsOf("idr"), []);
    });

    it("has hosts whose dead paths show: a start fails, and a detach when flushing gives up", async () => {
      await act("os-stop");
      await settled("SHUTOFF");
      await setSvmState(lab, "iprod", "stopped");
      try {
        await act("os-start");
        await settled("SHUTOFF"); // Nova takes a failed start back
        const flags = lab.computes.map(({ failDeadPathDetachFile }) => failDeadPathDetachFile);
        for (const flag of flags) fs.writeFileSync(flag, "");
        await cloud.request("DELETE", "compute", `/servers/${server}/os-volume_attachments/${volume}`);
        await until(
          "the volume stays attached",
          () => cloud.volume(volume),
          ({ status }) => status === "in-use",
        );
        for (const flag of flags) fs.rmSync(flag);
      } finally {
        await setSvmState(lab, "iprod", "running");
      }
      await act("os-start");
      await settled("ACTIVE");
    });

    it("fails over, after which a new attachment leads to the other cluster", async () => {
      // The route of Cinder 29; /os-services/failover isn't served.
      const host = `${lab.volumeHost}@iprod`;
      await cloud.request("PUT", "blockStorage", "/os-services/failover_host", { host, backend_id: "idr" });
      await until("the backend has failed over", backendRow, (row) => row?.["replication_status"] === "failed-over");
      await cloud.detach(server, volume);
      assert.equal(await cloud.attach(server, volume, "/dev/vdb"), "/dev/vdb");
      assert.deepEqual(await mapsOf("idr"), [`volume-${volume}`]);
      const [mapping] = await query(
        lab,
        "services",
        `SELECT connection_info FROM nova.block_device_mapping WHERE deleted = 0 AND volume_id = '${volume}'`,
      );
      const { data } = JSON.parse(String(mapping?.["connection_info"])) as { data: { target_portals: string[] } };
      const portals = lab.arrays.idr.iscsiAddresses.map((address) => `${address}:3260`);
      assert.deepEqual(data.target_portals, portals);
      const last = hypervisorLog(lab)
        .filter((line) => line.volume === volume)
        .at(-1);
      assert.deepEqual([last?.operation, last?.portal, last?.device], ["attach", portals[0], "/dev/vdb"]);
    });
  });

  // A suite, as mocha runs those after the tests beside them.
  describe("at its end", () => {
    it("leaves nothing", async () => {
      await labDown(dir);
      assert.deepEqual(processesOfLab(dir), []);
      assert.equal(fs.existsSync(dir), false);
      assert.deepEqual(slotsOf(dir), []);
      await labDown(dir); // a repeat finds nothing to do
    });
  });
});
