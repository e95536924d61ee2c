import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Step } from "../context";
import { deletedServer, pollListsMs, serverItems, unlessDeleted, untilAtRest, waitFor } from "../context";

/**
 * Needs: instances locked. Does: stops each that runs; Nova forces the power off after its own shutdown_timeout.
 * Proof: SHUTOFF without a task. Safe to repeat because a stopped instance is left alone.
 */
export const quiesceStopInstances: Step = {
  id: "quiesce/stop-instances",
  lanes: "instances",
  items: (ctx) => serverItems(ctx.plan.servers),
  async satisfied(ctx, item) {
    const server = (await ctx.live.serversAtBoundary()).get(item.key);
    if (server?.status === "SHUTOFF" && server.taskState === undefined) return { status: "SHUTOFF" };
    return deletedServer(ctx, item);
  },
  async apply(ctx, item) {
    const server = (await ctx.live.serversJustNow()).get(item.key);
    if (server?.taskState === "powering-off") return; // asked for by the run that was cut off
    const rested = await untilAtRest(ctx, item, server);
    if (rested === undefined || rested.status === "SHUTOFF") return;
    await ctx.guard();
    await unlessDeleted(ctx.ports.compute.stop(item.key));
  },
  async verify(ctx, item) {
    let accepted = false;
    return waitFor(ctx, {
      attempted: `Stop instance "${item.label}"`,
      deadlineSeconds: deadlines.stopInstance,
      everyMs: pollListsMs,
      check: async () => {
        const server = (await ctx.live.servers()).get(item.key);
        if (server === undefined) return { value: { status: "deleted" } };
        if (server.taskState !== undefined) {
          accepted = true;
          return { seen: `${server.status}, task ${server.taskState}` };
        }
        if (server.status === "SHUTOFF") return { value: { status: "SHUTOFF" } };
        if (server.status === "ERROR" || accepted)
          throw new DrError({
            code: "failure-state",
            attempted: `Stop instance "${item.label}"`,
            seen: `it is ${server.status} after the attempt`,
            remedy: "Look at its actions (openstack server event list), stop it by hand, and run again.",
          });
        return { seen: server.status };
      },
    });
  },
};
