/**
 * What the simulated services' APIs have in common: routes, tokens, microversions, the shape of refusals, a recorder,
 * faults. A route, query parameter or body key that isn't known is answered with 501 and listed under
 * `GET /_lab/unknown`: a simulator that doesn't know says so.
 */
import { randomUUID } from "node:crypto";
import * as http from "node:http";
import { pause } from "./clock";
import { Faults } from "./faults";
import type { FaultRule } from "./faults";
import type { Token, Tokens } from "./tokens";

export type Json = Record<string, unknown>;

export interface ApiRequest {
  method: string;
  path: string;
  /** What the route's `:names` matched. */
  at: Record<string, string>;
  query: URLSearchParams;
  headers: http.IncomingHttpHeaders;
  body: Json;
  /** Of routes that need one. */
  token: Token;
  /** The microversion asked for, as its minor number. */
  minor: number;
  requestId: string;
}

export interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Route {
  method: string;
  /** "/v3/volumes/:id" */
  path: string;
  /** Names of parameters; none where absent. */
  query?: readonly string[];
  /** Needs no token. */
  open?: true;
  /** Tells no microversion: of what the service itself doesn't know. */
  unversioned?: true;
  run: (request: ApiRequest) => Promise<Answer> | Answer;
}

/** A refusal in the service's own shape. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly fault?: string,
  ) {
    super(message);
  }
}

/** Something that the simulator doesn't know. */
export class NotSimulated extends Error {}

export interface RecordedRequest {
  id: number;
  time: string;
  method: string;
  path: string;
  status: number | undefined;
  /** User-Agent */
  who: string;
  /** The body's first key, which is the name of an action. */
  action?: string;
  /** The fault that it met. */
  fault?: string;
}

export interface ServiceOptions {
  name: string;
  address: string;
  port: number;
  tokens: Tokens;
  routes: readonly Route[];
  /** Builds the body of a refusal. */
  refusal: (refusal: Refusal, request: http.IncomingMessage) => { body: unknown; headers?: Record<string, string> };
  /** First word of the OpenStack-API-Version header, and the newest minor number. */
  versions?: {
    type: string;
    major: number;
    newest: number;
    legacyHeader?: string;
    tooNew: (asked: string) => Answer;
    malformed: (asked: string) => Answer;
  };
  unauthorised: () => Answer;
  /** What every answer takes besides its work. */
  delayMs?: number;
  log: (line: string) => void;
}

interface Compiled extends Route {
  pattern: RegExp;
  names: string[];
}

const kept = 50_000;

export class ApiService {
  readonly faults = new Faults<Answer>();
  private readonly requests: RecordedRequest[] = [];
  private readonly unknown: { method: string; path: string; why: string }[] = [];
  private readonly routes: Compiled[];
  private readonly server: http.Server;
  private lastId = 0;

  constructor(private readonly options: ServiceOptions) {
    this.routes = options.routes.map((route) => {
      const names: string[] = [];
      const source = route.path.replace(/:([a-zA-Z]+)/g, (_, name: string) => {
        names.push(name);
        return "([^/]+)";
      });
      return { ...route, names, pattern: new RegExp(`^${source}$`) };
    });
    this.server = http.createServer((request, response) => void this.serve(request, response));
    this.server.keepAliveTimeout = 30_000;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(this.options.port, this.options.address, resolve);
    });
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://lab");
    const path = url.pathname.replace(/\/+/g, "/");
    const method = request.method ?? "";
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return; // the client went away
    }
    const raw = Buffer.concat(chunks);
    if (path.startsWith("/_lab/")) return this.control(method, url, raw, response);
    const who = request.headers["user-agent"] ?? "";
    const entry: RecordedRequest = {
      id: ++this.lastId,
      time: new Date().toISOString(),
      method,
      path: request.url ?? "",
      status: undefined,
      who,
      ...actionOf(raw),
    };
    this.requests.push(entry);
    if (this.requests.length > kept) this.requests.shift();

    await pause(this.options.delayMs ?? 0);
    let instead: Answer | undefined;
    let times = 1;
    let lost = false;
    let half = false;
    let frozen: string | undefined;
    for (const effect of this.faults.hit(method, path, who)) {
      entry.fault = effect.kind;
      if (effect.kind === "delay") await pause(effect.delayMs);
      else if (effect.kind === "hang") return;
      else if (effect.kind === "reset") return void response.destroy();
      else if (effect.kind === "status")
        instead = { status: effect.status, body: effect.body, headers: effect.headers ?? {} };
      else if (effect.kind === "twice") times = 2;
      else if (effect.kind === "half-answer") half = true;
      else if (effect.kind === "frozen") frozen = `${method} ${request.url ?? ""}`;
      else lost = true;
    }
    const requestId = `req-${randomUUID()}`;
    let answer = instead ?? (frozen === undefined ? undefined : this.faults.frozen.get(frozen));
    if (answer === undefined)
      for (let time = 0; time < times; time++) answer = await this.answer(request, url, path, raw, requestId);
    if (answer === undefined || lost) return void response.destroy();
    if (frozen !== undefined) this.faults.frozen.set(frozen, answer);
    entry.status = answer.status;
    this.write(response, answer, requestId, method, half);
  }

  private write(response: http.ServerResponse, answer: Answer, requestId: string, method: string, half = false): void {
    const headers: Record<string, string> = { "x-openstack-request-id": requestId, ...answer.headers };
    const isText = typeof answer.body === "string";
    const text = answer.body === undefined ? "" : isText ? (answer.body as string) : JSON.stringify(answer.body);
    if ((text !== "" || this.options.versions !== undefined) && headers["content-type"] === undefined)
      headers["content-type"] = "application/json";
    if (answer.status !== 204) headers["content-length"] = String(Buffer.byteLength(text));
    if (half && text === "") return void response.destroy();
    response.writeHead(answer.status, headers);
    if (half) return void response.write(text.slice(0, text.length / 2), () => response.destroy());
    response.end(method === "HEAD" ? "" : text);
  }

  private async answer(
    request: http.IncomingMessage,
    url: URL,
    path: string,
    raw: Buffer,
    requestId: string,
  ): Promise<Answer> {
    const { options } = this;
    const method = request.method ?? "";
    let versionHeaders: Record<string, string> = {};
    try {
      const matching = this.routes.flatMap((route) => {
        const match = route.pattern.exec(path.length > 1 ? path.replace(/\/$/, "") : path) ?? route.pattern.exec(path);
        return match === null ? [] : [{ route, match }];
      });
      const found = matching.find(({ route }) => route.method === method);
      const token = options.tokens.check(request.headers["x-auth-token"]);
      if (found?.route.open !== true && token === undefined) return options.unauthorised();
      if (found === undefined) throw new NotSimulated(`${method} ${path}`);
      const { route, match } = found;
      let minor = 0;
      if (options.versions !== undefined && route.open !== true) {
        const { type, major, newest, legacyHeader, tooNew, malformed } = options.versions;
        const asked = askedVersion(request.headers, type, legacyHeader);
        const [, wantedMajor, wantedMinor] =
          /^(\d+)\.(\d+)$/.exec(asked ?? `${major}.${type === "compute" ? 1 : 0}`) ?? [];
        if (wantedMajor === undefined) return malformed(asked ?? "");
        minor = Number(wantedMinor);
        if (route.unversioned !== true) {
          versionHeaders = {
            "openstack-api-version": `${type} ${wantedMajor}.${minor}`,
            vary: "OpenStack-API-Version",
          };
          if (legacyHeader !== undefined) {
            versionHeaders[legacyHeader] = `${wantedMajor}.${minor}`;
            versionHeaders["vary"] = "OpenStack-API-Version, X-OpenStack-Nova-API-Version";
          }
        }
        if (Number(wantedMajor) !== major || minor > newest) {
          const refused = tooNew(asked ?? "");
          return { ...refused, headers: { ...versionHeaders, ...refused.headers } };
        }
      }
      for (const name of url.searchParams.keys())
        if (!(route.query ?? []).includes(name)) throw new NotSimulated(`${method} ${path}: parameter ${name}`);
      const at = Object.fromEntries(
        route.names.map((name, index) => [name, decodeURIComponent(match[index + 1] ?? "")]),
      );
      const body = parseBody(raw);
      const nobody: Token = { userId: "", userName: "", projectId: "", projectName: "", roles: [], expiresAt: 0 };
      const answer = await route.run({
        method,
        path,
        at,
        query: url.searchParams,
        headers: request.headers,
        body,
        token: token ?? nobody,
        minor,
        requestId,
      });
      return { ...answer, headers: { ...versionHeaders, ...answer.headers } };
    } catch (error) {
      if (error instanceof Refusal) {
        const { body, headers } = options.refusal(error, request);
        return { status: error.status, body, headers: { ...versionHeaders, ...headers } };
      }
      const why = error instanceof Error ? error.message : String(error);
      this.unknown.push({ method, path: request.url ?? "", why });
      options.log(
        `${method} ${request.url ?? ""}: ${error instanceof NotSimulated ? "not simulated: " + why : error instanceof Error ? (error.stack ?? why) : why} (${requestId})`,
      );
      return {
        status: 501,
        body: { notSimulated: { code: 501, message: `The simulated ${options.name} doesn't know this: ${why}` } },
      };
    }
  }

  private control(method: string, url: URL, raw: Buffer, response: http.ServerResponse): void {
    const answer = (status: number, body: unknown): void => this.write(response, { status, body }, "-", method);
    try {
      switch (`${method} ${url.pathname}`) {
        case "GET /_lab/requests": {
          const since = Number(url.searchParams.get("since") ?? 0);
          return answer(
            200,
            this.requests.filter(({ id }) => id > since),
          );
        }
        case "GET /_lab/unknown":
          return answer(200, this.unknown);
        case "POST /_lab/faults":
          this.faults.add(JSON.parse(raw.toString()) as FaultRule);
          return answer(200, {});
        case "DELETE /_lab/faults":
          this.faults.clear();
          return answer(200, {});
        default:
          return answer(404, { error: `No ${method} ${url.pathname} here.` });
      }
    } catch (error) {
      answer(400, { error: error instanceof Error ? error.message : String(error) });
    }
  }
}

function askedVersion(headers: http.IncomingHttpHeaders, type: string, legacyHeader?: string): string | undefined {
  const header = headers["openstack-api-version"];
  const named = (typeof header === "string" ? header : "")
    .split(",")
    .map((part) => part.trim().split(/\s+/))
    .find(([name]) => name === type);
  if (named?.[1] !== undefined) return named[1];
  const legacy = legacyHeader === undefined ? undefined : headers[legacyHeader];
  return typeof legacy === "string" ? legacy : undefined;
}

function actionOf(raw: Buffer): { action?: string } {
  try {
    const [action] = Object.keys(parseBody(raw));
    return action === undefined ? {} : { action };
  } catch {
    return {};
  }
}

function parseBody(raw: Buffer): Json {
  if (raw.length === 0) return {};
  try {
    const value = JSON.parse(raw.toString()) as unknown;
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
  } catch {
    throw new Refusal(400, "Malformed request body");
  }
}

export const asObject = (value: unknown): Json =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};

/** Throws for a key that isn't known. */
export function onlyKeys(value: Json, known: readonly string[], where: string): void {
  const strange = Object.keys(value).filter((key) => !known.includes(key));
  if (strange.length > 0) throw new NotSimulated(`${where}: ${strange.join(", ")}`);
}
