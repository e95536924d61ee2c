import { DrError } from "../../errors";
import type { OntapApi } from "../api";
import { errorCodes, isNotFound, vendorCodeOf } from "../error-codes";
import { anyOf } from "../wire";
import { destinationBody, mirrorBody, mirrorFields, pathOf, policyBody, transferBody, transferFields } from "./results";
import type { Mirror, Policy, Transfer } from "./results";
import { policiesUrl, relationshipsUrl, relationshipUrl, transfersUrl, transferUrl } from "./urls";

/**
 * A relationship lives on its destination's cluster; the source's cluster only remembers that there is a destination.
 * Changes of a relationship are jobs, those of a transfer aren't. A job's success says that the transition was accepted.
 */

const ends = (mirror: Pick<Mirror, "source" | "destination">) =>
  `${pathOf(mirror.source)} → ${pathOf(mirror.destination)}`;

const isTransferring = (mirror: Mirror) =>
  mirror.transfer?.state === "transferring" || mirror.transfer?.state === "queued";

/** Relationships of these FlexVols with their destination on this SVM. */
export async function listMirrors(api: OntapApi, svm: string, flexVols: readonly string[]): Promise<readonly Mirror[]> {
  if (flexVols.length === 0) return [];
  const paths = flexVols.map((flexVol) => pathOf({ svm, flexVol }));
  return api.list(`List the relationships to ${paths.join(", ")}`, relationshipsUrl, mirrorBody, {
    "destination.path": anyOf(paths),
    fields: mirrorFields,
  });
}

function getMirror(api: OntapApi, attempted: string, uuid: string): Promise<Mirror> {
  return api.get(attempted, relationshipUrl(uuid), mirrorBody, { fields: mirrorFields });
}

// ------------------------------------------------------------------------------------------------------------ transfers

/** Those that run and those of the last 24 hours; queued ones aren't listed. */
function listTransfers(api: OntapApi, mirrorUuid: string): Promise<readonly Transfer[]> {
  return api.list(`List the transfers of relationship ${mirrorUuid}`, transfersUrl(mirrorUuid), transferBody, {
    fields: transferFields,
  });
}

export function getTransfer(api: OntapApi, mirrorUuid: string, transferUuid: string): Promise<Transfer> {
  return api.get(
    `Read transfer ${transferUuid} of relationship ${mirrorUuid}`,
    transferUrl(mirrorUuid, transferUuid),
    transferBody,
    { fields: transferFields },
  );
}

/**
 * Starts an update (a baseline while uninitialized) and resolves to its uuid: never that of a transfer that was known
 * before. While another one runs, a `remote` error that is retryable. A repeat after a lost answer waits for that
 * transfer in the same way, and then makes another one.
 */
export async function startTransfer(api: OntapApi, mirrorUuid: string): Promise<string> {
  const mirror = await getMirror(api, `Read relationship ${mirrorUuid}`, mirrorUuid);
  const attempted = `Update SnapMirror ${ends(mirror)}`;
  const before = new Set((await listTransfers(api, mirrorUuid)).map((transfer) => transfer.uuid));
  if (mirror.transfer?.uuid !== undefined) before.add(mirror.transfer.uuid);
  let location: string | undefined;
  try {
    ({ location } = await api.change({ method: "POST", path: transfersUrl(mirrorUuid), body: {}, attempted }));
  } catch (error) {
    const code = vendorCodeOf(error);
    if (!DrError.is(error) || (code !== errorCodes.updateFailed && code !== errorCodes.initializeFailed)) throw error;
    // The code covers every reason; what the relationship shows is surer than the reason's text.
    if (error.retryable || !isTransferring(await getMirror(api, attempted, mirrorUuid))) throw error;
    throw retryable(error);
  }
  const named = location === undefined ? undefined : /\/transfers\/([0-9a-f-]+)$/i.exec(location)?.[1];
  if (named !== undefined) return named;
  return api.poll({
    attempted,
    awaited: "the new transfer to be listed",
    timeoutMs: 60_000,
    read: async () => {
      const started = (await listTransfers(api, mirrorUuid)).find((transfer) => !before.has(transfer.uuid));
      return started === undefined ? { seen: "only older ones are listed" } : { done: started.uuid };
    },
  });
}

function retryable(error: DrError): DrError {
  return new DrError({
    code: error.code,
    attempted: error.attempted,
    seen: error.seen,
    state: "Another transfer of this relationship is running.",
    retryable: true,
    context: error.context,
    cause: error,
  });
}

/** Ended or unknown already = success. */
export async function abortTransfer(api: OntapApi, mirrorUuid: string, transferUuid: string): Promise<void> {
  try {
    await api.change({
      method: "PATCH",
      path: transferUrl(mirrorUuid, transferUuid),
      body: { state: "aborted" },
      attempted: `Abort transfer ${transferUuid} of relationship ${mirrorUuid}`,
    });
  } catch (error) {
    if (isNotFound(error)) return;
    if (vendorCodeOf(error) !== errorCodes.transferStateInvalid) throw error;
    const { state } = await getTransfer(api, mirrorUuid, transferUuid);
    if (state === "transferring" || state === "queued") throw error;
  }
}

// --------------------------------------------------------------------------------------------------------------- states

const verbs = { paused: "Quiesce", broken_off: "Break", snapmirrored: "Initialize, resume or resync" } as const;

/** There, or on the way there without anything more from us. */
function isReached(mirror: Mirror, state: keyof typeof verbs): boolean {
  if (mirror.state === state) return true;
  if (state !== "snapmirrored") return false;
  if (mirror.state === "in_sync") return true;
  // No update can run in these states: it's the baseline, or a resync.
  return (mirror.state === "uninitialized" || mirror.state === "broken_off") && isTransferring(mirror);
}

/**
 * Asks for a state and waits until the job has ended; the state itself may follow later. Reached or under way already =
 * success, also where a refusal or a lost answer turns out to have been that. Breaking needs nothing of the source's
 * cluster. `snapmirrored` initializes, resumes or resyncs, whichever the present state calls for; a resync discards what
 * the destination has beyond the common snapshot.
 */
export async function setMirrorState(api: OntapApi, mirrorUuid: string, state: keyof typeof verbs): Promise<void> {
  const mirror = await getMirror(api, `Read relationship ${mirrorUuid}`, mirrorUuid);
  if (isReached(mirror, state)) return;
  const attempted = `${verbs[state]} SnapMirror ${ends(mirror)}`;
  await api.converge(
    () => api.change({ method: "PATCH", path: relationshipUrl(mirrorUuid), body: { state }, attempted }),
    async () => isReached(await getMirror(api, attempted, mirrorUuid), state) || undefined,
  );
}

// -------------------------------------------------------------------------------------------- creation, reversal, removal

/**
 * Creates a relationship onto this SVM, without a transfer; run on the destination's cluster. One that exists with the
 * same ends is success, whatever its policy. Resolves to its uuid.
 */
export async function createMirror(
  api: OntapApi,
  o: {
    readonly sourceSvm: string;
    readonly destinationSvm: string;
    readonly flexVol: string;
    readonly policy: string;
    readonly schedule?: string;
  },
): Promise<string> {
  const source = { svm: o.sourceSvm, flexVol: o.flexVol };
  const destination = { svm: o.destinationSvm, flexVol: o.flexVol };
  const attempted = `Create SnapMirror ${ends({ source, destination })}`;
  const find = async () => {
    const [existing] = await listMirrors(api, o.destinationSvm, [o.flexVol]);
    if (existing === undefined || pathOf(existing.source) === pathOf(source)) return existing;
    throw new DrError({
      code: "precondition",
      attempted,
      seen: `the destination has a relationship from ${pathOf(existing.source)}, needed none or one from ${pathOf(source)}`,
      remedy: "Remove that relationship if it is no longer wanted",
    });
  };
  const existing = await find();
  if (existing !== undefined) return existing.uuid;
  const made = await api.converge(
    () =>
      api.change({
        method: "POST",
        path: relationshipsUrl,
        body: {
          source: { path: pathOf(source) },
          destination: { path: pathOf(destination) },
          policy: { name: o.policy },
          ...(o.schedule === undefined ? {} : { transfer_schedule: { name: o.schedule } }),
        },
        attempted,
      }),
    find,
  );
  if (made !== undefined) return made.uuid;
  // Right after the job's success the relationship may not be listed yet (netapp.ontap Ansible collection, issue 344).
  return api.poll({
    attempted,
    awaited: "the new relationship to be listed",
    timeoutMs: 60_000,
    read: async () => {
      const found = await find();
      return found === undefined ? { seen: "it isn't listed" } : { done: found.uuid };
    },
  });
}

/** What the source's cluster remembers of this pair of ends. */
function listDestinations(api: OntapApi, attempted: string, source: Mirror["source"]) {
  return api.list(attempted, relationshipsUrl, destinationBody, {
    list_destinations_only: true,
    "source.path": pathOf(source),
    fields: "uuid,source.path,destination.path",
  });
}

/**
 * Turns the relationship round, asked of the present destination's cluster, both being up (PATCH with swapped paths,
 * since 9.11.1 (capability `dp_rest_support`)). Afterwards it lives on the other cluster, perhaps under another uuid.
 * Turned round already = success.
 */
export async function reverseMirror(
  api: OntapApi,
  mirror: Pick<Mirror, "uuid" | "source" | "destination">,
): Promise<void> {
  const attempted = `Reverse SnapMirror ${ends(mirror)}`;
  const isReversed = async () => {
    const present = await api.find(attempted, relationshipUrl(mirror.uuid), mirrorBody, { fields: mirrorFields });
    if (present !== undefined && pathOf(present.destination) === pathOf(mirror.destination)) return undefined;
    const destinations = await listDestinations(api, attempted, mirror.destination);
    return destinations.some((each) => pathOf(each.destination) === pathOf(mirror.source)) || undefined;
  };
  if (await isReversed()) return;
  await api.converge(
    () =>
      api.change({
        method: "PATCH",
        path: relationshipUrl(mirror.uuid),
        body: {
          source: { path: pathOf(mirror.destination) },
          destination: { path: pathOf(mirror.source) },
          state: "snapmirrored",
        },
        attempted,
      }),
    isReversed,
  );
}

/**
 * Removes the relationship here, on its destination's cluster; snapshots and what the source's cluster knows stay, so
 * that a resync remains possible. Absent already = success.
 */
export async function deleteMirror(api: OntapApi, mirrorUuid: string): Promise<void> {
  try {
    await api.change({
      method: "DELETE",
      path: relationshipUrl(mirrorUuid),
      query: { destination_only: true },
      attempted: `Delete relationship ${mirrorUuid} at its destination`,
    });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** On the source's cluster: forgets a destination, keeping its snapshots. Absent already = success. */
export async function releaseMirror(
  api: OntapApi,
  svm: string,
  o: { readonly sourceFlexVol: string; readonly destinationSvm: string },
): Promise<void> {
  const source = { svm, flexVol: o.sourceFlexVol };
  const attempted = `Release ${pathOf(source)} from its mirror on ${o.destinationSvm}`;
  const destinations = await listDestinations(api, attempted, source);
  for (const { uuid, destination } of destinations) {
    if (destination.svm !== o.destinationSvm) continue;
    try {
      await api.change({ method: "DELETE", path: relationshipUrl(uuid), query: { source_info_only: true }, attempted });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

/** A policy that relationships of this SVM can use; the SVM's own goes before the cluster's of the same name. */
export async function findPolicy(api: OntapApi, svm: string, name: string): Promise<Policy | undefined> {
  const policies = await api.list(`Find the SnapMirror policy "${name}"`, policiesUrl, policyBody, {
    name,
    fields: "uuid,name,type,scope,svm.name",
  });
  const found = policies.find((each) => each.svm?.name === svm) ?? policies.find((each) => each.svm === undefined);
  return found && { uuid: found.uuid, name: found.name, type: found.type, scope: found.scope };
}
