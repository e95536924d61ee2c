/** A test or hook that has a skipReason; tools/mocha-reporter.cjs reads it. */
type Skippable = Mocha.Runnable & { skipReason?: string };

/**
 * Skips the running test, or with it every test of the suite when called in a `before` hook, and says why.
 * A plain `this.skip()` counts as a failure: a run must not get greener by quietly testing less.
 */
export function skipBecause(context: Mocha.Context, reason: string): never {
  const runnable: Skippable = context.runnable();
  const target: { skipReason?: string } = runnable.type === "hook" ? (runnable.parent as object) : runnable;
  target.skipReason = reason;
  return context.skip();
}
