/** /storage/volumes with snapshots and FlexClones; volume efficiency over the private CLI. */
import { randomUUID } from "node:crypto";
import { promises as fs } from "node:fs";
import {
  find,
  inJob,
  keyRecord,
  ok,
  readRoutes,
  select,
  svmOfBody,
  svmRef,
  type ApiRequest,
  type Reply,
  type Resource,
  type Route,
} from "../api";
import * as bytes from "../bytes";
import { invalidValue, refused } from "../errors";
import { startJob } from "../jobs";
import { ownersOf } from "../snapmirror/engine";
import { lunFile, newVolume, snapshotFile, volumeByName, type Cluster, type Snapshot, type Volume } from "../state";
import {
  adoptLun,
  metadataOf,
  removeSnapshot,
  removeVolume,
  snapshotByVersion,
  snapshotNamed,
  takeSnapshot,
} from "../volumes";
import {
  at,
  bytesAt,
  FieldSet,
  flagAt,
  isObject,
  isoDuration,
  isoTime,
  listAt,
  requireText,
  textAt,
  type JsonObject,
} from "../wire";
import type { World } from "../world";

const isDestination = (cluster: Cluster, v: Volume): boolean =>
  [...cluster.relationships.values()].some((r) => r.destinationSvmUuid === v.svmUuid && r.destinationVolume === v.name);
const isSource = (cluster: Cluster, v: Volume): boolean =>
  [...cluster.sourceInfos.values()].some((i) => i.sourceSvmUuid === v.svmUuid && i.sourceVolume === v.name);
const clonesOf = (cluster: Cluster, v: Volume): Volume[] =>
  [...cluster.volumes.values()].filter((c) => c.clone && !c.clone.split && c.clone.parentVolumeUuid === v.uuid);

export const volumes: Resource<Volume> = {
  path: "/storage/volumes",
  keys: ["uuid"],
  defaults: ["name", "svm.name", "svm.uuid"],
  namedObjects: ["svm"],
  fields: new FieldSet(`
    uuid,name,svm.{name,uuid},style,type,state,is_svm_root,error_state.{is_inconsistent,has_bad_blocks},aggregates.{name,uuid},size,
    space.{size,available,used,afs_total,snapshot.{reserve_percent,used,reserve_size},size_available_for_snapshots,logical_space.*},
    guarantee.{type,honored},nas.{path,export_policy.{name,id},security_style,junction_parent.{name,uuid}},snapshot_policy.{name,uuid},
    snapshot_directory_access_enabled,language,comment,efficiency.{state,compression,dedupe,compaction,volume_path,cross_volume_dedupe},
    qos.policy.{name,uuid},encryption.{enabled,state},msid,create_time,status,tiering.{policy},snaplock.type,
    snapmirror.{is_protected,destinations.{is_ontap,is_cloud}},consistency_group.{name,uuid},autosize.{mode,maximum,minimum},
    clone.{is_flexclone,has_flexclone,parent_volume.{name,uuid},parent_svm.{name,uuid},parent_snapshot.{name,uuid},split_initiated,split_complete_percent,split_estimate},
    access_time_enabled,snapshot_count,node,max_dir_size,files.{maximum,used},analytics.*,activity_tracking.*,metric.*,statistics.*`),
  expensive: ["snapshot_count"],
  list: ({ cluster }) => [...cluster.volumes.values()],
  svmOf: (v) => v.svmUuid,
  render: (v, { cluster }) => {
    const aggregate = cluster.aggregates.find((a) => a.name === v.aggregate);
    const reserve = Math.floor((v.sizeBytes * v.snapshotReservePercent) / 100);
    // Allocated by reservation or by thick LUNs; written bytes of thin LUNs are not counted (FIDELITY.md).
    const used = [...v.luns.values()].reduce((sum, lun) => sum + (lun.spaceReserved ? lun.sizeBytes : 0), 0);
    const parent = v.clone ? cluster.volumes.get(v.clone.parentVolumeUuid) : undefined;
    const parentSnapshot = parent && v.clone ? snapshotByVersion(parent, v.clone.snapshotVersion) : undefined;
    const online = v.state === "online";
    return {
      uuid: v.uuid,
      name: v.name,
      svm: svmRef(cluster, v.svmUuid),
      style: "flexvol",
      type: v.type,
      state: v.state,
      is_svm_root: v.isSvmRoot,
      error_state: { is_inconsistent: false, has_bad_blocks: false },
      aggregates: [{ name: v.aggregate, uuid: aggregate?.uuid }],
      size: v.sizeBytes,
      space: {
        size: v.sizeBytes,
        ...(online
          ? { available: Math.max(0, v.sizeBytes - reserve - used), used, afs_total: v.sizeBytes - reserve }
          : {}),
        snapshot: { reserve_percent: v.snapshotReservePercent, reserve_size: reserve },
      },
      guarantee: { type: v.guarantee, honored: true },
      nas:
        v.junctionPath === undefined
          ? { export_policy: { name: "default" } }
          : { path: v.junctionPath, export_policy: { name: "default" }, security_style: "unix" },
      snapshot_policy: { name: v.snapshotPolicy },
      snapshot_directory_access_enabled: v.snapshotDirectory,
      language: v.language,
      comment: v.comment,
      efficiency: {
        state: v.dedupe === "none" && v.compression === "none" ? "disabled" : "enabled",
        compression: v.compression,
        dedupe: v.dedupe,
        compaction: "none",
        cross_volume_dedupe: "none",
        volume_path: `/vol/${v.name}`,
      },
      qos: v.qosPolicy === undefined ? undefined : { policy: { name: v.qosPolicy } },
      encryption: { enabled: false },
      msid: v.msid,
      create_time: isoTime(v.createTimeMs),
      tiering: { policy: "none" },
      snaplock: { type: "non_snaplock" },
      snapmirror: {
        is_protected: isSource(cluster, v),
        destinations: { is_ontap: isSource(cluster, v), is_cloud: false },
      },
      snapshot_count: v.snapshots.length,
      clone: {
        is_flexclone: v.clone !== undefined && !v.clone.split,
        has_flexclone: clonesOf(cluster, v).length > 0,
        ...(v.clone && !v.clone.split
          ? {
              parent_volume: { name: parent?.name, uuid: v.clone.parentVolumeUuid },
              parent_svm: svmRef(cluster, v.clone.parentSvmUuid),
              parent_snapshot: { name: parentSnapshot?.name, uuid: parentSnapshot?.uuid },
              split_initiated: false,
            }
          : {}),
      },
    };
  },
};

const volumeBody = new FieldSet(`
  name,svm.{name,uuid},aggregates.{name,uuid},size,space.{size,snapshot.reserve_percent},type,style,state,guarantee.type,language,comment,
  nas.{path,export_policy.name,security_style},snapshot_policy.{name,uuid},snapshot_directory_access_enabled,efficiency.{dedupe,compression},
  qos.policy.{name,uuid},encryption.enabled,tiering.policy,
  clone.{is_flexclone,parent_volume.{name,uuid},parent_svm.{name,uuid},parent_snapshot.{name,uuid},split_initiated}`);

const minimumBytes = 20 * 2 ** 20;

function createVolume(request: ApiRequest): Promise<Reply> {
  const { world, cluster, body } = request;
  const name = requireText(body, "name");
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,202}$/.test(name)) throw refused(917888, `Invalid volume name "${name}".`, "name");
  const svm = svmOfBody(request);
  if (volumeByName(cluster, svm.uuid, name)) {
    throw refused(917526, `Volume name "${name}" conflicts with an existing volume in SVM "${svm.name}".`, "name");
  }
  if (flagAt(body, "clone.is_flexclone") ?? at(body, "clone.parent_volume") !== undefined)
    return createClone(request, name, svm.uuid);
  if ((textAt(body, "style") ?? "flexvol") !== "flexvol")
    throw refused(918194, "The simulator has FlexVol volumes only.", "style");
  const aggregates = listAt(body, "aggregates");
  if (aggregates?.length !== 1)
    throw refused(918242, "Exactly one aggregate has to be given for a FlexVol volume.", "aggregates");
  const wanted = aggregates[0];
  const aggregate = cluster.aggregates.find(
    (a) => isObject(wanted) && (a.name === wanted["name"] || a.uuid === wanted["uuid"]),
  );
  if (!aggregate) throw refused(917508, "The aggregate does not exist.", "aggregates.name");
  const sizeBytes = bytesAt(body, "size") ?? bytesAt(body, "space.size") ?? minimumBytes;
  if (sizeBytes < minimumBytes)
    throw refused(917534, `The size "${sizeBytes}" is too small; the minimum is 20MB.`, "size");
  const type = textAt(body, "type") ?? "rw";
  if (type !== "rw" && type !== "dp") throw invalidValue("type", type);
  if (type === "dp" && textAt(body, "nas.path") !== undefined)
    throw refused(918201, "A junction path is not allowed for a volume of type dp.", "nas.path");
  if (type === "dp" && textAt(body, "snapshot_policy.name") !== undefined)
    throw refused(917891, "A snapshot policy is not allowed for a volume of type dp.", "snapshot_policy");
  const volume = newVolume(cluster, world.clock.now(), {
    name,
    svmUuid: svm.uuid,
    type,
    sizeBytes,
    aggregate: aggregate.name,
    guarantee: textAt(body, "guarantee.type") === "volume" ? "volume" : "none",
    language: textAt(body, "language") ?? "c.utf_8",
    snapshotPolicy: type === "dp" ? "none" : (textAt(body, "snapshot_policy.name") ?? "default"),
    junctionPath: textAt(body, "nas.path"),
    comment: textAt(body, "comment"),
    dedupe: textAt(body, "efficiency.dedupe") ?? "none",
    compression: textAt(body, "efficiency.compression") ?? "none",
    qosPolicy: textAt(body, "qos.policy.name"),
    ...(textAt(body, "space.snapshot.reserve_percent") === undefined
      ? {}
      : { snapshotReservePercent: Number(textAt(body, "space.snapshot.reserve_percent")) }),
  });
  return inJob(
    request,
    () => {
      if (volumeByName(cluster, svm.uuid, name))
        throw refused(917526, `Volume name "${name}" conflicts with an existing volume.`, "name");
      cluster.volumes.set(volume.uuid, volume);
      return Promise.resolve();
    },
    {
      location: `${volumes.path}/${volume.uuid}`,
      svmUuid: svm.uuid,
      records: () => [keyRecord(volumes, request, volume)],
    },
  );
}

/** A FlexClone shares its parent's snapshot (same version_uuid) and pins it; its LUNs have identities of their own. */
function createClone(request: ApiRequest, name: string, svmUuid: string): Promise<Reply> {
  const { world, cluster, body } = request;
  if ((textAt(body, "type") ?? "rw") !== "rw")
    throw refused(918244, "Invalid volume type for a FlexClone volume.", "type");
  const parentUuid = textAt(body, "clone.parent_volume.uuid");
  const parentName = textAt(body, "clone.parent_volume.name");
  const parent =
    parentUuid === undefined ? volumeByName(cluster, svmUuid, parentName ?? "") : cluster.volumes.get(parentUuid);
  if (!parent)
    throw refused(524601, `Parent volume "${parentName ?? parentUuid ?? ""}" was not found.`, "clone.parent_volume");
  const snapshotName = textAt(body, "clone.parent_snapshot.name");
  const snapshotUuid = textAt(body, "clone.parent_snapshot.uuid");
  const uuid = randomUUID();
  return inJob(
    request,
    async () => {
      const snapshot = await parent.lock.run(async () => {
        if (snapshotName === undefined && snapshotUuid === undefined) {
          if (parent.type !== "dp")
            return takeSnapshot(world, cluster, parent, {
              name: `clone_${name}.${isoTime(world.clock.now()).slice(0, 19)}_${uuid.slice(0, 4)}`,
            });
          return parent.snapshots.at(-1);
        }
        return parent.snapshots.find((s) => s.name === snapshotName || s.uuid === snapshotUuid);
      });
      if (!snapshot)
        throw refused(
          918243,
          `The parent snapshot "${snapshotName ?? snapshotUuid ?? ""}" does not exist on the parent volume.`,
        );
      const clone = newVolume(cluster, world.clock.now(), {
        uuid,
        name,
        svmUuid,
        type: "rw",
        sizeBytes: parent.sizeBytes,
        aggregate: parent.aggregate,
        guarantee: parent.guarantee,
        language: parent.language,
        junctionPath: textAt(body, "nas.path"),
        snapshotReservePercent: parent.snapshotReservePercent,
        clone: {
          parentVolumeUuid: parent.uuid,
          parentSvmUuid: parent.svmUuid,
          snapshotVersion: snapshot.versionUuid,
          split: false,
        },
      });
      if (volumeByName(cluster, svmUuid, name))
        throw refused(917526, `Volume name "${name}" conflicts with an existing volume.`, "name");
      cluster.volumes.set(uuid, clone); // from here on the snapshot has an owner
      await fs.mkdir(`${cluster.dir}/${uuid}`, { recursive: true });
      await clone.lock.run(async () => {
        await bytes.copyInto(
          snapshot.files.map((f) => snapshotFile(cluster, parent, snapshot, f.fileId)),
          `${cluster.dir}/${uuid}`,
        );
        for (const file of snapshot.files) adoptLun(clone, metadataOf(file));
        const { name: s, versionUuid, createTimeMs } = snapshot;
        await takeSnapshot(world, cluster, clone, { name: s, versionUuid, createTimeMs });
      });
    },
    { location: `${volumes.path}/${uuid}`, svmUuid, records: () => [{ uuid, name, svm: svmRef(cluster, svmUuid) }] },
  );
}

async function changeVolume(world: World, cluster: Cluster, volume: Volume, body: JsonObject): Promise<void> {
  const state = textAt(body, "state");
  if (state !== undefined && !["online", "offline", "restricted"].includes(state)) throw invalidValue("state", state);
  const sizeBytes = bytesAt(body, "size") ?? bytesAt(body, "space.size");
  if (volume.state === "offline" && state !== "online" && (sizeBytes !== undefined || textAt(body, "nas.path"))) {
    throw refused(917533, `Volume "${volume.name}" is offline; it cannot be modified.`);
  }
  const name = textAt(body, "name");
  if (name !== undefined && name !== volume.name) {
    if (volumeByName(cluster, volume.svmUuid, name))
      throw refused(917526, `Volume name "${name}" conflicts with an existing volume.`, "name");
    if (isSource(cluster, volume) || isDestination(cluster, volume)) {
      throw refused(917608, "The simulator does not rename volumes of SnapMirror relationships.", "name");
    }
    volume.name = name;
  }
  if (sizeBytes !== undefined) {
    if (sizeBytes < minimumBytes)
      throw refused(917534, `The size "${sizeBytes}" is too small; the minimum is 20MB.`, "size");
    volume.sizeBytes = sizeBytes;
  }
  const path = textAt(body, "nas.path");
  if (path === "") volume.junctionPath = undefined;
  else if (path !== undefined) {
    if (!path.startsWith("/")) throw invalidValue("nas.path", path);
    const mounted = [...cluster.volumes.values()].find(
      (other) => other !== volume && other.svmUuid === volume.svmUuid && other.junctionPath === path,
    );
    // ONTAP's documentation says that it must be unique, not with which code it's refused.
    if (mounted)
      throw refused(917504, `Junction path "${path}" is in use already by volume "${mounted.name}".`, "nas.path");
    volume.junctionPath = path;
  }
  volume.comment = textAt(body, "comment") ?? volume.comment;
  volume.snapshotPolicy = textAt(body, "snapshot_policy.name") ?? volume.snapshotPolicy;
  volume.dedupe = textAt(body, "efficiency.dedupe") ?? volume.dedupe;
  volume.compression = textAt(body, "efficiency.compression") ?? volume.compression;
  volume.snapshotDirectory = flagAt(body, "snapshot_directory_access_enabled") ?? volume.snapshotDirectory;
  volume.qosPolicy = textAt(body, "qos.policy.name") ?? volume.qosPolicy;
  const reserve = textAt(body, "space.snapshot.reserve_percent");
  if (reserve !== undefined) volume.snapshotReservePercent = Number(reserve);
  const guarantee = textAt(body, "guarantee.type");
  if (guarantee !== undefined) volume.guarantee = guarantee === "volume" ? "volume" : "none";
  if (flagAt(body, "clone.split_initiated") === true) {
    if (!volume.clone) throw refused(918248, `Volume "${volume.name}" is not a FlexClone volume.`);
    volume.clone.split = true;
  }
  if (state !== undefined && state !== volume.state) {
    volume.state = state as Volume["state"];
    if (state !== "online") volume.junctionPath = undefined;
    await world.publish(cluster, volume.svmUuid);
  }
}

async function deleteVolume(world: World, cluster: Cluster, volume: Volume): Promise<void> {
  if (volume.isSvmRoot) throw refused(917700, `Volume "${volume.name}" is the root volume of its SVM.`);
  if (volume.junctionPath !== undefined)
    throw refused(917658, `Volume "${volume.name}" is mounted at "${volume.junctionPath}"; unmount it first.`);
  if (clonesOf(cluster, volume).length > 0) throw refused(524615, `Volume "${volume.name}" has clones.`);
  if (isSource(cluster, volume) || isDestination(cluster, volume)) {
    throw refused(
      524486,
      `Volume "${volume.name}" is busy: it is an endpoint of one or more SnapMirror relationships.`,
    );
  }
  await volume.lock.run(() => removeVolume(cluster, volume));
  await world.publish(cluster, volume.svmUuid);
}

/** PATCH and DELETE on the collection: one job for each volume found. */
function overAll(request: ApiRequest, work: (volume: Volume) => Promise<void>): Reply {
  const { world, cluster, path, method, jobFailure } = request;
  const found = select(volumes, request);
  const jobs = found.map((volume) =>
    startJob(world, cluster, `${method} /api${path}/${volume.uuid}`, volume.svmUuid, () =>
      jobFailure ? Promise.reject(jobFailure) : work(volume),
    ),
  );
  const links = jobs.map((job) => ({ uuid: job.uuid, _links: { self: { href: `/api/cluster/jobs/${job.uuid}` } } }));
  const first = links[0];
  return first ? { status: 202, body: { num_records: found.length, jobs: links, job: first } } : ok({ num_records: 0 });
}

// ------------------------------------------------------------------------------------------------ snapshots

const volumeOf = (request: ApiRequest): Volume => find(volumes, request, [request.params["volume"] ?? ""]);

const snapshots: Resource<Snapshot> = {
  path: "/storage/volumes/{volume}/snapshots",
  keys: ["uuid"],
  defaults: ["name", "volume.name", "volume.uuid"],
  fields: new FieldSet(
    "uuid,name,version_uuid,create_time,size,owners,snapmirror_label,comment,state,expiry_time,svm.{name,uuid},volume.{name,uuid},provenance_volume.uuid,delta.{size_consumed,time_elapsed}",
  ),
  list: (request) => volumeOf(request).snapshots,
  render: (s, request) => {
    const { cluster } = request;
    const volume = volumeOf(request);
    const owners = ownersOf(cluster, volume, s);
    return {
      uuid: s.uuid,
      name: s.name,
      version_uuid: s.versionUuid,
      create_time: isoTime(s.createTimeMs),
      owners: owners.length > 0 ? owners : undefined,
      snapmirror_label: s.label,
      comment: s.comment,
      state: "valid",
      svm: svmRef(cluster, volume.svmUuid),
      volume: { name: volume.name, uuid: volume.uuid },
      delta: deltas.get(request),
    };
  },
};

/** Of the one snapshot that a request for `delta` names. */
const deltas = new WeakMap<ApiRequest, JsonObject>();

/** Bytes that differ between the snapshot and the active file system, by blocks. */
async function changedSince(cluster: Cluster, volume: Volume, snapshot: Snapshot): Promise<number> {
  const ofLuns = await bytes.forEachFile(volume.luns.values(), async (lun) => {
    const now = lunFile(cluster, volume, lun.fileId);
    const old = snapshot.files.find((file) => file.fileId === lun.fileId);
    const then = old && snapshotFile(cluster, volume, snapshot, old.fileId);
    if (old && then !== undefined && (await bytes.seemsUnchanged(then, old.copiedAtMs, now))) return 0;
    return bytes.bytesOf(await bytes.difference(then, now));
  });
  const removed = snapshot.files.filter(({ fileId }) => !volume.luns.has(fileId));
  const ofRemoved = await bytes.forEachFile(removed, async ({ fileId }) =>
    bytes.bytesOf(await bytes.difference(undefined, snapshotFile(cluster, volume, snapshot, fileId))),
  );
  return [...ofLuns, ...ofRemoved].reduce((sum, changed) => sum + changed, 0);
}

/** GET of the collection; `delta`, which is computed on demand, only for a single snapshot against the active file system. */
const snapshotReads: Route[] = readRoutes(snapshots).map((route, index) =>
  index > 0
    ? route
    : {
        ...route,
        handle: async (request) => {
          const { cluster, query, world } = request;
          if (query.fields?.some((field) => field === "delta" || field.startsWith("delta."))) {
            const volume = volumeOf(request);
            const snapshot = snapshotNamed(volume, query.filters.get("name") ?? "");
            if (!snapshot) throw invalidValue("fields", "delta");
            const size = await volume.lock.run(() => changedSince(cluster, volume, snapshot));
            const elapsed = isoDuration((world.clock.now() - snapshot.createTimeMs) / 1000);
            deltas.set(request, { size_consumed: size, time_elapsed: elapsed });
          }
          return route.handle(request);
        },
      },
);

function requireWritable(volume: Volume, code: number, what: string): void {
  if (volume.type === "dp") throw refused(code, `${what} a snapshot is not possible on a data protection volume.`);
  if (volume.state !== "online") throw refused(524479, `Volume "${volume.name}" is ${volume.state}.`);
}

async function deleteSnapshot(cluster: Cluster, volume: Volume, snapshot: Snapshot): Promise<void> {
  await volume.lock.run(async () => {
    requireWritable(volume, 1638521, "Deleting");
    const owners = ownersOf(cluster, volume, snapshot);
    if (owners.length > 0) {
      throw refused(
        1638543,
        `Failed to delete snapshot "${snapshot.name}" of volume "${volume.name}" because it has an owner (${owners.join(", ")}).`,
      );
    }
    await removeSnapshot(cluster, volume, snapshot);
  });
}

const snapshotRoutes: Route[] = [
  ...snapshotReads,
  {
    method: "POST",
    path: snapshots.path,
    body: new FieldSet("name,comment,snapmirror_label,expiry_time"),
    handle: (request) => {
      const { world, cluster, body } = request;
      const volume = volumeOf(request);
      const name = requireText(body, "name");
      requireWritable(volume, 1638461, "Creating");
      if (snapshotNamed(volume, name))
        throw refused(525059, `Snapshot "${name}" already exists on volume "${volume.name}".`, "name");
      let made: Snapshot | undefined;
      return inJob(
        request,
        async () => {
          made = await volume.lock.run(() =>
            takeSnapshot(world, cluster, volume, {
              name,
              label: textAt(body, "snapmirror_label"),
              comment: textAt(body, "comment"),
            }),
          );
        },
        {
          location: `/storage/volumes/${volume.uuid}/snapshots?name=${encodeURIComponent(name)}`,
          svmUuid: volume.svmUuid,
          records: () => [made ? keyRecord(snapshots, request, made) : { name }],
        },
      );
    },
  },
  {
    method: "PATCH",
    path: `${snapshots.path}/{uuid}`,
    body: new FieldSet("name,comment,snapmirror_label,expiry_time"),
    handle: (request) => {
      const { body } = request;
      const volume = volumeOf(request);
      const snapshot = find(snapshots, request, [request.params["uuid"] ?? ""]);
      requireWritable(volume, 1638522, "Renaming");
      const name = textAt(body, "name");
      if (name !== undefined && name !== snapshot.name && snapshotNamed(volume, name))
        throw refused(525059, `Snapshot "${name}" already exists.`, "name");
      return inJob(
        request,
        () => {
          snapshot.name = name ?? snapshot.name;
          snapshot.comment = textAt(body, "comment") ?? snapshot.comment;
          snapshot.label = textAt(body, "snapmirror_label") ?? snapshot.label;
          return Promise.resolve();
        },
        { svmUuid: volume.svmUuid },
      );
    },
  },
  {
    method: "DELETE",
    path: `${snapshots.path}/{uuid}`,
    handle: (request) => {
      const volume = volumeOf(request);
      const snapshot = find(snapshots, request, [request.params["uuid"] ?? ""]);
      return inJob(request, () => deleteSnapshot(request.cluster, volume, snapshot), { svmUuid: volume.svmUuid });
    },
  },
  {
    method: "DELETE",
    path: snapshots.path,
    filters: snapshots.fields,
    handle: async (request) => {
      const volume = volumeOf(request);
      const found = select(snapshots, request);
      for (const snapshot of found) await deleteSnapshot(request.cluster, volume, snapshot);
      return ok({ num_records: found.length });
    },
  },
];

export const volumeRoutes: Route[] = [
  ...readRoutes(volumes),
  { method: "POST", path: volumes.path, body: volumeBody, handle: createVolume },
  {
    method: "PATCH",
    path: `${volumes.path}/{uuid}`,
    body: volumeBody,
    parameters: ["nvfail", "force"],
    handle: (request) => {
      const volume = find(volumes, request, [request.params["uuid"] ?? ""]);
      return inJob(request, () => changeVolume(request.world, request.cluster, volume, request.body), {
        svmUuid: volume.svmUuid,
      });
    },
  },
  {
    method: "PATCH",
    path: volumes.path,
    body: volumeBody,
    filters: volumes.fields,
    handle: (request) =>
      overAll(request, (volume) => changeVolume(request.world, request.cluster, volume, request.body)),
  },
  {
    method: "DELETE",
    path: `${volumes.path}/{uuid}`,
    parameters: ["force"],
    handle: (request) => {
      const volume = find(volumes, request, [request.params["uuid"] ?? ""]);
      return inJob(request, () => deleteVolume(request.world, request.cluster, volume), { svmUuid: volume.svmUuid });
    },
  },
  {
    method: "DELETE",
    path: volumes.path,
    filters: volumes.fields,
    parameters: ["force"],
    handle: (request) => overAll(request, (volume) => deleteVolume(request.world, request.cluster, volume)),
  },
  ...snapshotRoutes,
  {
    // Space held by LUN clones that are not split yet: the simulator's clones never share blocks.
    method: "GET",
    path: "/storage/file/clone/split-status",
    filters: new FieldSet("volume.{name,uuid},svm.{name,uuid},unsplit_size,pending_clone_splits,pending_splits"),
    handle: () => ok({ records: [], num_records: 0 }),
  },
  {
    method: "GET",
    path: "/private/cli/volume/efficiency",
    filters: new FieldSet("volume,vserver,logical-data-size,logical-data-limit"),
    handle: ({ cluster, query }) => {
      const records = [...cluster.volumes.values()]
        .filter((v) => v.dedupe !== "none" || v.compression !== "none")
        .map((v) => ({
          vserver: cluster.svms.get(v.svmUuid)?.name,
          volume: v.name,
          logical_data_size: 0,
          logical_data_limit: 2 ** 50,
        }))
        .filter(
          (r) =>
            (query.filters.get("volume") ?? r.volume) === r.volume &&
            (query.filters.get("vserver") ?? r.vserver) === r.vserver,
        );
      return ok({ records, num_records: records.length });
    },
  },
];
