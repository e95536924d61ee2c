import * as pulumi from "@pulumi/pulumi";
import type { DisasterRecoveryPairArgs } from "../components/disaster-recovery-pair";
import { DrError } from "../lib/errors";
import { activeSettings, type DisasterRecoverySettings } from "../lib/settings";
import { readRecoverySettings } from "./settings";

/**
 * What a {@link DisasterRecoveryPair} is made of, from the configuration of the stack that is being run: the keys of
 * docs/configuration.md in the project's own namespace, `program` left out. Passwords are checked to be there and to be
 * secret, and are in none of the arguments: the providers get them from Pulumi.
 *
 * @param o.otherKeys keys of the project that are none of the pair's. Any other is refused, as it may be a misspelt one.
 * @throws pulumi.RunError with every fault at once: the key, what is wrong, and the command that sets it.
 */
export function pairFromConfig(o: { readonly otherKeys?: readonly string[] } = {}): DisasterRecoveryPairArgs {
  const project = pulumi.getProject();
  const others = (o.otherKeys ?? []).map((key) => `${project}:${key}`);
  const config = Object.fromEntries(
    Object.entries(pulumi.runtime.allConfig()).filter(([key]) => !others.includes(key)),
  );
  const settings = told(() => readRecoverySettings({ project, config, secretKeys: secretKeys() }));
  return pairArgs(settings, pulumi.getStack());
}

/** The pair belongs to the stack whose configuration it stands in. */
export function pairArgs(settings: DisasterRecoverySettings, stack: string): DisasterRecoveryPairArgs {
  return { pair: settings.pair, active: { ...activeSettings(settings), stack } };
}

/** The operator's faults are told as they are: no stack trace helps with them. */
export function told<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw DrError.is(error) ? new pulumi.RunError(error.message) : error;
  }
}

/** Keys whose values, or parts of them, are encrypted in the stack's file (set by the language host, JSON). */
export function secretKeys(): string[] {
  const text = process.env["PULUMI_CONFIG_SECRET_KEYS"];
  return text === undefined ? [] : (JSON.parse(text) as string[]);
}
