/** What the product asks of the database, by the server's own log: which tables it reads and writes, and how. */
import mysql from "mysql2/promise";
import type { RowDataPacket } from "mysql2";
import type { LabDescription } from "../description";

/** A kind of statement, its values replaced by "?", and how often it came. */
export interface Statement {
  sql: string;
  times: number;
}

export class StatementLog {
  private constructor(
    private readonly connection: mysql.Connection,
    private readonly user: string,
  ) {}

  /** Turns the general log on, into the table mysql.general_log. */
  static async begin(lab: LabDescription): Promise<StatementLog> {
    const connection = await mysql.createConnection({ socketPath: lab.database.socket, user: "root" });
    await connection.query("SET GLOBAL log_output = 'TABLE'");
    await connection.query("SET GLOBAL general_log = 1");
    return new StatementLog(connection, lab.database.product.user);
  }

  async end(): Promise<Statement[]> {
    await this.connection.query("SET GLOBAL general_log = 0");
    const [rows] = await this.connection.query<(RowDataPacket & { argument: Buffer })[]>(
      "SELECT argument FROM mysql.general_log WHERE command_type IN ('Query', 'Execute') AND user_host LIKE ?",
      [`%[${this.user}]%`],
    );
    await this.connection.end();
    const counts = new Map<string, number>();
    for (const { argument } of rows) {
      const sql = shapeOf(argument.toString());
      counts.set(sql, (counts.get(sql) ?? 0) + 1);
    }
    return [...counts].map(([sql, times]) => ({ sql, times })).sort((a, b) => (a.sql < b.sql ? -1 : 1));
  }
}

function shapeOf(sql: string): string {
  return sql
    .replace(/'(?:[^'\\]|\\.|'')*'/g, "?")
    .replace(/\b\d+(\.\d+)?\b/g, "?")
    .replace(/\s+/g, " ")
    .replace(/\?(, ?\?)+/g, "?, …")
    .trim()
    .slice(0, 500);
}
