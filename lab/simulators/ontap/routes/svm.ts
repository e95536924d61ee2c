/** /svm/svms, iSCSI services, IP interfaces, aggregates, disks. */
import { randomUUID } from "node:crypto";
import { created, find, inJob, ok, readRoutes, svmOfBody, svmRef, type Resource, type Route } from "../api";
import { conflict, invalidValue, refused } from "../errors";
import { iqnOf, type Cluster, type Interface, type Svm } from "../state";
import { FieldSet, flagAt, requireText, textAt } from "../wire";

const svms: Resource<Svm> = {
  path: "/svm/svms",
  keys: ["uuid"],
  defaults: ["name"],
  fields: new FieldSet(
    "uuid,name,state,subtype,language,comment,ipspace.{name,uuid},aggregates.{name,uuid},iscsi.{allowed,enabled},nfs.{allowed,enabled},cifs.{allowed,enabled},fcp.{allowed,enabled},nvme.{allowed,enabled},ip_interfaces.{name,uuid,ip.address,services},snapshot_policy.{name,uuid},snapmirror.{is_protected,protected_volumes_count},is_space_reporting_logical,max_volumes,certificate.*,dns.*",
  ),
  list: ({ cluster }) => [...cluster.svms.values()],
  svmOf: (s) => s.uuid,
  render: (s, { cluster }) => {
    const mirrored = [...cluster.sourceInfos.values()].filter((i) => i.sourceSvmUuid === s.uuid);
    return {
      uuid: s.uuid,
      name: s.name,
      state: s.state,
      subtype: "default",
      language: "c.utf_8",
      comment: s.comment,
      ipspace: { name: "Default" },
      aggregates: cluster.aggregates.map(({ name, uuid }) => ({ name, uuid })),
      // A stopped SVM doesn't show its protocols.
      ...(s.state === "running"
        ? {
            iscsi: { allowed: true, enabled: s.iscsi?.enabled ?? false },
            nfs: { allowed: false, enabled: false },
            cifs: { allowed: false, enabled: false },
            fcp: { allowed: false, enabled: false },
            nvme: { allowed: false, enabled: false },
          }
        : {}),
      ip_interfaces: [...cluster.interfaces.values()]
        .filter((i) => i.svmUuid === s.uuid)
        .map((i) => ({ name: i.name, uuid: i.uuid, ip: { address: i.address }, services: i.services })),
      snapshot_policy: { name: "none" },
      snapmirror: {
        is_protected: mirrored.length > 0,
        protected_volumes_count: new Set(mirrored.map((i) => i.sourceVolume)).size,
      },
    };
  },
};

const svmRoutes: Route[] = [
  ...readRoutes(svms),
  {
    method: "PATCH",
    path: `${svms.path}/{uuid}`,
    body: new FieldSet("state,comment,name"),
    handle: (request) => {
      const { world, cluster, body } = request;
      const svm = find(svms, request, [request.params["uuid"] ?? ""]);
      const state = textAt(body, "state");
      if (state !== undefined && state !== "running" && state !== "stopped") throw invalidValue("state", state);
      const name = textAt(body, "name");
      if (name !== undefined && name !== svm.name)
        throw refused(13434881, "The simulator does not rename SVMs.", "name");
      return inJob(
        request,
        async () => {
          svm.comment = textAt(body, "comment") ?? svm.comment;
          if (state === undefined) return;
          svm.state = state;
          await world.publish(cluster, svm.uuid);
        },
        { svmUuid: svm.uuid },
      );
    },
  },
];

// ------------------------------------------------------------------------------------------------ iSCSI services

interface IscsiService {
  svm: Svm;
  iscsi: NonNullable<Svm["iscsi"]>;
}
const services: Resource<IscsiService> = {
  path: "/protocols/san/iscsi/services",
  keys: ["svm.uuid"],
  defaults: ["svm.name"],
  fields: new FieldSet("svm.{name,uuid},enabled,target.{name,alias},metric.*,statistics.*"),
  list: ({ cluster }) => [...cluster.svms.values()].flatMap((svm) => (svm.iscsi ? [{ svm, iscsi: svm.iscsi }] : [])),
  svmOf: (s) => s.svm.uuid,
  render: ({ svm, iscsi }) => ({
    svm: { name: svm.name, uuid: svm.uuid },
    enabled: iscsi.enabled,
    target: { name: iscsi.iqn, alias: iscsi.alias },
  }),
};
const serviceBody = new FieldSet("svm.{name,uuid},enabled,target.{name,alias}");

const serviceRoutes: Route[] = [
  ...readRoutes(services),
  {
    method: "POST",
    path: services.path,
    body: serviceBody,
    handle: async (request) => {
      const { world, cluster, body } = request;
      const svm = svmOfBody(request);
      if (svm.iscsi) throw conflict(5374077, `The iSCSI service exists already on SVM "${svm.name}".`);
      if (svm.state !== "running") throw refused(5374893, `SVM "${svm.name}" is stopped.`);
      const number = [...cluster.svms.keys()].indexOf(svm.uuid) + 2;
      svm.iscsi = {
        iqn: iqnOf(svm.uuid, number),
        alias: textAt(body, "target.alias") ?? svm.name,
        enabled: flagAt(body, "enabled") ?? true,
      };
      await world.publish(cluster, svm.uuid);
      return created(services, request, [{ svm, iscsi: svm.iscsi }]);
    },
  },
  {
    method: "PATCH",
    path: `${services.path}/{svm}`,
    body: serviceBody,
    handle: async (request) => {
      const { world, cluster, body } = request;
      const { svm, iscsi } = find(services, request, [request.params["svm"] ?? ""]);
      if (textAt(body, "target.name") !== undefined)
        throw refused(5373999, "The simulator does not change target names.", "target.name");
      iscsi.enabled = flagAt(body, "enabled") ?? iscsi.enabled;
      iscsi.alias = textAt(body, "target.alias") ?? iscsi.alias;
      await world.publish(cluster, svm.uuid);
      return ok();
    },
  },
  {
    method: "DELETE",
    path: `${services.path}/{svm}`,
    handle: async (request) => {
      const { svm, iscsi } = find(services, request, [request.params["svm"] ?? ""]);
      if (iscsi.enabled) throw refused(5373960, "The iSCSI service must be disabled before it can be deleted.");
      svm.iscsi = undefined;
      await request.world.publish(request.cluster, svm.uuid);
      return ok();
    },
  },
  {
    method: "GET",
    path: "/protocols/san/iscsi/credentials",
    filters: new FieldSet("initiator,svm.{name,uuid},authentication_type"),
    handle: () => ok({ records: [], num_records: 0 }), // CHAP is set over ssh, which the simulator doesn't have
  },
];

// ------------------------------------------------------------------------------------------------ interfaces

const interfaces: Resource<Interface> = {
  path: "/network/ip/interfaces",
  keys: ["uuid"],
  defaults: ["name", "ip.address"],
  fields: new FieldSet(
    "uuid,name,ip.{address,netmask,family},enabled,state,scope,svm.{name,uuid},location.{home_node.{name,uuid},home_port.{name,uuid,node.name},node.{name,uuid},port.{name,uuid,node.name},is_home,auto_revert,failover},service_policy.{name,uuid},services,ipspace.{name,uuid},vip,statistics.*,metric.*",
  ),
  list: ({ cluster }) => [...cluster.interfaces.values()],
  svmOf: (i) => i.svmUuid,
  render: (i, { cluster }) => {
    const node = { name: cluster.nodes[0]?.name, uuid: cluster.nodes[0]?.uuid };
    const port = { name: "e0a", node: { name: node.name } };
    const up = i.enabled && (i.svmUuid === undefined || cluster.svms.get(i.svmUuid)?.state === "running");
    return {
      uuid: i.uuid,
      name: i.name,
      ip: { address: i.address, netmask: "8", family: i.address.includes(":") ? "ipv6" : "ipv4" },
      enabled: i.enabled,
      state: up ? "up" : "down",
      scope: i.svmUuid === undefined ? "cluster" : "svm",
      svm: svmRef(cluster, i.svmUuid),
      location: {
        home_node: node,
        home_port: port,
        node,
        port,
        is_home: true,
        auto_revert: true,
        failover: "home_port_only",
      },
      service_policy: { name: i.servicePolicy },
      services: i.services,
      ipspace: { name: "Default" },
      vip: false,
    };
  },
};
const servicesOfPolicy: Record<string, string[]> = {
  "default-data-iscsi": ["data_core", "data_iscsi"],
  "default-data-blocks": ["data_core", "data_iscsi"],
  "default-intercluster": ["intercluster_core", "management_https"],
  "default-management": ["management_core", "management_https", "management_ssh"],
};

const interfaceRoutes: Route[] = [
  ...readRoutes(interfaces),
  {
    method: "POST",
    path: interfaces.path,
    body: new FieldSet(
      "name,ip.{address,netmask},enabled,scope,svm.{name,uuid},location.{home_node.{name,uuid},home_port.{name,uuid,node.name}},service_policy.{name,uuid},ipspace.{name,uuid}",
    ),
    handle: (request) => {
      const { cluster, body } = request;
      const address = requireText(body, "ip.address");
      const name = textAt(body, "name") ?? `lif_${cluster.interfaces.size + 1}`;
      if ([...cluster.interfaces.values()].some((i) => i.address === address))
        throw conflict(1376963, `Duplicate IP address "${address}".`);
      const scope = textAt(body, "scope") ?? (body["svm"] === undefined && !request.tunnel ? "cluster" : "svm");
      const svm = scope === "svm" ? svmOfBody(request) : undefined;
      if ([...cluster.interfaces.values()].some((i) => i.name === name && i.svmUuid === svm?.uuid))
        throw conflict(1966140, `An interface named "${name}" exists already.`);
      const servicePolicy =
        textAt(body, "service_policy.name") ?? (svm ? "default-data-blocks" : "default-intercluster");
      const provided = servicesOfPolicy[servicePolicy];
      if (!provided) throw refused(1967106, `Service policy "${servicePolicy}" does not exist.`, "service_policy.name");
      const lif: Interface = {
        uuid: randomUUID(),
        name,
        address,
        svmUuid: svm?.uuid,
        enabled: flagAt(body, "enabled") ?? true,
        services: provided,
        servicePolicy,
      };
      cluster.interfaces.set(lif.uuid, lif);
      return created(interfaces, request, [lif]);
    },
  },
  {
    method: "PATCH",
    path: `${interfaces.path}/{uuid}`,
    body: new FieldSet("name,enabled"),
    handle: (request) => {
      const lif = find(interfaces, request, [request.params["uuid"] ?? ""]);
      lif.enabled = flagAt(request.body, "enabled") ?? lif.enabled;
      lif.name = textAt(request.body, "name") ?? lif.name;
      return ok();
    },
  },
  {
    method: "DELETE",
    path: `${interfaces.path}/{uuid}`,
    handle: (request) => {
      request.cluster.interfaces.delete(find(interfaces, request, [request.params["uuid"] ?? ""]).uuid);
      return ok();
    },
  },
];

// ------------------------------------------------------------------------------------------------ aggregates, disks

type Aggregate = Cluster["aggregates"][number];
const usedBytes = (cluster: Cluster, aggregate: string): number =>
  [...cluster.volumes.values()]
    .filter((v) => v.aggregate === aggregate && v.guarantee === "volume")
    .reduce((sum, v) => sum + v.sizeBytes, 0);

const aggregates: Resource<Aggregate> = {
  path: "/storage/aggregates",
  keys: ["uuid"],
  defaults: ["name"],
  fields: new FieldSet(
    "uuid,name,state,node.{name,uuid},home_node.{name,uuid},snaplock_type,space.{block_storage.{size,available,used,full_threshold_percent},footprint,efficiency.*},block_storage.{primary.{raid_type,disk_class,disk_count,disk_type,raid_size},storage_type,mirror.{enabled,state},hybrid_cache.{enabled}},data_encryption.{software_encryption_enabled,drive_protection_enabled},volume-count,create_time",
  ),
  list: ({ cluster }) => [...cluster.aggregates],
  render: (a, { cluster }) => {
    const node = cluster.nodes.find((n) => n.name === a.node);
    const used = usedBytes(cluster, a.name);
    return {
      uuid: a.uuid,
      name: a.name,
      state: "online",
      node: { name: a.node, uuid: node?.uuid },
      home_node: { name: a.node, uuid: node?.uuid },
      snaplock_type: "non_snaplock",
      space: { block_storage: { size: a.sizeBytes, available: a.sizeBytes - used, used, full_threshold_percent: 98 } },
      block_storage: {
        primary: { raid_type: "raid_dp", disk_class: "solid_state", disk_count: 8, disk_type: "ssd", raid_size: 24 },
        storage_type: "ssd",
        mirror: { enabled: false, state: "unmirrored" },
        hybrid_cache: { enabled: false },
      },
      data_encryption: { software_encryption_enabled: false, drive_protection_enabled: false },
    };
  },
};

const disks: Resource<{ name: string; aggregate: Aggregate }> = {
  path: "/storage/disks",
  keys: ["name"],
  defaults: [],
  fields: new FieldSet(
    "name,uid,aggregates.{name,uuid},effective_type,type,class,container_type,state,node.{name,uuid},model,vendor,serial_number,usable_size",
  ),
  list: ({ cluster }) =>
    cluster.aggregates.flatMap((aggregate, a) =>
      Array.from({ length: 8 }, (_, i) => ({ name: `1.${a}.${i}`, aggregate })),
    ),
  render: ({ name, aggregate }) => ({
    name,
    aggregates: [{ name: aggregate.name, uuid: aggregate.uuid }],
    effective_type: "ssd",
    type: "ssd",
    class: "solid_state",
    container_type: "aggregate",
    state: "present",
    node: { name: aggregate.node },
    usable_size: Math.floor(aggregate.sizeBytes / 6),
  }),
};

export const infrastructureRoutes: Route[] = [
  ...svmRoutes,
  ...serviceRoutes,
  ...interfaceRoutes,
  ...readRoutes(aggregates),
  ...readRoutes(disks),
];
