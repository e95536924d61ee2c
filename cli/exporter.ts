import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { DrError, messageOf } from "../lib/errors";
import type { Overview } from "../lib/switchover";
import type { Session } from "./commands";
import { type ExitCode, exitCodes } from "./exit-codes";
import { exposition, type Snapshot } from "./metrics";
import { look } from "./status";

/**
 * The overview over HTTP. It looks by itself, at an interval: a scrape is answered from the last look, and never asks a
 * site. A look that failed, or is older than it may be, isn't told.
 */

export interface ExporterOptions {
  readonly address: string;
  readonly port: number;
  readonly everySeconds: number;
  /** Readiness asks Nova for every instance with a volume of the pair; 0 = never. */
  readonly readinessEverySeconds: number;
}

export async function exporter(session: Session, o: ExporterOptions): Promise<ExitCode> {
  const { terminal } = session;
  const signal = terminal.stopSignal("Stopping the exporter.");
  const server = await listen(session, o, signal);
  terminal.out(`Metrics of pair "${session.settings.pair.name}" at ${server.url}/metrics`);
  try {
    await server.looking;
  } finally {
    await server.close();
  }
  return exitCodes.fine;
}

export interface Listening {
  readonly url: string;
  /** Until the signal. */
  readonly looking: Promise<void>;
  close(): Promise<void>;
}

export async function listen(session: Session, o: ExporterOptions, signal: AbortSignal): Promise<Listening> {
  const { clock } = session.ports;
  const watching = new Looking(session, o);
  const server = createServer((request, response) => {
    const path = request.url?.split("?")[0];
    if (request.method !== "GET" || (path !== "/metrics" && path !== "/"))
      return void response.writeHead(request.method === "GET" ? 404 : 405).end();
    if (path === "/")
      return void response.writeHead(200, { "content-type": "text/plain" }).end("cheesecake: see /metrics\n");
    exposition(watching.snapshot(clock.now().getTime())).then(
      ({ text, type }) => response.writeHead(200, { "content-type": type }).end(text),
      (error: unknown) => {
        session.terminal.err(messageOf(error));
        response.writeHead(500).end();
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new DrError({
          code: "config",
          attempted: `Listen on ${o.address}:${o.port}`,
          seen: messageOf(error),
          remedy: "Name another address or port by --listen",
        }),
      ),
    );
    server.listen(o.port, o.address, resolve);
  });
  const { address, port, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}`,
    looking: watching.until(signal),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

class Looking {
  private seen: Snapshot["seen"];
  private readiness: Snapshot["readiness"];
  private failing = false;

  constructor(
    private readonly session: Session,
    private readonly o: ExporterOptions,
  ) {}

  snapshot(nowMs: number): Snapshot {
    const { everySeconds, readinessEverySeconds } = this.o;
    // One that hangs counts as failed once the next two would have been over.
    const fresh = (at: number, seconds: number): boolean => nowMs - at <= 3 * seconds * 1000;
    const pair = this.session.settings.pair.name;
    const { seen, readiness } = this;
    if (seen === undefined || !fresh(seen.beganMs + seen.tookSeconds * 1000, everySeconds)) return { pair };
    const isReadinessFresh =
      readiness !== undefined && fresh(readiness.beganMs, Math.max(everySeconds, readinessEverySeconds));
    return { pair, seen, ...(isReadinessFresh ? { readiness } : {}) };
  }

  async until(signal: AbortSignal): Promise<void> {
    const { clock } = this.session.ports;
    let before: Overview | undefined;
    for (;;) {
      before = (await this.once(before)) ?? before;
      if (signal.aborted) return;
      const stopped = await clock.sleep(this.o.everySeconds * 1000, signal).then(
        () => false,
        () => true,
      );
      if (stopped) return;
    }
  }

  private async once(before: Overview | undefined): Promise<Overview | undefined> {
    const now = (): number => this.session.ports.clock.now().getTime();
    const beganMs = now();
    const { readinessEverySeconds: every } = this.o;
    const due = every > 0 && beganMs - (this.readiness?.beganMs ?? -Infinity) >= every * 1000;
    try {
      const overview = await look(this.session, due, before);
      // What can't be told any more, or was told of a site that was left since, isn't told on.
      if (due || before?.verdict.site !== overview.verdict.site)
        this.readiness = overview.readiness && { of: overview.readiness, beganMs };
      this.seen = { overview, beganMs, tookSeconds: (now() - beganMs) / 1000 };
      if (this.failing) this.session.terminal.err(`${overview.at} looks succeed again`);
      this.failing = false;
      return overview;
    } catch (error) {
      this.seen = undefined;
      // Once, not at every look.
      if (!this.failing)
        this.session.terminal.err(`${new Date(beganMs).toISOString()} the look failed: ${messageOf(error)}`);
      this.failing = true;
      return undefined;
    }
  }
}
