import os from "node:os";
import path from "node:path";
import { DrError, readable, sentence } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { backendHost, siteNames, siteOf } from "../topology/site-pair";
import { Live } from "./context";
import type { StepContext } from "./context";
import { awaitedApproval } from "./approve";
import { assess } from "./assess";
import { divergence, unprotected } from "./difference";
import { expectedSite } from "./expectations";
import type { ExecutionEvent } from "./execute";
import { execute } from "./execute";
import type { History } from "./history";
import { historyOf } from "./history";
import type { Intent, Mode, Route, SwitchoverState } from "./intent";
import type { JournalEntry } from "./journal";
import { endedSwitchovers, Journal } from "./journal";
import { judge } from "./judgement";
import type { Lease } from "./lease";
import type { Observation } from "./observation";
import { volumesOf } from "./observation";
import { observe, observeSites } from "./observe";
import type { Onward } from "./open-journal";
import { onward } from "./open-journal";
import { asOwner } from "./owner";
import type { Plan } from "./plan";
import {
  forecastSeconds,
  planActivation,
  planPromotion,
  planReload,
  planReprotect,
  planSwitchover,
  volumesOfServer,
} from "./plan";
import type { Finding } from "./preflight";
import { checkDatabase, reprotectFindings, restartFindings, shadowFindings, unreadable } from "./preflight";
import type { Ports } from "./ports";
import { Progress } from "./progress";
import type { Report } from "./report";
import { buildReport, writeReport } from "./report";
import { headlineOf, inputLinesOf, type Runbook, runbookOf, type RunbookOptions } from "./runbook";
import type { Stop } from "./stop";
import { aboutStopping, refuseIfAsked } from "./stop";
import { sentenceOf, toldOf } from "./drift";
import { findOpenJournal, type Status } from "./status";
import type { Decision, Verdict } from "./verdict";
import { decide, verdictOf } from "./verdict";

export type { HookSpec, Intent, Mode, Phase, Promotion, Route, SwitchoverState, Unplanned } from "./intent";
export { phases } from "./intent";
export type { Plan } from "./plan";
export type { Report } from "./report";
export { reportAsHtml, reportAsMarkdown, reportSchema } from "./report";
export type { History, Past } from "./history";
export type { Check, Mark } from "./checks";
export type { Runbook, RunbookPhase } from "./runbook";
export { linesOf, markdownOf } from "./runbook";
export { durationOf } from "./duration";
export type { Mismatch } from "./drift";
export type { Judgement } from "./judgement";
export { sentenceOf, toldOf } from "./drift";
export type { StopOutcome, StoppedAt } from "./stop";
export { requestStop } from "./stop";
export type { Verdict } from "./verdict";
export { verdictOf } from "./verdict";
export { approveGroup } from "./approve";
export { observe } from "./observe";
export type { Proof } from "./verify";
export { verifyEndState } from "./verify";
export type { OpenSwitchover, Status } from "./status";
export { observeState, openSwitchover, statusOf } from "./status";
export type { LastSwitchover, MirrorLag, Overview, Readiness } from "./overview";
export { overviewOf } from "./overview";

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
  /** The runbook as the plan's input has it; empty where nothing is to be done. */
  readonly sentences: readonly string[];
  /** With what is only of this moment; absent where there's no plan. */
  readonly runbook?: Runbook;
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
  const { decision } = thought;
  const warnings = [...(next === undefined ? [] : [next.said]), ...thought.warnings];
  const plan = thought.plan && { ...thought.plan, warnings };
  const findings = [...thought.findings, ...unfinished(next, plan)];
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
  const { pair, intent } = o;
  const { complete = false, seen } = thought;
  const runbook = runbookOf({ plan, pair, intent, findings, warnings, complete, ...seen });
  return {
    decision: decision.action,
    sentences: inputLinesOf(runbook),
    runbook,
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

/** Of the switchover of this id, else of the last one, by its journal. Undefined where there's none. */
export async function reportOf(
  o: Pick<Question, "pair" | "ports" | "journalDir"> & { readonly switchoverId?: string },
): Promise<Report | undefined> {
  const faults: string[] = [];
  for await (const { switchoverId, entries } of Journal.all({
    ...journalsOf(o),
    onFault: (fault) => faults.push(fault),
  }))
    if (switchoverId === (o.switchoverId ?? switchoverId)) return buildReport(entries);
  if (faults.length === 0) return undefined;
  throw new DrError({
    code: "journal",
    attempted: `Read the journal of ${o.switchoverId ?? "the last switchover"}`,
    seen: faults.join("; "),
    remedy: "Ask again where one of its copies can be read: journalDir's, or that beside Cinder's database.",
  });
}

/** Writes the folder with report.html, report.md and report.json. Resolves to it. */
export function saveReport({ journalDir }: Pick<Question, "journalDir">, report: Report): Promise<string> {
  return writeReport(journalDir, report);
}

/** What was begun of the pair, newest first. Read-only. */
export function listHistory(o: Pick<Question, "pair" | "ports" | "journalDir">): Promise<History> {
  return historyOf(journalsOf(o));
}

const journalsOf = ({ pair, ports, journalDir }: Pick<Question, "pair" | "ports" | "journalDir">) => ({
  directory: journalDir,
  coordination: ports.coordination,
  pair: pair.name,
});

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
  /** Nothing new is begun from then on, and what is under way is finished. */
  readonly signal: AbortSignal;
  /** Nothing is waited for any more. */
  readonly cutOff?: AbortSignal;
  /** Lines to keep: one for each step, and what is remarkable. */
  readonly progress: (line: string) => void;
  /** Called when the first step is about to begin, with what tells how things stand, as often as it's asked. */
  readonly onStatus?: (status: () => string) => void;
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
  return asOwner(o, (lease, stop) => underLease(o, lease, stop));
}

async function underLease(o: ApplyOptions, lease: Lease, stop: Stop): Promise<SwitchoverState> {
  await Journal.closeEnded(o.ports.coordination, o.pair.name);
  const open = await findOpenJournal(o);
  const next = open && (await onward(o, open));
  if (open !== undefined && next !== undefined && goesOn(next)) {
    await takeUp(o, open, next, lease);
    return carryOut(o, lease, open, stop);
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
  refuseIfAsked(stop);
  o.progress(headlineOf(plan));
  for (const warning of plan.warnings) o.progress(`warning: ${warning}`);
  if (open !== undefined) {
    await lease.guard();
    await open.settle();
    await open.close("aborted");
    await reported(o, open.entries);
  }
  const journal = await Journal.begin({
    directory: o.journalDir,
    coordination: o.ports.coordination,
    clock: o.ports.clock,
    stack: o.stack,
    plan,
    run: lease.token,
  });
  o.onJournal?.(journal.switchoverId);
  return carryOut(o, lease, journal, stop);
}

/** The switchover that an adopted site was reached by, where this software made it, with its report: maybe elsewhere. */
async function broughtBy(
  o: ApplyOptions,
  site: string,
): Promise<{ readonly switchoverId?: string; readonly reportDirectory?: string }> {
  for await (const { switchoverId, plan, entries } of endedSwitchovers(o.ports.coordination, o.pair.name)) {
    if (plan.to !== site) break;
    const reportDirectory = await reported(o, entries);
    return { switchoverId, ...(reportDirectory === undefined ? {} : { reportDirectory }) };
  }
  return {};
}

async function carryOut(o: ApplyOptions, lease: Lease, journal: Journal, stop: Stop): Promise<SwitchoverState> {
  const { plan } = journal;
  await stop.watchFile(o.journalDir, journal.switchoverId);
  const { clock, retries } = o.ports;
  const before = retries?.() ?? 0;
  const progress = new Progress(
    plan.steps,
    (planned) => journal.isPassed(planned),
    () => clock.now(),
    () => (retries?.() ?? 0) - before,
  );
  const ctx: StepContext = {
    pair: o.pair,
    plan,
    ports: o.ports,
    journal,
    clock,
    signal: stop.cutOff,
    stop,
    progress,
    live: new Live(o.pair, o.ports),
    ...(o.intent.acceptSchema === undefined ? {} : { acceptSchema: o.intent.acceptSchema }),
    guard: () => lease.guard(),
    say: (line) => {
      const kept = progress.remark(line);
      if (kept !== undefined) o.progress(kept);
    },
  };
  o.progress(aboutStopping);
  o.onStatus?.(() => progress.status());
  let reportDirectory: string | undefined;
  try {
    await execute({ ctx, ...(o.onEvent === undefined ? {} : { onEvent: o.onEvent }) });
    await lease.guard();
    await journal.close(plan.kind === "abort" ? "aborted" : "completed");
    o.progress(progress.summary());
  } catch (error) {
    if (DrError.is(error, "stopped")) await toldStopped(journal, lease, stop, error);
    throw error;
  } finally {
    reportDirectory = await reported(o, journal.entries);
  }
  if (reportDirectory !== undefined) o.progress(`report: ${path.join(reportDirectory, "report.html")}`);
  const verdict = verdictOf(await observeSites(o.pair, o.ports));
  // Proved a moment ago: that the other site doesn't answer now doesn't refute it.
  const asProved = verdict.promoted && verdict.replicating === undefined && journal.isEnded("reprotect/wait-healthy");
  return stateAfter(o, asProved ? { ...verdict, protected: true } : verdict, journal.switchoverId, reportDirectory);
}

/** A report that can't be written, as on a full disk, neither ends a run nor hides what ended it: that is said. */
async function reported(o: ApplyOptions, entries: readonly JournalEntry[]): Promise<string | undefined> {
  const { value, faults } = await readable(() => writeReport(o.journalDir, buildReport(entries)));
  for (const fault of faults) o.progress(`the report isn't written: ${fault}. \`cheesecake report\` writes it anew`);
  return value;
}

/** What can't be written isn't what ended the run: the next one goes on without it. */
async function toldStopped(journal: Journal, lease: Lease, stop: Stop, { state, context }: DrError): Promise<void> {
  try {
    await lease.guard();
    await journal.append({ type: "stopped", by: stop.by, step: String(context["step"]), state: state ?? "" });
  } catch {
    return;
  }
}

// --------------------------------------------------------------------------------------------------------------- think

interface Thought {
  readonly decision: Decision;
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly warnings: readonly string[];
  readonly plan?: Plan;
  /** All of preflight was gone through. */
  readonly complete?: boolean;
  readonly seen?: Pick<RunbookOptions, "otherBackends" | "routeReason" | "differences">;
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
  const base = { decision, verdict, seen: { otherBackends: otherBackends(observation) } };
  switch (decision.action) {
    case "nothing":
    case "adopt":
      return {
        ...base,
        findings: decision.action === "adopt" ? expectedSite(o.intent, decision.site) : [],
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
        findings: [...expectedSite(o.intent, decision.to), ...failures, ...shadowFindings(observation, decision.to)],
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
        seen: { ...base.seen, differences: warnings },
        plan: planReprotect({ intent: o.intent, observation, activeSite: site, resyncs, baselines, warnings }),
      };
    }
    case "switchover": {
      const { findings, warnings, differences, route, routeReason } = await assess(o, observation, decision.from);
      return {
        ...base,
        findings,
        warnings,
        complete: true,
        seen: { ...base.seen, routeReason, differences },
        plan: planSwitchover({ intent: o.intent, observation, from: decision.from, route, warnings }),
      };
    }
  }
}

/** What cinder.conf enables beside the pair. */
function otherBackends({ pair, controllers }: Observation): string[] {
  const own = siteNames(pair).map((site) => siteOf(pair, site).backend);
  const enabled = controllers.flatMap(({ enabledBackends }) => enabledBackends);
  return [...new Set(enabled)].filter((backend) => !own.includes(backend));
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

function previewOfOpen(o: Question, journal: Journal, next: Onward): Preview {
  const { way, plan } = next;
  const left = plan.steps.filter((planned) => way === "abort" || !journal.isPassed(planned));
  const awaited = way === "abort" ? undefined : awaitedApproval(journal);
  const verb = way === "abort" ? "Abort" : way === "replan" ? `Go on (${plan.mode}, ${plan.route}) with` : "Resume";
  const headline = `${verb} ${journal.switchoverId}, begun ${journal.entries[0]?.at ?? ""}: ${left.length} of ${plan.steps.length} steps are left`;
  const { pair, intent } = o;
  const { findings } = next;
  const underway = { headline, left, replanned: way === "replan" };
  const warnings = [
    ...plan.warnings,
    ...(awaited === undefined
      ? []
      : [
          `it waits for the approval of group "${awaited}" (\`cheesecake approve ${awaited}\`), and ends there again without it`,
        ]),
  ];
  const runbook = runbookOf({ plan, pair, intent, findings, warnings, complete: false, underway });
  return {
    decision: way === "abort" || way === "refuse" ? way : "resume",
    sentences: inputLinesOf(runbook),
    runbook,
    digest: plan.digest,
    mode: plan.mode,
    route: plan.route,
    failures: failuresOnward(o.intent, next),
    warnings,
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

async function takeUp(o: ApplyOptions, journal: Journal, next: Onward, lease: Lease): Promise<void> {
  const { way, plan, said } = next;
  const failures = failuresOnward(o.intent, next);
  if (failures.length > 0) throw refusal(failures);
  assertAsPreviewed(plan, o);
  o.onJournal?.(journal.switchoverId);
  await journal.settle();
  await journal.append({ type: "resume", owner: `${os.hostname()} pid ${process.pid}`, run: lease.token });
  o.progress(said);
  if (way === "abort" || way === "replan") await journal.append({ type: way, plan });
}

// ------------------------------------------------------------------------------------------------------------- wording

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
        remedy: `Read the plan again. ${approveIt(plan)}`,
      },
    ];
  if (intent.requireApproval && intent.approvedPlan === undefined)
    return [
      {
        field: "approvedPlan",
        message: "this stack requires an approved plan (requireApproval): what is done has to have been read before",
        remedy: `Have the plan above read. ${approveIt(plan)}`,
      },
    ];
  return [];
}

const approveIt = ({ digest }: Plan): string =>
  `Approve it with \`pulumi config set approvedPlan ${digest}\` (\`cheesecake apply --digest ${digest}\`), then run up; nothing but this plan is done. Afterwards \`pulumi config rm approvedPlan\`.`;

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
