import * as pulumi from "@pulumi/pulumi";
import * as path from "node:path";
import { delegateTo } from "./runtime/delegate";

/** Whose SVMs. */
export interface SvmPeerArgs {
  /** The two sites whose SVMs are peered for SnapMirror. */
  readonly sites: readonly [string, string];
}

/** Peering of the two SVMs, seen from both sides. It adopts what is there, as peers are mostly made by hand in advance. */
export class SvmPeer extends pulumi.dynamic.Resource {
  /** What each site's SVM says of the other one, e.g. "peered". */
  readonly states!: pulumi.Output<Record<string, string>>;
  readonly created!: pulumi.Output<boolean>;

  constructor(name: string, args: SvmPeerArgs, options?: pulumi.CustomResourceOptions) {
    super(
      delegateTo(path.join(__dirname, "svm-peer.provider")),
      name,
      { ...args, states: undefined, created: undefined },
      options,
      "cinder-cheesecake",
      "SvmPeer",
    );
  }
}
