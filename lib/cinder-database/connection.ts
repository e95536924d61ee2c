import { type Socket, connect as connectSocket, isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import mysql from "mysql2/promise";
import pLimit from "p-limit";
import { DrError, messageOf } from "../errors";
import { readCaFile } from "../http/ca-file";
import { countRetry } from "../retries";
import { isLoopback } from "../topology/loopback";

/** How to reach the server. `host` may be the path of a Unix socket. */
export interface DatabaseOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly cinderSchema: string;
  readonly tls: boolean;
  /** PEM file of the CA; the system's CAs where absent. */
  readonly caFile?: string | undefined;
}

export type Row = Readonly<Record<string, unknown>>;
export type Value = string | number | null | readonly (string | number)[];

/** What a piece of work sees of the connection: text and values, never concatenated. */
export interface Session {
  /** Dates come as the server's text, numbers that JavaScript can't hold as text. */
  rows<T = Row>(sql: string, values?: readonly Value[]): Promise<T[]>;
  /** Rows matched by the condition (not: changed in value). */
  change(sql: string, values?: readonly Value[]): Promise<number>;
}

const connectTimeoutMs = 10_000;
const statementTimeoutMs = 120_000;
const attempts = 6;

const wrongAccount =
  "Correct database.user, the secret databasePassword, or the hosts that the account may come from; one that requires TLS needs database.tls";
const missingRight = "Grant the account what docs/real-cloud.md shows";
const wrongSchema = "Correct database.cinderSchema, or name the server that has Cinder's database";
const readOnly = "Name the node that takes writes as database.host";
/** What the operator does about it, where the server's number tells. */
const remedies: Readonly<Record<number, string>> = {
  1044: missingRight,
  1045: wrongAccount,
  1047: "Wait until this Galera node is synced and in the primary component, or name another one as database.host",
  1049: wrongSchema,
  1142: missingRight,
  1143: missingRight,
  1146: wrongSchema,
  1290: readOnly,
  1698: wrongAccount,
  1836: readOnly,
  4151: wrongAccount,
};

/** Deadlock or certification failure, and lock wait time-out: the whole transaction is repeated. Galera: also at COMMIT. */
const retried = new Set([1213, 1205]);

/**
 * One connection, opened at the first use and again after it was lost; one piece of work at a time. On Galera that also
 * makes it one node, whose reads wait for what other nodes have committed.
 */
export class Database implements AsyncDisposable {
  private connection: mysql.Connection | undefined;
  private readonly turn = pLimit(1);

  constructor(readonly options: DatabaseOptions) {
    if (!options.tls && !isLoopback(options.host))
      throw new DrError({
        code: "config",
        attempted: `Connect to the database on ${options.host}`,
        seen: "TLS is off for a host that isn't this one: password and CHAP secrets would cross the network in clear",
        remedy: "Set database.tls to true, with caFile where the server's certificate isn't signed by a public CA",
      });
  }

  get url(): string {
    return `mysql://${this.options.host}:${this.options.port}/${this.options.cinderSchema}`;
  }

  /** Statements outside a transaction, each committed by itself. Repeated as a whole after 1213 and 1205. */
  run<T>(attempted: string, work: (session: Session) => Promise<T>): Promise<T> {
    return this.attempt(attempted, work);
  }

  /**
   * All or nothing: anything thrown rolls back. READ COMMITTED, so that a count made after locking sees what is there
   * now. Where the connection is lost at COMMIT nobody knows the outcome: work must be safe to repeat.
   */
  transaction<T>(attempted: string, work: (session: Session) => Promise<T>): Promise<T> {
    return this.attempt(attempted, async (session) => {
      await session.change("SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
      await session.change("START TRANSACTION");
      const result = await work(session);
      await session.change("COMMIT");
      return result;
    });
  }

  /** The driver's own connection, for streams; nobody else uses it meanwhile. */
  exclusively<T>(attempted: string, work: (connection: mysql.Connection) => Promise<T>): Promise<T> {
    return this.turn(async () => {
      try {
        return await work(await this.open());
      } catch (error) {
        throw this.translate(attempted, error);
      } finally {
        await this.reset();
      }
    });
  }

  async close(): Promise<void> {
    const { connection } = this;
    this.connection = undefined;
    await connection?.end().catch(() => connection.destroy());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private attempt<T>(attempted: string, work: (session: Session) => Promise<T>): Promise<T> {
    return this.turn(async () => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await work(sessionOf(await this.open()));
        } catch (error) {
          await this.reset();
          if (!retried.has(errnoOf(error)) || attempt === attempts) throw this.translate(attempted, error);
          countRetry();
          await sleep(Math.random() * 50 * 2 ** attempt);
        }
      }
    });
  }

  /** Back to a connection without an open transaction, or to none. */
  private async reset(): Promise<void> {
    const { connection } = this;
    try {
      await connection?.query({ sql: "ROLLBACK", timeout: connectTimeoutMs });
    } catch {
      connection?.destroy();
      this.connection = undefined;
    }
  }

  private async open(): Promise<mysql.Connection> {
    if (this.connection !== undefined) return this.connection;
    const { host, port, user, password, tls, caFile } = this.options;
    const connection = await mysql.createConnection({
      ...(host.startsWith("/") ? { socketPath: host } : { host, port }),
      ...(tls && isIP(host) !== 0 ? { stream: () => socketTo(host, port) } : {}),
      user,
      password,
      connectTimeout: connectTimeoutMs,
      charset: "utf8mb4_bin",
      timezone: "Z",
      dateStrings: true,
      supportBigNumbers: true,
      enableKeepAlive: true,
      multipleStatements: false,
      // Rows matched, not rows changed in value.
      flags: ["FOUND_ROWS"],
      ...(tls
        ? {
            ssl: {
              ...(caFile === undefined ? {} : { ca: readCaFile(caFile) }),
              rejectUnauthorized: true,
              verifyIdentity: true,
            },
          }
        : {}),
    });
    // A server that goes away between two statements must not end the process; the next statement says it.
    connection.on("error", () => {
      if (this.connection === connection) this.connection = undefined;
    });
    try {
      const session = sessionOf(connection);
      await session.change(
        "SET SESSION time_zone = '+00:00', SESSION sql_mode = 'TRADITIONAL', SESSION innodb_lock_wait_timeout = 20",
      );
      if (await wsrepOn(session)) await session.change("SET SESSION wsrep_sync_wait = 1");
    } catch (error) {
      connection.destroy();
      throw error;
    }
    this.connection = connection;
    return connection;
  }

  private translate(attempted: string, error: unknown): unknown {
    if (DrError.is(error)) return error;
    const { code, fatal } = error as { code?: string; fatal?: boolean };
    const errno = errnoOf(error);
    const context = { method: "SQL", url: this.url, vendorCode: errno > 0 ? String(errno) : code };
    if (code === "HANDSHAKE_NO_SSL_SUPPORT")
      return new DrError({
        code: "config",
        attempted,
        seen: `the database at ${this.url} speaks no TLS`,
        state: "No password was sent",
        remedy: "Give the server a certificate; database.tls can be false for loopback and sockets only",
        context,
        cause: error,
      });
    if (code === "HANDSHAKE_SSL_ERROR")
      return new DrError({
        code: "config",
        attempted,
        seen: `the database at ${this.url} can't be trusted: ${messageOf(error)}`,
        state: "No password was sent",
        remedy:
          "Set database.caFile to the CA of the server's certificate, and database.host to a name or address that the certificate holds",
        context,
        cause: error,
      });
    // 1040 too many connections, 1047 Galera node not ready, 1053 and 1927 shutting down, 1317 and 1969 statement killed
    const away = [1040, 1047, 1053, 1927].includes(errno);
    if (away || errno <= 0 || fatal === true) {
      if (away || remedies[errno] === undefined)
        return new DrError({
          code: "unreachable",
          attempted,
          seen: away
            ? `the database at ${this.url} isn't ready: ${messageOf(error)} (${errno})`
            : `the database at ${this.url} did not answer (${code ?? messageOf(error)})`,
          state:
            "An open transaction is rolled back by the server; after a lost answer to COMMIT the outcome is unknown until it's read again",
          remedy: remedies[errno] ?? "Check server and network, then repeat: it's safe",
          retryable: true,
          context,
          cause: error,
        });
    }
    return new DrError({
      code: "remote",
      attempted,
      seen: `the database at ${this.url} refused: ${messageOf(error)} (${code ?? "no code"}, ${errno})`,
      state: "Nothing of this change was kept",
      remedy: retried.has(errno)
        ? "Other clients write the same rows: stop them, then repeat"
        : (remedies[errno] ?? "Correct the cause, then repeat"),
      retryable: retried.has(errno),
      context,
      cause: error,
    });
  }
}

/**
 * mysql2 3.24 gives Node no name to compare the certificate with where the host is an address, and Node then compares it
 * with "localhost". It takes the socket's own name before that; were it to forget it, the comparison would fail.
 */
function socketTo(host: string, port: number): Socket {
  return Object.assign(connectSocket({ host, port, keepAlive: true, noDelay: true }), { _host: host });
}

function sessionOf(connection: mysql.Connection): Session {
  const query = async (sql: string, values: readonly Value[]): Promise<unknown> => {
    const [result] = await connection.query({ sql, values: [...values], timeout: statementTimeoutMs });
    return result;
  };
  return {
    rows: async <T>(sql: string, values: readonly Value[] = []) => (await query(sql, values)) as T[],
    change: async (sql, values = []) => ((await query(sql, values)) as mysql.ResultSetHeader).affectedRows,
  };
}

export async function wsrepOn(session: Session): Promise<boolean> {
  // An unknown variable is an error in SELECT @@…, but only an empty answer here.
  const [row] = await session.rows<{ Value: string }>("SHOW VARIABLES LIKE 'wsrep\\_on'");
  return row?.Value === "ON";
}

export function errnoOf(error: unknown): number {
  const { errno } = error as { errno?: unknown };
  return typeof errno === "number" ? errno : 0;
}
