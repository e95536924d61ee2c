import os from "node:os";
import path from "node:path";
import { DrError, messageOf, sentence } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { backendHost } from "../topology/site-pair";
import { Live } from "./context";
import type { StepContext } from "./context";
import { divergence, noDelta, planDelta, unprotected } from "./difference";
import type { ExecutionEvent } from "./execute";
import { execute } from "./execute";
import type { Intent, Mode, Route, SwitchoverState } from "./intent";
import type { JournalEntry } from "./journal";
import { endedSwitchovers, Journal } from "./journal";
import type { Judgement } from "./judgement";
import { judge } from "./judgement";
import { Lease } from "./lease";
import type { Observation } from "./observation";
import { volumesOf } from "./observation";
import { observe, observeSites } from "./observe";
import type { Onward } from "./open-journal";
import { onward } from "./open-journal";
import type { Plan } from "./plan";
import {
  forecastSeconds,
  planActivation,
  planPromotion,
  planReload,
  planReprotect,
  planSwitchover,
  sentencesOf,
  volumesOfServer,
} from "./plan";
import type { Finding } from "./preflight";
import { checkDatabase, preflight, reprotectFindings, restartFindings, shadowFindings, unreadable } from "./preflight";
import type { Ports } from "./ports";
import type { Report } from "./report";
import { buildReport, writeReport } from "./report";
import { sentenceOf, toldOf } from "./drift";
import type { Decision, Verdict } from "./verdict";
import { decide, verdictOf } from "./verdict";

export type { HookSpec, Intent, Mode, Phase, Promotion, Route, SwitchoverState, Unplanned } from "./intent";
export { phases } from "./intent";
export type { Plan } from "./plan";
export type { Report } from "./report";
export { reportAsMarkdown } from "./report";
export type { Mismatch } from "./drift";
export type { Judgement } from "./judgement";
export { sentenceOf, toldOf } from "./drift";
export type { Verdict } from "./verdict";
export { verdictOf } from "./verdict";
export { observe } from "./observe";
export type { Proof } from "./verify";
export { verifyEndState } from "./verify";

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

/** What would be done now, and why it would be refused. */
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
  const next = open && (await onward(o, open));
  if (open !== undefined && next !== undefined && goesOn(next)) return previewOfOpen(o, open, next);
  const thought = await think(o);
  const { decision, findings } = thought;
  const warnings = [...(next === undefined ? [] : [next.said]), ...thought.warnings];
  const plan = thought.plan && { ...thought.plan, warnings };
  const failures = [...findings, ...unfinished(next, plan)].map((finding) => failureOf(finding));
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

/** Whether anything was begun and not ended. Read-only. @throws DrError `unreachable` where the database doesn't answer. */
export async function hasOpenJournal(o: Pick<Question, "pair" | "ports" | "journalDir">): Promise<boolean> {
  return (await findOpenJournal(o)) !== undefined;
}

/** A switchover whose journal is open. */
export interface OpenSwitchover {
  readonly switchoverId: string;
  readonly begunAt: string;
  /** The plan that counts: the abort's where one was begun. */
  readonly plan: Plan;
}

/** What was begun and not ended. Read-only. */
export async function openSwitchover(
  o: Pick<Question, "pair" | "ports" | "journalDir">,
): Promise<OpenSwitchover | undefined> {
  const journal = await findOpenJournal(o);
  return journal && { switchoverId: journal.switchoverId, begunAt: journal.entries[0]?.at ?? "", plan: journal.plan };
}

/**
 * Of the switchover of this id, else of the last one, from its journal: by the database's copy, or where the database
 * doesn't answer, by the file's. Undefined where there's none.
 */
export async function reportOf(
  o: Pick<Question, "pair" | "ports" | "journalDir"> & { readonly switchoverId?: string },
): Promise<Report | undefined> {
  const entries = await Journal.readLast({
    directory: o.journalDir,
    coordination: o.ports.coordination,
    pair: o.pair.name,
    ...(o.switchoverId === undefined ? {} : { switchoverId: o.switchoverId }),
  });
  return entries && buildReport(entries);
}

/** Where production runs, by the systems' own word. Read-only. */
export async function observeState(o: Pick<Question, "pair" | "ports">): Promise<Verdict> {
  return verdictOf(await observeSites(o.pair, o.ports));
}

/** One verdict on everything that can be asked. */
export interface Status {
  readonly verdict: Verdict;
  readonly judgement: Judgement;
  /** What was begun and not ended. */
  readonly open?: OpenSwitchover;
  /** What couldn't be compared, and why. */
  readonly unseen: readonly string[];
}

/** One verdict on what cinder.conf, Cinder's rows, the mirrors and the attachments say. Read-only. */
export async function statusOf(
  o: Pick<Question, "pair" | "ports" | "journalDir"> & { readonly expected: string },
): Promise<Status> {
  const verdict = await observeState(o);
  const unseen = [...verdict.unseen];
  // In a disaster the rest is told also where this can't be read.
  const open = await openSwitchover(o).catch((error: unknown) => void unseen.push(messageOf(error)));
  const judgement = judge({
    verdict,
    expected: o.expected,
    ...(open === undefined ? {} : { open: open.switchoverId }),
  });
  return { verdict, judgement, ...(open === undefined ? {} : { open }), unseen };
}

/** What ActiveSite stores of it. */
export function outputsOf(
  pair: SitePair,
  { verdict, judgement }: Pick<Status, "verdict" | "judgement">,
): Pick<SwitchoverState, "observedSite" | "status" | "mismatches"> {
  const { site, promoted, protected: isProtected, mismatches } = verdict;
  const { word, said } = judgement;
  const where = promoted
    ? `active at ${site ?? ""} (${backendHost(pair, site ?? "")})`
    : `failed over to ${site ?? ""}, not promoted`;
  const status = [
    ...(site === undefined ? [] : [`${where}, ${isProtected ? "protected" : "unprotected"}`]),
    ...(word === "in place" ? [] : [`${word}: ${said}`]),
  ].join("; ");
  return {
    observedSite: site ?? "",
    status,
    ...(mismatches.length === 0 ? {} : { mismatches: mismatches.map(sentenceOf) }),
  };
}

/** What {@link applySwitchover} needs: what is asked for, how to reach the pair, and whom to tell. */
export interface ApplyOptions extends Question {
  readonly stack: string;
  /** What the preview in this very update said; a difference in direction, mode or route is refused. */
  readonly previewed?: { readonly digest: string; readonly mode: string; readonly route: string };
  readonly signal: AbortSignal;
  /** Is told each line for the operator. */
  readonly progress: (line: string) => void;
  /** Is told each event of the run, and awaited. */
  readonly onEvent?: (event: ExecutionEvent) => void | Promise<void>;
  /** Called once it's this run that writes a journal: a failure before it has changed nothing. */
  readonly onJournal?: (switchoverId: string) => void;
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
  const next = open && (await onward(o, open));
  if (open !== undefined && next !== undefined && goesOn(next)) {
    await takeUp(o, open, next);
    return carryOut(o, lease, open);
  }
  if (next !== undefined) o.progress(next.said);
  const { decision, findings: found, plan, verdict } = await think(o, "under our lease");
  const findings = [...found, ...unfinished(next, plan)];
  if (findings.length > 0) throw refusal(findings);
  if (plan === undefined) {
    const { switchoverId, reportDirectory } = decision.action === "adopt" ? await broughtBy(o, decision.site) : {};
    return stateAfter(o, verdict, switchoverId, reportDirectory);
  }
  const unapproved = approvalFailures(o.intent, plan);
  if (unapproved.length > 0) throw refusal(unapproved);
  assertAsPreviewed(plan, o);
  o.progress(headline(plan));
  for (const warning of plan.warnings) o.progress(`warning: ${warning}`);
  if (open !== undefined) {
    await lease.guard();
    await open.settle();
    await open.close("aborted");
    await writeReport(o.journalDir, buildReport(open.entries)).catch(() => undefined);
  }
  const journal = await Journal.begin({
    directory: o.journalDir,
    coordination: o.ports.coordination,
    clock: o.ports.clock,
    stack: o.stack,
    plan,
  });
  o.onJournal?.(journal.switchoverId);
  return carryOut(o, lease, journal);
}

/** The switchover that an adopted site was reached by, where this software made it, with its report: maybe elsewhere. */
async function broughtBy(
  o: ApplyOptions,
  site: string,
): Promise<{ readonly switchoverId?: string; readonly reportDirectory?: string }> {
  for await (const { switchoverId, plan, entries } of endedSwitchovers(o.ports.coordination, o.pair.name)) {
    if (plan.to !== site) break;
    const reportDirectory = await writeReport(o.journalDir, buildReport(entries)).catch(() => undefined);
    return { switchoverId, ...(reportDirectory === undefined ? {} : { reportDirectory }) };
  }
  return {};
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
    ...(o.intent.acceptSchema === undefined ? {} : { acceptSchema: o.intent.acceptSchema }),
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
  const verdict = verdictOf(await observeSites(o.pair, o.ports));
  // Proved a moment ago: that the other site doesn't answer now doesn't refute it.
  const asProved = verdict.promoted && verdict.replicating === undefined && journal.isEnded("reprotect/wait-healthy");
  return stateAfter(o, asProved ? { ...verdict, protected: true } : verdict, journal.switchoverId, reportDirectory);
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
    ...(o.intent.unplanned === undefined ? {} : { unplannedFrom: o.intent.unplanned.from }),
    ...(verdict.half === undefined ? {} : { failedOverByUs: (await lastSwitchover(o))?.to === verdict.site }),
  });
  const told = [...verdict.mismatches.map(toldOf), ...verdict.unseen];
  const base = { decision, verdict };
  switch (decision.action) {
    case "nothing":
    case "adopt":
      return {
        ...base,
        findings: [],
        warnings: [...told, ...(await unprotected(observation, o.ports, verdict))],
      };
    case "refuse":
      return {
        ...base,
        findings: [{ id: "refused", message: decision.message, remedy: decision.remedy }],
        // A contradiction's are in its message.
        warnings: verdict.site === undefined ? verdict.unseen : told,
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
      // A failover that this software didn't make counts as unplanned: nothing is known of what the other site holds.
      const last = await lastSwitchover(o);
      const mode = last?.to === o.intent.activeSite ? last.mode : "unplanned";
      const { failures, warnings } = checkDatabase(observation, o.intent);
      warnings.push(...told);
      if (mode !== "planned") warnings.push("the other site isn't touched until reprotect is asked for");
      return {
        ...base,
        findings: [...failures, ...shadowFindings(observation, decision.to)],
        warnings,
        plan: planPromotion({ intent: o.intent, observation, to: decision.to, mode, warnings }),
      };
    }
    case "reprotect": {
      const { site } = decision;
      const { sentences: warnings, findings, resyncs, baselines } = await divergence(observation, o.ports, site);
      return {
        ...base,
        findings: [...reprotectFindings(observation, site), ...findings],
        warnings,
        plan: planReprotect({ intent: o.intent, observation, activeSite: site, resyncs, baselines, warnings }),
      };
    }
    case "switchover": {
      const checked = preflight(observation, o.intent, decision.from);
      const delta = o.intent.unplanned === undefined ? await planDelta(observation, o.ports, decision) : noDelta;
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

/** The plan of the last switchover, where that was completed. */
async function lastSwitchover(o: Question): Promise<Plan | undefined> {
  const [latest] = await o.ports.coordination.listSwitchovers(o.pair.name);
  if (latest === undefined) return undefined;
  const lines = await o.ports.coordination.readJournal(latest.switchoverId);
  const entries = lines.map((line) => JSON.parse(line) as JournalEntry);
  if (!entries.some((entry) => entry.type === "end" && entry.outcome === "completed")) return undefined;
  // The plan that counted at the end: a planned one may have gone on unplanned.
  const plans = entries.flatMap((e) =>
    e.type === "begin" || e.type === "replan" || e.type === "abort" ? [e.plan] : [],
  );
  const plan = plans.at(-1);
  return plan?.kind === "switchover" ? plan : undefined;
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

function previewOfOpen(o: Question, journal: Journal, next: Onward): Preview {
  const { way, plan } = next;
  const left = plan.steps.filter((planned) => way === "abort" || !journal.isEnded(planned.id));
  const verb = way === "abort" ? "Abort" : way === "replan" ? `Go on (${plan.mode}, ${plan.route}) with` : "Resume";
  return {
    decision: way === "abort" || way === "refuse" ? way : "resume",
    sentences: [
      `${verb} ${journal.switchoverId}, begun ${journal.entries[0]?.at ?? ""}: ${left.length} of ${plan.steps.length} steps are left`,
      ...left.map((planned) => `${planned.phase}: ${planned.sentence}`),
    ],
    digest: plan.digest,
    mode: plan.mode,
    route: plan.route,
    failures: failuresOnward(o.intent, next),
    warnings: plan.warnings,
    forecastSeconds: left.reduce((sum, planned) => sum + planned.forecastSeconds, 0),
  };
}

/** Else it's left as it is, and what the intent asks for is looked at. */
const goesOn = ({ way }: Onward): boolean => way !== "close" && way !== "postpone";

/** Nothing is begun beside a journal that is only postponed. */
function unfinished(next: Onward | undefined, plan: Plan | undefined): Finding[] {
  if (next?.way !== "postpone" || plan === undefined) return [];
  return [
    { id: "unfinished", message: next.said, remedy: `Set reprotect to ${next.plan.diverged ?? ""} and run up first.` },
  ];
}

/** A plan that changes underway is refused or approved like a new one. */
function failuresOnward(intent: Intent, { way, plan, findings }: Onward): Failure[] {
  return [...findings.map(failureOf), ...(way === "replan" ? approvalFailures(intent, plan) : [])];
}

async function takeUp(o: ApplyOptions, journal: Journal, next: Onward): Promise<void> {
  const { way, plan, said } = next;
  const failures = failuresOnward(o.intent, next);
  if (failures.length > 0) throw refusal(failures);
  assertAsPreviewed(plan, o);
  o.onJournal?.(journal.switchoverId);
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
  const volumes = plan.servers.reduce((sum, server) => sum + volumesOfServer(server).length, 0);
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
      .map(
        (server) =>
          `${server.name} (${volumesOfServer(server)
            .map((a) => a.device.replace("/dev/", ""))
            .join(", ")})`,
      )
      .join("; ") || "no instances"
  );
}

function assertAsPreviewed(plan: Plan, o: ApplyOptions): void {
  if (o.previewed === undefined || o.previewed.digest === plan.digest) return;
  // A reprotect discards: its digest covers which FlexVols are begun anew.
  if (plan.kind === "reprotect" || (o.previewed.digest === "" && plan.kind === "switchover"))
    throw new DrError({
      code: "stale-plan",
      attempted: `Carry out plan ${plan.digest}`,
      seen: o.previewed.digest === "" ? "the preview had nothing to do" : `the preview said ${o.previewed.digest}`,
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

/** With what to do about it. */
export const tellFailure = ({ message, remedy }: Failure): string => `${sentence(message)} ${remedy}`;

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
    seen: `${findings.length} preconditions aren't met:\n${findings.map((finding) => `  ✗ ${tellFailure(finding)}`).join("\n")}\n`,
    state: "Nothing was changed.",
  });
}

function stateAfter(
  o: ApplyOptions,
  verdict: Verdict,
  switchoverId: string | undefined,
  reportDirectory: string | undefined,
): SwitchoverState {
  const { activeSite } = o.intent;
  const outputs = outputsOf(o.pair, { verdict, judgement: judge({ verdict, expected: activeSite }) });
  const last = switchoverId ?? o.state?.lastSwitchoverId;
  const report = reportDirectory ?? o.state?.reportDirectory;
  return {
    activeSite: verdict.site ?? activeSite,
    promoted: verdict.promoted,
    protected: verdict.protected,
    ...outputs,
    backendRevisions: o.intent.backendRevisions ?? {},
    ...(last === undefined ? {} : { lastSwitchoverId: last }),
    ...(report === undefined ? {} : { reportDirectory: report }),
  };
}
