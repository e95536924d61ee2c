/** 2. How close a switchover comes to its critical path, and where the rest goes. */
import { instanceSteps, type Journey } from "./journey";
import { type Context, type Goal, type Measurement, type Section, spreadOf } from "./measurement";
import { type Bar, timeline } from "./plot";
import { productionRuns, type ProductionRuns } from "./production";
import { figure, spreadText, table } from "./table";

const WANTED = 1.1;

/**
 * Calls of an API that an instance's chain can't do without, besides its delays: those of ours that begin something, and
 * those that Nova makes of Cinder while it works on one volume (nova/compute/api.py, nova/virt/block_device.py), and NetApp's
 * driver of the array meanwhile (cinder/volume/drivers/netapp/dataontap/client/client_cmode_rest.py).
 */
const callsOf = {
  /** Ours. */
  lock: 1,
  stop: 1,
  start: 1,
  unlock: 1,
  /** Ours; Nova looks at the volume, and begins to detach it. After the first all that is under way. */
  firstDetach: 3,
  /** attachment_delete, and of the array by its driver: the LUN's maps, twice, its igroup, and the map's removal. */
  detach: 1 + 4,
  /** Ours; Nova looks at the volume. The next ones' come while the former is attached. */
  firstAttach: 2,
  /**
   * attachment_create, which waits until the device is reserved; attachment_update; attachment_complete. And of the array by
   * its driver: the igroup, a map, the portals, the target, the LUN.
   */
  attach: 3 + 5,
} as const;

interface Chain {
  readonly step: (typeof instanceSteps)[number];
  readonly seconds: number;
}

/** The shortest time for one instance, by step. */
export function chainOf({ delays, volumesEach: n }: Pick<ProductionRuns, "delays" | "volumesEach">): Chain[] {
  const { api = 0, stop = 0, detach = 0, attach = 0, start = 0 } = delays;
  const seconds = (calls: number, ms: number): number => (calls * api + ms) / 1000;
  return [
    { step: "hold/lock-instances", seconds: seconds(callsOf.lock, 0) },
    { step: "quiesce/stop-instances", seconds: seconds(callsOf.stop, stop) },
    { step: "detach/volumes", seconds: seconds(callsOf.firstDetach + n * callsOf.detach, n * detach) },
    { step: "attach/volumes", seconds: seconds(callsOf.firstAttach + n * callsOf.attach, n * attach) },
    { step: "start/instances", seconds: seconds(callsOf.start, start) },
    { step: "start/unlock-instances", seconds: seconds(callsOf.unlock, 0) },
  ];
}

const isOfInstances = (id: string): boolean => instanceSteps.some((step) => step === id);
const secondsOf = ({ fromSeconds, toSeconds }: { fromSeconds: number; toSeconds: number }): number =>
  toSeconds - fromSeconds;
const fixedSeconds = ({ steps }: Journey): number =>
  steps.filter(({ id }) => !isOfInstances(id)).reduce((sum, step) => sum + secondsOf(step), 0);

/** How many times the critical path: that of one instance, and the steps that are taken once for all. */
export function ratioOf(result: ProductionRuns, journey: Journey): number {
  const chain = chainOf(result).reduce((sum, { seconds }) => sum + seconds, 0);
  return journey.engineSeconds / (chain + fixedSeconds(journey));
}

/** One is enough to be drawn. */
async function run(ctx: Context): Promise<ProductionRuns> {
  const { alone, journeys, ...o } = await productionRuns(ctx);
  const withoutInstances = (journey: Journey): Journey => ({ ...journey, perInstance: [] });
  return {
    ...o,
    ...(alone === undefined ? {} : { alone: withoutInstances(alone) }),
    journeys: journeys.map((journey, at) => (at === 0 ? journey : withoutInstances(journey))),
  };
}

function goals(result: ProductionRuns): Goal[] {
  const ratios = spreadOf(result.journeys.map((journey) => ratioOf(result, journey)));
  return [
    {
      text: `At most ${WANTED.toFixed(2)} × of the critical path (${sizeOf(result)}): ${spreadText(ratios)} ×`,
      met: ratios.median <= WANTED,
    },
  ];
}

const sizeOf = ({ journeys: [one], volumesEach }: ProductionRuns): string =>
  `${one?.instances ?? 0} × ${volumesEach} volumes`;

function render(result: ProductionRuns): Section {
  const { journeys, alone, volumesEach } = result;
  const [one] = journeys;
  if (one === undefined) return { markdown: "" };
  const chain = new Map<string, number>(chainOf(result).map(({ step, seconds }) => [step, seconds]));
  const measured = (journey: Journey, id: string): number | undefined => {
    const step = journey.steps.find((each) => each.id === id);
    return step === undefined ? undefined : secondsOf(step);
  };
  const rows = one.steps.map(({ id }) => {
    const spread = spreadOf(journeys.flatMap((journey) => measured(journey, id) ?? []));
    const floor = chain.get(id);
    const single = alone && measured(alone, id);
    return [
      `\`${id}\``,
      floor === undefined ? "–" : figure(floor),
      ...(alone === undefined ? [] : [single === undefined ? "–" : figure(single)]),
      spreadText(spread),
      floor === undefined ? "once for all" : figure(spread.median - floor),
    ];
  });
  const fixed = spreadOf(journeys.map(fixedSeconds));
  const whole = spreadOf(journeys.map(({ engineSeconds }) => engineSeconds));
  const between = spreadOf(
    journeys.map((journey) => journey.engineSeconds - journey.steps.reduce((sum, step) => sum + secondsOf(step), 0)),
  );
  const chainSeconds = [...chain.values()].reduce((sum, seconds) => sum + seconds, 0);
  const markdown = `${sizeOf(result)} on the embedded lab with delays as in production. The critical path is the longest chain of one instance
(its stop, ${volumesEach} detaches one after another, as Nova works on them, ${volumesEach} attaches in the order of their devices, its start, and
the calls between them that nothing can spare), computed from the delays: ${figure(chainSeconds)} s; and the steps that are taken once
for all, which every switchover waits for, as they were measured: ${spreadText(fixed)} s. All took ${spreadText(whole)} s, that is
**${spreadText(spreadOf(journeys.map((journey) => ratioOf(result, journey))))} ×**. ${alone === undefined ? "" : `One instance alone, which has nobody to wait for, took ${figure(alone.engineSeconds)} s.`}

${table(
  [
    "Step",
    "Critical path, s",
    ...(alone === undefined ? [] : ["One instance, s"]),
    `${one.instances} instances, s`,
    "More than the path, s",
  ],
  rows,
)}

Between the steps, for the journal and hooks: ${spreadText(between)} s.

![What was done when, step by step](performance/2-timeline.svg)

![What was done when, instance by instance](performance/2-instances.svg)

Instances are worked on side by side, ${"`pair.openstack.instancesAtOnce`"} (64) at most. Within an instance Nova itself does one thing after
another, so that an instance is never more than one message in work at a compute host, and nova-compute works on 64 at once
(\`executor_thread_pool_size\`), even if all instances are on one host: more would wait in its queue while the time-outs of
their calls run. Where an array or an API bears less, the setting is lowered, and a switchover takes as many rounds as
instances don't fit.`;
  return { markdown, plots: { "2-timeline": stepsPlot(one), "2-instances": instancesPlot(one) } };
}

function stepsPlot({ steps, instances }: Journey): string {
  const bars = steps.map(({ id, fromSeconds, toSeconds }): Bar => ({
    row: id,
    kind: id.split("/")[0] ?? id,
    from: fromSeconds,
    to: toSeconds,
  }));
  return timeline({ title: `A switchover of ${instances} instances, by step`, x: "seconds", bars });
}

function instancesPlot({ perInstance, steps, instances }: Journey): string {
  const kinds: Readonly<Record<string, string>> = {
    "quiesce/stop-instances": "stop",
    "detach/volumes": "detach",
    "attach/volumes": "attach",
    "start/instances": "start",
  };
  const bars = perInstance.flatMap(({ name, steps: own }) =>
    Object.entries(kinds).flatMap(([step, kind]): Bar[] => {
      const times = own[step];
      return times === undefined ? [] : [{ row: name, kind, from: times.fromSeconds, to: times.toSeconds }];
    }),
  );
  const all = steps
    .filter(({ id }) => !isOfInstances(id))
    .map(({ fromSeconds, toSeconds }): Bar => ({
      row: "once for all",
      kind: "once for all",
      from: fromSeconds,
      to: toSeconds,
    }));
  return timeline({
    title: `A switchover of ${instances} instances, by instance`,
    x: "seconds",
    bars: [...bars, ...all],
  });
}

export const limit: Measurement<ProductionRuns> = {
  number: 2,
  title: "Against the limit",
  run,
  goals,
  render,
};
