import * as pulumi from "@pulumi/pulumi";
import * as path from "node:path";
import { delegateTo } from "./runtime/delegate";

/** One site's stanza. */
export interface CinderBackendArgs {
  /** Site of the pair that the stanza belongs to: its ONTAP password goes into `netapp_password`. */
  readonly site: string;
  /** Name of the stanza and Cinder's backend id. */
  readonly backend: string;
  /** Every option of the stanza but `netapp_password` and `replication_device`. */
  readonly options: pulumi.Input<Record<string, string>>;
}

/**
 * A backend's stanza in cinder.conf, on every controller of the pair. It owns the stanza's options except
 * `replication_device`, which ActiveSite writes, and never restarts anything: ActiveSite takes `revision` and plans it.
 */
export class CinderBackend extends pulumi.dynamic.Resource {
  /** Changes whenever the stanza does, its password included. */
  readonly revision!: pulumi.Output<string>;
  /** Controllers on which the stanza was written by this resource, not found. */
  readonly createdOn!: pulumi.Output<string[]>;

  constructor(name: string, args: CinderBackendArgs, options?: pulumi.CustomResourceOptions) {
    const outputs = { revision: undefined, createdOn: undefined };
    super(
      delegateTo(path.join(__dirname, "cinder-backend.provider")),
      name,
      { ...args, ...outputs },
      options,
      "cinder-cheesecake",
      "CinderBackend",
    );
  }
}
