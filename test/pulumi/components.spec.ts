import * as openstack from "@pulumi/openstack";
import * as pulumi from "@pulumi/pulumi";
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { DisasterRecoveryPair } from "../../components/disaster-recovery-pair";
import { TestLab } from "../../components/test-lab";
import { activeSettings, type DisasterRecoverySettings } from "../../lib/settings";
import { readSettings } from "../../stacks/settings";
import { settingsOf } from "./support/settings";

interface Registered {
  readonly type: string;
  readonly name: string;
  readonly inputs: Record<string, unknown>;
  readonly provider: string;
}

let registered: Registered[] = [];

/** Outputs as the providers give them: what a resource class lets through is what the program sees. */
const outputsOf: Readonly<Record<string, Record<string, unknown>>> = {
  CinderBackend: { revision: "r1", createdOn: ["controller-1"] },
  ActiveSite: {
    plan: ["one", "two"],
    planDigest: "d",
    observedSite: "iprod",
    status: "ok",
    promoted: true,
    protected: false,
  },
  SnapMirrorRelationship: { observed: { state: "snapmirrored" }, created: true },
  VolumeAttach: { device: "/dev/vdb" },
};

const shortType = (type: string) => type.split(/[:/]/).at(-1) ?? "";
const valueOf = <T>(output: pulumi.Output<T>): Promise<T> => new Promise((resolve) => output.apply(resolve));

/** Children that are found through the component: one without `parent: this` isn't. */
function children(found: Set<string>): pulumi.ComponentResourceOptions {
  return {
    transformations: [
      ({ type, name }) => {
        found.add(`${shortType(type)} ${name}`);
        return undefined;
      },
    ],
  };
}

describe("components", function () {
  this.timeout(60_000);
  before(() =>
    pulumi.runtime.setMocks(
      {
        newResource({ type, name, inputs, provider }) {
          registered.push({ type, name, inputs: inputs as Record<string, unknown>, provider: provider ?? "" });
          return { id: `${name}-id`, state: { ...(inputs as object), ...outputsOf[shortType(type)] } };
        },
        call: ({ token }) => ({ id: `${shortType(token)}-id` }),
      },
      "cinder-cheesecake",
      "test",
    ),
  );

  const names = (type: string) => registered.filter((one) => shortType(one.type) === type).map(({ name }) => name);
  const all = () =>
    registered.filter(({ type }) => !type.startsWith("pulumi:")).map(({ type, name }) => `${shortType(type)} ${name}`);

  describe("DisasterRecoveryPair", () => {
    const settings = readSettings(settingsOf()) as DisasterRecoverySettings;
    const found = new Set<string>();
    let recovery: DisasterRecoveryPair;
    before(async () => {
      registered = [];
      const active = { ...activeSettings(settings), stack: "test" };
      recovery = new DisasterRecoveryPair("pair", { pair: settings.pair, active }, children(found));
      await valueOf(recovery.activeSite.urn);
    });

    it("lets every output of the providers through", async () => {
      const { activeSite } = recovery;
      assert.deepEqual(await valueOf(activeSite.plan), ["one", "two"]);
      assert.equal(await valueOf(activeSite.planDigest), "d");
      assert.equal(await valueOf(activeSite.observedSite), "iprod");
      assert.equal(await valueOf(activeSite.status), "ok");
      assert.equal(await valueOf(activeSite.protected), false);
    });

    it("is the parent of all its children", () => {
      assert.deepEqual([...found].sort(), all().sort());
      assert.deepEqual(names("SnapMirrorRelationship"), ["pair-pool1", "pair-pool.2"]);
      assert.deepEqual(names("CinderBackend"), ["pair-iprod", "pair-idr"]);
    });

    it("gives ActiveSite the revision of both stanzas, and no password to anybody", () => {
      const active = registered.find(({ type }) => shortType(type) === "ActiveSite");
      assert.deepEqual(active?.inputs["backendRevisions"], { iprod: "r1", idr: "r1" });
      assert.doesNotMatch(JSON.stringify(registered), /hush|12345678/);
    });
  });

  describe("TestLab", () => {
    const found = new Set<string>();
    before(async () => {
      registered = [];
      const providers = { admin: new openstack.Provider("admin", {}), demo: new openstack.Provider("demo", {}) };
      const testLab = new TestLab(
        "lab",
        {
          providers,
          project: "demo",
          image: "image",
          flavor: "flavor",
          instances: 2,
          volumeSizeGiB: 1,
          rootBackendName: "loweropenstack1",
          dataBackendName: "netapp_iscsi",
          dataVolumeSets: ["prefailover", "postfailover"],
          publicKey: "ssh-ed25519 AAAA",
          breadcrumbs: {
            command: ["guest", "{instance}", "{device}", "{stage}"],
            timeoutSeconds: 5,
            written: [
              { set: "prefailover", stage: "pre-failover" },
              { set: "prefailback", stage: "pre-failback" },
            ],
          },
        },
        children(found),
      );
      await valueOf(testLab.instances);
      while (all().length < found.size) await turn();
    });

    it("is the parent of all its children", () => {
      assert.deepEqual([...found].sort(), all().sort());
    });

    it("attaches a volume of every set to every instance", () => {
      const expected = [
        "guest-01-prefailover",
        "guest-01-postfailover",
        "guest-02-prefailover",
        "guest-02-postfailover",
      ];
      assert.deepEqual(names("VolumeAttach").sort(), expected.sort());
      assert.deepEqual(names("Instance").sort(), ["guest-01", "guest-02"]);
      for (const guest of ["guest-01", "guest-02"]) {
        const own = names("VolumeAttach").filter((name) => name.startsWith(guest));
        assert.deepEqual(own, [`${guest}-prefailover`, `${guest}-postfailover`], "one after the other");
      }
    });

    it("writes the breadcrumbs of the sets that exist", () => {
      assert.deepEqual(names("Breadcrumb").sort(), [
        "guest-01-prefailover-pre-failover",
        "guest-02-prefailover-pre-failover",
      ]);
    });

    it("lets the administrator make types and quotas, and the demo user everything else", () => {
      const openstackTypes = registered.filter(({ type }) => type.startsWith("openstack:"));
      for (const { type, name, provider } of openstackTypes) {
        const admins = ["VolumeTypeV3", "QuotaSetV2", "QuoteSetV3"].includes(shortType(type));
        assert.match(provider, admins ? /::admin::/ : /::demo::/, `${type} ${name}`);
      }
    });

    it("asks for replication by the volume type of the data volumes", () => {
      const type = registered.find(({ name }) => name === "netapp_iscsi");
      assert.deepEqual(type?.inputs["extraSpecs"], {
        volume_backend_name: "netapp_iscsi",
        replication_enabled: "<is> True",
      });
    });
  });
});
