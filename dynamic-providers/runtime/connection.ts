import { DrError } from "../../lib/errors";
import { OntapClient } from "../../lib/ontap/client";
import {
  type PairSecrets,
  pairSecretsSchema,
  type Site,
  type SitePair,
  sitePairSchema,
  siteNames,
  siteOf,
} from "../../lib/topology/site-pair";
import { stopSignal } from "./orphan";

/**
 * From the stack's configuration, as `configure` gives it, to the two sites. Measured with SDK 3.270.0: every value is a
 * string, objects are JSON text, secrets are in clear (the state holds them encrypted, as inputs of the default
 * provider). A key without a colon is one of this project.
 */
export interface RawConfig {
  get(key: string): string | undefined;
}

let stackConfig: RawConfig | undefined;

/** A site of the pair with the client of its array. */
export interface SiteArray {
  readonly name: string;
  readonly site: Site;
  readonly client: OntapClient;
}

/** Kept only: what is wrong with it is said by the first call that needs it, where Pulumi shows it. */
export function useConfig(config: RawConfig): void {
  stackConfig = config;
}

/** The pair of sites of this stack. Throws `config` naming every fault at once. */
export function configuredPair(): SitePair {
  const parsed = sitePairSchema.safeParse(objectAt("pair"));
  if (parsed.success) return parsed.data;
  throw faulty(parsed.error.issues.map((issue) => `pair.${issue.path.join(".")}: ${issue.message}`));
}

/** Passwords of the pair; they go to the clients and nowhere else. Throws `config` with the keys, never with values. */
export function configuredSecrets(): PairSecrets {
  const parsed = pairSecretsSchema.safeParse({
    ontapPasswords: objectAt("ontapPasswords"),
    databasePassword: stackConfig?.get("databasePassword"),
    messageQueuePassword: stackConfig?.get("messageQueuePassword"),
    openstackSecret: stackConfig?.get("openstackSecret"),
    ...(stackConfig?.get("hookSecrets") === undefined ? {} : { hookSecrets: objectAt("hookSecrets") }),
  });
  if (parsed.success) return parsed.data;
  throw faulty(parsed.error.issues.map((issue) => `${issue.path.join(".")}: missing, or not a text`));
}

/** Made when first needed and kept for the process, as long as the configuration stays what it was. */
export function oncePerConfig<T>(make: (pair: SitePair, secrets: PairSecrets) => T): () => T {
  let made: { readonly key: string; readonly value: T } | undefined;
  return () => {
    const pair = configuredPair();
    const secrets = configuredSecrets();
    const key = JSON.stringify([pair, secrets]);
    if (made?.key !== key) made = { key, value: make(pair, secrets) };
    return made.value;
  };
}

/** Both arrays with all of ONTAP that peering needs, which is more than the switchover sees. */
export const siteArrays = oncePerConfig((pair, { ontapPasswords }): readonly SiteArray[] =>
  siteNames(pair).map((name) => {
    const site = siteOf(pair, name);
    const { address, port, username, caFile } = site.ontap;
    const password = ontapPasswords[name];
    if (password === undefined) throw faulty([`ontapPasswords.${name}: missing`]);
    const tls = caFile === undefined ? {} : { caFile };
    const { svm } = site;
    const client = new OntapClient({ site: name, svm, address, port, username, password, signal: stopSignal, ...tls });
    return { name, site, client };
  }),
);

function objectAt(key: string): unknown {
  const text = stackConfig?.get(key);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // the schema says that an object is needed; the parser's message could quote a secret
  }
}

function faulty(faults: readonly string[]): DrError {
  return new DrError({
    code: "config",
    attempted: "Read the stack's configuration",
    seen: faults.join("; "),
    state: "Nothing was changed",
    remedy: "Set the keys with `pulumi config set` (passwords with --secret)",
  });
}
