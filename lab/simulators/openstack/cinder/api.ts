/**
 * Cinder's API v3 as 29.0 answers it: what the product, its tests, Nova and the OpenStack plugin ask of it. Shapes and
 * words are those of test/fixtures/openstack-traffic.
 */
import { randomUUID } from "node:crypto";
import { cinderTime, sqlTime } from "../clock";
import type { SimulatorConfig } from "../config";
import type { Database, Row, Value } from "../database";
import { asObject, NotSimulated, onlyKeys, Refusal } from "../http";
import type { Answer, ApiRequest, Json, Route, ServiceOptions } from "../http";
import { MessagingTimeout, RemoteError } from "../rpc";
import type { Rpc } from "../rpc";
import { textOf } from "../text";
import { isAdmin } from "../tokens";
import { backendOf } from "./driver";
import {
  attachedVolume,
  beginWork,
  completedAttachment,
  creatingVolume,
  endWork,
  isUp,
  reservedAttachment,
  softDelete,
  typeName,
  useQuota,
} from "./rows";

export interface CinderApiOptions {
  config: SimulatorConfig;
  database: Database;
  rpc: Rpc;
  /** Of Glance: properties that a volume made from the image carries. */
  readImageMetadata: (id: string) => Promise<Record<string, string>>;
  /** Whether Nova's rows name the attachment (CVE-2023-2088). */
  novaUses: (attachmentId: string) => Promise<boolean>;
}

const MAX_LIMIT = 1000;
const faults: Record<number, string> = {
  400: "badRequest",
  403: "forbidden",
  404: "itemNotFound",
  406: "computeFault",
  409: "conflictingRequest",
  413: "overLimit",
  500: "computeFault",
};
const SERVER_ERROR = "The server has either erred or is incapable of performing the requested operation.";
const notFoundPage =
  "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  The resource could not be found.<br /><br />\n\n\n\n </body>\n</html>";
const html = { "content-type": "text/html; charset=UTF-8" };

export const cinderService = (
  config: SimulatorConfig,
): Pick<ServiceOptions, "name" | "versions" | "refusal" | "unauthorised"> => ({
  name: "Cinder",
  versions: {
    type: "volume",
    major: 3,
    newest: 71,
    tooNew: (asked) => ({
      status: 406,
      body: {
        computeFault: {
          code: 406,
          message: `Version ${asked} is not supported by the API. Minimum is 3.0 and maximum is 3.71.`,
        },
      },
    }),
    malformed: (asked) => ({
      status: 400,
      body: {
        badRequest: {
          code: 400,
          message: `API Version String ${asked} is of invalid format. Must be of format MajorNum.MinorNum.`,
        },
      },
    }),
  },
  refusal: ({ status, message, fault }) => ({
    body: {
      [fault ?? faults[status] ?? "computeFault"]: {
        code: status,
        message,
        ...(status === 413 ? { retryAfter: "0" } : {}),
      },
    },
    headers: status === 413 ? { "retry-after": "0" } : {},
  }),
  unauthorised: () => ({
    status: 401,
    body: {
      error: { code: 401, title: "Unauthorized", message: "The request you have made requires authentication." },
    },
    headers: { "www-authenticate": `Keystone uri="http://${config.address}:${config.ports.keystone}/v3"` },
  }),
});

const unknownResource = (): Answer => ({ status: 404, body: notFoundPage, headers: html });

/** Quotas that aren't set for a project. */
const defaultQuotas: Record<string, number> = {
  volumes: 10,
  per_volume_gigabytes: -1,
  snapshots: 10,
  gigabytes: 1000,
  backups: 10,
  backup_gigabytes: 1000,
  groups: 10,
};

export class CinderApi {
  private readonly url: string;

  constructor(private readonly o: CinderApiOptions) {
    this.url = `http://${o.config.address}:${o.config.ports.cinder}`;
  }

  routes(): Route[] {
    const listQuery = [
      "all_tenants",
      "host",
      "sort",
      "marker",
      "limit",
      "status",
      "name",
      "with_count",
      "replication_status",
    ];
    const r = (method: string, path: string, run: Route["run"], query?: readonly string[]): Route => ({
      method,
      path,
      run,
      ...(query === undefined ? {} : { query }),
    });
    return [
      { method: "GET", path: "/", open: true, run: () => this.versions() },
      r("GET", "/v3", (q) => this.versionsOf(q)),
      r("GET", "/v3/volumes", (q) => this.listVolumes(q, false), listQuery),
      r("GET", "/v3/volumes/detail", (q) => this.listVolumes(q, true), listQuery),
      r("POST", "/v3/volumes", (q) => this.createVolume(q)),
      r("GET", "/v3/volumes/:id", (q) => this.showVolume(q)),
      r("DELETE", "/v3/volumes/:id", (q) => this.deleteVolume(q), ["force", "cascade"]),
      r("PUT", "/v3/volumes/:id", (q) => this.updateVolume(q)),
      r("POST", "/v3/volumes/:id/action", (q) => this.actOnVolume(q)),
      r("GET", "/v3/snapshots/detail", (q) => this.listSnapshots(q), [
        "all_tenants",
        "sort",
        "marker",
        "limit",
        "volume_id",
      ]),
      r("POST", "/v3/snapshots", (q) => this.createSnapshot(q)),
      r("GET", "/v3/snapshots/:id", (q) => this.showSnapshot(q)),
      r("DELETE", "/v3/snapshots/:id", (q) => this.deleteSnapshot(q)),
      r("GET", "/v3/attachments", (q) => this.listAttachments(q, false), [
        "all_tenants",
        "sort",
        "marker",
        "limit",
        "volume_id",
        "instance_id",
      ]),
      r("GET", "/v3/attachments/detail", (q) => this.listAttachments(q, true), [
        "all_tenants",
        "sort",
        "marker",
        "limit",
        "volume_id",
        "instance_id",
      ]),
      r("POST", "/v3/attachments", (q) => this.createAttachment(q)),
      r("GET", "/v3/attachments/:id", (q) => this.showAttachment(q)),
      r("PUT", "/v3/attachments/:id", (q) => this.updateAttachment(q)),
      r("POST", "/v3/attachments/:id/action", (q) => this.completeAttachment(q)),
      r("DELETE", "/v3/attachments/:id", (q) => this.deleteAttachment(q)),
      r("GET", "/v3/os-services", (q) => this.listServices(q), ["host", "binary"]),
      ...["failover", "nonsense"].map((action): Route => ({
        method: "PUT",
        path: `/v3/os-services/${action}`,
        unversioned: true,
        run: unknownResource,
      })),
      r("PUT", "/v3/os-services/:action", (q) => this.actOnService(q)),
      r("GET", "/v3/scheduler-stats/get_pools", (q) => this.listPools(q), ["detail"]),
      r("GET", "/v3/types", (q) => this.listTypes(q), ["is_public"]),
      r("POST", "/v3/types", (q) => this.createType(q)),
      r("GET", "/v3/types/:id", (q) => this.showType(q)),
      r("DELETE", "/v3/types/:id", (q) => this.deleteType(q)),
      r("GET", "/v3/types/:id/extra_specs", (q) => this.showSpecs(q)),
      r("POST", "/v3/types/:id/extra_specs", (q) => this.setSpecs(q)),
      r("PUT", "/v3/types/:id/extra_specs/:key", (q) => this.setSpec(q)),
      r("DELETE", "/v3/types/:id/extra_specs/:key", (q) => this.deleteSpec(q)),
      r("GET", "/v3/os-quota-sets/:project", (q) => this.showQuotas(q)),
      r("PUT", "/v3/os-quota-sets/:project", (q) => this.setQuotas(q)),
      r("DELETE", "/v3/os-quota-sets/:project", (q) => this.deleteQuotas(q)),
      r("GET", "/v3/limits", (q) => this.limits(q)),
      // Seen to be refused so by the real one.
      { method: "GET", path: "/v3/nonsense", unversioned: true, run: unknownResource },
    ];
  }

  private get database(): Database {
    return this.o.database;
  }

  private versions(): Answer {
    const links = [
      { rel: "describedby", type: "text/html", href: "https://docs.openstack.org/" },
      { rel: "self", href: `${this.url}/v3/` },
    ];
    const mediaTypes = [{ base: "application/json", type: "application/vnd.openstack.volume+json;version=3" }];
    const version = {
      id: "v3.0",
      status: "CURRENT",
      version: "3.71",
      min_version: "3.0",
      updated: "2023-08-31T00:00:00Z",
      links,
    };
    const headers = { "openstack-api-version": "volume 3.0", vary: "OpenStack-API-Version" };
    return { status: 300, body: { versions: [{ ...version, "media-types": mediaTypes }] }, headers };
  }

  /** Of the API itself, for those who have a token (api/v3/router.py, api/versions.py: `index`). */
  private versionsOf(q: ApiRequest): Answer {
    if (q.path !== "/v3/") throw new NotSimulated("the redirect of /v3");
    return { status: 200, body: this.versions().body };
  }

  // --------------------------------------------------------------------------------------------------------- volumes

  private async listVolumes(q: ApiRequest, detail: boolean): Promise<Answer> {
    const admin = isAdmin(q.token);
    const conditions = ["deleted = 0"];
    const values: Value[] = [];
    if (!admin) {
      const forbidden = ["host", "replication_status"].filter((name) => q.query.has(name));
      if (forbidden.length > 0)
        throw new Refusal(400, `Invalid filters ${forbidden.join(", ")} are found in query options.`);
    }
    if (!admin || !truthy(q.query.get("all_tenants"))) {
      conditions.push("project_id = ?");
      values.push(q.token.projectId);
    }
    const host = q.query.get("host");
    if (host !== null) {
      conditions.push("(BINARY host = ? OR BINARY host LIKE CONCAT(?, '#%') OR BINARY host LIKE CONCAT(?, '@%'))");
      values.push(host, escapeLike(host), escapeLike(host));
    }
    for (const [name, column] of [
      ["status", "status"],
      ["name", "display_name"],
      ["replication_status", "replication_status"],
    ] as const) {
      const value = q.query.get(name);
      if (value === null) continue;
      conditions.push(`${column} = ?`);
      values.push(value);
    }
    const [all] = truthy(q.query.get("with_count"))
      ? await this.database.rows(`SELECT COUNT(*) AS n FROM cinder.volumes WHERE ${conditions.join(" AND ")}`, values)
      : [];
    const page = await this.page("cinder.volumes", q, conditions, values, "Volume");
    const views = detail ? await this.volumeViews(page.rows, q) : page.rows.map((row) => this.summary(row));
    return {
      status: 200,
      body: {
        volumes: views,
        ...(page.next === undefined ? {} : { volumes_links: [{ rel: "next", href: page.next }] }),
        ...(all === undefined ? {} : { count: Number(all["n"]) }),
      },
    };
  }

  /** Sorted, behind the marker, at most limit rows; a full page has a link to the next. */
  private async page(
    table: string,
    q: ApiRequest,
    where: readonly string[],
    values: readonly Value[],
    kind: string,
  ): Promise<{ rows: Row[]; next: string | undefined }> {
    const asked = q.query.get("limit");
    if (asked !== null && !/^\d+$/.test(asked))
      throw new Refusal(400, /^-\d+$/.test(asked) ? "limit param must be positive" : "limit param must be an integer");
    const limit = Math.min(asked === null ? MAX_LIMIT : Number(asked), MAX_LIMIT);
    const keys = (q.query.get("sort") ?? "created_at:desc").split(",").map((part) => {
      const [key = "", direction = "desc"] = part.split(":");
      const column = { id: "id", created_at: "created_at", name: "display_name", size: "size", status: "status" }[key];
      if (column === undefined) throw new Refusal(400, "Invalid input received: Invalid sort key");
      return { column, direction: direction === "asc" ? "ASC" : "DESC" };
    });
    // Unique in the end, so that pages join.
    if (!keys.some(({ column }) => column === "id"))
      keys.push({ column: "id", direction: keys[0]?.direction ?? "DESC" });
    const conditions = [...where];
    const parameters = [...values];
    const marker = q.query.get("marker");
    if (marker !== null) {
      const [at] = await this.database.rows(`SELECT * FROM ${table} WHERE deleted = 0 AND id = ?`, [marker]);
      if (at === undefined) throw new Refusal(404, `${kind} ${marker} could not be found.`);
      const alternatives = keys.map(({ column, direction }, index) => {
        const equal = keys.slice(0, index).map((former) => {
          parameters.push(at[former.column] ?? null);
          return `${former.column} <=> ?`;
        });
        parameters.push(at[column] ?? null);
        return [...equal, `${column} ${direction === "ASC" ? ">" : "<"} ?`].join(" AND ");
      });
      conditions.push(`(${alternatives.map((each) => `(${each})`).join(" OR ")})`);
    }
    const order = keys.map(({ column, direction }) => `${column} ${direction}`).join(", ");
    const rows = await this.database.rows(
      `SELECT * FROM ${table} WHERE ${conditions.join(" AND ")} ORDER BY ${order} LIMIT ${limit}`,
      parameters,
    );
    const last = rows.at(-1);
    if (last === undefined || rows.length < limit || limit === 0) return { rows, next: undefined };
    const query = new URLSearchParams(q.query);
    query.delete("marker");
    query.append("marker", String(last["id"]));
    return { rows, next: `${this.url}${q.path}?${query.toString()}` };
  }

  private links(kind: string, id: Value | undefined): Json[] {
    return [
      { rel: "self", href: `${this.url}/v3/${kind}/${id}` },
      { rel: "bookmark", href: `${this.url}/${kind}/${id}` },
    ];
  }

  private summary(row: Row): Json {
    return { id: row["id"], name: row["display_name"], links: this.links("volumes", row["id"]) };
  }

  /** `v3/views/volumes.py` at the request's microversion, with what the contrib extensions add. */
  private async volumeViews(rows: readonly Row[], q: ApiRequest, created = false): Promise<Json[]> {
    if (rows.length === 0) return [];
    const ids = rows.map((row) => String(row["id"]));
    const [attachments, types, metadata, images] = await Promise.all([
      this.database.rows(
        "SELECT * FROM cinder.volume_attachment WHERE deleted = 0 AND attach_status = 'attached' AND volume_id IN (?)",
        [ids],
      ),
      this.database.rows("SELECT id, name FROM cinder.volume_types"),
      this.database.rows(
        "SELECT volume_id, `key`, value FROM cinder.volume_metadata WHERE deleted = 0 AND volume_id IN (?)",
        [ids],
      ),
      this.database.rows(
        "SELECT volume_id, `key`, value FROM cinder.volume_glance_metadata WHERE deleted = 0 AND volume_id IN (?)",
        [ids],
      ),
    ]);
    const grouped = (list: readonly Row[]): Map<string, Row[]> => {
      const map = new Map<string, Row[]>();
      for (const row of list) map.set(String(row["volume_id"]), [...(map.get(String(row["volume_id"])) ?? []), row]);
      return map;
    };
    const attachmentsOf = grouped(attachments);
    const metadataOf = grouped(metadata);
    const imagesOf = grouped(images);
    const typeNames = new Map(types.map((row) => [row["id"], row["name"]]));
    const pairs = (list: readonly Row[] | undefined): Json =>
      Object.fromEntries((list ?? []).map((row) => [String(row["key"]), row["value"]]));
    const admin = isAdmin(q.token);
    const { minor } = q;
    return rows.map((row) => {
      const id = String(row["id"]);
      const own = attachmentsOf.get(id) ?? [];
      const image = imagesOf.get(id);
      return {
        id,
        status: row["status"],
        size: row["size"],
        availability_zone: row["availability_zone"],
        created_at: cinderTime(row["created_at"] as string | null),
        updated_at: cinderTime(row["updated_at"] as string | null),
        name: row["display_name"],
        description: row["display_description"],
        volume_type: typeNames.get(row["volume_type_id"] ?? null) ?? null,
        snapshot_id: row["snapshot_id"],
        source_volid: row["source_volid"],
        metadata: pairs(metadataOf.get(id)),
        links: this.links("volumes", id),
        user_id: row["user_id"],
        bootable: row["bootable"] ? "true" : "false",
        encrypted: row["encryption_key_id"] !== null,
        replication_status: row["replication_status"],
        consistencygroup_id: row["consistencygroup_id"],
        multiattach: row["multiattach"] === 1,
        attachments: own.map((attachment) => ({
          id,
          attachment_id: attachment["id"],
          volume_id: id,
          server_id: attachment["instance_uuid"],
          host_name: admin ? attachment["attached_host"] : null,
          device: attachment["mountpoint"],
          attached_at: cinderTime(attachment["attach_time"] as string | null),
        })),
        ...(admin ? { migration_status: row["migration_status"] } : {}),
        ...(minor >= 13 ? { group_id: row["group_id"] } : {}),
        ...(minor >= 21 && admin ? { provider_id: row["provider_id"] } : {}),
        ...(minor >= 48
          ? {
              shared_targets: minor >= 69 && row["shared_targets"] === null ? null : row["shared_targets"] !== 0,
              service_uuid: row["service_uuid"],
            }
          : {}),
        ...(minor >= 61 && admin ? { cluster_name: row["cluster_name"] } : {}),
        ...(minor >= 63 ? { volume_type_id: row["volume_type_id"] } : {}),
        ...(minor >= 65 ? { consumes_quota: row["use_quota"] === 1 } : {}),
        ...(created ? {} : { "os-vol-tenant-attr:tenant_id": row["project_id"] }),
        ...(created || !admin
          ? {}
          : {
              "os-vol-mig-status-attr:migstat": row["migration_status"],
              "os-vol-mig-status-attr:name_id": row["_name_id"],
              "os-vol-host-attr:host": row["host"],
            }),
        ...(created || image === undefined ? {} : { volume_image_metadata: pairs(image) }),
      };
    });
  }

  /** Of the project, or any for an administrator. */
  private async volume(id: string, q: ApiRequest): Promise<Row> {
    const row = await this.database.row("SELECT * FROM cinder.volumes WHERE deleted = 0 AND id = ?", [id]);
    if (row === undefined || (!isAdmin(q.token) && row["project_id"] !== q.token.projectId))
      throw new Refusal(404, `Volume ${id} could not be found.`);
    return row;
  }

  private async showVolume(q: ApiRequest): Promise<Answer> {
    const row = await this.volume(q.at["id"] ?? "", q);
    return { status: 200, body: { volume: (await this.volumeViews([row], q))[0] } };
  }

  private async createVolume(q: ApiRequest): Promise<Answer> {
    const wanted = q.body["volume"];
    if (wanted === undefined) throw new Refusal(400, "'volume' is a required property");
    onlyKeys(q.body, ["volume"], "create a volume");
    const volume = asObject(wanted);
    const known = [
      "name",
      "description",
      "size",
      "volume_type",
      "imageRef",
      "snapshot_id",
      "source_volid",
      "metadata",
      "availability_zone",
    ];
    onlyKeys(volume, known, "create a volume");
    const text = (key: string): string | null => {
      const value = volume[key];
      return value === undefined || value === null || value === "" ? null : textOf(value);
    };
    const [snapshotId, sourceId, imageId] = [text("snapshot_id"), text("source_volid"), text("imageRef")];
    const snapshot =
      snapshotId === null
        ? undefined
        : await this.database.row("SELECT * FROM cinder.snapshots WHERE deleted = 0 AND id = ?", [snapshotId]);
    if (snapshotId !== null && snapshot === undefined)
      throw new Refusal(404, `Snapshot ${snapshotId} could not be found.`);
    const source = sourceId === null ? undefined : await this.volume(sourceId, q);
    if (snapshot !== undefined && snapshot["status"] !== "available")
      throw new Refusal(400, `Invalid snapshot: Originating snapshot status must be one of 'available' values`);
    if (source !== undefined && !["available", "in-use"].includes(String(source["status"])))
      throw new Refusal(400, "Invalid volume: Originating volume status must be one of 'available, in-use' values");
    const size = Number(volume["size"] ?? snapshot?.["volume_size"] ?? source?.["size"] ?? 0);
    if (volume["size"] !== undefined && size < 1)
      throw new Refusal(
        400,
        `Invalid input for field/attribute size. Value: ${textOf(volume["size"])}. ${textOf(volume["size"])} is less than the minimum of 1`,
      );
    const type = await this.typeOf(text("volume_type"), snapshot ?? source);
    const backend =
      snapshot === undefined
        ? source
        : await this.database.row("SELECT * FROM cinder.volumes WHERE id = ?", [snapshot["volume_id"] ?? null]);
    await this.assertQuota(q, "volumes", size, String(type["name"]));
    const metadata = imageId === null ? {} : await this.o.readImageMetadata(imageId);
    const id = randomUUID();
    const now = sqlTime();
    const { userId, projectId } = q.token;
    const row: Row = {
      ...creatingVolume({ id, userId, projectId, name: text("name"), size, typeId: type["id"] ?? null }),
      created_at: now,
      host: backend?.["host"] ?? null,
      availability_zone: text("availability_zone") ?? "nova",
      display_description: text("description"),
      snapshot_id: snapshotId,
      source_volid: sourceId,
    };
    await this.database.insert("cinder.volumes", row);
    for (const [key, value] of Object.entries(asObject(volume["metadata"])))
      await this.database.insert("cinder.volume_metadata", { volume_id: id, key, value: textOf(value) });
    await useQuota(this.database, q.token.projectId, "volumes", 1, size, String(type["name"]));
    await beginWork(this.database, "Volume", id, "creating");
    const args = {
      volume_id: id,
      size,
      ...(snapshotId === null ? {} : { snapshot_id: snapshotId }),
      ...(sourceId === null ? {} : { source_volid: sourceId }),
      ...(imageId === null ? {} : { image_id: imageId, image_metadata: metadata }),
    };
    // From a snapshot or a volume it's made where that is, without the scheduler.
    if (backend?.["host"]) await this.toBackend(String(backend["host"]), "create_volume", args);
    else await this.o.rpc.cast("cinder-scheduler", "create_volume", args, "cinder");
    const [made] = await this.database.rows("SELECT * FROM cinder.volumes WHERE id = ?", [id]);
    // The answer is made before anybody else has touched the row.
    const view =
      (await this.volumeViews([{ ...made, ...row, updated_at: null, service_uuid: null }], q, true))[0] ?? {};
    return {
      status: 202,
      body: {
        volume: { ...view, created_at: `${now.replace(" ", "T")}.${String(Date.now() % 1000).padStart(3, "0")}000` },
      },
    };
  }

  private async typeOf(name: string | null, origin: Row | undefined): Promise<Row> {
    if (name === null && origin !== undefined) {
      const row = await this.database.row("SELECT * FROM cinder.volume_types WHERE id = ?", [
        origin["volume_type_id"] ?? null,
      ]);
      if (row !== undefined) return row;
    }
    const wanted = name ?? "__DEFAULT__";
    const row = await this.database.row(
      "SELECT * FROM cinder.volume_types WHERE deleted = 0 AND (name = ? OR id = ?)",
      [wanted, wanted],
    );
    if (row === undefined) throw new Refusal(404, `Volume type with name ${wanted} could not be found.`);
    return row;
  }

  private async quotas(project: string): Promise<Record<string, number>> {
    const [rows, types] = await Promise.all([
      this.database.rows("SELECT resource, hard_limit FROM cinder.quotas WHERE deleted = 0 AND project_id = ?", [
        project,
      ]),
      this.database.rows("SELECT name FROM cinder.volume_types WHERE deleted = 0 ORDER BY created_at DESC"),
    ]);
    const set = Object.fromEntries(rows.map((row) => [String(row["resource"]), Number(row["hard_limit"])]));
    const { groups, ...first } = { ...defaultQuotas };
    const perType = types.flatMap(({ name }) =>
      ["volumes", "gigabytes", "snapshots"].map((kind) => [`${kind}_${String(name)}`, -1] as const),
    );
    return { ...first, ...Object.fromEntries(perType), groups: groups ?? 0, ...set };
  }

  private async used(project: string, resource: string): Promise<number> {
    const row = await this.database.row(
      "SELECT in_use FROM cinder.quota_usages WHERE deleted = 0 AND project_id = ? AND resource = ?",
      [project, resource],
    );
    return Number(row?.["in_use"] ?? 0);
  }

  private async assertQuota(q: ApiRequest, kind: "volumes" | "snapshots", size: number, type: string): Promise<void> {
    const { projectId } = q.token;
    const limits = await this.quotas(projectId);
    for (const [resource, delta] of [
      ["gigabytes", size],
      [`gigabytes_${type}`, size],
      [kind, 1],
      [`${kind}_${type}`, 1],
    ] as const) {
      const limit = limits[resource] ?? -1;
      const used = await this.used(projectId, resource);
      if (limit < 0 || used + delta <= limit) continue;
      if (resource.startsWith("gigabytes"))
        throw new Refusal(
          413,
          `VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed ${resource} quota. Requested ${delta}G, quota is ${limit}G and ${used}G has been consumed.`,
        );
      const noun = kind === "volumes" ? "Volume" : "Snapshot";
      throw new Refusal(
        413,
        `${noun}LimitExceeded: Maximum number of ${kind} allowed (${limit}) exceeded for quota '${resource}'.`,
      );
    }
  }

  private async deleteVolume(q: ApiRequest): Promise<Answer> {
    const row = await this.volume(q.at["id"] ?? "", q);
    const force = truthy(q.query.get("force"));
    const id = String(row["id"]);
    const refused =
      "Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer.";
    const snapshots = await this.database.rows("SELECT id FROM cinder.snapshots WHERE deleted = 0 AND volume_id = ?", [
      id,
    ]);
    const quiet = ["available", "error", "error_restoring", "error_extending", "error_managing"];
    if (
      (!force && !quiet.includes(String(row["status"]))) ||
      row["attach_status"] === "attached" ||
      (row["group_id"] ?? row["consistencygroup_id"] ?? null) !== null ||
      isMigrating(row) ||
      snapshots.length > 0
    )
      throw new Refusal(400, refused);
    if (row["host"] === null) {
      // Never scheduled: nothing is on any backend.
      await this.database.update(
        "cinder.volumes",
        { id },
        { status: "deleted", deleted: 1, deleted_at: sqlTime(), terminated_at: sqlTime() },
      );
      await useQuota(
        this.database,
        String(row["project_id"]),
        "volumes",
        -1,
        -Number(row["size"]),
        await typeName(this.database, row["volume_type_id"] as string),
      );
      return { status: 202, headers: html };
    }
    await this.database.update("cinder.volumes", { id }, { status: "deleting", terminated_at: sqlTime() });
    await beginWork(this.database, "Volume", id, "deleting");
    await this.toBackend(String(row["host"]), "delete_volume", { volume_id: id, cascade: false });
    return { status: 202, headers: html };
  }

  private async updateVolume(q: ApiRequest): Promise<Answer> {
    const row = await this.volume(q.at["id"] ?? "", q);
    const wanted = asObject(q.body["volume"]);
    onlyKeys(wanted, ["name", "description", "metadata"], "change a volume");
    const set: Row = {};
    if (wanted["name"] !== undefined) set["display_name"] = textOf(wanted["name"]);
    if (wanted["description"] !== undefined) set["display_description"] = textOf(wanted["description"]);
    await this.database.update("cinder.volumes", { id: row["id"] ?? null }, set);
    return this.showVolume(q);
  }

  private async actOnVolume(q: ApiRequest): Promise<Answer> {
    const row = await this.volume(q.at["id"] ?? "", q);
    const id = String(row["id"]);
    const [action] = Object.keys(q.body);
    const accepted: Answer = { status: 202, headers: {} };
    switch (action) {
      case "os-begin_detaching":
        if (row["status"] !== "in-use" || row["attach_status"] !== "attached")
          throw new Refusal(
            400,
            "Invalid input received: Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach.",
          );
        await this.database.update("cinder.volumes", { id }, { status: "detaching" });
        return accepted;
      case "os-roll_detaching":
        if (row["status"] === "detaching") await this.database.update("cinder.volumes", { id }, { status: "in-use" });
        return accepted;
      case "os-extend":
        return this.extend(row, Number(asObject(q.body[action])["new_size"]), q);
      case "os-reset_status":
        return this.resetStatus(row, asObject(q.body[action]), q);
      case "nonsense":
        throw new Refusal(
          400,
          "There is no such action: nonsense. Verify the request body and Content-Type header and try again.",
        );
      default:
        throw new NotSimulated(`POST volume action ${action ?? "(none)"}`);
    }
  }

  private async extend(row: Row, size: number, q: ApiRequest): Promise<Answer> {
    const current = Number(row["size"]);
    if (!(size > current))
      throw new Refusal(
        400,
        `Invalid input received: New size for extend must be greater than current size. (current: ${current}, extended: ${size}).`,
      );
    if (row["status"] !== "available")
      throw new Refusal(
        400,
        `Invalid volume: Volume ${String(row["id"])} status must be '{'available'}' to extend, currently ${String(row["status"])}.`,
      );
    const type = await typeName(this.database, row["volume_type_id"] as string);
    await this.assertQuota(q, "volumes", size - current, type ?? "");
    await useQuota(this.database, String(row["project_id"]), "volumes", 0, size - current, type);
    const id = String(row["id"]);
    await this.database.update(
      "cinder.volumes",
      { id },
      { status: "extending", previous_status: row["status"] ?? null },
    );
    await this.o.rpc.cast(
      "cinder-scheduler",
      "extend_volume",
      { volume_id: id, new_size: size, host: row["host"] },
      "cinder",
    );
    return { status: 202, headers: {} };
  }

  private async resetStatus(row: Row, wanted: Json, q: ApiRequest): Promise<Answer> {
    if (!isAdmin(q.token))
      throw new Refusal(
        403,
        "Policy doesn't allow volume_extension:volume_admin_actions:reset_status to be performed.",
      );
    onlyKeys(wanted, ["status", "attach_status", "migration_status"], "os-reset_status");
    // Not of error_deleting and detaching: a comma is missing there (api/contrib/admin_actions.py: `_reset_status`).
    if (wanted["status"] === "deleting") throw new Refusal(400, "Cannot reset-state to deleting");
    const id = String(row["id"]);
    const [attached] = await this.database.rows(
      "SELECT id FROM cinder.volume_attachment WHERE deleted = 0 AND volume_id = ?",
      [id],
    );
    if (wanted["status"] === "in-use" && attached === undefined)
      throw new Refusal(400, "Cannot reset-state to in-use because volume does not have any attachments.");
    const set: Row = {};
    if (typeof wanted["status"] === "string") set["status"] = wanted["status"];
    if (typeof wanted["attach_status"] === "string") set["attach_status"] = wanted["attach_status"];
    const migration = wanted["migration_status"];
    if (typeof migration === "string") set["migration_status"] = migration === "none" ? null : migration;
    await this.database.update("cinder.volumes", { id }, set);
    await endWork(this.database, id);
    if (wanted["attach_status"] === "detached") await softDelete(this.database, "volume_attachment", { volume_id: id });
    return { status: 202, headers: {} };
  }

  // ------------------------------------------------------------------------------------------------------- snapshots

  private async listSnapshots(q: ApiRequest): Promise<Answer> {
    const conditions = ["deleted = 0"];
    const values: Value[] = [];
    if (!isAdmin(q.token) || !truthy(q.query.get("all_tenants"))) {
      conditions.push("project_id = ?");
      values.push(q.token.projectId);
    }
    const volume = q.query.get("volume_id");
    if (volume !== null) {
      conditions.push("volume_id = ?");
      values.push(volume);
    }
    const page = await this.page("cinder.snapshots", q, conditions, values, "Snapshot");
    const next = page.next === undefined ? {} : { snapshots_links: [{ rel: "next", href: page.next }] };
    return { status: 200, body: { snapshots: page.rows.map((row) => this.snapshotView(row, q)), ...next } };
  }

  private snapshotView(row: Row, q: ApiRequest, created = false): Json {
    return {
      id: row["id"],
      created_at: cinderTime(row["created_at"] as string | null),
      updated_at: cinderTime((row["updated_at"] ?? null) as string | null),
      name: row["display_name"],
      description: row["display_description"] ?? null,
      volume_id: row["volume_id"],
      status: row["status"],
      size: row["volume_size"],
      metadata: {},
      ...(q.minor >= 14 ? { group_snapshot_id: row["group_snapshot_id"] ?? null } : {}),
      ...(q.minor >= 41 ? { user_id: row["user_id"] } : {}),
      ...(q.minor >= 65 ? { consumes_quota: true } : {}),
      ...(created
        ? {}
        : {
            "os-extended-snapshot-attributes:project_id": row["project_id"],
            "os-extended-snapshot-attributes:progress": row["progress"],
          }),
    };
  }

  private async createSnapshot(q: ApiRequest): Promise<Answer> {
    const wanted = asObject(q.body["snapshot"]);
    onlyKeys(wanted, ["volume_id", "name", "description", "force", "metadata"], "create a snapshot");
    const volume = await this.volume(String(wanted["volume_id"]), q);
    // From 3.66 on force isn't needed, and is refused unless true.
    const attached = volume["status"] === "in-use";
    if (volume["status"] !== "available" && !(attached && (q.minor >= 66 || wanted["force"] === true)))
      throw new Refusal(
        400,
        `Invalid volume: Volume ${String(volume["id"])} status must be available, but current status is: ${String(volume["status"])}.`,
      );
    const size = Number(volume["size"]);
    const type = await typeName(this.database, volume["volume_type_id"] as string);
    await this.assertQuota(q, "snapshots", size, type ?? "");
    const id = randomUUID();
    const row: Row = {
      created_at: sqlTime(),
      id,
      volume_id: volume["id"] ?? null,
      user_id: q.token.userId,
      project_id: q.token.projectId,
      status: "creating",
      progress: "0%",
      volume_size: size,
      display_name: typeof wanted["name"] === "string" ? wanted["name"] : null,
      display_description: typeof wanted["description"] === "string" ? wanted["description"] : null,
      volume_type_id: volume["volume_type_id"] ?? null,
      use_quota: 1,
    };
    await this.database.insert("cinder.snapshots", row);
    await useQuota(this.database, q.token.projectId, "snapshots", 1, size, type);
    await beginWork(this.database, "Snapshot", id, "creating");
    await this.toBackend(String(volume["host"]), "create_snapshot", { snapshot_id: id });
    return { status: 202, body: { snapshot: this.snapshotView(row, q, true) } };
  }

  private async snapshot(q: ApiRequest): Promise<Row> {
    const id = q.at["id"] ?? "";
    const row = await this.database.row("SELECT * FROM cinder.snapshots WHERE deleted = 0 AND id = ?", [id]);
    if (row === undefined || (!isAdmin(q.token) && row["project_id"] !== q.token.projectId))
      throw new Refusal(404, `Snapshot ${id} could not be found.`);
    return row;
  }

  private async showSnapshot(q: ApiRequest): Promise<Answer> {
    return { status: 200, body: { snapshot: this.snapshotView(await this.snapshot(q), q) } };
  }

  private async deleteSnapshot(q: ApiRequest): Promise<Answer> {
    const row = await this.snapshot(q);
    if (!["available", "error"].includes(String(row["status"])))
      throw new Refusal(400, "Invalid snapshot: Snapshot status must be one of available, error");
    const id = String(row["id"]);
    await this.database.update("cinder.snapshots", { id }, { status: "deleting" });
    const volume = await this.database.row("SELECT host FROM cinder.volumes WHERE id = ?", [row["volume_id"] ?? null]);
    await this.toBackend(String(volume?.["host"] ?? ""), "delete_snapshot", { snapshot_id: id });
    return { status: 202, headers: html };
  }

  // ------------------------------------------------------------------------------------------------------ attachments

  private assertAttachments(q: ApiRequest): void {
    if (q.minor < 27) throw new Refusal(404, "The resource could not be found.");
  }

  private async listAttachments(q: ApiRequest, detail: boolean): Promise<Answer> {
    this.assertAttachments(q);
    const conditions = ["deleted = 0"];
    const values: Value[] = [];
    if (!isAdmin(q.token) || !truthy(q.query.get("all_tenants"))) {
      conditions.push("volume_id IN (SELECT id FROM cinder.volumes WHERE project_id = ?)");
      values.push(q.token.projectId);
    }
    for (const [name, column] of [
      ["volume_id", "volume_id"],
      ["instance_id", "instance_uuid"],
    ] as const) {
      const value = q.query.get(name);
      if (value === null) continue;
      conditions.push(`${column} = ?`);
      values.push(value);
    }
    const { rows } = await this.page("cinder.volume_attachment", q, conditions, values, "Volume attachment");
    return { status: 200, body: { attachments: rows.map((row) => this.attachmentView(row, detail)) } };
  }

  private attachmentView(row: Row, detail: boolean): Json {
    const base = {
      id: row["id"],
      status: row["attach_status"],
      instance: row["instance_uuid"],
      volume_id: row["volume_id"],
    };
    if (!detail) return base;
    const time = (name: string): string => cinderTime((row[name] ?? null) as string | null) ?? "";
    return {
      ...base,
      attached_at: time("attach_time"),
      detached_at: time("detach_time"),
      attach_mode: row["attach_mode"],
      connection_info: row["connection_info"] === null ? {} : (JSON.parse(String(row["connection_info"])) as Json),
    };
  }

  private async attachment(q: ApiRequest): Promise<Row> {
    this.assertAttachments(q);
    const id = q.at["id"] ?? "";
    const row = await this.database.row("SELECT * FROM cinder.volume_attachment WHERE deleted = 0 AND id = ?", [id]);
    if (row === undefined)
      throw new Refusal(404, `Volume attachment could not be found with filter: attachment_id = ${id}.`);
    await this.volume(String(row["volume_id"]), q);
    return row;
  }

  private async showAttachment(q: ApiRequest): Promise<Answer> {
    return { status: 200, body: { attachment: this.attachmentView(await this.attachment(q), true) } };
  }

  /** Reserves the volume (volume/api.py attachment_create). */
  private async createAttachment(q: ApiRequest): Promise<Answer> {
    this.assertAttachments(q);
    const wanted = asObject(q.body["attachment"]);
    onlyKeys(wanted, ["volume_uuid", "instance_uuid", "connector", "mode"], "create an attachment");
    const volume = await this.volume(String(wanted["volume_uuid"]), q);
    const id = randomUUID();
    const volumeId = String(volume["id"]);
    assertNoError(volume, 400, "Invalid volume: Volume attachments can not be created");
    const taken = await this.database.transaction(async (database) => {
      const from = volume["multiattach"] === 1 ? ["available", "in-use"] : ["available"];
      const reserved = await database.change(
        "UPDATE cinder.volumes SET status = 'reserved', attach_status = IF(attach_status = 'attached', attach_status, 'reserved'), updated_at = ? WHERE deleted = 0 AND id = ? AND status IN (?) AND (migration_status IS NULL OR migration_status IN ('', 'success', 'error', 'none', 'deleting'))",
        [sqlTime(), volumeId, from],
      );
      // A further attachment of the same server while it's being moved (live migration, refresh).
      const own = await database.row(
        "SELECT id FROM cinder.volume_attachment WHERE deleted = 0 AND volume_id = ? AND instance_uuid = ? LIMIT 1",
        [volumeId, String(wanted["instance_uuid"])],
      );
      if (reserved === 0 && !(own !== undefined && ["in-use", "reserved"].includes(String(volume["status"]))))
        return false;
      await database.insert(
        "cinder.volume_attachment",
        reservedAttachment(id, volumeId, String(wanted["instance_uuid"])),
      );
      return true;
    });
    if (!taken)
      throw new Refusal(
        400,
        `Invalid volume: Volume ${volumeId} status must be available or downloading to reserve, but the current status is ${String(volume["status"])}.`,
      );
    const row = await this.database.row("SELECT * FROM cinder.volume_attachment WHERE id = ?", [id]);
    return { status: 200, body: { attachment: this.attachmentView(row ?? {}, true) } };
  }

  private async updateAttachment(q: ApiRequest): Promise<Answer> {
    const row = await this.attachment(q);
    const { connector } = asObject(q.body["attachment"]);
    const volume = await this.volume(String(row["volume_id"]), q);
    assertNoError(volume, 409, "Resource conflict: Volume attachments can not be updated");
    await this.call(String(volume["host"]), "attachment_update", {
      volume_id: row["volume_id"],
      attachment_id: row["id"],
      connector,
    });
    const after = await this.database.row("SELECT * FROM cinder.volume_attachment WHERE id = ?", [row["id"] ?? null]);
    return { status: 200, body: { attachment: this.attachmentView(after ?? row, true) } };
  }

  private async completeAttachment(q: ApiRequest): Promise<Answer> {
    const row = await this.attachment(q);
    onlyKeys(q.body, ["os-complete"], "act on an attachment");
    await this.database.update("cinder.volume_attachment", { id: row["id"] ?? null }, completedAttachment());
    await this.database.update("cinder.volumes", { id: row["volume_id"] ?? null }, attachedVolume);
    return { status: 204, headers: {} };
  }

  private async deleteAttachment(q: ApiRequest): Promise<Answer> {
    const row = await this.attachment(q);
    const id = String(row["id"]);
    const volumeId = String(row["volume_id"]);
    // attachment_deletion_allowed: only Nova itself may, while its rows name the attachment.
    if (q.headers["x-service-token"] === undefined && row["connection_info"] !== null && (await this.o.novaUses(id)))
      throw new Refusal(
        409,
        "Detach volume from instance " + String(row["instance_uuid"]) + " using the Compute API",
        "conflictingRequest",
      );
    const volume = await this.volume(volumeId, q);
    if (row["attach_status"] === "reserved")
      await this.database.update("cinder.volume_attachment", { id }, { attach_status: "detached" });
    else await this.call(String(volume["host"]), "attachment_delete", { volume_id: volumeId, attachment_id: id });
    await this.database.update(
      "cinder.volume_attachment",
      { id },
      { deleted: 1, deleted_at: sqlTime(), detach_time: sqlTime(), attach_status: "detached" },
    );
    const rest = await this.database.rows(
      "SELECT * FROM cinder.volume_attachment WHERE deleted = 0 AND volume_id = ?",
      [volumeId],
    );
    // volume_attachment bookkeeping of db/api.py volume_detached.
    const attached = rest.some((each) => each["attach_status"] === "attached");
    const status = rest.length === 0 ? "available" : attached ? "in-use" : String(rest[0]?.["attach_status"]);
    const attachStatus = rest.length === 0 ? "detached" : attached ? "attached" : String(rest[0]?.["attach_status"]);
    await this.database.update("cinder.volumes", { id: volumeId }, { status, attach_status: attachStatus });
    return { status: 200, body: { attachments: rest.map((each) => this.attachmentView(each, false)) } };
  }

  // --------------------------------------------------------------------------------------------------------- services

  private assertAdmin(q: ApiRequest, policy: string): void {
    if (!isAdmin(q.token)) throw new Refusal(403, `Policy doesn't allow ${policy} to be performed.`);
  }

  private async listServices(q: ApiRequest): Promise<Answer> {
    this.assertAdmin(q, "volume_extension:services:index");
    const { config } = this.o;
    const [host, binary] = [q.query.get("host"), q.query.get("binary")];
    const rows = (await this.database.rows("SELECT * FROM cinder.services WHERE deleted = 0 ORDER BY id")).filter(
      (row) =>
        (host === null || row["host"] === host || String(row["host"]).startsWith(`${host}@`)) &&
        (binary === null || row["binary"] === binary),
    );
    // From 3.49 on the schedulers say what they know of each backend, and the answer fails with theirs.
    const states = q.minor >= 49 ? await this.backendStates() : undefined;
    const services = rows.map((row) => {
      const volume = row["binary"] === "cinder-volume";
      // A scheduler's clock for heartbeats is updated_at; later changes by the API count in the view.
      const last =
        [row["updated_at"], row["modified_at"]]
          .filter((time) => time !== null)
          .sort()
          .at(-1) ?? row["created_at"];
      return {
        binary: row["binary"],
        host: row["host"],
        zone: row["availability_zone"],
        status: row["disabled"] === 1 ? "disabled" : "enabled",
        state: isUp(row, config.serviceDownSeconds) ? "up" : "down",
        updated_at: cinderTime((last ?? null) as string | null),
        ...(volume && states !== undefined ? { backend_state: states.get(String(row["host"])) ?? null } : {}),
        ...(q.minor >= 7 ? { cluster: row["cluster_name"] } : {}),
        disabled_reason: row["disabled_reason"],
        ...(volume
          ? {
              replication_status: row["replication_status"],
              active_backend_id: row["active_backend_id"],
              frozen: row["frozen"] === 1,
            }
          : {}),
      };
    });
    return { status: 200, body: { services } };
  }

  private async backendStates(): Promise<Map<string, string>> {
    const pools = (await this.schedulerPools()) as { name: string }[];
    return new Map(pools.map(({ name }) => [backendOf(name), "up"]));
  }

  private async schedulerPools(): Promise<Json[]> {
    return (await this.ask("cinder-scheduler", "get_pools", {})) as Json[];
  }

  private async listPools(q: ApiRequest): Promise<Answer> {
    this.assertAdmin(q, "scheduler_extension:scheduler_stats:get_pools");
    const pools = await this.schedulerPools();
    return {
      status: 200,
      body: { pools: truthy(q.query.get("detail")) ? pools : pools.map(({ name }) => ({ name })) },
    };
  }

  private async actOnService(q: ApiRequest): Promise<Answer> {
    const action = q.at["action"] ?? "";
    this.assertAdmin(q, "volume_extension:services:update");
    const { host, binary, backend_id: backendId, disabled_reason: reason } = q.body;
    const find = async (): Promise<Row> => {
      const row = await this.database.row(
        "SELECT * FROM cinder.services WHERE deleted = 0 AND host = ? AND `binary` = 'cinder-volume'",
        [textOf(host)],
      );
      if (row === undefined) throw new Refusal(400, `No service found with host=${textOf(host)}`);
      return row;
    };
    switch (action) {
      case "enable":
      case "disable": {
        // 28 and 29 answer this and change nothing.
        onlyKeys(q.body, ["host", "binary"], `os-services/${action}`);
        await find();
        const disabled = action === "disable";
        return {
          status: 200,
          body: { host, service: "", binary, status: disabled ? "disabled" : "enabled", disabled },
        };
      }
      case "disable-log-reason": {
        onlyKeys(q.body, ["host", "binary", "disabled_reason"], `os-services/${action}`);
        await find();
        const set = { disabled: 1, disabled_reason: String(reason), modified_at: sqlTime() };
        await this.setService(textOf(host), set);
        return {
          status: 200,
          body: { host, service: "", binary, status: "disabled", disabled: true, disabled_reason: reason },
        };
      }
      case "freeze":
      case "thaw": {
        onlyKeys(q.body, ["host"], `os-services/${action}`);
        const row = await find();
        if (!isUp(row, this.o.config.serviceDownSeconds))
          throw new Refusal(400, `Service is unavailable at this time.`);
        await this.setService(textOf(host), { frozen: action === "freeze" ? 1 : 0 });
        await this.call(textOf(host), `${action}_host`, {});
        return { status: 200, headers: {} };
      }
      case "failover_host": {
        onlyKeys(q.body, ["host", "backend_id"], "os-services/failover_host");
        if (host === undefined)
          throw new Refusal(400, "Invalid input received: One and only one of cluster and host must be set.");
        const row = await find();
        if (
          !isUp(row, this.o.config.serviceDownSeconds) ||
          !["enabled", "failed-over"].includes(String(row["replication_status"]))
        )
          throw new Refusal(
            400,
            `Invalid input received: Host ${textOf(host)} is not up or its replication status isn't enabled or failed-over`,
          );
        await this.setService(textOf(host), { replication_status: "failing-over" });
        await this.toBackend(textOf(host), "failover_host", { secondary_backend_id: backendId ?? null });
        return { status: 202, headers: html };
      }
      default:
        throw new NotSimulated(`PUT os-services/${action}`);
    }
  }

  private async setService(host: string, set: Row): Promise<void> {
    // Not a heartbeat: what is up stays judged by the last one.
    const columns = Object.keys(set).map((name) => `\`${name}\` = ?`);
    await this.database.change(
      `UPDATE cinder.services SET ${columns.join(", ")}, updated_at = updated_at WHERE deleted = 0 AND host = ? AND \`binary\` = 'cinder-volume'`,
      [...Object.values(set), host],
    );
  }

  // ------------------------------------------------------------------------------------------------------------ types

  private async specs(id: string): Promise<Json> {
    const rows = await this.database.rows(
      "SELECT `key`, value FROM cinder.volume_type_extra_specs WHERE deleted = 0 AND volume_type_id = ?",
      [id],
    );
    return Object.fromEntries(rows.map((row) => [String(row["key"]), row["value"]]));
  }

  private async typeView(row: Row): Promise<Json> {
    return {
      id: row["id"],
      name: row["name"],
      is_public: row["is_public"] === 1,
      description: row["description"],
      extra_specs: await this.specs(String(row["id"])),
      qos_specs_id: row["qos_specs_id"],
      "os-volume-type-access:is_public": row["is_public"] === 1,
    };
  }

  private async listTypes(q: ApiRequest): Promise<Answer> {
    void q;
    const rows = await this.database.rows(
      "SELECT * FROM cinder.volume_types WHERE deleted = 0 ORDER BY created_at DESC, id DESC",
    );
    return { status: 200, body: { volume_types: await Promise.all(rows.map((row) => this.typeView(row))) } };
  }

  private async type(q: ApiRequest): Promise<Row> {
    const id = q.at["id"] ?? "";
    const row = await this.database.row("SELECT * FROM cinder.volume_types WHERE deleted = 0 AND id = ?", [id]);
    if (row === undefined) throw new Refusal(404, `Volume type ${id} could not be found.`);
    return row;
  }

  private async showType(q: ApiRequest): Promise<Answer> {
    return { status: 200, body: { volume_type: await this.typeView(await this.type(q)) } };
  }

  private async createType(q: ApiRequest): Promise<Answer> {
    this.assertAdmin(q, "volume_extension:type_create");
    const wanted = asObject(q.body["volume_type"]);
    onlyKeys(wanted, ["name", "description", "extra_specs", "os-volume-type-access:is_public"], "create a volume type");
    const name = textOf(wanted["name"]);
    const [taken] = await this.database.rows("SELECT id FROM cinder.volume_types WHERE deleted = 0 AND name = ?", [
      name,
    ]);
    if (taken !== undefined) throw new Refusal(409, `Volume Type ${name} already exists.`);
    const id = randomUUID();
    const isPublic = wanted["os-volume-type-access:is_public"] !== false;
    const description = typeof wanted["description"] === "string" ? wanted["description"] : null;
    await this.database.insert("cinder.volume_types", { id, name, is_public: isPublic ? 1 : 0, description });
    for (const [key, value] of Object.entries(asObject(wanted["extra_specs"])))
      await this.database.insert("cinder.volume_type_extra_specs", { volume_type_id: id, key, value: textOf(value) });
    const body = {
      id,
      name,
      is_public: isPublic,
      extra_specs: asObject(wanted["extra_specs"]),
      description,
      "os-volume-type-access:is_public": isPublic,
    };
    return { status: 200, body: { volume_type: body } };
  }

  private async deleteType(q: ApiRequest): Promise<Answer> {
    this.assertAdmin(q, "volume_extension:type_delete");
    const row = await this.type(q);
    const id = String(row["id"]);
    const [used] = await this.database.rows(
      "SELECT id FROM cinder.volumes WHERE deleted = 0 AND volume_type_id = ? LIMIT 1",
      [id],
    );
    if (used !== undefined) throw new Refusal(400, "Target volume type is still in use.");
    await softDelete(this.database, "volume_types", { id });
    await softDelete(this.database, "volume_type_extra_specs", { volume_type_id: id });
    return { status: 202, headers: html };
  }

  private async showSpecs(q: ApiRequest): Promise<Answer> {
    return { status: 200, body: { extra_specs: await this.specs(String((await this.type(q))["id"])) } };
  }

  private async setSpecs(q: ApiRequest): Promise<Answer> {
    const specs = asObject(q.body["extra_specs"]);
    await this.putSpecs(q, specs);
    return { status: 200, body: { extra_specs: specs } };
  }

  private async setSpec(q: ApiRequest): Promise<Answer> {
    await this.putSpecs(q, q.body);
    return { status: 200, body: q.body };
  }

  private async putSpecs(q: ApiRequest, specs: Json): Promise<void> {
    this.assertAdmin(q, "volume_extension:types_extra_specs:create");
    const id = String((await this.type(q))["id"]);
    for (const [key, value] of Object.entries(specs)) {
      await softDelete(this.database, "volume_type_extra_specs", { volume_type_id: id, key });
      await this.database.insert("cinder.volume_type_extra_specs", { volume_type_id: id, key, value: textOf(value) });
    }
  }

  private async deleteSpec(q: ApiRequest): Promise<Answer> {
    this.assertAdmin(q, "volume_extension:types_extra_specs:delete");
    const key = q.at["key"] ?? "";
    await softDelete(this.database, "volume_type_extra_specs", {
      volume_type_id: String((await this.type(q))["id"]),
      key,
    });
    return { status: 202, headers: html };
  }

  // ----------------------------------------------------------------------------------------------------------- quotas

  private async showQuotas(q: ApiRequest): Promise<Answer> {
    const project = q.at["project"] ?? "";
    if (!isAdmin(q.token) && project !== q.token.projectId)
      throw new Refusal(403, "Policy doesn't allow volume_extension:quotas:show to be performed.");
    return { status: 200, body: { quota_set: { ...(await this.quotas(project)), id: project } } };
  }

  private async setQuotas(q: ApiRequest): Promise<Answer> {
    this.assertAdmin(q, "volume_extension:quotas:update");
    const project = q.at["project"] ?? "";
    const known = Object.keys(await this.quotas(project));
    const wanted = asObject(q.body["quota_set"]);
    onlyKeys(wanted, known, "set quotas");
    for (const [resource, value] of Object.entries(wanted)) {
      const changed = await this.database.update(
        "cinder.quotas",
        { project_id: project, resource },
        { hard_limit: Number(value) },
      );
      if (changed === 0)
        await this.database.insert("cinder.quotas", { project_id: project, resource, hard_limit: Number(value) });
    }
    return { status: 200, body: { quota_set: await this.quotas(project) } };
  }

  private async deleteQuotas(q: ApiRequest): Promise<Answer> {
    this.assertAdmin(q, "volume_extension:quotas:delete");
    await softDelete(this.database, "quotas", { project_id: q.at["project"] ?? "" });
    return { status: 200, headers: {} };
  }

  private async limits(q: ApiRequest): Promise<Answer> {
    const { projectId } = q.token;
    const limits = await this.quotas(projectId);
    const used = (resource: string): Promise<number> => this.used(projectId, resource);
    const absolute = {
      maxTotalVolumes: limits["volumes"],
      maxTotalSnapshots: limits["snapshots"],
      maxTotalVolumeGigabytes: limits["gigabytes"],
      maxTotalBackups: limits["backups"],
      maxTotalBackupGigabytes: limits["backup_gigabytes"],
      totalVolumesUsed: await used("volumes"),
      totalGigabytesUsed: await used("gigabytes"),
      totalSnapshotsUsed: await used("snapshots"),
      totalBackupsUsed: 0,
      totalBackupGigabytesUsed: 0,
    };
    return { status: 200, body: { limits: { rate: [], absolute } } };
  }

  // --------------------------------------------------------------------------------------------------------- messages

  /** rpcapi.py _get_cctxt: topic `cinder-volume.<host@backend>`, server `<host>`. */
  private queueOf(host: string): string {
    const backend = backendOf(host);
    return `cinder-volume.${backend}.${backend.split("@")[0] ?? ""}`;
  }

  private async toBackend(host: string, method: string, args: Json): Promise<void> {
    await this.o.rpc.cast(this.queueOf(host), method, args, "cinder");
  }

  private call(host: string, method: string, args: Json): Promise<unknown> {
    return this.ask(this.queueOf(host), method, args);
  }

  /** What the other side raises, and its silence, is a server error here. */
  private async ask(queue: string, method: string, args: Json): Promise<unknown> {
    try {
      return await this.o.rpc.call(queue, method, args);
    } catch (error) {
      if (error instanceof MessagingTimeout || error instanceof RemoteError) throw new Refusal(500, SERVER_ERROR);
      throw error;
    }
  }
}

const truthy = (text: string | null): boolean => /^(1|true|yes|on|t|y)$/i.test(text ?? "");
const escapeLike = (text: string): string => text.replace(/[\\%_]/g, "\\$&");

/** volume/api.py: `AVAILABLE_MIGRATION_STATUS`. */
const isMigrating = (row: Row): boolean =>
  ![null, "deleting", "error", "success"].includes((row["migration_status"] ?? null) as string | null);

/** volume/api.py: `attachment_create`, `attachment_update`. */
function assertNoError(volume: Row, refusal: number, refused: string): void {
  const status = String(volume["status"]);
  if (status.includes("error"))
    throw new Refusal(
      refusal,
      `${refused} if the volume is in an error state. The Volume ${String(volume["id"])} currently has a status of: ${status} `,
    );
}
