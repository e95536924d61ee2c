/** One cluster's management interface: HTTPS, basic authentication, JSON; one listener that can be made unreachable. */
import { createServer as createTlsServer, type Server } from "node:https";
import { createServer as createTcpServer, type Server as TcpServer, type Socket } from "node:net";
import { readFileSync } from "node:fs";
import { timingSafeEqual, createHash } from "node:crypto";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { dispatch, splitUrl, type Route } from "./api";
import { pause } from "./clock";
import type { OntapError } from "./errors";
import { asOntapError, notAuthenticated } from "./errors";
import type { Faults } from "./faults";
import { faultError } from "./faults";
import type { Recorder } from "./recorder";
import type { Cluster } from "./state";
import type { World } from "./world";

/** Bytes, as a text would get a charset into its content type. */
const jsonBytes = (body: unknown): Buffer => Buffer.from(JSON.stringify(body, null, 2));

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

export class ClusterServer {
  private app: FastifyInstance | undefined;
  private server: Server | undefined;
  private hole: TcpServer | undefined;
  private readonly held = new Set<Socket>();
  port: number;

  constructor(
    private readonly world: World,
    readonly cluster: Cluster,
    private readonly routes: readonly Route[],
    private readonly tls: { certFile: string; keyFile: string },
    private readonly recorder: Recorder,
    private readonly faults: Faults,
  ) {
    this.port = cluster.config.port;
  }

  async start(): Promise<void> {
    const tls = { cert: readFileSync(this.tls.certFile), key: readFileSync(this.tls.keyFile) };
    const app = fastify({
      forceCloseConnections: true,
      serverFactory: (handler) =>
        // Longer than the 5 s of Node: a request that meets the end of its idle connection fails.
        (this.server = createTlsServer(
          { ...tls, keepAliveTimeout: 72_000 },
          (request, response) => void handler(request, response),
        )),
      bodyLimit: 1 << 24,
    });
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", { parseAs: "string" }, (_request, body, done) => done(null, body));
    app.all("/*", (request, reply) => this.answer(request, reply));
    await app.ready();
    this.app = app;
    await this.listen();
  }

  private listen(): Promise<void> {
    const server = this.server;
    if (!server) throw new Error("the cluster's server isn't set up");
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => reject(error);
      server.once("error", failed);
      server.listen(this.port, this.cluster.config.address, () => {
        server.off("error", failed);
        const address = server.address();
        if (typeof address === "object" && address) this.port = address.port;
        resolve();
      });
    });
  }

  private stopListening(): Promise<void> {
    const server = this.server;
    if (!server?.listening) return Promise.resolve();
    return new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  /** "refuse": connections are refused; "blackhole": they are taken and never answered. */
  async setReachable(reachable: boolean, how: "refuse" | "blackhole" = "refuse"): Promise<void> {
    await this.closeHole();
    if (reachable) {
      if (!this.server?.listening) await this.listen();
      return;
    }
    await this.stopListening();
    if (how === "refuse") return;
    const hole = createTcpServer((socket) => {
      this.held.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => this.held.delete(socket));
      socket.pause();
    });
    this.hole = hole;
    await new Promise<void>((resolve) => hole.listen(this.port, this.cluster.config.address, () => resolve()));
  }

  private async closeHole(): Promise<void> {
    const hole = this.hole;
    this.hole = undefined;
    if (!hole) return;
    for (const socket of this.held) socket.destroy();
    await new Promise<void>((resolve) => hole.close(() => resolve()));
  }

  async close(): Promise<void> {
    await this.closeHole();
    await this.stopListening();
    await this.app?.close();
  }

  private authenticated(header: string | undefined): boolean {
    const match = /^Basic\s+(\S+)$/i.exec(header ?? "");
    const given = Buffer.from(match?.[1] ?? "", "base64").toString("utf8");
    const { username, password } = this.cluster.config;
    return timingSafeEqual(digest(given), digest(`${username}:${password}`));
  }

  private async answer(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const url = request.raw.url ?? "/";
    const [path, query] = splitUrl(url);
    const body = typeof request.body === "string" ? request.body : "";
    const header = (name: string): string | undefined => {
      const value = request.headers[name];
      return Array.isArray(value) ? value[0] : value;
    };
    const entry = this.recorder.begin({
      time: new Date(this.world.clock.now()).toISOString(),
      cluster: this.cluster.name,
      method: request.method,
      path,
      query,
      body,
      who: header("user-agent") ?? "",
    });
    void reply.headers({
      server: "libzapid-httpd",
      "cache-control": "no-cache,no-store,must-revalidate",
      "x-content-type-options": "nosniff",
      "content-type": (header("accept") ?? "").includes("application/json")
        ? "application/json"
        : "application/hal+json",
    });
    let lost = false;
    let half = false;
    let frozen: string | undefined;
    /** Sends nothing, or half of an answer, and resets the connection. */
    const cut = (answered?: { status: number; body: unknown }): FastifyReply => {
      const { socket } = request.raw;
      void reply.hijack();
      if (half && answered) {
        const bytes = jsonBytes(answered.body);
        for (const [name, value] of Object.entries(reply.getHeaders()))
          if (value !== undefined) reply.raw.setHeader(name, value);
        reply.raw.writeHead(answered.status, { "content-length": bytes.length });
        reply.raw.write(bytes.subarray(0, bytes.length / 2), () => socket.destroy());
      } else socket.destroy();
      return reply;
    };
    await pause(this.world.requestMs);
    try {
      if (!this.authenticated(header("authorization"))) throw notAuthenticated();
      let jobFailure: OntapError | undefined;
      for (const effect of this.faults.hit(this.cluster.name, request.method, path.replace(/^\/api/, ""), entry.who)) {
        entry.fault = effect.kind;
        switch (effect.kind) {
          case "delay":
            await pause(effect.delayMs);
            break;
          case "status":
            void reply.headers(effect.headers ?? {});
            throw faultError(effect);
          case "reset":
            return cut();
          case "hang":
            return reply.hijack();
          case "lost-answer":
            lost = true;
            break;
          case "half-answer":
            half = true;
            break;
          case "frozen":
            frozen = `${this.cluster.name} ${request.method} ${url}`;
            break;
          case "job-failure":
            jobFailure = faultError(effect);
            break;
        }
      }
      const kept = frozen === undefined ? undefined : this.faults.frozen.get(frozen);
      const answer =
        kept ??
        (await dispatch(this.world, this.cluster, this.routes, {
          method: request.method,
          url,
          body,
          accept: header("accept") ?? "",
          svmName: header("x-dot-svm-name"),
          svmUuid: header("x-dot-svm-uuid"),
          jobFailure,
        }));
      if (frozen !== undefined) this.faults.frozen.set(frozen, answer);
      if (lost) return cut();
      entry.status = answer.status;
      if (half) return cut(answer);
      return await reply
        .status(answer.status)
        .headers(answer.headers ?? {})
        .send(jsonBytes(answer.body));
    } catch (cause) {
      const error = asOntapError(cause);
      if (error.unknown) this.recorder.addUnknown(entry, error.message);
      if (lost) return cut();
      entry.status = error.status;
      if (half) return cut({ status: error.status, body: error.body() });
      if (error.status === 401) void reply.header("www-authenticate", 'Basic realm="ONTAP"');
      return reply.status(error.status).send(jsonBytes(error.body()));
    }
  }
}
