import { DrError } from "../../errors";
import type { Step } from "../context";
import { arrayAt, whole } from "../context";
import { assertSourceUnmapped, assertStopped } from "./premises";

/**
 * Needs: everything detached but the roots of stopped instances. Does: removes the maps of these roots, as Cinder keeps
 * them while a root is attached, and LUN maps that stayed behind (the driver leaves those of earlier switchovers), once
 * nothing else is attached to anything. Proof: the source maps none of the pair's LUNs. Safe to repeat because a map
 * that is gone is success. On the way back a root gets its map again with its new connection.
 */
export const detachUnmapSource: Step = {
  id: "detach/unmap-source",
  lanes: 1,
  items: (ctx) => whole(ctx.plan.from),
  premise: assertStopped,
  async satisfied(ctx) {
    return (await arrayAt(ctx, ctx.plan.from).listLunMaps(ctx.pair.flexVols)).length === 0
      ? { removed: [] }
      : undefined;
  },
  async apply(ctx) {
    const volumes = await ctx.live.volumes();
    const roots = new Map(
      ctx.plan.servers.flatMap(({ id, root }) => (root === undefined ? [] : [[root.volumeId, id]])),
    );
    const attached = [...volumes.values()].filter(
      ({ id, status, attachments }) =>
        status !== "available" &&
        !(status === "in-use" && roots.has(id) && attachments.every((a) => a.serverId === roots.get(id))),
    );
    if (attached.length > 0)
      throw new DrError({
        code: "failure-state",
        attempted: `Remove LUN maps that stayed behind at "${ctx.plan.from}"`,
        seen: attached.map((volume) => `volume "${volume.name}" is ${volume.status}`).join("; "),
        remedy: "Detach it where it's attached, then run up again.",
      });
    const port = arrayAt(ctx, ctx.plan.from);
    for (const map of await port.listLunMaps(ctx.pair.flexVols)) {
      await ctx.guard();
      ctx.say(`removing a LUN map: ${map.lunPath} to ${map.igroup}`);
      await port.deleteLunMap(map);
    }
  },
  async verify(ctx) {
    await assertSourceUnmapped(ctx);
    return {};
  },
};
