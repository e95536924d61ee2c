/** 7. What Pulumi itself takes of a switchover, and of commands that change nothing. */
import { execFile } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { type LabPulumi, projectRoot } from "../lab/pulumi";
import { BenchLab } from "./bench-lab";
import { journey } from "./journey";
import { type Context, type Goal, type Measurement, type Section, type Spread, spreadOf } from "./measurement";
import { figure, spreadText, table } from "./table";

const exec = promisify(execFile);

export interface PulumiShare {
  readonly instances: number;
  /** `pulumi up` without the engine's own time, of each switchover. */
  readonly besidesSeconds: Spread;
  readonly wholeSeconds: Spread;
  readonly commands: readonly {
    readonly command: string;
    readonly product: Spread;
    /** A program without a single resource. */
    readonly bare: Spread;
  }[];
}

const WANTED_SECONDS = 5;
const commands = ["preview", "up"] as const;

async function run(ctx: Context): Promise<PulumiShare> {
  const instances = ctx.quick ? 4 : 49;
  const repeats = ctx.quick ? 2 : 5;
  return BenchLab.with(ctx, { instances }, async (lab) => {
    await lab.add(instances);
    const journeys = [];
    for (let times = 0; times < (ctx.quick ? 2 : 4); times++) {
      ctx.signal.throwIfAborted();
      journeys.push(await journey(lab.lab, lab.pulumi, times % 2 === 0 ? "idr" : "iprod"));
    }
    const bare = await bareProgram(ctx.scratch, lab.pulumi);
    const product = (command: (typeof commands)[number]) => () => lab.pulumi[command](lab.pulumi.recoveryStack);
    const timed = [];
    for (const command of commands) {
      const times: Record<"product" | "bare", number[]> = { product: [], bare: [] };
      // In turn, so that both meet the same machine.
      for (let repeat = 0; repeat < repeats; repeat++) {
        ctx.signal.throwIfAborted();
        times.product.push(await secondsOf(product(command)));
        times.bare.push(await secondsOf(() => bare(command)));
      }
      timed.push({ command, product: spreadOf(times.product), bare: spreadOf(times.bare) });
    }
    return {
      instances,
      besidesSeconds: spreadOf(journeys.map(({ wallSeconds, engineSeconds }) => wallSeconds - engineSeconds)),
      wholeSeconds: spreadOf(journeys.map(({ wallSeconds }) => wallSeconds)),
      commands: timed,
    };
  });
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const began = Date.now();
  await work();
  return (Date.now() - began) / 1000;
}

/** With the same CLI, SDK and backend as the product. */
async function bareProgram(
  scratch: string,
  pulumi: LabPulumi,
): Promise<(command: (typeof commands)[number]) => Promise<unknown>> {
  const folder = path.join(scratch, "bare");
  mkdirSync(folder);
  writeFileSync(path.join(folder, "Pulumi.yaml"), "name: bare\nruntime: nodejs\n");
  writeFileSync(path.join(folder, "package.json"), '{ "name": "bare", "main": "index.js" }\n');
  writeFileSync(path.join(folder, "index.js"), 'require("@pulumi/pulumi");\n');
  symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
  const env = { ...process.env, ...pulumi.environment() };
  const invoke = (...args: string[]) => exec("pulumi", [...args, "--non-interactive"], { cwd: folder, env });
  await invoke("stack", "init", "bare", "--no-select");
  const flags = { preview: [], up: ["--yes", "--skip-preview"] } as const;
  await invoke("up", "--stack", "bare", ...flags.up);
  return (command) => invoke(command, "--stack", "bare", ...flags[command]);
}

function goals({ besidesSeconds }: PulumiShare): Goal[] {
  return [
    {
      text: `At most ${WANTED_SECONDS} s of a switchover are Pulumi's own: ${spreadText(besidesSeconds)} s`,
      met: besidesSeconds.median <= WANTED_SECONDS,
    },
  ];
}

function render({ instances, besidesSeconds, wholeSeconds, commands: timed }: PulumiShare): Section {
  const rows = timed.map(({ command, product, bare }) => [
    `\`pulumi ${command}\``,
    spreadText(product),
    spreadText(bare),
    figure(product.median / bare.median),
  ]);
  const markdown = `${instances} instances on the embedded lab with its short delays. From a switchover's ${spreadText(wholeSeconds)} s by \`pulumi up\`, the
engine's own time is taken off, from its journal's first entry to its last one: ${spreadText(besidesSeconds)} s are left. In these Pulumi
starts, with the program and the process of the dynamic providers; the plan is made twice, by \`check\` and under the lease;
and Pulumi writes its state and ends.

Where nothing is to be changed, as against a program without a single resource, on the same backend:

${table(["Command", "The product, s", "A bare program, s", "times"], rows)}`;
  return { markdown };
}

export const pulumiShare: Measurement<PulumiShare> = { number: 7, title: "Pulumi's own share", run, goals, render };
