import { setTimeout as delay } from "node:timers/promises";
import { DrError } from "../errors";
import type { Clock } from "../switchover/ports";

export const systemClock: Clock = {
  now: () => new Date(),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      throw new DrError({
        code: "stopped",
        attempted: "Wait",
        seen: "this run was asked to stop",
        remedy: "Run again: it goes on from here.",
        cause: error,
      });
    }
  },
};
