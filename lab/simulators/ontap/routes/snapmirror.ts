/** /snapmirror: relationships, transfers, policies. The rules are in ../snapmirror/engine.ts. */
import { randomUUID } from "node:crypto";
import {
  created,
  find,
  inJob,
  keyRecord,
  ok,
  readRoutes,
  svmRef,
  type ApiRequest,
  type Reply,
  type Resource,
  type Route,
} from "../api";
import {
  asOntapError,
  conflict,
  invalidValue,
  notFound,
  OntapError,
  refused,
  refusedBecause,
  volumeNotFound,
} from "../errors";
import {
  breakOff,
  commonSnapshot,
  currentTransfer,
  destinationPath,
  lagSeconds,
  lastTransfer,
  markUnhealthy,
  newRelationship,
  ownersOf,
  quiesce,
  register,
  resolveSource,
  reverse,
  sourcePath,
  toSnapmirrored,
  transferNow,
  type Ends,
} from "../snapmirror/engine";
import {
  newVolume,
  svmByName,
  volumeByName,
  type Cluster,
  type MirrorPolicy,
  type Relationship,
  type SourceInfo,
  type Transfer,
  type Volume,
} from "../state";
import { removeSnapshot } from "../volumes";
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
  textOf,
  type JsonObject,
} from "../wire";

// ------------------------------------------------------------------------------------------------ policies

const policies: Resource<MirrorPolicy> = {
  path: "/snapmirror/policies",
  keys: ["uuid"],
  defaults: ["name"],
  fields: new FieldSet(
    "uuid,name,type,sync_type,scope,svm.{name,uuid},copy_all_source_snapshots,copy_latest_source_snapshot,create_snapshot_on_source,retention.{label,count,preserve,warn,prefix,period,creation_schedule.*},transfer_schedule.{name,uuid},throttle,rpo,identity_preservation,network_compression_enabled,comment,sync_common_snapshot_schedule.*",
  ),
  list: ({ cluster }) => [...cluster.policies.values()],
  render: (p, { cluster }) => {
    const schedule = [...cluster.schedules.values()].find((s) => s.name === p.schedule);
    return {
      uuid: p.uuid,
      name: p.name,
      type: p.type,
      sync_type: p.syncType,
      scope: p.svmUuid === undefined ? "cluster" : "svm",
      svm: svmRef(cluster, p.svmUuid),
      copy_all_source_snapshots: p.copyAllSourceSnapshots || undefined,
      copy_latest_source_snapshot: p.copyLatestSourceSnapshot || undefined,
      create_snapshot_on_source: p.createSnapshotOnSource ? undefined : false,
      retention:
        p.retention.length > 0 ? p.retention.map((r) => ({ label: r.label, count: String(r.count) })) : undefined,
      transfer_schedule: schedule ? { name: schedule.name, uuid: schedule.uuid } : undefined,
      throttle: p.throttle,
      identity_preservation: p.type === "async" ? "exclude_network_and_protocol_config" : undefined,
      network_compression_enabled: false,
      comment: p.comment,
    };
  },
};
const policyBody = new FieldSet(
  "name,type,sync_type,svm.{name,uuid},copy_all_source_snapshots,copy_latest_source_snapshot,create_snapshot_on_source,retention.{label,count,preserve,warn,prefix,period},transfer_schedule.{name,uuid},throttle,comment,identity_preservation,network_compression_enabled",
);

function scheduleIn(cluster: Cluster, body: JsonObject): string | null | undefined {
  const value = at(body, "transfer_schedule");
  if (value === undefined) return undefined;
  const name = isObject(value) ? value["name"] : value;
  const uuid = isObject(value) ? value["uuid"] : undefined;
  if (value === null || name === null || name === "") return null;
  const schedule = [...cluster.schedules.values()].find((s) =>
    typeof uuid === "string" ? s.uuid === uuid : s.name === name,
  );
  if (!schedule) throw refused(6619699, `Schedule "${textOf(name ?? uuid)}" not found.`, "transfer_schedule");
  if (!schedule.cron)
    throw refused(6619714, `Schedule "${schedule.name}" is not a cron schedule.`, "transfer_schedule");
  return schedule.name;
}

function changePolicy(cluster: Cluster, policy: MirrorPolicy, body: JsonObject): void {
  const schedule = scheduleIn(cluster, body);
  if (schedule !== undefined) policy.schedule = schedule ?? undefined;
  policy.copyAllSourceSnapshots = flagAt(body, "copy_all_source_snapshots") ?? policy.copyAllSourceSnapshots;
  policy.copyLatestSourceSnapshot = flagAt(body, "copy_latest_source_snapshot") ?? policy.copyLatestSourceSnapshot;
  policy.createSnapshotOnSource = flagAt(body, "create_snapshot_on_source") ?? policy.createSnapshotOnSource;
  policy.comment = textAt(body, "comment") ?? policy.comment;
  policy.throttle = bytesAt(body, "throttle") ?? policy.throttle;
  const rules = listAt(body, "retention");
  if (rules)
    policy.retention = rules.map((r) =>
      isObject(r)
        ? { label: requireText(r, "label"), count: Number(textAt(r, "count") ?? 0) }
        : { label: textOf(r), count: 0 },
    );
}

const policyRoutes: Route[] = [
  ...readRoutes(policies),
  {
    method: "POST",
    path: policies.path,
    body: policyBody,
    handle: (request) => {
      const { cluster, body } = request;
      const name = requireText(body, "name");
      const type = textAt(body, "type") ?? "async";
      if (type !== "async" && type !== "sync") throw invalidValue("type", type);
      const svmName = textAt(body, "svm.name");
      const svm = svmName === undefined ? request.tunnel : svmByName(cluster, svmName);
      if ([...cluster.policies.values()].some((p) => p.name === name && p.svmUuid === svm?.uuid))
        throw conflict(6621060, `SnapMirror policy "${name}" exists already.`);
      const policy: MirrorPolicy = {
        uuid: randomUUID(),
        name,
        type,
        syncType: type === "sync" ? (textAt(body, "sync_type") ?? "sync") : undefined,
        svmUuid: svm?.uuid,
        copyAllSourceSnapshots: false,
        copyLatestSourceSnapshot: false,
        createSnapshotOnSource: true,
        retention: [],
        schedule: undefined,
        throttle: 0,
        comment: undefined,
        builtIn: false,
      };
      changePolicy(cluster, policy, body);
      return inJob(
        request,
        () => {
          cluster.policies.set(policy.uuid, policy);
          return Promise.resolve();
        },
        { location: `${policies.path}/${policy.uuid}`, records: () => [keyRecord(policies, request, policy)] },
      );
    },
  },
  {
    method: "PATCH",
    path: `${policies.path}/{uuid}`,
    body: policyBody,
    handle: (request) => {
      const policy = find(policies, request, [request.params["uuid"] ?? ""]);
      if (policy.builtIn) throw refused(13303865, "Modifying the specified SnapMirror policy is not supported");
      return inJob(request, () => Promise.resolve(changePolicy(request.cluster, policy, request.body)));
    },
  },
  {
    method: "DELETE",
    path: `${policies.path}/{uuid}`,
    handle: (request) => {
      const { cluster } = request;
      const policy = find(policies, request, [request.params["uuid"] ?? ""]);
      if (policy.builtIn) throw refused(13303865, "Deleting the specified SnapMirror policy is not supported");
      if ([...cluster.relationships.values()].some((r) => r.policyUuid === policy.uuid))
        throw refused(6621062, `SnapMirror policy "${policy.name}" is in use.`);
      return inJob(request, () => {
        cluster.policies.delete(policy.uuid);
        return Promise.resolve();
      });
    },
  },
];

// ------------------------------------------------------------------------------------------------ relationships

type Entry = { kind: "destination"; relationship: Relationship } | { kind: "source"; info: SourceInfo };

const endFields =
  "{path,svm.{name,uuid},cluster.{name,uuid},consistency_group_volumes.{name},luns.{name,uuid},ipspace}";
export const relationships: Resource<Entry> = {
  path: "/snapmirror/relationships",
  keys: ["uuid"],
  defaults: ["source.path", "source.svm.name", "destination.path", "destination.svm.name", "state", "healthy"],
  parameters: ["list_destinations_only"],
  fields: new FieldSet(`
    uuid,source.${endFields},destination.${endFields},state,healthy,unhealthy_reason.{code,message,arguments.*},lag_time,exported_snapshot,
    policy.{name,uuid,type},restore,throttle,transfer_schedule.{name,uuid},group_type,last_transfer_type,identity_preservation,
    total_transfer_bytes,total_transfer_duration,last_transfer_network_compression_ratio,backoff_level,
    transfer.{state,uuid,bytes_transferred,end_time,total_duration,type,last_updated_time},io_serving_copy,master_bias_activated_site,preferred_site,svmdr_volumes`),
  list: (request) => {
    const { cluster, query, tunnel } = request;
    if (query.all.has("list_destinations_only") && query.flag("list_destinations_only")) {
      // Since 9.12.1 only cluster-scoped requests see the destinations.
      const [, major, minor] = cluster.version;
      if (tunnel && (major > 12 || (major === 12 && minor >= 1))) return [];
      return [...cluster.sourceInfos.values()].map((info) => ({ kind: "source", info }));
    }
    return [...cluster.relationships.values()].map((relationship) => ({ kind: "destination", relationship }));
  },
  svmOf: (e) => (e.kind === "source" ? e.info.sourceSvmUuid : e.relationship.destinationSvmUuid),
  render: (entry, { world, cluster }) => {
    const remote = world.peerOf(cluster);
    if (entry.kind === "source") {
      const { info } = entry;
      const svm = cluster.svms.get(info.sourceSvmUuid);
      return {
        uuid: info.uuid,
        source: { path: `${svm?.name ?? ""}:${info.sourceVolume}`, svm: svmRef(cluster, info.sourceSvmUuid) },
        destination: {
          path: `${info.destinationSvmName}:${info.destinationVolume}`,
          svm: { name: info.destinationSvmName, uuid: info.destinationSvmUuid },
          cluster: { name: remote.name, uuid: remote.uuid },
        },
        policy: { name: info.policyName, type: info.policyType },
      };
    }
    const r = entry.relationship;
    const ends: Ends = { world, cluster, relationship: r };
    const policy = cluster.policies.get(r.policyUuid);
    const schedule = [...cluster.schedules.values()].find((s) => s.name === r.schedule);
    const lag = lagSeconds(world, r);
    return {
      uuid: r.uuid,
      source: {
        path: sourcePath(r),
        svm: { name: r.sourceSvmAlias, uuid: r.sourceSvmUuid },
        cluster: { name: remote.name, uuid: remote.uuid },
      },
      destination: { path: destinationPath(ends), svm: svmRef(cluster, r.destinationSvmUuid) },
      state: r.state,
      healthy: r.unhealthy.length === 0,
      unhealthy_reason:
        r.unhealthy.length > 0 ? r.unhealthy.map((u) => ({ code: u.code, message: u.message })) : undefined,
      lag_time: lag === undefined ? undefined : isoDuration(lag),
      exported_snapshot: r.exportedName,
      policy: policy ? { name: policy.name, uuid: policy.uuid, type: policy.type } : undefined,
      restore: r.restore,
      throttle: r.throttle,
      transfer_schedule: schedule ? { name: schedule.name, uuid: schedule.uuid } : undefined,
      group_type: "none",
      last_transfer_type: r.lastTransferType,
      identity_preservation: undefined,
      total_transfer_bytes: r.totalBytes,
      total_transfer_duration: isoDuration(r.totalMs / 1000),
      backoff_level: "high",
      transfer: transferOf(world.clock.now(), r),
    };
  },
};

/** The running transfer, else the last one; uuid only while it runs. */
function transferOf(nowMs: number, r: Relationship): JsonObject | undefined {
  const t = currentTransfer(r) ?? lastTransfer(r);
  if (!t) return undefined;
  return {
    state: t.state,
    ...(t.state === "transferring" ? { uuid: t.uuid } : {}),
    bytes_transferred: t.bytesTransferred,
    ...(t.endMs === undefined ? {} : { end_time: isoTime(t.endMs) }),
    total_duration: isoDuration(((t.endMs ?? nowMs) - t.startMs) / 1000),
    type: t.type,
    last_updated_time: isoTime(t.endMs ?? nowMs),
  };
}

const pathPattern = /^([^:/]+):([^:/]+)$/;
function pathIn(body: JsonObject, name: "source" | "destination"): { svm: string; volume: string } {
  const path = requireText(body, `${name}.path`);
  const match = pathPattern.exec(path);
  if (!path.includes(":")) throw refused(13303852, `${name}.path provided does not contain ":"`, `${name}.path`);
  if (!match)
    throw refused(
      13303841,
      "This operation is not supported for SnapMirror relationships between these endpoints",
      `${name}.path`,
    );
  return { svm: match[1] ?? "", volume: match[2] ?? "" };
}

const relationshipBody = new FieldSet(`
  source.{path,svm.{name,uuid},cluster.{name,uuid}},destination.{path,svm.{name,uuid},cluster.{name,uuid}},policy.{name,uuid,type},
  transfer_schedule.{name,uuid},throttle,restore,state,create_destination.{enabled,size,storage_service.*},preserve,quick_resync,recover_after_break,
  restore_to_snapshot,identity_preservation,backoff_level,uuid`);

function policyIn(cluster: Cluster, body: JsonObject, svmUuid: string): MirrorPolicy | undefined {
  const [name, uuid] = [textAt(body, "policy.name"), textAt(body, "policy.uuid")];
  if (name === undefined && uuid === undefined) return undefined;
  const policy = [...cluster.policies.values()].find(
    (p) =>
      (uuid === undefined || p.uuid === uuid) &&
      (name === undefined || p.name === name) &&
      (p.svmUuid === undefined || p.svmUuid === svmUuid),
  );
  if (!policy)
    throw refused(
      uuid === undefined ? 13303819 : 13303821,
      uuid === undefined
        ? `Could not retrieve SnapMirror policy information for "${name ?? ""}"`
        : "Invalid SnapMirror policy UUID",
      "policy",
    );
  if (policy.type !== "async")
    throw refused(
      13303866,
      "Associating the specified SnapMirror policy with this SnapMirror relationship is not supported (the simulator has asynchronous mirrors only)",
      "policy",
    );
  return policy;
}

function createRelationship(request: ApiRequest): Promise<Reply> {
  const { world, cluster, body } = request;
  const [from, to] = [pathIn(body, "source"), pathIn(body, "destination")];
  if (textAt(body, "state") !== undefined && !flagAt(body, "create_destination.enabled")) {
    throw refused(
      13303873,
      "Specifying a state when creating a relationship is only supported when creating a destination endpoint",
      "state",
    );
  }
  if (from.svm === to.svm && from.volume === to.volume)
    throw refused(6619441, "The source volume cannot be the same as the destination volume");
  const destinationSvm = svmByName(cluster, to.svm);
  if (!destinationSvm)
    throw refused(
      6620374,
      `Internal error. Failed to get SVM information: "${to.svm}" is not an SVM of this cluster.`,
      "destination.path",
    );
  const policy =
    policyIn(cluster, body, destinationSvm.uuid) ??
    [...cluster.policies.values()].find((p) => p.name === "Asynchronous");
  if (!policy) throw refused(13303819, "Could not retrieve SnapMirror policy information");
  const schedule = scheduleIn(cluster, body);
  if (schedule === null)
    throw refused(262245, "transfer_schedule cannot be null when creating a relationship.", "transfer_schedule");
  const restore = flagAt(body, "restore") ?? false;
  const throttle = bytesAt(body, "throttle") ?? 0;
  const existing = (): boolean =>
    [...cluster.relationships.values()].some(
      (r) => r.destinationSvmUuid === destinationSvm.uuid && r.destinationVolume === to.volume && r.restore === restore,
    );
  const exists = (): OntapError =>
    new OntapError(409, "6619637", "Relationship with specified destination volume already exists.");
  if (existing()) throw exists();
  const { peer, svm: sourceSvm } = resolveSource(world, cluster, destinationSvm, from.svm);
  const source = volumeByName(peer, sourceSvm.uuid, from.volume);
  if (!source) throw volumeNotFound(`${from.svm}:${from.volume}`);
  const createDestination = flagAt(body, "create_destination.enabled") ?? false;
  if (createDestination && throttle > 0)
    throw refused(13304132, 'Creating a destination endpoint is not supported with the "throttle" property');
  const destination = volumeByName(cluster, destinationSvm.uuid, to.volume);
  if (!destination && !createDestination) throw volumeNotFound(`${to.svm}:${to.volume}`);
  if (destination && createDestination)
    throw refused(
      13303868,
      `Create of destination endpoint and SnapMirror relationship failed. Reason:volume "${to.volume}" exists already.`,
    );
  if (destination?.type === "rw" && !restore && world.behaviour.createOntoReadWriteDestination === "refuse") {
    throw refused(6619546, "Destination must be a dp volume");
  }
  const relationship: Relationship = {
    ...newRelationship(),
    sourceCluster: peer.name,
    sourceSvmAlias: from.svm,
    sourceSvmUuid: sourceSvm.uuid,
    sourceVolume: from.volume,
    destinationSvmUuid: destinationSvm.uuid,
    destinationVolume: to.volume,
    policyUuid: policy.uuid,
    schedule: schedule ?? undefined,
    throttle,
    restore,
  };
  const entry: Entry = { kind: "destination", relationship };
  return inJob(
    request,
    async () => {
      if (existing()) throw exists();
      let volume: Volume | undefined = destination;
      if (!volume) {
        volume = newVolume(cluster, world.clock.now(), {
          name: to.volume,
          svmUuid: destinationSvm.uuid,
          type: "dp",
          sizeBytes: source.sizeBytes,
          aggregate: cluster.aggregates[0]?.name ?? "",
        });
        cluster.volumes.set(volume.uuid, volume);
      }
      let base: string | undefined;
      if (volume.type === "rw" && !restore) {
        // A relationship onto a writable volume shows as broken-off, to be resynced.
        relationship.state = "broken_off";
        const common = commonSnapshot(source, volume);
        if (common) {
          base = common.source.versionUuid;
          relationship.exportedVersion = base;
          relationship.exportedName = common.destination.name;
          relationship.exportedCreateMs = common.destination.createTimeMs;
        }
      }
      register(cluster, peer, relationship, sourceSvm, destinationSvm, policy, base);
      if (createDestination && textAt(body, "state") === "snapmirrored")
        await toSnapmirrored({ world, cluster, relationship });
    },
    {
      location: `${relationships.path}/${relationship.uuid}`,
      svmUuid: destinationSvm.uuid,
      records: () => [keyRecord(relationships, request, entry)],
    },
  );
}

function relationshipOf(request: ApiRequest): Relationship {
  const uuid = request.params["uuid"] ?? "";
  const r = request.cluster.relationships.get(uuid);
  if (!r || (request.tunnel && r.destinationSvmUuid !== request.tunnel.uuid)) throw notFound();
  return r;
}

const statesKnown = new Set([
  "broken_off",
  "paused",
  "snapmirrored",
  "uninitialized",
  "in_sync",
  "out_of_sync",
  "synchronizing",
  "expanding",
]);

function changeRelationship(request: ApiRequest): Promise<Reply> {
  const { world, cluster, body, query } = request;
  const r = relationshipOf(request);
  const ends: Ends = { world, cluster, relationship: r };
  const state = textAt(body, "state");
  if (state !== undefined && !statesKnown.has(state))
    throw refused(13303817, "Unknown value for the SnapMirror state", "state");
  if (state === "in_sync") throw refused(13303831, "Invalid state for async SnapMirror relationship", "state");
  if (state !== undefined && !["broken_off", "paused", "snapmirrored"].includes(state))
    throw refused(13303829, "Invalid state", "state");
  for (const flag of ["failover", "force-failover", "failback"]) {
    if (query.flag(flag))
      throw refused(
        13304156,
        "Either use state as broken-off or failover as true for SVM-DR fail-over operation",
        flag,
      );
  }
  const restoreTo = textAt(body, "restore_to_snapshot");
  const resyncFlags = ["preserve", "quick_resync"].filter((name) => at(body, name) !== undefined);
  if ((restoreTo !== undefined || query.flag("force")) && state !== "broken_off")
    throw refused(13303835, "Given flag is valid only when PATCH state is broken_off");
  if (resyncFlags.length > 0 && state !== "snapmirrored")
    throw refused(
      state === undefined ? 13303837 : 13303836,
      "Given flag is valid only when PATCH state is snapmirrored or in_sync",
    );
  if (flagAt(body, "preserve"))
    throw refused(13304082, "The simulator does not preserve newer snapshots at a resync", "preserve");
  if (r.restore) throw refused(13303851, "Cannot modify attributes of SnapMirror restore relationship");

  const [from, to] = [textAt(body, "source.path"), textAt(body, "destination.path")];
  const mine = { source: sourcePath(r), destination: destinationPath(ends) };
  const flip = (from !== undefined && from !== mine.source) || (to !== undefined && to !== mine.destination);
  if (flip) {
    if (world.behaviour.reversal === "refuse")
      throw refused(
        13304070,
        "Remote peer cluster requires the dp_rest_support capability to support reversing the direction of a relationship",
      );
    if (state !== "snapmirrored") throw refused(13303818, "Invalid state transition requested");
    if (at(body, "transfer_schedule") !== undefined || at(body, "throttle") !== undefined)
      throw refused(13304081, "Modifying a property during the operation is not supported");
    const source = from === undefined ? undefined : pathIn(body, "source");
    const destination = to === undefined ? undefined : pathIn(body, "destination");
    const svm = cluster.svms.get(r.destinationSvmUuid);
    const sourceSvm = world.clusterNamed(r.sourceCluster)?.svms.get(r.sourceSvmUuid);
    const swapped =
      source?.svm === svm?.name &&
      source?.volume === r.destinationVolume &&
      destination?.volume === r.sourceVolume &&
      (destination.svm === r.sourceSvmAlias || destination.svm === sourceSvm?.name);
    if (!swapped)
      throw refused(13304120, "The source and destination paths do not match those of the relationship, swapped");
    return inJob(request, async () => void (await reverse(ends)), { svmUuid: r.destinationSvmUuid });
  }

  const policy = policyIn(cluster, body, r.destinationSvmUuid);
  const schedule = scheduleIn(cluster, body);
  const throttle = bytesAt(body, "throttle");
  return inJob(
    request,
    async () => {
      if (!cluster.relationships.has(r.uuid)) throw notFound();
      if (policy) r.policyUuid = policy.uuid;
      if (schedule !== undefined) r.schedule = schedule ?? undefined;
      if (throttle !== undefined) r.throttle = throttle;
      if (state === "paused") quiesce(ends);
      else if (state === "broken_off") await breakOff(ends, restoreTo);
      else if (state === "snapmirrored") await toSnapmirrored(ends);
    },
    { svmUuid: r.destinationSvmUuid },
  );
}

/** Removes the locks and the common snapshots of one side. */
async function releaseSnapshots(
  cluster: Cluster,
  svmUuid: string,
  volumeName: string,
  versions: ReadonlySet<string | undefined>,
): Promise<void> {
  const volume = volumeByName(cluster, svmUuid, volumeName);
  await volume?.lock.run(async () => {
    for (const s of volume.snapshots.filter((x) => versions.has(x.versionUuid) && x.name.startsWith("snapmirror."))) {
      if (ownersOf(cluster, volume, s).length === 0) await removeSnapshot(cluster, volume, s);
    }
  });
}

async function releaseAtSource(cluster: Cluster, info: SourceInfo, keepSnapshots: boolean): Promise<void> {
  cluster.sourceInfos.delete(info.uuid);
  if (keepSnapshots) return;
  await releaseSnapshots(cluster, info.sourceSvmUuid, info.sourceVolume, new Set([info.baseVersion]));
}

function deleteRelationship(request: ApiRequest): Promise<Reply> {
  const { world, cluster, query, params, tunnel } = request;
  const uuid = params["uuid"] ?? "";
  const flags = ["destination_only", "source_only", "source_info_only"].filter((name) => query.flag(name));
  if (flags.length > 1) throw refused(13304082, "Specified properties are mutually exclusive");
  const [flag] = flags;
  if (flag === "source_only" || flag === "source_info_only") {
    const info = cluster.sourceInfos.get(uuid);
    if (!info || (tunnel && info.sourceSvmUuid !== tunnel.uuid)) throw notFound();
    return inJob(request, () => releaseAtSource(cluster, info, flag === "source_info_only"), {
      svmUuid: info.sourceSvmUuid,
    });
  }
  const r = relationshipOf(request);
  return inJob(
    request,
    async () => {
      if (currentTransfer(r))
        throw refused(6619715, "Modification of relationship is in progress. Retry the command after a few minutes.");
      const both = flag === undefined && world.behaviour.unflaggedDelete === "removes-both";
      const peer = world.clusterNamed(r.sourceCluster);
      const info = peer?.sourceInfos.get(r.uuid);
      if (both && !world.connected())
        throw refusedBecause(13303822, "SnapMirror release has failed", "Failed to contact the peer cluster.");
      cluster.relationships.delete(r.uuid);
      if (!both) return;
      if (peer && info) await releaseAtSource(peer, info, false);
      await releaseSnapshots(cluster, r.destinationSvmUuid, r.destinationVolume, new Set([r.exportedVersion]));
    },
    { svmUuid: r.destinationSvmUuid },
  );
}

// ------------------------------------------------------------------------------------------------ transfers

const transfers: Resource<{ relationship: Relationship; transfer: Transfer }> = {
  path: "/snapmirror/relationships/{uuid}/transfers",
  keys: ["uuid"],
  defaults: ["state", "relationship.uuid"],
  fields: new FieldSet(
    "uuid,state,snapshot,bytes_transferred,checkpoint_size,end_time,total_duration,throttle,error_info.{code,message},relationship.{uuid,restore,destination.{path,svm.{name,uuid},cluster.{name,uuid}}},last_updated_time,network_compression_ratio,options",
  ),
  list: (request) => {
    const relationship = relationshipOf(request);
    const dayAgo = request.world.clock.now() - 86_400_000;
    return relationship.transfers
      .filter((t) => (t.endMs ?? Number.POSITIVE_INFINITY) > dayAgo)
      .map((transfer) => ({ relationship, transfer }));
  },
  render: ({ relationship: r, transfer: t }, { world, cluster }) => ({
    uuid: t.uuid,
    state: t.state,
    snapshot: t.snapshot,
    bytes_transferred: t.bytesTransferred,
    checkpoint_size: t.checkpointSize,
    ...(t.endMs === undefined ? {} : { end_time: isoTime(t.endMs) }),
    total_duration: isoDuration(((t.endMs ?? world.clock.now()) - t.startMs) / 1000),
    throttle: r.throttle,
    error_info: t.error ? { code: t.error.code, message: t.error.message } : undefined,
    last_updated_time: isoTime(t.endMs ?? world.clock.now()),
    relationship: {
      uuid: r.uuid,
      restore: r.restore,
      destination: {
        path: destinationPath({ world, cluster, relationship: r }),
        svm: svmRef(cluster, r.destinationSvmUuid),
      },
    },
  }),
};

export const snapmirrorRoutes: Route[] = [
  ...policyRoutes,
  ...readRoutes(relationships),
  { method: "POST", path: relationships.path, body: relationshipBody, handle: createRelationship },
  {
    method: "PATCH",
    path: `${relationships.path}/{uuid}`,
    body: relationshipBody,
    parameters: ["failover", "force-failover", "force", "failback"],
    handle: changeRelationship,
  },
  {
    method: "DELETE",
    path: `${relationships.path}/{uuid}`,
    parameters: ["destination_only", "source_only", "source_info_only", "delete_lun_maps_in_destination"],
    handle: deleteRelationship,
  },
  ...readRoutes(transfers),
  {
    method: "POST",
    path: transfers.path,
    body: new FieldSet("source_snapshot,throttle,storage_efficiency_enabled"),
    handle: (request) => {
      const { world, cluster } = request;
      const relationship = relationshipOf(request);
      if (request.jobFailure) {
        markUnhealthy(relationship, asOntapError(request.jobFailure));
        throw request.jobFailure;
      }
      const transfer = transferNow({ world, cluster, relationship }, textAt(request.body, "source_snapshot"));
      return created(transfers, request, [{ relationship, transfer }]);
    },
  },
  {
    method: "PATCH",
    path: `${transfers.path}/{transfer}`,
    body: new FieldSet("state"),
    handle: async (request) => {
      const { transfer } = find(transfers, request, [request.params["transfer"] ?? ""]);
      const state = requireText(request.body, "state");
      if (state !== "aborted" && state !== "hard_aborted") throw invalidValue("state", state);
      if (transfer.state !== "transferring") throw refused(13303849, "SnapMirror transfer state is invalid");
      transfer.abort.abort(state);
      await transfer.done;
      return ok();
    },
  },
];
