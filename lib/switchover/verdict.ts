import { backendHost, peerOf, siteNames, siteOf } from "../topology/site-pair";
import type { SitesObservation } from "./observation";
import { arrayOf, isMirrorOf, serviceRowOf, volumesOf } from "./observation";

/** Where production runs, from what the systems say themselves: cinder.conf, Cinder's services rows, mirrors. Pure. */
export interface Verdict {
  /** Absent where nothing is enabled, or where the systems contradict each other. */
  readonly site?: string;
  /** False after a failover whose promotion is outstanding. */
  readonly promoted: boolean;
  /** Replication runs from the active site to the other, and the active stanza declares it to Cinder. */
  readonly protected: boolean;
  /**
   * Every mirror from the active site to the other is there and not broken off, healthy or not, and once promoted the
   * active stanza declares it; absent where the other can't be asked.
   */
  readonly replicating?: boolean;
  readonly mismatches: readonly string[];
}

export function verdictOf(observation: SitesObservation): Verdict {
  const { pair } = observation;
  const backends = new Map(siteNames(pair).map((site) => [siteOf(pair, site).backend, site]));
  const mismatches: string[] = [...observation.controllerErrors];
  // A failover shows in the services rows alone.
  if (!observation.database.ok) mismatches.push(`Cinder's database can't be asked: ${observation.database.error}`);

  const enabled = observation.controllers.map((controller) => ({
    controller: controller.name,
    sites: controller.enabledBackends.flatMap((backend) => backends.get(backend) ?? []),
  }));
  const sets = new Set(enabled.map((entry) => entry.sites.join(",")));
  if (sets.size > 1)
    mismatches.push(
      `controllers differ in enabled_backends: ${enabled.map((e) => `${e.controller} has ${e.sites.join(", ") || "neither site"}`).join("; ")}`,
    );
  const enabledSites = enabled[0]?.sites ?? [];
  if (enabledSites.length > 1) mismatches.push(`enabled_backends names both sites: ${enabledSites.join(", ")}`);
  const enabledSite =
    observation.database.ok && sets.size === 1 && enabledSites.length === 1 ? enabledSites[0] : undefined;

  if (enabledSite === undefined) {
    if (enabledSites.length === 0 && sets.size === 1 && volumesOf(observation).length > 0)
      mismatches.push(
        `no site is enabled in cinder.conf, but ${volumesOf(observation).length} volumes are on the pair's backends`,
      );
    return { promoted: false, protected: false, mismatches };
  }

  const row = serviceRowOf(observation, backendHost(pair, enabledSite));
  const peer = peerOf(pair, enabledSite);
  let site = enabledSite;
  let promoted = true;
  if (row?.replicationStatus === "failed-over" && row.activeBackendId === siteOf(pair, peer).backend) {
    site = peer;
    promoted = false;
  } else if (row?.replicationStatus === "failed-over")
    mismatches.push(
      `the services row of ${row.host} is failed-over to "${row.activeBackendId ?? ""}", which is neither site`,
    );
  else if (row !== undefined && ["failing-over", "failover-error", "error"].includes(row.replicationStatus ?? ""))
    mismatches.push(`the services row of ${row.host} is in ${row.replicationStatus ?? ""}`);
  else if (row?.activeBackendId)
    mismatches.push(
      `the services row of ${row.host} names active_backend_id "${row.activeBackendId}" without being failed-over`,
    );

  const strangers = (observation.volumes[peerOf(pair, enabledSite)] ?? []).length;
  if (strangers > 0) mismatches.push(`${strangers} volumes are on ${backendHost(pair, peer)}, which isn't enabled`);

  // A failover hidden by a restart: the row says enabled, the mirrors say broken.
  if (promoted) {
    const forward = arrayOf(observation, peer)?.mirrors.filter((mirror) =>
      pair.flexVols.some((flexVol) => isMirrorOf(pair, mirror, enabledSite, peer, flexVol)),
    );
    const broken = forward?.filter((mirror) => mirror.state === "broken_off") ?? [];
    if (broken.length > 0)
      mismatches.push(
        `${broken.length} mirrors "${enabledSite}" → "${peer}" are broken off although Cinder isn't failed over: ` +
          broken.map((mirror) => mirror.destination.flexVol).join(", "),
      );
  }

  const other = peerOf(pair, site);
  const mirrors = arrayOf(observation, other)?.mirrors ?? [];
  // Promoted while the other site was lost, and mirrored since by other hands: Cinder knows nothing of it yet.
  const { backend } = siteOf(pair, site);
  const declared = observation.controllers.every(
    ({ stanzas }) => (stanzas[backend]?.replicationDevices.length ?? 0) > 0,
  );
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
  return { site, promoted, protected: isProtected, ...(seen ? { replicating } : {}), mismatches };
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
}): Decision {
  const { state, configured, verdict } = o;
  const live = verdict.site;

  if (live === undefined) {
    if (verdict.mismatches.length > 0)
      return {
        action: "refuse",
        message: `The systems contradict each other about the active site: ${verdict.mismatches.join("; ")}`,
        remedy: "Make them agree (or finish the switchover that was begun), then run preview again.",
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
