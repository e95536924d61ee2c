/** Waits in real time. A signal ends the wait at once. */
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

/** MariaDB's DATETIME in UTC. */
export const sqlTime = (at = new Date()): string => at.toISOString().slice(0, 19).replace("T", " ");
/** As Cinder shows a time: with microseconds and without a zone. */
export const cinderTime = (stored: string | null): string | null =>
  stored === null ? null : `${stored.replace(" ", "T")}.000000`;
/** As Nova shows a time. */
export const novaTime = (stored: string | null): string | null =>
  stored === null ? null : `${stored.replace(" ", "T")}Z`;
