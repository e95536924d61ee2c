import type { Step, StepContext } from "../context";
import { arrayAt } from "../context";

/**
 * Needs: the source fenced. Does: clones each FlexVol of the lost site, so that what was written there after the last
 * transfer outlives the resync. Proof: the clone is listed. Safe to repeat because the clone's name is the switchover's.
 */
export const reprotectKeepDiverged: Step = {
  id: "reprotect/keep-diverged",
  lanes: 4,
  items: (ctx) => ctx.pair.flexVols.map((flexVol) => ({ key: flexVol, label: flexVol })),
  async satisfied(ctx, item) {
    return (await exists(ctx, item.key)) ? { clone: cloneName(ctx, item.key) } : undefined;
  },
  async apply(ctx, item) {
    await ctx.guard();
    await arrayAt(ctx, ctx.plan.from).cloneFlexVol({ parent: item.key, name: cloneName(ctx, item.key) });
  },
  async verify(ctx, item) {
    return { clone: cloneName(ctx, item.key), exists: await exists(ctx, item.key) };
  },
};

function cloneName(ctx: StepContext, flexVol: string): string {
  return `${flexVol}_diverged_${ctx.journal.switchoverId.slice(0, 16).replace(/[^A-Za-z0-9]/g, "")}`;
}

async function exists(ctx: StepContext, flexVol: string): Promise<boolean> {
  return (await arrayAt(ctx, ctx.plan.from).listFlexVols()).some((volume) => volume.name === cloneName(ctx, flexVol));
}
