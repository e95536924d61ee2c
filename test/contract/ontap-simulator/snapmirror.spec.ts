/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-argument, @typescript-eslint/no-unsafe-return -- wire answers are looked at as they come */
import { strict as assert } from "node:assert";
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

describe("simulated SnapMirror", () => {
  let pair: Pair;
  const mirrored = async (): Promise<string> => {
    await peer(pair);
    const uuid = await mirror(pair);
    await setState(pair.b, uuid, "snapmirrored");
    await idle(pair.b, uuid);
    return uuid;
  };
  beforeEach(async () => {
    pair = await startPair();
    await createLun(pair.a, "svm_prod", "/vol/vol1/lun1");
    await write(lunFile(pair, "prod", "/vol/vol1/lun1"), 4096, "first");
  });
  afterEach(async () => {
    const unknown = pair.simulator.unknown();
    await pair.close();
    assert.deepEqual(unknown, []);
  });

  it("initialises a dp volume with the source's bytes, under uuid and serial of its own", async () => {
    await peer(pair);
    const uuid = await mirror(pair);
    const before = await relationship(pair.b, uuid);
    assert.equal(before.state, "uninitialized");
    assert.equal(before.transfer, undefined);
    assert.equal(before.lag_time, undefined);
    await setState(pair.b, uuid, "snapmirrored");
    const after = await idle(pair.b, uuid);
    assert.equal(after.state, "snapmirrored");
    assert.equal(after.transfer.state, "success");
    assert.equal(after.last_transfer_type, "initialize");
    assert.equal(after.transfer.bytes_transferred, 4096);
    assert.match(after.exported_snapshot, /^snapmirror\.[0-9a-f-]{36}_\d+\.\d{4}-\d\d-\d\d_\d{6}$/);
    assert.equal(await read(lunFile(pair, "dr", "/vol/vol1/lun1"), 4096, 8), "first");
    const [prod, dr] = ["prod", "dr"].map((c) => pair.simulator.luns().find((l) => l.cluster === c));
    assert.notEqual(prod?.serial, dr?.serial);
    assert.notEqual(prod?.uuid, dr?.uuid);
    const lun = (await pair.b.get("/storage/luns?fields=status,serial_number")).body.records[0];
    assert.equal(lun.status.read_only, true);
    assert.equal(lun.serial_number.length, 12);
  });

  it("updates by delta, and carries LUN create, resize and delete along", async () => {
    const uuid = await mirrored();
    const source = lunFile(pair, "prod", "/vol/vol1/lun1");
    await write(source, 8192, "second");
    await write(source, 4096, "first"); // rewritten, not changed
    await createLun(pair.a, "svm_prod", "/vol/vol1/lun2", 4);
    assert.equal((await pair.b.call("POST", `/snapmirror/relationships/${uuid}/transfers`, {})).status, 201);
    const r = await idle(pair.b, uuid);
    assert.equal(r.last_transfer_type, "update");
    assert.equal(r.transfer.bytes_transferred, 4096);
    assert.equal(await read(lunFile(pair, "dr", "/vol/vol1/lun1"), 8192, 8), "second");

    const lun2 = pair.simulator.luns().find((l) => l.cluster === "prod" && l.path.endsWith("lun2"));
    await pair.a.must("PATCH", `/storage/luns/${lun2?.uuid ?? ""}`, { space: { size: 8 * 2 ** 20 } });
    await pair.a.must("DELETE", "/storage/luns/?name=/vol/vol1/lun1&svm=svm_prod&allow_delete_while_mapped=true");
    await pair.b.must("POST", `/snapmirror/relationships/${uuid}/transfers`, {});
    await idle(pair.b, uuid);
    assert.deepEqual(
      pair.simulator
        .luns()
        .filter((l) => l.cluster === "dr")
        .map((l) => [l.path, l.sizeBytes]),
      [["/vol/vol1/lun2", 8 * 2 ** 20]],
    );
  });

  it("breaks, diverges, and a resync throws away exactly what is newer than the common snapshot", async () => {
    const uuid = await mirrored();
    await setState(pair.b, uuid, "paused");
    assert.equal((await relationship(pair.b, uuid)).state, "paused");
    await setState(pair.b, uuid, "broken_off");
    const broken = await relationship(pair.b, uuid);
    assert.equal(broken.state, "broken_off");
    assert.equal(broken.transfer.state, "success");
    assert.equal((await pair.b.get("/storage/volumes?name=vol1&fields=type")).body.records[0].type, "rw");

    const destination = lunFile(pair, "dr", "/vol/vol1/lun1");
    await write(destination, 4096, "dr-only");
    await createLun(pair.b, "svm_dr", "/vol/vol1/new-at-dr");
    await write(lunFile(pair, "prod", "/vol/vol1/lun1"), 65536, "prod-only");
    assert.equal(await read(lunFile(pair, "prod", "/vol/vol1/lun1"), 4096, 8), "first");

    await setState(pair.b, uuid, "snapmirrored");
    const r = await idle(pair.b, uuid);
    assert.equal(r.state, "snapmirrored");
    assert.equal(r.last_transfer_type, "resync");
    assert.equal(r.transfer.bytes_transferred, 4096);
    assert.equal(lunFile(pair, "dr", "/vol/vol1/lun1"), destination);
    assert.equal(await read(destination, 4096, 8), "first");
    assert.equal(await read(destination, 65536, 16), "prod-only");
    assert.deepEqual(
      pair.simulator
        .luns()
        .filter((l) => l.cluster === "dr")
        .map((l) => l.path),
      ["/vol/vol1/lun1"],
    );
    assert.equal((await pair.b.get("/storage/volumes?name=vol1&fields=type")).body.records[0].type, "dp");
  });

  it("reverses by PATCH with swapped paths: the relationship moves, the other way round, by delta", async () => {
    const uuid = await mirrored();
    await setState(pair.b, uuid, "broken_off");
    await write(lunFile(pair, "dr", "/vol/vol1/lun1"), 1 << 20, "written at dr");
    const serial = pair.simulator.luns().find((l) => l.cluster === "prod")?.serial;
    await pair.b.must("PATCH", `/snapmirror/relationships/${uuid}`, {
      source: { path: "svm_dr:vol1" },
      destination: { path: "svm_prod:vol1" },
      state: "snapmirrored",
    });
    assert.equal((await pair.b.get("/snapmirror/relationships")).body.num_records, 0);
    const moved = (await pair.a.get("/snapmirror/relationships?destination.path=svm_prod:vol1")).body.records[0];
    const r = await idle(pair.a, moved.uuid);
    assert.equal(r.source.path, "svm_dr:vol1");
    assert.equal(r.state, "snapmirrored");
    assert.equal(r.transfer.bytes_transferred, 4096);
    assert.equal(await read(lunFile(pair, "prod", "/vol/vol1/lun1"), 1 << 20, 32), "written at dr");
    assert.equal(pair.simulator.luns().find((l) => l.cluster === "prod")?.serial, serial);
    assert.equal((await pair.a.get("/storage/volumes?name=vol1&fields=type")).body.records[0].type, "dp");
    assert.equal((await pair.b.get("/snapmirror/relationships?list_destinations_only=true")).body.num_records, 1);
  });

  it("refuses what the state machine refuses", async () => {
    await peer(pair);
    const uuid = await mirror(pair);
    const refusal = async (state: string): Promise<string | undefined> =>
      (await setState(pair.b, uuid, state)).body.error?.code;
    assert.equal(await refusal("broken_off"), "13303808");
    assert.equal(await refusal("paused"), "13303809");
    assert.equal(await refusal("in_sync"), "13303831");
    assert.equal(await refusal("nonsense"), "13303817");
    await setState(pair.b, uuid, "snapmirrored");
    await idle(pair.b, uuid);
    assert.equal((await setState(pair.b, uuid, "snapmirrored")).body.state, "success");
    await setState(pair.b, uuid, "broken_off");
    assert.equal(await refusal("paused"), "13303818");
    const update = await pair.b.call("POST", `/snapmirror/relationships/${uuid}/transfers`, {});
    assert.equal(update.status, 400);
    assert.equal(update.body.error.code, "13303844");
    const again = await pair.b.call("POST", "/snapmirror/relationships", {
      source: { path: "svm_prod:vol1" },
      destination: { path: "svm_dr:vol1" },
    });
    assert.equal(again.body.error.code, "6619637");
    assert.equal(
      (await pair.b.call("PATCH", `/snapmirror/relationships/${uuid}?force=true`, { state: "snapmirrored" })).body.error
        .code,
      "13303835",
    );
  });

  it("refuses a resync without a common snapshot, and leaves the destination as it is", async () => {
    const uuid = await mirrored();
    await setState(pair.b, uuid, "broken_off");
    await pair.b.must("DELETE", `/snapmirror/relationships/${uuid}`);
    assert.equal((await pair.a.get("/snapmirror/relationships?list_destinations_only=true")).body.num_records, 0);
    await pair.b.must("POST", "/snapmirror/relationships", {
      source: { path: "svm_prod:vol1" },
      destination: { path: "svm_dr:vol1" },
      policy: { name: "MirrorAllSnapshots" },
    });
    const again = (await pair.b.get("/snapmirror/relationships?fields=state")).body.records[0];
    assert.equal(again.state, "broken_off");
    const answer = await setState(pair.b, again.uuid, "snapmirrored");
    assert.equal(answer.body.error.code, "13303810");
    assert.match(answer.body.error.message, /common snapshot/);
    const r = await relationship(pair.b, again.uuid);
    assert.equal(r.healthy, false);
    assert.equal(r.state, "broken_off");
    assert.equal(await read(lunFile(pair, "dr", "/vol/vol1/lun1"), 4096, 8), "first");
  });

  it("fails updates while the peer is unreachable, and still breaks", async () => {
    const uuid = await mirrored();
    await pair.simulator.setReachable("prod", false);
    await assert.rejects(pair.a.get("/cluster"));
    const update = await pair.b.call("POST", `/snapmirror/relationships/${uuid}/transfers`, {});
    assert.equal(update.body.error.code, "13303844");
    const r = await relationship(pair.b, uuid);
    assert.equal(r.healthy, false);
    assert.equal(r.unhealthy_reason[0].code, "262224");
    assert.equal((await pair.b.get("/cluster/peers?fields=status.state")).body.records[0].status.state, "unavailable");
    assert.equal((await setState(pair.b, uuid, "paused")).body.state, "success");
    assert.equal((await setState(pair.b, uuid, "broken_off")).body.state, "success");
    assert.equal((await setState(pair.b, uuid, "snapmirrored")).body.error.code, "13303810");
    await pair.simulator.setReachable("prod", true);
    assert.equal((await pair.a.get("/snapmirror/relationships?list_destinations_only=true")).body.num_records, 1);
    await setState(pair.b, uuid, "snapmirrored");
    assert.equal((await idle(pair.b, uuid)).healthy, true);
  });

  it("lets the lag grow on its own clock, and runs schedules on it", async () => {
    const uuid = await mirrored();
    pair.simulator.advanceClock(26 * 3600);
    assert.match((await relationship(pair.b, uuid)).lag_time, /^P1DT2H/);
    await pair.b.must("PATCH", `/snapmirror/relationships/${uuid}`, { transfer_schedule: { name: "hourly" } });
    pair.simulator.advanceClock(3600);
    await until("a scheduled update", async () =>
      (await relationship(pair.b, uuid)).last_transfer_type === "update" ? true : undefined,
    );
    assert.match((await relationship(pair.b, uuid)).lag_time, /^PT\d+S$/);
  });

  it("keeps one snapshot of its own at the source and two at the destination", async () => {
    const uuid = await mirrored();
    for (let i = 0; i < 3; i++) {
      await pair.b.must("POST", `/snapmirror/relationships/${uuid}/transfers`, {});
      await idle(pair.b, uuid);
    }
    const count = async (client: Pair["a"]): Promise<number> => {
      const volume = (await client.get("/storage/volumes?name=vol1")).body.records[0].uuid as string;
      return (await client.get(`/storage/volumes/${volume}/snapshots?name=snapmirror.*`)).body.num_records as number;
    };
    assert.equal(await count(pair.a), 1);
    assert.equal(await count(pair.b), 2);
    const volume = (await pair.a.get("/storage/volumes?name=vol1")).body.records[0].uuid as string;
    const snapshot = (await pair.a.get(`/storage/volumes/${volume}/snapshots?fields=owners`)).body.records[0];
    assert.deepEqual(snapshot.owners, ["snapmirror_dependent"]);
    assert.equal(
      (await pair.a.run("DELETE", `/storage/volumes/${volume}/snapshots/${snapshot.uuid as string}`)).body.error.code,
      "1638543",
    );
  });
});

describe("simulated SnapMirror with slow transfers", () => {
  let pair: Pair;
  afterEach(() => pair.close());

  it("refuses to break while transferring, waits with a quiesce, and an abort leaves the destination unchanged", async () => {
    pair = await startPair({ timing: { transferLatencyMs: 60_000 } });
    await createLun(pair.a, "svm_prod", "/vol/vol1/lun1");
    await peer(pair);
    const uuid = await mirror(pair);
    await setState(pair.b, uuid, "snapmirrored");
    const running = await relationship(pair.b, uuid);
    assert.equal(running.transfer.state, "transferring");
    assert.match((await setState(pair.b, uuid, "broken_off")).body.error.message, /Another transfer is in progress/);
    const second = await pair.b.call("POST", `/snapmirror/relationships/${uuid}/transfers`, {});
    assert.equal(second.body.error.code, "13303812");
    assert.match(second.body.error.message, /Another transfer is in progress/);
    assert.equal(
      (await pair.b.get(`/snapmirror/relationships/${uuid}/transfers/?state=transferring`)).body.num_records,
      1,
    );
    await pair.b.must("PATCH", `/snapmirror/relationships/${uuid}/transfers/${running.transfer.uuid as string}`, {
      state: "aborted",
    });
    const r = await relationship(pair.b, uuid);
    assert.equal(r.transfer.state, "aborted");
    assert.equal(r.state, "uninitialized");
    assert.equal(pair.simulator.luns().filter((l) => l.cluster === "dr").length, 0);
  });
});
