/**
 * Nova's API v2.1 as 34.0 answers it: what the product, its tests and the OpenStack plugin ask of it. Shapes and words
 * are those of test/fixtures/openstack-traffic. Scheduling and what the conductor does are here, too.
 */
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { cinderTime, novaTime, sqlTime } from "../clock";
import type { SimulatorConfig } from "../config";
import type { Database, Row, Value } from "../database";
import { asObject, NotSimulated, onlyKeys, Refusal } from "../http";
import type { Answer, ApiRequest, Json, Route, ServiceOptions } from "../http";
import { MessagingTimeout, RemoteError } from "../rpc";
import type { Rpc } from "../rpc";
import { textOf } from "../text";
import { isAdmin } from "../tokens";
import { CinderError } from "./cinder-calls";
import type { CinderCalls } from "./cinder-calls";
import {
  Actions,
  buildingInstance,
  deleteMapping,
  instanceRow,
  isNovaServiceUp,
  mappings,
  networkCache,
  rootMapping,
  setInstance,
} from "./rows";

const MAX_LIMIT = 1000;
const NEWEST = 104;
/** From here on an attach is answered before its device is reserved: nobody here asks for that. */
const ASYNCHRONOUS_ATTACH = 101;
const json = { "content-type": "application/json; charset=UTF-8" };
const faults: Record<number, string> = {
  400: "badRequest",
  403: "forbidden",
  404: "itemNotFound",
  406: "computeFault",
  409: "conflictingRequest",
  500: "computeFault",
};
const SERVER_ERROR =
  "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n<class 'oslo_messaging.exceptions.MessagingTimeout'>";
const notFoundPage =
  "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  The resource could not be found.<br /><br />\n\n\n\n </body>\n</html>";

export const novaService = (
  config: SimulatorConfig,
): Pick<ServiceOptions, "name" | "versions" | "refusal" | "unauthorised"> => ({
  name: "Nova",
  versions: {
    type: "compute",
    major: 2,
    newest: NEWEST,
    legacyHeader: "x-openstack-nova-api-version",
    tooNew: (asked) => ({
      status: 406,
      body: {
        computeFault: {
          code: 406,
          message: `Version ${asked} is not supported by the API. Minimum is 2.1 and maximum is 2.${NEWEST}.`,
        },
      },
      headers: json,
    }),
    malformed: (asked) => ({
      status: 400,
      body: {
        badRequest: {
          code: 400,
          message: `API Version String ${asked} is of invalid format. Must be of format MajorNum.MinorNum.`,
        },
      },
      headers: json,
    }),
  },
  refusal: ({ status, message, fault }) => ({
    body: { [fault ?? faults[status] ?? "computeFault"]: { code: status, message } },
    headers: json,
  }),
  unauthorised: () => ({
    status: 401,
    body: {
      error: { code: 401, title: "Unauthorized", message: "The request you have made requires authentication." },
    },
    headers: { "www-authenticate": `Keystone uri="http://${config.address}:${config.ports.keystone}/v3"` },
  }),
});

export interface NovaApiOptions {
  config: SimulatorConfig;
  database: Database;
  rpc: Rpc;
  cinder: CinderCalls;
}

const resizing = {
  resize_prep: "RESIZE",
  resize_migrating: "RESIZE",
  resize_migrated: "RESIZE",
  resize_finish: "RESIZE",
};
const rebuilding = {
  rebuilding: "REBUILD",
  rebuild_block_device_mapping: "REBUILD",
  rebuild_spawning: "REBUILD",
};

/** api/openstack/common.py: `_STATE_MAP`; the first word is what every other task_state gives. */
const statuses: Readonly<Record<string, readonly [string, Readonly<Record<string, string>>]>> = {
  active: [
    "ACTIVE",
    {
      rebooting: "REBOOT",
      reboot_pending: "REBOOT",
      reboot_started: "REBOOT",
      rebooting_hard: "HARD_REBOOT",
      reboot_pending_hard: "HARD_REBOOT",
      reboot_started_hard: "HARD_REBOOT",
      updating_password: "PASSWORD",
      migrating: "MIGRATING",
      ...rebuilding,
      ...resizing,
    },
  ],
  building: ["BUILD", {}],
  stopped: ["SHUTOFF", { ...rebuilding, ...resizing }],
  resized: ["VERIFY_RESIZE", { resize_reverting: "REVERT_RESIZE" }],
  paused: ["PAUSED", { migrating: "MIGRATING" }],
  suspended: ["SUSPENDED", {}],
  rescued: ["RESCUE", {}],
  error: ["ERROR", rebuilding],
  deleted: ["DELETED", {}],
  "soft-delete": ["SOFT_DELETED", {}],
  shelved: ["SHELVED", {}],
  shelved_offloaded: ["SHELVED_OFFLOADED", {}],
};

function statusOf(row: Row): string {
  const [otherwise, byTask] = statuses[String(row["vm_state"])] ?? ["UNKNOWN", {}];
  return byTask[String(row["task_state"])] ?? otherwise;
}

/** In which vm_states a volume may be attached or detached. */
const attachable = ["active", "paused", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"];

export class NovaApi {
  private readonly url: string;
  private readonly actions: Actions;

  constructor(private readonly o: NovaApiOptions) {
    this.url = `http://${o.config.address}:${o.config.ports.nova}`;
    this.actions = new Actions(o.database);
  }

  routes(): Route[] {
    const r = (method: string, path: string, run: Route["run"], query?: readonly string[]): Route => ({
      method,
      path,
      run,
      ...(query === undefined ? {} : { query }),
    });
    const listQuery = [
      ...["all_tenants", "limit", "marker", "sort_key", "sort_dir", "name", "nonsense", "host", "status", "deleted"],
    ];
    return [
      { method: "GET", path: "/", open: true, run: () => this.versions() },
      {
        method: "GET",
        path: "/v2.1",
        open: true,
        run: () => ({ status: 200, body: { version: this.version(true) }, headers: this.lowest() }),
      },
      r("GET", "/v2.1/servers", (q) => this.listServers(q, false), listQuery),
      r("GET", "/v2.1/servers/detail", (q) => this.listServers(q, true), listQuery),
      r("POST", "/v2.1/servers", (q) => this.createServer(q)),
      r("GET", "/v2.1/servers/:id", async (q) => ({
        status: 200,
        body: { server: (await this.serverViews([await this.instance(q)], q, true))[0] },
      })),
      r("PUT", "/v2.1/servers/:id", (q) => this.changeServer(q)),
      r("DELETE", "/v2.1/servers/:id", (q) => this.deleteServer(q)),
      r("POST", "/v2.1/servers/:id/action", (q) => this.act(q)),
      r("GET", "/v2.1/servers/:id/tags", async (q) =>
        this.instance(q).then(() => ({ status: 200, body: { tags: [] } })),
      ),
      // Those of the instance's ports (compute/security_groups.py: `index`), and it has none.
      r("GET", "/v2.1/servers/:id/os-security-groups", async (q) =>
        this.instance(q).then(() => ({ status: 200, body: { security_groups: [] } })),
      ),
      r("GET", "/v2.1/servers/:id/os-volume_attachments", (q) => this.listAttachments(q)),
      r("POST", "/v2.1/servers/:id/os-volume_attachments", (q) => this.attach(q)),
      r("GET", "/v2.1/servers/:id/os-volume_attachments/:volume", (q) => this.showAttachment(q)),
      r("DELETE", "/v2.1/servers/:id/os-volume_attachments/:volume", (q) => this.detach(q)),
      r("GET", "/v2.1/servers/:id/os-instance-actions", (q) => this.listActions(q)),
      r("GET", "/v2.1/servers/:id/os-instance-actions/:request", (q) => this.showAction(q)),
      r("GET", "/v2.1/os-services", (q) => this.listServices(q), ["binary", "host"]),
      r("GET", "/v2.1/flavors", (q) => this.listFlavors(q, false), ["is_public"]),
      r("GET", "/v2.1/flavors/detail", (q) => this.listFlavors(q, true), ["is_public"]),
      r("GET", "/v2.1/flavors/:id", (q) => this.showFlavor(q)),
      r("GET", "/v2.1/os-keypairs", (q) => this.listKeypairs(q)),
      r("POST", "/v2.1/os-keypairs", (q) => this.createKeypair(q)),
      r("GET", "/v2.1/os-keypairs/:name", (q) => this.showKeypair(q)),
      r("DELETE", "/v2.1/os-keypairs/:name", (q) => this.deleteKeypair(q)),
      r("GET", "/v2.1/os-quota-sets/:project", (q) => this.showQuotas(q)),
      r("PUT", "/v2.1/os-quota-sets/:project", (q) => this.setQuotas(q)),
      r("DELETE", "/v2.1/os-quota-sets/:project", (q) => this.deleteQuotas(q)),
      r("GET", "/v2.1/limits", (q) => this.limits(q)),
      r("GET", "/v2.1/os-hypervisors/detail", (q) => this.hypervisors(q)),
      // Seen to be refused so by the real one.
      {
        method: "GET",
        path: "/v2.1/nonsense",
        unversioned: true,
        run: () => ({ status: 404, body: notFoundPage, headers: { "content-type": "text/html; charset=UTF-8" } }),
      },
    ];
  }

  private get database(): Database {
    return this.o.database;
  }

  private lowest(): Record<string, string> {
    return {
      "openstack-api-version": "compute 2.1",
      "x-openstack-nova-api-version": "2.1",
      vary: "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
    };
  }

  private version(long: boolean): Json {
    const self = { rel: "self", href: `${this.url}/v2.1/` };
    const base = {
      id: "v2.1",
      status: "CURRENT",
      version: `2.${NEWEST}`,
      min_version: "2.1",
      updated: "2013-07-23T11:33:21Z",
    };
    if (!long) return { ...base, links: [self] };
    const described = { rel: "describedby", type: "text/html", href: "http://docs.openstack.org/" };
    const mediaTypes = [{ base: "application/json", type: "application/vnd.openstack.compute+json;version=2.1" }];
    return { ...base, links: [self, described], "media-types": mediaTypes };
  }

  private versions(): Answer {
    const links = [{ rel: "self", href: `${this.url}/v2/` }];
    const old = {
      id: "v2.0",
      status: "DEPRECATED",
      version: "",
      min_version: "",
      updated: "2025-07-04T12:00:00Z",
      links,
    };
    return { status: 200, body: { versions: [old, this.version(false)] } };
  }

  // --------------------------------------------------------------------------------------------------------- servers

  private async instance(q: ApiRequest): Promise<Row> {
    const id = q.at["id"] ?? "";
    const row = await instanceRow(this.database, id);
    if (row === undefined || (!isAdmin(q.token) && row["project_id"] !== q.token.projectId))
      throw new Refusal(404, `Instance ${id} could not be found.`);
    return row;
  }

  private links(kind: string, id: Value | undefined): Json[] {
    return [
      { rel: "self", href: `${this.url}/v2.1/${kind}/${id}` },
      { rel: "bookmark", href: `${this.url}/${kind}/${id}` },
    ];
  }

  private async listServers(q: ApiRequest, detail: boolean): Promise<Answer> {
    const { query } = q;
    if (query.has("nonsense") && q.minor >= 75)
      throw new Refusal(400, "'nonsense' does not match any of the regexes: '^_'");
    // What isn't a boolean counts as none (servers.py: `_get_servers`).
    if (/^(1|true|yes|on|t|y)$/i.test(query.get("deleted") ?? "")) throw new NotSimulated("deleted servers");
    const everywhere = /^(1|true|yes|on|t|y)$/i.test(query.get("all_tenants") ?? "");
    if (everywhere && !isAdmin(q.token))
      throw new Refusal(
        403,
        `Policy doesn't allow os_compute_api:servers:${detail ? "detail" : "index"}:get_all_tenants to be performed.`,
      );
    // A soft-deleted instance isn't listed (db/main/api.py: `soft_deleted`), though it's shown by its id.
    const conditions = ["deleted = 0", "(vm_state <> 'soft-delete' OR vm_state IS NULL)"];
    const values: Value[] = [];
    if (!everywhere) {
      conditions.push("project_id = ?");
      values.push(q.token.projectId);
    }
    if (query.has("name")) {
      conditions.push("display_name REGEXP ?");
      values.push(query.get("name"));
    }
    if (query.has("host") || query.has("status")) throw new NotSimulated("servers by host or status");
    const limit = Math.min(Number(query.get("limit") ?? MAX_LIMIT), MAX_LIMIT);
    const sortKey = query.get("sort_key") ?? "created_at";
    if (!["uuid", "created_at"].includes(sortKey)) throw new NotSimulated(`sort_key ${sortKey}`);
    const direction = (query.get("sort_dir") ?? "desc") === "asc" ? "ASC" : "DESC";
    const order = sortKey === "uuid" ? [`uuid ${direction}`] : [`created_at ${direction}`, `id ${direction}`];
    const marker = query.get("marker");
    if (marker !== null) {
      const at = await instanceRow(this.database, marker);
      if (at === undefined) throw new Refusal(400, `marker [${marker}] not found`);
      const after = direction === "ASC" ? ">" : "<";
      if (sortKey === "uuid") {
        conditions.push(`uuid ${after} ?`);
        values.push(marker);
      } else {
        conditions.push(`(created_at ${after} ? OR (created_at = ? AND id ${after} ?))`);
        values.push(at["created_at"] ?? null, at["created_at"] ?? null, at["id"] ?? null);
      }
    }
    const rows = await this.database.rows(
      `SELECT * FROM nova.instances WHERE ${conditions.join(" AND ")} ORDER BY ${order.join(", ")} LIMIT ${limit}`,
      values,
    );
    const servers = detail
      ? await this.serverViews(rows, q, false)
      : rows.map((row) => ({ id: row["uuid"], name: row["display_name"], links: this.links("servers", row["uuid"]) }));
    const last = rows.at(-1);
    const next = new URLSearchParams(query);
    next.delete("marker");
    next.append("marker", String(last?.["uuid"]));
    const more = last !== undefined && rows.length === limit;
    const link = [{ rel: "next", href: `${this.url}${q.path}?${next.toString()}` }];
    return { status: 200, body: { servers, ...(more ? { servers_links: link } : {}) } };
  }

  private async hostStatuses(): Promise<Map<string, string>> {
    const services = await this.database.rows(
      "SELECT * FROM nova.services WHERE deleted = 0 AND `binary` = 'nova-compute'",
    );
    return new Map(
      services.map((row) => {
        const up = isNovaServiceUp(row, this.o.config.serviceDownSeconds);
        // compute/api.py: `get_instance_host_status`, in its order.
        const status =
          row["forced_down"] === 1 ? "DOWN" : row["disabled"] === 1 ? "MAINTENANCE" : up ? "UP" : "UNKNOWN";
        return [String(row["host"]), status];
      }),
    );
  }

  private async serverViews(rows: readonly Row[], q: ApiRequest, show: boolean): Promise<Json[]> {
    if (rows.length === 0) return [];
    const uuids = rows.map((row) => String(row["uuid"]));
    const [allMappings, reasons, flavors, hosts] = await Promise.all([
      this.database.rows(
        "SELECT instance_uuid, volume_id, delete_on_termination FROM nova.block_device_mapping WHERE deleted = 0 AND instance_uuid IN (?) ORDER BY id",
        [uuids],
      ),
      this.database.rows(
        "SELECT instance_uuid, value FROM nova.instance_system_metadata WHERE deleted = 0 AND `key` = 'locked_reason' AND instance_uuid IN (?)",
        [uuids],
      ),
      this.database.rows("SELECT * FROM nova_api.flavors"),
      this.hostStatuses(),
    ]);
    const reasonOf = new Map(reasons.map((row) => [row["instance_uuid"], row["value"]]));
    const volumesOf = new Map<string, Row[]>();
    for (const mapping of allMappings) {
      const uuid = String(mapping["instance_uuid"]);
      volumesOf.set(uuid, [...(volumesOf.get(uuid) ?? []), mapping]);
    }
    const admin = isAdmin(q.token);
    const from = (minor: number, part: Json): Json => (q.minor >= minor ? part : {});
    return rows.map((row) => {
      const uuid = String(row["uuid"]);
      const flavor = flavors.find(({ id }) => id === row["instance_type_id"]);
      const host = row["host"];
      const moment = (name: string): string | null => cinderTime((row[name] ?? null) as string | null);
      return {
        accessIPv4: "",
        accessIPv6: "",
        addresses: {},
        created: novaTime(row["created_at"] as string),
        flavor:
          q.minor >= 47
            ? {
                vcpus: row["vcpus"],
                ram: row["memory_mb"],
                disk: row["root_gb"],
                ephemeral: 0,
                swap: 0,
                original_name: flavor?.["name"],
                extra_specs: {},
              }
            : { id: flavor?.["flavorid"], links: this.links("flavors", flavor?.["flavorid"]).slice(1) },
        hostId:
          host === null
            ? ""
            : createHash("sha224")
                .update(`${String(row["project_id"])}${String(host)}`)
                .digest("hex"),
        id: uuid,
        image: "",
        links: this.links("servers", uuid),
        metadata: {},
        name: row["display_name"],
        status: statusOf(row),
        tenant_id: row["project_id"],
        user_id: row["user_id"],
        updated: novaTime((row["updated_at"] ?? row["created_at"]) as string),
        "OS-DCF:diskConfig": "MANUAL",
        ...(["active", "building"].includes(String(row["vm_state"])) ? { progress: row["progress"] ?? 0 } : {}),
        "OS-EXT-AZ:availability_zone": row["availability_zone"] ?? "",
        config_drive: row["config_drive"],
        key_name: row["key_name"],
        "OS-SRV-USG:launched_at": moment("launched_at"),
        "OS-SRV-USG:terminated_at": moment("terminated_at"),
        ...(admin
          ? {
              "OS-EXT-SRV-ATTR:host": host,
              "OS-EXT-SRV-ATTR:instance_name": `instance-${Number(row["id"]).toString(16).padStart(8, "0")}`,
              "OS-EXT-SRV-ATTR:hypervisor_hostname": row["node"],
              ...from(3, {
                "OS-EXT-SRV-ATTR:hostname": row["hostname"],
                "OS-EXT-SRV-ATTR:kernel_id": "",
                "OS-EXT-SRV-ATTR:launch_index": 0,
                "OS-EXT-SRV-ATTR:ramdisk_id": "",
                "OS-EXT-SRV-ATTR:reservation_id": row["reservation_id"],
                "OS-EXT-SRV-ATTR:root_device_name": row["root_device_name"],
                "OS-EXT-SRV-ATTR:user_data": row["user_data"],
              }),
              ...from(16, { host_status: host === null ? "" : (hosts.get(String(host)) ?? "UNKNOWN") }),
            }
          : from(90, { "OS-EXT-SRV-ATTR:hostname": row["hostname"] })),
        "OS-EXT-STS:task_state": row["task_state"],
        "OS-EXT-STS:vm_state": row["vm_state"],
        "OS-EXT-STS:power_state": row["power_state"] ?? 0,
        "os-extended-volumes:volumes_attached": (volumesOf.get(uuid) ?? []).map((mapping) => ({
          id: mapping["volume_id"],
          ...from(3, { delete_on_termination: mapping["delete_on_termination"] === 1 }),
        })),
        ...from(9, { locked: row["locked"] === 1 }),
        ...from(19, { description: row["display_description"] }),
        ...from(26, { tags: [] }),
        ...from(63, { trusted_image_certificates: null }),
        ...(show ? from(71, { server_groups: [] }) : {}),
        ...from(73, { locked_reason: reasonOf.get(uuid) ?? null }),
        ...from(96, { pinned_availability_zone: null }),
        ...from(100, { scheduler_hints: {} }),
      };
    });
  }

  private async createServer(q: ApiRequest): Promise<Answer> {
    const wanted = asObject(q.body["server"]);
    const known = [
      "block_device_mapping_v2",
      "config_drive",
      "flavorRef",
      "imageRef",
      "key_name",
      "name",
      "networks",
      "user_data",
      "security_groups",
      "metadata",
    ];
    onlyKeys(wanted, known, "create a server");
    const devices = (
      Array.isArray(wanted["block_device_mapping_v2"]) ? wanted["block_device_mapping_v2"] : []
    ) as Json[];
    const [root] = devices;
    if (root === undefined || devices.length > 1 || root["source_type"] !== "volume" || wanted["imageRef"])
      throw new NotSimulated("servers that don't boot from one volume");
    if (wanted["networks"] !== "none") throw new NotSimulated("servers with networks");
    const flavor = await this.database.row("SELECT * FROM nova_api.flavors WHERE flavorid = ?", [
      String(wanted["flavorRef"]),
    ]);
    if (flavor === undefined) throw new Refusal(400, `Flavor ${String(wanted["flavorRef"])} could not be found.`);
    const key =
      wanted["key_name"] === undefined
        ? undefined
        : await this.keypair(textOf(wanted["key_name"]), q, 400, "Invalid key_name provided.");
    const limit = (await this.quotas(q.token.projectId))["instances"] ?? -1;
    const [count] = await this.database.rows(
      "SELECT COUNT(*) AS n FROM nova.instances WHERE deleted = 0 AND project_id = ?",
      [q.token.projectId],
    );
    const used = Number(count?.["n"]);
    if (limit >= 0 && used + 1 > limit)
      throw new Refusal(
        403,
        `Quota exceeded for instances: Requested 1, but already used ${used} of ${limit} instances`,
      );
    const volumeId = String(root["uuid"]);
    const volume = await this.cinderVolume(volumeId, 400);
    if (volume.status !== "available")
      throw new Refusal(400, `Block Device Mapping is Invalid: failed to get volume ${volumeId}.`);

    const uuid = randomUUID();
    const name = String(wanted["name"]);
    const { userId, projectId } = q.token;
    await this.database.insert("nova.instances", buildingInstance({ uuid, name, userId, projectId, key }, flavor));
    await this.database.insert("nova.instance_info_caches", networkCache(uuid));
    const mapping = rootMapping({
      uuid: randomUUID(),
      instanceUuid: uuid,
      volumeId,
      size: volume.size,
      deleteOnTermination: root["delete_on_termination"] === true,
      attachmentId: await this.cinder(() => this.o.cinder.createAttachment(volumeId, uuid)),
    });
    await this.database.insert("nova.block_device_mapping", mapping);
    const actionId = await this.actions.begin("create", uuid, q.requestId, q.token);
    const host = await this.chooseHost();
    if (host === undefined) await setInstance(this.database, uuid, { vm_state: "error", task_state: null });
    else await this.toHost(host, "build_and_run_instance", { instance_uuid: uuid, action_id: actionId });
    const links = this.links("servers", uuid);
    const server = {
      id: uuid,
      links,
      "OS-DCF:diskConfig": "MANUAL",
      security_groups: [{ name: "default" }],
      adminPass: randomBytes(9).toString("base64url"),
    };
    return { status: 202, body: { server }, headers: { location: `${this.url}/v2.1/servers/${uuid}` } };
  }

  /** The host with the fewest instances among those that are up and enabled. */
  private async chooseHost(): Promise<string | undefined> {
    const services = await this.database.rows(
      "SELECT s.*, (SELECT COUNT(*) FROM nova.instances i WHERE i.deleted = 0 AND i.host = s.host) AS instances FROM nova.services s WHERE s.deleted = 0 AND s.`binary` = 'nova-compute' AND s.disabled = 0 ORDER BY instances, s.host",
    );
    const up = services.filter((row) => isNovaServiceUp(row, this.o.config.serviceDownSeconds));
    const host = up[this.turn++ % Math.max(1, up.length)]?.["host"];
    return host === undefined ? undefined : String(host);
  }
  private turn = 0;

  private async changeServer(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    const wanted = asObject(q.body["server"]);
    onlyKeys(wanted, ["name"], "change a server");
    await setInstance(this.database, String(row["uuid"]), { display_name: String(wanted["name"]) });
    return { status: 200, body: { server: (await this.serverViews([await this.instance(q)], q, true))[0] } };
  }

  private async deleteServer(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    this.assertUnlocked(row, q);
    const uuid = String(row["uuid"]);
    await setInstance(this.database, uuid, { task_state: "deleting", progress: 0 });
    const actionId = await this.actions.begin("delete", uuid, q.requestId, q.token);
    if (row["host"] !== null)
      await this.toHost(String(row["host"]), "terminate_instance", { instance_uuid: uuid, action_id: actionId });
    else
      await setInstance(this.database, uuid, {
        vm_state: "deleted",
        task_state: null,
        deleted: row["id"] ?? 1,
        deleted_at: sqlTime(),
      });
    return { status: 204 };
  }

  private assertUnlocked(row: Row, q: ApiRequest): void {
    if (row["locked"] === 1 && !isAdmin(q.token)) throw new Refusal(409, `Instance ${String(row["uuid"])} is locked`);
  }

  /** check_instance_state: the decorator's words. */
  private assertState(row: Row, action: string, vmStates: readonly string[]): void {
    const uuid = String(row["uuid"]);
    if (!vmStates.includes(String(row["vm_state"])))
      throw new Refusal(409, `Cannot '${action}' instance ${uuid} while it is in vm_state ${String(row["vm_state"])}`);
    if (row["task_state"] !== null)
      throw new Refusal(
        409,
        `Cannot '${action}' instance ${uuid} while it is in task_state ${String(row["task_state"])}`,
      );
  }

  private async act(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    const uuid = String(row["uuid"]);
    const [action] = Object.keys(q.body);
    const details = asObject(q.body[action ?? ""]);
    const begin = (name: string): Promise<number> => this.actions.begin(name, uuid, q.requestId, q.token);
    switch (action) {
      case "lock": {
        const strange = Object.keys(details).filter((key) => key !== "locked_reason");
        if (strange.length > 0)
          throw new Refusal(
            400,
            `Invalid input for field/attribute lock. Value: ${pythonText(details)}. Additional properties are not allowed ('${strange[0] ?? ""}' was unexpected)`,
          );
        const id = await begin("lock");
        await this.actions.event(id, "api_lock", "control", async () => {
          await setInstance(this.database, uuid, { locked: 1, locked_by: isAdmin(q.token) ? "admin" : "owner" });
          await this.setLockedReason(
            uuid,
            typeof details["locked_reason"] === "string" ? details["locked_reason"] : undefined,
          );
        });
        return { status: 202 };
      }
      case "unlock": {
        const id = await begin("unlock");
        await this.actions.event(id, "api_unlock", "control", async () => {
          await setInstance(this.database, uuid, { locked: 0, locked_by: null });
          await this.setLockedReason(uuid, undefined);
        });
        return { status: 202 };
      }
      case "os-stop":
        this.assertUnlocked(row, q);
        this.assertOnHost(row);
        this.assertState(row, "stop", ["active", "error"]);
        await setInstance(this.database, uuid, { task_state: "powering-off", progress: 0 });
        await this.toHost(String(row["host"]), "stop_instance", {
          instance_uuid: uuid,
          action_id: await begin("stop"),
        });
        return { status: 202 };
      case "os-start":
        this.assertUnlocked(row, q);
        this.assertOnHost(row);
        this.assertState(row, "start", ["stopped"]);
        await setInstance(this.database, uuid, { task_state: "powering-on" });
        await this.toHost(String(row["host"]), "start_instance", {
          instance_uuid: uuid,
          action_id: await begin("start"),
        });
        return { status: 202 };
      case "reboot": {
        this.assertUnlocked(row, q);
        const type = String(details["type"]);
        this.assertState(
          row,
          "reboot",
          type === "HARD" ? ["active", "stopped", "paused", "suspended", "error"] : ["active"],
        );
        await setInstance(this.database, uuid, { task_state: type === "HARD" ? "rebooting_hard" : "rebooting" });
        await this.toHost(String(row["host"]), "reboot_instance", {
          instance_uuid: uuid,
          reboot_type: type,
          action_id: await begin("reboot"),
        });
        return { status: 202 };
      }
      case "nonsense":
        throw new Refusal(400, "There is no such action: nonsense");
      default:
        throw new NotSimulated(`POST server action ${action ?? "(none)"}`);
    }
  }

  private async setLockedReason(uuid: string, reason: string | undefined): Promise<void> {
    await this.database.change(
      "DELETE FROM nova.instance_system_metadata WHERE instance_uuid = ? AND `key` = 'locked_reason'",
      [uuid],
    );
    if (reason !== undefined)
      await this.database.insert("nova.instance_system_metadata", {
        instance_uuid: uuid,
        key: "locked_reason",
        value: reason,
      });
  }

  /** For stop and start that's all (compute/api.py: `check_instance_host`); a host that is down carries them out later. */
  private assertOnHost(row: Row): void {
    if (row["host"] === null) throw new Refusal(409, `Instance ${String(row["uuid"])} is not ready`);
  }

  private async assertHostUp(row: Row): Promise<void> {
    this.assertOnHost(row);
    const service = await this.database.row(
      "SELECT * FROM nova.services WHERE deleted = 0 AND `binary` = 'nova-compute' AND host = ?",
      [row["host"] ?? null],
    );
    if (service === undefined || !isNovaServiceUp(service, this.o.config.serviceDownSeconds))
      throw new Refusal(409, "Service is unavailable at this time.");
  }

  // ------------------------------------------------------------------------------------------------------ attachments

  private attachmentView(mapping: Row, q: ApiRequest): Json {
    return {
      ...(q.minor >= 89 ? {} : { id: mapping["volume_id"] }),
      volumeId: mapping["volume_id"],
      serverId: mapping["instance_uuid"],
      ...(mapping["device_name"] === null ? {} : { device: mapping["device_name"] }),
      ...(q.minor >= 70 ? { tag: mapping["tag"] } : {}),
      ...(q.minor >= 79 ? { delete_on_termination: mapping["delete_on_termination"] === 1 } : {}),
      ...(q.minor >= 89 ? { attachment_id: mapping["attachment_id"], bdm_uuid: mapping["uuid"] } : {}),
    };
  }

  private async listAttachments(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    const all = await mappings(this.database, String(row["uuid"]));
    // 2.89 hides rows of attaches that were never carried out.
    const shown = q.minor >= 89 ? all.filter((mapping) => mapping["attachment_id"] !== null) : all;
    return { status: 200, body: { volumeAttachments: shown.map((mapping) => this.attachmentView(mapping, q)) } };
  }

  private async showAttachment(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    const volume = q.at["volume"] ?? "";
    const mapping = (await mappings(this.database, String(row["uuid"]))).find((each) => each["volume_id"] === volume);
    if (mapping === undefined)
      throw new Refusal(404, `Instance ${String(row["uuid"])} is not attached to volume ${volume}`);
    return { status: 200, body: { volumeAttachment: this.attachmentView(mapping, q) } };
  }

  /** A refusal of Cinder's becomes Nova's. */
  private async cinder<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof CinderError)) throw error;
      if (error.status === 404) throw new Refusal(404, error.message);
      if (error.status === 400) throw new Refusal(400, `Invalid volume: ${error.message}`);
      if (error.status === 409) throw new Refusal(409, error.message);
      throw new Refusal(500, SERVER_ERROR);
    }
  }

  private async cinderVolume(
    id: string,
    missing: number,
  ): Promise<{ status: string; size: number; multiattach: boolean }> {
    try {
      return await this.o.cinder.volume(id);
    } catch (error) {
      if (error instanceof CinderError && error.status === 404)
        throw new Refusal(missing, `Volume ${id} could not be found.`);
      throw new Refusal(500, SERVER_ERROR);
    }
  }

  private async attach(q: ApiRequest): Promise<Answer> {
    if (q.minor >= ASYNCHRONOUS_ATTACH) throw new NotSimulated("attaching at microversion 2.101 or newer");
    const row = await this.instance(q);
    const wanted = asObject(q.body["volumeAttachment"]);
    const known = [
      "volumeId",
      "device",
      ...(q.minor >= 49 ? ["tag"] : []),
      ...(q.minor >= 79 ? ["delete_on_termination"] : []),
    ];
    const strange = Object.keys(wanted).find((key) => !known.includes(key));
    if (strange !== undefined)
      throw new Refusal(
        400,
        `Invalid input for field/attribute volumeAttachment. Value: ${pythonText(wanted)}. Additional properties are not allowed ('${strange}' was unexpected)`,
      );
    if (wanted["volumeId"] === undefined)
      throw new Refusal(
        400,
        `Invalid input for field/attribute volumeAttachment. Value: ${pythonText(wanted)}. 'volumeId' is a required property`,
      );
    const uuid = String(row["uuid"]);
    const volumeId = textOf(wanted["volumeId"]);
    this.assertUnlocked(row, q);
    this.assertState(row, "attach_volume", attachable);
    if (row["vm_state"] === "shelved_offloaded") throw new NotSimulated("attaching to a shelved instance");
    const volume = await this.cinderVolume(volumeId, 404);
    if (!volume.multiattach) {
      const others = await this.database.rows(
        "SELECT instance_uuid FROM nova.block_device_mapping WHERE deleted = 0 AND volume_id = ?",
        [volumeId],
      );
      if (others.length > 0)
        throw new Refusal(
          400,
          `Invalid volume: volume ${volumeId} is already attached to instances: ${others.map((other) => String(other["instance_uuid"])).join(", ")}`,
        );
    }
    const mappingUuid = randomUUID();
    const { id, device } = (await this.call(String(row["host"]), "reserve_block_device_name", {
      instance_uuid: uuid,
      volume_id: volumeId,
      volume_size: volume.size,
      delete_on_termination: wanted["delete_on_termination"] === true,
      tag: wanted["tag"] ?? null,
      mapping_uuid: mappingUuid,
    })) as { id: number; device: string };
    try {
      const attachment = await this.cinder(() => this.o.cinder.createAttachment(volumeId, uuid));
      await this.database.update("nova.block_device_mapping", { id }, { attachment_id: attachment });
    } catch (error) {
      await deleteMapping(this.database, id);
      throw error;
    }
    const actionId = await this.actions.begin("attach_volume", uuid, q.requestId, q.token);
    await this.toHost(String(row["host"]), "attach_volume", {
      instance_uuid: uuid,
      mapping_id: id,
      volume_id: volumeId,
      action_id: actionId,
    });
    const body = {
      id: volumeId,
      serverId: uuid,
      volumeId,
      device,
      ...(q.minor >= 70 ? { tag: wanted["tag"] ?? null } : {}),
      ...(q.minor >= 79 ? { delete_on_termination: wanted["delete_on_termination"] === true } : {}),
    };
    return { status: 200, body: { volumeAttachment: body } };
  }

  private async detach(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    const uuid = String(row["uuid"]);
    const volumeId = q.at["volume"] ?? "";
    await this.cinderVolume(volumeId, 404);
    const mapping = (await mappings(this.database, uuid)).find((each) => each["volume_id"] === volumeId);
    if (mapping === undefined) throw new Refusal(404, `Instance ${uuid} is not attached to volume ${volumeId}`);
    if (mapping["boot_index"] === 0) throw new Refusal(400, "Cannot detach a root device volume");
    this.assertUnlocked(row, q);
    this.assertState(row, "detach_volume", attachable);
    if (row["vm_state"] === "shelved_offloaded") throw new NotSimulated("detaching from a shelved instance");
    await this.assertHostUp(row);
    try {
      await this.o.cinder.beginDetaching(volumeId);
    } catch (error) {
      if (error instanceof CinderError && error.status === 400)
        throw new Refusal(400, `Invalid volume: ${error.message}`);
      throw new Refusal(500, SERVER_ERROR);
    }
    const actionId = await this.actions.begin("detach_volume", uuid, q.requestId, q.token);
    await this.toHost(String(row["host"]), "detach_volume", {
      instance_uuid: uuid,
      volume_id: volumeId,
      action_id: actionId,
    });
    return { status: 202 };
  }

  // ---------------------------------------------------------------------------------------------------------- actions

  private actionView(row: Row): Json {
    return {
      action: row["action"],
      instance_uuid: row["instance_uuid"],
      request_id: row["request_id"],
      user_id: row["user_id"],
      project_id: row["project_id"],
      start_time: cinderTime(row["start_time"] as string),
      message: row["message"],
      updated_at: cinderTime((row["updated_at"] ?? row["created_at"]) as string),
    };
  }

  private async listActions(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    const rows = await this.database.rows(
      "SELECT * FROM nova.instance_actions WHERE deleted = 0 AND instance_uuid = ? ORDER BY created_at DESC, id DESC",
      [row["uuid"] ?? null],
    );
    return { status: 200, body: { instanceActions: rows.map((each) => this.actionView(each)) } };
  }

  private async showAction(q: ApiRequest): Promise<Answer> {
    const row = await this.instance(q);
    const request = q.at["request"] ?? "";
    const action = await this.database.row(
      "SELECT * FROM nova.instance_actions WHERE deleted = 0 AND instance_uuid = ? AND request_id = ?",
      [row["uuid"] ?? null, request],
    );
    if (action === undefined) throw new Refusal(404, `Action ${request} not found`);
    const events = await this.database.rows(
      "SELECT * FROM nova.instance_actions_events WHERE deleted = 0 AND action_id = ? ORDER BY id DESC",
      [action["id"] ?? null],
    );
    const admin = isAdmin(q.token);
    const shown = events.map((event) => ({
      event: event["event"],
      start_time: cinderTime(event["start_time"] as string),
      finish_time: cinderTime((event["finish_time"] ?? null) as string | null),
      result: event["result"],
      ...(admin ? { traceback: event["traceback"], host: event["host"] } : {}),
      hostId: createHash("sha224")
        .update(`${String(row["project_id"])}${String(event["host"])}`)
        .digest("hex"),
      ...(q.minor >= 84 ? { details: event["details"] } : {}),
    }));
    return { status: 200, body: { instanceAction: { ...this.actionView(action), events: shown } } };
  }

  // ----------------------------------------------------------------------------------------------------------- others

  private async listServices(q: ApiRequest): Promise<Answer> {
    if (!isAdmin(q.token))
      throw new Refusal(403, "Policy doesn't allow os_compute_api:os-services:list to be performed.");
    const [binary, host] = [q.query.get("binary"), q.query.get("host")];
    const rows = (
      await this.database.rows(
        "SELECT * FROM nova.services WHERE deleted = 0 AND `binary` <> 'nova-osapi_compute' ORDER BY id",
      )
    ).filter((row) => (binary === null || row["binary"] === binary) && (host === null || row["host"] === host));
    const services = rows.map((row) => ({
      binary: row["binary"],
      host: row["host"],
      id: q.minor >= 53 ? row["uuid"] : row["id"],
      zone: row["binary"] === "nova-compute" ? "nova" : "internal",
      status: row["disabled"] === 1 ? "disabled" : "enabled",
      state: isNovaServiceUp(row, this.o.config.serviceDownSeconds) ? "up" : "down",
      updated_at: cinderTime((row["updated_at"] ?? null) as string | null),
      disabled_reason: row["disabled_reason"],
      ...(q.minor >= 11 ? { forced_down: row["forced_down"] === 1 } : {}),
    }));
    return { status: 200, body: { services } };
  }

  private flavorView(row: Row, q: ApiRequest, detail: boolean): Json {
    const id = row["flavorid"];
    const links = this.links("flavors", id);
    const described = q.minor >= 55 ? { description: row["description"] } : {};
    if (!detail) return { id, name: row["name"], links, ...described };
    return {
      id,
      name: row["name"],
      ram: row["memory_mb"],
      disk: row["root_gb"],
      swap: q.minor >= 75 ? 0 : "",
      "OS-FLV-EXT-DATA:ephemeral": 0,
      "OS-FLV-DISABLED:disabled": false,
      vcpus: row["vcpus"],
      "os-flavor-access:is_public": true,
      rxtx_factor: 1,
      links,
      ...described,
      ...(q.minor >= 61 ? { extra_specs: {} } : {}),
    };
  }

  private async listFlavors(q: ApiRequest, detail: boolean): Promise<Answer> {
    const rows = await this.database.rows("SELECT * FROM nova_api.flavors ORDER BY id");
    return { status: 200, body: { flavors: rows.map((row) => this.flavorView(row, q, detail)) } };
  }

  private async showFlavor(q: ApiRequest): Promise<Answer> {
    const id = q.at["id"] ?? "";
    const row = await this.database.row("SELECT * FROM nova_api.flavors WHERE flavorid = ?", [id]);
    if (row === undefined) throw new Refusal(404, `Flavor ${id} could not be found.`);
    return { status: 200, body: { flavor: this.flavorView(row, q, true) } };
  }

  private async keypair(name: string, q: ApiRequest, status = 404, message?: string): Promise<Row> {
    const row = await this.database.row("SELECT * FROM nova_api.key_pairs WHERE user_id = ? AND name = ?", [
      q.token.userId,
      name,
    ]);
    if (row === undefined) throw new Refusal(status, message ?? `Keypair ${name} not found for user ${q.token.userId}`);
    return row;
  }

  private keypairView(row: Row): Json {
    return { name: row["name"], public_key: row["public_key"], fingerprint: row["fingerprint"] };
  }

  private async listKeypairs(q: ApiRequest): Promise<Answer> {
    const rows = await this.database.rows("SELECT * FROM nova_api.key_pairs WHERE user_id = ? ORDER BY name", [
      q.token.userId,
    ]);
    const shown = rows.map((row) => ({
      keypair: { ...this.keypairView(row), ...(q.minor >= 2 ? { type: row["type"] } : {}) },
    }));
    return { status: 200, body: { keypairs: shown } };
  }

  private async createKeypair(q: ApiRequest): Promise<Answer> {
    const wanted = asObject(q.body["keypair"]);
    onlyKeys(wanted, ["name", "public_key"], "create a keypair");
    const [name, key] = [String(wanted["name"]), String(wanted["public_key"])];
    const blob = Buffer.from(key.split(/\s+/)[1] ?? "", "base64");
    const fingerprint = createHash("md5")
      .update(blob)
      .digest("hex")
      .replace(/..(?!$)/g, "$&:");
    const [taken] = await this.database.rows("SELECT id FROM nova_api.key_pairs WHERE user_id = ? AND name = ?", [
      q.token.userId,
      name,
    ]);
    if (taken !== undefined) throw new Refusal(409, `Key pair '${name}' already exists.`);
    await this.database.change(
      "INSERT INTO nova_api.key_pairs (created_at, name, user_id, fingerprint, public_key, type) VALUES (?, ?, ?, ?, ?, 'ssh')",
      [sqlTime(), name, q.token.userId, fingerprint, key],
    );
    return { status: 200, body: { keypair: { name, public_key: key, fingerprint, user_id: q.token.userId } } };
  }

  private async showKeypair(q: ApiRequest): Promise<Answer> {
    const row = await this.keypair(q.at["name"] ?? "", q);
    const more = {
      user_id: row["user_id"],
      created_at: cinderTime(row["created_at"] as string),
      deleted: false,
      deleted_at: null,
      id: row["id"],
      updated_at: null,
    };
    return { status: 200, body: { keypair: { ...this.keypairView(row), ...more } } };
  }

  private async deleteKeypair(q: ApiRequest): Promise<Answer> {
    const row = await this.keypair(q.at["name"] ?? "", q);
    await this.database.change("DELETE FROM nova_api.key_pairs WHERE id = ?", [row["id"] ?? null]);
    return { status: q.minor >= 2 ? 204 : 202 };
  }

  private async quotas(project: string): Promise<Record<string, number>> {
    const rows = await this.database.rows("SELECT resource, hard_limit FROM nova_api.quotas WHERE project_id = ?", [
      project,
    ]);
    return {
      ...defaultQuotas,
      ...Object.fromEntries(rows.map((row) => [String(row["resource"]), Number(row["hard_limit"])])),
    };
  }

  private async showQuotas(q: ApiRequest): Promise<Answer> {
    const project = q.at["project"] ?? "";
    if (!isAdmin(q.token) && project !== q.token.projectId)
      throw new Refusal(403, "Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.");
    return { status: 200, body: { quota_set: { id: project, ...(await this.quotas(project)) } } };
  }

  private async setQuotas(q: ApiRequest): Promise<Answer> {
    if (!isAdmin(q.token))
      throw new Refusal(403, "Policy doesn't allow os_compute_api:os-quota-sets:update to be performed.");
    const project = q.at["project"] ?? "";
    const wanted = asObject(q.body["quota_set"]);
    onlyKeys(wanted, Object.keys(defaultQuotas), "set quotas");
    for (const [resource, value] of Object.entries(wanted)) {
      await this.database.change("DELETE FROM nova_api.quotas WHERE project_id = ? AND resource = ?", [
        project,
        resource,
      ]);
      await this.database.change(
        "INSERT INTO nova_api.quotas (created_at, project_id, resource, hard_limit) VALUES (?, ?, ?, ?)",
        [sqlTime(), project, resource, Number(value)],
      );
    }
    return { status: 200, body: { quota_set: await this.quotas(project) } };
  }

  private async deleteQuotas(q: ApiRequest): Promise<Answer> {
    if (!isAdmin(q.token))
      throw new Refusal(403, "Policy doesn't allow os_compute_api:os-quota-sets:delete to be performed.");
    await this.database.change("DELETE FROM nova_api.quotas WHERE project_id = ?", [q.at["project"] ?? ""]);
    return { status: 202 };
  }

  private async limits(q: ApiRequest): Promise<Answer> {
    const quotas = await this.quotas(q.token.projectId);
    const [used] = await this.database.rows(
      "SELECT COUNT(*) AS n, COALESCE(SUM(memory_mb), 0) AS ram, COALESCE(SUM(vcpus), 0) AS cores FROM nova.instances WHERE deleted = 0 AND project_id = ?",
      [q.token.projectId],
    );
    const absolute = {
      maxTotalCores: quotas["cores"],
      maxTotalInstances: quotas["instances"],
      maxTotalKeypairs: quotas["key_pairs"],
      maxServerMeta: quotas["metadata_items"],
      maxTotalRAMSize: quotas["ram"],
      maxServerGroups: quotas["server_groups"],
      maxServerGroupMembers: quotas["server_group_members"],
      totalRAMUsed: Number(used?.["ram"]),
      totalCoresUsed: Number(used?.["cores"]),
      totalInstancesUsed: Number(used?.["n"]),
      totalServerGroupsUsed: 0,
    };
    return { status: 200, body: { limits: { rate: [], absolute } } };
  }

  private async hypervisors(q: ApiRequest): Promise<Answer> {
    if (!isAdmin(q.token))
      throw new Refusal(403, "Policy doesn't allow os_compute_api:os-hypervisors:list-detail to be performed.");
    const services = await this.database.rows(
      "SELECT * FROM nova.services WHERE deleted = 0 AND `binary` = 'nova-compute' ORDER BY id",
    );
    const shown = services.map((row) => ({
      id: row["uuid"],
      hypervisor_hostname: row["host"],
      state: isNovaServiceUp(row, this.o.config.serviceDownSeconds) ? "up" : "down",
      status: row["disabled"] === 1 ? "disabled" : "enabled",
      hypervisor_type: "fake",
      hypervisor_version: 1000,
      host_ip: this.o.config.address,
      service: { id: row["uuid"], host: row["host"], disabled_reason: row["disabled_reason"] },
      uptime: null,
    }));
    return { status: 200, body: { hypervisors: shown } };
  }

  private async toHost(host: string, method: string, args: Json): Promise<void> {
    await this.o.rpc.cast(`compute.${host}`, method, args, "nova");
  }

  private async call(host: string, method: string, args: Json): Promise<unknown> {
    try {
      return await this.o.rpc.call(`compute.${host}`, method, args);
    } catch (error) {
      if (error instanceof MessagingTimeout || error instanceof RemoteError) throw new Refusal(500, SERVER_ERROR);
      throw error;
    }
  }
}

/** In the order of Nova's answers. */
const defaultQuotas: Record<string, number> = {
  cores: 20,
  fixed_ips: -1,
  floating_ips: -1,
  injected_file_content_bytes: 10240,
  injected_file_path_bytes: 255,
  injected_files: 5,
  instances: 10,
  key_pairs: 100,
  metadata_items: 128,
  ram: 51200,
  security_group_rules: -1,
  security_groups: -1,
  server_group_members: 10,
  server_groups: 10,
};

/** As Python prints a dictionary. */
function pythonText(value: Json): string {
  const parts = Object.entries(value).map(
    ([key, each]) => `'${key}': ${typeof each === "string" ? `'${each}'` : String(each)}`,
  );
  return `{${parts.join(", ")}}`;
}
