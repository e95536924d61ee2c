import type { z } from "zod";
import { DrError, extend } from "../errors";
import { ServiceApi, listPages, statusOf } from "../openstack/service-api";
import type { Microversion, ServiceApiOptions } from "../openstack/service-api";
import {
  actionResultSchema,
  actionsSchema,
  attachedSchema,
  attachmentsSchema,
  computeServicesSchema,
  oneServerSchema,
  serversSchema,
} from "./wire";
import type { ActionResult, ComputeService, Server, ServerAction, ServerAttachment } from "./wire";

/**
 * Nova's API v2.1, as an administrator of a project.
 *
 * Everything is asked at one microversion, 2.89 (Xena): it is the first that tells an attachment's id, and from 2.101 on
 * an attach is answered before its device is reserved, so that devices of one server may swap. 2.88 is used beside it,
 * since 2.89 hides attachments without an id.
 */
const version: Microversion = [2, 89];
const versionWithGhosts: Microversion = [2, 88];

const listTimeoutMs = 60_000;
/** An attach waits for its server's lock, behind whatever is attached or detached there; Nova's own limit is longer. */
const attachTimeoutMs = 600_000;
const detachTimeoutMs = 120_000;

export class NovaClient {
  private readonly api: ServiceApi;

  constructor(options: ServiceApiOptions) {
    this.api = new ServiceApi(
      { type: "compute", header: "compute", path: "/v2.1", name: "Nova", decodeError },
      { needed: version, newest: version },
      options,
    );
  }

  /** All projects' servers. @throws DrError `precondition` where the credential doesn't see their hosts. */
  async listServers(): Promise<readonly Server[]> {
    const attempted = "List the servers of all projects";
    const rows = await listPages(async (marker) => {
      const { body } = await this.get("/servers/detail", serversSchema, attempted, {
        all_tenants: true,
        sort_key: "uuid",
        sort_dir: "asc",
        marker,
      });
      return { items: body.servers, more: body.servers_links.some((link) => link.rel === "next") };
    });
    const blind = rows.find((row) => !row.seesHost);
    if (blind !== undefined) throw notAdministrator(attempted, blind.id);
    return rows.map((row) => row.server);
  }

  async getServer(id: string): Promise<Server> {
    const attempted = `Read server ${id}`;
    const { body } = await this.get(pathOf(id), oneServerSchema, attempted);
    if (!body.server.seesHost) throw notAdministrator(attempted, id);
    return body.server.server;
  }

  /**
   * Root and data volumes in the order they were attached, not that of their devices. One without an attachment id is
   * an attach that is going on or a ghost. Where all that are `expected` have one, other ghosts aren't looked for, which
   * costs another call.
   */
  async listServerAttachments(serverId: string, expected?: readonly string[]): Promise<readonly ServerAttachment[]> {
    const attempted = `List the volumes of server ${serverId}`;
    const path = `${pathOf(serverId)}/os-volume_attachments`;
    const all = async (): Promise<readonly ServerAttachment[]> =>
      (await this.get(path, attachmentsSchema, attempted, {}, versionWithGhosts)).body;
    if (expected !== undefined) {
      const { body: attached } = await this.get(path, attachmentsSchema, attempted);
      if (expected.every((id) => attached.some(({ volumeId }) => volumeId === id))) return attached;
    }
    const before = await all();
    const { body: attachments } = await this.get(path, attachmentsSchema, attempted);
    const known = new Set(attachments.map((attachment) => attachment.volumeId));
    if (before.every((row) => known.has(row.volumeId))) return attachments;
    // What was there before and isn't now: a ghost is still there, a volume detached in between isn't.
    const now = new Set((await all()).map((row) => row.volumeId));
    return [...attachments, ...before.filter((row) => !known.has(row.volumeId) && now.has(row.volumeId))];
  }

  async listComputeServices(): Promise<readonly ComputeService[]> {
    const { body } = await this.get("/os-services", computeServicesSchema, "List Nova's compute services", {
      binary: "nova-compute",
    });
    return body;
  }

  /** Keeps everyone out but administrators. A repeat is harmless. The reason is cut to the API's 255 characters. */
  async lock(serverId: string, reason: string): Promise<void> {
    await this.act(serverId, { lock: { locked_reason: reason.slice(0, 255) } }, `Lock server ${serverId}`);
  }

  async unlock(serverId: string): Promise<void> {
    await this.act(serverId, { unlock: null }, `Unlock server ${serverId}`);
  }

  /** Accepted, not done: poll until status SHUTOFF without task_state. One that is stopped or stopping is success. */
  async stop(serverId: string): Promise<void> {
    await this.actTowards(serverId, { "os-stop": null }, `Stop server ${serverId}`, {
      status: "SHUTOFF",
      taskState: "powering-off",
    });
  }

  /** Accepted, not done: poll until status ACTIVE without task_state. One that runs or is being started is success. */
  async start(serverId: string): Promise<void> {
    await this.actTowards(serverId, { "os-start": null }, `Start server ${serverId}`, {
      status: "ACTIVE",
      taskState: "powering-on",
    });
  }

  /**
   * Accepted, not done: poll `listServerAttachments` until the volume is gone; Cinder calls it available a moment
   * earlier. Not attached is success. A volume that is `detaching` already, or whose row is just going, is refused
   * (400): after a crash look first.
   *
   * @throws DrError `remote`, retryable for a task_state and for a compute service that is down; not for 400, which is
   * about the volume's state (or the root volume), nor for a vm_state in which Nova detaches nothing.
   */
  async detachVolume(serverId: string, volumeId: string): Promise<void> {
    const attempted = `Detach volume ${volumeId} from server ${serverId}`;
    try {
      await this.api.microversion();
      await this.api.request({
        method: "DELETE",
        path: `${pathOf(serverId)}/os-volume_attachments/${encodeURIComponent(volumeId)}`,
        microversion: version,
        expected: [202],
        attempted,
        timeoutMs: detachTimeoutMs,
      });
    } catch (error) {
      const status = statusOf(error);
      if (status !== 404 && status !== 400) throw advise(error);
      // 404 is also said of a volume that Cinder doesn't know and that the server still has; 400 also of one that went
      // in between.
      if (!(await this.hasVolume(serverId, volumeId))) return;
      if (status === 400) throw error;
      throw extend(error, {
        state: "The server still has the volume, and Cinder doesn't know it.",
        remedy: "See that Cinder's database is the right one and complete; reboot nothing before",
      });
    }
  }

  /**
   * Returns when the device is reserved, and resolves to it ("" for a shelved server, which has none); the attachment
   * follows: poll Cinder until in-use. Volumes of one server are attached one after another in the order of their
   * devices, after every detach of that server has ended. Then a repeat is safe: a volume that the server has already
   * is success.
   *
   * @throws DrError `remote`. After a 5xx or no answer, Nova may still reserve a device for a volume that it then
   * doesn't attach: `listServerAttachments` shows such a ghost without attachmentId.
   */
  async attachVolume(o: {
    readonly serverId: string;
    readonly volumeId: string;
    readonly device?: string;
    readonly tag?: string;
    readonly deleteOnTermination: boolean;
  }): Promise<string> {
    const attempted = `Attach volume ${o.volumeId} to server ${o.serverId}${o.device === undefined ? "" : ` as ${o.device}`}`;
    try {
      await this.api.microversion();
      const { body } = await this.api.request({
        method: "POST",
        path: `${pathOf(o.serverId)}/os-volume_attachments`,
        body: {
          volumeAttachment: {
            volumeId: o.volumeId,
            ...(o.device === undefined ? {} : { device: o.device }),
            ...(o.tag === undefined ? {} : { tag: o.tag }),
            delete_on_termination: o.deleteOnTermination,
          },
        },
        microversion: version,
        expected: [200],
        answer: attachedSchema,
        attempted,
        timeoutMs: attachTimeoutMs,
      });
      return body;
    } catch (error) {
      if (statusOf(error) !== 400) throw advise(error);
      const found = (await this.listServerAttachments(o.serverId)).find((row) => row.volumeId === o.volumeId);
      if (found === undefined) throw error;
      if (found.attachmentId !== undefined) return found.device ?? "";
      throw extend(error, {
        state:
          "Nova has a row of this volume on this server without an attachment: another attach is going on, or one was lost and left it (a ghost)",
        remedy:
          "If it stays, mark the row deleted in Nova's database (block_device_mapping: deleted = id, deleted_at = now): neither a detach nor a reboot removes it",
        retryable: true,
      });
    }
  }

  /** What was done with a server, newest first. */
  async listActions(serverId: string): Promise<readonly ServerAction[]> {
    const { body } = await this.get(
      `${pathOf(serverId)}/os-instance-actions`,
      actionsSchema,
      `List the actions of server ${serverId}`,
    );
    return body.actions;
  }

  /** Nova's verdict on one action, by its request's id; undefined where Nova recorded none. */
  async findActionResult(serverId: string, requestId: string): Promise<ActionResult | undefined> {
    const path = `${pathOf(serverId)}/os-instance-actions/${encodeURIComponent(requestId)}`;
    try {
      return (await this.get(path, actionResultSchema, `Read request ${requestId} of server ${serverId}`)).body;
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.api.close();
  }

  private async get<T>(
    path: string,
    answer: z.ZodType<T>,
    attempted: string,
    query: Readonly<Record<string, string | boolean | undefined>> = {},
    microversion = version,
  ): Promise<{ readonly body: T }> {
    await this.api.microversion();
    return await this.api.request({
      method: "GET",
      path,
      query,
      microversion,
      expected: [200],
      answer,
      attempted,
      timeoutMs: listTimeoutMs,
    });
  }

  private async act(serverId: string, body: unknown, attempted: string): Promise<void> {
    await this.api.microversion();
    await this.api.request({
      method: "POST",
      path: `${pathOf(serverId)}/action`,
      body,
      microversion: version,
      expected: [202],
      attempted,
    });
  }

  /** Refused with 409 where it is done or going on already; then the server itself says which. */
  private async actTowards(
    serverId: string,
    body: unknown,
    attempted: string,
    goal: { readonly status: string; readonly taskState: string },
  ): Promise<void> {
    try {
      await this.act(serverId, body, attempted);
    } catch (error) {
      if (statusOf(error) !== 409) throw advise(error);
      const { status, taskState } = await this.getServer(serverId);
      if (taskState === goal.taskState || (status === goal.status && taskState === undefined)) return;
      throw advise(
        extend(error, {
          state: `The server is ${status}${taskState === undefined ? "" : ` with task_state ${taskState}`}.`,
        }),
      );
    }
  }

  private async hasVolume(serverId: string, volumeId: string): Promise<boolean> {
    try {
      return (await this.listServerAttachments(serverId)).some((row) => row.volumeId === volumeId);
    } catch (error) {
      if (statusOf(error) === 404) return false;
      throw error;
    }
  }
}

function pathOf(serverId: string): string {
  return `/servers/${encodeURIComponent(serverId)}`;
}

function notAdministrator(attempted: string, serverId: string): DrError {
  return new DrError({
    code: "precondition",
    attempted,
    seen: `server ${serverId} comes without OS-EXT-SRV-ATTR:host: the credential isn't an administrator's`,
    state: "Nothing was changed.",
    remedy: "Give the credential the role admin on its project",
  });
}

/**
 * 409 says several things, told apart by their text alone (nova/api/openstack/common.py): a task_state passes, and a
 * compute service comes back; vm_state, a lock and a device in use stay until somebody changes them. 5xx are time-outs
 * of Nova's own calls.
 */
function decodeError(status: number, message: string): { readonly retryable?: boolean } {
  if (status === 409) return { retryable: /\btask_state\b|Service is unavailable/.test(message) };
  return status >= 500 && status !== 501 ? { retryable: true } : {};
}

/** What helps against a refusal, by what it names. */
function advise(error: unknown): unknown {
  if (!DrError.is(error)) return error;
  const status = statusOf(error);
  if (error.code === "unreachable" || (status !== undefined && status >= 500))
    return extend(error, {
      state: "Nova may still carry it out.",
      remedy: "See that nova-compute of the server's host is up, then read the server's attachments before a repeat",
    });
  const seen = error.seen;
  if (status === 409 && /\bvm_state\b/.test(seen))
    return extend(error, {
      remedy:
        "Bring the server to ACTIVE or SHUTOFF first: resume a suspended one, unrescue a rescued one, stop one in ERROR",
    });
  if (status === 409 && /\bis locked\b/.test(seen))
    return extend(error, { remedy: "Use a credential with the role admin: it passes locks" });
  if (status === 409 && /Service is unavailable/.test(seen))
    return extend(error, { remedy: "Start nova-compute on the server's host, or evacuate the server" });
  return error;
}
