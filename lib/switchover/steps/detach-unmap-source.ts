import { DrError } from "../../errors";
import type { Step } from "../context";
import { arrayAt, whole } from "../context";
import { assertSourceUnmapped, assertStopped } from "./premises";

/**
 * Needs: everything detached. Does: removes LUN maps that stayed behind (the driver leaves those of earlier
 * switchovers), once no volume is attached to anything. Proof: the source maps none of the pair's LUNs. Safe to repeat
 * because a map that is gone is success.
 */
export const detachUnmapSource: Step = {
  id: "detach/unmap-source",
  lanes: 1,
  items: (ctx) => whole(ctx.plan.from),
  premise: assertStopped,
  async satisfied(ctx) {
    return (await arrayAt(ctx, ctx.plan.from).listLunMaps(ctx.pair.flexVols)).length === 0
      ? { removed: [] }
      : undefined;
  },
  async apply(ctx) {
    const volumes = await ctx.live.volumes();
    const attached = [...volumes.values()].filter((volume) => volume.status !== "available");
    if (attached.length > 0)
      throw new DrError({
        code: "failure-state",
        attempted: `Remove LUN maps that stayed behind at "${ctx.plan.from}"`,
        seen: attached.map((volume) => `volume "${volume.name}" is ${volume.status}`).join("; "),
        remedy: "Detach it where it's attached, then run up again.",
      });
    const port = arrayAt(ctx, ctx.plan.from);
    for (const map of await port.listLunMaps(ctx.pair.flexVols)) {
      await ctx.guard();
      ctx.say(`removing a LUN map that stayed behind: ${map.lunPath} to ${map.igroup}`);
      await port.deleteLunMap(map);
    }
  },
  async verify(ctx) {
    await assertSourceUnmapped(ctx);
    return {};
  },
};
