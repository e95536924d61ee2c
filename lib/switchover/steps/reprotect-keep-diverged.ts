import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Step } from "../context";
import { arrayAt, findFlexVol, hasItemsLeft, waitFor } from "../context";
import { divergedName, hideLuns, visibleLuns } from "./diverged";

/**
 * Needs: the source fenced. Does: clones each FlexVol of the lost site, so that what was written there after the last
 * transfer outlives the resync, and splits each clone, since ONTAP refuses to resync a parent before; gives the clone's LUNs
 * names of their own, or Cinder would serve them for the volumes. Proof: the clone is listed, shares nothing with its
 * parent, and none of its LUNs has a volume's name. Safe to repeat because the clone's name is the switchover's, a split
 * that runs goes on, and what is renamed stays so.
 */
export const reprotectKeepDiverged: Step = {
  id: "reprotect/keep-diverged",
  lanes: 4,
  items: (ctx) => (ctx.plan.resyncs ?? ctx.pair.flexVols).map((flexVol) => ({ key: flexVol, label: flexVol })),
  stale: (ctx) => hasItemsLeft(ctx, reprotectKeepDiverged),
  // Whether it's split can't be asked without asking for it.
  satisfied: () => Promise.resolve(undefined),
  async apply(ctx, item) {
    const clone = divergedName(ctx.journal, item.key);
    if ((await findFlexVol(ctx, ctx.plan.from, clone)) === undefined) {
      await ctx.guard();
      await arrayAt(ctx, ctx.plan.from).cloneFlexVol({ parent: item.key, name: clone });
    }
    await waitFor(ctx, {
      attempted: `Keep what "${item.label}" holds beyond the last transfer as "${clone}"`,
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
    await hideLuns(ctx, clone);
  },
  async verify(ctx, item) {
    const clone = divergedName(ctx.journal, item.key);
    const there = (await findFlexVol(ctx, ctx.plan.from, clone)) !== undefined;
    const visible = await visibleLuns(ctx, clone);
    if (there && visible.length === 0) return { clone };
    throw new DrError({
      code: "failure-state",
      attempted: `Keep what "${item.label}" holds beyond the last transfer as "${clone}"`,
      seen: there
        ? `${visible.length} LUNs in it have names of volumes still: ${visible[0]?.path ?? ""}, …`
        : "the clone isn't there",
      state: "Nothing was discarded.",
      remedy: "See whether its aggregate has room, and who else changes it; then run again.",
    });
  },
};
