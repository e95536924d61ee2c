import { sentence } from "../errors";
import { backendHost, peerOf, siteNames, siteOf } from "../topology/site-pair";
import type { ControllerObservation, SitesObservation } from "./observation";
import {
  arrayOf,
  fenceSeen,
  isFence,
  isMirrorOf,
  isVolumeServiceOf,
  named,
  neverActive,
  serviceRowOf,
  volumesOf,
} from "./observation";
import { count } from "./plan";
import type { CinderAttachment, CinderVolume, LunMap, Mirror } from "./ports";

/**
 * What one system says against what follows from the others: cinder.conf, Cinder's rows, mirrors, attachments. Pure.
 * docs/switchover.md has the cases as a table.
 */
export interface Mismatch {
  /**
   * `alarm`: data is at risk now. `half`: a switchover that somebody began by other means isn't done. `stray`: a single
   * thing isn't where it belongs. `blind`: a system that is needed for the verdict doesn't answer.
   */
  readonly kind: "alarm" | "half" | "stray" | "blind";
  /** The file, the row, the mirror, the attachments, the FlexVol. */
  readonly what: string;
  readonly seen: string;
  readonly expected: string;
  /** What the operator does about it. */
  readonly remedy: string;
}

/** What is seen against what follows from the rest, in one sentence without its remedy. */
export const toldOf = ({ kind, what, seen, expected }: Mismatch): string =>
  kind === "blind" ? `${what} can't be read: ${seen}` : `${what}: ${seen}, expected ${expected}`;

/** With what to do about it. */
export const sentenceOf = (mismatch: Mismatch): string => `${sentence(toldOf(mismatch))} ${mismatch.remedy}`;

const shown = 5;

/** In an order of their own: the same is said of the same, in whatever order a system lists it. */
export function namesOf(items: readonly string[]): string {
  const named = [...items].sort().slice(0, shown).join(", ");
  return items.length > shown ? `${named} and ${items.length - shown} more` : named;
}

// -------------------------------------------------------------------------------------------------------- cinder.conf

/** The pair's sites that a controller enables. */
export function enabledSites({ pair }: SitesObservation, { enabledBackends }: ControllerObservation): string[] {
  return enabledBackends.flatMap((backend) => siteNames(pair).filter((site) => siteOf(pair, site).backend === backend));
}

/** Why cinder.conf names no one site: not the same on all controllers, or both, or none although there are volumes. */
export function unclearConfiguration(observation: SitesObservation): Mismatch[] {
  const { controllers, pair } = observation;
  const all = controllers.map((controller) => ({ controller, sites: enabledSites(observation, controller) }));
  const differ = new Set(all.map(({ sites }) => sites.join())).size > 1;
  const volumes = volumesOf(observation);
  const hosted = siteNames(pair).filter((site) => (observation.volumes[site] ?? []).length > 0);
  const [host] = hosted;
  const expected =
    hosted.length === 1 && host !== undefined
      ? `"${siteOf(pair, host).backend}", as ${count(volumes.length, "volume")} on ${backendHost(pair, host)} have it`
      : differ
        ? "the same on every controller"
        : "one of the sites";
  return all
    .filter(({ sites }) => sites.length > 1 || (sites.length === 0 && volumes.length > 0) || differ)
    .filter(({ sites }) => !(differ && hosted.length === 1 && sites.length === 1 && sites[0] === host))
    .map(({ controller, sites }) => ({
      kind: "stray",
      what: `enabled_backends of ${controller.cinderConf} on ${controller.name}`,
      seen: sites.map((site) => `"${siteOf(pair, site).backend}"`).join(", ") || "neither site",
      expected,
      remedy:
        "Write the same into cinder.conf of every controller, of the site that was active before somebody edited it, and see that cinder-volume runs with that.",
    }));
}

function replicationTargets(observation: SitesObservation, site: string): Mismatch[] {
  const { pair, controllers } = observation;
  const { backend } = siteOf(pair, site);
  const wanted = `backend_id:${siteOf(pair, peerOf(pair, site)).backend}`;
  const devices = ({ stanzas }: ControllerObservation) => stanzas[backend]?.replicationDevices ?? [];
  // On none: the active site was protected by nothing when it was promoted, and isn't yet.
  if (controllers.every((controller) => devices(controller).length === 0)) return [];
  return controllers
    .filter((controller) => devices(controller).length !== 1 || devices(controller)[0] !== wanted)
    .map((controller) => ({
      kind: "stray",
      what: `replication_device of [${backend}] in ${controller.cinderConf} on ${controller.name}`,
      seen: devices(controller).join(", ") || "not set",
      expected: wanted,
      remedy: "Write it as it's expected; cinder-volume reads it at its next start.",
    }));
}

// --------------------------------------------------------------------------------------------------------------- rows

/** Of the one backend that is enabled. */
function unclearRow(observation: SitesObservation, enabled: string): Mismatch[] {
  const { pair } = observation;
  const row = serviceRowOf(observation, backendHost(pair, enabled));
  if (row === undefined) return [];
  const peer = peerOf(pair, enabled);
  const target = siteOf(pair, peer).backend;
  const status = row.replicationStatus ?? "";
  const what = `services row of ${row.host}`;
  const expected = `enabled, or failed-over to "${target}"`;
  if (status === "failed-over") return [];
  if (["failing-over", "failover-error", "error"].includes(status))
    return [
      {
        kind: "half",
        what,
        seen: status,
        expected,
        remedy: `A failover was begun and isn't done. Don't restart cinder-volume, which hides that and overwrites what "${peer}" holds. To complete it, set activeSite to "${peer}"; where mirrors are broken off already, with unplanned: { from: "${enabled}", force: true, … }.`,
      },
    ];
  if (row.activeBackendId)
    return [
      {
        kind: "stray",
        what,
        seen: `${status}, with active_backend_id "${row.activeBackendId}"`,
        expected,
        remedy: "Find out who wrote that; with Cinder's services stopped, correct the row.",
      },
    ];
  return [];
}

/** Its driver serves from neither site. */
export function failedOverElsewhere({ pair, serviceRows }: SitesObservation, enabled: string): Mismatch[] {
  const target = siteOf(pair, peerOf(pair, enabled)).backend;
  return serviceRows
    .filter(isVolumeServiceOf(backendHost(pair, enabled)))
    .filter(
      ({ replicationStatus, activeBackendId }) => replicationStatus === "failed-over" && activeBackendId !== target,
    )
    .map(({ host, activeBackendId }) => ({
      kind: "stray",
      what: `services row of ${host}`,
      seen: `failed-over to "${activeBackendId ?? ""}"`,
      expected: `enabled, or failed-over to "${target}"`,
      remedy:
        "Find out who failed it over, and where its volumes are; with Cinder's services stopped, correct the row.",
    }));
}

/** What else of Cinder's database doesn't fit production at this site. */
function strayRows(observation: SitesObservation, site: string): Mismatch[] {
  const { pair } = observation;
  const own = backendHost(pair, site);
  const other = backendHost(pair, peerOf(pair, site));
  const { backend } = siteOf(pair, site);
  const row = serviceRowOf(observation, own);
  const fence = serviceRowOf(observation, other);
  const volumes = observation.volumes[site] ?? [];
  const failedOver = volumes.filter(({ replicationStatus = "" }) =>
    ["failed-over", "failing-over", "failover-error"].includes(replicationStatus),
  );
  const hidden = "A failover was begun here and hidden by a restart of cinder-volume, which writes enabled over it";
  return [
    ...(row?.replicationStatus === "enabled" && failedOver.length > 0
      ? [
          {
            kind: "half",
            what: `replication_status of ${volumeNames(failedOver)}`,
            seen: [...new Set(failedOver.map(({ replicationStatus }) => replicationStatus))].join(", "),
            expected: `enabled, as the services row of ${own} has it`,
            remedy: `${hidden}. See what the mirrors say; where they are whole, correct these rows.`,
          } as const,
        ]
      : []),
    ...(row?.replicationStatus === "enabled" && row.disabled && !row.disabledReason
      ? [
          {
            kind: "half",
            what: `services row of ${own}`,
            seen: "disabled without a reason",
            expected: "enabled for new volumes",
            remedy: `${hidden}, or somebody disabled it: see what the mirrors say, then enable it.`,
          } as const,
        ]
      : []),
    ...(fence !== undefined && !isFence(fence, backend) && !neverActive(fence)
      ? [
          {
            kind: "stray",
            what: `services row of ${other}, the fence`,
            seen: fenceSeen(fence),
            expected: `failed-over to "${backend}", disabled`,
            remedy: `Don't start cinder-volume with [${siteOf(pair, peerOf(pair, site)).backend}] enabled: it would overwrite what "${site}" holds. Correct the row, as what-if.md shows for a restored database.`,
          } as const,
        ]
      : []),
  ];
}

function volumeNames(volumes: readonly Pick<CinderVolume, "id" | "name">[]): string {
  return `${count(volumes.length, "volume")}: ${namesOf(volumes.map(named))}`;
}

/** Volumes that name the backend of another site than the one where they belong. */
function strayVolumes(observation: SitesObservation, wanted: string, kind: "half" | "stray"): Mismatch[] {
  const { pair } = observation;
  const there = peerOf(pair, wanted);
  const volumes = observation.volumes[there] ?? [];
  if (volumes.length === 0) return [];
  return [
    {
      kind,
      what: `host of ${volumeNames(volumes)}`,
      seen: backendHost(pair, there),
      expected: backendHost(pair, wanted),
      remedy:
        kind === "half"
          ? `The promotion was done by half: set activeSite to where production runs, promotion to "immediate", and run up, which completes it.`
          : "No cinder-volume serves them. Find out who moved them; with Cinder's services stopped, correct the rows.",
    },
  ];
}

/** cinder.conf names a site that nothing else does. */
export function foreignConfiguration(observation: SitesObservation, enabled: string): Mismatch[] {
  const { pair, controllers } = observation;
  const peer = peerOf(pair, enabled);
  const volumes = observation.volumes[peer] ?? [];
  return controllers.map(({ cinderConf, name }) => ({
    kind: "stray",
    what: `enabled_backends of ${cinderConf} on ${name}`,
    seen: `"${siteOf(pair, enabled).backend}"`,
    expected: `"${siteOf(pair, peer).backend}", as ${count(volumes.length, "volume")} on ${backendHost(pair, peer)} have it, which wasn't failed over`,
    remedy: `Put "${siteOf(pair, peer).backend}" back into enabled_backends, and restart cinder-volume.`,
  }));
}

// ------------------------------------------------------------------------------------------------------------- mirrors

/** Cinder knows of no failover, but it happened: the other site is writable, and every attachment leads there. */
export function hiddenFailover(observation: SitesObservation, enabled: string): Mismatch[] {
  const { pair } = observation;
  const peer = peerOf(pair, enabled);
  const leads = attachmentsBySite(observation);
  const mirrors = arrayOf(observation, peer)?.mirrors ?? [];
  const broken = pair.flexVols.every((flexVol) =>
    mirrors.some((mirror) => isMirrorOf(pair, mirror, enabled, peer, flexVol) && mirror.state === "broken_off"),
  );
  if (!broken || (leads.get(peer) ?? []).length === 0 || (leads.get(enabled) ?? []).length > 0) return [];
  return [
    {
      kind: "half",
      what: `services row of ${backendHost(pair, enabled)}`,
      seen: serviceRowOf(observation, backendHost(pair, enabled))?.replicationStatus ?? "none",
      expected: `failed-over to "${siteOf(pair, peer).backend}": every mirror is broken off, and every attachment leads to "${peer}"`,
      remedy: `Don't restart cinder-volume: it would overwrite what "${peer}" holds. With Cinder's services stopped, write failed-over and active_backend_id "${siteOf(pair, peer).backend}" into the row, disabled; then set activeSite to "${peer}" and run up.`,
    },
  ];
}

function strayMirrors(observation: SitesObservation, site: string, promoted: boolean): Mismatch[] {
  const { pair } = observation;
  const other = peerOf(pair, site);
  const there = arrayOf(observation, other);
  const here = arrayOf(observation, site);
  const declared = isReplicationDeclared(observation, site);
  return pair.flexVols.flatMap((flexVol): Mismatch[] => {
    const found = (mirrors: readonly Mirror[] | undefined, from: string, to: string) =>
      mirrors?.find((mirror) => isMirrorOf(pair, mirror, from, to, flexVol));
    const name = (from: string, to: string) =>
      `mirror ${siteOf(pair, from).svm}:${flexVol} → ${siteOf(pair, to).svm}:${flexVol}`;
    const out = found(there?.mirrors, site, other);
    const into = found(here?.mirrors, other, site);
    const mismatches: Mismatch[] = [];
    if (into !== undefined && into.state !== "broken_off")
      mismatches.push(
        promoted
          ? {
              kind: "stray",
              what: name(other, site),
              seen: into.state,
              expected: "none, or broken_off: production runs at its destination, which can't be written to so",
              remedy: `Find out what "${other}" holds that "${site}" doesn't; then break it off, or delete it at "${site}".`,
            }
          : {
              kind: "half",
              what: name(other, site),
              seen: into.state,
              expected: "broken_off, as Cinder is failed over",
              remedy: `Cinder's failover left it out. To complete it, set activeSite to "${site}" and unplanned: { from: "${other}", force: true, … }.`,
            },
      );
    if (!promoted || there === undefined) return mismatches;
    if (out?.state === "broken_off")
      mismatches.push({
        kind: "half",
        what: name(site, other),
        seen: "broken_off",
        expected: "snapmirrored, as Cinder isn't failed over",
        remedy: `"${other}" is writable: a failover by hand, or one that a restart of cinder-volume hides. Don't restart it again: it would overwrite what "${other}" holds. If "${site}" is right, resync the mirror; if "${other}" is, set activeSite to "${other}" and unplanned: { from: "${site}", force: true, … }.`,
      });
    else if (out?.state === "paused")
      mismatches.push({
        kind: "stray",
        what: name(site, other),
        seen: "paused",
        expected: "snapmirrored",
        remedy: "Resume it (snapmirror resume).",
      });
    else if (out === undefined && declared)
      mismatches.push({
        kind: into === undefined ? "stray" : "half",
        what: name(site, other),
        seen: into === undefined ? "none" : `none, and the other way it's ${into.state}`,
        expected: `snapmirrored, as [${siteOf(pair, site).backend}] has a replication_device`,
        remedy: `Don't restart cinder-volume: its driver would overwrite what "${other}" holds. Set reprotect and run up, which says first what that is.`,
      });
    return mismatches;
  });
}

/** The site's stanza tells Cinder to replicate, on every controller. */
export function isReplicationDeclared({ pair, controllers }: SitesObservation, site: string): boolean {
  const { backend } = siteOf(pair, site);
  return controllers.every(({ stanzas }) => (stanzas[backend]?.replicationDevices.length ?? 0) > 0);
}

// --------------------------------------------------------------------------------------------------------- attachments

/** The pair's volumes that are attached, by where they lead; without those whose site can't be told. */
export function attachmentsBySite(observation: SitesObservation): ReadonlyMap<string, readonly CinderAttachment[]> {
  const { pair } = observation;
  const ours = new Set(volumesOf(observation).map(({ id }) => id));
  const iqns = siteNames(pair).map((site) => [site, arrayOf(observation, site)?.iscsi.iqn] as const);
  const silent = iqns.filter(([, iqn]) => iqn === undefined).map(([site]) => site);
  const leads = new Map(siteNames(pair).map((site) => [site, [] as CinderAttachment[]]));
  for (const attachment of observation.attachments) {
    const iqn = attachment.connection?.iqn;
    if (iqn === undefined || attachment.status !== "attached" || !ours.has(attachment.volumeId)) continue;
    // What isn't the answering site's is the silent one's.
    const site = iqns.find(([, own]) => own === iqn)?.[0] ?? (silent.length === 1 ? silent[0] : undefined);
    if (site !== undefined) leads.get(site)?.push(attachment);
  }
  return leads;
}

function strayAttachments(observation: SitesObservation, site: string): Mismatch[] {
  const { pair } = observation;
  const other = peerOf(pair, site);
  const own = arrayOf(observation, site);
  const astray = attachmentsBySite(observation).get(other) ?? [];
  const [first] = astray;
  if (first === undefined || own === undefined) return [];
  const names = new Map(volumesOf(observation).map(({ id, name }) => [id, name]));
  const what = astray.map(
    ({ volumeId, serverId }) => `"${names.get(volumeId) ?? ""}" (${volumeId}) at instance ${serverId ?? "?"}`,
  );
  return [
    {
      kind: "half",
      what: `${count(astray.length, "attachment")}: ${namesOf(what)}`,
      seen: `${first.connection?.iqn ?? ""} of "${other}"`,
      expected: `${own.iscsi.iqn} of "${site}"`,
      remedy: `What is written there isn't at "${site}". Stop these instances, detach and attach the volumes in device order, and start them; those on a lost host are evacuated.`,
    },
  ];
}

// --------------------------------------------------------------------------------------------------------------- arrays

/** Somebody may write on either side, and one of them is lost. */
function bothWritable(observation: SitesObservation, site: string | undefined): Mismatch[] {
  const { pair } = observation;
  const names = site === undefined ? [...siteNames(pair)].sort() : [site, peerOf(pair, site)];
  const sides = names.map((name) => ({ name, array: arrayOf(observation, name) }));
  return pair.flexVols.flatMap((flexVol): Mismatch[] => {
    const open = sides.flatMap(({ name, array }) => {
      // A stopped SVM, as after its loss, serves nobody what it maps.
      if (array?.svmState !== "running" || !array.iscsi.enabled) return [];
      const writable = array.flexVols.some((volume) => volume.name === flexVol && volume.type === "rw");
      const maps = array.lunMaps.filter(({ lunPath }) => lunPath.split("/")[2] === flexVol);
      return writable && maps.length > 0 ? [`${siteOf(pair, name).svm} maps ${mapNames(maps)}`] : [];
    });
    if (open.length < 2) return [];
    const other = site === undefined ? undefined : peerOf(pair, site);
    return [
      {
        kind: "alarm",
        what: `FlexVol ${flexVol}`,
        seen: `writable and mapped to hosts at both sites: ${open.join("; ")}`,
        expected: other === undefined ? "at one site only" : `at "${site ?? ""}" only`,
        remedy:
          other === undefined
            ? "Find out at once which hosts write where, and stop those of one side."
            : `See at once that no host writes at "${other}", and remove its LUN maps (lun mapping delete); after an unplanned failover reprotect does that.`,
      },
    ];
  });
}

const mapNames = (maps: readonly LunMap[]): string =>
  `${count(maps.length, "LUN")} (${namesOf(maps.map(({ lunPath, igroup }) => `${lunPath} to ${igroup}`))})`;

// -------------------------------------------------------------------------------------------------------------- verdict

/** All that doesn't fit production at this site, alarms first; without a site, what is wrong all the same. */
export function mismatchesOf(
  observation: SitesObservation,
  at: { readonly site: string; readonly promoted: boolean; readonly enabled: string } | undefined,
): Mismatch[] {
  const alarms = bothWritable(observation, at?.site);
  if (at === undefined) return alarms;
  const { site, promoted, enabled } = at;
  return [
    ...alarms,
    ...unclearRow(observation, enabled),
    ...(promoted
      ? [
          ...strayVolumes(observation, site, "stray"),
          ...replicationTargets(observation, site),
          ...strayRows(observation, site),
        ]
      : // Failed over, volumes are still on the host of the site that was left, which is the one enabled.
        halfPromoted(observation, site, enabled)),
    ...strayMirrors(observation, site, promoted),
    ...strayAttachments(observation, site),
  ];
}

/** Between a failover and the end of its promotion cinder.conf and the volumes' rows say the same. */
function halfPromoted(observation: SitesObservation, site: string, enabled: string): Mismatch[] {
  if (enabled === site) return strayVolumes(observation, site, "half");
  const { pair, controllers } = observation;
  const moved = observation.volumes[site] ?? [];
  if (moved.length === 0) return [];
  return [
    {
      kind: "half",
      what: `enabled_backends of ${controllers.map(({ cinderConf, name }) => `${cinderConf} on ${name}`).join(", ")}`,
      seen: `"${siteOf(pair, enabled).backend}"`,
      expected: `"${siteOf(pair, site).backend}", as ${count(moved.length, "volume")} on ${backendHost(pair, site)} have it`,
      remedy: `Somebody put cinder.conf back, or promoted by half. Put "${siteOf(pair, site).backend}" into enabled_backends and restart cinder-volume; or set promotion to "immediate" and run up, which completes it.`,
    },
    ...strayVolumes(observation, site, "half"),
  ];
}
