/** /cluster/peers, /svm/peers, /svm/peer-permissions. */
import { randomBytes, randomUUID } from "node:crypto";
import {
  created,
  find,
  inJob,
  keyRecord,
  ok,
  readRoutes,
  svmRef,
  type ApiRequest,
  type Resource,
  type Route,
} from "../api";
import { conflict, invalidValue, missingValue, notFound, refused, svmNotFound } from "../errors";
import { svmByName, type Cluster, type ClusterPeer, type PeerPermission, type SvmPeer } from "../state";
import {
  durationSeconds,
  FieldSet,
  flagAt,
  isObject,
  isoTime,
  listAt,
  requireText,
  textAt,
  textOf,
  type JsonObject,
} from "../wire";
import type { World } from "../world";

// ------------------------------------------------------------------------------------------------ clusters

const remoteOf = (world: World, peer: ClusterPeer): Cluster | undefined =>
  peer.remoteName === undefined ? undefined : world.clusterNamed(peer.remoteName);

export const clustersPeered = (world: World, cluster: Cluster, other: Cluster): boolean =>
  world.connected() &&
  [...cluster.clusterPeers.values()].some((p) => p.established && p.remoteName === other.name) &&
  [...other.clusterPeers.values()].some((p) => p.established && p.remoteName === cluster.name);

function peerState(world: World, cluster: Cluster, peer: ClusterPeer): string {
  if (!peer.established) return peer.remoteAddresses.length === 0 ? "unidentified" : "pending";
  const remote = remoteOf(world, peer);
  return remote && clustersPeered(world, cluster, remote) ? "available" : "unavailable";
}

const clusterPeers: Resource<ClusterPeer> = {
  path: "/cluster/peers",
  keys: ["uuid"],
  defaults: ["name"],
  fields: new FieldSet(
    "uuid,name,status.{state,update_time},authentication.{state,in_use,expiry_time},encryption.{proposed,state},remote.{name,ip_addresses,serial_number},peer_applications,initial_allowed_svms.{name,uuid},ipspace.{name,uuid},version.{full,generation,major,minor},ip_address",
  ),
  list: ({ cluster }) => [...cluster.clusterPeers.values()],
  render: (peer, { world, cluster }) => {
    const remote = peer.established ? remoteOf(world, peer) : undefined;
    const expired = !peer.established && peer.expiresMs < world.clock.now();
    return {
      uuid: peer.uuid,
      name: peer.name,
      status: { state: peerState(world, cluster, peer), update_time: isoTime(world.clock.now()) },
      authentication: {
        state: peer.established ? "ok" : expired ? "absent" : "pending",
        in_use: peer.established ? "ok" : "absent",
        ...(peer.established ? {} : { expiry_time: isoTime(peer.expiresMs) }),
      },
      encryption: {
        proposed: peer.encryption,
        state: peer.established && peer.encryption === "tls_psk" ? "tls_psk" : "none",
      },
      remote: {
        ...(peer.remoteName === undefined ? {} : { name: peer.remoteName }),
        ip_addresses: peer.remoteAddresses,
        ...(remote ? { serial_number: `1-80-${remote.uuid.slice(0, 6)}` } : {}),
      },
      peer_applications: peer.applications,
      initial_allowed_svms: peer.initialAllowedSvms.map((name) => ({ name })),
      ipspace: { name: "Default" },
      ...(remote
        ? {
            version: {
              full: `NetApp Release ${remote.version.join(".")}`,
              generation: remote.version[0],
              major: remote.version[1],
              minor: remote.version[2],
            },
          }
        : {}),
    };
  },
};

const clusterPeerBody = new FieldSet(
  "name,remote.{ip_addresses,name},authentication.{generate_passphrase,passphrase,expiry_time,in_use},encryption.proposed,peer_applications,initial_allowed_svms.{name,uuid},ipspace.{name,uuid},generate_passphrase",
);

/** Both sides have offered the same passphrase to each other: the relationship stands. */
function meet(world: World, cluster: Cluster, offer: ClusterPeer): void {
  const other = world.peerOf(cluster);
  if (!world.connected()) return;
  const names = (addresses: readonly string[], c: Cluster): boolean =>
    addresses.length === 0 || addresses.some((a) => c.config.interclusterAddresses.includes(a));
  const theirs = [...other.clusterPeers.values()].find(
    (p) =>
      !p.established &&
      p.passphrase === offer.passphrase &&
      p.expiresMs > world.clock.now() &&
      names(p.remoteAddresses, cluster),
  );
  if (!theirs || !names(offer.remoteAddresses, other)) return;
  const bind = (holder: Cluster, peer: ClusterPeer, remote: Cluster): void => {
    const anonymous = peer.remoteAddresses.length === 0;
    holder.clusterPeers.delete(peer.uuid);
    if (anonymous) peer.uuid = randomUUID();
    if (anonymous || peer.name.startsWith("Clus_")) peer.name = remote.name;
    peer.remoteName = remote.name;
    peer.remoteAddresses = [...remote.config.interclusterAddresses];
    peer.established = true;
    peer.passphrase = undefined;
    holder.clusterPeers.set(peer.uuid, peer);
  };
  bind(cluster, offer, other);
  bind(other, theirs, cluster);
}

function addressesIn(body: JsonObject): string[] {
  return (listAt(body, "remote.ip_addresses") ?? []).map((a) => {
    if (typeof a !== "string" || !/^[0-9a-fA-F.:]+$/.test(a))
      throw refused(4653368, `Invalid peer address "${textOf(a)}".`);
    return a;
  });
}

const clusterPeerRoutes: Route[] = [
  ...readRoutes(clusterPeers),
  {
    method: "POST",
    path: clusterPeers.path,
    body: clusterPeerBody,
    handle: (request) => {
      const { world, cluster, body } = request;
      const addresses = addressesIn(body);
      const given = textAt(body, "authentication.passphrase");
      const generate =
        flagAt(body, "authentication.generate_passphrase") ?? flagAt(body, "generate_passphrase") ?? false;
      if (addresses.some((a) => cluster.config.interclusterAddresses.includes(a)))
        throw refused(4653058, "A peer relationship with this cluster itself is not possible.");
      if (given === undefined && !generate)
        throw refused(4656077, "A passphrase is required, or authentication.generate_passphrase.");
      if (given !== undefined && generate) throw refused(4656081, "A passphrase cannot be both given and generated.");
      if (given !== undefined && addresses.length === 0)
        throw refused(4656069, "A passphrase needs remote.ip_addresses.");
      if (given !== undefined && given.length < 8)
        throw refused(4653236, "The passphrase has to have at least 8 characters.");
      const other = world.peerOf(cluster);
      if (
        [...cluster.clusterPeers.values()].some(
          (p) =>
            p.established &&
            p.remoteName === other.name &&
            addresses.some((a) => other.config.interclusterAddresses.includes(a)),
        )
      ) {
        throw refused(4653076, `A peer relationship with cluster "${other.name}" exists already.`);
      }
      const passphrase = given ?? randomBytes(18).toString("base64");
      const expiry = textAt(body, "authentication.expiry_time");
      const now = world.clock.now();
      const validSeconds = expiry === undefined ? 3600 : durationSeconds(expiry);
      const expiresMs = validSeconds === undefined ? Date.parse(expiry ?? "") : now + validSeconds * 1000;
      if (Number.isNaN(expiresMs)) throw invalidValue("authentication.expiry_time", expiry);
      if (expiresMs > now + 7 * 86_400_000) throw refused(4655058, "The expiry time may not be more than 7 days away.");
      if (expiresMs <= now) throw refused(4653229, "The expiry time is in the past.");
      const peer: ClusterPeer = {
        uuid: randomUUID(),
        name: textAt(body, "name") ?? textAt(body, "remote.name") ?? `Clus_${passphrase.slice(-4)}`,
        remoteName: undefined,
        remoteAddresses: addresses,
        passphrase,
        expiresMs,
        established: false,
        applications: (listAt(body, "peer_applications") ?? ["snapmirror"]).map(String),
        initialAllowedSvms: (listAt(body, "initial_allowed_svms") ?? []).map((s) =>
          isObject(s) ? textOf(s["name"] ?? "*") : textOf(s),
        ),
        encryption: textAt(body, "encryption.proposed") ?? "tls_psk",
      };
      if ([...cluster.clusterPeers.values()].some((p) => p.name === peer.name))
        throw refused(4653075, `A peer relationship named "${peer.name}" exists already.`);
      cluster.clusterPeers.set(peer.uuid, peer);
      meet(world, cluster, peer);
      const reply = created(clusterPeers, request, [peer], true);
      const record: JsonObject = {
        ...keyRecord(clusterPeers, request, peer),
        ...(generate
          ? {
              authentication: { passphrase, expiry_time: isoTime(expiresMs) },
              ip_address: cluster.config.interclusterAddresses[0] ?? "0.0.0.0",
            }
          : {}),
      };
      return { ...reply, body: { num_records: 1, records: [record] } };
    },
  },
  {
    method: "PATCH",
    path: `${clusterPeers.path}/{uuid}`,
    body: clusterPeerBody,
    handle: (request) => {
      const { world, cluster, body } = request;
      const peer = find(clusterPeers, request, [request.params["uuid"] ?? ""]);
      const addresses = addressesIn(body);
      if (addresses.length > 0) peer.remoteAddresses = addresses;
      const passphrase = textAt(body, "authentication.passphrase");
      peer.name = textAt(body, "name") ?? peer.name;
      if (passphrase !== undefined && !peer.established) {
        peer.passphrase = passphrase;
        peer.expiresMs = world.clock.now() + 3_600_000;
        meet(world, cluster, peer);
      }
      const allowed = listAt(body, "initial_allowed_svms");
      if (allowed) peer.initialAllowedSvms = allowed.map((s) => (isObject(s) ? textOf(s["name"] ?? "*") : textOf(s)));
      return ok();
    },
  },
  {
    method: "DELETE",
    path: `${clusterPeers.path}/{uuid}`,
    body: new FieldSet("force"),
    parameters: ["force"],
    handle: (request) => {
      const { cluster } = request;
      const peer = find(clusterPeers, request, [request.params["uuid"] ?? ""]);
      if ([...cluster.svmPeers.values()].some((p) => p.peerClusterName === peer.remoteName)) {
        throw refused(4653079, "Unable to delete peer relationship. Reason: it is in use by SVM peers.");
      }
      cluster.clusterPeers.delete(peer.uuid);
      return ok();
    },
  },
];

// ------------------------------------------------------------------------------------------------ SVMs

const svmPeers: Resource<SvmPeer> = {
  path: "/svm/peers",
  keys: ["uuid"],
  defaults: ["name"],
  fields: new FieldSet("uuid,name,svm.{name,uuid},peer.{svm.{name,uuid},cluster.{name,uuid}},state,applications,force"),
  list: ({ cluster }) => [...cluster.svmPeers.values()],
  svmOf: (p) => p.svmUuid,
  render: (p, { world, cluster }) => ({
    uuid: p.uuid,
    name: p.name,
    svm: svmRef(cluster, p.svmUuid),
    peer: {
      svm: { name: p.peerSvmName, uuid: p.peerSvmUuid },
      cluster: { name: p.peerClusterName, uuid: world.clusterNamed(p.peerClusterName)?.uuid },
    },
    state: p.state,
    applications: p.applications,
  }),
};

/** Is this SVM offered to the peer cluster in advance? */
function allowed(cluster: Cluster, svmUuid: string, from: Cluster): boolean {
  const svm = cluster.svms.get(svmUuid);
  const peer = [...cluster.clusterPeers.values()].find((p) => p.remoteName === from.name);
  if (!peer || !svm) return false;
  return (
    peer.initialAllowedSvms.some((name) => name === "*" || name === svm.name) ||
    cluster.peerPermissions.some((p) => p.clusterPeerUuid === peer.uuid && p.svmUuid === svmUuid)
  );
}

const counterpart = (world: World, p: SvmPeer): SvmPeer | undefined =>
  world.clusterNamed(p.peerClusterName)?.svmPeers.get(p.uuid);

function localSvm(request: ApiRequest): string {
  const { cluster, body } = request;
  const uuid = textAt(body, "svm.uuid");
  const name = textAt(body, "svm.name");
  if (uuid === undefined && name === undefined) throw missingValue("svm.name");
  const svm = uuid === undefined ? svmByName(cluster, name ?? "") : cluster.svms.get(uuid);
  if (!svm) throw svmNotFound(name ?? uuid ?? "");
  return svm.uuid;
}

const svmPeerRoutes: Route[] = [
  ...readRoutes(svmPeers),
  {
    method: "POST",
    path: svmPeers.path,
    body: new FieldSet("svm.{name,uuid},peer.{svm.{name,uuid},cluster.{name,uuid}},name,applications"),
    handle: (request) => {
      const { world, cluster, body } = request;
      const svmUuid = localSvm(request);
      const peerName = requireText(body, "peer.svm.name");
      const clusterName = textAt(body, "peer.cluster.name") ?? cluster.name;
      const applications = (listAt(body, "applications") ?? []).map(String);
      if (applications.length === 0) throw missingValue("applications");
      for (const a of applications)
        if (!["snapmirror", "flexcache", "lun_copy"].includes(a)) throw invalidValue("applications", a);
      const other = world.clusterNamed(clusterName);
      if (
        !other ||
        other === cluster ||
        ![...cluster.clusterPeers.values()].some((p) => p.established && p.remoteName === clusterName)
      ) {
        throw refused(9896095, `Cluster "${clusterName}" is not a peer of this cluster.`);
      }
      const uuid = randomUUID();
      const alias = textAt(body, "name") ?? peerName;
      const local = cluster.svms.get(svmUuid);
      const refuseTwice = (): void => {
        const there = [...cluster.svmPeers.values()].some(
          (p) => p.svmUuid === svmUuid && p.peerSvmName === peerName && p.peerClusterName === clusterName,
        );
        if (there)
          throw conflict(1, `duplicate entry: SVM "${local?.name ?? ""}" and SVM "${peerName}" are peers already`);
      };
      refuseTwice();
      if (
        svmByName(cluster, alias) ||
        [...cluster.svmPeers.values()].some((p) => p.name === alias && p.peerSvmName !== peerName)
      ) {
        throw refused(9896086, `Peer SVM name "${alias}" conflicts with a name on this cluster; give a local name.`);
      }
      const work = (): Promise<void> => {
        refuseTwice(); // another job may have been faster
        if (!clustersPeered(world, cluster, other))
          throw refused(6621034, `Cluster "${clusterName}" could not be contacted.`);
        const peerSvm = svmByName(other, peerName);
        if (!peerSvm || !local) throw refused(2621462, `SVM "${peerName}" does not exist on cluster "${clusterName}".`);
        const peered = allowed(other, peerSvm.uuid, cluster);
        const mine: SvmPeer = {
          uuid,
          name: alias,
          svmUuid,
          peerSvmName: peerName,
          peerSvmUuid: peerSvm.uuid,
          peerClusterName: clusterName,
          state: peered ? "peered" : "initiated",
          applications,
        };
        const nameThere = svmByName(other, local.name) ? `${local.name}.1` : local.name;
        cluster.svmPeers.set(uuid, mine);
        other.svmPeers.set(uuid, {
          uuid,
          name: nameThere,
          svmUuid: peerSvm.uuid,
          peerSvmName: local.name,
          peerSvmUuid: local.uuid,
          peerClusterName: cluster.name,
          state: peered ? "peered" : "pending",
          applications: [...applications],
        });
        return Promise.resolve();
      };
      return inJob(request, work, {
        location: `${svmPeers.path}/${uuid}`,
        svmUuid,
        records: () => [
          {
            uuid,
            name: alias,
            svm: svmRef(cluster, svmUuid),
            _links: { self: { href: `/api${svmPeers.path}/${uuid}` } },
          },
        ],
      });
    },
  },
  {
    method: "PATCH",
    path: `${svmPeers.path}/{uuid}`,
    body: new FieldSet("state,applications,name,uuid,svm.{name,uuid},peer.{svm.{name,uuid},cluster.{name,uuid}}"),
    handle: (request) => {
      const { world, cluster, body } = request;
      const peer = find(svmPeers, request, [request.params["uuid"] ?? ""]);
      const state = textAt(body, "state");
      const applications = listAt(body, "applications")?.map(String);
      const name = textAt(body, "name");
      if (state === undefined && applications === undefined && name === undefined) {
        throw refused(26345577, "One of applications, state or name is required.");
      }
      if (state !== undefined && !["peered", "rejected", "suspended"].includes(state)) {
        throw refused(26345576, `The state cannot be set to "${state}".`);
      }
      return inJob(
        request,
        () => {
          if (!clustersPeered(world, cluster, world.peerOf(cluster)))
            throw refused(6621034, `Cluster "${peer.peerClusterName}" could not be contacted.`);
          const other = counterpart(world, peer);
          if (!other) throw notFound();
          const from = peer.state;
          if (state === "peered" && !["pending", "suspended", "peered"].includes(from))
            throw refused(26345576, `An SVM peer relationship in state "${from}" is accepted on the peer cluster.`);
          if (state === "rejected" && from !== "pending")
            throw refused(26345576, `An SVM peer relationship in state "${from}" cannot be rejected.`);
          if (state === "suspended" && from !== "peered")
            throw refused(26345576, `An SVM peer relationship in state "${from}" cannot be suspended.`);
          if (state !== undefined) {
            peer.state = state as SvmPeer["state"];
            other.state = peer.state;
          }
          if (applications) {
            peer.applications = applications;
            other.applications = [...applications];
          }
          if (name !== undefined) peer.name = name;
          return Promise.resolve();
        },
        { svmUuid: peer.svmUuid },
      );
    },
  },
  {
    method: "DELETE",
    path: `${svmPeers.path}/{uuid}`,
    body: new FieldSet("force"),
    parameters: ["force"],
    handle: (request) => {
      const { world, cluster, query, body } = request;
      const peer = find(svmPeers, request, [request.params["uuid"] ?? ""]);
      const force = query.flag("force") || (flagAt(body, "force") ?? false);
      return inJob(
        request,
        () => {
          const pair = new Set([peer.svmUuid, peer.peerSvmUuid]);
          const inUse = world.clusters.some((c) =>
            [...c.relationships.values()].some((r) => pair.has(r.sourceSvmUuid) && pair.has(r.destinationSvmUuid)),
          );
          if (inUse)
            throw refused(
              9896077,
              "The SVM peer relationship is in use by SnapMirror. Delete and release its relationships first.",
            );
          const reached = clustersPeered(world, cluster, world.peerOf(cluster));
          if (!reached && !force)
            throw refused(6621034, `Cluster "${peer.peerClusterName}" could not be contacted; use force.`);
          cluster.svmPeers.delete(peer.uuid);
          if (reached) world.clusterNamed(peer.peerClusterName)?.svmPeers.delete(peer.uuid);
          return Promise.resolve();
        },
        { svmUuid: peer.svmUuid },
      );
    },
  },
];

const permissions: Resource<PeerPermission> = {
  path: "/svm/peer-permissions",
  keys: ["cluster_peer.uuid", "svm.uuid"],
  defaults: ["cluster_peer.name", "svm.name"],
  fields: new FieldSet("cluster_peer.{name,uuid},svm.{name,uuid},applications"),
  list: ({ cluster }) => cluster.peerPermissions,
  svmOf: (p) => p.svmUuid,
  render: (p, { cluster }) => ({
    cluster_peer: { uuid: p.clusterPeerUuid, name: cluster.clusterPeers.get(p.clusterPeerUuid)?.name },
    svm: svmRef(cluster, p.svmUuid),
    applications: p.applications,
  }),
};

const permissionRoutes: Route[] = [
  ...readRoutes(permissions),
  {
    method: "POST",
    path: permissions.path,
    body: new FieldSet("cluster_peer.{name,uuid},svm.{name,uuid},applications"),
    handle: (request) => {
      const { cluster, body } = request;
      const svmUuid = localSvm(request);
      const uuid = textAt(body, "cluster_peer.uuid");
      const name = textAt(body, "cluster_peer.name");
      const peer = [...cluster.clusterPeers.values()].find((p) =>
        uuid === undefined ? p.name === name : p.uuid === uuid,
      );
      if (!peer) throw notFound("cluster_peer.name");
      if (cluster.peerPermissions.some((p) => p.clusterPeerUuid === peer.uuid && p.svmUuid === svmUuid)) {
        throw conflict(9896057, "The SVM peer permission exists already.");
      }
      const permission = {
        clusterPeerUuid: peer.uuid,
        svmUuid,
        applications: (listAt(body, "applications") ?? ["snapmirror"]).map(String),
      };
      cluster.peerPermissions.push(permission);
      return created(permissions, request, [permission]);
    },
  },
  {
    method: "DELETE",
    path: `${permissions.path}/{peer}/{svm}`,
    handle: (request) => {
      const found = find(permissions, request, [request.params["peer"] ?? "", request.params["svm"] ?? ""]);
      request.cluster.peerPermissions = request.cluster.peerPermissions.filter((p) => p !== found);
      return ok();
    },
  },
];

export const peerRoutes: Route[] = [...clusterPeerRoutes, ...svmPeerRoutes, ...permissionRoutes];
