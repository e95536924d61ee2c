import { DrError } from "../../errors";
import type { OntapApi } from "../api";
import { isNotFound } from "../error-codes";
import { clusterBody, interfaceBody, offerBody, peerBody, scheduleBody } from "./results";
import type { Cluster, ClusterPeer, ClusterPeerOffer, Schedule } from "./results";
import { clusterUrl, interfacesUrl, peersUrl, peerUrl, schedulesUrl } from "./urls";

export function getCluster(api: OntapApi): Promise<Cluster> {
  return api.get("Read the cluster's version", clusterUrl, clusterBody, { fields: "name,version" });
}

/** Addresses of the enabled intercluster interfaces. */
export async function listInterclusterAddresses(api: OntapApi): Promise<readonly string[]> {
  const interfaces = await api.list("List the intercluster interfaces", interfacesUrl, interfaceBody, {
    services: "intercluster_core",
    fields: "ip.address,enabled",
  });
  return interfaces.filter((each) => each.enabled).map((each) => each.ip.address);
}

export function listClusterPeers(api: OntapApi): Promise<readonly ClusterPeer[]> {
  return api.list("List the cluster's peers", peersUrl, peerBody, {
    fields: "uuid,name,status.state,authentication.state,remote.ip_addresses",
  });
}

/**
 * Offers peering to the cluster behind these addresses, with a passphrase that ONTAP makes. A repeat makes a second
 * offer or is refused, and the first one's passphrase is told nowhere: look at `listClusterPeers` first, and delete an
 * offer whose passphrase was lost.
 */
export async function createClusterPeerOffer(
  api: OntapApi,
  o: { readonly remoteAddresses: readonly string[] },
): Promise<ClusterPeerOffer> {
  const attempted = `Offer cluster peering to ${o.remoteAddresses.join(", ")}`;
  const { body } = await api.change({
    method: "POST",
    path: peersUrl,
    body: { remote: { ip_addresses: o.remoteAddresses }, authentication: { generate_passphrase: true } },
    attempted,
  });
  const offer = offerBody.safeParse(body).data;
  if (offer === undefined)
    throw new DrError({
      code: "remote",
      attempted,
      seen: "the answer holds no passphrase, needed the one that was to be generated",
      state: "The offer stands at this cluster.",
      remedy: "Delete the peer that isn't available, then repeat",
      context: { method: "POST", url: peersUrl },
    });
  return offer;
}

/** Accepts the other cluster's offer; afterwards both are peered. */
export async function acceptClusterPeer(
  api: OntapApi,
  o: { readonly remoteAddresses: readonly string[]; readonly passphrase: string },
): Promise<void> {
  await api.change({
    method: "POST",
    path: peersUrl,
    body: { remote: { ip_addresses: o.remoteAddresses }, authentication: { passphrase: o.passphrase } },
    attempted: `Accept cluster peering of ${o.remoteAddresses.join(", ")}`,
  });
}

/** On this cluster only: the other one keeps its own record. Absent already = success; refused while SVM peers use it. */
export async function deleteClusterPeer(api: OntapApi, uuid: string): Promise<void> {
  try {
    await api.change({ method: "DELETE", path: peerUrl(uuid), attempted: `Delete the cluster peer ${uuid}` });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

export async function findSchedule(api: OntapApi, name: string): Promise<Schedule | undefined> {
  const schedules = await api.list(`Find the schedule "${name}"`, schedulesUrl, scheduleBody, {
    name,
    fields: "uuid,name,type",
  });
  return schedules[0];
}
