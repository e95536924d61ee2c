import { parse } from "yaml";
import { z } from "zod";
import { DrError } from "../errors";
import type { KeystoneSettings } from "./session";

/**
 * Reads one cloud of clouds.yaml, and of secure.yaml, whose values win (openstacksdk's `openstack/config/loader.py`).
 * The files come as text; what is read here: credential, region, interface, CA file. Vendor profiles aren't known.
 */

const authSchema = z.object({
  auth_url: z.url(),
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

/** @throws DrError `config`, never with a secret out of the files. */
export function parseCloud(files: CloudFiles, name: string): KeystoneSettings & { readonly secret: string } {
  const attempted = `Read cloud "${name}" from clouds.yaml`;
  const fail = (seen: string, remedy: string): DrError => new DrError({ code: "config", attempted, seen, remedy });

  const cloud = cloudOf(files.clouds, "clouds.yaml", name);
  if (cloud === undefined) throw fail("there's no such cloud in it", "Name one of the clouds in the file");
  const merged = merge(cloud, files.secure === undefined ? undefined : cloudOf(files.secure, "secure.yaml", name));
  const parsed = cloudSchema.safeParse(merged);
  if (!parsed.success)
    throw fail(
      parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; "),
      "Complete the cloud's entry; vendor profiles aren't read",
    );
  const { auth, auth_type: type, cacert, verify } = parsed.data;

  if (verify !== undefined && !/^(true|yes|on|1)$/i.test(verify))
    throw fail(`verify is ${verify}, and TLS is always verified here`, "Name the CA's certificate as cacert instead");
  if (auth.system_scope !== undefined)
    throw fail(
      "the token would have system scope, which Nova refuses",
      "Name a project and a user with the role admin on it",
    );
  const regions = parsed.data.regions?.map((region) => (typeof region === "string" ? region : region.name)) ?? [];
  const region = parsed.data.region_name ?? (regions.length === 1 ? regions[0] : undefined);
  if (region === undefined) throw fail("no region, or several", "Set region_name");
  const wanted = (parsed.data.interface ?? parsed.data.endpoint_type ?? "public").replace(/URL$/, "");
  if (wanted !== "public" && wanted !== "internal" && wanted !== "admin")
    throw fail(`interface "${wanted}"`, "Use public, internal or admin");

  const settings = {
    authUrl: auth.auth_url,
    region,
    interface: wanted,
    ...(cacert === undefined ? {} : { caFile: cacert }),
  } as const;
  if (type === "v3applicationcredential" || auth.application_credential_id !== undefined) {
    if (auth.application_credential_id === undefined || auth.application_credential_secret === undefined)
      throw fail(
        "an application credential without id or secret",
        "Set application_credential_id and application_credential_secret",
      );
    return {
      ...settings,
      credential: { kind: "applicationCredential", id: auth.application_credential_id },
      secret: auth.application_credential_secret,
    };
  }
  if (type !== undefined && type !== "password" && type !== "v3password")
    throw fail(`auth_type "${type}"`, "Use password or v3applicationcredential");
  if (auth.password === undefined) throw fail("no password", "Set it in secure.yaml");
  const projectId = auth.project_id ?? auth.tenant_id;
  const projectName = auth.project_name ?? auth.tenant_name;
  if (projectId === undefined && projectName === undefined) throw fail("no project", "Set project_name or project_id");
  if (auth.user_id === undefined && auth.username === undefined) throw fail("no user", "Set username or user_id");
  return {
    ...settings,
    credential: {
      kind: "password",
      ...defined({
        username: auth.username,
        userId: auth.user_id,
        userDomainName: auth.user_domain_name ?? auth.domain_name,
        userDomainId: auth.user_domain_id ?? auth.domain_id ?? auth.default_domain,
        projectName,
        projectId,
        projectDomainName: auth.project_domain_name ?? auth.domain_name,
        projectDomainId: auth.project_domain_id ?? auth.domain_id ?? auth.default_domain,
      }),
    },
    secret: auth.password,
  };
}

function cloudOf(content: string, file: string, name: string): Record<string, unknown> | undefined {
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
  return found.data.clouds[name];
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
