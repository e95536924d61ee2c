import type { StepContext } from "../context";
import { arrayAt } from "../context";
import { pooled } from "../pool";
import type { Lun } from "../ports";

/** Under which what a FlexVol of the lost site holds outlives the reprotect. The name is the switchover's. */
export function divergedName(ctx: StepContext, flexVol: string): string {
  return `${flexVol}_diverged_${ctx.journal.switchoverId.slice(0, 16).replace(/[^A-Za-z0-9]/g, "")}`;
}

const prefix = "diverged-";

/** NetApp's driver finds a volume's LUN by its name in the whole SVM: what is kept mustn't answer to that name. */
export async function hideLuns(ctx: StepContext, flexVol: string): Promise<void> {
  await pooled(8, await visibleLuns(ctx, flexVol), async (lun) => {
    await ctx.guard();
    const [name = "", ...qtree] = lun.name.split("/").reverse();
    await arrayAt(ctx, ctx.plan.from).renameLun(lun, [...qtree.reverse(), `${prefix}${name}`].join("/"));
  });
}

/** Those that are kept, and have the names of volumes still. */
export async function visibleLuns(ctx: StepContext, flexVol: string): Promise<readonly Lun[]> {
  const luns = await arrayAt(ctx, ctx.plan.from).listLuns([divergedName(ctx, flexVol)]);
  return luns.filter(({ name }) => !name.slice(name.lastIndexOf("/") + 1).startsWith(prefix));
}
