import { backendHost, peerOf, siteOf } from "../topology/site-pair";
import type { Mismatch } from "./drift";
import {
  attachmentsBySite,
  enabledSites,
  failedOverElsewhere,
  foreignConfiguration,
  hiddenFailover,
  isReplicationDeclared,
  mismatchesOf,
  toldOf,
  unclearConfiguration,
} from "./drift";
import type { SitesObservation } from "./observation";
import { arrayOf, isMirrorOf, serviceRowOf } from "./observation";
import { count } from "./plan";

/** Where production runs, from what the systems say themselves: cinder.conf, Cinder's rows, mirrors, attachments. Pure. */
export interface Verdict {
  /** Absent where nothing is enabled, or where the systems contradict each other. */
  readonly site?: string;
  /** False after a failover whose promotion is outstanding, or done by half. */
  readonly promoted: boolean;
  /** Replication runs from the active site to the other, and the active stanza declares it to Cinder. */
  readonly protected: boolean;
  /**
   * Every mirror from the active site to the other is there and not broken off, healthy or not, and once promoted the
   * active stanza declares it; absent where the other can't be asked.
   */
  readonly replicating?: boolean;
  /** Failed over by half: attachments lead to the site that was left, where they write, or mirrors from it go on. */
  readonly half?: { readonly left: string; readonly attachments: number; readonly unbroken: readonly string[] };
  readonly mismatches: readonly Mismatch[];
  /** What couldn't be compared, as it doesn't answer. */
  readonly unseen: readonly string[];
}

export function verdictOf(observation: SitesObservation): Verdict {
  const { pair } = observation;
  const unseen = unansweredOf(observation);
  const nowhere = (mismatches: readonly Mismatch[]): Verdict => ({
    promoted: false,
    protected: false,
    mismatches: [...mismatchesOf(observation, undefined), ...mismatches],
    unseen,
  });
  const blind = blindOf(observation);
  const unclear = unclearConfiguration(observation);
  const [controller] = observation.controllers;
  const [enabled] = controller === undefined ? [] : enabledSites(observation, controller);
  if (unclear.length > 0 || enabled === undefined || !observation.database.ok) return nowhere([...blind, ...unclear]);

  const peer = peerOf(pair, enabled);
  const failedOver = isFailedOver(observation, enabled);
  const left =
    observation.volumesError === undefined &&
    (observation.volumes[enabled] ?? []).length === 0 &&
    (observation.volumes[peer] ?? []).length > 0;
  // cinder.conf first, the rows not yet: whoever promoted by hand got so far.
  const halfPromoted = !failedOver && left && isFailedOver(observation, peer);
  if (!failedOver && left && !halfPromoted) return nowhere([...blind, ...foreignConfiguration(observation, enabled)]);
  const elsewhere = failedOverElsewhere(observation, enabled);
  if (elsewhere.length > 0) return nowhere([...blind, ...elsewhere]);
  const hidden = failedOver || halfPromoted ? [] : hiddenFailover(observation, enabled);
  if (hidden.length > 0) return nowhere([...blind, ...hidden]);

  const site = failedOver ? peer : enabled;
  const promoted = !failedOver && !halfPromoted;
  const other = peerOf(pair, site);
  const attachments = attachmentsBySite(observation).get(other)?.length ?? 0;
  const into = arrayOf(observation, site)?.mirrors ?? [];
  const unbroken = pair.flexVols.filter((flexVol) =>
    into.some((m) => isMirrorOf(pair, m, other, site, flexVol) && m.state !== "broken_off"),
  );
  const isHalf = !promoted && attachments + unbroken.length > 0;
  const mirrors = arrayOf(observation, other)?.mirrors ?? [];
  // Promoted while the other site was lost, and mirrored since by other hands: Cinder knows nothing of it yet.
  const declared = isReplicationDeclared(observation, site);
  const isProtected =
    promoted &&
    declared &&
    pair.flexVols.every((flexVol) =>
      mirrors.some((m) => isMirrorOf(pair, m, site, other, flexVol) && m.state === "snapmirrored" && m.healthy),
    );
  const seen = arrayOf(observation, other) !== undefined;
  const replicating =
    (declared || !promoted) &&
    pair.flexVols.every((flexVol) =>
      mirrors.some(
        (m) => isMirrorOf(pair, m, site, other, flexVol) && m.state !== "broken_off" && m.state !== "uninitialized",
      ),
    );
  return {
    site,
    promoted,
    protected: isProtected,
    ...(seen ? { replicating } : {}),
    ...(isHalf ? { half: { left: other, attachments, unbroken } } : {}),
    mismatches: [...blind, ...mismatchesOf(observation, { site, promoted, enabled })],
    unseen,
  };
}

/** Cinder's row of this site's backend says that the other one serves it; left behind by a promotion it's the fence. */
function isFailedOver(observation: SitesObservation, site: string): boolean {
  const { pair } = observation;
  const row = serviceRowOf(observation, backendHost(pair, site));
  return row?.replicationStatus === "failed-over" && row.activeBackendId === siteOf(pair, peerOf(pair, site)).backend;
}

/** Without these nobody can tell which site is active. */
function blindOf({ controllerErrors, database }: SitesObservation): Mismatch[] {
  return [
    ...controllerErrors.map((error) => ({
      kind: "blind" as const,
      what: "cinder.conf of a controller",
      seen: error,
      expected: "its text",
      remedy: "Check cinder.controllers: the way to the host, and the path of cinder.conf.",
    })),
    // A failover shows in the services rows alone.
    ...(database.ok
      ? []
      : [
          {
            kind: "blind" as const,
            what: "Cinder's database",
            seen: database.error,
            expected: "its services rows",
            remedy: "Check host, port, user, TLS of cinder.database, and the secret databasePassword.",
          },
        ]),
  ];
}

function unansweredOf({ arrays, volumesError }: SitesObservation): string[] {
  return [
    ...Object.entries(arrays).flatMap(([site, seen]) =>
      seen.ok ? [] : [`the array of "${site}" can't be asked: its mirrors and LUN maps aren't compared: ${seen.error}`],
    ),
    ...(volumesError === undefined
      ? []
      : [`Cinder's API can't be asked: volumes and attachments aren't compared: ${volumesError}`]),
  ];
}

/** What to do about state (S), configuration (C) and live verdict (L): the table of docs/switchover.md, arm by arm. */
export type Decision =
  | { readonly action: "nothing" }
  | { readonly action: "adopt"; readonly site: string }
  | { readonly action: "activate"; readonly site: string }
  | { readonly action: "reload"; readonly site: string }
  | { readonly action: "switchover"; readonly from: string; readonly to: string }
  | { readonly action: "promote"; readonly to: string }
  | { readonly action: "reprotect"; readonly site: string }
  | { readonly action: "refuse"; readonly message: string; readonly remedy: string };

export function decide(o: {
  readonly state?: {
    readonly activeSite: string;
    readonly promoted: boolean;
    readonly protected: boolean;
    readonly backendRevisions: Readonly<Record<string, string>>;
  };
  readonly configured: string;
  readonly promotion: "immediate" | "deferred";
  readonly reprotect: boolean;
  readonly backendRevisions?: Readonly<Record<string, string>>;
  readonly verdict: Verdict;
  readonly volumes: number;
  /** The site that is declared lost. */
  readonly unplannedFrom?: string;
  /** The failover that isn't promoted yet was this software's: what leads elsewhere still, it left so. */
  readonly failedOverByUs?: boolean;
}): Decision {
  const { state, configured, verdict } = o;
  const live = verdict.site;

  if (live === undefined) {
    const [first] = verdict.mismatches;
    if (first !== undefined)
      return {
        action: "refuse",
        message: `The systems contradict each other about the active site: ${verdict.mismatches.map(toldOf).join("; ")}`,
        remedy: `${first.remedy} Then run preview again.`,
      };
    if (state === undefined && o.volumes === 0) return { action: "activate", site: configured };
    // State says a site is active, but nothing is enabled: somebody took it out of cinder.conf.
    return {
      action: "refuse",
      message: `No site is enabled in cinder.conf${state === undefined ? "" : `, although "${state.activeSite}" was active`}`,
      remedy: "Put the backend back into enabled_backends on every controller, then run preview again.",
    };
  }
  if (state === undefined)
    return live === configured
      ? { action: "adopt", site: live }
      : {
          action: "refuse",
          message: `Production runs at "${live}", but activeSite is "${configured}" and nothing was recorded yet`,
          remedy: `Set activeSite to "${live}" and run up, which adopts it; then set it to "${configured}" for the switchover.`,
        };

  const { half } = verdict;
  const asked = state.activeSite !== configured || o.promotion === "immediate" || o.unplannedFrom === half?.left;
  // What leads elsewhere after our own failover, that one left so: instances on a lost host.
  const ofOthers = half !== undefined && (half.unbroken.length > 0 || o.failedOverByUs !== true);
  if (live === configured && ofOthers && asked)
    return o.unplannedFrom === half.left
      ? { action: "switchover", from: half.left, to: configured }
      : {
          action: "refuse",
          message: `Half a failover: Cinder is failed over to "${live}", but ${[
            ...(half.attachments > 0 ? [`${count(half.attachments, "attachment")} lead to "${half.left}"`] : []),
            ...(half.unbroken.length > 0 ? [`mirrors of ${half.unbroken.join(", ")} aren't broken off`] : []),
          ].join(", and ")}`,
          remedy: `To complete it, which gives up what was written at "${half.left}" since its last transfer, set unplanned: { from: "${half.left}", force: true, … } and run up: instances are stopped, their volumes attached at "${live}", the backend promoted. To keep that, stop the instances first and fetch it from "${half.left}".`,
        };
  if (state.activeSite === configured) {
    if (live !== configured)
      return {
        action: "refuse",
        message: `Drift: "${configured}" was active, but production runs at "${live}". This is never repaired unattended`,
        remedy: `To accept it, set activeSite to "${live}" and run up. To switch, do that first, then set activeSite to "${configured}".`,
      };
    if (!verdict.promoted && o.promotion === "immediate") return { action: "promote", to: configured };
    // Not for a mirror that is merely unhealthy: its cure isn't to stop Cinder.
    const unprotected = verdict.replicating === undefined ? !state.protected : !verdict.replicating;
    if (verdict.promoted && unprotected && o.reprotect) return { action: "reprotect", site: configured };
    const was = state.backendRevisions[configured];
    const is = o.backendRevisions?.[configured];
    // Before its promotion the new site runs in the old one's stanza: promotion reads this one.
    if (verdict.promoted && was !== undefined && is !== undefined && was !== is)
      return { action: "reload", site: configured };
    return { action: "nothing" };
  }
  // The state is elsewhere: either the switchover is asked for, or it has already happened by other hands.
  if (live === configured)
    return !verdict.promoted && o.promotion === "immediate"
      ? { action: "promote", to: configured }
      : { action: "adopt", site: configured };
  if (!verdict.promoted)
    return {
      action: "refuse",
      message: `"${live}" is failed over to, but not promoted: it can't be left before its promotion`,
      remedy: `Set activeSite to "${live}" with promotion "immediate" and run up; then set it to "${configured}".`,
    };
  return { action: "switchover", from: live, to: configured };
}
