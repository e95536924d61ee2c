import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { KeystoneSession } from "../../../lib/keystone/session";
import type { KeystoneOptions } from "../../../lib/keystone/session";
import type { TokenProvider } from "../../../lib/openstack/service-api";
import { ApiServer, on } from "../../support/api-server";
import type { ApiAnswer } from "../../support/api-server";

const at = Date.parse("2026-05-01T12:00:00Z");
const endpoints = (url: string) =>
  ["public", "internal"].flatMap((place) =>
    ["RegionOne", "RegionTwo"].map((region) => ({
      id: `${place}${region}`,
      interface: place,
      region,
      region_id: region,
      url: `${url}/${place}/${region}/`,
    })),
  );

/** As Keystone 30 answers POST /v3/auth/tokens. */
function answerOf(o: {
  readonly token: string;
  readonly lifeSeconds?: number;
  readonly types?: readonly string[];
  readonly project?: boolean;
}): ApiAnswer {
  const { token, lifeSeconds = 3600, types = ["block-storage", "compute"], project = true } = o;
  // A clock that is a day ahead of ours.
  const issued = at + 86_400_000;
  return {
    status: 201,
    headers: { "x-subject-token": token },
    body: {
      token: {
        methods: ["password"],
        user: { domain: { id: "default", name: "Default" }, id: "u1", name: "admin", password_expires_at: null },
        audit_ids: ["a1"],
        issued_at: new Date(issued).toISOString().replace("Z", "000Z"),
        expires_at: new Date(issued + lifeSeconds * 1000).toISOString().replace("Z", "000Z"),
        ...(project
          ? { project: { domain: { id: "default", name: "Default" }, id: "p1", name: "admin" }, is_domain: false }
          : {}),
        roles: [{ id: "r1", name: "admin" }],
        ...(project
          ? { catalog: types.map((type) => ({ id: type, type, name: type, endpoints: endpoints(`http://${type}`) })) }
          : {}),
      },
    },
  };
}

describe("KeystoneSession", () => {
  let api: ApiServer;
  let session: KeystoneSession;
  let nowMs = at;
  let next: (count: number) => ApiAnswer;

  const password = {
    kind: "password",
    username: "admin",
    userDomainName: "Default",
    projectName: "admin",
    projectDomainName: "Default",
  } as const;
  const open = (more: Partial<KeystoneOptions> = {}): KeystoneSession =>
    (session = new KeystoneSession({
      authUrl: api.url,
      region: "RegionOne",
      interface: "public",
      credential: password,
      secret: "correct horse",
      now: () => new Date(nowMs),
      sleep: async () => {},
      ...more,
    }));

  beforeEach(async () => {
    nowMs = at;
    next = (count) => answerOf({ token: `token-${count}` });
    let count = 0;
    api = await ApiServer.start(on("POST", "/v3/auth/tokens", () => next(++count)));
  });
  afterEach(async () => {
    await session.close();
    await api.stop();
  });

  it("is a token provider by its shape", () => {
    const provider: TokenProvider = open();
    assert.ok(provider);
  });

  it("asks for a token of project scope by password, once for callers side by side", async () => {
    open();
    assert.deepEqual(await Promise.all([session.token(), session.token(), session.endpoint("compute")]), [
      "token-1",
      "token-1",
      "http://compute/public/RegionOne",
    ]);
    assert.equal(api.requests.length, 1);
    assert.deepEqual(api.requests[0]?.body, {
      auth: {
        identity: {
          methods: ["password"],
          password: { user: { name: "admin", domain: { name: "Default" }, password: "correct horse" } },
        },
        scope: { project: { name: "admin", domain: { name: "Default" } } },
      },
    });
  });

  it("names user and project by id where ids are given", async () => {
    open({ authUrl: `${api.url}/v3/`, credential: { kind: "password", userId: "u1", projectId: "p1" } });
    await session.token();
    assert.deepEqual(api.requests[0]?.body, {
      auth: {
        identity: { methods: ["password"], password: { user: { id: "u1", password: "correct horse" } } },
        scope: { project: { id: "p1" } },
      },
    });
  });

  it("gives no scope with an application credential, which has one", async () => {
    open({ credential: { kind: "applicationCredential", id: "ac1" }, secret: "s3cret" });
    await session.token();
    assert.deepEqual(api.requests[0]?.body, {
      auth: {
        identity: { methods: ["application_credential"], application_credential: { id: "ac1", secret: "s3cret" } },
      },
    });
  });

  it("renews a token before it ends, by Keystone's clock and not by ours", async () => {
    open();
    await session.token();
    nowMs = at + 3_400_000;
    assert.equal(await session.token(), "token-1");
    nowMs = at + 3_500_000;
    assert.deepEqual(await Promise.all([session.token(), session.token()]), ["token-2", "token-2"]);
    assert.equal(api.requests.length, 2);
  });

  it("gives out a token that lives shorter than the margin, and no endless stream of requests", async () => {
    next = (count) => answerOf({ token: `token-${count}`, lifeSeconds: 0 });
    open();
    assert.equal(await session.token(), "token-1");
    assert.equal(await session.token(), "token-2");
  });

  it("renews a token that was refused, once, whoever says so", async () => {
    open();
    const token = await session.token();
    session.invalidate(token);
    session.invalidate(token);
    assert.deepEqual(await Promise.all([session.token(), session.token()]), ["token-2", "token-2"]);
    // A late refusal of the old one doesn't cost the new one.
    session.invalidate(token);
    assert.equal(await session.token(), "token-2");
    assert.equal(api.requests.length, 2);
  });

  for (const types of [["block-storage"], ["volumev3", "compute"], ["volume"], ["volume", "volumev3"]])
    it(`finds block storage in a catalogue with ${types.join(" and ")}`, async () => {
      next = (count) => answerOf({ token: `token-${count}`, types });
      open({ interface: "internal", region: "RegionTwo" });
      const type = types.includes("volumev3") ? "volumev3" : types[0];
      assert.equal(await session.endpoint("block-storage"), `http://${type}/internal/RegionTwo`);
    });

  it("names what the catalogue has where region or interface fit nothing", async () => {
    open({ region: "Nowhere" });
    await assert.rejects(session.endpoint("compute"), (error) => {
      assert.ok(DrError.is(error, "config"));
      assert.match(error.seen, /no public endpoint of compute in region "Nowhere"/);
      assert.match(error.seen, /block-storage \(internal, RegionTwo\)/);
      return true;
    });
  });

  it("refuses a token without a project", async () => {
    next = (count) => answerOf({ token: `token-${count}`, project: false });
    open();
    await assert.rejects(session.token(), (error) => DrError.is(error, "config") && /no project/.test(error.seen));
  });

  it("says that the credential is refused, without the secret, and asks again the next time", async () => {
    const working = next;
    next = () => ({
      status: 401,
      body: {
        error: { code: 401, message: "The request you have made requires authentication.", title: "Unauthorized" },
      },
    });
    open();
    await assert.rejects(session.token(), (error) => {
      assert.ok(DrError.is(error, "config"));
      assert.match(error.seen, /requires authentication/);
      assert.doesNotMatch(`${error.message} ${JSON.stringify(error)}`, /correct horse/);
      return true;
    });
    next = working;
    assert.equal(await session.token(), "token-2");
  });

  it("asks again after a 503", async () => {
    const working = next;
    next = (count) => (count === 1 ? { status: 503, body: { error: { code: 503, message: "busy" } } } : working(count));
    open();
    assert.equal(await session.token(), "token-2");
  });

  it("refuses version 2", () => {
    open();
    assert.throws(
      () =>
        new KeystoneSession({
          authUrl: "http://k:5000/v2.0",
          region: "R",
          interface: "public",
          credential: password,
          secret: "s",
          now: () => new Date(at),
        }),
      (error) => DrError.is(error, "config"),
    );
  });
});
