import { z } from "zod";
import { DrError, messageOf } from "../lib/errors";
import { type SiteArray, siteArrays } from "./runtime/connection";

import * as lifecycle from "./runtime/lifecycle";
import { settled } from "./runtime/settled";

const inputsSchema = z.object({ sites: z.tuple([z.string().min(1), z.string().min(1)]) });
const outputsSchema = inputsSchema.extend({ created: z.boolean() });
type Inputs = z.output<typeof inputsSchema>;

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
    const before = await look();
    const created = before.every(({ peer }) => peer === undefined);
    return { id: inputs.sites.join("-"), outs: await establish(inputs, created) };
  },

  async read(id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    try {
      const ends = await look();
      if (ends.every(({ peer }) => peer === undefined)) return lifecycle.gone;
      return { id, props: stored(known, ends, known.created) };
    } catch (error) {
      // In a disaster a refresh goes on with what was known.
      if (DrError.is(error, "unreachable")) return { id, props: properties };
      throw error;
    }
  },

  async update(_id, olds, news) {
    const { created } = lifecycle.decode(outputsSchema, olds);
    return { outs: await establish(lifecycle.decode(inputsSchema, news), created) };
  },

  async delete(_id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    if (!known.created) return; // it was there before this stack and stays
    // ONTAP takes it away on both clusters, and refuses while a relationship uses it.
    for (const { array, peer } of await look()) if (peer !== undefined) await array.client.deleteSvmPeer(peer.uuid);
  },
});

interface End {
  readonly array: SiteArray;
  readonly cluster: string;
  readonly peer: Awaited<ReturnType<SiteArray["client"]["listSvmPeers"]>>[number] | undefined;
}

async function look(): Promise<readonly [End, End]> {
  const described = await Promise.all(
    siteArrays().map(async (array) => {
      const [{ name }, peers] = await Promise.all([array.client.getCluster(), array.client.listSvmPeers()]);
      return { array, cluster: name, peers };
    }),
  );
  const [a, b] = described;
  if (a === undefined || b === undefined) throw new RangeError("a pair has two sites");
  const end = (own: typeof a, other: typeof a): End => ({
    array: own.array,
    cluster: own.cluster,
    peer: own.peers.find(
      ({ peerSvm, peerCluster }) => peerSvm === other.array.site.svm && peerCluster === other.cluster,
    ),
  });
  return [end(a, b), end(b, a)];
}

/** Asked for on one side, accepted on the other; each part is skipped where it's done. */
async function establish(inputs: Inputs, created: boolean): Promise<lifecycle.Properties> {
  let asked = !created;
  try {
    const [first, second] = await look();
    if (first.peer === undefined && second.peer === undefined) {
      await first.array.client.createSvmPeer({ peerSvm: second.array.site.svm, peerCluster: second.cluster });
      asked = true;
    }
    const ends = await settled(look, async (now) => {
      for (const { array, peer } of now) if (peer?.state === "pending") await array.client.acceptSvmPeer(peer.uuid);
      return now.every(({ peer }) => peer?.state === "peered");
    });
    if (!ends.every(({ peer }) => peer?.state === "peered" && peer.applications.includes("snapmirror")))
      throw new DrError({
        code: "failure-state",
        attempted: `Peer the SVMs ${ends.map(({ array }) => array.site.svm).join(" and ")}`,
        seen: ends
          .map(
            ({ array, peer }) =>
              `${array.name}: ${peer?.state ?? "absent"} for ${peer?.applications.join(", ") || "no application"}`,
          )
          .join("; "),
        state: "The peering stays as it is now",
        remedy: "Look at it in ONTAP (`vserver peer show`): it has to be peered for snapmirror; then run again",
      });
    return stored(inputs, ends, created);
  } catch (error) {
    if (!asked) throw error;
    const outs = { sites: inputs.sites, created, states: {}, stateVersion: lifecycle.STATE_VERSION };
    throw lifecycle.unfinished(inputs.sites.join("-"), outs, messageOf(error), error);
  }
}

const stored = (inputs: Inputs, ends: readonly End[], created: boolean): lifecycle.Properties => ({
  sites: inputs.sites,
  created,
  states: Object.fromEntries(ends.map(({ array, peer }) => [array.name, peer?.state ?? "absent"])),
  stateVersion: lifecycle.STATE_VERSION,
});
