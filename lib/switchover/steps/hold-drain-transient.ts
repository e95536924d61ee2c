import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Step } from "../context";
import { waitFor, whole } from "../context";

/**
 * Needs: the backend disabled, the instances locked. Does: nothing but wait until every volume is available or in-use
 * and no instance has a task. Proof: the listing; and the volumes and attachments are still the planned ones.
 * Safe to repeat: it only reads.
 */
export const holdDrainTransient: Step = {
  id: "hold/drain-transient",
  lanes: 1,
  items: () => whole("volumes and instances"),
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx) {
    await waitFor(ctx, {
      attempted: "Wait for volumes and instances to come to rest",
      deadlineSeconds: deadlines.drainTransient,
      check: async () => {
        const [volumes, servers] = await Promise.all([ctx.live.volumes(), ctx.live.servers()]);
        const busy = [
          ...ctx.plan.volumes.flatMap(({ id, name }) => {
            const status = volumes.get(id)?.status;
            return status === undefined || status === "available" || status === "in-use"
              ? []
              : [`volume "${name}" is ${status}`];
          }),
          ...ctx.plan.servers.flatMap(({ id, name }) => {
            const task = servers.get(id)?.taskState;
            return task === undefined ? [] : [`instance "${name}" is in task ${task}`];
          }),
        ];
        return busy.length === 0 ? { value: undefined } : { seen: busy.join("; ") };
      },
    });
    // Between plan and hold somebody may have attached or made something: such a world wasn't planned.
    const volumes = await ctx.live.volumes();
    const planned = new Set(ctx.plan.volumes.map((volume) => volume.id));
    const strangers = [...volumes.values()].filter((volume) => !planned.has(volume.id));
    const attached = new Set(
      ctx.plan.servers.flatMap((server) => server.attachments.map((a) => `${server.id}/${a.volumeId}`)),
    );
    const moved = [...volumes.values()].flatMap((volume) =>
      volume.attachments
        .filter((a) => !attached.has(`${a.serverId}/${volume.id}`))
        .map((a) => `"${volume.name}" on ${a.serverId}`),
    );
    if (strangers.length + moved.length > 0)
      throw new DrError({
        code: "stale-plan",
        attempted: "Hold volumes and attachments as planned",
        seen: [
          ...strangers.map((volume) => `new volume "${volume.name}" (${volume.id})`),
          ...moved.map((text) => `new attachment of ${text}`),
        ].join("; "),
        state: "Nothing was stopped or detached; the instances are locked and the backend is disabled.",
        remedy: `Set activeSite back to "${ctx.plan.from}" and run up, which takes the hold back; then plan again.`,
      });
    return { volumes: volumes.size };
  },
};
