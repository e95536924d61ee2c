import type { Step } from "../context";

/**
 * Needs: a group's instances ACTIVE. Does: nothing, for as long as it's declared. Proof: the time is over. Safe to repeat:
 * one that was cut off begins anew.
 */
export const startPause: Step = {
  id: "start/pause",
  lanes: 1,
  items: ({ plan }) =>
    (plan.groups ?? [])
      .filter((group) => group.pauseAfterSeconds !== undefined)
      .map(({ name }) => ({ key: name, label: name })),
  satisfied: () => Promise.resolve(undefined),
  async apply(ctx, item) {
    const group = ctx.plan.groups?.find(({ name }) => name === item.key);
    // Half a pause is none: who asks to stop doesn't wait for its end.
    const signal = AbortSignal.any([ctx.signal, ctx.stop.asked]);
    await ctx.clock.sleep((group?.pauseAfterSeconds ?? 0) * 1000, signal);
  },
  verify: () => Promise.resolve({}),
};
