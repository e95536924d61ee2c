/**
 * Stands between a client and the services of a lab, and writes down what was said. The lab itself isn't changed: the
 * proxy has the services' ports on an address of its own, and puts that address where an answer (Keystone's catalogue,
 * links) has the services', so that whoever begins at the proxy's Keystone stays with the proxy. The services among
 * themselves don't pass here.
 */
import * as http from "node:http";
import type { LabDescription } from "../description";

/** One request with its answer, in the order of their beginning. Secrets are replaced. */
export interface RecordedCall {
  seq: number;
  /** Begun, and answered, in ms since the recording began. */
  atMs: number;
  tookMs: number;
  /** What was being done. */
  stage: string;
  service: keyof LabDescription["endpoints"];
  method: string;
  /** With its query, as sent. */
  path: string;
  requestHeaders: Record<string, string>;
  requestBody: unknown;
  status: number;
  responseHeaders: Record<string, string>;
  responseBody: unknown;
}

const REQUEST_HEADERS = [
  "user-agent",
  "openstack-api-version",
  "x-openstack-nova-api-version",
  "content-type",
  "accept",
  "x-auth-token",
];
const RESPONSE_HEADERS = [
  "content-type",
  "openstack-api-version",
  "x-openstack-nova-api-version",
  "vary",
  "location",
  "x-subject-token",
  "www-authenticate",
  "retry-after",
];
/** Put in place of the services' own address, which differs from lab to lab. */
const CONTROL = "control.lab";

export class RecordingProxy {
  readonly calls: RecordedCall[] = [];
  stage = "";
  private readonly beganMs = Date.now();
  private readonly servers: http.Server[] = [];
  /** Token → alias. */
  private readonly tokens = new Map<string, string>();
  private readonly agent = new http.Agent({ keepAlive: true });

  private constructor(
    private readonly control: string,
    private readonly address: string,
    private readonly secrets: readonly string[],
    private readonly folder: string,
  ) {}

  /** `secrets`: texts that are nowhere written down. */
  static async start(lab: LabDescription, address: string, secrets: readonly string[]): Promise<RecordingProxy> {
    const control = new URL(lab.endpoints.identity).hostname;
    const proxy = new RecordingProxy(control, address, secrets, lab.dir);
    for (const [service, url] of Object.entries(lab.endpoints))
      await proxy.listen(service as keyof LabDescription["endpoints"], Number(new URL(url).port));
    return proxy;
  }

  /** The same lab, as seen through the proxy. */
  through(lab: LabDescription): LabDescription {
    const endpoints = Object.entries(lab.endpoints).map(([service, url]) => [service, this.outward(url)]);
    return { ...lab, endpoints: Object.fromEntries(endpoints) as LabDescription["endpoints"] };
  }

  async close(): Promise<void> {
    this.agent.destroy();
    for (const server of this.servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  private outward(text: string): string {
    return text.replaceAll(`//${this.control}:`, `//${this.address}:`);
  }

  private async listen(service: keyof LabDescription["endpoints"], port: number): Promise<void> {
    const server = http.createServer((request, response) => this.pass(service, port, request, response));
    server.keepAliveTimeout = 60_000;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, this.address, resolve);
    });
    this.servers.push(server);
  }

  private pass(
    service: keyof LabDescription["endpoints"],
    port: number,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): void {
    const call: RecordedCall = {
      seq: this.calls.length + 1,
      atMs: Date.now() - this.beganMs,
      tookMs: -1,
      stage: this.stage,
      service,
      method: request.method ?? "",
      path: request.url ?? "",
      requestHeaders: this.chosen(request.headers, REQUEST_HEADERS),
      requestBody: null,
      status: 0,
      responseHeaders: {},
      responseBody: null,
    };
    this.calls.push(call);
    const sent: Buffer[] = [];
    request.on("data", (chunk: Buffer) => sent.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(sent);
      call.requestBody = this.content(body);
      // Answers are wanted as plain text.
      const headers: http.OutgoingHttpHeaders = {
        ...request.headers,
        host: `${this.control}:${port}`,
        "accept-encoding": "identity",
      };
      delete headers.connection;
      const onward = http.request(
        { host: this.control, port, method: call.method, path: call.path, headers, agent: this.agent },
        (answer) => this.answer(call, answer, response),
      );
      onward.on("error", () => response.destroy());
      onward.end(body);
    });
  }

  private answer(call: RecordedCall, answer: http.IncomingMessage, response: http.ServerResponse): void {
    const received: Buffer[] = [];
    answer.on("data", (chunk: Buffer) => received.push(chunk));
    answer.on("error", () => response.destroy());
    answer.on("end", () => {
      const body = Buffer.concat(received);
      const token = answer.headers["x-subject-token"];
      if (typeof token === "string" && !this.tokens.has(token)) this.tokens.set(token, `TOKEN-${this.tokens.size + 1}`);
      call.tookMs = Date.now() - this.beganMs - call.atMs;
      call.status = answer.statusCode ?? 0;
      call.responseHeaders = this.chosen(answer.headers, RESPONSE_HEADERS);
      call.responseBody = this.content(body);
      const moved = /json|text/.test(answer.headers["content-type"] ?? "")
        ? Buffer.from(this.outward(body.toString()))
        : body;
      const headers: http.OutgoingHttpHeaders = { ...answer.headers };
      delete headers.connection;
      delete headers["keep-alive"];
      delete headers["transfer-encoding"];
      if (call.method !== "HEAD" && call.status !== 204 && call.status !== 304)
        headers["content-length"] = moved.length;
      if (typeof headers.location === "string") headers.location = this.outward(headers.location);
      response.writeHead(call.status, headers);
      response.end(moved);
    });
  }

  private chosen(headers: http.IncomingHttpHeaders, names: readonly string[]): Record<string, string> {
    return Object.fromEntries(
      names.flatMap((name) => {
        const value = headers[name];
        return typeof value === "string" ? [[name, this.cleaned(value)]] : [];
      }),
    );
  }

  private content(body: Buffer): unknown {
    const text = this.cleaned(body.toString());
    try {
      return text === "" ? null : (JSON.parse(text) as unknown);
    } catch {
      return text;
    }
  }

  /** Without secrets, and without addresses that are this lab's alone. */
  private cleaned(text: string): string {
    let clean = text;
    for (const [token, alias] of this.tokens) clean = clean.replaceAll(token, alias);
    for (const secret of this.secrets) clean = clean.replaceAll(secret, "SECRET");
    clean = clean.replace(/("adminPass"\s*:\s*)"[^"]*"/g, '$1"SECRET"');
    const own = new RegExp(`(${this.address}|${this.control})(?!\\d)`.replaceAll(".", "\\."), "g");
    return clean.replaceAll(this.folder, "/lab").replace(own, CONTROL);
  }
}
