import { DrError } from "../../errors";
import { backendHost } from "../../topology/site-pair";
import { deadlines } from "../deadlines";
import { isVolumeServiceOf } from "../observation";
import type { StepContext } from "../context";
import { waitFor } from "../context";
import { Heartbeats } from "./heartbeats";

/** Where each log of cinder-volume ended before its start. */
export type LogMarks = readonly { readonly controller: string; readonly unit: string; readonly mark: string }[];

/** Words by which cinder-volume tells that a backend's driver didn't come up. */
const failureInLog =
  /Failed to initialize driver|driver.*(?:not|un)\s?initialized|No pools are available|Error encountered during initialization/i;

/**
 * A service can be 'up' with a dead driver: heartbeats are sent by an initialised driver only, so it's initialised when
 * two of them were counted after the start; an enabled one also reports its pools.
 */
export async function provenInitialised(
  ctx: StepContext,
  site: string,
  logs: LogMarks,
): Promise<{ heartbeats: number; pools: readonly string[] }> {
  const host = backendHost(ctx.pair, site);
  const counted = new Heartbeats();
  const attempted = `Prove that backend ${host} is initialised`;
  return waitFor(ctx, {
    attempted,
    deadlineSeconds: deadlines.initialised,
    remedy:
      "Look at cinder-volume's log; repair its cause, restart cinder-volume (a driver is tried a few times only), and run again.",
    check: async () => {
      for (const log of logs) {
        const controller = ctx.ports.controllers.find((candidate) => candidate.name === log.controller);
        const text = (await controller?.readLogSince(log.unit, log.mark)) ?? "";
        const line = text
          .split("\n")
          .find((candidate) => failureInLog.test(candidate) && candidate.includes(host.split("@")[1] ?? host));
        if (line !== undefined)
          throw new DrError({
            code: "failure-state",
            attempted,
            seen: `the log of ${log.unit} on ${log.controller} says: ${line.trim().slice(0, 400)}`,
            remedy: "Repair its cause and run again.",
          });
      }
      const row = (await ctx.ports.database.listServiceRows()).find(isVolumeServiceOf(host));
      const heartbeats = counted.until(row);
      if (heartbeats < 2) return { seen: `${heartbeats} of 2 heartbeats` };
      if (row?.disabled === true) return { value: { heartbeats, pools: [] } };
      const pools = await ctx.ports.blockStorage.listPools().catch((error: unknown) => {
        if (DrError.is(error) && (error.code === "unreachable" || error.retryable)) return undefined;
        throw error;
      });
      if (pools === undefined) return { seen: "Cinder's API not answering" };
      const names = pools.map((pool) => pool.name).filter((name) => name.startsWith(`${host}#`));
      const missing = ctx.pair.flexVols.filter((flexVol) => !names.includes(`${host}#${flexVol}`));
      return missing.length === 0
        ? { value: { heartbeats, pools: names } }
        : { seen: `no report of pools ${missing.join(", ")}` };
    },
  });
}
