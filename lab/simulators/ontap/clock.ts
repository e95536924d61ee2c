/** The simulator's own clock: runs with the machine's, and can be moved forward. */
export class Clock {
  private offsetMs = 0;
  private readonly listeners: (() => void)[] = [];

  now(): number {
    return Date.now() + this.offsetMs;
  }

  /** how far it is ahead of the machine's clock, ms */
  offset(): number {
    return this.offsetMs;
  }

  /** Moves time forward; schedules that fell due meanwhile run once. */
  advance(seconds: number): void {
    this.offsetMs += seconds * 1000;
    for (const listener of this.listeners) listener();
  }

  onAdvance(listener: () => void): void {
    this.listeners.push(listener);
  }
}

/** Waits in real time; an abort ends it at once (resolves too: the caller looks at the signal). */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (ms <= 0 || signal?.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
