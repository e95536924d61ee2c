import assert from "node:assert/strict";
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
});
