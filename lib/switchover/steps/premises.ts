import { DrError } from "../../errors";
import type { StepContext, StepItem } from "../context";
import { arrayAt } from "../context";
import { isServed } from "../observation";

/** Read again at every boundary up to cutover: an auto-healer or a user may have started an instance meanwhile. */
export async function assertStopped(ctx: StepContext): Promise<void> {
  const servers = await ctx.live.servers();
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
      remedy: "Stop what starts them (an auto-healer, a user), stop them, and run up again.",
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
      remedy: "Find out who uses these LUNs and unmap them, then run up again.",
    });
}

/**
 * A detach or attach over a dead cinder-volume takes Nova five times its RPC time-out, with its locks held, and leaves the
 * volume detaching or reserved. Services are called up for a while after their death; the queue's consumers are gone at once.
 * Asked right before an instance's calls.
 */
export async function assertServed(ctx: StepContext, item: StepItem): Promise<void> {
  const planned = new Set(ctx.plan.volumes.map(({ id }) => id));
  const volumes = [...(await ctx.live.volumes()).values()].filter(({ id }) => planned.has(id));
  for (const host of new Set(volumes.map((volume) => volume.host.split("#")[0] ?? ""))) {
    const queues = await ctx.ports.messageQueue.listBackendQueues(host);
    if (isServed(queues)) continue;
    throw new DrError({
      code: "precondition",
      attempted: `Detach or attach the volumes of instance "${item.label}"`,
      seen: `no cinder-volume consumes the queue of ${host}: each detach or attach would hang for minutes`,
      state: "The instance is stopped.",
      remedy: "Start cinder-volume, then run up again.",
    });
  }
}
