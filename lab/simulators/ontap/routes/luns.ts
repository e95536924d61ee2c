/** /storage/luns: real sparse files. */
import { randomUUID } from "node:crypto";
import * as bytes from "../bytes";
import {
  created,
  find,
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
import { missingValue, notFound, refused } from "../errors";
import type { LunMap } from "../lun-maps";
import { lunFile, lunPath, snapshotFile, volumeByName, type Cluster, type Lun, type Volume } from "../state";
import { adoptLun, removeLun, snapshotNamed } from "../volumes";
import { bytesAt, FieldSet, flagAt, isoTime, requireText, textAt, type JsonObject } from "../wire";
import type { World } from "../world";

export interface PlacedLun {
  volume: Volume;
  lun: Lun;
}

export const allLuns = (cluster: Cluster): PlacedLun[] => lunsWith(cluster);

export const lunAt = (cluster: Cluster, svmUuid: string, name: string): PlacedLun | undefined => {
  const parsed = parsePath(name);
  const volume = parsed && volumeByName(cluster, svmUuid, parsed.volume);
  const lun = volume?.luns.named(parsed?.name ?? "");
  return volume && lun ? { volume, lun } : undefined;
};

/** "/vol/v/q/lun" → volume and the rest; ".snapshot/NAME/" in front of the rest names a snapshot. */
function parsePath(path: string): { volume: string; name: string; snapshot: string | undefined } | undefined {
  const match = /^\/vol\/([^/]+)\/(?:\.snapshot\/([^/]+)\/)?([^/]+(?:\/[^/]+)?)$/.exec(path);
  return match ? { volume: match[1] ?? "", snapshot: match[2], name: match[3] ?? "" } : undefined;
}

export const mapsOf = (cluster: Cluster, { volume, lun }: PlacedLun): readonly LunMap[] =>
  cluster.lunMaps.ofLun({ volumeUuid: volume.uuid, fileId: lun.fileId });

/** Those of that path and uuid: rendering all of them for each question would be their number squared. */
export function lunsWith(
  cluster: Cluster,
  { name, uuid }: { name?: string | undefined; uuid?: string | undefined } = {},
): PlacedLun[] {
  const parsed = name === undefined ? undefined : parsePath(name);
  if (name !== undefined && !parsed) return [];
  const placed: PlacedLun[] = [];
  for (const volume of cluster.volumes.values()) {
    if (parsed && volume.name !== parsed.volume) continue;
    for (const lun of parsed ? [volume.luns.named(parsed.name)] : volume.luns.values())
      if (lun && (uuid === undefined || lun.uuid === uuid)) placed.push({ volume, lun });
  }
  return placed;
}

export const luns: Resource<PlacedLun> = {
  path: "/storage/luns",
  keys: ["uuid"],
  defaults: ["name", "svm.name", "svm.uuid"],
  namedObjects: ["svm"],
  expensive: ["lun_maps", "status.mapped"],
  fields: new FieldSet(`
    uuid,name,serial_number,serial_number_hex,svm.{name,uuid},location.{volume.{name,uuid},qtree.{name,id},logical_unit,node.{name,uuid}},os_type,class,
    enabled,comment,create_time,auto_delete,space.{size,used,guarantee.{requested,reserved},scsi_thin_provisioning_support_enabled},
    status.{state,container_state,read_only,mapped},lun_maps.{igroup.{name,uuid},logical_unit_number},qos_policy.{name,uuid},vvol.{is_bound},
    clone.{source.{name,uuid}},copy.{source.*},movement.*,consistency_group.{name,uuid},attributes.{name,value},metric.*,statistics.*`),
  list: ({ cluster }, wanted) => lunsWith(cluster, { name: wanted("name"), uuid: wanted("uuid") }),
  svmOf: ({ volume }) => volume.svmUuid,
  render: (placed, { cluster }) => {
    const { volume, lun } = placed;
    const cut = lun.name.lastIndexOf("/");
    const maps = mapsOf(cluster, placed);
    return {
      uuid: lun.uuid,
      name: lunPath(volume, lun),
      serial_number: lun.serial,
      serial_number_hex: Buffer.from(lun.serial, "ascii").toString("hex"),
      svm: svmRef(cluster, volume.svmUuid),
      location: {
        volume: { name: volume.name, uuid: volume.uuid },
        logical_unit: lun.name.slice(cut + 1),
        node: { name: cluster.aggregates.find((a) => a.name === volume.aggregate)?.node },
        ...(cut < 0 ? {} : { qtree: { name: lun.name.slice(0, cut) } }),
      },
      os_type: lun.osType,
      class: "regular",
      enabled: lun.enabled,
      comment: lun.comment,
      create_time: isoTime(lun.createTimeMs),
      auto_delete: false,
      space: {
        size: lun.sizeBytes,
        guarantee: { requested: lun.spaceReserved, reserved: lun.spaceReserved && volume.type === "rw" },
        scsi_thin_provisioning_support_enabled: lun.thinProvisioning,
      },
      status: {
        state: lun.enabled && volume.state === "online" ? "online" : "offline",
        container_state: volume.state === "online" ? "online" : "volume_offline",
        read_only: volume.type === "dp",
        mapped: maps.length > 0,
      },
      lun_maps: maps.map((m) => ({
        igroup: { name: cluster.igroups.get(m.igroupUuid)?.name, uuid: m.igroupUuid },
        logical_unit_number: m.number,
      })),
      qos_policy: lun.qosPolicy === undefined ? undefined : { name: lun.qosPolicy },
      vvol: { is_bound: false },
    };
  },
};

const lunBody = new FieldSet(
  "name,uuid,svm.{name,uuid},location.{volume.{name,uuid},qtree.name,logical_unit},os_type,space.{size,guarantee.requested,scsi_thin_provisioning_support_enabled},clone.source.{name,uuid},enabled,comment,qos_policy.{name,uuid},class",
);
const osTypes = new Set([
  "aix",
  "hpux",
  "hyper_v",
  "linux",
  "netware",
  "openvms",
  "solaris",
  "solaris_efi",
  "vmware",
  "windows",
  "windows_2008",
  "windows_gpt",
  "xen",
  "image",
]);

const maximumBytes = 128 * 2 ** 40;
function checkSize(sizeBytes: number): number {
  if (sizeBytes < 4096) throw refused(5374124, "The specified LUN size is too small.", "space.size");
  if (sizeBytes > maximumBytes) throw refused(5374125, "The specified LUN size is too large.", "space.size");
  return Math.ceil(sizeBytes / 512) * 512;
}

function requireWritable(volume: Volume): void {
  if (volume.type === "dp")
    throw refused(5374130, `Volume "${volume.name}" is a data protection volume: LUNs in it are read-only.`);
  if (volume.state !== "online") throw refused(5374866, `Volume "${volume.name}" is offline.`);
}

async function createLun(request: ApiRequest): Promise<Reply> {
  const { world, cluster, body } = request;
  const svm = svmOfBody(request);
  const volumeField = textAt(body, "location.volume.name");
  const unit = textAt(body, "location.logical_unit");
  const qtree = textAt(body, "location.qtree.name");
  const path =
    textAt(body, "name") ??
    (volumeField && unit ? `/vol/${volumeField}/${qtree ? `${qtree}/` : ""}${unit}` : undefined);
  if (path === undefined) throw missingValue("name");
  const parsed = parsePath(path);
  if (!parsed) throw refused(5374121, `The LUN path "${path}" is not valid.`, "name");
  if (parsed.snapshot !== undefined) throw refused(5374238, "LUNs cannot be created in snapshots.", "name");
  const volume = volumeByName(cluster, svm.uuid, parsed.volume);
  if (!volume)
    throw refused(917927, `The specified volume "${parsed.volume}" was not found in SVM "${svm.name}".`, "name");
  if (volume.isSvmRoot) throw refused(5374237, "LUNs cannot be created on an SVM root volume.", "name");
  requireWritable(volume);

  return volume.lock.run(async () => {
    const taken = lunAt(cluster, svm.uuid, path);
    const cloneName = textAt(body, "clone.source.name");
    const cloneUuid = textAt(body, "clone.source.uuid");
    const cloning = cloneName !== undefined || cloneUuid !== undefined;
    if (taken) throw refused(cloning ? 1260136 : 5374242, `A LUN already exists at path "${path}".`, "name");
    const source = cloning ? cloneSource(cluster, svm.uuid, volume, cloneName, cloneUuid) : undefined;
    const fileId = randomUUID();
    const file = lunFile(cluster, volume, fileId);
    const asked = bytesAt(body, "space.size");
    const osType = textAt(body, "os_type") ?? source?.lun.osType;
    if (osType === undefined) throw missingValue("os_type");
    if (!osTypes.has(osType)) throw refused(262185, `Invalid value "${osType}" for field "os_type"`, "os_type");
    if (asked === undefined && !source) throw missingValue("space.size");
    const sizeBytes = checkSize(asked ?? source?.lun.sizeBytes ?? 0);
    if (sizeBytes > volume.sizeBytes && (flagAt(body, "space.guarantee.requested") ?? false)) {
      throw refused(917836, `Volume "${volume.name}" has not enough space for the LUN.`, "space.size");
    }
    // A stop between file and record leaves a file without a LUN: the next start removes it.
    if (source) {
      await bytes.copyInto([source.file], file);
      if (sizeBytes !== source.lun.sizeBytes) await bytes.resize(file, sizeBytes);
    } else await bytes.createSparse(file, sizeBytes);
    const lun = adoptLun(volume, {
      fileId,
      name: parsed.name,
      sizeBytes,
      osType,
      spaceReserved: flagAt(body, "space.guarantee.requested") ?? source?.lun.spaceReserved ?? false,
      thinProvisioning:
        flagAt(body, "space.scsi_thin_provisioning_support_enabled") ?? source?.lun.thinProvisioning ?? false,
      enabled: flagAt(body, "enabled") ?? true,
      comment: textAt(body, "comment"),
      createTimeMs: world.clock.now(),
      qosPolicy: textAt(body, "qos_policy.name"),
    });
    return created(luns, request, [{ volume, lun }]);
  });
}

function cloneSource(
  cluster: Cluster,
  svmUuid: string,
  volume: Volume,
  name: string | undefined,
  uuid: string | undefined,
): { lun: Omit<Lun, "uuid" | "serial">; file: string } {
  if (uuid !== undefined) {
    const lun = [...volume.luns.values()].find((l) => l.uuid === uuid);
    if (!lun)
      throw refused(5374875, `The LUN "${uuid}" was not found in volume "${volume.name}".`, "clone.source.uuid");
    return { lun, file: lunFile(cluster, volume, lun.fileId) };
  }
  const parsed = parsePath(name ?? "");
  if (!parsed) throw refused(5374121, `The LUN path "${name ?? ""}" is not valid.`, "clone.source.name");
  if (parsed.volume !== volume.name)
    throw refused(5374129, "A LUN can be cloned only within its volume.", "clone.source.name");
  if (parsed.snapshot !== undefined) {
    const snapshot = snapshotNamed(volume, parsed.snapshot);
    const file = snapshot?.files.find((f) => f.name === parsed.name);
    if (!snapshot || !file) throw refused(5374875, `The LUN "${name ?? ""}" was not found.`, "clone.source.name");
    return { lun: file, file: snapshotFile(cluster, volume, snapshot, file.fileId) };
  }
  const placed = lunAt(cluster, svmUuid, name ?? "");
  if (!placed) throw refused(5374875, `The LUN "${name ?? ""}" was not found.`, "clone.source.name");
  return { lun: placed.lun, file: lunFile(cluster, placed.volume, placed.lun.fileId) };
}

async function changeLun(world: World, cluster: Cluster, { volume, lun }: PlacedLun, body: JsonObject): Promise<void> {
  requireWritable(volume);
  const path = textAt(body, "name");
  const sizeBytes = bytesAt(body, "space.size");
  await volume.lock.run(async () => {
    if (path !== undefined && path !== lunPath(volume, lun)) {
      const parsed = parsePath(path);
      if (!parsed) throw refused(5374121, `The LUN path "${path}" is not valid.`, "name");
      if (parsed.volume !== volume.name)
        throw refused(5374352, "The simulator does not move LUNs between volumes.", "name");
      if (lunAt(cluster, volume.svmUuid, path))
        throw refused(1254196, `A LUN already exists at path "${path}".`, "name");
      volume.luns.rename(lun, parsed.name);
    }
    if (sizeBytes !== undefined && checkSize(sizeBytes) !== lun.sizeBytes) {
      await bytes.resize(lunFile(cluster, volume, lun.fileId), checkSize(sizeBytes));
      lun.sizeBytes = checkSize(sizeBytes);
    }
    lun.enabled = flagAt(body, "enabled") ?? lun.enabled;
    lun.comment = textAt(body, "comment") ?? lun.comment;
    lun.qosPolicy = textAt(body, "qos_policy.name") ?? lun.qosPolicy;
    lun.spaceReserved = flagAt(body, "space.guarantee.requested") ?? lun.spaceReserved;
    lun.thinProvisioning = flagAt(body, "space.scsi_thin_provisioning_support_enabled") ?? lun.thinProvisioning;
  });
  await world.publish(cluster, volume.svmUuid);
}

async function deleteLun(world: World, cluster: Cluster, placed: PlacedLun, evenMapped: boolean): Promise<void> {
  const { volume, lun } = placed;
  requireWritable(volume);
  if (mapsOf(cluster, placed).length > 0) {
    if (!evenMapped)
      throw refused(1254197, `LUN "${lunPath(volume, lun)}" is mapped; use "allow_delete_while_mapped".`);
    cluster.lunMaps.deleteOfLun({ volumeUuid: volume.uuid, fileId: lun.fileId });
    await world.publish(cluster, volume.svmUuid); // unserved before its file goes
  }
  await volume.lock.run(() => removeLun(cluster, volume, lun.fileId));
}

const deleteParameters = ["allow_delete_while_mapped"];

export const lunRoutes: Route[] = [
  ...readRoutes(luns),
  { method: "POST", path: luns.path, body: lunBody, handle: createLun },
  {
    method: "PATCH",
    path: `${luns.path}/{uuid}`,
    body: lunBody,
    handle: async (request) => {
      await changeLun(
        request.world,
        request.cluster,
        find(luns, request, [request.params["uuid"] ?? ""]),
        request.body,
      );
      return ok();
    },
  },
  {
    method: "PATCH",
    path: luns.path,
    body: lunBody,
    filters: luns.fields,
    handle: async (request) => {
      const found = select(luns, request);
      if (found.length === 0) throw notFound("name");
      for (const placed of found) await changeLun(request.world, request.cluster, placed, request.body);
      return ok({ num_records: found.length });
    },
  },
  {
    method: "DELETE",
    path: `${luns.path}/{uuid}`,
    parameters: deleteParameters,
    handle: async (request) => {
      const placed = find(luns, request, [request.params["uuid"] ?? ""]);
      await deleteLun(request.world, request.cluster, placed, request.query.flag("allow_delete_while_mapped"));
      return ok();
    },
  },
  {
    method: "DELETE",
    path: luns.path,
    filters: luns.fields,
    parameters: deleteParameters,
    handle: async (request) => {
      if (request.query.filters.size === 0) throw missingValue("uuid");
      const found = select(luns, request);
      for (const placed of found)
        await deleteLun(request.world, request.cluster, placed, request.query.flag("allow_delete_while_mapped"));
      return ok({ num_records: found.length });
    },
  },
  {
    // The driver's way to clone from a snapshot whose directory is hidden.
    method: "POST",
    path: "/private/cli/volume/file/clone",
    body: new FieldSet(
      "vserver,volume,source-path,destination-path,snapshot-name,is-backup,overwrite-destination,no-reserve,qos-policy-group,qos-adaptive-policy-group",
    ),
    handle: (request) => {
      const { body } = request;
      const [volume, from, to, snapshot] = ["volume", "source-path", "destination-path", "snapshot-name"].map((name) =>
        requireText(body, name),
      );
      return createLun({
        ...request,
        body: {
          svm: { name: requireText(body, "vserver") },
          name: `/vol/${volume ?? ""}/${(to ?? "").replace(/^\//, "")}`,
          clone: {
            source: { name: `/vol/${volume ?? ""}/.snapshot/${snapshot ?? ""}/${(from ?? "").replace(/^\//, "")}` },
          },
          space: { guarantee: { requested: !(flagAt(body, "no-reserve") ?? false) } },
        },
      });
    },
  },
];
