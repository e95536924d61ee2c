import { z } from "zod";

/**
 * What Cinder's API v3 answers, reduced to what is used: unknown fields are dropped, which is how CHAP secrets in
 * connection_info and the like never get past here. Sources: cinder/api/v3 and cinder/api/v3/views (29.0).
 */

export interface CinderService {
  readonly binary: string;
  /** `<host>@<backend>` for cinder-volume. */
  readonly host: string;
  readonly enabled: boolean;
  readonly up: boolean;
  readonly disabledReason?: string;
  readonly replicationStatus?: string;
  readonly activeBackendId?: string;
  readonly frozen: boolean;
  /** Heartbeat, or the row's last change by the API where that's newer; ISO 8601 in UTC. */
  readonly updatedAt?: string;
}

export interface CinderVolume {
  readonly id: string;
  readonly name: string;
  /** `<host>@<backend>#<pool>` */
  readonly host: string;
  readonly status: string;
  readonly sizeGiB: number;
  readonly projectId: string;
  readonly volumeType?: string;
  readonly replicationStatus?: string;
  readonly migrationStatus?: string;
  /** Id in the LUN's name where a migration left another one than `id`. */
  readonly nameId?: string;
  readonly multiattach: boolean;
  readonly bootable: boolean;
  readonly encrypted: boolean;
  readonly groupId?: string;
  /** Only those that are attached: reserved ones aren't here. */
  readonly attachments: readonly {
    readonly attachmentId: string;
    readonly serverId: string;
    readonly device: string;
    readonly host?: string;
  }[];
}

export interface CinderSnapshot {
  readonly id: string;
  readonly volumeId: string;
  readonly status: string;
}

export interface ConnectionInfo {
  /** driver_volume_type: iscsi, fibre_channel, … */
  readonly type: string;
  readonly iqn?: string;
  /** `address:port` */
  readonly portal?: string;
  /** All of them, where the host uses multipath. */
  readonly portals?: readonly string[];
  readonly lun?: number;
}

export interface CinderAttachment {
  readonly id: string;
  readonly volumeId: string;
  readonly serverId?: string;
  readonly status: string;
  readonly connection?: ConnectionInfo;
}

export interface CinderPool {
  readonly name: string;
  /** When the backend reported it last; ISO 8601 in UTC. */
  readonly timestamp?: string;
}

const optionalText = z.string().nullish();
const linksSchema = z.array(z.object({ rel: z.string() })).default([]);

// GET /os-services: v3/services.py index; the replication fields come with cinder-volume only, at every microversion.
const serviceSchema = z
  .object({
    binary: z.string(),
    host: z.string(),
    status: z.enum(["enabled", "disabled"]),
    state: z.enum(["up", "down"]),
    disabled_reason: optionalText,
    replication_status: optionalText,
    active_backend_id: optionalText,
    frozen: z.boolean().nullish(),
    updated_at: optionalText,
  })
  .transform((row): CinderService => ({
    binary: row.binary,
    host: row.host,
    enabled: row.status === "enabled",
    up: row.state === "up",
    ...given("disabledReason", row.disabled_reason),
    ...given("replicationStatus", row.replication_status),
    ...given("activeBackendId", row.active_backend_id),
    frozen: row.frozen ?? false,
    ...given("updatedAt", utc(row.updated_at)),
  }));
export const servicesSchema = z.object({ services: z.array(serviceSchema) }).transform((answer) => answer.services);

// GET /volumes/detail: v3/views/volumes.py and contrib/volume_{host,tenant,mig_status}_attribute.py.
const volumeSchema = z
  .object({
    id: z.string(),
    name: optionalText,
    "os-vol-host-attr:host": optionalText,
    "os-vol-tenant-attr:tenant_id": optionalText,
    "os-vol-mig-status-attr:migstat": optionalText,
    "os-vol-mig-status-attr:name_id": optionalText,
    status: z.string(),
    size: z.number().int(),
    volume_type: optionalText,
    replication_status: optionalText,
    multiattach: z.boolean(),
    bootable: z.enum(["true", "false"]),
    encrypted: z.boolean(),
    group_id: optionalText,
    attachments: z.array(
      z.object({ attachment_id: z.string(), server_id: optionalText, device: optionalText, host_name: optionalText }),
    ),
  })
  .transform((row): Omit<CinderVolume, "host"> & { readonly host: string | undefined } => ({
    id: row.id,
    name: row.name ?? "",
    // Absent for whoever isn't an administrator; the client refuses that. Null while no backend has been chosen.
    host: row["os-vol-host-attr:host"] === undefined ? undefined : (row["os-vol-host-attr:host"] ?? ""),
    status: row.status,
    sizeGiB: row.size,
    projectId: row["os-vol-tenant-attr:tenant_id"] ?? "",
    ...given("volumeType", row.volume_type),
    ...given("replicationStatus", row.replication_status),
    ...given("migrationStatus", row["os-vol-mig-status-attr:migstat"]),
    ...given("nameId", row["os-vol-mig-status-attr:name_id"]),
    multiattach: row.multiattach,
    bootable: row.bootable === "true",
    encrypted: row.encrypted,
    ...given("groupId", row.group_id),
    attachments: row.attachments.map((attachment) => ({
      attachmentId: attachment.attachment_id,
      // Empty where a host has it attached, and not a server.
      serverId: attachment.server_id ?? "",
      device: attachment.device ?? "",
      ...given("host", attachment.host_name),
    })),
  }));
export const volumesSchema = z.object({ volumes: z.array(volumeSchema), volumes_links: linksSchema });
export const volumeStatusSchema = z.object({ volume: z.object({ status: z.string() }) });

// GET /snapshots/detail: v3/views/snapshots.py.
const snapshotSchema = z
  .object({ id: z.string(), volume_id: z.string(), status: z.string() })
  .transform((row): CinderSnapshot => ({ id: row.id, volumeId: row.volume_id, status: row.status }));
export const snapshotsSchema = z.object({ snapshots: z.array(snapshotSchema), snapshots_links: linksSchema });

// GET /attachments/detail (3.27): v3/views/attachments.py; the driver's `data` is flat beside driver_volume_type
// (volume/manager.py _parse_connection_options).
const lunNumber = z.coerce.number().int();
const connectionSchema = z
  .object({
    driver_volume_type: z.string().optional(),
    target_iqn: z.string().optional(),
    target_portal: z.string().optional(),
    target_lun: lunNumber.optional(),
    target_iqns: z.array(z.string()).optional(),
    target_portals: z.array(z.string()).optional(),
    target_luns: z.array(lunNumber).optional(),
  })
  .transform((info): ConnectionInfo | undefined =>
    info.driver_volume_type === undefined
      ? undefined
      : {
          type: info.driver_volume_type,
          ...given("iqn", info.target_iqn ?? info.target_iqns?.[0]),
          ...given("portal", info.target_portal ?? info.target_portals?.[0]),
          ...given("portals", info.target_portals),
          ...given("lun", info.target_lun ?? info.target_luns?.[0]),
        },
  );
const attachmentSchema = z
  .object({
    id: z.string(),
    volume_id: z.string(),
    instance: optionalText,
    status: z.string(),
    connection_info: connectionSchema.nullish(),
  })
  .transform((row): CinderAttachment => ({
    id: row.id,
    volumeId: row.volume_id,
    ...given("serverId", row.instance),
    status: row.status,
    ...given("connection", row.connection_info),
  }));
export const attachmentsSchema = z.object({ attachments: z.array(attachmentSchema) });

// GET /scheduler-stats/get_pools?detail=true: views/scheduler_stats.py.
export const poolsSchema = z
  .object({
    pools: z.array(z.object({ name: z.string(), capabilities: z.object({ timestamp: optionalText }).optional() })),
  })
  .transform((answer) =>
    answer.pools.map((pool): CinderPool => ({
      name: pool.name,
      ...given("timestamp", utc(pool.capabilities?.timestamp)),
    })),
  );

/** The property, where there is something to say: null and "" mean nothing here. */
function given<K extends string, V>(key: K, value: V | null | undefined): { readonly [P in K]?: V } {
  return value === undefined || value === null || value === "" ? {} : ({ [key]: value } as { readonly [P in K]?: V });
}

/** Cinder's times are UTC without saying so. */
function utc(time: string | null | undefined): string | undefined {
  if (time === undefined || time === null) return undefined;
  return /(Z|[+-]\d\d:?\d\d)$/.test(time) ? time : `${time}Z`;
}
