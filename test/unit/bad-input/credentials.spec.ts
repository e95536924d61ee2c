import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { CinderClient } from "../../../lib/cinder/client";
import { parseCloud } from "../../../lib/keystone/clouds-yaml";
import { KeystoneSession, type KeystoneOptions } from "../../../lib/keystone/session";
import { NovaClient } from "../../../lib/nova/client";
import { type ApiAnswer, ApiServer, on } from "../../support/api-server";
import { type BadInput, refuses, type Told } from "../../support/bad-input";

const told = (error: unknown): Told => {
  assert.ok(DrError.is(error), String(error));
  return { faults: error.seen.split("; "), text: error.message, error };
};

describe("bad input: clouds.yaml", () => {
  interface Given {
    readonly clouds: string;
    readonly secure?: string;
  }
  const cloud = (more: string, auth = "username: u, password: hush, project_name: p", url = "https://k/v3"): Given => ({
    clouds: `clouds: { c: { auth: { auth_url: "${url}", ${auth} }, ${more} } }`,
  });
  const fine = "region_name: R";
  const complete = /Complete the cloud's entry; vendor profiles aren't read/;
  const correct = /Correct the cloud's entry; secrets may stand in secure\.yaml/;
  const file = /Correct the file/;

  const cases: readonly (readonly [name: string, given: Given, remedy: RegExp, ...faults: RegExp[]])[] = [
    ["a cloud that isn't there", { clouds: "clouds: { prod: { auth: {} }, lab: { auth: {} } }" }, /Name one of the clouds/, /it has prod, lab/],
    ["no clouds", { clouds: "clouds: {}" }, /Name one of the clouds/, /it has none/],
    ["an empty file", { clouds: "" }, file, /no map "clouds" of maps in it/],
    ["a list", { clouds: "- hush" }, file, /no map "clouds" of maps in it/],
    ["a cloud without anything", { clouds: "clouds: { c: }" }, file, /no map "clouds" of maps in it/],
    ["broken YAML", { clouds: 'clouds:\n  c: { auth: { password: "hush } }' }, file, /not valid YAML near line \d/],
    ["tabs", { clouds: "clouds:\n\tc:\n\t\tauth: { password: hush }" }, file, /not valid YAML near line \d/],
    ["a key twice", { clouds: "clouds:\n  c:\n    auth: { password: hush, password: hush2 }" }, file, /not valid YAML near line 3/],
    ["a broken secure.yaml", { ...cloud(fine), secure: "clouds: { c: { auth: { password: hush }" }, file, /not valid YAML/],
    ["no auth", { clouds: "clouds: { c: { region_name: R } }" }, complete, /auth: not set/],
    ["auth as a text", { clouds: "clouds: { c: { auth: hush, region_name: R } }" }, complete, /auth: .*expected object/],
    ["a vendor's profile", { clouds: "clouds: { c: { profile: vexxhost, auth: { username: u, password: hush }, region_name: R } }" }, complete, /auth\.auth_url: not set/],
    ["a URL without http", cloud(fine, undefined, "keystone:5000"), complete, /auth\.auth_url: a URL that begins with http/],
    ["a password as a list", cloud(fine, "username: u, password: [hush], project_name: p"), complete, /auth\.password: .*expected string/],
    ["TLS without verification", cloud(`${fine}, verify: false`), correct, /verify is false: TLS is always verified here, name the CA's certificate as cacert/],
    ["no region", cloud("interface: public"), correct, /region_name: not set$/],
    ["several regions", cloud("regions: [One, Two]"), correct, /region_name: not set, and regions has several/],
    ["an unknown interface", cloud(`${fine}, interface: intern`), correct, /interface: "intern" is none of public, internal, admin/],
    ["another kind of authentication", cloud(`${fine}, auth_type: v3oidcpassword`), correct, /auth_type: "v3oidcpassword" isn't known here/],
    ["a token", cloud(`${fine}, auth_type: v3token`, "token: hush"), correct, /auth_type: "v3token" isn't known here/],
    ["system scope", cloud(fine, "username: u, password: hush, system_scope: all"), correct, /auth\.system_scope: Nova refuses such a token/],
    ["no project", cloud(fine, "username: u, password: hush"), correct, /auth\.project_name: not set/],
    ["no user", cloud(fine, "password: hush, project_name: p"), correct, /auth\.username: not set/],
    ["no password", cloud(fine, "username: u, project_name: p"), correct, /auth\.password: not set/],
    ["a password in another cloud's secure.yaml", { ...cloud(fine, "username: u, project_name: p"), secure: "clouds: { d: { auth: { password: hush } } }" }, correct, /auth\.password: not set/],
    ["an application credential without its secret", cloud(`${fine}, auth_type: v3applicationcredential`, "application_credential_id: x"), correct, /auth\.application_credential_secret: not set/],
    ["an application credential by its name", cloud(`${fine}, auth_type: v3applicationcredential`, "application_credential_name: x, application_credential_secret: hush"), correct, /auth\.application_credential_id: not set/],
    ["everything at once", cloud("verify: no, interface: intern", "auth_type: x"), correct, /^verify is no/, /^region_name: not set/, /^interface: "intern"/, /^auth\.username: not set/, /^auth\.project_name: not set/, /^auth\.password: not set/],
  ]; // prettier-ignore

  refuses({
    area: "credentials",
    secrets: ["hush"],
    cases: cases.map(([name, given, remedy, ...faults]): BadInput<Given> => ({
      name,
      given,
      expected: { faults, remedy },
    })),
    arrange: (given) => given,
    tell: (given) => {
      try {
        parseCloud(given, "c");
      } catch (error) {
        return told(error);
      }
      return assert.fail("it is taken");
    },
    state: (given) => ({ ...given }),
  });
});

describe("bad input: the credential and the catalogue", () => {
  interface Given {
    readonly options?: Partial<KeystoneOptions>;
    /** What Keystone, Cinder and Nova answer; by "<method> <path>". */
    readonly answers?: Readonly<Record<string, ApiAnswer>>;
    /** What is asked of the session. */
    readonly ask?: (session: KeystoneSession) => Promise<unknown>;
  }
  const error = (code: number, message: string): ApiAnswer => ({ status: code, body: { error: { code, message } } });
  const token = (more: object = {}, services: readonly (readonly [type: string, region: string, path: string])[] = []): ApiAnswer => ({
    status: 201,
    headers: { "x-subject-token": "hush-token" },
    body: {
      token: {
        issued_at: "2026-01-01T00:00:00.000000Z",
        expires_at: "2026-01-01T01:00:00.000000Z",
        project: { id: "p" },
        catalog: services.map(([type, region, path]) => ({
          type,
          endpoints: ["public", "internal"].map((name) => ({ interface: name, region_id: region, url: `${api.url}${path}` })),
        })),
        ...more,
      },
    },
  }); // prettier-ignore
  const tokens = "POST /v3/auth/tokens";
  const asks = (type: string) => (session: KeystoneSession) => session.endpoint(type);
  const policy = "Policy doesn't allow volume_extension:services:index to be performed.";
  const versions = (name: string, max: string): ApiAnswer => ({
    status: 300,
    body: { versions: [{ id: name, version: max, min_version: name === "v3" ? "3.0" : "2.1" }] },
  });
  const cinderV3 = { "GET /": versions("v3", "3.71") };
  const volume = {
    id: "v1",
    name: "n",
    status: "available",
    size: 1,
    multiattach: false,
    bootable: "false",
    encrypted: false,
    attachments: [],
  };
  const lists = async (session: KeystoneSession): Promise<unknown> => {
    const cinder = new CinderClient({ tokens: session, sleep: async () => {} });
    return cinder.listVolumes("cinder@iprod").finally(() => cinder.close());
  }; // prettier-ignore
  const services = async (session: KeystoneSession): Promise<unknown> => {
    const cinder = new CinderClient({ tokens: session, sleep: async () => {} });
    return cinder.listServices().finally(() => cinder.close());
  };
  const servers = async (session: KeystoneSession): Promise<unknown> => {
    const nova = new NovaClient({ tokens: session, sleep: async () => {} });
    return nova.listServers().finally(() => nova.close());
  };

  let api: ApiServer;
  before(async () => void (api = await ApiServer.start()));
  after(() => api.stop());

  type Case = readonly [name: string, given: () => Given, remedy: RegExp, ...faults: RegExp[]];
  const credential = /Correct the user, its domains, the project or the secret/;
  const region = /Correct region or interface, or add the endpoint to the catalogue/;
  const admin = /role admin/;
  const wrongServer = /See that address, port and path lead to this service/;
  const cases: readonly Case[] = [
    ["a wrong password", () => ({ answers: { [tokens]: error(401, "The request you have made requires authentication.") } }), credential, /status 401.*requires authentication/],
    ["a wrong secret of an application credential", () => ({ options: { credential: { kind: "applicationCredential", id: "x" } }, answers: { [tokens]: error(401, "Could not recognize secret") } }), credential, /status 401/],
    ["an application credential that is gone", () => ({ options: { credential: { kind: "applicationCredential", id: "x" } }, answers: { [tokens]: error(404, "Could not find Application Credential: x.") } }), /Correct openstack\.credential\.id, or make the application credential anew/, /status 404.*Could not find Application Credential/],
    ["a path that isn't Keystone's", () => ({ options: { authUrl: `${api.url}/identity` }, answers: { "POST /identity/v3/auth/tokens": error(404, "(http://k/identity/v3/auth/tokens): The resource could not be found.") } }), /Correct openstack\.authUrl: Keystone's version 3 isn't there/, /status 404/],
    ["another web server", () => ({ answers: { [tokens]: { status: 200, text: "<html>hush</html>" } } }), wrongServer, /status 200, needed 201, from 127\.0\.0\.1:\d+$/],
    ["a server of another API", () => ({ answers: { [tokens]: { status: 201, body: { access: "hush" } } } }), wrongServer, /unknown shape \(token: .*, from 127\.0\.0\.1:\d+$/],
    ["a token without a project", () => ({ answers: { [tokens]: token({ project: undefined }) } }), /Name the admin project/, /no project, needed one of project scope/],
    ["a token that isn't told", () => ({ answers: { [tokens]: { ...token(), headers: {} } } }), /a proxy that keeps its headers/, /no token in the header X-Subject-Token/],
    ["an empty catalogue", () => ({ answers: { [tokens]: token() }, ask: asks("compute") }), region, /no public endpoint of compute in region "R"/, /the catalogue has nothing/],
    ["a catalogue without block storage", () => ({ answers: { [tokens]: token({}, [["compute", "R", "/nova"]]) }, ask: asks("block-storage") }), region, /no public endpoint of block-storage or volumev3/, /the catalogue has compute \(public, R\), compute \(internal, R\)/],
    ["another region", () => ({ answers: { [tokens]: token({}, [["compute", "regionone", "/nova"]]) }, ask: asks("compute") }), region, /no public endpoint of compute in region "R"/, /has compute \(public, regionone\)/],
    ["an interface that the catalogue hasn't", () => ({ options: { interface: "admin" }, answers: { [tokens]: token({}, [["compute", "R", "/nova"]]) }, ask: asks("compute") }), region, /no admin endpoint of compute/, /has compute \(public, R\)/],
    ["a user who may not list Cinder's services", () => ({ answers: { [tokens]: token({}, [["block-storage", "R", "/v3"]]), ...cinderV3, "GET /v3/os-services": { status: 403, body: { forbidden: { code: 403, message: policy } } } }, ask: services }), admin, /status 403.*Policy doesn't allow volume_extension:services:index/],
    ["a user who sees one project's volumes only", () => ({ answers: { [tokens]: token({}, [["block-storage", "R", "/v3"]]), ...cinderV3, "GET /v3/volumes/detail": { status: 200, body: { volumes: [volume] } } }, ask: lists }), admin, /volume v1 comes without os-vol-host-attr:host/],
    ["a user who may not list all servers", () => ({ answers: { [tokens]: token({}, [["compute", "R", "/v2.1"]]), "GET /": versions("v2.1", "2.96"), "GET /v2.1/servers/detail": { status: 403, body: { forbidden: { code: 403, message: "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed." } } } }, ask: servers }), admin, /status 403.*get_all_tenants/],
    ["a Cinder that is too old", () => ({ answers: { [tokens]: token({}, [["block-storage", "R", "/v3"]]), "GET /": versions("v3", "3.27") }, ask: lists }), /Upgrade Cinder, or correct the catalogue's endpoint/, /3\.0 to 3\.27, needed 3\.44/],
    ["an endpoint of block storage that leads to Nova", () => ({ answers: { [tokens]: token({}, [["block-storage", "R", "/v3"]]), "GET /": versions("v2.1", "2.96") }, ask: lists }), /correct the catalogue's endpoint of block-storage/, /no v3 among its versions, needed 3\.44/],
    ["a CA file that isn't there", () => ({ options: { authUrl: "https://127.0.0.1:1", caFile: "/nowhere/ca.pem" } }), /Name a readable PEM file with certificates as caFile/, /\/nowhere\/ca\.pem/],
    ["a Keystone of version 2", () => ({ options: { authUrl: `${api.url}/v2.0` } }), /Name the URL of version 3/, /that's version 2, needed 3/],
    ["nobody at Keystone's address", () => ({ options: { authUrl: "http://127.0.0.1:1/v3" } }), /./, /no answer from 127\.0\.0\.1:1.*ECONNREFUSED/],
  ]; // prettier-ignore

  refuses<() => Given, Given>({
    area: "credentials",
    secrets: ["hush"],
    cases: cases.map(([name, given, remedy, ...faults]): BadInput<() => Given> => ({
      name,
      given,
      expected: { faults, remedy },
    })),
    arrange: (given) => given(),
    tell: async ({ options = {}, answers = {}, ask = (session) => session.token() }) => {
      for (const [line, answer] of Object.entries(answers)) {
        const [method = "", path = ""] = line.split(" ");
        api.route(on(method, path, () => answer));
      }
      try {
        const session = new KeystoneSession({
          authUrl: api.url,
          region: "R",
          interface: "public",
          credential: { kind: "password", username: "u", projectName: "p" },
          secret: "hush",
          now: () => new Date("2026-01-01T00:00:00Z"),
          sleep: async () => {},
          ...options,
        });
        await ask(session).finally(() => session.close());
      } catch (error) {
        return told(error);
      }
      return assert.fail("it is taken");
    },
    // A token apart, nothing is asked for but to be read.
    state: () => api.requests.filter(({ method, path }) => method !== "GET" && !path.endsWith("/auth/tokens")),
  });
});
