import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { DrError, messageOf } from "../lib/errors";
import type { OntapClient } from "../lib/ontap/client";
import { type SiteArray, siteArrays } from "./runtime/connection";
import * as lifecycle from "./runtime/lifecycle";
import { stopSignal } from "./runtime/orphan";
import type { ObservedMirror } from "./snapmirror-relationship";

type Mirror = Awaited<ReturnType<OntapClient["listMirrors"]>>[number];
type FlexVol = Awaited<ReturnType<OntapClient["listFlexVols"]>>[number];

const inputsSchema = z.object({
  flexVol: z.string().min(1),
  policy: z.string().min(1),
  schedule: z.string().min(1),
  baselineTimeoutSeconds: z.number().int().positive().default(3600),
});
type Inputs = z.output<typeof inputsSchema>;

const outputsSchema = inputsSchema.extend({ created: z.boolean() });

export const provider = lifecycle.defineProvider({
  check(_olds, news) {
    return Promise.resolve({ inputs: news, failures: lifecycle.faultsOf(inputsSchema, news) });
  },

  diff(_id, olds, news) {
    const changed = lifecycle.changedFields(olds, news, ["flexVol", "policy", "schedule"]);
    return Promise.resolve({ changes: changed.length > 0, replaces: changed.filter((field) => field === "flexVol") });
  },

  async create(properties) {
    const inputs = lifecycle.decode(inputsSchema, properties);
    const before = await look(inputs.flexVol);
    requireBoth(before, inputs.flexVol);
    const created = before.mirrors.length === 0;
    if (created) await createMirror(inputs, before);
    return { id: inputs.flexVol, outs: await initialise(inputs, created) };
  },

  async read(id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    const seen = await look(known.flexVol);
    if (seen.mirrors.length === 0 && seen.unreachable.length === 0) return lifecycle.gone;
    return { id, props: stored(known, known.created, observed(seen)) };
  },

  /**
   * Also the way on after a first transfer that took too long. A policy or schedule counts for a relationship that is made
   * here; on one that exists it is changed in ONTAP, and the output shows which it has.
   */
  async update(_id, olds, news) {
    const inputs = lifecycle.decode(inputsSchema, news);
    const { created } = lifecycle.decode(outputsSchema, olds);
    return { outs: await initialise(inputs, created) };
  },

  async delete(_id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    if (!known.created) return; // it was there before this stack and stays
    const seen = await look(known.flexVol);
    requireBoth(seen, known.flexVol);
    // A destination keeps its copies of deleted LUNs until the next transfer: only a writable side tells what is in use.
    const writable = seen.volumes.filter(({ volume }) => volume?.type === "rw");
    const luns = (await Promise.all(writable.map(({ on }) => on.client.listLuns([known.flexVol])))).flat();
    if (seen.mirrors.length > 0 && luns.length > 0)
      throw new DrError({
        code: "precondition",
        attempted: `Delete the SnapMirror relationship of ${known.flexVol}`,
        seen: `the FlexVol holds what it protects: ${luns.length} LUN${luns.length === 1 ? "" : "s"}, e.g. ${luns[0]?.path}`,
        state: "The relationship stands as it was",
        remedy: "Move the volumes away first, or let this stack forget it with `pulumi state delete`",
      });
    for (const { mirror, at, from } of seen.mirrors) {
      // The source first: killed between the two, the next delete still finds the relationship at its destination.
      await from.client.releaseMirror({ sourceFlexVol: known.flexVol, destinationSvm: at.site.svm });
      await at.client.deleteMirror(mirror.uuid);
    }
  },
});

// --------------------------------------------------------------------------------------------------------------- reading

interface Seen {
  /** Between the two SVMs, either way round; a relationship is listed by its destination's cluster. */
  readonly mirrors: readonly { readonly mirror: Mirror; readonly at: SiteArray; readonly from: SiteArray }[];
  readonly volumes: readonly { readonly on: SiteArray; readonly volume: FlexVol | undefined }[];
  readonly unreachable: readonly string[];
}

/** Both sites side by side. One that doesn't answer is said so: in a disaster the other one's word has to do. */
async function look(flexVol: string): Promise<Seen> {
  const sites = siteArrays();
  const looked = await Promise.all(
    sites.map(async (on) => {
      try {
        const [mirrors, volumes] = await Promise.all([on.client.listMirrors([flexVol]), on.client.listFlexVols()]);
        return { on, mirrors, volume: volumes.find(({ name }) => name === flexVol), unreachable: false };
      } catch (error) {
        if (!DrError.is(error, "unreachable")) throw error;
        return { on, mirrors: [], volume: undefined, unreachable: true };
      }
    }),
  );
  return {
    mirrors: looked.flatMap(({ on, mirrors }) => {
      const from = sites.find((site) => site !== on);
      if (from === undefined) return [];
      return mirrors
        .filter(({ source }) => source.svm === from.site.svm && source.flexVol === flexVol)
        .map((mirror) => ({ mirror, at: on, from }));
    }),
    volumes: looked.map(({ on, volume }) => ({ on, volume })),
    unreachable: looked.filter(({ unreachable }) => unreachable).map(({ on }) => on.name),
  };
}

function requireBoth(seen: Seen, flexVol: string): void {
  if (seen.unreachable.length === 0) return;
  throw new DrError({
    code: "unreachable",
    attempted: `Set up or remove the SnapMirror relationship of ${flexVol}`,
    seen: `the array of ${seen.unreachable.join(" and ")} doesn't answer`,
    state: "Nothing was changed",
    remedy: "Run again when both arrays answer",
  });
}

function observed(seen: Seen): ObservedMirror {
  const [first, second] = seen.mirrors;
  const { unreachable } = seen;
  if (first === undefined) return { state: unreachable.length > 0 ? "unknown" : "absent", healthy: false, unreachable };
  const { mirror, at, from } = first;
  return {
    source: from.name,
    destination: at.name,
    // Both clusters may hold one for a moment while it's turned round.
    state: second === undefined ? mirror.state : `${mirror.state}, and the other way round ${second.mirror.state}`,
    healthy: mirror.healthy && second === undefined,
    unreachable,
    ...(mirror.policy === undefined ? {} : { policy: mirror.policy }),
  };
}

const stored = (inputs: Inputs, created: boolean, mirror: ObservedMirror): lifecycle.Properties => ({
  ...inputs,
  created,
  observed: mirror,
  stateVersion: lifecycle.STATE_VERSION,
});

// -------------------------------------------------------------------------------------------------------------- changing

/** Onto a dp volume, or onto one that is made here because the other site has none: there is nothing to be overwritten. */
async function createMirror(inputs: Inputs, seen: Seen): Promise<void> {
  const source = seen.volumes.find(({ volume }) => volume?.type === "rw");
  const destination = seen.volumes.find(({ volume }) => volume === undefined || volume.type === "dp");
  if (source?.volume === undefined || destination === undefined) {
    const found = seen.volumes.map(({ on, volume }) => `${on.name} has ${volume ? `it as ${volume.type}` : "none"}`);
    throw new DrError({
      code: "precondition",
      attempted: `Create the SnapMirror relationship of ${inputs.flexVol}`,
      seen: `there is none, and ${found.join(", ")}; one end must be rw, and the other an empty dp volume or absent`,
      state: "Nothing was changed: which side's data counts is not for this software to guess",
      remedy: "Delete the FlexVol of the standby site, or make it anew with type dp, and run again",
    });
  }
  await destination.on.client.createDestinationVolume({ name: inputs.flexVol, sizeBytes: source.volume.sizeBytes });
  await destination.on.client.createMirror({
    sourceSvm: source.on.site.svm,
    destinationSvm: destination.on.site.svm,
    flexVol: inputs.flexVol,
    policy: inputs.policy,
    schedule: inputs.schedule,
  });
}

/**
 * Starts the first transfer where there never was one, waits for it, and gives the outputs. Any other state is reported
 * as it is. What fails from here on leaves a relationship that exists: stored as unfinished, the next run goes on here.
 */
async function initialise(inputs: Inputs, created: boolean): Promise<lifecycle.Properties> {
  const deadline = Date.now() + inputs.baselineTimeoutSeconds * 1000;
  let seen: Seen | undefined;
  let asked = false;
  try {
    for (let waitMs = 200; ; waitMs = Math.min(waitMs * 2, 10_000)) {
      seen = await look(inputs.flexVol);
      const [first] = seen.mirrors;
      if (first === undefined || first.mirror.state !== "uninitialized") return stored(inputs, created, observed(seen));
      if (!asked) {
        requireDp(seen, first.at);
        await first.at.client.setMirrorState(first.mirror.uuid, "snapmirrored");
        asked = true;
      }
      if (Date.now() > deadline)
        throw new DrError({
          code: "wait-timeout",
          attempted: `Initialise the SnapMirror relationship of ${inputs.flexVol}`,
          seen: `still uninitialized after ${inputs.baselineTimeoutSeconds} s, ${first.mirror.transfer?.bytesTransferred ?? 0} bytes transferred`,
          state: "The relationship exists and its first transfer goes on",
          remedy: "Run `pulumi up` again: it waits on",
        });
      await sleep(waitMs, undefined, { signal: stopSignal });
    }
  } catch (error) {
    const mirror = seen === undefined ? { state: "unknown", healthy: false, unreachable: [] } : observed(seen);
    throw lifecycle.unfinished(inputs.flexVol, stored(inputs, created, mirror), messageOf(error), error);
  }
}

function requireDp(seen: Seen, destination: SiteArray): void {
  const volume = seen.volumes.find(({ on }) => on === destination)?.volume;
  if (volume?.type === "dp") return;
  throw new DrError({
    code: "precondition",
    attempted: `Initialise the SnapMirror relationship onto ${destination.name}`,
    seen: `its destination is ${volume?.type ?? "missing"}, not dp: a transfer would overwrite it`,
    state: "The relationship stands as it was",
    remedy: "Make the destination anew as an empty dp volume",
  });
}
