import assert from "node:assert/strict";
import * as path from "node:path";
import { startPair, type Pair } from "../contract/ontap-client/pair";
import type { ObservedMirror } from "../../dynamic-providers/snapmirror-relationship";
import { PulumiProject } from "./support/pulumi-project";

const PASSWORD = "Netapp1!";

/** Of two simulated arrays; the rest of the pair names places that nobody may ask. */
function pairConfig(arrays: Pair): string {
  const site = (name: string, index: number) => ({
    backend: name,
    svm: `svm-${name}`,
    ontap: {
      address: "127.0.0.1",
      port: arrays.simulator.clusters[index]?.port,
      username: "admin",
      caFile: arrays.caFile,
    },
  });
  const nowhere = { host: "127.66.9.9", user: "nobody" };
  return JSON.stringify({
    name: "pair",
    sites: { iprod: site("iprod", 0), idr: site("idr", 1) },
    flexVols: ["pool1", "pool2"],
    cinder: {
      volumeHost: "cinder-dr",
      controllers: [
        { kind: "local", name: "nowhere", services: { manager: "systemd", units: [{ role: "volume", unit: "none" }] } },
      ],
      database: nowhere,
      messageQueue: nowhere,
    },
    openstack: {
      authUrl: "http://127.66.9.9:5000",
      region: "RegionOne",
      credential: { kind: "applicationCredential", id: "none" },
    },
  });
}

describe("peers and mirrors by the Pulumi CLI", function () {
  this.timeout(300_000);
  let arrays: Pair;
  let project: PulumiProject;

  beforeEach(async function () {
    this.timeout(60_000);
    arrays = await startPair();
    project = await PulumiProject.create(this, path.join(__dirname, "projects/replication"), {
      plain: { pair: pairConfig(arrays) },
      secrets: {
        "ontapPasswords.iprod": PASSWORD,
        "ontapPasswords.idr": PASSWORD,
        databasePassword: "unused-secret-1",
        messageQueuePassword: "unused-secret-2",
        openstackSecret: "unused-secret-3",
      },
    });
  });
  afterEach(async () => {
    project?.remove();
    await arrays.close();
  });

  const mutations = () => arrays.simulator.requests({ mutating: true }).length;
  const observed = () =>
    project
      .resources()
      .filter(({ type }) => type.endsWith(":SnapMirrorRelationship"))
      .map(({ outputs }) => outputs["observed"] as ObservedMirror);

  it("sets them up, finds nothing to do the second time, and takes them away again", async () => {
    await project.succeed("up", "--yes", "--skip-preview");
    const expected = {
      source: "iprod",
      destination: "idr",
      state: "snapmirrored",
      healthy: true,
      policy: "MirrorAllSnapshots",
      unreachable: [],
    };
    assert.deepEqual(observed(), [expected, expected]);
    const [mirror] = await arrays.idr.listMirrors(["pool1"]);
    assert.equal(mirror?.state, "snapmirrored");
    assert.equal((await arrays.iprod.listSvmPeers())[0]?.state, "peered");

    const before = mutations();
    await project.succeed("preview", "--expect-no-changes");
    await project.succeed("up", "--yes", "--refresh", "--expect-no-changes");
    assert.equal(mutations(), before, "a second run changes nothing on either array");
    assert.doesNotMatch(project.stateText(), /Netapp1!|unused-secret/, "the state holds no password");

    await project.succeed("destroy", "--yes", "--skip-preview");
    assert.deepEqual(await arrays.idr.listMirrors(["pool1", "pool2"]), []);
    assert.deepEqual(await arrays.iprod.listSvmPeers(), []);
    assert.deepEqual(await arrays.iprod.listClusterPeers(), []);
  });

  it("adopts what was made by hand; a destroy leaves that, and refuses to take away a mirror that protects volumes", async () => {
    await arrays.mirror();
    await project.succeed("up", "--yes", "--skip-preview");
    const created = project.resources().map(({ type, outputs }) => [type.split(":").at(-1), outputs["created"]]);
    assert.deepEqual(created.filter(([, flag]) => flag !== undefined).sort(), [
      ["ClusterPeer", false],
      ["SnapMirrorRelationship", false],
      ["SnapMirrorRelationship", true],
      ["SvmPeer", false],
    ]);
    await arrays.createLun("/vol/pool2/volume-1");
    const { exitCode, output } = await project.run("destroy", "--yes", "--skip-preview");
    assert.notEqual(exitCode, 0);
    assert.match(output, /holds what it protects: 1 LUN, e\.g\. \/vol\/pool2\/volume-1/);
    assert.equal((await arrays.idr.listMirrors(["pool1", "pool2"])).length, 2);
    assert.equal((await arrays.iprod.listSvmPeers())[0]?.state, "peered");
  });

  it("reports a relationship that was turned round, and asks neither array to change anything", async () => {
    await project.succeed("up", "--yes", "--skip-preview");
    for (const mirror of await arrays.idr.listMirrors(["pool1", "pool2"])) await arrays.idr.reverseMirror(mirror);
    const before = mutations();
    await project.succeed("up", "--yes", "--refresh", "--skip-preview");
    assert.equal(mutations(), before);
    assert.deepEqual(
      observed().map(({ source, destination }) => `${source} → ${destination}`),
      ["idr → iprod", "idr → iprod"],
    );
  });

  it("refuses to guess which of two writable FlexVols counts", async () => {
    await arrays.peer();
    await arrays.raw(1, "POST", "/storage/volumes", {
      svm: { name: "svm-idr" },
      name: "pool1",
      type: "rw",
      size: 200 * 2 ** 20,
      aggregates: [{ name: "aggr1_idr" }],
    });
    const { exitCode, output } = await project.run("up", "--yes", "--skip-preview");
    assert.notEqual(exitCode, 0);
    assert.match(output, /iprod has it as rw, idr has it as rw/);
    assert.deepEqual(await arrays.idr.listMirrors(["pool1"]), []);
  });

  it("goes on with what the other array says while one doesn't answer", async () => {
    await project.succeed("up", "--yes", "--skip-preview");
    await arrays.simulator.setReachable("cluster-iprod", false);
    await project.succeed("up", "--yes", "--refresh", "--skip-preview");
    assert.deepEqual(
      observed().map(({ unreachable }) => unreachable),
      [["iprod"], ["iprod"]],
    );
    await arrays.simulator.setReachable("cluster-iprod", true);
  });
});
