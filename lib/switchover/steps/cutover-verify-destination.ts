import { DrError } from "../../errors";
import { heldBy } from "../observation";
import type { CinderVolume } from "../ports";
import type { Step } from "../context";
import { arrayAt, whole } from "../context";

/**
 * Needs: mirrors broken, Cinder's API. Does: nothing but read. Proof: every volume and every snapshot that Cinder has on
 * the backend now has its LUN at the destination, in its size: users may have made, extended and deleted some since the
 * plan. Planned: one that misses stops the switchover. Unplanned: it's lost, and named. Safe to repeat: it only reads.
 */
export const cutoverVerifyDestination: Step = {
  id: "cutover/verify-destination",
  lanes: 1,
  items: (ctx) => whole(ctx.plan.to),
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx) {
    const [luns, volumes, allSnapshots] = await Promise.all([
      arrayAt(ctx, ctx.plan.to).listLuns(ctx.pair.flexVols),
      ctx.live.volumes(),
      ctx.ports.blockStorage.listSnapshots(),
    ]);
    const { missing, short, missingSnapshotIds, serials } = heldBy(luns, [...volumes.values()], allSnapshots);
    const named = (lost: readonly CinderVolume[]): string => lost.map(({ name }) => `"${name}"`).join(", ");
    const faults = [
      ...(missing.length > 0 ? [`no LUN for volumes ${named(missing)}`] : []),
      ...(short.length > 0 ? [`LUNs too small for volumes ${named(short)}`] : []),
      ...(missingSnapshotIds.length > 0 ? [`no LUN for snapshots ${missingSnapshotIds.join(", ")}`] : []),
    ];
    if (faults.length > 0 && ctx.plan.mode === "planned")
      throw new DrError({
        code: "failure-state",
        attempted: `Prove that "${ctx.plan.to}" holds everything`,
        seen: faults.join("; "),
        state: "Nothing is attached; the source's data is untouched.",
        remedy:
          "A snapshot that was made after the last transfer can be deleted (openstack volume snapshot delete). Of anything else find out why the transfer didn't bring it, before anything is started. Then run again.",
      });
    for (const fault of faults) ctx.say(`lost: ${fault}`);
    const lostVolumes = [...missing, ...short].map(({ id, name }) => ({ id, name }));
    const lostVolumeIds = lostVolumes.map(({ id }) => id);
    return { serials, lostVolumeIds, lostVolumes, lostSnapshotIds: missingSnapshotIds };
  },
};
