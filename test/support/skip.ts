/** What tools/mocha-reporter.cjs reads, on a test or on a suite. */
interface Skippable {
  skipReason?: string;
}

/**
 * Skips the running test, or with it every test of the suite when called in a `before` hook, and says why.
 * A plain `this.skip()` counts as a failure: a run must not get greener by quietly testing less.
 */
export function skipBecause(context: Mocha.Context, reason: string): never {
  const runnable: Mocha.Runnable & { type?: string } = context.runnable();
  const skipped: Skippable | undefined = runnable.type === "hook" ? runnable.parent : runnable;
  if (skipped) skipped.skipReason = reason;
  return context.skip();
}
