import { DrError } from "../../errors";
import { lunPathOf, snapshotLunPath } from "../observation";
import type { Step } from "../context";
import { arrayAt, whole } from "../context";
import { lunlessStatuses } from "../states";

const GiB = 2 ** 30;

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
    const [luns, listed, allSnapshots] = await Promise.all([
      arrayAt(ctx, ctx.plan.to).listLuns(ctx.pair.flexVols),
      ctx.live.volumes(),
      ctx.ports.blockStorage.listSnapshots(),
    ]);
    const byPath = new Map(luns.map((lun) => [lun.path, lun]));
    const volumes = new Map([...listed].filter(([, volume]) => !lunlessStatuses.has(volume.status)));
    const missing: string[] = [];
    const short: string[] = [];
    const serials: Record<string, string> = {};
    for (const volume of volumes.values()) {
      const lun = byPath.get(lunPathOf(volume));
      if (lun === undefined) missing.push(volume.id);
      else {
        serials[volume.id] = lun.serial;
        if (lun.sizeBytes < volume.sizeGiB * GiB) short.push(volume.id);
      }
    }
    const snapshots = allSnapshots.flatMap((snapshot) => {
      const volume = volumes.get(snapshot.volumeId);
      // One that failed to be made has none either.
      if (volume === undefined || lunlessStatuses.has(snapshot.status) || snapshot.status === "error") return [];
      return byPath.has(snapshotLunPath(volume, snapshot.id)) ? [] : [snapshot.id];
    });
    const named = (ids: readonly string[]): string => ids.map((id) => `"${volumes.get(id)?.name ?? id}"`).join(", ");
    const faults = [
      ...(missing.length > 0 ? [`no LUN for volumes ${named(missing)}`] : []),
      ...(short.length > 0 ? [`LUNs too small for volumes ${named(short)}`] : []),
      ...(snapshots.length > 0 ? [`no LUN for snapshots ${snapshots.join(", ")}`] : []),
    ];
    if (faults.length > 0 && ctx.plan.mode === "planned")
      throw new DrError({
        code: "failure-state",
        attempted: `Prove that "${ctx.plan.to}" holds everything`,
        seen: faults.join("; "),
        state: "Nothing is attached; the source's data is untouched.",
        remedy:
          "A snapshot that was made after the last transfer can be deleted (openstack volume snapshot delete). Of anything else find out why the transfer didn't bring it, before anything is started. Then run up again.",
      });
    for (const fault of faults) ctx.say(`lost: ${fault}`);
    const lostVolumeIds = [...missing, ...short];
    const lostVolumes = lostVolumeIds.map((id) => ({ id, name: volumes.get(id)?.name ?? "" }));
    return { serials, lostVolumeIds, lostVolumes, lostSnapshotIds: snapshots };
  },
};
