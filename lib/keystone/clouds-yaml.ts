import { parse } from "yaml";
import { z } from "zod";
import { DrError } from "../errors";
import type { KeystoneOptions, KeystoneSettings } from "./session";

/**
 * Reads one cloud of clouds.yaml, and of secure.yaml, whose values win (openstacksdk's `openstack/config/loader.py`).
 * The files come as text; what is read here: credential, region, interface, CA file. Vendor profiles aren't known.
 */

const authSchema = z.object({
  auth_url: z.url({
    protocol: /^https?$/,
    error: ({ input }) => (input === undefined ? undefined : "a URL that begins with http:// or https:// is needed"),
  }),
  username: z.string().optional(),
  user_id: z.string().optional(),
  password: z.string().optional(),
  user_domain_name: z.string().optional(),
  user_domain_id: z.string().optional(),
  domain_name: z.string().optional(),
  domain_id: z.string().optional(),
  project_name: z.string().optional(),
  project_id: z.string().optional(),
  tenant_name: z.string().optional(),
  tenant_id: z.string().optional(),
  project_domain_name: z.string().optional(),
  project_domain_id: z.string().optional(),
  default_domain: z.string().optional(),
  system_scope: z.string().optional(),
  application_credential_id: z.string().optional(),
  application_credential_secret: z.string().optional(),
});
const cloudSchema = z.object({
  auth_type: z.string().optional(),
  auth: authSchema,
  region_name: z.string().optional(),
  regions: z.array(z.union([z.string(), z.object({ name: z.string() })])).optional(),
  interface: z.string().optional(),
  endpoint_type: z.string().optional(),
  cacert: z.string().optional(),
  verify: z.string().optional(),
});

export interface CloudFiles {
  readonly clouds: string;
  readonly secure?: string;
}

/** @throws DrError `config` with every fault at once, never with a secret out of the files. */
export function parseCloud(files: CloudFiles, name: string): KeystoneSettings & { readonly secret: string } {
  const attempted = `Read cloud "${name}" from clouds.yaml`;
  const fail = (seen: string, remedy: string): DrError => new DrError({ code: "config", attempted, seen, remedy });

  const clouds = cloudsOf(files.clouds, "clouds.yaml");
  const cloud = clouds[name];
  if (cloud === undefined)
    throw fail(`it has ${Object.keys(clouds).join(", ") || "none"}`, "Name one of the clouds in the file");
  const merged = merge(cloud, files.secure === undefined ? undefined : cloudsOf(files.secure, "secure.yaml")[name]);
  const parsed = cloudSchema.safeParse(merged);
  if (!parsed.success)
    throw fail(
      parsed.error.issues
        .map(({ path, message }) => `${path.join(".")}: ${message.endsWith("undefined") ? "not set" : message}`)
        .join("; "),
      "Complete the cloud's entry; vendor profiles aren't read",
    );
  const { auth, auth_type: type, cacert, verify, regions = [] } = parsed.data;

  const faults: string[] = [];
  if (verify !== undefined && !/^(true|yes|on|1)$/i.test(verify))
    faults.push(`verify is ${verify}: TLS is always verified here, name the CA's certificate as cacert instead`);
  if (auth.system_scope !== undefined)
    faults.push("auth.system_scope: Nova refuses such a token, name a project and a user with the role admin on it");
  const [only, ...others] = regions.map((region) => (typeof region === "string" ? region : region.name));
  const region = parsed.data.region_name ?? (others.length === 0 ? only : undefined);
  if (region === undefined) faults.push(`region_name: not set${only === undefined ? "" : ", and regions has several"}`);
  const wanted = (parsed.data.interface ?? parsed.data.endpoint_type ?? "public").replace(/URL$/, "");
  if (!isInterface(wanted)) faults.push(`interface: "${wanted}" is none of ${interfaces.join(", ")}`);
  const found = credentialOf(auth, type, faults);
  if (faults.length > 0 || region === undefined || !isInterface(wanted) || found === undefined)
    throw fail(faults.join("; "), "Correct the cloud's entry; secrets may stand in secure.yaml");
  return {
    authUrl: auth.auth_url,
    region,
    interface: wanted,
    ...(cacert === undefined ? {} : { caFile: cacert }),
    ...found,
  };
}

const interfaces = ["public", "internal", "admin"] as const;
const isInterface = (word: string): word is (typeof interfaces)[number] => interfaces.some((known) => known === word);

/** Undefined where something was added to the faults. */
function credentialOf(
  auth: z.output<typeof authSchema>,
  type: string | undefined,
  faults: string[],
): Pick<KeystoneOptions, "credential" | "secret"> | undefined {
  const notSet = (field: string): void => void faults.push(`auth.${field}: not set`);
  if (type === "v3applicationcredential" || auth.application_credential_id !== undefined) {
    const { application_credential_id: id, application_credential_secret: secret } = auth;
    if (id === undefined) notSet("application_credential_id");
    if (secret === undefined) notSet("application_credential_secret");
    return id === undefined || secret === undefined
      ? undefined
      : { credential: { kind: "applicationCredential", id }, secret };
  }
  if (type !== undefined && type !== "password" && type !== "v3password") {
    faults.push(`auth_type: "${type}" isn't known here, use password or v3applicationcredential`);
    return undefined;
  }
  const { password, user_id: userId, username } = auth;
  const projectId = auth.project_id ?? auth.tenant_id;
  const projectName = auth.project_name ?? auth.tenant_name;
  if (userId === undefined && username === undefined) notSet("username");
  // A system's scope beside it was told already.
  if (projectId === undefined && projectName === undefined && auth.system_scope === undefined) notSet("project_name");
  if (password === undefined) {
    notSet("password");
    return undefined;
  }
  return {
    credential: {
      kind: "password",
      ...defined({
        username,
        userId,
        userDomainName: auth.user_domain_name ?? auth.domain_name,
        userDomainId: auth.user_domain_id ?? auth.domain_id ?? auth.default_domain,
        projectName,
        projectId,
        projectDomainName: auth.project_domain_name ?? auth.domain_name,
        projectDomainId: auth.project_domain_id ?? auth.domain_id ?? auth.default_domain,
      }),
    },
    secret: password,
  };
}

function cloudsOf(content: string, file: string): Record<string, Record<string, unknown>> {
  let parsed: unknown;
  try {
    // Every scalar as the text that stands there: a password of digits isn't a number.
    parsed = parse(content, { schema: "failsafe", merge: true, prettyErrors: false, logLevel: "error" });
  } catch (error) {
    // The parser's message may quote the line, and with it a password.
    const offset = (error as { pos?: readonly number[] }).pos?.[0] ?? 0;
    const line = content.slice(0, offset).split("\n").length;
    throw new DrError({
      code: "config",
      attempted: `Read ${file}`,
      seen: `not valid YAML near line ${line}`,
      remedy: "Correct the file",
    });
  }
  const found = z.object({ clouds: z.record(z.string(), z.record(z.string(), z.unknown())) }).safeParse(parsed);
  if (!found.success)
    throw new DrError({
      code: "config",
      attempted: `Read ${file}`,
      seen: 'no map "clouds" of maps in it',
      remedy: "Correct the file",
    });
  return found.data.clouds;
}

/** Maps are merged, anything else in `over` replaces what was there. */
function merge(base: Record<string, unknown>, over: Record<string, unknown> | undefined): Record<string, unknown> {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over ?? {})) {
    const there = merged[key];
    merged[key] = isMap(there) && isMap(value) ? merge(there, value) : value;
  }
  return merged;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
