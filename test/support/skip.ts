/**
 * Skips the running test, or with it every test of the suite when called in a `before` hook, and says why
 * (tools/mocha-reporter.cjs reads `skipReason` of the test, or of a suite around it).
 * A plain `this.skip()` counts as a failure: a run must not get greener by quietly testing less.
 */
export function skipBecause(context: Mocha.Context, reason: string): never {
  const runnable: Mocha.Runnable & { type?: string } = context.runnable();
  const skipped = runnable.type === "hook" ? runnable.parent : runnable;
  if (skipped) Object.assign(skipped, { skipReason: reason });
  return context.skip();
}
