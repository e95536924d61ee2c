import type { Step } from "../context";
import { completeServers, serverItems } from "../context";

/**
 * Needs: instances started. Does: takes back our lock. Proof: not locked. Safe to repeat because an unlocked instance is
 * left alone; who was locked before stays so.
 */
export const startUnlockInstances: Step = {
  id: "start/unlock-instances",
  lanes: 8,
  items: (ctx) => serverItems(completeServers(ctx).filter((server) => !server.lockedBefore)),
  async satisfied(ctx, item) {
    return (await ctx.live.servers()).get(item.key)?.locked === false ? {} : undefined;
  },
  async apply(ctx, item) {
    await ctx.guard();
    await ctx.ports.compute.unlock(item.key);
  },
  async verify(ctx, item) {
    return { locked: (await ctx.ports.compute.getServer(item.key)).locked };
  },
};
