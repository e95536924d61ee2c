import * as pulumi from "@pulumi/pulumi";
import { disasterRecovery } from "./disaster-recovery";
import { secretKeys, told } from "./pair-from-config";
import { readSettings } from "./settings";
import { testLab } from "./test-lab";

/** The program that the stack's configuration names; its result are the stack's outputs. */
export function runProgram(): Record<string, unknown> {
  const project = pulumi.getProject();
  const settings = told(() => readSettings({ project, config: pulumi.runtime.allConfig(), secretKeys: secretKeys() }));
  return settings.program === "disaster-recovery" ? disasterRecovery(settings, pulumi.getStack()) : testLab(settings);
}
