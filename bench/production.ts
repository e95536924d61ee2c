/** Switchovers with the delays of a cloud in production, which several measurements look at: made once in a run. */
import path from "node:path";
import { otherSite } from "./baselines/end-state";
import { productionTiming, Stage, VOLUMES_PER_INSTANCE } from "./baselines/stage";
import { type Journey, journey } from "./journey";
import type { Context } from "./measurement";

export interface ProductionRuns {
  readonly delays: typeof productionTiming.delays;
  readonly volumesEach: number;
  /** Of one instance, which has nothing to wait for but itself; not in a quick run. */
  readonly alone?: Journey;
  /** Of all instances, there and back. */
  readonly journeys: readonly Journey[];
}

let runs: Promise<ProductionRuns> | undefined;

/** The bytes on every volume, and the end state of each journey, were checked when it resolves. */
export function productionRuns(ctx: Context): Promise<ProductionRuns> {
  runs ??= make(ctx).catch((error: unknown) => {
    runs = undefined;
    throw error;
  });
  return runs;
}

async function make(ctx: Context): Promise<ProductionRuns> {
  const [instances, repeats] = ctx.quick ? [6, 1] : [49, 4];
  const dir = path.join(ctx.scratch, "production");
  const stage = await Stage.open({ flavour: "embedded", timing: productionTiming, dir, say: () => undefined });
  try {
    const go = async (): Promise<Journey> => {
      ctx.signal.throwIfAborted();
      const to = otherSite(stage.at);
      const start = await stage.write();
      const made = await journey(stage.lab, stage.pulumi, to);
      await stage.assertMovedTo(to, start);
      ctx.say(`${made.instances} × ${VOLUMES_PER_INSTANCE} to ${to}: ${made.wallSeconds.toFixed(1)} s`);
      return made;
    };
    const alone = async (): Promise<Pick<ProductionRuns, "alone">> => {
      await stage.growTo(1);
      return { alone: await go() };
    };
    const single = ctx.quick ? {} : await alone();
    await stage.growTo(instances);
    const journeys: Journey[] = [];
    for (let repeat = 0; repeat < repeats; repeat++) journeys.push(await go());
    return { delays: productionTiming.delays, volumesEach: VOLUMES_PER_INSTANCE, ...single, journeys };
  } finally {
    await stage.close();
  }
}
