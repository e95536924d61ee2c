import { z } from "zod";
import { DrError, extend } from "../errors";
import { HttpClient } from "../http/client";
import type { HttpRequest, HttpResponse, VendorError } from "../http/client";

/**
 * What OpenStack's services have in common: an endpoint from the catalogue, a token that is renewed, microversions,
 * the shape of their errors, and pages.
 */

/** Where requests go and what opens the door; Keystone's session is one. */
export interface TokenProvider {
  /** URL of the service, by its official type or an alias of it. */
  endpoint(type: string): Promise<string>;
  token(): Promise<string>;
  /** The token was refused: forget it, so that the next `token()` is another one. */
  invalidate(token: string): void;
}

export interface ServiceApiOptions {
  readonly tokens: TokenProvider;
  /** PEM file with the only CAs trusted here. */
  readonly caFile?: string;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random?: () => number;
}

/** A service's microversions: `[3, 61]` is 3.61. */
export type Microversion = readonly [major: number, minor: number];

export interface MicroversionRange {
  /** Below this the client can't work. */
  readonly needed: Microversion;
  /** Nothing newer is asked for: what it means isn't known. */
  readonly newest: Microversion;
}

interface Service {
  readonly type: "block-storage" | "compute";
  /** First word of the header OpenStack-API-Version. */
  readonly header: "volume" | "compute";
  /** Path of the API where the catalogue's URL has none: `/v3`. */
  readonly path: string;
  readonly name: string;
  readonly decodeError?: (status: number, message: string) => Pick<VendorError, "retryable">;
}

export type ServiceRequest<T> = HttpRequest<T> & { readonly microversion: Microversion };

const versionsSchema = z.object({
  versions: z.array(z.object({ id: z.string(), version: z.string().optional(), min_version: z.string().optional() })),
});

export class ServiceApi {
  private opened: Promise<{ readonly http: HttpClient; readonly prefix: string }> | undefined;
  private negotiated: Promise<Microversion> | undefined;

  constructor(
    private readonly service: Service,
    private readonly range: MicroversionRange,
    private readonly options: ServiceApiOptions,
  ) {}

  /** @throws DrError as `HttpClient.request` does, with what an operator can do about 401, 403 and 406. */
  async request<T = unknown>(request: ServiceRequest<T>): Promise<HttpResponse<T>> {
    const { http, prefix } = await this.open();
    const { microversion, ...rest } = request;
    try {
      return await http.request({
        ...rest,
        path: prefix + request.path,
        headers: { ...request.headers, "openstack-api-version": `${this.service.header} ${format(microversion)}` },
      });
    } catch (error) {
      throw this.explain(error);
    }
  }

  /**
   * The newest microversion that both sides know, asked once of `GET /`, which needs no token (Cinder answers 300 to
   * it, Nova 200).
   *
   * @throws DrError `precondition` where the service is too old.
   */
  async microversion(): Promise<Microversion> {
    this.negotiated ??= this.negotiate().catch((error: unknown) => {
      this.negotiated = undefined;
      throw error;
    });
    return await this.negotiated;
  }

  async close(): Promise<void> {
    const opened = this.opened;
    this.opened = undefined;
    if (opened !== undefined) await (await opened).http.close();
  }

  private async negotiate(): Promise<Microversion> {
    const { http, prefix } = await this.open();
    const attempted = `Ask ${this.service.name} for its microversions`;
    const { body } = await http.request({
      method: "GET",
      path: "/",
      expected: [200, 300],
      answer: versionsSchema,
      attempted,
    });
    const id = /^\/(v[0-9.]+)/.exec(prefix)?.[1] ?? "";
    const found = body.versions.find((version) => version.id === id || version.id === `${id}.0`);
    const [lowest, highest] = [parse(found?.min_version), parse(found?.version)];
    const { needed, newest } = this.range;
    if (lowest === undefined || highest === undefined || compare(highest, needed) < 0 || compare(lowest, newest) > 0)
      throw new DrError({
        code: "precondition",
        attempted,
        seen: `${found === undefined ? `no ${id} among its versions` : `${found.min_version ?? ""} to ${found.version ?? ""}`}, needed ${format(needed)} to ${format(newest)}`,
        remedy: `Upgrade ${this.service.name}, or correct the catalogue's endpoint of ${this.service.type}`,
      });
    return compare(highest, newest) < 0 ? highest : newest;
  }

  private async open(): Promise<{ readonly http: HttpClient; readonly prefix: string }> {
    this.opened ??= this.connect().catch((error: unknown) => {
      this.opened = undefined;
      throw error;
    });
    return await this.opened;
  }

  private async connect(): Promise<{ readonly http: HttpClient; readonly prefix: string }> {
    const { tokens, caFile, sleep, random } = this.options;
    const endpoint = await tokens.endpoint(this.service.type);
    // The catalogue has `<root>/v3/<project>`, `<root>/v3`, or the root alone.
    const [, root = endpoint, path] = /^(.+?)(\/v[0-9.]+(?:\/[^/]+)?)?\/*$/.exec(endpoint) ?? [];
    let last = "";
    const http = new HttpClient({
      baseUrl: root,
      headers: async ({ renew }) => {
        if (renew) tokens.invalidate(last);
        last = await tokens.token();
        return { "x-auth-token": last };
      },
      requestIdHeaders: ["x-openstack-request-id", "x-compute-request-id"],
      decodeError: (status, body) => {
        const fault = faultOf(body);
        return fault === undefined
          ? undefined
          : { ...fault, ...this.service.decodeError?.(status, fault.message ?? "") };
      },
      ...(caFile === undefined ? {} : { caFile }),
      ...(sleep === undefined ? {} : { sleep }),
      ...(random === undefined ? {} : { random }),
    });
    return { http, prefix: path ?? this.service.path };
  }

  private explain(error: unknown): unknown {
    switch (statusOf(error)) {
      case 401:
        return extend(error, {
          remedy:
            "The token was renewed and refused again: see that the credential still stands and, for an application credential, that its access rules allow this call",
        });
      case 403:
        // Limits are refused with 403 too.
        if (!DrError.is(error) || !/\bpolicy\b/i.test(error.seen)) return error;
        return extend(error, {
          remedy: "Give the credential the role admin on its project; a token of system scope is refused by Nova",
        });
      case 406:
        return extend(error, {
          remedy: `Every API server of ${this.service.name} has to be of one release: see which one answered`,
        });
      default:
        return error;
    }
  }
}

/** The status of the answer that an error is about. */
export function statusOf(error: unknown): number | undefined {
  if (!DrError.is(error, "remote")) return undefined;
  const status = error.context["status"];
  return typeof status === "number" ? status : undefined;
}

/**
 * All items of a listing. `page` gets the id of the last item seen and says whether there is more; its items are
 * ordered by id, so that one made meanwhile shifts nobody. A marker that was deleted meanwhile is refused (Cinder 404,
 * Nova 400): then the listing begins again.
 */
export async function listPages<T extends { readonly id: string }>(
  page: (marker: string | undefined) => Promise<{ readonly items: readonly T[]; readonly more: boolean }>,
): Promise<readonly T[]> {
  for (let restarts = 0; ; restarts++) {
    const items = new Map<string, T>();
    let marker: string | undefined;
    try {
      for (;;) {
        const { items: next, more } = await page(marker);
        for (const item of next) items.set(item.id, item);
        const last = next.at(-1);
        if (!more || last === undefined) return [...items.values()];
        marker = last.id;
      }
    } catch (error) {
      const status = statusOf(error);
      if (marker === undefined || (status !== 404 && status !== 400)) throw error;
      if (restarts >= 3)
        throw extend(error, {
          state: "The listing was begun four times, and each time an item it had come to was deleted",
          retryable: true,
        });
    }
  }
}

/** `{"itemNotFound": {"code": 404, "message": …}}`, and keystonemiddleware's `{"error": …}`. */
export function faultOf(body: unknown): VendorError | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  for (const [code, fault] of Object.entries(body)) {
    const message = (fault as { message?: unknown } | null)?.message;
    if (typeof message === "string") return { code, message };
  }
  return undefined;
}

function parse(text: string | undefined): Microversion | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)$/.exec(text ?? "") ?? [];
  return major === undefined || minor === undefined ? undefined : [Number(major), Number(minor)];
}

function format(version: Microversion): string {
  return version.join(".");
}

function compare(a: Microversion, b: Microversion): number {
  return a[0] - b[0] || a[1] - b[1];
}
