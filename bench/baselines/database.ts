/** 5. The promotion's transaction, beside the same change typed into the mysql client. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type mysql from "mysql2/promise";
import { findProgram } from "../../lab/programs";
import { connectCinderDatabase } from "../../lib/cinder-database";
import { type Goal, type Measurement, type Section, type Spread, spreadOf } from "../measurement";
import { spreadText, table } from "../table";
import { ACCOUNT, HOST, type Mariadb, startMariadb } from "./mariadb";

const SCHEMA = "cinder";
const schemaFile = path.join(__dirname, "../../test/fixtures/cinder-29-schema.sql");
const WANTED = 1.3;

type Way = "promotion" | "client";
const ways: readonly Way[] = ["promotion", "client"];

/** Rows that somebody might wait for: what both change, and what they have nothing to do with. */
const probes = [
  { table: "volumes", key: "id" },
  { table: "services", key: "id" },
  { table: "groups", key: "id" },
  { table: "image_volume_cache_entries", key: "id" },
  { table: "snapshots", key: "id" },
  { table: "volume_attachment", key: "id" },
] as const;
type Table = (typeof probes)[number]["table"];

export interface DatabaseResult {
  readonly server: string;
  readonly quick: boolean;
  /** By table, of all kinds: live, deleted, of other backends. */
  readonly rows: Readonly<Record<string, number>>;
  readonly moved: number;
  readonly seconds: Readonly<Record<Way, Spread>>;
  /** Of one promotion, apart from those that are compared. */
  readonly shares: readonly { readonly what: string; readonly seconds: number }[];
  /** How long a row of the table could be locked by nobody else, in ms. */
  readonly lockedMs: Readonly<Record<Way, Readonly<Record<Table, number>>>>;
}

export const database: Measurement<DatabaseResult> = {
  number: 5,
  title: "The database's transaction",
  missing: () => {
    const lacking = ["mariadbd", "mariadb-install-db", "mariadb"].filter((name) => findProgram(name) === undefined);
    return lacking.length === 0 ? undefined : `${lacking.join(", ")} can't be found`;
  },
  run: async (ctx) => {
    const { quick, scratch, signal } = ctx;
    const volumes = quick ? 5_000 : 100_000;
    const repeats = quick ? 2 : 5;
    const server = await startMariadb(path.join(scratch, "mariadb"));
    const connection = await server.connect();
    try {
      ctx.say(`${volumes} volumes, with their snapshots, attachments and deleted rows`);
      const rows = await fill(connection, volumes);
      const seconds: Record<Way, number[]> = { promotion: [], client: [] };
      let direction: Direction = { from: "iprod", to: "idr" };
      const once = async (way: Way): Promise<number> => {
        signal.throwIfAborted();
        await asAfterFailover(connection, direction);
        const begun = performance.now();
        await move[way](server, direction);
        const took = (performance.now() - begun) / 1000;
        await assertMoved(connection, direction, volumes);
        ctx.say(`${way} to ${direction.to}: ${took.toFixed(2)} s`);
        direction = { from: direction.to, to: direction.from };
        return took;
      };
      for (const way of ways) await once(way); // what the server reads for the first time belongs to neither
      // Turned round each time, so that both go both ways.
      for (let repeat = 0; repeat < repeats; repeat++)
        for (const way of repeat % 2 === 0 ? ways : ways.toReversed()) seconds[way].push(await once(way));
      // Apart: who writes down each statement, or looks for locks all the time, makes it slower.
      const shares = await sharesOf(connection, () => once("promotion"));
      await once("client");
      const lockedMs = {
        promotion: await whileWatched(server, () => once("promotion")),
        client: await whileWatched(server, () => once("client")),
      };
      return {
        server: `MariaDB ${server.version}`,
        quick,
        rows,
        moved: volumes,
        seconds: { promotion: spreadOf(seconds.promotion), client: spreadOf(seconds.client) },
        shares,
        lockedMs,
      };
    } finally {
      await connection.end();
      await server.stop();
    }
  },
  goals: ({ quick, seconds, moved }): Goal[] => {
    if (quick) return [];
    const times = seconds.promotion.median / seconds.client.median;
    return [
      {
        text: `Promotion of ${moved.toLocaleString("en")} volumes at most ${WANTED} × of the bare statements: ${times.toFixed(2)} ×`,
        met: times <= WANTED,
      },
    ];
  },
  render,
};

interface Direction {
  readonly from: string;
  readonly to: string;
}
const backend = (site: string): string => `cinder-dr@${site}`;
const uuidOf = (site: string): string => `5e1f1ce5-0000-4000-8000-${site.padEnd(12, "0").replace(/[^0-9a-f]/g, "0")}`;

/** What is there after some years: more rows that are gone than rows that live, and other backends. */
async function fill(connection: mysql.Connection, volumes: number): Promise<Record<string, number>> {
  await connection.query(`CREATE DATABASE ${SCHEMA} CHARACTER SET utf8mb3; USE ${SCHEMA}`);
  await connection.query(fs.readFileSync(schemaFile, "utf8"));
  const service = (id: number, host: string, uuid: string): string =>
    `(${id}, NOW(), NOW(), 0, '${uuid}', '${host}', 'cinder-volume', 'cinder-volume', 'nova', 100, 0, 'enabled', 0)`;
  await connection.query(`
    INSERT INTO services (id, created_at, updated_at, deleted, uuid, host, \`binary\`, topic, availability_zone, report_count, disabled, replication_status, frozen)
    VALUES ${[service(1, backend("iprod"), uuidOf("iprod")), service(2, backend("idr"), uuidOf("idr")), service(3, backend("nfs"), uuidOf("nfs"))].join(", ")}`);
  // Random, as Cinder's ids are, and the same each time.
  const uuid = (seed: string): string =>
    `INSERT(INSERT(INSERT(INSERT(MD5(CONCAT('${seed}', seq)), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-')`;
  const volume = (seed: string, count: number, at: string, deleted: 0 | 1): Promise<unknown> =>
    connection.query(`
      INSERT INTO volumes (created_at, updated_at, deleted_at, deleted, id, user_id, project_id, host, size, availability_zone, status,
        attach_status, scheduled_at, launched_at, display_name, provider_location, volume_type_id, bootable, replication_status,
        multiattach, service_uuid, shared_targets, use_quota)
      SELECT NOW(), NOW(), IF(${deleted}, NOW(), NULL), ${deleted}, ${uuid(seed)}, MD5(seq % 500), MD5(seq % 200),
        CONCAT('${backend(at)}#pool', 1 + seq % 8), 1 + seq % 100, 'nova', IF(${deleted}, 'deleted', IF(seq % 10, 'in-use', 'available')),
        IF(${deleted} OR seq % 10 = 0, 'detached', 'attached'), NOW(), NOW(), CONCAT('volume-', seq),
        CONCAT('svm:/vol/pool/volume-', seq), (SELECT id FROM volume_types LIMIT 1), 0, 'enabled', 0, '${uuidOf(at)}', 0, 1
      FROM seq_1_to_${count}`);
  await volume("live", volumes, "iprod", 0);
  await volume("gone", volumes, "iprod", 1);
  await volume("other", volumes / 5, "nfs", 0);
  const snapshot = (seed: string, count: number, deleted: 0 | 1): Promise<unknown> =>
    connection.query(`
      INSERT INTO snapshots (created_at, updated_at, deleted_at, deleted, id, volume_id, user_id, project_id, status, progress, volume_size, display_name, volume_type_id, use_quota)
      SELECT NOW(), NOW(), IF(${deleted}, NOW(), NULL), ${deleted}, ${uuid(seed)},
        INSERT(INSERT(INSERT(INSERT(MD5(CONCAT('live', 1 + seq % ${volumes})), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-'),
        MD5(seq % 500), MD5(seq % 200), IF(${deleted}, 'deleted', 'available'), '100%', 1, CONCAT('snapshot-', seq),
        (SELECT id FROM volume_types LIMIT 1), 1
      FROM seq_1_to_${count}`);
  await snapshot("snapshot", volumes * 2, 0);
  await snapshot("former", volumes * 2, 1);
  const attachment = (seed: string, count: number, deleted: 0 | 1): Promise<unknown> =>
    connection.query(`
      INSERT INTO volume_attachment (created_at, updated_at, deleted_at, deleted, id, volume_id, attached_host, instance_uuid, mountpoint, attach_time, attach_mode, attach_status, connection_info, connector)
      SELECT NOW(), NOW(), IF(${deleted}, NOW(), NULL), ${deleted}, ${uuid(seed)},
        INSERT(INSERT(INSERT(INSERT(MD5(CONCAT('live', 1 + seq % ${volumes})), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-'),
        CONCAT('compute-', seq % 100), MD5(seq % 25000), '/dev/vdb', NOW(), 'rw', IF(${deleted}, 'detached', 'attached'),
        REPEAT('connection ', 60), REPEAT('connector ', 30)
      FROM seq_1_to_${count}`);
  await attachment("attached", Math.floor(volumes * 0.9), 0);
  await attachment("detached", volumes * 2, 1);
  await connection.query(`
    INSERT INTO \`groups\` (created_at, deleted, id, host, status, availability_zone)
    SELECT NOW(), 0, ${uuid("group")}, '${backend("iprod")}#pool1', 'available', 'nova' FROM seq_1_to_100;
    INSERT INTO image_volume_cache_entries (host, image_id, volume_id, size, last_used)
    SELECT '${backend("iprod")}#pool1', ${uuid("image")}, ${uuid("live")}, 1, NOW() FROM seq_1_to_50;
    ANALYZE TABLE volumes, services, \`groups\`, snapshots, volume_attachment`);
  const counts: Record<string, number> = {};
  for (const { table } of probes) {
    const [[row]] = await connection.query<mysql.RowDataPacket[]>(`SELECT COUNT(*) AS n FROM \`${table}\``);
    counts[table] = Number((row as { n: number }).n);
  }
  return counts;
}

/** As failover-host leaves it; and nothing of a former run is still being tidied up. */
async function asAfterFailover(connection: mysql.Connection, { from, to }: Direction): Promise<void> {
  await connection.query(`
    UPDATE volumes SET replication_status = 'failed-over' WHERE deleted = 0 AND host LIKE '${backend(from)}#%';
    UPDATE services SET replication_status = 'failed-over', active_backend_id = '${to}', disabled = 1, disabled_reason = 'failed-over'
     WHERE host = '${backend(from)}';
    SET GLOBAL innodb_max_purge_lag_wait = 0`);
  await sleep(500);
}

const move: Readonly<Record<Way, (server: Mariadb, direction: Direction) => Promise<void>>> = {
  promotion: async ({ port }, { from, to }) => {
    const client = connectCinderDatabase({ host: HOST, port, ...ACCOUNT, cinderSchema: SCHEMA, tls: false });
    try {
      await client.database.promote({
        fromHost: backend(from),
        toHost: backend(to),
        toBackendId: to,
        expected: await client.database.countHostRows(backend(from)),
        writeFence: false,
        takeInFlight: false,
      });
    } finally {
      await client.close();
    }
  },
  // docs/what-if.md has them for a promotion by hand; service_uuid as cinder-manage's `volume update_service` sets it.
  client: ({ port }, { from, to }) =>
    mariadbClient(
      port,
      `
      START TRANSACTION;
      UPDATE services SET replication_status = 'enabled', active_backend_id = NULL, disabled = 0, disabled_reason = NULL
       WHERE \`binary\` = 'cinder-volume' AND host = '${backend(to)}' AND deleted = 0;
      UPDATE volumes
         SET host = CONCAT('${backend(to)}', SUBSTRING(host, CHAR_LENGTH('${backend(from)}') + 1)), replication_status = 'enabled',
             service_uuid = '${uuidOf(to)}'
       WHERE deleted = 0 AND (host = '${backend(from)}' OR host LIKE '${backend(from)}#%');
      UPDATE \`groups\` SET host = CONCAT('${backend(to)}', SUBSTRING(host, CHAR_LENGTH('${backend(from)}') + 1))
       WHERE deleted = 0 AND host LIKE '${backend(from)}#%';
      UPDATE image_volume_cache_entries SET host = CONCAT('${backend(to)}', SUBSTRING(host, CHAR_LENGTH('${backend(from)}') + 1))
       WHERE host LIKE '${backend(from)}#%';
      COMMIT;
      `,
    ),
};

function mariadbClient(port: number, statements: string): Promise<void> {
  const { user, password } = ACCOUNT;
  const args = [
    "--no-defaults",
    `--host=${HOST}`,
    `--port=${port}`,
    `--user=${user}`,
    `--password=${password}`,
    SCHEMA,
  ];
  return new Promise((resolve, reject) => {
    const client = spawn("mariadb", args, { stdio: ["pipe", "ignore", "pipe"] });
    let errors = "";
    client.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    client.on("error", reject);
    client.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`mariadb ended with ${code}: ${errors}`))));
    client.stdin.end(statements);
  });
}

async function assertMoved(connection: mysql.Connection, { from, to }: Direction, volumes: number): Promise<void> {
  const [[row]] = await connection.query<mysql.RowDataPacket[]>(`
    SELECT SUM(host LIKE '${backend(to)}#%' AND replication_status = 'enabled' AND service_uuid = '${uuidOf(to)}') AS there,
           SUM(host LIKE '${backend(from)}#%') AS here FROM volumes WHERE deleted = 0`);
  const { there, here } = row as { there: string; here: string };
  if (Number(there) !== volumes || Number(here) !== 0)
    throw new Error(`${there} volumes are at ${to} and ${here} at ${from}, and not ${volumes} and 0`);
}

const statements: readonly (readonly [what: string, statement: RegExp])[] = [
  ["reads and locks the rows that change, which a rollback needs", /\bFOR UPDATE\b/],
  ["keeps them and the statements that put them back", /\bpromotion\b/],
  ["changes them", /^UPDATE `cinder`/],
  ["counts what names either backend, before and after", /^SELECT (COUNT|SUM)\b/],
  ["asks for volumes in flight", /\bmigration_status\b/],
  ["commits", /^COMMIT/],
  ["all other statements", /^/],
];

/** By the server's slow log, into which everything goes meanwhile. */
async function sharesOf(
  connection: mysql.Connection,
  work: () => Promise<number>,
): Promise<{ what: string; seconds: number }[]> {
  await connection.query(
    "SET GLOBAL log_output = 'TABLE'; SET GLOBAL long_query_time = 0; TRUNCATE mysql.slow_log; SET GLOBAL slow_query_log = 1",
  );
  const seconds = new Map(statements.map(([what]) => [what, 0]));
  let rest: number;
  try {
    rest = await work();
  } finally {
    await connection.query("SET GLOBAL slow_query_log = 0; SET GLOBAL long_query_time = DEFAULT");
  }
  // The measurement's own connections are older than the setting.
  const [rows] = await connection.query<mysql.RowDataPacket[]>(
    "SELECT CONVERT(LEFT(sql_text, 2000) USING utf8mb4) AS statement, TIME_TO_SEC(query_time) AS seconds FROM mysql.slow_log",
  );
  for (const row of rows as { statement: string; seconds: string }[]) {
    const what = statements.find(([, pattern]) => pattern.test(row.statement))?.[0] ?? "";
    seconds.set(what, (seconds.get(what) ?? 0) + Number(row.seconds));
    rest -= Number(row.seconds);
  }
  return [
    ...[...seconds].map(([what, each]) => ({ what, seconds: each })),
    { what: "in its own process, and on the way", seconds: rest },
  ];
}

/**
 * Tries to lock single rows, again and again, without waiting for them: those that are changed, at both ends of the order
 * in which they may be reached. Returns for each table how long that was refused.
 */
async function whileWatched(server: Mariadb, work: () => Promise<unknown>): Promise<Record<Table, number>> {
  const locked = new Map<Table, { first: number; last: number }>();
  let done = false;
  const watch = async (): Promise<void> => {
    const connection = await server.connect();
    try {
      await connection.query(`USE ${SCHEMA}; SET SESSION innodb_lock_wait_timeout = 0`);
      const rows: { table: Table; key: string; id: unknown }[] = [];
      for (const { table, key } of probes) {
        const live = table === "image_volume_cache_entries" ? "TRUE" : "deleted = 0";
        const ofPair = ["volumes", "services", "groups"].includes(table)
          ? `${live} AND host LIKE 'cinder-dr@i%'`
          : live;
        for (const order of [`\`${key}\``, `\`${key}\` DESC`]) {
          const [[row]] = await connection.query<mysql.RowDataPacket[]>(
            `SELECT \`${key}\` AS id FROM \`${table}\` WHERE ${ofPair} ORDER BY ${order} LIMIT 1`,
          );
          rows.push({ table, key, id: (row as { id: unknown }).id });
        }
      }
      while (!done) {
        for (const { table, key, id } of rows) {
          try {
            await connection.query(`SELECT 1 FROM \`${table}\` WHERE \`${key}\` = ? FOR UPDATE NOWAIT`, [id]);
          } catch (error) {
            if ((error as { errno?: number }).errno !== 1205) throw error;
            const at = performance.now();
            locked.set(table, { first: locked.get(table)?.first ?? at, last: at });
          }
        }
        await sleep(2);
      }
    } finally {
      await connection.end();
    }
  };
  const watching = watch();
  try {
    await work();
  } finally {
    done = true;
    await watching;
  }
  return Object.fromEntries(
    probes.map(({ table }) => {
      const times = locked.get(table);
      return [table, times === undefined ? 0 : Math.round(times.last - times.first)];
    }),
  ) as Record<Table, number>;
}

const names: Readonly<Record<Way, string>> = { promotion: "the promotion", client: "the bare statements" };

function render({ server, rows, moved, seconds, shares, lockedMs }: DatabaseResult): Section {
  const number = (value: number): string => value.toLocaleString("en");
  const times = seconds.promotion.median / seconds.client.median;
  const filled = Object.entries(rows).map(([table, count]) => `${number(count)} ${table}`);
  return {
    markdown: [
      `${number(moved)} live volumes of one backend are moved to the other, in a database with ${filled.join(", ")}, deleted ones and those of other backends among them (${server}, with its own settings of durability).`,
      table(
        ["By", "Seconds, median (min–max)", "Times"],
        ways.map((way) => [names[way], spreadText(seconds[way]), way === "client" ? "1" : times.toFixed(2)]),
      ),
      "The bare statements are those of docs/what-if.md for a promotion by hand, in one transaction, read by the `mariadb` client from its standard input; its start is in the time. The promotion also counts, before and after, keeps what the rows were with the statements that put them back, asks for volumes in flight, and asserts the fence. They take turns, there and back, after a run each that doesn't count; before each the server has finished its purge.",
      "Where the promotion's time goes, by the server's own log of one more:",
      table(
        ["It", "Seconds"],
        shares.map(({ what, seconds: each }) => [what, each.toFixed(2)]),
      ),
      "The change itself takes what the bare statements take. What comes on top is what they don't have: a way back, and proof. To have the server group the rows, or to look for them by the index of the hosts, took twice as long.",
      "For how long a row couldn't be locked by anybody else, in ms, seen from a connection that tries all the time:",
      table(
        ["Table", ...ways.map((way) => names[way])],
        probes.map(({ table: name }) => [
          name,
          ...ways.map((way) => (lockedMs[way][name] === 0 ? "not" : number(lockedMs[way][name]))),
        ]),
      ),
      "Who only reads is never held up. Cinder's services are stopped meanwhile: the locks are felt by operators' own queries at most.",
    ].join("\n\n"),
  };
}
