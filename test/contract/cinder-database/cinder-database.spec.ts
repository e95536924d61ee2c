import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCinderDatabase, type DatabaseOptions, type PromotionChange } from "../../../lib/cinder-database";
import { Database } from "../../../lib/cinder-database/connection";
import { dumpByConnection } from "../../../lib/cinder-database/dump";
import { DrError } from "../../../lib/errors";
import type { CinderDatabasePort, CoordinationPort, LeaseHolder } from "../../../lib/switchover/ports";
import { open } from "node:fs/promises";
import { badInput } from "../../support/bad-input";
import { type PrivateMariadb, contentOf, createCinderSchema, startMariadb } from "./private-mariadb";

const iprod = "cinder-a@iprod";
const idr = "cinder-a@idr";
const password = "pass'word\\%";

describe("cinder-database against MariaDB with Cinder 29's schema", function () {
  this.timeout(60_000);
  let server: PrivateMariadb;
  let schema: string;
  let number = 0;
  let client: ReturnType<typeof connectCinderDatabase>;
  let database: CinderDatabasePort;
  let coordination: CoordinationPort;
  const options = (): DatabaseOptions => ({
    host: server.host,
    port: server.port,
    user: "dr",
    password,
    cinderSchema: schema,
    tls: false,
  });
  const all = (text: string): Promise<Record<string, unknown>[]> => server.sql(text, schema);

  before(async () => {
    server = await startMariadb("127.71.0.2", 13306);
    await server.sql(
      `CREATE USER dr@'127.%' IDENTIFIED BY 'pass''word\\\\%'; GRANT ALL ON \`cinder%\`.* TO dr@'127.%'; GRANT ALL ON cinder_cheesecake.* TO dr@'127.%'`,
    );
  });
  after(() => server.stop());

  beforeEach(async () => {
    schema = `cinder${++number}`;
    await createCinderSchema(server, schema);
    await all(`
      INSERT INTO services (id, uuid, host, \`binary\`, topic, report_count, disabled, disabled_reason, replication_status, active_backend_id, frozen, updated_at, deleted) VALUES
        (1, 'uuid-iprod', '${iprod}', 'cinder-volume', 'cinder-volume', 5, 1, 'failed-over', 'failed-over', 'idr', 0, '2026-01-02 03:04:05', 0),
        (2, 'uuid-idr', '${idr}', 'cinder-volume', 'cinder-volume', 5, 1, 'standby', 'failed-over', 'iprod', 1, NULL, 0),
        (3, 'uuid-nfs', 'cinder-a@nfs', 'cinder-volume', 'cinder-volume', 5, 0, NULL, 'disabled', NULL, 0, NULL, 0),
        (4, 'uuid-sched', 'cinder-a', 'cinder-scheduler', 'cinder-scheduler', 5, 0, NULL, 'not-capable', NULL, 0, NULL, 0),
        (5, 'uuid-old', '${iprod}', 'cinder-volume', 'cinder-volume', 5, 0, NULL, 'enabled', NULL, 0, NULL, 1);
      SET @type = (SELECT id FROM volume_types LIMIT 1);
      INSERT INTO volumes (id, host, status, replication_status, service_uuid, provider_auth, display_name, volume_type_id, use_quota, deleted) VALUES
        ('v1', '${iprod}#pool1', 'in-use', 'failed-over', 'uuid-iprod', 'CHAP u secret', 'it''s \\\\ "ä"', @type, 1, 0),
        ('v2', '${iprod}#pool2', 'available', 'failed-over', 'uuid-iprod', NULL, NULL, @type, 1, 0),
        ('v3', '${iprod}', 'error', 'not-capable', 'uuid-iprod', NULL, NULL, @type, 1, 0),
        ('v4', '${iprod}#pool1', 'deleted', 'enabled', 'uuid-iprod', NULL, NULL, @type, 1, 1),
        ('v5', 'cinder-a@iprod2#pool1', 'available', 'enabled', NULL, NULL, NULL, @type, 1, 0),
        ('v6', 'CINDER-A@iprod#pool1', 'available', 'enabled', NULL, NULL, NULL, @type, 1, 0),
        ('v7', '${iprod}#pool1', 'available', NULL, NULL, NULL, NULL, @type, 1, 0),
        ('v8', 'cinder-a@nfs#share', 'creating', NULL, NULL, NULL, NULL, @type, 1, 0);
      INSERT INTO \`groups\` (id, host, status, deleted) VALUES ('g1', '${iprod}#pool1', 'available', 0), ('g2', '${iprod}#pool1', 'deleted', 1);
      INSERT INTO consistencygroups (id, host, status, deleted) VALUES ('c1', '${iprod}', 'available', 0);
      INSERT INTO image_volume_cache_entries (host, image_id, volume_id, size, last_used) VALUES ('${iprod}#pool1', 'i1', 'v2', 1, NOW());
    `);
    client = connectCinderDatabase(options());
    ({ database, coordination } = client);
  });
  afterEach(() => client.close());

  const counts = { volumes: 4, groups: 1, consistencygroups: 1, image_volume_cache_entries: 1 };
  const none = { volumes: 0, groups: 0, consistencygroups: 0, image_volume_cache_entries: 0 };
  const change = (more: Partial<PromotionChange> = {}): PromotionChange => ({
    fromHost: iprod,
    toHost: idr,
    toBackendId: "idr",
    expected: counts,
    writeFence: false,
    takeInFlight: false,
    ...more,
  });
  const everything = (): Promise<string> => contentOf(server, schema);
  const rejects = (work: Promise<unknown>, code: string, text: RegExp): Promise<void> =>
    assert.rejects(work, (error: Error) => DrError.is(error) && error.code === code && text.test(error.message));

  describe("describe", () => {
    it("tells version and schema head, and that no right is missing", async () => {
      const seen = await database.describe();
      assert.match(seen.version, /^\d+\.\d+\.\d+-MariaDB/);
      assert.deepEqual(
        { ...seen, version: "" },
        {
          version: "",
          schemaHead: "9c74c1c6971f",
          schemaReleases: "Cinder 24 to 29",
          undecidedColumns: [],
          wsrepOn: false,
          readOnly: false,
          missingRights: [],
        },
      );
    });
    it("names every right that's missing, changes nothing, and sees a read-only server", async () => {
      await server.sql(
        `CREATE OR REPLACE USER poor@'127.%' IDENTIFIED BY 'x'; GRANT SELECT ON ${schema}.* TO poor@'127.%'; GRANT UPDATE ON ${schema}.volumes TO poor@'127.%'; GRANT UPDATE (host) ON ${schema}.\`groups\` TO poor@'127.%'; GRANT SELECT, INSERT ON \`cinder\\_cheese%\`.* TO poor@'127.%'`,
      );
      const before = await everything();
      const poor = connectCinderDatabase({ ...options(), user: "poor", password: "x" });
      try {
        const seen = await poor.database.describe();
        assert.equal(seen.readOnly, false);
        assert.deepEqual(seen.missingRights, [
          `UPDATE ON ${schema}.consistencygroups`,
          `UPDATE ON ${schema}.image_volume_cache_entries`,
          `UPDATE ON ${schema}.services`,
          "CREATE ON cinder_cheesecake.*",
          "UPDATE ON cinder_cheesecake.*",
        ]);
        await server.sql("SET GLOBAL read_only = 1");
        assert.equal((await poor.database.describe()).readOnly, true);
      } finally {
        await server.sql("SET GLOBAL read_only = 0");
        await poor.close();
      }
      assert.equal(await everything(), before);
    });
  });

  describe("reading", () => {
    it("lists live services rows with the count of their heartbeats", async () => {
      const rows = await database.listServiceRows();
      assert.deepEqual(
        rows.map((row) => row.id),
        [1, 2, 3, 4],
      );
      assert.deepEqual(rows[0], {
        id: 1,
        uuid: "uuid-iprod",
        host: iprod,
        binary: "cinder-volume",
        disabled: true,
        disabledReason: "failed-over",
        replicationStatus: "failed-over",
        activeBackendId: "idr",
        frozen: false,
        reportCount: 5,
        clusterName: null,
      });
    });
    it("lists volumes, snapshots and attachments of exactly this backend, without anything secret", async () => {
      await all(`
        INSERT INTO volume_attachment (id, volume_id, instance_uuid, mountpoint, attached_host, attach_status, connection_info, deleted) VALUES
          ('a1', 'v1', 's1', '/dev/vdb', 'compute-1', 'attached', '{"auth_password": "secret"}', 0),
          ('a2', 'v1', 's1', '/dev/vdb', 'compute-1', 'detached', NULL, 1),
          ('a3', 'v2', 's1', NULL, NULL, 'reserved', NULL, 0);
        SET @type = (SELECT id FROM volume_types LIMIT 1);
        INSERT INTO snapshots (id, volume_id, status, volume_type_id, use_quota, deleted) VALUES ('n1', 'v1', 'available', @type, 1, 0), ('n2', 'v1', 'deleted', @type, 1, 1);
        UPDATE volumes SET size = 3, project_id = 'p', _name_id = 'former' WHERE id = 'v1'`);
      const { database: rows } = client;
      const volumes = await rows.listVolumes(iprod);
      assert.deepEqual(volumes.map(({ id }) => id), ["v1", "v2", "v3", "v7"]);
      assert.deepEqual(volumes[0], {
        id: "v1", name: `it's \\ "ä"`, host: `${iprod}#pool1`, status: "in-use", sizeGiB: 3, projectId: "p", replicationStatus: "failed-over", nameId: "former",
        multiattach: false, bootable: false, encrypted: false, attachments: [{ attachmentId: "a1", serverId: "s1", device: "/dev/vdb", host: "compute-1" }],
      });
      assert.deepEqual(await rows.listSnapshots(), [{ id: "n1", volumeId: "v1", status: "available" }]);
      assert.deepEqual(await rows.listAttachments(), [
        { id: "a1", volumeId: "v1", serverId: "s1", status: "attached" },
        { id: "a3", volumeId: "v2", serverId: "s1", status: "reserved" },
      ]);
    }); // prettier-ignore

    it("counts live rows of exactly this backend, in its case", async () => {
      assert.deepEqual(await database.countHostRows(iprod), counts);
      assert.deepEqual(await database.countHostRows("cinder_a@iprod"), none);
      assert.deepEqual(await database.countHostRows("cinder-a@ipro%"), none);
      await rejects(database.countHostRows("cinder-a"), "config", /<host>@<backend>/);
    });
    it("lists volumes in flight by status, migration and workers row", async () => {
      assert.deepEqual(await database.listVolumesInFlight(iprod), []);
      await all("UPDATE volumes SET status = 'reserved', migration_status = 'deleting' WHERE id = 'v1'");
      assert.deepEqual(await database.listVolumesInFlight(iprod), []);
      await all(`UPDATE volumes SET status = 'detaching', migration_status = NULL WHERE id = 'v1'; UPDATE volumes SET migration_status = 'migrating' WHERE id = 'v2';
        INSERT INTO workers (resource_type, resource_id, status, service_id, race_preventer, updated_at, deleted) VALUES ('Volume', 'v7', 'creating', 1, 0, NOW(), 0);`);
      assert.deepEqual(await database.listVolumesInFlight(iprod), [
        { id: "v1", status: "detaching" },
        { id: "v2", status: "available, migration migrating" },
        { id: "v7", status: "available, being worked on (workers row)" },
      ]);
    });
  });

  describe("findConnector", () => {
    it("finds that of the newest attachment that had one, deleted or not, of this instance", async () => {
      await all(`INSERT INTO volume_attachment (id, volume_id, instance_uuid, attach_status, created_at, deleted, connector) VALUES
        ('a1', 'v1', 's1', 'detached', '2026-01-01 00:00:00', 1, '{"host": "first"}'),
        ('a2', 'v1', 's1', 'detached', '2026-01-02 00:00:00', 1, '{"host": "second"}'),
        ('a3', 'v1', 's1', 'reserved', '2026-01-03 00:00:00', 0, NULL),
        ('a4', 'v1', 's2', 'attached', '2026-01-04 00:00:00', 0, '{"host": "another"}')`);
      const find = (serverId: string, volumeId = "v1") => database.findConnector({ serverId, volumeId });
      assert.equal(await find("s1"), '{"host": "second"}');
      assert.equal(await find("s2"), '{"host": "another"}');
      assert.equal(await find("s3"), undefined);
      assert.equal(await find("s1", "v2"), undefined);
    });
  });

  describe("promote", () => {
    it("moves every live row with its pool, clears the new site's row and leaves the fence", async () => {
      const fence = await all("SELECT * FROM services WHERE id = 1");
      const result = await database.promote(change());
      assert.deepEqual(result.before, counts);
      assert.deepEqual(result.after, counts);
      assert.deepEqual(
        await all("SELECT id, host, replication_status AS r, service_uuid AS u FROM volumes ORDER BY id"),
        [
          { id: "v1", host: `${idr}#pool1`, r: "enabled", u: "uuid-idr" },
          { id: "v2", host: `${idr}#pool2`, r: "enabled", u: "uuid-idr" },
          { id: "v3", host: idr, r: "not-capable", u: "uuid-idr" },
          { id: "v4", host: `${iprod}#pool1`, r: "enabled", u: "uuid-iprod" },
          { id: "v5", host: "cinder-a@iprod2#pool1", r: "enabled", u: null },
          { id: "v6", host: "CINDER-A@iprod#pool1", r: "enabled", u: null },
          { id: "v7", host: `${idr}#pool1`, r: "enabled", u: "uuid-idr" },
          { id: "v8", host: "cinder-a@nfs#share", r: null, u: null },
        ],
      );
      assert.deepEqual(await all("SELECT host FROM `groups` ORDER BY id"), [
        { host: `${idr}#pool1` },
        { host: `${iprod}#pool1` },
      ]);
      assert.deepEqual(await all("SELECT host FROM consistencygroups"), [{ host: idr }]);
      assert.deepEqual(await all("SELECT host FROM image_volume_cache_entries"), [{ host: `${idr}#pool1` }]);
      assert.deepEqual(await all("SELECT * FROM services WHERE id = 1"), fence);
      assert.deepEqual(
        await all(
          "SELECT disabled, disabled_reason AS d, replication_status AS r, active_backend_id AS a, frozen FROM services WHERE id = 2",
        ),
        [{ disabled: 0, d: null, r: "enabled", a: null, frozen: 0 }],
      );
      assert.ok(!JSON.stringify(result).includes("CHAP"), "no secret leaves the database");
    });

    it("gives a rollback that restores every byte, and that repeats harmlessly", async () => {
      const before = await everything();
      const { rollbackSql } = await database.promote(change());
      assert.notEqual(await everything(), before);
      await server.sql(rollbackSql.join(";\n"));
      assert.equal(await everything(), before);
      await server.sql(rollbackSql.join(";\n"));
      assert.equal(await everything(), before);
    });

    it("rolls back only what still is as the promotion left it", async () => {
      const { rollbackSql } = await database.promote(change());
      await all("UPDATE volumes SET host = 'cinder-a@nfs#share' WHERE id = 'v1'");
      await server.sql(rollbackSql.join(";\n"));
      assert.deepEqual(await all("SELECT id, host FROM volumes WHERE id IN ('v1', 'v2')"), [
        { id: "v1", host: "cinder-a@nfs#share" },
        { id: "v2", host: `${iprod}#pool2` },
      ]);
    });

    it("finds nothing to do when repeated, says so, and still knows the rollback", async () => {
      const first = await database.promote(change());
      const state = await everything();
      const second = await database.promote(change());
      assert.deepEqual(second.before, none);
      assert.deepEqual(second.after, counts);
      assert.deepEqual(second.rollbackSql, first.rollbackSql);
      assert.deepEqual(second.beforeImage, first.beforeImage);
      assert.equal(await everything(), state);
    });

    it("goes there and back", async () => {
      const before = await everything();
      await database.promote(change());
      const back = change({ fromHost: idr, toHost: iprod, toBackendId: "iprod", writeFence: true });
      const home = await database.promote(back);
      assert.deepEqual(home.before, counts);
      const again = await database.promote(back);
      assert.deepEqual(again.rollbackSql, home.rollbackSql);
      assert.deepEqual(
        await all("SELECT host, disabled AS d, active_backend_id AS a FROM services WHERE id IN (1, 2)"),
        [
          { host: iprod, d: 0, a: null },
          { host: idr, d: 1, a: "iprod" },
        ],
      );
      assert.notEqual(await everything(), before);
    });

    it("promotes a backend without rows, with a rollback of its services row, and repeats", async () => {
      await all(
        "UPDATE volumes SET deleted = 1; DELETE FROM `groups`; DELETE FROM consistencygroups; DELETE FROM image_volume_cache_entries",
      );
      const before = await everything();
      const first = await database.promote(change({ expected: none }));
      const second = await database.promote(change({ expected: none }));
      assert.deepEqual(second, first);
      await server.sql(first.rollbackSql.join(";\n"));
      assert.equal(await everything(), before);
    });

    it("finds nothing to do also when asked with what is left, which is nothing", async () => {
      const first = await database.promote(change());
      const second = await database.promote(change({ expected: none }));
      assert.deepEqual(second.before, none);
      assert.deepEqual(second.rollbackSql, first.rollbackSql);
    });

    it("leaves service_uuid where the new service never ran", async () => {
      await all(
        "UPDATE volumes SET service_uuid = NULL WHERE service_uuid = 'uuid-idr'; DELETE FROM services WHERE id = 2",
      );
      await database.promote(change());
      assert.deepEqual(await all("SELECT service_uuid AS u FROM volumes WHERE id = 'v1'"), [{ u: "uuid-iprod" }]);
    });

    const refusals: { name: string; sql?: string; change?: Partial<PromotionChange>; code: string; text: RegExp }[] = [
      {
        name: "another number of volumes",
        change: { expected: { ...counts, volumes: 3 } },
        code: "stale-plan",
        text: /volumes 4.*volumes 3/,
      },
      {
        name: "another number of cache entries",
        change: { expected: { ...counts, image_volume_cache_entries: 2 } },
        code: "stale-plan",
        text: /image_volume_cache_entries 1/,
      },
      { name: "counts without a table", change: { expected: { volumes: 4 } }, code: "invariant", text: /groups/ },
      { name: "a backend id of another site", change: { toBackendId: "iprod" }, code: "invariant", text: /backend id/ },
      {
        name: "a fence that was cleared",
        sql: "UPDATE services SET replication_status = 'enabled', active_backend_id = NULL, disabled = 0 WHERE id = 1",
        code: "precondition",
        text: /overwrite the new site/,
      },
      {
        name: "a fence to another backend",
        sql: "UPDATE services SET active_backend_id = 'third' WHERE id = 1",
        code: "precondition",
        text: /third/,
      },
      {
        name: "a fence that's enabled",
        sql: "UPDATE services SET disabled = 0 WHERE id = 1",
        code: "precondition",
        text: /disabled 0/,
      },
      {
        name: "a missing row of the site that is left",
        sql: "UPDATE services SET deleted = 1 WHERE id = 1",
        code: "precondition",
        text: /no live cinder-volume row/,
      },
      {
        name: "a missing row even when it shall write the fence",
        sql: "UPDATE services SET deleted = 1 WHERE id = 1",
        change: { writeFence: true },
        code: "precondition",
        text: /no live cinder-volume row/,
      },
      {
        name: "a cluster",
        sql: "UPDATE volumes SET cluster_name = 'c@iprod' WHERE id = 'v1'",
        code: "precondition",
        text: /cluster/,
      },
      {
        name: "a clustered service",
        sql: "UPDATE services SET cluster_name = 'c@idr' WHERE id = 2",
        code: "precondition",
        text: /cluster/,
      },
      {
        name: "two rows of the site that is left",
        sql: `INSERT INTO services (host, \`binary\`, topic, report_count, disabled, replication_status, frozen, deleted) VALUES ('${iprod}', 'cinder-volume', 'cinder-volume', 1, 0, 'enabled', 0, 0)`,
        code: "precondition",
        text: /cinder-a@iprod has live cinder-volume rows 1, \d+, needed one/,
      },
      {
        name: "a volume in flight",
        sql: "UPDATE volumes SET status = 'creating' WHERE id = 'v7'",
        code: "precondition",
        text: /v7 \(creating\)/,
      },
      {
        name: "no rows at either host",
        sql: "UPDATE volumes SET host = 'x@y#z'",
        code: "stale-plan",
        text: /volumes 0/,
      },
    ];
    for (const refusal of refusals)
      badInput("database", `refuses ${refusal.name}, and rolls everything back`, async () => {
        if (refusal.sql !== undefined) await all(refusal.sql);
        const before = await everything();
        await rejects(database.promote(change(refusal.change)), refusal.code, refusal.text);
        assert.equal(await everything(), before);
      });

    it("takes volumes in flight along where nobody works on them any more", async () => {
      await all("UPDATE volumes SET status = 'creating' WHERE id = 'v7'");
      await database.promote(change({ takeInFlight: true }));
      assert.deepEqual(await database.countHostRows(iprod), none);
      assert.deepEqual(await all("SELECT status FROM volumes WHERE id = 'v7'"), [{ status: "creating" }]);
    });

    it("writes the fence on the direct route", async () => {
      await all(
        "UPDATE services SET replication_status = 'enabled', active_backend_id = NULL, disabled = 0, disabled_reason = NULL WHERE id = 1",
      );
      const before = await everything();
      const { rollbackSql } = await database.promote(change({ writeFence: true }));
      assert.deepEqual(
        await all(
          "SELECT disabled, disabled_reason AS d, replication_status AS r, active_backend_id AS a FROM services WHERE id = 1",
        ),
        [{ disabled: 1, d: "failed-over", r: "failed-over", a: "idr" }],
      );
      await server.sql(rollbackSql.join(";\n"));
      assert.equal(await everything(), before);
    });

    it("repeats the whole transaction after a deadlock", async () => {
      // The other one holds volumes and then wants services; the promotion locks services and then wants volumes.
      const other = new Database({ ...options(), host: server.socket, user: "root", password: "" });
      let release: () => void = () => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      let locked: () => void = () => undefined;
      const ready = new Promise<void>((resolve) => (locked = resolve));
      const deadlocking = other.transaction("hold", async (session) => {
        // Many changed rows make the promotion the cheaper victim.
        await session.change(`UPDATE ${schema}.volumes SET display_description = RAND()`);
        await session.change(`UPDATE ${schema}.quotas SET hard_limit = 1`);
        locked();
        await held;
        await session.rows(`SELECT id FROM ${schema}.services FOR UPDATE`);
      });
      await ready;
      const deadlocks = async (): Promise<number> =>
        Number((await server.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"))[0]?.Value);
      const earlier = await deadlocks();
      const promoting = database.promote(change());
      for (;;) {
        const [waiting] = await server.sql("SELECT COUNT(*) AS n FROM information_schema.innodb_lock_waits");
        if (Number(waiting?.n) > 0) break;
        // The server refreshes that table only when it wasn't read for 100 ms.
        await sleep(150);
      }
      release();
      await deadlocking;
      assert.deepEqual((await promoting).before, counts);
      assert.ok((await deadlocks()) > earlier);
      await other.close();
    });
  });

  describe("dump", () => {
    const restore = async (file: string): Promise<void> => {
      const before = await everything();
      const source = schema;
      schema = `${source}r`;
      await server.sql(`CREATE DATABASE ${schema} CHARACTER SET utf8mb3`);
      const done = spawnSync("mariadb", ["--no-defaults", "-uroot", `--socket=${server.socket}`, schema], {
        input: readFileSync(file),
      });
      assert.equal(done.status, 0, done.stderr.toString());
      assert.equal(await everything(), before);
    };

    it("is whole, for its owner only, and restores every byte", async () => {
      const file = path.join(server.folder, "by-tool.sql");
      const seen = await database.dump(file);
      const content = readFileSync(file);
      assert.deepEqual(seen, {
        bytes: content.length,
        sha256: createHash("sha256").update(content).digest("hex"),
        tables: 36,
        rows: { volumes: 8, groups: 2, consistencygroups: 1, image_volume_cache_entries: 1, services: 5 },
      });
      assert.equal(statSync(file).mode & 0o777, 0o600);
      assert.ok(!existsSync(`${file}.partial`));
      await restore(file);
    });
    it("stays as it is when repeated after the change", async () => {
      const file = path.join(server.folder, "repeated.sql");
      const first = await database.dump(file);
      await database.promote(change());
      assert.deepEqual(await database.dump(file), first);
    });
    it("never overwrites another file, and never calls a torn dump whole", async () => {
      const file = path.join(server.folder, "torn.sql");
      await database.dump(file);
      writeFileSync(file, readFileSync(file).subarray(0, -40));
      await rejects(database.dump(file), "remote", /isn't a whole dump/);
    });
    it("without mariadb-dump restores every byte too", async () => {
      const file = path.join(server.folder, "by-connection.sql");
      const own = new Database(options());
      const handle = await open(file, "wx", 0o600);
      await dumpByConnection(own, handle, "dump");
      await handle.close();
      await own.close();
      await restore(file);
    });
    it("says what went wrong without the password", async () => {
      const wrong = connectCinderDatabase({ ...options(), cinderSchema: "cinder_nowhere" });
      await rejects(wrong.database.dump(path.join(server.folder, "wrong.sql")), "remote", /no tables/);
      await wrong.close();
    });
  });

  describe("connecting", () => {
    badInput("database", "refuses a remote host without TLS before anything is sent", () => {
      assert.throws(
        () => connectCinderDatabase({ ...options(), host: "192.0.2.1" }),
        (error: Error) => DrError.is(error, "config") && /TLS/.test(error.message),
      );
    });
    it("says unreachable where nobody listens, and remote for a wrong password, which it doesn't show", async () => {
      const nobody = connectCinderDatabase({ ...options(), port: 1 });
      await rejects(nobody.database.listServiceRows(), "unreachable", /ECONNREFUSED/);
      const wrong = connectCinderDatabase({ ...options(), password: "wrong-password" });
      await assert.rejects(
        wrong.database.listServiceRows(),
        (error: Error) =>
          DrError.is(error, "remote") &&
          /1045/.test(error.message) &&
          !JSON.stringify(error).includes("wrong-password"),
      );
      await nobody.close();
      await wrong.close();
    });
    it("comes back after the server closed the connection", async () => {
      await database.listServiceRows();
      for (const { Id } of await server.sql("SHOW PROCESSLIST"))
        await server.sql(`KILL ${String(Id)}`).catch(() => undefined);
      await database.listServiceRows().catch((error) => assert.ok(DrError.is(error, "unreachable")));
      assert.equal((await database.listServiceRows()).length, 4);
    });
  });

  describe("coordination", () => {
    const holder = (owner: string): LeaseHolder => ({ owner, host: "h", pid: 1, stack: "prod", planDigest: "d" });
    let pair: string;
    beforeEach(async () => {
      pair = `pair-${number}`;
      await coordination.prepare();
    });

    it("prepares again without harm", async () => {
      await coordination.acquireLease(pair, holder("a"), "t1", 60);
      await coordination.prepare();
      assert.equal((await coordination.findLease(pair))?.token, "t1");
    });

    it("gives a free lease to exactly one of many takers", async () => {
      const takers = Array.from({ length: 6 }, () => connectCinderDatabase(options()));
      const taken = await Promise.all(
        takers.map((one, i) => one.coordination.acquireLease(pair, holder(`o${i}`), `t${i}`, 60)),
      );
      assert.equal(taken.filter((lease) => lease !== undefined).length, 1);
      const lease = await coordination.findLease(pair);
      assert.deepEqual(
        lease,
        taken.find((one) => one !== undefined),
      );
      assert.equal(lease?.expired, false);
      assert.match(lease?.expiresAt ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
      await Promise.all(takers.map((one) => one.close()));
    });

    it("keeps a held lease from others, and gives it again to its own token", async () => {
      const first = await coordination.acquireLease(pair, holder("a"), "t1", 60);
      assert.equal(await coordination.acquireLease(pair, holder("b"), "t2", 60), undefined);
      const again = await coordination.acquireLease(pair, holder("a"), "t1", 60);
      assert.equal(again?.acquiredAt, first?.acquiredAt);
      assert.equal(await coordination.renewLease(pair, "t2", 60), false);
      await coordination.releaseLease(pair, "t2");
      assert.equal(await coordination.renewLease(pair, "t1", 60), true);
    });

    it("is free after its release", async () => {
      await coordination.acquireLease(pair, holder("a"), "t1", 60);
      await coordination.releaseLease(pair, "t1");
      await coordination.releaseLease(pair, "t1");
      assert.equal(await coordination.findLease(pair), undefined);
      assert.equal((await coordination.acquireLease(pair, holder("b"), "t2", 60))?.owner, "b");
    });

    it("is taken over when expired by the database's clock, and then lost to the former holder", async () => {
      await coordination.acquireLease(pair, holder("a"), "t1", 60);
      await server.sql(
        `UPDATE cinder_cheesecake.lease SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE pair = '${pair}'`,
      );
      assert.equal((await coordination.findLease(pair))?.expired, true);
      assert.equal((await coordination.acquireLease(pair, holder("b"), "t2", 60))?.token, "t2");
      assert.equal(await coordination.renewLease(pair, "t1", 60), false);
      await coordination.releaseLease(pair, "t1");
      assert.equal((await coordination.findLease(pair))?.owner, "b");
    });

    it("may be renewed after it ran out, while nobody took it", async () => {
      await coordination.acquireLease(pair, holder("a"), "t1", 0);
      assert.equal(await coordination.renewLease(pair, "t1", 60), true);
      assert.equal((await coordination.findLease(pair))?.expired, false);
    });

    it("tells every stack the first one that claimed the pair", async () => {
      assert.deepEqual(await coordination.claimOwnership(pair, "prod"), { stack: "prod" });
      assert.deepEqual(await coordination.claimOwnership(pair, "Prod"), { stack: "prod" });
    });

    it("appends to the journal once, in order, and refuses another entry under the same number", async () => {
      const id = `${pair}-s1`;
      const entry = JSON.stringify({ text: "ä'\\ 💾", big: "x".repeat(100_000) });
      await coordination.appendJournal(id, 2, pair, ["second", "third"]);
      await coordination.appendJournal(id, 1, pair, [entry]);
      await coordination.appendJournal(id, 1, pair, [entry, "second"]);
      assert.deepEqual(await coordination.readJournal(id), [entry, "second", "third"]);
      await rejects(coordination.appendJournal(id, 2, pair, ["SECOND"]), "journal", /another entry/);
      await rejects(coordination.appendJournal(id, 3, pair, ["THIRD", "fourth"]), "journal", /another/);
      await rejects(coordination.appendJournal(id, 4, "other", ["x"]), "journal", /belongs to the pair/);
      assert.deepEqual(await coordination.readJournal(id), [entry, "second", "third"]);
      assert.deepEqual(await coordination.readJournal("nothing"), []);
    });

    it("lists switchovers newest first, with the open ones marked", async () => {
      for (const id of ["s1", "s2"]) await coordination.appendJournal(`${pair}-${id}`, 1, pair, ["x"]);
      await coordination.closeSwitchover(`${pair}-s1`);
      await server.sql(
        `UPDATE cinder_cheesecake.switchover SET closed_at = closed_at - INTERVAL 90 SECOND WHERE switchover_id = '${pair}-s1'`,
      );
      await coordination.closeSwitchover(`${pair}-s1`);
      const [second, first, ...others] = await coordination.listSwitchovers(pair);
      assert.deepEqual([second?.switchoverId, second?.open], [`${pair}-s2`, true]);
      assert.deepEqual([first?.switchoverId, first?.open, others], [`${pair}-s1`, false, []]);
      assert.equal(second?.closedSecondsAgo, undefined);
      const { closedSecondsAgo = 0 } = first ?? {};
      assert.ok(closedSecondsAgo >= 90 && closedSecondsAgo < 120, String(closedSecondsAgo));
    });
  });
});
