/** 4. What a preview costs with ten to ten thousand volumes, and a switchover of them all. */
import { BenchLab, VOLUMES_EACH } from "./bench-lab";
import { journey } from "./journey";
import { type Context, type Goal, type Measurement, type Section, type Spread, spreadOf } from "./measurement";
import { type Peaks, watchMemory } from "./memory";
import { linePlot } from "./plot";
import { figure, spreadText, table } from "./table";

export interface Scale {
  /** The first of them without a volume. */
  readonly previews: readonly {
    readonly instances: number;
    readonly volumes: number;
    readonly seconds: Spread;
    /** Of all processes of the command at one moment, in MiB. */
    readonly memory: Spread;
  }[];
  /** Of as many as the largest preview. */
  readonly switchover?: {
    readonly instances: number;
    readonly volumes: number;
    readonly seconds: number;
    readonly memory: Peaks;
  };
}

const WANTED = { seconds: 5, mebibytes: 300, exponent: 1.05 } as const;
/** An engine that holds more than this for ten thousand volumes holds something for each call or poll, not for each volume. */
const BOUND_MIB = 1024;

async function run(ctx: Context): Promise<Scale> {
  const sizes = ctx.quick ? [0, 25, 100] : [0, 3, 25, 250, 2500];
  const repeats = ctx.quick ? 1 : 3;
  return BenchLab.with(ctx, { instances: Math.max(...sizes) }, async (lab) => {
    const previews: Scale["previews"][number][] = [];
    await lab.pulumi.set(lab.pulumi.recoveryStack, "activeSite", "idr");
    for (const instances of sizes) {
      await lab.add(instances - (previews.at(-1)?.instances ?? 0));
      const measured = [];
      for (let repeat = 0; repeat < repeats; repeat++) {
        ctx.signal.throwIfAborted();
        measured.push(await preview(lab));
      }
      const one = {
        instances,
        volumes: instances * VOLUMES_EACH,
        seconds: spreadOf(measured.map(({ seconds }) => seconds)),
        memory: spreadOf(measured.map(({ memory }) => memory)),
      };
      ctx.say(`preview of ${one.volumes} volumes: ${figure(one.seconds.median)} s, ${one.memory.median} MiB`);
      previews.push(one);
    }
    if (ctx.quick) return { previews };
    ctx.signal.throwIfAborted();
    const { instances, volumes, wallSeconds, memory } = await journey(lab.lab, lab.pulumi, "idr");
    return { previews, switchover: { instances, volumes, seconds: wallSeconds, memory } };
  });
}

async function preview({ pulumi }: BenchLab): Promise<{ seconds: number; memory: number }> {
  const memory = watchMemory(pulumi);
  const began = Date.now();
  try {
    await pulumi.preview(pulumi.recoveryStack);
  } finally {
    memory.stop();
  }
  return { seconds: (Date.now() - began) / 1000, memory: memory.peaks().all };
}

/** What it takes more than without a volume, by the number of volumes. */
function more({ previews }: Scale, of: (preview: Scale["previews"][number]) => Spread): (readonly [number, number])[] {
  const [empty, ...others] = previews;
  if (empty === undefined) return [];
  return others.map((one) => [one.volumes, of(one).median - of(empty).median]);
}

/** k of y = c · x^k, by least squares of the logarithms; what is lost in the noise has none. */
export function exponentOf(points: readonly (readonly [x: number, y: number])[], noise: number): number | undefined {
  const logs = points.filter(([, y]) => y > noise).map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  if (logs.length < 2) return undefined;
  const mean = (of: 0 | 1): number => logs.reduce((sum, point) => sum + point[of], 0) / logs.length;
  const [x, y] = [mean(0), mean(1)];
  const above = logs.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  const below = logs.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
  return above / below;
}

const seconds = (one: Scale["previews"][number]): Spread => one.seconds;
const memory = (one: Scale["previews"][number]): Spread => one.memory;
const noise = { seconds: 0.2, memory: 10 } as const;

function goals(result: Scale): Goal[] {
  const last = result.previews.at(-1);
  const [moreSeconds, moreMemory] = [more(result, seconds).at(-1)?.[1], more(result, memory).at(-1)?.[1]];
  if (last === undefined || moreSeconds === undefined || moreMemory === undefined) return [];
  const exponents = [exponentOf(more(result, seconds), noise.seconds), exponentOf(more(result, memory), noise.memory)];
  const { switchover } = result;
  return [
    {
      text: `A preview of ${last.volumes} volumes takes at most ${WANTED.seconds} s and ${WANTED.mebibytes} MB more than an empty one: ${figure(moreSeconds)} s, ${figure(moreMemory)} MiB`,
      met: moreSeconds <= WANTED.seconds && moreMemory * 1.048576 <= WANTED.mebibytes,
    },
    {
      text: `It grows at most linearly: exponent ${exponentText(exponents[0])} for the time, ${exponentText(exponents[1])} for the memory`,
      met: exponents.every((exponent) => (exponent ?? 0) <= WANTED.exponent),
    },
    ...(switchover === undefined
      ? []
      : [
          {
            text: `A switchover of ${switchover.volumes} volumes completes in bounded memory: ${figure(switchover.seconds)} s, ${switchover.memory.provider} MiB at most in the engine's process`,
            met: switchover.memory.provider <= BOUND_MIB,
          },
        ]),
  ];
}

const exponentText = (exponent: number | undefined): string =>
  exponent === undefined ? "none to be seen" : figure(exponent);

function render(result: Scale): Section {
  const rows = result.previews.map((one) => [
    one.volumes,
    one.instances,
    spreadText(one.seconds),
    spreadText(one.memory),
  ]);
  const { switchover } = result;
  const plot = (title: string, y: string, of: typeof seconds): string => {
    const points = more(result, of).filter(([, value]) => value > 0);
    const [x = 1, value = 1] = points.at(-1) ?? [];
    const first = points[0]?.[0] ?? 1;
    return linePlot({
      title,
      x: "volumes",
      y,
      logarithmic: true,
      lines: [
        { name: "more than without a volume", points },
        {
          name: "linear",
          dashed: true,
          points: [
            [first, (value * first) / x],
            [x, value],
          ],
        },
      ],
    });
  };
  const markdown = `\`pulumi preview\` of a switchover, with its plan, on the embedded lab; memory is that of the CLI, the program and the
provider together, at its highest.

${table(["Volumes", "Instances", "Time, s", "Memory, MiB"], rows)}

![Time by the number of volumes](performance/4-time.svg)

![Memory by the number of volumes](performance/4-memory.svg)

${
  switchover === undefined
    ? ""
    : `A whole switchover of ${switchover.volumes} volumes on ${switchover.instances} instances, with the lab's short delays, took ${figure(switchover.seconds)} s; the process
with the engine held ${switchover.memory.provider} MiB at most, all of the command's ${switchover.memory.all} MiB.
`
}
Every list is read page by page. How often a list is read follows from the time that passes, not from what is waited for:
five times a second at most, and never more than half of the time (\`Live\` in lib/switchover/context.ts).
test/unit/switchover/growth.spec.ts counts what judging and planning read, and fails where four times as many instances
cost more than 4.4 times as much.`;
  return {
    markdown,
    plots: {
      "4-time": plot("A preview's time", "seconds", seconds),
      "4-memory": plot("A preview's memory", "MiB", memory),
    },
  };
}

export const scale: Measurement<Scale> = { number: 4, title: "Scale", run, goals, render };
