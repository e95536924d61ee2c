import type { Connections } from "../lib/connections";
import { DrError, messageOf } from "../lib/errors";
import { activeSettings, type DisasterRecoverySettings } from "../lib/settings";
import {
  applySwitchover,
  type Intent,
  observeState,
  openSwitchover,
  type Preview,
  previewSwitchover,
  reportAsMarkdown,
  reportOf,
  statusOf,
  type SwitchoverState,
  tellFailure,
  toldOf,
  verifyEndState,
} from "../lib/switchover";
import { type ExitCode, exitCodes } from "./exit-codes";

export interface Terminal {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
  /** From its first call on, the operator's Ctrl-C fires it instead of ending the process. */
  readonly stopSignal: () => AbortSignal;
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

function intentOf({ settings }: Session): Intent {
  const { journalDir: _, ...intent } = activeSettings(settings);
  return intent;
}

const asJson = (value: unknown): string => JSON.stringify(value, null, 2);

// ------------------------------------------------------------------------------------------------------------ read-only

export async function status(session: Session, o: { readonly json?: boolean }): Promise<ExitCode> {
  const { terminal, ports, settings } = session;
  const pair = pairOf(session);
  const [seen, lease] = await Promise.all([
    statusOf({ ...pair, expected: settings.activeSite }),
    readable(() => ports.coordination.findLease(settings.pair.name)),
  ]);
  const { open, judgement } = seen;
  const { site, promoted, protected: isProtected, mismatches } = seen.verdict;
  const running = lease.value !== undefined && !lease.value.expired ? lease.value : undefined;
  const unseen = [...new Set([...seen.unseen, ...lease.faults])];
  const facts = {
    pair: settings.pair.name,
    verdict: judgement,
    activeSite: site ?? null,
    promoted,
    protected: isProtected,
    openSwitchover: open
      ? {
          id: open.switchoverId,
          kind: open.plan.kind,
          from: open.plan.from,
          to: open.plan.to,
          begunAt: open.begunAt,
          ...(open.stopped === undefined ? {} : { stopped: open.stopped }),
        }
      : null,
    run: running ? { owner: running.owner, host: running.host, pid: running.pid, stack: running.stack } : null,
    mismatches,
    unseen,
  };
  if (o.json === true) terminal.out(asJson(facts));
  else {
    const { openSwitchover: begun, run } = facts;
    const rows = [
      ["pair", facts.pair],
      ["verdict", `${judgement.word}: ${judgement.said}`],
      ...(judgement.remedy === "" ? [] : [["way on", judgement.remedy]]),
      ["active site", site ?? "unclear"],
      ["promoted", promoted ? "yes" : "no"],
      ["protected", isProtected ? "yes" : "no"],
      ["open switchover", begun ? `${begun.id} (${begun.kind} "${begun.from}" → "${begun.to}")` : "none"],
      ["run", run ? `${run.owner} on ${run.host} (pid ${run.pid}, stack ${run.stack})` : "none"],
      ...mismatches.map((mismatch) => [mismatch.kind === "alarm" ? "alarm" : "mismatch", toldOf(mismatch)]),
      ...unseen.map((text) => ["not compared", text]),
    ];
    for (const [name = "", value = ""] of rows) terminal.out(`${name.padEnd(17)}${value}`);
  }
  const fits = site !== undefined && mismatches.length === 0 && unseen.length === 0;
  return fits && judgement.word !== "elsewhere" ? exitCodes.fine : exitCodes.mismatch;
}

/** In a disaster the rest is told also where this can't be read. */
async function readable<T>(
  read: () => Promise<T>,
): Promise<{ readonly value?: T; readonly faults: readonly string[] }> {
  try {
    return { value: await read(), faults: [] };
  } catch (error) {
    return { faults: [messageOf(error)] };
  }
}

export async function plan(session: Session): Promise<ExitCode> {
  const { terminal } = session;
  // Nothing is approved yet, and nothing is begun: approval is asked of `apply`.
  const { approvedPlan: _, ...intent } = intentOf(session);
  const { failures, digest } = await shown(session, await question(session, { ...intent, requireApproval: false }));
  if (failures.length > 0) return exitCodes.refused;
  if (digest !== "") terminal.out(`To do this: the same options, with apply instead of plan, and --digest ${digest}`);
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
  return exitCodes.fine;
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
async function shown(session: Session, asked: Awaited<ReturnType<typeof question>>): Promise<Preview> {
  const { out, err } = session.terminal;
  const preview = await previewSwitchover(asked);
  for (const warning of preview.warnings) out(`warning: ${warning}`);
  for (const sentence of preview.sentences) out(sentence);
  for (const failure of preview.failures) err(`✗ ${tellFailure(failure)}`);
  if (preview.failures.length === 0 && preview.digest === "")
    out(`Nothing to do: production runs at "${asked.intent.activeSite}".`);
  return preview;
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
  const { failures, digest, mode, route } = await shown(session, asked);
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
    terminal.err(DrError.is(error) ? error.message : ((error as Error).stack ?? messageOf(error)));
    terminal.err(`${begun} isn't finished: \`cheesecake resume\` goes on with it, as \`pulumi up\` does.`);
    return exitCodes.unfinished;
  }
}
