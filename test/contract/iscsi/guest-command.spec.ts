import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createConnection, type Connection } from "mysql2/promise";
import { runGuest } from "../../../lab/guest/main";
import { IscsiTarget } from "../../../lab/simulators/ontap/iscsi/iscsi-target";
import type { LunMap } from "../../../lab/simulators/ontap/iscsi/lun-tables";
import { run, type Outcome } from "./initiator";

const IQN = "iqn.1992-08.com.netapp:sn.39d04b8e94d711e88370005056b48fd2:vs.6";
const ADDRESS = "127.91.10.1";
const PASSWORD = "not-in-argv";
const INSTANCES = ["vm-1", "vm-2", "vm-3"];
const MAIN = resolve(__dirname, "../../../lab/guest/main.ts");

/** The command against a real MariaDB with the columns of Nova's and Cinder's tables that it reads, and a real iSCSI target. */
describe("guest command", function () {
  this.timeout(60_000);
  let folder: string;
  let server: ChildProcess | undefined;
  let database: Connection;
  let target: IscsiTarget | undefined;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "guest-command-"));
    const data = join(folder, "data");
    const install = ["--no-defaults", "--user=root", `--datadir=${data}`, "--skip-test-db"];
    const installed = await run("mariadb-install-db", install, 60_000);
    assert.ok(installed.ok, installed.output);
    const socket = join(folder, "my.sock");
    const init = join(folder, "init.sql");
    // One statement a line, or the server leaves it out.
    await writeFile(init, `CREATE USER os@'%' IDENTIFIED BY '${PASSWORD}';\nGRANT ALL ON *.* TO os@'%';\n`);
    const options = [`--datadir=${data}`, `--socket=${socket}`, `--bind-address=${ADDRESS}`, `--init-file=${init}`];
    const small = ["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--skip-name-resolve"];
    const command = ["--pdeathsig", "KILL", "mariadbd", "--no-defaults", "--user=root", ...options, ...small];
    server = spawn("setpriv", command, { stdio: "ignore" });
    database = await connect();
    await createTables();

    const portals = [{ address: ADDRESS, port: 3260 }];
    target = new IscsiTarget({ iqn: IQN, portals, stateDir: join(folder, "iscsi"), log: () => undefined });
    await target.start();
    const maps: LunMap[] = [];
    for (const [i, name] of INSTANCES.entries()) {
      const initiator = `iqn.host-${i % 2}`;
      await insertInstance(name, `host-${i % 2}`, ["active", 1]);
      for (const [j, device] of ["/dev/vdb", "/dev/vdc"].entries()) {
        const lun = i * 2 + j + 1;
        const file = join(folder, `lun-${lun}`);
        await writeFile(file, "");
        await truncate(file, 32 << 20);
        const names = { file, serial: `s${lun}`, naa: `600a0980${String(lun).padStart(24, "0")}` };
        maps.push({ ...names, igroup: initiator, initiators: [initiator], lun, sizeBytes: 32 << 20, readOnly: false });
        await insertVolume(name, device, lun, initiator);
      }
    }
    await target.setMaps(maps);
  });
  after(async () => {
    await (database as Connection | undefined)?.end();
    await target?.close();
    if (server) {
      server.kill("SIGKILL");
      await once(server, "exit");
    }
    await rm(folder, { recursive: true });
  });

  async function connect(): Promise<Connection> {
    const deadline = performance.now() + 30_000;
    for (;;) {
      try {
        return await createConnection({ host: ADDRESS, user: "os", password: PASSWORD, multipleStatements: true });
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await new Promise((done) => setTimeout(done, 50));
      }
    }
  }

  async function createTables(): Promise<void> {
    await database.query(`
      CREATE DATABASE nova CHARACTER SET utf8mb3; CREATE DATABASE cinder CHARACTER SET utf8mb3;
      CREATE TABLE nova.instances (id INT AUTO_INCREMENT PRIMARY KEY, deleted INT DEFAULT 0, uuid VARCHAR(36), display_name VARCHAR(255),
        vm_state VARCHAR(255), power_state INT, host VARCHAR(255));
      CREATE TABLE nova.block_device_mapping (id INT AUTO_INCREMENT PRIMARY KEY, deleted INT DEFAULT 0, instance_uuid VARCHAR(36),
        device_name VARCHAR(255), destination_type VARCHAR(255), volume_id VARCHAR(36), attachment_id VARCHAR(36), connection_info MEDIUMTEXT);
      CREATE TABLE cinder.volume_attachment (id VARCHAR(36) PRIMARY KEY, deleted TINYINT DEFAULT 0, connector TEXT);`);
  }

  async function insertInstance(name: string, host: string, [vmState, powerState]: [string, number]): Promise<void> {
    await database.query("INSERT INTO nova.instances (uuid, display_name, vm_state, power_state, host) VALUES (?)", [
      [uuid(name), name, vmState, powerState, host],
    ]);
  }

  async function insertVolume(name: string, device: string, lun: number, initiator: string): Promise<void> {
    const volume = `0b54b7f8-2b3c-4c5c-9d54-0d2f4f1f${String(lun).padStart(4, "0")}`;
    const info = {
      driver_volume_type: "iscsi",
      data: { target_portal: `${ADDRESS}:3260`, target_iqn: IQN, target_lun: lun, volume_id: volume },
    };
    const columns = "deleted, instance_uuid, device_name, destination_type, volume_id, attachment_id, connection_info";
    // A detached volume's row stays, marked as deleted.
    await database.query(`INSERT INTO nova.block_device_mapping (${columns}) VALUES ?`, [
      [
        [99, uuid(name), device, "volume", "former", `former-${lun}`, "{}"],
        [0, uuid(name), device, "volume", volume, `attachment-${lun}`, JSON.stringify(info)],
      ],
    ]);
    await database.query("INSERT INTO cinder.volume_attachment (id, connector) VALUES (?)", [
      [`attachment-${lun}`, JSON.stringify({ initiator })],
    ]);
  }

  const uuid = (name: string) => `6c1f2f6e-0000-4000-8000-${name.padStart(12, "0")}`;

  async function argumentsOf(command: string, rest: readonly string[]): Promise<string[]> {
    const passwordFile = join(folder, "password");
    await writeFile(passwordFile, `${PASSWORD}\n`, { mode: 0o600 });
    return [
      command,
      "--database",
      `${ADDRESS}:3306`,
      "--database-user",
      "os",
      "--database-password-file",
      passwordFile,
      ...rest,
    ];
  }

  async function guest(command: string, ...rest: string[]): Promise<Outcome> {
    let output = "";
    const add = (line: string) => (output += `${line}\n`);
    const code = await runGuest(await argumentsOf(command, rest), { out: add, err: add });
    return { ok: code === 0, output };
  }

  async function succeed(command: string, ...rest: string[]): Promise<string> {
    const { ok, output } = await guest(command, ...rest);
    assert.ok(ok, output);
    return output;
  }

  it("marks all instances at several stages and finds every mark again", async () => {
    await succeed("mkfs", "--all", "vm-", "--device", "vdb,vdc");
    const written = join(folder, "written");
    for (const [device, stage] of [
      ["vdb,vdc", "pre-failover"],
      ["vdb", "down-services"],
    ] as const) {
      const output = await succeed("breadcrumb", "--all", "vm-", "--device", device, "--stage", stage, "--json");
      await writeFile(written, output, { flag: "a" });
    }
    const stages = ["--expect", "vdb=pre-failover,down-services", "--expect", "vdc=pre-failover"];
    assert.equal(await succeed("check", "--all", "vm-", ...stages), "6 devices, 9 files, 0 problems\n");
    assert.equal(await succeed("check", "--all", "vm-", "--expected", written), "6 devices, 9 files, 0 problems\n");

    const missing = await guest("check", "--instance", "vm-2", "--expect", "vdb=pre-failover", "--expect", "vdc=x");
    assert.ok(!missing.ok);
    assert.match(missing.output, /^unexpected: vm-2 vdb vm-2-down-services:/m);
    assert.match(missing.output, /^missing: vm-2 vdc vm-2-x: the device holds vm-2-pre-failover$/m);

    assert.match(await succeed("fsck", "--instance", uuid("vm-3"), "--device", "vdc"), /^vm-3 vdc: clean, label vm-3,/);
    const text = await succeed("read", "--instance", "vm-1", "--device", "vdb", "--file", "vm-1-pre-failover");
    assert.match(
      text,
      /instance: vm-1\ndevice: vdb\nvolume: 0b54b7f8-2b3c-4c5c-9d54-0d2f4f1f0001\nstage: pre-failover/,
    );
  });

  it("does nothing in an instance that isn't running, and goes on with the others", async () => {
    await database.query("UPDATE nova.instances SET vm_state = 'stopped', power_state = 4 WHERE display_name = 'vm-2'");
    const { ok, output } = await guest("list", "--all", "vm-", "--device", "vdb", "--json");
    await database.query("UPDATE nova.instances SET vm_state = 'active', power_state = 1 WHERE display_name = 'vm-2'");
    assert.ok(!ok);
    assert.match(output, /I\/O on \/dev\/vdb of vm-2: the instance isn't running/);
    const [json = ""] = output.split("\n");
    const outcomes = JSON.parse(json) as { instance: string; error?: string }[];
    assert.deepEqual(
      outcomes.map((outcome) => [outcome.instance, outcome.error === undefined]),
      [
        ["vm-1", true],
        ["vm-2", false],
        ["vm-3", true],
      ],
    );
  });

  it("is a program whose exit code says whether all went well", async () => {
    const program = async (device: string) =>
      run(process.execPath, [
        "-r",
        "ts-node/register",
        MAIN,
        ...(await argumentsOf("list", ["--instance", "vm-1", "--device", device])),
      ]);
    assert.deepEqual((await program("vdb")).ok, true);
    const { ok, output } = await program("vdz");
    assert.ok(!ok);
    assert.match(output, /\/dev\/vdz of vm-1: 0 volumes are attached there/);
  });

  it("says which instances it doesn't find, and which name is shared", async () => {
    assert.match((await guest("list", "--instance", "vm-9", "--device", "vdb")).output, /no instance vm-9/);
    await insertInstance("vm-3", "host-0", ["error", 0]);
    const { ok, output } = await guest("list", "--instance", "vm-3", "--device", "vdb");
    await database.query("DELETE FROM nova.instances WHERE vm_state = 'error'");
    assert.ok(!ok);
    assert.match(output, /Several instances are called vm-3/);
  });
});
