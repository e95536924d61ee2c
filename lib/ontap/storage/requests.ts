import { DrError } from "../../errors";
import type { OntapApi } from "../api";
import { getSvm } from "../svm/requests";
import { aggregateBody, cloneBody, deltaBody, flexVolBody, flexVolFields, junctionBody, snapshotBody } from "./results";
import type { FlexVol, Snapshot } from "./results";
import { aggregatesUrl, snapshotsUrl, volumesUrl, volumeUrl } from "./urls";

/** All FlexVols of the SVM but its root volume. */
export function listFlexVols(api: OntapApi, svm: string): Promise<readonly FlexVol[]> {
  return api.list(`List the FlexVols of SVM ${svm}`, volumesUrl, flexVolBody, {
    "svm.name": svm,
    style: "flexvol",
    is_svm_root: false,
    fields: flexVolFields,
  });
}

export async function findFlexVol(api: OntapApi, svm: string, name: string): Promise<FlexVol | undefined> {
  const [found] = await api.list(`Find the FlexVol ${svm}:${name}`, volumesUrl, flexVolBody, {
    "svm.name": svm,
    name,
    fields: flexVolFields,
  });
  return found;
}

export async function listSnapshots(api: OntapApi, svm: string, flexVol: string): Promise<readonly Snapshot[]> {
  const attempted = `List the snapshots of ${svm}:${flexVol}`;
  const volume = await findFlexVol(api, svm, flexVol);
  if (volume === undefined)
    throw new DrError({
      code: "config",
      attempted,
      seen: "the SVM has no FlexVol of this name",
      remedy: "Correct the pair's flexVols, or create it",
    });
  return api.list(attempted, snapshotsUrl(volume.uuid), snapshotBody, { fields: "uuid,name,version_uuid,create_time" });
}

/**
 * Bytes by which the FlexVol differs from one of its snapshots now. ONTAP computes it on demand (`delta`, REST reference
 * 9.12 on, privilege advanced); undefined where it doesn't tell: an older one, an account without the right.
 */
export async function findChangedBytes(
  api: OntapApi,
  svm: string,
  o: { readonly flexVol: string; readonly snapshot: string },
): Promise<number | undefined> {
  const attempted = `Measure what changed on ${svm}:${o.flexVol} since ${o.snapshot}`;
  const volume = await findFlexVol(api, svm, o.flexVol);
  if (volume === undefined) return undefined;
  try {
    const query = { name: o.snapshot, fields: "delta" };
    const [found] = await api.list(attempted, snapshotsUrl(volume.uuid), deltaBody, query);
    return found?.delta?.size_consumed;
  } catch (error) {
    if (DrError.is(error, "remote") && !error.retryable) return undefined;
    throw error;
  }
}

/**
 * A FlexVol of type dp, to be a mirror's destination, on the given aggregate or the one with the most space. One that
 * exists under this name is returned as it is, whatever its type. Waits until it's online.
 */
export async function createDestinationVolume(
  api: OntapApi,
  svm: string,
  o: { readonly name: string; readonly sizeBytes: number; readonly aggregate?: string },
): Promise<FlexVol> {
  const attempted = `Create the destination volume ${svm}:${o.name}`;
  const find = () => findFlexVol(api, svm, o.name);
  if ((await find()) === undefined) {
    const aggregate = o.aggregate ?? (await emptiestAggregate(api, svm, attempted, o.sizeBytes));
    await api.converge(
      () =>
        api.change({
          method: "POST",
          path: volumesUrl,
          // No junction and no snapshot policy: ONTAP refuses them for type dp.
          body: { svm: { name: svm }, name: o.name, type: "dp", size: o.sizeBytes, aggregates: [{ name: aggregate }] },
          attempted,
        }),
      find,
    );
  }
  return api.poll({
    attempted,
    awaited: "the FlexVol to be online",
    timeoutMs: 360_000,
    read: async () => {
      const volume = await find();
      return volume?.state === "online" ? { done: volume } : { seen: `its state is ${volume?.state ?? "absent"}` };
    },
  });
}

/**
 * Gives the FlexVol another name, and takes it out of the SVM's namespace first: its junction would be in the way of a
 * successor's. What refers to it by uuid stays, paths of its LUNs change. Renamed already = success.
 */
export async function renameFlexVol(
  api: OntapApi,
  svm: string,
  o: { readonly from: string; readonly to: string },
): Promise<void> {
  const attempted = `Rename the FlexVol ${svm}:${o.from} to ${o.to}`;
  const [volume, renamed] = await Promise.all([findFlexVol(api, svm, o.from), findFlexVol(api, svm, o.to)]);
  if (volume === undefined && renamed !== undefined) return;
  if (volume === undefined)
    throw new DrError({
      code: "config",
      attempted,
      seen: "the SVM has no FlexVol of either name",
      remedy: "See what became of it",
    });
  await unmount(api, svm, volume, attempted);
  await api.converge(
    () => api.change({ method: "PATCH", path: volumeUrl(volume.uuid), body: { name: o.to }, attempted }),
    async () => (await findFlexVol(api, svm, o.to))?.uuid === volume.uuid || undefined,
  );
}

/** Unmounts and deletes; ONTAP keeps it in its recovery queue for a while (12 hours by default). Absent already = success. */
export async function deleteFlexVol(api: OntapApi, svm: string, name: string): Promise<void> {
  const attempted = `Delete the FlexVol ${svm}:${name}`;
  const volume = await findFlexVol(api, svm, name);
  if (volume === undefined) return;
  await unmount(api, svm, volume, attempted);
  await api.converge(
    () => api.change({ method: "DELETE", path: volumeUrl(volume.uuid), attempted }),
    async () => (await findFlexVol(api, svm, name))?.uuid !== volume.uuid || undefined,
  );
}

async function unmount(api: OntapApi, svm: string, { uuid, name }: FlexVol, attempted: string): Promise<void> {
  const [found] = await api.list(attempted, volumesUrl, junctionBody, {
    "svm.name": svm,
    name,
    fields: "nas.path",
  });
  if (found?.nas?.path === undefined || found.nas.path === "") return;
  await api.change({ method: "PATCH", path: volumeUrl(uuid), body: { nas: { path: "" } }, attempted });
}

async function emptiestAggregate(api: OntapApi, svm: string, attempted: string, sizeBytes: number): Promise<string> {
  const [all, { aggregates: allowed }] = await Promise.all([
    api.list("List the aggregates", aggregatesUrl, aggregateBody, {
      fields: "name,state,space.block_storage.available",
    }),
    getSvm(api, svm),
  ]);
  const [emptiest] = all
    .filter((each) => each.state === "online" && (allowed.length === 0 || allowed.includes(each.name)))
    .sort((a, b) => (b.space?.block_storage.available ?? 0) - (a.space?.block_storage.available ?? 0));
  if (emptiest === undefined)
    throw new DrError({
      code: "precondition",
      attempted,
      seen: `no aggregate that the SVM may use is online, needed one for ${sizeBytes} bytes`,
      remedy: "Assign an aggregate to the SVM, or name one",
    });
  return emptiest.name;
}

/**
 * A read-write FlexClone of the FlexVol as it is now; one that exists with this name and parent is success (once split
 * it has no parent, and the name is taken). It holds a snapshot of its parent: a resync that would discard that is refused until the clone is split.
 */
export async function cloneFlexVol(
  api: OntapApi,
  svm: string,
  o: { readonly parent: string; readonly name: string },
): Promise<void> {
  const attempted = `Clone the FlexVol ${svm}:${o.parent} as ${o.name}`;
  const find = async () => {
    const found = await findClone(api, svm, attempted, o.name);
    if (found === undefined || found.clone?.parent_volume?.name === o.parent) return found;
    throw new DrError({
      code: "precondition",
      attempted,
      seen: `a FlexVol ${o.name} exists that isn't a clone of ${o.parent}`,
      remedy: "Choose another name, or remove that FlexVol",
    });
  };
  if ((await find()) !== undefined) return;
  await api.converge(
    () =>
      api.change({
        method: "POST",
        path: volumesUrl,
        body: { svm: { name: svm }, name: o.name, clone: { is_flexclone: true, parent_volume: { name: o.parent } } },
        attempted,
      }),
    find,
  );
}

/**
 * Gives a FlexClone blocks of its own, so that it holds nothing of its parent any more. Resolves to whether that is
 * done; until then ask again: it takes the longer the larger the FlexVol, and needs as much space.
 */
export async function splitFlexClone(api: OntapApi, svm: string, name: string): Promise<boolean> {
  const attempted = `Split the FlexClone ${svm}:${name} from its parent`;
  const read = async () => {
    const found = await findClone(api, svm, attempted, name);
    if (found !== undefined) return found;
    throw new DrError({ code: "config", attempted, seen: "there is no such FlexVol", remedy: "Clone it first" });
  };
  const before = await read();
  if (!before.clone?.is_flexclone) return true;
  if (!before.clone.split_initiated)
    await api.change({
      method: "PATCH",
      path: volumeUrl(before.uuid),
      body: { clone: { split_initiated: true } },
      attempted,
    });
  return !(await read()).clone?.is_flexclone;
}

async function findClone(api: OntapApi, svm: string, attempted: string, name: string) {
  const [found] = await api.list(attempted, volumesUrl, cloneBody, {
    "svm.name": svm,
    name,
    fields: "uuid,clone.is_flexclone,clone.parent_volume.name,clone.split_initiated",
  });
  return found;
}
