import { DrError } from "../errors";
import type { Database, Session } from "./connection";

/** Beside Cinder's schema on the same server, so that it is there wherever the promotion is possible at all. */
export const coordinationSchema = "cinder_cheesecake";

export interface LeaseHolder {
  readonly owner: string;
  readonly host: string;
  readonly pid: number;
  readonly stack: string;
  readonly planDigest: string;
}

export interface LeaseRow extends LeaseHolder {
  readonly pair: string;
  readonly token: string;
  /** ISO 8601 in UTC, by the database's clock. */
  readonly acquiredAt: string;
  readonly expiresAt: string;
  readonly expired: boolean;
}

/** Every table has a primary key (Galera needs one) and compares text byte by byte. */
const tables: Readonly<Record<string, string>> = {
  lease: `pair varchar(190) NOT NULL, token varchar(64) NULL, owner varchar(255) NOT NULL DEFAULT '',
    host varchar(255) NOT NULL DEFAULT '', pid bigint NOT NULL DEFAULT 0, stack varchar(255) NOT NULL DEFAULT '',
    plan_digest varchar(128) NOT NULL DEFAULT '', acquired_at datetime(6) NULL, expires_at datetime(6) NULL, PRIMARY KEY (pair)`,
  ownership:
    "pair varchar(190) NOT NULL, stack varchar(255) NOT NULL, claimed_at datetime(6) NOT NULL, PRIMARY KEY (pair)",
  switchover: `switchover_id varchar(64) NOT NULL, pair varchar(190) NOT NULL, started_at datetime(6) NOT NULL,
    closed_at datetime(6) NULL, PRIMARY KEY (switchover_id), KEY switchover_pair_idx (pair, started_at)`,
  stop_request: `pair varchar(190) NOT NULL, token varchar(64) NOT NULL, asked_by varchar(255) NOT NULL,
    asked_at datetime(6) NOT NULL, PRIMARY KEY (pair)`,
  journal: `switchover_id varchar(64) NOT NULL, seq int NOT NULL, entry longtext NOT NULL, written_at datetime(6) NOT NULL,
    PRIMARY KEY (switchover_id, seq)`,
  promotion: `id bigint NOT NULL AUTO_INCREMENT, from_host varchar(255) NOT NULL, to_host varchar(255) NOT NULL,
    before_image longtext NOT NULL, rollback_sql longtext NOT NULL, promoted_at datetime(6) NOT NULL, PRIMARY KEY (id)`,
};

const leaseColumns = `pair, token, owner, host, pid, stack, plan_digest AS planDigest,
  DATE_FORMAT(acquired_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS acquiredAt, DATE_FORMAT(expires_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS expiresAt,
  expires_at <= UTC_TIMESTAMP(6) AS expired`;

const ER_NO_SUCH_TABLE = "1146";
const ER_BAD_DB_ERROR = "1049";

/**
 * Lease, ownership and journal. No GET_LOCK: Galera grants it on two nodes at once. A row is taken by one conditional
 * UPDATE, and on Galera the loser of two commits gets 1213 and tries again on what the winner wrote.
 */
export class Coordination {
  constructor(private readonly database: Database) {}

  /** Creates nothing that is there, so that it needs no right to create then. */
  async prepare(): Promise<void> {
    await this.database.run(`Prepare the schema ${coordinationSchema}`, async (session) => {
      const names = async (sql: string): Promise<unknown[]> =>
        (await session.rows<{ name: string }>(sql, [coordinationSchema])).map((row) => row.name);
      const schemas = await names("SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name = ?");
      if (schemas.length === 0)
        await session.change(
          `CREATE DATABASE IF NOT EXISTS ${coordinationSchema} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
        );
      const present = await names("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = ?");
      for (const [table, columns] of Object.entries(tables))
        if (!present.includes(table))
          await session.change(
            `CREATE TABLE IF NOT EXISTS ${coordinationSchema}.${table} (${columns}) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
          );
    });
  }

  /** Before the first switchover there is no schema: then there's nothing in it. */
  private async read<T>(attempted: string, nothing: T, work: (session: Session) => Promise<T>): Promise<T> {
    try {
      return await this.database.run(attempted, work);
    } catch (error) {
      const code = DrError.is(error) ? String(error.context["vendorCode"]) : "";
      if (code === ER_NO_SUCH_TABLE || code === ER_BAD_DB_ERROR) return nothing;
      throw error;
    }
  }

  findLease(pair: string): Promise<LeaseRow | undefined> {
    return this.read(`Read the lease of ${pair}`, undefined, async (session) => {
      const [row] = await session.rows<Omit<LeaseRow, "expired"> & { expired: number }>(
        `SELECT ${leaseColumns} FROM ${coordinationSchema}.lease WHERE pair = ? AND token IS NOT NULL`,
        [pair],
      );
      return row === undefined ? undefined : { ...row, expired: row.expired !== 0 };
    });
  }

  /**
   * Takes a free or expired lease; undefined = somebody else holds it. Repeated with the same token (a lost answer) it
   * succeeds again, also with new data of the holder.
   */
  async acquireLease(
    pair: string,
    holder: LeaseHolder,
    token: string,
    ttlSeconds: number,
  ): Promise<LeaseRow | undefined> {
    await this.database.run(`Acquire the lease of ${pair}`, async (session) => {
      // A free lease is a row without token; made first, so that taking it is always an UPDATE.
      await session.change(
        `INSERT INTO ${coordinationSchema}.lease (pair) VALUES (?) ON DUPLICATE KEY UPDATE pair = pair`,
        [pair],
      );
      await session.change(
        `UPDATE ${coordinationSchema}.lease
            SET acquired_at = IF(token <=> ?, acquired_at, UTC_TIMESTAMP(6)), token = ?, owner = ?, host = ?, pid = ?, stack = ?,
                plan_digest = ?, expires_at = UTC_TIMESTAMP(6) + INTERVAL ? SECOND
          WHERE pair = ? AND (token IS NULL OR token = ? OR expires_at <= UTC_TIMESTAMP(6))`,
        [token, token, holder.owner, holder.host, holder.pid, holder.stack, holder.planDigest, ttlSeconds, pair, token],
      );
    });
    // What is there after the COMMIT counts.
    const lease = await this.findLease(pair);
    return lease?.token === token ? lease : undefined;
  }

  /** False = somebody took it. A lease that ran out and that nobody took is still ours. */
  renewLease(pair: string, token: string, ttlSeconds: number): Promise<boolean> {
    return this.database.run(`Renew the lease of ${pair}`, async (session) => {
      const changed = await session.change(
        `UPDATE ${coordinationSchema}.lease SET expires_at = UTC_TIMESTAMP(6) + INTERVAL ? SECOND WHERE pair = ? AND token = ?`,
        [ttlSeconds, pair, token],
      );
      return changed === 1;
    });
  }

  async releaseLease(pair: string, token: string): Promise<void> {
    await this.database.run(`Release the lease of ${pair}`, (session) =>
      session.change(`UPDATE ${coordinationSchema}.lease SET token = NULL WHERE pair = ? AND token = ?`, [pair, token]),
    );
  }

  /** By the token it's for one run alone: what is left of it afterwards means nobody. */
  async requestStop(pair: string, token: string, by: string): Promise<void> {
    await this.database.run(`Ask the run of ${pair} to stop`, (session) =>
      session.change(
        `INSERT INTO ${coordinationSchema}.stop_request (pair, token, asked_by, asked_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6))
         ON DUPLICATE KEY UPDATE token = VALUES(token), asked_by = VALUES(asked_by), asked_at = VALUES(asked_at)`,
        [pair, token, by],
      ),
    );
  }

  findStop(pair: string, token: string): Promise<string | undefined> {
    return this.read(`Look who asked the run of ${pair} to stop`, undefined, async (session) => {
      const [row] = await session.rows<{ by: string }>(
        `SELECT asked_by AS \`by\` FROM ${coordinationSchema}.stop_request WHERE pair = ? AND token = ?`,
        [pair, token],
      );
      return row?.by;
    });
  }

  /** The stack that owns the pair: the first one that asked. */
  claimOwnership(pair: string, stack: string): Promise<{ readonly stack: string }> {
    return this.database.run(`Claim the pair ${pair} for the stack ${stack}`, async (session) => {
      await session.change(
        `INSERT INTO ${coordinationSchema}.ownership (pair, stack, claimed_at) VALUES (?, ?, UTC_TIMESTAMP(6))
         ON DUPLICATE KEY UPDATE pair = pair`,
        [pair, stack],
      );
      const [row] = await session.rows<{ stack: string }>(
        `SELECT stack FROM ${coordinationSchema}.ownership WHERE pair = ?`,
        [pair],
      );
      return { stack: row?.stack ?? stack };
    });
  }

  /**
   * All or none, the first under this number. Throws `journal` if one of the numbers has another entry already, or the
   * switchover belongs to another pair.
   */
  async appendJournal(switchoverId: string, seq: number, pair: string, entries: readonly string[]): Promise<void> {
    const attempted = `Append entry ${seq} to the journal of ${switchoverId}`;
    await this.database.transaction(attempted, async (session) => {
      await session.change(
        `INSERT INTO ${coordinationSchema}.switchover (switchover_id, pair, started_at) VALUES (?, ?, UTC_TIMESTAMP(6))
         ON DUPLICATE KEY UPDATE switchover_id = switchover_id`,
        [switchoverId, pair],
      );
      for (const [at, entry] of entries.entries())
        await session.change(
          `INSERT INTO ${coordinationSchema}.journal (switchover_id, seq, entry, written_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6))
           ON DUPLICATE KEY UPDATE seq = seq`,
          [switchoverId, seq + at, entry],
        );
      const rows = await session.rows<{ pair: string; entry: string }>(
        `SELECT s.pair, j.entry FROM ${coordinationSchema}.switchover s JOIN ${coordinationSchema}.journal j USING (switchover_id)
          WHERE j.switchover_id = ? AND j.seq >= ? AND j.seq < ? ORDER BY j.seq`,
        [switchoverId, seq, seq + entries.length],
      );
      const owner = rows[0]?.pair;
      if (owner === pair && entries.every((entry, at) => rows[at]?.entry === entry)) return;
      throw new DrError({
        code: "journal",
        attempted,
        seen:
          owner === pair
            ? "another entry has this number: two runs write the same journal"
            : `the switchover belongs to the pair ${owner ?? "?"}, not to ${pair}`,
        state: "The journal was left as it was",
        remedy: "Make sure that no other run is alive, then resume",
        context: { switchoverId, seq, pair },
      });
    });
  }

  readJournal(switchoverId: string): Promise<readonly string[]> {
    return this.read<readonly string[]>(`Read the journal of ${switchoverId}`, [], async (session) => {
      const rows = await session.rows<{ entry: string }>(
        `SELECT entry FROM ${coordinationSchema}.journal WHERE switchover_id = ? ORDER BY seq`,
        [switchoverId],
      );
      return rows.map((row) => row.entry);
    });
  }

  /** Newest first. */
  listSwitchovers(pair: string): Promise<
    readonly {
      readonly switchoverId: string;
      readonly startedAt: string;
      readonly open: boolean;
      readonly closedSecondsAgo?: number;
    }[]
  > {
    return this.read(`List the switchovers of ${pair}`, [], async (session) => {
      const rows = await session.rows<{ switchoverId: string; startedAt: string; closedSecondsAgo: number | null }>(
        `SELECT switchover_id AS switchoverId, DATE_FORMAT(started_at, '%Y-%m-%dT%H:%i:%s.%fZ') AS startedAt,
                TIMESTAMPDIFF(SECOND, closed_at, UTC_TIMESTAMP(6)) AS closedSecondsAgo
           FROM ${coordinationSchema}.switchover WHERE pair = ? ORDER BY started_at DESC, switchover_id DESC`,
        [pair],
      );
      return rows.map(({ closedSecondsAgo, ...row }) =>
        closedSecondsAgo === null ? { ...row, open: true } : { ...row, open: false, closedSecondsAgo },
      );
    });
  }

  async closeSwitchover(switchoverId: string): Promise<void> {
    await this.database.run(`Close the switchover ${switchoverId}`, (session) =>
      session.change(
        `UPDATE ${coordinationSchema}.switchover SET closed_at = UTC_TIMESTAMP(6) WHERE switchover_id = ? AND closed_at IS NULL`,
        [switchoverId],
      ),
    );
  }
}
