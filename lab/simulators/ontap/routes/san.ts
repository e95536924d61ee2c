/** igroups, their initiators, LUN maps; QoS policies. */
import { randomUUID } from "node:crypto";
import {
  created,
  find,
  ok,
  readRoutes,
  select,
  svmOfBody,
  svmRef,
  type ApiRequest,
  type Resource,
  type Route,
} from "../api";
import { conflict, invalidValue, missingValue, refused } from "../errors";
import type { LunMap } from "../lun-maps";
import { lunPath, type Igroup, type QosPolicy } from "../state";
import { at, FieldSet, flagAt, isObject, listAt, requireText, textAt, type JsonObject } from "../wire";
import { allLuns, lunAt, lunsWith, mapsOf, type PlacedLun } from "./luns";

// ------------------------------------------------------------------------------------------------ igroups

const igroups: Resource<Igroup> = {
  path: "/protocols/san/igroups",
  keys: ["uuid"],
  defaults: ["name", "svm.name", "svm.uuid"],
  namedObjects: ["svm"],
  expensive: ["lun_maps"],
  fields: new FieldSet(
    "uuid,name,svm.{name,uuid},protocol,os_type,comment,initiators.{name,comment,proximity.*,igroup.*},igroups.{name,uuid},lun_maps.{lun.{name,uuid,node.name},logical_unit_number},delete_on_unmap,supports_igroups,portset.{name,uuid},target.*,connectivity_tracking.*,replication.*",
  ),
  list: ({ cluster }) => [...cluster.igroups.values()],
  svmOf: (g) => g.svmUuid,
  render: (g, { cluster }) => ({
    uuid: g.uuid,
    name: g.name,
    svm: svmRef(cluster, g.svmUuid),
    protocol: g.protocol,
    os_type: g.osType,
    comment: g.comment,
    initiators: g.initiators.length > 0 ? g.initiators.map((i) => ({ name: i.name, comment: i.comment })) : undefined,
    delete_on_unmap: false,
    supports_igroups: true,
    // Thousands, and seldom asked for.
    get lun_maps() {
      return cluster.lunMaps.ofIgroup(g.uuid).flatMap((m) => {
        const volume = cluster.volumes.get(m.volumeUuid);
        const lun = volume?.luns.get(m.fileId);
        return volume && lun
          ? [{ lun: { name: lunPath(volume, lun), uuid: lun.uuid }, logical_unit_number: m.number }]
          : [];
      });
    },
  }),
};

const initiatorName = (value: unknown): string => {
  const name = isObject(value) ? value["name"] : value;
  if (typeof name !== "string") throw missingValue("initiators.name");
  if (!/^(iqn\.\d{4}-\d\d\.|eui\.|([0-9a-fA-F]{2}:){7})/.test(name))
    throw refused(5373969, `"${name}" is not a valid initiator name.`, "name");
  return name;
};

/** An initiator may be in one igroup of an os_type only. */
function checkInitiator(
  request: ApiRequest,
  group: Pick<Igroup, "uuid" | "svmUuid" | "osType" | "initiators">,
  name: string,
): void {
  if (group.initiators.some((i) => i.name === name))
    throw conflict(5374035, `Initiator "${name}" is in the igroup already.`);
  for (const other of request.cluster.igroups.values()) {
    if (
      other.uuid !== group.uuid &&
      other.svmUuid === group.svmUuid &&
      other.osType !== group.osType &&
      other.initiators.some((i) => i.name === name)
    ) {
      throw refused(5374732, `Initiator "${name}" is in igroup "${other.name}" of another os_type.`);
    }
  }
}

const igroupOsTypes = new Set([
  "aix",
  "hpux",
  "hyper_v",
  "linux",
  "netware",
  "openvms",
  "solaris",
  "vmware",
  "windows",
  "xen",
]);
const igroupOf = (request: ApiRequest): Igroup => find(igroups, request, [request.params["igroup"] ?? ""]);

const initiators: Resource<{ group: Igroup; initiator: Igroup["initiators"][number] }> = {
  path: "/protocols/san/igroups/{igroup}/initiators",
  keys: ["name"],
  defaults: [],
  fields: new FieldSet("name,comment,igroup.{name,uuid},proximity.*"),
  list: (request) => {
    const group = igroupOf(request);
    return group.initiators.map((initiator) => ({ group, initiator }));
  },
  render: ({ group, initiator }) => ({
    name: initiator.name,
    comment: initiator.comment,
    igroup: { name: group.name, uuid: group.uuid },
  }),
};

const igroupRoutes: Route[] = [
  ...readRoutes(igroups),
  {
    method: "POST",
    path: igroups.path,
    body: new FieldSet("name,svm.{name,uuid},protocol,os_type,comment,initiators.{name,comment},delete_on_unmap"),
    handle: async (request) => {
      const { cluster, body, world } = request;
      const svm = svmOfBody(request);
      const name = requireText(body, "name");
      const osType = requireText(body, "os_type");
      if (!igroupOsTypes.has(osType)) throw invalidValue("os_type", osType);
      const protocol = textAt(body, "protocol") ?? "mixed";
      if (!["fcp", "iscsi", "mixed"].includes(protocol)) throw invalidValue("protocol", protocol);
      if ([...cluster.igroups.values()].some((g) => g.svmUuid === svm.uuid && g.name === name))
        throw conflict(5374023, `An igroup named "${name}" exists already.`);
      const group: Igroup = {
        uuid: randomUUID(),
        name,
        svmUuid: svm.uuid,
        protocol,
        osType,
        comment: textAt(body, "comment"),
        initiators: [],
      };
      for (const entry of listAt(body, "initiators") ?? []) {
        const initiator = initiatorName(entry);
        checkInitiator(request, group, initiator);
        group.initiators.push({ name: initiator, comment: undefined });
      }
      cluster.igroups.set(group.uuid, group);
      await world.publish(cluster, svm.uuid);
      return created(igroups, request, [group]);
    },
  },
  {
    method: "PATCH",
    path: `${igroups.path}/{igroup}`,
    body: new FieldSet("name,comment,os_type"),
    handle: async (request) => {
      const { cluster, body, world } = request;
      const group = igroupOf(request);
      const name = textAt(body, "name") ?? group.name;
      if (
        name !== group.name &&
        [...cluster.igroups.values()].some((g) => g.svmUuid === group.svmUuid && g.name === name)
      )
        throw conflict(5374023, `An igroup named "${name}" exists already.`);
      group.name = name;
      group.comment = textAt(body, "comment") ?? group.comment;
      group.osType = textAt(body, "os_type") ?? group.osType;
      await world.publish(cluster, group.svmUuid);
      return ok();
    },
  },
  {
    method: "DELETE",
    path: `${igroups.path}/{igroup}`,
    parameters: ["allow_delete_while_mapped"],
    handle: async (request) => {
      const { cluster, world } = request;
      const group = igroupOf(request);
      if (cluster.lunMaps.isMapped(group.uuid) && !request.query.flag("allow_delete_while_mapped"))
        throw refused(1254213, `Igroup "${group.name}" is mapped; use "allow_delete_while_mapped".`);
      for (const map of cluster.lunMaps.ofIgroup(group.uuid)) cluster.lunMaps.delete(map);
      cluster.igroups.delete(group.uuid);
      await world.publish(cluster, group.svmUuid);
      return ok();
    },
  },
  ...readRoutes(initiators),
  {
    method: "POST",
    path: initiators.path,
    body: new FieldSet("name,comment,records.{name,comment}"),
    handle: async (request) => {
      const { cluster, body, world } = request;
      const group = igroupOf(request);
      const entries = listAt(body, "records") ?? [body];
      const added = entries.map((entry) => {
        const name = initiatorName(entry);
        checkInitiator(request, group, name);
        const initiator = { name, comment: isObject(entry) ? textAt(entry, "comment") : undefined };
        group.initiators.push(initiator);
        return { group, initiator };
      });
      await world.publish(cluster, group.svmUuid);
      return created(initiators, request, added);
    },
  },
  {
    method: "DELETE",
    path: `${initiators.path}/{name}`,
    parameters: ["allow_delete_while_mapped"],
    handle: async (request) => {
      const { cluster, world } = request;
      const group = igroupOf(request);
      const { initiator } = find(initiators, request, [request.params["name"] ?? ""]);
      if (cluster.lunMaps.isMapped(group.uuid) && !request.query.flag("allow_delete_while_mapped")) {
        throw refused(1254213, `Igroup "${group.name}" is mapped; use "allow_delete_while_mapped".`);
      }
      group.initiators = group.initiators.filter((i) => i !== initiator);
      await world.publish(cluster, group.svmUuid);
      return ok();
    },
  },
];

// ------------------------------------------------------------------------------------------------ LUN maps

interface Mapping extends PlacedLun {
  map: LunMap;
  group: Igroup;
}

const lunMaps: Resource<Mapping> = {
  path: "/protocols/san/lun-maps",
  keys: ["lun.uuid", "igroup.uuid"],
  defaults: ["lun.name", "igroup.name", "svm.name", "svm.uuid"],
  namedObjects: ["svm", "lun", "igroup"],
  fields: new FieldSet(
    "lun.{name,uuid,node.{name,uuid},smbc.*},igroup.{name,uuid,os_type,protocol,initiators},logical_unit_number,svm.{name,uuid},reporting_nodes.{name,uuid}",
  ),
  list: ({ cluster }, wanted) => {
    const [name, uuid] = [wanted("lun.name"), wanted("lun.uuid")];
    const maps =
      name === undefined && uuid === undefined
        ? [...cluster.lunMaps]
        : lunsWith(cluster, { name, uuid }).flatMap((placed) => mapsOf(cluster, placed));
    return maps.flatMap((map) => {
      const volume = cluster.volumes.get(map.volumeUuid);
      const lun = volume?.luns.get(map.fileId);
      const group = cluster.igroups.get(map.igroupUuid);
      return volume && lun && group ? [{ map, volume, lun, group }] : [];
    });
  },
  svmOf: (m) => m.map.svmUuid,
  render: ({ map, volume, lun, group }, { cluster }) => ({
    lun: { name: lunPath(volume, lun), uuid: lun.uuid, node: { name: cluster.nodes[0]?.name } },
    igroup: {
      name: group.name,
      uuid: group.uuid,
      os_type: group.osType,
      protocol: group.protocol,
      initiators: group.initiators.map((i) => i.name),
    },
    logical_unit_number: map.number,
    svm: svmRef(cluster, map.svmUuid),
    reporting_nodes: cluster.nodes.map(({ name, uuid }) => ({ name, uuid })),
  }),
};

const mapRoutes: Route[] = [
  ...readRoutes(lunMaps),
  {
    method: "POST",
    path: lunMaps.path,
    body: new FieldSet("svm.{name,uuid},lun.{name,uuid},igroup.{name,uuid},logical_unit_number"),
    handle: async (request) => {
      const { world, cluster, body } = request;
      const svm = svmOfBody(request);
      const lunName = textAt(body, "lun.name");
      const lunUuid = textAt(body, "lun.uuid");
      const groupName = textAt(body, "igroup.name");
      const groupUuid = textAt(body, "igroup.uuid");
      if (lunName === undefined && lunUuid === undefined) throw refused(5374901, "The LUN is required.", "lun.name");
      if (groupName === undefined && groupUuid === undefined)
        throw refused(5374902, "The igroup is required.", "igroup.name");
      const placed =
        lunUuid === undefined
          ? lunAt(cluster, svm.uuid, lunName ?? "")
          : lunsWith(cluster, { uuid: lunUuid }).find((p) => p.volume.svmUuid === svm.uuid);
      if (!placed) throw refused(1254201, `There is no LUN at path "${lunName ?? lunUuid ?? ""}".`, "lun.name");
      const group = [...cluster.igroups.values()].find(
        (g) => g.svmUuid === svm.uuid && (groupUuid === undefined ? g.name === groupName : g.uuid === groupUuid),
      );
      if (!group) throw refused(5374878, `The igroup "${groupName ?? groupUuid ?? ""}" does not exist.`, "igroup.name");
      if (![...cluster.interfaces.values()].some((i) => i.svmUuid === svm.uuid && i.services.includes("data_iscsi"))) {
        throw refused(5374573, `SVM "${svm.name}" has no iSCSI interface.`);
      }
      const { volume, lun } = placed;
      if (mapsOf(cluster, placed).some((m) => m.igroupUuid === group.uuid)) {
        throw refused(1254207, `LUN "${lunPath(volume, lun)}" is already mapped to the same initiator group.`);
      }
      // One initiator sees one number space, whichever igroups it is in.
      const names = new Set(group.initiators.map((i) => i.name));
      const related = [...cluster.igroups.values()].filter(
        (g) => g.svmUuid === svm.uuid && (g === group || g.initiators.some((i) => names.has(i.name))),
      );
      const isUsed = (n: number): boolean => related.some((g) => cluster.lunMaps.isInUse(g.uuid, n));
      const asked = textAt(body, "logical_unit_number");
      let number = asked === undefined ? 1 : Number(asked);
      if (!Number.isInteger(number) || number < 0 || number > 4095) throw invalidValue("logical_unit_number", asked);
      if (asked !== undefined && isUsed(number))
        throw refused(5374928, `LUN number ${number} is in use in igroup "${group.name}".`, "logical_unit_number");
      while (asked === undefined && isUsed(number)) number++;
      if (number > 4095)
        throw refused(5374929, `Igroup "${group.name}" has no LUN number left: it maps 4095 LUNs.`, "igroup.name");
      const map: LunMap = {
        svmUuid: svm.uuid,
        volumeUuid: volume.uuid,
        fileId: lun.fileId,
        igroupUuid: group.uuid,
        number,
      };
      cluster.lunMaps.add(map);
      await world.publishMap(cluster, map);
      const reply = created(lunMaps, request, [{ map, volume, lun, group }]);
      const records = reply.body["records"];
      if (Array.isArray(records)) for (const r of records) if (isObject(r)) r["logical_unit_number"] = number;
      return reply;
    },
  },
  {
    method: "DELETE",
    path: `${lunMaps.path}/{lun}/{group}`,
    handle: async (request) => {
      const { world, cluster, params } = request;
      const wanted = (field: string): string | undefined => (field === "lun.uuid" ? params["lun"] : undefined);
      const found = lunMaps.list(request, wanted).find((m) => m.group.uuid === params["group"]);
      if (!found) throw refused(5374922, "The specified LUN map does not exist.");
      cluster.lunMaps.delete(found.map);
      await world.publishMap(cluster, found.map);
      return ok();
    },
  },
  {
    method: "DELETE",
    path: lunMaps.path,
    filters: lunMaps.fields,
    handle: async (request) => {
      const { world, cluster } = request;
      if (request.query.filters.size === 0) throw missingValue("lun.uuid");
      const found = select(lunMaps, request).map((m) => m.map);
      for (const map of found) cluster.lunMaps.delete(map);
      for (const svmUuid of new Set(found.map((m) => m.svmUuid))) await world.publish(cluster, svmUuid);
      return ok({ num_records: found.length });
    },
  },
];

// ------------------------------------------------------------------------------------------------ QoS policies

const qosPolicies: Resource<QosPolicy> = {
  path: "/storage/qos/policies",
  keys: ["uuid"],
  defaults: ["name", "svm.name"],
  fields: new FieldSet(
    "uuid,name,svm.{name,uuid},scope,policy_class,object_count,pgid,fixed.{max_throughput_iops,max_throughput_mbps,min_throughput_iops,min_throughput_mbps,max_throughput,min_throughput,capacity_shared},adaptive.{expected_iops,peak_iops,absolute_min_iops,expected_iops_allocation,peak_iops_allocation,block_size}",
  ),
  list: ({ cluster }) => [...cluster.qosPolicies.values()],
  svmOf: (p) => p.svmUuid,
  render: (p, { cluster }) => ({
    uuid: p.uuid,
    name: p.name,
    svm: svmRef(cluster, p.svmUuid),
    scope: p.svmUuid === undefined ? "cluster" : "svm",
    policy_class: "user_defined",
    object_count: allLuns(cluster).filter((l) => l.lun.qosPolicy === p.name).length,
    fixed: p.fixed,
    adaptive: p.adaptive,
  }),
};
const qosBody = new FieldSet(
  "name,svm.{name,uuid},return_records,fixed.{max_throughput_iops,max_throughput_mbps,min_throughput_iops,min_throughput_mbps,max_throughput,min_throughput,capacity_shared},adaptive.{expected_iops,peak_iops,absolute_min_iops,expected_iops_allocation,peak_iops_allocation,block_size}",
);
const limits = (body: JsonObject, name: "fixed" | "adaptive"): Record<string, number> | undefined => {
  const value = at(body, name);
  return isObject(value) ? (value as Record<string, number>) : undefined;
};

const qosRoutes: Route[] = [
  ...readRoutes(qosPolicies),
  {
    method: "POST",
    path: qosPolicies.path,
    body: qosBody,
    handle: (request) => {
      const { cluster, body } = request;
      const name = requireText(body, "name");
      const svm = svmOfBody(request);
      if ([...cluster.qosPolicies.values()].some((p) => p.name === name))
        throw conflict(1, `duplicate entry "${name}"`);
      if ((at(body, "fixed") === undefined) === (at(body, "adaptive") === undefined)) throw missingValue("fixed");
      const policy: QosPolicy = {
        uuid: randomUUID(),
        name,
        svmUuid: svm.uuid,
        fixed: limits(body, "fixed"),
        adaptive: limits(body, "adaptive"),
      };
      cluster.qosPolicies.set(policy.uuid, policy);
      flagAt(body, "return_records");
      return created(qosPolicies, request, [policy]);
    },
  },
  ...(["PATCH", "DELETE"] as const).flatMap((method): Route[] => {
    const apply = (request: ApiRequest, policy: QosPolicy): void => {
      const { cluster, body } = request;
      if (method === "DELETE") {
        if (allLuns(cluster).some((l) => l.lun.qosPolicy === policy.name))
          throw refused(8454348, `QoS policy "${policy.name}" is in use.`);
        cluster.qosPolicies.delete(policy.uuid);
        return;
      }
      const name = textAt(body, "name");
      if (name !== undefined) {
        for (const { lun } of allLuns(cluster)) if (lun.qosPolicy === policy.name) lun.qosPolicy = name;
        policy.name = name;
      }
      const [fixed, adaptive] = [limits(body, "fixed"), limits(body, "adaptive")];
      if (fixed) policy.fixed = { ...policy.fixed, ...fixed };
      if (adaptive) policy.adaptive = { ...policy.adaptive, ...adaptive };
    };
    const common = method === "PATCH" ? { body: qosBody } : {};
    return [
      {
        method,
        path: `${qosPolicies.path}/{uuid}`,
        ...common,
        handle: (request) => {
          apply(request, find(qosPolicies, request, [request.params["uuid"] ?? ""]));
          return ok();
        },
      },
      {
        method,
        path: qosPolicies.path,
        ...common,
        filters: qosPolicies.fields,
        handle: (request) => {
          const found = select(qosPolicies, request);
          for (const policy of found) apply(request, policy);
          return ok({ num_records: found.length });
        },
      },
    ];
  }),
];

export const sanRoutes: Route[] = [...igroupRoutes, ...mapRoutes, ...qosRoutes];
