import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { parseCloud } from "../../../lib/keystone/clouds-yaml";

const clouds = `
clouds:
  # What Horizon's download looks like.
  prod:
    auth:
      auth_url: https://keystone.example:5000
      username: "admin"
      project_id: 3a1f
      project_name: "admin"
      user_domain_name: "Default"
    region_name: "RegionOne"
    interface: "internal"
    identity_api_version: 3
    cacert: /etc/ssl/ca.pem
  app:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://keystone.example:5000/v3
      application_credential_id: "21dc"
    regions: [Two]
    endpoint_type: publicURL
  ids:
    auth: { auth_url: "https://k/v3", username: admin, password: pw, project_name: admin, user_domain_id: default, project_domain_id: default }
    region_name: RegionOne
`;
const secure = `
clouds:
  prod: { auth: { password: 012345 } }
  app: { auth: { application_credential_secret: "s3cret" } }
`;

function refusal(files: { clouds: string; secure?: string }, name: string): DrError {
  try {
    parseCloud(files, name);
  } catch (error) {
    assert.ok(DrError.is(error, "config"));
    return error;
  }
  return assert.fail("it is accepted");
}

describe("parseCloud", () => {
  it("puts clouds.yaml and secure.yaml together", () => {
    assert.deepEqual(parseCloud({ clouds, secure }, "prod"), {
      authUrl: "https://keystone.example:5000",
      region: "RegionOne",
      interface: "internal",
      caFile: "/etc/ssl/ca.pem",
      credential: {
        kind: "password",
        username: "admin",
        userDomainName: "Default",
        projectId: "3a1f",
        projectName: "admin",
      },
      secret: "012345",
    });
  });

  it("reads an application credential", () => {
    assert.deepEqual(parseCloud({ clouds, secure }, "app"), {
      authUrl: "https://keystone.example:5000/v3",
      region: "Two",
      interface: "public",
      credential: { kind: "applicationCredential", id: "21dc" },
      secret: "s3cret",
    });
  });

  it("takes domains by id", () => {
    const { credential } = parseCloud({ clouds }, "ids");
    assert.deepEqual(credential, {
      kind: "password",
      username: "admin",
      userDomainId: "default",
      projectName: "admin",
      projectDomainId: "default",
    });
  });

  const entry = (more: string) =>
    `clouds: { c: { auth: { auth_url: "https://k/v3", username: u, password: pw-secret, project_name: p }, ${more} } }`;
  for (const [what, files, seen] of [
    ["a cloud that isn't there", { clouds: entry("region_name: R"), name: "d" }, /no such cloud/],
    ["TLS without verification", { clouds: entry("region_name: R, verify: false") }, /verify is false/],
    ["no region", { clouds: entry("interface: public") }, /no region/],
    ["an unknown interface", { clouds: entry("region_name: R, interface: secret") }, /interface "secret"/],
    [
      "another kind of authentication",
      { clouds: entry("region_name: R, auth_type: v3oidcpassword") },
      /v3oidcpassword/,
    ],
    ["no auth at all", { clouds: "clouds: { c: { region_name: R } }" }, /auth/],
    [
      "system scope",
      { clouds: entry("region_name: R").replace("project_name: p", "system_scope: all") },
      /system scope/,
    ],
    ["no project", { clouds: entry("region_name: R").replace(", project_name: p", "") }, /no project/],
    ["broken YAML", { clouds: 'clouds:\n  c: { auth: { password: "pw-secret } }' }, /not valid YAML/],
    ["something else", { clouds: "- pw-secret" }, /no map "clouds"/],
  ] as const)
    it(`refuses ${what}, and shows no secret`, () => {
      const error = refusal({ clouds: files.clouds }, "name" in files ? files.name : "c");
      assert.match(error.seen, seen);
      assert.doesNotMatch(`${error.message} ${JSON.stringify(error)}`, /pw-secret/);
    });
});
