import * as pulumi from "@pulumi/pulumi";
import * as path from "node:path";
import { delegateTo } from "./runtime/delegate";

export interface BreadcrumbArgs {
  readonly instance: pulumi.Input<string>;
  /** Device inside the instance, e.g. /dev/vdb. */
  readonly device: pulumi.Input<string>;
  /** The moment that the file in the instance is named after. */
  readonly stage: string;
  /** Argument vector in which {instance}, {device} and {stage} are replaced; no shell is involved. */
  readonly command: readonly string[];
  readonly timeoutSeconds: number;
}

/** A file written inside an instance on one of its data volumes, to prove later that nothing was lost. It stays for good. */
export class Breadcrumb extends pulumi.dynamic.Resource {
  constructor(name: string, args: BreadcrumbArgs, options?: pulumi.CustomResourceOptions) {
    super(
      delegateTo(path.join(__dirname, "breadcrumb.provider")),
      name,
      { ...args },
      options,
      "cinder-cheesecake",
      "Breadcrumb",
    );
  }
}
