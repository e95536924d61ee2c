import os from "node:os";
import path from "node:path";
import { DrError } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { backendHost, peerOf, siteNames } from "../topology/site-pair";
import { Live } from "./context";
import type { StepContext } from "./context";
import { observeDifferences, sentencesOfDifferences } from "./difference";
import type { ExecutionEvent } from "./execute";
import { execute } from "./execute";
import type { Intent, Mode, Route, SwitchoverState } from "./intent";
import type { JournalEntry } from "./journal";
import { Journal } from "./journal";
import { Lease } from "./lease";
import type { Observation } from "./observation";
import { volumesOf } from "./observation";
import { serviceRowOf } from "./observation";
import { observe } from "./observe";
import type { Plan } from "./plan";
import {
  forecastSeconds,
  planAbort,
  planActivation,
  planPromotion,
  planReload,
  planReprotect,
  planSwitchover,
  planWithoutSource,
  sentencesOf,
} from "./plan";
import type { Finding } from "./preflight";
import { preflight, restartFindings } from "./preflight";
import type { Ports } from "./ports";
import { buildReport, writeReport } from "./report";
import type { Decision, Verdict } from "./verdict";
import { decide, verdictOf } from "./verdict";

export type { HookSpec, Intent, Mode, Phase, Promotion, Route, SwitchoverState, Unplanned } from "./intent";
export { phases } from "./intent";
export type { Plan } from "./plan";
export type { Report } from "./report";
export type { Verdict } from "./verdict";
export { verdictOf } from "./verdict";
export { observe } from "./observe";

/**
 * The engine's face. observe → decide → preflight → plan → (lease, journal) execute → report; only `applySwitchover` and
 * what it calls change anything.
 */

export interface Failure {
  /** Name of the input that the operator would change, where there's one. */
  readonly field?: string;
  readonly message: string;
  readonly remedy: string;
}

export interface Preview {
  readonly decision: Decision["action"] | "resume" | "abort";
  /** The runbook, as the operator reads it; empty where nothing is to be done. */
  readonly sentences: readonly string[];
  readonly digest: string;
  readonly mode: Mode;
  readonly route: Route;
  readonly failures: readonly Failure[];
  readonly warnings: readonly string[];
  readonly forecastSeconds: number;
}

interface Question {
  readonly pair: SitePair;
  readonly intent: Intent;
  readonly state?: SwitchoverState;
  readonly ports: Ports;
  /** Journals, dumps (mode 0600) and reports. */
  readonly journalDir: string;
}

/** What `up` would do now. Read-only. */
export async function previewSwitchover(o: Question & { readonly stack: string }): Promise<Preview> {
  const open = await findOpenJournal(o);
  if (open !== undefined) return previewOfOpen(o, open);
  const { decision, findings, plan, warnings } = await think(o);
  const failures = findings.map((finding) => failureOf(finding));
  if (plan === undefined)
    return {
      decision: decision.action,
      sentences: adoptSentences(decision),
      digest: "",
      mode: "planned",
      route: "failover-host",
      failures,
      warnings,
      forecastSeconds: 0,
    };
  return {
    decision: decision.action,
    sentences: [headline(plan), ...sentencesOf(plan)],
    digest: plan.digest,
    mode: plan.mode,
    route: plan.route,
    failures: [...failures, ...approvalFailures(o.intent, plan)],
    warnings: plan.warnings,
    forecastSeconds: forecastSeconds(plan),
  };
}

export async function hasOpenJournal(o: Pick<Question, "pair" | "ports" | "journalDir">): Promise<boolean> {
  return (await findOpenJournal(o)) !== undefined;
}

/** Where production runs, by the systems' own word. Read-only. */
export async function observeState(
  o: Pick<Question, "pair" | "ports">,
): Promise<Verdict & { readonly observedSite: string }> {
  const verdict = verdictOf(await observe(o.pair, o.ports));
  return { ...verdict, observedSite: verdict.site ?? "" };
}

export interface ApplyOptions extends Question {
  readonly stack: string;
  /** What the preview in this very update said; a difference in direction, mode or route is refused. */
  readonly previewed?: { readonly digest: string; readonly mode: string; readonly route: string };
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
  readonly onEvent?: (event: ExecutionEvent) => void | Promise<void>;
}

/**
 * Makes the configured site the active one, or finishes what was begun. Resolves to what is to be stored. Safe to call
 * again after any failure, also of this process.
 */
export async function applySwitchover(o: ApplyOptions): Promise<SwitchoverState> {
  const { coordination, clock } = o.ports;
  await coordination.prepare();
  const owner = await coordination.claimOwnership(o.pair.name, o.stack);
  if (owner.stack !== o.stack)
    throw new DrError({
      code: "lease",
      attempted: `Operate pair "${o.pair.name}" from stack "${o.stack}"`,
      seen: `the pair belongs to stack "${owner.stack}"`,
      state: "Nothing was changed.",
      remedy: `Use that stack, or hand the pair over in ${"cinder_cheesecake"}.ownership.`,
    });
  const lease = await Lease.acquire({
    pair: o.pair.name,
    holder: {
      owner: os.userInfo().username,
      host: os.hostname(),
      pid: process.pid,
      stack: o.stack,
      planDigest: o.previewed?.digest ?? "",
    },
    coordination,
    clock,
    signal: o.signal,
    say: o.progress,
  });
  try {
    return await underLease(o, lease);
  } finally {
    await lease.release();
  }
}

async function underLease(o: ApplyOptions, lease: Lease): Promise<SwitchoverState> {
  await Journal.closeEnded(o.ports.coordination, o.pair.name);
  const open = await findOpenJournal(o);
  if (open !== undefined) {
    await takeUp(o, open);
    return carryOut(o, lease, open);
  }
  const { findings, plan, verdict } = await think(o, "under our lease");
  if (findings.length > 0) throw refusal(findings);
  if (plan === undefined) return stateAfter(o, verdict, undefined, undefined);
  const unapproved = approvalFailures(o.intent, plan);
  if (unapproved.length > 0) throw refusal(unapproved);
  assertAsPreviewed(plan, o);
  o.progress(headline(plan));
  for (const warning of plan.warnings) o.progress(`warning: ${warning}`);
  const journal = await Journal.begin({
    directory: o.journalDir,
    coordination: o.ports.coordination,
    clock: o.ports.clock,
    stack: o.stack,
    plan,
  });
  return carryOut(o, lease, journal);
}

async function carryOut(o: ApplyOptions, lease: Lease, journal: Journal): Promise<SwitchoverState> {
  const { plan } = journal;
  const ctx: StepContext = {
    pair: o.pair,
    plan,
    ports: o.ports,
    journal,
    clock: o.ports.clock,
    signal: o.signal,
    live: new Live(o.pair, o.ports),
    guard: () => lease.guard(),
    say: o.progress,
  };
  let reportDirectory: string | undefined;
  try {
    await execute({ ctx, ...(o.onEvent === undefined ? {} : { onEvent: o.onEvent }) });
    await lease.guard();
    await journal.close(plan.kind === "abort" ? "aborted" : "completed");
  } finally {
    reportDirectory = await writeReport(o.journalDir, buildReport(journal.entries)).catch(() => undefined);
  }
  o.progress(`report: ${path.join(reportDirectory ?? "", "report.md")}`);
  const verdict = verdictOf(await observe(o.pair, o.ports));
  return stateAfter(o, verdict, journal.switchoverId, reportDirectory);
}

// --------------------------------------------------------------------------------------------------------------- think

interface Thought {
  readonly decision: Decision;
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly warnings: readonly string[];
  readonly plan?: Plan;
}

async function think(o: Question, lease?: "under our lease"): Promise<Thought> {
  const { lease: held, ...seen } = await observe(o.pair, o.ports);
  const observation: Observation = held === undefined || lease !== undefined ? seen : { ...seen, lease: held };
  const verdict = verdictOf(observation);
  const blind = unreadable(observation);
  if (blind.length > 0) return { decision: { action: "nothing" }, verdict, findings: blind, warnings: [] };
  const decision = decide({
    ...(o.state === undefined ? {} : { state: o.state }),
    configured: o.intent.activeSite,
    promotion: o.intent.promotion,
    reprotect: o.intent.reprotect !== undefined,
    ...(o.intent.backendRevisions === undefined ? {} : { backendRevisions: o.intent.backendRevisions }),
    verdict,
    volumes: volumesOf(observation).length,
  });
  const base = { decision, verdict };
  switch (decision.action) {
    case "nothing":
    case "adopt":
      return {
        ...base,
        findings: [],
        warnings: [...verdict.mismatches, ...(await unprotected(o, observation, verdict))],
      };
    case "refuse":
      return {
        ...base,
        findings: [{ id: "refused", message: decision.message, remedy: decision.remedy }],
        warnings: [],
      };
    case "activate":
      return {
        ...base,
        findings: activationFindings(observation, decision.site),
        warnings: [],
        plan: planActivation({ intent: o.intent, observation, site: decision.site }),
      };
    case "reload":
      return {
        ...base,
        findings: restartFindings(observation, decision.site),
        warnings: [],
        plan: planReload({ intent: o.intent, observation, site: decision.site }),
      };
    case "promote": {
      const mode = await modeOfLastSwitchover(o);
      const warnings = mode === "planned" ? [] : [`the other site isn't touched until reprotect is asked for`];
      return {
        ...base,
        findings: [],
        warnings,
        plan: planPromotion({ intent: o.intent, observation, to: decision.to, mode, warnings }),
      };
    }
    case "reprotect": {
      const site = decision.site;
      const { sentences, findings } = await divergenceOf(o, observation, site);
      return {
        ...base,
        findings: [...reprotectFindings(observation, site), ...findings],
        warnings: sentences,
        plan: planReprotect({ intent: o.intent, observation, activeSite: site, warnings: sentences }),
      };
    }
    case "switchover": {
      const checked = preflight(observation, o.intent, decision.from);
      const delta = await deltaOf(o, observation, decision);
      const warnings = [
        ...checked.warnings,
        ...delta.sentences,
        ...(checked.route === "direct" ? [`direct route: ${checked.routeReason}`] : []),
      ];
      return {
        ...base,
        findings: [...checked.failures, ...delta.findings],
        warnings,
        plan: planSwitchover({ intent: o.intent, observation, from: decision.from, route: checked.route, warnings }),
      };
    }
  }
}

interface Told {
  readonly sentences: readonly string[];
  readonly findings: readonly Finding[];
}

/** Planned: what the updates will carry, by the common snapshot that they and a later way back need. */
async function deltaOf(o: Question, observation: Observation, way: { from: string; to: string }): Promise<Told> {
  if (o.intent.unplanned !== undefined) return { sentences: [], findings: [] };
  const differences = await observeDifferences(observation, o.ports, { from: way.from, onto: way.to });
  if ("error" in differences) return { sentences: [], findings: [] }; // preflight says what doesn't answer
  return {
    sentences: sentencesOfDifferences(differences, { from: way.from, onto: way.to, discards: false }),
    findings: differences
      .filter(({ common }) => common === undefined)
      .map(({ flexVol }) => ({
        id: `common-snapshot:${flexVol}`,
        message: `no snapshot of "${flexVol}" is common to "${way.from}" and "${way.to}": no update can start from it, and no mirror be turned round`,
        remedy: `Initialise the mirror "${way.from}" → "${way.to}" anew.`,
      })),
  };
}

/** What a reprotect discards and what it carries, by FlexVol and volume. */
async function divergenceOf(o: Question, observation: Observation, site: string): Promise<Told> {
  const way = { from: site, onto: peerOf(observation.pair, site) };
  const differences = await observeDifferences(observation, o.ports, way);
  if ("error" in differences) return { sentences: [], findings: [] };
  return { sentences: sentencesOfDifferences(differences, { ...way, discards: true }), findings: [] };
}

/** After an unplanned failover the lost site has the only copy of what was lost: nothing touches it until that's asked for. */
async function unprotected(o: Question, observation: Observation, verdict: Verdict): Promise<string[]> {
  if (verdict.site === undefined || !verdict.promoted || verdict.replicating !== false) return [];
  const other = peerOf(observation.pair, verdict.site);
  const { sentences } = await divergenceOf(o, observation, verdict.site);
  return [`"${verdict.site}" isn't protected; "${other}" isn't touched until reprotect is asked for`, ...sentences];
}

/** Without cinder.conf and the services rows nobody can tell which site is active. */
function unreadable(observation: Observation): Finding[] {
  return [
    ...observation.controllerErrors.map((message) => ({
      id: "controller",
      message,
      remedy: "Check cinder.controllers: the way to the host, and the path of cinder.conf.",
    })),
    ...(observation.database.ok
      ? []
      : [
          {
            id: "database",
            message: `Cinder's database can't be asked: ${observation.database.error}`,
            remedy: "Check host, port, user, TLS of cinder.database, and the secret databasePassword.",
          },
        ]),
    ...(observation.volumesError === undefined
      ? []
      : [
          {
            id: "cinder-api",
            message: `Cinder's API can't be asked: ${observation.volumesError}`,
            remedy: "Check openstack.authUrl, the credential and its secret openstackSecret; start cinder-api.",
          },
        ]),
    ...(observation.serversError === undefined
      ? []
      : [
          {
            id: "nova-api",
            message: `Nova's API can't be asked: ${observation.serversError}`,
            remedy: "Check the credential's rights; start nova-api.",
          },
        ]),
  ];
}

function activationFindings(observation: Observation, site: string): Finding[] {
  const seen = observation.arrays[site];
  const backend = observation.pair.sites[site]?.backend ?? "";
  return [
    ...(seen?.ok === true
      ? []
      : [
          {
            id: `array:${site}`,
            message: `the array of "${site}" can't be asked: ${seen?.ok === false ? seen.error : ""}`,
            remedy: "Check its address, CA file, user and password.",
          },
        ]),
    ...observation.controllers
      .filter((controller) => controller.stanzas[backend] === undefined)
      .map((controller) => ({
        id: `stanza:${controller.name}`,
        message: `${controller.cinderConf} on ${controller.name} has no stanza [${backend}]`,
        remedy: "Declare the pair's CinderBackend resources before ActiveSite.",
      })),
  ];
}

function reprotectFindings(observation: Observation, activeSite: string): Finding[] {
  const other = peerOf(observation.pair, activeSite);
  const seen = observation.arrays[other];
  if (seen?.ok === true) return [];
  return [
    {
      id: `array:${other}`,
      message: `"${other}" doesn't answer yet: ${seen?.ok === false ? seen.error : ""}`,
      remedy: `Repair it, or take "reprotect" out until then.`,
    },
  ];
}

/** A failover that this software didn't make counts as unplanned: nothing is known of what the other site holds. */
async function modeOfLastSwitchover(o: Question): Promise<Mode> {
  const [latest] = await o.ports.coordination.listSwitchovers(o.pair.name);
  if (latest === undefined) return "unplanned";
  const lines = await o.ports.coordination.readJournal(latest.switchoverId);
  const entries = lines.map((line) => JSON.parse(line) as JournalEntry);
  if (!entries.some((entry) => entry.type === "end" && entry.outcome === "completed")) return "unplanned";
  // The plan that counted at the end: a planned one may have gone on unplanned.
  const plans = entries.flatMap((e) =>
    e.type === "begin" || e.type === "replan" || e.type === "abort" ? [e.plan] : [],
  );
  const plan = plans.at(-1);
  return plan?.kind === "switchover" && plan.to === o.intent.activeSite ? plan.mode : "unplanned";
}

// -------------------------------------------------------------------------------------------------------- open journal

async function findOpenJournal(o: Pick<Question, "pair" | "ports" | "journalDir">): Promise<Journal | undefined> {
  return Journal.findOpen({
    directory: o.journalDir,
    coordination: o.ports.coordination,
    clock: o.ports.clock,
    pair: o.pair.name,
  });
}

/** Which way an open journal goes on, for this intent. */
function wayOn(journal: Journal, intent: Intent): "resume" | "abort" | { readonly refused: Finding } {
  const { plan } = journal;
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

/** How an open journal goes on for this intent, and with which plan; one that changes underway is refused or approved like a new one. */
interface Onward {
  readonly way: "resume" | "abort" | "replan" | "refuse";
  readonly plan: Plan;
  readonly failures: readonly Failure[];
  readonly said: string;
}

async function onward(o: Question, journal: Journal): Promise<Onward> {
  const { intent } = o;
  const { plan } = journal;
  const way = wayOn(journal, intent);
  if (typeof way === "object") return { way: "refuse", plan, failures: [failureOf(way.refused)], said: "" };
  if (way === "abort")
    return {
      way,
      plan: planAbort(plan),
      failures: [],
      said: `aborting ${journal.switchoverId}: production stays at "${intent.activeSite}"`,
    };
  const replanned = (await withoutSource(o, journal)) ?? (await pastFailover(o, journal));
  if (replanned === undefined) return { way: "resume", plan, failures: [], said: `resuming ${journal.switchoverId}` };
  return {
    way: "replan",
    plan: replanned.plan,
    failures: [...replanned.findings.map(failureOf), ...approvalFailures(intent, replanned.plan)],
    said: replanned.said,
  };
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
  const lost = unplannedFrom(intent, plan.from) && observation.arrays[plan.from]?.ok !== true;
  const needed =
    plan.steps.some(({ id }) => id === "promote/reverse-mirrors" && !journal.isEnded(id)) || !journal.cutoverBegun;
  if (!lost || !needed) return undefined;
  return {
    plan: planWithoutSource(plan, journal.cutoverBegun || plan.kind === "promotion" ? "planned" : "unplanned"),
    findings: [],
    said: `"${plan.from}" was lost after the final transfer: going on without it, unprotected until it's back`,
  };
}

/** Cinder's own failover failed, or the operator wants to go past it: the direct route on the same journal. */
async function pastFailover(o: Question, journal: Journal): Promise<Replanned | undefined> {
  const { plan } = journal;
  const asked = o.intent.route === "direct" && plan.kind === "switchover" && plan.route === "failover-host";
  if (!asked || journal.isEnded("cutover/failover-host")) return undefined;
  const observation = await observe(o.pair, o.ports);
  const row = serviceRowOf(observation, backendHost(o.pair, plan.from));
  const queues = observation.queues.ok ? (observation.queues.value[plan.from] ?? []) : [];
  const served = queues.some((queue) => queue.consumers > 0);
  // Under way or done: that is to be waited for.
  if ((row?.replicationStatus === "failing-over" && served) || row?.replicationStatus === "failed-over")
    return undefined;
  const { from, mode } = plan;
  return {
    plan: planSwitchover({
      intent: o.intent,
      observation,
      from,
      route: "direct",
      warnings: plan.warnings,
      begun: plan,
      mode,
    }),
    findings: unreadable(observation),
    said: "going on past Cinder's failover, by the direct route",
  };
}

const unplannedFrom = (intent: Intent, site: string): boolean => intent.unplanned?.from === site;

async function previewOfOpen(o: Question, journal: Journal): Promise<Preview> {
  const { way, plan, failures } = await onward(o, journal);
  const left = plan.steps.filter((planned) => way === "abort" || !journal.isEnded(planned.id));
  const verb = way === "abort" ? "Abort" : way === "replan" ? `Go on (${plan.mode}, ${plan.route}) with` : "Resume";
  return {
    decision: way === "replan" ? "resume" : way,
    sentences: [
      `${verb} ${journal.switchoverId}, begun ${journal.entries[0]?.at ?? ""}: ${left.length} of ${plan.steps.length} steps are left`,
      ...left.map((planned) => `${planned.phase}: ${planned.sentence}`),
    ],
    digest: plan.digest,
    mode: plan.mode,
    route: plan.route,
    failures,
    warnings: plan.warnings,
    forecastSeconds: left.reduce((sum, planned) => sum + planned.forecastSeconds, 0),
  };
}

async function takeUp(o: ApplyOptions, journal: Journal): Promise<void> {
  const { way, plan, failures, said } = await onward(o, journal);
  if (failures.length > 0) throw refusal(failures);
  assertAsPreviewed(plan, o);
  await journal.settle();
  await journal.append({ type: "resume", owner: `${os.hostname()} pid ${process.pid}` });
  o.progress(said);
  if (way === "abort" || way === "replan") await journal.append({ type: way, plan });
}

// ------------------------------------------------------------------------------------------------------------- wording

function headline(plan: Plan): string {
  const how =
    plan.kind === "switchover"
      ? `${plan.mode} switchover "${plan.from}" → "${plan.to}" (${plan.route}, promotion ${plan.promotion})`
      : `${plan.kind} of "${plan.to}"`;
  const volumes = plan.servers.reduce((sum, server) => sum + server.attachments.length, 0);
  return `${how}: ${plan.servers.length} instances, ${plan.volumes.length} volumes (${volumes} attached), ${plan.mirrors.length} mirrors; forecast ${forecastSeconds(plan)} s; plan ${plan.digest}`;
}

function adoptSentences(decision: Decision): string[] {
  return decision.action === "adopt"
    ? [`Adopt "${decision.site}" as the active site: production runs there already, nothing is changed`]
    : [];
}

function failureOf(finding: Finding): Failure {
  return { message: finding.message, remedy: finding.remedy };
}

function approvalFailures(intent: Intent, plan: Plan): Failure[] {
  if (intent.approvedPlan !== undefined && intent.approvedPlan !== plan.digest)
    return [
      {
        field: "approvedPlan",
        message: `plan ${intent.approvedPlan} was approved, but what would be done now is ${plan.digest}: ${inventory(plan)}`,
        remedy: "Read the plan again; approve it with `pulumi config set approvedPlan " + plan.digest + "`.",
      },
    ];
  if (intent.requireApproval && intent.approvedPlan === undefined)
    return [
      {
        field: "approvedPlan",
        message: "this stack requires an approved plan",
        remedy: "Read the plan; approve it with `pulumi config set approvedPlan " + plan.digest + "`.",
      },
    ];
  return [];
}

function inventory(plan: Plan): string {
  return (
    plan.servers
      .map((server) => `${server.name} (${server.attachments.map((a) => a.device.replace("/dev/", "")).join(", ")})`)
      .join("; ") || "no instances"
  );
}

function assertAsPreviewed(plan: Plan, o: ApplyOptions): void {
  if (o.previewed === undefined || o.previewed.digest === plan.digest) return;
  if (o.previewed.digest === "" && plan.kind === "switchover")
    throw new DrError({
      code: "stale-plan",
      attempted: `Carry out plan ${plan.digest}`,
      seen: "the preview had nothing to switch",
      state: "Nothing was changed.",
      remedy: "Run preview again and read it.",
    });
  if (o.previewed.digest === "") return;
  if (o.previewed.mode !== plan.mode || o.previewed.route !== plan.route)
    throw new DrError({
      code: "stale-plan",
      attempted: `Carry out plan ${plan.digest}`,
      seen: `it is ${plan.mode} by ${plan.route}, but the preview said ${o.previewed.mode} by ${o.previewed.route}`,
      state: "Nothing was changed.",
      remedy: "Run preview again and read it.",
    });
  o.progress(`the plan differs from the previewed one (${o.previewed.digest}); now: ${inventory(plan)}`);
}

function refusal(findings: readonly Failure[]): DrError {
  const [only] = findings;
  if (findings.length === 1 && only !== undefined)
    return new DrError({
      code: "precondition",
      attempted: "Switch over",
      seen: only.message,
      state: "Nothing was changed.",
      remedy: only.remedy,
    });
  return new DrError({
    code: "precondition",
    attempted: "Switch over",
    seen: `${findings.length} preconditions aren't met:\n${findings.map((finding) => `  ✗ ${finding.message}. ${finding.remedy}`).join("\n")}\nNothing was changed.`,
  });
}

function stateAfter(
  o: ApplyOptions,
  verdict: Verdict,
  switchoverId: string | undefined,
  reportDirectory: string | undefined,
): SwitchoverState {
  const observedSite = verdict.site ?? "";
  const protection = verdict.protected ? "protected" : "unprotected";
  const status =
    observedSite === ""
      ? `unclear: ${verdict.mismatches.join("; ")}`
      : verdict.promoted
        ? `active at ${observedSite} (${backendHost(o.pair, observedSite)}), ${protection}`
        : `failed over to ${observedSite}, not promoted, ${protection}`;
  const last = switchoverId ?? o.state?.lastSwitchoverId;
  const report = reportDirectory ?? o.state?.reportDirectory;
  return {
    activeSite: siteNames(o.pair).includes(observedSite) ? observedSite : o.intent.activeSite,
    promoted: verdict.promoted,
    protected: verdict.protected,
    observedSite,
    status,
    backendRevisions: o.intent.backendRevisions ?? {},
    ...(last === undefined ? {} : { lastSwitchoverId: last }),
    ...(report === undefined ? {} : { reportDirectory: report }),
  };
}
