import { DrError } from "../../errors";
import { siteOf } from "../../topology/site-pair";
import type { Step, StepContext } from "../context";
import { arrayAt } from "../context";
import { newestCommon } from "../difference";
import { isMirrorOf } from "../observation";
import type { FlexVol } from "../ports";
import { divergedName, hideLuns, visibleLuns } from "./diverged";
import { assertProductionWritable, assertSourceUnmapped } from "./premises";

/**
 * Needs: the lost site's LUNs unmapped, production's FlexVol writable. Does, where no snapshot is common: ends what mirrors the FlexVol
 * there still has with the active site, gives it and its LUNs other names, and makes an empty destination under the old
 * one. Proof: a FlexVol of type dp under the old name, the former one under the other. Safe to repeat because the other name is the
 * switchover's: once something has it, what has the old name is new. Nothing is deleted.
 */
export const reprotectMakeDestinations: Step = {
  id: "reprotect/make-destinations",
  lanes: 4,
  items: (ctx) => (ctx.plan.baselines ?? []).map(({ flexVol }) => ({ key: flexVol, label: flexVol })),
  premise: (ctx) => assertSourceUnmapped(ctx, `Production is at "${ctx.plan.to}"; nothing was renamed.`),
  async satisfied(ctx, item) {
    const seen = await look(ctx, item.key);
    return isDone(ctx, item.key, seen) ? facts(ctx, seen) : undefined;
  },
  async apply(ctx, item) {
    const { from } = ctx.plan;
    const { sizeBytes, setAside } = baselineOf(ctx, item.key);
    await assertProductionWritable(ctx, item.key);
    await endMirrors(ctx, item.key);
    if (setAside) {
      const { made, former } = await look(ctx, item.key);
      if (former === undefined) {
        await assertUncommon(ctx, item.key, made);
        await ctx.guard();
        await arrayAt(ctx, from).renameFlexVol({ from: item.key, to: divergedName(ctx, item.key) });
      }
      await hideLuns(ctx, item.key);
    }
    await ctx.guard();
    await arrayAt(ctx, from).createDestinationVolume({ name: item.key, sizeBytes });
  },
  async verify(ctx, item) {
    const seen = await look(ctx, item.key);
    if (isDone(ctx, item.key, seen)) return facts(ctx, seen);
    const { made, former, visible } = seen;
    throw new DrError({
      code: "failure-state",
      attempted: `Make an empty FlexVol "${item.label}" at "${ctx.plan.from}" to replicate to`,
      seen:
        `"${item.label}" is ${made === undefined ? "not there" : `of type ${made.type}`}, needed dp; "${divergedName(ctx, item.key)}" is ` +
        (former === undefined ? "not there" : `there, ${visible} LUNs in it have names of volumes still`),
      state: `Production runs at "${ctx.plan.to}". Nothing was deleted.`,
      remedy: "Find out who else changes these FlexVols, then run up again.",
    });
  },
};

function baselineOf(ctx: StepContext, flexVol: string) {
  const found = ctx.plan.baselines?.find((baseline) => baseline.flexVol === flexVol);
  if (found !== undefined) return found;
  throw new DrError({
    code: "invariant",
    attempted: `Find "${flexVol}" among the plan's baselines`,
    seen: "no such one",
  });
}

interface Look {
  readonly made: FlexVol | undefined;
  readonly former: FlexVol | undefined;
  /** LUNs of the former one that have the names of volumes still. */
  readonly visible: number;
}

async function look(ctx: StepContext, flexVol: string): Promise<Look> {
  const volumes = await arrayAt(ctx, ctx.plan.from).listFlexVols();
  const named = (wanted: string) => volumes.find(({ name }) => name === wanted);
  const former = named(divergedName(ctx, flexVol));
  return {
    made: named(flexVol),
    former,
    visible: former === undefined ? 0 : (await visibleLuns(ctx, flexVol)).length,
  };
}

function isDone(ctx: StepContext, flexVol: string, { made, former, visible }: Look): boolean {
  return made?.type === "dp" && visible === 0 && (former !== undefined || !baselineOf(ctx, flexVol).setAside);
}

const facts = (ctx: StepContext, { former }: Look) => ({
  site: ctx.plan.from,
  ...(former === undefined ? {} : { setAside: former.name }),
});

/** What was planned is read again: a resync would be enough where there is a common snapshot after all. */
async function assertUncommon(ctx: StepContext, flexVol: string, present: FlexVol | undefined): Promise<void> {
  const { from, to } = ctx.plan;
  const online = present?.type === "rw" && present.state === "online";
  const lists = online ? [arrayAt(ctx, to).listSnapshots(flexVol), arrayAt(ctx, from).listSnapshots(flexVol)] : [];
  const [ours = [], theirs = []] = await Promise.all(lists);
  const common = newestCommon(ours, theirs);
  if (online && common === undefined) return;
  throw new DrError({
    code: "conflict",
    attempted: `Give "${flexVol}" of "${from}" another name, to begin anew`,
    seen: online
      ? `its snapshot ${common?.name ?? ""} is common after all`
      : `it is ${present === undefined ? "not there" : `of type ${present.type} and ${present.state}, needed rw and online`}`,
    state: `Production runs at "${to}"; nothing was renamed.`,
    remedy: `Take "reprotect" out and run up, which gives this one up; then set it again.`,
  });
}

/** Of this FlexVol, in both directions. Snapshots stay everywhere. */
async function endMirrors(ctx: StepContext, flexVol: string): Promise<void> {
  const { from, to } = ctx.plan;
  for (const [source, destination] of [
    [from, to],
    [to, from],
  ] as const) {
    const mirrors = await arrayAt(ctx, destination).listMirrors(ctx.pair.flexVols);
    for (const mirror of mirrors.filter((each) => isMirrorOf(ctx.pair, each, source, destination, flexVol))) {
      await ctx.guard();
      await arrayAt(ctx, destination).deleteMirror(mirror.uuid);
    }
    await ctx.guard();
    await arrayAt(ctx, source).releaseMirror({
      sourceFlexVol: flexVol,
      destinationSvm: siteOf(ctx.pair, destination).svm,
    });
  }
}
