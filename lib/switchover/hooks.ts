import type { HookSpec } from "../topology/hooks";
import { deedOf, momentOf } from "../topology/hooks";
import type { PlanKind, PlannedStep } from "./planned-step";

/** Where the operator's hooks stand in a plan. Pure. */

const prefix = "hook/";

export const isHook = ({ id }: Pick<PlannedStep, "id">): boolean => id.startsWith(prefix);

/** Known by its name and its place: in another place it's another hook. */
export const hookId = ({ when, group, name }: HookSpec): string =>
  `${prefix}${[when.replace(":", "-"), ...(group === undefined ? [] : [group]), name].join("/")}`;

function plannedHook(hook: HookSpec): PlannedStep {
  const { part, phase } = momentOf(hook);
  const where = `${part} ${phase}${hook.group === undefined ? "" : ` of group "${hook.group}"`}`;
  const then = hook.onFailure === "abort" ? "the run stops" : "a warning, and on";
  return {
    id: hookId(hook),
    phase,
    sentence: `Hook "${hook.name}", ${where}: ${deedOf(hook)} (at most ${hook.timeoutSeconds} s; if it fails: ${then})`,
    forecastSeconds: 1,
  };
}

/** Steps that a group has one of each of: what a hook with a group frames. */
const groupSteps = ["quiesce/stop-instances", "start/instances"];

/**
 * The steps with the hooks in their places, those that stood there before taken out. A phase goes from the first of its
 * steps to the last one, whatever lies between: on the direct route promotion frames the cutover. The way back has its own
 * hooks alone.
 */
export function withHooks(kind: PlanKind, steps: readonly PlannedStep[], hooks: readonly HookSpec[]): PlannedStep[] {
  const own = steps.filter((step) => !isHook(step));
  const at = (wanted: (hook: HookSpec) => boolean): PlannedStep[] => hooks.filter(wanted).map(plannedHook);
  if (kind === "abort")
    return [...at(({ when }) => when === "before:abort"), ...own, ...at(({ when }) => when === "after:abort")];
  const stopped = own.findIndex(({ id }) => id === "promote/stop-services");
  return own.flatMap((step, index) => {
    const { phase, group, id } = step;
    const first = own.findIndex((candidate) => candidate.phase === phase) === index;
    const last = own.findLastIndex((candidate) => candidate.phase === phase) === index;
    const ofGroup = (when: HookSpec["when"]) =>
      group !== undefined && groupSteps.includes(id) ? at((hook) => hook.when === when && hook.group === group) : [];
    const ofPhase = (when: HookSpec["when"]) => at((hook) => hook.when === when && hook.group === undefined);
    return [
      ...(first ? ofPhase(`before:${phase}`) : []),
      ...ofGroup(`before:${phase}`),
      ...(stopped >= 0 && id === "promote/edit-configuration" ? ofPhase("during:promote") : []),
      step,
      ...ofGroup(`after:${phase}`),
      ...(last ? ofPhase(`after:${phase}`) : []),
    ];
  });
}

/**
 * Of a journey that goes on: one that was corrected meanwhile runs as it is now, one that was taken out doesn't run. A new
 * one counts from the next journey on, as its moment may have passed.
 */
export function hooksOnward(begun: readonly HookSpec[], now: readonly HookSpec[]): readonly HookSpec[] {
  return begun.flatMap((hook) => now.find((candidate) => hookId(candidate) === hookId(hook)) ?? []);
}

/** All that one is, for the digest and to see whether it was changed. */
export const hookKey = ({
  name,
  when,
  group,
  command,
  http,
  timeoutSeconds,
  onFailure,
}: HookSpec): readonly unknown[] => [
  when,
  name,
  group,
  command,
  http === undefined ? undefined : [http.method, http.url, Object.entries(http.headers).sort(), http.body, http.caFile],
  timeoutSeconds,
  onFailure,
];

export function sameHooks(a: readonly HookSpec[], b: readonly HookSpec[]): boolean {
  return JSON.stringify(a.map(hookKey)) === JSON.stringify(b.map(hookKey));
}
