import * as pulumi from "@pulumi/pulumi";
import * as path from "node:path";
import { delegateTo } from "./runtime/delegate";

/** Whose clusters. */
export interface ClusterPeerArgs {
  /** The two sites whose clusters are peered; their intercluster addresses stand in the pair. */
  readonly sites: readonly [string, string];
}

/** Cluster peering of the two sites, seen from both. It adopts what is there, as peers are mostly made by hand in advance. */
export class ClusterPeer extends pulumi.dynamic.Resource {
  /** What each site's cluster says of the other one, e.g. "available". */
  readonly states!: pulumi.Output<Record<string, string>>;
  readonly created!: pulumi.Output<boolean>;

  constructor(name: string, args: ClusterPeerArgs, options?: pulumi.CustomResourceOptions) {
    super(
      delegateTo(path.join(__dirname, "cluster-peer.provider")),
      name,
      { ...args, states: undefined, created: undefined },
      options,
      "cinder-cheesecake",
      "ClusterPeer",
    );
  }
}
