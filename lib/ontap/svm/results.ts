import { z } from "zod";
import { identified, named } from "../wire";

export interface Svm {
  readonly uuid: string;
  /** running, stopped, starting, stopping, … */
  readonly state: string;
}

export interface SvmPeer {
  /** The same on both clusters (ansible na_ontap_vserver_peer). */
  readonly uuid: string;
  /** This cluster's name for the peer SVM: what paths of relationships say. */
  readonly localName: string;
  readonly svm: string;
  readonly peerSvm: string;
  readonly peerCluster: string;
  /** initiated (waits for the other side), pending (waits for us), peered, initializing, rejected, suspended. */
  readonly state: string;
  readonly applications: readonly string[];
}

export const svmBody = z.object({ uuid: z.string(), state: z.string(), aggregates: z.array(named).optional() });

export const svmPeerBody = identified
  .extend({
    svm: named,
    peer: z.object({ svm: named, cluster: named }),
    state: z.string(),
    applications: z.array(z.string()).optional(),
  })
  .transform((peer): SvmPeer => ({
    uuid: peer.uuid,
    localName: peer.name,
    svm: peer.svm.name,
    peerSvm: peer.peer.svm.name,
    peerCluster: peer.peer.cluster.name,
    state: peer.state,
    applications: peer.applications ?? [],
  }));
