import { DrError } from "../../errors";
import type { OntapApi } from "../api";
import { isNotFound } from "../error-codes";
import { svmBody, svmPeerBody } from "./results";
import type { Svm, SvmPeer } from "./results";
import { svmPeersUrl, svmPeerUrl, svmsUrl } from "./urls";

/** The SVM, with the aggregates it is limited to (none: not limited). */
export async function getSvm(api: OntapApi, svm: string): Promise<Svm & { readonly aggregates: readonly string[] }> {
  const attempted = `Read the SVM ${svm}`;
  const [found] = await api.list(attempted, svmsUrl, svmBody, { name: svm, fields: "uuid,state,aggregates.name" });
  if (found === undefined)
    throw new DrError({
      code: "config",
      attempted,
      seen: "the cluster has no data SVM of this name, or doesn't show it to this user",
      remedy: "Correct the site's svm, or the user's role",
    });
  return { uuid: found.uuid, state: found.state, aggregates: (found.aggregates ?? []).map((each) => each.name) };
}

/** While the peer cluster can't be reached this was seen to take more than a minute: only for use while both are up. */
export function listSvmPeers(api: OntapApi, svm: string): Promise<readonly SvmPeer[]> {
  return api.list(`List the peers of SVM ${svm}`, svmPeersUrl, svmPeerBody, {
    "svm.name": svm,
    fields: "uuid,name,svm.name,peer.svm.name,peer.cluster.name,state,applications",
  });
}

/**
 * Asks the peer SVM for peering; it accepts on its own cluster, unless that lets it in by itself. One that exists is
 * success, in whatever state it is. Resolves to the record as it is then.
 */
export async function createSvmPeer(
  api: OntapApi,
  svm: string,
  o: { readonly peerSvm: string; readonly peerCluster: string },
): Promise<SvmPeer> {
  const attempted = `Peer the SVM ${svm} with ${o.peerCluster}:${o.peerSvm}`;
  const find = async () =>
    (await listSvmPeers(api, svm)).find((peer) => peer.peerSvm === o.peerSvm && peer.peerCluster === o.peerCluster);
  const existing = await find();
  if (existing !== undefined) return existing;
  const made = await api.converge(
    () =>
      api.change({
        method: "POST",
        path: svmPeersUrl,
        body: {
          svm: { name: svm },
          peer: { svm: { name: o.peerSvm }, cluster: { name: o.peerCluster } },
          applications: ["snapmirror"],
        },
        attempted,
      }),
    find,
  );
  if (made !== undefined) return made;
  return api.poll({
    attempted,
    awaited: "the new record to be listed",
    timeoutMs: 60_000,
    read: async () => {
      const peer = await find();
      return peer === undefined ? { seen: "it isn't listed" } : { done: peer };
    },
  });
}

/** Accepts what the peer SVM asked for; peered already = success. */
export async function acceptSvmPeer(api: OntapApi, uuid: string): Promise<void> {
  const attempted = `Accept the SVM peer ${uuid}`;
  const peered = async () => {
    const peer = await api.get(attempted, svmPeerUrl(uuid), svmPeerBody);
    return peer.state === "peered" ? peer : undefined;
  };
  if ((await peered()) !== undefined) return;
  await api.converge(
    () => api.change({ method: "PATCH", path: svmPeerUrl(uuid), body: { state: "peered" }, attempted }),
    peered,
  );
}

/** Absent already = success; refused while relationships use it. */
export async function deleteSvmPeer(api: OntapApi, uuid: string): Promise<void> {
  try {
    await api.change({ method: "DELETE", path: svmPeerUrl(uuid), attempted: `Delete the SVM peer ${uuid}` });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
