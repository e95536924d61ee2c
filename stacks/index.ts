import * as pulumi from "@pulumi/pulumi";
import { DrError } from "../lib/errors";
import { readSettings, type Settings } from "./settings";
import { disasterRecovery } from "./disaster-recovery";
import { testLab } from "./test-lab";

/** The program that the stack's configuration names; its result are the stack's outputs. */
export function runProgram(): Record<string, unknown> {
  const settings = settingsOfStack();
  return settings.program === "disaster-recovery" ? disasterRecovery(settings, pulumi.getStack()) : testLab(settings);
}

/** The operator's faults are told as they are: no stack trace helps with them. */
function settingsOfStack(): Settings {
  try {
    return readSettings({
      project: pulumi.getProject(),
      config: pulumi.runtime.allConfig(),
      secretKeys: secretKeys(process.env["PULUMI_CONFIG_SECRET_KEYS"]),
    });
  } catch (error) {
    throw DrError.is(error) ? new pulumi.RunError(error.message) : error;
  }
}

/** Keys whose values, or parts of them, are encrypted in the stack's file (set by the language host, JSON). */
function secretKeys(text: string | undefined): string[] {
  return text === undefined ? [] : (JSON.parse(text) as string[]);
}
