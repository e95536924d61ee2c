import * as pulumi from "@pulumi/pulumi";
import * as path from "node:path";
import type { HookSpec, Promotion, Route, Unplanned } from "../lib/switchover/intent";
import { delegateTo } from "./runtime/delegate";

/** What is to be; a change of `activeSite`, `promotion` or `reprotect` means work. */
export interface ActiveSiteArgs {
  /** Site that production is to run on. */
  readonly activeSite: string;
  readonly promotion: Promotion;
  /** One-shot: valid for a switch away from the lost site, to be taken out afterwards. */
  readonly unplanned?: Unplanned;
  readonly hooks: readonly HookSpec[];
  /** Digest of the plan that was approved; another plan is refused. */
  readonly approvedPlan?: string;
  readonly requireApproval: boolean;
  readonly startIncomplete: boolean;
  readonly reprotect?: "discardDiverged" | "keepDiverged";
  readonly route?: Route;
  /** Version of Cinder's schema, where it isn't one that the promotion is tested on; any other value is refused. */
  readonly acceptSchema?: string;
  /** Where production has to run for anything to be switched. */
  readonly expectedActive?: string;
  /** A planned switchover is refused while a mirror is further behind. */
  readonly maximumLagSeconds?: number;
  /** From the end of a switchover to the next planned one. */
  readonly minimumSecondsBetweenSwitchovers?: number;
  /** Id of the switchover after which the next one needn't wait. */
  readonly soonAfter?: string;
  /** `revision` of each site's CinderBackend: a change of the active one's means a restart of cinder-volume. */
  readonly backendRevisions: pulumi.Input<Record<string, pulumi.Input<string>>>;
  /** Owner of the pair in the lease. */
  readonly stack: string;
  /** Folder of journals, reports and the database's dumps, relative to the project. */
  readonly journalDir: string;
}

/**
 * Where production runs. A change of `activeSite` is a switchover: `plan` says in the preview what it will do, and
 * the update does it. A refresh never changes `activeSite`; what the systems say is `observedSite`.
 */
export class ActiveSite extends pulumi.dynamic.Resource {
  readonly activeSite!: pulumi.Output<string>;
  /** Sentences, in order; empty when there's nothing to do. */
  readonly plan!: pulumi.Output<string[]>;
  /** Value for `approvedPlan`; empty with an empty plan. */
  readonly planDigest!: pulumi.Output<string>;
  readonly planMode!: pulumi.Output<string>;
  readonly planRoute!: pulumi.Output<string>;
  readonly observedSite!: pulumi.Output<string>;
  readonly status!: pulumi.Output<string>;
  /** What doesn't fit, each with its remedy; undefined where everything does. */
  readonly mismatches!: pulumi.Output<string[] | undefined>;
  readonly promoted!: pulumi.Output<boolean>;
  readonly protected!: pulumi.Output<boolean>;
  readonly reportDirectory!: pulumi.Output<string | undefined>;

  constructor(name: string, args: ActiveSiteArgs, options?: pulumi.CustomResourceOptions) {
    const outputs = {
      plan: undefined,
      planDigest: undefined,
      planMode: undefined,
      planRoute: undefined,
      observedSite: undefined,
      status: undefined,
      mismatches: undefined,
      promoted: undefined,
      protected: undefined,
      reportDirectory: undefined,
    };
    super(
      delegateTo(path.join(__dirname, "active-site.provider")),
      name,
      { ...args, ...outputs },
      options,
      "cinder-cheesecake",
      "ActiveSite",
    );
  }
}
