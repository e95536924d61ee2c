import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import * as https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OntapClient } from "../../../lib/ontap/client";
import type { OntapClientOptions } from "../../../lib/ontap/client";
import { makeCertificate } from "../http/certificates";

export interface SeenRequest {
  /** "PATCH /api/snapmirror/relationships/u" */
  readonly line: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly authorization: string | undefined;
}

export interface Answer {
  readonly status?: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer, answers one after another (the last one stays), or what computes it. */
export type Route = Answer | readonly Answer[] | ((request: SeenRequest) => Answer);

export const records = (...list: unknown[]): Answer => ({ body: { records: list, num_records: list.length } });
export const accepted = (job = "j1"): Answer => ({
  status: 202,
  body: { job: { uuid: job, _links: { self: { href: `/api/cluster/jobs/${job}` } } } },
});
export const jobSuccess: Answer = { body: { uuid: "j1", state: "success", message: "success", code: 0 } };
export const jobFailure = (code: number, message: string): Answer => ({
  body: { uuid: "j1", state: "failure", code, message, error: { code: String(code), message } },
});
export const failure = (status: number, code: string, message: string, reasons: unknown[] = []): Answer => ({
  status,
  body: { error: { code, message, ...(reasons.length === 0 ? {} : { arguments: reasons }) } },
});
export const absent = failure(404, "4", "entry doesn't exist");

/** ONTAP's answers over TLS, as scripted; a request that isn't scripted is answered 500 and fails the test on `close`. */
export async function startOntapServer(routes: Record<string, Route>, options: Partial<OntapClientOptions> = {}) {
  const seen: SeenRequest[] = [];
  const unknown: string[] = [];
  const counts = new Map<string, number>();
  const { authority, key, cert } = certificates();
  const folder = mkdtempSync(join(tmpdir(), "ontap-server-"));
  writeFileSync(join(folder, "ca.pem"), authority);
  const server = https.createServer({ key, cert }, (request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => {
      const url = new URL(request.url ?? "", "https://cluster");
      const line = `${request.method} ${url.pathname}`;
      const entry: SeenRequest = {
        line,
        query: Object.fromEntries(url.searchParams),
        body: text === "" ? undefined : JSON.parse(text),
        authorization: request.headers.authorization,
      };
      seen.push(entry);
      const route = routes[line];
      const count = counts.get(line) ?? 0;
      counts.set(line, count + 1);
      let answer: Answer | undefined;
      if (typeof route === "function") answer = route(entry);
      else if (route !== undefined && "length" in route) answer = route[Math.min(count, route.length - 1)];
      else answer = route;
      if (answer === undefined) {
        unknown.push(line);
        answer = failure(500, "0", `not scripted: ${line}`);
      }
      if (answer.status === 0) return void request.socket.destroy();
      response.writeHead(answer.status ?? 200, { "content-type": "application/json", ...answer.headers });
      response.end(answer.body === undefined ? "{\n}" : JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new OntapClient({
    site: "idr",
    svm: "svm-idr",
    address: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    username: "admin",
    password: "secret",
    caFile: join(folder, "ca.pem"),
    sleep: () => new Promise((resolve) => setImmediate(resolve)),
    ...options,
  });
  return {
    client,
    seen,
    /** Those that change something, in order. */
    changes: () => seen.filter((request) => !request.line.startsWith("GET")),
    /** Requests of one line, in order. */
    of: (line: string) => seen.filter((request) => request.line === line),
    close: async () => {
      await client.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      rmSync(folder, { recursive: true });
      assert.deepEqual(unknown, [], "the client asked for what isn't scripted");
    },
  };
}

let made: { readonly authority: string; readonly key: string; readonly cert: string } | undefined;
function certificates() {
  if (made === undefined) {
    const authority = makeCertificate("lab CA");
    made = { authority: authority.cert, ...makeCertificate("cluster", authority) };
  }
  return made;
}
