/** 1. A planned switchover by the product, by the runbook's commands, and by Ansible: same start, same end state. */
import path from "node:path";
import { type Flavour, flavours, missingFor } from "../../lab/lab";
import { chainOf } from "../limit";
import { type Context, type Goal, type Measurement, type Section, type Spread, spreadOf } from "../measurement";
import { figure, spreadText, table } from "../table";
import { type ContenderName, contenderNames, contenders, type Timing } from "./contenders";
import { otherSite, type Site } from "./end-state";
import { productionTiming, Stage, VOLUMES_PER_INSTANCE } from "./stage";

export interface Size {
  readonly instances: number;
  readonly repeats: number;
}

export interface Run extends Timing {
  readonly contender: ContenderName;
  readonly instances: number;
  readonly to: Site;
}

export interface LabRuns {
  readonly flavour: Flavour;
  /** Why this lab isn't measured here. */
  readonly missing?: string;
  readonly runs: readonly Run[];
}

export interface BaselineResult {
  readonly volumesPerInstance: number;
  readonly labs: readonly LabRuns[];
}

/** The demo's size once, as it takes the runbook the better part of an hour; what scatters is seen on the small one. */
const sizes: readonly Size[] = [
  { instances: 10, repeats: 3 },
  { instances: 49, repeats: 1 },
];

/** How much faster than the runbook, at least. */
const wanted: Readonly<Record<Flavour, number>> = { openstack: 10, embedded: 25 };

const missingPrograms = (): string | undefined =>
  process.env["CINDER_CHEESECAKE_BENCH_BIN"] === undefined
    ? "the command lines and Ansible aren't set up: `node tools/setup.mjs --need bench`"
    : undefined;

/** Every contender in turn, each from where the former one arrived: both directions occur, and none has a fresher lab. */
export async function measureLab(
  ctx: Pick<Context, "scratch" | "signal" | "say">,
  o: {
    readonly flavour: Flavour;
    readonly sizes: readonly Size[];
    readonly who: readonly ContenderName[];
    readonly timing: typeof productionTiming | undefined;
  },
): Promise<Run[]> {
  const dir = path.join(ctx.scratch, o.flavour);
  const stage = await Stage.open({ flavour: o.flavour, timing: o.timing, dir, say: (line) => ctx.say(line) });
  const runs: Run[] = [];
  try {
    for (const { instances, repeats } of o.sizes) {
      await stage.growTo(instances);
      for (let repeat = 1; repeat <= repeats; repeat++)
        for (const contender of o.who) {
          ctx.signal.throwIfAborted();
          const from = stage.at;
          const to = otherSite(from);
          const start = await stage.write();
          const timing = await contenders[contender]({ stage, from, to, signal: ctx.signal });
          await stage.assertMovedTo(to, start);
          runs.push({ contender, instances, to, ...timing });
          ctx.say(
            `${instances} × ${VOLUMES_PER_INSTANCE}, ${contender}, to ${to}: ${figure(timing.seconds)} s (${repeat} of ${repeats})`,
          );
        }
    }
  } finally {
    await stage.close();
  }
  return runs;
}

/** With the former runs of the other lab, and of this lab's other sizes. */
export function withRuns(former: BaselineResult | undefined, flavour: Flavour, runs: readonly Run[]): BaselineResult {
  const labs = flavours.map((name): LabRuns => {
    const known = former?.labs.find((lab) => lab.flavour === name);
    if (name !== flavour) return known ?? { flavour: name, missing: "only the other one was measured", runs: [] };
    const others = known?.runs.filter(({ instances }) => !runs.some((run) => run.instances === instances)) ?? [];
    return { flavour, runs: [...others, ...runs].sort((a, b) => a.instances - b.instances) };
  });
  return { volumesPerInstance: VOLUMES_PER_INSTANCE, labs };
}

export const baselines: Measurement<BaselineResult> = {
  number: 1,
  title: "Against the runbook, and against Ansible",
  missing: ({ quick }) =>
    quick ? "what is done by hand takes minutes for each instance: not in a quick run" : missingPrograms(),
  run: async (ctx) => {
    const labs: LabRuns[] = [];
    for (const flavour of flavours) {
      const missing = missingFor(flavour, process.env["CINDER_CHEESECAKE_PYTHON"]);
      if (missing !== undefined) {
        labs.push({ flavour, missing, runs: [] });
        continue;
      }
      const timing = flavour === "embedded" ? productionTiming : undefined;
      const runs = await measureLab(ctx, { flavour, sizes, who: contenderNames, timing });
      labs.push({ flavour, runs });
    }
    return { volumesPerInstance: VOLUMES_PER_INSTANCE, labs };
  },
  goals,
  render,
};

const labNames: Readonly<Record<Flavour, string>> = {
  openstack: "the real OpenStack",
  embedded: "the embedded lab with production's delays",
};
const titles: Readonly<Record<ContenderName, string>> = {
  product: "`pulumi up`",
  runbook: "the runbook",
  ansible: "Ansible",
};
const sizesOf = ({ runs }: LabRuns): number[] => [...new Set(runs.map(({ instances }) => instances))];
const runsOf = ({ runs }: LabRuns, instances: number, contender: ContenderName): Run[] =>
  runs.filter((run) => run.instances === instances && run.contender === contender);

function spread(
  lab: LabRuns,
  instances: number,
  contender: ContenderName,
  of: (run: Run) => number,
): Spread | undefined {
  const runs = runsOf(lab, instances, contender);
  return runs.length === 0 ? undefined : spreadOf(runs.map(of));
}

/** How many times the product's median the other's is. */
function ratio(
  lab: LabRuns,
  instances: number,
  contender: ContenderName,
  of: (run: Run) => number,
): number | undefined {
  const [product, other] = (["product", contender] as const).map((name) => spread(lab, instances, name, of));
  return product === undefined || other === undefined ? undefined : other.median / product.median;
}

const seconds = (run: Run): number => run.seconds;
const downSeconds = (run: Run): number => run.downSeconds;

/** Where there are delays: a switchover takes as long as one instance at least. */
function atMost(lab: LabRuns, instances: number): string {
  const runbook = spread(lab, instances, "runbook", seconds);
  if (lab.flavour !== "embedded" || runbook === undefined) return "";
  const chain = chainOf({ delays: productionTiming.delays, volumesEach: VOLUMES_PER_INSTANCE });
  const chainSeconds = chain.reduce((sum, each) => sum + each.seconds, 0);
  return `, where ${(runbook.median / chainSeconds).toFixed(1)} × would be what one instance's own delays allow`;
}

function goals({ labs, volumesPerInstance }: BaselineResult): Goal[] {
  return labs.flatMap((lab) =>
    sizesOf(lab).flatMap((instances): Goal[] => {
      const times = ratio(lab, instances, "runbook", seconds);
      if (times === undefined) return [];
      const least = wanted[lab.flavour];
      const where = `${labNames[lab.flavour]}, ${instances} × ${volumesPerInstance} volumes`;
      return [
        {
          text: `At least ${least} × as fast as the runbook (${where}): ${times.toFixed(1)} ×${atMost(lab, instances)}`,
          met: times >= least,
        },
      ];
    }),
  );
}

function render(result: BaselineResult): Section {
  const parts = result.labs.map((lab) =>
    lab.missing === undefined
      ? renderLab(lab, result.volumesPerInstance)
      : `On ${labNames[lab.flavour]}: not measured here, as ${lab.missing}.`,
  );
  return { markdown: [...parts, method].join("\n\n") };
}

function renderLab(lab: LabRuns, volumes: number): string {
  const cell = (value: Spread | undefined): string =>
    value === undefined ? "–" : spreadText(value) + (value.times === 1 ? "" : `, ${value.times} runs`);
  const times = (value: number | undefined): string => (value === undefined ? "–" : `${value.toFixed(1)} ×`);
  const present = contenderNames.filter((name) => lab.runs.some((run) => run.contender === name));
  const rows = sizesOf(lab).flatMap((instances) =>
    present.map((name) => [
      `${instances} × ${volumes}`,
      titles[name],
      cell(spread(lab, instances, name, seconds)),
      cell(spread(lab, instances, name, downSeconds)),
      cell(spread(lab, instances, name, (run) => run.seconds / (instances * volumes))),
      name === "product" ? "" : times(ratio(lab, instances, name, seconds)),
      name === "product" ? "" : times(ratio(lab, instances, name, downSeconds)),
    ]),
  );
  const summary = table(
    [
      "Instances × volumes",
      "By",
      "Whole, s",
      "Instances down, s",
      "For each volume, s",
      "Product faster",
      "…in downtime",
    ],
    rows,
  );
  const largest = Math.max(...sizesOf(lab));
  const phases = present.map((name) => {
    const [run] = runsOf(lab, largest, name);
    const list = (run?.phases ?? []).map((phase) => `${phase.name} ${figure(phase.seconds)}`);
    return `- ${titles[name]}: ${list.join(", ")}`;
  });
  return [
    `On ${labNames[lab.flavour]}; median, and min–max where it was repeated:`,
    summary,
    `Where the time goes, ${largest} × ${volumes}, in s:`,
    phases.join("\n"),
  ].join("\n\n");
}

const method = `### How the baselines are made, and why they are fair

- **The runbook** is [\`bench/baselines/runbook.sh\`](../bench/baselines/runbook.sh): the commands of the article that this
  software began with, one after another, by the official \`openstack\` and \`cinder\`, \`curl\` for what it does on ONTAP, and
  MySQL's client. Its steps and their order are the article's: stop, final SnapMirror update, failover-host, detach and
  attach in the order of the devices, start, edit cinder.conf, back the database up, change its rows, restart.
- **Where a choice was left, the faster one was taken for the runbook**: attachments are read by one listing, not instance
  by instance; all instances are stopped, and started, by one command; all volumes of an instance are asked to detach before
  the first is waited for; nobody thinks, mistypes, reads an output or copies an id; it looks again each second. A person at a
  keyboard is slower than every figure here.
- **Ansible** is [\`bench/baselines/switchover.yml\`](../bench/baselines/switchover.yml), with the modules of
  \`openstack.cloud\`, \`netapp.ontap\` and \`community.mysql\`, an instance being a host: 25 at a time, each going on with its
  own attachments without waiting for the others. There is no module for failover-host: it calls \`cinder\`.
- **Neither does what makes the product safe**: no lease, journal, lock of the instances, look at each precondition, proof
  that nothing is mapped at the site that is left before its mirror is broken, drained queues, rollback, report. The product's
  time includes all of it, and the start of Pulumi.
- **Same start**: one lab, every contender in turn from where the former one arrived, so that each goes both ways. Before each
  run every volume gets a new file and a new MiB, so that each has the same to transfer.
- **Same end state, checked in the same way** after each run, outside the time that is taken: instances ACTIVE and unlocked;
  every volume on the device that it was on, by a connection to the new site; LUN maps at the new site, none at the other;
  Cinder's rows of volumes and services; cinder.conf of each controller; mirrors turned round, healthy; the bytes of every
  device, by the guests' digests. And the product, asked afterwards, has to find production in place and protected there.
- **The embedded lab** takes the time that it's told: 40 ms for each call of an API (OpenStack's and ONTAP's, also of the
  services among each other), 2 s for a detach, 3 s for an attach, 5 s for a stop, 10 s for a start, 100 MiB/s for SnapMirror.
  On the real one nothing is delayed; its hypervisor is Nova's fake one, so that attaching and starting are cheaper than they
  are anywhere else: what is compared there is the overhead.
`;
