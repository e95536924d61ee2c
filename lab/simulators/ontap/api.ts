/** Routes of the simulated REST interface, and what every one of them has in common. */
import { pause } from "./clock";
import { notFound, OntapError, refused, svmNotFound, unknownArgument, unknownRoute, unsupportedVerb } from "./errors";
import { startJob } from "./jobs";
import { svmByName, type Cluster, type Svm } from "./state";
import type { FieldSet } from "./wire";
import {
  checkBody,
  filterRecords,
  isLiteral,
  isObject,
  nest,
  page,
  parseQuery,
  selectFields,
  textOf,
  type Json,
  type JsonObject,
  type Query,
  type ResourceShape,
} from "./wire";
import type { World } from "./world";

export type Method = "GET" | "POST" | "PATCH" | "DELETE";

export interface ApiRequest {
  readonly world: World;
  readonly cluster: Cluster;
  readonly method: Method;
  /** after /api, without the query */
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly body: JsonObject;
  /** the SVM that X-Dot-SVM-Name or -UUID names */
  readonly tunnel: Svm | undefined;
  /** links wanted: anything but Accept: application/json */
  readonly hal: boolean;
  /** a fault that lets the job of this request fail instead of working */
  readonly jobFailure: OntapError | undefined;
}

export interface Reply {
  readonly status: number;
  readonly body: JsonObject;
  readonly headers?: Record<string, string>;
}

export interface Route {
  readonly method: Method;
  /** "/storage/luns/{uuid}" */
  readonly path: string;
  /** query parameters of its own */
  readonly parameters?: readonly string[];
  /** query may filter by these fields (collections) */
  readonly filters?: FieldSet;
  /** body fields it accepts */
  readonly body?: FieldSet;
  readonly handle: (request: ApiRequest) => Promise<Reply> | Reply;
}

export const ok = (body: JsonObject = {}): Reply => ({ status: 200, body });

// ------------------------------------------------------------------------------------------------ resources

export interface Resource<T> extends ResourceShape {
  readonly path: string;
  /** Items in their natural order; limited to the tunnelled SVM by svmOf. May leave out what has another value than `wanted` of a field. */
  list(request: ApiRequest, wanted: Wanted): T[];
  render(item: T, request: ApiRequest): JsonObject;
  svmOf?(item: T): string | undefined;
  /** Only for collections below another resource. */
  readonly parameters?: readonly string[];
}

/** What the caller keeps of a field's values: that one only. Undefined: any. */
export type Wanted = (field: string) => string | undefined;

const wantedByQuery =
  ({ query }: ApiRequest): Wanted =>
  (field) => {
    const pattern = query.filters.get(field);
    return pattern !== undefined && isLiteral(pattern) ? pattern : undefined;
  };

export function itemsOf<T>(resource: Resource<T>, request: ApiRequest, wanted: Wanted = wantedByQuery(request)): T[] {
  const items = resource.list(request, wanted);
  const { tunnel } = request;
  return tunnel && resource.svmOf ? items.filter((item) => resource.svmOf?.(item) === tunnel.uuid) : items;
}

const pathOf = (template: string, params: Readonly<Record<string, string>>): string =>
  template.replace(/\{([^}]+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));

const keyPath = <T>(resource: Resource<T>, request: ApiRequest, record: JsonObject): string =>
  `${pathOf(resource.path, request.params)}/${resource.keys.map((k) => encodeURIComponent(keyValue(record, k))).join("/")}`;

function keyValue(record: JsonObject, key: string): string {
  let value: Json | undefined = record;
  for (const part of key.split(".")) value = isObject(value) ? value[part] : undefined;
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

/** Finds the item that the path's last parameters name; 404 code 4 otherwise. */
export function find<T>(resource: Resource<T>, request: ApiRequest, values: readonly string[]): T {
  for (const item of itemsOf(resource, request, (field) => values[resource.keys.indexOf(field)])) {
    const record = resource.render(item, request);
    if (resource.keys.every((key, i) => keyValue(record, key) === values[i])) return item;
  }
  throw notFound(resource.keys[0]?.split(".").at(-1) ?? "uuid");
}

/** The items that a query on the collection selects (query-based PATCH and DELETE). */
export function select<T>(resource: Resource<T>, request: ApiRequest): T[] {
  const pairs = itemsOf(resource, request).map((item) => ({ item, record: resource.render(item, request) }));
  const hits = new Set(
    filterRecords(
      pairs.map((p) => p.record),
      request.query,
      resource,
    ),
  );
  return pairs.filter((p) => hits.has(p.record)).map((p) => p.item);
}

const selfLink = (href: string): JsonObject => ({ self: { href } });

/** Key fields of one item, as return_records=true gives them back. */
export function keyRecord<T>(resource: Resource<T>, request: ApiRequest, item: T): JsonObject {
  const record = resource.render(item, request);
  const out = selectFields(
    record,
    { ...request.query, fields: [...resource.keys, ...resource.defaults], filters: new Map() },
    resource,
    false,
  );
  return { ...out, _links: selfLink(`/api${keyPath(resource, request, record)}`) };
}

/** GET of the collection and of one instance. */
export function readRoutes<T>(resource: Resource<T>): Route[] {
  const collection: Route = {
    method: "GET",
    path: resource.path,
    filters: resource.fields,
    ...(resource.parameters ? { parameters: resource.parameters } : {}),
    handle: (request) => {
      const { query } = request;
      const records = filterRecords(
        itemsOf(resource, request).map((item) => resource.render(item, request)),
        query,
        resource,
      );
      if (query.returnRecords === false) return ok({ num_records: records.length });
      const { records: cut, next } = page(records, query, resource);
      const rendered = cut.map((record) => ({
        ...selectFields(record, query, resource, false),
        ...(request.hal ? { _links: selfLink(`/api${keyPath(resource, request, record)}`) } : {}),
      }));
      const search = [...query.all].map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`).join("&");
      const links: JsonObject = {
        ...(request.hal ? selfLink(`/api${request.path}${search ? `?${search}` : ""}`) : {}),
        ...(next === undefined ? {} : { next: { href: next } }),
      };
      return {
        status: 200,
        body: {
          records: rendered,
          num_records: rendered.length,
          ...(Object.keys(links).length ? { _links: links } : {}),
        },
        ...(next === undefined ? {} : { headers: { link: `<${next}>; rel="next"` } }),
      };
    },
  };
  const keyParams = resource.keys.map((k) => `key:${k}`);
  const instance: Route = {
    method: "GET",
    path: `${resource.path}/${keyParams.map((k) => `{${k}}`).join("/")}`,
    handle: (request) => {
      const item = find(
        resource,
        request,
        keyParams.map((k) => request.params[k] ?? ""),
      );
      const record = resource.render(item, request);
      return ok({
        ...selectFields(record, request.query, resource, true),
        ...(request.hal ? { _links: selfLink(`/api${keyPath(resource, request, record)}`) } : {}),
      });
    },
  };
  return [collection, instance];
}

/** 201 with Location, and the record when return_records asks for it (or `always`). */
export function created<T>(resource: Resource<T>, request: ApiRequest, items: readonly T[], always = false): Reply {
  const records = items.map((item) => keyRecord(resource, request, item));
  const first = items[0];
  const location =
    first === undefined ? undefined : `/api${keyPath(resource, request, resource.render(first, request))}`;
  return {
    status: 201,
    body: always || request.query.returnRecords === true ? { num_records: records.length, records } : {},
    ...(location === undefined ? {} : { headers: { location } }),
  };
}

// ------------------------------------------------------------------------------------------------ jobs

export interface JobOptions {
  readonly location?: string;
  readonly records?: () => JsonObject[];
  readonly svmUuid?: string | undefined;
}

/**
 * Answers 202 with a job, or, if it ends within return_timeout, 201 (POST) or 200 with the ended job; a failure within
 * return_timeout is an ordinary error.
 */
export async function inJob(request: ApiRequest, work: () => Promise<void>, options: JobOptions = {}): Promise<Reply> {
  const { world, cluster, method, path, query, jobFailure } = request;
  const job = startJob(world, cluster, `${method} /api${path}`, options.svmUuid, () =>
    jobFailure ? Promise.reject(jobFailure) : work(),
  );
  const waitMs = (query.returnTimeoutSeconds ?? 0) * 1000;
  if (waitMs > 0) {
    const stop = new AbortController();
    await Promise.race([job.done, pause(waitMs, stop.signal)]);
    stop.abort();
  }
  if (waitMs > 0 && job.state === "failure" && job.error) {
    throw new OntapError(400, job.error.code, job.error.message, job.error.target);
  }
  const finished = waitMs > 0 && job.state === "success";
  const records = query.returnRecords === true ? options.records?.() : undefined;
  return {
    status: finished ? (method === "POST" ? 201 : 200) : 202,
    body: {
      job: { uuid: job.uuid, _links: selfLink(`/api/cluster/jobs/${job.uuid}`) },
      ...(records ? { num_records: records.length, records } : {}),
    },
    ...(options.location === undefined ? {} : { headers: { location: `/api${options.location}` } }),
  };
}

// ------------------------------------------------------------------------------------------------ dispatch

export interface Call {
  readonly method: string;
  /** raw path and query as sent */
  readonly url: string;
  readonly body: string;
  readonly accept: string;
  readonly svmName: string | undefined;
  readonly svmUuid: string | undefined;
  readonly jobFailure: OntapError | undefined;
}

/** "/api//cluster/?x" → ["/cluster", "x"]: doubled slashes collapse, a trailing one is dropped. */
export function splitUrl(url: string): [string, string] {
  const mark = url.indexOf("?");
  const path = (mark < 0 ? url : url.slice(0, mark)).replace(/\/{2,}/g, "/").replace(/\/$/, "");
  return [path, mark < 0 ? "" : url.slice(mark + 1)];
}

/** Of the routes' paths: the same few for every request. */
const segments = new Map<string, readonly string[]>();
function segmentsOf(template: string): readonly string[] {
  const known = segments.get(template) ?? template.split("/");
  segments.set(template, known);
  return known;
}

function matchPath(template: string, b: readonly string[]): Record<string, string> | undefined {
  const a = segmentsOf(template);
  if (a.length !== b.length) return undefined;
  const params: Record<string, string> = {};
  for (let i = 0; i < a.length; i++) {
    const [want = "", have = ""] = [a[i], b[i]];
    if (want.startsWith("{")) {
      try {
        params[want.slice(1, -1)] = decodeURIComponent(have);
      } catch {
        params[want.slice(1, -1)] = have;
      }
    } else if (want !== have) return undefined;
  }
  return params;
}

export async function dispatch(world: World, cluster: Cluster, routes: readonly Route[], call: Call): Promise<Reply> {
  const [full, search] = splitUrl(call.url);
  if (!full.startsWith("/api")) throw unknownRoute();
  const path = full.slice(4);
  const method = call.method === "HEAD" ? "GET" : call.method;
  const parts = path.split("/");
  const candidates = routes.flatMap((route) => {
    const params = matchPath(route.path, parts);
    return params ? [{ route, params }] : [];
  });
  if (candidates.length === 0) throw unknownRoute();
  if (method === "OPTIONS") {
    return {
      status: 200,
      body: {},
      headers: { allow: [...new Set(candidates.map((c) => c.route.method))].join(", ") },
    };
  }
  const literal = (c: { route: Route }): number => c.route.path.split("{").length;
  const hit = candidates.filter((c) => c.route.method === method).sort((x, y) => literal(x) - literal(y))[0];
  if (!hit) throw unsupportedVerb();
  const { route, params } = hit;

  const query = parseQuery(path, search, route.parameters ?? []);
  if (!route.filters) for (const name of query.filters.keys()) throw unknownArgument(name);
  const body = parseBody(call.body);
  if (route.body) checkBody(body, route.body);
  else if (Object.keys(body).length > 0) {
    throw new OntapError(400, "262198", "The request body is not allowed on GET, HEAD, and DELETE.", undefined, true);
  }

  let tunnel: Svm | undefined;
  if (call.svmName !== undefined || call.svmUuid !== undefined) {
    tunnel = call.svmUuid === undefined ? svmByName(cluster, call.svmName ?? "") : cluster.svms.get(call.svmUuid);
    if (!tunnel) throw svmNotFound(call.svmName ?? call.svmUuid ?? "");
  }
  const named = isObject(body["svm"]) ? body["svm"] : undefined;
  if (
    tunnel &&
    named &&
    ((named["name"] ?? tunnel.name) !== tunnel.name || (named["uuid"] ?? tunnel.uuid) !== tunnel.uuid)
  ) {
    throw refused(262245, "The SVM in the body does not match the SVM that the request is sent to.", "svm");
  }
  return route.handle({
    world,
    cluster,
    method: route.method,
    path,
    params,
    query,
    body,
    tunnel,
    hal: !call.accept.includes("application/json"),
    jobFailure: call.jobFailure,
  });
}

function parseBody(text: string): JsonObject {
  if (text.trim() === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new OntapError(400, "262199", "Invalid JSON input.");
  }
  if (!isObject(value)) throw new OntapError(400, "262199", "Invalid JSON input, an object is expected.");
  return nest(value);
}

/** The SVM that a body names, or the tunnelled one. */
export function svmOfBody(request: ApiRequest): Svm {
  const named = request.body["svm"];
  const { cluster, tunnel } = request;
  if (isObject(named)) {
    const uuid = named["uuid"];
    const name = named["name"];
    const svm =
      typeof uuid === "string" ? cluster.svms.get(uuid) : svmByName(cluster, typeof name === "string" ? name : "");
    if (!svm) throw svmNotFound(textOf(name ?? uuid));
    return svm;
  }
  if (tunnel) return tunnel;
  throw new OntapError(400, "262212", 'A required value for "svm.name" is missing.', "svm.name");
}

export const svmRef = (cluster: Cluster, uuid: string | undefined): JsonObject | undefined => {
  const svm = uuid === undefined ? undefined : cluster.svms.get(uuid);
  return svm ? { name: svm.name, uuid: svm.uuid } : undefined;
};
