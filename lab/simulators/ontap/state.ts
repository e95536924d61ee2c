/** What a cluster holds. Plain data; bytes are in bytes.ts, rules in the routes and in snapmirror/. */
import { createHash, randomBytes, randomUUID } from "node:crypto";
import * as path from "node:path";
import type { ClusterConfig } from "./config";
import { LunMaps } from "./lun-maps";
import { Luns } from "./luns";
import { Mutex } from "./mutex";

export interface Lun {
  /** The same on both sides of a mirror: an inode's identity. uuid and serial are each side's own. */
  fileId: string;
  uuid: string;
  serial: string;
  /** below the volume: "volume-1234" or "qtree/lun" */
  name: string;
  sizeBytes: number;
  osType: string;
  spaceReserved: boolean;
  thinProvisioning: boolean;
  enabled: boolean;
  comment: string | undefined;
  createTimeMs: number;
  qosPolicy: string | undefined;
}

export type LunMetadata = Omit<Lun, "uuid" | "serial">;

export interface SnapshotFile extends LunMetadata {
  /** when its copy began, machine time: a file modified at about that time isn't trusted to be unchanged. */
  copiedAtMs: number;
}

export interface Snapshot {
  /** per volume */
  uuid: string;
  /** the same wherever SnapMirror or FlexClone took it */
  versionUuid: string;
  name: string;
  createTimeMs: number;
  label: string | undefined;
  comment: string | undefined;
  files: SnapshotFile[];
}

export interface Volume {
  uuid: string;
  name: string;
  svmUuid: string;
  type: "rw" | "dp";
  state: "online" | "offline" | "restricted";
  sizeBytes: number;
  aggregate: string;
  guarantee: "none" | "volume";
  language: string;
  snapshotPolicy: string;
  snapshotReservePercent: number;
  snapshotDirectory: boolean;
  junctionPath: string | undefined;
  comment: string | undefined;
  dedupe: string;
  compression: string;
  qosPolicy: string | undefined;
  msid: number;
  createTimeMs: number;
  isSvmRoot: boolean;
  clone: { parentVolumeUuid: string; parentSvmUuid: string; snapshotVersion: string; split: boolean } | undefined;
  luns: Luns<Lun>;
  /** oldest first */
  snapshots: Snapshot[];
  /** uuid and serial by fileId, kept when a LUN vanishes by a resync and comes back. */
  identities: Map<string, { uuid: string; serial: string }>;
  /** Serialises everything that touches the volume's files. */
  lock: Mutex;
}

export interface Svm {
  uuid: string;
  name: string;
  state: "running" | "stopped" | "starting" | "stopping";
  comment: string | undefined;
  iscsi: { iqn: string; alias: string; enabled: boolean } | undefined;
  createTimeMs: number;
}

export interface Interface {
  uuid: string;
  name: string;
  address: string;
  svmUuid: string | undefined;
  enabled: boolean;
  services: string[];
  servicePolicy: string;
}

export interface Igroup {
  uuid: string;
  name: string;
  svmUuid: string;
  protocol: string;
  osType: string;
  comment: string | undefined;
  initiators: { name: string; comment: string | undefined }[];
}

export interface QosPolicy {
  uuid: string;
  name: string;
  svmUuid: string | undefined;
  fixed: Record<string, number | boolean> | undefined;
  adaptive: Record<string, number | string> | undefined;
}

export interface ClusterPeer {
  uuid: string;
  name: string;
  remoteName: string | undefined;
  remoteAddresses: string[];
  passphrase: string | undefined;
  expiresMs: number;
  established: boolean;
  applications: string[];
  initialAllowedSvms: string[];
  encryption: string;
}

export interface SvmPeer {
  /** the same on both clusters */
  uuid: string;
  /** local alias of the peer SVM */
  name: string;
  svmUuid: string;
  peerSvmName: string;
  peerSvmUuid: string;
  peerClusterName: string;
  state: "initiated" | "pending" | "peered" | "rejected" | "suspended";
  applications: string[];
}

export interface PeerPermission {
  clusterPeerUuid: string;
  svmUuid: string;
  applications: string[];
}

export interface MirrorPolicy {
  uuid: string;
  name: string;
  type: "async" | "sync" | "continuous";
  syncType: string | undefined;
  svmUuid: string | undefined;
  copyAllSourceSnapshots: boolean;
  copyLatestSourceSnapshot: boolean;
  createSnapshotOnSource: boolean;
  retention: { label: string; count: number }[];
  schedule: string | undefined;
  throttle: number;
  comment: string | undefined;
  builtIn: boolean;
}

export interface Schedule {
  uuid: string;
  name: string;
  cron: { minutes: number[]; hours?: number[]; days?: number[]; months?: number[]; weekdays?: number[] } | undefined;
  interval: string | undefined;
  builtIn: boolean;
}

export type MirrorState = "uninitialized" | "snapmirrored" | "paused" | "broken_off";
export interface Unhealthy {
  code: string;
  message: string;
}

export interface Transfer {
  uuid: string;
  state: "transferring" | "success" | "failed" | "aborted" | "hard_aborted";
  type: "initialize" | "update" | "resync" | "restore";
  snapshot: string | undefined;
  bytesTransferred: number;
  checkpointSize: number;
  startMs: number;
  endMs: number | undefined;
  error: { code: number; message: string } | undefined;
  abort: AbortController;
  done: Promise<void>;
}

/** Lives on the destination cluster. */
export interface Relationship {
  uuid: string;
  sourceCluster: string;
  /** name of the source SVM as the destination's SVM knows it (alias) */
  sourceSvmAlias: string;
  sourceSvmUuid: string;
  sourceVolume: string;
  destinationSvmUuid: string;
  destinationVolume: string;
  state: MirrorState;
  pausing: boolean;
  policyUuid: string;
  schedule: string | undefined;
  throttle: number;
  restore: boolean;
  unhealthy: Unhealthy[];
  exportedVersion: string | undefined;
  exportedName: string | undefined;
  exportedCreateMs: number | undefined;
  lastTransferType: Transfer["type"] | undefined;
  totalBytes: number;
  totalMs: number;
  transfers: Transfer[];
}

/** "destination information" that the source cluster keeps. */
export interface SourceInfo {
  uuid: string;
  sourceSvmUuid: string;
  sourceVolume: string;
  destinationCluster: string;
  destinationSvmName: string;
  destinationSvmUuid: string;
  destinationVolume: string;
  policyName: string;
  policyType: string;
  /** version of the snapshot that both sides have in common: locked on the source */
  baseVersion: string | undefined;
}

export interface Job {
  uuid: string;
  description: string;
  state: "queued" | "running" | "success" | "failure";
  message: string;
  code: number;
  error: { message: string; code: string; target?: string } | undefined;
  startMs: number;
  endMs: number | undefined;
  svmUuid: string | undefined;
  done: Promise<void>;
}

export interface Cluster {
  readonly config: ClusterConfig;
  readonly name: string;
  readonly uuid: string;
  readonly dir: string;
  readonly version: [number, number, number];
  readonly nodes: { name: string; uuid: string; serial: string }[];
  readonly aggregates: { name: string; uuid: string; node: string; sizeBytes: number }[];
  readonly svms: Map<string, Svm>;
  readonly volumes: Map<string, Volume>;
  readonly interfaces: Map<string, Interface>;
  readonly igroups: Map<string, Igroup>;
  lunMaps: LunMaps;
  readonly qosPolicies: Map<string, QosPolicy>;
  readonly clusterPeers: Map<string, ClusterPeer>;
  readonly svmPeers: Map<string, SvmPeer>;
  peerPermissions: PeerPermission[];
  readonly policies: Map<string, MirrorPolicy>;
  readonly schedules: Map<string, Schedule>;
  readonly relationships: Map<string, Relationship>;
  readonly sourceInfos: Map<string, SourceInfo>;
  readonly jobs: Map<string, Job>;
  nextMsid: number;
  reachable: boolean;
}

// ------------------------------------------------------------------------------------------------ names and places

/** Stable across restarts of the simulator, so that a configuration always means the same arrays. */
export function stableUuid(...parts: string[]): string {
  const h = createHash("sha256").update(parts.join("\0")).digest("hex");
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-11ec-a${h.slice(13, 16)}-${h.slice(16, 28)}`;
}

const serialAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789?+/-";
const serials = new Set<string>();
/** 12 printable characters, never twice in this process. */
export function newSerial(): string {
  for (;;) {
    const serial = [...randomBytes(12)].map((b) => serialAlphabet[b % serialAlphabet.length] ?? "A").join("");
    if (!serials.has(serial)) {
      serials.add(serial);
      return serial;
    }
  }
}
/** NAA identifier: 600a0980 and the serial's bytes in hex. */
export const naaOf = (serial: string): string => `600a0980${Buffer.from(serial, "ascii").toString("hex")}`;

export const volumeDir = (cluster: Cluster, volume: Volume): string => path.join(cluster.dir, volume.uuid);
export const lunFile = (cluster: Cluster, volume: Volume, fileId: string): string =>
  path.join(volumeDir(cluster, volume), `${fileId}.img`);
export const snapshotDir = (cluster: Cluster, volume: Volume, snapshot: Pick<Snapshot, "versionUuid">): string =>
  path.join(volumeDir(cluster, volume), "snapshots", snapshot.versionUuid);
export const snapshotFile = (
  cluster: Cluster,
  volume: Volume,
  snapshot: Pick<Snapshot, "versionUuid">,
  fileId: string,
): string => path.join(snapshotDir(cluster, volume, snapshot), `${fileId}.img`);
export const lunPath = (volume: Volume, lun: Pick<Lun, "name">): string => `/vol/${volume.name}/${lun.name}`;

export const svmByName = (cluster: Cluster, name: string): Svm | undefined =>
  [...cluster.svms.values()].find((s) => s.name === name);
export const volumeByName = (cluster: Cluster, svmUuid: string, name: string): Volume | undefined =>
  [...cluster.volumes.values()].find((v) => v.svmUuid === svmUuid && v.name === name);

export function newVolume(
  cluster: Cluster,
  nowMs: number,
  v: Pick<Volume, "name" | "svmUuid" | "type" | "sizeBytes" | "aggregate"> & Partial<Volume>,
): Volume {
  return {
    uuid: randomUUID(),
    state: "online",
    guarantee: "none",
    language: "c.utf_8",
    snapshotPolicy: "none",
    snapshotReservePercent: v.type === "dp" ? 0 : 5,
    snapshotDirectory: true,
    junctionPath: undefined,
    comment: undefined,
    dedupe: "none",
    compression: "none",
    qosPolicy: undefined,
    msid: cluster.nextMsid++,
    createTimeMs: nowMs,
    isSvmRoot: false,
    clone: undefined,
    luns: new Luns(),
    snapshots: [],
    identities: new Map(),
    lock: new Mutex(),
    ...v,
  };
}

const builtInPolicies: [string, Partial<MirrorPolicy>][] = [
  [
    "Asynchronous",
    {
      schedule: "hourly",
      retention: [
        { label: "daily", count: 7 },
        { label: "weekly", count: 52 },
      ],
    },
  ],
  ["MirrorAllSnapshots", { copyAllSourceSnapshots: true }],
  ["MirrorAllSnapshotsDiscardNetwork", { copyAllSourceSnapshots: true }],
  ["MirrorLatest", { copyLatestSourceSnapshot: true }],
  [
    "MirrorAndVault",
    {
      retention: [
        { label: "daily", count: 7 },
        { label: "weekly", count: 52 },
      ],
    },
  ],
  ["DPDefault", { copyAllSourceSnapshots: true }],
  [
    "XDPDefault",
    {
      createSnapshotOnSource: false,
      retention: [
        { label: "daily", count: 7 },
        { label: "weekly", count: 52 },
      ],
    },
  ],
  ["Sync", { type: "sync", syncType: "sync" }],
  ["StrictSync", { type: "sync", syncType: "strict_sync" }],
  ["AutomatedFailOver", { type: "sync", syncType: "automated_failover" }],
  ["AutomatedFailOverDuplex", { type: "sync", syncType: "automated_failover_duplex" }],
];

const every = (step: number, below: number): number[] => Array.from({ length: below / step }, (_, i) => i * step);
const builtInSchedules: [string, Schedule["cron"]][] = [
  ["5min", { minutes: every(5, 60) }],
  ["10min", { minutes: every(10, 60) }],
  ["hourly", { minutes: [5] }],
  ["8hour", { minutes: [15], hours: [2, 10, 18] }],
  ["daily", { minutes: [10], hours: [0] }],
  ["weekly", { minutes: [15], hours: [0], weekdays: [0] }],
  ["monthly", { minutes: [20], hours: [0], days: [1] }],
];

export function newCluster(config: ClusterConfig, stateDir: string, nowMs: number): Cluster {
  const uuid = stableUuid("cluster", config.name);
  const nodes = ["01", "02"].map((n, i) => ({
    name: `${config.name}-${n}`,
    uuid: stableUuid("node", config.name, n),
    serial: `1-80-${uuid.replace(/\D/g, "0").slice(0, 5)}${i}`,
  }));
  const cluster: Cluster = {
    config,
    name: config.name,
    uuid,
    dir: path.join(stateDir, config.name),
    version: config.version ?? [9, 16, 1],
    nodes,
    aggregates: config.aggregates.map((name, i) => ({
      name,
      uuid: stableUuid("aggregate", config.name, name),
      node: nodes[i % nodes.length]?.name ?? "",
      sizeBytes: 10 * 2 ** 40,
    })),
    svms: new Map(),
    volumes: new Map(),
    interfaces: new Map(),
    igroups: new Map(),
    lunMaps: new LunMaps(),
    qosPolicies: new Map(),
    clusterPeers: new Map(),
    svmPeers: new Map(),
    peerPermissions: [],
    policies: new Map(),
    schedules: new Map(),
    relationships: new Map(),
    sourceInfos: new Map(),
    jobs: new Map(),
    nextMsid: 2147484673 + Number.parseInt(uuid.slice(0, 4), 16),
    reachable: true,
  };
  const addInterface = (
    name: string,
    address: string,
    svmUuid: string | undefined,
    servicePolicy: string,
    services: string[],
  ): void => {
    const lif = {
      uuid: stableUuid("lif", config.name, name),
      name,
      address,
      svmUuid,
      enabled: true,
      services,
      servicePolicy,
    };
    cluster.interfaces.set(lif.uuid, lif);
  };
  addInterface("cluster_mgmt", config.address, undefined, "default-management", [
    "management_core",
    "management_https",
    "management_ssh",
  ]);
  config.interclusterAddresses.forEach((address, i) =>
    addInterface(`intercluster_${i + 1}`, address, undefined, "default-intercluster", ["intercluster_core"]),
  );
  config.svms.forEach((s, i) => {
    const svmUuid = stableUuid("svm", config.name, s.name);
    cluster.svms.set(svmUuid, {
      uuid: svmUuid,
      name: s.name,
      state: "running",
      comment: undefined,
      iscsi: { iqn: iqnOf(svmUuid, i + 2), alias: s.name, enabled: true },
      createTimeMs: nowMs,
    });
    s.iscsiAddresses.forEach((address, n) =>
      addInterface(`${s.name}_iscsi_${n + 1}`, address, svmUuid, "default-data-blocks", ["data_core", "data_iscsi"]),
    );
    const root = newVolume(cluster, nowMs, {
      uuid: stableUuid("volume", config.name, s.name, "\0root"),
      name: `${s.name}_root`,
      svmUuid,
      type: "rw",
      sizeBytes: 2 ** 30,
      aggregate: config.aggregates[0] ?? "",
      junctionPath: "/",
      isSvmRoot: true,
    });
    cluster.volumes.set(root.uuid, root);
    s.volumes.forEach((v, n) => {
      const volume = newVolume(cluster, nowMs, {
        uuid: stableUuid("volume", config.name, s.name, v.name),
        name: v.name,
        svmUuid,
        type: v.type,
        sizeBytes: v.sizeBytes,
        aggregate: config.aggregates[n % Math.max(1, config.aggregates.length)] ?? "",
        junctionPath: v.type === "rw" ? `/${v.name}` : undefined,
      });
      cluster.volumes.set(volume.uuid, volume);
    });
  });
  for (const [name, policy] of builtInPolicies) {
    const policyUuid = stableUuid("policy", config.name, name);
    cluster.policies.set(policyUuid, {
      uuid: policyUuid,
      name,
      type: "async",
      syncType: undefined,
      svmUuid: undefined,
      copyAllSourceSnapshots: false,
      copyLatestSourceSnapshot: false,
      createSnapshotOnSource: true,
      retention: [],
      schedule: undefined,
      throttle: 0,
      comment: undefined,
      builtIn: true,
      ...policy,
    });
  }
  for (const [name, cron] of builtInSchedules) {
    const scheduleUuid = stableUuid("schedule", config.name, name);
    cluster.schedules.set(scheduleUuid, { uuid: scheduleUuid, name, cron, interval: undefined, builtIn: true });
  }
  return cluster;
}

/** "iqn.1992-08.com.netapp:sn.<svm uuid without dashes>:vs.<n>" (netapp-ontap 9.16, iscsi_service). */
export const iqnOf = (svmUuid: string, n: number): string =>
  `iqn.1992-08.com.netapp:sn.${svmUuid.replaceAll("-", "")}:vs.${n}`;
