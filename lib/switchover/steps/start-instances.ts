import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Facts } from "../journal";
import type { Step } from "../context";
import {
  completeServers,
  deletedServer,
  pollListsMs,
  serverItems,
  unlessDeleted,
  untilAtRest,
  waitFor,
} from "../context";

/**
 * Needs: every volume attached at the new site. Does: starts the instances that ran before. Proof: ACTIVE without a
 * task. Safe to repeat because a running instance is left alone.
 */
export const startInstances: Step = {
  id: "start/instances",
  lanes: "instances",
  items: (ctx) => serverItems(completeServers(ctx).filter((server) => server.running)),
  async satisfied(ctx, item) {
    const server = (await ctx.live.serversAtBoundary()).get(item.key);
    if (server?.status === "ACTIVE" && server.taskState === undefined) return {};
    return deletedServer(ctx, item);
  },
  async apply(ctx, item) {
    const server = (await ctx.live.serversJustNow()).get(item.key);
    if (server?.taskState === "powering-on") return; // asked for by the run that was cut off
    const rested = await untilAtRest(ctx, item, server);
    if (rested === undefined || rested.status === "ACTIVE") return;
    await ctx.guard();
    await unlessDeleted(ctx.ports.compute.start(item.key));
  },
  async verify(ctx, item) {
    let accepted = false;
    return waitFor<Facts>(ctx, {
      attempted: `Start instance "${item.label}"`,
      deadlineSeconds: deadlines.startInstance,
      everyMs: pollListsMs,
      check: async () => {
        const server = (await ctx.live.servers()).get(item.key);
        if (server === undefined) return { value: { status: "deleted" } };
        if (server.taskState !== undefined) {
          accepted = true;
          return { seen: `${server.status}, task ${server.taskState}` };
        }
        if (server.status === "ACTIVE") return { value: { activeAt: ctx.clock.now().toISOString() } };
        // Nova falls back to SHUTOFF without a word when a start fails.
        if (server.status === "ERROR" || (accepted && server.status === "SHUTOFF"))
          throw new DrError({
            code: "failure-state",
            attempted: `Start instance "${item.label}"`,
            seen: `it is ${server.status} after the attempt`,
            state: "Its volumes are attached at the new site.",
            remedy: "Look at its actions (openstack server event list) and nova-compute's log; then run again.",
          });
        return { seen: server.status };
      },
    });
  },
};
