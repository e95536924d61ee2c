/** Calls that the product makes, by the recorders of the embedded lab's services: it's the one that names no User-Agent. */
import type { LabDescription } from "../lab/lab";

/** By "GET nova /servers/{id}": method, service, and route without what names an object. */
export type CallCounts = Readonly<Record<string, number>>;

interface Recorded {
  readonly id: number;
  readonly method: string;
  readonly path: string;
  readonly who: string;
}

interface Recorder {
  readonly service: string;
  readonly url: string;
  /** The last one that was counted. */
  since: number;
}

/** A service that is restarted forgets, and counts anew: so they're asked all the time. */
const everyMs = 250;

export class Calls {
  private readonly byRoute = new Map<string, number>();
  private readonly stopping = new AbortController();
  private watching: Promise<void> = Promise.resolve();

  private constructor(private readonly recorders: readonly Recorder[]) {}

  /** Counts from now on. */
  static async begin(lab: LabDescription): Promise<Calls> {
    const { compute, blockStorage, identity } = lab.endpoints;
    const { address, port } = lab.arrayControl;
    const calls = new Calls([
      { service: "nova", url: new URL("/_lab/requests", compute).href, since: 0 },
      { service: "cinder", url: new URL("/_lab/requests", blockStorage).href, since: 0 },
      { service: "keystone", url: new URL("/_lab/requests", identity).href, since: 0 },
      { service: "ontap", url: `http://${address}:${port}/requests`, since: 0 },
    ]);
    for (const recorder of calls.recorders) for (const { id } of await calls.ask(recorder)) recorder.since = id;
    calls.watching = calls.watch();
    return calls;
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.watching;
    await this.countAll();
  }

  counts(): CallCounts {
    return Object.fromEntries([...this.byRoute].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  private async watch(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      await this.countAll();
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  private async countAll(): Promise<void> {
    for (const recorder of this.recorders) {
      for (const { id, method, path, who } of await this.ask(recorder)) {
        recorder.since = Math.max(recorder.since, id);
        if (who !== "") continue;
        const route = `${method} ${recorder.service} ${routeOf(path)}`;
        this.byRoute.set(route, (this.byRoute.get(route) ?? 0) + 1);
      }
    }
  }

  private async ask(recorder: Recorder): Promise<readonly Recorded[]> {
    try {
      const response = await fetch(`${recorder.url}?since=${recorder.since}`);
      return (await response.json()) as readonly Recorded[];
    } catch {
      // It's stopped for the promotion, and begins anew.
      recorder.since = 0;
      return [];
    }
  }
}

const reading = /^(GET|HEAD|OPTIONS) /;
export const isReading = (route: string): boolean => reading.test(route);

/** The recorded path without its query, and without what names one object. */
function routeOf(path: string): string {
  return path
    .replace(/\?.*$/, "")
    .replaceAll(/\/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=\/|$)/g, "/{id}")
    .replaceAll(/\/[0-9a-f]{32}(?=\/|$)/g, "/{id}");
}

/** How many calls of one kind there are in all. */
export function total(counts: CallCounts, fits: (route: string) => boolean = () => true): number {
  return Object.entries(counts).reduce((sum, [route, count]) => (fits(route) ? sum + count : sum), 0);
}
