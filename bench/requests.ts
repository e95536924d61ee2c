/** 3. Calls: how many a volume more costs, and whether any are made over and over while it's waited for. */
import { BenchLab, VOLUMES_EACH } from "./bench-lab";
import { type CallCounts, isReading, total } from "./calls";
import { journey } from "./journey";
import type { Context, Goal, Measurement, Section } from "./measurement";
import { figure, table } from "./table";

export interface Requests {
  /** The smaller and the larger number of instances. */
  readonly instances: readonly [number, number];
  readonly volumesEach: number;
  readonly paces: readonly Pace[];
}

/** The same two switchovers, where each operation takes so many times as long. */
export interface Pace {
  readonly times: number;
  readonly small: CallCounts;
  readonly large: CallCounts;
}

/** With the attachments that are made and deleted for a hold it would be 6; the product holds by locks. */
const WANTED = 4;
/** Detach and attach. */
const NEEDED = 2;
/** In ms: short ones, but each some polls long. */
const delays = { api: 5, stop: 1_000, detach: 500, attach: 500, start: 1_000 };

async function run(ctx: Context): Promise<Requests> {
  const instances = ctx.quick ? ([4, 16] as const) : ([10, 40] as const);
  const paces: Pace[] = [];
  for (const times of ctx.quick ? [1] : [1, 2]) {
    const slowed = Object.fromEntries(
      Object.entries(delays).map(([name, ms]) => [name, name === "api" ? ms : ms * times]),
    );
    const timing = { delays: slowed, array: {} };
    const counts = await BenchLab.with(ctx, { instances: instances[1], timing }, async (lab) => {
      await lab.add(instances[0]);
      const small = await journey(lab.lab, lab.pulumi, "idr");
      await lab.add(instances[1] - instances[0]);
      const large = await journey(lab.lab, lab.pulumi, "iprod");
      return { small: small.calls, large: large.calls };
    });
    paces.push({ times, ...counts });
    ctx.say(
      `delays × ${times}: ${total(counts.small)} calls for ${instances[0]} instances, ${total(counts.large)} for ${instances[1]}`,
    );
  }
  return { instances, volumesEach: VOLUMES_EACH, paces };
}

/** What a volume more costs. */
function slope(
  { instances: [few, many], volumesEach }: Requests,
  pace: Pace | undefined,
  fits: (route: string) => boolean,
): number {
  if (pace === undefined) return Number.NaN;
  return (total(pace.large, fits) - total(pace.small, fits)) / ((many - few) * volumesEach);
}

const isMutating = (route: string): boolean => !isReading(route);

/** Routes of which twice the waiting makes more calls for each volume: at least one more for each tenth of them. */
export function polledByVolume(result: Requests): string[] {
  const [once, twice] = result.paces;
  const routes = [...new Set(result.paces.flatMap(({ large }) => Object.keys(large)))];
  return routes.filter((route) => {
    const only = (each: string): boolean => each === route;
    return slope(result, twice, only) - slope(result, once, only) > 0.1;
  });
}

function goals(result: Requests): Goal[] {
  const [once] = result.paces;
  const all = slope(result, once, () => true);
  const polled = polledByVolume(result);
  return [
    {
      text: `At most ${WANTED} calls for each volume moved, ${NEEDED} being needed: ${figure(all)}, of which ${figure(slope(result, once, isMutating))} change something`,
      met: all <= WANTED,
    },
    ...(result.paces.length === 1
      ? []
      : [
          {
            text: `No call whose number grows with volumes × polls: ${polled.length === 0 ? "none" : polled.join(", ")}`,
            met: polled.length === 0,
          },
        ]),
  ];
}

function render(result: Requests): Section {
  const { instances, volumesEach, paces } = result;
  const [once, twice] = paces;
  const routes = [
    ...new Set(paces.flatMap(({ small, large }) => [...Object.keys(small), ...Object.keys(large)])),
  ].sort();
  const row = (name: string, fits: (route: string) => boolean): string[] => [
    name,
    ...paces.flatMap(({ small, large }) => [String(total(small, fits)), String(total(large, fits))]),
    figure(slope(result, once, fits)),
    ...(twice === undefined ? [] : [figure(slope(result, twice, fits))]),
  ];
  const sizes = instances.map((number) => `${number} × ${volumesEach}`);
  const head = [
    "Calls",
    ...paces.flatMap(({ times }) => sizes.map((size) => `${size}, delays × ${times}`)),
    "a volume",
    ...(twice === undefined ? [] : ["a volume, delays × 2"]),
  ];
  const summary = [row("all", () => true), row("that change something", isMutating), row("that read", isReading)];
  const markdown = `The same switchover twice, of ${sizes.join(" and of ")} volumes, and both again where every stop, detach, attach and start takes
twice as long. Counted is what the product sends to Nova, Cinder, Keystone and both clusters from the beginning of
\`pulumi up\` to its end, all looks at everything included; "a volume" is what one more costs, by the difference of the two
sizes. An instance's lock, stop, start and unlock are shared by its ${volumesEach} volumes. A call that is made more often for each
volume where everything takes twice as long is one that polls by volume.

${table(head, summary)}

${table(
  head,
  routes.map((route) => row(`\`${route}\``, (each) => each === route)),
)}`;
  return { markdown };
}

export const requests: Measurement<Requests> = { number: 3, title: "Calls", run, goals, render };
