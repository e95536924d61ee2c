import { DrError } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { backendHost, peerOf, siteNames, siteOf } from "../topology/site-pair";
import { mapsByPath } from "./context";
import { toldOf } from "./drift";
import { endedSwitchovers, Journal } from "./journal";
import type { Observation } from "./observation";
import {
  arrayOf,
  fenceSeen,
  heldBy,
  isFence,
  isMirrorOf,
  named,
  neverActive,
  serviceRowOf,
  volumesOf,
} from "./observation";
import { observe } from "./observe";
import { volumesOfServer } from "./plan";
import type { CinderAttachment, HostRowCounts, Ports } from "./ports";
import { unreadable } from "./preflight";
import { buildReport } from "./report";
import { leadsTo, leadsToLun } from "./steps/attach-volumes";
import { lockReason } from "./steps/hold-lock-instances";
import { verdictOf } from "./verdict";

/**
 * Whether production has come to rest at one site: promoted, protected, everything in its place. Each proof says what was
 * looked at, and every difference by name. Read-only, and nobody's word is taken for it but the systems' own.
 */
export interface Proof {
  readonly what: string;
  /** What was looked at. */
  readonly seen: string;
  /** Empty = proved. */
  readonly faults: readonly string[];
}

interface Question {
  readonly pair: SitePair;
  readonly ports: Ports;
  readonly journalDir: string;
}

/** Everything that has to hold when production has come to rest, proved one by one. Read-only. */
export async function verifyEndState(o: Question): Promise<readonly Proof[]> {
  const observation = await observe(o.pair, o.ports);
  const { site, promoted, mismatches } = verdictOf(observation);
  const blind = unreadable(observation).map(({ message }) => message);
  const journal = await proved("journal", () => journalProof(o));
  const active: Proof = {
    what: "active site",
    seen: site ?? "unclear",
    faults: [
      ...mismatches.filter(({ kind }) => kind !== "blind").map(toldOf),
      ...blind,
      ...(site === undefined && mismatches.length === 0 ? ["no site is enabled in cinder.conf"] : []),
      ...(site !== undefined && !promoted ? [`"${site}" is failed over to, not promoted`] : []),
    ],
  };
  if (site === undefined || blind.length > 0) return [active, journal];
  const { database, blockStorage } = o.ports;
  const other = backendHost(o.pair, peerOf(o.pair, site));
  return [
    active,
    journal,
    ...(promoted
      ? [
          configurationProof(observation, site),
          await proved("database", async () =>
            rowsProof(observation, site, await database.countHostRows(other), await wasLeftFor(o, site)),
          ),
          mirrorsProof(observation, site),
        ]
      : []),
    lunsProof(observation, site),
    await proved("attachments", async () => attachmentsProof(observation, site, await blockStorage.listConnections())),
    await proved("instances", () => instancesProof(o, observation, site)),
  ];
}

/** What can't be read isn't proved. */
async function proved(what: string, look: () => Promise<Proof>): Promise<Proof> {
  try {
    return await look();
  } catch (error) {
    if (!DrError.is(error)) throw error;
    return { what, seen: "can't be read", faults: [error.message] };
  }
}

async function journalProof(o: Question): Promise<Proof> {
  const open = await Journal.findOpen({
    directory: o.journalDir,
    coordination: o.ports.coordination,
    clock: o.ports.clock,
    pair: o.pair.name,
  });
  return open === undefined
    ? { what: "journal", seen: "no switchover is open", faults: [] }
    : { what: "journal", seen: open.switchoverId, faults: [`${open.switchoverId} isn't finished`] };
}

function configurationProof({ pair, controllers }: Observation, site: string): Proof {
  const { backend } = siteOf(pair, site);
  const wanted = `backend_id:${siteOf(pair, peerOf(pair, site)).backend}`;
  return {
    what: "cinder.conf, services",
    seen: controllers.map(({ name }) => name).join(", "),
    faults: controllers.flatMap(({ name, cinderConf, stanzas, units }) => {
      const devices = stanzas[backend]?.replicationDevices ?? [];
      return [
        ...(devices.length === 1 && devices[0] === wanted
          ? []
          : [
              `${cinderConf} on ${name}: replication_device of [${backend}] is ${devices.join(", ") || "not set"}, not ${wanted}`,
            ]),
        ...units
          .filter(({ startedHere, active, masked }) => masked || (startedHere && !active))
          .map(({ unit, masked }) => `${unit} on ${name} ${masked ? "is masked" : "doesn't run"}`),
      ];
    }),
  };
}

/** By the journal: the other site was active then, so that its services row exists. */
async function wasLeftFor({ pair, ports }: Question, site: string): Promise<boolean> {
  for await (const { plan } of endedSwitchovers(ports.coordination, pair.name))
    if (plan.kind === "switchover" && plan.to === site) return true;
  return false;
}

function rowsProof(observation: Observation, site: string, left: HostRowCounts, wasLeft: boolean): Proof {
  const { pair } = observation;
  const own = backendHost(pair, site);
  const other = backendHost(pair, peerOf(pair, site));
  const row = serviceRowOf(observation, own);
  const fence = serviceRowOf(observation, other);
  const { backend } = siteOf(pair, site);
  const fenced = (fence !== undefined && isFence(fence, backend)) || (!wasLeft && neverActive(fence));
  const found =
    fence === undefined
      ? `there is no services row of ${other}, which is the fence`
      : `the services row of ${other} is no fence: ${fenceSeen(fence)}`;
  return {
    what: "database",
    seen: `${observation.volumes[site]?.length ?? 0} volumes at ${own}`,
    faults: [
      ...(row === undefined ? [`there is no services row of ${own}`] : []),
      ...(row?.disabled === true ? [`${own} is disabled: ${row.disabledReason ?? "no reason given"}`] : []),
      ...(row !== undefined && row.replicationStatus !== "enabled"
        ? [`the services row of ${own} has replication_status ${row.replicationStatus ?? "NULL"}, not enabled`]
        : []),
      ...(fenced ? [] : [`${found}; needed: failed-over to "${backend}", disabled`]),
      ...Object.entries(left)
        .filter(([, rows]) => rows > 0)
        .map(([table, rows]) => `${rows} rows of ${table} name ${other}`),
    ],
  };
}

function mirrorsProof(observation: Observation, site: string): Proof {
  const { pair } = observation;
  const other = peerOf(pair, site);
  const to = arrayOf(observation, other);
  const seen = pair.flexVols.map((flexVol) => `${flexVol} "${site}" → "${other}"`).join(", ");
  if (to === undefined) return { what: "mirrors", seen, faults: [`the array of "${other}" can't be asked`] };
  const { targetLagSeconds } = pair.replication;
  return {
    what: "mirrors",
    seen,
    faults: pair.flexVols.flatMap((flexVol) => {
      const mirror = to.mirrors.find((m) => isMirrorOf(pair, m, site, other, flexVol));
      const back = arrayOf(observation, site)?.mirrors.find((m) => isMirrorOf(pair, m, other, site, flexVol));
      const lag = mirror?.lagSeconds;
      return [
        ...(mirror === undefined ? [`${flexVol} has no mirror "${site}" → "${other}"`] : []),
        ...(mirror !== undefined && (mirror.state !== "snapmirrored" || !mirror.healthy)
          ? [
              `${flexVol}: ${mirror.state}, ${mirror.unhealthyReasons.join("; ") || (mirror.healthy ? "healthy" : "unhealthy")}`,
            ]
          : []),
        ...(mirror !== undefined && (lag === undefined || lag > targetLagSeconds)
          ? [`${flexVol}: its lag is ${lag === undefined ? "unknown" : `${lag} s`}, not below ${targetLagSeconds} s`]
          : []),
        ...(back === undefined ? [] : [`${flexVol} has a mirror "${other}" → "${site}" still, ${back.state}`]),
      ];
    }),
  };
}

function lunsProof(observation: Observation, site: string): Proof {
  const { pair, snapshots } = observation;
  const other = peerOf(pair, site);
  const volumes = volumesOf(observation);
  const own = arrayOf(observation, site);
  const seen = `${volumes.length} volumes at "${site}"`;
  if (own === undefined) return { what: "LUNs", seen, faults: [`the array of "${site}" can't be asked`] };
  const { missing, short, missingSnapshotIds } = heldBy(own.luns, volumes, snapshots);
  const maps = arrayOf(observation, other)?.lunMaps;
  return {
    what: "LUNs",
    seen,
    faults: [
      ...missing.map((volume) => `volume ${named(volume)} has no LUN`),
      ...short.map((volume) => `the LUN of volume ${named(volume)} is smaller than ${volume.sizeGiB} GiB`),
      ...missingSnapshotIds.map((id) => `snapshot ${id} has no LUN`),
      ...(maps === undefined ? [`whether "${other}" maps LUNs still can't be told: it doesn't answer`] : []),
      ...(maps ?? []).map(({ lunPath, igroup }) => `"${other}" maps ${lunPath} to ${igroup} still`),
    ],
  };
}

/** Cinder's rows, each followed to the LUN; and Nova's, each with Cinder's row behind it. */
function attachmentsProof(observation: Observation, site: string, connections: readonly CinderAttachment[]): Proof {
  const array = arrayOf(observation, site);
  const volumes = new Map(volumesOf(observation).map((volume) => [volume.id, volume]));
  const own = connections.filter(({ volumeId }) => volumes.has(volumeId));
  const seen = `${own.length} attachments of ${observation.servers.length} instances`;
  if (array === undefined) return { what: "attachments", seen, faults: [`the array of "${site}" can't be asked`] };
  const rows = new Map(own.map((row) => [row.id, row]));
  const maps = mapsByPath(array.lunMaps);
  const nameOf = (volumeId: string) => `"${volumes.get(volumeId)?.name ?? volumeId}" (${volumeId})`;
  return {
    what: "attachments",
    seen,
    faults: [
      ...own.flatMap(({ volumeId, status, connection }) => {
        if (status !== "attached") return [`the attachment of ${nameOf(volumeId)} is ${status}`];
        if (connection === undefined || !leadsTo(connection, array.iscsi))
          return [
            `${nameOf(volumeId)} leads to ${connection?.iqn ?? "nowhere"} at ${connection?.portal ?? "no portal"}, not to ${array.iscsi.iqn}`,
          ];
        return leadsToLun(connection, maps, volumes.get(volumeId))
          ? []
          : [`${nameOf(volumeId)} leads to LUN ${connection.lun ?? "–"}, under which its own LUN isn't mapped`];
      }),
      ...observation.servers.flatMap(({ id, name }) =>
        (observation.serverAttachments[id] ?? [])
          .filter(({ volumeId, attachmentId }) => volumes.has(volumeId) && !rows.has(attachmentId ?? ""))
          .map(
            ({ volumeId, device }) =>
              `${name} has ${nameOf(volumeId)} at ${device ?? "no device"} without Cinder knowing`,
          ),
      ),
    ],
  };
}

/** As the last switchover's journal has them: what ran, and every volume on its device, but what was lost. */
async function instancesProof({ pair, ports }: Question, observation: Observation, site: string): Promise<Proof> {
  const what = "instances";
  const locks = siteNames(pair).map(lockReason);
  const locked = observation.servers
    .filter(({ lockedReason }) => locks.includes(lockedReason ?? ""))
    .map(({ name, lockedReason }) => `${name} is locked still: ${lockedReason ?? ""}`);
  for await (const { switchoverId, plan, entries } of endedSwitchovers(ports.coordination, pair.name)) {
    if (plan.kind !== "switchover") continue;
    if (plan.to !== site) break;
    const lost = new Set(buildReport(entries).lostVolumes.map(({ id }) => id));
    const servers = new Map((await ports.compute.listServers()).map((server) => [server.id, server]));
    return {
      what,
      seen: `${plan.servers.length} as in ${switchoverId}`,
      faults: [
        ...locked,
        ...plan.servers.flatMap((planned) => {
          const server = servers.get(planned.id);
          if (server === undefined) return []; // deleted since
          const wanted = volumesOfServer(planned).filter(({ volumeId }) => !lost.has(volumeId));
          const complete = wanted.length === volumesOfServer(planned).length;
          const found = new Map(
            (observation.serverAttachments[planned.id] ?? []).map((row) => [row.volumeId, row.device]),
          );
          return [
            ...(planned.running && complete && server.status !== "ACTIVE"
              ? [`${planned.name} ran before and is ${server.status}`]
              : []),
            ...wanted
              .filter(({ volumeId, device }) => !found.has(volumeId) || (complete && found.get(volumeId) !== device))
              .map(
                ({ volumeId, volumeName, device }) =>
                  `${planned.name} has "${volumeName}" (${volumeId}) ${found.has(volumeId) ? `at ${found.get(volumeId) ?? "no device"}` : "not attached"}, not at ${device}`,
              ),
          ];
        }),
      ],
    };
  }
  return { what, seen: `no switchover to "${site}" is recorded`, faults: locked };
}
