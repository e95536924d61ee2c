import { DrError } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { backendHost, siteNames } from "../topology/site-pair";
import { deadlines } from "./deadlines";
import type { Facts, Journal } from "./journal";
import type { Plan, PlannedServer } from "./plan";
import type { ArrayPort, CinderAttachment, CinderVolume, Clock, FlexVol, LunMap, Ports, Server } from "./ports";

/** What a step works with. */
export interface StepContext {
  readonly pair: SitePair;
  readonly plan: Plan;
  readonly ports: Ports;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly signal: AbortSignal;
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
  /** Items side by side; 1 where order matters. */
  readonly lanes: number;
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
  let pause = 200;
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

export function plannedServer(ctx: StepContext, id: string): PlannedServer {
  const server = ctx.plan.servers.find((candidate) => candidate.id === id);
  if (server === undefined)
    throw new DrError({ code: "invariant", attempted: `Find instance ${id} in the plan`, seen: "it isn't there" });
  return server;
}

export function serverItems(servers: readonly Pick<PlannedServer, "id" | "name">[]): readonly StepItem[] {
  return servers.map((server) => ({ key: server.id, label: server.name }));
}

/** For `satisfied`: nothing is left to do for an instance that was deleted meanwhile. */
export async function deletedServer(ctx: StepContext, item: StepItem): Promise<{ deleted: true } | undefined> {
  return (await ctx.live.servers()).has(item.key) ? undefined : { deleted: true };
}

/** Nova refuses (409) while an instance is in a task, such as a stop asked for by a run that was cut off. */
export async function untilAtRest(ctx: StepContext, item: StepItem): Promise<Server | undefined> {
  const { server } = await waitFor(ctx, {
    attempted: `Wait until instance "${item.label}" is at rest`,
    deadlineSeconds: deadlines.stopInstance,
    check: async () => {
      const found = (await ctx.live.servers()).get(item.key);
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

/** A listing that many waiters share: one call serves all who asked before it began. */
class Shared<T> {
  private running: Promise<T> | undefined;
  private next: Promise<T> | undefined;

  constructor(private readonly load: () => Promise<T>) {}

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

  private start(): Promise<T> {
    this.next = undefined;
    this.running = this.load();
    return this.running;
  }
}

/** The moving parts, polled by listing: never one request for each volume. */
export class Live {
  private readonly volumeList: Shared<ReadonlyMap<string, CinderVolume>>;
  private readonly serverList: Shared<ReadonlyMap<string, Server>>;
  private readonly attachmentList: Shared<readonly CinderAttachment[]>;
  private readonly lunMapLists: ReadonlyMap<string, Shared<readonly LunMap[]>>;

  constructor(pair: SitePair, ports: Ports) {
    const hosts = siteNames(pair).map((site) => backendHost(pair, site));
    this.volumeList = new Shared(async () => {
      const lists = await Promise.all(hosts.map((host) => ports.blockStorage.listVolumes(host)));
      return new Map(lists.flat().map((volume) => [volume.id, volume]));
    });
    this.serverList = new Shared(
      async () => new Map((await ports.compute.listServers()).map((server) => [server.id, server])),
    );
    this.attachmentList = new Shared(() => ports.blockStorage.listConnections());
    this.lunMapLists = new Map(
      siteNames(pair).map((site) => [site, new Shared(() => arrayAt({ ports }, site).listLunMaps(pair.flexVols))]),
    );
  }

  volumes(): Promise<ReadonlyMap<string, CinderVolume>> {
    return this.volumeList.fresh();
  }

  servers(): Promise<ReadonlyMap<string, Server>> {
    return this.serverList.fresh();
  }

  /** With their connections. */
  attachments(): Promise<readonly CinderAttachment[]> {
    return this.attachmentList.fresh();
  }

  lunMaps(site: string): Promise<readonly LunMap[]> {
    const list = this.lunMapLists.get(site);
    if (list === undefined) throw noSite(site);
    return list.fresh();
  }
}
