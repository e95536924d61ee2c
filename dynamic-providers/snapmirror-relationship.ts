import * as pulumi from "@pulumi/pulumi";
import * as path from "node:path";
import { delegateTo } from "./runtime/delegate";

/** An unordered pair of FlexVols of the same name. */
export interface SnapMirrorRelationshipArgs {
  /** FlexVol that has the same name on both sites. */
  readonly flexVol: string;
  readonly policy: string;
  /** ONTAP cron schedule of the transfers. */
  readonly schedule: string;
  /** How long a first transfer is waited for; afterwards the next `pulumi up` waits on. */
  readonly baselineTimeoutSeconds?: number;
}

/** What the two clusters say; `source` and `destination` are site names, absent where there's no relationship. */
export interface ObservedMirror {
  readonly source?: string;
  readonly destination?: string;
  readonly state: string;
  readonly healthy: boolean;
  readonly policy?: string;
  /** Sites that didn't answer. */
  readonly unreachable: readonly string[];
}

/**
 * A FlexVol's SnapMirror between the two sites, whichever way it runs. The direction is ActiveSite's alone: this creates and
 * initialises where the destination is an empty DP volume, and otherwise reports what it sees.
 */
export class SnapMirrorRelationship extends pulumi.dynamic.Resource {
  readonly observed!: pulumi.Output<ObservedMirror>;
  /** False where it was there already: then a destroy leaves it. */
  readonly created!: pulumi.Output<boolean>;

  constructor(name: string, args: SnapMirrorRelationshipArgs, options?: pulumi.CustomResourceOptions) {
    const outputs = { observed: undefined, created: undefined };
    super(
      delegateTo(path.join(__dirname, "snapmirror-relationship.provider")),
      name,
      { ...args, ...outputs },
      options,
      "cinder-cheesecake",
      "SnapMirrorRelationship",
    );
  }
}
