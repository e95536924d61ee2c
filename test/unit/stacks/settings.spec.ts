import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { activeSettings, type DisasterRecoverySettings, readSettings } from "../../../stacks/settings";
import { pairInput, settingsOf } from "../../pulumi/support/settings";

function faultsOf(...args: Parameters<typeof settingsOf>): string[] {
  try {
    readSettings(settingsOf(...args));
  } catch (error) {
    assert.ok(DrError.is(error, "config"));
    assert.doesNotMatch(error.message, /hush/, "a message never quotes a secret");
    return error.message
      .split("\n")
      .filter((line) => line.startsWith("  - "))
      .map((line) => line.slice(4));
  }
  return [];
}

describe("readSettings", () => {
  it("reads a disaster-recovery stack, with defaults", () => {
    const settings = readSettings(settingsOf()) as DisasterRecoverySettings;
    assert.equal(settings.promotion, "immediate");
    assert.equal(settings.pair.sites["iprod"]?.ontap.port, 443);
    assert.equal(settings.messageQueuePassword, "12345678", "a text stays a text");
  });

  it("reads booleans and objects as Pulumi stores them", () => {
    const unplanned = { from: "iprod", acceptLossSeconds: 60 };
    const settings = readSettings(settingsOf({ requireApproval: true, unplanned })) as DisasterRecoverySettings;
    assert.equal(settings.requireApproval, true);
    assert.deepEqual(settings.unplanned, unplanned);
  });

  it("names every fault at once, each with its key", () => {
    const faults = faultsOf({
      activeSite: undefined,
      promotion: "later",
      approvedplan: "x",
      pair: { ...pairInput, flexVols: [] },
    });
    for (const start of [/^pair\.flexVols: /, /^activeSite: /, /^promotion: /, /^approvedplan: is no key/])
      assert.ok(
        faults.some((fault) => start.test(fault)),
        `${start} in ${faults.join(" | ")}`,
      );
    assert.equal(faults.length, 4);
  });

  for (const { name, changes, expected } of [
    {
      name: "an active site that isn't one",
      changes: { activeSite: "ipord" },
      expected: 'activeSite: "ipord" is not one of iprod, idr',
    },
    {
      name: "a nova-manage on no controller",
      changes: { pair: { ...pairInput, novaManage: { controller: "elsewhere" } } },
      expected: `pair.novaManage.controller: "elsewhere" is none of the controllers ${pairInput.cinder.controllers.map(({ name }) => name).join(", ")}`,
    },
    {
      name: "a loss of a site that isn't one",
      changes: { unplanned: { from: "x" } },
      expected: 'unplanned.from: "x" is not one of iprod, idr',
    },
    {
      name: "a site without a password",
      changes: { ontapPasswords: { iprod: "hush" } },
      expected: "ontapPasswords.idr: not set (--path --secret)",
    },
    {
      name: "no program",
      changes: { program: undefined },
      expected: "program: not set; it is one of disaster-recovery, test-lab",
    },
  ])
    it(`refuses ${name}`, () => assert.deepEqual(faultsOf(changes), [expected]));

  it("refuses a password that stands in the file in clear", () => {
    const encrypted = ["ontapPasswords", "messageQueuePassword", "openstackSecret"];
    assert.deepEqual(
      faultsOf({}, encrypted).map((fault) => fault.split(":")[0]),
      ["databasePassword"],
    );
  });

  it("refuses sites that Cinder's volume types couldn't both mean", () => {
    const { iprod, idr } = pairInput.sites as {
      iprod: (typeof pairInput.sites)[string];
      idr: (typeof pairInput.sites)[string];
    };
    const sites = { iprod, idr: { ...idr, stanza: { volume_backend_name: "other" } } };
    assert.match(
      faultsOf({ pair: { ...pairInput, sites } }).join(),
      /volume_backend_name is "netapp_iscsi" and "other"/,
    );
  });
});

describe("activeSettings", () => {
  it("leaves pair and passwords behind", () => {
    const active = activeSettings(readSettings(settingsOf({ approvedPlan: "d1" })) as DisasterRecoverySettings);
    assert.deepEqual(active, {
      activeSite: "iprod",
      promotion: "immediate",
      hooks: [],
      approvedPlan: "d1",
      requireApproval: false,
      startIncomplete: false,
      journalDir: "reports",
    });
  });
});
