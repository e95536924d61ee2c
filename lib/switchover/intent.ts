import type { HookSpec, Phase } from "../topology/hooks";

/** What the operator asks for, and what is remembered of it between runs. Plain data. */

/** `deferred`: Cinder stays failed over after the instances run again, and nothing is protected; promote later. */
export type Promotion = "immediate" | "deferred";
/** `planned`: both sites answer, nothing is lost. `unplanned`: a site is lost, with what its last transfer lacks. */
export type Mode = "planned" | "unplanned";
/** How Cinder is told: by its own failover, or past it where it can't or won't. */
export type Route = "failover-host" | "direct";

export { phases } from "../topology/hooks";
export type { HookSpec, Phase };

/** The operator's word that a site is lost, and how much loss is accepted. */
export interface Unplanned {
  /** The site that was lost. Valid for a switch away from it only. */
  readonly from: string;
  readonly acceptLossSeconds?: number;
  readonly acceptUnknownLoss?: boolean;
  /** Also when the lost site answers and its mirrors are healthy. */
  readonly force?: boolean;
}

/** What the operator asks for. */
export interface Intent {
  readonly activeSite: string;
  readonly promotion: Promotion;
  readonly unplanned?: Unplanned;
  readonly hooks: readonly HookSpec[];
  /** Digest of the plan that was approved; any other plan is refused. */
  readonly approvedPlan?: string;
  readonly requireApproval: boolean;
  /** Start instances whose volumes were lost or are short after an unplanned failover. */
  readonly startIncomplete: boolean;
  /** Asked for after an unplanned failover, once the lost site is back. */
  readonly reprotect?: "discardDiverged" | "keepDiverged";
  /** Digest of each site's stanza; a change of the active one's means a restart of cinder-volume. */
  readonly backendRevisions?: Readonly<Record<string, string>>;
  /** Version of Cinder's schema, where it isn't one that the promotion is tested on; any other value is refused. */
  readonly acceptSchema?: string;
  /** Forces the route that preflight would choose otherwise. */
  readonly route?: Route;
  /** Where the operator believes production to run; elsewhere nothing is switched. */
  readonly expectedActive?: string;
  /** Planned: a mirror that is further behind is refused. */
  readonly maximumLagSeconds?: number;
  /** From the end of a switchover to the next planned one; absent = no time. */
  readonly minimumSecondsBetweenSwitchovers?: number;
  /** Id of the one switchover after which the next needn't wait. */
  readonly soonAfter?: string;
}

/** What ActiveSite stores. `activeSite` is where production runs, as far as this software moved or adopted it. */
export interface SwitchoverState {
  readonly activeSite: string;
  readonly promoted: boolean;
  readonly protected: boolean;
  readonly observedSite: string;
  readonly status: string;
  /** What doesn't fit, each with its remedy; absent where everything does. */
  readonly mismatches?: readonly string[];
  readonly backendRevisions: Readonly<Record<string, string>>;
  readonly lastSwitchoverId?: string;
  readonly reportDirectory?: string;
}
