import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import * as net from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { DrError } from "../../../lib/errors";
import { HttpClient } from "../../../lib/http/client";
import type { HttpClientOptions } from "../../../lib/http/client";
import { makeCertificate } from "./certificates";

type Handler = (request: http.IncomingMessage, body: string, response: http.ServerResponse) => void;

/** A server that answers as told and remembers what it was asked. */
async function startServer(handler: Handler, certificate?: { key: string; cert: string }) {
  const seen: { method: string; url: string; headers: http.IncomingHttpHeaders; body: string }[] = [];
  const listener: http.RequestListener = (request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers, body });
      handler(request, body, response);
    });
  };
  const server = certificate === undefined ? http.createServer(listener) : https.createServer(certificate, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    seen,
    url: `${certificate === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const json = (response: http.ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) =>
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));

async function failureOf(promise: Promise<unknown>): Promise<DrError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(DrError.is(error), `not a DrError: ${String(error)}`);
    return error;
  }
  return assert.fail("the request succeeded");
}

describe("HttpClient", () => {
  const closers: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function serve(handler: Handler, certificate?: { key: string; cert: string }) {
    const server = await startServer(handler, certificate);
    closers.push(server.close);
    return server;
  }

  function connect(baseUrl: string, options: Partial<HttpClientOptions> = {}) {
    const waits: number[] = [];
    const client = new HttpClient({
      baseUrl,
      random: () => 0.5,
      sleep: (ms) => {
        waits.push(ms);
        return Promise.resolve();
      },
      ...options,
    });
    closers.push(() => client.close());
    return { client, waits };
  }

  it("sends JSON with headers and an encoded query, and decodes the answer", async () => {
    const server = await serve((_request, _body, response) =>
      json(response, 201, { n: 3 }, { "x-request-id": "req-7", "X-Many": "1" }),
    );
    const { client } = connect(`${server.url}/v3/`, { headers: () => Promise.resolve({ "x-auth-token": "t" }) });
    const answer = await client.request({
      method: "POST",
      path: "/things",
      query: { "svm.name": "a b&c", all: true, none: undefined },
      body: { a: 1 },
      headers: { "openstack-api-version": "volume 3.70" },
      expected: [201],
      answer: z.object({ n: z.number() }),
    });
    assert.deepEqual(answer.body, { n: 3 });
    assert.equal(answer.requestId, "req-7");
    assert.equal(answer.headers["x-many"], "1");
    const [sent] = server.seen;
    assert.equal(sent?.url, "/v3/things?svm.name=a+b%26c&all=true");
    assert.equal(sent.body, '{"a":1}');
    assert.equal(sent.headers["content-type"], "application/json");
    assert.equal(sent.headers["x-auth-token"], "t");
    assert.equal(sent.headers["openstack-api-version"], "volume 3.70");
  });

  it("keeps the query of a link and sends no body or content type where none is given", async () => {
    const server = await serve((_request, _body, response) => response.writeHead(204).end());
    const { client } = connect(server.url);
    const answer = await client.request({
      method: "DELETE",
      path: "/a?start.uuid=5",
      query: { b: 1 },
      expected: [204],
    });
    assert.equal(answer.body, undefined);
    assert.equal(server.seen[0]?.url, "/a?start.uuid=5&b=1");
    assert.equal(server.seen[0].headers["content-type"], undefined);
  });

  it("reports an unexpected status with the vendor's code and message, and nothing secret", async () => {
    const server = await serve((_request, _body, response) =>
      json(response, 409, { error: { code: "6619637", message: "exists already", secret: "s3" } }, { "x-rid": "r1" }),
    );
    const { client } = connect(server.url, {
      headers: () => Promise.resolve({ authorization: "Basic hunter2" }),
      requestIdHeaders: ["X-Rid"],
      decodeError: (_status, body) => (body as { error: { code: string; message: string } }).error,
    });
    const error = await failureOf(
      client.request({
        method: "POST",
        path: "/x",
        body: { password: "hunter3" },
        expected: [201, 202],
        attempted: "Create x",
      }),
    );
    assert.equal(error.code, "remote");
    assert.equal(error.message, "Create x: status 409, needed 201 or 202: exists already (6619637).");
    assert.equal(error.retryable, false);
    assert.deepEqual(error.context, {
      method: "POST",
      url: `${server.url}/x`,
      expectedStatus: [201, 202],
      status: 409,
      vendorCode: "6619637",
      requestId: "r1",
    });
    assert.doesNotMatch(JSON.stringify(error) + error.stack, /hunter|s3"/);
  });

  it("cuts out of the server's words what it was sent as a secret", async () => {
    const server = await serve((request, body, response) =>
      json(response, 400, { message: `no: ${request.headers.authorization ?? ""} with ${body}` }),
    );
    const { client } = connect(server.url, {
      headers: () => Promise.resolve({ authorization: "Basic aHVudGVyMg==" }),
      decodeError: (_status, body) => body as { message: string },
    });
    const body = {
      auth: { user: { name: "u", password: "hunter3" }, application_credential: { id: "id-1", secret: "hunter4" } },
      authentication: { passphrase: "hunter5" },
    };
    const error = await failureOf(client.request({ method: "POST", path: "/x", body, expected: [201] }));
    assert.match(
      error.message,
      /no: Basic … with {"auth":{"user":{"name":"u","password":"…"},"application_credential":{"id":"id-1","secret":"…"}},"authentication":{"passphrase":"…"}}/,
    );
    assert.doesNotMatch(JSON.stringify(error) + error.stack, /hunter|aHVud/);
  });

  it("repeats a GET on 503, waiting at least as long as Retry-After says", async () => {
    let count = 0;
    const server = await serve((_request, _body, response) => {
      count++;
      if (count === 1) json(response, 503, {}, { "retry-after": "7" });
      else if (count === 2)
        json(
          response,
          503,
          {},
          { date: "Sun, 01 Nov 2026 10:00:00 GMT", "retry-after": "Sun, 01 Nov 2026 10:00:09 GMT" },
        );
      else if (count === 3) json(response, 502, {});
      else json(response, 200, { ok: true });
    });
    const { client, waits } = connect(server.url);
    const answer = await client.request({ method: "GET", path: "/", expected: [200] });
    assert.deepEqual(answer.body, { ok: true });
    assert.deepEqual(waits, [7000, 9000, 800]);
  });

  it("repeats a GET on 500, which passes where a node takes over, and says it where it doesn't", async () => {
    let lasts = false;
    let count = 0;
    const server = await serve((_request, _body, response) => {
      if (lasts || ++count === 1) json(response, 500, {});
      else json(response, 200, { ok: true });
    });
    const { client } = connect(server.url);
    const answer = await client.request({ method: "GET", path: "/", expected: [200] });
    assert.deepEqual([answer.body, server.seen.length], [{ ok: true }, 2]);
    lasts = true;
    const error = await failureOf(client.request({ method: "GET", path: "/", expected: [200] }));
    assert.deepEqual([error.code, error.context["status"], error.retryable], ["remote", 500, false]);
    assert.equal(server.seen.length, 6);
  });

  it("gives up after four attempts with the last failure, which may pass later", async () => {
    const server = await serve((_request, _body, response) => json(response, 429, {}));
    const { client } = connect(server.url);
    const error = await failureOf(client.request({ method: "GET", path: "/", expected: [200] }));
    assert.equal(error.code, "remote");
    assert.equal(error.retryable, true);
    assert.equal(server.seen.length, 4);
  });

  it("does not wait for a Retry-After beyond the deadline", async () => {
    const server = await serve((_request, _body, response) => json(response, 503, {}, { "retry-after": "120" }));
    const { client, waits } = connect(server.url);
    const error = await failureOf(client.request({ method: "GET", path: "/", expected: [200] }));
    assert.equal(error.context["status"], 503);
    assert.deepEqual(waits, []);
  });

  for (const method of ["POST", "PATCH", "PUT", "DELETE"] as const)
    it(`sends a ${method} once when the server fails it or cuts the connection`, async () => {
      let cut = false;
      const server = await serve((request, _body, response) => {
        if (cut) request.socket.destroy();
        else json(response, 500, {});
      });
      const { client } = connect(server.url);
      const refused = await failureOf(client.request({ method, path: "/", expected: [200] }));
      assert.equal(refused.code, "remote");
      assert.equal(server.seen.length, 1);
      cut = true;
      const dropped = await failureOf(client.request({ method, path: "/", expected: [200] }));
      assert.equal(dropped.code, "unreachable");
      assert.equal(dropped.context["sent"], true);
      assert.match(dropped.message, /Whether it took effect isn't known/);
      assert.equal(server.seen.length, 2);
    });

  it("repeats a POST that is declared safe to repeat", async () => {
    let count = 0;
    const server = await serve((request, _body, response) => {
      if (++count === 1) request.socket.destroy();
      else json(response, 200, { count });
    });
    const { client } = connect(server.url);
    const answer = await client.request({ method: "POST", path: "/", body: {}, expected: [200], idempotent: true });
    assert.deepEqual(answer.body, { count: 2 });
  });

  it("repeats a POST that was never sent, and says so when it gives up", async () => {
    const server = await startServer(() => assert.fail("nothing listens here"));
    await server.close();
    const { client, waits } = connect(server.url);
    const error = await failureOf(client.request({ method: "POST", path: "/", body: {}, expected: [200] }));
    assert.equal(error.code, "unreachable");
    assert.equal(error.context["sent"], false);
    assert.equal(error.retryable, true);
    assert.match(error.message, /Nothing was sent/);
    assert.equal(waits.length, 3);
  });

  it("reaches a server that comes up between two attempts", async () => {
    const first = await startServer((_request, _body, response) => json(response, 200, {}));
    await first.close();
    const port = Number(new URL(first.url).port);
    const late = http.createServer((_request, response) => json(response, 200, { late: true }));
    const { client } = connect(first.url, {
      sleep: () => new Promise((resolve) => late.listen(port, "127.0.0.1", resolve)),
    });
    closers.push(() => new Promise((resolve) => late.close(() => resolve())));
    const answer = await client.request({ method: "POST", path: "/", body: {}, expected: [200] });
    assert.deepEqual(answer.body, { late: true });
  });

  it("ends a request that hangs at its deadline", async () => {
    const server = await serve(() => undefined);
    const { client } = connect(server.url);
    const error = await failureOf(client.request({ method: "GET", path: "/", expected: [200], timeoutMs: 50 }));
    assert.equal(error.code, "unreachable");
    assert.match(error.seen, /within 50 ms/);
    assert.equal(server.seen.length, 1);
  });

  it("ends a request whose body never ends at its deadline", async () => {
    const server = await serve((_request, _body, response) => response.writeHead(200).write("{"));
    const { client } = connect(server.url);
    const error = await failureOf(client.request({ method: "GET", path: "/", expected: [200], timeoutMs: 50 }));
    assert.equal(error.code, "unreachable");
  });

  it("stops on the signal, while it waits for an answer and while it waits to repeat", async () => {
    const hanging = await serve(() => undefined);
    const first = new AbortController();
    const { client } = connect(hanging.url);
    const running = client.request({ method: "POST", path: "/", expected: [200], signal: first.signal });
    while (hanging.seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    first.abort();
    assert.equal((await failureOf(running)).code, "stopped");

    const busy = await serve((_request, _body, response) => json(response, 503, {}));
    const second = new AbortController();
    const { client: waiting } = connect(busy.url, {
      sleep: (_ms, signal) => {
        second.abort();
        return Promise.reject(signal.reason as Error);
      },
    });
    const error = await failureOf(
      waiting.request({ method: "GET", path: "/", expected: [200], signal: second.signal }),
    );
    assert.equal(error.code, "stopped");
    assert.equal(busy.seen.length, 1);
  });

  it("renews its headers once after a 401 and sends the request again, whatever the method", async () => {
    const server = await serve((request, _body, response) =>
      request.headers["x-auth-token"] === "new" ? json(response, 200, {}) : json(response, 401, {}),
    );
    let token = "old";
    const { client } = connect(server.url, {
      headers: ({ renew }) => {
        if (renew) token = "new";
        return Promise.resolve({ "x-auth-token": token });
      },
    });
    await client.request({ method: "POST", path: "/", body: {}, expected: [200] });
    assert.equal(server.seen.length, 2);
  });

  it("takes a second 401, or unchanged headers, as the answer", async () => {
    const server = await serve((_request, _body, response) => json(response, 401, {}));
    let count = 0;
    const { client: renewing } = connect(server.url, { headers: () => Promise.resolve({ token: String(count++) }) });
    assert.equal(
      (await failureOf(renewing.request({ method: "GET", path: "/", expected: [200] }))).context["status"],
      401,
    );
    assert.equal(server.seen.length, 2);
    const { client: fixed } = connect(server.url, { headers: () => Promise.resolve({ authorization: "Basic x" }) });
    assert.equal(
      (await failureOf(fixed.request({ method: "GET", path: "/", expected: [200] }))).context["status"],
      401,
    );
    assert.equal(server.seen.length, 3);
  });

  it("refuses an answer that isn't JSON or has another shape, without quoting it", async () => {
    const server = await serve((request, _body, response) => {
      if (request.url === "/html") response.writeHead(200).end("<html>secret</html>");
      else json(response, 200, { records: [{ uuid: 5 }] });
    });
    const { client } = connect(server.url);
    const html = await failureOf(client.request({ method: "GET", path: "/html", expected: [200] }));
    assert.equal(html.code, "remote");
    assert.doesNotMatch(html.message, /secret/);
    const answer = z.object({ records: z.array(z.object({ uuid: z.string() })) });
    const shape = await failureOf(client.request({ method: "GET", path: "/", expected: [200], answer }));
    assert.equal(shape.code, "remote");
    assert.match(shape.seen, /records\.0\.uuid: .*expected string/);
  });

  it("refuses a base URL with credentials", () => {
    assert.throws(
      () => new HttpClient({ baseUrl: "https://admin:pw@127.0.0.1/" }),
      (error) => DrError.is(error, "config") && !error.message.includes("pw"),
    );
  });

  describe("over TLS", () => {
    const folder = mkdtempSync(join(tmpdir(), "http-client-"));
    const authority = makeCertificate("lab CA");
    const other = makeCertificate("other CA");
    const server = makeCertificate("server", authority);
    before(() => {
      writeFileSync(join(folder, "ca.pem"), authority.cert);
      writeFileSync(join(folder, "other.pem"), other.cert);
    });
    after(() => rmSync(folder, { recursive: true }));

    it("accepts a certificate of the CA in caFile", async () => {
      const tlsServer = await serve((_request, _body, response) => json(response, 200, { ok: 1 }), server);
      const { client } = connect(tlsServer.url, { caFile: join(folder, "ca.pem") });
      assert.deepEqual((await client.request({ method: "GET", path: "/", expected: [200] })).body, { ok: 1 });
    });

    it("refuses a certificate of another CA, for good: that is no dead server", async () => {
      const tlsServer = await serve((_request, _body, response) => json(response, 200, {}), server);
      for (const caFile of [join(folder, "other.pem"), undefined]) {
        const { client, waits } = connect(tlsServer.url, caFile === undefined ? {} : { caFile });
        const error = await failureOf(client.request({ method: "GET", path: "/", expected: [200] }));
        assert.equal(error.code, "config");
        assert.deepEqual(waits, []);
      }
      assert.equal(tlsServer.seen.length, 0);
    });

    it("says that a port doesn't speak TLS", async () => {
      const plain = await serve((_request, _body, response) => json(response, 200, {}));
      const { client } = connect(plain.url.replace("http:", "https:"), { caFile: join(folder, "ca.pem") });
      assert.equal((await failureOf(client.request({ method: "GET", path: "/", expected: [200] }))).code, "config");
    });

    it("ends a request at its deadline while the connection is still being made, and on the signal", async function () {
      this.timeout(8_000);
      const sockets: net.Socket[] = [];
      const silent = net.createServer((socket) => void sockets.push(socket));
      await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
      closers.push(async () => {
        for (const socket of sockets) socket.destroy();
        await new Promise<void>((resolve) => silent.close(() => resolve()));
      });
      const { client } = connect(`https://127.0.0.1:${(silent.address() as AddressInfo).port}`);
      const late = await failureOf(client.request({ method: "POST", path: "/", expected: [200], timeoutMs: 50 }));
      assert.equal(late.code, "unreachable");
      const signal = AbortSignal.timeout(50);
      const ended = await failureOf(client.request({ method: "GET", path: "/", expected: [200], signal }));
      assert.equal(ended.code, "stopped");
    });

    it("names a CA file that can't be read, at the first request", async () => {
      const { client } = connect("https://127.0.0.1", { caFile: join(folder, "none.pem") });
      const error = await failureOf(client.request({ method: "GET", path: "/", expected: [200] }));
      assert.equal(error.code, "config");
      assert.match(error.message, /none\.pem/);
    });
  });
});
