import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Step, StepContext } from "../context";
import { arrayAt, waitFor } from "../context";

/**
 * Needs: the source fenced. Does: clones each FlexVol of the lost site, so that what was written there after the last
 * transfer outlives the resync, and splits each clone, since ONTAP refuses to resync a parent before. Proof: the clone is
 * listed and shares nothing with its parent. Safe to repeat because the clone's name is the switchover's, and a split
 * that runs goes on.
 */
export const reprotectKeepDiverged: Step = {
  id: "reprotect/keep-diverged",
  lanes: 4,
  items: (ctx) => ctx.pair.flexVols.map((flexVol) => ({ key: flexVol, label: flexVol })),
  // Whether it's split can't be asked without asking for it.
  satisfied: () => Promise.resolve(undefined),
  async apply(ctx, item) {
    if (await exists(ctx, item.key)) return;
    await ctx.guard();
    await arrayAt(ctx, ctx.plan.from).cloneFlexVol({ parent: item.key, name: cloneName(ctx, item.key) });
  },
  async verify(ctx, item) {
    const clone = cloneName(ctx, item.key);
    const attempted = `Keep what "${item.label}" holds beyond the last transfer as "${clone}"`;
    if (!(await exists(ctx, item.key)))
      throw new DrError({
        code: "failure-state",
        attempted,
        seen: "the clone isn't there",
        state: "Nothing was discarded.",
        remedy: "See whether its aggregate has room, then run up again.",
      });
    await waitFor(ctx, {
      attempted,
      deadlineSeconds: deadlines.splitClone,
      everyMs: 10_000,
      state: "Nothing was discarded.",
      check: async () => {
        await ctx.guard();
        return (await arrayAt(ctx, ctx.plan.from).splitFlexClone(clone))
          ? { value: undefined }
          : { seen: "being split from its parent" };
      },
    });
    return { clone };
  },
};

function cloneName(ctx: StepContext, flexVol: string): string {
  return `${flexVol}_diverged_${ctx.journal.switchoverId.slice(0, 16).replace(/[^A-Za-z0-9]/g, "")}`;
}

async function exists(ctx: StepContext, flexVol: string): Promise<boolean> {
  return (await arrayAt(ctx, ctx.plan.from).listFlexVols()).some((volume) => volume.name === cloneName(ctx, flexVol));
}
