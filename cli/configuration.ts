import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { parseDocument } from "yaml";
import { DrError } from "../lib/errors";
import { type DisasterRecoverySettings, disasterRecoverySchema, parseSettings } from "../lib/settings";
import { pairSecretsSchema } from "../lib/topology/site-pair";

/** Of keys without one. */
const NAMESPACE = "cinder-cheesecake";

type SecretName = keyof typeof pairSecretsSchema.shape;
const secretNames = Object.keys(pairSecretsSchema.shape) as SecretName[];

/** By secret: `ontapPasswords` and `hookSecrets` as a JSON object by name, the others as they are. */
export const secretVariables: Readonly<Record<SecretName, string>> = {
  ontapPasswords: "CHEESECAKE_ONTAP_PASSWORDS",
  databasePassword: "CHEESECAKE_DATABASE_PASSWORD",
  messageQueuePassword: "CHEESECAKE_MESSAGE_QUEUE_PASSWORD",
  openstackSecret: "CHEESECAKE_OPENSTACK_SECRET",
  hookSecrets: "CHEESECAKE_HOOK_SECRETS",
};

export interface Sources {
  /** A stack's file, what `pulumi config --json` printed, or the keys by themselves; YAML or JSON. */
  readonly configFile: string;
  /** Keys of `pairSecretsSchema`; YAML or JSON, of mode 0600. */
  readonly secretsFile?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Settings that the command line names: they count instead of the file's. */
  readonly overrides: (configured: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>;
}

/**
 * The stack's settings without Pulumi. A secret is taken from the environment, else from the secrets file, else from the
 * configuration; what is encrypted there only Pulumi could read.
 * @throws DrError `config` with every fault at once: the key, what is wrong. Values are never quoted.
 */
export function readConfiguration(o: Sources): DisasterRecoverySettings {
  const faults: string[] = [];
  const configured = readKeys(o.configFile, faults);
  const { plain, encrypted } = separated(configured.values);
  const config: Record<string, unknown> = { program: "disaster-recovery", ...plain, ...o.overrides(plain) };
  for (const key of encrypted.filter((key) => !isSecret(key)))
    faults.push(
      `${key}: is encrypted in ${o.configFile}, in part or as a whole; write it there in clear, it's no secret`,
    );

  const filed = o.secretsFile === undefined ? undefined : readKeys(o.secretsFile, faults);
  if (o.secretsFile !== undefined) assertPrivate(o.secretsFile, faults);
  for (const key of Object.keys(filed?.values ?? {}))
    if (!isSecret(key))
      faults.push(`${key}: is no secret; in ${o.secretsFile ?? ""} stand ${secretNames.join(", ")} only`);
  if (secretNames.some((name) => name in plain)) assertPrivate(o.configFile, faults);
  const inConfig = separated(configured.texts).plain;
  for (const name of secretNames) {
    const value = o.env[secretVariables[name]] ?? filed?.texts[name] ?? inConfig[name];
    if (value === undefined) delete config[name];
    else config[name] = value;
  }

  const parsed = parseSettings(
    {
      project: NAMESPACE,
      config: Object.fromEntries(Object.entries(config).map(([key, value]) => [`${NAMESPACE}:${key}`, textOf(value)])),
    },
    { "disaster-recovery": disasterRecoverySchema },
  );
  if (configured.read)
    for (const fault of parsed.faults) {
      const key = /^\w*/.exec(fault)?.[0] ?? "";
      if (isSecret(key)) faults.push(withSource(fault, key, encrypted));
      else if (!encrypted.includes(key)) faults.push(fault);
    }
  if (faults.length > 0 || parsed.settings === undefined) throw faulty(faults);
  return parsed.settings;
}

/** From a stack file's name, which has it. */
export function stackOf(configFile: string): string | undefined {
  return /^Pulumi\.(.+)\.(ya?ml|json)$/.exec(path.basename(configFile))?.[1];
}

// --------------------------------------------------------------------------------------------------------------- reading

interface Keys {
  readonly read: boolean;
  /** By key without its namespace. */
  readonly values: Readonly<Record<string, unknown>>;
  /** The same, with every scalar as it's written: an unquoted 0123 is a password like any other. */
  readonly texts: Readonly<Record<string, unknown>>;
}

function readKeys(file: string, faults: string[]): Keys {
  const nothing: Keys = { read: false, values: {}, texts: {} };
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    faults.push(`${file}: can't be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`);
    return nothing;
  }
  const core = parseDocument(text);
  const asWritten = parseDocument(text, { schema: "failsafe" });
  // The parser's messages quote the line, which may hold a secret.
  for (const { code, linePos } of core.errors)
    faults.push(`${file}: line ${linePos?.[0].line ?? "?"} isn't YAML (${code})`);
  if (core.errors.length > 0) return nothing;
  const values: unknown = core.toJS();
  if (!isRecord(values)) {
    faults.push(`${file}: holds no keys`);
    return nothing;
  }
  return { read: true, values: own(values), texts: own(asWritten.toJS() as Record<string, unknown>) };
}

/**
 * The three forms that a configuration comes in. Ours are the keys beside `pair`; where that is a project of another name,
 * which only uses the package, it has keys of its own there, too.
 */
function own(document: Record<string, unknown>): Record<string, unknown> {
  const { config } = document;
  const entries = Object.entries(isRecord(config) ? config : document);
  const exported = entries.length > 0 && entries.every(([, value]) => isRecord(value) && "secret" in value);
  const named = entries.map(([key, value]) => {
    const [namespace = "", name = ""] = key.includes(":") ? key.split(":", 2) : [NAMESPACE, key];
    return { namespace, name, value: exported ? exportedValue(value as Record<string, unknown>) : value };
  });
  const withPair = named.flatMap(({ namespace, name }) => (name === "pair" ? [namespace] : []));
  const ours = withPair.includes(NAMESPACE) ? NAMESPACE : (withPair[0] ?? NAMESPACE);
  const isOurs = ({ namespace, name }: (typeof named)[number]): boolean =>
    namespace === ours && (ours === NAMESPACE || Object.hasOwn(disasterRecoverySchema.shape, name));
  return Object.fromEntries(named.filter(isOurs).map(({ name, value }) => [name, value]));
}

/** Without --show-secrets a secret has no value: as if it stood there encrypted. */
const exportedValue = ({ objectValue, value }: Record<string, unknown>): unknown =>
  objectValue ?? value ?? { secure: "" };

function separated(values: Readonly<Record<string, unknown>>): {
  readonly plain: Readonly<Record<string, unknown>>;
  readonly encrypted: readonly string[];
} {
  const entries = Object.entries(values);
  return {
    plain: Object.fromEntries(entries.filter(([, value]) => !hasEncrypted(value))),
    encrypted: entries.flatMap(([key, value]) => (hasEncrypted(value) ? [key] : [])),
  };
}

function hasEncrypted(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasEncrypted);
  if (!isRecord(value)) return false;
  return typeof value["secure"] === "string" || Object.values(value).some(hasEncrypted);
}

const isSecret = (key: string): key is SecretName => (secretNames as string[]).includes(key);

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const textOf = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

// ---------------------------------------------------------------------------------------------------------------- faults

function assertPrivate(file: string, faults: string[]): void {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
  if ((mode & 0o077) !== 0)
    faults.push(`${file}: holds secrets and has mode ${(mode & 0o777).toString(8).padStart(4, "0")}; chmod 600 it`);
}

/** A secret that is missing: where it may come from. */
function withSource(fault: string, name: SecretName, encrypted: readonly string[]): string {
  if (!fault.endsWith(": not set")) return fault;
  const why = encrypted.includes(name) ? " in clear (the configuration has it encrypted)" : "";
  return `${fault}${why}; give it by ${secretVariables[name]}, or in a file of mode 0600 by --secrets`;
}

function faulty(faults: readonly string[]): DrError {
  return new DrError({
    code: "config",
    attempted: "Read the configuration",
    seen: `${faults.length === 1 ? "one fault" : `${faults.length} faults`}\n${faults.map((fault) => `  - ${fault}`).join("\n")}\n`,
    state: "No system was asked",
    remedy: "docs/configuration.md has every key, docs/cli.md where secrets are taken from",
  });
}
