import assert from "node:assert/strict";
import { OntapClient } from "../../../lib/ontap/client";
import { eventually, failureOf, mirrorOf, startPair } from "./pair";
import type { Pair, PairOptions } from "./pair";

const mebibyte = 2 ** 20;

describe("OntapClient against the ONTAP simulator", () => {
  let pair: Pair;
  const start = async (options: PairOptions = {}) => (pair = await startPair({ timing: { jobMs: 20 }, ...options }));
  afterEach(() => pair.close());

  /** Requests that changed something at a cluster since the last call. */
  let seenUpTo = 0;
  const changes = (cluster: string) => {
    const all = pair.simulator.requests({ mutating: true, since: seenUpTo });
    seenUpTo = pair.simulator.requests().at(-1)?.id ?? 0;
    return all
      .filter((request) => request.cluster === `cluster-${cluster}`)
      .map((request) => `${request.method} ${request.path}`);
  };
  beforeEach(() => (seenUpTo = 0));

  describe("reading", () => {
    it("tells cluster, SVM, iSCSI target, schedules and policies", async () => {
      const { iprod, idr } = await start();
      assert.deepEqual(await iprod.getCluster(), { name: "cluster-iprod", version: "9.16.1" });
      const svm = await iprod.getSvm();
      assert.equal(svm.state, "running");
      const target = await iprod.getIscsiTarget();
      assert.match(target.iqn, /^iqn\.1992-08\.com\.netapp:sn\.[0-9a-f]{32}:vs\.\d+$/);
      assert.notEqual(target.iqn, (await idr.getIscsiTarget()).iqn);
      assert.equal(target.enabled, true);
      assert.deepEqual([...target.portals].sort(), ["127.66.1.1:3260", "127.66.1.2:3260"]);
      assert.deepEqual(await iprod.listInterclusterAddresses(), ["127.66.1.9"]);
      assert.equal((await iprod.findSchedule("hourly"))?.type, "cron");
      assert.equal(await iprod.findSchedule("never"), undefined);
      assert.equal((await iprod.findPolicy("MirrorAllSnapshots"))?.type, "async");
      assert.equal(await iprod.findPolicy("none"), undefined);
    });

    it("tells a stopped SVM, and one that doesn't exist", async () => {
      const { iprod, raw } = await start();
      const { uuid } = await iprod.getSvm();
      await raw(0, "PATCH", `/svm/svms/${uuid}`, { state: "stopped" });
      await eventually(async () => {
        const svm = await iprod.getSvm();
        return svm.state === "stopped" ? { done: svm } : { seen: svm };
      });
      const options = { site: "x", svm: "svm-x", address: "127.0.0.1", port: pair.simulator.clusters[0]?.port ?? 0 };
      const other = new OntapClient({ ...options, username: "admin", password: "Netapp1!", caFile: pair.caFile });
      assert.equal((await failureOf(other.getSvm())).code, "config");
      const stranger = new OntapClient({ ...options, username: "admin", password: "wrong", caFile: pair.caFile });
      assert.equal((await failureOf(stranger.getSvm())).context["status"], 401);
      await other.close();
      await stranger.close();
    });

    it("follows pages of every list", async () => {
      const { iprod, createLun, raw } = await start({ client: { pageSize: 2 } });
      const paths = ["a", "b", "c", "d", "e"].map((name) => `/vol/pool1/volume-${name}`);
      for (const path of [...paths, "/vol/pool2/volume-z"]) await createLun(path);
      assert.deepEqual((await iprod.listFlexVols()).map((each) => [each.name, each.type, each.sizeBytes]).sort(), [
        ["pool1", "rw", 200 * mebibyte],
        ["pool2", "rw", 200 * mebibyte],
      ]);
      const luns = await iprod.listLuns(["pool1"]);
      assert.deepEqual(luns.map((lun) => lun.path).sort(), paths);
      for (const lun of luns) assert.equal(lun.serial.length, 12);
      assert.equal((await iprod.listLuns(["pool1", "pool2"])).length, 6);
      const pages = pair.simulator
        .requests()
        .filter((request) => request.path.endsWith("/storage/luns") && request.query.includes("start."));
      assert.ok(pages.length >= 4, `${pages.length} further pages were asked for`);

      await raw(0, "POST", "/protocols/san/igroups", {
        svm: { name: "svm-iprod" },
        name: "openstack-1",
        protocol: "iscsi",
        os_type: "linux",
      });
      for (const path of [...paths, "/vol/pool2/volume-z"])
        await raw(0, "POST", "/protocols/san/lun-maps", {
          svm: { name: "svm-iprod" },
          lun: { name: path },
          igroup: { name: "openstack-1" },
        });
      const maps = await iprod.listLunMaps(["pool1"]);
      assert.deepEqual(maps.map((map) => map.lunPath).sort(), paths);
      assert.deepEqual([...new Set(maps.map((map) => map.logicalUnitNumber))].length, 5);

      for (const map of maps) await iprod.deleteLunMap(map);
      const [first] = maps;
      assert.ok(first);
      await iprod.deleteLunMap(first);
      assert.deepEqual(await iprod.listLunMaps(["pool1"]), []);
      assert.equal((await iprod.listLunMaps(["pool2"])).length, 1);
    });
  });

  describe("peering", () => {
    it("goes from nothing to peered, and repeats without a change", async () => {
      const { iprod, idr } = await start();
      assert.deepEqual(await iprod.listClusterPeers(), []);
      assert.deepEqual(await iprod.listSvmPeers(), []);

      const offer = await idr.createClusterPeerOffer({ remoteAddresses: ["127.66.1.9"] });
      assert.ok(offer.passphrase.length >= 8);
      assert.equal((await idr.listClusterPeers())[0]?.state, "pending");
      const wrong = await failureOf(iprod.acceptClusterPeer({ remoteAddresses: ["127.66.2.9"], passphrase: "short" }));
      assert.equal(wrong.context["vendorCode"], "4653236");
      await iprod.acceptClusterPeer({ remoteAddresses: ["127.66.2.9"], passphrase: offer.passphrase });
      for (const client of [iprod, idr]) {
        const [peer] = await client.listClusterPeers();
        assert.equal(peer?.state, "available");
        assert.equal(peer.authentication, "ok");
      }
      assert.deepEqual(
        (await iprod.listClusterPeers()).map((peer) => [peer.name, peer.remoteAddresses]),
        [["cluster-idr", ["127.66.2.9"]]],
      );

      const asked = await idr.createSvmPeer({ peerSvm: "svm-iprod", peerCluster: "cluster-iprod" });
      assert.equal(asked.state, "initiated");
      const [pending] = await iprod.listSvmPeers();
      assert.equal(pending?.state, "pending");
      assert.equal(pending.uuid, asked.uuid);
      await iprod.acceptSvmPeer(asked.uuid);
      for (const client of [iprod, idr]) assert.equal((await client.listSvmPeers())[0]?.state, "peered");

      changes("idr");
      assert.equal((await idr.createSvmPeer({ peerSvm: "svm-iprod", peerCluster: "cluster-iprod" })).state, "peered");
      await iprod.acceptSvmPeer(asked.uuid);
      assert.deepEqual(changes("idr"), []);

      const [clusterPeer] = await idr.listClusterPeers();
      assert.ok(clusterPeer);
      assert.equal((await failureOf(idr.deleteClusterPeer(clusterPeer.uuid))).context["vendorCode"], "4653079");
      for (let repeat = 0; repeat < 2; repeat++) await idr.deleteSvmPeer(asked.uuid);
      for (let repeat = 0; repeat < 2; repeat++) await idr.deleteClusterPeer(clusterPeer.uuid);
      assert.deepEqual(await idr.listClusterPeers(), []);
      assert.deepEqual(await iprod.listSvmPeers(), []);
    });

    it("finds the SVM peer that a lost answer left behind", async () => {
      const { iprod, idr, simulator } = await start({ timing: { jobMs: 0 } });
      const offer = await idr.createClusterPeerOffer({ remoteAddresses: ["127.66.1.9"] });
      await iprod.acceptClusterPeer({ remoteAddresses: ["127.66.2.9"], passphrase: offer.passphrase });
      simulator.addFault({
        cluster: "cluster-idr",
        method: "POST",
        path: "/svm/peers",
        effect: { kind: "lost-answer" },
      });
      const wanted = { peerSvm: "svm-iprod", peerCluster: "cluster-iprod" };
      // The job may still run when the client looks: then it says so, and a repeat finds the record.
      const peer = await idr.createSvmPeer(wanted).catch(() => idr.createSvmPeer(wanted));
      assert.ok(["initiated", "peered"].includes(peer.state));
      assert.equal((await idr.listSvmPeers()).length, 1);
    });
  });

  describe("mirrors", () => {
    it("are created once, initialised, and tell lag and transfer", async () => {
      const { iprod, idr, simulator, mirror, createLun } = await start();
      await createLun("/vol/pool1/volume-1");
      const first = await mirror();
      assert.deepEqual(first.source, { svm: "svm-iprod", flexVol: "pool1" });
      assert.deepEqual(first.destination, { svm: "svm-idr", flexVol: "pool1" });
      assert.equal(first.healthy, true);
      assert.equal(first.policy, "MirrorAllSnapshots");
      assert.ok(first.exportedSnapshot);
      simulator.advanceClock(26 * 3600);
      const [aged] = await idr.listMirrors(["pool1"]);
      assert.ok((aged?.lagSeconds ?? 0) >= 26 * 3600 && (aged?.lagSeconds ?? 0) < 27 * 3600, `lag ${aged?.lagSeconds}`);

      changes("idr");
      const again = await idr.createMirror({
        sourceSvm: "svm-iprod",
        destinationSvm: "svm-idr",
        flexVol: "pool1",
        policy: "MirrorAllSnapshots",
      });
      assert.equal(again, first.uuid);
      await idr.setMirrorState(first.uuid, "snapmirrored");
      assert.equal((await idr.createDestinationVolume({ name: "pool1", sizeBytes: 1 })).type, "dp");
      assert.deepEqual(changes("idr"), []);
      assert.deepEqual(await iprod.listMirrors(["pool1"]), []);

      const common = (await idr.listSnapshots("pool1")).map((each) => each.versionUuid);
      assert.ok((await iprod.listSnapshots("pool1")).some((each) => common.includes(each.versionUuid)));
      const [here] = await iprod.listLuns(["pool1"]);
      const [there] = await idr.listLuns(["pool1"]);
      assert.equal(there?.path, here?.path);
      assert.notEqual(there?.serial, here?.serial);
    });

    it("are found after a lost answer, and refused without peering or a volume", async () => {
      const { idr, simulator, peer } = await start();
      const wanted = {
        sourceSvm: "svm-iprod",
        destinationSvm: "svm-idr",
        flexVol: "pool1",
        policy: "MirrorAllSnapshots",
        schedule: "hourly",
      };
      assert.equal((await failureOf(idr.createMirror(wanted))).code, "remote");
      await peer();
      assert.equal((await failureOf(idr.createMirror(wanted))).context["vendorCode"], "917927");
      await idr.createDestinationVolume({ name: "pool1", sizeBytes: 200 * mebibyte, aggregate: "aggr2_idr" });
      simulator.addFault({ method: "POST", path: "/snapmirror/relationships", effect: { kind: "lost-answer" } });
      const uuid = await idr.createMirror(wanted).catch(() => idr.createMirror(wanted));
      assert.equal((await idr.listMirrors(["pool1", "pool2"])).length, 1);
      assert.equal((await idr.listMirrors(["pool1"]))[0]?.uuid, uuid);
    });

    it("tell a failed job with its code", async () => {
      const { idr, simulator, mirror } = await start();
      const { uuid } = await mirror();
      simulator.addFault({
        method: "PATCH",
        path: "/snapmirror/relationships/*",
        effect: { kind: "job-failure", code: "13303824", message: "Quiescing the SnapMirror relationship has failed" },
      });
      const error = await failureOf(idr.setMirrorState(uuid, "paused"));
      assert.equal(error.context["vendorCode"], "13303824");
      assert.match(error.message, /Quiesce SnapMirror svm-iprod:pool1 → svm-idr:pool1/);
    });
  });

  describe("transfers", () => {
    it("are our own, end in success and take their bytes along", async () => {
      const { idr, mirror, createLun } = await start();
      const { uuid } = await mirror();
      await createLun("/vol/pool1/volume-late");
      assert.deepEqual(await idr.listLuns(["pool1"]), []);
      const known = (await idr.listMirrors(["pool1"])).map((relationship) => relationship.transfer?.uuid);
      const transfer = await idr.startTransfer(uuid);
      assert.ok(!known.includes(transfer));
      await eventually(async () => {
        const { state } = await idr.getTransfer(uuid, transfer);
        return state === "success" ? { done: state } : { seen: state };
      });
      assert.equal((await idr.listLuns(["pool1"])).length, 1);
    });

    it("are refused for now while another one runs, and can be aborted", async () => {
      const { idr, mirror } = await start({ timing: { jobMs: 5, transferLatencyMs: 1_500 } });
      const { uuid } = await mirror();
      const transfer = await idr.startTransfer(uuid);
      assert.equal((await idr.listMirrors(["pool1"]))[0]?.transfer?.uuid, transfer);
      const refused = await failureOf(idr.startTransfer(uuid));
      assert.equal(refused.context["vendorCode"], "13303844");
      assert.equal(refused.retryable, true);
      await idr.abortTransfer(uuid, transfer);
      await eventually(async () => {
        const { state } = await idr.getTransfer(uuid, transfer);
        return state === "aborted" ? { done: state } : { seen: state };
      });
      await idr.abortTransfer(uuid, transfer);
      await idr.abortTransfer(uuid, "00000000-0000-4000-8000-000000000000");
    });

    it("are refused for good by a mirror that is broken off", async () => {
      const { idr, mirror } = await start();
      const { uuid } = await mirror();
      await idr.setMirrorState(uuid, "paused");
      await idr.setMirrorState(uuid, "broken_off");
      const refused = await failureOf(idr.startTransfer(uuid));
      assert.equal(refused.context["vendorCode"], "13303844");
      assert.equal(refused.retryable, false);
    });
  });

  describe("states", () => {
    it("go from snapmirrored over paused to broken_off and back, each asked for twice", async () => {
      const { idr, mirror } = await start();
      const { uuid } = await mirror();
      for (const state of ["paused", "broken_off", "snapmirrored"] as const) {
        await idr.setMirrorState(uuid, state);
        await mirrorOf(idr, (each) => each.state === state);
        const [volume] = await idr.listFlexVols();
        assert.equal(volume?.type, state === "broken_off" ? "rw" : "dp");
        changes("idr");
        await idr.setMirrorState(uuid, state);
        assert.deepEqual(changes("idr"), []);
      }
    });

    it("wait in paused for a running transfer", async () => {
      const { idr, mirror } = await start({ timing: { jobMs: 5, transferLatencyMs: 200 } });
      const { uuid } = await mirror();
      const transfer = await idr.startTransfer(uuid);
      await idr.setMirrorState(uuid, "paused");
      const paused = await mirrorOf(idr, (each) => each.state === "paused");
      assert.equal(paused.transfer?.state, "success");
      assert.equal((await idr.getTransfer(uuid, transfer)).state, "success");
    });

    it("tell a break during a transfer as something that passes", async () => {
      const { idr, mirror } = await start({ timing: { jobMs: 5, transferLatencyMs: 1_500 } });
      const { uuid } = await mirror();
      await idr.startTransfer(uuid);
      const refused = await failureOf(idr.setMirrorState(uuid, "broken_off"));
      assert.equal(refused.context["vendorCode"], "13303808");
      assert.equal(refused.retryable, true);
    });

    it("break with the source's cluster gone, also after a failed update, and say that a resync must wait for it", async () => {
      const { idr, iprod, simulator, mirror } = await start();
      const { uuid } = await mirror();
      await simulator.setReachable("cluster-iprod", false);
      assert.equal((await failureOf(iprod.getCluster())).code, "unreachable");
      const update = await failureOf(idr.startTransfer(uuid));
      assert.equal(update.context["vendorCode"], "13303844");
      const [sick] = await idr.listMirrors(["pool1"]);
      assert.equal(sick?.healthy, false);
      assert.ok(sick.unhealthyReasons.length > 0);
      await idr.setMirrorState(uuid, "paused");
      await idr.setMirrorState(uuid, "broken_off");
      await idr.setMirrorState(uuid, "broken_off");
      assert.equal((await idr.listFlexVols())[0]?.type, "rw");

      const resync = await failureOf(idr.setMirrorState(uuid, "snapmirrored"));
      assert.equal(resync.context["vendorCode"], "13303810");
      assert.match(resync.message, /svm-iprod:pool1 → svm-idr:pool1/);
      await simulator.setReachable("cluster-iprod", true);
      await idr.setMirrorState(uuid, "snapmirrored");
      await mirrorOf(
        idr,
        (each) => each.state === "snapmirrored" && each.healthy && each.transfer?.state === "success",
      );
    });

    it("say after a blackhole's deadline that the cluster is unreachable", async () => {
      const { iprod, simulator } = await start({ client: { timeoutMs: 300 } });
      await iprod.getCluster();
      await simulator.setReachable("cluster-iprod", false, "blackhole");
      assert.equal((await failureOf(iprod.getCluster())).code, "unreachable");
    });

    it("take a break whose answer was lost as done", async () => {
      const { idr, simulator, mirror } = await start({ timing: { jobMs: 0 } });
      const { uuid } = await mirror();
      await idr.setMirrorState(uuid, "paused");
      simulator.addFault({ method: "PATCH", path: "/snapmirror/relationships/*", effect: { kind: "lost-answer" } });
      await idr.setMirrorState(uuid, "broken_off").catch(() => idr.setMirrorState(uuid, "broken_off"));
      assert.equal((await idr.listMirrors(["pool1"]))[0]?.state, "broken_off");
    });
  });

  describe("reversal", () => {
    it("turns a mirror round by its paths, once, and back", async () => {
      const { iprod, idr, mirror } = await start();
      const original = await mirror();
      await idr.setMirrorState(original.uuid, "paused");
      await idr.setMirrorState(original.uuid, "broken_off");
      await idr.reverseMirror(original);
      const turned = await mirrorOf(
        iprod,
        (each) => each.state === "snapmirrored" && each.transfer?.state === "success",
      );
      assert.deepEqual(turned.source, { svm: "svm-idr", flexVol: "pool1" });
      assert.deepEqual(turned.destination, { svm: "svm-iprod", flexVol: "pool1" });
      assert.deepEqual(await idr.listMirrors(["pool1"]), []);
      assert.equal((await iprod.listFlexVols()).find((each) => each.name === "pool1")?.type, "dp");

      changes("idr");
      await idr.reverseMirror(original);
      assert.deepEqual(changes("idr"), []);

      await iprod.setMirrorState(turned.uuid, "paused");
      await iprod.setMirrorState(turned.uuid, "broken_off");
      await iprod.reverseMirror(turned);
      const back = await mirrorOf(idr, (each) => each.state === "snapmirrored" && each.transfer?.state === "success");
      assert.deepEqual(back.source, original.source);
    });

    it("says that it must wait while the source's cluster is away", async () => {
      const { idr, simulator, mirror } = await start();
      const original = await mirror();
      await idr.setMirrorState(original.uuid, "paused");
      await idr.setMirrorState(original.uuid, "broken_off");
      await simulator.setReachable("cluster-iprod", false);
      const refused = await failureOf(idr.reverseMirror(original));
      assert.equal(refused.context["vendorCode"], "13304071");
      assert.equal(refused.retryable, true);
      assert.equal((await idr.listMirrors(["pool1"]))[0]?.state, "broken_off");
    });

    for (const onto of ["accept-broken-off", "refuse"] as const)
      it(`refused for good, is done by delete, release and create where creation onto rw is "${onto}"`, async () => {
        const { iprod, idr, mirror } = await start({
          behaviour: { reversal: "refuse", createOntoReadWriteDestination: onto },
        });
        const original = await mirror();
        await idr.setMirrorState(original.uuid, "paused");
        await idr.setMirrorState(original.uuid, "broken_off");
        const refused = await failureOf(idr.reverseMirror(original));
        assert.equal(refused.code, "remote");
        assert.equal(refused.retryable, false);

        for (let repeat = 0; repeat < 2; repeat++) await idr.deleteMirror(original.uuid);
        for (let repeat = 0; repeat < 2; repeat++)
          await iprod.releaseMirror({ sourceFlexVol: "pool1", destinationSvm: "svm-idr" });
        assert.deepEqual(await idr.listMirrors(["pool1"]), []);
        const common = (await idr.listSnapshots("pool1")).map((each) => each.versionUuid);
        assert.ok((await iprod.listSnapshots("pool1")).some((each) => common.includes(each.versionUuid)));

        const reverse = {
          sourceSvm: "svm-idr",
          destinationSvm: "svm-iprod",
          flexVol: "pool1",
          policy: "MirrorAllSnapshots",
        };
        if (onto === "refuse") {
          assert.equal((await failureOf(iprod.createMirror(reverse))).context["vendorCode"], "6619546");
          return;
        }
        const uuid = await iprod.createMirror(reverse);
        assert.equal((await iprod.listMirrors(["pool1"]))[0]?.state, "broken_off");
        await iprod.setMirrorState(uuid, "snapmirrored");
        const turned = await mirrorOf(
          iprod,
          (each) => each.state === "snapmirrored" && each.transfer?.state === "success",
        );
        assert.equal(turned.healthy, true);
      });
  });

  describe("clones", () => {
    it("keep a FlexVol's contents, are made once, and hold up a resync until they're split", async () => {
      const { idr, mirror, createLun } = await start();
      await createLun("/vol/pool1/volume-1");
      const { uuid } = await mirror();
      await idr.setMirrorState(uuid, "paused");
      await idr.setMirrorState(uuid, "broken_off");
      await idr.cloneFlexVol({ parent: "pool1", name: "kept_1" });
      changes("idr");
      await idr.cloneFlexVol({ parent: "pool1", name: "kept_1" });
      assert.deepEqual(changes("idr"), []);
      const paths = async () => (await idr.listLuns(["kept_1"])).map((lun) => lun.path);
      assert.deepEqual(await paths(), ["/vol/kept_1/volume-1"]);
      assert.equal((await failureOf(idr.cloneFlexVol({ parent: "kept_1", name: "pool1" }))).code, "precondition");

      const busy = await failureOf(idr.setMirrorState(uuid, "snapmirrored"));
      assert.equal(busy.context["vendorCode"], "13303810");
      assert.equal(busy.retryable, false);
      await eventually(async () => ((await idr.splitFlexClone("kept_1")) ? { done: true } : { seen: "not split" }));
      assert.equal(await idr.splitFlexClone("kept_1"), true);
      await idr.setMirrorState(uuid, "snapmirrored");
      await mirrorOf(idr, (each) => each.state === "snapmirrored" && each.transfer?.state === "success");
      assert.deepEqual(await paths(), ["/vol/kept_1/volume-1"]);
      assert.equal((await idr.listFlexVols()).find((each) => each.name === "kept_1")?.type, "rw");
    });
  });

  describe("FlexVols that make room for another one", () => {
    it("are renamed once they have no mirror, leave the namespace, and go with their LUNs", async () => {
      const { iprod, idr, mirror, createLun, raw } = await start();
      await createLun("/vol/pool1/volume-1");
      const { uuid } = await mirror();
      await idr.setMirrorState(uuid, "paused");
      await idr.setMirrorState(uuid, "broken_off");
      const [{ uuid: flexVol } = assert.fail()] = (await idr.listFlexVols()).filter(({ name }) => name === "pool1");
      await raw(1, "PATCH", `/storage/volumes/${flexVol}`, { nas: { path: "/pool1" } });

      const away = { from: "pool1", to: "pool1_before" };
      assert.equal((await failureOf(idr.renameFlexVol(away))).context["vendorCode"], "917608");
      await idr.deleteMirror(uuid);
      await iprod.releaseMirror({ sourceFlexVol: "pool1", destinationSvm: "svm-idr" });
      await idr.renameFlexVol(away);
      changes("idr");
      await idr.renameFlexVol(away);
      assert.deepEqual(changes("idr"), []);
      const made = await idr.createDestinationVolume({ name: "pool1", sizeBytes: 2 ** 30 });
      assert.equal(made.type, "dp");
      assert.equal((await failureOf(idr.renameFlexVol(away))).context["vendorCode"], "917526");

      const paths = () => idr.listLunPaths();
      const [lun = assert.fail()] = await idr.listLuns(["pool1_before"]);
      await idr.renameLun(lun, "diverged-volume-1");
      assert.deepEqual(await paths(), ["/vol/pool1_before/diverged-volume-1"]);
      changes("idr");
      await idr.renameLun({ ...lun, path: "/vol/pool1_before/diverged-volume-1" }, "diverged-volume-1");

      const again = await idr.createMirror({
        sourceSvm: "svm-iprod",
        destinationSvm: "svm-idr",
        flexVol: "pool1",
        policy: "MirrorAllSnapshots",
      });
      assert.notEqual(again, uuid);
      await idr.setMirrorState(again, "snapmirrored");
      await mirrorOf(idr, (each) => each.state === "snapmirrored");
      assert.deepEqual([...(await paths())].sort(), ["/vol/pool1/volume-1", "/vol/pool1_before/diverged-volume-1"]);
      await idr.setMirrorState(again, "paused");
      await idr.setMirrorState(again, "broken_off");
      // As NetApp's driver mounts what it failed over to.
      await raw(1, "PATCH", `/storage/volumes/${made.uuid}`, { nas: { path: "/pool1" } });
      await idr.deleteFlexVol("pool1_before");
      await idr.deleteFlexVol("pool1_before");
      assert.deepEqual(await paths(), ["/vol/pool1/volume-1"]);
    });
  });
});
