"use strict";
// Mocha's own "spec" output, live, and afterwards the counts as JSON in the file that CHEESECAKE_TEST_RESULT names:
// { passed, failed: [{ title, reason }], skipped: [{ title, reason }] }. tools/test.mjs adds them up over its processes.
const fs = require("node:fs");
const Mocha = require("mocha");

const { EVENT_RUN_END, EVENT_TEST_PASS, EVENT_TEST_FAIL, EVENT_TEST_PENDING } = Mocha.Runner.constants;

module.exports = class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const result = { passed: 0, failed: [], skipped: [] };
    runner.on(EVENT_TEST_PASS, () => result.passed++);
    const failed = [];
    runner.on(EVENT_TEST_FAIL, (test, error) => failed.push({ test, error })); // hooks too
    runner.on(EVENT_TEST_PENDING, (test) => result.skipped.push({ title: test.fullTitle(), reason: reasonOf(test) }));
    runner.once(EVENT_RUN_END, () => {
      // Only now: an afterEach adds to the stack what it knows.
      for (const { test, error } of failed)
        result.failed.push({ title: test.fullTitle(), reason: String(error?.stack ?? error?.message ?? error) });
      fs.writeFileSync(process.env.CHEESECAKE_TEST_RESULT, JSON.stringify(result));
      setTimeout(tellLeftOpen, 5_000).unref();
    });
  }
};

/** A process that goes on after its tests: tools/test.mjs ends it soon. */
function tellLeftOpen() {
  const told = process._getActiveHandles().map((handle) => {
    const { localAddress, localPort, remoteAddress, remotePort, spawnargs } = handle;
    const ends = localPort && ` ${localAddress}:${localPort} → ${remoteAddress ?? "gone"}:${remotePort ?? ""}`;
    return `${handle.constructor.name}${ends ?? ""}${spawnargs ? ` ${spawnargs.join(" ")}` : ""}`;
  });
  console.log(`left open: ${[...told, process.getActiveResourcesInfo().join(", ")].join("; ")}`);
}

/** The skipReason left by test/support/skip.ts on the test, or on a suite around it whose hook skipped them all. */
function reasonOf(test) {
  for (let at = test; at; at = at.parent) if (at.skipReason) return at.skipReason;
  return undefined;
}
