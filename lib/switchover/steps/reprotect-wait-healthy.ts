import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import { isMirrorOf } from "../observation";
import type { Step } from "../context";
import { arrayAt, waitFor } from "../context";

/**
 * Needs: the reverse mirrors. Does: nothing but wait. Proof: snapmirrored, healthy, lag below the target. Safe to repeat:
 * it only reads.
 */
export const reprotectWaitHealthy: Step = {
  id: "reprotect/wait-healthy",
  lanes: 8,
  items: (ctx) => ctx.pair.flexVols.map((flexVol) => ({ key: flexVol, label: flexVol })),
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx, item) {
    const { from, to } = ctx.plan;
    return waitFor(ctx, {
      attempted: `Wait until "${item.label}" is protected at "${from}"`,
      deadlineSeconds: deadlines.mirrorHealthy,
      state: "Production runs; only its protection is outstanding.",
      check: async () => {
        const mirrors = await arrayAt(ctx, from).listMirrors(ctx.pair.flexVols);
        const mirror = mirrors.find((candidate) => isMirrorOf(ctx.pair, candidate, to, from, item.key));
        if (mirror === undefined) return { seen: "no reverse mirror" };
        if (mirror.state === "broken_off" && mirror.transfer?.state === "failed")
          throw new DrError({
            code: "failure-state",
            attempted: `Protect "${item.label}" at "${from}"`,
            seen: `the resync failed: ${mirror.unhealthyReasons.join("; ") || "no reason given"}`,
            state: "Production runs; only its protection is outstanding.",
            remedy: "Repair its cause and run up again.",
          });
        const lag = mirror.lagSeconds ?? Number.POSITIVE_INFINITY;
        return mirror.state === "snapmirrored" && mirror.healthy && lag <= ctx.pair.replication.targetLagSeconds
          ? { value: { uuid: mirror.uuid, lagSeconds: lag } }
          : {
              seen: `${mirror.state}, ${mirror.healthy ? "healthy" : "unhealthy"}, ${mirror.transfer?.state ?? "no transfer"}`,
              // A baseline may take days.
              ...(mirror.state === "uninitialized" ? { progress: mirror.transfer?.bytesTransferred ?? 0 } : {}),
            };
      },
    });
  },
};
