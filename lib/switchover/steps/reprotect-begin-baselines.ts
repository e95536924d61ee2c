import { DrError } from "../../errors";
import type { Step, StepContext } from "../context";
import { arrayAt, hasItemsLeft, waitFor } from "../context";
import { deadlines } from "../deadlines";
import { newestCommon } from "../difference";
import type { FlexVol, Mirror } from "../ports";
import { formerName, hideLuns, visibleLuns } from "./diverged";
import { back, createMirror, endMirror, findMirror, forward, runs } from "./mirrors";
import { assertProductionWritable, assertSourceUnmapped } from "./premises";

/**
 * Needs: the lost site's LUNs unmapped, production's FlexVol writable. Does, where no snapshot is common: ends what mirrors
 * the FlexVol there still has with the active site, gives it and its LUNs other names, makes an empty destination under the
 * old one, and begins to replicate onto it, while Cinder runs: what needs room or time comes before its services are
 * stopped. Proof: a FlexVol of type dp under the old name with a mirror that transfers, the former one under the other. Safe
 * to repeat because the other name is the switchover's: once something has it, what has the old name is new. No FlexVol is
 * deleted.
 */
export const reprotectBeginBaselines: Step = {
  id: "reprotect/begin-baselines",
  lanes: 4,
  items: (ctx) => (ctx.plan.baselines ?? []).map(({ flexVol }) => ({ key: flexVol, label: flexVol })),
  stale: (ctx) => hasItemsLeft(ctx, reprotectBeginBaselines),
  premise: (ctx) => assertSourceUnmapped(ctx, `Production is at "${ctx.plan.to}"; nothing was renamed.`),
  async satisfied(ctx, item) {
    const seen = await look(ctx, item.key);
    return isDone(ctx, item.key, seen) ? facts(ctx, seen) : undefined;
  },
  async apply(ctx, item) {
    const { from } = ctx.plan;
    const { sizeBytes, setAside } = baselineOf(ctx, item.key);
    await assertProductionWritable(ctx, item.key);
    const { made, former, mirror } = await look(ctx, item.key);
    if (setAside) {
      if (former === undefined) {
        await assertUncommon(ctx, item.key, made);
        await endMirror(ctx, forward(ctx, item.key));
        await endMirror(ctx, back(ctx, item.key));
        await ctx.guard();
        await arrayAt(ctx, from).renameFlexVol({ from: item.key, to: formerName(ctx.journal, item.key) });
      }
      await hideLuns(ctx, formerName(ctx.journal, item.key));
    }
    // One that was begun by a run that was cut off is this one's own.
    if (!setAside && mirror?.state === "broken_off") {
      await endMirror(ctx, forward(ctx, item.key));
      await endMirror(ctx, back(ctx, item.key));
    }
    await ctx.guard();
    await arrayAt(ctx, from).createDestinationVolume({ name: item.key, sizeBytes });
    const uuid = await createMirror(ctx, back(ctx, item.key));
    await ctx.guard();
    await arrayAt(ctx, from).setMirrorState(uuid, "snapmirrored");
  },
  verify: (ctx, item) =>
    waitFor(ctx, {
      attempted: `Begin a new baseline of "${item.label}" at "${ctx.plan.from}"`,
      deadlineSeconds: deadlines.serviceRow,
      state: `Production runs at "${ctx.plan.to}", Cinder serves it. Nothing was deleted.`,
      remedy: "Look at the mirror and the FlexVols there, and who else changes them; then run again.",
      check: async () => {
        const seen = await look(ctx, item.key);
        if (isDone(ctx, item.key, seen)) return { value: facts(ctx, seen) };
        const { made, former, visible, mirror } = seen;
        const why = mirror?.unhealthyReasons.join("; ") ?? "";
        return {
          seen:
            `"${item.label}" is ${made === undefined ? "not there" : `of type ${made.type}`}, its mirror ` +
            `${mirror === undefined ? "not there" : `${mirror.state}, ${mirror.transfer?.state ?? "no transfer"}${why === "" ? "" : ` (${why})`}`}; ` +
            `"${formerName(ctx.journal, item.key)}" is ${former === undefined ? "not there" : `there, ${visible} LUNs in it have names of volumes`}`,
        };
      },
    }),
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
  /** Onto this FlexVol, from the active site. */
  readonly mirror: Mirror | undefined;
  /** LUNs of the former one that have the names of volumes still. */
  readonly visible: number;
}

async function look(ctx: StepContext, flexVol: string): Promise<Look> {
  const [volumes, mirror] = await Promise.all([
    arrayAt(ctx, ctx.plan.from).listFlexVols(),
    findMirror(ctx, back(ctx, flexVol)),
  ]);
  const named = (wanted: string) => volumes.find(({ name }) => name === wanted);
  const former = named(formerName(ctx.journal, flexVol));
  return {
    made: named(flexVol),
    former,
    mirror,
    visible: former === undefined ? 0 : (await visibleLuns(ctx, formerName(ctx.journal, flexVol))).length,
  };
}

function isDone(ctx: StepContext, flexVol: string, { made, former, visible, mirror }: Look): boolean {
  const whole = visible === 0 && (former !== undefined || !baselineOf(ctx, flexVol).setAside);
  return whole && made?.type === "dp" && mirror !== undefined && runs(mirror);
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
    remedy: "Run again: what both sides have in common is looked at anew.",
  });
}
