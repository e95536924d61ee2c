import { DrError } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { backendHost, siteNames } from "../topology/site-pair";
import { deadlines } from "./deadlines";
import type { Facts, Journal } from "./journal";
import type { Plan, PlannedServer } from "./plan";
import type { Progress } from "./progress";
import type { Stop } from "./stop";
import type {
  ArrayPort,
  CinderAttachment,
  CinderService,
  CinderVolume,
  Clock,
  FlexVol,
  LunMap,
  Ports,
  Server,
} from "./ports";

/** What a step works with. */
export interface StepContext {
  readonly pair: SitePair;
  readonly plan: Plan;
  readonly ports: Ports;
  readonly journal: Journal;
  readonly clock: Clock;
  /** Nothing is waited for any more. */
  readonly signal: AbortSignal;
  /** Nothing new is begun. */
  readonly stop: Pick<Stop, "asked" | "by">;
  readonly progress: Progress;
  readonly live: Live;
  /** Of the intent of this very run: a journey that was refused for it goes on once it's set. */
  readonly acceptSchema?: string;
  /** Proves that the lease is ours: before every mutating call. */
  guard(): Promise<void>;
  say(line: string): void;
}

/** One thing a step works on: an instance, a FlexVol, a controller, or the whole. */
export interface StepItem {
  readonly key: string;
  readonly label: string;
}

export const whole = (label: string): readonly StepItem[] => [{ key: "all", label }];

/**
 * A step's item is either satisfied already, or applied and then verified. `apply` may have been begun and cut off at
 * any point by a run that died: it is safe to repeat.
 */
export interface Step {
  readonly id: string;
  /** Items side by side; 1 where order matters; `instances` as many as the pair's cloud bears. */
  readonly lanes: number | "instances";
  items(ctx: StepContext): readonly StepItem[];
  /** Read again at the step's boundary, also when resumed: throws where the step must not begin. */
  premise?(ctx: StepContext): Promise<void>;
  /** Asked when resumed: true where what an earlier run proved no longer counts, so that the step is done again. */
  stale?(ctx: StepContext): Promise<boolean>;
  satisfied(ctx: StepContext, item: StepItem): Promise<Facts | undefined>;
  /** What `verify` needs to know of this very call, such as the uuid of the transfer that it started. */
  apply(ctx: StepContext, item: StepItem): Promise<Facts | undefined | void>;
  verify(ctx: StepContext, item: StepItem, applied: Facts): Promise<Facts>;
}

/**
 * Polls until `check` yields something. `check` throws for a state from which there is no way to what is awaited.
 * Growing intervals up to `everyMs`: a quick answer is seen quickly, a slow one costs few calls. The deadline counts from
 * the last time that `progress` changed, where `check` tells of any.
 */
export async function waitFor<T>(
  ctx: Pick<StepContext, "clock" | "signal">,
  o: {
    readonly attempted: string;
    readonly deadlineSeconds: number;
    readonly everyMs?: number;
    readonly check: () => Promise<{ readonly value: T } | { readonly seen: string; readonly progress?: string }>;
    readonly state?: string;
    readonly remedy?: string;
  },
): Promise<T> {
  const deadline = () => ctx.clock.now().getTime() + o.deadlineSeconds * 1000;
  let end = deadline();
  let progress: string | undefined;
  let pause = Math.min(200, o.everyMs ?? 200);
  for (;;) {
    const result = await o.check();
    if ("value" in result) return result.value;
    if (result.progress !== undefined && result.progress !== progress) {
      progress = result.progress;
      end = deadline();
    }
    if (ctx.clock.now().getTime() >= end)
      throw new DrError({
        code: "wait-timeout",
        attempted: o.attempted,
        seen: `after ${o.deadlineSeconds} s${progress !== undefined ? " without progress" : ""} still ${result.seen}`,
        ...(o.state === undefined ? {} : { state: o.state }),
        remedy: o.remedy ?? "Find out what holds it up, then run again: it goes on from here.",
      });
    await ctx.clock.sleep(pause, ctx.signal);
    pause = Math.min(pause * 1.5, o.everyMs ?? 2_000);
  }
}

export function arrayAt({ ports }: Pick<StepContext, "ports">, site: string): ArrayPort {
  const port = ports.arrays[site];
  if (port === undefined) throw noSite(site);
  return port;
}

export async function findFlexVol(ctx: StepContext, site: string, flexVol: string): Promise<FlexVol | undefined> {
  return (await arrayAt(ctx, site).listFlexVols()).find(({ name }) => name === flexVol);
}

/** For `stale`: a plan that was made anew may have items that aren't done yet. */
export function hasItemsLeft(ctx: StepContext, step: Step): Promise<boolean> {
  return Promise.resolve(step.items(ctx).some(({ key }) => !ctx.journal.isDone(step.id, key)));
}

const noSite = (site: string): DrError =>
  new DrError({ code: "invariant", attempted: `Use the array of "${site}"`, seen: "no such site" });

/** Asked for each instance again and again, made once for a plan. */
const serversOfPlans = new WeakMap<Plan, ReadonlyMap<string, PlannedServer>>();

export function plannedServer({ plan }: Pick<StepContext, "plan">, id: string): PlannedServer {
  const servers = serversOfPlans.get(plan) ?? new Map(plan.servers.map((server) => [server.id, server]));
  serversOfPlans.set(plan, servers);
  const server = servers.get(id);
  if (server === undefined)
    throw new DrError({ code: "invariant", attempted: `Find instance ${id} in the plan`, seen: "it isn't there" });
  return server;
}

export function serverItems(servers: readonly Pick<PlannedServer, "id" | "name">[]): readonly StepItem[] {
  return servers.map((server) => ({ key: server.id, label: server.name }));
}

/** For `satisfied`: nothing is left to do for an instance that was deleted meanwhile. */
export async function deletedServer(ctx: StepContext, item: StepItem): Promise<{ deleted: true } | undefined> {
  return (await ctx.live.serversAtBoundary()).has(item.key) ? undefined : { deleted: true };
}

/** What its user deletes meanwhile (404) is found missing by the look that follows. */
export async function unlessDeleted(change: Promise<void>): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!DrError.is(error, "remote") || error.context["status"] !== 404) throw error;
  }
}

/**
 * Volumes that Nova has a mapping of, be it a ghost: by a listing of servers. An instance that is gone has none. It lists
 * none, too, where it couldn't read a cell's mappings: no proof that there are none.
 */
export function listedVolumes(server: Server | undefined, item: StepItem): ReadonlySet<string> {
  if (server === undefined) return new Set();
  if (server.volumeIds !== undefined) return new Set(server.volumeIds);
  throw new DrError({
    code: "failure-state",
    attempted: `See which volumes instance "${item.label}" has`,
    seen: `Nova lists it as ${server.status} without them: its cell doesn't answer`,
    remedy: "Bring the cell's database and message queue back, then run again: it goes on from here.",
  });
}

/** As `listedVolumes`; where none is listed and Cinder knows of some use, Nova is asked for this very instance. */
export async function mappedVolumes(
  ctx: StepContext,
  item: StepItem,
  server: Server | undefined,
  volumes?: ReadonlyMap<string, CinderVolume>,
): Promise<ReadonlySet<string>> {
  const listed = listedVolumes(server, item);
  if (server === undefined || listed.size > 0) return listed;
  const known = volumes ?? (await ctx.live.volumes());
  const { attachments } = plannedServer(ctx, item.key);
  if (attachments.every(({ volumeId }) => known.get(volumeId)?.status === "available")) return listed;
  return new Set((await ctx.ports.compute.listServerAttachments(item.key)).map(({ volumeId }) => volumeId));
}

/** Nova refuses (409) while an instance is in a task, such as a stop asked for by a run that was cut off. */
export async function untilAtRest(ctx: StepContext, item: StepItem, seen?: Server): Promise<Server | undefined> {
  if (seen !== undefined && seen.taskState === undefined) return seen;
  const { server } = await waitFor(ctx, {
    attempted: `Wait until instance "${item.label}" is at rest`,
    deadlineSeconds: deadlines.stopInstance,
    everyMs: pollListsMs,
    check: async () => {
      const found = (await ctx.live.serversJustNow()).get(item.key);
      return found?.taskState === undefined ? { value: { server: found } } : { seen: `in task ${found.taskState}` };
    },
  });
  return server;
}

/** Instances that have everything they had; the others are left as they are unless the operator wants them started. */
export function completeServers(ctx: StepContext): readonly PlannedServer[] {
  const lost = lostVolumes(ctx);
  return ctx.plan.servers.filter(
    ({ root, attachments, stranded }) =>
      stranded !== true &&
      // Without its root nothing starts.
      (root === undefined || !lost.has(root.volumeId)) &&
      (ctx.plan.startIncomplete || attachments.every((attachment) => !lost.has(attachment.volumeId))),
  );
}

/** Volumes without their LUN, or with a short one, at the destination: known after cutover. */
export function lostVolumes(ctx: StepContext): ReadonlySet<string> {
  const facts = ctx.journal.factsOf("cutover/verify-destination").get("all");
  return new Set((facts?.["lostVolumeIds"] as string[] | undefined) ?? []);
}

/** So often a list is asked for at most: those who ask in short succession share one. */
const listEveryMs = 200;

/** For `waitFor` on what is listed: the lists themselves set the pace, and more waiters cost no more calls. */
export const pollListsMs = 50;

/** A list seems to have taken an hour where the clock was put forward by one meanwhile. */
const pauseAtMostMs = 5_000;

/**
 * A listing that many waiters share: one call serves all who asked before it began. How many calls there are follows from
 * the time that passes, not from how many wait; and between two there is a pause as long as the former took, so that a long
 * list burdens the API no more than half of the time.
 */
class Shared<T> {
  private running: Promise<T> | undefined;
  private next: Promise<T> | undefined;
  private beganMs = Number.NEGATIVE_INFINITY;
  private endedMs = Number.NEGATIVE_INFINITY;
  private pauseMs = 0;

  constructor(
    private readonly clock: Clock,
    private readonly load: () => Promise<T>,
  ) {}

  fresh(): Promise<T> {
    if (this.next === undefined) {
      const previous = this.running ?? Promise.resolve();
      this.next = previous.then(
        () => this.start(),
        () => this.start(),
      );
    }
    return this.next;
  }

  /** One that began no longer ago than this serves as well. */
  recent(lastsMs: number): Promise<T> {
    const ageMs = this.nowMs() - this.beganMs;
    const lasts = ageMs >= 0 && ageMs < lastsMs;
    return lasts && this.running !== undefined ? this.running : this.fresh();
  }

  private async start(): Promise<T> {
    const restedMs = this.nowMs() - this.endedMs;
    // A clock that was put back tells nothing of how long it was.
    if (restedMs < this.pauseMs) await this.clock.sleep(this.pauseMs - Math.max(0, restedMs));
    this.next = undefined;
    const beganMs = this.nowMs();
    this.beganMs = beganMs;
    const running = this.load();
    this.running = running.finally(() => {
      this.endedMs = this.nowMs();
      const tookMs = Math.max(0, this.endedMs - beganMs);
      this.pauseMs = Math.min(Math.max(listEveryMs - tookMs, tookMs), pauseAtMostMs);
    });
    // What failed serves nobody who asks later.
    this.running.catch(() => (this.beganMs = Number.NEGATIVE_INFINITY));
    return this.running;
  }

  private nowMs(): number {
    return this.clock.now().getTime();
  }
}

/** Whether a service is up is told by its heartbeats, which Nova and Cinder believe for a minute: it's no younger anyway. */
const serviceLastsMs = 5_000;

/** The moving parts, polled by listing: never one request for each volume. */
export class Live {
  private readonly volumeList: Shared<ReadonlyMap<string, CinderVolume>>;
  private readonly serverList: Shared<ReadonlyMap<string, Server>>;
  private readonly attachmentList: Shared<ReadonlyMap<string, CinderAttachment>>;
  private readonly lunMapLists: ReadonlyMap<string, Shared<LunMapsByPath>>;
  private readonly computeServiceList: Shared<Awaited<ReturnType<Ports["compute"]["listComputeServices"]>>>;
  private readonly cinderServiceList: Shared<readonly CinderService[]>;
  private boundary: Promise<ReadonlyMap<string, Server>> | undefined;

  constructor(pair: SitePair, ports: Ports) {
    const { blockStorage, compute, clock } = ports;
    const hosts = siteNames(pair).map((site) => backendHost(pair, site));
    this.volumeList = new Shared(clock, async () => {
      const lists = await Promise.all(hosts.map((host) => blockStorage.listVolumes(host)));
      return byId(lists.flat());
    });
    this.serverList = new Shared(clock, async () => byId(await compute.listServers()));
    this.attachmentList = new Shared(clock, async () => byId(await blockStorage.listConnections()));
    this.lunMapLists = new Map(
      siteNames(pair).map((site) => [
        site,
        new Shared(clock, async () => mapsByPath(await arrayAt({ ports }, site).listLunMaps(pair.flexVols))),
      ]),
    );
    this.computeServiceList = new Shared(clock, () => compute.listComputeServices());
    this.cinderServiceList = new Shared(clock, () => blockStorage.listServices());
  }

  volumes(): Promise<ReadonlyMap<string, CinderVolume>> {
    return this.volumeList.fresh();
  }

  servers(): Promise<ReadonlyMap<string, Server>> {
    return this.serverList.fresh();
  }

  /** No older than a second: for a call that is about to be made, and refused where it came to be otherwise since. */
  serversJustNow(): Promise<ReadonlyMap<string, Server>> {
    return this.serverList.recent(1_000);
  }

  /** A step begins. */
  atBoundary(): void {
    this.boundary = undefined;
  }

  /** As they were when the step began, in one listing: for what an earlier run did. What is to be changed is looked at anew. */
  serversAtBoundary(): Promise<ReadonlyMap<string, Server>> {
    this.boundary ??= this.servers();
    return this.boundary;
  }

  /** With their connections. */
  attachments(): Promise<ReadonlyMap<string, CinderAttachment>> {
    return this.attachmentList.fresh();
  }

  lunMaps(site: string): Promise<LunMapsByPath> {
    const list = this.lunMapLists.get(site);
    if (list === undefined) throw noSite(site);
    return list.fresh();
  }

  computeServices(): ReturnType<Ports["compute"]["listComputeServices"]> {
    return this.computeServiceList.recent(serviceLastsMs);
  }

  cinderServices(): Promise<readonly CinderService[]> {
    return this.cinderServiceList.recent(serviceLastsMs);
  }
}

export type LunMapsByPath = ReadonlyMap<string, readonly LunMap[]>;

export function mapsByPath(maps: readonly LunMap[]): LunMapsByPath {
  const byPath = new Map<string, LunMap[]>();
  for (const map of maps) {
    const known = byPath.get(map.lunPath);
    if (known === undefined) byPath.set(map.lunPath, [map]);
    else known.push(map);
  }
  return byPath;
}

const byId = <T extends { readonly id: string }>(rows: readonly T[]): ReadonlyMap<string, T> =>
  new Map(rows.map((row) => [row.id, row]));
