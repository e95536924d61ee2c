import * as http from "node:http";
import type { AddressInfo } from "node:net";

/**
 * A small HTTP server for tests of clients: it answers what the test says, and an error for anything else, so that a
 * request that nobody expected fails the test.
 */

export interface ApiRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: unknown;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body?: unknown;
  /** Instead of a body in JSON. */
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Undefined where the request isn't its business. */
export type ApiRoute = (request: ApiRequest) => ApiAnswer | undefined | Promise<ApiAnswer | undefined>;

export class ApiServer {
  /** Everything that was asked, in order. */
  readonly requests: ApiRequest[] = [];
  private routes: ApiRoute[] = [];

  private constructor(
    private readonly server: http.Server,
    readonly url: string,
  ) {}

  static async start(...routes: readonly ApiRoute[]): Promise<ApiServer> {
    const server = http.createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const api = new ApiServer(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    api.routes = [...routes];
    server.on("request", (request, response) => void api.serve(request, response));
    return api;
  }

  /** Asked before the routes that are there. */
  route(route: ApiRoute): void {
    this.routes.unshift(route);
  }

  /** What was asked, as "GET /path". */
  get calls(): readonly string[] {
    return this.requests.map(({ method, path }) => `${method} ${path}`);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private async serve(incoming: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const url = new URL(incoming.url ?? "/", this.url);
    const request: ApiRequest = {
      method: incoming.method ?? "",
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: incoming.headers,
      body: text === "" ? undefined : (JSON.parse(text) as unknown),
    };
    this.requests.push(request);
    let answer: ApiAnswer | undefined;
    for (const route of this.routes) if ((answer = await route(request)) !== undefined) break;
    answer ??= {
      status: 599,
      body: { unexpected: { code: 599, message: `nobody expected ${request.method} ${incoming.url}` } },
    };
    response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
    response.end(answer.text ?? (answer.body === undefined ? "" : JSON.stringify(answer.body)));
  }
}

/** A route for one method and path. */
export function on(
  method: string,
  path: string,
  answer: (request: ApiRequest) => ApiAnswer | Promise<ApiAnswer>,
): ApiRoute {
  return (request) => (request.method === method && request.path === path ? answer(request) : undefined);
}
