import { z } from "zod";
import { DrError } from "../errors";
import { HttpClient, sleepFor } from "../http/client";
import type { QueryValue, VendorError } from "../http/client";
import { errorCodes, isNotFound, passesByItself } from "./error-codes";

/**
 * What all areas of ONTAP's REST API share: basic authentication, errors, collections in pages, jobs.
 * Wire facts: ONTAP 9.17.1 REST reference, "Getting started" (NetAppDocs/ontap-restapi), unless something else is named.
 */

export interface OntapApiOptions {
  readonly address: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  readonly caFile?: string;
  /** Deadline of one request with its repeats; 30 s where absent. */
  readonly timeoutMs?: number;
  /** How long a job may take; 10 minutes where absent, as a resync's job was seen to take more than one. */
  readonly jobTimeoutMs?: number;
  /** Records asked for in one answer; 1000 where absent, so that none runs into ONTAP's own limit of 15 s. */
  readonly pageSize?: number;
  /** Ends what runs. */
  readonly signal?: AbortSignal;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random?: () => number;
}

export type Query = Readonly<Record<string, QueryValue | undefined>>;

export interface Change {
  readonly method: "POST" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** For the error: what was attempted on what. */
  readonly attempted: string;
}

export interface ChangeAnswer {
  readonly body: unknown;
  /** Path of what was made, where ONTAP names it. */
  readonly location?: string;
}

const text = z.union([z.string(), z.number()]).transform(String);
const errorBody = z.object({
  message: z.string().optional(),
  code: text.optional(),
  arguments: z.array(z.object({ code: text.optional(), message: z.string().optional() })).optional(),
});
const page = z.object({
  records: z.array(z.unknown()),
  // Sent whatever the Accept header says (ONTAP automation guide, "input variables").
  _links: z.object({ next: z.object({ href: z.string() }).optional() }).optional(),
});
const changed = z.object({ job: z.object({ uuid: z.string() }).optional() }).optional();
/** State of a job: queued, running, paused, success, failure; a failed one has its code as number and as string. */
const jobBody = z.object({
  state: z.string(),
  message: z.string().optional(),
  code: text.optional(),
  error: errorBody.optional(),
});

export class OntapApi {
  private readonly http: HttpClient;
  private readonly random: () => number;
  private readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  private readonly jobTimeoutMs: number;

  constructor(private readonly options: OntapApiOptions) {
    const { address, port, username, password, caFile, timeoutMs, sleep, random } = options;
    const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    this.random = random ?? Math.random;
    this.sleep = sleep ?? sleepFor;
    this.jobTimeoutMs = options.jobTimeoutMs ?? 600_000;
    this.http = new HttpClient({
      baseUrl: `https://${address.includes(":") ? `[${address}]` : address}:${port}`,
      headers: () => Promise.resolve({ authorization }),
      decodeError: (status, body) => ({
        ...withRemedy(status, decodeError((body as { error?: unknown } | undefined)?.error)),
        ...(status === 401 || status === 403 ? { remedy: remedyOfRefused(status, username) } : {}),
      }),
      sleep: this.sleep,
      random: this.random,
      ...(caFile === undefined ? {} : { caFile }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  close(): Promise<void> {
    return this.http.close();
  }

  /** @throws DrError `remote` with code 4 where it's absent: see `isNotFound`. */
  async get<T>(attempted: string, path: string, answer: z.ZodType<T>, query?: Query): Promise<T> {
    const response = await this.http.request({
      method: "GET",
      path,
      expected: [200],
      answer,
      attempted,
      ...(query === undefined ? {} : { query }),
      ...this.signal(),
    });
    return response.body;
  }

  /** As `get`; undefined where it's absent. */
  async find<T>(attempted: string, path: string, answer: z.ZodType<T>, query?: Query): Promise<T | undefined> {
    try {
      return await this.get(attempted, path, answer, query);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** All records of a collection, pages followed. A page may be empty and still have a next one. */
  async list<T>(attempted: string, path: string, record: z.ZodType<T>, query: Query): Promise<T[]> {
    const answer = page.extend({ records: z.array(record) });
    const records: T[] = [];
    const seen = new Set<string>();
    let next: string | undefined;
    do {
      const body: z.output<typeof answer> =
        next === undefined
          ? await this.get(attempted, path, answer, { ...query, max_records: this.options.pageSize ?? 1000 })
          : await this.get(attempted, next, answer);
      records.push(...body.records);
      next = body._links?.next?.href;
      // A link to another host would be sent our password; one that was there before would never end.
      if (next !== undefined && (!next.startsWith("/api/") || seen.has(next)))
        throw new DrError({
          code: "remote",
          attempted,
          seen: `the link to the next page is "${next}", needed a path below /api/ that wasn't there before`,
          context: { method: "GET", url: path },
        });
      if (next !== undefined) seen.add(next);
    } while (next !== undefined);
    return records;
  }

  /**
   * Sends a change and waits until its job has ended. If the process dies here, the job goes on in ONTAP: every caller
   * finds out what is there before it asks again. A job that ended longer ago than ONTAP remembers it (300 s) counts as
   * ended: callers look at the object, not at this answer.
   */
  async change(change: Change): Promise<ChangeAnswer> {
    const { method, path, query, body, attempted } = change;
    const response = await this.http.request({
      method,
      path,
      expected: [200, 201, 202],
      answer: z.unknown(),
      attempted,
      ...(query === undefined ? {} : { query }),
      ...(body === undefined ? {} : { body }),
      ...this.signal(),
    });
    const job = changed.safeParse(response.body).data?.job;
    if (job !== undefined) await this.waitForJob(attempted, job.uuid);
    const location = response.headers["location"];
    return { body: response.body, ...(location === undefined ? {} : { location }) };
  }

  private async waitForJob(attempted: string, uuid: string): Promise<void> {
    const path = `/api/cluster/jobs/${uuid}`;
    await this.poll({
      attempted,
      awaited: `job ${uuid} to end`,
      timeoutMs: this.jobTimeoutMs,
      read: async () => {
        const job = await this.find(attempted, path, jobBody, { fields: "state,message,code,error" });
        if (job === undefined || job.state === "success") return { done: true };
        if (["queued", "running", "paused", "pausing"].includes(job.state)) return { seen: `the job is ${job.state}` };
        const reason = withRemedy(400, decodeError(job.error ?? { message: job.message, code: job.code }));
        throw new DrError({
          code: "remote",
          attempted,
          seen: `job ${uuid} ended as ${job.state}: ${reason.message ?? job.message ?? "no reason given"} (${reason.code ?? "no code"})`,
          retryable: reason.retryable ?? false,
          ...(reason.remedy === undefined ? {} : { remedy: reason.remedy }),
          context: {
            method: "GET",
            url: path,
            ...(reason.code === undefined ? {} : { vendorCode: reason.code }),
            ...(reason.reasonCodes?.length ? { reasonCodes: reason.reasonCodes } : {}),
          },
        });
      },
    });
  }

  /**
   * Reads with exponential back-off until it's done.
   * @throws DrError `wait-timeout` with what was seen last, `stopped` by the signal, and whatever `read` throws.
   */
  async poll<T>(o: {
    readonly attempted: string;
    readonly awaited: string;
    readonly timeoutMs: number;
    readonly read: () => Promise<{ readonly done: T } | { readonly seen: string }>;
  }): Promise<T> {
    const deadline = AbortSignal.timeout(o.timeoutMs);
    const stop = this.options.signal;
    const signal = stop === undefined ? deadline : AbortSignal.any([deadline, stop]);
    for (let attempt = 0; ; attempt++) {
      const answer = await o.read();
      if ("done" in answer) return answer.done;
      // Between half and the whole of 0.2, 0.4, … 5 s.
      const waitMs = Math.min(5_000, 200 * 2 ** attempt) * (0.5 + this.random() / 2);
      await this.sleep(waitMs, signal).catch(() => undefined);
      if (stop?.aborted)
        throw new DrError({
          code: "stopped",
          attempted: o.attempted,
          seen: `stopped waiting for ${o.awaited}; ${answer.seen}`,
          retryable: true,
        });
      if (deadline.aborted)
        throw new DrError({
          code: "wait-timeout",
          attempted: o.attempted,
          seen: `waited ${o.timeoutMs} ms for ${o.awaited}; ${answer.seen}`,
          remedy: "It may still happen: look at the object in ONTAP, then repeat",
          retryable: true,
        });
    }
  }

  /**
   * Makes a change that may have been made before: where ONTAP refuses it, or no answer came, what is there decides. So
   * a repeat after a lost answer is success.
   */
  async converge<T>(change: () => Promise<unknown>, reached: () => Promise<T | undefined>): Promise<T | undefined> {
    try {
      await change();
    } catch (error) {
      if (!DrError.is(error, "remote") && !DrError.is(error, "unreachable")) throw error;
      // If this fails too, the first failure is the one to tell.
      const result = await reached().catch(() => undefined);
      if (result === undefined) throw error;
      return result;
    }
    return undefined;
  }

  private signal(): { signal?: AbortSignal } {
    return this.options.signal === undefined ? {} : { signal: this.options.signal };
  }
}

/** What is wrong is in ONTAP's own words, where it refuses something for good. */
function withRemedy(status: number, error: VendorError): VendorError {
  const forGood = status >= 400 && status < 500 && status !== 429 && error.retryable !== true;
  return forGood && error.message !== undefined && error.code !== errorCodes.notFound
    ? { ...error, remedy: "Correct in ONTAP, or in the configuration, what it names; then repeat" }
    : error;
}

/** 401: the account or its password; 403: the role of the account (codes 6691623 and 6). */
function remedyOfRefused(status: 401 | 403, username: string): string {
  return status === 401
    ? `See that ontapPasswords holds the password of "${username}" for this site. \`pulumi destroy\` and \`pulumi refresh\` use the configuration of the last \`pulumi up\`: run that first, or add --run-program`
    : `Give "${username}" a role that may do this`;
}

/** `{message, code, arguments: [{code, message}]}`; the arguments hold the reasons below this error. */
function decodeError(body: unknown): VendorError {
  const error = errorBody.safeParse(body).data;
  if (error === undefined) return {};
  const reasons = (error.arguments ?? []).filter((reason) => reason.code !== undefined && reason.message !== undefined);
  const message = [error.message, ...reasons.map((reason) => `${reason.message} (${reason.code})`)]
    .filter(Boolean)
    .join("; ");
  const reasonCodes = reasons.map((reason) => reason.code ?? "");
  const codes = [...(error.code === undefined ? [] : [error.code]), ...reasonCodes];
  return {
    message,
    ...(error.code === undefined ? {} : { code: error.code }),
    reasonCodes,
    // Otherwise the status decides: 429 and 503 pass.
    ...(passesByItself(codes, message) ? { retryable: true } : {}),
  };
}
