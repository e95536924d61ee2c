import { DrError, messageOf } from "../errors";
import type { StepContext, StepItem, Step } from "./context";
import type { HookSpec, Phase } from "./intent";
import type { PlannedStep } from "./plan";
import { pooled } from "./pool";
import { stepById } from "./steps";

/** What happens, for progress and for tests that cut a run off at a boundary. */
export interface ExecutionEvent {
  readonly kind: "before-call" | "after-call" | "recorded";
  readonly step: string;
  readonly item: string;
}

export interface ExecutionOptions {
  readonly ctx: StepContext;
  /** Awaited; what it throws ends the run there. */
  readonly onEvent?: (event: ExecutionEvent) => void | Promise<void>;
}

/**
 * The only loop: steps in the plan's order, each item once. What the journal has as done isn't asked again; what was
 * intended and not recorded is looked at, and done if it's missing. Stops at the first failure, after the items beside
 * it have come to rest.
 */
export async function execute(o: ExecutionOptions): Promise<void> {
  const { ctx } = o;
  const { steps } = ctx.plan;
  for (const [index, planned] of steps.entries()) {
    // On the direct route promotion begins before the cutover and ends after it: its hooks frame the whole.
    const first = steps.findIndex((candidate) => candidate.phase === planned.phase) === index;
    const last = steps.findLastIndex((candidate) => candidate.phase === planned.phase) === index;
    if (first) await runHooks(o, "before", planned.phase);
    await runStep(o, planned);
    if (last) await runHooks(o, "after", planned.phase);
  }
}

async function runStep(o: ExecutionOptions, planned: PlannedStep): Promise<void> {
  const { ctx } = o;
  const step = stepById(planned.id);
  // Only a run that was resumed has something of a step that it hasn't begun.
  const again = ctx.journal.factsOf(step.id).size > 0 && (await step.stale?.(ctx)) === true;
  if (!again && ctx.journal.isEnded(planned.id)) return;
  stopIfAsked(ctx, planned.id);
  const items = step.items(ctx);
  const isDone = (item: StepItem): boolean => !again && ctx.journal.isDone(step.id, item.key);
  ctx.say(ctx.progress.stepBegins(planned, items.length, items.filter(isDone).length));
  await ctx.guard();
  await ctx.journal.append({ type: "step", step: step.id, event: "begin" });
  ctx.live.atBoundary();
  await attributed(ctx, step.id, undefined, async () => step.premise?.(ctx));
  const lanes = step.lanes === "instances" ? ctx.pair.openstack.instancesAtOnce : step.lanes;
  const left = items.filter((item) => !isDone(item));
  await pooled(lanes, left, (item) => runItem(o, step, item));
  await ctx.journal.append({ type: "step", step: step.id, event: "end" });
  ctx.progress.stepEnds();
}

async function runItem(o: ExecutionOptions, step: Step, item: StepItem): Promise<void> {
  const { ctx } = o;
  stopIfAsked(ctx, step.id);
  ctx.progress.itemBegins(item.key, item.label);
  await attributed(ctx, step.id, item, async () => {
    const already = await step.satisfied(ctx, item);
    if (already !== undefined) {
      await ctx.guard();
      await ctx.journal.append({ type: "done", step: step.id, item: item.key, already: true, facts: already });
      return;
    }
    await ctx.guard();
    await ctx.journal.append({ type: "intent", step: step.id, item: item.key });
    await o.onEvent?.({ kind: "before-call", step: step.id, item: item.key });
    const applied = (await step.apply(ctx, item)) ?? {};
    await o.onEvent?.({ kind: "after-call", step: step.id, item: item.key });
    const facts = await step.verify(ctx, item, applied);
    // Without the lease the journal belongs to the other run.
    await ctx.guard();
    await ctx.journal.append({ type: "done", step: step.id, item: item.key, already: false, facts });
    await o.onEvent?.({ kind: "recorded", step: step.id, item: item.key });
  });
  ctx.progress.itemEnds(item.key);
}

/** Hooks are journalled like steps: each runs once, or again where a run was cut off in its middle. */
async function runHooks(o: ExecutionOptions, when: "before" | "after", phase: Phase): Promise<void> {
  const { ctx } = o;
  for (const hook of ctx.plan.hooks.filter((candidate: HookSpec) => candidate.when === `${when}:${phase}`)) {
    const id = `hook/${when}-${phase}`;
    if (ctx.journal.isDone(id, hook.name)) continue;
    stopIfAsked(ctx, id);
    ctx.say(`hook ${hook.name} (${hook.when})`);
    await ctx.guard();
    await attributed(ctx, id, { key: hook.name, label: hook.name }, async () => {
      await ctx.guard();
      await ctx.journal.append({ type: "intent", step: id, item: hook.name });
      await ctx.ports.hooks.run({ ...hook, env: { FROM_SITE: ctx.plan.from, TO_SITE: ctx.plan.to, PHASE: phase } });
      await ctx.guard();
      await ctx.journal.append({ type: "done", step: id, item: hook.name, already: false, facts: {} });
    });
  }
}

function stopIfAsked(ctx: StepContext, step: string): void {
  if (ctx.stop.asked.aborted)
    throw new DrError({
      code: "stopped",
      attempted: `Go on with ${step}`,
      seen: `stopped: ${ctx.stop.by}`,
      state: stateAt(ctx),
      remedy: "Run again: it goes on from here.",
      context: { step },
    });
}

/** Adds where it happened to whatever went wrong, and puts it into the journal. */
async function attributed(
  ctx: StepContext,
  stepId: string,
  item: StepItem | undefined,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    // Without the lease the journal belongs to the other run. What was stopped didn't fail.
    if (!DrError.is(error, "lease") && !DrError.is(error, "stopped"))
      await ctx.journal
        .append({ type: "failed", step: stepId, item: item?.key ?? "", error: messageOf(error) })
        .catch(() => undefined);
    const where = item === undefined ? stepId : `${stepId} (${item.label})`;
    if (DrError.is(error))
      throw new DrError({
        code: error.code,
        attempted: `${where}: ${error.attempted}`,
        seen: error.seen,
        state: stateAt(ctx, error),
        remedy: error.remedy ?? "Repair its cause, then run again: it goes on from here.",
        retryable: error.retryable,
        context: { ...error.context, step: stepId },
        cause: error,
      });
    throw new DrError({
      code: "invariant",
      attempted: where,
      seen: messageOf(error),
      state: stateAt(ctx),
      remedy: "Run again: it goes on from here.",
      cause: error,
    });
  }
}

/** In which state things are: a step's own words, or, where only a request's are known, what the journal tells. */
function stateAt({ plan, journal }: StepContext, error?: DrError): string {
  if (error?.state !== undefined && error.context["url"] === undefined) return error.state;
  const { from, to } = plan;
  const isUnder = (begin: string, end: string): boolean => journal.isBegun(begin) && !journal.isEnded(end);
  const isCutOver = journal.isEnded("cutover/failover-host") || journal.isEnded("cutover/break-mirrors");
  const site = plan.kind !== "switchover" || isCutOver ? to : from;
  const areStopped = plan.kind === "abort" || isUnder("quiesce/stop-instances", "start/instances");
  const sentences = [
    error?.state,
    journal.cutoverBegun && plan.kind === "switchover" && !isCutOver
      ? `The cutover to "${to}" was begun: its mirrors may be broken off.`
      : `Production's data is at "${site}".`,
    areStopped ? "Instances may be stopped." : undefined,
    isUnder("promote/stop-services", "promote/start-services") ? "Cinder's services may be stopped." : undefined,
  ];
  return sentences.filter((sentence) => sentence !== undefined).join(" ");
}
