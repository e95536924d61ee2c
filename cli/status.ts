import { durationOf, type MirrorLag, type Overview, overviewOf, type Readiness, toldOf } from "../lib/switchover";
import { asJson, intentOf, type Session } from "./commands";
import { type ExitCode, exitCodes } from "./exit-codes";

/** The pair at a glance: once, or again and again. */

export interface StatusOptions {
  readonly json?: boolean;
  readonly watch?: boolean;
  readonly everySeconds: number;
  /** Nova isn't asked for every instance. */
  readonly readiness: boolean;
}

export async function status(session: Session, o: StatusOptions): Promise<ExitCode> {
  const { terminal, ports } = session;
  const { out } = terminal;
  let seen = await look(session, o.readiness);
  const print = (lines: readonly string[]): void => lines.forEach(out);
  if (o.watch !== true) {
    print(o.json === true ? [asJson(factsOf(seen))] : linesOf(seen));
    return exitOf(seen);
  }
  const signal = terminal.stopSignal("Stopping to watch.");
  const show = (before: Overview | undefined): void => {
    if (o.json === true) out(JSON.stringify(factsOf(seen)));
    else if (terminal.redraw !== undefined)
      terminal.redraw([...linesOf(seen), "", `${seen.at}, every ${o.everySeconds} s`]);
    else print(before === undefined ? linesOf(seen) : changes(before, seen));
  };
  show(undefined);
  while (!signal.aborted) {
    // The time between two looks: one that takes long doesn't make the next come at once.
    const stopped = await ports.clock.sleep(o.everySeconds * 1000, signal).then(
      () => false,
      () => true,
    );
    if (stopped) break;
    const before = seen;
    seen = await look(session, o.readiness, before);
    show(before);
  }
  return exitOf(seen);
}

export function look(session: Session, readiness: boolean, before?: Overview): Promise<Overview> {
  const { pair, journalDir } = session.settings;
  const { ports } = session;
  const intent = intentOf(session);
  return overviewOf({ pair, ports, journalDir, intent, readiness, history: before?.history });
}

function exitOf({ verdict, judgement, unseen }: Overview): ExitCode {
  const fits = verdict.site !== undefined && verdict.mismatches.length === 0 && unseen.length === 0;
  return fits && judgement.word !== "elsewhere" ? exitCodes.fine : exitCodes.mismatch;
}

/** For a machine; documented in docs/monitoring.md. */
export function factsOf(seen: Overview): object {
  const { pair, at, judgement, verdict, open, run, mirrors, last, readiness, unseen } = seen;
  return {
    pair,
    at,
    verdict: judgement,
    activeSite: verdict.site ?? null,
    promoted: verdict.promoted,
    protected: verdict.protected,
    mirrors,
    lastSwitchover: last ?? null,
    openSwitchover: open
      ? {
          id: open.switchoverId,
          kind: open.plan.kind,
          from: open.plan.from,
          to: open.plan.to,
          begunAt: open.begunAt,
          awaitsApprovalOf: open.awaitsApprovalOf ?? null,
          stopped: open.stopped ?? null,
        }
      : null,
    run: run ? { owner: run.owner, host: run.host, pid: run.pid, stack: run.stack } : null,
    readiness: readiness ?? null,
    mismatches: verdict.mismatches,
    unseen,
  };
}

type Row = readonly [name: string, value: string];

const shownMirrors = 20;

function rowsOf(seen: Overview): Row[] {
  const { judgement, verdict, open, run, last, mirrors } = seen;
  // The worst ones first: the others are alike.
  const worst = [...mirrors].sort((a, b) => (b.lagSeconds ?? Infinity) - (a.lagSeconds ?? Infinity));
  const told = mirrors.length > shownMirrors ? worst.slice(0, shownMirrors) : mirrors;
  return [
    ["pair", seen.pair],
    ["verdict", `${judgement.word}: ${judgement.said}`],
    ...(judgement.remedy === "" ? [] : [["way on", judgement.remedy] as const]),
    ["active site", verdict.site ?? "unclear"],
    ["promoted", verdict.promoted ? "yes" : "no"],
    ["protected", verdict.protected ? "yes" : "no"],
    [
      "open switchover",
      open ? `${open.switchoverId} (${open.plan.kind} "${open.plan.from}" → "${open.plan.to}")` : noneOpen(seen),
    ],
    ...awaitedRow(open),
    ["run", run ? `${run.owner} on ${run.host} (pid ${run.pid}, stack ${run.stack})` : "none"],
    ["last switchover", lastSaid(seen)],
    ...(last === undefined ? [] : [["report", `cheesecake report ${last.switchoverId}`] as const]),
    ...told.map((mirror) => ["mirror", mirrorSaid(mirror)] as const),
    ...(told.length < mirrors.length
      ? [["mirror", `and ${mirrors.length - told.length} more, none further behind`] as const]
      : []),
    ...(seen.readiness ?? []).flatMap((readiness) => readinessRows(readiness, seen.open !== undefined)),
    ...verdict.mismatches.map(
      (mismatch) => [mismatch.kind === "alarm" ? "alarm" : "mismatch", toldOf(mismatch)] as const,
    ),
    ...seen.unseen.map((text) => ["not compared", text] as const),
  ];
}

/** What can't be read isn't told as none. */
const noneOpen = ({ openUnknown }: Overview): string => (openUnknown === undefined ? "none" : "unclear");

const awaitedRow = (open: Overview["open"]): Row[] =>
  open?.awaitsApprovalOf === undefined ? [] : [["waits for", `the approval of group "${open.awaitsApprovalOf}"`]];

function linesOf(seen: Overview): string[] {
  return rowsOf(seen).map(([name, value]) => `${name.padEnd(17)}${value}`);
}

function lastSaid({ last, history }: Overview): string {
  if (last === undefined) return history === undefined ? "unclear" : "none is recorded";
  const off = last.rtoSeconds === undefined ? "" : `, RTO ${durationOf(last.rtoSeconds)}`;
  return `"${last.from}" → "${last.to}", ${last.mode}, ${last.verdict} ${last.endedAt}${off}`;
}

/** Against its target. */
function lagVerdict(mirror: MirrorLag): "fine" | "late" | "missing" | "unknown" {
  const { state, lagSeconds, targetLagSeconds } = mirror;
  if (state === undefined) return "unknown";
  if (state === "missing") return "missing";
  if (lagSeconds === undefined) return "unknown";
  return lagSeconds <= targetLagSeconds ? "fine" : "late";
}

function mirrorSaid(mirror: MirrorLag): string {
  const { flexVol, from, to, state, healthy, lagSeconds, targetLagSeconds, scheduleSeconds } = mirror;
  const way = `${flexVol} "${from}" → "${to}"`;
  if (state === undefined) return `${way}: "${to}" doesn't answer`;
  const schedule = scheduleSeconds === undefined ? "" : `, schedule ${durationOf(scheduleSeconds)}`;
  const lag = lagSeconds === undefined ? "lag unknown" : `${durationOf(lagSeconds)} behind`;
  const judged = lagVerdict(mirror) === "late" ? " TOO LATE" : "";
  return `${way}: ${state}${healthy === true ? "" : ", unhealthy"}, ${lag}${judged} (target ${durationOf(targetLagSeconds)}${schedule})`;
}

function readinessRows({ to, mode, ready, reasons, lossSeconds }: Readiness, open: boolean): Row[] {
  const loss =
    mode === "planned" ? "" : lossSeconds === undefined ? ", loss unknown" : `, losing ${durationOf(lossSeconds)}`;
  // While one isn't finished, which is told first, all else that stands against the next one follows from that.
  const shown = reasons.slice(0, open ? 1 : REASONS_AT_MOST);
  const more = reasons.length - shown.length;
  return [
    ["ready", `to "${to}", ${mode}: ${ready ? "yes" : "no"}${loss}`],
    ...shown.map(({ message, remedy }) => ["", `✗ ${message}${remedy === "" ? "" : ` → ${remedy}`}`] as const),
    ...(more === 0 ? [] : [["", `and ${more} more reasons, all of them in --json`] as const]),
  ];
}

/** A backend that isn't enabled is a reason for each of its volumes. */
const REASONS_AT_MOST = 10;

// -------------------------------------------------------------------------------------------------------------- changes

/** What is worth a line when it changes: no number that changes all the time. */
function conditions(seen: Overview): Map<string, string> {
  const { verdict, judgement, open, run, last } = seen;
  return new Map([
    ["verdict", `${judgement.word}: ${judgement.said}`],
    ["active site", verdict.site ?? "unclear"],
    ["promoted", verdict.promoted ? "yes" : "no"],
    ["protected", verdict.protected ? "yes" : "no"],
    ["open switchover", open?.switchoverId ?? noneOpen(seen)],
    ...awaitedRow(open),
    ["run", run ? `${run.owner} on ${run.host} (pid ${run.pid})` : "none"],
    ["last switchover", last === undefined ? lastSaid(seen) : `${last.switchoverId} ${last.verdict}`],
    ...seen.sites.map(({ name, answers }) => [`array of "${name}"`, answers ? "answers" : "doesn't answer"] as const),
    ...seen.mirrors.map(
      (mirror) =>
        [
          `mirror ${mirror.flexVol} "${mirror.from}" → "${mirror.to}"`,
          `${mirror.state ?? "unknown"}${mirror.healthy === false ? ", unhealthy" : ""}, lag ${lagVerdict(mirror)}`,
        ] as const,
    ),
    ...(seen.readiness ?? []).map(
      ({ to, mode, ready, reasons }) =>
        [
          `ready to "${to}", ${mode}`,
          ready
            ? "yes"
            : `no: ${reasons[0]?.message ?? ""}${reasons.length > 1 ? ` and ${reasons.length - 1} more` : ""}`,
        ] as const,
    ),
  ]);
}

function changes(before: Overview, now: Overview): string[] {
  const was = conditions(before);
  const is = conditions(now);
  return [...new Set([...was.keys(), ...is.keys()])].flatMap((name) => {
    const [old, fresh] = [was.get(name) ?? "none", is.get(name) ?? "none"];
    return old === fresh ? [] : [`${now.at} ${name}: ${old} → ${fresh}`];
  });
}
