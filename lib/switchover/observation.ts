import { posix } from "node:path";
import type { SitePair } from "../topology/site-pair";
import { siteNames, siteOf } from "../topology/site-pair";
import type {
  CinderAttachment,
  CinderService,
  CinderSnapshot,
  CinderVolume,
  FlexVol,
  IscsiTargetInfo,
  LeaseRow,
  Lun,
  LunMap,
  Mirror,
  QueueInfo,
  Server,
  ServerAttachment,
  ServiceRole,
  ServiceRow,
} from "./ports";
import { lunlessStatuses } from "./states";

/** One look at everything a decision needs: plain data, with what couldn't be read said as such. */

export type Seen<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: string };

export interface ArrayObservation {
  readonly cluster: string;
  readonly version: string;
  readonly svmState: string;
  readonly iscsi: IscsiTargetInfo;
  readonly flexVols: readonly FlexVol[];
  /** Of the pair's FlexVols. */
  readonly luns: readonly Lun[];
  /** Of every LUN of the SVM. */
  readonly lunPaths: readonly string[];
  readonly lunMaps: readonly LunMap[];
  /** Their destination is this site. */
  readonly mirrors: readonly Mirror[];
}

export interface ControllerObservation {
  readonly name: string;
  readonly cinderConf: string;
  readonly sha256: string;
  readonly enabledBackends: readonly string[];
  /** By backend name; absent where the stanza isn't in the file. */
  readonly stanzas: Readonly<
    Record<
      string,
      {
        readonly replicationDevices: readonly string[];
        readonly volumeBackendName?: string;
        readonly consistentReplication: boolean;
        readonly backendHost?: string;
        readonly clustered: boolean;
      }
    >
  >;
  readonly units: readonly {
    readonly role: ServiceRole;
    readonly unit: string;
    readonly startedHere: boolean;
    readonly active: boolean;
    readonly masked: boolean;
  }[];
}

export interface DatabaseObservation {
  readonly version: string;
  readonly schemaHead: string;
  readonly schemaReleases: string | undefined;
  readonly undecidedColumns: readonly string[];
  readonly wsrepOn: boolean;
  readonly readOnly: boolean;
  readonly missingRights: readonly string[];
}

/** What tells where production runs. */
export interface SitesObservation {
  readonly pair: SitePair;
  readonly arrays: Readonly<Record<string, Seen<ArrayObservation>>>;
  readonly controllers: readonly ControllerObservation[];
  readonly controllerErrors: readonly string[];
  readonly database: Seen<DatabaseObservation>;
  readonly serviceRows: readonly ServiceRow[];
  /** By site: the volumes whose host is that site's backend. */
  readonly volumes: Readonly<Record<string, readonly CinderVolume[]>>;
  readonly attachments: readonly CinderAttachment[];
  /** Why volumes or attachments aren't here. */
  readonly volumesError?: string;
}

export interface Observation extends SitesObservation {
  readonly at: string;
  readonly cinderServices: Seen<readonly CinderService[]>;
  readonly snapshots: readonly CinderSnapshot[];
  /** Servers with at least one of these volumes. */
  readonly servers: readonly Server[];
  /** All attachments of those servers, of whatever backend, by server id. */
  readonly serverAttachments: Readonly<Record<string, readonly ServerAttachment[]>>;
  /** Servers with at least one of these volumes which Nova doesn't list, and says itself that they are deleted, by id. */
  readonly deletedServers: Readonly<Record<string, "gone" | "soft-deleted">>;
  readonly serversError?: string;
  /** Whether nova-manage runs where it's configured; absent where it isn't, and where no instance needs it. */
  readonly novaManage?: Seen<{ readonly controller: string }>;
  readonly computeServices: readonly { readonly host: string; readonly up: boolean; readonly enabled: boolean }[];
  /** By site: queues that carry messages for its backend. */
  readonly queues: Seen<Readonly<Record<string, readonly QueueInfo[]>>>;
  readonly lease?: LeaseRow;
}

export function volumesOf(observation: Pick<SitesObservation, "pair" | "volumes">): readonly CinderVolume[] {
  return siteNames(observation.pair).flatMap((site) => observation.volumes[site] ?? []);
}

/** The instance's root disk, where it is one of the pair's volumes: Nova names the root by its device alone. */
export function rootOf(
  observation: Pick<Observation, "pair" | "volumes" | "serverAttachments">,
  server: Server,
): ServerAttachment | undefined {
  const ours = volumeIdsOf(observation);
  return (observation.serverAttachments[server.id] ?? []).find(
    ({ volumeId, device }) => device !== undefined && device === server.rootDevice && ours.has(volumeId),
  );
}

/** Asked for each instance, made once for an observation. */
const volumeIds = new WeakMap<SitesObservation["volumes"], ReadonlySet<string>>();

function volumeIdsOf(observation: Pick<SitesObservation, "pair" | "volumes">): ReadonlySet<string> {
  const known = volumeIds.get(observation.volumes) ?? new Set(volumesOf(observation).map(({ id }) => id));
  volumeIds.set(observation.volumes, known);
  return known;
}

export const named = ({ id, name }: Pick<CinderVolume, "id" | "name">): string => `"${name}" (${id})`;

/**
 * Instances with a volume that Nova doesn't detach, or not while its array is lost: by id, why, and what helps afterwards.
 * Unplanned they are stopped and left: one that ran on would write to the lost site after its return.
 */
export function strandedIn(
  observation: Pick<Observation, "pair" | "volumes" | "servers" | "serverAttachments">,
): ReadonlyMap<string, { readonly why: string; readonly remedy: string }> {
  const ours = new Map(volumesOf(observation).map((volume) => [volume.id, volume]));
  return new Map(
    observation.servers.flatMap(({ id }) => {
      const own = (observation.serverAttachments[id] ?? []).flatMap(({ volumeId, attachmentId }) => {
        const volume = ours.get(volumeId);
        return volume === undefined || attachmentId === undefined ? [] : [volume];
      });
      const shared = own.filter(({ multiattach, attachments }) => multiattach && attachments.length > 1);
      if (shared.length > 0)
        return [
          [
            id,
            {
              why: `shares ${shared.map(named).join(", ")} with others`,
              remedy: "detach these from each before the first attach",
            },
          ],
        ];
      const mapped = own.filter(({ status }) => status === "available");
      if (mapped.length > 0)
        return [
          [
            id,
            {
              why: `has ${mapped.map(named).join(", ")}, which Cinder has as available`,
              remedy: "a hard reboot removes such a mapping, once the others are detached",
            },
          ],
        ];
      return [];
    }),
  );
}

/** `cinder-dr@iprod#pool1` → `pool1` */
export function poolOf(volumeHost: string): string {
  return volumeHost.split("#")[1] ?? "";
}

export function arrayOf(observation: SitesObservation, site: string): ArrayObservation | undefined {
  const seen = observation.arrays[site];
  return seen?.ok === true ? seen.value : undefined;
}

/**
 * Where the driver has a volume's data: `volume_name_template` of `Volume.name_id` (cinder/objects/volume.py), which
 * differs from its id after a migration whose end couldn't rename the LUN.
 */
export function lunPathOf(volume: Pick<CinderVolume, "id" | "nameId" | "host">): string {
  return `/vol/${poolOf(volume.host)}/volume-${volume.nameId ?? volume.id}`;
}

export function snapshotLunPath(volume: Pick<CinderVolume, "host">, snapshotId: string): string {
  return `/vol/${poolOf(volume.host)}/snapshot-${snapshotId}`;
}

const GiB = 2 ** 30;

/** What of these volumes and snapshots these LUNs hold, and what they don't. */
export function heldBy(
  luns: readonly Lun[],
  volumes: readonly CinderVolume[],
  snapshots: readonly CinderSnapshot[],
): {
  readonly missing: readonly CinderVolume[];
  readonly short: readonly CinderVolume[];
  readonly missingSnapshotIds: readonly string[];
  readonly serials: Readonly<Record<string, string>>;
} {
  const byPath = new Map(luns.map((lun) => [lun.path, lun]));
  const counted = new Map(
    volumes.filter(({ status }) => !lunlessStatuses.has(status)).map((volume) => [volume.id, volume]),
  );
  const missing: CinderVolume[] = [];
  const short: CinderVolume[] = [];
  const serials: Record<string, string> = {};
  for (const volume of counted.values()) {
    const lun = byPath.get(lunPathOf(volume));
    if (lun === undefined) missing.push(volume);
    else {
      serials[volume.id] = lun.serial;
      if (lun.sizeBytes < volume.sizeGiB * GiB) short.push(volume);
    }
  }
  const missingSnapshotIds = snapshots.flatMap((snapshot) => {
    const volume = counted.get(snapshot.volumeId);
    // One that failed to be made has none either.
    if (volume === undefined || lunlessStatuses.has(snapshot.status) || snapshot.status === "error") return [];
    return byPath.has(snapshotLunPath(volume, snapshot.id)) ? [] : [snapshot.id];
  });
  return { missing, short, missingSnapshotIds, serials };
}

/**
 * Paths of LUNs that have the name of one of the pair's volumes or snapshots, and lie elsewhere. NetApp's driver finds a LUN
 * by the last part of its path alone, in the whole SVM (`lun_table`, block_base.py of Cinder 29), so that it serves either.
 */
export function shadowsOf(observation: Observation, site: string): readonly string[] {
  const volumes = new Map(volumesOf(observation).map((volume) => [volume.id, volume]));
  const own = [
    ...[...volumes.values()].map(lunPathOf),
    ...observation.snapshots.flatMap(({ id, volumeId }) => {
      const volume = volumes.get(volumeId);
      return volume === undefined ? [] : [snapshotLunPath(volume, id)];
    }),
  ];
  const wanted = new Map(own.map((path) => [posix.basename(path), path]));
  return (arrayOf(observation, site)?.lunPaths ?? []).filter((path) => {
    const right = wanted.get(posix.basename(path));
    return right !== undefined && right !== path;
  });
}

/** The relationship `from` → `to` of a FlexVol, as its destination tells it. */
export function mirrorOf(observation: Observation, from: string, to: string, flexVol: string): Mirror | undefined {
  return arrayOf(observation, to)?.mirrors.find((mirror) => isMirrorOf(observation.pair, mirror, from, to, flexVol));
}

export function isMirrorOf(pair: SitePair, mirror: Mirror, from: string, to: string, flexVol: string): boolean {
  return (
    mirror.source.svm === siteOf(pair, from).svm &&
    mirror.source.flexVol === flexVol &&
    mirror.destination.svm === siteOf(pair, to).svm &&
    mirror.destination.flexVol === flexVol
  );
}

/**
 * Whether a cinder-volume consumes any of its backend's queues: known at once, while the service is called up for a while
 * after its death. A broker that lost its definitions has no queue at all, and nobody consumes it either.
 */
export function isServed(queues: readonly QueueInfo[]): boolean {
  return queues.some((queue) => queue.consumers > 0);
}

/** Whether a row, of Cinder's table or of its API's listing, is this backend's cinder-volume. */
export const isVolumeServiceOf =
  (backendHost: string) =>
  ({ binary, host }: Pick<ServiceRow, "binary" | "host">): boolean =>
    binary === "cinder-volume" && host === backendHost;

export function serviceRowOf(observation: SitesObservation, backendHost: string): ServiceRow | undefined {
  return observation.serviceRows.find(isVolumeServiceOf(backendHost));
}

export function cinderServiceOf(observation: Observation, backendHost: string): CinderService | undefined {
  if (!observation.cinderServices.ok) return undefined;
  return observation.cinderServices.value.find(isVolumeServiceOf(backendHost));
}

/** Of the site that isn't active: what keeps its driver from overwriting the active one. */
export function isFence(row: ServiceRow, activeBackend: string): boolean {
  return row.replicationStatus === "failed-over" && row.activeBackendId === activeBackend && row.disabled;
}

/**
 * A site that was never active has no row, or this one: a driver without replication_device was tried there. Neither
 * overwrites anything.
 */
export function neverActive(row: ServiceRow | undefined): boolean {
  return row === undefined || (row.replicationStatus === "not-capable" && !row.activeBackendId);
}

/** What of a row is looked at to know whether it's a fence. */
export function fenceSeen({ replicationStatus, activeBackendId, disabled }: ServiceRow): string {
  return `${replicationStatus ?? "NULL"} to "${activeBackendId ?? ""}", ${disabled ? "disabled" : "enabled"}`;
}
