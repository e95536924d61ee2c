/** REST requests to one cluster as the client of NetApp's driver sends them (Cinder 29, client/api.py RestNaServer). */
import { readFileSync } from "node:fs";
import * as https from "node:https";
import { textOf } from "../text";
import type { CinderConf } from "./conf";

export type Json = Record<string, unknown>;
export type Query = Record<string, string>;

/** An answer with an error's status. */
export class NaApiError extends Error {
  override name = "NaApiError";
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}
/** No answer at all. */
export class NaConnectionError extends Error {
  override name = "NaConnectionError";
}

const timeoutMs = 30_000;
const jobSteps = 300;

export class OntapRest {
  readonly vserver: string;
  private readonly agent: https.Agent;

  constructor(
    private readonly conf: CinderConf,
    private readonly stanza: string,
  ) {
    const certificates = this.option("netapp_ssl_cert_path");
    this.vserver = this.option("netapp_vserver") ?? "";
    this.agent = new https.Agent({
      keepAlive: true,
      ...(certificates === undefined ? {} : { ca: readFileSync(certificates) }),
      rejectUnauthorized: /^(true|1|yes|on)$/i.test(this.option("netapp_ssl_cert_verify") ?? "true"),
    });
  }

  close(): void {
    this.agent.destroy();
  }

  /** Waits for the job where the answer is 202. */
  async get(path: string, query: Query = {}, tunnel = true): Promise<Json> {
    return this.send("GET", path, { ...query, max_records: "10000" }, undefined, tunnel);
  }

  /** The records of all pages. */
  async list(path: string, query: Query = {}, tunnel = true): Promise<Json[]> {
    let page = await this.get(path, query, tunnel);
    const records = [...((page["records"] ?? []) as Json[])];
    for (let next = nextOf(page); next !== undefined; next = nextOf(page)) {
      page = await this.send("GET", next.replace(/^\/api/, ""), {}, undefined, tunnel);
      records.push(...((page["records"] ?? []) as Json[]));
    }
    return records;
  }

  async post(path: string, body?: Json, query: Query = {}, wait = true): Promise<Json> {
    return this.finish(await this.send("POST", path, query, body), wait);
  }

  async patch(path: string, body: Json, query: Query = {}, wait = true): Promise<Json> {
    return this.finish(await this.send("PATCH", path, query, body), wait);
  }

  async delete(path: string, query: Query = {}): Promise<Json> {
    return this.finish(await this.send("DELETE", path, query), true);
  }

  private option(name: string): string | undefined {
    return this.conf.get(this.stanza, name);
  }

  private async finish(answer: Json, wait: boolean): Promise<Json> {
    const uuid = (answer["job"] as Json | undefined)?.["uuid"];
    if (!wait || typeof uuid !== "string") return answer;
    for (let step = 0; step < jobSteps; step++) {
      const job = await this.get(`/cluster/jobs/${uuid}`);
      if (job["state"] === "success") return answer;
      if (job["state"] === "failure") {
        const error = (job["error"] ?? job) as Json;
        throw new NaApiError(textOf(error["code"]), textOf(error["message"] ?? "the job failed"));
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new NaApiError("", `job ${uuid} didn't end`);
  }

  private send(method: string, path: string, query: Query, body?: Json, tunnel = true): Promise<Json> {
    const host = this.option("netapp_server_hostname") ?? "";
    const port = Number(this.option("netapp_server_port") ?? 443);
    const login = `${this.option("netapp_login") ?? ""}:${this.option("netapp_password") ?? ""}`;
    const parameters = new URLSearchParams(query).toString();
    const text = body === undefined ? "" : JSON.stringify(body);
    const headers: https.RequestOptions["headers"] = {
      authorization: `Basic ${Buffer.from(login).toString("base64")}`,
      accept: "application/json",
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
      "user-agent": "cinder-volume",
      ...(tunnel ? { "x-dot-svm-name": this.vserver } : {}),
    };
    const target = `/api${path}${parameters === "" ? "" : `${path.includes("?") ? "&" : "?"}${parameters}`}`;
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => reject(new NaConnectionError(`${method} ${host}:${port}: ${error.message}`));
      const request = https.request(
        { host, port, path: target, method, headers, agent: this.agent, timeout: timeoutMs },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", fail);
          response.on("end", () => {
            const received = Buffer.concat(chunks).toString();
            let answer: Json;
            try {
              answer = received === "" ? {} : (JSON.parse(received) as Json);
            } catch {
              return fail(new Error(`no JSON: ${received.slice(0, 100)}`));
            }
            const error = answer["error"] as Json | undefined;
            if ((response.statusCode ?? 500) < 400 && error === undefined) return resolve(answer);
            reject(
              new NaApiError(textOf(error?.["code"] ?? response.statusCode), textOf(error?.["message"] ?? received)),
            );
          });
        },
      );
      request.on("timeout", () => request.destroy(new Error("timed out")));
      request.on("error", fail);
      request.end(text);
    });
  }
}

function nextOf(page: Json): string | undefined {
  const href = ((page["_links"] as Json | undefined)?.["next"] as Json | undefined)?.["href"];
  return typeof href === "string" ? href : undefined;
}
