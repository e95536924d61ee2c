import { readable } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { peerOf, siteNames, siteOf } from "../topology/site-pair";
import { assess } from "./assess";
import { type Past, pastOf } from "./history";
import type { Intent, Mode } from "./intent";
import type { JournalEntry } from "./journal";
import type { Observation, SitesObservation } from "./observation";
import { arrayOf, isMirrorOf } from "./observation";
import { observe, observeSites } from "./observe";
import type { Plan } from "./plan";
import type { LeaseRow, ListedSwitchover, Ports } from "./ports";
import type { Finding } from "./preflight";
import { unreadable } from "./preflight";
import { buildReport } from "./report";
import { scheduleSecondsOf } from "./schedule";
import { type Status, statusOf } from "./status";
import { verdictOf } from "./verdict";

/** How far a mirror is behind, against what it may be. */
export interface MirrorLag {
  readonly flexVol: string;
  readonly from: string;
  readonly to: string;
  /** `missing` where there's none in this direction; absent where its array doesn't answer. */
  readonly state?: string;
  readonly healthy?: boolean;
  readonly lagSeconds?: number;
  readonly targetLagSeconds: number;
  /** Between two transfers, where that's known. */
  readonly scheduleSeconds?: number;
}

/** In the direction in which it was begun. */
export type LastSwitchover = Omit<Past, "reportDirectory">;

/** Whether a switchover would be begun now, with all that stands against it. */
export interface Readiness {
  readonly to: string;
  readonly mode: Mode;
  readonly ready: boolean;
  readonly reasons: readonly { readonly message: string; readonly remedy: string }[];
  readonly warnings: readonly string[];
  /** Unplanned: what is lost if the active site is lost now; absent where it's unknown. */
  readonly lossSeconds?: number;
}

/** The pair at a glance. */
export interface Overview extends Status {
  readonly pair: string;
  readonly at: string;
  readonly sites: readonly { readonly name: string; readonly answers: boolean; readonly active: boolean }[];
  readonly mirrors: readonly MirrorLag[];
  readonly last?: LastSwitchover;
  readonly run?: LeaseRow;
  /** Absent where it wasn't asked for, or can't be told. */
  readonly readiness?: readonly Readiness[];
  /** To be handed in again: a journal is long, and an ended one stays as it is. Absent where it can't be read. */
  readonly history?: LastSeen;
}

export interface LastSeen {
  readonly key: string;
  readonly last?: LastSwitchover;
}

/** The pair at a glance, by the systems' own word and the journals. Read-only. */
export async function overviewOf(o: {
  readonly pair: SitePair;
  readonly ports: Ports;
  readonly journalDir: string;
  readonly intent: Intent;
  /** Asks Nova for every instance with a volume of the pair. */
  readonly readiness: boolean;
  readonly history?: LastSeen | undefined;
}): Promise<Overview> {
  const { pair, ports } = o;
  const observation = o.readiness ? await observe(pair, ports) : undefined;
  const sites = observation ?? (await observeSites(pair, ports));
  const verdict = verdictOf(sites);
  const [status, history, lease] = await Promise.all([
    statusOf({ ...o, expected: o.intent.activeSite, seen: verdict }),
    readable(() => lastSeen(o, o.history)),
    readable(() => ports.coordination.findLease(pair.name)),
  ]);
  const run = lease.value?.expired === false ? lease.value : undefined;
  const readiness = observation && (await readable(() => readinessOf(o, observation, status)));
  return {
    ...status,
    unseen: [...new Set([...status.unseen, ...history.faults, ...lease.faults, ...(readiness?.faults ?? [])])],
    pair: pair.name,
    at: ports.clock.now().toISOString(),
    sites: siteNames(pair).map((name) => ({
      name,
      answers: arrayOf(sites, name) !== undefined,
      active: name === verdict.site,
    })),
    mirrors: mirrorsOf(sites, verdict.site),
    ...(history.value?.last === undefined ? {} : { last: history.value.last }),
    ...(run === undefined ? {} : { run }),
    ...(readiness?.value === undefined ? {} : { readiness: readiness.value }),
    ...(history.value === undefined ? {} : { history: history.value }),
  };
}

/** Those that protect production now; where it isn't known where that runs, those of either direction. */
function mirrorsOf(observation: SitesObservation, active: string | undefined): MirrorLag[] {
  const { pair } = observation;
  const { targetLagSeconds } = pair.replication;
  const scheduleSeconds = scheduleSecondsOf(pair.replication);
  return (active === undefined ? siteNames(pair) : [active]).flatMap((from) => {
    const to = peerOf(pair, from);
    const array = arrayOf(observation, to);
    return pair.flexVols.flatMap((flexVol): MirrorLag[] => {
      const mirror = array?.mirrors.find((each) => isMirrorOf(pair, each, from, to, flexVol));
      if (active === undefined && mirror === undefined) return [];
      return [
        {
          flexVol,
          from,
          to,
          ...(array === undefined ? {} : { state: mirror?.state ?? "missing", healthy: mirror?.healthy ?? false }),
          ...(mirror?.lagSeconds === undefined ? {} : { lagSeconds: mirror.lagSeconds }),
          targetLagSeconds,
          ...(scheduleSeconds === undefined ? {} : { scheduleSeconds }),
        },
      ];
    });
  });
}

// -------------------------------------------------------------------------------------------------------------- history

async function lastSeen(
  o: { readonly pair: SitePair; readonly ports: Ports },
  before: LastSeen | undefined,
): Promise<LastSeen> {
  const { coordination } = o.ports;
  const listed = await coordination.listSwitchovers(o.pair.name);
  const key = listed.map(({ switchoverId, open }) => `${switchoverId} ${open}`).join("\n");
  // An open one grows.
  if (before?.key === key && !listed.some(({ open }) => open)) return before;
  const last = await lastOf(listed, coordination);
  return { key, ...(last === undefined ? {} : { last }) };
}

async function lastOf(
  listed: readonly ListedSwitchover[],
  coordination: Ports["coordination"],
): Promise<LastSwitchover | undefined> {
  for (const { switchoverId } of listed) {
    const lines = await coordination.readJournal(switchoverId);
    const [first] = lines;
    if (first === undefined) continue;
    const begin = JSON.parse(first) as { readonly plan?: Plan };
    // A promotion or a reprotect moves nothing.
    if (begin.plan?.kind !== "switchover") continue;
    const report = buildReport(lines.map((line) => JSON.parse(line) as JournalEntry));
    return { ...pastOf(report), ...report.begunAs };
  }
  return undefined;
}

// ------------------------------------------------------------------------------------------------------------ readiness

/**
 * What would stand against leaving the active site now: planned, and if it were lost at this moment. There's no other
 * direction: production can only leave the site where it is.
 */
async function readinessOf(
  o: { readonly pair: SitePair; readonly ports: Ports; readonly intent: Intent },
  observation: Observation,
  { verdict, open, openUnknown }: Pick<Status, "verdict" | "open" | "openUnknown">,
): Promise<Readiness[]> {
  const { site } = verdict;
  const blind = unreadable(observation);
  if (site === undefined || blind.length > 0) {
    const reasons = blind.length > 0 ? blind : verdict.mismatches.map(contradiction);
    const unclear = reasons.length > 0 ? reasons : [nowhere];
    return (site === undefined ? siteNames(o.pair) : [peerOf(o.pair, site)]).flatMap((to) =>
      (["planned", "unplanned"] as const).map((mode) => ({ to, mode, ready: false, reasons: unclear, warnings: [] })),
    );
  }
  const to = peerOf(o.pair, site);
  const { unplanned: _, expectedActive: __, ...base } = o.intent;
  // What is declared for this very moment isn't what is asked here.
  const planned: Intent = { ...base, activeSite: to };
  const lost: Intent = { ...planned, unplanned: { from: site, acceptUnknownLoss: true } };
  const assessed = await Promise.all([
    assess({ ...o, intent: planned }, observation, site),
    assess({ ...o, intent: lost }, withoutSite(observation, site), site),
  ]);
  const lags = o.pair.flexVols.map(
    (flexVol) =>
      arrayOf(observation, to)?.mirrors.find((each) => isMirrorOf(o.pair, each, site, to, flexVol))?.lagSeconds,
  );
  const known = lags.flatMap((lag) => lag ?? []);
  const before: Finding[] = [
    ...(open === undefined
      ? []
      : [{ id: "open", message: `${open.switchoverId} isn't finished`, remedy: "Let its run end, or run up, which goes on." }]), // prettier-ignore
    ...(openUnknown === undefined
      ? []
      : [{ id: "open", message: `whether a switchover is open can't be told: ${openUnknown}`, remedy: "Make its journal readable, in the database and in journalDir, then look again." }]), // prettier-ignore
    ...(verdict.promoted
      ? []
      : [
          {
            id: "not-promoted",
            message: `"${site}" is failed over to, but not promoted`,
            remedy: `Set promotion to "immediate" and run up.`,
          },
        ]),
  ];
  return (["planned", "unplanned"] as const).map((mode, index): Readiness => {
    const { findings = [], warnings = [] } = assessed[index] ?? {};
    const reasons = [...before, ...findings].map(({ message, remedy }) => ({ message, remedy }));
    return {
      to,
      mode,
      ready: reasons.length === 0,
      reasons,
      warnings: mode === "planned" ? warnings : [],
      ...(mode === "unplanned" && known.length > 0 && known.length === lags.length
        ? { lossSeconds: Math.max(...known) }
        : {}),
    };
  });
}

const nowhere = {
  message: "no site is enabled in cinder.conf",
  remedy: "Put the backend back into enabled_backends on every controller.",
};

const contradiction = ({ what, seen, expected, remedy }: Status["verdict"]["mismatches"][number]) => ({
  message: `${what}: ${seen}, expected ${expected}`,
  remedy,
});

/** As if it had been lost at this moment, with what runs there. */
function withoutSite(observation: Observation, site: string): Observation {
  const { pair, arrays } = observation;
  return {
    ...observation,
    arrays: { ...arrays, [site]: { ok: false, error: `"${siteOf(pair, site).svm}" is taken for lost` } },
  };
}
