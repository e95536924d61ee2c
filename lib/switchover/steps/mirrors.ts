import { siteOf } from "../../topology/site-pair";
import type { StepContext } from "../context";
import { arrayAt } from "../context";
import { isMirrorOf } from "../observation";
import type { Mirror } from "../ports";

/** One FlexVol's relationship between both sites, as its destination tells it now. */
export interface Ends {
  readonly source: string;
  readonly destination: string;
  readonly flexVol: string;
}

/** The way in which the switchover goes: from the site that is left. */
export const forward = ({ plan }: StepContext, flexVol: string): Ends => ({
  source: plan.from,
  destination: plan.to,
  flexVol,
});

/** Back to the site that was left. */
export const back = ({ plan }: StepContext, flexVol: string): Ends => ({
  source: plan.to,
  destination: plan.from,
  flexVol,
});

export async function findMirror(ctx: StepContext, ends: Ends): Promise<Mirror | undefined> {
  const mirrors = await arrayAt(ctx, ends.destination).listMirrors(ctx.pair.flexVols);
  return mirrors.find((mirror) => isMirrorOf(ctx.pair, mirror, ends.source, ends.destination, ends.flexVol));
}

/** Transferring towards snapmirrored, or there already. */
export function runs(mirror: Mirror): boolean {
  return (
    mirror.state === "snapmirrored" || mirror.transfer?.state === "transferring" || mirror.transfer?.state === "queued"
  );
}

/** Without a transfer. One that exists is success. Resolves to its uuid. */
export async function createMirror(ctx: StepContext, { source, destination, flexVol }: Ends): Promise<string> {
  await ctx.guard();
  return arrayAt(ctx, destination).createMirror({
    sourceSvm: siteOf(ctx.pair, source).svm,
    destinationSvm: siteOf(ctx.pair, destination).svm,
    flexVol,
    policy: ctx.pair.replication.policy,
    schedule: ctx.pair.replication.schedule,
  });
}

/** On both clusters, whether or not there is one. Snapshots stay: the newest common one is what a resync starts from. */
export async function endMirror(ctx: StepContext, ends: Ends): Promise<void> {
  const mirror = await findMirror(ctx, ends);
  if (mirror !== undefined) {
    await ctx.guard();
    await arrayAt(ctx, ends.destination).deleteMirror(mirror.uuid);
  }
  await ctx.guard();
  await arrayAt(ctx, ends.source).releaseMirror({
    sourceFlexVol: ends.flexVol,
    destinationSvm: siteOf(ctx.pair, ends.destination).svm,
  });
}
