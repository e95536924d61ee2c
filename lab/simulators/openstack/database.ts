/** The state that the real services keep in MariaDB, in their own tables. */
import mysql from "mysql2/promise";
import type { Pool, PoolConnection, ResultSetHeader, RowDataPacket } from "mysql2/promise";
import { sqlTime } from "./clock";
import type { SimulatorConfig } from "./config";

export type Value = string | number | null;
export type Row = Record<string, Value>;

const ROWS_A_STATEMENT = 500;

const quote = (name: string): string =>
  name
    .split(".")
    .map((part) => `\`${part}\``)
    .join(".");

export class Database {
  private constructor(
    private readonly pool: Pool,
    private readonly connection?: PoolConnection,
  ) {}

  static open({ database }: SimulatorConfig): Database {
    const { host, port, user, password } = database;
    const options = {
      host,
      port,
      user,
      password,
      dateStrings: true,
      timezone: "Z",
      connectionLimit: 8,
      charset: "utf8mb4",
    };
    return new Database(mysql.createPool(options));
  }

  async rows(sql: string, values: readonly (Value | readonly Value[])[] = []): Promise<Row[]> {
    const [found] = await (this.connection ?? this.pool).query<RowDataPacket[]>(sql, [...values]);
    return found;
  }

  async row(sql: string, values: readonly (Value | readonly Value[])[] = []): Promise<Row | undefined> {
    return (await this.rows(sql, values))[0];
  }

  /** Returns how many rows were found (not only changed). */
  async change(sql: string, values: readonly (Value | readonly Value[])[] = []): Promise<number> {
    const [result] = await (this.connection ?? this.pool).query<ResultSetHeader>(sql, [...values]);
    return result.affectedRows;
  }

  /** With `created_at` and `deleted` 0 where the row doesn't say otherwise; returns the new number. */
  async insert(table: string, row: Row): Promise<number> {
    const whole: Row = { created_at: sqlTime(), deleted: 0, ...row };
    const columns = Object.keys(whole);
    const sql = `INSERT INTO ${quote(table)} (${columns.map(quote).join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`;
    const [result] = await (this.connection ?? this.pool).query<ResultSetHeader>(sql, Object.values(whole));
    return result.insertId;
  }

  /** As insert, many rows of the same columns in statements of bounded size; returns their numbers. */
  async insertAll(table: string, rows: readonly Row[]): Promise<number[]> {
    const names = Object.keys({ created_at: null, deleted: 0, ...rows[0] });
    const now = sqlTime();
    const ids: number[] = [];
    for (let at = 0; at < rows.length; at += ROWS_A_STATEMENT) {
      const values = rows.slice(at, at + ROWS_A_STATEMENT).map((row) => {
        const whole: Row = { created_at: now, deleted: 0, ...row };
        if (Object.keys(whole).length !== names.length) throw new Error(`rows of ${table} differ in their columns`);
        return names.map((name) => whole[name]);
      });
      const sql = `INSERT INTO ${quote(table)} (${names.map(quote).join(", ")}) VALUES ?`;
      const [result] = await (this.connection ?? this.pool).query<ResultSetHeader>(sql, [values]);
      // One statement's numbers follow each other (innodb_autoinc_lock_mode 1).
      ids.push(...values.map((_, index) => result.insertId + index));
    }
    return ids;
  }

  /** Sets columns of live rows, and `updated_at`; returns how many rows matched. */
  async update(table: string, where: Row, set: Row): Promise<number> {
    const whole: Row = { updated_at: sqlTime(), ...set };
    const conditions = Object.keys(where).map((name) => `${quote(name)} <=> ?`);
    const sql = `UPDATE ${quote(table)} SET ${Object.keys(whole)
      .map((name) => `${quote(name)} = ?`)
      .join(", ")} WHERE ${["deleted = 0", ...conditions].join(" AND ")}`;
    return this.change(sql, [...Object.values(whole), ...Object.values(where)]);
  }

  async transaction<T>(work: (database: Database) => Promise<T>): Promise<T> {
    const connection = await this.pool.getConnection();
    try {
      await connection.beginTransaction();
      const result = await work(new Database(this.pool, connection));
      await connection.commit();
      return result;
    } catch (error) {
      await connection.rollback().catch(() => undefined);
      throw error;
    } finally {
      connection.release();
    }
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}
