import { z } from "zod";
import { DrError, messageOf } from "../lib/errors";
import { type SiteArray, siteArrays } from "./runtime/connection";
import * as lifecycle from "./runtime/lifecycle";
import { settled } from "./runtime/settled";

const inputsSchema = z.object({ sites: z.tuple([z.string().min(1), z.string().min(1)]) });
const outputsSchema = inputsSchema.extend({ created: z.boolean() });
type Inputs = z.output<typeof inputsSchema>;

/** ONTAP's words for a peer that is or was in force; everything else is an offer that nobody has taken. */
const ESTABLISHED = ["available", "partial", "unavailable"];

export const provider = lifecycle.defineProvider({
  check(_olds, news) {
    return Promise.resolve({ inputs: news, failures: lifecycle.faultsOf(inputsSchema, news) });
  },

  diff(_id, olds, news) {
    const changed = lifecycle.changedFields(olds, news, ["sites"]);
    return Promise.resolve({ changes: changed.length > 0, replaces: changed });
  },

  async create(properties) {
    const inputs = lifecycle.decode(inputsSchema, properties);
    const ends = await look();
    const id = inputs.sites.join("-");
    const [first, second] = ends;
    if (first.established && second.established) return { id, outs: stored(inputs, ends, false) };
    if (first.established || second.established) throw halfPeered(ends);
    // An offer's passphrase is told once: one that was made by a run that died can't be taken any more, and goes.
    for (const { array, offers } of ends) for (const uuid of offers) await array.client.deleteClusterPeer(uuid);
    const { passphrase } = await first.array.client.createClusterPeerOffer({ remoteAddresses: second.addresses });
    await second.array.client.acceptClusterPeer({ remoteAddresses: first.addresses, passphrase });
    return { id, outs: await establish(id, inputs, true) };
  },

  async read(id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    try {
      const ends = await look();
      if (!ends.some(({ established }) => established)) return lifecycle.gone;
      return { id, props: stored(known, ends, known.created) };
    } catch (error) {
      // In a disaster a refresh goes on with what was known.
      if (DrError.is(error, "unreachable")) return { id, props: properties };
      throw error;
    }
  },

  async update(id, olds, news) {
    const { created } = lifecycle.decode(outputsSchema, olds);
    return { outs: await establish(id, lifecycle.decode(inputsSchema, news), created) };
  },

  async delete(_id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    if (!known.created) return; // it was there before this stack and stays
    // ONTAP refuses while an SVM peer uses it; absent already is success, so a delete that was interrupted goes on.
    for (const { array, peer } of await look()) if (peer !== undefined) await array.client.deleteClusterPeer(peer.uuid);
  },
});

interface End {
  readonly array: SiteArray;
  /** Intercluster addresses of this end: as declared, else as its cluster lists them. */
  readonly addresses: readonly string[];
  /** This cluster's record of the other one. */
  readonly peer: { readonly uuid: string; readonly name: string; readonly state: string } | undefined;
  readonly established: boolean;
  /** Offers to the other end that weren't taken. */
  readonly offers: readonly string[];
}

async function look(): Promise<readonly [End, End]> {
  const described = await Promise.all(
    siteArrays().map(async (array) => {
      const declared = array.site.ontap.interclusterAddresses;
      const [{ name }, peers, listed] = await Promise.all([
        array.client.getCluster(),
        array.client.listClusterPeers(),
        declared.length > 0 ? declared : array.client.listInterclusterAddresses(),
      ]);
      if (listed.length === 0)
        throw new DrError({
          code: "config",
          attempted: `Peer the clusters of ${siteArrays()
            .map((one) => one.name)
            .join(" and ")}`,
          seen: `the cluster of ${array.name} has no enabled intercluster interface`,
          state: "Nothing was changed",
          remedy: `Make one in ONTAP, or declare pair.sites.${array.name}.ontap.interclusterAddresses`,
        });
      return { array, cluster: name, peers, addresses: listed };
    }),
  );
  const [a, b] = described;
  if (a === undefined || b === undefined) throw new RangeError("a pair has two sites");
  const end = (own: typeof a, other: typeof a): End => {
    const toOther = own.peers.filter(
      ({ name, remoteAddresses }) =>
        name === other.cluster || remoteAddresses.some((address) => other.addresses.includes(address)),
    );
    const peer = toOther.find(({ state }) => ESTABLISHED.includes(state));
    const offers = toOther.filter(({ state }) => !ESTABLISHED.includes(state)).map(({ uuid }) => uuid);
    return { array: own.array, addresses: own.addresses, peer, established: peer !== undefined, offers };
  };
  return [end(a, b), end(b, a)];
}

/** Both clusters see each other some seconds after the offer was taken. */
async function establish(id: string, inputs: Inputs, created: boolean): Promise<lifecycle.Properties> {
  let outs: lifecycle.Properties = { sites: inputs.sites, created, states: {}, stateVersion: lifecycle.STATE_VERSION };
  try {
    const ends = await settled(look, (now) => now.every(({ peer }) => peer?.state === "available"));
    outs = stored(inputs, ends, created);
    if (ends.every(({ established }) => established)) return outs;
    throw new DrError({
      code: "failure-state",
      attempted: "Peer the two clusters",
      seen: `not established on both sides: ${JSON.stringify(outs["states"])}`,
      state: "The peering stays as it is now",
      remedy:
        "Look at it in ONTAP (`cluster peer show`): mostly the intercluster network is in the way; then run again",
    });
  } catch (error) {
    throw lifecycle.unfinished(id, outs, messageOf(error), error);
  }
}

function halfPeered(ends: readonly End[]): DrError {
  const state = ends.map(
    ({ array, peer }) => `${array.name} ${peer === undefined ? "knows no peer" : `has it as ${peer.state}`}`,
  );
  return new DrError({
    code: "precondition",
    attempted: "Peer the two clusters",
    seen: `one side has a peer that the other one doesn't know: ${state.join(", ")}`,
    state: "Nothing was changed",
    remedy: "Delete the one-sided peer in ONTAP (`cluster peer delete`), then run again",
  });
}

const stored = (inputs: Inputs, ends: readonly End[], created: boolean): lifecycle.Properties => ({
  sites: inputs.sites,
  created,
  states: Object.fromEntries(ends.map(({ array, peer }) => [array.name, peer?.state ?? "absent"])),
  stateVersion: lifecycle.STATE_VERSION,
});
