import { backendHost, siteNames } from "../../topology/site-pair";
import type { Step } from "../context";
import { assertServicesStopped } from "./promote-stop-services";

/**
 * Needs: services stopped. Does: reads out and removes what waits for a backend that nobody consumes: a failover-host
 * sent to a dead service runs whenever that backend next starts, weeks later. They are in the journal before they are
 * removed. Proof: no message without a consumer. Safe to repeat because a queue that is gone is success.
 */
export const promoteDrainQueues: Step = {
  id: "promote/drain-queues",
  lanes: 1,
  items: (ctx) => siteNames(ctx.pair).map((site) => ({ key: site, label: backendHost(ctx.pair, site) })),
  premise: assertServicesStopped,
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx, item) {
    const drained: Record<string, unknown> = {};
    for (const queue of await ctx.ports.messageQueue.listBackendQueues(backendHost(ctx.pair, item.key))) {
      if (queue.consumers > 0) continue;
      await ctx.guard();
      const messages = await ctx.ports.messageQueue.drainQueue(queue.name, async (waiting) => {
        const facts = { queue: queue.name, waiting };
        await ctx.journal.append({ type: "intent", step: promoteDrainQueues.id, item: item.key, facts });
      });
      if (messages.length > 0) {
        drained[queue.name] = messages;
        ctx.say(
          `removed ${messages.length} messages that waited in ${queue.name}: ${messages.map((m) => m.method).join(", ")}`,
        );
      }
    }
    return { drained };
  },
};
