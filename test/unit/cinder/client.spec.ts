import assert from "node:assert/strict";
import { CinderClient } from "../../../lib/cinder/client";
import { DrError } from "../../../lib/errors";
import type { BlockStoragePort } from "../../../lib/switchover/ports";
import { ApiServer, on } from "../../support/api-server";
import type { ApiAnswer, ApiRequest } from "../../support/api-server";

/** The engine's port is satisfied by the client's shape, but for what lib/connections makes of it. */
const satisfiesPort = (client: CinderClient): Omit<BlockStoragePort, "listConnections"> => client;

const host = "cinder-a@iprod";
const project = "0123456789abcdef0123456789abcdef";

/** GET / of Cinder 29.0: 300, without a token. */
const versions = (highest: string): ApiAnswer => ({
  status: 300,
  body: {
    versions: [
      {
        id: "v3.0",
        status: "CURRENT",
        version: highest,
        min_version: "3.0",
        updated: "2023-08-31T00:00:00Z",
        links: [{ rel: "describedby", type: "text/html", href: "https://docs.openstack.org/" }],
        "media-types": [{ base: "application/json", type: "application/vnd.openstack.volume+json;version=3" }],
      },
    ],
  },
});

const fault = (status: number, name: string, message: string): ApiAnswer => ({
  status,
  body: { [name]: { code: status, message } },
  headers: { "x-compute-request-id": "req-1", "x-openstack-request-id": "req-1" },
});

/** A row of GET /volumes/detail at 3.71, as an administrator sees it. */
const volume = (id: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  id,
  name: `data ${id}`,
  status: "in-use",
  size: 2,
  availability_zone: "nova",
  created_at: "2026-05-01T12:00:00.000000",
  updated_at: "2026-05-01T12:00:05.000000",
  description: null,
  volume_type: "netapp",
  volume_type_id: "t1",
  snapshot_id: null,
  source_volid: null,
  metadata: {},
  links: [],
  user_id: "u1",
  bootable: "false",
  encrypted: false,
  replication_status: "enabled",
  consistencygroup_id: null,
  multiattach: false,
  attachments: [
    {
      id,
      attachment_id: `att-${id}`,
      volume_id: id,
      server_id: "s1",
      host_name: "compute-a",
      device: "/dev/vdb",
      attached_at: "2026-05-01T12:00:05.000000",
    },
  ],
  migration_status: null,
  group_id: null,
  provider_id: null,
  shared_targets: false,
  service_uuid: "su1",
  cluster_name: null,
  consumes_quota: true,
  "os-vol-host-attr:host": `${host}#pool1`,
  "os-vol-tenant-attr:tenant_id": "p9",
  "os-vol-mig-status-attr:migstat": null,
  "os-vol-mig-status-attr:name_id": null,
  ...more,
});

/** A row of GET /os-services. */
const service = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  binary: "cinder-volume",
  host,
  zone: "nova",
  status: "enabled",
  state: "up",
  updated_at: "2026-05-01T12:00:00.000000",
  cluster: null,
  disabled_reason: null,
  replication_status: "enabled",
  active_backend_id: null,
  frozen: false,
  ...more,
});

describe("CinderClient", () => {
  let api: ApiServer;
  let client: CinderClient;
  let highest = "3.71";
  let tokens: string[];
  let slept: number;

  const path = (rest: string): string => `/volume/v3/${project}${rest}`;
  const asked = (): readonly string[] =>
    api.calls.map((call) => call.replace(path(""), "")).filter((call) => call !== "GET /volume/");

  beforeEach(async () => {
    highest = "3.71";
    tokens = ["token-1"];
    slept = 0;
    api = await ApiServer.start(on("GET", "/volume/", () => versions(highest)));
    client = new CinderClient({
      tokens: {
        endpoint: (type) => (assert.equal(type, "block-storage"), Promise.resolve(`${api.url}${path("")}`)),
        token: () => Promise.resolve(tokens[0] ?? ""),
        invalidate: (token) => (tokens = tokens.filter((each) => each !== token)),
      },
      sleep: () => Promise.resolve(void slept++),
    });
  });
  afterEach(async () => {
    await client.close();
    await api.stop();
  });

  it("satisfies the engine's port", () => assert.equal(satisfiesPort(client), client));

  describe("microversions", () => {
    const sentFor = async (maximum: string): Promise<string | undefined> => {
      highest = maximum;
      api.route(on("GET", path("/scheduler-stats/get_pools"), () => ({ status: 200, body: { pools: [] } })));
      await client.listPools();
      return api.requests.at(-1)?.headers["openstack-api-version"]?.toString();
    };

    it("asks for the newest that it knows", async () => assert.equal(await sentFor("3.99"), "volume 3.71"));
    it("asks for the newest that the service knows", async () => assert.equal(await sentFor("3.62"), "volume 3.62"));
    it("asks once", async () => {
      await sentFor("3.71");
      await client.listPools();
      assert.equal(api.calls.filter((call) => call === "GET /volume/").length, 1);
    });
    it("refuses a service that is too old", async () => {
      await assert.rejects(
        sentFor("3.43"),
        (error) => DrError.is(error, "precondition") && /3\.0 to 3\.43, needed 3\.44/.test(error.seen),
      );
    });
    it("says what 406 means", async () => {
      api.route(
        on("GET", path("/snapshots/detail"), () =>
          fault(406, "computeFault", "Version 3.71 is not supported by the API. Minimum is 3.0 and maximum is 3.70."),
        ),
      );
      api.route(on("GET", path("/volumes"), () => ({ status: 200, body: { volumes: [] } })));
      await assert.rejects(
        client.listSnapshots(),
        (error) =>
          DrError.is(error, "remote") && /maximum is 3\.70/.test(error.seen) && /one release/.test(error.remedy ?? ""),
      );
    });
  });

  describe("token", () => {
    const pools = (request: ApiRequest): ApiAnswer =>
      request.headers["x-auth-token"] === "token-2"
        ? { status: 200, body: { pools: [] } }
        : {
            status: 401,
            body: {
              error: {
                code: 401,
                title: "Unauthorized",
                message: "The request you have made requires authentication.",
              },
            },
          };

    it("is renewed once when it is refused", async () => {
      tokens = ["token-1", "token-2"];
      api.route(on("GET", path("/scheduler-stats/get_pools"), pools));
      assert.deepEqual(await client.listPools(), []);
    });
    it("isn't asked for endlessly", async () => {
      tokens = ["token-1", "token-3", "token-4"];
      api.route(on("GET", path("/scheduler-stats/get_pools"), pools));
      await assert.rejects(
        client.listPools(),
        (error) => DrError.is(error, "remote") && /access rules/.test(error.remedy ?? ""),
      );
      assert.equal(asked().length, 2);
    });
  });

  describe("listVolumes", () => {
    /** Pages of two, with Cinder's rule for the link: a full page has one. */
    const serve = (rows: readonly Record<string, unknown>[]): void =>
      api.route(
        on("GET", path("/volumes/detail"), ({ query }) => {
          const from = query["marker"] === undefined ? 0 : rows.findIndex((row) => row["id"] === query["marker"]) + 1;
          const page = rows.slice(from, from + 2);
          return {
            status: 200,
            body: {
              volumes: page,
              ...(page.length === 2 ? { volumes_links: [{ rel: "next", href: "http://elsewhere/?marker=x" }] } : {}),
            },
          };
        }),
      );

    it("follows the pages, also a full last one, and asks for what it needs", async () => {
      serve(["v1", "v2", "v3", "v4"].map((id) => volume(id)));
      assert.deepEqual(
        (await client.listVolumes(host)).map(({ id }) => id),
        ["v1", "v2", "v3", "v4"],
      );
      assert.deepEqual(
        api.requests.filter((request) => request.path.endsWith("detail")).map(({ query }) => query),
        [undefined, "v2", "v4"].map((marker) => ({
          all_tenants: "1",
          host,
          sort: "id:asc",
          ...(marker === undefined ? {} : { marker }),
        })),
      );
    });

    it("decodes what the engine needs", async () => {
      serve([
        volume("v1", {
          name: null,
          bootable: "true",
          encrypted: true,
          multiattach: true,
          group_id: "g1",
          "os-vol-mig-status-attr:migstat": "success",
          "os-vol-mig-status-attr:name_id": "n1",
          replication_status: null,
          volume_type: null,
          attachments: [],
        }),
        volume("v2", { "os-vol-host-attr:host": host }),
      ]);
      assert.deepEqual(await client.listVolumes(host), [
        {
          id: "v1",
          name: "",
          host: `${host}#pool1`,
          status: "in-use",
          sizeGiB: 2,
          projectId: "p9",
          migrationStatus: "success",
          nameId: "n1",
          multiattach: true,
          bootable: true,
          encrypted: true,
          groupId: "g1",
          attachments: [],
        },
        {
          id: "v2",
          name: "data v2",
          host,
          status: "in-use",
          sizeGiB: 2,
          projectId: "p9",
          volumeType: "netapp",
          replicationStatus: "enabled",
          multiattach: false,
          bootable: false,
          encrypted: false,
          attachments: [{ attachmentId: "att-v2", serverId: "s1", device: "/dev/vdb", host: "compute-a" }],
        },
      ]);
    });

    it("refuses a list without hosts: it would be one project's only", async () => {
      const row = volume("v1");
      delete row["os-vol-host-attr:host"];
      serve([row]);
      await assert.rejects(
        client.listVolumes(host),
        (error) => DrError.is(error, "precondition") && /os-vol-host-attr:host/.test(error.seen),
      );
    });

    it("refuses a list with volumes of another backend", async () => {
      serve([volume("v1", { "os-vol-host-attr:host": "cinder-a@iprod2#pool1" })]);
      await assert.rejects(
        client.listVolumes(host),
        (error) => DrError.is(error, "remote") && /iprod2/.test(error.seen),
      );
    });

    it("begins again when the volume it had come to was deleted", async () => {
      let gone = false;
      serve(["v1", "v3"].map((id) => volume(id)));
      api.route((request) => {
        if (request.query["marker"] !== "v2") return undefined;
        gone = true;
        return fault(404, "itemNotFound", "Volume v2 could not be found.");
      });
      api.route((request) =>
        !gone && request.path === path("/volumes/detail") && request.query["marker"] === undefined
          ? { status: 200, body: { volumes: [volume("v1"), volume("v2")], volumes_links: [{ rel: "next", href: "" }] } }
          : undefined,
      );
      assert.deepEqual(
        (await client.listVolumes(host)).map(({ id }) => id),
        ["v1", "v3"],
      );
    });

    it("gives up where that happens all the time", async () => {
      api.route(
        on("GET", path("/volumes/detail"), ({ query }) =>
          query["marker"] === undefined
            ? { status: 200, body: { volumes: [volume("v1")], volumes_links: [{ rel: "next", href: "" }] } }
            : fault(404, "itemNotFound", "Volume v1 could not be found."),
        ),
      );
      await assert.rejects(
        client.listVolumes(host),
        (error) => DrError.is(error, "remote") && error.retryable && /four times/.test(error.message),
      );
    });

    it("passes on that a filter is refused", async () => {
      api.route(
        on("GET", path("/volumes/detail"), () =>
          fault(400, "badRequest", "Invalid filters host are found in query options."),
        ),
      );
      await assert.rejects(client.listVolumes(host), (error) => {
        assert.ok(DrError.is(error, "remote"));
        assert.match(error.seen, /Invalid filters host/);
        assert.equal(error.context["vendorCode"], "badRequest");
        assert.equal(error.context["requestId"], "req-1");
        assert.equal(error.retryable, false);
        return true;
      });
    });
  });

  describe("listSnapshots and listAttachments", () => {
    const administrator = (): void =>
      api.route(
        on(
          "GET",
          path("/volumes"),
          ({ query }) => (assert.equal(query["host"], "-"), { status: 200, body: { volumes: [] } }),
        ),
      );

    it("follow the pages", async () => {
      administrator();
      api.route(
        on("GET", path("/snapshots/detail"), ({ query }) => {
          const row = (id: string) => ({
            id,
            volume_id: "v1",
            status: "available",
            name: "s",
            size: 2,
            metadata: {},
            created_at: "2026-05-01T12:00:00.000000",
          });
          return query["marker"] === undefined
            ? { status: 200, body: { snapshots: [row("s1")], snapshots_links: [{ rel: "next", href: "" }] } }
            : { status: 200, body: { snapshots: [row("s2")] } };
        }),
      );
      assert.deepEqual(await client.listSnapshots(), [
        { id: "s1", volumeId: "v1", status: "available" },
        { id: "s2", volumeId: "v1", status: "available" },
      ]);
    });

    it("go on to an empty page of attachments, which have no links, and drop every secret", async () => {
      administrator();
      const rows = [
        {
          id: "a1",
          status: "attached",
          instance: "srv1",
          volume_id: "v1",
          attached_at: "2026-05-01T12:00:05.000000",
          detached_at: "",
          attach_mode: "rw",
          connection_info: {
            target_discovered: false,
            discard: true,
            target_portal: "127.64.1.20:3260",
            target_iqn: "iqn.1992-08.com.netapp:sn.1:vs.2",
            target_lun: 3,
            volume_id: "v1",
            auth_method: "CHAP",
            auth_username: "chap-user",
            auth_password: "chap-secret",
            discovery_auth_password: "chap-secret",
            driver_volume_type: "iscsi",
            attachment_id: "a1",
            enforce_multipath: false,
          },
        },
        {
          id: "a2",
          status: "attached",
          instance: null,
          volume_id: "v2",
          connection_info: {
            driver_volume_type: "iscsi",
            target_portals: ["127.64.1.20:3260", "127.64.1.21:3260"],
            target_iqns: ["iqn.x", "iqn.x"],
            target_luns: [4, 4],
          },
        },
        { id: "a3", status: "reserved", instance: "srv2", volume_id: "v3", connection_info: {} },
      ];
      api.route(
        on("GET", path("/attachments/detail"), ({ query }) => {
          const from = query["marker"] === undefined ? 0 : rows.findIndex(({ id }) => id === query["marker"]) + 1;
          return { status: 200, body: { attachments: rows.slice(from, from + 2) } };
        }),
      );
      const attachments = await client.listAttachments();
      assert.deepEqual(attachments, [
        {
          id: "a1",
          volumeId: "v1",
          serverId: "srv1",
          status: "attached",
          connection: { type: "iscsi", iqn: "iqn.1992-08.com.netapp:sn.1:vs.2", portal: "127.64.1.20:3260", lun: 3 },
        },
        {
          id: "a2",
          volumeId: "v2",
          status: "attached",
          connection: {
            type: "iscsi",
            iqn: "iqn.x",
            portal: "127.64.1.20:3260",
            portals: ["127.64.1.20:3260", "127.64.1.21:3260"],
            lun: 4,
          },
        },
        { id: "a3", volumeId: "v3", serverId: "srv2", status: "reserved" },
      ]);
      assert.doesNotMatch(JSON.stringify(attachments), /chap/);
      assert.equal(asked().filter((call) => call === "GET /attachments/detail").length, 3);
    });

    it("refuse to list one project's only, as for who isn't an administrator", async () => {
      api.route(
        on("GET", path("/volumes"), () => fault(400, "badRequest", "Invalid filters host are found in query options.")),
      );
      api.route(on("GET", path("/snapshots/detail"), () => ({ status: 200, body: { snapshots: [] } })));
      api.route(on("GET", path("/attachments/detail"), () => ({ status: 200, body: { attachments: [] } })));
      await assert.rejects(client.listSnapshots(), (error) => DrError.is(error, "precondition"));
      await assert.rejects(client.listAttachments(), (error) => DrError.is(error, "precondition"));
    });
  });

  describe("services", () => {
    let row: Record<string, unknown>;
    let put: (action: string, body: Record<string, string>) => ApiAnswer;
    beforeEach(() => {
      row = service();
      api.route((request) => {
        if (request.path === path("/os-services"))
          return {
            status: 200,
            body: {
              services: [
                row,
                {
                  ...service({
                    binary: "cinder-scheduler",
                    host: "cinder-a",
                    replication_status: undefined,
                    active_backend_id: undefined,
                    frozen: undefined,
                  }),
                },
              ],
            },
          };
        const action = /\/os-services\/(.+)$/.exec(request.path)?.[1];
        return action === undefined ? undefined : put(action, request.body as Record<string, string>);
      });
    });

    it("are decoded, also those without replication, and don't need the scheduler", async () => {
      row = service({
        status: "disabled",
        state: "down",
        disabled_reason: "failed-over",
        replication_status: "failed-over",
        active_backend_id: "idr",
        frozen: true,
        updated_at: null,
      });
      assert.deepEqual(await client.listServices(), [
        {
          binary: "cinder-volume",
          host,
          enabled: false,
          up: false,
          disabledReason: "failed-over",
          replicationStatus: "failed-over",
          activeBackendId: "idr",
          frozen: true,
        },
        {
          binary: "cinder-scheduler",
          host: "cinder-a",
          enabled: true,
          up: true,
          frozen: false,
          updatedAt: "2026-05-01T12:00:00.000000Z",
        },
      ]);
      // From 3.49 on, Cinder asks the scheduler for backend_state.
      assert.equal(api.requests.at(-1)?.headers["openstack-api-version"], "volume 3.44");
    });

    it("are for administrators", async () => {
      api.route(
        on("GET", path("/os-services"), () =>
          fault(403, "forbidden", "Policy doesn't allow volume_extension:services:index to be performed."),
        ),
      );
      await assert.rejects(
        client.listServices(),
        (error) => DrError.is(error, "remote") && /role admin/.test(error.remedy ?? ""),
      );
    });

    it("are disabled with a reason that fits", async () => {
      put = (action, body) => {
        assert.equal(action, "disable-log-reason");
        assert.deepEqual(body, { host, binary: "cinder-volume", disabled_reason: "r".repeat(255) });
        row = service({ status: "disabled", disabled_reason: body["disabled_reason"] });
        return { status: 200, body: { ...body, status: "disabled", disabled: true, service: "" } };
      };
      await client.disableService(host, "r".repeat(300));
      assert.equal((await client.listServices())[0]?.enabled, false);
    });

    it("aren't called disabled where the row says otherwise", async () => {
      put = (_action, body) => ({ status: 200, body: { ...body, status: "disabled", disabled: true } });
      await assert.rejects(
        client.disableService(host, "switchover"),
        (error) => DrError.is(error, "remote") && /still enabled/.test(error.seen),
      );
      assert.equal(slept, 4);
    });

    it("may be seen late, where another database node answers", async () => {
      let reads = 0;
      put = (_action, body) => ({ status: 200, body });
      api.route(
        on("GET", path("/os-services"), () => ({
          status: 200,
          body: { services: [service(++reads < 3 ? {} : { status: "disabled" })] },
        })),
      );
      await client.disableService(host, "switchover");
      assert.equal(reads, 3);
    });

    it("are enabled by `enable` where that works", async () => {
      row = service({ status: "disabled", disabled_reason: "switchover" });
      put = (action, body) => {
        assert.equal(action, "enable");
        assert.deepEqual(body, { host, binary: "cinder-volume" });
        row = service();
        return { status: 200, body };
      };
      await client.enableService(host);
      assert.deepEqual(asked(), ["GET /os-services", "PUT /os-services/enable", "GET /os-services"]);
    });

    /** Cinder 29.0: `enable` says that it did it; freeze and thaw as in volume/api.py _replication_db_change. */
    const regression = (action: string, body: Record<string, string>): ApiAnswer => {
      if (action === "enable")
        return { status: 200, body: { ...body, service: "", status: "enabled", disabled: false } };
      const frozen = action === "freeze";
      if (row["frozen"] === frozen)
        return fault(400, "badRequest", "Invalid input received: No service found with frozen=False");
      row = service({ frozen, status: frozen ? "disabled" : "enabled", disabled_reason: frozen ? "frozen" : "" });
      return { status: 200 };
    };

    for (const frozen of [false, true])
      it(`are enabled by thawing where \`enable\` changes nothing${frozen ? ", also after a death between freeze and thaw" : ""}`, async () => {
        row = service({ status: "disabled", disabled_reason: "switchover", frozen });
        put = regression;
        await client.enableService(host);
        assert.deepEqual(
          asked().filter((call) => call.startsWith("PUT")),
          ["enable", ...(frozen ? [] : ["freeze"]), "thaw"].map((action) => `PUT /os-services/${action}`),
        );
        assert.equal((await client.listServices())[0]?.enabled, true);
      });

    it("aren't frozen where nobody is there to thaw them", async () => {
      row = service({ status: "disabled", state: "down" });
      put = regression;
      await assert.rejects(
        client.enableService(host),
        (error) => DrError.is(error, "precondition") && /still disabled/.test(error.message),
      );
      assert.equal(row["frozen"], false);
    });

    it("that are enabled are left alone", async () => {
      await client.enableService(host);
      assert.deepEqual(asked(), ["GET /os-services"]);
    });

    it("that don't exist are named", async () => {
      await assert.rejects(
        client.enableService("cinder-a@idr"),
        (error) => DrError.is(error, "precondition") && /cinder-a@idr/.test(error.seen),
      );
    });

    it("are failed over by failover_host, and not once more where that is done or going on", async () => {
      put = (action, body) => {
        assert.equal(action, "failover_host");
        assert.deepEqual(body, { host, backend_id: "idr" });
        row = service({ replication_status: "failing-over" });
        return { status: 202 };
      };
      await client.failoverHost(host, "idr");
      await client.failoverHost(host, "idr");
      row = service({ replication_status: "failed-over", active_backend_id: "idr", status: "disabled" });
      await client.failoverHost(host, "idr");
      assert.equal(asked().filter((call) => call.startsWith("PUT")).length, 1);
    });

    it("fail back to default", async () => {
      put = (_action, body) => (assert.equal(body["backend_id"], "default"), { status: 202 });
      await client.failoverHost(host, "default");
      assert.equal(asked().filter((call) => call.startsWith("PUT")).length, 0);
      row = service({ replication_status: "failed-over", active_backend_id: "idr" });
      await client.failoverHost(host, "default");
      assert.equal(asked().filter((call) => call.startsWith("PUT")).length, 1);
    });

    it("that can't fail over say why", async () => {
      put = () =>
        fault(
          400,
          "badRequest",
          "Invalid input received: No service found with replication_status in enabled, failed-over and is up",
        );
      await assert.rejects(
        client.failoverHost(host, "idr"),
        (error) => DrError.is(error, "remote") && !error.retryable && /is up/.test(error.seen),
      );
    });
  });

  it("lists the pools that report", async () => {
    api.route(
      on("GET", path("/scheduler-stats/get_pools"), ({ query }) => {
        assert.equal(query["detail"], "true");
        return {
          status: 200,
          body: {
            pools: [
              {
                name: `${host}#pool1`,
                capabilities: { timestamp: "2026-05-01T12:00:00.123456", replication_enabled: true },
              },
              { name: `${host}#pool2`, capabilities: {} },
            ],
          },
        };
      }),
    );
    assert.deepEqual(await client.listPools(), [
      { name: `${host}#pool1`, timestamp: "2026-05-01T12:00:00.123456Z" },
      { name: `${host}#pool2` },
    ]);
  });

  describe("rollDetaching", () => {
    const serve = (status: string): void => {
      api.route(
        on(
          "POST",
          path("/volumes/v1/action"),
          ({ body }) => (assert.deepEqual(body, { "os-roll_detaching": null }), { status: 202 }),
        ),
      );
      api.route(on("GET", path("/volumes/v1"), () => ({ status: 200, body: { volume: volume("v1", { status }) } })));
    };
    it("reads back that the volume left the state", async () => {
      serve("in-use");
      await client.rollDetaching("v1");
      assert.deepEqual(asked(), ["POST /volumes/v1/action", "GET /volumes/v1"]);
    });
    it("says so where it didn't", async () => {
      serve("detaching");
      await assert.rejects(client.rollDetaching("v1"), (error) => DrError.is(error, "failure-state"));
    });
  });

  describe("attachments that a refresh left", () => {
    it("are completed", async () => {
      const complete = path("/attachments/a1/action");
      api.route(on("POST", complete, ({ body }) => (assert.deepEqual(body, { "os-complete": {} }), { status: 204 })));
      await client.completeAttachment("a1");
      assert.deepEqual(asked(), ["POST /attachments/a1/action"]);
    });
    it("are deleted, or gone", async () => {
      api.route(on("DELETE", path("/attachments/a1"), () => ({ status: 200, body: { attachments: [] } })));
      api.route(
        on("DELETE", path("/attachments/a2"), () =>
          fault(404, "itemNotFound", "Volume attachment a2 could not be found."),
        ),
      );
      await client.deleteAttachment("a1");
      await client.deleteAttachment("a2");
      assert.deepEqual(asked(), ["DELETE /attachments/a1", "DELETE /attachments/a2"]);
    });
    it("aren't deleted where Nova refers to them", async () => {
      api.route(
        on("DELETE", path("/attachments/a1"), () =>
          fault(409, "conflictingRequest", "Detach volume from instance s1 using the Compute API"),
        ),
      );
      await assert.rejects(
        client.deleteAttachment("a1"),
        (error) => DrError.is(error, "remote") && error.context["status"] === 409,
      );
    });
  });

  it("calls a 500 retryable, and sends what changes something once only", async () => {
    api.route(on("GET", path("/os-services"), () => ({ status: 200, body: { services: [service()] } })));
    api.route(
      on("PUT", path("/os-services/disable-log-reason"), () =>
        fault(
          500,
          "computeFault",
          "The server has either erred or is incapable of performing the requested operation.",
        ),
      ),
    );
    await assert.rejects(
      client.disableService(host, "switchover"),
      (error) => DrError.is(error, "remote") && error.retryable,
    );
    assert.equal(asked().filter((call) => call.startsWith("PUT")).length, 1);
  });
});
