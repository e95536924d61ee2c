/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-call -- wire answers are looked at as they come */
import { strict as assert } from "node:assert";
import { request } from "undici";
import {
  createLun,
  idle,
  lunFile,
  mirror,
  peer,
  read,
  relationship,
  setState,
  startPair,
  until,
  write,
  type Pair,
} from "./support";

describe("the simulated REST interface", () => {
  let pair: Pair;
  before(async () => {
    pair = await startPair();
    await createLun(pair.a, "svm_prod", "/vol/vol1/lun1");
    await createLun(pair.a, "svm_prod", "/vol/vol1/lun2");
    await createLun(pair.a, "svm_prod", "/vol/vol2/lun3");
  });
  after(() => pair.close());

  it("answers 401 with ONTAP's text for a wrong password", async () => {
    const answer = await pair.a.withPassword("wrong").get("/cluster");
    assert.equal(answer.status, 401);
    assert.deepEqual(answer.body.error, { message: "User is not authorized.", code: "6691623" });
  });

  it("collapses slashes, takes max_records on instances, and accepts a missing SVM tunnel target as an error only", async () => {
    const answer = await pair.a.get("//cluster/?fields=version&max_records=10000");
    assert.deepEqual([answer.body.version.generation, answer.body.version.major], [9, 16]);
    assert.equal((await pair.a.as("nobody").get("/storage/volumes")).body.error.code, "2621462");
    assert.equal((await pair.b.as("svm_dr").get("/storage/luns")).body.num_records, 0);
  });

  it("pages with next links that lead through all records", async () => {
    const names: string[] = [];
    let next: string | undefined = "/api/storage/luns?max_records=1&fields=name";
    while (next !== undefined) {
      const page = await pair.a.call("GET", next.slice(4), undefined, { accept: "application/json" });
      assert.equal(page.body.num_records, 1);
      names.push(page.body.records[0].name);
      next = page.body._links?.next?.href;
    }
    assert.deepEqual(names, ["/vol/vol1/lun1", "/vol/vol1/lun2", "/vol/vol2/lun3"]);
    assert.deepEqual((await pair.a.get("/storage/luns?return_records=false")).body, { num_records: 3 });
  });

  it("links to records, and leaves links out for application/json", async () => {
    const hal = (await pair.a.get("/storage/luns?name=/vol/vol1/lun1")).body;
    assert.equal(hal.records[0]._links.self.href, `/api/storage/luns/${hal.records[0].uuid as string}`);
    const plain = await pair.a.call("GET", "/storage/luns?name=/vol/vol1/lun1", undefined, {
      accept: "application/json",
    });
    assert.equal(plain.body._links, undefined);
    assert.equal(plain.body.records[0]._links, undefined);
    assert.equal(plain.headers["content-type"], "application/json");
  });

  it("says what it doesn't know, and lists it", async () => {
    const before = pair.simulator.unknown().length;
    for (const [method, url, body, status, code] of [
      ["GET", "/storage/nonsense", undefined, 404, "3"],
      ["GET", "/storage/luns?nonsense=1", undefined, 400, "262250"],
      ["GET", "/storage/luns?fields=nonsense", undefined, 400, "262197"],
      ["POST", "/storage/luns", { name: "/vol/vol1/x", nonsense: 1 }, 400, "262179"],
      ["DELETE", "/cluster", undefined, 405, "3"],
    ] as const) {
      const answer = await pair.a.call(method, url, body);
      assert.deepEqual([answer.status, answer.body.error.code], [status, code], `${method} ${url}`);
    }
    assert.equal(pair.simulator.unknown().length, before + 5);
    assert.equal((await pair.a.get("/storage/luns/no-such-uuid")).body.error.code, "4");
    assert.equal(pair.simulator.unknown().length, before + 5);
  });

  it("ends a job within return_timeout with 200, and forgets it after five minutes", async () => {
    const volume = (await pair.a.get("/storage/volumes?name=vol2")).body.records[0].uuid as string;
    const answer = await pair.a.call("PATCH", `/storage/volumes/${volume}?return_timeout=10`, { comment: "c" });
    assert.equal(answer.status, 200);
    const uuid = answer.body.job.uuid as string;
    const job = await pair.a.get(`/cluster/jobs/${uuid}?fields=message,state`);
    assert.deepEqual([job.body.state, job.body.message], ["success", "success"]);
    pair.simulator.advanceClock(301);
    assert.equal((await pair.a.get(`/cluster/jobs/${uuid}`)).status, 404);
  });

  it("numbers LUN maps from 1 upward in the lowest gap, and refuses a second map to the same igroup", async () => {
    const group = (
      await pair.a.must("POST", "/protocols/san/igroups?return_records=true", {
        svm: { name: "svm_prod" },
        name: "g",
        os_type: "linux",
        protocol: "iscsi",
      })
    ).body.records[0].uuid as string;
    await pair.a.must("POST", `/protocols/san/igroups/${group}/initiators`, { name: "iqn.1993-08.org.debian:01:h" });
    const map = (
      lun: string,
    ): Promise<{ status: number; body: { records?: { logical_unit_number: number }[]; error?: { code: string } } }> =>
      pair.a
        .as("svm_prod")
        .call("POST", "/protocols/san/lun-maps?return_records=true", { "lun.name": lun, "igroup.name": "g" });
    assert.equal((await map("/vol/vol1/lun1")).body.records?.[0]?.logical_unit_number, 1);
    assert.equal((await map("/vol/vol1/lun2")).body.records?.[0]?.logical_unit_number, 2);
    assert.equal((await map("/vol/vol1/lun2")).body.error?.code, "1254207");
    const first = (await pair.a.get("/protocols/san/lun-maps?lun.name=/vol/vol1/lun1&fields=lun.uuid,igroup.uuid")).body
      .records[0];
    const target = `/protocols/san/lun-maps/${first.lun.uuid as string}/${first.igroup.uuid as string}`;
    await pair.a.must("DELETE", target);
    assert.equal((await pair.a.call("DELETE", target)).body.error.code, "5374922");
    assert.equal((await map("/vol/vol2/lun3")).body.records?.[0]?.logical_unit_number, 1);
    const mapped = (await pair.a.get("/storage/luns?name=/vol/vol1/lun2")).body.records[0].uuid as string;
    assert.equal((await pair.a.call("DELETE", `/storage/luns/${mapped}`)).body.error.code, "1254197");
    assert.equal((await pair.a.call("DELETE", `/protocols/san/igroups/${group}`)).body.error.code, "1254213");
    assert.deepEqual(pair.simulator.luns().find((l) => l.uuid === mapped)?.maps, [
      { igroup: "g", initiators: ["iqn.1993-08.org.debian:01:h"], logicalUnitNumber: 2 },
    ]);
  });

  it("clones LUNs within a volume, from the active file system and from a snapshot", async () => {
    const file = lunFile(pair, "prod", "/vol/vol2/lun3");
    await write(file, 0, "old");
    const volume = (await pair.a.get("/storage/volumes?name=vol2")).body.records[0].uuid as string;
    await pair.a.must("POST", `/storage/volumes/${volume}/snapshots`, { name: "s" });
    await write(file, 0, "new");
    for (const [name, source] of [
      ["c1", "/vol/vol2/lun3"],
      ["c2", "/vol/vol2/.snapshot/s/lun3"],
    ] as const) {
      await pair.a.must("POST", "/storage/luns", {
        svm: { name: "svm_prod" },
        name: `/vol/vol2/${name}`,
        clone: { source: { name: source } },
      });
    }
    assert.equal(await read(lunFile(pair, "prod", "/vol/vol2/c1"), 0, 3), "new");
    assert.equal(await read(lunFile(pair, "prod", "/vol/vol2/c2"), 0, 3), "old");
    const serials = pair.simulator.luns().map((l) => l.serial);
    assert.equal(new Set(serials).size, serials.length);
    const again = await pair.a.call("POST", "/storage/luns", {
      svm: { name: "svm_prod" },
      name: "/vol/vol2/c1",
      os_type: "linux",
      "space.size": "1GB",
    });
    assert.equal(again.body.error.code, "5374242");
  });

  it("stops and starts an SVM, whose protocols vanish meanwhile", async () => {
    const svm = (await pair.b.get("/svm/svms?name=svm_dr")).body.records[0].uuid as string;
    await pair.b.must("PATCH", `/svm/svms/${svm}`, { state: "stopped" });
    const stopped = (await pair.b.get(`/svm/svms/${svm}`)).body;
    assert.equal(stopped.state, "stopped");
    assert.equal(stopped.iscsi, undefined);
    assert.equal((await pair.b.get("/network/ip/interfaces?services=data_iscsi&state=up")).body.num_records, 0);
    await pair.b.must("PATCH", `/svm/svms/${svm}`, { state: "running" });
    assert.deepEqual((await pair.b.get(`/svm/svms/${svm}`)).body.iscsi, { allowed: true, enabled: true });
  });

  it("serves its control interface: recorder without secrets, LUNs, faults", async () => {
    const { address, port } = pair.simulator.control;
    const control = async (method: string, path: string, body?: unknown): Promise<unknown> => {
      const answer = await request(`http://${address}:${port}${path}`, {
        method: method as "GET",
        ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
      });
      return answer.body.json();
    };
    const last = pair.simulator.requests().at(-1)?.id ?? 0;
    await pair.a.call("POST", "/cluster/peers", {
      remote: { ip_addresses: ["127.77.2.9"] },
      authentication: { passphrase: "do-not-show-this" },
    });
    await pair.a.get("/cluster");
    const recorded = (await control("GET", `/requests?since=${last}&mutating=true&cluster=prod`)) as {
      path: string;
      body: string;
      status: number;
    }[];
    assert.equal(recorded.length, 1);
    assert.equal(recorded[0]?.path, "/api/cluster/peers");
    assert.equal(recorded[0]?.status, 201);
    assert.doesNotMatch(JSON.stringify(recorded), /do-not-show-this/);
    assert.equal(((await control("GET", "/luns")) as unknown[]).length, pair.simulator.luns().length);
    await control("POST", "/faults", {
      path: "/cluster",
      effect: { kind: "status", status: 503, code: "7", message: "busy" },
    });
    assert.equal((await pair.a.get("/cluster")).status, 503);
    assert.equal((await pair.a.get("/cluster")).status, 200);
    assert.match(
      JSON.stringify(await control("POST", "/faults", { path: "/x", effect: { kind: "nonsense" } })),
      /kind is one of/,
    );
  });
});

describe("faults of the simulator", () => {
  let pair: Pair;
  beforeEach(async () => {
    pair = await startPair();
  });
  afterEach(async () => {
    const unknown = pair.simulator.unknown();
    await pair.close();
    assert.deepEqual(unknown, []);
  });
  const luns = "/storage/luns";
  const body = (name: string): unknown => ({
    svm: { name: "svm_prod" },
    name: `/vol/vol1/${name}`,
    os_type: "linux",
    "space.size": 4096 * 1024,
  });

  it("hit the nth call only, for a count of calls", async () => {
    pair.simulator.addFault({
      method: "GET",
      path: "/storage/*",
      nth: 2,
      count: 2,
      effect: { kind: "status", status: 500, code: "262145", message: "no" },
    });
    const statuses: number[] = [];
    for (let i = 0; i < 4; i++) statuses.push((await pair.a.get("/storage/volumes")).status);
    assert.deepEqual(statuses, [200, 500, 500, 200]);
  });

  it("reset before the work; lose the answer after it", async () => {
    pair.simulator.addFault({ method: "POST", path: luns, effect: { kind: "reset" } });
    await assert.rejects(pair.a.call("POST", luns, body("reset")));
    assert.equal(pair.simulator.luns().length, 0);
    pair.simulator.clearFaults();
    pair.simulator.addFault({ method: "POST", path: luns, effect: { kind: "lost-answer" } });
    await assert.rejects(pair.a.call("POST", luns, body("lost")));
    assert.deepEqual(
      pair.simulator.luns().map((l) => l.path),
      ["/vol/vol1/lost"],
    );
    assert.equal(pair.simulator.requests().filter((r) => r.method === "POST" && r.status === undefined).length, 2);
  });

  it("break an answer off in its middle; answer as before, whatever has changed; say when to come again", async () => {
    const { simulator, a } = pair;
    simulator.addFault({ method: "POST", path: luns, effect: { kind: "half-answer" } });
    await assert.rejects(a.call("POST", luns, body("half")));
    const made = simulator.luns().map((l) => l.path);
    assert.deepEqual(made, ["/vol/vol1/half"]);
    simulator.addFault({ method: "GET", path: luns, count: 0, effect: { kind: "frozen" } });
    const before = (await a.get(luns)).body as unknown;
    await a.call("DELETE", `${luns}?name=${made[0]}&svm.name=svm_prod`);
    assert.deepEqual(simulator.luns(), []);
    assert.deepEqual((await a.get(luns)).body, before);
    simulator.clearFaults();
    assert.notDeepEqual((await a.get(luns)).body, before);
    const headers = { "retry-after": "7" };
    simulator.addFault({ path: luns, effect: { kind: "status", status: 503, code: "1", message: "busy", headers } });
    const busy = await a.get(luns);
    assert.deepEqual([busy.status, busy.headers["retry-after"]], [503, "7"]);
    assert.deepEqual(
      simulator.requests().flatMap(({ fault }) => fault ?? []),
      ["half-answer", "frozen", "frozen", "status"],
    );
  });

  it("leave the calls of others alone where they are meant for one", async () => {
    pair.simulator.addFault({ path: luns, who: "somebody else", effect: { kind: "reset" } });
    assert.equal((await pair.a.get(luns)).status, 200);
    pair.simulator.addFault({ path: luns, who: "", effect: { kind: "reset" } });
    await assert.rejects(pair.a.get(luns));
  });

  it("let a job fail without doing its work", async () => {
    pair.simulator.addFault({
      method: "POST",
      path: "/storage/volumes",
      effect: { kind: "job-failure", code: "917697", message: "no luck" },
    });
    const job = await pair.a.run("POST", "/storage/volumes", {
      svm: { name: "svm_prod" },
      name: "v",
      aggregates: [{ name: "aggr1" }],
      size: "1GB",
    });
    assert.deepEqual(
      [job.body.state, job.body.code, job.body.error.code, job.body.message],
      ["failure", 917697, "917697", "no luck"],
    );
    assert.equal((await pair.a.get("/storage/volumes?name=v")).body.num_records, 0);
  });

  it("cut a cluster off, by refusal or by silence, and bring it back with its state", async () => {
    for (const how of ["refuse", "blackhole"] as const) {
      await pair.simulator.setReachable("prod", false, how);
      const outcome = await Promise.race([
        pair.a.get("/cluster").then(
          () => "answered",
          () => "refused",
        ),
        new Promise<string>((resolve) => setTimeout(() => resolve("silent"), 300)),
      ]);
      assert.equal(outcome, how === "refuse" ? "refused" : "silent");
      assert.equal((await pair.b.get("/cluster")).status, 200);
      await pair.simulator.setReachable("prod", true);
      assert.equal(
        (await until("prod is back", () => pair.a.get("/storage/volumes?name=vol1").catch(() => undefined))).body
          .num_records,
        1,
      );
    }
  });

  it("cut a running transfer: it fails, the destination stays as it was, and a later update mends it", async () => {
    await pair.close();
    pair = await startPair({ timing: { bytesPerSecond: 200_000 } });
    await createLun(pair.a, "svm_prod", "/vol/vol1/lun1");
    await peer(pair);
    const uuid = await mirror(pair);
    await setState(pair.b, uuid, "snapmirrored");
    await idle(pair.b, uuid);
    await write(lunFile(pair, "prod", "/vol/vol1/lun1"), 0, "x".repeat(2_000_000));
    await pair.b.must("POST", `/snapmirror/relationships/${uuid}/transfers`, {});
    await until("bytes on their way", async () =>
      (await relationship(pair.b, uuid)).transfer.bytes_transferred > 0 ? true : undefined,
    );
    await pair.simulator.setReachable("prod", false);
    const r = await idle(pair.b, uuid);
    assert.equal(r.transfer.state, "failed");
    assert.equal(r.healthy, false);
    assert.equal(r.state, "snapmirrored");
    assert.equal(await read(lunFile(pair, "dr", "/vol/vol1/lun1"), 0, 4), "");
  });

  it("fail an update whose source volume is offline: transfer failed, relationship unhealthy", async () => {
    await peer(pair);
    const uuid = await mirror(pair);
    await setState(pair.b, uuid, "snapmirrored");
    await idle(pair.b, uuid);
    const volume = (await pair.a.get("/storage/volumes?name=vol1")).body.records[0].uuid as string;
    await pair.a.must("PATCH", `/storage/volumes/${volume}`, { state: "offline" });
    await pair.b.must("POST", `/snapmirror/relationships/${uuid}/transfers`, {});
    const r = await idle(pair.b, uuid);
    assert.equal(r.transfer.state, "failed");
    assert.match(r.unhealthy_reason[0].message, /Volume is offline/);
    assert.equal((await setState(pair.b, uuid, "broken_off")).body.state, "success");
  });
});

describe("peers and FlexClones of the simulator", () => {
  let pair: Pair;
  beforeEach(async () => {
    pair = await startPair();
  });
  afterEach(() => pair.close());

  it("need both sides: offer, wrong passphrase, right passphrase, SVM peer offered and accepted", async () => {
    const offer = (await pair.a.must("POST", "/cluster/peers", { authentication: { generate_passphrase: true } })).body
      .records[0];
    assert.equal((await pair.a.get(`/cluster/peers/${offer.uuid as string}`)).body.status.state, "unidentified");
    assert.equal(
      (await pair.a.get(`/cluster/peers/${offer.uuid as string}`)).body.authentication.passphrase,
      undefined,
    );
    const accept = (passphrase: string): ReturnType<Pair["b"]["call"]> =>
      pair.b.call("POST", "/cluster/peers", {
        remote: { ip_addresses: ["127.77.1.9"] },
        authentication: { passphrase },
      });
    assert.equal((await accept("not-the-right-one")).status, 201);
    assert.equal((await pair.b.get("/cluster/peers?fields=status.state")).body.records[0].status.state, "pending");
    assert.equal(
      (
        await pair.b.call("POST", "/svm/peers", {
          svm: { name: "svm_dr" },
          peer: { svm: { name: "svm_prod" }, cluster: { name: "prod" } },
          applications: ["snapmirror"],
        })
      ).body.error.code,
      "9896095",
    );
    assert.equal((await accept(offer.authentication.passphrase)).status, 201);
    assert.equal((await pair.a.get("/cluster/peers?fields=status.state")).body.records[0].status.state, "available");
    assert.equal((await pair.a.get(`/cluster/peers/${offer.uuid as string}`)).status, 404);

    const relation = { source: { path: "svm_prod:vol1" }, destination: { path: "svm_dr:vol1" } };
    await pair.b.must("POST", "/storage/volumes", {
      svm: { name: "svm_dr" },
      name: "vol1",
      type: "dp",
      size: "1GB",
      aggregates: [{ name: "aggr1" }],
    });
    assert.equal((await pair.b.call("POST", "/snapmirror/relationships", relation)).body.error.code, "6620384");
    await pair.b.must("POST", "/svm/peers", {
      svm: { name: "svm_dr" },
      peer: { svm: { name: "svm_prod" }, cluster: { name: "prod" } },
      applications: ["snapmirror"],
    });
    const [mine, theirs] = [
      (await pair.b.get("/svm/peers?fields=state")).body.records[0],
      (await pair.a.get("/svm/peers?fields=state")).body.records[0],
    ];
    assert.deepEqual([mine.state, theirs.state, mine.uuid], ["initiated", "pending", theirs.uuid]);
    assert.equal(
      (await pair.b.run("PATCH", `/svm/peers/${mine.uuid as string}`, { state: "peered" })).body.error.code,
      "26345576",
    );
    await pair.a.must("PATCH", `/svm/peers/${mine.uuid as string}`, { state: "peered" });
    await pair.b.must("POST", "/snapmirror/relationships", relation);
    assert.equal((await pair.b.run("DELETE", `/svm/peers/${mine.uuid as string}`)).body.error.code, "9896077");
  });

  it("clone a mirror's destination read-write, pinning its snapshot", async () => {
    await createLun(pair.a, "svm_prod", "/vol/vol1/lun1");
    await write(lunFile(pair, "prod", "/vol/vol1/lun1"), 0, "mirrored");
    await peer(pair);
    const uuid = await mirror(pair);
    await setState(pair.b, uuid, "snapmirrored");
    const { exported_snapshot: snapshot } = await idle(pair.b, uuid);
    await pair.b.must("POST", "/storage/volumes", {
      svm: { name: "svm_dr" },
      name: "drill",
      clone: { is_flexclone: true, parent_volume: { name: "vol1" }, parent_snapshot: { name: snapshot } },
    });
    const clone = (await pair.b.get("/storage/volumes?name=drill&fields=type,clone")).body.records[0];
    assert.deepEqual([clone.type, clone.clone.parent_snapshot.name], ["rw", snapshot]);
    const file = lunFile(pair, "dr", "/vol/drill/lun1");
    assert.equal(await read(file, 0, 8), "mirrored");
    await write(file, 0, "drilled!");
    assert.equal(await read(lunFile(pair, "dr", "/vol/vol1/lun1"), 0, 8), "mirrored");
    const parent = (await pair.b.get("/storage/volumes?name=vol1")).body.records[0].uuid as string;
    assert.equal(
      (
        await pair.b.get(`/storage/volumes/${parent}/snapshots?name=${snapshot as string}&fields=owners`)
      ).body.records[0].owners.includes("volume_clone"),
      true,
    );
    assert.equal((await pair.b.run("DELETE", `/storage/volumes/${parent}`)).body.error.code, "524615");
    await pair.b.must("DELETE", `/storage/volumes/${clone.uuid as string}`);
    assert.equal((await pair.b.run("DELETE", `/storage/volumes/${parent}`)).body.error.code, "524486");
  });
});
