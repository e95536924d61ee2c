import type { Step } from "../context";
import { assertServicesStopped } from "./promote-stop-services";

/**
 * Needs: services stopped. Does: runs the hooks `during:promote`. Proof: exit status 0. Safe to repeat as far as the
 * operator's command is: a run that is cut off in the middle runs it again.
 */
export const promoteHooks: Step = {
  id: "promote/hooks",
  lanes: 1,
  items: (ctx) =>
    ctx.plan.hooks
      .filter((hook) => hook.when === "during:promote")
      .map((hook) => ({ key: hook.name, label: hook.name })),
  premise: assertServicesStopped,
  satisfied: () => Promise.resolve(undefined),
  async apply(ctx, item) {
    const hook = ctx.plan.hooks.find((candidate) => candidate.name === item.key);
    if (hook === undefined) return;
    await ctx.guard();
    await ctx.ports.hooks.run({ ...hook, env: { FROM_SITE: ctx.plan.from, TO_SITE: ctx.plan.to, PHASE: "promote" } });
  },
  verify: () => Promise.resolve({}),
};
