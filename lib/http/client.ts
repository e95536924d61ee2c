import { setTimeout as delay } from "node:timers/promises";
import * as tls from "node:tls";
import { Agent } from "undici";
import type { z } from "zod";
import { DrError, messageOf } from "../errors";
import type { RemoteContext } from "../errors";
import { countRetry } from "../retries";
import { readCaFile } from "./ca-file";

/**
 * JSON over HTTP, for the clients of every API; it knows none of them. It verifies TLS, gives each request a deadline,
 * repeats what is safe to repeat, and turns every failure into a `DrError` without a header or a body in it.
 */

export type Headers = Readonly<Record<string, string>>;

/** What an API says about its own failure; taken out of the body by the API's client. */
export interface VendorError {
  readonly message?: string;
  readonly code?: string;
  /** Codes of the reasons given for this failure, where the API nests them; `context.reasonCodes` of the error. */
  readonly reasonCodes?: readonly string[];
  /** Overrides what the status says. */
  readonly retryable?: boolean;
  /** What the operator does about it, where the answer alone tells. */
  readonly remedy?: string;
}

export interface HttpClientOptions {
  /** Scheme, host, port and the path that every request's path is appended to. No credentials in it. */
  readonly baseUrl: string;
  /**
   * Headers of every request, asked for before each attempt. After a 401 it is called once with `renew: true`; other
   * headers than before mean that the request is sent again.
   */
  readonly headers?: (o: { readonly renew: boolean }) => Promise<Headers>;
  /** PEM file with the only CAs trusted here; where absent, those of Node and of the system. */
  readonly caFile?: string;
  /** Deadline of a request with all its repeats, 30 s where absent. */
  readonly timeoutMs?: number;
  /** Response headers that may hold the request's id, the first one present counts. */
  readonly requestIdHeaders?: readonly string[];
  readonly decodeError?: (status: number, body: unknown) => VendorError | undefined;
  /** Waits between attempts; rejects when the signal fires. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** In [0, 1). */
  readonly random?: () => number;
}

export type QueryValue = string | number | boolean;

export interface HttpRequest<T> {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Appended to the base URL; it may hold a query of its own (links to the next page do). */
  readonly path: string;
  /** Values are percent-encoded; undefined ones are left out. */
  readonly query?: Readonly<Record<string, QueryValue | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Headers;
  /** Statuses that are success; any other is a `remote` error. */
  readonly expected: readonly number[];
  /** Decodes the body of an expected answer; one that doesn't fit is a `remote` error. Without it `T` is unchecked. */
  readonly answer?: z.ZodType<T>;
  /** The answer is taken as the text that it is, JSON or not: `T` is `string`. */
  readonly as?: "text";
  /** What an error says was attempted, "GET <url>" where absent. */
  readonly attempted?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** True for GET and HEAD. What isn't safe to repeat is sent again only if it certainly never left this machine. */
  readonly idempotent?: boolean;
}

export interface HttpResponse<T> {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Headers;
  /** Undefined where the answer was empty. */
  readonly body: T;
  readonly requestId?: string;
}

const attempts = 4;
const firstDelayMs = 200;
const longestDelayMs = 5_000;
/** Overload, and gateways that could not reach what is behind them. */
const passingStatuses: readonly number[] = [429, 502, 503, 504];
/** Of a read also 500: a cloud's APIs answer so while their database or queue is taken over by another node. */
const repeatedStatuses: readonly number[] = [...passingStatuses, 500];

export class HttpClient {
  private readonly baseUrl: string;
  private made: Agent | undefined;

  constructor(private readonly options: HttpClientOptions) {
    const url = new URL(options.baseUrl);
    if (url.username !== "" || url.password !== "")
      throw new DrError({
        code: "config",
        attempted: `Use ${url.origin}${url.pathname}`,
        seen: "the URL holds credentials, which would show up in logs and errors",
        remedy: "Take them out of the URL",
      });
    this.baseUrl = options.baseUrl.replace(/\/+$/, "");
  }

  /** Made for the first request: a CA file that can't be read is that one's fault, and stands in nobody else's way. */
  private get agent(): Agent {
    const secure = this.baseUrl.startsWith("https:");
    return (this.made ??= new Agent({
      connections: 16,
      connect: secure ? { secureContext: secureContext(this.options.caFile) } : {},
    }));
  }

  /**
   * @throws DrError `remote` for an unexpected status or answer, `unreachable` where none came (`context.sent` says
   * whether the request may have taken effect), `config` where the certificate isn't trusted, `stopped` by the signal.
   */
  async request<T = unknown>(request: HttpRequest<T>): Promise<HttpResponse<T>> {
    const url = this.urlOf(request);
    const deadlineMs = request.timeoutMs ?? this.options.timeoutMs ?? 30_000;
    const deadline = AbortSignal.timeout(deadlineMs);
    const signal = request.signal === undefined ? deadline : AbortSignal.any([deadline, request.signal]);
    const idempotent = request.idempotent ?? (request.method === "GET" || request.method === "HEAD");
    const { sleep = sleepFor, random = Math.random } = this.options;

    let headers = (await this.options.headers?.({ renew: false })) ?? {};
    let renewed = false;
    for (let attempt = 1; ; attempt++) {
      let failure: DrError;
      let waitMs = random() * Math.min(longestDelayMs, firstDelayMs * 2 ** attempt);
      try {
        const response = await orAborted(this.send(url, request, headers, signal), signal);
        if (request.expected.includes(response.status)) return this.decode(url, request, response);
        if (response.status === 401 && !renewed && this.options.headers !== undefined) {
          renewed = true;
          const fresh = await this.options.headers({ renew: true });
          if (JSON.stringify(fresh) !== JSON.stringify(headers)) {
            // A 401 is given before anything is done, so this is safe for every method.
            headers = fresh;
            continue;
          }
        }
        failure = this.remoteError(url, request, response, { secrets: secretsSent(headers, request.body) });
        if (!idempotent || !repeatedStatuses.includes(response.status)) throw failure;
        waitMs = Math.max(waitMs, retryAfterMs(response.headers) ?? 0);
        // Longer than this request may take: the caller knows better whether to wait.
        if (waitMs > deadlineMs) throw failure;
      } catch (error) {
        if (DrError.is(error)) throw error;
        if (request.signal?.aborted) throw stopped(url, request, error);
        failure = transportError(url, request, error, deadline.aborted ? deadlineMs : undefined);
        if (failure.code !== "unreachable" || deadline.aborted) throw failure;
        if (!idempotent && failure.context["sent"] !== false) throw failure;
      }
      if (attempt >= attempts) throw failure;
      countRetry();
      try {
        await sleep(waitMs, signal);
      } catch (error) {
        if (request.signal?.aborted) throw stopped(url, request, error);
        throw failure;
      }
    }
  }

  /** Ends idle and running connections; running requests fail. */
  async close(): Promise<void> {
    await this.made?.destroy();
  }

  private urlOf(request: HttpRequest<unknown>): string {
    const url = new URL(this.baseUrl + request.path);
    for (const [name, value] of Object.entries(request.query ?? {}))
      if (value !== undefined) url.searchParams.append(name, String(value));
    return url.href;
  }

  private async send(
    url: string,
    request: HttpRequest<unknown>,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<RawResponse> {
    const target = new URL(url);
    const answer = await this.agent.request({
      origin: target.origin,
      path: target.pathname + target.search,
      method: request.method,
      headers: {
        accept: "application/json",
        ...(request.body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
        ...request.headers,
      },
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      // The deadline covers both of undici's own time-outs.
      headersTimeout: 0,
      bodyTimeout: 0,
      signal,
    });
    const text = await answer.body.text();
    const names: Record<string, string> = {};
    for (const [name, value] of Object.entries(answer.headers))
      if (value !== undefined) names[name] = Array.isArray(value) ? value.join(", ") : value;
    return { status: answer.statusCode, headers: names, text };
  }

  private decode<T>(url: string, request: HttpRequest<T>, response: RawResponse): HttpResponse<T> {
    const requestId = this.requestIdOf(response);
    const head = {
      status: response.status,
      headers: response.headers,
      ...(requestId === undefined ? {} : { requestId }),
    };
    if (request.as === "text") return { ...head, body: response.text as T };
    const parsed = parseJson(response.text);
    if (!parsed.isJson)
      throw this.remoteError(url, request, response, {
        seen: `status ${response.status} with an answer that isn't JSON`,
      });
    if (request.answer === undefined) return { ...head, body: parsed.value as T };
    const decoded = request.answer.safeParse(parsed.value);
    if (decoded.success) return { ...head, body: decoded.data };
    // zod's messages name types and paths, not the values.
    const issues = decoded.error.issues
      .slice(0, 3)
      .map((issue) => `${issue.path.join(".") || "(answer)"}: ${issue.message}`);
    throw this.remoteError(url, request, response, {
      seen: `status ${response.status} with an answer of unknown shape (${issues.join("; ")})`,
    });
  }

  private requestIdOf(response: RawResponse): string | undefined {
    return (this.options.requestIdHeaders ?? ["x-request-id"])
      .map((name) => response.headers[name.toLowerCase()])
      .find(Boolean);
  }

  private remoteError(
    url: string,
    request: HttpRequest<unknown>,
    response: RawResponse,
    { seen, secrets = [] }: { readonly seen?: string; readonly secrets?: readonly string[] },
  ): DrError {
    const body = parseJson(response.text);
    const vendor =
      seen === undefined && body.isJson ? this.options.decodeError?.(response.status, body.value) : undefined;
    const requestId = this.requestIdOf(response);
    const context: RemoteContext = {
      method: request.method,
      url,
      expectedStatus: request.expected,
      status: response.status,
      ...(vendor?.code === undefined ? {} : { vendorCode: vendor.code }),
      ...(requestId === undefined ? {} : { requestId }),
    };
    const message = secrets.reduce<string | undefined>(
      (text, secret) => text?.replaceAll(secret, "…"),
      vendor?.message,
    );
    const reason = [message?.slice(0, 1000), vendor?.code === undefined ? undefined : `(${vendor.code})`]
      .filter((part) => part !== undefined && part !== "")
      .join(" ");
    const what =
      seen ?? `status ${response.status}, needed ${request.expected.join(" or ")}${reason === "" ? "" : `: ${reason}`}`;
    // A gateway's page is no JSON either, and passes.
    const foreign = seen !== undefined || !(body.isJson || passingStatuses.includes(response.status));
    const remedy = vendor?.remedy ?? (foreign ? wrongServer : undefined);
    return new DrError({
      code: "remote",
      attempted: request.attempted ?? `${request.method} ${url}`,
      seen: foreign ? `${what}, from ${new URL(url).host}` : what,
      retryable: seen === undefined && (vendor?.retryable ?? passingStatuses.includes(response.status)),
      context: { ...context, ...(vendor?.reasonCodes?.length ? { reasonCodes: vendor.reasonCodes } : {}) },
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
}

const wrongServer = "See that address, port and path lead to this service, not to a proxy or another program";

interface RawResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

function secureContext(caFile: string | undefined): tls.SecureContext {
  if (caFile === undefined) {
    // Before Node 22.15 there's no way to the system's CAs: those that Node brings along are used.
    if (typeof tls.getCACertificates !== "function") return tls.createSecureContext();
    return tls.createSecureContext({ ca: [...tls.getCACertificates("default"), ...tls.getCACertificates("system")] });
  }
  return tls.createSecureContext({ ca: readCaFile(caFile) });
}

/**
 * What an error never quotes, though the answer may: Keystone's validation, for one, tells the value that it refuses.
 * Headers by their last word (`Basic …`), fields of the body by their names.
 */
function secretsSent(headers: Headers, body: unknown): string[] {
  const found = Object.values(headers).map((value) => value.split(" ").at(-1) ?? value);
  JSON.stringify(body, (name, value: unknown) => {
    if (typeof value === "string" && /pass|secret/i.test(name)) found.push(value);
    return value;
  });
  return found.filter((secret) => secret.length >= shortestSecret);
}

/** Anything shorter would be found in every sentence. */
const shortestSecret = 4;

function parseJson(text: string): { readonly isJson: boolean; readonly value?: unknown } {
  if (text.trim() === "") return { isJson: true, value: undefined };
  try {
    return { isJson: true, value: JSON.parse(text) as unknown };
  } catch {
    return { isJson: false };
  }
}

/** Seconds, or a date; the date is measured against the server's own `Date`, so that the clocks needn't agree. */
function retryAfterMs(headers: Headers): number | undefined {
  const value = headers["retry-after"];
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const waitMs = Date.parse(value) - Date.parse(headers["date"] ?? "");
  return Number.isNaN(waitMs) ? undefined : Math.max(0, waitMs);
}

/**
 * undici tells a request that waits for its connection of an abort only when that is made or given up, 10 s later. It
 * isn't sent then.
 */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** The wait between attempts and polls; rejects when the signal fires. */
export async function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal });
}

/** Codes of Node and undici for a connection that never came about: nothing was sent. */
const neverSent: readonly string[] = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"];
/** OpenSSL's and Node's codes for a certificate that isn't trusted, or a port that doesn't speak TLS. */
const untrusted = /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|INVALID_CA|EPROTO$)/;

function transportError(
  url: string,
  request: HttpRequest<unknown>,
  error: unknown,
  deadlineMs: number | undefined,
): DrError {
  const { code = "", syscall = "" } = error as { code?: string; syscall?: string };
  const attempted = request.attempted ?? `${request.method} ${url}`;
  if (untrusted.test(code))
    return new DrError({
      code: "config",
      attempted,
      seen: `${new URL(url).host} could not be verified: ${messageOf(error)} (${code})`,
      state: "Nothing was sent.",
      remedy: "Name the file with the CA that signed its certificate as caFile, or correct the address",
      context: { method: request.method, url },
      cause: error,
    });
  const sent = !(neverSent.includes(code) || syscall === "connect");
  const changes = request.method !== "GET" && request.method !== "HEAD";
  return new DrError({
    code: "unreachable",
    attempted,
    seen:
      deadlineMs === undefined
        ? `no answer from ${new URL(url).host}: ${messageOf(error) || code}`
        : `no answer from ${new URL(url).host} within ${deadlineMs} ms`,
    ...(changes ? { state: sent ? "Whether it took effect isn't known." : "Nothing was sent." } : {}),
    retryable: true,
    context: { method: request.method, url, sent },
    cause: error,
  });
}

function stopped(url: string, request: HttpRequest<unknown>, cause: unknown): DrError {
  const changes = request.method !== "GET" && request.method !== "HEAD";
  return new DrError({
    code: "stopped",
    attempted: request.attempted ?? `${request.method} ${url}`,
    seen: "the run was asked to stop before the answer came",
    ...(changes ? { state: "Whether it took effect isn't known." } : {}),
    retryable: true,
    context: { method: request.method, url },
    cause,
  });
}
