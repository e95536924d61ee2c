import { posix as path } from "node:path";
import type { StepContext } from "../context";
import { arrayAt } from "../context";
import type { Journal } from "../journal";
import { pooled } from "../pool";
import type { Lun } from "../ports";

const idOf = ({ switchoverId }: Pick<Journal, "switchoverId">): string =>
  switchoverId.slice(0, 16).replace(/[^A-Za-z0-9]/g, "");

/** The clone under which what a FlexVol of the lost site holds outlives its resync. The name is the switchover's. */
export function divergedName(journal: Pick<Journal, "switchoverId">, flexVol: string): string {
  return `${flexVol}_diverged_${idOf(journal)}`;
}

/** Under which a FlexVol of the lost site makes room for a new one of its name. The name is the switchover's. */
export function formerName(journal: Pick<Journal, "switchoverId">, flexVol: string): string {
  return `${flexVol}_former_${idOf(journal)}`;
}

const prefix = "diverged-";

/** NetApp's driver finds a volume's LUN by its name in the whole SVM: what is kept mustn't answer to that name. */
export async function hideLuns(ctx: StepContext, keptAs: string): Promise<void> {
  await pooled(8, await visibleLuns(ctx, keptAs), async (lun) => {
    await ctx.guard();
    const { dir, base } = path.parse(lun.name); // in a qtree, perhaps
    await arrayAt(ctx, ctx.plan.from).renameLun(lun, path.join(dir, `${prefix}${base}`));
  });
}

/** Those that are kept, and have the names of volumes still. */
export async function visibleLuns(ctx: StepContext, keptAs: string): Promise<readonly Lun[]> {
  const luns = await arrayAt(ctx, ctx.plan.from).listLuns([keptAs]);
  return luns.filter(({ name }) => !path.basename(name).startsWith(prefix));
}
