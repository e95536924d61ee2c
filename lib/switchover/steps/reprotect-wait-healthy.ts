import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Step } from "../context";
import { arrayAt, waitFor } from "../context";
import { back, findMirror } from "./mirrors";

/** A baseline is begun again so often where it failed: each goes on from its checkpoint. */
const BASELINE_ATTEMPTS = 3;

/**
 * Needs: the reverse mirrors. Does: waits, for as long as a transfer advances; begins a baseline again that failed. Proof:
 * snapmirrored, healthy, lag below the target. Safe to repeat: what runs is waited for.
 */
export const reprotectWaitHealthy: Step = {
  id: "reprotect/wait-healthy",
  lanes: 8,
  items: (ctx) => ctx.pair.flexVols.map((flexVol) => ({ key: flexVol, label: flexVol })),
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx, item) {
    const { from } = ctx.plan;
    let attempts = 1;
    let failed: string | undefined;
    return waitFor(ctx, {
      attempted: `Wait until "${item.label}" is protected at "${from}"`,
      deadlineSeconds: deadlines.mirrorHealthy,
      state: "Production runs; only its protection is outstanding.",
      check: async () => {
        const mirror = await findMirror(ctx, back(ctx, item.key));
        if (mirror === undefined) return { seen: "no reverse mirror" };
        if (mirror.state === "broken_off" && mirror.transfer?.state === "failed")
          throw new DrError({
            code: "failure-state",
            attempted: `Protect "${item.label}" at "${from}"`,
            seen: `the resync failed: ${mirror.unhealthyReasons.join("; ") || "no reason given"}`,
            state: "Production runs; only its protection is outstanding.",
            remedy: "Repair its cause and run again.",
          });
        const transfer = mirror.transfer?.state ?? "no transfer";
        const ended = ["failed", "aborted", "hard_aborted"].includes(transfer);
        // The former one is told of until the next one is.
        const told = failed !== undefined && failed === mirror.transfer?.uuid;
        if (mirror.state === "uninitialized" && ended && !told) {
          const reason = mirror.unhealthyReasons.join("; ") || "no reason given";
          if (attempts >= BASELINE_ATTEMPTS)
            throw new DrError({
              code: "failure-state",
              attempted: `Protect "${item.label}" at "${from}"`,
              seen: `the baseline is ${transfer} after ${attempts} attempts: ${reason}`,
              state: "Production runs; only its protection is outstanding.",
              remedy: "Repair its cause and run again, which begins it again.",
            });
          attempts += 1;
          failed = mirror.transfer?.uuid;
          ctx.say(`${item.label}: the baseline is ${transfer} (${reason}); beginning it again`);
          await ctx.guard();
          await arrayAt(ctx, from).setMirrorState(mirror.uuid, "snapmirrored");
          await ctx.clock.sleep(5_000, ctx.signal); // until the new one is told of
          return { seen: "its baseline is begun again" };
        }
        const lag = mirror.lagSeconds ?? Number.POSITIVE_INFINITY;
        return mirror.state === "snapmirrored" && mirror.healthy && lag <= ctx.pair.replication.targetLagSeconds
          ? { value: { uuid: mirror.uuid, lagSeconds: lag } }
          : {
              seen: `${mirror.state}, ${mirror.healthy ? "healthy" : "unhealthy"}, ${transfer}`,
              // It may take days.
              ...(transfer === "transferring"
                ? { progress: `${mirror.transfer?.uuid ?? ""} ${mirror.transfer?.bytesTransferred ?? 0}` }
                : {}),
            };
      },
    });
  },
};
