import { setTimeout as delay } from "node:timers/promises";
import { DrError } from "../errors";
import { ServiceApi, listPages, statusOf } from "../openstack/service-api";
import type { Microversion, ServiceApiOptions } from "../openstack/service-api";
import {
  attachmentsSchema,
  poolsSchema,
  servicesSchema,
  snapshotsSchema,
  volumeStatusSchema,
  volumesSchema,
} from "./wire";
import type { CinderAttachment, CinderPool, CinderService, CinderSnapshot, CinderVolume } from "./wire";

/**
 * Cinder's API v3, as an administrator of a project. Its errors are `remote`, `unreachable`, and `precondition` where
 * the credential sees less than everything.
 */

/** 3.44 is what Nova itself needs; up to 3.71 (29.0) the meaning of what is read here is known. */
const range = { needed: [3, 44], newest: [3, 71] } as const;
/** From 3.49 on GET /os-services asks the scheduler, and fails where that is stopped. Nothing here needs more. */
const servicesVersion: Microversion = [3, 44];
/** Freeze and thaw wait for the backend: Cinder's own limit is 60 s (rpc_response_timeout). */
const actionTimeoutMs = 120_000;
/** Lists of 1000 come in about a second from an idle API. */
const listTimeoutMs = 60_000;
/** Readers of another database node may see a change late. */
const readBacks = { times: 5, pauseMs: 500 };
const binary = "cinder-volume";

export class CinderClient {
  private readonly api: ServiceApi;
  private readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  private seesAll: Promise<void> | undefined;

  constructor(options: ServiceApiOptions) {
    this.api = new ServiceApi(
      { type: "block-storage", header: "volume", path: "/v3", name: "Cinder", decodeError },
      range,
      options,
    );
    this.sleep = options.sleep ?? (async (ms, signal) => await delay(ms, undefined, { signal }));
  }

  async listServices(): Promise<readonly CinderService[]> {
    return await this.readServices({}, "List Cinder's services");
  }

  /** All projects' volumes of `<host>@<backend>`. */
  async listVolumes(backendHost: string): Promise<readonly CinderVolume[]> {
    const attempted = `List the volumes of ${backendHost}`;
    const microversion = await this.api.microversion();
    return await listPages(async (marker) => {
      const { body } = await this.api.request({
        method: "GET",
        path: "/volumes/detail",
        query: { all_tenants: 1, host: backendHost, sort: "id:asc", marker },
        microversion,
        expected: [200],
        answer: volumesSchema,
        attempted,
        timeoutMs: listTimeoutMs,
      });
      const items = body.volumes.map((volume): CinderVolume => {
        // Without it the list would be one project's, with status 200.
        if (volume.host === undefined)
          throw notAdministrator(attempted, `volume ${volume.id} comes without os-vol-host-attr:host`);
        const { host } = volume;
        if (host !== backendHost && !host.startsWith(`${backendHost}#`))
          throw new DrError({
            code: "remote",
            attempted,
            seen: `volume ${volume.id} of ${host} is among them: the filter by host was not applied`,
          });
        return { ...volume, host };
      });
      return { items, more: hasNext(body.volumes_links) };
    });
  }

  /** All projects' snapshots, of every backend. */
  async listSnapshots(): Promise<readonly CinderSnapshot[]> {
    await this.assertSeesAllProjects();
    const microversion = await this.api.microversion();
    return await listPages(async (marker) => {
      const { body } = await this.api.request({
        method: "GET",
        path: "/snapshots/detail",
        query: { all_tenants: 1, sort: "id:asc", marker },
        microversion,
        expected: [200],
        answer: snapshotsSchema,
        attempted: "List the snapshots of all projects",
        timeoutMs: listTimeoutMs,
      });
      return { items: body.snapshots, more: hasNext(body.snapshots_links) };
    });
  }

  /** All projects' attachments, of every backend, also reserved ones. */
  async listAttachments(): Promise<readonly CinderAttachment[]> {
    await this.assertSeesAllProjects();
    const microversion = await this.api.microversion();
    return await listPages(async (marker) => {
      const { body } = await this.api.request({
        method: "GET",
        path: "/attachments/detail",
        query: { all_tenants: 1, sort: "id:asc", marker },
        microversion,
        expected: [200],
        answer: attachmentsSchema,
        attempted: "List the attachments of all projects",
        timeoutMs: listTimeoutMs,
      });
      // No link to the next page here, and the server's limit isn't known: the end is an empty page.
      return { items: body.attachments, more: body.attachments.length > 0 };
    });
  }

  /** Pools of backends that are enabled, not frozen, up and reporting: what the scheduler would choose from. */
  async listPools(): Promise<readonly CinderPool[]> {
    const { body } = await this.api.request({
      method: "GET",
      path: "/scheduler-stats/get_pools",
      query: { detail: true },
      microversion: await this.api.microversion(),
      expected: [200],
      answer: poolsSchema,
      attempted: "List the scheduler's pools",
      // An RPC to the scheduler, bounded by rpc_response_timeout.
      timeoutMs: actionTimeoutMs,
    });
    return body;
  }

  /**
   * No new volumes on this backend; what is there goes on. By `disable-log-reason`, since `disable` answers 200 and
   * changes nothing in Cinder 28 and 29 (api/v3/services.py). A repeat puts the reason anew.
   */
  async disableService(backendHost: string, reason: string): Promise<void> {
    const attempted = `Disable ${binary} ${backendHost} for scheduling`;
    // The API takes 255 characters.
    await this.putService(
      "disable-log-reason",
      { host: backendHost, binary, disabled_reason: reason.slice(0, 255) },
      attempted,
    );
    await this.readBack(backendHost, attempted, (service) => !service.enabled, "still enabled");
  }

  /**
   * By `enable`, and where the row still says disabled, by freeze and thaw: in Cinder 28 and 29 `enable` answers 200
   * and changes nothing. Killed in between, the backend is frozen; a repeat thaws it. Nothing is sent for a service
   * that is enabled.
   *
   * @throws DrError `precondition` where only the backend itself could do it and it is down.
   */
  async enableService(backendHost: string): Promise<void> {
    const attempted = `Enable ${binary} ${backendHost} for scheduling`;
    if ((await this.getService(backendHost, attempted)).enabled) return;
    await this.putService("enable", { host: backendHost, binary }, attempted);
    const service = await this.getService(backendHost, attempted);
    if (service.enabled) return;
    if (!service.up)
      throw new DrError({
        code: "precondition",
        attempted,
        seen: "the API answered 200 and changed nothing, as Cinder 28 and 29 do, and the way round (freeze, thaw) needs the service up",
        state: "The service is still disabled.",
        remedy: `Start ${binary} and repeat`,
      });
    if (!service.frozen) await this.putService("freeze", { host: backendHost }, attempted);
    await this.putService("thaw", { host: backendHost }, attempted);
    await this.readBack(backendHost, attempted, (after) => after.enabled && !after.frozen, "still disabled");
  }

  /**
   * Sends `failover_host` (`failover` is 404 in Cinder 28 and 29) and returns when accepted; the service row and after
   * it the volumes follow. Nothing is sent where the row says that it is done or going on already. `backendId`
   * "default" is the way back. A backend id that isn't configured is accepted too: the row just returns to what it was.
   *
   * @throws DrError `remote` 400 where the service isn't up or isn't replicated.
   */
  async failoverHost(backendHost: string, backendId: string): Promise<void> {
    const attempted = `Fail ${backendHost} over to backend id "${backendId}"`;
    const { replicationStatus, activeBackendId } = await this.getService(backendHost, attempted);
    const done =
      backendId === "default"
        ? replicationStatus === "enabled" && activeBackendId === undefined
        : replicationStatus === "failed-over" && activeBackendId === backendId;
    if (done || replicationStatus === "failing-over") return;
    await this.putService("failover_host", { host: backendHost, backend_id: backendId }, attempted, 202);
  }

  /**
   * A volume left `detaching` goes back to in-use; any other status stays as it is.
   *
   * @throws DrError `failure-state` where it stays `detaching`.
   */
  async rollDetaching(volumeId: string): Promise<void> {
    const attempted = `Roll volume ${volumeId} back from detaching`;
    const microversion = await this.api.microversion();
    const path = `/volumes/${encodeURIComponent(volumeId)}`;
    await this.api.request({
      method: "POST",
      path: `${path}/action`,
      body: { "os-roll_detaching": null },
      microversion,
      expected: [202],
      attempted,
    });
    let status = "";
    const rolled = await this.poll(async () => {
      const { body } = await this.api.request({
        method: "GET",
        path,
        microversion,
        expected: [200],
        answer: volumeStatusSchema,
        attempted,
      });
      status = body.volume.status;
      return status !== "detaching";
    });
    if (!rolled)
      throw new DrError({
        code: "failure-state",
        attempted,
        seen: `accepted, but the volume's status is ${status}, needed in-use`,
      });
  }

  /** What Nova does last when it attaches (3.44): the attachment is attached, its volume in-use, whatever they were. */
  async completeAttachment(attachmentId: string): Promise<void> {
    await this.api.request({
      method: "POST",
      path: `/attachments/${encodeURIComponent(attachmentId)}/action`,
      body: { "os-complete": {} },
      microversion: await this.api.microversion(),
      expected: [204],
      attempted: `Complete attachment ${attachmentId}`,
    });
  }

  /**
   * One that isn't there (404) is success. Waits for the driver where it had a connection.
   *
   * @throws DrError `remote` 409 where Nova refers to it: that is detached by Nova alone (CVE-2023-2088).
   */
  async deleteAttachment(attachmentId: string): Promise<void> {
    await this.api.request({
      method: "DELETE",
      path: `/attachments/${encodeURIComponent(attachmentId)}`,
      microversion: await this.api.microversion(),
      expected: [200, 404],
      attempted: `Delete attachment ${attachmentId}`,
      // An RPC to cinder-volume, bounded by rpc_response_timeout.
      timeoutMs: actionTimeoutMs,
    });
  }

  async close(): Promise<void> {
    await this.api.close();
  }

  private async readServices(
    query: Readonly<Record<string, string>>,
    attempted: string,
  ): Promise<readonly CinderService[]> {
    await this.api.microversion();
    const { body } = await this.api.request({
      method: "GET",
      path: "/os-services",
      query,
      microversion: servicesVersion,
      expected: [200],
      answer: servicesSchema,
      attempted,
    });
    return body;
  }

  private async getService(backendHost: string, attempted: string): Promise<CinderService> {
    const rows = await this.readServices({ host: backendHost, binary }, attempted);
    const service = rows.find((row) => row.host === backendHost && row.binary === binary);
    if (service === undefined)
      throw new DrError({
        code: "precondition",
        attempted,
        seen: `Cinder has no service row of ${binary} on ${backendHost}`,
        remedy: "Start that backend once, so that it registers itself, or correct its name",
      });
    return service;
  }

  private async putService(
    action: string,
    body: Readonly<Record<string, string>>,
    attempted: string,
    status = 200,
  ): Promise<void> {
    await this.api.microversion();
    await this.api.request({
      method: "PUT",
      path: `/os-services/${action}`,
      body,
      microversion: servicesVersion,
      expected: [status],
      attempted,
      timeoutMs: actionTimeoutMs,
    });
  }

  private async readBack(
    backendHost: string,
    attempted: string,
    done: (service: CinderService) => boolean,
    otherwise: string,
  ): Promise<void> {
    if (await this.poll(async () => done(await this.getService(backendHost, attempted)))) return;
    throw new DrError({
      code: "remote",
      attempted,
      seen: `the API accepted it, and the service is ${otherwise}`,
      remedy: "See cinder-api's and cinder-volume's logs, then repeat",
      retryable: true,
    });
  }

  private async poll(done: () => Promise<boolean>): Promise<boolean> {
    for (let read = 1; ; read++) {
      if (await done()) return true;
      if (read >= readBacks.times) return false;
      await this.sleep(readBacks.pauseMs, new AbortController().signal);
    }
  }

  /**
   * Lists of snapshots and attachments don't tell whether `all_tenants` was dropped. The filter by host does: exactly
   * administrators may use it (api/common.py reject_invalid_filters, 400 for others).
   */
  private async assertSeesAllProjects(): Promise<void> {
    this.seesAll ??= this.askWhetherAdministrator().catch((error: unknown) => {
      this.seesAll = undefined;
      throw error;
    });
    await this.seesAll;
  }

  private async askWhetherAdministrator(): Promise<void> {
    const attempted = "See whether the credential sees all projects' volumes";
    try {
      await this.api.request({
        method: "GET",
        path: "/volumes",
        query: { all_tenants: 1, host: "-", limit: 1 },
        microversion: await this.api.microversion(),
        expected: [200],
        attempted,
      });
    } catch (error) {
      if (statusOf(error) === 400) throw notAdministrator(attempted, "Cinder refused the filter by host");
      throw error;
    }
  }
}

function notAdministrator(attempted: string, seen: string): DrError {
  return new DrError({
    code: "precondition",
    attempted,
    seen: `${seen}: the credential isn't an administrator's, and its lists would be incomplete`,
    state: "Nothing was changed.",
    remedy: "Give the credential the role admin on its project",
  });
}

function hasNext(links: readonly { readonly rel: string }[]): boolean {
  return links.some((link) => link.rel === "next");
}

/** 5xx of Cinder are RPC time-outs and database deadlocks for the most part; what is refused stays refused. */
function decodeError(status: number): { readonly retryable?: boolean } {
  return status >= 500 && status !== 501 ? { retryable: true } : {};
}
