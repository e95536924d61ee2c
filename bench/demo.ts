/** 8. The demo's start and its stages, warm; and with --cold what a machine without caches takes. */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import type { DemoFacts } from "../lab/demo/story";
import { projectRoot } from "../lab/pulumi";
import type { Context, Goal, Measurement, Section } from "./measurement";
import { figure, table } from "./table";

export interface DemoTimes {
  readonly instances: number;
  /** With everything in the caches. */
  readonly warm: DemoTime;
  /** Warm, of one instance: what each stage takes however few there are. */
  readonly floor: DemoTime;
  /** From a clone of the checkout, with an empty cache: as `npm ci`, and then the demo, which gets the rest. */
  readonly cold?: DemoTime & { readonly setUp: readonly { readonly name: string; readonly seconds: number }[] };
}

interface DemoTime {
  /** From the command to its end, the lab taken down. */
  readonly seconds: number;
  readonly stages: DemoFacts["stages"];
}

const INSTANCES = 49;
const WANTED_SECONDS = 180;

async function run(ctx: Context): Promise<DemoTimes> {
  const environment = process.env;
  const warm = await demo(ctx, projectRoot, INSTANCES, environment);
  ctx.say(`warm: ${figure(warm.seconds)} s`);
  const floor = await demo(ctx, projectRoot, 1, environment);
  ctx.say(`of one instance: ${figure(floor.seconds)} s`);
  if (!ctx.cold) return { instances: INSTANCES, warm, floor };
  return { instances: INSTANCES, warm, floor, cold: await cold(ctx) };
}

async function demo(ctx: Context, checkout: string, instances: number, env: NodeJS.ProcessEnv): Promise<DemoTime> {
  const facts = path.join(ctx.scratch, "facts.json");
  const dir = path.join(ctx.scratch, "demo");
  const args = ["run", "--silent", "demo", "--", "--instances", String(instances), "--json", facts, "--dir", dir];
  const { seconds } = await command(ctx, "npm", args, checkout, env);
  const { stages } = JSON.parse(readFileSync(facts, "utf8")) as DemoFacts;
  return { seconds, stages };
}

async function cold(ctx: Context): Promise<NonNullable<DemoTimes["cold"]>> {
  const checkout = path.join(ctx.scratch, "checkout");
  const home = path.join(ctx.scratch, "cold");
  mkdirSync(home);
  const caches = { XDG_CACHE_HOME: path.join(home, "cache"), npm_config_cache: path.join(home, "npm") };
  const own = Object.entries(process.env).filter(([name]) => !/^(CINDER_CHEESECAKE_|NODE_COMPILE_CACHE$)/.test(name));
  const env = { ...Object.fromEntries(own), ...caches };
  await command(ctx, "git", ["clone", "--quiet", projectRoot, checkout], ctx.scratch, env);
  const setUp = [];
  for (const [name, args] of [
    ["`npm ci`", ["ci", "--silent"]],
    ["`npm run setup -- --need pulumi,embedded`", ["run", "--silent", "setup", "--", "--need", "pulumi,embedded"]],
  ] as const) {
    const { seconds } = await command(ctx, "npm", args, checkout, env);
    ctx.say(`cold, ${name}: ${figure(seconds)} s`);
    setUp.push({ name, seconds });
  }
  return { ...(await demo(ctx, checkout, INSTANCES, env)), setUp };
}

async function command(
  ctx: Context,
  program: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<{ seconds: number }> {
  const began = Date.now();
  const tail: string[] = [];
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  // Not by the signal of `spawn`, which would kill it at once: it takes its lab down first.
  const stop = (): boolean => child.kill("SIGTERM");
  ctx.signal.addEventListener("abort", stop);
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => {
      tail.push(line);
      if (tail.length > 40) tail.shift();
    });
  const code = await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  ctx.signal.removeEventListener("abort", stop);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${String(code)}:\n${tail.join("\n")}`);
  return { seconds: (Date.now() - began) / 1000 };
}

function goals({ warm, instances }: DemoTimes): Goal[] {
  return [
    {
      text: `The warm demo of ${instances} instances takes at most 3 minutes: ${Math.round(warm.seconds)} s`,
      met: warm.seconds <= WANTED_SECONDS,
    },
  ];
}

function render({ instances, warm, floor, cold: fromNothing }: DemoTimes): Section {
  const rows = warm.stages.map(({ name, seconds }, at) => [
    name,
    figure(seconds),
    figure(floor.stages[at]?.seconds ?? 0),
    ...(fromNothing === undefined ? [] : [figure(fromNothing.stages[at]?.seconds ?? 0)]),
  ]);
  const sum = ({ stages }: DemoTime): number => stages.reduce((seconds, stage) => seconds + stage.seconds, 0);
  const around = (time: DemoTime): string => figure(time.seconds - sum(time));
  rows.push(
    [
      "before the first stage, and the lab's end",
      around(warm),
      around(floor),
      ...(fromNothing ? [around(fromNothing)] : []),
    ],
    ["in all", figure(warm.seconds), figure(floor.seconds), ...(fromNothing ? [figure(fromNothing.seconds)] : [])],
  );
  const head = [
    "Stage",
    `${instances} instances, warm, s`,
    "One instance, warm, s",
    ...(fromNothing ? [`${instances} instances, cold, s`] : []),
  ];
  const markdown = `\`npm run demo\` on the embedded lab. The stages with instances and volumes are made of what the OpenStack plugin waits for: it
looks at a new volume, instance or attachment some 10 s after it asked for it for the first time. All of a set wait side by side
(\`--parallel\`), so that what one instance takes is the floor; a set that follows needs a volume and its attachment, the
first one a root, an instance, a volume and its attachment.

${table(head, rows)}
${
  fromNothing === undefined
    ? ""
    : `
Cold is a clone of the checkout with empty caches; before the demo came ${fromNothing.setUp.map(({ name, seconds }) => `${name} in ${figure(seconds)} s`).join(", ")}.
`
}`;
  return { markdown };
}

export const demoTimes: Measurement<DemoTimes> = {
  number: 8,
  title: "Start",
  missing: ({ quick }) => (quick ? "the demo alone takes as long as a quick run may" : undefined),
  run,
  goals,
  render,
};
