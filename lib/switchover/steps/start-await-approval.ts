import { DrError } from "../../errors";
import type { Step } from "../context";

/**
 * Needs: a group's instances ACTIVE. Does: ends the run, which holds nothing while somebody looks. Proof: the journal has
 * the approval, which a run of its own writes under the lease. Safe to repeat, as it changes nothing.
 */
export const startAwaitApproval: Step = {
  id: "start/await-approval",
  lanes: 1,
  items: ({ plan }) =>
    (plan.groups ?? [])
      .filter(({ approveAfter }) => approveAfter === true)
      .map(({ name }) => ({ key: name, label: name })),
  satisfied(ctx, { key }) {
    const approval = ctx.journal.approvalOf(key);
    if (approval !== undefined) return Promise.resolve({ approvedBy: approval.by, approvedAt: approval.at });
    throw new DrError({
      code: "approval",
      attempted: `Start what comes after group "${key}"`,
      seen: "it waits for an approval",
      state: `Group "${key}" runs at "${ctx.plan.to}"; what comes after it is stopped. Nothing else is done meanwhile.`,
      remedy: `See that it works, then \`cheesecake approve ${key}\`, and run again: it goes on from here.`,
    });
  },
  apply: () => Promise.resolve(),
  verify: () => Promise.resolve({}),
};
