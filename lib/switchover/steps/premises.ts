import { DrError } from "../../errors";
import type { StepContext, StepItem } from "../context";
import { arrayAt, findFlexVol, waitFor } from "../context";
import { deadlines } from "../deadlines";
import { isServed, isVolumeServiceOf } from "../observation";
import type { PlannedAttachment } from "../plan";
import type { CinderVolume } from "../ports";
import { Heartbeats } from "./heartbeats";

/** Read again at every boundary up to cutover: an auto-healer or a user may have started an instance meanwhile. */
export async function assertStopped(ctx: StepContext, listed = ctx.live.serversAtBoundary()): Promise<void> {
  const servers = await listed;
  const running = ctx.plan.servers.filter((planned) => {
    const server = servers.get(planned.id);
    return server !== undefined && (server.status !== "SHUTOFF" || server.taskState !== undefined);
  });
  if (running.length > 0)
    throw new DrError({
      code: "failure-state",
      attempted: "Go on with the switchover",
      seen: `${running.map((server) => `"${server.name}"`).join(", ")} run again, although all instances were stopped`,
      state: `Production is still at "${ctx.plan.from}".`,
      remedy: "Stop what starts them (an auto-healer, a user), stop them, and run again.",
    });
}

/** Invariant: no LUN of the pair is mapped at the source before any mirror is broken, and before it's written over. */
export async function assertSourceUnmapped(
  ctx: StepContext,
  state = `Production is still at "${ctx.plan.from}"; no mirror was broken.`,
): Promise<void> {
  const maps = await arrayAt(ctx, ctx.plan.from).listLunMaps(ctx.pair.flexVols);
  if (maps.length > 0)
    throw new DrError({
      code: "invariant",
      attempted: `Prove that "${ctx.plan.from}" maps none of the pair's LUNs`,
      seen: maps.map((map) => `${map.lunPath} is mapped to ${map.igroup} as LUN ${map.logicalUnitNumber}`).join("; "),
      state,
      remedy: "Find out who uses these LUNs and unmap them, then run again.",
    });
}

/** The side that is to be the source holds production's data, read-write: anything else must not be copied from. */
export async function assertProductionWritable(ctx: StepContext, flexVol: string): Promise<void> {
  const volume = await findFlexVol(ctx, ctx.plan.to, flexVol);
  if (volume?.type !== "rw")
    throw new DrError({
      code: "invariant",
      attempted: `Replicate "${flexVol}" from "${ctx.plan.to}"`,
      seen: `it is of type ${volume?.type ?? "unknown"} there, not rw`,
      remedy: "Find out what turned it back; nothing was overwritten by this step.",
    });
}

/**
 * A detach or attach over a dead cinder-volume takes Nova five times its RPC time-out, with its locks held, and leaves the
 * volume detaching or reserved. Services are called up for a while after their death; the queue's consumers are gone at once.
 * One whose driver doesn't come up consumes its queue in the end, refuses everything, and sends no heartbeat; one that has
 * just been started may have sent none yet. Asked right before an instance's calls.
 */
export async function assertServed(
  ctx: StepContext,
  item: StepItem,
  attachments: readonly PlannedAttachment[],
  volumes: ReadonlyMap<string, CinderVolume>,
): Promise<void> {
  const hosts = attachments.flatMap(({ volumeId }) => volumes.get(volumeId)?.host.split("#")[0] ?? []);
  for (const host of new Set(hosts)) {
    const beats = new Heartbeats();
    const seen = await waitFor(ctx, {
      attempted: `Wait for a heartbeat of cinder-volume of ${host}`,
      deadlineSeconds: deadlines.heartbeat,
      check: async () => {
        if (!isServed(await ctx.ports.messageQueue.listBackendQueues(host))) return { value: "unserved" as const };
        const services = await ctx.live.cinderServices();
        const own = services.find(isVolumeServiceOf(host));
        if (own?.up !== false) return { value: "served" as const };
        // By the API's clock: where that differs from the service's, its heartbeats count.
        const rows = await ctx.ports.database.listServiceRows();
        const row = rows.find(isVolumeServiceOf(host));
        return beats.until(row) > 0 ? { value: "served" as const } : { seen: "down" };
      },
    }).catch((error: unknown) => {
      if (DrError.is(error, "wait-timeout")) return "silent" as const;
      throw error;
    });
    if (seen === "served") continue;
    // NetApp's driver of Cinder 29 doesn't start while failed over and the lost array is away; promoted it does.
    const pastIt =
      ctx.plan.route === "failover-host" && ctx.journal.isEnded("cutover/failover-host")
        ? `; if its driver doesn't come up because "${ctx.plan.from}" is away, set route to direct`
        : "";
    throw new DrError({
      code: "precondition",
      attempted: `Detach or attach the volumes of instance "${item.label}"`,
      seen:
        seen === "silent"
          ? `cinder-volume of ${host} is down, though it consumes its queue: its driver isn't initialised`
          : `no cinder-volume consumes the queue of ${host}: each detach or attach would hang for minutes`,
      state: "The instance is stopped.",
      remedy: `Start cinder-volume, then run again${pastIt}.`,
    });
  }
}
