import type { Step } from "../context";
import { DrError } from "../../errors";
import { completeServers, deletedServer, serverItems } from "../context";

/**
 * Needs: instances started. Does: takes back our lock. Proof: not locked. Safe to repeat because an unlocked instance is
 * left alone; who was locked before stays so.
 */
export const startUnlockInstances: Step = {
  id: "start/unlock-instances",
  lanes: "instances",
  items: (ctx) =>
    serverItems([...completeServers(ctx).filter((server) => !server.lockedBefore), ...(ctx.plan.shelved ?? [])]),
  async satisfied(ctx, item) {
    if ((await ctx.live.serversAtBoundary()).get(item.key)?.locked === false) return {};
    return deletedServer(ctx, item);
  },
  async apply(ctx, item) {
    await ctx.guard();
    await ctx.ports.compute.unlock(item.key);
  },
  async verify(ctx, item) {
    if ((await ctx.live.servers()).get(item.key)?.locked === true)
      throw new DrError({
        code: "failure-state",
        attempted: `Unlock instance "${item.label}"`,
        seen: "it's still locked after the call",
        remedy: "Unlock it by hand (openstack server unlock), then run again.",
      });
    return {};
  },
};
