import type { SitePair } from "../topology/site-pair";
import { peerOf } from "../topology/site-pair";
import { noDelta, planDelta } from "./difference";
import { expectations, type Recent } from "./expectations";
import type { Intent, Route } from "./intent";
import { endedSwitchovers } from "./journal";
import type { Observation } from "./observation";
import type { Finding } from "./preflight";
import { preflight } from "./preflight";
import type { Ports } from "./ports";

/** Everything that stands against leaving a site, and what is to be minded. */
export interface Assessment {
  readonly findings: readonly Finding[];
  readonly warnings: readonly string[];
  /** How far both sites' data is apart; among the warnings, too. */
  readonly differences: readonly string[];
  readonly route: Route;
  readonly routeReason: string;
}

/** Preflight, what both sites have in common, and what the operator expects. Read-only. */
export async function assess(
  o: { readonly pair: SitePair; readonly intent: Intent; readonly ports: Ports },
  observation: Observation,
  from: string,
): Promise<Assessment> {
  const { intent, ports } = o;
  const planned = intent.unplanned === undefined;
  const checked = preflight(observation, intent, from);
  const delta = planned ? await planDelta(observation, ports, { from, to: peerOf(o.pair, from) }) : noDelta;
  // Who declares a site lost waits for nothing, nor for a journal that can't be read.
  const recent = planned ? await recentSwitchover(o) : undefined;
  const expected = expectations({ intent, observation, from, recent });
  return {
    findings: [...expected.failures, ...checked.failures, ...delta.findings],
    warnings: [
      ...expected.warnings,
      ...checked.warnings,
      ...(checked.route === "direct" ? [`direct route: ${checked.routeReason}`] : []),
    ],
    differences: delta.sentences,
    route: checked.route,
    routeReason: checked.routeReason,
  };
}

/** The last switchover, where it ended so short a while ago that the next has to wait. */
async function recentSwitchover(o: {
  readonly pair: SitePair;
  readonly intent: Intent;
  readonly ports: Ports;
}): Promise<Recent | undefined> {
  const { coordination, clock } = o.ports;
  const { minimumSecondsBetweenSwitchovers: seconds = 0 } = o.intent;
  if (seconds === 0) return undefined;
  for await (const { switchoverId, plan, endedAt } of endedSwitchovers(coordination, o.pair.name, seconds)) {
    if (plan.kind !== "switchover") continue;
    const secondsAgo = Math.max(0, Math.round((clock.now().getTime() - Date.parse(endedAt)) / 1000));
    return { switchoverId, from: plan.from, to: plan.to, secondsAgo };
  }
  return undefined;
}
