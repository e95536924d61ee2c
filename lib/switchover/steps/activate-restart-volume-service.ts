import type { Step } from "../context";
import { whole } from "../context";
import type { LogMarks } from "./initialised";
import { provenInitialised } from "./initialised";
import { markLogs } from "./promote-start-services";

/**
 * Needs: cinder.conf as wanted. Does: restarts cinder-volume where it normally runs. Proof: the backend is initialised.
 * Safe to repeat: one more restart.
 */
export const activateRestartVolumeService: Step = {
  id: "activate/restart-volume-service",
  lanes: 1,
  items: (ctx) => whole(ctx.plan.to),
  satisfied: () => Promise.resolve(undefined),
  async apply(ctx) {
    const logs = await markLogs(ctx);
    for (const controller of ctx.ports.controllers)
      for (const unit of await controller.listUnits())
        if (unit.role === "volume" && unit.startedHere) {
          await ctx.guard();
          await controller.restart(unit.unit);
        }
    return { logs };
  },
  verify: (ctx, _item, applied) => provenInitialised(ctx, ctx.plan.to, applied["logs"] as LogMarks),
};
