import type { Step } from "../context";
import { whole } from "../context";
import type { LogMarks } from "./initialised";
import { provenInitialised } from "./initialised";
import { markLogs } from "./promote-start-services";
import { unitsOfAll } from "./units";

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
    const units = await unitsOfAll(ctx);
    const logs = await markLogs(units);
    for (const { controller, role, unit, startedHere } of units)
      if (role === "volume" && startedHere) {
        await ctx.guard();
        await controller.restart(unit);
      }
    return { logs };
  },
  verify: (ctx, _item, applied) => provenInitialised(ctx, ctx.plan.to, applied["logs"] as LogMarks),
};
