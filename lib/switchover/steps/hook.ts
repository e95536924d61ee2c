import { DrError } from "../../errors";
import type { FactName, HookSpec } from "../../topology/hooks";
import { momentOf } from "../../topology/hooks";
import type { Step, StepContext } from "../context";
import { hookId } from "../hooks";
import type { Facts } from "../journal";
import type { Plan } from "../plan";
import type { HookOutcome } from "../ports";
import { assertServicesStopped } from "./promote-stop-services";

/**
 * Needs: what its moment says. Does: runs the command, or makes the call. Proof: exit status 0, or a status of 2xx. Safe to
 * repeat as far as the operator's hook is: one whose outcome isn't known, as its run died, runs again.
 */
export function hookStep(plan: Plan, id: string): Step {
  const hook = plan.hooks.find((candidate) => hookId(candidate) === id);
  if (hook === undefined)
    throw new DrError({ code: "invariant", attempted: `Run step ${id}`, seen: "the plan has no such hook" });
  return {
    id,
    lanes: 1,
    items: () => [{ key: hook.name, label: hook.name }],
    ...(hook.when === "during:promote" ? { premise: assertServicesStopped } : {}),
    satisfied: () => Promise.resolve(undefined),
    async apply(ctx) {
      await ctx.guard();
      const { signal } = ctx;
      const about = { hook, facts: factsFor(ctx, hook), instances: instancesFor(ctx, hook), signal };
      const outcome = await ctx.ports.hooks.run(about);
      if (outcome.cutOff === true)
        throw new DrError({
          code: "stopped",
          attempted: `Run hook "${hook.name}"`,
          seen: `stopped: ${ctx.stop.by}; ${saidOf(outcome)}`,
          remedy: "Run again: it runs this hook anew.",
        });
      return { ...outcome };
    },
    verify(ctx, _item, applied) {
      const outcome = applied as unknown as HookOutcome;
      if (outcome.passed) return Promise.resolve(applied);
      if (hook.onFailure === "continue") {
        ctx.say(`warning: ${failureOf(hook.name, outcome)}`);
        return Promise.resolve(applied);
      }
      throw new DrError({
        code: outcome.timedOut === true ? "wait-timeout" : "failure-state",
        attempted: `Run hook "${hook.name}"`,
        seen: saidOf(outcome),
        remedy:
          "Repair what it does, or correct it or take it out in the configuration; then run again: it goes on from here.",
      });
    },
  };
}

const saidOf = ({
  said,
  durationSeconds,
  output = "",
}: Pick<HookOutcome, "said" | "durationSeconds" | "output">): string =>
  `${said} after ${durationSeconds} s${output === "" ? "" : `; its last output: ${output}`}`;

export const failureOf = (name: string, outcome: Parameters<typeof saidOf>[0]): string =>
  `hook "${name}" failed: ${saidOf(outcome)}`;

function factsFor({ plan, journal }: StepContext, hook: HookSpec): Readonly<Partial<Record<FactName, string>>> {
  const { part, phase } = momentOf(hook);
  const { pair, kind, mode, route, from, to } = plan;
  return {
    pair,
    switchoverId: journal.switchoverId,
    kind,
    mode,
    route,
    from,
    to,
    when: part,
    phase,
    hook: hook.name,
    ...(hook.group === undefined ? {} : { group: hook.group }),
  };
}

/** Those that the hook is about: its group's, or all. */
function instancesFor(
  { plan }: StepContext,
  { group }: HookSpec,
): readonly { readonly id: string; readonly name: string }[] {
  const ids = plan.groups?.find(({ name }) => name === group)?.serverIds;
  const wanted = ids === undefined ? undefined : new Set(ids);
  return plan.servers.filter(({ id }) => wanted?.has(id) !== false).map(({ id, name }) => ({ id, name }));
}

/** What a report tells of one, by its facts in the journal. */
export function outcomeOf(facts: Facts): Pick<HookOutcome, "passed" | "said" | "durationSeconds" | "output"> {
  const { passed, said, durationSeconds, output } = facts as unknown as HookOutcome;
  return { passed, said, durationSeconds, ...(output === undefined ? {} : { output }) };
}
