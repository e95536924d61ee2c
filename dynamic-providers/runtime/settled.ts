import { setTimeout as sleep } from "node:timers/promises";
import { stopSignal } from "./orphan";

/**
 * Reads until it is as wanted, and gives what was read last: also where it isn't as wanted after a minute, for the
 * caller to say so. Rejects when the run has to stop.
 */
export async function settled<T>(
  read: () => Promise<T>,
  asWanted: (seen: T) => boolean | Promise<boolean>,
): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (let waitMs = 200; ; waitMs = Math.min(waitMs * 2, 5_000)) {
    const seen = await read();
    if ((await asWanted(seen)) || Date.now() > deadline) return seen;
    await sleep(waitMs, undefined, { signal: stopSignal });
  }
}
