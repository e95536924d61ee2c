import type { Phase } from "../topology/hooks";

export type PlanKind = "activation" | "reload" | "switchover" | "promotion" | "reprotect" | "abort";

export interface PlannedStep {
  /** Of the step; a step that is done for one priority group after another stands in the plan once for each of them. */
  readonly id: string;
  readonly group?: string;
  readonly phase: Phase;
  /** One sentence, as the operator reads it. */
  readonly sentence: string;
  readonly forecastSeconds: number;
}

/** What stands in a plan for itself: a step, or a group's part of one. */
export const partOf = ({ id, group }: Pick<PlannedStep, "id" | "group">): string =>
  group === undefined ? id : `${id} ${group}`;
