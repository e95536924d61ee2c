import { isUnanswered } from "../../errors";
import { backendHost } from "../../topology/site-pair";
import { isVolumeServiceOf } from "../observation";
import type { Step, StepContext } from "../context";
import { whole } from "../context";

/** How an abort knows its own hold from a backend that was disabled before. */
export const holdReason = "switchover to";

/**
 * Needs: Cinder's API. Does: takes the backend out of scheduling, so that no new volume appears behind the plan's back.
 * Proof: the services row, read back. Safe to repeat because the row is read first.
 */
export const holdDisableBackend: Step = {
  id: "hold/disable-backend",
  lanes: 1,
  items: (ctx) => whole(host(ctx)),
  async satisfied(ctx) {
    const row = await serviceRow(ctx).catch((error: unknown) => {
      // The direct route stops the services soon; while the API is down nobody can make a volume.
      if (ctx.plan.route === "direct" && isUnanswered(error)) return undefined;
      throw error;
    });
    // A backend without a running service has nothing to be disabled for.
    return row === undefined || !row.enabled ? { reason: row?.disabledReason ?? "no service" } : undefined;
  },
  async apply(ctx) {
    await ctx.guard();
    await ctx.ports.blockStorage.disableService(host(ctx), `${holdReason} ${ctx.plan.to}`);
  },
  async verify(ctx) {
    const row = await serviceRow(ctx);
    return { disabledReason: row?.disabledReason ?? "" };
  },
};

const host = (ctx: StepContext): string => backendHost(ctx.pair, ctx.plan.from);

async function serviceRow(ctx: StepContext) {
  const services = await ctx.ports.blockStorage.listServices();
  return services.find(isVolumeServiceOf(host(ctx)));
}
