import { DrError } from "../../errors";
import type { Step, StepContext } from "../context";
import { arrayAt, findFlexVol } from "../context";
import { isMirrorOf } from "../observation";
import { formerName } from "./diverged";

/**
 * Needs: the new baselines done and healthy, so that the second copy is there again; nobody who uses what was renamed.
 * Does: deletes what was renamed for them, as discarding was asked for. Proof: it's no longer listed. Safe to repeat
 * because the name is the switchover's, and one that is gone is success.
 */
export const reprotectDeleteSetAside: Step = {
  id: "reprotect/delete-set-aside",
  lanes: 4,
  items: (ctx) =>
    (ctx.plan.baselines ?? [])
      .filter(({ setAside }) => setAside)
      .map(({ flexVol }) => ({ key: flexVol, label: formerName(ctx.journal, flexVol) })),
  async premise(ctx) {
    const { from, to } = ctx.plan;
    const mirrors = await arrayAt(ctx, from).listMirrors(ctx.pair.flexVols);
    for (const { flexVol } of ctx.plan.baselines ?? []) {
      const mirror = mirrors.find((candidate) => isMirrorOf(ctx.pair, candidate, to, from, flexVol));
      if (mirror?.state === "snapmirrored" && mirror.healthy) continue;
      throw new DrError({
        code: "invariant",
        attempted: `Delete what "${flexVol}" of "${from}" was before`,
        seen: `its mirror is ${mirror === undefined ? "not there" : `${mirror.state}, ${mirror.healthy ? "healthy" : "unhealthy"}`}, needed snapmirrored and healthy`,
        state: "Nothing was deleted.",
        remedy: "Find out what became of the mirror, then run again.",
      });
    }
  },
  async satisfied(ctx, item) {
    return (await isThere(ctx, item.key)) ? undefined : { deleted: true };
  },
  async apply(ctx, item) {
    const name = formerName(ctx.journal, item.key);
    const [map] = await arrayAt(ctx, ctx.plan.from).listLunMaps([name]);
    if (map !== undefined)
      throw new DrError({
        code: "precondition",
        attempted: `Delete "${item.label}" at "${ctx.plan.from}"`,
        seen: `${map.lunPath} is mapped to ${map.igroup}: somebody uses it`,
        state: "Production runs, and is protected.",
        remedy: `Unmap it when it's no longer needed, then run again; with "reprotect" taken out it stays until then.`,
      });
    await ctx.guard();
    await arrayAt(ctx, ctx.plan.from).deleteFlexVol(name);
  },
  async verify(ctx, item) {
    if (!(await isThere(ctx, item.key))) return { deleted: true };
    throw new DrError({
      code: "failure-state",
      attempted: `Delete "${item.label}" at "${ctx.plan.from}"`,
      seen: "it's listed still",
      state: "Production runs, and is protected.",
      remedy:
        "See what holds it (a clone of it, a mirror), and whether the account may delete FlexVols; then run again.",
    });
  },
};

async function isThere(ctx: StepContext, flexVol: string): Promise<boolean> {
  return (await findFlexVol(ctx, ctx.plan.from, formerName(ctx.journal, flexVol))) !== undefined;
}
