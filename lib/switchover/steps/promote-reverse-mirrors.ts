import { DrError } from "../../errors";
import { siteOf } from "../../topology/site-pair";
import { deadlines } from "../deadlines";
import { isMirrorOf } from "../observation";
import type { Mirror } from "../ports";
import type { Step, StepContext } from "../context";
import { arrayAt, waitFor } from "../context";
import { assertProductionWritable, assertSourceUnmapped } from "./premises";
import { assertServicesStopped } from "./promote-stop-services";

/**
 * Needs: services stopped, the fence row written, the old site's LUNs unmapped. Does: turns each mirror round, so that
 * the old site becomes the destination; what it holds beyond the common snapshot is discarded (nothing, after a planned
 * switchover). First by PATCH with swapped paths, as NetApp's reference has it; where the array refuses, by a new
 * relationship onto the old source and a resync. Proof: the reverse mirror exists and isn't broken off. Safe to repeat
 * because each half is read before it's done.
 */
export const promoteReverseMirrors: Step = {
  id: "promote/reverse-mirrors",
  lanes: 4,
  items: (ctx) =>
    ctx.pair.flexVols.map((flexVol) => ({ key: flexVol, label: `${flexVol}: "${ctx.plan.to}" → "${ctx.plan.from}"` })),
  async premise(ctx) {
    await assertServicesStopped(ctx);
    await assertSourceUnmapped(
      ctx,
      `Production is at "${ctx.plan.to}"; Cinder's services are stopped. Nothing was overwritten.`,
    );
  },
  async satisfied(ctx, item) {
    const reverse = await reverseOf(ctx, item.key);
    const forward = await forwardOf(ctx, item.key);
    return reverse !== undefined && runs(reverse) && forward === undefined ? { uuid: reverse.uuid } : undefined;
  },
  async apply(ctx, item) {
    await assertProductionWritable(ctx, item.key);
    if ((await reverseOf(ctx, item.key)) === undefined) await reverse(ctx, item.key);
    const forward = await forwardOf(ctx, item.key);
    if (forward !== undefined) {
      await ctx.guard();
      await arrayAt(ctx, ctx.plan.to).deleteMirror(forward.uuid);
    }
    const made = await reverseOf(ctx, item.key);
    if (made !== undefined && !runs(made)) {
      await ctx.guard();
      await arrayAt(ctx, ctx.plan.from).setMirrorState(made.uuid, "snapmirrored");
    }
  },
  async verify(ctx, item) {
    return waitFor(ctx, {
      attempted: `Turn mirror ${item.label} round`,
      deadlineSeconds: deadlines.serviceRow,
      check: async () => {
        const made = await reverseOf(ctx, item.key);
        if (made === undefined) return { seen: "no reverse mirror" };
        return runs(made) ? { value: { uuid: made.uuid, state: made.state } } : { seen: made.state };
      },
    });
  },
};

/** Transferring towards snapmirrored, or there already. */
export function runs(mirror: Mirror): boolean {
  return (
    mirror.state === "snapmirrored" || mirror.transfer?.state === "transferring" || mirror.transfer?.state === "queued"
  );
}

async function reverse(ctx: StepContext, flexVol: string): Promise<void> {
  const { from, to } = ctx.plan;
  const forward = await forwardOf(ctx, flexVol);
  if (forward !== undefined) {
    await ctx.guard();
    try {
      await arrayAt(ctx, to).reverseMirror(forward);
      return;
    } catch (error) {
      if (!DrError.is(error, "remote") || error.retryable) throw error;
      ctx.say(`${flexVol}: the array doesn't turn mirrors round (${error.seen}); making a new one`);
    }
    // Snapshots stay on both sides: the newest common one is what the resync starts from.
    await ctx.guard();
    await arrayAt(ctx, to).deleteMirror(forward.uuid);
    await ctx.guard();
    await arrayAt(ctx, from).releaseMirror({ sourceFlexVol: flexVol, destinationSvm: siteOf(ctx.pair, to).svm });
  }
  await ctx.guard();
  await arrayAt(ctx, from).createMirror({
    sourceSvm: siteOf(ctx.pair, to).svm,
    destinationSvm: siteOf(ctx.pair, from).svm,
    flexVol,
    policy: ctx.pair.replication.policy,
    schedule: ctx.pair.replication.schedule,
  });
}

async function reverseOf(ctx: StepContext, flexVol: string): Promise<Mirror | undefined> {
  const { from, to } = ctx.plan;
  const mirrors = await arrayAt(ctx, from).listMirrors(ctx.pair.flexVols);
  return mirrors.find((mirror) => isMirrorOf(ctx.pair, mirror, to, from, flexVol));
}

async function forwardOf(ctx: StepContext, flexVol: string): Promise<Mirror | undefined> {
  const { from, to } = ctx.plan;
  const mirrors = await arrayAt(ctx, to).listMirrors(ctx.pair.flexVols);
  return mirrors.find((mirror) => isMirrorOf(ctx.pair, mirror, from, to, flexVol));
}
