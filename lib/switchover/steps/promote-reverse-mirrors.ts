import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Step, StepContext } from "../context";
import { arrayAt, waitFor } from "../context";
import { back, createMirror, endMirror, findMirror, forward, runs } from "./mirrors";
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
    const reversed = await findMirror(ctx, back(ctx, item.key));
    const former = await findMirror(ctx, forward(ctx, item.key));
    return reversed !== undefined && runs(reversed) && former === undefined ? { uuid: reversed.uuid } : undefined;
  },
  async apply(ctx, item) {
    await assertProductionWritable(ctx, item.key);
    if ((await findMirror(ctx, back(ctx, item.key))) === undefined) await reverse(ctx, item.key);
    const former = await findMirror(ctx, forward(ctx, item.key));
    if (former !== undefined) {
      await ctx.guard();
      await arrayAt(ctx, ctx.plan.to).deleteMirror(former.uuid);
    }
    const made = await findMirror(ctx, back(ctx, item.key));
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
        const made = await findMirror(ctx, back(ctx, item.key));
        if (made === undefined) return { seen: "no reverse mirror" };
        return runs(made) ? { value: { uuid: made.uuid, state: made.state } } : { seen: made.state };
      },
    });
  },
};

async function reverse(ctx: StepContext, flexVol: string): Promise<void> {
  const former = await findMirror(ctx, forward(ctx, flexVol));
  if (former !== undefined) {
    await ctx.guard();
    try {
      await arrayAt(ctx, ctx.plan.to).reverseMirror(former);
      return;
    } catch (error) {
      if (!DrError.is(error, "remote") || error.retryable) throw error;
      ctx.say(`${flexVol}: the array doesn't turn mirrors round (${error.seen}); making a new one`);
    }
    await endMirror(ctx, forward(ctx, flexVol));
  }
  await createMirror(ctx, back(ctx, flexVol));
}
