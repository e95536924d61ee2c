import { DrError } from "../../errors";
import { backendHost } from "../../topology/site-pair";
import { isMirrorOf, isVolumeServiceOf } from "../observation";
import { deadlines } from "../deadlines";
import type { Step, StepContext, StepItem } from "../context";
import { arrayAt, waitFor } from "../context";
import { assertSourceUnmapped, assertStopped } from "./premises";

/**
 * Needs: both arrays. Does: starts a transfer of our own for each mirror and waits for it; one that was running already
 * doesn't count, as its snapshot is older. Proof: that transfer's uuid ended in success. Safe to repeat: a repeat
 * makes one more transfer.
 */
function updateMirrors(id: string, more: Pick<Step, "premise" | "stale"> = {}): Step {
  return {
    id,
    lanes: 8,
    items: (ctx) => ctx.pair.flexVols.map((flexVol) => ({ key: flexVol, label: flexVol })),
    ...more,
    satisfied: () => Promise.resolve(undefined),
    async apply(ctx, item) {
      const mirror = await waitFor(ctx, {
        attempted: `Update mirror ${item.label}`,
        deadlineSeconds: deadlines.transfer,
        check: async () => {
          const found = await findMirror(ctx, item);
          const running = found.transfer?.state === "transferring" || found.transfer?.state === "queued";
          return running ? { seen: "an earlier transfer running" } : { value: found };
        },
      });
      return { transferUuid: await startAfterRunning(ctx, item, mirror.uuid) };
    },
    async verify(ctx, item, applied) {
      const mirror = await findMirror(ctx, item);
      const transferUuid = String(applied["transferUuid"]);
      return waitFor(ctx, {
        attempted: `Update mirror ${item.label} (transfer ${transferUuid})`,
        deadlineSeconds: deadlines.transfer,
        check: async () => {
          const transfer = await arrayAt(ctx, ctx.plan.to).getTransfer(mirror.uuid, transferUuid);
          if (transfer.state === "success")
            return { value: { transferUuid, bytes: transfer.bytesTransferred, endTime: transfer.endTime ?? "" } };
          if (transfer.state === "transferring" || transfer.state === "queued")
            return { seen: `${transfer.state}, ${transfer.bytesTransferred} bytes so far` };
          throw new DrError({
            code: "failure-state",
            attempted: `Update mirror ${item.label} (transfer ${transferUuid})`,
            seen: `it ended as ${transfer.state}${transfer.error === undefined ? "" : `: ${transfer.error}`}`,
            remedy: `Repair its cause and run again, or set activeSite back to "${ctx.plan.from}" and run up.`,
          });
        },
      });
    },
  };
}

/** A scheduled transfer may start between our look and our call: wait for it and ask again. */
async function startAfterRunning(ctx: StepContext, item: StepItem, mirrorUuid: string): Promise<string> {
  return waitFor(ctx, {
    attempted: `Start an update of mirror ${item.label}`,
    deadlineSeconds: deadlines.transfer,
    check: async () => {
      await ctx.guard();
      try {
        return { value: await arrayAt(ctx, ctx.plan.to).startTransfer(mirrorUuid) };
      } catch (error) {
        if (DrError.is(error, "remote") && error.retryable) return { seen: error.seen };
        throw error;
      }
    },
  });
}

async function findMirror(ctx: StepContext, item: StepItem) {
  const { from, to } = ctx.plan;
  const mirrors = await arrayAt(ctx, to).listMirrors(ctx.pair.flexVols);
  const mirror = mirrors.find((candidate) => isMirrorOf(ctx.pair, candidate, from, to, item.key));
  if (mirror === undefined)
    throw new DrError({
      code: "failure-state",
      attempted: `Update mirror ${item.label}`,
      seen: `there is no mirror "${from}" → "${to}" any more`,
      remedy: "Find out who removed it; create and initialise it, then run again.",
    });
  return mirror;
}

export const preSyncUpdateMirrors = updateMirrors("pre-sync/update-mirrors");

/** The transfer that makes the loss zero counts only when nothing can write at the source any more. */
export const finalSyncUpdateMirrors = updateMirrors("final-sync/update-mirrors", {
  premise: async (ctx) => {
    await assertStopped(ctx);
    await assertSourceUnmapped(ctx);
  },
  /** Since the run that was cut off, detached volumes may have been used elsewhere: as long as nothing was failed over. */
  stale: async (ctx) => {
    const row = (await ctx.ports.database.listServiceRows()).find(
      isVolumeServiceOf(backendHost(ctx.pair, ctx.plan.from)),
    );
    if (row?.replicationStatus === "failing-over" || row?.replicationStatus === "failed-over") return false;
    const { from, to } = ctx.plan;
    const mirrors = await arrayAt(ctx, to).listMirrors(ctx.pair.flexVols);
    return ctx.pair.flexVols.every((flexVol) =>
      mirrors.some((mirror) => isMirrorOf(ctx.pair, mirror, from, to, flexVol) && mirror.state === "snapmirrored"),
    );
  },
});
