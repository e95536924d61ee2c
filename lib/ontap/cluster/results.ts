import { z } from "zod";
import { identified } from "../wire";

export interface Cluster {
  readonly name: string;
  /** `<generation>.<major>.<minor>`; ONTAP tells the patch level only within a sentence. */
  readonly version: string;
}

/** A cluster that this one is peered with, or an offer that waits for it. */
export interface ClusterPeer {
  /** Changes when the other cluster accepts an offer that didn't name it. */
  readonly uuid: string;
  readonly name: string;
  /** available, partial, unavailable, pending, unidentified. */
  readonly state: string;
  /** ok, absent, pending, problem. */
  readonly authentication: string;
  readonly remoteAddresses: readonly string[];
}

export interface ClusterPeerOffer {
  readonly uuid: string;
  readonly name: string;
  /** Secret; told once. */
  readonly passphrase: string;
  /** ISO 8601; an hour from now unless the cluster says otherwise. */
  readonly expiryTime?: string;
}

export interface Schedule {
  readonly uuid: string;
  readonly name: string;
  /** Only cron schedules can be a relationship's (6619714). */
  readonly type: "cron" | "interval" | (string & {});
}

export const clusterBody = z
  .object({ name: z.string(), version: z.object({ generation: z.number(), major: z.number(), minor: z.number() }) })
  .transform(({ name, version }): Cluster => ({
    name,
    version: `${version.generation}.${version.major}.${version.minor}`,
  }));

export const peerBody = identified
  .extend({
    status: z.object({ state: z.string() }).optional(),
    authentication: z.object({ state: z.string().optional() }).optional(),
    remote: z.object({ ip_addresses: z.array(z.string()).optional() }).optional(),
  })
  .transform((peer): ClusterPeer => ({
    uuid: peer.uuid,
    name: peer.name,
    state: peer.status?.state ?? "unidentified",
    authentication: peer.authentication?.state ?? "absent",
    remoteAddresses: peer.remote?.ip_addresses ?? [],
  }));

/** POST answers with records even where they aren't asked for (ansible na_ontap_cluster_peer reads them so). */
export const offerBody = z
  .object({
    records: z
      .array(
        identified.extend({ authentication: z.object({ passphrase: z.string(), expiry_time: z.string().optional() }) }),
      )
      .length(1),
  })
  .transform(({ records }): ClusterPeerOffer | undefined => {
    const [offer] = records;
    if (offer === undefined) return undefined;
    const { passphrase, expiry_time: expiryTime } = offer.authentication;
    return { uuid: offer.uuid, name: offer.name, passphrase, ...(expiryTime === undefined ? {} : { expiryTime }) };
  });

export const scheduleBody = identified.extend({ type: z.string() });

export const interfaceBody = z.object({ ip: z.object({ address: z.string() }), enabled: z.boolean() });
