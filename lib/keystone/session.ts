import { z } from "zod";
import { DrError, extend } from "../errors";
import { HttpClient } from "../http/client";

/**
 * A project-scoped session with Keystone v3. Its shape is the token provider that the other OpenStack clients take.
 */

/** Names the user and the project; the secret travels beside it. Each domain by name or by id. */
export type KeystoneCredential =
  | {
      readonly kind: "password";
      readonly username?: string;
      readonly userId?: string;
      readonly userDomainName?: string;
      readonly userDomainId?: string;
      readonly projectName?: string;
      readonly projectId?: string;
      readonly projectDomainName?: string;
      readonly projectDomainId?: string;
    }
  | { readonly kind: "applicationCredential"; readonly id: string };

export interface KeystoneSettings {
  /** With or without `/v3`. */
  readonly authUrl: string;
  readonly region: string;
  readonly interface: "public" | "internal" | "admin";
  readonly caFile?: string;
  readonly credential: KeystoneCredential;
}

export interface KeystoneOptions extends KeystoneSettings {
  /** The user's password, or the application credential's secret. */
  readonly secret: string;
  readonly now: () => Date;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random?: () => number;
}

/** By the service types authority; the old names are what many catalogues still say. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  "block-storage": ["block-storage", "volumev3", "volume", "block-store"],
};

/** Of a token's life, at its end: it's renewed early enough to outlast the request it is fetched for. */
const marginMs = 120_000;

// POST /v3/auth/tokens, keystone/common/render_token.py (30.0).
const answerSchema = z.object({
  token: z.object({
    issued_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
    project: z.object({ id: z.string() }).optional(),
    catalog: z
      .array(
        z.object({
          type: z.string(),
          endpoints: z.array(
            z.object({
              interface: z.string(),
              region: z.string().nullish(),
              region_id: z.string().nullish(),
              url: z.string(),
            }),
          ),
        }),
      )
      .default([]),
  }),
});
type Catalogue = z.output<typeof answerSchema>["token"]["catalog"];

interface Session {
  readonly token: string;
  readonly catalogue: Catalogue;
  /** By this machine's clock. */
  readonly renewAtMs: number;
}

export class KeystoneSession {
  private readonly http: HttpClient;
  private readonly url: string;
  /** The one there is or the one being asked for: callers side by side share it. */
  private current: Promise<Session> | undefined;
  private refused: string | undefined;

  constructor(private readonly options: KeystoneOptions) {
    this.url = v3Of(options.authUrl);
    const { caFile, sleep, random } = options;
    this.http = new HttpClient({
      baseUrl: this.url,
      requestIdHeaders: ["x-openstack-request-id"],
      decodeError: (_status, body) => {
        const fault = z.object({ error: z.object({ message: z.string() }) }).safeParse(body);
        return fault.success ? { message: fault.data.error.message } : undefined;
      },
      ...(caFile === undefined ? {} : { caFile }),
      ...(sleep === undefined ? {} : { sleep }),
      ...(random === undefined ? {} : { random }),
    });
  }

  /** @throws DrError `config` where Keystone refuses the credential. */
  async token(): Promise<string> {
    return (await this.session()).token;
  }

  /** Forgets this token, if it is still the one in use. */
  invalidate(token: string): void {
    this.refused = token;
  }

  /**
   * The catalogue's URL of a service in the session's region and interface, without a slash at its end.
   *
   * @throws DrError `config`, naming what the catalogue has.
   */
  async endpoint(type: string): Promise<string> {
    const { catalogue } = await this.session();
    const { region, interface: wanted } = this.options;
    const types = aliases[type] ?? [type];
    for (const candidate of types)
      for (const service of catalogue.filter((entry) => entry.type === candidate))
        for (const endpoint of service.endpoints)
          if (endpoint.interface === wanted && (endpoint.region_id ?? endpoint.region) === region)
            return endpoint.url.replace(/\/+$/, "");
    const known = catalogue.flatMap((service) =>
      service.endpoints.map(
        (endpoint) =>
          `${service.type} (${endpoint.interface}, ${endpoint.region_id ?? endpoint.region ?? "no region"})`,
      ),
    );
    throw new DrError({
      code: "config",
      attempted: `Find the ${type} service in Keystone's catalogue`,
      seen: `no ${wanted} endpoint of ${types.join(" or ")} in region "${region}"; the catalogue has ${known.join(", ") || "nothing"}`,
      remedy: "Correct region or interface, or add the endpoint to the catalogue",
    });
  }

  async close(): Promise<void> {
    await this.http.close();
  }

  private async session(): Promise<Session> {
    const asked = this.current;
    if (asked !== undefined) {
      const session = await asked;
      if (session.token !== this.refused && this.options.now().getTime() < session.renewAtMs) return session;
      // Whoever comes first renews it; the others find the new one.
      if (this.current === asked) this.current = undefined;
    }
    this.current ??= this.authenticate().catch((error: unknown) => {
      this.current = undefined;
      throw error;
    });
    return await this.current;
  }

  private async authenticate(): Promise<Session> {
    const { credential, secret, now } = this.options;
    const attempted = `Authenticate with Keystone at ${this.url}`;
    const askedAtMs = now().getTime();
    const response = await this.http
      .request({
        method: "POST",
        path: "/auth/tokens",
        body: { auth: authOf(credential, secret) },
        expected: [201],
        answer: answerSchema,
        attempted,
        // Asking for another token changes nothing.
        idempotent: true,
      })
      .catch((error: unknown) => {
        throw credentialRefused(error);
      });
    const token = response.headers["x-subject-token"];
    const { issued_at, expires_at, project, catalog } = response.body.token;
    if (token === undefined || token === "")
      throw new DrError({
        code: "remote",
        attempted,
        seen: "no token in the header X-Subject-Token",
        remedy: "See that openstack.authUrl leads to Keystone itself, or to a proxy that keeps its headers",
        retryable: false,
      });
    if (project === undefined)
      throw new DrError({
        code: "config",
        attempted,
        seen: "the token has no project, needed one of project scope: Nova refuses any other",
        remedy: "Name the admin project, or use an application credential of it",
      });
    // The life is measured by Keystone's clock and counted by ours: the two needn't agree.
    const lifeMs = Date.parse(expires_at) - Date.parse(issued_at);
    return { token, catalogue: catalog, renewAtMs: askedAtMs + lifeMs - Math.min(marginMs, lifeMs / 2) };
  }
}

function v3Of(authUrl: string): string {
  const url = authUrl.replace(/\/+$/, "");
  if (/\/v2(\.0)?$/.test(url))
    throw new DrError({
      code: "config",
      attempted: `Use Keystone at ${authUrl}`,
      seen: "that's version 2, needed 3",
      remedy: "Name the URL of version 3 or the one without a version as authUrl",
    });
  return url.endsWith("/v3") ? url : `${url}/v3`;
}

function authOf(credential: KeystoneCredential, secret: string): unknown {
  // An application credential is of one project already; a scope beside it is refused.
  if (credential.kind === "applicationCredential")
    return { identity: { methods: ["application_credential"], application_credential: { id: credential.id, secret } } };
  const { username, userId, userDomainName, userDomainId, projectName, projectId, projectDomainName, projectDomainId } =
    credential;
  const user =
    userId === undefined ? { name: username, domain: domainOf(userDomainName, userDomainId) } : { id: userId };
  const project =
    projectId === undefined
      ? { name: projectName, domain: domainOf(projectDomainName, projectDomainId) }
      : { id: projectId };
  return { identity: { methods: ["password"], password: { user: { ...user, password: secret } } }, scope: { project } };
}

function domainOf(
  name: string | undefined,
  id: string | undefined,
): { readonly name: string } | { readonly id: string } {
  if (name !== undefined) return { name };
  return { id: id ?? "default" };
}

function credentialRefused(error: unknown): unknown {
  if (!DrError.is(error, "remote")) return error;
  if (error.context["status"] === 404)
    return extend(error, {
      remedy: /application credential/i.test(error.seen)
        ? "Correct openstack.credential.id, or make the application credential anew"
        : "Correct openstack.authUrl: Keystone's version 3 isn't there",
    });
  if (error.context["status"] !== 401) return error;
  return new DrError({
    code: "config",
    attempted: error.attempted,
    seen: error.seen,
    state: "Nothing was changed.",
    remedy: "Correct the user, its domains, the project or the secret; Keystone doesn't say which of them it refused",
    context: error.context,
    cause: error,
  });
}
