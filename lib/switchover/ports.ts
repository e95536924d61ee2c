/**
 * Everything the switchover engine sees of the outside. The clients (lib/ontap, lib/cinder, …) satisfy these by their
 * shape; `lib/connections` puts them together. Plain data in and out, vendor states in the vendor's spelling.
 *
 * Rules for every implementation: a method that reads never changes anything; a method that changes returns when the
 * remote system has accepted the change (and, where the name says so, finished it) and is safe to repeat; failures are
 * `DrError`s, `unreachable` when the other side did not answer.
 */

import type { FactName, HookSpec } from "../topology/hooks";

// ---------------------------------------------------------------------------------------------------------------- array

export const mirrorStates = [
  "uninitialized",
  "snapmirrored",
  "paused",
  "broken_off",
  "in_sync",
  "out_of_sync",
  "synchronizing",
] as const;
export type MirrorState = (typeof mirrorStates)[number] | (string & {});

export interface FlexVol {
  readonly uuid: string;
  readonly name: string;
  readonly type: "rw" | "dp" | (string & {});
  readonly state: string;
  readonly sizeBytes: number;
}

export interface Lun {
  readonly uuid: string;
  /** `/vol/<FlexVol>/<name>`; Cinder's LUN name is `volume-<volume id>` unless the volume was migrated. */
  readonly path: string;
  readonly flexVol: string;
  readonly name: string;
  readonly serial: string;
  readonly sizeBytes: number;
}

export interface LunMap {
  readonly lunUuid: string;
  readonly lunPath: string;
  readonly igroupUuid: string;
  readonly igroup: string;
  readonly logicalUnitNumber: number;
}

export interface Mirror {
  readonly uuid: string;
  readonly source: { readonly svm: string; readonly flexVol: string };
  readonly destination: { readonly svm: string; readonly flexVol: string };
  readonly state: MirrorState;
  readonly healthy: boolean;
  readonly unhealthyReasons: readonly string[];
  readonly policy?: string;
  /** Age of the newest snapshot at the destination; absent while uninitialized. */
  readonly lagSeconds?: number;
  readonly exportedSnapshot?: string;
  /** The current transfer, else the last one. */
  readonly transfer?: {
    readonly uuid?: string;
    readonly state: "queued" | "transferring" | "success" | "failed" | "aborted" | "hard_aborted" | (string & {});
    readonly bytesTransferred?: number;
    readonly endTime?: string;
  };
}

export interface Transfer {
  readonly uuid: string;
  readonly state: string;
  readonly bytesTransferred: number;
  readonly snapshot?: string;
  readonly endTime?: string;
  readonly error?: string;
}

export interface Snapshot {
  readonly uuid: string;
  readonly name: string;
  /** Identical on both sides for the same point in time; this is what makes a snapshot common. */
  readonly versionUuid: string;
  readonly createTime: string;
}

export interface IscsiTargetInfo {
  readonly iqn: string;
  readonly enabled: boolean;
  /** `address:port` of every enabled data_iscsi interface. */
  readonly portals: readonly string[];
}

/** One site's SVM on its cluster. Mirror methods act on relationships whose destination is this SVM. */
export interface ArrayPort {
  readonly site: string;
  getCluster(): Promise<{ readonly name: string; readonly version: string }>;
  getSvm(): Promise<{ readonly uuid: string; readonly state: string }>;
  getIscsiTarget(): Promise<IscsiTargetInfo>;
  listFlexVols(): Promise<readonly FlexVol[]>;
  listLuns(flexVols: readonly string[]): Promise<readonly Lun[]>;
  /** Of every LUN of the SVM. */
  listLunPaths(): Promise<readonly string[]>;
  /** Within its FlexVol, which has to be writable. Renamed already = success. */
  renameLun(lun: Lun, name: string): Promise<void>;
  listLunMaps(flexVols: readonly string[]): Promise<readonly LunMap[]>;
  /** Absent already = success. */
  deleteLunMap(map: LunMap): Promise<void>;
  listSnapshots(flexVol: string): Promise<readonly Snapshot[]>;
  /** Bytes by which the FlexVol differs from one of its snapshots now; undefined where the array doesn't tell. */
  findChangedBytes(o: { readonly flexVol: string; readonly snapshot: string }): Promise<number | undefined>;

  /** Relationships with their destination on this SVM, of the given FlexVols. */
  listMirrors(flexVols: readonly string[]): Promise<readonly Mirror[]>;
  /** Starts an update; while another transfer runs this is a retryable `remote` error (13303844). */
  startTransfer(mirrorUuid: string): Promise<string>;
  getTransfer(mirrorUuid: string, transferUuid: string): Promise<Transfer>;
  abortTransfer(mirrorUuid: string, transferUuid: string): Promise<void>;
  /** Asks for a state and waits until the job has ended, not until the state is reached: poll `listMirrors`. */
  setMirrorState(mirrorUuid: string, state: "paused" | "broken_off" | "snapmirrored"): Promise<void>;
  /** Creates a relationship onto this SVM; one that exists with the same ends is success. Resolves to its uuid. */
  createMirror(o: {
    readonly sourceSvm: string;
    readonly destinationSvm: string;
    readonly flexVol: string;
    readonly policy: string;
    readonly schedule?: string;
  }): Promise<string>;
  /**
   * Asked of the present destination: turns the relationship round (PATCH with swapped paths); afterwards it lives on
   * the other cluster. Arrays that refuse it answer with a `remote` error that isn't retryable.
   */
  reverseMirror(mirror: Mirror): Promise<void>;
  /** Removes the relationship here, keeping snapshots and what the source knows. Absent already = success. */
  deleteMirror(mirrorUuid: string): Promise<void>;
  /** On the source's cluster: forgets a destination, keeping its snapshots. Absent already = success. */
  releaseMirror(o: { readonly sourceFlexVol: string; readonly destinationSvm: string }): Promise<void>;
  /**
   * A FlexVol of type dp, to be a mirror's destination. One that exists under this name is left as it is, whatever its
   * type. Waits until it's online.
   */
  createDestinationVolume(o: { readonly name: string; readonly sizeBytes: number }): Promise<FlexVol>;
  /** It leaves the SVM's namespace with its old name. Renamed already = success. */
  renameFlexVol(o: { readonly from: string; readonly to: string }): Promise<void>;
  /** Absent already = success. */
  deleteFlexVol(name: string): Promise<void>;
  /** A read-write FlexClone, to keep what a resync would discard. */
  cloneFlexVol(o: { readonly parent: string; readonly name: string }): Promise<void>;
  /** Starts splitting a FlexClone from its parent, or sees how far it is. True = done: until then no resync of the parent. */
  splitFlexClone(name: string): Promise<boolean>;
}

// --------------------------------------------------------------------------------------------------------------- cinder

export interface CinderService {
  readonly binary: string;
  readonly host: string;
  readonly enabled: boolean;
  readonly up: boolean;
  readonly disabledReason?: string;
  readonly replicationStatus?: string;
  readonly activeBackendId?: string;
  readonly frozen: boolean;
}

export interface CinderVolume {
  readonly id: string;
  readonly name: string;
  /** `<host>@<backend>#<pool>` */
  readonly host: string;
  readonly status: string;
  readonly sizeGiB: number;
  readonly projectId: string;
  readonly volumeType?: string;
  readonly replicationStatus?: string;
  readonly migrationStatus?: string;
  /** The id in its LUN's name where a migration left another one than `id`. */
  readonly nameId?: string;
  readonly multiattach: boolean;
  readonly bootable: boolean;
  readonly encrypted: boolean;
  readonly groupId?: string;
  /** Only those that are attached: reserved ones aren't here. */
  readonly attachments: readonly {
    readonly attachmentId: string;
    readonly serverId: string;
    readonly device: string;
    readonly host?: string;
  }[];
}

export interface CinderSnapshot {
  readonly id: string;
  readonly volumeId: string;
  readonly status: string;
}

export interface CinderAttachment {
  readonly id: string;
  readonly volumeId: string;
  readonly serverId?: string;
  readonly status: string;
  /** Without CHAP secrets. */
  readonly connection?: ConnectionInfo;
}

/** Where an attachment leads. CHAP and other secrets are dropped at the client's edge. */
export interface ConnectionInfo {
  readonly type: string;
  readonly iqn?: string;
  readonly portal?: string;
  readonly portals?: readonly string[];
  readonly lun?: number;
}

export interface BlockStoragePort {
  listServices(): Promise<readonly CinderService[]>;
  /** All projects' volumes of `<host>@<backend>`, pages followed. */
  listVolumes(backendHost: string): Promise<readonly CinderVolume[]>;
  listSnapshots(): Promise<readonly CinderSnapshot[]>;
  /** Without their connections where Cinder's API doesn't answer: nothing is decided upon by a missing one. */
  listAttachments(): Promise<readonly CinderAttachment[]>;
  /** The same, by the API or not at all: one that comes without a connection has none. */
  listConnections(): Promise<readonly CinderAttachment[]>;
  /** Pools of enabled, reporting backends. */
  listPools(): Promise<readonly { readonly name: string; readonly timestamp?: string }[]>;
  /** No new volumes; with a reason (disable-log-reason). Verified by reading back. */
  disableService(backendHost: string, reason: string): Promise<void>;
  /** Verified by reading back: Cinder 28 and 29 answer 200 to `enable` and change nothing (freeze + thaw does). */
  enableService(backendHost: string): Promise<void>;
  /** Returns when accepted (202); the service row and then the volumes follow. */
  failoverHost(backendHost: string, backendId: string): Promise<void>;
  /** A volume left `detaching`: back to in-use. */
  rollDetaching(volumeId: string): Promise<void>;
  /** An attachment left `attaching` whose connection is there: attached, its volume in-use. */
  completeAttachment(attachmentId: string): Promise<void>;
  /** One that Nova doesn't refer to; Cinder refuses (409) any other. Absent already (404) = success. */
  deleteAttachment(attachmentId: string): Promise<void>;
}

// ----------------------------------------------------------------------------------------------------------------- nova

export interface Server {
  readonly id: string;
  readonly name: string;
  /** API status: ACTIVE, SHUTOFF, … */
  readonly status: string;
  readonly taskState?: string;
  readonly powerState?: number;
  readonly host?: string;
  readonly hostStatus?: string;
  readonly locked: boolean;
  readonly lockedReason?: string;
  readonly projectId: string;
  readonly rootDevice?: string;
  /** Disks of its flavour beside the root, ephemeral and swap: Nova tells their number, not their names. */
  readonly localDisks: number;
  /** Its properties; absent where it has none. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** What Nova has block device mappings of, ghosts among them; absent where its cell doesn't answer. */
  readonly volumeIds?: readonly string[];
}

export interface ServerAttachment {
  readonly serverId: string;
  readonly volumeId: string;
  /** Absent where Nova has none (shelved). */
  readonly device?: string;
  readonly tag?: string;
  readonly deleteOnTermination: boolean;
  readonly attachmentId?: string;
}

export interface ComputePort {
  listServers(): Promise<readonly Server[]>;
  getServer(id: string): Promise<Server>;
  /**
   * With microversion 2.89; rows that only 2.88 shows (ghosts without attachment_id) are included, but for those of
   * volumes that aren't `expected`: where 2.89 shows all of these, 2.88 isn't asked.
   */
  listServerAttachments(serverId: string, expected?: readonly string[]): Promise<readonly ServerAttachment[]>;
  listComputeServices(): Promise<readonly { readonly host: string; readonly up: boolean; readonly enabled: boolean }[]>;
  lock(serverId: string, reason: string): Promise<void>;
  unlock(serverId: string): Promise<void>;
  /** Accepted (202); poll until status and task_state say so. */
  stop(serverId: string): Promise<void>;
  start(serverId: string): Promise<void>;
  /** Accepted (202); the attachment goes later. Not attached (404) = success. */
  detachVolume(serverId: string, volumeId: string): Promise<void>;
  /**
   * Microversion ≤ 2.100, so that the device is reserved when this returns: attaches of one server are sent one after
   * another in the old order. Resolves to the device reserved.
   */
  attachVolume(o: {
    readonly serverId: string;
    readonly volumeId: string;
    readonly device?: string;
    readonly tag?: string;
    readonly deleteOnTermination: boolean;
  }): Promise<string>;
}

/** `nova-manage` on a controller: for what Nova's API doesn't offer. */
export interface NovaManagePort {
  /** Where it runs, for sentences. */
  readonly name: string;
  /** Proves by this instance that it runs and reaches Nova's databases. Reads no connection. */
  probe(serverId: string): Promise<void>;
  /**
   * Replaces the attachment of a stopped instance's volume by a new one, over the connector; the device stays. Several
   * calls to Cinder and Nova: one that was cut off leaves any prefix of them. While another one is at the same volume,
   * and where its outcome isn't known, the error is retryable.
   */
  refreshAttachment(o: {
    readonly serverId: string;
    readonly volumeId: string;
    /** JSON, as Cinder stored it. */
    readonly connector: string;
  }): Promise<void>;
}

// ------------------------------------------------------------------------------------------------------------- database

/** Row of cinder.services, as it stands. */
export interface ServiceRow {
  readonly id: number;
  readonly uuid: string | null;
  readonly host: string;
  readonly binary: string;
  readonly disabled: boolean;
  readonly disabledReason: string | null;
  readonly replicationStatus: string | null;
  readonly activeBackendId: string | null;
  readonly frozen: boolean;
  /** Heartbeats ever sent: advances with them alone, and a restart goes on from it. */
  readonly reportCount: number;
  readonly clusterName: string | null;
}

/** How many live rows of each table name a backend host (`<host>@<backend>` or `…#pool`). */
export type HostRowCounts = Readonly<Record<string, number>>;

export interface PromotionChange {
  readonly fromHost: string;
  readonly toHost: string;
  /** Backend id of the new site: what `active_backend_id` of the fence row names. */
  readonly toBackendId: string;
  /** Rows of each table that the change must hit; anything else rolls back. */
  readonly expected: HostRowCounts;
  /**
   * Written for the direct route, where Cinder's own failover didn't write it: the fence row of the site that is left
   * (failed-over, active_backend_id, disabled) and volumes.replication_status.
   */
  readonly writeFence: boolean;
  /** Volumes in flight move as they are: nobody works on them any more, as the site is lost and the services are stopped. */
  readonly takeInFlight: boolean;
  /** Version of a schema that isn't a known one, and is accepted all the same. */
  readonly acceptSchema?: string | undefined;
}

export interface PromotionResult {
  readonly before: HostRowCounts;
  readonly after: HostRowCounts;
  /** What rows had before, by table, for the rollback; no secret columns (provider_auth is left out). */
  readonly beforeImage: Readonly<
    Record<string, readonly { readonly keys: readonly string[]; readonly before: Readonly<Record<string, unknown>> }[]>
  >;
  readonly rollbackSql: readonly string[];
}

export interface CinderDatabasePort {
  /** Server, schema head (alembic version), wsrep, rights: for preflight. */
  describe(): Promise<{
    readonly version: string;
    readonly schemaHead: string;
    /** Cinder's releases with this schema; undefined = the promotion was never tested on it. */
    readonly schemaReleases: string | undefined;
    /** `table.column` by whose name something may be said about a host or a service, and that isn't known. */
    readonly undecidedColumns: readonly string[];
    readonly wsrepOn: boolean;
    readonly readOnly: boolean;
    readonly missingRights: readonly string[];
  }>;
  listServiceRows(): Promise<readonly ServiceRow[]>;
  countHostRows(backendHost: string): Promise<HostRowCounts>;
  /**
   * The compute host's connector of the newest attachment of this volume to this instance, also of a deleted one: JSON
   * as Nova gave it. Absent where none was stored.
   */
  findConnector(o: { readonly serverId: string; readonly volumeId: string }): Promise<string | undefined>;
  /** Volumes that name the host and are in flight (status, workers rows): these must be none before promotion. */
  listVolumesInFlight(backendHost: string): Promise<readonly { readonly id: string; readonly status: string }[]>;
  /**
   * Verified logical dump of Cinder's schema to a file of mode 0600 on this machine: it holds secrets (CHAP) and never
   * goes anywhere else. Resolves to what was read back: size, digest, tables, rows of those that the promotion changes.
   */
  dump(file: string): Promise<{
    readonly bytes: number;
    readonly sha256: string;
    readonly tables: number;
    readonly rows: Readonly<Record<string, number>>;
  }>;
  /** One transaction with asserted row counts; repeated after success it finds nothing to do and says so. */
  promote(change: PromotionChange): Promise<PromotionResult>;
}

// --------------------------------------------------------------------------------------------------- lease and journal

export interface LeaseHolder {
  readonly owner: string;
  readonly host: string;
  readonly pid: number;
  readonly stack: string;
  readonly planDigest: string;
}

/** Who holds the lease of a pair. */
export interface LeaseRow extends LeaseHolder {
  readonly pair: string;
  readonly token: string;
  readonly acquiredAt: string;
  readonly expiresAt: string;
  /** By the database's clock: nobody else's counts. */
  readonly expired: boolean;
}

export interface ListedSwitchover {
  readonly switchoverId: string;
  readonly startedAt: string;
  readonly open: boolean;
  /** By the database's clock; absent while it's open. */
  readonly closedSecondsAgo?: number;
}

/** Schema `cinder_cheesecake` on Cinder's database server. Times are the database's. */
export interface CoordinationPort {
  /** Creates schema and tables where they're missing. */
  prepare(): Promise<void>;
  findLease(pair: string): Promise<LeaseRow | undefined>;
  /** One conditional UPDATE: takes a free or expired lease. Undefined = somebody else holds it. */
  acquireLease(pair: string, holder: LeaseHolder, token: string, ttlSeconds: number): Promise<LeaseRow | undefined>;
  /** False = the lease is no longer ours. */
  renewLease(pair: string, token: string, ttlSeconds: number): Promise<boolean>;
  releaseLease(pair: string, token: string): Promise<void>;
  /** For the run that holds the lease with this token; a later one counts instead of it. */
  requestStop(pair: string, token: string, by: string): Promise<void>;
  /** Who asked the run with this token to stop. */
  findStop(pair: string, token: string): Promise<string | undefined>;
  /** The stack that owns the pair, set by the first one that asks. */
  claimOwnership(pair: string, stack: string): Promise<{ readonly stack: string }>;
  /**
   * Appends all or none, the first under this number; the pair (switchover, seq) is unique, and a repeated entry with the
   * same content is success.
   */
  appendJournal(switchoverId: string, seq: number, pair: string, entries: readonly string[]): Promise<void>;
  readJournal(switchoverId: string): Promise<readonly string[]>;
  /** Newest first. */
  listSwitchovers(pair: string): Promise<readonly ListedSwitchover[]>;
  closeSwitchover(switchoverId: string): Promise<void>;
}

// ---------------------------------------------------------------------------------------------------------- controllers

export interface FileVersion {
  readonly content: string;
  readonly sha256: string;
}

export type ServiceRole = "api" | "scheduler" | "volume" | "backup";

/** One controller host: its Cinder services and its cinder.conf. */
export interface ControllerPort {
  readonly name: string;
  readonly cinderConf: string;
  /** Roles with their units, and whether this controller is where the unit normally runs. */
  listUnits(): Promise<
    readonly {
      readonly role: ServiceRole;
      readonly unit: string;
      readonly startedHere: boolean;
      readonly active: boolean;
      readonly masked: boolean;
    }[]
  >;
  /** Stops and masks a unit, and proves that it no longer runs. Safe to repeat. */
  stopAndMask(unit: string): Promise<void>;
  unmaskAndStart(unit: string): Promise<void>;
  unmask(unit: string): Promise<void>;
  restart(unit: string): Promise<void>;
  readFile(path: string): Promise<FileVersion>;
  /** Files that Cinder's services read after cinder.conf, and that count more. */
  listDropIns(): Promise<readonly string[]>;
  /** Atomic (temporary file, rename), owner and mode kept; refused (`conflict`) if the file is no longer `expected`. */
  writeFile(path: string, content: string, expected: string): Promise<FileVersion>;
  /** Position in a unit's log now, for `readLogSince`. */
  markLog(unit: string): Promise<string>;
  readLogSince(unit: string, mark: string): Promise<string>;
}

// ---------------------------------------------------------------------------------------------------------------- queue

export interface QueueInfo {
  readonly name: string;
  readonly messages: number;
  readonly consumers: number;
}

export interface QueuedMessage {
  readonly method: string;
  readonly summary: string;
}

export interface MessageQueuePort {
  /** State of the queues that would carry a message for this backend: `cinder-volume.<host>@<backend>` and below. */
  listBackendQueues(backendHost: string): Promise<readonly QueueInfo[]>;
  /**
   * Reads out what waits in a queue without consumers, has `keep` write it down, then deletes the queue; what `keep`
   * throws leaves it as it was. Resolves to what was in it: RPC method and target of each message, never its arguments'
   * secrets. `keep` isn't called for a queue that's gone or empty; again where the queue changed meanwhile.
   */
  drainQueue(
    name: string,
    keep: (messages: readonly QueuedMessage[]) => Promise<void>,
  ): Promise<readonly QueuedMessage[]>;
}

// ------------------------------------------------------------------------------------------------------------ the rest

/** Lossless edit of cinder.conf, given as data; implemented by lib/oslo-config. */
export interface ConfigEditor {
  get(content: string, section: string, option: string): string | undefined;
  getAll(content: string, section: string, option: string): readonly string[];
  sections(content: string): readonly string[];
  set(content: string, section: string, option: string, value: string): string;
  remove(content: string, section: string, option: string): string;
  /** Items of a list option's value. */
  listItems(value: string): readonly string[];
  /** Other items, their order and the spacing stay. Throws where the list holds neither; with both, `from` goes. */
  replaceListItem(value: string, from: string, to: string): string;
  /** Unchanged where it's there already. */
  addListItem(value: string, item: string): string;
}

/** What came of a hook. It goes into journal and report: no secret is in it. */
export interface HookOutcome {
  readonly passed: boolean;
  /** How it ended: "it ended with status 1", "it answered 503". */
  readonly said: string;
  readonly exitCode?: number;
  readonly status?: number;
  readonly timedOut?: true;
  /** By the signal, before its end. */
  readonly cutOff?: true;
  readonly durationSeconds: number;
  /** The last of its output, or of its answer. */
  readonly output?: string;
}

/** Runs a command or makes an HTTP call of the operator's, with its deadline. What it was, it says; it doesn't throw. */
export interface HookPort {
  run(o: {
    readonly hook: HookSpec;
    readonly facts: Readonly<Partial<Record<FactName, string>>>;
    readonly instances: readonly { readonly id: string; readonly name: string }[];
    /** It's ended then. */
    readonly signal: AbortSignal;
  }): Promise<HookOutcome>;
}

export interface Clock {
  now(): Date;
  /** Resolves after the time, or rejects with code "stopped" when the signal fires. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Ports {
  readonly arrays: Readonly<Record<string, ArrayPort>>;
  readonly blockStorage: BlockStoragePort;
  readonly compute: ComputePort;
  /** Absent where none is configured. */
  readonly novaManage?: NovaManagePort;
  readonly database: CinderDatabasePort;
  readonly coordination: CoordinationPort;
  readonly controllers: readonly ControllerPort[];
  readonly messageQueue: MessageQueuePort;
  readonly config: ConfigEditor;
  readonly hooks: HookPort;
  readonly clock: Clock;
  /** How many requests were sent again, as they or their answer got lost or were put off. */
  readonly retries?: () => number;
}
