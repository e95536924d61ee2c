/**
 * SnapMirror: the state machine of a relationship and its transfers. Each rule's source is in FIDELITY.md.
 * A relationship belongs to the destination cluster; the source keeps "destination information" (SourceInfo) only.
 */
import { randomUUID } from "node:crypto";
import * as bytes from "../bytes";
import { pause } from "../clock";
import type { OntapError } from "../errors";
import { asOntapError, refused, refusedBecause, volumeNotFound } from "../errors";
import {
  snapshotFile,
  svmByName,
  volumeByName,
  type Cluster,
  type MirrorPolicy,
  type Relationship,
  type Snapshot,
  type SourceInfo,
  type Svm,
  type Transfer,
  type Volume,
} from "../state";
import {
  applyChange,
  changeOf,
  changeToSnapshot,
  filesOf,
  metadataOf,
  removeLun,
  removeSnapshot,
  snapshotByVersion,
  snapshotNamed,
  takeSnapshot,
  type ContentChange,
  type FileChange,
} from "../volumes";
import { isoTime } from "../wire";
import type { World } from "../world";

export const another = "Another transfer is in progress";
const peerUnreachable = "Failed to contact the peer cluster.";

/** A relationship with everything around it. The source side is present only while the peer can be reached. */
export interface Ends {
  world: World;
  cluster: Cluster;
  relationship: Relationship;
}

export const currentTransfer = (r: Relationship): Transfer | undefined =>
  r.transfers.find((t) => t.state === "transferring");
export const lastTransfer = (r: Relationship): Transfer | undefined => r.transfers.at(-1);
export const policyOf = (cluster: Cluster, r: Relationship): MirrorPolicy => {
  const policy = cluster.policies.get(r.policyUuid);
  if (!policy) throw refused(13303821, "Invalid SnapMirror policy UUID");
  return policy;
};

export const destinationPath = ({ cluster, relationship: r }: Ends): string =>
  `${cluster.svms.get(r.destinationSvmUuid)?.name ?? r.destinationSvmUuid}:${r.destinationVolume}`;
export const sourcePath = (r: Relationship): string => `${r.sourceSvmAlias}:${r.sourceVolume}`;

export function destinationVolume(ends: Ends): Volume {
  const { cluster, relationship: r } = ends;
  const volume = volumeByName(cluster, r.destinationSvmUuid, r.destinationVolume);
  if (!volume) throw volumeNotFound(destinationPath(ends));
  return volume;
}

/** The peer cluster, or 262224 when intercluster traffic doesn't pass. */
function sourceCluster({ world, relationship: r }: Ends): Cluster {
  const peer = world.clusterNamed(r.sourceCluster);
  if (!peer || !world.connected()) throw refused(262224, peerUnreachable);
  return peer;
}

function sourceVolume(ends: Ends): { peer: Cluster; volume: Volume } {
  const peer = sourceCluster(ends);
  const { relationship: r } = ends;
  const volume = volumeByName(peer, r.sourceSvmUuid, r.sourceVolume);
  if (!volume) throw volumeNotFound(sourcePath(r));
  return { peer, volume };
}

/** A fault at the source that shows only once the transfer is set up (nesting as in ONTAP's own events). */
function requireOnline(r: Relationship, volume: Volume): void {
  if (volume.state === "online") return;
  throw refused(
    6619440,
    `Failed to get information for source volume "${sourcePath(r)}" for setup of transfer. (Failed to get volume attributes for ${volume.svmUuid}:${volume.name}. (Volume is offline))`,
  );
}

/** The newest snapshot that both volumes have; identity is version_uuid. */
export function commonSnapshot(
  source: Volume,
  destination: Volume,
): { source: Snapshot; destination: Snapshot } | undefined {
  for (const theirs of [...destination.snapshots].reverse()) {
    const ours = snapshotByVersion(source, theirs.versionUuid);
    if (ours) return { source: ours, destination: theirs };
  }
  return undefined;
}

// ------------------------------------------------------------------------------------------------ transfers

/** The name of SnapMirror's own snapshots: snapmirror.<destination SVM uuid>_<MSID of destination>.<time>. */
function mirrorSnapshotName(source: Volume, destination: Volume, nowMs: number): string {
  for (let ms = nowMs; ; ms += 1000) {
    const time = isoTime(ms).slice(0, 19).replace("T", "_").replaceAll(":", "");
    const name = `${mirrorSnapshotPrefix(destination)}${time}`;
    if (!snapshotNamed(source, name) && !snapshotNamed(destination, name)) return name;
  }
}
const mirrorSnapshotPrefix = (destination: Volume): string => `snapmirror.${destination.svmUuid}_${destination.msid}.`;

interface Step {
  snapshot: Snapshot;
  change: ContentChange;
}

/** Starts a transfer and returns at once; its end is written into the relationship. */
function start(ends: Ends, type: Transfer["type"], work: (transfer: Transfer) => Promise<void>): Transfer {
  const { world, relationship: r } = ends;
  const transfer: Transfer = {
    uuid: randomUUID(),
    state: "transferring",
    type,
    snapshot: undefined,
    bytesTransferred: 0,
    checkpointSize: 0,
    startMs: world.clock.now(),
    endMs: undefined,
    error: undefined,
    abort: new AbortController(),
    done: Promise.resolve(),
  };
  const dayAgo = world.clock.now() - 86_400_000;
  r.transfers = [...r.transfers.filter((t, i) => i === r.transfers.length - 1 || (t.endMs ?? 0) > dayAgo), transfer];
  transfer.done = work(transfer)
    .then(
      () => {
        transfer.state = "success";
        r.unhealthy = [];
        r.totalBytes += transfer.bytesTransferred;
      },
      (cause: unknown) => {
        if (transfer.abort.signal.aborted && transfer.abort.signal.reason !== "cut") {
          transfer.state = transfer.abort.signal.reason === "hard_aborted" ? "hard_aborted" : "aborted";
          transfer.error = { code: 6620046, message: "Transfer aborted" };
          return;
        }
        const error = transfer.abort.signal.aborted ? refused(262224, peerUnreachable) : asOntapError(cause);
        transfer.state = "failed";
        transfer.error = { code: Number(error.code), message: error.message };
        markUnhealthy(r, error);
      },
    )
    .then(() => {
      transfer.endMs = world.clock.now();
      r.totalMs += transfer.endMs - transfer.startMs;
      r.lastTransferType = type;
      if (r.pausing) {
        r.pausing = false;
        if (r.state === "snapmirrored") r.state = "paused";
      }
    });
  return transfer;
}

export function markUnhealthy(r: Relationship, error: OntapError): void {
  r.unhealthy = [{ code: error.code, message: error.message }];
}

/** What the destination lacks, as changes in order, oldest snapshot first. Reads bytes, writes none. */
async function stepsTo(
  peer: Cluster,
  source: Volume,
  base: Snapshot | undefined,
  wanted: readonly Snapshot[],
  signal: AbortSignal,
): Promise<Step[]> {
  const steps: Step[] = [];
  let before = base;
  for (const snapshot of wanted) {
    const former = filesOf(before);
    const beforeIt = before;
    const files = await bytes.forEachFile(snapshot.files, async (file): Promise<FileChange> => {
      const next = snapshotFile(peer, source, snapshot, file.fileId);
      const old = former.get(file.fileId);
      const previous = beforeIt && old ? snapshotFile(peer, source, beforeIt, file.fileId) : undefined;
      const unchanged =
        previous !== undefined && old !== undefined && (await bytes.seemsUnchanged(previous, old.copiedAtMs, next));
      const ranges = unchanged ? [] : await bytes.difference(previous, next, signal);
      return { metadata: metadataOf(file), source: next, ranges };
    });
    steps.push({
      snapshot,
      change: changeOf(files, [...former.keys()], new Set(snapshot.files.map((f) => f.fileId))),
    });
    before = snapshot;
  }
  return steps;
}

/** Which of the source's snapshots go along with `newest`, oldest first. */
function snapshotsToSend(
  policy: MirrorPolicy,
  source: Volume,
  destination: Volume,
  base: Snapshot | undefined,
  newest: Snapshot,
): Snapshot[] {
  const labels = new Set(policy.retention.map((r) => r.label));
  const baseIndex = base ? source.snapshots.indexOf(base) : -1;
  const others = source.snapshots.filter(
    (s, i) =>
      s !== newest &&
      i > baseIndex &&
      i < source.snapshots.indexOf(newest) &&
      !snapshotByVersion(destination, s.versionUuid) &&
      (policy.copyAllSourceSnapshots || (s.label !== undefined && labels.has(s.label))),
  );
  return [...others, newest];
}

/**
 * Brings the destination from the common snapshot (or from nothing) to a new snapshot of the source. The destination's content
 * changes only at the end, in one go: an aborted transfer leaves it as it was.
 */
async function replicate(ends: Ends, transfer: Transfer, baseline: boolean, sourceSnapshot?: string): Promise<void> {
  const { world, cluster, relationship: r } = ends;
  const { signal } = transfer.abort;
  const policy = policyOf(cluster, r);
  const { peer, volume: source } = sourceVolume(ends);
  requireOnline(r, source);
  const destination = destinationVolume(ends);
  const info = peer.sourceInfos.get(r.uuid);

  const newest = await source.lock.run(async () => {
    if (sourceSnapshot !== undefined) {
      const named = snapshotNamed(source, sourceSnapshot);
      if (!named) throw refused(1638515, `Snapshot "${sourceSnapshot}" does not exist on volume "${sourcePath(r)}".`);
      return named;
    }
    // A destination in turn has nothing of its own to freeze: a cascade sends what it exports.
    const last = source.snapshots.at(-1);
    if ((!policy.createSnapshotOnSource || source.type === "dp") && last) return last;
    return takeSnapshot(world, peer, source, { name: mirrorSnapshotName(source, destination, world.clock.now()) });
  });
  transfer.snapshot = newest.name;

  const base = baseline ? undefined : commonSnapshot(source, destination);
  if (!baseline && !base) throw refused(13303844, noCommon(ends));
  const already = snapshotByVersion(destination, newest.versionUuid) !== undefined;
  const wanted = already ? [] : snapshotsToSend(policy, source, destination, base?.source, newest);
  const steps = await stepsTo(peer, source, base?.source, wanted, signal);
  const byteCount = steps.reduce((sum, s) => sum + s.change.byteCount, 0);

  const throttleBytes = r.throttle > 0 ? r.throttle * 1024 : Number.POSITIVE_INFINITY;
  const speed = Math.min(world.bytesPerSecond, throttleBytes);
  await pause(world.transferLatencyMs, signal);
  for (let left = byteCount; left > 0 && Number.isFinite(speed) && !signal.aborted;) {
    const part = Math.min(left, Math.max(1, Math.floor(speed / 10)));
    await pause((part / speed) * 1000, signal);
    left -= part;
    if (!signal.aborted) transfer.bytesTransferred = byteCount - left;
  }
  if (signal.aborted) {
    transfer.checkpointSize = signal.reason === "hard_aborted" ? 0 : transfer.bytesTransferred;
    throw refused(6620046, "Transfer aborted");
  }

  await destination.lock.run(async () => {
    if (baseline) {
      for (const s of [...destination.snapshots]) await removeSnapshot(cluster, destination, s);
      for (const fileId of [...destination.luns.keys()]) await removeLun(cluster, destination, fileId);
    }
    for (const { snapshot, change } of steps) {
      await applyChange(cluster, destination, change);
      await takeSnapshot(world, cluster, destination, {
        name: snapshot.name,
        versionUuid: snapshot.versionUuid,
        createTimeMs: snapshot.createTimeMs,
        label: snapshot.label,
        comment: snapshot.comment,
      });
    }
    destination.sizeBytes = Math.max(destination.sizeBytes, source.sizeBytes);
  });
  transfer.bytesTransferred = byteCount;
  const previousBase = info?.baseVersion;
  exportSnapshot(r, newest);
  if (info) info.baseVersion = newest.versionUuid;
  await world.publish(cluster, r.destinationSvmUuid);
  await prune(ends, peer, source, destination, policy, newest, previousBase);
}

function exportSnapshot(r: Relationship, snapshot: Snapshot): void {
  r.exportedVersion = snapshot.versionUuid;
  r.exportedName = snapshot.name;
  r.exportedCreateMs = snapshot.createTimeMs;
}

/** After a transfer: one snapmirror.* snapshot stays at the source, two at the destination; what the source dropped goes. */
async function prune(
  ends: Ends,
  peer: Cluster,
  source: Volume,
  destination: Volume,
  policy: MirrorPolicy,
  newest: Snapshot,
  previousBase: string | undefined,
): Promise<void> {
  const prefix = mirrorSnapshotPrefix(destination);
  await source.lock.run(async () => {
    for (const s of source.snapshots.filter(
      (x) => x !== newest && x.name.startsWith(prefix) && ownersOf(peer, source, x).length === 0,
    )) {
      await removeSnapshot(peer, source, s);
    }
  });
  await destination.lock.run(async () => {
    for (const s of [...destination.snapshots]) {
      if (s.versionUuid === newest.versionUuid || s.versionUuid === previousBase) continue;
      const own = s.name.startsWith(prefix);
      const dropped = policy.copyAllSourceSnapshots && !snapshotByVersion(source, s.versionUuid);
      if ((own || dropped) && ownersOf(ends.cluster, destination, s).length === 0)
        await removeSnapshot(ends.cluster, destination, s);
    }
  });
}

/** Who holds a snapshot: it can't be deleted while there is an owner. */
export function ownersOf(cluster: Cluster, volume: Volume, snapshot: Snapshot): string[] {
  const owners = new Set<string>();
  for (const info of cluster.sourceInfos.values()) {
    if (
      info.sourceSvmUuid === volume.svmUuid &&
      info.sourceVolume === volume.name &&
      info.baseVersion === snapshot.versionUuid
    ) {
      owners.add("snapmirror_dependent");
    }
  }
  for (const r of cluster.relationships.values()) {
    if (
      r.destinationSvmUuid === volume.svmUuid &&
      r.destinationVolume === volume.name &&
      r.exportedVersion === snapshot.versionUuid
    ) {
      owners.add("snapmirror_dependent");
    }
  }
  for (const clone of cluster.volumes.values()) {
    if (
      clone.clone &&
      !clone.clone.split &&
      clone.clone.parentVolumeUuid === volume.uuid &&
      clone.clone.snapshotVersion === snapshot.versionUuid
    ) {
      owners.add("volume_clone");
    }
  }
  return [...owners];
}

const noCommon = (ends: Ends): string =>
  `No common snapshot found between ${sourcePath(ends.relationship)} and ${destinationPath(ends)}. Use initialize, or choose another destination.`;

// ------------------------------------------------------------------------------------------------ operations

/** POST /transfers: initialise or update. Refusals are synchronous, with the operation's own code. */
export function transferNow(ends: Ends, sourceSnapshot?: string): Transfer {
  const { relationship: r } = ends;
  const initialising = r.state === "uninitialized";
  const [code, text] = r.restore
    ? ([13303845, "Restore operation failed"] as const)
    : initialising
      ? ([13303812, "Initialize operation failed"] as const)
      : ([13303844, "Update operation failed"] as const);
  const fail = (reason: string): OntapError => refusedBecause(code, text, reason);
  if (currentTransfer(r)) throw fail(another);
  if (r.restore) return startRestore(ends, sourceSnapshot);
  if (r.state === "broken_off") throw fail("The relationship is broken-off; resync it first.");
  if (r.state === "paused") throw fail("The relationship is quiesced; resume it first.");
  let destination: Volume;
  try {
    sourceCluster(ends);
    const { volume } = sourceVolume(ends);
    destination = destinationVolume(ends);
    if (!initialising && !commonSnapshot(volume, destination)) throw refused(0, noCommon(ends));
  } catch (cause) {
    const error = asOntapError(cause);
    markUnhealthy(r, error);
    throw fail(error.message);
  }
  if (destination.type !== "dp") throw fail("Destination must be a dp volume");
  return initialising ? startInitialise(ends) : start(ends, "update", (t) => replicate(ends, t, false, sourceSnapshot));
}

function startInitialise(ends: Ends): Transfer {
  const { relationship: r } = ends;
  return start(ends, "initialize", async (transfer) => {
    await replicate(ends, transfer, true);
    r.state = "snapmirrored";
  });
}

function startRestore(ends: Ends, sourceSnapshot: string | undefined): Transfer {
  const { cluster, relationship: r } = ends;
  const { peer, volume: source } = sourceVolume(ends);
  const destination = destinationVolume(ends);
  const snapshot = sourceSnapshot === undefined ? source.snapshots.at(-1) : snapshotNamed(source, sourceSnapshot);
  if (!snapshot) throw refusedBecause(13303845, "Restore operation failed", "The source has no such snapshot.");
  return start(ends, "restore", async (transfer) => {
    transfer.snapshot = snapshot.name;
    const [step] = await stepsTo(peer, source, undefined, [snapshot], transfer.abort.signal);
    await destination.lock.run(async () => {
      for (const fileId of [...destination.luns.keys()]) await removeLun(cluster, destination, fileId);
      if (step) await applyChange(cluster, destination, step.change);
    });
    transfer.bytesTransferred = step?.change.byteCount ?? 0;
    cluster.relationships.delete(r.uuid);
    peer.sourceInfos.delete(r.uuid);
  });
}

/** PATCH state=paused. A running transfer ends first; the state stays as it is until then. */
export function quiesce({ relationship: r }: Ends): void {
  if (r.state === "paused") return;
  if (r.state === "broken_off") throw refused(13303818, "Invalid state transition requested");
  if (r.state === "uninitialized") {
    throw refusedBecause(13303809, "Transition to paused state failed", "The relationship is not initialized.");
  }
  if (currentTransfer(r)) r.pausing = true;
  else r.state = "paused";
}

/** PATCH state=broken_off. The source isn't needed. Returns once the destination is read-write. */
export async function breakOff(ends: Ends, restoreTo?: string): Promise<void> {
  const { world, cluster, relationship: r } = ends;
  const fail = (reason: string): OntapError =>
    refusedBecause(13303808, "Transition to broken_off state failed", reason);
  if (r.state === "broken_off") return;
  if (currentTransfer(r)) throw fail(another);
  if (r.state === "uninitialized") throw fail("The relationship is not initialized.");
  const destination = destinationVolume(ends);
  if (destination.state !== "online")
    throw fail(`Destination volume "${destinationPath(ends)}" is ${destination.state}.`);
  if (restoreTo !== undefined) {
    const snapshot = snapshotNamed(destination, restoreTo);
    if (!snapshot) throw fail(`Snapshot "${restoreTo}" does not exist.`);
    await destination.lock.run(async () =>
      applyChange(cluster, destination, await changeToSnapshot(cluster, destination, snapshot)),
    );
  }
  destination.type = "rw";
  r.state = "broken_off";
  r.pausing = false;
  await world.publish(cluster, r.destinationSvmUuid);
}

/** PATCH state=snapmirrored: initialise, resume or resync, by the state it is in. */
export async function toSnapmirrored(ends: Ends): Promise<void> {
  const { relationship: r } = ends;
  const fail = (reason: string): OntapError =>
    refusedBecause(13303810, "Transition to snapmirrored state failed", reason);
  if (currentTransfer(r)) throw fail(another);
  switch (r.state) {
    case "snapmirrored":
      return;
    case "paused":
      r.state = "snapmirrored";
      return;
    case "uninitialized": {
      const destination = destinationVolume(ends);
      if (destination.type !== "dp") throw refused(6619546, "Destination must be a dp volume");
      try {
        sourceVolume(ends);
      } catch (cause) {
        const error = asOntapError(cause);
        markUnhealthy(r, error);
        throw fail(error.message);
      }
      startInitialise(ends);
      return;
    }
    case "broken_off":
      return resync(ends, fail);
  }
}

/**
 * broken_off → snapmirrored: the destination goes back to the common snapshot (bytes and snapshots newer than it are lost) and
 * becomes dp; then the source's changes since are sent.
 */
async function resync(ends: Ends, fail: (reason: string) => OntapError): Promise<void> {
  const { world, cluster, relationship: r } = ends;
  const refuse = (error: OntapError): never => {
    markUnhealthy(r, error);
    throw fail(error.message);
  };
  let source: Volume;
  let destination: Volume;
  try {
    source = sourceVolume(ends).volume;
    destination = destinationVolume(ends);
    requireOnline(r, source);
  } catch (cause) {
    return refuse(asOntapError(cause));
  }
  const loop =
    source.type === "dp" &&
    [...(world.clusterNamed(r.sourceCluster)?.relationships.values() ?? [])].some(
      (other) =>
        other.sourceSvmUuid === r.destinationSvmUuid &&
        other.sourceVolume === r.destinationVolume &&
        other.destinationSvmUuid === r.sourceSvmUuid &&
        other.destinationVolume === r.sourceVolume &&
        other.state !== "broken_off",
    );
  if (loop) return refuse(refused(6619441, "The source volume is itself the destination of the destination volume."));
  const common = commonSnapshot(source, destination);
  if (!common) return refuse(refused(13303810, noCommon(ends)));
  const newer = destination.snapshots.slice(destination.snapshots.indexOf(common.destination) + 1);
  const busy = newer.find((s) => ownersOf(cluster, destination, s).includes("volume_clone"));
  if (busy) return refuse(refused(1638555, `Snapshot "${busy.name}" is in use by a FlexClone volume.`));

  // Hosts lose write access before the bytes go back.
  destination.type = "dp";
  r.state = "snapmirrored";
  exportSnapshot(r, common.destination);
  await world.publish(cluster, r.destinationSvmUuid);
  await destination.lock.run(async () => {
    await applyChange(cluster, destination, await changeToSnapshot(cluster, destination, common.destination));
    for (const s of newer) await removeSnapshot(cluster, destination, s);
  });
  await world.publish(cluster, r.destinationSvmUuid);
  start(ends, "resync", (transfer) => replicate(ends, transfer, false));
}

/**
 * PATCH with swapped paths: the former source becomes the destination. The relationship moves to the other cluster under a new
 * uuid, and a resync in the new direction starts.
 */
export async function reverse(ends: Ends): Promise<Relationship> {
  const { world, cluster, relationship: r } = ends;
  const fail = (reason: string): OntapError =>
    refusedBecause(13303810, "Transition to snapmirrored state failed", reason);
  if (currentTransfer(r)) throw fail(another);
  if (r.state === "uninitialized") throw fail("The relationship is not initialized.");
  const destination = destinationVolume(ends);
  let peer: Cluster;
  let source: Volume;
  try {
    ({ peer, volume: source } = sourceVolume(ends));
    requireOnline(r, source);
  } catch (cause) {
    const error = asOntapError(cause);
    throw error.code === "262224"
      ? refusedBecause(13304071, "Failed to access capabilities on remote cluster", error.message)
      : fail(error.message);
  }
  const policy = policyOf(cluster, r);
  if (!policy.createSnapshotOnSource) {
    throw refused(
      13304086,
      'Reversing the direction of a SnapMirror relationship associated with a policy containing the property "create_snapshot_on_source" set to false is not supported.',
    );
  }
  const theirPolicy = [...peer.policies.values()].find(
    (p) => p.name === policy.name && (p.svmUuid === undefined || p.svmUuid === r.sourceSvmUuid),
  );
  if (!theirPolicy) throw refused(13303819, `Could not retrieve SnapMirror policy information for "${policy.name}".`);
  if (!commonSnapshot(destination, source)) throw fail(noCommon(ends));
  const sourceSvm = peer.svms.get(r.sourceSvmUuid);
  const destinationSvm = cluster.svms.get(r.destinationSvmUuid);
  if (!sourceSvm || !destinationSvm) throw refused(13303814, "Could not retrieve the source or destination SVM UUID");

  await breakOff(ends);
  const info = peer.sourceInfos.get(r.uuid);
  const reversed: Relationship = {
    ...newRelationship(),
    sourceCluster: cluster.name,
    sourceSvmAlias: aliasOf(peer, sourceSvm, destinationSvm),
    sourceSvmUuid: destinationSvm.uuid,
    sourceVolume: r.destinationVolume,
    destinationSvmUuid: sourceSvm.uuid,
    destinationVolume: r.sourceVolume,
    state: "broken_off",
    policyUuid: theirPolicy.uuid,
  };
  cluster.relationships.delete(r.uuid);
  peer.sourceInfos.delete(r.uuid);
  register(peer, cluster, reversed, destinationSvm, sourceSvm, theirPolicy, info?.baseVersion ?? r.exportedVersion);
  await toSnapmirrored({ world, cluster: peer, relationship: reversed });
  return reversed;
}

/** The name under which `svm`'s cluster knows the peer SVM. */
export function aliasOf(cluster: Cluster, svm: Svm, peerSvm: Svm): string {
  const peer = [...cluster.svmPeers.values()].find((p) => p.svmUuid === svm.uuid && p.peerSvmUuid === peerSvm.uuid);
  return peer?.name ?? peerSvm.name;
}

export function newRelationship(): Omit<
  Relationship,
  | "sourceCluster"
  | "sourceSvmAlias"
  | "sourceSvmUuid"
  | "sourceVolume"
  | "destinationSvmUuid"
  | "destinationVolume"
  | "policyUuid"
> {
  return {
    uuid: randomUUID(),
    state: "uninitialized",
    pausing: false,
    schedule: undefined,
    throttle: 0,
    restore: false,
    unhealthy: [],
    exportedVersion: undefined,
    exportedName: undefined,
    exportedCreateMs: undefined,
    lastTransferType: undefined,
    totalBytes: 0,
    totalMs: 0,
    transfers: [],
  };
}

/** Enters a relationship at the destination, and its destination information at the source. */
export function register(
  cluster: Cluster,
  peer: Cluster,
  r: Relationship,
  sourceSvm: Svm,
  destinationSvm: Svm,
  policy: MirrorPolicy,
  baseVersion: string | undefined,
): void {
  cluster.relationships.set(r.uuid, r);
  const info: SourceInfo = {
    uuid: r.uuid,
    sourceSvmUuid: sourceSvm.uuid,
    sourceVolume: r.sourceVolume,
    destinationCluster: cluster.name,
    destinationSvmName: aliasOf(peer, sourceSvm, destinationSvm),
    destinationSvmUuid: destinationSvm.uuid,
    destinationVolume: r.destinationVolume,
    policyName: policy.name,
    policyType: policy.type,
    baseVersion,
  };
  peer.sourceInfos.set(r.uuid, info);
}

/** Where a "svm:volume" source path leads, seen from the destination SVM: over a peered SVM that may carry snapmirror. */
export function resolveSource(
  world: World,
  cluster: Cluster,
  destinationSvm: Svm,
  alias: string,
): { peer: Cluster; svm: Svm } {
  const peering = [...cluster.svmPeers.values()].find((p) => p.svmUuid === destinationSvm.uuid && p.name === alias);
  if (peering?.state !== "peered" || !peering.applications.includes("snapmirror")) {
    throw refused(6620384, `The supplied SVMs are not peered: "${alias}" and "${destinationSvm.name}".`);
  }
  const peer = world.clusterNamed(peering.peerClusterName);
  if (!peer || !world.connected())
    throw refused(13303892, `Fetching remote information from the source cluster failed. Reason:${peerUnreachable}`);
  const svm = svmByName(peer, peering.peerSvmName);
  if (!svm) throw refused(6620374, "Internal error. Failed to get SVM information");
  return { peer, svm };
}

/** Ends running transfers of both clusters: the wire between them is cut. */
export function cutTransfers(world: World): void {
  for (const cluster of world.clusters) {
    for (const r of cluster.relationships.values()) currentTransfer(r)?.abort.abort("cut");
  }
}

/** Seconds since the exported snapshot was taken; undefined before the first transfer. */
export const lagSeconds = (world: World, r: Relationship): number | undefined =>
  r.exportedCreateMs === undefined ? undefined : (world.clock.now() - r.exportedCreateMs) / 1000;
