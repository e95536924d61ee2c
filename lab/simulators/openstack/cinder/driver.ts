import type { Row } from "../database";

export interface Connector {
  host: string;
  initiator: string;
  ip: string;
  mountpoint?: string;
  mode?: string;
  [more: string]: unknown;
}
export interface ConnectionInfo {
  driver_volume_type: string;
  data: Record<string, unknown>;
}

export interface PoolStats {
  pool_name: string;
  total_capacity_gb: number;
  free_capacity_gb: number;
  provisioned_capacity_gb: number;
  max_over_subscription_ratio: string | number;
  [more: string]: unknown;
}
export interface Stats {
  volume_backend_name: string;
  driver_version: string;
  vendor_name: string;
  storage_protocol: string;
  replication_enabled: boolean;
  pools: PoolStats[];
  [more: string]: unknown;
}

/** What a volume manager wants of a driver. Volumes and snapshots are rows of Cinder's tables. */
export interface VolumeDriver {
  readonly name: string;
  readonly version: string;
  /** Whether hosts share a target for several volumes, so that os-brick locks (volumes.shared_targets). */
  readonly sharedTargets: boolean;
  /** Throws where the driver doesn't initialise. Begins the periodic tasks. */
  setup(): Promise<void>;
  stats(): Promise<Stats>;
  /** Returns columns to be set. */
  createVolume(volume: Row): Promise<Row>;
  createFromSnapshot(volume: Row, snapshot: Row): Promise<Row>;
  createClone(volume: Row, source: Row): Promise<Row>;
  /** Writes the image into the volume; undefined where the volume's blocks aren't reachable from here. */
  createFromImage?(volume: Row, imageFile: () => Promise<Buffer>): Promise<Row>;
  deleteVolume(volume: Row): Promise<void>;
  extendVolume(volume: Row, sizeGiB: number): Promise<void>;
  createSnapshot(snapshot: Row, volume: Row): Promise<void>;
  deleteSnapshot(snapshot: Row, volume: Row): Promise<void>;
  createExport(volume: Row): Promise<Row>;
  initializeConnection(volume: Row, connector: Connector): Promise<ConnectionInfo>;
  /** `others`: attachments of the volume from the same host. */
  terminateConnection(volume: Row, connector: Connector | undefined, others: number): Promise<void>;
  /** Returns the backend id and what becomes of each volume. Throws InvalidReplicationTarget. */
  failoverHost?(
    volumes: readonly Row[],
    secondaryId: string | undefined,
  ): Promise<{ activeBackendId: string; updates: Map<string, string> }>;
  close(): void;
}

export class InvalidReplicationTarget extends Error {
  override name = "InvalidReplicationTarget";
}

/** As `volume_name_template` and `_name_id` make it. */
export const volumeName = (volume: Row): string => `volume-${volume["_name_id"] ?? volume["id"]}`;
export const snapshotName = (snapshot: Row): string => `snapshot-${snapshot["id"]}`;
/** `h@b#pool` → `pool` */
export const poolOf = (host: string): string => host.split("#")[1] ?? "";
/** `h@b#pool` → `h@b` */
export const backendOf = (host: string): string => host.split("#")[0] ?? "";
