import type { SitePair } from "../topology/site-pair";
import { backendHost } from "../topology/site-pair";
import { divergence } from "./difference";
import { sameHooks } from "./hooks";
import type { Intent } from "./intent";
import type { Journal } from "./journal";
import type { Observation } from "./observation";
import { arrayOf, cinderServiceOf, isMirrorOf, isServed, serviceRowOf } from "./observation";
import { observe } from "./observe";
import type { Plan } from "./plan";
import {
  planAbort,
  planReprotect,
  planSwitchover,
  planWithHooks,
  planWithoutReprotect,
  planWithoutSource,
} from "./plan";
import type { Ports } from "./ports";
import type { Finding } from "./preflight";
import { preflight, reprotectFindings, unreadable } from "./preflight";
import { divergedName, formerName } from "./steps/diverged";

/** What becomes of a switchover that was begun and not ended: resumed, planned anew on the same journal, or aborted. */

interface Question {
  readonly pair: SitePair;
  readonly intent: Intent;
  readonly ports: Ports;
}

/** Which way an open journal goes on, for this intent. */
function wayOn(journal: Journal, intent: Intent): Exclude<Onward["way"], "refuse"> | { readonly refused: Finding } {
  const { plan } = journal;
  // Production has to leave a site that is lost: protecting it is no reason to stay.
  if (plan.diverged !== undefined && intent.activeSite !== plan.to && unplannedFrom(intent, plan.to)) return "close";
  if (plan.kind === "reprotect" && intent.activeSite === plan.to) {
    if (intent.reprotect === undefined) return isCinderStopped(journal) ? "resume" : "postpone";
    if (!journal.isBegun("promote/stop-services")) return "replan";
    if (intent.reprotect !== plan.diverged)
      return {
        refused: {
          id: "reprotecting",
          message: `the reprotect ${journal.switchoverId} was begun with ${plan.diverged ?? ""}, not ${intent.reprotect}`,
          remedy: `Set reprotect to ${plan.diverged ?? ""} and run up, which goes on as it was begun.`,
        },
      };
  }
  if (plan.kind === "abort") {
    return intent.activeSite === plan.to
      ? "resume"
      : {
          refused: {
            id: "aborting",
            message: `the switchover ${journal.switchoverId} is being aborted towards "${plan.to}"`,
            remedy: `Set activeSite to "${plan.to}" and run up; then start anew.`,
          },
        };
  }
  if (intent.activeSite === plan.to) return "resume";
  if (plan.kind !== "switchover" || journal.pastCutover)
    return {
      refused: {
        id: "past-cutover",
        message: `the switchover ${journal.switchoverId} to "${plan.to}" is past its cutover: the way is only forward`,
        remedy: `Set activeSite to "${plan.to}" and run up; afterwards switch back.`,
      },
    };
  return "abort";
}

/** How an open journal goes on for an intent, and with which plan; with findings it doesn't. */
export interface Onward {
  /**
   * `close`: the journal ends as it is, and what the intent asks for is begun. `postpone`: it stays open, and nothing else
   * is begun.
   */
  readonly way: "resume" | "abort" | "replan" | "refuse" | "close" | "postpone";
  readonly plan: Plan;
  readonly findings: readonly Finding[];
  readonly said: string;
}

/** Read-only: what it decides, the caller carries out under the lease. */
export async function onward(o: Question, journal: Journal): Promise<Onward> {
  const { intent } = o;
  const { plan } = journal;
  const way = wayOn(journal, intent);
  if (typeof way === "object") return { way: "refuse", plan, findings: [way.refused], said: "" };
  if (way === "close")
    return {
      way,
      plan,
      findings: [],
      said: `closing ${journal.switchoverId}: "${plan.to}" is left, mirrors stay as they are`,
    };
  if (way === "postpone")
    return {
      way,
      plan,
      findings: [],
      said: `${journal.switchoverId} isn't finished: set reprotect, and up goes on with it`,
    };
  if (way === "replan") return { way, ...(await reprotectAnew(o, journal)) };
  if (way === "abort")
    return {
      way,
      plan: planAbort(plan, intent.hooks),
      findings: [],
      said: `aborting ${journal.switchoverId}: production stays at "${intent.activeSite}"`,
    };
  if (plan.kind === "reprotect" && (await isGivenUp(o, journal)))
    return {
      way: "abort",
      plan: planWithoutReprotect(plan, intent.hooks),
      findings: [],
      said: `giving up ${journal.switchoverId}: Cinder's services start again, without replication`,
    };
  const replanned = (await withoutSource(o, journal)) ?? (await pastFailover(o, journal));
  const said = `resuming ${journal.switchoverId}`;
  const now = planWithHooks(replanned?.plan ?? plan, intent.hooks);
  if (replanned !== undefined) return { way: "replan", ...replanned, plan: now };
  if (sameHooks(now.hooks, plan.hooks)) return { way: "resume", plan, findings: [], said };
  return { way: "replan", plan: now, findings: [], said: `${said}, with its hooks as they are declared by now` };
}

const isCinderStopped = (journal: Journal): boolean =>
  journal.isBegun("promote/stop-services") && !journal.isEnded("promote/start-services");

/**
 * Before Cinder is stopped for it, what both sides have in common is read again, and what is to become of the rest is
 * asked again. What this journal's runs renamed keeps its part in the plan.
 */
async function reprotectAnew(o: Question, journal: Journal): Promise<Replanned> {
  const { intent } = o;
  const { plan } = journal;
  const observation = await observe(o.pair, o.ports);
  const { sentences, findings, resyncs, baselines } = await divergence(observation, o.ports, plan.to);
  const ours = o.pair.flexVols.flatMap((flexVol) => [divergedName(journal, flexVol), formerName(journal, flexVol)]);
  const names = arrayOf(observation, plan.from)?.flexVols.map(({ name }) => name) ?? [];
  const renamed = (plan.baselines ?? []).filter(
    ({ flexVol, setAside }) => setAside && names.includes(formerName(journal, flexVol)),
  );
  const kept = new Set(renamed.map(({ flexVol }) => flexVol));
  return {
    plan: planReprotect({
      intent,
      observation,
      activeSite: plan.to,
      resyncs: resyncs.filter((flexVol) => !kept.has(flexVol)),
      baselines: [...renamed, ...baselines.filter(({ flexVol }) => !kept.has(flexVol))],
      warnings: sentences,
    }),
    findings: [...unreadable(observation), ...reprotectFindings(observation, plan.to, ours), ...findings],
    said: `going on with ${journal.switchoverId}`,
  };
}

/** The site that was to be protected is lost again while Cinder's services are stopped for it, and `reprotect` was taken out. */
async function isGivenUp(o: Question, journal: Journal): Promise<boolean> {
  if (o.intent.reprotect !== undefined || !isCinderStopped(journal)) return false;
  return (await observe(o.pair, o.ports)).arrays[journal.plan.from]?.ok !== true;
}

interface Replanned {
  readonly plan: Plan;
  readonly findings: readonly Finding[];
  readonly said: string;
}

/** Planned, but the source died on the way, and the operator declares it lost. */
async function withoutSource(o: Question, journal: Journal): Promise<Replanned | undefined> {
  const { intent } = o;
  const { plan } = journal;
  const movable = plan.kind === "switchover" || plan.kind === "promotion";
  if (!movable || plan.mode !== "planned" || intent.unplanned === undefined) return undefined;
  const observation = await observe(o.pair, o.ports);
  if (!journal.pastCutover && plan.kind === "switchover") {
    const checked = preflight(observation, intent, plan.from);
    // Of an instance that is detached by half, the plan knows the devices; they had no gap then.
    const findings = checked.failures.filter((finding) => !finding.id.startsWith("device-gap:"));
    const { route, warnings } = checked;
    return {
      plan: planSwitchover({ intent, observation, from: plan.from, route, warnings, begun: plan }),
      findings,
      said: `"${plan.from}" was lost on the way: going on unplanned`,
    };
  }
  // The final transfer is done. What is left doesn't need the source, but for the replication back to it.
  if (!unplannedFrom(intent, plan.from) || observation.arrays[plan.from]?.ok === true) return undefined;
  const failedOver = plan.kind === "promotion" || isFailedOver(o, journal, observation);
  const unprotected = ["promote/reverse-mirrors", "reprotect/wait-healthy"].filter((id) => !journal.isEnded(id));
  if (failedOver && !plan.steps.some(({ id }) => unprotected.includes(id))) return undefined;
  if (asksForDirect(o, journal) && (!failedOver || isStuck(o, journal, observation))) return pastFailover(o, journal);
  return {
    plan: planWithoutSource(plan, failedOver ? "planned" : "unplanned", unprotected),
    findings: [],
    said: `"${plan.from}" was lost after the final transfer: going on without it, unprotected until it's back`,
  };
}

/** Proved, not only asked for: from then on no step looks at the source any more to be sure of it. */
function isFailedOver(o: Question, journal: Journal, observation: Observation): boolean {
  const { from } = journal.plan;
  return (
    journal.isEnded("cutover/failover-host") ||
    journal.isEnded("cutover/break-mirrors") ||
    (serviceRowOf(observation, backendHost(o.pair, from))?.replicationStatus === "failed-over" &&
      !leftUnbroken(o, journal, observation))
  );
}

/**
 * NetApp's driver breaks the mirrors before Cinder writes `failed-over`, and takes one that it can't break as a fault of
 * its volumes alone (`data_motion.break_snapmirrors`): its next start would resync what it broke.
 */
function leftUnbroken({ pair }: Question, { plan }: Journal, observation: Observation): boolean {
  const mirrors = arrayOf(observation, plan.to)?.mirrors ?? [];
  return pair.flexVols.some((flexVol) =>
    mirrors.some((mirror) => isMirrorOf(pair, mirror, plan.from, plan.to, flexVol) && mirror.state !== "broken_off"),
  );
}

/**
 * Failed over, but its cinder-volume doesn't serve: restarted while the lost site is away, NetApp's driver of Cinder 29
 * doesn't start (`check_for_setup_error` asks the lost array). Promoted it does, which the direct route puts first.
 */
function isStuck(o: Question, journal: Journal, observation: Observation): boolean {
  if (!journal.isEnded("cutover/failover-host") || journal.isBegun("promote/stop-services")) return false;
  return !serves(o, journal, observation);
}

/** A cinder-volume with a dead driver consumes its queue in the end, and is called down. */
function serves({ pair }: Question, { plan }: Journal, observation: Observation): boolean {
  const queues = observation.queues.ok ? (observation.queues.value[plan.from] ?? []) : [];
  return isServed(queues) && cinderServiceOf(observation, backendHost(pair, plan.from))?.up !== false;
}

const asksForDirect = ({ intent }: Question, { plan }: Journal): boolean =>
  intent.route === "direct" && plan.kind === "switchover" && plan.route === "failover-host";

/** Cinder's own failover failed, or the operator wants to go past it: the direct route on the same journal. */
async function pastFailover(o: Question, journal: Journal): Promise<Replanned | undefined> {
  const { plan } = journal;
  if (!asksForDirect(o, journal)) return undefined;
  const observation = await observe(o.pair, o.ports);
  const row = serviceRowOf(observation, backendHost(o.pair, plan.from));
  // Under way: that is to be waited for. Asked of a process that died it never ends.
  if (row?.replicationStatus === "failing-over" && serves(o, journal, observation)) return undefined;
  // Done: the ordinary way goes on, unless nobody can attach anything.
  if (isFailedOver(o, journal, observation) && !isStuck(o, journal, observation)) return undefined;
  const { from } = plan;
  const lost = unplannedFrom(o.intent, from) && observation.arrays[from]?.ok !== true;
  return {
    plan: planSwitchover({
      intent: o.intent,
      observation,
      from,
      route: "direct",
      warnings: plan.warnings,
      begun: plan,
      mode: lost ? "unplanned" : plan.mode,
    }),
    findings: [...unreadable(observation), ...unknownConsumers(observation)],
    said: "going on past Cinder's failover, by the direct route",
  };
}

/** A cinder-volume that works on the failover may not be stopped in the middle of it. */
function unknownConsumers({ queues }: Observation): Finding[] {
  if (queues.ok) return [];
  return [
    {
      id: "message-queue",
      message: `whether a cinder-volume works on the failover can't be seen: ${queues.error}`,
      remedy: "Make the message queue answer, then run again.",
    },
  ];
}

const unplannedFrom = (intent: Intent, site: string): boolean => intent.unplanned?.from === site;
