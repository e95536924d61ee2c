/** Every request to either cluster, without its secrets. */
export interface RecordedRequest {
  id: number;
  time: string;
  cluster: string;
  method: string;
  path: string;
  query: string;
  body: string;
  /** undefined while unanswered, or when the answer never left */
  status: number | undefined;
  /** User-Agent */
  who: string;
  /** the fault that it met */
  fault?: string;
}

const secret = /("(?:[^"]*\.)?(?:passphrase|password|secret|token|chap[^"]*)"\s*:\s*)"(?:[^"\\]|\\.)*"/gi;
const kept = 200_000;
const readOnly = new Set(["GET", "HEAD", "OPTIONS"]);

export class Recorder {
  private readonly requests: RecordedRequest[] = [];
  private readonly unknown: (RecordedRequest & { error: string })[] = [];
  private lastId = 0;

  /** how many requests there have been that may have changed something */
  mutations = 0;

  begin(request: Omit<RecordedRequest, "id" | "status">): RecordedRequest {
    const entry: RecordedRequest = {
      ...request,
      id: ++this.lastId,
      status: undefined,
      body: request.body.replace(secret, '$1"***"'),
    };
    if (!readOnly.has(request.method)) this.mutations++;
    this.requests.push(entry);
    if (this.requests.length > kept) this.requests.shift();
    return entry;
  }

  addUnknown(entry: RecordedRequest, error: string): void {
    this.unknown.push({ ...entry, error });
  }

  /** `since`: ids above it. `mutating`: all but GET, HEAD and OPTIONS. */
  list(
    filter: { cluster?: string | undefined; since?: number | undefined; mutating?: boolean | undefined } = {},
  ): RecordedRequest[] {
    return this.requests.filter(
      (r) =>
        (filter.cluster === undefined || r.cluster === filter.cluster) &&
        (filter.since === undefined || r.id > filter.since) &&
        (filter.mutating !== true || !readOnly.has(r.method)),
    );
  }

  listUnknown(): (RecordedRequest & { error: string })[] {
    return [...this.unknown];
  }
}
