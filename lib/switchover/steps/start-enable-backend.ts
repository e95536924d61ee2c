import { DrError } from "../../errors";
import { backendHost } from "../../topology/site-pair";
import { isVolumeServiceOf } from "../observation";
import type { Step, StepContext } from "../context";
import { whole } from "../context";
import { holdReason } from "./hold-disable-backend";

/**
 * Needs: Cinder's API. Does: opens the backend for new volumes: after a deferred promotion it serves from the new site
 * under its old name; after an abort it's as before. Proof: the services row, read back. Safe to repeat because the row
 * is read first.
 */
export const startEnableBackend: Step = {
  id: "start/enable-backend",
  lanes: 1,
  items: (ctx) => whole(host(ctx)),
  async satisfied(ctx) {
    const row = await serviceRow(ctx);
    // Disabled by somebody else before the hold: it stays so.
    const ours = row?.disabledReason?.startsWith(holdReason) === true;
    if (ctx.plan.kind === "abort" && row !== undefined && !row.enabled && !ours)
      return { disabledReason: row.disabledReason ?? "" };
    return row?.enabled === true ? {} : undefined;
  },
  async apply(ctx) {
    await ctx.guard();
    await ctx.ports.blockStorage.enableService(host(ctx));
  },
  async verify(ctx) {
    if ((await serviceRow(ctx))?.enabled !== true)
      throw new DrError({
        code: "failure-state",
        attempted: `Enable ${host(ctx)} for new volumes`,
        seen: "it's still disabled after the call",
        remedy: "See that cinder-volume runs, then run again.",
      });
    return {};
  },
};

/** The name that Cinder knows the backend by until the promotion: that of the site which is or was left. */
const host = (ctx: StepContext): string =>
  backendHost(ctx.pair, ctx.plan.kind === "abort" ? ctx.plan.to : ctx.plan.from);

async function serviceRow(ctx: StepContext) {
  const services = await ctx.ports.blockStorage.listServices();
  return services.find(isVolumeServiceOf(host(ctx)));
}
