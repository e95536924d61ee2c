import assert from "node:assert/strict";
import { provider } from "../../dynamic-providers/active-site.provider";
import { UNKNOWN } from "../../dynamic-providers/runtime/lifecycle";
import { pairInput } from "./support/settings";

const declared = {
  activeSite: "iprod",
  promotion: "immediate",
  hooks: [],
  requireApproval: false,
  startIncomplete: false,
  backendRevisions: { iprod: "r1", idr: "r1" },
  stack: "test",
  journalDir: "reports/none",
};
const nothing = { plan: [], planDigest: "", planMode: "", planRoute: "" };

/** Every address refuses connections: what gets an answer here didn't ask anybody. */
function configure(): void {
  const site = (backend: string, at: number) => ({
    backend,
    svm: "svm",
    ontap: { address: `127.66.9.${at}`, port: 1, username: "u" },
  });
  const nowhere = { host: "127.66.9.9", port: 1, user: "u", tls: false };
  const pair = {
    ...pairInput,
    sites: { iprod: site("iprod", 1), idr: site("idr", 2) },
    cinder: { ...pairInput.cinder, database: nowhere, messageQueue: nowhere },
    openstack: { ...pairInput.openstack, authUrl: "http://127.66.9.9:1" },
  };
  const values: Readonly<Record<string, string>> = {
    pair: JSON.stringify(pair),
    ontapPasswords: JSON.stringify({ iprod: "hush", idr: "hush" }),
    databasePassword: "hush",
    messageQueuePassword: "hush",
    openstackSecret: "hush",
  };
  provider.configure({ get: (key) => values[key] });
}

describe("ActiveSite", function () {
  this.timeout(60_000);
  before(configure);

  const check = async (olds: object, news: object) => {
    const result = await provider.check({ ...olds }, { ...news });
    return { inputs: result.inputs as Record<string, unknown>, failures: result.failures ?? [] };
  };

  it("plans nothing where the configured site is the state's, also when nobody answers", async () => {
    const { inputs, failures } = await check({ ...declared, ...nothing, plan: ["done"] }, declared);
    assert.deepEqual(failures, []);
    assert.deepEqual(inputs, { ...declared, ...nothing });
  });

  it("says before the stanzas are written that it will look then", async () => {
    const { inputs, failures } = await check({}, { ...declared, backendRevisions: { iprod: UNKNOWN, idr: UNKNOWN } });
    assert.deepEqual(failures, []);
    assert.match((inputs["plan"] as string[]).join(), /After the stanzas are written/);
  });

  it("refuses a switch while the systems that it needs can't be asked, naming each and what to do", async () => {
    const { failures } = await check({ ...declared, ...nothing }, { ...declared, activeSite: "idr" });
    const told = failures.map(({ reason }) => reason).join("\n");
    assert.match(told, /127\.66\.9\.9:1/);
    assert.doesNotMatch(told, /hush/);
  });

  it("names the inputs that are wrong, all of them", async () => {
    const hooks = [{ name: "h", when: "before:lunch", command: ["x"], timeoutSeconds: 1 }];
    const { failures } = await check({}, { ...declared, promotion: "later", hooks, journalDir: "" });
    assert.deepEqual(failures.map(({ property }) => property).sort(), ["hooks.0.when", "journalDir", "promotion"]);
  });

  describe("diff", () => {
    const olds = { ...declared, ...nothing, approvedPlan: "d1", observedSite: "iprod" };

    for (const { name, news, expected } of [
      { name: "nothing is planned and nothing was changed", news: {}, expected: false },
      { name: "there is a plan, as for a journal that is open", news: { plan: ["resume"] }, expected: true },
      { name: "the plan isn't known yet", news: { plan: UNKNOWN }, expected: true },
      { name: "the site changes", news: { activeSite: "idr" }, expected: true },
      { name: "a hook changes", news: { hooks: [{ name: "h" }] }, expected: true },
      { name: "an approval is taken out again", news: { approvedPlan: undefined }, expected: true },
    ])
      it(`${expected ? "finds a change" : "finds none"} where ${name}`, async () => {
        const { changes, replaces } = await provider.diff("pair", olds, {
          ...declared,
          ...nothing,
          approvedPlan: "d1",
          ...news,
        });
        assert.equal(changes, expected);
        assert.equal(replaces, undefined, "a replacement would switch twice");
      });

    it("finds a change where a refresh saw production elsewhere, so that the update refuses it", async () => {
      const seenAt = (observedSite: string) =>
        provider.diff("pair", { ...olds, observedSite }, { ...olds, ...nothing });
      assert.deepEqual([(await seenAt("idr")).changes, (await seenAt("")).changes], [true, false]);
    });
  });

  it("writes down an update without meaning for the systems, and asks nobody", async () => {
    const olds = {
      ...declared,
      ...nothing,
      approvedPlan: "d",
      promoted: true,
      protected: true,
      observedSite: "iprod",
      status: "fine",
    };
    const { outs } = (await provider.update("pair", olds, { ...declared, ...nothing })) as {
      outs: Record<string, unknown>;
    };
    assert.equal(outs["approvedPlan"], undefined);
    assert.equal(outs["status"], "fine");
    assert.equal(outs["activeSite"], "iprod");
  });

  it("keeps the state's site when an update ends half-way", async () => {
    const olds = { ...declared, ...nothing, promoted: true, protected: true, observedSite: "iprod", status: "fine" };
    const news = {
      ...declared,
      activeSite: "idr",
      plan: ["1"],
      planDigest: "d",
      planMode: "planned",
      planRoute: "direct",
    };
    await assert.rejects(
      provider.update("pair", olds, news),
      (error: Error & { id?: string; properties?: Record<string, unknown> }) => {
        assert.equal(error.id, "pair");
        assert.equal(error.properties?.["activeSite"], "iprod");
        return true;
      },
    );
  });

  it("says in a refresh what can't be told, and keeps the state's site", async () => {
    const olds = { ...declared, ...nothing, promoted: true, protected: true, observedSite: "iprod", status: "fine" };
    const { id, props } = (await provider.read("pair", olds)) as { id: string; props: Record<string, unknown> };
    const { activeSite, observedSite, status, mismatches, promoted } = props;
    assert.deepEqual([id, activeSite, observedSite, promoted], ["pair", "iprod", "", true]);
    assert.match(String(status), /^unknown: .* can't be read: /);
    assert.match((mismatches as string[]).join("\n"), /Cinder's database can't be read: .*127\.66\.9\.9:1/);
    assert.doesNotMatch(JSON.stringify(props), /hush/);
  });

  it("never switches when it's deleted", async () => {
    await provider.delete("pair", { ...declared });
  });
});
