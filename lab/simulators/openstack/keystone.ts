/** Keystone's API v3 (30.0): tokens by password and application credential, the catalogue, projects. */
import { createHash, randomBytes } from "node:crypto";
import type { SimulatorConfig } from "./config";
import { asObject, NotSimulated, onlyKeys, Refusal } from "./http";
import type { Answer, ApiRequest, Json, Route, ServiceOptions } from "./http";
import { isAdmin } from "./tokens";
import type { Tokens } from "./tokens";

const titles: Record<number, string> = { 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found" };
const domain = { id: "default", name: "Default" };
const notAuthenticated = "The request you have made requires authentication.";

export const keystoneService = (
  config: SimulatorConfig,
): Pick<ServiceOptions, "name" | "refusal" | "unauthorised"> => ({
  name: "Keystone",
  refusal: ({ status, message }) => ({
    body: { error: { code: status, message, title: titles[status] ?? "Error" } },
    headers:
      status === 401
        ? {
            "www-authenticate": `Keystone uri="http://${config.address}:${config.ports.keystone}/v3"`,
            vary: "X-Auth-Token",
          }
        : { vary: "X-Auth-Token" },
  }),
  unauthorised: () => ({
    status: 401,
    body: { error: { code: 401, message: notAuthenticated, title: "Unauthorized" } },
    headers: {
      "www-authenticate": `Keystone uri="http://${config.address}:${config.ports.keystone}/v3"`,
      vary: "X-Auth-Token",
    },
  }),
});

export class Keystone {
  private readonly url: string;

  constructor(
    private readonly config: SimulatorConfig,
    private readonly tokens: Tokens,
  ) {
    this.url = `http://${config.address}:${config.ports.keystone}`;
  }

  routes(): Route[] {
    return [
      {
        method: "GET",
        path: "/",
        open: true,
        run: () => ({
          status: 300,
          body: { versions: { values: [this.version()] } },
          headers: { location: `${this.url}/v3/`, vary: "X-Auth-Token" },
        }),
      },
      {
        method: "GET",
        path: "/v3",
        open: true,
        run: () => ({ status: 200, body: { version: this.version() }, headers: { vary: "X-Auth-Token" } }),
      },
      { method: "POST", path: "/v3/auth/tokens", open: true, run: (q) => this.issue(q) },
      { method: "DELETE", path: "/v3/auth/tokens", run: (q) => this.revoke(q) },
      {
        method: "GET",
        path: "/v3/auth/catalog",
        run: () => ({
          status: 200,
          body: { catalog: this.catalogue(), links: { self: `${this.url}/v3/auth/catalog` } },
          headers: { vary: "X-Auth-Token" },
        }),
      },
      {
        method: "GET",
        path: "/v3/projects",
        query: ["name", "enabled", "is_domain", "domain_id"],
        run: (q) => this.listProjects(q),
      },
      { method: "GET", path: "/v3/projects/:id", run: (q) => this.showProject(q) },
    ];
  }

  private version(): Json {
    const links = [{ rel: "self", href: `${this.url}/v3/` }];
    const mediaTypes = [{ base: "application/json", type: "application/vnd.openstack.identity-v3+json" }];
    return { id: "v3.14", status: "stable", updated: "2020-04-07T00:00:00Z", links, "media-types": mediaTypes };
  }

  private catalogue(): Json[] {
    const { identity, region } = this.config;
    const endpoint = (id: string, where: string, url: string): Json => ({
      id: createHash("md5").update(`${id} ${where}`).digest("hex"),
      interface: where,
      region_id: region,
      url,
      region,
    });
    return identity.services.map(({ id, name, type, url, endpointId }) => ({
      endpoints: ["public", "internal", "admin"].map((where) => endpoint(endpointId, where, url)),
      id,
      type,
      name,
    }));
  }

  private issue(q: ApiRequest): Answer {
    onlyKeys(q.body, ["auth"], "ask for a token");
    const auth = asObject(q.body["auth"]);
    onlyKeys(auth, ["identity", "scope"], "ask for a token");
    const identity = asObject(auth["identity"]);
    const [method] = Array.isArray(identity["methods"]) ? (identity["methods"] as string[]) : [];
    if (method === undefined) throw new Refusal(400, "'identity' is a required property");
    const { userId, projectId } =
      method === "password" ? this.byPassword(identity, auth) : this.byApplicationCredential(method, identity, auth);
    const { users, projects, roles, grants } = this.config.identity;
    const user = users.find(({ id }) => id === userId);
    const project = projects.find(({ id }) => id === projectId);
    const grant = grants.find((each) => each.user === userId && each.project === projectId);
    if (user === undefined || project === undefined || grant === undefined) throw new Refusal(401, notAuthenticated);
    const now = Date.now();
    // Whole seconds, as fernet keeps them.
    const issuedAt = Math.floor(now / 1000) * 1000;
    const expiresAt = issuedAt + this.config.identity.tokenSeconds * 1000;
    const time = (at: number): string => new Date(at).toISOString().replace(".000Z", ".000000Z");
    const token = {
      methods: [method],
      user: { domain, id: user.id, name: user.name, password_expires_at: null },
      audit_ids: [randomBytes(16).toString("base64url")],
      expires_at: time(expiresAt),
      issued_at: time(issuedAt),
      project: { domain, id: project.id, name: project.name },
      is_domain: false,
      roles: roles.filter(({ name }) => grant.roles.includes(name)),
      catalog: this.catalogue(),
      ...(method === "application_credential" ? { application_credential: this.credentialOf(identity) } : {}),
    };
    return {
      status: 201,
      body: { token },
      headers: { "x-subject-token": this.tokens.issue(user.id, project.id, expiresAt), vary: "X-Auth-Token" },
    };
  }

  private revoke(q: ApiRequest): Answer {
    const subject = q.headers["x-subject-token"];
    const token = this.tokens.check(subject);
    if (typeof subject !== "string" || token === undefined) throw new Refusal(404, "Could not find token.");
    if (!isAdmin(q.token) && token.userId !== q.token.userId)
      throw new Refusal(403, "You are not authorized to perform the requested action: identity:revoke_token.");
    this.tokens.revoke(subject);
    return { status: 204 };
  }

  private byPassword(identity: Json, auth: Json): { userId: string; projectId: string } {
    onlyKeys(identity, ["methods", "password"], "ask for a token");
    const asked = asObject(asObject(identity["password"])["user"]);
    const user = this.config.identity.users.find(
      ({ id, name }) => asked["id"] === id || (asked["name"] === name && isDefault(asked["domain"])),
    );
    if (user === undefined || user.password !== asked["password"]) throw new Refusal(401, notAuthenticated);
    const scope = asObject(auth["scope"]);
    if (scope["project"] === undefined) throw new NotSimulated("a token without a project's scope");
    const wanted = asObject(scope["project"]);
    const project = this.config.identity.projects.find(
      ({ id, name }) => wanted["id"] === id || (wanted["name"] === name && isDefault(wanted["domain"])),
    );
    if (project === undefined) throw new Refusal(401, notAuthenticated);
    return { userId: user.id, projectId: project.id };
  }

  private byApplicationCredential(method: string, identity: Json, auth: Json): { userId: string; projectId: string } {
    if (method !== "application_credential") throw new NotSimulated(`a token by ${method}`);
    onlyKeys(identity, ["methods", "application_credential"], "ask for a token");
    if (auth["scope"] !== undefined) throw new NotSimulated("an application credential with a scope");
    const asked = asObject(identity["application_credential"]);
    const found = this.config.identity.applicationCredentials.find(({ id }) => id === asked["id"]);
    if (found === undefined) throw new Refusal(404, `Could not find Application Credential: ${String(asked["id"])}.`);
    if (found.secret !== asked["secret"]) throw new Refusal(401, notAuthenticated);
    return { userId: found.user, projectId: found.project };
  }

  private credentialOf(identity: Json): Json {
    const asked = asObject(identity["application_credential"]);
    const found = this.config.identity.applicationCredentials.find(({ id }) => id === asked["id"]);
    return { id: found?.id, name: found?.name, restricted: true };
  }

  private projectView(project: { id: string; name: string }): Json {
    return {
      id: project.id,
      name: project.name,
      domain_id: "default",
      description: "",
      enabled: true,
      parent_id: "default",
      is_domain: false,
      tags: [],
      options: {},
      links: { self: `${this.url}/v3/projects/${project.id}` },
    };
  }

  private listProjects(q: ApiRequest): Answer {
    if (!isAdmin(q.token))
      throw new Refusal(403, "You are not authorized to perform the requested action: identity:list_projects.");
    const name = q.query.get("name");
    const none = q.query.get("enabled") === "false" || q.query.get("is_domain") === "true";
    const found = this.config.identity.projects.filter((project) => !none && (name === null || project.name === name));
    const query = q.query.toString();
    return {
      status: 200,
      body: {
        projects: found.map((project) => this.projectView(project)),
        links: { next: null, self: `${this.url}/v3/projects${query === "" ? "" : `?${query}`}`, previous: null },
      },
      headers: { vary: "X-Auth-Token" },
    };
  }

  private showProject(q: ApiRequest): Answer {
    const project = this.config.identity.projects.find(({ id }) => id === q.at["id"]);
    if (project === undefined) throw new Refusal(404, `Could not find project: ${q.at["id"] ?? ""}.`);
    return { status: 200, body: { project: this.projectView(project) }, headers: { vary: "X-Auth-Token" } };
  }
}

function isDefault(asked: unknown): boolean {
  const { id, name } = asObject(asked);
  return id === "default" || name === "Default";
}
