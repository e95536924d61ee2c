/**
 * What happens to a volume's files: LUNs, snapshots, restores. Every function that touches files must run under the volume's
 * lock, or take it itself (those named "locked" say so).
 */
import { randomUUID } from "node:crypto";
import { promises as fs } from "node:fs";
import * as bytes from "./bytes";
import { refused } from "./errors";
import {
  lunFile,
  newSerial,
  snapshotDir,
  snapshotFile,
  volumeDir,
  type Cluster,
  type Lun,
  type LunMetadata,
  type Snapshot,
  type SnapshotFile,
  type Volume,
} from "./state";
import type { World } from "./world";

export function snapshotByVersion(volume: Volume, version: string | undefined): Snapshot | undefined {
  return version === undefined ? undefined : volume.snapshots.find((s) => s.versionUuid === version);
}
export const snapshotNamed = (volume: Volume, name: string): Snapshot | undefined =>
  volume.snapshots.find((s) => s.name === name);

/** By their ids. */
export const filesOf = (snapshot: Snapshot | undefined): Map<string, SnapshotFile> =>
  new Map(snapshot?.files.map((file) => [file.fileId, file]));

/** Gives a file its LUN record: this side's own uuid and serial, the same ones as before if it was here before. */
export function adoptLun(volume: Volume, metadata: LunMetadata): Lun {
  let identity = volume.identities.get(metadata.fileId);
  if (!identity) {
    identity = { uuid: randomUUID(), serial: newSerial() };
    volume.identities.set(metadata.fileId, identity);
  }
  const lun: Lun = { ...metadata, ...identity };
  volume.luns.set(lun.fileId, lun);
  return lun;
}

export const metadataOf = (lun: LunMetadata): LunMetadata => ({
  fileId: lun.fileId,
  name: lun.name,
  sizeBytes: lun.sizeBytes,
  osType: lun.osType,
  spaceReserved: lun.spaceReserved,
  thinProvisioning: lun.thinProvisioning,
  enabled: lun.enabled,
  comment: lun.comment,
  createTimeMs: lun.createTimeMs,
  qosPolicy: lun.qosPolicy,
});

/** Takes a snapshot: metadata of every LUN, and a sparse copy of its file. Under the lock. */
export async function takeSnapshot(
  world: World,
  cluster: Cluster,
  volume: Volume,
  attributes: {
    name: string;
    versionUuid?: string;
    createTimeMs?: number;
    label?: string | undefined;
    comment?: string | undefined;
  },
): Promise<Snapshot> {
  if (snapshotNamed(volume, attributes.name))
    throw refused(525059, `Snapshot "${attributes.name}" already exists on volume "${volume.name}".`);
  if (volume.snapshots.length >= 1023) throw refused(525062, "No more snapshots can be created: the volume has 1023.");
  const snapshot: Snapshot = {
    uuid: randomUUID(),
    versionUuid: attributes.versionUuid ?? randomUUID(),
    name: attributes.name,
    createTimeMs: attributes.createTimeMs ?? world.clock.now(),
    label: attributes.label,
    comment: attributes.comment,
    files: [],
  };
  const dir = snapshotDir(cluster, volume, snapshot);
  await fs.mkdir(dir, { recursive: true });
  try {
    snapshot.files = await copyLuns(cluster, volume, snapshot);
  } catch (cause) {
    await bytes.remove(dir);
    throw cause;
  }
  volume.snapshots.push(snapshot);
  return snapshot;
}

/** Unchanged files become another link to the copy in the newest snapshot; the others are copied until they hold still. */
async function copyLuns(cluster: Cluster, volume: Volume, snapshot: Snapshot): Promise<SnapshotFile[]> {
  const before = volume.snapshots.at(-1);
  const former = filesOf(before);
  const files = new Map<string, SnapshotFile>();
  let pending: Lun[] = [];
  await bytes.forEachFile(volume.luns.values(), async (lun) => {
    const old = former.get(lun.fileId);
    const active = lunFile(cluster, volume, lun.fileId);
    if (before && old) {
      const copy = snapshotFile(cluster, volume, before, lun.fileId);
      if (await bytes.seemsUnchanged(copy, old.copiedAtMs, active)) {
        await fs.link(copy, snapshotFile(cluster, volume, snapshot, lun.fileId));
        files.set(lun.fileId, { ...metadataOf(lun), copiedAtMs: old.copiedAtMs });
        return;
      }
    }
    pending.push(lun);
  });
  for (let attempt = 0; pending.length > 0; attempt++) {
    const copiedAtMs = Date.now();
    await bytes.copyInto(
      pending.map((lun) => lunFile(cluster, volume, lun.fileId)),
      snapshotDir(cluster, volume, snapshot),
    );
    const moved: Lun[] = [];
    await bytes.forEachFile(pending, async (lun) => {
      const [now, then] = await Promise.all([
        fs.stat(lunFile(cluster, volume, lun.fileId), { bigint: true }),
        fs.stat(snapshotFile(cluster, volume, snapshot, lun.fileId), { bigint: true }),
      ]);
      if (now.mtimeNs !== then.mtimeNs && attempt < 3) moved.push(lun);
      else files.set(lun.fileId, { ...metadataOf(lun), copiedAtMs });
    });
    pending = moved;
  }
  return [...volume.luns.keys()].flatMap((fileId) => files.get(fileId) ?? []);
}

/** Under the lock. */
export async function removeSnapshot(cluster: Cluster, volume: Volume, snapshot: Snapshot): Promise<void> {
  volume.snapshots = volume.snapshots.filter((s) => s !== snapshot);
  await bytes.remove(snapshotDir(cluster, volume, snapshot));
}

/** Forgets a LUN of the active file system with its maps; its file goes too. Under the lock. */
export async function removeLun(cluster: Cluster, volume: Volume, fileId: string): Promise<void> {
  volume.luns.delete(fileId);
  cluster.lunMaps.deleteOfLun({ volumeUuid: volume.uuid, fileId });
  await bytes.remove(lunFile(cluster, volume, fileId));
}

/** One file's part of a change of a volume's content. */
export interface FileChange {
  metadata: LunMetadata;
  /** where the bytes come from */
  source: string;
  ranges: readonly bytes.Range[];
}
export interface ContentChange {
  files: FileChange[];
  removed: string[];
  byteCount: number;
}

/** What makes the active file system of a volume equal to one of its own snapshots. Under the lock. */
export async function changeToSnapshot(cluster: Cluster, volume: Volume, snapshot: Snapshot): Promise<ContentChange> {
  const files = await bytes.forEachFile(snapshot.files, async (file): Promise<FileChange> => {
    const copy = snapshotFile(cluster, volume, snapshot, file.fileId);
    const active = volume.luns.has(file.fileId) ? lunFile(cluster, volume, file.fileId) : undefined;
    const unchanged = active !== undefined && (await bytes.seemsUnchanged(copy, file.copiedAtMs, active));
    const ranges = unchanged ? [] : await bytes.difference(active, copy);
    return { metadata: metadataOf(file), source: copy, ranges };
  });
  return changeOf(files, [...volume.luns.keys()], new Set(snapshot.files.map((f) => f.fileId)));
}

export function changeOf(files: FileChange[], present: readonly string[], wanted: ReadonlySet<string>): ContentChange {
  return {
    files,
    removed: present.filter((id) => !wanted.has(id)),
    byteCount: files.reduce((sum, f) => sum + bytes.bytesOf(f.ranges), 0),
  };
}

/** Writes a change into the active file system, in place. Under the lock. Repeating it is harmless. */
export async function applyChange(cluster: Cluster, volume: Volume, change: ContentChange): Promise<void> {
  for (const fileId of change.removed) await removeLun(cluster, volume, fileId);
  await bytes.forEachFile(change.files, async ({ metadata, source, ranges }) => {
    const active = lunFile(cluster, volume, metadata.fileId);
    if (!volume.luns.has(metadata.fileId)) {
      await bytes.remove(active);
      await bytes.createSparse(active, metadata.sizeBytes);
    }
    await bytes.applyRanges(source, active, ranges);
  });
  for (const { metadata } of change.files) adoptLun(volume, metadata);
}

/** The whole volume goes, bytes included. */
export async function removeVolume(cluster: Cluster, volume: Volume): Promise<void> {
  for (const fileId of volume.luns.keys()) cluster.lunMaps.deleteOfLun({ volumeUuid: volume.uuid, fileId });
  cluster.volumes.delete(volume.uuid);
  await bytes.remove(volumeDir(cluster, volume));
}
