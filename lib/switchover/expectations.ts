import type { Intent, Mode } from "./intent";
import type { Observation } from "./observation";
import { mirrorOf } from "./observation";
import type { Finding } from "./preflight";
import { peerOf } from "../topology/site-pair";

/** What the operator holds to be so before a switchover is begun: where production runs, how far behind, how long since. Pure. */

/** A switchover that ended a short while ago. */
export interface Recent {
  readonly switchoverId: string;
  readonly from: string;
  readonly to: string;
  readonly secondsAgo: number;
}

export interface Expectations {
  readonly failures: readonly Finding[];
  readonly warnings: readonly string[];
}

/** Asked where something would be changed, or a site adopted that isn't the one of before; not of what is only resumed. */
export function expectedSite({ expectedActive }: Intent, live: string): Finding[] {
  if (expectedActive === undefined || expectedActive === live) return [];
  return [
    {
      id: "expected-active",
      message: `production runs at "${live}", but expectedActive is "${expectedActive}"`,
      remedy: `Find out who switched, and when (cheesecake status, cheesecake report). If "${live}" is right, set expectedActive to it or take it out (pulumi config rm expectedActive).`,
    },
  ];
}

/** Of a switchover that is to leave `from`. */
export function expectations(o: {
  readonly intent: Intent;
  readonly observation: Observation;
  readonly from: string;
  readonly recent?: Recent | undefined;
}): Expectations {
  const mode: Mode = o.intent.unplanned === undefined ? "planned" : "unplanned";
  const lag = maximumLag(o.observation, o.intent, mode, o.from);
  const soon = tooSoon(o.intent, mode, o.from, o.recent);
  return {
    failures: [...expectedSite(o.intent, o.from), ...lag.failures, ...soon.failures],
    warnings: [...lag.warnings, ...soon.warnings],
  };
}

/** Unplanned, `acceptLossSeconds` refuses: nobody can make the lag smaller any more. */
function maximumLag(observation: Observation, intent: Intent, mode: Mode, from: string): Expectations {
  const { maximumLagSeconds } = intent;
  if (maximumLagSeconds === undefined) return { failures: [], warnings: [] };
  const beyond = observation.pair.flexVols.flatMap((flexVol) => {
    // A mirror that isn't there is preflight's business.
    const mirror = mirrorOf(observation, from, peerOf(observation.pair, from), flexVol);
    if (mirror === undefined || (mirror.lagSeconds ?? Infinity) <= maximumLagSeconds) return [];
    const seen = mirror.lagSeconds === undefined ? "its lag can't be read" : `it is ${mirror.lagSeconds} s behind`;
    return [{ flexVol, message: `"${flexVol}": ${seen}, maximumLagSeconds is ${maximumLagSeconds}` }];
  });
  if (mode === "unplanned") return { failures: [], warnings: beyond.map(({ message }) => message) };
  return {
    warnings: [],
    failures: beyond.map(({ flexVol, message }) => ({
      id: `lag-maximum:${flexVol}`,
      message,
      remedy: `Update the mirror (snapmirror update), or find out why it falls behind; or raise maximumLagSeconds.`,
    })),
  };
}

/** Whoever declares a site lost doesn't wait. */
function tooSoon(intent: Intent, mode: Mode, from: string, recent: Recent | undefined): Expectations {
  const { minimumSecondsBetweenSwitchovers: needed = 0, soonAfter } = intent;
  if (mode === "unplanned" || recent === undefined || recent.secondsAgo >= needed)
    return { failures: [], warnings: [] };
  const { switchoverId, secondsAgo } = recent;
  const message = `the switchover "${recent.from}" → "${recent.to}" (${switchoverId}) ended ${secondsAgo} s ago`;
  if (soonAfter === switchoverId) return { failures: [], warnings: [message] };
  return {
    warnings: [],
    failures: [
      {
        id: "too-soon",
        message: `${message}, needed ${needed} s between two (minimumSecondsBetweenSwitchovers)`,
        remedy: `Wait ${needed - secondsAgo} s. If it can't wait: pulumi config set soonAfter ${switchoverId} (cheesecake: --soon-after ${switchoverId}), which counts for this one alone. If "${from}" is lost, declare unplanned: { from: "${from}", acceptLossSeconds: … }, which doesn't wait.`,
      },
    ],
  };
}
