import { DrError } from "../../errors";
import { lunPathOf } from "../observation";
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
    const port = arrayAt(ctx, ctx.plan.from);
    const maps = await port.listLunMaps(ctx.pair.flexVols);
    const mapped = new Set(maps.map((map) => map.lunPath));
    const attached = [...volumes.values()].filter((volume) => {
      const { id, status, attachments } = volume;
      if (status === "available" || status === "awaiting-transfer") return false;
      // Of a shelved instance; with a map somebody is attaching it.
      if (status === "reserved") return mapped.has(lunPathOf(volume));
      return !(status === "in-use" && roots.has(id) && attachments.every((a) => a.serverId === roots.get(id)));
    });
    if (attached.length > 0)
      throw new DrError({
        code: "failure-state",
        attempted: `Remove LUN maps that stayed behind at "${ctx.plan.from}"`,
        seen: attached.map((volume) => `volume "${volume.name}" is ${volume.status}`).join("; "),
        remedy:
          "Detach it where it's attached, or wait until what works on it (an upload, a backup) has ended; then run again.",
      });
    // What isn't Cinder's is used by somebody else, and named by the proof.
    const own = new Set([...volumes.values()].map(lunPathOf));
    for (const map of maps.filter(({ lunPath }) => own.has(lunPath))) {
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
