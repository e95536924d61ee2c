import type { Step } from "../context";
import { arrayAt, whole } from "../context";
import { assertSourceUnmapped } from "./premises";

/**
 * Needs: the lost site answers again. Does: removes its LUN maps, which the driver left there: until then a host that
 * kept its sessions could still write. Proof: no map. Safe to repeat because a map that is gone is success.
 */
export const reprotectFenceSource: Step = {
  id: "reprotect/fence-source",
  lanes: 1,
  items: (ctx) => whole(ctx.plan.from),
  async satisfied(ctx) {
    return (await arrayAt(ctx, ctx.plan.from).listLunMaps(ctx.pair.flexVols)).length === 0 ? { removed: 0 } : undefined;
  },
  async apply(ctx) {
    const port = arrayAt(ctx, ctx.plan.from);
    for (const map of await port.listLunMaps(ctx.pair.flexVols)) {
      await ctx.guard();
      await port.deleteLunMap(map);
    }
  },
  async verify(ctx) {
    await assertSourceUnmapped(ctx, `Production is at "${ctx.plan.to}". Nothing was overwritten.`);
    return {};
  },
};
