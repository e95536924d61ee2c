import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { NovaClient } from "../../../lib/nova/client";
import type { ComputePort } from "../../../lib/switchover/ports";
import { ApiServer, on } from "../../support/api-server";
import type { ApiAnswer, ApiRequest } from "../../support/api-server";

/** The engine's port is satisfied by the client's shape. */
const satisfiesPort = (client: NovaClient): ComputePort => client;

/** GET / of Nova 34.0. */
const versions = (highest: string): ApiAnswer => ({
  status: 200,
  body: {
    versions: [
      { id: "v2.0", status: "DEPRECATED", version: "", min_version: "", updated: "2025-07-04T12:00:00Z", links: [] },
      {
        id: "v2.1",
        status: "CURRENT",
        version: highest,
        min_version: "2.1",
        updated: "2013-07-23T11:33:21Z",
        links: [],
      },
    ],
  },
});

const fault = (status: number, name: string, message: string): ApiAnswer => ({
  status,
  body: { [name]: { code: status, message } },
  headers: { "x-openstack-request-id": "req-1", "x-compute-request-id": "req-1" },
});
const conflict = (message: string): ApiAnswer => fault(409, "conflictingRequest", message);

/** A server of GET /servers/detail at 2.89, as an administrator sees it. */
const server = (id: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  id,
  name: `vm ${id}`,
  status: "ACTIVE",
  tenant_id: "p9",
  user_id: "u9",
  image: "",
  flavor: { vcpus: 1, ram: 64, disk: 1, ephemeral: 0, swap: 0, original_name: "lab-tiny", extra_specs: {} },
  created: "2026-05-01T12:00:00Z",
  updated: "2026-05-01T12:00:05Z",
  locked: false,
  locked_reason: null,
  host_status: "UP",
  "OS-EXT-STS:task_state": null,
  "OS-EXT-STS:vm_state": "active",
  "OS-EXT-STS:power_state": 1,
  "OS-EXT-SRV-ATTR:host": "compute-a",
  "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
  "os-extended-volumes:volumes_attached": [{ id: "v1", delete_on_termination: false }],
  ...more,
});

interface Row {
  volumeId: string;
  device?: string | null;
  attachment_id: string | null;
  tag?: string;
  delete_on_termination?: boolean;
}

describe("NovaClient", () => {
  let api: ApiServer;
  let client: NovaClient;
  let highest: string;
  /** What /servers/s1/os-volume_attachments shows, as volume_attachments.py does at 2.88 and 2.89. */
  let rows: Row[];
  const attachments = "/v2.1/servers/s1/os-volume_attachments";
  const action = "/v2.1/servers/s1/action";
  const called = (): readonly string[] => api.calls.filter((call) => call !== "GET /");

  const listRows = ({ headers }: ApiRequest): ApiAnswer => {
    const at289 = headers["openstack-api-version"] === "compute 2.89";
    return {
      status: 200,
      body: {
        volumeAttachments: rows
          .filter((row) => !at289 || row.attachment_id !== null)
          .map(({ volumeId, device = "/dev/vdb", attachment_id, tag = null, delete_on_termination = false }) => ({
            ...(at289 ? { attachment_id, bdm_uuid: "b" } : { id: volumeId }),
            volumeId,
            serverId: "s1",
            ...(device === null ? {} : { device }),
            tag,
            delete_on_termination,
          })),
      },
    };
  };

  beforeEach(async () => {
    highest = "2.104";
    rows = [];
    api = await ApiServer.start(
      on("GET", "/", () => versions(highest)),
      on("GET", attachments, listRows),
    );
    client = new NovaClient({
      tokens: {
        endpoint: (type) => (assert.equal(type, "compute"), Promise.resolve(`${api.url}/v2.1`)),
        token: () => Promise.resolve("token-1"),
        invalidate: () => undefined,
      },
      sleep: () => Promise.resolve(),
    });
  });
  afterEach(async () => {
    await client.close();
    await api.stop();
  });

  it("satisfies the engine's port", () => assert.equal(satisfiesPort(client), client));

  it("refuses a service older than 2.89", async () => {
    highest = "2.79";
    await assert.rejects(
      client.getServer("s1"),
      (error) => DrError.is(error, "precondition") && /2\.1 to 2\.79, needed 2\.89/.test(error.seen),
    );
  });

  describe("listServers", () => {
    it("follows the pages of all projects", async () => {
      api.route(
        on("GET", "/v2.1/servers/detail", ({ query, headers }) => {
          assert.equal(headers["openstack-api-version"], "compute 2.89");
          assert.deepEqual(
            { ...query, marker: undefined },
            { all_tenants: "true", sort_key: "uuid", sort_dir: "asc", marker: undefined },
          );
          return query["marker"] === undefined
            ? {
                status: 200,
                body: {
                  servers: [server("s1", { metadata: { tier: "db" } })],
                  servers_links: [{ rel: "next", href: "http://elsewhere/" }],
                },
              }
            : {
                status: 200,
                body: {
                  servers: [
                    server("s2", {
                      metadata: {},
                      status: "SHELVED_OFFLOADED",
                      flavor: { vcpus: 1, ram: 64, disk: 1, ephemeral: 5, swap: 512, original_name: "lab-disks" },
                      "OS-EXT-SRV-ATTR:host": null,
                      host_status: "",
                      "OS-EXT-STS:power_state": 4,
                      locked: true,
                      locked_reason: "mine",
                      "OS-EXT-STS:task_state": "unshelving",
                    }),
                  ],
                },
              };
        }),
      );
      assert.deepEqual(await client.listServers(), [
        {
          id: "s1",
          name: "vm s1",
          status: "ACTIVE",
          powerState: 1,
          host: "compute-a",
          hostStatus: "UP",
          locked: false,
          projectId: "p9",
          rootDevice: "/dev/vda",
          metadata: { tier: "db" },
          volumeIds: ["v1"],
          localDisks: 0,
        },
        {
          id: "s2",
          name: "vm s2",
          status: "SHELVED_OFFLOADED",
          taskState: "unshelving",
          powerState: 4,
          locked: true,
          lockedReason: "mine",
          projectId: "p9",
          rootDevice: "/dev/vda",
          volumeIds: ["v1"],
          localDisks: 2,
        },
      ]);
    });

    it("keeps servers of a cell that is down as unknown", async () => {
      const stub = { id: "s3", status: "UNKNOWN", tenant_id: "p9", created: "2026-05-01T12:00:00Z", links: [] };
      api.route(on("GET", "/v2.1/servers/detail", () => ({ status: 200, body: { servers: [stub] } })));
      assert.deepEqual(await client.listServers(), [
        { id: "s3", name: "", status: "UNKNOWN", locked: false, projectId: "p9", localDisks: 0 },
      ]);
    });

    it("begins again when the server it had come to was deleted", async () => {
      let refused = false;
      api.route(
        on("GET", "/v2.1/servers/detail", ({ query }) => {
          if (query["marker"] === undefined)
            return {
              status: 200,
              body: refused
                ? { servers: [server("s2")] }
                : { servers: [server("s1")], servers_links: [{ rel: "next", href: "" }] },
            };
          refused = true;
          return fault(400, "badRequest", "marker [s1] not found");
        }),
      );
      assert.deepEqual(
        (await client.listServers()).map(({ id }) => id),
        ["s2"],
      );
    });

    it("refuses a list without hosts", async () => {
      const row = server("s1");
      delete row["OS-EXT-SRV-ATTR:host"];
      api.route(on("GET", "/v2.1/servers/detail", () => ({ status: 200, body: { servers: [row] } })));
      await assert.rejects(
        client.listServers(),
        (error) => DrError.is(error, "precondition") && /role admin/.test(error.remedy ?? ""),
      );
    });
  });

  describe("listServerAttachments", () => {
    it("reads twice and decodes", async () => {
      rows = [
        { volumeId: "v1", device: "/dev/vda", attachment_id: "a1", delete_on_termination: true },
        { volumeId: "v2", device: null, attachment_id: "a2", tag: "logs" },
      ];
      assert.deepEqual(await client.listServerAttachments("s1"), [
        { serverId: "s1", volumeId: "v1", device: "/dev/vda", deleteOnTermination: true, attachmentId: "a1" },
        { serverId: "s1", volumeId: "v2", tag: "logs", deleteOnTermination: false, attachmentId: "a2" },
      ]);
      assert.equal(called().length, 2);
    });

    it("shows ghosts, which have no attachment id", async () => {
      rows = [
        { volumeId: "v1", attachment_id: "a1" },
        { volumeId: "v2", device: "/dev/vdc", attachment_id: null },
      ];
      assert.deepEqual((await client.listServerAttachments("s1"))[1], {
        serverId: "s1",
        volumeId: "v2",
        device: "/dev/vdc",
        deleteOnTermination: false,
      });
    });

    it("reads once where all that are expected have an attachment", async () => {
      rows = [{ volumeId: "v1", device: "/dev/vda", attachment_id: "a1", delete_on_termination: true }];
      assert.equal((await client.listServerAttachments("s1", ["v1"])).length, 1);
      assert.equal(called().length, 1);
      rows = [...rows, { volumeId: "v2", device: "/dev/vdc", attachment_id: null }];
      const [, ghost] = await client.listServerAttachments("s1", ["v1", "v2"]);
      assert.deepEqual([ghost?.volumeId, ghost?.attachmentId], ["v2", undefined]);
    });

    it("doesn't call a ghost what is detached between its reads", async () => {
      rows = [{ volumeId: "v1", attachment_id: "a1" }];
      api.route(
        on("GET", attachments, (request) => {
          const answer = listRows(request);
          rows = [];
          return answer;
        }),
      );
      assert.deepEqual(await client.listServerAttachments("s1"), []);
    });
  });

  it("lists compute services, and those of a cell that is down as down", async () => {
    api.route(
      on("GET", "/v2.1/os-services", ({ query }) => {
        assert.deepEqual(query, { binary: "nova-compute" });
        const base = {
          binary: "nova-compute",
          id: "x",
          zone: "nova",
          updated_at: "2026-05-01T12:00:00.000000",
          disabled_reason: null,
          forced_down: false,
        };
        return {
          status: 200,
          body: {
            services: [
              { ...base, host: "compute-a", status: "enabled", state: "up" },
              { ...base, host: "compute-b", status: "disabled", state: "down" },
              { binary: "nova-compute", host: "compute-c", status: "UNKNOWN" },
            ],
          },
        };
      }),
    );
    assert.deepEqual(await client.listComputeServices(), [
      { host: "compute-a", up: true, enabled: true },
      { host: "compute-b", up: false, enabled: false },
      { host: "compute-c", up: false, enabled: false },
    ]);
  });

  it("locks with a reason and unlocks", async () => {
    api.route(on("POST", action, () => ({ status: 202 })));
    await client.lock("s1", "r".repeat(300));
    await client.unlock("s1");
    assert.deepEqual(
      api.requests.filter(({ method }) => method === "POST").map(({ body }) => body),
      [{ lock: { locked_reason: "r".repeat(255) } }, { unlock: null }],
    );
  });

  describe("stop and start", () => {
    const refuse = (message: string, seen: Record<string, unknown>): void => {
      api.route(on("POST", action, () => conflict(message)));
      api.route(on("GET", "/v2.1/servers/s1", () => ({ status: 200, body: { server: server("s1", seen) } })));
    };

    it("are accepted", async () => {
      api.route(on("POST", action, () => ({ status: 202 })));
      await client.stop("s1");
      await client.start("s1");
      assert.deepEqual(
        api.requests.filter(({ method }) => method === "POST").map(({ body }) => body),
        [{ "os-stop": null }, { "os-start": null }],
      );
    });

    for (const [call, message, seen] of [
      ["stop", "vm_state stopped", { status: "SHUTOFF" }],
      ["stop", "task_state powering-off", { "OS-EXT-STS:task_state": "powering-off" }],
      ["start", "vm_state active", {}],
      ["start", "task_state powering-on", { status: "SHUTOFF", "OS-EXT-STS:task_state": "powering-on" }],
    ] as const)
      it(`${call} is done or going on where Nova refuses it for ${message}`, async () => {
        refuse(`Cannot '${call}' instance s1 while it is in ${message}`, seen);
        await client[call]("s1");
      });

    it("says what state is in the way", async () => {
      refuse("Cannot 'stop' instance s1 while it is in vm_state suspended", { status: "SUSPENDED" });
      await assert.rejects(client.stop("s1"), (error) => {
        assert.ok(DrError.is(error, "remote"));
        assert.equal(error.retryable, false);
        assert.match(error.message, /vm_state suspended.*The server is SUSPENDED\. .*resume/);
        return true;
      });
    });

    it("may be repeated where another task is in the way", async () => {
      refuse("Cannot 'stop' instance s1 while it is in task_state image_snapshot", {
        "OS-EXT-STS:task_state": "image_snapshot",
      });
      await assert.rejects(
        client.stop("s1"),
        (error) => DrError.is(error, "remote") && error.retryable && /image_snapshot/.test(error.state ?? ""),
      );
    });
  });

  describe("detachVolume", () => {
    const answer = (answered: ApiAnswer): void =>
      api.route(
        on(
          "DELETE",
          `${attachments}/v1`,
          ({ headers }) => (assert.equal(headers["openstack-api-version"], "compute 2.89"), answered),
        ),
      );

    it("is accepted", async () => {
      answer({ status: 202 });
      await client.detachVolume("s1", "v1");
      assert.deepEqual(called(), [`DELETE ${attachments}/v1`]);
    });

    it("is done where the volume isn't attached", async () => {
      answer(fault(404, "itemNotFound", "Instance s1 is not attached to volume v1"));
      await client.detachVolume("s1", "v1");
    });

    it("is done where the server is gone", async () => {
      answer(fault(404, "itemNotFound", "Instance s1 could not be found."));
      api.route(on("GET", attachments, () => fault(404, "itemNotFound", "Instance s1 could not be found.")));
      await client.detachVolume("s1", "v1");
    });

    it("is done where the volume went in between", async () => {
      answer(
        fault(400, "badRequest", "Invalid volume: Unable to detach volume. Volume status must be 'in-use' to detach."),
      );
      await client.detachVolume("s1", "v1");
    });

    it("isn't done where Cinder doesn't know a volume that the server has", async () => {
      rows = [{ volumeId: "v1", attachment_id: "a1" }];
      answer(fault(404, "itemNotFound", "Volume v1 could not be found."));
      await assert.rejects(
        client.detachVolume("s1", "v1"),
        (error) => DrError.is(error, "remote") && /still has the volume/.test(error.message),
      );
    });

    for (const [what, answered, retryable, says] of [
      [
        "a volume that is detaching",
        fault(
          400,
          "badRequest",
          "Invalid input received: Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach.",
        ),
        false,
        /must be 'in-use'/,
      ],
      ["a root volume", fault(400, "badRequest", "Cannot detach a root device volume"), false, /root device/],
      [
        "a task_state",
        conflict("Cannot 'detach_volume' instance s1 while it is in task_state powering-off"),
        true,
        /powering-off/,
      ],
      ["a vm_state", conflict("Cannot 'detach_volume' instance s1 while it is in vm_state rescued"), false, /unrescue/],
      ["a lock", conflict("Instance s1 is locked"), false, /passes locks/],
      ["a compute service that is down", conflict("Service is unavailable at this time."), true, /Start nova-compute/],
      ["an error of Nova's own", fault(500, "computeFault", "Unexpected API Error."), true, /may still carry it out/],
      ["a gateway's time-out", { status: 504 }, true, /may still carry it out/],
    ] as const)
      it(`is refused for ${what}, ${retryable ? "which passes" : "which stays"}`, async () => {
        rows = [{ volumeId: "v1", attachment_id: "a1" }];
        answer(answered);
        await assert.rejects(client.detachVolume("s1", "v1"), (error) => {
          assert.ok(DrError.is(error, "remote"));
          assert.equal(error.retryable, retryable);
          assert.match(error.message, says);
          return true;
        });
        assert.equal(called().filter((call) => call.startsWith("DELETE")).length, 1);
      });
  });

  describe("attachVolume", () => {
    const order = { serverId: "s1", volumeId: "v1", device: "/dev/vdc", tag: "logs", deleteOnTermination: true };
    const answer = (answered: ApiAnswer): void => api.route(on("POST", attachments, () => answered));

    it("resolves to the device that Nova reserved, with a microversion that waits for it", async () => {
      answer({
        status: 200,
        body: {
          volumeAttachment: {
            id: "v1",
            serverId: "s1",
            volumeId: "v1",
            device: "/dev/vdb",
            tag: "logs",
            delete_on_termination: true,
          },
        },
      });
      assert.equal(await client.attachVolume(order), "/dev/vdb");
      assert.deepEqual(api.requests.at(-1)?.body, {
        volumeAttachment: { volumeId: "v1", device: "/dev/vdc", tag: "logs", delete_on_termination: true },
      });
      assert.equal(api.requests.at(-1)?.headers["openstack-api-version"], "compute 2.89");
    });

    it("sends nothing that isn't given, and knows no device of a shelved server", async () => {
      answer({
        status: 200,
        body: {
          volumeAttachment: {
            id: "v1",
            serverId: "s1",
            volumeId: "v1",
            device: null,
            tag: null,
            delete_on_termination: false,
          },
        },
      });
      assert.equal(await client.attachVolume({ serverId: "s1", volumeId: "v1", deleteOnTermination: false }), "");
      assert.deepEqual(api.requests.at(-1)?.body, {
        volumeAttachment: { volumeId: "v1", delete_on_termination: false },
      });
    });

    it("refuses an answer without the device reserved", async () => {
      answer({ status: 202 });
      await assert.rejects(
        client.attachVolume(order),
        (error) => DrError.is(error, "remote") && /status 202, needed 200/.test(error.seen),
      );
    });

    const attached = fault(400, "badRequest", "Invalid volume: volume v1 already attached to instances: s1");
    it("is done where the server has the volume", async () => {
      rows = [{ volumeId: "v1", device: "/dev/vdd", attachment_id: "a1" }];
      answer(attached);
      assert.equal(await client.attachVolume(order), "/dev/vdd");
    });

    it("isn't done where a ghost is in the way", async () => {
      rows = [{ volumeId: "v1", device: "/dev/vdd", attachment_id: null }];
      answer(attached);
      await assert.rejects(
        client.attachVolume(order),
        (error) =>
          DrError.is(error, "remote") &&
          /ghost/.test(error.state ?? "") &&
          /block_device_mapping/.test(error.remedy ?? ""),
      );
    });

    for (const [what, answered, retryable, says] of [
      ["another server's volume", attached, false, /already attached/],
      [
        "a volume in the wrong state",
        fault(
          400,
          "badRequest",
          "Invalid input received: Invalid volume: Volume v1 status must be available or downloading to reserve, but the current status is error.",
        ),
        false,
        /current status is error/,
      ],
      [
        "a volume that isn't there",
        fault(404, "itemNotFound", "Volume v1 could not be found."),
        false,
        /could not be found/,
      ],
      ["a device in use", conflict("The supplied device path (/dev/vdc) is in use."), false, /in use/],
      [
        "a task_state",
        conflict("Cannot 'attach_volume' instance s1 while it is in task_state powering-off"),
        true,
        /powering-off/,
      ],
      [
        "too many disks",
        fault(
          403,
          "forbidden",
          "The maximum allowed number of disk devices (2) to attach to a single instance has been exceeded.",
        ),
        false,
        /maximum allowed/,
      ],
      [
        "a compute service that doesn't answer",
        fault(500, "computeFault", "Unexpected API Error."),
        true,
        /read the server's attachments before a repeat/,
      ],
    ] as const)
      it(`is refused for ${what}, ${retryable ? "which passes" : "which stays"}`, async () => {
        answer(answered);
        await assert.rejects(client.attachVolume(order), (error) => {
          assert.ok(DrError.is(error, "remote"));
          assert.equal(error.retryable, retryable);
          assert.match(error.message, says);
          return true;
        });
        assert.equal(called().filter((call) => call.startsWith("POST")).length, 1);
      });
  });

  describe("actions", () => {
    const path = "/v2.1/servers/s1/os-instance-actions";
    const event = {
      event: "compute_attach_volume",
      start_time: "2026-05-01T12:00:00.000000",
      finish_time: "2026-05-01T12:00:01.000000",
      result: "Success",
      traceback: null,
      host: "compute-a",
      hostId: "h",
      details: null,
    };
    const answer = (events: readonly unknown[], message: string | null = null): void =>
      api.route(
        on("GET", `${path}/req-1`, () => ({
          status: 200,
          body: {
            instanceAction: {
              action: "attach_volume",
              instance_uuid: "s1",
              request_id: "req-1",
              user_id: "u",
              project_id: "p",
              start_time: "2026-05-01T12:00:00.000000",
              message,
              updated_at: null,
              events,
            },
          },
        })),
      );

    it("are listed", async () => {
      api.route(
        on("GET", path, () => ({
          status: 200,
          body: {
            instanceActions: [
              {
                action: "stop",
                instance_uuid: "s1",
                request_id: "req-2",
                user_id: "u",
                project_id: "p",
                start_time: "2026-05-01T12:00:00.000000",
                message: null,
                updated_at: null,
              },
            ],
          },
        })),
      );
      assert.deepEqual(await client.listActions("s1"), [
        { action: "stop", requestId: "req-2", userId: "u", startTime: "2026-05-01T12:00:00.000000Z" },
      ]);
    });

    for (const [what, events, message, expected] of [
      ["succeeded", [event], null, { action: "attach_volume", result: "success" }],
      [
        "failed",
        [event, { ...event, result: "Error", details: "DiskNotFound" }],
        "Error",
        { action: "attach_volume", result: "error", details: "DiskNotFound" },
      ],
      ["failed without an event", [], "Error", { action: "attach_volume", result: "error" }],
      [
        "goes on",
        [event, { ...event, result: null, finish_time: null }],
        null,
        { action: "attach_volume", result: "running" },
      ],
      ["was accepted only", [], null, { action: "attach_volume", result: "running" }],
    ] as const)
      it(`have a verdict where one ${what}`, async () => {
        answer(events, message);
        assert.deepEqual(await client.findActionResult("s1", "req-1"), expected);
      });

    it("have none where Nova recorded none", async () => {
      api.route(on("GET", `${path}/req-9`, () => fault(404, "itemNotFound", "Action req-9 not found")));
      assert.equal(await client.findActionResult("s1", "req-9"), undefined);
    });
  });
});
