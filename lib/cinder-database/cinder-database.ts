import { DrError } from "../errors";
import { Coordination, coordinationSchema } from "./coordination";
import { type Database, type Row, type Session, errnoOf, wsrepOn } from "./connection";
import { type DumpResult, dumpSchema } from "./dump";
import { releasesOf, undecidedColumns } from "./schema";
import {
  type BeforeImage,
  type HostTable,
  type RowGroup,
  changedColumns,
  grantedOn,
  hostTables,
  namesHost,
  quoteName,
  readBeforeImage,
  rollbackStatements,
} from "./sql";

/**
 * Row of cinder.services, as it stands. `reportCount` counts heartbeats: nothing but report_state advances it
 * (cinder/service.py), a start of the service goes on from it, and only a row made anew begins at 0. `updated_at` isn't
 * read: freeze and failover advance it, too.
 */
export interface ServiceRow {
  readonly id: number;
  readonly uuid: string | null;
  readonly host: string;
  readonly binary: string;
  readonly disabled: boolean;
  readonly disabledReason: string | null;
  readonly replicationStatus: string | null;
  readonly activeBackendId: string | null;
  readonly frozen: boolean;
  readonly reportCount: number;
  readonly clusterName: string | null;
}

/** Live rows of volumes, groups, consistencygroups and image_volume_cache_entries that name a backend host. */
export type HostRowCounts = Readonly<Record<string, number>>;

/** A volume as the API would tell it, without its type's name. */
export interface VolumeRow {
  readonly id: string;
  readonly name: string;
  readonly host: string;
  readonly status: string;
  readonly sizeGiB: number;
  readonly projectId: string;
  readonly replicationStatus?: string;
  readonly migrationStatus?: string;
  readonly nameId?: string;
  readonly multiattach: boolean;
  readonly bootable: boolean;
  readonly encrypted: boolean;
  readonly groupId?: string;
  readonly attachments: readonly {
    readonly attachmentId: string;
    readonly serverId: string;
    readonly device: string;
    readonly host?: string;
  }[];
}

export interface AttachmentRow {
  readonly id: string;
  readonly volumeId: string;
  readonly serverId?: string;
  readonly status: string;
}

export interface PromotionChange {
  readonly fromHost: string;
  readonly toHost: string;
  readonly toBackendId: string;
  readonly expected: HostRowCounts;
  readonly writeFence: boolean;
  /** Volumes in flight move as they are, instead of being refused. */
  readonly takeInFlight: boolean;
  /** `alembic_version` of a schema that isn't a known one, and is accepted all the same. */
  readonly acceptSchema?: string | undefined;
}

export interface PromotionResult {
  /** Rows that named `fromHost` before, all moved to `toHost`; all 0 = it was done already. */
  readonly before: HostRowCounts;
  /** Rows that name `toHost` now. */
  readonly after: HostRowCounts;
  readonly beforeImage: BeforeImage;
  readonly rollbackSql: readonly string[];
}

export interface Description {
  readonly version: string;
  readonly schemaHead: string;
  /** Cinder's releases with this schema; undefined = the promotion was never tested on it. */
  readonly schemaReleases: string | undefined;
  /** `table.column` by whose name something may be said about a host or a service, and that isn't known. */
  readonly undecidedColumns: readonly string[];
  readonly wsrepOn: boolean;
  readonly readOnly: boolean;
  readonly missingRights: readonly string[];
}

/**
 * States in which nothing works on a volume. A volume that waits for its transfer to be accepted, or is reserved for a
 * shelved instance, may do so for weeks, and nothing but a later API call touches it.
 */
const quietStatuses = ["available", "in-use", "reserved", "awaiting-transfer"];
const isQuiet = (status: string): boolean => quietStatuses.includes(status) || status.startsWith("error");

/** Cinder's database, as Cinder 21 to 29 lay it out (cinder/db/models.py; columns compared with 29.0.0). */
export class CinderDatabase {
  constructor(private readonly database: Database) {}

  private get schema(): string {
    return this.database.options.cinderSchema;
  }

  private table(name: string): string {
    return `${quoteName(this.schema)}.${quoteName(name)}`;
  }

  /**
   * Reads, and probes rights by statements whose condition is never true. A read-only server refuses those before it
   * looks at rights: correct that first, and ask again.
   */
  describe(): Promise<Description> {
    return this.database.run(`Describe the database of Cinder`, async (session) => {
      // First, as it reads a table: without one, a Galera node that isn't ready says "Lock wait timeout" instead (1205).
      const schemaHead = await this.schemaHead(session);
      const [server] = await session.rows<{ version: string; readOnly: number }>(
        "SELECT VERSION() AS version, @@global.read_only AS readOnly",
      );
      const readOnly = Number(server?.readOnly) !== 0;
      return {
        version: server?.version ?? "",
        schemaHead,
        schemaReleases: releasesOf(schemaHead),
        undecidedColumns: undecidedColumns(await this.columns(session)),
        wsrepOn: await wsrepOn(session),
        readOnly,
        missingRights: await this.missingRights(session, readOnly),
      };
    });
  }

  private async schemaHead(session: Session): Promise<string> {
    const rows = await session.rows<{ head: string }>(
      `SELECT version_num AS head FROM ${this.table("alembic_version")}`,
    );
    if (rows.length === 0)
      throw new DrError({
        code: "config",
        attempted: `Read the version of the schema "${this.schema}"`,
        seen: "its table alembic_version is empty: no migration of Cinder ever ran in it",
        state: "Nothing was changed",
        remedy: "Correct database.cinderSchema, or name the server that has Cinder's database",
      });
    return rows.map(({ head }) => head).join(" and ");
  }

  private async columns(session: Session): Promise<string[]> {
    const rows = await session.rows<{ name: string }>(
      "SELECT CONCAT(table_name, '.', column_name) AS name FROM information_schema.columns WHERE table_schema = ?",
      [this.schema],
    );
    return rows.map(({ name }) => name);
  }

  /** Which tables name a host depends on the schema: on one that nobody has looked at, rows would be left behind. */
  private async assertSchemaKnown(session: Session, attempted: string, accepted: string | undefined): Promise<void> {
    const head = await this.schemaHead(session);
    if (releasesOf(head) !== undefined || head === accepted) return;
    throw new DrError({
      code: "precondition",
      attempted,
      seen:
        `Cinder's schema is of version ${head}, which the promotion isn't tested on` +
        (accepted === undefined ? "" : ` (acceptSchema names ${accepted})`),
      state: "Rolled back, nothing was changed",
      remedy: `Compare its tables with docs/promotion.md; if nothing new names a host, set acceptSchema to ${head}`,
      context: { schemaHead: head },
    });
  }

  private async missingRights(session: Session, readOnly: boolean): Promise<string[]> {
    const missing: string[] = [];
    const probe = async (right: string, sql: string): Promise<void> => {
      try {
        await session.rows(sql);
      } catch (error) {
        // 1044, 1142 and 1143: denied on schema, table, column. 1290 and 1836: the server itself is read-only.
        if ([1044, 1142, 1143].includes(errnoOf(error))) missing.push(right);
        else if (!(readOnly && [1290, 1836].includes(errnoOf(error)))) throw error;
      }
    };
    for (const table of [...Object.keys(changedColumns), "workers"])
      await probe(`SELECT ON ${this.schema}.${table}`, `SELECT 1 FROM ${this.table(table)} WHERE FALSE`);
    for (const [table, { columns }] of Object.entries(changedColumns)) {
      const same = columns.map((column) => `${quoteName(column)} = ${quoteName(column)}`).join(", ");
      await probe(`UPDATE ON ${this.schema}.${table}`, `UPDATE ${this.table(table)} SET ${same} WHERE FALSE`);
    }
    const grants = (await session.rows("SHOW GRANTS")).map((row) => String(Object.values(row)[0]));
    const granted = grantedOn(coordinationSchema, grants);
    for (const right of ["CREATE", "SELECT", "INSERT", "UPDATE"])
      if (!granted.has(right) && !granted.has("ALL PRIVILEGES")) missing.push(`${right} ON ${coordinationSchema}.*`);
    return missing;
  }

  listServiceRows(): Promise<readonly ServiceRow[]> {
    return this.database.run("List Cinder's services rows", async (session) => {
      const rows = await session.rows(
        `SELECT id, uuid, host, \`binary\`, disabled, disabled_reason, replication_status, active_backend_id, frozen,
                report_count, cluster_name
           FROM ${this.table("services")} WHERE deleted = 0 ORDER BY id`,
      );
      return rows.map(toServiceRow);
    });
  }

  /** What GET /volumes/detail?host= tells, for when Cinder's API is down; columns as in cinder/db/models.py. */
  async listVolumes(backendHost: string): Promise<readonly VolumeRow[]> {
    assertBackendHost(backendHost);
    return this.database.run(`List the volumes of ${backendHost} in the database`, async (session) => {
      const names = namesHost(backendHost);
      const rows = await session.rows(
        `SELECT id, display_name, host, status, size, project_id, replication_status, migration_status, _name_id,
                multiattach, bootable, encryption_key_id, group_id
           FROM ${this.table("volumes")} WHERE deleted = 0 AND ${names.sql} ORDER BY id`,
        names.values,
      );
      const attached = await session.rows(
        `SELECT id, volume_id, instance_uuid, mountpoint, attached_host FROM ${this.table("volume_attachment")}
          WHERE deleted = 0 AND attach_status = 'attached' AND volume_id IN
                (SELECT id FROM ${this.table("volumes")} WHERE deleted = 0 AND ${names.sql}) ORDER BY id`,
        names.values,
      );
      const byVolume = new Map<string, Row[]>(rows.map((row) => [textOf(row.id), []]));
      for (const attachment of attached) byVolume.get(textOf(attachment.volume_id))?.push(attachment);
      return rows.map((row) => toVolumeRow(row, byVolume.get(textOf(row.id)) ?? []));
    });
  }

  listSnapshots(): Promise<readonly { readonly id: string; readonly volumeId: string; readonly status: string }[]> {
    return this.database.run("List Cinder's snapshots in the database", async (session) => {
      const rows = await session.rows(
        `SELECT id, volume_id, status FROM ${this.table("snapshots")} WHERE deleted = 0 ORDER BY id`,
      );
      return rows.map((row) => ({ id: textOf(row.id), volumeId: textOf(row.volume_id), status: textOf(row.status) }));
    });
  }

  /** Without connection_info: it holds CHAP secrets. */
  listAttachments(): Promise<readonly AttachmentRow[]> {
    return this.database.run("List Cinder's attachments in the database", async (session) => {
      const rows = await session.rows(
        `SELECT id, volume_id, instance_uuid, attach_status FROM ${this.table("volume_attachment")}
          WHERE deleted = 0 ORDER BY id`,
      );
      return rows.map((row) => ({
        id: textOf(row.id),
        volumeId: textOf(row.volume_id),
        ...(textOf(row.instance_uuid) === "" ? {} : { serverId: textOf(row.instance_uuid) }),
        status: textOf(row.attach_status),
      }));
    });
  }

  async countHostRows(backendHost: string): Promise<HostRowCounts> {
    assertBackendHost(backendHost);
    return this.database.run(`Count the rows of ${backendHost}`, (session) => this.count(session, backendHost));
  }

  private async count(session: Session, backendHost: string): Promise<HostRowCounts> {
    const counts: Record<string, number> = {};
    const names = namesHost(backendHost);
    for (const { table, live } of hostTables) {
      const [row] = await session.rows<{ n: number }>(
        `SELECT COUNT(*) AS n FROM ${this.table(table)} WHERE ${live} AND ${names.sql}`,
        names.values,
      );
      counts[table] = Number(row?.n);
    }
    return counts;
  }

  /**
   * Of a transaction that moved rows from one to the other: by the index of the hosts each of them would be looked up
   * twice, as it was and as it is, which takes six times as long (measured with 100,000 volumes).
   */
  private async countBoth(
    session: Session,
    fromHost: string,
    toHost: string,
  ): Promise<{ rest: HostRowCounts; after: HostRowCounts }> {
    const rest: Record<string, number> = {};
    const after: Record<string, number> = {};
    const [from, to] = [namesHost(fromHost), namesHost(toHost)];
    for (const { table, live } of hostTables) {
      const [row] = await session.rows<{ rest: string | null; after: string | null }>(
        `SELECT SUM(${from.sql}) AS rest, SUM(${to.sql}) AS after FROM ${this.table(table)} FORCE INDEX (PRIMARY) WHERE ${live}`,
        [...from.values, ...to.values],
      );
      rest[table] = Number(row?.rest);
      after[table] = Number(row?.after);
    }
    return { rest, after };
  }

  /** Newest first by creation; a deleted attachment keeps its connector. It's of no use in a log: it names hosts. */
  async findConnector(o: { readonly serverId: string; readonly volumeId: string }): Promise<string | undefined> {
    return this.database.run(`Find the connector of volume ${o.volumeId} at ${o.serverId}`, async (session) => {
      const [row] = await session.rows<{ connector: string }>(
        `SELECT connector FROM ${this.table("volume_attachment")}
          WHERE volume_id = ? AND instance_uuid = ? AND connector IS NOT NULL AND connector NOT IN ('', '{}', 'null')
          ORDER BY created_at DESC LIMIT 1`,
        [o.volumeId, o.serverId],
      );
      return row?.connector;
    });
  }

  /** With a status in which something works on them, in a migration, or with a row in `workers`. */
  async listVolumesInFlight(backendHost: string): Promise<readonly { readonly id: string; readonly status: string }[]> {
    assertBackendHost(backendHost);
    return this.database.run(`List the volumes in flight of ${backendHost}`, (session) =>
      this.inFlight(session, backendHost),
    );
  }

  private async inFlight(session: Session, backendHost: string): Promise<{ id: string; status: string }[]> {
    const names = namesHost(backendHost);
    // Most of them are quiet: those don't leave the server.
    const rows = await session.rows<{ id: string; status: string | null; migration: string | null; working: number }>(
      `SELECT id, status, migration_status AS migration,
              id IN (SELECT resource_id FROM ${this.table("workers")} WHERE deleted = 0) AS working
         FROM ${this.table("volumes")} FORCE INDEX (PRIMARY) WHERE deleted = 0 AND ${names.sql}
          AND (status IS NULL OR BINARY status NOT IN (?) AND BINARY status NOT LIKE 'error%'
               OR COALESCE(migration_status, '') <> ''
               OR id IN (SELECT resource_id FROM ${this.table("workers")} WHERE deleted = 0))
        ORDER BY id`,
      [...names.values, quietStatuses],
    );
    // Cinder's own "no migration": NULL, and what a former one leaves (volume/api.py: AVAILABLE_MIGRATION_STATUS).
    const migrating = (status: string | null): boolean =>
      status !== null && !["", "success", "error", "deleting"].includes(status);
    return rows.flatMap(({ id, status, migration, working }) => {
      if (migrating(migration)) return [{ id, status: `${status ?? "NULL"}, migration ${migration}` }];
      if (Number(working) !== 0) return [{ id, status: `${status ?? "NULL"}, being worked on (workers row)` }];
      return isQuiet(status ?? "") ? [] : [{ id, status: status ?? "NULL" }];
    });
  }

  dump(file: string): Promise<DumpResult> {
    return dumpSchema(this.database, file);
  }

  /**
   * One transaction; anything unexpected rolls it back. Rows and rollback are kept in `cinder_cheesecake.promotion` by
   * the same COMMIT, so a process that dies right after it loses nothing: the repeat finds no row to move, and resolves
   * to zero counts with that kept rollback. Deleted rows keep their host: nothing reads it.
   */
  async promote(change: PromotionChange): Promise<PromotionResult> {
    const { fromHost, toHost, toBackendId } = change;
    assertChange(change);
    await new Coordination(this.database).prepare();
    const attempted = `Promote ${toHost}: move Cinder's rows of ${fromHost} to it`;
    return this.database.transaction(attempted, async (session) => {
      await this.assertSchemaKnown(session, attempted, change.acceptSchema);
      const services = await this.lockServices(session, [fromHost, toHost]);
      const left = services.find((row) => row.host === fromHost);
      const next = services.find((row) => row.host === toHost);
      const image: Record<string, readonly RowGroup[]> = {};
      for (const { table, live } of hostTables) image[table] = await this.lockHostRows(session, table, live, fromHost);
      const before = mapCounts((table) => (image[table] ?? []).reduce((sum, { keys }) => sum + keys.length, 0));
      const moved = Object.values(before).some((count) => count > 0);
      const atTarget = moved ? {} : await this.count(session, toHost);
      const kept = moved ? undefined : await findPromotion(session, fromHost, toHost);
      // Done before if nothing is left and everything is there; a backend without rows was only if its promotion was kept.
      const done =
        !moved &&
        hostTables.every(({ table }) => (atTarget[table] ?? 0) >= (change.expected[table] ?? 0)) &&
        (kept !== undefined || Object.values(change.expected).some((count) => count > 0));
      if (!done) assertCounts(attempted, change.expected, before);
      if (!change.takeInFlight) await this.assertQuiet(session, attempted, fromHost);

      const names = namesHost(fromHost);
      for (const { table, live } of hostTables) {
        const more =
          table === "volumes"
            ? // A volume that isn't replicated stays so. Without a row of the new service (its first start makes one, and
              // with it the uuid of its volumes) service_uuid stays too.
              `, replication_status = IF(replication_status IN ('disabled', 'not-capable'), replication_status, 'enabled'),
                 service_uuid = COALESCE(?, service_uuid)`
            : "";
        const changed = await session.change(
          `UPDATE ${this.table(table)} SET host = CONCAT(?, SUBSTRING(host, CHAR_LENGTH(?) + 1))${more} WHERE ${live} AND ${names.sql}`,
          [toHost, fromHost, ...(more === "" ? [] : [next?.uuid ?? null]), ...names.values],
        );
        if (changed !== before[table])
          throw rolledBack(attempted, `${changed} rows of ${table} changed where ${before[table]} were locked`);
      }

      if (change.writeFence && left !== undefined) await this.writeFence(session, left.id, toBackendId);
      if (next !== undefined)
        await session.change(
          `UPDATE ${this.table("services")}
              SET replication_status = 'enabled', active_backend_id = NULL, disabled = 0, disabled_reason = NULL, frozen = 0
            WHERE id = ?`,
          [next.id],
        );
      await this.assertFence(session, attempted, fromHost, toBackendId);
      const { rest, after } = await this.countBoth(session, fromHost, toHost);
      if (Object.values(rest).some((count) => count > 0))
        throw rolledBack(attempted, `rows still name ${fromHost} after the change: ${show(rest)}`);

      if (done) {
        return { before, after, beforeImage: kept?.beforeImage ?? {}, rollbackSql: kept?.rollbackSql ?? [] };
      }
      const beforeImage: BeforeImage = {
        ...image,
        services: services.map(({ id, ...row }) => ({ keys: [String(id)], before: row })),
      };
      const rollbackSql = rollbackStatements(this.schema, beforeImage, toHost);
      // Apart: with very many volumes they are some MB each, and a server takes 16 in one packet.
      await session.change(
        `INSERT INTO ${quoteName(coordinationSchema)}.promotion (from_host, to_host, before_image, rollback_sql, promoted_at)
         VALUES (?, ?, ?, '[]', UTC_TIMESTAMP(6))`,
        [fromHost, toHost, JSON.stringify(beforeImage)],
      );
      await session.change(
        `UPDATE ${quoteName(coordinationSchema)}.promotion SET rollback_sql = ? WHERE id = LAST_INSERT_ID()`,
        [JSON.stringify(rollbackSql)],
      );
      return { before, after, beforeImage, rollbackSql };
    });
  }

  private async writeFence(session: Session, id: number, toBackendId: string): Promise<void> {
    await session.change(
      `UPDATE ${this.table("services")}
          SET replication_status = 'failed-over', active_backend_id = ?, disabled = 1, disabled_reason = 'failed-over'
        WHERE id = ?`,
      [toBackendId, id],
    );
  }

  /** The driver that is ever started on this stanza again reads this row, and resyncs nothing. */
  private async assertFence(session: Session, attempted: string, host: string, toBackendId: string): Promise<void> {
    const [row] = await this.lockServices(session, [host]);
    if (row === undefined) throw noFence(attempted, host);
    if (row.replication_status === "failed-over" && row.active_backend_id === toBackendId && row.disabled === 1) return;
    throw new DrError({
      code: "precondition",
      attempted,
      seen:
        `the services row of ${host} must be failed-over to "${toBackendId}" and disabled, but is ` +
        `replication_status ${row.replication_status ?? "NULL"}, active_backend_id ${row.active_backend_id ?? "NULL"}, disabled ${row.disabled}: ` +
        "a driver started on it would overwrite the new site",
      state: "Rolled back, nothing was changed",
      remedy: "Run failover-host first, or promote by the direct route, which writes the row itself",
      context: { host, toBackendId },
    });
  }

  private async lockServices(session: Session, hosts: readonly string[]): Promise<LockedService[]> {
    const rows = await session.rows<LockedService>(
      `SELECT id, uuid, host, replication_status, active_backend_id, disabled, disabled_reason, frozen, cluster_name
         FROM ${this.table("services")}
        WHERE deleted = 0 AND \`binary\` = 'cinder-volume' AND host IN (?) AND BINARY host IN (?) ORDER BY id FOR UPDATE`,
      [hosts, hosts],
    );
    const attempted = `Lock the services rows of ${hosts.join(" and ")}`;
    for (const { host } of rows) {
      const same = rows.filter((row) => row.host === host);
      if (same.length > 1)
        throw rolledBack(
          attempted,
          `${host} has live cinder-volume rows ${same.map(({ id }) => id).join(", ")}, needed one`,
        );
    }
    const clustered = rows.find((row) => row.cluster_name !== null);
    if (clustered !== undefined)
      throw rolledBack(
        attempted,
        `${clustered.host} belongs to the cluster ${clustered.cluster_name}, which isn't supported`,
      );
    return rows;
  }

  private async lockHostRows(
    session: Session,
    table: HostTable,
    live: string,
    host: string,
  ): Promise<readonly RowGroup[]> {
    const { key, columns } = changedColumns[table];
    const names = namesHost(host);
    // Row by row, and in the table's own order: to let the server group them, or use the hosts' index, takes it twice as long
    // (measured with 100,000 volumes).
    const rows = await session.rows(
      `SELECT ${[key, ...columns, "cluster_name"].map(quoteName).join(", ")} FROM ${this.table(table)} FORCE INDEX (PRIMARY)
        WHERE ${live} AND ${names.sql} FOR UPDATE`,
      names.values,
    );
    const clustered = rows.filter((row) => row["cluster_name"] !== null).length;
    if (clustered > 0)
      throw rolledBack(
        `Lock the rows of ${host}`,
        `${clustered} rows of ${table} name a cluster, which isn't supported`,
      );
    const groups = new Map<string, { keys: string[]; before: Row }>();
    for (const row of rows) {
      const values = columns.map((column) => row[column]);
      const alike = JSON.stringify(values);
      const group = groups.get(alike);
      if (group === undefined)
        groups.set(alike, {
          keys: [String(row[key])],
          before: Object.fromEntries(columns.map((column, i) => [column, values[i]])),
        });
      else group.keys.push(String(row[key]));
    }
    return [...groups.values()];
  }

  private async assertQuiet(session: Session, attempted: string, host: string): Promise<void> {
    const busy = await this.inFlight(session, host);
    if (busy.length === 0) return;
    const list = busy.slice(0, 10).map((volume) => `${volume.id} (${volume.status})`);
    throw new DrError({
      code: "precondition",
      attempted,
      seen: `${busy.length} volumes are in flight: ${list.join(", ")}${busy.length > 10 ? ", …" : ""}`,
      state: "Rolled back, nothing was changed",
      remedy: "Let the operations end, or reset these volumes' states",
      context: { volumes: busy },
    });
  }
}

interface LockedService {
  readonly id: number;
  readonly uuid: string | null;
  readonly host: string;
  readonly replication_status: string | null;
  readonly active_backend_id: string | null;
  readonly disabled: number | null;
  readonly disabled_reason: string | null;
  readonly frozen: number | null;
  readonly cluster_name: string | null;
}

/** The last promotion between the two hosts, if it went this way: one before a failback doesn't count. */
async function findPromotion(
  session: Session,
  fromHost: string,
  toHost: string,
): Promise<{ beforeImage: BeforeImage; rollbackSql: readonly string[] } | undefined> {
  const [row] = await session.rows<{ from_host: string; before_image: string; rollback_sql: string }>(
    `SELECT from_host, before_image, rollback_sql FROM ${quoteName(coordinationSchema)}.promotion
      WHERE (from_host = ? AND to_host = ?) OR (from_host = ? AND to_host = ?) ORDER BY id DESC LIMIT 1`,
    [fromHost, toHost, toHost, fromHost],
  );
  if (row?.from_host !== fromHost) return undefined;
  return {
    beforeImage: readBeforeImage(row.before_image),
    rollbackSql: JSON.parse(row.rollback_sql) as readonly string[],
  };
}

function toServiceRow(row: Row): ServiceRow {
  const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
  return {
    id: Number(row.id),
    uuid: text(row.uuid),
    host: text(row.host) ?? "",
    binary: text(row.binary) ?? "",
    disabled: Number(row.disabled) !== 0,
    disabledReason: text(row.disabled_reason),
    replicationStatus: text(row.replication_status),
    activeBackendId: text(row.active_backend_id),
    frozen: Number(row.frozen) !== 0,
    reportCount: Number(row.report_count),
    clusterName: text(row.cluster_name),
  };
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

function toVolumeRow(row: Row, attached: readonly Row[]): VolumeRow {
  const optional = <K extends string>(key: K, value: unknown): { readonly [P in K]?: string } =>
    textOf(value) === "" ? {} : ({ [key]: value } as { readonly [P in K]?: string });
  return {
    id: textOf(row.id),
    name: textOf(row.display_name),
    host: textOf(row.host),
    status: textOf(row.status),
    sizeGiB: Number(row.size),
    projectId: textOf(row.project_id),
    ...optional("replicationStatus", row.replication_status),
    ...optional("migrationStatus", row.migration_status),
    ...optional("nameId", row._name_id),
    multiattach: Number(row.multiattach) !== 0,
    bootable: Number(row.bootable) !== 0,
    encrypted: textOf(row.encryption_key_id) !== "",
    ...optional("groupId", row.group_id),
    attachments: attached.map((attachment) => ({
      attachmentId: textOf(attachment.id),
      serverId: textOf(attachment.instance_uuid),
      device: textOf(attachment.mountpoint),
      ...optional("host", attachment.attached_host),
    })),
  };
}

function assertBackendHost(backendHost: string): void {
  if (/^[^@#\s]+@[^@#\s]+$/.test(backendHost)) return;
  throw new DrError({
    code: "config",
    attempted: `Look for rows of "${backendHost}"`,
    seen: "a backend host is written <host>@<backend>",
    remedy: "Correct the site pair's configuration",
  });
}

function assertChange(change: PromotionChange): void {
  assertBackendHost(change.fromHost);
  assertBackendHost(change.toHost);
  const tables: readonly string[] = hostTables.map(({ table }) => table);
  const given = Object.keys(change.expected);
  const odd = given.filter((table) => !tables.includes(table)).concat(tables.filter((table) => !given.includes(table)));
  const seen =
    change.fromHost === change.toHost
      ? "both hosts are the same"
      : !change.toHost.endsWith(`@${change.toBackendId}`)
        ? `the backend id "${change.toBackendId}" isn't the one of ${change.toHost}`
        : odd.length > 0
          ? `expected counts must be given for ${tables.join(", ")} and nothing else (${odd.join(", ")})`
          : undefined;
  if (seen !== undefined)
    throw new DrError({ code: "invariant", attempted: `Promote ${change.toHost}`, seen, state: "Nothing was changed" });
}

function assertCounts(attempted: string, expected: HostRowCounts, seen: HostRowCounts): void {
  if (hostTables.every(({ table }) => expected[table] === seen[table])) return;
  throw new DrError({
    code: "stale-plan",
    attempted,
    seen: `the rows to move are ${show(seen)}, but ${show(expected)} were expected`,
    state: "Rolled back, nothing was changed",
    remedy: "Find out what was created, moved or deleted meanwhile, then plan again",
    context: { expected, seen },
  });
}

const mapCounts = (count: (table: string) => number): HostRowCounts =>
  Object.fromEntries(hostTables.map(({ table }) => [table, count(table)]));

const show = (counts: HostRowCounts): string =>
  Object.entries(counts)
    .map(([table, count]) => `${table} ${count}`)
    .join(", ");

const rolledBack = (attempted: string, seen: string): DrError =>
  new DrError({
    code: "precondition",
    attempted,
    seen,
    state: "Rolled back, nothing was changed",
    remedy: "Correct Cinder's database, then repeat",
  });

const noFence = (attempted: string, host: string): DrError =>
  new DrError({
    code: "precondition",
    attempted,
    seen: `there is no live cinder-volume row of ${host} in cinder.services, so nothing would stop a driver started on it`,
    state: "Rolled back, nothing was changed",
    remedy: `Start cinder-volume on ${host} once while its mirrors run, or restore its row`,
    context: { host },
  });
