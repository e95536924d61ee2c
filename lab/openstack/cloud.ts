/** The first things in a new cloud: service users and endpoints, a demo project, an image and a flavor. */
import * as fs from "node:fs";
import * as path from "node:path";
import { stringify } from "yaml";
import type { LabAccount } from "../description";
import type { Addresses } from "./addresses";
import { endpointsOf, REGION } from "./config-files";
import { type Layout, secretReader, writeFile } from "./files";

export const IMAGE = "lab-root";
export const FLAVOR = "lab-tiny";
export const IMAGE_BYTES = 1 << 20;
export const APPLICATION_CREDENTIAL = "cinder-cheesecake";

type Json = Record<string, unknown>;
interface Named {
  id: string;
  name: string;
}

/** A token and what it's good for; any answer but a success is an error with the service's own words. */
export class Session {
  private constructor(
    private readonly token: string,
    readonly userId: string,
    readonly projectId: string,
  ) {}

  static async open(identity: string, username: string, password: string, project: string): Promise<Session> {
    const domain = { id: "default" };
    const response = await fetch(`${identity}/auth/tokens`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        auth: {
          identity: { methods: ["password"], password: { user: { name: username, domain, password } } },
          scope: { project: { name: project, domain } },
        },
      }),
    });
    if (!response.ok)
      throw new Error(`Keystone refuses a token to ${username}: ${response.status} ${await response.text()}`);
    const { token } = (await response.json()) as { token: { user: Named; project: Named } };
    return new Session(response.headers.get("x-subject-token") ?? "", token.user.id, token.project.id);
  }

  async request<T = Json>(
    method: string,
    url: string,
    body?: Json | Buffer,
    headers: Record<string, string> = {},
  ): Promise<T> {
    const binary = Buffer.isBuffer(body);
    const response = await fetch(url, {
      method,
      headers: {
        "X-Auth-Token": this.token,
        "Content-Type": binary ? "application/octet-stream" : "application/json",
        ...headers,
      },
      ...(body === undefined ? {} : { body: binary ? new Uint8Array(body) : JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text}`);
    return (text === "" ? {} : JSON.parse(text)) as T;
  }
}

function adminSession(layout: Layout, addresses: Addresses): Promise<Session> {
  return Session.open(endpointsOf(addresses).identity, "admin", secretReader(layout)("admin"), "admin");
}

/** Users of the services, catalogue, demo project with its user, application credential. A repeat adds what is missing. */
export async function ensureIdentity(layout: Layout, addresses: Addresses, credentialFile: string): Promise<void> {
  const secret = secretReader(layout);
  const urls = endpointsOf(addresses);
  const admin = await adminSession(layout, addresses);
  const list = async (kind: string): Promise<Named[]> =>
    (await admin.request<Record<string, Named[]>>("GET", `${urls.identity}/${kind}`))[kind] ?? [];
  const ensure = async (kind: "projects" | "users" | "roles", name: string, fields: Json = {}): Promise<string> => {
    const found = (await list(kind)).find((each) => each.name === name);
    if (found) return found.id;
    const one = kind.slice(0, -1);
    const made = await admin.request<Record<string, Named>>("POST", `${urls.identity}/${kind}`, {
      [one]: { name, ...fields },
    });
    return made[one]?.id ?? "";
  };
  const grant = (project: string, user: string, role: string) =>
    admin.request("PUT", `${urls.identity}/projects/${project}/users/${user}/roles/${role}`);

  // Alone: Keystone 30 loads its policy at the first request, and refuses others (403) that come meanwhile.
  await list("roles");
  const [serviceRole, adminRole, memberRole, serviceProject, demoProject] = await Promise.all([
    ensure("roles", "service"),
    ensure("roles", "admin"),
    ensure("roles", "member"),
    ensure("projects", "service", { domain_id: "default" }),
    ensure("projects", "demo", { domain_id: "default" }),
  ]);
  await Promise.all(
    ["cinder", "nova", "glance", "neutron", "placement"].map(async (name) => {
      const user = await ensure("users", name, { domain_id: "default", password: secret("keystone-service-users") });
      await grant(serviceProject, user, adminRole);
      await grant(serviceProject, user, serviceRole);
    }),
  );
  await grant(
    demoProject,
    await ensure("users", "demo", { domain_id: "default", password: secret("demo") }),
    memberRole,
  );
  await grant(demoProject, admin.userId, adminRole);

  const services: [name: string, type: string, url: string][] = [
    ["cinder", "block-storage", urls.blockStorage],
    ["cinderv3", "volumev3", urls.blockStorage], // what clients older than the service types authority ask for
    ["nova", "compute", urls.compute],
    ["glance", "image", urls.image],
    ["neutron", "network", urls.network],
    ["placement", "placement", urls.placement],
  ];
  const [known, { endpoints }] = await Promise.all([
    list("services"),
    admin.request<{ endpoints: { service_id: string; interface: string }[] }>("GET", `${urls.identity}/endpoints`),
  ]);
  for (const [name, type, url] of services) {
    const id =
      known.find((each) => each.name === name)?.id ??
      (await admin.request<{ service: Named }>("POST", `${urls.identity}/services`, { service: { name, type } }))
        .service.id;
    for (const where of ["public", "internal", "admin"]) {
      if (endpoints.some((each) => each.service_id === id && each.interface === where)) continue;
      const endpoint = { service_id: id, interface: where, url, region_id: REGION };
      await admin.request("POST", `${urls.identity}/endpoints`, { endpoint });
    }
  }

  if (!fs.existsSync(credentialFile)) {
    const credentials = `${urls.identity}/users/${admin.userId}/application_credentials`;
    // One without its file is of a start that was cut off: its secret can't be had any more.
    const { application_credentials: old } = await admin.request<{ application_credentials: Named[] }>(
      "GET",
      credentials,
    );
    for (const { id, name } of old)
      if (name === APPLICATION_CREDENTIAL) await admin.request("DELETE", `${credentials}/${id}`);
    const { application_credential: made } = await admin.request<{
      application_credential: { id: string; secret: string };
    }>("POST", credentials, { application_credential: { name: APPLICATION_CREDENTIAL } });
    writeFile(credentialFile, JSON.stringify({ id: made.id, secret: made.secret }) + "\n", 0o600);
  }
}

/** A raw image of a mebibyte, for roots, and a flavor that fits it. */
export async function ensureImageAndFlavor(layout: Layout, addresses: Addresses): Promise<void> {
  const urls = endpointsOf(addresses);
  const admin = await adminSession(layout, addresses);
  const flavors = await admin.request<{ flavors: Named[] }>("GET", `${urls.compute}/flavors`);
  if (!flavors.flavors.some(({ name }) => name === FLAVOR))
    await admin.request("POST", `${urls.compute}/flavors`, { flavor: { name: FLAVOR, ram: 64, vcpus: 1, disk: 1 } });
  const { images } = await admin.request<{ images: (Named & { status: string })[] }>(
    "GET",
    `${urls.image}/v2/images?name=${IMAGE}`,
  );
  if (images.some(({ status }) => status === "active")) return;
  for (const { id } of images) await admin.request("DELETE", `${urls.image}/v2/images/${id}`);
  const { id } = await admin.request<Named>("POST", `${urls.image}/v2/images`, {
    name: IMAGE,
    disk_format: "raw",
    container_format: "bare",
    visibility: "public",
  });
  await admin.request("PUT", `${urls.image}/v2/images/${id}/file`, Buffer.alloc(IMAGE_BYTES));
}

/** clouds.yaml with both users (0600), and an openrc for each, without the password. */
export function writeClientFiles(addresses: Addresses, cloudsYaml: string, accounts: LabAccount[]): void {
  const { identity } = endpointsOf(addresses);
  const cloud = ({ username, project, passwordFile }: LabAccount) => ({
    auth: {
      auth_url: identity,
      username,
      password: fs.readFileSync(passwordFile, "utf8").trim(),
      project_name: project,
      user_domain_id: "default",
      project_domain_id: "default",
    },
    region_name: REGION,
    identity_api_version: 3,
  });
  const clouds = Object.fromEntries(accounts.map((account) => [account.username, cloud(account)]));
  writeFile(cloudsYaml, stringify({ clouds }), 0o600);
  for (const { username, project, openrc, passwordFile } of accounts)
    writeFile(
      openrc,
      `# The password isn't here: export OS_PASSWORD=$(cat ${path.relative(path.dirname(openrc), passwordFile)})
export OS_AUTH_URL=${identity}
export OS_IDENTITY_API_VERSION=3
export OS_USERNAME=${username}
export OS_PROJECT_NAME=${project}
export OS_USER_DOMAIN_ID=default
export OS_PROJECT_DOMAIN_ID=default
export OS_REGION_NAME=${REGION}
export OS_INTERFACE=public
`,
    );
}
