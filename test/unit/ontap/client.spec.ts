import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import type { OntapClientOptions } from "../../../lib/ontap/client";
import { absent, accepted, failure, jobFailure, jobSuccess, records, startOntapServer } from "./ontap-server";
import type { Route } from "./ontap-server";

const relationships = "/api/snapmirror/relationships";
const R = "0a0a0a0a-0000-11ee-8000-000000000001";
const T1 = "1b1b1b1b-0000-11ee-8000-000000000001";
const T2 = "1b1b1b1b-0000-11ee-8000-000000000002";

const mirror = (state: string, more: object = {}) => ({
  uuid: R,
  source: { path: "svm-iprod:pool1", svm: { name: "svm-iprod" }, cluster: { name: "prod" } },
  destination: { path: "svm-idr:pool1", svm: { name: "svm-idr" } },
  state,
  healthy: true,
  policy: { name: "MirrorAllSnapshots", type: "async" },
  ...more,
});
const running = { transfer: { state: "transferring", uuid: T1 } };

async function failureOf(promise: Promise<unknown>): Promise<DrError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(DrError.is(error), `not a DrError: ${String(error)}`);
    return error;
  }
  return assert.fail("it succeeded");
}

describe("OntapClient", () => {
  const closers: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function serve(routes: Record<string, Route>, options: Partial<OntapClientOptions> = {}) {
    const server = await startOntapServer(routes, options);
    closers.push(server.close);
    return server;
  }

  describe("collections", () => {
    const volume = (n: number) => ({
      uuid: `v${n}`,
      name: `pool${n}`,
      type: "rw",
      state: "online",
      size: n,
      extra: { a: 1 },
    });

    it("follows the links from page to page, over an empty one too", async () => {
      const { client, seen } = await serve({
        "GET /api/storage/volumes": ({ query }) => {
          const start = query["start.uuid"];
          const page = start === undefined ? [volume(1), volume(2)] : start === "v2" ? [] : [volume(3)];
          const next = start === undefined ? "v2" : start === "v2" ? "v2b" : undefined;
          return {
            body: {
              records: page,
              num_records: page.length,
              ...(next && {
                _links: { next: { href: `/api/storage/volumes?start.uuid=${next}&fields=uuid&svm.name=svm-idr` } },
              }),
            },
          };
        },
      });
      const found = await client.listFlexVols();
      assert.deepEqual(
        found.map((each) => each.name),
        ["pool1", "pool2", "pool3"],
      );
      assert.deepEqual(found[0], { uuid: "v1", name: "pool1", type: "rw", state: "online", sizeBytes: 1 });
      assert.equal(seen.length, 3);
      assert.equal(seen[0]?.query["svm.name"], "svm-idr");
      assert.equal(seen[0].authorization, `Basic ${Buffer.from("admin:secret").toString("base64")}`);
    });

    for (const href of [
      "https://elsewhere/api/storage/volumes",
      "//elsewhere/api",
      "/api/storage/volumes?start.uuid=v1",
    ])
      it(`refuses to follow ${href} for ever or to another host`, async () => {
        const { client, seen } = await serve({
          "GET /api/storage/volumes": { body: { records: [volume(1)], num_records: 1, _links: { next: { href } } } },
        });
        assert.equal((await failureOf(client.listFlexVols())).code, "remote");
        assert.ok(seen.length <= 2);
      });

    it("refuses an answer without records, and a record without what is needed", async () => {
      for (const body of [{ num_records: 1 }, { records: [{ uuid: "v1", name: "pool1" }], num_records: 1 }]) {
        const { client } = await serve({ "GET /api/storage/volumes": { body } });
        const error = await failureOf(client.listFlexVols());
        assert.equal(error.code, "remote");
        assert.equal(error.retryable, false);
      }
    });
  });

  describe("errors", () => {
    it("carries ONTAP's code, message and nested reasons, and neither password nor header", async () => {
      const { client } = await serve({
        [`GET ${relationships}/${R}`]: { body: mirror("paused") },
        [`PATCH ${relationships}/${R}`]: failure(400, "13303810", "Transition to snapmirrored state failed.", [
          { code: "262224", message: "Failed to contact the peer cluster." },
        ]),
      });
      const error = await failureOf(client.setMirrorState(R, "snapmirrored"));
      assert.equal(error.code, "remote");
      assert.equal(error.context["vendorCode"], "13303810");
      assert.deepEqual(error.context["reasonCodes"], ["262224"]);
      assert.equal(error.retryable, true);
      assert.match(error.message, /svm-iprod:pool1 → svm-idr:pool1.*Failed to contact the peer cluster\. \(262224\)/);
      assert.doesNotMatch(JSON.stringify(error) + error.stack, /secret|Basic/);
    });

    it("doesn't take an unknown path for an absent object", async () => {
      const { client } = await serve({ [`DELETE ${relationships}/${R}`]: failure(404, "3", "API not found") });
      assert.equal((await failureOf(client.deleteMirror(R))).context["vendorCode"], "3");
    });

    it("tells a refused login from an absent cluster", async () => {
      const { client, seen } = await serve({ "GET /api/cluster": failure(401, "6691623", "User is not authorized.") });
      const error = await failureOf(client.getCluster());
      assert.equal(error.code, "remote");
      assert.equal(error.context["status"], 401);
      assert.match(error.message, /ontapPasswords holds the password of ".+".*--run-program/);
      assert.equal(seen.length, 1);
      const { client: nobody } = await serve({}, { port: 1 });
      assert.equal((await failureOf(nobody.getCluster())).code, "unreachable");
    });
  });

  describe("jobs", () => {
    const path = "GET /api/cluster/jobs/j1";
    const routes = (job: Route): Record<string, Route> => ({
      [`GET ${relationships}/${R}`]: { body: mirror("snapmirrored") },
      [`PATCH ${relationships}/${R}`]: accepted(),
      [path]: job,
    });

    it("are polled until they succeed", async () => {
      const waits: number[] = [];
      const { client, of } = await serve(
        routes([
          { body: { state: "queued" } },
          { body: { state: "running", message: "" } },
          { body: { state: "paused" } },
          jobSuccess,
        ]),
        { random: () => 0, sleep: (ms) => Promise.resolve(void waits.push(ms)) },
      );
      await client.setMirrorState(R, "paused");
      assert.equal(of(path).length, 4);
      assert.deepEqual(waits, [100, 200, 400]);
    });

    it("end with their code and message where they fail, whichever way ONTAP writes them", async () => {
      for (const job of [
        jobFailure(13303824, "Quiescing the SnapMirror relationship has failed"),
        { body: { state: "failure", code: 13303824, message: "Quiescing the SnapMirror relationship has failed" } },
      ]) {
        const { client } = await serve(routes(job));
        const error = await failureOf(client.setMirrorState(R, "paused"));
        assert.equal(error.code, "remote");
        assert.equal(error.context["vendorCode"], "13303824");
        assert.match(
          error.message,
          /Quiesce SnapMirror svm-iprod:pool1 → svm-idr:pool1: job j1 ended as failure: Quiescing/,
        );
      }
    });

    it("count as ended where ONTAP has forgotten them", async () => {
      const { client } = await serve(routes([{ body: { state: "running" } }, absent]));
      await client.setMirrorState(R, "paused");
    });

    it("are given up at the deadline, which says what was seen", async () => {
      const { client } = await serve(routes({ body: { state: "running" } }), { jobTimeoutMs: 30 });
      const error = await failureOf(client.setMirrorState(R, "paused"));
      assert.equal(error.code, "wait-timeout");
      assert.match(error.seen, /job j1 to end; the job is running/);
    });

    it("stop being awaited on the signal", async () => {
      const stop = new AbortController();
      const { client } = await serve(
        routes(() => {
          stop.abort();
          return { body: { state: "running" } };
        }),
        { signal: stop.signal },
      );
      assert.equal((await failureOf(client.setMirrorState(R, "paused"))).code, "stopped");
    });
  });

  describe("listMirrors", () => {
    it("tells lag, health, reasons and the transfer", async () => {
      const { client, seen } = await serve({
        [`GET ${relationships}`]: records(
          mirror("snapmirrored", {
            lag_time: "P1DT2H0M5S",
            exported_snapshot: "snapmirror.1",
            transfer: {
              state: "transferring",
              uuid: T1,
              bytes_transferred: 5,
              end_time: "2026-11-01T10:00:00+01:00",
              _links: {},
            },
          }),
          mirror("uninitialized", {
            healthy: false,
            policy: undefined,
            unhealthy_reason: [
              { code: 6621444, message: "Failed" },
              { code: "6621445", message: "Group" },
              { message: "Why" },
            ],
            transfer: { bytes_transferred: 0 },
          }),
        ),
      });
      const [first, second] = await client.listMirrors(["pool1", "pool2"]);
      assert.equal(seen[0]?.query["destination.path"], "svm-idr:pool1|svm-idr:pool2");
      assert.deepEqual(first, {
        uuid: R,
        source: { svm: "svm-iprod", flexVol: "pool1" },
        destination: { svm: "svm-idr", flexVol: "pool1" },
        state: "snapmirrored",
        healthy: true,
        unhealthyReasons: [],
        policy: "MirrorAllSnapshots",
        lagSeconds: 93605,
        exportedSnapshot: "snapmirror.1",
        transfer: { state: "transferring", uuid: T1, bytesTransferred: 5, endTime: "2026-11-01T10:00:00+01:00" },
      });
      assert.equal(second?.healthy, false);
      assert.deepEqual(second.unhealthyReasons, ["Failed (6621444)", "Group (6621445)", "Why"]);
      for (const field of ["policy", "lagSeconds", "exportedSnapshot", "transfer"])
        assert.ok(!(field in second), field);
    });

    it("refuses a lag that is no duration", async () => {
      const { client } = await serve({
        [`GET ${relationships}`]: records(mirror("snapmirrored", { lag_time: "26:00:00" })),
      });
      assert.match((await failureOf(client.listMirrors(["pool1"]))).seen, /lag_time: not an ISO 8601 duration/);
    });

    it("asks nothing for no FlexVols", async () => {
      const { client, seen } = await serve({});
      assert.deepEqual(await client.listMirrors([]), []);
      assert.deepEqual(await client.listLuns([]), []);
      assert.equal(seen.length, 0);
    });
  });

  describe("startTransfer", () => {
    const post = `POST ${relationships}/${R}/transfers`;
    const list = `GET ${relationships}/${R}/transfers`;

    it("takes the uuid from the Location", async () => {
      const { client } = await serve({
        [`GET ${relationships}/${R}`]: { body: mirror("snapmirrored") },
        [list]: records(),
        [post]: { status: 201, headers: { location: `/api/snapmirror/relationships/${R}/transfers/${T2}` } },
      });
      assert.equal(await client.startTransfer(R), T2);
    });

    it("finds it in the list where no Location names it, and never takes one that was there", async () => {
      const old = { uuid: T1, state: "success", bytes_transferred: 1 };
      const { client, of } = await serve({
        [`GET ${relationships}/${R}`]: { body: mirror("snapmirrored") },
        [list]: [records(old), records(old), records(old, { uuid: T2, state: "transferring" })],
        [post]: { status: 201 },
      });
      assert.equal(await client.startTransfer(R), T2);
      assert.equal(of(post).length, 1);
    });

    it("is refused for now while another transfer runs, whatever the reason's text says", async () => {
      for (const [message, state] of [
        ["Update operation failed. Reason:Another transfer is in progress", mirror("snapmirrored")],
        ["Update operation failed", mirror("snapmirrored", running)],
        ["Update operation failed", mirror("snapmirrored", { transfer: { state: "queued" } })],
      ] as const) {
        const { client } = await serve({
          [`GET ${relationships}/${R}`]: { body: state },
          [list]: records(),
          [post]: failure(400, "13303844", message),
        });
        const error = await failureOf(client.startTransfer(R));
        assert.equal(error.code, "remote");
        assert.equal(error.context["vendorCode"], "13303844");
        assert.equal(error.retryable, true);
      }
    });

    it("is refused for good where no transfer runs", async () => {
      const { client } = await serve({
        [`GET ${relationships}/${R}`]: { body: mirror("broken_off", { transfer: { state: "success" } }) },
        [list]: records(),
        [post]: failure(400, "13303844", "Update operation failed"),
      });
      assert.equal((await failureOf(client.startTransfer(R))).retryable, false);
    });
  });

  it("reads transfers with what went wrong", async () => {
    const { client } = await serve({
      [`GET ${relationships}/${R}/transfers/${T1}`]: {
        body: {
          uuid: T1,
          state: "aborted",
          bytes_transferred: 7,
          end_time: "2026-11-01T10:00:00Z",
          error_info: { code: 6620046, message: "Transfer aborted" },
        },
      },
    });
    assert.deepEqual(await client.getTransfer(R, T1), {
      uuid: T1,
      state: "aborted",
      bytesTransferred: 7,
      endTime: "2026-11-01T10:00:00Z",
      error: "Transfer aborted (6620046)",
    });
  });

  describe("abortTransfer", () => {
    const patch = `PATCH ${relationships}/${R}/transfers/${T1}`;
    const get = `GET ${relationships}/${R}/transfers/${T1}`;

    it("aborts, and takes an unknown or ended transfer as aborted", async () => {
      for (const answer of [{}, absent, failure(400, "13303849", "SnapMirror transfer state is invalid")]) {
        const { client, changes } = await serve({ [patch]: answer, [get]: { body: { uuid: T1, state: "success" } } });
        await client.abortTransfer(R, T1);
        assert.deepEqual(changes()[0]?.body, { state: "aborted" });
      }
    });

    it("fails where the transfer goes on", async () => {
      const { client } = await serve({
        [patch]: failure(400, "13303849", "SnapMirror transfer state is invalid"),
        [get]: { body: { uuid: T1, state: "transferring" } },
      });
      assert.equal((await failureOf(client.abortTransfer(R, T1))).context["vendorCode"], "13303849");
    });
  });

  describe("setMirrorState", () => {
    const get = `GET ${relationships}/${R}`;
    const patch = `PATCH ${relationships}/${R}`;

    for (const [name, present, asked] of [
      ["paused already", mirror("paused"), "paused"],
      ["broken off already", mirror("broken_off"), "broken_off"],
      ["snapmirrored already", mirror("snapmirrored"), "snapmirrored"],
      ["in sync already", mirror("in_sync"), "snapmirrored"],
      ["initializing", mirror("uninitialized", running), "snapmirrored"],
      ["resyncing", mirror("broken_off", running), "snapmirrored"],
    ] as const)
      it(`asks nothing of a mirror that is ${name}`, async () => {
        const { client, changes } = await serve({ [get]: { body: present } });
        await client.setMirrorState(R, asked);
        assert.equal(changes().length, 0);
      });

    for (const [name, present, asked] of [
      ["quiesces", mirror("snapmirrored", running), "paused"],
      ["breaks a quiesced mirror", mirror("paused", { healthy: false }), "broken_off"],
      ["resyncs", mirror("broken_off", { transfer: { state: "success" } }), "snapmirrored"],
      ["resumes", mirror("paused"), "snapmirrored"],
      ["initializes", mirror("uninitialized"), "snapmirrored"],
    ] as const)
      it(name, async () => {
        const { client, changes } = await serve({
          [get]: { body: present },
          [patch]: accepted(),
          "GET /api/cluster/jobs/j1": jobSuccess,
        });
        await client.setMirrorState(R, asked);
        assert.deepEqual(
          changes().map((request) => [request.line, request.body]),
          [[patch, { state: asked }]],
        );
      });

    it("takes a refusal or a lost answer as success where the state is reached", async () => {
      for (const answer of [failure(400, "13303818", "Invalid state transition requested"), { status: 0 }]) {
        const { client } = await serve({
          [get]: [{ body: mirror("paused") }, { body: mirror("broken_off") }],
          [patch]: answer,
        });
        await client.setMirrorState(R, "broken_off");
      }
    });

    it("keeps the first failure where the state isn't reached or can't be read", async () => {
      for (const again of [{ body: mirror("paused") }, { status: 0 }]) {
        const { client, changes } = await serve({
          [get]: [{ body: mirror("paused") }, again],
          [patch]: failure(
            400,
            "13303808",
            "Transition to broken_off state failed. Reason:Another transfer is in progress",
          ),
        });
        const error = await failureOf(client.setMirrorState(R, "broken_off"));
        assert.equal(error.context["vendorCode"], "13303808");
        assert.equal(error.retryable, true);
        assert.equal(changes().length, 1);
      }
    });

    it("says that a relationship is unknown", async () => {
      const { client } = await serve({ [get]: absent });
      assert.equal((await failureOf(client.setMirrorState(R, "paused"))).context["vendorCode"], "4");
    });
  });

  describe("createMirror", () => {
    const list = `GET ${relationships}`;
    const post = `POST ${relationships}`;
    const wanted = {
      sourceSvm: "svm-iprod",
      destinationSvm: "svm-idr",
      flexVol: "pool1",
      policy: "MirrorAllSnapshots",
      schedule: "hourly",
    };

    it("creates, and waits until the relationship is listed", async () => {
      const { client, changes, of } = await serve({
        [list]: [records(), records(), records(), records(mirror("uninitialized"))],
        [post]: accepted(),
        "GET /api/cluster/jobs/j1": jobSuccess,
      });
      assert.equal(await client.createMirror(wanted), R);
      assert.deepEqual(changes()[0]?.body, {
        source: { path: "svm-iprod:pool1" },
        destination: { path: "svm-idr:pool1" },
        policy: { name: "MirrorAllSnapshots" },
        transfer_schedule: { name: "hourly" },
      });
      assert.equal(of(list).length, 4);
    });

    it("takes what exists with the same ends, found before or by the refusal", async () => {
      const exists = "Relationship with specified destination volume already exists";
      const { client: before, changes } = await serve({ [list]: records(mirror("snapmirrored")) });
      assert.equal(await before.createMirror(wanted), R);
      assert.equal(changes().length, 0);
      for (const routes of [
        { [post]: failure(409, "6619637", exists) },
        { [post]: accepted(), "GET /api/cluster/jobs/j1": jobFailure(6619637, exists) },
      ]) {
        const { client } = await serve({ [list]: [records(), records(mirror("uninitialized"))], ...routes });
        assert.equal(await client.createMirror(wanted), R);
      }
    });

    it("refuses a destination that mirrors something else", async () => {
      const { client, changes } = await serve({
        [list]: records({ ...mirror("paused"), source: { path: "svm-x:pool1" } }),
      });
      const error = await failureOf(client.createMirror(wanted));
      assert.equal(error.code, "precondition");
      assert.match(error.seen, /svm-x:pool1/);
      assert.equal(changes().length, 0);
    });
  });

  describe("reverseMirror", () => {
    const get = `GET ${relationships}/${R}`;
    const patch = `PATCH ${relationships}/${R}`;
    const destinations = `GET ${relationships}`;
    const present = {
      uuid: R,
      source: { svm: "svm-iprod", flexVol: "pool1" },
      destination: { svm: "svm-idr", flexVol: "pool1" },
      state: "broken_off",
      healthy: true,
      unhealthyReasons: [],
    };
    const turned = { uuid: "other", source: { path: "svm-idr:pool1" }, destination: { path: "svm-iprod:pool1" } };

    it("swaps the paths", async () => {
      const { client, changes } = await serve({
        [get]: { body: mirror("broken_off") },
        [patch]: accepted(),
        "GET /api/cluster/jobs/j1": jobSuccess,
      });
      await client.reverseMirror(present);
      assert.deepEqual(changes()[0]?.body, {
        source: { path: "svm-idr:pool1" },
        destination: { path: "svm-iprod:pool1" },
        state: "snapmirrored",
      });
    });

    it("asks nothing where it's turned round already", async () => {
      const { client, seen, changes } = await serve({ [get]: absent, [destinations]: records(turned) });
      await client.reverseMirror(present);
      assert.equal(changes().length, 0);
      assert.equal(seen.at(-1)?.query["list_destinations_only"], "true");
      assert.equal(seen.at(-1)?.query["source.path"], "svm-idr:pool1");
    });

    it("takes a lost answer as success where it's turned round", async () => {
      const { client } = await serve({
        [get]: [{ body: mirror("broken_off") }, absent],
        [patch]: { status: 0 },
        [destinations]: records(turned),
      });
      await client.reverseMirror(present);
    });

    it("is refused for good by arrays that can't, and for now while the peer is away", async () => {
      for (const [code, retryable] of [
        ["13304062", false],
        ["13304071", true],
      ] as const) {
        const { client } = await serve({ [get]: { body: mirror("broken_off") }, [patch]: failure(400, code, "no") });
        const error = await failureOf(client.reverseMirror(present));
        assert.equal(error.context["vendorCode"], code);
        assert.equal(error.retryable, retryable);
      }
    });

    it("does not take a vanished relationship as a reversed one", async () => {
      const { client } = await serve({ [get]: absent, [destinations]: records(), [patch]: absent });
      assert.equal((await failureOf(client.reverseMirror(present))).context["vendorCode"], "4");
    });
  });

  describe("deleteMirror and releaseMirror", () => {
    it("delete at the destination only, and take absence as success, told at once or by the job", async () => {
      const path = `DELETE ${relationships}/${R}`;
      for (const routes of [
        { [path]: accepted(), "GET /api/cluster/jobs/j1": jobSuccess },
        { [path]: absent },
        { [path]: accepted(), "GET /api/cluster/jobs/j1": jobFailure(4, "entry doesn't exist") },
      ] as Record<string, Route>[]) {
        const { client, changes } = await serve(routes);
        await client.deleteMirror(R);
        assert.deepEqual(changes()[0]?.query, { destination_only: "true" });
      }
    });

    it("release only this destination, keeping the snapshots", async () => {
      const { client, seen, changes } = await serve({
        [`GET ${relationships}`]: records(
          { uuid: "r1", source: { path: "svm-idr:pool1" }, destination: { path: "svm-iprod:pool1" } },
          { uuid: "r2", source: { path: "svm-idr:pool1" }, destination: { path: "svm-vault:pool1" } },
        ),
        [`DELETE ${relationships}/r1`]: {},
      });
      await client.releaseMirror({ sourceFlexVol: "pool1", destinationSvm: "svm-iprod" });
      assert.equal(seen[0]?.query["list_destinations_only"], "true");
      assert.equal(seen[0].query["source.path"], "svm-idr:pool1");
      assert.deepEqual(
        changes().map((request) => [request.line, request.query]),
        [[`DELETE ${relationships}/r1`, { source_info_only: "true" }]],
      );
    });
  });

  describe("SAN", () => {
    it("reads the target with every enabled portal", async () => {
      const { client } = await serve({
        "GET /api/protocols/san/iscsi/services": records({
          enabled: true,
          target: { name: "iqn.1992-08.com.netapp:sn.1:vs.3" },
        }),
        "GET /api/network/ip/interfaces": records(
          { ip: { address: "127.0.2.1" }, enabled: true },
          { ip: { address: "127.0.2.2" }, enabled: false },
          { ip: { address: "fd00::1" }, enabled: true },
        ),
      });
      assert.deepEqual(await client.getIscsiTarget(), {
        iqn: "iqn.1992-08.com.netapp:sn.1:vs.3",
        enabled: true,
        portals: ["127.0.2.1:3260", "[fd00::1]:3260"],
      });
    });

    it("says that there's no iSCSI service", async () => {
      const { client } = await serve({
        "GET /api/protocols/san/iscsi/services": records(),
        "GET /api/network/ip/interfaces": records(),
      });
      assert.equal((await failureOf(client.getIscsiTarget())).code, "config");
    });

    it("lists LUNs and the maps of the FlexVols asked for", async () => {
      const lun = { uuid: "l1", name: "/vol/pool1/volume-1" };
      const map = (name: string) => ({
        lun: { uuid: "l1", name },
        igroup: { uuid: "i1", name: "openstack-1" },
        logical_unit_number: 0,
      });
      const { client, seen } = await serve({
        "GET /api/storage/luns": records({
          ...lun,
          serial_number: "wf0Iq+N4uck3",
          space: { size: 1073741824 },
          location: { volume: { name: "pool1" } },
        }),
        "GET /api/protocols/san/lun-maps": records(map("/vol/pool1/volume-1"), map("/vol/pool10/volume-2")),
      });
      assert.deepEqual(await client.listLuns(["pool1", "pool2"]), [
        {
          uuid: "l1",
          path: "/vol/pool1/volume-1",
          flexVol: "pool1",
          name: "volume-1",
          serial: "wf0Iq+N4uck3",
          sizeBytes: 1073741824,
        },
      ]);
      assert.equal(seen[0]?.query["location.volume.name"], "pool1|pool2");
      assert.deepEqual(await client.listLunMaps(["pool1"]), [
        {
          lunUuid: "l1",
          lunPath: "/vol/pool1/volume-1",
          igroupUuid: "i1",
          igroup: "openstack-1",
          logicalUnitNumber: 0,
        },
      ]);
    });

    it("unmaps, and takes an absent map as unmapped", async () => {
      const map = {
        lunUuid: "l1",
        lunPath: "/vol/pool1/volume-1",
        igroupUuid: "i1",
        igroup: "g",
        logicalUnitNumber: 0,
      };
      for (const answer of [{}, absent, failure(400, "5374922", "The LUN map does not exist")]) {
        const { client, changes } = await serve({ "DELETE /api/protocols/san/lun-maps/l1/i1": answer });
        await client.deleteLunMap(map);
        assert.equal(changes().length, 1);
      }
      const { client } = await serve({
        "DELETE /api/protocols/san/lun-maps/l1/i1": failure(403, "6", "not authorized for that command"),
      });
      assert.match(
        (await failureOf(client.deleteLunMap(map))).message,
        /Unmap \/vol\/pool1\/volume-1 from g: status 403/,
      );
    });
  });

  describe("storage", () => {
    const volumes = "GET /api/storage/volumes";
    const volume = (more: object = {}) => ({
      uuid: "v1",
      name: "pool1",
      type: "dp",
      state: "online",
      size: 5,
      ...more,
    });

    it("lists snapshots by the FlexVol's name", async () => {
      const { client } = await serve({
        [volumes]: records(volume()),
        "GET /api/storage/volumes/v1/snapshots": records({
          uuid: "s1",
          name: "hourly.1",
          version_uuid: "x1",
          create_time: "2026-11-01T10:00:00+00:00",
        }),
      });
      assert.deepEqual(await client.listSnapshots("pool1"), [
        { uuid: "s1", name: "hourly.1", versionUuid: "x1", createTime: "2026-11-01T10:00:00+00:00" },
      ]);
    });

    it("creates a destination on the emptiest aggregate that the SVM may use, and waits until it's online", async () => {
      const { client, changes } = await serve({
        [volumes]: [records(), records(volume({ state: "offline", size: undefined })), records(volume())],
        "GET /api/storage/aggregates": records(
          { name: "a1", state: "online", space: { block_storage: { available: 10 } } },
          { name: "a2", state: "online", space: { block_storage: { available: 30 } } },
          { name: "a3", state: "offline" },
          { name: "a4", state: "online", space: { block_storage: { available: 90 } } },
        ),
        "GET /api/svm/svms": records({
          uuid: "u",
          state: "running",
          aggregates: [{ name: "a1" }, { name: "a2" }, { name: "a3" }],
        }),
        "POST /api/storage/volumes": accepted(),
        "GET /api/cluster/jobs/j1": jobSuccess,
      });
      assert.equal((await client.createDestinationVolume({ name: "pool1", sizeBytes: 5 })).state, "online");
      assert.deepEqual(changes()[0]?.body, {
        svm: { name: "svm-idr" },
        name: "pool1",
        type: "dp",
        size: 5,
        aggregates: [{ name: "a2" }],
      });
    });

    it("takes a FlexVol that exists as it is", async () => {
      const { client, changes } = await serve({ [volumes]: records(volume({ type: "rw" })) });
      assert.equal((await client.createDestinationVolume({ name: "pool1", sizeBytes: 5 })).type, "rw");
      assert.equal(changes().length, 0);
    });

    it("splits a clone once, and says when that is done", async () => {
      const clone = (more: object) => records({ uuid: "c1", clone: more });
      const parent = { is_flexclone: true, parent_volume: { name: "pool1" } };
      const { client, changes } = await serve({
        [volumes]: [
          clone(parent),
          clone({ ...parent, split_initiated: true }),
          clone({ ...parent, split_initiated: true }),
          clone({ is_flexclone: false }),
          clone({ is_flexclone: false }),
          records(),
        ],
        "PATCH /api/storage/volumes/c1": accepted(),
        "GET /api/cluster/jobs/j1": jobSuccess,
      });
      assert.equal(await client.splitFlexClone("kept"), false);
      assert.equal(await client.splitFlexClone("kept"), true);
      assert.equal(await client.splitFlexClone("kept"), true);
      assert.deepEqual(
        changes().map((request) => request.body),
        [{ clone: { split_initiated: true } }],
      );
      assert.equal((await failureOf(client.splitFlexClone("kept"))).code, "config");
    });

    it("clones once, and refuses a name that something else has", async () => {
      const clone = { uuid: "c1", clone: { is_flexclone: true, parent_volume: { name: "pool1" } } };
      const { client, changes } = await serve({
        [volumes]: [records(), records(clone)],
        "POST /api/storage/volumes": failure(409, "917526", "duplicate name"),
      });
      await client.cloneFlexVol({ parent: "pool1", name: "kept" });
      await client.cloneFlexVol({ parent: "pool1", name: "kept" });
      assert.deepEqual(
        changes().map((request) => request.body),
        [{ svm: { name: "svm-idr" }, name: "kept", clone: { is_flexclone: true, parent_volume: { name: "pool1" } } }],
      );
      const { client: other } = await serve({ [volumes]: records({ uuid: "v9" }) });
      assert.equal((await failureOf(other.cloneFlexVol({ parent: "pool1", name: "kept" }))).code, "precondition");
    });
  });

  describe("cluster, SVM and peers", () => {
    it("reads version and state, and names an SVM that isn't there", async () => {
      const { client } = await serve({
        "GET /api/cluster": {
          body: { name: "dr", version: { full: "NetApp Release 9.16.1P2", generation: 9, major: 16, minor: 1 } },
        },
        "GET /api/svm/svms": [records({ uuid: "u1", state: "stopped" }), records()],
      });
      assert.deepEqual(await client.getCluster(), { name: "dr", version: "9.16.1" });
      assert.deepEqual(await client.getSvm(), { uuid: "u1", state: "stopped" });
      const error = await failureOf(client.getSvm());
      assert.equal(error.code, "config");
      assert.match(error.attempted, /svm-idr/);
    });

    it("offers with a passphrase that ONTAP makes, accepts with it, and keeps it out of errors", async () => {
      const peers = "POST /api/cluster/peers";
      const { client, changes } = await serve({
        [peers]: [
          {
            status: 201,
            body: {
              num_records: 1,
              records: [
                {
                  uuid: "p1",
                  name: "Clus_abcd",
                  authentication: { passphrase: "p4ss", expiry_time: "2026-11-01T11:00:00+00:00" },
                },
              ],
            },
          },
          failure(400, "4653236", "The passphrase is too short"),
          { status: 201, body: { records: [{ uuid: "p2", name: "x" }], num_records: 1 } },
        ],
        "DELETE /api/cluster/peers/p1": absent,
      });
      const offer = await client.createClusterPeerOffer({ remoteAddresses: ["127.0.1.9"] });
      assert.equal(offer.passphrase, "p4ss");
      const error = await failureOf(
        client.acceptClusterPeer({ remoteAddresses: ["127.0.2.9"], passphrase: offer.passphrase }),
      );
      assert.doesNotMatch(JSON.stringify(error) + error.stack, /p4ss/);
      assert.deepEqual(
        changes().map((request) => request.body),
        [
          { remote: { ip_addresses: ["127.0.1.9"] }, authentication: { generate_passphrase: true } },
          { remote: { ip_addresses: ["127.0.2.9"] }, authentication: { passphrase: "p4ss" } },
        ],
      );
      assert.match(
        (await failureOf(client.createClusterPeerOffer({ remoteAddresses: ["a"] }))).message,
        /holds no passphrase/,
      );
      await client.deleteClusterPeer("p1");
    });

    const svmPeer = (state: string) => ({
      uuid: "sp1",
      name: "svm-iprod",
      svm: { name: "svm-idr" },
      peer: { svm: { name: "svm-iprod" }, cluster: { name: "prod" } },
      state,
      applications: ["snapmirror"],
    });

    it("asks for SVM peering once, and accepts what isn't accepted", async () => {
      const { client, changes } = await serve({
        "GET /api/svm/peers": [records(), records(), records(svmPeer("initiated"))],
        "POST /api/svm/peers": accepted(),
        "GET /api/cluster/jobs/j1": jobSuccess,
        "GET /api/svm/peers/sp1": [{ body: svmPeer("pending") }, { body: svmPeer("peered") }],
        "PATCH /api/svm/peers/sp1": accepted(),
      });
      const wanted = { peerSvm: "svm-iprod", peerCluster: "prod" };
      assert.equal((await client.createSvmPeer(wanted)).state, "initiated");
      assert.equal((await client.createSvmPeer(wanted)).uuid, "sp1");
      await client.acceptSvmPeer("sp1");
      await client.acceptSvmPeer("sp1");
      assert.deepEqual(
        changes().map((request) => [request.line, request.body]),
        [
          [
            "POST /api/svm/peers",
            {
              svm: { name: "svm-idr" },
              peer: { svm: { name: "svm-iprod" }, cluster: { name: "prod" } },
              applications: ["snapmirror"],
            },
          ],
          ["PATCH /api/svm/peers/sp1", { state: "peered" }],
        ],
      );
    });

    it("prefers the SVM's own policy, and doesn't take another SVM's", async () => {
      const policy = (uuid: string, svm?: string) => ({
        uuid,
        name: "p",
        type: "async",
        scope: svm ? "svm" : "cluster",
        ...(svm && { svm: { name: svm } }),
      });
      const { client } = await serve({
        "GET /api/snapmirror/policies": [
          records(policy("1"), policy("2", "svm-idr")),
          records(policy("3", "svm-x"), policy("1")),
          records(),
        ],
        "GET /api/cluster/schedules": [records({ uuid: "s1", name: "hourly", type: "cron" }), records()],
      });
      assert.deepEqual(await client.findPolicy("p"), { uuid: "2", name: "p", type: "async", scope: "svm" });
      assert.equal((await client.findPolicy("p"))?.uuid, "1");
      assert.equal(await client.findPolicy("p"), undefined);
      assert.deepEqual(await client.findSchedule("hourly"), { uuid: "s1", name: "hourly", type: "cron" });
      assert.equal(await client.findSchedule("hourly"), undefined);
    });
  });
});
