import { DrError } from "../../errors";
import type { Step } from "../context";
import { arrayAt, whole } from "../context";

const GiB = 2 ** 30;

/**
 * Needs: mirrors broken. Does: nothing but read. Proof: every volume and every snapshot of the backend has its LUN at
 * the destination, in its size. Planned: one that misses stops the switchover. Unplanned: it's lost, and named.
 */
export const cutoverVerifyDestination: Step = {
  id: "cutover/verify-destination",
  lanes: 1,
  items: (ctx) => whole(ctx.plan.to),
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx) {
    const luns = await arrayAt(ctx, ctx.plan.to).listLuns(ctx.pair.flexVols);
    const byPath = new Map(luns.map((lun) => [lun.path, lun]));
    const missing: string[] = [];
    const short: string[] = [];
    const snapshots: string[] = [];
    const serials: Record<string, string> = {};
    for (const volume of ctx.plan.volumes) {
      const lun = byPath.get(`/vol/${volume.flexVol}/volume-${volume.id}`);
      if (lun === undefined) missing.push(volume.id);
      else {
        serials[volume.id] = lun.serial;
        if (lun.sizeBytes < volume.sizeGiB * GiB) short.push(volume.id);
      }
      for (const snapshot of volume.snapshotIds)
        if (!byPath.has(`/vol/${volume.flexVol}/snapshot-${snapshot}`)) snapshots.push(snapshot);
    }
    const names = new Map(ctx.plan.volumes.map((volume) => [volume.id, volume.name]));
    const named = (ids: readonly string[]): string => ids.map((id) => `"${names.get(id) ?? id}"`).join(", ");
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
        remedy: "Find out why the last transfer didn't bring them, before anything is started.",
      });
    for (const fault of faults) ctx.say(`lost: ${fault}`);
    return { serials, lostVolumeIds: [...missing, ...short], lostSnapshotIds: snapshots };
  },
};
