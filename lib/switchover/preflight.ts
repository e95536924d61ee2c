import { backendHost, peerOf, siteNames, siteOf } from "../topology/site-pair";
import { isLoopback } from "../topology/loopback";
import { groupFaults } from "./groups";
import type { Intent, Mode, Route } from "./intent";
import type { Observation } from "./observation";
import type { CinderVolume } from "./ports";
import {
  arrayOf,
  cinderServiceOf,
  isServed,
  isVolumeServiceOf,
  lunPathOf,
  mirrorOf,
  named,
  poolOf,
  rootOf,
  serviceRowOf,
  strandedIn,
  volumesOf,
  shadowsOf,
} from "./observation";
import { compareDevices } from "./plan";
import {
  isMigrating,
  isMovable,
  lunlessStatuses,
  passingSnapshotStatuses,
  passingStatuses,
  reasonToLeave,
  remedyFor,
  restingStatuses,
} from "./states";

/** Every unmet precondition at once, each with its remedy; nothing has been changed when these are printed. Pure. */
export interface Finding {
  readonly id: string;
  readonly message: string;
  readonly remedy: string;
}

export interface Preflight {
  readonly route: Route;
  readonly routeReason: string;
  readonly failures: readonly Finding[];
  readonly warnings: readonly string[];
}

export function preflight(observation: Observation, intent: Intent, from: string): Preflight {
  const to = peerOf(observation.pair, from);
  const mode: Mode = intent.unplanned === undefined ? "planned" : "unplanned";
  const failures: Finding[] = [];
  const warnings: string[] = [];
  const fail = (id: string, message: string, remedy: string): void => void failures.push({ id, message, remedy });

  checkMode(observation, intent, from, to, fail);
  checkArrays(observation, mode, from, to, fail, warnings);
  checkMirrors(observation, intent, mode, from, to, fail, warnings);
  checkControllers(observation, from, to, fail, warnings);
  const database = checkDatabase(observation, intent);
  failures.push(...database.failures);
  warnings.push(...database.warnings);
  checkVolumes(observation, mode, from, fail, warnings);
  checkServers(observation, mode, fail, warnings);
  checkHooks(observation, intent, fail);
  checkGroups(observation, mode, fail, warnings);
  checkKeystone(observation, warnings);
  const { route, reason } = chooseRoute(observation, intent, from, fail);
  checkReplicated(observation, route, fail);
  checkQueues(observation, from, route, fail, warnings);
  if (observation.lease !== undefined && !observation.lease.expired)
    warnings.push(
      `the lease is held by ${observation.lease.owner} on ${observation.lease.host} (pid ${observation.lease.pid}) until ${observation.lease.expiresAt}`,
    );
  return { route, routeReason: reason, failures, warnings };
}

/** Not refused: many clouds have no other on their inner network, and nobody corrects that in a disaster. */
function checkKeystone({ pair }: Observation, warnings: string[]): void {
  const { protocol, hostname, origin } = new URL(pair.openstack.authUrl);
  if (protocol === "http:" && !isLoopback(hostname.replace(/^\[|\]$/g, "")))
    warnings.push(`openstack.authUrl ${origin} has no TLS: openstackSecret and tokens cross the network in clear`);
}

/** Without cinder.conf and the services rows nobody can tell which site is active. */
export function unreadable(observation: Observation): Finding[] {
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

type Fail = (id: string, message: string, remedy: string) => void;

function checkMode(o: Observation, intent: Intent, from: string, to: string, fail: Fail): void {
  const { unplanned } = intent;
  if (unplanned === undefined) return;
  if (unplanned.from !== from) {
    fail(
      "unplanned-from",
      `"unplanned" is for leaving "${unplanned.from}", but the active site is "${from}"`,
      `Remove "unplanned", or set unplanned.from to "${from}".`,
    );
    return;
  }
  const source = arrayOf(o, from);
  const serving = source !== undefined && source.svmState === "running" && source.iscsi.enabled;
  const healthy = o.pair.flexVols.every((flexVol) => mirrorOf(o, from, to, flexVol)?.healthy === true);
  if (serving && healthy && unplanned.force !== true)
    fail(
      "source-alive",
      `"${from}" answers, serves iSCSI and its mirrors are healthy: an unplanned failover would lose data for nothing`,
      `Remove "unplanned" for a planned switchover without loss, or set unplanned.force.`,
    );
  for (const flexVol of o.pair.flexVols) {
    const lag = mirrorOf(o, from, to, flexVol)?.lagSeconds;
    if (lag === undefined) {
      if (unplanned.acceptUnknownLoss !== true)
        fail(
          `lag-unknown:${flexVol}`,
          `the lag of "${flexVol}" can't be read, so what would be lost is unknown`,
          "Set unplanned.acceptUnknownLoss to go on all the same.",
        );
    } else if (unplanned.acceptLossSeconds === undefined) {
      if (unplanned.acceptUnknownLoss !== true)
        fail(
          `lag-unbounded:${flexVol}`,
          `"${flexVol}" is ${lag} s behind and no accepted loss is given`,
          "Set unplanned.acceptLossSeconds to the loss that is acceptable.",
        );
    } else if (lag > unplanned.acceptLossSeconds)
      fail(
        `lag-too-high:${flexVol}`,
        `"${flexVol}" is ${lag} s behind, more than the accepted ${unplanned.acceptLossSeconds} s`,
        `Raise unplanned.acceptLossSeconds to at least ${lag} if that loss is acceptable.`,
      );
  }
}

function checkArrays(o: Observation, mode: Mode, from: string, to: string, fail: Fail, warnings: string[]): void {
  for (const site of [from, to]) {
    const seen = o.arrays[site];
    const needed = site === to || mode === "planned";
    if (seen?.ok !== true) {
      const message = `the array of "${site}" can't be asked: ${seen?.ok === false ? seen.error : "not configured"}`;
      if (needed)
        fail(
          `array-unreachable:${site}`,
          message,
          site === from
            ? `Repair it; if "${site}" is lost, declare unplanned: { from: "${site}", acceptLossSeconds: … }.`
            : "Repair it: nothing can be switched to a site that doesn't answer.",
        );
      else warnings.push(message);
      continue;
    }
    const { svmState, iscsi, cluster, version } = seen.value;
    if (isOlder(version, oldestOntap)) {
      const message = `cluster "${cluster}" of "${site}" runs ONTAP ${version}, needed ${oldestOntap} or newer`;
      if (needed) fail(`ontap-version:${site}`, message, "Upgrade it: its REST API lacks what is asked for.");
      else warnings.push(message);
    }
    const svm = siteOf(o.pair, site).svm;
    if (svmState !== "running") {
      const message = `SVM "${svm}" of "${site}" is ${svmState}`;
      if (needed) fail(`svm-state:${site}`, message, `Start it (vserver start -vserver ${svm}).`);
      else warnings.push(message);
    } else if (!iscsi.enabled || iscsi.portals.length === 0) {
      const message = `SVM "${svm}" of "${site}" serves no iSCSI: ${iscsi.enabled ? "no enabled data_iscsi interface" : "the service is off"}`;
      if (needed) fail(`iscsi:${site}`, message, `Enable the iSCSI service and its interfaces on ${svm}.`);
      else warnings.push(message);
    }
    const [shadowed] = shadowFindings(o, site);
    if (needed && shadowed !== undefined) fail(`lun-shadowed:${site}`, shadowed.message, shadowed.remedy);
    const online = new Set(seen.value.flexVols.filter((v) => v.state === "online").map((v) => v.name));
    for (const flexVol of o.pair.flexVols)
      if (!online.has(flexVol) && needed)
        fail(
          `flexvol:${site}:${flexVol}`,
          `FlexVol "${flexVol}" isn't online on ${svm}`,
          "Bring it online, or take it out of the pair.",
        );
  }
  const lunMaps = arrayOf(o, to)?.lunMaps ?? [];
  if (lunMaps.length > 0)
    warnings.push(
      `${lunMaps.length} LUN maps were left at "${to}" by an earlier switchover; attaching uses them again`,
    );
}

/** From here on ONTAP's REST API has all that lib/ontap, and NetApp's driver without ZAPI, ask for. */
const oldestOntap = "9.11.1";

function isOlder(version: string, needed: string): boolean {
  const parts = version.split(".").map(Number);
  const at = needed.split(".").findIndex((part, index) => Number(part) !== parts[index]);
  return at >= 0 && (parts[at] ?? 0) < Number(needed.split(".")[at]);
}

function checkMirrors(
  o: Observation,
  intent: Intent,
  mode: Mode,
  from: string,
  to: string,
  fail: Fail,
  warnings: string[],
): void {
  if (arrayOf(o, to) === undefined) return;
  for (const flexVol of o.pair.flexVols) {
    const mirror = mirrorOf(o, from, to, flexVol);
    const name = `${siteOf(o.pair, from).svm}:${flexVol} → ${siteOf(o.pair, to).svm}:${flexVol}`;
    if (mirror === undefined) {
      fail(
        `mirror-missing:${flexVol}`,
        `there is no mirror ${name}`,
        mirrorOf(o, to, from, flexVol) === undefined
          ? "Create and initialise it, then wait for its first transfer."
          : `Set reprotect and run up at "${from}" first: since its failover nothing is replicated to "${to}".`,
      );
      continue;
    }
    if (mirror.state !== "snapmirrored") {
      const usable = mode === "unplanned" && (mirror.state === "paused" || mirror.state === "broken_off");
      if (!usable)
        fail(
          `mirror-state:${flexVol}`,
          `mirror ${name} is ${mirror.state}, not snapmirrored`,
          mirror.state === "paused"
            ? "Resume it (snapmirror resume)."
            : mirror.state === "broken_off"
              ? `"${to}" is writable since somebody broke it off: see whether it holds anything that "${from}" doesn't, as a resync discards that, and so does the next restart of cinder-volume. If "${to}" is right, declare unplanned: { from: "${from}", force: true, … }.`
              : "Initialise it, then wait for its transfer.",
        );
    } else if (!mirror.healthy) {
      const reasons = mirror.unhealthyReasons.join("; ") || "no reason given";
      if (mode === "planned")
        fail(
          `mirror-unhealthy:${flexVol}`,
          `mirror ${name} is unhealthy: ${reasons}`,
          "Repair its cause and let an update succeed.",
        );
      else warnings.push(`mirror ${name} is unhealthy: ${reasons}`);
    }
    if (mirror.state === "snapmirrored" && mirror.transfer?.state === "failed" && mode === "planned")
      warnings.push(`the last transfer of ${name} failed; the update before the switchover has to succeed`);
    if (mirror.lagSeconds !== undefined && mirror.lagSeconds > o.pair.replication.targetLagSeconds)
      warnings.push(
        `mirror ${name} is ${mirror.lagSeconds} s behind (target ${o.pair.replication.targetLagSeconds} s)` +
          (mode === "planned" ? ": its update takes longer" : ": what was written since is lost"),
      );
    if (mirror.lagSeconds !== undefined && mirror.lagSeconds >= 86_400 && intent.route === "failover-host")
      fail(
        `lag-day:${flexVol}`,
        `mirror ${name} is ${mirror.lagSeconds} s behind: NetApp's driver can't parse a lag of a day or more and its failover fails`,
        "Leave the route to preflight, or update the mirror first.",
      );
  }
  for (const flexVol of o.pair.flexVols) {
    const opposite = mirrorOf(o, to, from, flexVol);
    // Alone it's what an unplanned failover leaves behind, until reprotect.
    if (opposite !== undefined && mirrorOf(o, from, to, flexVol) !== undefined)
      fail(
        `mirror-opposite:${flexVol}`,
        `beside it there is a mirror the other way, ${siteOf(o.pair, to).svm}:${flexVol} → ${siteOf(o.pair, from).svm}:${flexVol} (${opposite.state}); NetApp's driver doesn't notice at its start`,
        "Delete it at its destination; its snapshots may stay.",
      );
  }
  const covered = new Set(o.pair.flexVols);
  const uncovered = new Map<string, number>();
  for (const volume of volumesOf(o)) {
    const pool = poolOf(volume.host);
    if (!covered.has(pool)) uncovered.set(pool, (uncovered.get(pool) ?? 0) + 1);
  }
  for (const [pool, volumes] of uncovered)
    fail(
      `mirror-coverage:${pool}`,
      `${volumes} volumes are on FlexVol "${pool}", which isn't part of the pair`,
      `Mirror it and add "${pool}" to flexVols.`,
    );
}

function checkControllers(o: Observation, from: string, to: string, fail: Fail, warnings: string[]): void {
  const fromBackend = siteOf(o.pair, from).backend;
  const toBackend = siteOf(o.pair, to).backend;
  for (const error of o.controllerErrors)
    fail("controller", error, "Make the controller reachable and its cinder.conf readable.");
  for (const controller of o.controllers) {
    const where = `${controller.cinderConf} on ${controller.name}`;
    for (const backend of [fromBackend, toBackend]) {
      const stanza = controller.stanzas[backend];
      if (stanza === undefined) {
        fail(
          `stanza:${controller.name}:${backend}`,
          `${where} has no stanza [${backend}]`,
          "Run up with the pair's CinderBackend resources first.",
        );
        continue;
      }
      if (stanza.replicationDevices.length > 1)
        fail(
          `replication-targets:${controller.name}:${backend}`,
          `[${backend}] in ${where} has ${stanza.replicationDevices.length} replication targets: a failover breaks the mirrors to all of them`,
          "Keep one replication_device.",
        );
      if (stanza.consistentReplication)
        fail(
          `consistent-replication:${controller.name}:${backend}`,
          `[${backend}] in ${where} sets netapp_consistent_replication, which isn't supported`,
          "Take it out, or keep this backend out of the pair.",
        );
      if (stanza.clustered)
        fail(
          `cluster:${controller.name}:${backend}`,
          `${where} uses cluster= (active/active), which isn't supported`,
          "Run cinder-volume active/passive.",
        );
      if (stanza.backendHost !== undefined && stanza.backendHost !== o.pair.cinder.volumeHost)
        fail(
          `backend-host:${controller.name}:${backend}`,
          `[${backend}] in ${where} has backend_host "${stanza.backendHost}", the pair says volumeHost "${o.pair.cinder.volumeHost}"`,
          "Make them the same.",
        );
    }
    const names = [fromBackend, toBackend].map((backend) => controller.stanzas[backend]?.volumeBackendName);
    if (names[0] !== names[1])
      warnings.push(
        `volume_backend_name differs in ${where} ("${names[0] ?? ""}" and "${names[1] ?? ""}"): types that ask for one find no backend after the switchover`,
      );
  }
  const configured = new Set([backendHost(o.pair, from), backendHost(o.pair, to)]);
  for (const row of o.serviceRows) {
    const backend = row.host.split("@")[1];
    if (row.binary !== "cinder-volume" || backend === undefined) continue;
    if ((backend === fromBackend || backend === toBackend) && !configured.has(row.host))
      fail(
        `unknown-volume-host:${row.host}`,
        `Cinder's services name ${row.host}: a cinder-volume of this backend on a host that isn't configured`,
        "Add its controller, or remove the service (cinder-manage service remove) if the host is gone for good.",
      );
    if (row.clusterName !== null && configured.has(row.host))
      fail(
        `cluster-row:${row.host}`,
        `${row.host} belongs to cluster "${row.clusterName}"`,
        "Run cinder-volume active/passive.",
      );
  }
}

/** Also before a promotion by itself, which stops Cinder's services before it comes to the database. */
export function checkDatabase(o: Observation, intent: Intent): { failures: Finding[]; warnings: string[] } {
  const failures: Finding[] = [];
  const warnings: string[] = [];
  const fail = (id: string, message: string, remedy: string): void => void failures.push({ id, message, remedy });
  if (!o.database.ok) {
    fail(
      "database",
      `Cinder's database can't be asked: ${o.database.error}`,
      "Check host, port, user, password and TLS of cinder.database.",
    );
    return { failures, warnings };
  }
  const database = o.database.value;
  for (const site of siteNames(o.pair)) {
    const host = backendHost(o.pair, site);
    const rows = o.serviceRows.filter(isVolumeServiceOf(host));
    if (rows.length > 1)
      fail(
        `service-row-twice:${host}`,
        `Cinder's database has ${rows.length} live services rows of cinder-volume on ${host} (id ${rows.map(({ id }) => id).join(", ")}), needed one`,
        "Look which one's report_count advances, and mark the others deleted.",
      );
  }
  if (database.readOnly)
    fail("database-read-only", "the database server is read-only", "Connect to the writable node.");
  if (database.missingRights.length > 0)
    fail(
      "database-rights",
      `the database account lacks: ${database.missingRights.join(", ")}`,
      "Grant them as docs/real-cloud.md shows.",
    );
  if (database.wsrepOn) warnings.push(`the database is a Galera node: all statements go to this one`);

  const { schemaHead, schemaReleases } = database;
  const { acceptSchema } = intent;
  const undecided = database.undecidedColumns;
  const unknownColumns =
    undecided.length === 0 ? "" : `; unknown columns that may name a host: ${undecided.join(", ")}`;
  if (schemaReleases !== undefined) {
    if (acceptSchema !== undefined)
      warnings.push(`acceptSchema isn't needed: Cinder's schema ${schemaHead} is that of ${schemaReleases}; remove it`);
    if (undecided.length > 0) warnings.push(`Cinder's schema ${schemaHead} was changed locally${unknownColumns}`);
  } else if (acceptSchema === schemaHead)
    warnings.push(`Cinder's schema ${schemaHead} isn't one that the promotion is tested on; accepted${unknownColumns}`);
  else
    fail(
      "database-schema",
      `Cinder's schema is of version ${schemaHead}, which the promotion isn't tested on${acceptSchema === undefined ? "" : ` (acceptSchema names ${acceptSchema})`}${unknownColumns}`,
      `Compare its tables with docs/promotion.md; if nothing new names a host, set acceptSchema to ${schemaHead}.`,
    );
  return { failures, warnings };
}

function checkVolumes(o: Observation, mode: Mode, from: string, fail: Fail, warnings: string[]): void {
  if (o.volumesError !== undefined) {
    fail(
      "cinder-api",
      `Cinder's API can't be asked: ${o.volumesError}`,
      "Start cinder-api; check openstack.authUrl and the credential.",
    );
    return;
  }
  const planned = mode === "planned";
  const luns = arrayOf(o, from)?.luns;
  const lunPaths = luns && new Set(luns.map((lun) => lun.path));
  const parked = parkedVolumes(o);
  for (const volume of volumesOf(o)) {
    const { status, attachments } = volume;
    const name = `volume "${volume.name}" (${volume.id})`;
    if (planned && !volume.host.startsWith(`${backendHost(o.pair, from)}#`))
      fail(
        `volume-host:${volume.id}`,
        `${name} is on ${volume.host}, whose backend isn't enabled: no cinder-volume could detach it`,
        `Find out who moved its row. With Cinder's services stopped, write the host on which its LUN is served, ${backendHost(o.pair, from)}#${poolOf(volume.host)}.`,
      );
    if (passingStatuses.has(status)) warnings.push(`${name} is ${status}; the switchover waits for it`);
    else if (!restingStatuses.has(status) && !parked.has(volume.id)) {
      if (!planned && attachments.length === 0) warnings.push(`${name} is ${status}; it's moved as it is`);
      else fail(`volume-status:${volume.id}`, `${name} is ${status}`, statusRemedy(volume));
    }
    if (planned && volume.multiattach && attachments.length > 1)
      fail(
        `multiattach:${volume.id}`,
        `${name} is attached ${attachments.length} times, which isn't supported`,
        "Detach it from all but one instance.",
      );
    if (isMigrating(volume.migrationStatus)) {
      const message = `${name} is being migrated (${volume.migrationStatus ?? ""})`;
      if (planned) fail(`migration:${volume.id}`, message, "Let the migration end.");
      else
        warnings.push(
          `${message}; it's moved as it is: reset that afterwards (cinder reset-state --reset-migration-status)`,
        );
    }
    const hosts = attachments.filter((attachment) => attachment.serverId === "");
    if (hosts.length > 0 || (status === "in-use" && attachments.length === 0)) {
      const where = hosts.flatMap((attachment) => attachment.host ?? []).join(", ");
      const message = `${name} is in use${where === "" ? "" : ` on ${where}`}, but by no instance`;
      if (planned) fail(`no-instance:${volume.id}`, message, "Detach it where it's attached (bare metal, container).");
      else warnings.push(`${message}; it's moved, and whoever uses it has to detach and attach it`);
    }
    if (lunPaths !== undefined && !lunPaths.has(lunPathOf(volume)) && !lunlessStatuses.has(status)) {
      const message = `${name} has no LUN ${lunPathOf(volume)} at "${from}"`;
      if (planned) fail(`lun-missing:${volume.id}`, message, "Find out where its data is before anything else.");
      else warnings.push(message);
    }
  }
  const ids = new Set(volumesOf(o).map((volume) => volume.id));
  for (const snapshot of o.snapshots)
    if (ids.has(snapshot.volumeId) && passingSnapshotStatuses.has(snapshot.status))
      warnings.push(`snapshot ${snapshot.id} is ${snapshot.status}; the switchover waits for it`);
  checkForeignLuns(o, mode, from, fail, warnings);
}

/** Reserved for shelved instances: such a volume is connected to nothing until it's unshelved, which is told by itself. */
function parkedVolumes(o: Observation): ReadonlySet<string> {
  const offloaded = new Set(o.servers.flatMap(({ id, status }) => (status === "SHELVED_OFFLOADED" ? [id] : [])));
  const reserved = new Set(volumesOf(o).flatMap(({ id, status }) => (status === "reserved" ? [id] : [])));
  return new Set(
    o.attachments.flatMap(({ volumeId, serverId }) =>
      reserved.has(volumeId) && offloaded.has(serverId ?? "") ? [volumeId] : [],
    ),
  );
}

function statusRemedy({ id, status, attachments }: CinderVolume): string {
  if (status === "reserved")
    return "Let the attach end; an attachment that was left without a connection can be deleted (openstack volume attachment delete).";
  return attachments.length > 0
    ? `If its data is right, set it back (cinder reset-state --state in-use --attach-status attached ${id}): Nova detaches no other.`
    : "Bring it to available, or delete it.";
}

/** What somebody uses beside Cinder: its FlexVol becomes read-only here, and its map would be in the way. */
function checkForeignLuns(o: Observation, mode: Mode, from: string, fail: Fail, warnings: string[]): void {
  const own = new Set(volumesOf(o).map(lunPathOf));
  for (const { lunPath, igroup } of arrayOf(o, from)?.lunMaps ?? []) {
    if (own.has(lunPath)) continue;
    const message = `LUN ${lunPath} at "${from}" is mapped to ${igroup}, and isn't a volume of this backend's`;
    if (mode === "planned")
      fail(`lun-foreign:${lunPath}`, message, "Move it to a FlexVol that isn't part of the pair, or unmap it.");
    else warnings.push(`${message}: whoever uses it isn't moved`);
  }
}

/** Cinder's own failover takes them for lost; past it they are moved like the others, as they are on the same FlexVols. */
const isUnreplicated = ({ replicationStatus }: CinderVolume): boolean =>
  replicationStatus === "disabled" || replicationStatus === "not-capable";

function checkReplicated(o: Observation, route: Route, fail: Fail): void {
  if (route === "direct") return;
  for (const volume of volumesOf(o).filter(isUnreplicated))
    fail(
      `not-replicated:${volume.id}`,
      `volume "${volume.name}" (${volume.id}) isn't replicated (${volume.replicationStatus ?? ""}): Cinder sets it and its snapshots to error at a failover`,
      "Retype or move it to another backend, or delete it; or set route to direct, which moves it like the others of its FlexVol.",
    );
}

/** Cinder deletes an attachment by the driver, which can't ask a lost site; a reset of the state takes the row alone. */
function withoutAttachment({ id }: CinderVolume, { attachmentId }: { attachmentId: string }, mode: Mode): string {
  return mode === "planned"
    ? `openstack volume attachment delete ${attachmentId}`
    : `cinder reset-state --state available --attach-status detached ${id}`;
}

function checkServers(o: Observation, mode: Mode, fail: Fail, warnings: string[]): void {
  if (o.serversError !== undefined) {
    fail(
      "nova-api",
      `Nova's API can't be asked: ${o.serversError}`,
      "Start nova-api; check openstack.authUrl and the credential.",
    );
    return;
  }
  const ours = new Map(volumesOf(o).map((volume) => [volume.id, volume]));
  const known = new Set(o.servers.map((server) => server.id));
  const deleted = mode === "unplanned" ? o.deletedServers : {};
  for (const [id, how] of Object.entries(deleted)) {
    const held = [...ours.values()].filter(({ attachments }) => attachments.some(({ serverId }) => serverId === id));
    if (held.length > 0)
      warnings.push(
        `instance ${id}, which Nova ${how === "gone" ? "has deleted" : "has soft-deleted"}, holds ${held.map(named).join(", ")}: they are moved, and stay attached to it; ${
          how === "gone"
            ? `afterwards set them back (cinder reset-state --state available --attach-status detached ${held.map((volume) => volume.id).join(" ")})`
            : "afterwards, not before, force-delete it (openstack server delete --force), or restore it, stop it, detach and attach them"
        }`,
      );
  }
  for (const volume of ours.values())
    for (const attachment of volume.attachments.filter(({ serverId }) => serverId !== "" && !(serverId in deleted)))
      if (!known.has(attachment.serverId))
        fail(
          `instance-unknown:${attachment.serverId}`,
          `instance ${attachment.serverId} holds volume "${volume.name}", but Nova doesn't list it`,
          mode === "planned"
            ? `Restore or force-delete it if it's soft-deleted, which Nova doesn't list; if it's gone for good, delete the attachment (${withoutAttachment(volume, attachment, mode)}). Else check Nova's cells, and the account's rights.`
            : `Check Nova's cells, and the account's rights: asked for it by its id, Nova doesn't call it deleted. If it's gone for good, delete the attachment (${withoutAttachment(volume, attachment, mode)}).`,
        );
      else if (!(o.serverAttachments[attachment.serverId] ?? []).some((row) => row.volumeId === volume.id))
        fail(
          `attachment-mismatch:${volume.id}`,
          `Cinder has volume "${volume.name}" (${volume.id}) attached to instance ${attachment.serverId}, Nova doesn't`,
          mode === "planned"
            ? "Hard reboot the instance, or delete the attachment, so that both agree."
            : `Delete the attachment (${withoutAttachment(volume, attachment, mode)}), so that both agree.`,
        );
  if (o.novaManage?.ok === false)
    fail(
      "nova-manage",
      `instances boot from volumes of this backend, and nova-manage, which moves their roots, can't be used: ${o.novaManage.error}`,
      "Correct novaManage (controller, prefix, command): it needs Nova's configuration with the databases, as docs/real-cloud.md shows.",
    );
  const computes = new Map(o.computeServices.map((service) => [service.host, service]));
  const stranded = mode === "unplanned" ? strandedIn(o) : new Map<string, never>();
  for (const server of o.servers) {
    const name = `instance "${server.name}" (${server.id})`;
    const left = reasonToLeave(server, mode);
    if (left !== undefined) {
      warnings.push(`${name} ${left}`);
      continue;
    }
    if (!isMovable(server, mode))
      fail(
        `instance-status:${server.id}`,
        `${name} is ${server.status}: its volumes can't be detached and attached`,
        remedyFor(server, mode),
      );
    else if (server.status === "ERROR") warnings.push(`${name} is ERROR; it's stopped and moved, and stays off`);
    if (server.taskState !== undefined)
      warnings.push(`${name} is in task ${server.taskState}; the switchover waits for it`);
    const compute = server.host === undefined ? undefined : computes.get(server.host);
    // MAINTENANCE is a disabled one, whether it's up or not (nova/compute/api.py: `get_instance_host_status`).
    if (compute?.up !== true || !["UP", "MAINTENANCE"].includes(server.hostStatus ?? "UP"))
      fail(
        `compute:${server.id}`,
        `${name} is on compute host "${server.host ?? "?"}", which is down`,
        mode === "planned"
          ? "Start nova-compute there, or evacuate the instance."
          : "Start nova-compute there. If the host is lost and fenced, say so to Nova (openstack compute service set --down): its instances are left then, to be evacuated after the failover.",
      );
    const attachments = o.serverAttachments[server.id] ?? [];
    const strands = stranded.get(server.id);
    if (strands !== undefined) {
      const root = rootOf(o, server);
      const held = attachments
        .flatMap(({ volumeId, device = "" }) => {
          const volume = ours.get(volumeId);
          return volume === undefined || volumeId === root?.volumeId ? [] : [{ volume, device }];
        })
        .sort((a, b) => compareDevices(a.device, b.device))
        .map(({ volume, device }) => `${named(volume)} at ${device}`);
      warnings.push(
        `${name} ${strands.why}: it's stopped and left, locked. Its volumes are moved: afterwards detach them, and attach them in this order: ${held.join(", ")} (${strands.remedy})${root === undefined ? "" : `; renew its root's connection (nova-manage volume_attachment refresh)`}; then unlock it`,
      );
      continue;
    }
    for (const { volumeId, attachmentId } of attachments)
      if (attachmentId !== undefined && ours.get(volumeId)?.status === "available")
        fail(
          `attachment-mismatch:${volumeId}`,
          `Nova has volume ${volumeId} attached to ${name}, Cinder has it as available: it can be neither detached nor attached`,
          "Hard reboot the instance, which removes such a mapping.",
        );
    for (const ghost of attachments.filter((a) => a.attachmentId === undefined))
      fail(
        `ghost:${server.id}:${ghost.volumeId}`,
        `${name} has a block device mapping of volume ${ghost.volumeId} without an attachment`,
        "Remove the row from nova.block_device_mapping: it blocks every attach of this volume.",
      );
    const names = attachments.flatMap((a) => (a.device === undefined ? [] : [a.device])).sort(compareDevices);
    const root = rootOf(o, server);
    if (root !== undefined && o.novaManage === undefined)
      fail(
        `root:${server.id}`,
        `${name} boots from volume ${root.volumeId} on this backend: a root can't be detached, only nova-manage can move it, and no host of it is configured`,
        "Configure novaManage as docs/real-cloud.md shows, or keep roots on a backend that isn't part of the pair.",
      );
    const taken = [...new Set([server.rootDevice ?? "/dev/vda", ...names])].sort(compareDevices);
    const gap = firstGap(taken, server.localDisks);
    if (
      gap !== undefined &&
      attachments.some((a) => ours.has(a.volumeId) && a.device !== undefined && compareDevices(a.device, gap) > 0)
    )
      fail(
        `device-gap:${server.id}`,
        `${name} has ${names.map((n) => n.replace("/dev/", "")).join(", ")}, but not ${gap.replace("/dev/", "")}: hypervisors take the lowest free name, so its volumes would come back under other names`,
        "Attach a placeholder volume to fill the gap.",
      );
    if (server.locked && server.lockedReason !== undefined && mode === "planned")
      warnings.push(`${name} is locked (${server.lockedReason}); it stays so`);
  }
}

/**
 * The lowest name a hypervisor would take before the last one in use; names are sorted, of one prefix. As many of the
 * lowest aren't free but those of local disks, which got theirs at boot, right after the root and before any volume
 * (nova/virt/libvirt/blockinfo.py: `_get_disk_mapping`).
 */
function firstGap(names: readonly string[], localDisks: number): string | undefined {
  const last = names.at(-1);
  if (last === undefined) return undefined;
  const taken = new Set(names);
  const prefix = /^(\/dev\/[a-z]d)[a-z]+$/.exec(last)?.[1];
  if (prefix === undefined) return undefined;
  let hidden = localDisks;
  for (let index = 0; ; index++) {
    const letters =
      index < 26
        ? String.fromCharCode(97 + index)
        : String.fromCharCode(96 + Math.floor(index / 26)) + String.fromCharCode(97 + (index % 26));
    const name = `${prefix}${letters}`;
    if (name === last) return undefined;
    if (!taken.has(name) && hidden-- <= 0) return name;
    if (index > 700) return undefined;
  }
}

/**
 * What a restart of the active site's cinder-volume would do by itself. NetApp's driver looks at the mirrors at its start
 * and every 10 minutes until its first error: with replication_device it resyncs what is broken off, and makes mirrors
 * that are missing, whoever's bytes that costs. A message that waits for the backend runs, too.
 */
export function restartFindings(o: Observation, site: string): Finding[] {
  const findings: Finding[] = shadowFindings(o, site);
  const other = peerOf(o.pair, site);
  const own = o.arrays[site];
  if (own?.ok !== true)
    findings.push({
      id: `array-unreachable:${site}`,
      message: `the array of "${site}" can't be asked: its driver wouldn't come up again`,
      remedy: "Repair it first; nothing is restarted until then.",
    });
  const replicates = o.controllers.some(
    (controller) => (controller.stanzas[siteOf(o.pair, site).backend]?.replicationDevices.length ?? 0) > 0,
  );
  const there = arrayOf(o, other);
  if (replicates && there !== undefined)
    for (const flexVol of o.pair.flexVols) {
      const mirror = mirrorOf(o, site, other, flexVol);
      const writable = there.flexVols.some((volume) => volume.name === flexVol && volume.type === "rw");
      if (mirror?.state === "broken_off" || (mirror === undefined && writable))
        findings.push({
          id: `restart-resyncs:${flexVol}`,
          message: `"${flexVol}" is writable at "${other}" and ${mirror === undefined ? `no mirror of "${site}"'s` : "its mirror is broken off"}, while [${siteOf(o.pair, site).backend}] has a replication_device: at its start the driver overwrites what "${other}" holds`,
          remedy: `See what "${other}" holds; resync the mirror yourself, or take replication_device out of cinder.conf. Don't restart cinder-volume before.`,
        });
    }
  if (o.queues.ok)
    for (const queue of o.queues.value[site] ?? [])
      if (queue.messages > 0 && queue.consumers === 0)
        findings.push({
          id: `queue:${queue.name}`,
          message: `${queue.messages} messages wait in ${queue.name} without a consumer: a failover among them would run at the start`,
          remedy: "Find out what they are and purge the queue.",
        });
  return findings;
}

/** `ours`: FlexVols whose LUNs this very reprotect is about to rename. */
export function reprotectFindings(
  observation: Observation,
  activeSite: string,
  ours: readonly string[] = [],
): Finding[] {
  const other = peerOf(observation.pair, activeSite);
  const seen = observation.arrays[other];
  // Whoever comes home meets them there.
  const shadows = [activeSite, other].flatMap((site) => shadowFindings(observation, site, ours));
  if (seen?.ok === true) return shadows;
  return [
    ...shadows,
    {
      id: `array:${other}`,
      message: `"${other}" doesn't answer yet: ${seen?.ok === false ? seen.error : ""}`,
      remedy: `Repair it, or take "reprotect" out until then.`,
    },
  ];
}

/** Whoever attaches a volume, or starts the driver, where another LUN has its name may serve the wrong data. */
export function shadowFindings(o: Observation, site: string, except: readonly string[] = []): Finding[] {
  const shadows = shadowsOf(o, site).filter((path) => !except.some((flexVol) => path.startsWith(`/vol/${flexVol}/`)));
  if (shadows.length === 0) return [];
  const named = shadows.slice(0, 5);
  const { svm } = siteOf(o.pair, site);
  return [
    {
      id: `lun-shadowed:${site}`,
      message: `SVM "${svm}" of "${site}" has ${shadows.length} LUNs with the names of the pair's volumes elsewhere than these are: ${named.join(", ")}${shadows.length > named.length ? ", …" : ""}. NetApp's driver finds a LUN by its name in the whole SVM, and may serve these`,
      remedy: `Rename them, move them to another SVM, or delete them with their FlexVol (a clone for a test?); see whether cinder-volume was restarted since they are there, and what the volumes attached since then lead to.`,
    },
  ];
}

function checkHooks({ pair }: Observation, intent: Intent, fail: Fail): void {
  const names = intent.hooks.map((hook) => hook.name);
  for (const name of new Set(names.filter((candidate, index) => names.indexOf(candidate) !== index)))
    fail(`hook:${name}`, `hook "${name}" is declared more than once`, "Give each hook a name of its own.");
  const groups = pair.openstack.priorityGroups.map((group) => group.name);
  for (const { name, group } of intent.hooks)
    if (group !== undefined && !groups.includes(group))
      fail(
        `hook:${name}`,
        `hook "${name}" is one of group "${group}", which there isn't`,
        `Name one of ${groups.join(", ") || "pair.openstack.priorityGroups, which is empty"}.`,
      );
}

/** Unplanned these are words: no order is worth an instance that isn't started. */
function checkGroups(observation: Observation, mode: Mode, fail: Fail, warnings: string[]): void {
  const { unknown, overlaps, idle } = groupFaults(observation);
  warnings.push(...idle);
  if (mode === "unplanned") {
    warnings.push(...unknown, ...overlaps);
    return;
  }
  const where = "pair.openstack.priorityGroups";
  for (const message of unknown) fail("group-instance", message, `Correct it in ${where}, or take it out there.`);
  for (const message of overlaps) fail("group-overlap", message, `Take it out of all but one in ${where}.`);
}

/** A message that waits runs when its backend next starts: whose it is has to be known before anything is stopped. */
function checkQueues(o: Observation, from: string, route: Route, fail: Fail, warnings: string[]): void {
  if (!o.queues.ok) {
    fail(
      "message-queue",
      `the message queue can't be asked: ${o.queues.error}`,
      "Check host, port, user, password and TLS of cinder.messageQueue.",
    );
    return;
  }
  for (const [site, queues] of Object.entries(o.queues.value))
    for (const queue of queues) {
      if (queue.messages === 0 || queue.consumers > 0) continue;
      const text = `${queue.messages} messages wait in ${queue.name} without a consumer`;
      if (site === from && route === "failover-host")
        fail(`queue:${queue.name}`, text, "Find out what they are and purge the queue.");
      else warnings.push(`${text}; they are removed before the backend starts`);
    }
}

/** failover-host where Cinder's own failover can run; else the direct route, with the reason. */
function chooseRoute(o: Observation, intent: Intent, from: string, fail: Fail): { route: Route; reason: string } {
  const to = peerOf(o.pair, from);
  const host = backendHost(o.pair, from);
  const row = serviceRowOf(o, host);
  const service = cinderServiceOf(o, host);
  const against: string[] = [];
  if (row === undefined)
    fail(
      "service-row",
      `Cinder has no services row of ${host}: it's the fence that keeps the driver from overwriting "${to}" later`,
      "Start cinder-volume with this backend once, or restore the row.",
    );
  const dead: string[] = [];
  if (service !== undefined && !service.up) dead.push(`cinder-volume of ${host} is down`);
  if (!o.controllers.some((controller) => controller.units.some((unit) => unit.role === "volume" && unit.active)))
    dead.push("cinder-volume runs on no controller");
  if (!o.cinderServices.ok) {
    const silent = `Cinder's API doesn't tell its services: ${o.cinderServices.error}`;
    against.push(silent);
    // Its volumes are read from the database; a planned one detaches over the API, an unplanned one after its start.
    if (intent.unplanned === undefined)
      fail("cinder-api-silent", silent, "Start cinder-api, which Nova asks for every detach; check the credential.");
  }
  if (o.queues.ok && !isServed(o.queues.value[from] ?? [])) dead.push(`no cinder-volume consumes the queue of ${host}`);
  against.push(...dead);
  // A failover that was asked of a process which has died ends never: its message waits for the next one.
  if (row?.replicationStatus === "failing-over" && dead.length === 0)
    fail(
      "failing-over",
      `${host} is failing over already, asked for by somebody else`,
      "Wait for its end, then look again.",
    );
  else if (row !== undefined && row.replicationStatus !== "enabled")
    against.push(`its replication_status is ${row.replicationStatus ?? "unset"}, failover-host needs enabled`);
  if (dead.length > 0 && intent.unplanned === undefined)
    fail(
      "volume-service",
      `${dead.join("; ")}: a volume can't be detached over it (Nova waits five minutes for each, holding its locks, and leaves it detaching)`,
      `Start it; if its driver can't come up because "${from}" is lost, declare unplanned: { from: "${from}", … }.`,
    );
  for (const flexVol of o.pair.flexVols) {
    const mirror = mirrorOf(o, from, to, flexVol);
    if (mirror === undefined) continue;
    if (mirror.lagSeconds !== undefined && mirror.lagSeconds >= 86_400 && intent.unplanned !== undefined)
      against.push(`"${flexVol}" is a day or more behind, which NetApp's driver can't parse`);
    if (
      mirror.transfer !== undefined &&
      mirror.transfer.state !== "success" &&
      intent.unplanned !== undefined &&
      mirror.transfer.state !== "transferring"
    )
      against.push(
        `the last transfer of "${flexVol}" ended as ${mirror.transfer.state}, which NetApp's driver refuses to break`,
      );
  }
  const unreplicated = volumesOf(o).filter(isUnreplicated).length;
  if (unreplicated > 0 && intent.unplanned !== undefined)
    against.push(`${unreplicated} volumes aren't replicated in Cinder's eyes, which it sets to error`);
  const strangers = (o.volumes[to] ?? []).length;
  if (strangers > 0 && intent.unplanned !== undefined)
    against.push(`${strangers} volumes are on ${backendHost(o.pair, to)}, which Cinder's failover doesn't take along`);
  if (intent.route === "direct") return { route: "direct", reason: "asked for" };
  if (intent.route === "failover-host") {
    if (against.length > 0)
      fail(
        "route",
        `route failover-host is asked for, but ${against.join("; ")}`,
        "Leave the route to preflight, or ask for direct.",
      );
    return { route: "failover-host", reason: "asked for" };
  }
  return against.length === 0
    ? { route: "failover-host", reason: "Cinder's own failover can run" }
    : { route: "direct", reason: against.join("; ") };
}
