import type { Step } from "../context";
import { DrError } from "../../errors";
import { deletedServer, serverItems } from "../context";

/** How a lock of ours is known from a user's. */
export const lockReason = (to: string): string => `switchover to ${to} (cinder-cheesecake)`;

/**
 * Needs: Nova's API. Does: locks each instance, so that its users don't start, attach or detach meanwhile.
 * Proof: `locked`, read back. Safe to repeat because a lock by us is seen; one by others is left as it is.
 */
export const holdLockInstances: Step = {
  id: "hold/lock-instances",
  lanes: "instances",
  items: (ctx) =>
    serverItems([...ctx.plan.servers.filter((server) => !server.lockedBefore), ...(ctx.plan.shelved ?? [])]),
  async satisfied(ctx, item) {
    if ((await ctx.live.serversAtBoundary()).get(item.key)?.locked === true) return {};
    return deletedServer(ctx, item);
  },
  async apply(ctx, item) {
    await ctx.guard();
    await ctx.ports.compute.lock(item.key, lockReason(ctx.plan.to));
  },
  async verify(ctx, item) {
    if ((await ctx.live.servers()).get(item.key)?.locked === false)
      throw new DrError({
        code: "failure-state",
        attempted: `Lock instance "${item.label}"`,
        seen: "it isn't locked after the call",
        remedy: "See who unlocks it, then run again.",
      });
    return {};
  },
};
