import { backendHost } from "../../topology/site-pair";
import type { Step, StepContext } from "../context";
import { whole } from "../context";

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
    return (await enabled(ctx)) ? {} : undefined;
  },
  async apply(ctx) {
    await ctx.guard();
    await ctx.ports.blockStorage.enableService(host(ctx));
  },
  async verify(ctx) {
    return { enabled: await enabled(ctx) };
  },
};

/** The name that Cinder knows the backend by until the promotion: that of the site which is or was left. */
const host = (ctx: StepContext): string =>
  backendHost(ctx.pair, ctx.plan.kind === "abort" ? ctx.plan.to : ctx.plan.from);

async function enabled(ctx: StepContext): Promise<boolean> {
  const services = await ctx.ports.blockStorage.listServices();
  return services.find((service) => service.binary === "cinder-volume" && service.host === host(ctx))?.enabled === true;
}
