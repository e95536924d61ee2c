/** 6. What the users of instances feel, as against the whole. */
import type { Journey } from "./journey";
import { type Context, type Goal, type Measurement, type Section, type Spread, spreadOf } from "./measurement";
import { productionRuns } from "./production";
import { figure, spreadText, table } from "./table";

export interface ServiceTimes {
  readonly volumesEach: number;
  readonly journeys: readonly {
    readonly to: string;
    readonly instances: number;
    /** From `pulumi up` to its end. */
    readonly wholeSeconds: number;
    /** From an instance's stop being asked for until it's ACTIVE again, over all instances. */
    readonly downSeconds: Spread;
    /** From the first stop to the last start. */
    readonly fromFirstToLastSeconds: number;
    /** What follows after the last instance runs. */
    readonly promoteSeconds: number;
    readonly reprotectSeconds: number;
    /** Whether promotion and reprotect began after the last instance ran. */
    readonly afterwards: boolean;
  }[];
}

async function run(ctx: Context): Promise<ServiceTimes> {
  const { journeys, volumesEach } = await productionRuns(ctx);
  return { volumesEach, journeys: journeys.map(timesOf) };
}

function timesOf({ to, instances, wallSeconds, perInstance, steps }: Journey): ServiceTimes["journeys"][number] {
  const spans = perInstance.flatMap(({ steps: own }) => {
    const [stop, start] = [own["quiesce/stop-instances"], own["start/instances"]];
    return stop === undefined || start === undefined ? [] : [{ from: stop.fromSeconds, to: start.toSeconds }];
  });
  const last = Math.max(...spans.map((span) => span.to));
  const of = (phase: string) => steps.filter(({ id }) => id.startsWith(`${phase}/`));
  const seconds = (phase: string): number =>
    of(phase).reduce((sum, step) => sum + step.toSeconds - step.fromSeconds, 0);
  return {
    to,
    instances,
    wholeSeconds: wallSeconds,
    downSeconds: spreadOf(spans.map((span) => span.to - span.from)),
    fromFirstToLastSeconds: last - Math.min(...spans.map((span) => span.from)),
    promoteSeconds: seconds("promote"),
    reprotectSeconds: seconds("reprotect"),
    afterwards: [...of("promote"), ...of("reprotect")].every(({ fromSeconds }) => fromSeconds >= last),
  };
}

function goals({ journeys }: ServiceTimes): Goal[] {
  const shares = spreadOf(journeys.map((one) => (100 * one.downSeconds.median) / one.wholeSeconds));
  return [
    {
      text: `Promotion and reprotect lie outside of what users feel, which is ${spreadText(shares)} % of the whole`,
      met: journeys.every(({ afterwards }) => afterwards),
    },
  ];
}

function render({ journeys, volumesEach }: ServiceTimes): Section {
  const rows = journeys.map((one) => [
    `${one.instances} × ${volumesEach} to ${one.to}`,
    figure(one.wholeSeconds),
    spreadText(one.downSeconds),
    figure(one.fromFirstToLastSeconds),
    figure(one.promoteSeconds),
    figure(one.reprotectSeconds),
  ]);
  const head = [
    "Switchover",
    "Whole, s",
    "An instance is down, s",
    "First stop to last start, s",
    "Promotion, s",
    "Reprotect, s",
  ];
  const markdown = `The switchovers of 2. An instance is down from the moment that its stop is asked for until it's ACTIVE again, with its volumes
attached at the new site; their bytes were compared afterwards, every volume's. The last stop, the last transfer and the
cutover are the same for all, so that all are down for about as long. Promotion and reprotect follow when all run again:
they are the control plane's.

${table(head, rows)}`;
  return { markdown };
}

export const service: Measurement<ServiceTimes> = { number: 6, title: "What users feel", run, goals, render };
