import { DrError, messageOf } from "../errors";
import type { StepContext, StepItem, Step } from "./context";
import { isHook } from "./hooks";
import type { PlannedStep } from "./plan";
import { pooled } from "./pool";
import { stepById } from "./steps";
import { hookStep } from "./steps/hook";

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
  // One that this version doesn't know is told before anything is done, not in the middle.
  for (const planned of steps) if (!ctx.journal.isPassed(planned)) stepOf(ctx, planned);
  for (const planned of steps) await runStep(o, planned);
}

const stepOf = ({ plan }: StepContext, planned: PlannedStep): Step =>
  isHook(planned) ? hookStep(plan, planned.id) : stepById(planned.id);

async function runStep(o: ExecutionOptions, planned: PlannedStep): Promise<void> {
  const { ctx } = o;
  const step = stepOf(ctx, planned);
  // Of a step that is done for one group after another, the last one's end is its end.
  const isLast = ctx.plan.steps.findLast(({ id }) => id === planned.id) === planned;
  // Only a run that was resumed has something of a step that it hasn't begun.
  const again = ctx.journal.factsOf(step.id).size > 0 && (await step.stale?.(ctx)) === true;
  if (!again && (isLast ? ctx.journal.isEnded(planned.id) : ctx.journal.isPassed(planned))) return;
  stopIfAsked(ctx, planned.id);
  const items = ofGroup(ctx, planned.group, step.items(ctx));
  const isDone = (item: StepItem): boolean => !again && ctx.journal.isDone(step.id, item.key);
  const group = planned.group === undefined ? {} : { group: planned.group };
  ctx.say(ctx.progress.stepBegins(planned, items.length, items.filter(isDone).length));
  await ctx.guard();
  await ctx.journal.append({ type: "step", step: step.id, event: "begin", ...group });
  ctx.live.atBoundary();
  await attributed(ctx, step.id, undefined, async () => step.premise?.(ctx));
  const lanes = step.lanes === "instances" ? ctx.pair.openstack.instancesAtOnce : step.lanes;
  const left = items.filter((item) => !isDone(item));
  await pooled(lanes, left, (item) => runItem(o, step, item));
  if (planned.group !== undefined) await ctx.journal.append({ type: "step", step: step.id, event: "end", ...group });
  if (isLast) await ctx.journal.append({ type: "step", step: step.id, event: "end" });
  ctx.progress.stepEnds();
}

/** An item is one of the group's instances, or the group itself. */
function ofGroup(ctx: StepContext, name: string | undefined, items: readonly StepItem[]): readonly StepItem[] {
  if (name === undefined) return items;
  const keys = new Set([name, ...(ctx.plan.groups?.find((group) => group.name === name)?.serverIds ?? [])]);
  return items.filter(({ key }) => keys.has(key));
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
    // A look may take long: who asked meanwhile doesn't want the change any more.
    stopIfAsked(ctx, step.id);
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
    // Without the lease the journal belongs to the other run; who was stopped, or waits for an approval, didn't fail.
    if (!(["lease", "stopped", "approval"] as const).some((code) => DrError.is(error, code)))
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
