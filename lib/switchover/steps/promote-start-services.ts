import type { Step } from "../context";
import { whole } from "../context";
import type { LogMarks } from "./initialised";
import { provenInitialised } from "./initialised";
import { type UnitOfController, unitsOfAll } from "./units";

/**
 * Needs: configuration, database and mirrors as the new site wants them. Does: unmasks everything and starts what
 * normally runs on each controller, the API last. Proof: the new backend is initialised, not merely 'up'. Safe to
 * repeat because a running unit is left alone.
 */
export const promoteStartServices: Step = {
  id: "promote/start-services",
  lanes: 1,
  items: () => whole("Cinder's services"),
  satisfied: () => Promise.resolve(undefined),
  async apply(ctx) {
    const units = await unitsOfAll(ctx);
    const logs = await markLogs(units);
    for (const role of ["scheduler", "volume", "backup", "api"] as const)
      for (const { controller, ...unit } of units.filter((candidate) => candidate.role === role)) {
        if (unit.startedHere && !unit.active) {
          await ctx.guard();
          await controller.unmaskAndStart(unit.unit);
        } else if (unit.masked) {
          await ctx.guard();
          await controller.unmask(unit.unit);
        }
      }
    return { logs };
  },
  verify: (ctx, _item, applied) => provenInitialised(ctx, ctx.plan.to, applied["logs"] as LogMarks),
};

/** Where each log of cinder-volume ends now: only what is written after the start counts. */
export async function markLogs(units: readonly UnitOfController[]): Promise<LogMarks> {
  const marks = [];
  for (const { controller, role, unit, startedHere } of units)
    if (role === "volume" && startedHere)
      marks.push({ controller: controller.name, unit, mark: await controller.markLog(unit) });
  return marks;
}
