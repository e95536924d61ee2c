import assert from "node:assert/strict";
import { activeSettings, type DisasterRecoverySettings } from "../../../lib/settings";
import { readSettings } from "../../../stacks/settings";
import { settingsOf } from "../../pulumi/support/settings";

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
      minimumSecondsBetweenSwitchovers: 600,
      journalDir: "reports",
    });
  });
});
