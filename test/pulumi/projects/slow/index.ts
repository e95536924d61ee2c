import * as pulumi from "@pulumi/pulumi";
import * as path from "node:path";
import { delegateTo } from "../../../../dynamic-providers/runtime/delegate";

class Slow extends pulumi.dynamic.Resource {
  constructor(name: string, trace: string) {
    super(delegateTo(path.join(__dirname, "slow.provider")), name, { trace }, undefined, "test", "Slow");
  }
}

new Slow("slow", new pulumi.Config().require("trace"));
