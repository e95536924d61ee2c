import { DrError } from "../../errors";
import { backendHost, siteOf } from "../../topology/site-pair";
import type { PromotionResult } from "../ports";
import type { Step, StepContext } from "../context";
import { whole } from "../context";
import { assertServicesStopped, diedWithSite } from "./promote-stop-services";

/**
 * Needs: services stopped, the dump. Does: one transaction that moves every row that names the old host, clears the new
 * site's services row, and leaves the row of the site that was left as the fence: a driver that is ever started on that
 * stanza again resyncs nothing. Proof: row counts, asserted before the commit. Safe to repeat because a repeat finds no
 * row with the old host.
 */
export const promoteUpdateDatabase: Step = {
  id: "promote/update-database",
  lanes: 1,
  items: (ctx) => whole(`${backendHost(ctx.pair, ctx.plan.from)} → ${backendHost(ctx.pair, ctx.plan.to)}`),
  premise: assertServicesStopped,
  // Asked again after a cut: the transaction itself tells whether there is anything left to move.
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx) {
    const fromHost = backendHost(ctx.pair, ctx.plan.from);
    const toHost = backendHost(ctx.pair, ctx.plan.to);
    const inFlight = await ctx.ports.database.listVolumesInFlight(fromHost);
    const takeInFlight = diedWithSite(ctx);
    const seen = inFlight.map((volume) => `volume ${volume.id} is ${volume.status}`).join("; ");
    if (takeInFlight && seen !== "") ctx.say(`moved as they are, to be reset afterwards: ${seen}`);
    else if (seen !== "")
      throw new DrError({
        code: "failure-state",
        attempted: `Move the rows of ${fromHost} to ${toHost}`,
        seen,
        state: "Cinder's services are stopped; the database is unchanged.",
        remedy:
          "Its API being stopped, reset what was left half-way in Cinder's database: UPDATE volumes SET status = 'error' WHERE id = …; DELETE FROM workers WHERE resource_id = …. Then run again.",
      });
    const expected = await ctx.ports.database.countHostRows(fromHost);
    await ctx.guard();
    const result = await ctx.ports.database.promote({
      fromHost,
      toHost,
      toBackendId: siteOf(ctx.pair, ctx.plan.to).backend,
      expected,
      // failover-host wrote the fence; the direct route has to, and so has a promotion after the backend was enabled again.
      takeInFlight,
      writeFence: ctx.plan.route === "direct" || ctx.plan.kind === "promotion",
      acceptSchema: ctx.acceptSchema,
    });
    const { made, gone } = unplanned(ctx, result);
    if (made.length > 0) ctx.say(`not in the plan, moved all the same: volumes ${firstOf(made)}`);
    if (gone.length > 0) ctx.say(`in the plan, but not on ${fromHost} any more: volumes ${firstOf(gone)}`);
    return {
      made,
      gone,
      inFlight,
      before: result.before,
      after: result.after,
      rollbackSql: result.rollbackSql,
    };
  },
};

/** For a line that is read by people; the journal has them all. */
function firstOf(ids: readonly string[]): string {
  const shown = ids.slice(0, 10).join(", ");
  return ids.length > 10 ? `${shown} and ${ids.length - 10} more` : shown;
}

/** Users go on making and deleting volumes after a deferred failover, so what differs from the plan is told, not refused. */
function unplanned(ctx: StepContext, result: PromotionResult): { made: readonly string[]; gone: readonly string[] } {
  const planned = new Set(ctx.plan.volumes.map((volume) => volume.id));
  const moved = new Set((result.beforeImage["volumes"] ?? []).flatMap(({ keys }) => keys));
  return { made: [...moved].filter((id) => !planned.has(id)), gone: [...planned].filter((id) => !moved.has(id)) };
}
