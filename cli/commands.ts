import os from "node:os";
import path from "node:path";
import type { Connections } from "../lib/connections";
import { DrError, messageOf, readable } from "../lib/errors";
import { activeSettings, type DisasterRecoverySettings } from "../lib/settings";
import {
  applySwitchover,
  approveGroup,
  durationOf,
  type Intent,
  linesOf,
  listHistory,
  markdownOf,
  observeState,
  openSwitchover,
  type Preview,
  previewSwitchover,
  reportAsMarkdown,
  reportOf,
  saveReport,
  type SwitchoverState,
  tellFailure,
  verifyEndState,
} from "../lib/switchover";
import { type ExitCode, exitCodes } from "./exit-codes";

export interface Terminal {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
  /** From its first call on, the operator's Ctrl-C fires it instead of ending the process; `said` is told then. */
  readonly stopSignal: (said?: string) => AbortSignal;
  /** Replaces what's on the screen; absent where the output is no terminal. */
  readonly redraw?: (lines: readonly string[]) => void;
  /** Tells how things stand, until what it gives back is called. */
  readonly watch?: (status: () => string) => () => void;
}

/** The configured pair, connected. */
export interface Session {
  readonly settings: DisasterRecoverySettings;
  readonly ports: Connections["ports"];
  /** The pair's owner; only a run that changes something needs it. */
  readonly stack: string | undefined;
  readonly terminal: Terminal;
}

const pairOf = ({ settings: { pair, journalDir }, ports }: Session) => ({ pair, ports, journalDir });

export function intentOf({ settings }: Session): Intent {
  const { journalDir: _, ...intent } = activeSettings(settings);
  return intent;
}

export const asJson = (value: unknown): string => JSON.stringify(value, null, 2);

// ------------------------------------------------------------------------------------------------------------ read-only

export async function plan(
  session: Session,
  o: { readonly json?: boolean; readonly markdown?: boolean },
): Promise<ExitCode> {
  const { terminal } = session;
  const asked = await question(session, intentOf(session));
  const seen = await previewSwitchover(asked);
  // Nothing is begun: approval is asked of `apply`.
  const preview = { ...seen, failures: seen.failures.filter(({ field }) => field !== "approvedPlan") };
  const { decision, digest, failures, warnings, runbook } = preview;
  if (o.json === true) terminal.out(asJson({ decision, digest, failures, warnings, runbook: runbook ?? null }));
  else if (o.markdown === true && runbook !== undefined) terminal.out(markdownOf(runbook).trimEnd());
  else show(session, preview);
  if (failures.length > 0) return exitCodes.refused;
  if (digest !== "" && o.json !== true && o.markdown !== true)
    terminal.out(`To do this: the same options, with apply instead of plan, and --digest ${digest}`);
  return exitCodes.fine;
}

export async function verify(session: Session, o: { readonly json?: boolean }): Promise<ExitCode> {
  const { terminal } = session;
  const proofs = await verifyEndState(pairOf(session));
  const verified = proofs.every(({ faults }) => faults.length === 0);
  if (o.json === true) terminal.out(asJson({ verified, proofs }));
  else
    for (const { what, seen, faults } of proofs) {
      terminal.out(`${faults.length === 0 ? "✓" : "✗"} ${what}: ${seen}`);
      for (const fault of faults) terminal.out(`    ${fault}`);
    }
  return verified ? exitCodes.fine : exitCodes.mismatch;
}

export async function report(session: Session, o: { readonly json?: boolean }, id?: string): Promise<ExitCode> {
  const { terminal, settings } = session;
  const found = await reportOf({ ...pairOf(session), ...(id === undefined ? {} : { switchoverId: id }) });
  if (found === undefined) {
    terminal.err(
      `No ${id === undefined ? "switchover" : `switchover ${id}`} of pair "${settings.pair.name}" is recorded.`,
    );
    return exitCodes.refused;
  }
  terminal.out(o.json === true ? asJson(found) : reportAsMarkdown(found).trimEnd());
  // Read is better than not told where it can't be written.
  const saved = await readable(() => saveReport(settings, found));
  for (const fault of saved.faults) terminal.err(`The report isn't written: ${fault}`);
  if (saved.value === undefined) return exitCodes.refused;
  if (o.json !== true) terminal.out(`\nreport: ${path.join(saved.value, "report.html")}`);
  return exitCodes.fine;
}

export async function history(session: Session, o: { readonly json?: boolean }): Promise<ExitCode> {
  const { terminal } = session;
  const { switchovers, unread } = await listHistory(pairOf(session));
  if (o.json === true) terminal.out(asJson({ switchovers, unread }));
  else {
    const seconds = (figure: number | undefined): string => (figure === undefined ? "–" : durationOf(figure));
    const rows = switchovers.map((past) => [
      `${past.startedAt.slice(0, 19).replace("T", " ")}Z`,
      `${past.from} → ${past.to}`,
      past.kind,
      past.mode,
      past.verdict,
      seconds(past.rtoSeconds),
      seconds(past.rpoSeconds),
      String(past.volumes),
      seconds(past.durationSeconds),
      past.reportDirectory ?? `cheesecake report ${past.switchoverId}`,
    ]);
    if (rows.length === 0) terminal.out(`No switchover of pair "${session.settings.pair.name}" is recorded.`);
    else for (const line of aligned([historyHead, ...rows])) terminal.out(line);
    for (const fault of unread) terminal.err(`not read: ${fault}`);
  }
  return unread.length === 0 ? exitCodes.fine : exitCodes.mismatch;
}

const historyHead = ["when", "from → to", "kind", "mode", "verdict", "RTO", "RPO", "volumes", "duration", "report"];

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

// ------------------------------------------------------------------------------------------------------------- changing

/**
 * Without Pulumi's state, what was before is what the systems say now: so nothing is there to be adopted, and nothing has
 * drifted. What they can't say, the engine is to refuse.
 */
async function question(session: Session, intent: Intent) {
  const { site, promoted, protected: isProtected } = await observeState(pairOf(session));
  const state: SwitchoverState | undefined =
    site === undefined
      ? undefined
      : { activeSite: site, promoted, protected: isProtected, observedSite: site, status: "", backendRevisions: {} };
  return { ...pairOf(session), intent, ...(state === undefined ? {} : { state }), stack: session.stack ?? "" };
}

/** The same lines as Pulumi's preview. */
function show(session: Session, { runbook, warnings, sentences, failures, digest }: Preview): void {
  const { out, err } = session.terminal;
  const lines = runbook ? linesOf(runbook) : [...warnings.map((warning) => `warning: ${warning}`), ...sentences];
  for (const line of lines) out(line);
  const told = new Set(runbook?.checks.map(({ text }) => text));
  for (const failure of failures.filter(({ message }) => !told.has(message))) err(`✗ ${tellFailure(failure)}`);
  if (failures.length > 0)
    err(
      `Refused: ${failures.length === 1 ? "one thing stands" : `${failures.length} things stand`} against it, ✗ above. Nothing was changed.`,
    );
  if (failures.length === 0 && digest === "")
    out(`Nothing to do: production runs at "${session.settings.activeSite}".`);
}

export async function apply(
  session: Session,
  o: { readonly digest?: string; readonly yes?: boolean },
): Promise<ExitCode> {
  const intent = approving(intentOf(session), o.digest);
  if (o.digest === undefined && o.yes !== true)
    throw misused("neither --digest nor --yes is given", "Run `cheesecake plan`, read it, and give its digest");
  if (intent.requireApproval && intent.approvedPlan === undefined)
    throw misused(
      "requireApproval is set, and no plan approved",
      "Run `cheesecake plan`, read it, and give its digest",
    );
  return carryOut(session, intent, o.digest);
}

export async function resume(session: Session, o: { readonly digest?: string }): Promise<ExitCode> {
  ownerOf(session);
  const open = await openSwitchover(pairOf(session));
  if (open === undefined) {
    session.terminal.err("No switchover is open: there is nothing to resume.");
    return exitCodes.refused;
  }
  const { to, diverged } = open.plan;
  const { reprotect = diverged, ...intent } = approving(intentOf(session), o.digest);
  return carryOut(session, { ...intent, activeSite: to, ...(reprotect === undefined ? {} : { reprotect }) }, o.digest);
}

/** Changes nothing but the journal: the next run goes on. */
export async function approve(session: Session, o: { readonly by?: string }, group?: string): Promise<ExitCode> {
  const { terminal } = session;
  const approved = await approveGroup({
    ...pairOf(session),
    stack: ownerOf(session),
    signal: terminal.stopSignal(),
    progress: terminal.out,
    by: o.by ?? os.userInfo().username,
    ...(group === undefined ? {} : { group }),
  });
  terminal.out(`Group "${approved.group}" of ${approved.switchoverId} is approved.`);
  terminal.out("To go on: `cheesecake resume`, or `pulumi up`.");
  return exitCodes.fine;
}

const misused = (seen: string, remedy: string): DrError =>
  new DrError({ code: "config", attempted: "Switch over", seen, state: "No system was asked", remedy });

function ownerOf({ stack }: Session): string {
  if (stack === undefined)
    throw misused(
      "the pair's stack isn't known from the configuration's name",
      "Name it by --stack, as Pulumi knows it",
    );
  return stack;
}

const approving = (intent: Intent, digest: string | undefined): Intent =>
  digest === undefined ? intent : { ...intent, approvedPlan: digest };

/** Under the lease it's planned again: another mode or route than shown is refused, and with a digest any other plan. */
async function carryOut(session: Session, intent: Intent, approved: string | undefined): Promise<ExitCode> {
  const { terminal } = session;
  const stack = ownerOf(session);
  const asked = await question(session, intent);
  const preview = await previewSwitchover(asked);
  show(session, preview);
  const { failures, digest, mode, route } = preview;
  if (failures.length > 0) return exitCodes.refused;
  if (digest === "") return exitCodes.fine;
  // Of a journal that goes on the library asks for no approval.
  if (approved !== undefined && approved !== digest) {
    terminal.err(`Plan ${approved} was approved, but what would be done now is ${digest}. Nothing was changed.`);
    return exitCodes.refused;
  }
  let begun: string | undefined;
  let unwatch: (() => void) | undefined;
  try {
    const state = await applySwitchover({
      ...asked,
      stack,
      previewed: { digest, mode, route },
      signal: terminal.stopSignal(),
      progress: terminal.out,
      onStatus: (status) => (unwatch = terminal.watch?.(status)),
      onJournal: (switchoverId) => (begun = switchoverId),
    });
    unwatch?.();
    terminal.out(state.status);
    terminal.out(`Before the next \`pulumi up\`: pulumi config set activeSite ${state.activeSite}`);
    return exitCodes.fine;
  } catch (error) {
    unwatch?.();
    if (begun === undefined) throw error;
    if (DrError.is(error, "approval")) {
      terminal.out(error.message);
      return exitCodes.waiting;
    }
    terminal.err(DrError.is(error) ? error.message : ((error as Error).stack ?? messageOf(error)));
    terminal.err(`${begun} isn't finished: \`cheesecake resume\` goes on with it, as \`pulumi up\` does.`);
    return exitCodes.unfinished;
  }
}
