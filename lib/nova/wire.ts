import { z } from "zod";

/** What Nova's API v2.1 answers at microversion 2.89, reduced to what is used. Sources: nova/api/openstack/compute (34.0). */

export interface Server {
  readonly id: string;
  readonly name: string;
  /** ACTIVE, SHUTOFF, …; UNKNOWN for one in a cell that doesn't answer, of which nothing else is known. */
  readonly status: string;
  readonly taskState?: string;
  /** 1 running, 3 paused, 4 shut down, … */
  readonly powerState?: number;
  readonly host?: string;
  /** UP, UNKNOWN, DOWN, MAINTENANCE; absent while it is on no host. */
  readonly hostStatus?: string;
  readonly locked: boolean;
  readonly lockedReason?: string;
  readonly projectId: string;
  readonly rootDevice?: string;
  /** Disks of its flavour beside the root: ephemeral and swap, one each. Their names aren't told. */
  readonly localDisks: number;
  /** Its properties; absent where it has none. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Of all its block device mappings, ghosts' too; absent where its cell doesn't answer. */
  readonly volumeIds?: readonly string[];
}

export interface ServerAttachment {
  readonly serverId: string;
  readonly volumeId: string;
  /** Absent where Nova has none (shelved). */
  readonly device?: string;
  readonly tag?: string;
  readonly deleteOnTermination: boolean;
  /** Absent for a ghost: a row that an attach left which was never carried out. */
  readonly attachmentId?: string;
}

export interface ComputeService {
  readonly host: string;
  readonly up: boolean;
  readonly enabled: boolean;
}

export interface ServerAction {
  /** attach_volume, detach_volume, stop, … */
  readonly action: string;
  readonly requestId: string;
  readonly userId?: string;
  /** ISO 8601 in UTC. */
  readonly startTime: string;
  /** "Error" where Nova recorded one. */
  readonly message?: string;
}

export interface ActionResult {
  readonly action: string;
  /** Running until every event has ended. */
  readonly result: "running" | "success" | "error";
  /** What failed, in Nova's words. */
  readonly details?: string;
}

const optionalText = z.string().nullish();

// GET /servers/detail and /servers/{id}: views/servers.py. A server in a cell that is down has little more than its id.
const serverSchema = z
  .object({
    id: z.string(),
    status: z.string(),
    tenant_id: optionalText,
    name: optionalText,
    "OS-EXT-STS:task_state": optionalText,
    "OS-EXT-STS:power_state": z.number().int().nullish(),
    "OS-EXT-SRV-ATTR:host": optionalText,
    "OS-EXT-SRV-ATTR:root_device_name": optionalText,
    host_status: optionalText,
    locked: z.boolean().optional(),
    locked_reason: optionalText,
    metadata: z.record(z.string(), z.string()).optional(),
    // Part of the server since 2.47; sizes in GiB and MiB.
    flavor: z.object({ ephemeral: z.number(), swap: z.number() }).optional(),
    // By rows of block_device_mapping alone: neither an attachment nor its state is asked for.
    "os-extended-volumes:volumes_attached": z.array(z.object({ id: z.string() })).optional(),
  })
  .transform((row) => ({
    /** Only administrators get it, and nobody of a server whose cell is down. */
    seesHost: row["OS-EXT-SRV-ATTR:host"] !== undefined || row.status === "UNKNOWN",
    id: row.id,
    server: {
      id: row.id,
      name: row.name ?? "",
      status: row.status,
      ...given("taskState", row["OS-EXT-STS:task_state"]),
      ...given("powerState", row["OS-EXT-STS:power_state"]),
      ...given("host", row["OS-EXT-SRV-ATTR:host"]),
      ...given("hostStatus", row.host_status),
      locked: row.locked ?? false,
      ...given("lockedReason", row.locked_reason),
      projectId: row.tenant_id ?? "",
      ...given("rootDevice", row["OS-EXT-SRV-ATTR:root_device_name"]),
      ...given("metadata", Object.keys(row.metadata ?? {}).length > 0 ? row.metadata : undefined),
      ...given(
        "volumeIds",
        row["os-extended-volumes:volumes_attached"]?.map(({ id }) => id),
      ),
      localDisks: [row.flavor?.ephemeral ?? 0, row.flavor?.swap ?? 0].filter((size) => size > 0).length,
    } satisfies Server,
  }));
export const serversSchema = z.object({
  servers: z.array(serverSchema),
  servers_links: z.array(z.object({ rel: z.string() })).default([]),
});
export const oneServerSchema = z.object({ server: serverSchema });

// GET /servers/{id}/os-volume_attachments: volume_attachments.py; attachment_id since 2.89.
const attachmentSchema = z
  .object({
    serverId: z.string(),
    volumeId: z.string(),
    device: optionalText,
    tag: optionalText,
    delete_on_termination: z.boolean(),
    attachment_id: optionalText,
  })
  .transform((row): ServerAttachment => ({
    serverId: row.serverId,
    volumeId: row.volumeId,
    ...given("device", row.device),
    ...given("tag", row.tag),
    deleteOnTermination: row.delete_on_termination,
    ...given("attachmentId", row.attachment_id),
  }));
export const attachmentsSchema = z
  .object({ volumeAttachments: z.array(attachmentSchema) })
  .transform((answer) => answer.volumeAttachments);

// POST …/os-volume_attachments, 2.79 to 2.100.
export const attachedSchema = z
  .object({ volumeAttachment: z.object({ device: optionalText }) })
  .transform((answer) => answer.volumeAttachment.device ?? "");

// GET /os-services: services.py. One in a cell that is down has neither state nor a status besides UNKNOWN.
const computeServiceSchema = z
  .object({
    host: z.string(),
    state: z.enum(["up", "down"]).optional(),
    status: z.enum(["enabled", "disabled", "UNKNOWN"]),
  })
  .transform((row): ComputeService => ({ host: row.host, up: row.state === "up", enabled: row.status === "enabled" }));
export const computeServicesSchema = z
  .object({ services: z.array(computeServiceSchema) })
  .transform((answer) => answer.services);

// GET /servers/{id}/os-instance-actions: instance_actions.py; ids are request ids.
const actionSchema = z
  .object({
    action: z.string(),
    request_id: z.string(),
    user_id: optionalText,
    start_time: z.string(),
    message: optionalText,
  })
  .transform((row): ServerAction => ({
    action: row.action,
    requestId: row.request_id,
    ...given("userId", row.user_id),
    startTime: /Z$/.test(row.start_time) ? row.start_time : `${row.start_time}Z`,
    ...given("message", row.message),
  }));
export const actionsSchema = z
  .object({ instanceActions: z.array(actionSchema), links: z.array(z.object({ rel: z.string() })).default([]) })
  .transform(({ instanceActions, links }) => ({ actions: instanceActions, links }));

export const actionResultSchema = z
  .object({
    instanceAction: z.object({
      action: z.string(),
      message: optionalText,
      events: z.array(z.object({ event: z.string(), result: optionalText, details: optionalText })).default([]),
    }),
  })
  .transform(({ instanceAction: { action, message, events } }): ActionResult => {
    const failed = events.find((event) => event.result === "Error");
    if (failed !== undefined || message === "Error")
      return { action, result: "error", ...given("details", failed?.details) };
    const ended = events.length > 0 && events.every((event) => event.result === "Success");
    return { action, result: ended ? "success" : "running" };
  });

/** The property, where there is something to say: null and "" mean nothing here. */
function given<K extends string, V>(key: K, value: V | null | undefined): { readonly [P in K]?: V } {
  return value === undefined || value === null || value === "" ? {} : ({ [key]: value } as { readonly [P in K]?: V });
}
