/** What a script can rely on; docs/cli.md has the same list. */
export const exitCodes = {
  /** Done, or as it should be. */
  fine: 0,
  /** Begun and not finished: the journal is open, and `resume` goes on. */
  unfinished: 1,
  /** The command line or the configuration is wrong. Nothing was changed. */
  usage: 2,
  /** Refused or impossible: preflight, another plan, another run's lease, a system that doesn't answer. Nothing was changed. */
  refused: 3,
  /** The systems aren't in the state that was to be proved, or contradict each other. */
  mismatch: 4,
  /** Begun, and waiting for `approve`: the journal is open, nothing is wrong. */
  waiting: 5,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
