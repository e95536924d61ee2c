/** 5. The promotion of a large database, as against the bare statements typed into the MySQL client. */
import { execFile, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import mysql from "mysql2/promise";
import { type LabDescription, readSecret } from "../lab/lab";
import { requireProgram } from "../lab/programs";
import { connectCinderDatabase } from "../lib/cinder-database";
import { BenchLab } from "./bench-lab";
import { type Context, type Goal, type Measurement, type Section, type Spread, spreadOf } from "./measurement";
import { figure, spreadText, table } from "./table";

const exec = promisify(execFile);

export interface PromotionTimes {
  /** Rows by table, deleted ones included; of volumes those that move, by themselves. */
  readonly rows: Readonly<Record<string, number>>;
  readonly moved: number;
  readonly contenders: Readonly<Record<Contender, Times>>;
}

interface Times {
  readonly seconds: Spread;
  /** For how long nobody else could change a row of the table. */
  readonly lockedSeconds: Readonly<Record<LockedTable, Spread>>;
}

const contenders = ["product", "bare"] as const;
type Contender = (typeof contenders)[number];
const lockedTables = ["volumes", "services"] as const;
type LockedTable = (typeof lockedTables)[number];
type Site = "iprod" | "idr";

const WANTED = 1.3;

async function run(ctx: Context): Promise<PromotionTimes> {
  const volumes = ctx.quick ? 10_000 : 100_000;
  const repeats = ctx.quick ? 2 : 5;
  return BenchLab.with(ctx, { instances: 1 }, async ({ lab }) => {
    await stopCinder(lab);
    const rows = await fill(lab, volumes);
    ctx.say(`${volumes} volumes in the database`);
    const own = product(lab);
    const promote: Record<Contender, Promote> = { product: own.promote, bare: bare(ctx, lab) };
    const measured: Record<Contender, Measured[]> = { product: [], bare: [] };
    try {
      // There by the one and back by the other, and the other way round: each goes both ways, on the same rows.
      for (let repeat = 0; repeat < repeats; repeat++)
        for (const [at, contender] of (repeat % 2 === 0 ? contenders : contenders.toReversed()).entries()) {
          ctx.signal.throwIfAborted();
          const [from, to] = at === 0 ? (["iprod", "idr"] as const) : (["idr", "iprod"] as const);
          const one = await timed(lab, () => promote[contender](from, to));
          await assertMoved(lab, to, volumes);
          ctx.say(`${contender}: ${figure(one.seconds)} s`);
          measured[contender].push(one);
        }
    } finally {
      await own.close();
    }
    const timesOf = (all: readonly Measured[]): Times => ({
      seconds: spreadOf(all.map(({ seconds }) => seconds)),
      lockedSeconds: byTable((locked) => spreadOf(all.map(({ lockedSeconds }) => lockedSeconds[locked]))),
    });
    return { rows, moved: volumes, contenders: { product: timesOf(measured.product), bare: timesOf(measured.bare) } };
  });
}

const byTable = <T>(of: (locked: LockedTable) => T): Record<LockedTable, T> => ({
  volumes: of("volumes"),
  services: of("services"),
});

const hostOf = (lab: LabDescription, site: Site): string => `${lab.volumeHost}@${site}`;

/** As before a promotion: nobody else writes there. */
async function stopCinder(lab: LabDescription): Promise<void> {
  for (const { name, services } of lab.controllers)
    for (const service of services)
      await exec(lab.serviceManager, ["--lab", lab.dir, "--host", name, "stop", service.name]);
}

function connect({ database }: LabDescription): Promise<mysql.Connection> {
  const { host, port, services } = database;
  const password = readSecret(services.passwordFile);
  return mysql.createConnection({ host, port, user: services.user, password, database: "cinder" });
}

/** Beside each live volume half a deleted one, an attachment with its connection, and for every fifth a snapshot. */
async function fill(lab: LabDescription, volumes: number): Promise<Record<string, number>> {
  const connection = await connect(lab);
  try {
    for (const site of ["iprod", "idr"] as const)
      await connection.query(
        `INSERT INTO services (created_at, updated_at, deleted, host, \`binary\`, topic, report_count, disabled, availability_zone,
                               replication_status, frozen, uuid)
         SELECT UTC_TIMESTAMP(), UTC_TIMESTAMP(), 0, ?, 'cinder-volume', 'cinder-volume', 1, 0, 'nova', 'enabled', 0, UUID()
           FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM services WHERE deleted = 0 AND host = ?)`,
        [hostOf(lab, site), hostOf(lab, site)],
      );
    // UUID() alone would put neighbours side by side, which Cinder's random ids don't.
    const id = "INSERT(INSERT(INSERT(INSERT(MD5(CONCAT(?, seq)), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')";
    const insertVolumes = (
      count: number,
    ): string => `INSERT INTO volumes (created_at, updated_at, deleted_at, deleted, id, user_id, project_id, host, size,
        availability_zone, status, attach_status, display_name, provider_location, volume_type_id, bootable,
        replication_status, multiattach, service_uuid, shared_targets)
      SELECT UTC_TIMESTAMP(), UTC_TIMESTAMP(), IF(? = 1, UTC_TIMESTAMP(), NULL), ?, ${id}, MD5('user'), MD5(seq % 200),
             CONCAT(?, '#pool', 1 + seq % 8), 1 + seq % 100, 'nova', IF(? = 1, 'deleted', 'in-use'), 'attached',
             CONCAT('volume-', seq), CONCAT('netapp ', seq), UUID(), 0, 'enabled', 0,
             (SELECT uuid FROM services WHERE deleted = 0 AND host = ?), 1
        FROM seq_1_to_${count}`;
    const host = hostOf(lab, "iprod");
    for (const [deleted, name, count] of [
      [0, "live", volumes],
      [1, "deleted", volumes / 2],
    ] as const)
      await connection.query(insertVolumes(count), [deleted, deleted, name, host, deleted, host]);
    await connection.query(
      `INSERT INTO volume_attachment (created_at, updated_at, deleted, id, volume_id, attached_host, instance_uuid, mountpoint,
           attach_mode, attach_status, connection_info, connector)
       SELECT UTC_TIMESTAMP(), UTC_TIMESTAMP(), 0, UUID(), id, 'compute-1', UUID(), '/dev/vdb', 'rw', 'attached',
              REPEAT('{"target_portal": "192.0.2.1:3260"} ', 20), REPEAT('{"initiator": "iqn.1994-05"} ', 10)
         FROM volumes WHERE deleted = 0`,
    );
    await connection.query(
      `INSERT INTO snapshots (created_at, updated_at, deleted, id, volume_id, user_id, project_id, status, volume_size, display_name,
           volume_type_id)
       SELECT UTC_TIMESTAMP(), UTC_TIMESTAMP(), 0, UUID(), id, user_id, project_id, 'available', size, 'snapshot', volume_type_id
         FROM volumes WHERE deleted = 0 AND MOD(CRC32(id), 5) = 0`,
    );
    const rows: Record<string, number> = {};
    for (const name of ["volumes", "volume_attachment", "snapshots"]) {
      const [[counted]] = await connection.query<mysql.RowDataPacket[]>(`SELECT COUNT(*) AS n FROM ${name}`);
      rows[name] = Number(counted?.["n"]);
    }
    // So that neither meets statistics that are being made, or pages that have yet to be written.
    await connection.query("ANALYZE TABLE volumes, volume_attachment, snapshots");
    return rows;
  } finally {
    await connection.end();
  }
}

type Promote = (from: Site, to: Site) => Promise<void>;

/** As its step does it: counted before, asserted in the transaction. */
function product(lab: LabDescription): { readonly promote: Promote; readonly close: () => Promise<void> } {
  const { host, port, product: account } = lab.database;
  const password = readSecret(account.passwordFile);
  const clients = connectCinderDatabase({
    host,
    port,
    user: account.user,
    password,
    cinderSchema: "cinder",
    tls: false,
  });
  const { database } = clients;
  return {
    promote: async (from, to) => {
      const [fromHost, toHost] = [hostOf(lab, from), hostOf(lab, to)];
      const expected = await database.countHostRows(fromHost);
      await database.promote({ fromHost, toHost, toBackendId: to, expected, writeFence: true, takeInFlight: false });
    },
    close: () => clients.close(),
  };
}

/** The runbook's statements, with the row of the site that is left as failover-host leaves it. */
function bare(ctx: Context, lab: LabDescription): Promote {
  const { host, port, services } = lab.database;
  const options = path.join(ctx.scratch, "my.cnf");
  const password = readSecret(services.passwordFile);
  writeFileSync(options, `[client]\nhost=${host}\nport=${port}\nuser=${services.user}\npassword="${password}"\n`, {
    mode: 0o600,
  });
  return (from, to) => {
    const [left, next] = [hostOf(lab, from), hostOf(lab, to)];
    const sql = `
      UPDATE volumes SET host = REPLACE(host, '${left}', '${next}'), replication_status = 'enabled',
             service_uuid = (SELECT uuid FROM services WHERE deleted = 0 AND host = '${next}')
       WHERE deleted = 0 AND host LIKE '${left}#%';
      UPDATE services SET replication_status = 'enabled', active_backend_id = NULL, disabled = 0, disabled_reason = NULL
       WHERE deleted = 0 AND \`binary\` = 'cinder-volume' AND host = '${next}';
      UPDATE services SET replication_status = 'failed-over', active_backend_id = '${to}', disabled = 1
       WHERE deleted = 0 AND \`binary\` = 'cinder-volume' AND host = '${left}';`;
    return new Promise((resolve, reject) => {
      const child = spawn(requireProgram("mariadb"), [`--defaults-extra-file=${options}`, "cinder"], {
        stdio: ["pipe", "ignore", "inherit"],
      });
      child.stdin.end(sql);
      child.on("error", reject);
      child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`mariadb ended with ${String(code)}`))));
    });
  };
}

interface Measured {
  readonly seconds: number;
  readonly lockedSeconds: Readonly<Record<LockedTable, number>>;
}

async function timed(lab: LabDescription, work: () => Promise<void>): Promise<Measured> {
  const watches = await Promise.all(lockedTables.map((locked) => watchLock(lab, locked)));
  const began = Date.now();
  try {
    await work();
  } finally {
    await Promise.all(watches.map((watch) => watch.stop()));
  }
  const seconds = (Date.now() - began) / 1000;
  return {
    seconds,
    lockedSeconds: byTable((locked) => watches.find((watch) => watch.locked === locked)?.seconds() ?? 0),
  };
}

const ER_LOCK_WAIT_TIMEOUT = 1205;
const everyMs = 5;

/** Asks again and again whether a row could be changed now. */
async function watchLock(
  lab: LabDescription,
  locked: LockedTable,
): Promise<{ readonly locked: LockedTable; stop(): Promise<void>; seconds(): number }> {
  const connection = await connect(lab);
  const [[row]] = await connection.query<mysql.RowDataPacket[]>(
    `SELECT id FROM ${locked} WHERE deleted = 0 AND host LIKE ? ORDER BY id DESC LIMIT 1`,
    [`${lab.volumeHost}@%`],
  );
  let seconds = 0;
  let stopped = false;
  const watch = (async () => {
    let since = Date.now();
    while (!stopped) {
      let free = true;
      try {
        await connection.query(`SELECT 1 FROM ${locked} WHERE id = ? FOR UPDATE NOWAIT`, [row?.["id"]]);
      } catch (error) {
        if ((error as { errno?: number }).errno !== ER_LOCK_WAIT_TIMEOUT) throw error;
        free = false;
      }
      await new Promise((resolve) => setTimeout(resolve, everyMs));
      const now = Date.now();
      if (!free) seconds += (now - since) / 1000;
      since = now;
    }
  })();
  return {
    locked,
    stop: async () => {
      stopped = true;
      await watch.finally(() => connection.end());
    },
    seconds: () => seconds,
  };
}

async function assertMoved(lab: LabDescription, to: Site, volumes: number): Promise<void> {
  const connection = await connect(lab);
  try {
    const [[row]] = await connection.query<mysql.RowDataPacket[]>(
      "SELECT COUNT(*) AS n FROM volumes WHERE deleted = 0 AND replication_status = 'enabled' AND host LIKE ?",
      [`${hostOf(lab, to)}#%`],
    );
    if (Number(row?.["n"]) !== volumes) throw new Error(`${String(row?.["n"])} volumes are at ${to}, not ${volumes}.`);
  } finally {
    await connection.end();
  }
}

const ratioOf = ({ contenders: { product: own, bare: typed } }: PromotionTimes): number =>
  own.seconds.median / typed.seconds.median;

function goals(result: PromotionTimes): Goal[] {
  const ratio = ratioOf(result);
  return [
    {
      text: `The promotion of ${result.moved} volumes takes at most ${WANTED} × as long as the bare statements: ${figure(ratio)} ×`,
      met: ratio <= WANTED,
    },
  ];
}

function render(result: PromotionTimes): Section {
  const { rows, contenders: measured } = result;
  const names: Readonly<Record<Contender, string>> = { product: "the product", bare: "bare statements" };
  const lines = contenders.map((contender) => {
    const { seconds, lockedSeconds } = measured[contender];
    return [names[contender], spreadText(seconds), ...lockedTables.map((locked) => spreadText(lockedSeconds[locked]))];
  });
  const sizes = Object.entries(rows).map(([name, count]) => `${count} rows of \`${name}\``);
  const markdown = `${result.moved} volumes move, among ${sizes.join(", ")}. The product's promotion counts the rows, locks them, keeps how they
were with the statements that put them back, changes them and asserts the counts, all in one transaction; against it stand
the runbook's statements by the \`mariadb\` client, each committed by itself. Both go there and back, in turn, on the same
rows; the services are stopped, as they are for a promotion. A table counts as locked while another connection couldn't
change a row of it.

${table(["By", "Time, s", ...lockedTables.map((locked) => `\`${locked}\` locked, s`)], lines)}`;
  return { markdown };
}

export const promotion: Measurement<PromotionTimes> = { number: 5, title: "Database", run, goals, render };
