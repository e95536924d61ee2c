import { messageOf } from "../errors";
import { peerOf } from "../topology/site-pair";
import type { Observation } from "./observation";
import { arrayOf, mirrorOf, volumesOf } from "./observation";
import type { PlannedBaseline } from "./plan";
import { pooled } from "./pool";
import type { FlexVol, Ports, Snapshot } from "./ports";
import type { Finding } from "./preflight";
import { sizeOf } from "./size";
import type { Verdict } from "./verdict";

/** What one FlexVol of each side has that the other hasn't: looked at before anything is copied over anything. */
export interface Difference {
  readonly flexVol: string;
  /** The newest point in time that both sides have; without it nothing but a new baseline is possible. */
  readonly common?: Pick<Snapshot, "name" | "createTime">;
  /** Changed at the side that is copied from since then: what a resync or an update carries. Absent where unknown. */
  readonly toCopyBytes?: number;
  /** Changed since then at the side that is copied onto: what a resync discards. */
  readonly toDiscardBytes?: number;
  /** Without a common snapshot: what a new baseline carries at most. */
  readonly baselineBytes: number;
  /** Of the FlexVol at the side that is copied from. */
  readonly sizeBytes: number;
  /** The FlexVol of this name at the side that is copied onto, where there is one. */
  readonly there?: FlexVol & { readonly snapshots: number };
  /** LUNs that only the side that is copied onto has, or has in another size; by volume where Cinder knows it. */
  readonly onlyThere: readonly string[];
}

/** Reads both arrays, which have to answer; nothing is changed. */
export async function observeDifferences(
  observation: Observation,
  ports: Ports,
  o: { readonly from: string; readonly onto: string },
): Promise<readonly Difference[] | { readonly error: string }> {
  const [from, onto] = [ports.arrays[o.from], ports.arrays[o.onto]];
  const [source, destination] = [arrayOf(observation, o.from), arrayOf(observation, o.onto)];
  if (from === undefined || onto === undefined || source === undefined || destination === undefined)
    return { error: "not both arrays answer" };
  const names = new Map(volumesOf(observation).map(({ id, nameId, name }) => [`volume-${nameId ?? id}`, name]));
  try {
    return await pooled(4, observation.pair.flexVols, async (flexVol): Promise<Difference> => {
      const there = destination.flexVols.find(({ name }) => name === flexVol);
      const [ours, theirs] = await Promise.all([
        from.listSnapshots(flexVol),
        there === undefined ? [] : onto.listSnapshots(flexVol),
      ]);
      const common = newestCommon(ours, theirs);
      const changed = async (port: typeof from, versionUuid: string, list: readonly Snapshot[]) => {
        const snapshot = list.find((candidate) => candidate.versionUuid === versionUuid)?.name ?? "";
        return port.findChangedBytes({ flexVol, snapshot });
      };
      const [toCopyBytes, toDiscardBytes] =
        common === undefined
          ? []
          : await Promise.all([changed(from, common.versionUuid, ours), changed(onto, common.versionUuid, theirs)]);
      const here = new Map(source.luns.filter((lun) => lun.flexVol === flexVol).map((lun) => [lun.name, lun]));
      return {
        flexVol,
        ...(common === undefined ? {} : { common: { name: common.name, createTime: common.createTime } }),
        ...(toCopyBytes === undefined ? {} : { toCopyBytes }),
        ...(toDiscardBytes === undefined ? {} : { toDiscardBytes }),
        baselineBytes: [...here.values()].reduce((sum, lun) => sum + lun.sizeBytes, 0),
        sizeBytes: source.flexVols.find(({ name }) => name === flexVol)?.sizeBytes ?? 0,
        ...(there === undefined ? {} : { there: { ...there, snapshots: theirs.length } }),
        onlyThere: destination.luns
          .filter((lun) => lun.flexVol === flexVol && here.get(lun.name)?.sizeBytes !== lun.sizeBytes)
          .map((lun) => {
            const known = names.get(lun.name);
            const what = known === undefined ? lun.name : `"${known}" (${lun.name})`;
            return here.has(lun.name) ? `${what} in another size` : `${what}, ${sizeOf(lun.sizeBytes)}`;
          }),
      };
    });
  } catch (error) {
    return { error: messageOf(error) };
  }
}

export function newestCommon(ours: readonly Snapshot[], theirs: readonly Snapshot[]): Snapshot | undefined {
  const there = new Set(theirs.map(({ versionUuid }) => versionUuid));
  return ours
    .filter(({ versionUuid }) => there.has(versionUuid))
    .reduce<Snapshot | undefined>(
      (newest, each) =>
        newest === undefined || Date.parse(each.createTime) >= Date.parse(newest.createTime) ? each : newest,
      undefined,
    );
}

/** As the preview of a failback or reprotect tells it, one line for each FlexVol. */
export function sentencesOfDifferences(
  differences: readonly Difference[],
  o: { readonly from: string; readonly onto: string; readonly discards: boolean },
): string[] {
  return differences.flatMap((d) => [
    d.common === undefined
      ? `"${d.flexVol}": no snapshot is common to "${o.from}" and "${o.onto}": a new baseline of up to ${sizeOf(d.baselineBytes)}`
      : `"${d.flexVol}": ${sizeOf(d.toCopyBytes)} changed at "${o.from}" since the common snapshot ${d.common.name} of ${d.common.createTime}`,
    ...(o.discards && d.common !== undefined
      ? [`"${d.flexVol}": "${o.onto}" holds ${sizeOf(d.toDiscardBytes)} that "${o.from}" doesn't have`]
      : []),
    ...(o.discards && d.onlyThere.length > 0 ? [`"${d.flexVol}": only at "${o.onto}": ${d.onlyThere.join("; ")}`] : []),
  ]);
}

export interface Delta {
  readonly sentences: readonly string[];
  readonly findings: readonly Finding[];
  /** FlexVols that can be written to at both sites, and are resynced. */
  readonly resyncs: readonly string[];
  /** FlexVols without a common snapshot, where these can be begun anew. */
  readonly baselines: readonly PlannedBaseline[];
}

export const noDelta: Delta = { sentences: [], findings: [], resyncs: [], baselines: [] };

/** Nothing is copied onto a side without a look at what it would lose. */
function uncompared(
  observation: Observation,
  error: string,
  { from, onto }: { readonly from: string; readonly onto: string },
): Delta {
  // That an array doesn't answer at all is said already, by whoever needs it.
  if (arrayOf(observation, from) === undefined || arrayOf(observation, onto) === undefined) return noDelta;
  return {
    ...noDelta,
    findings: [
      {
        id: "difference",
        message: `what "${from}" and "${onto}" don't have in common can't be read: ${error}`,
        remedy: "Make both arrays answer, and let the product's users read snapshots and files there; then run again.",
      },
    ],
  };
}

/** Planned: what the updates will carry, and that a common snapshot is there, which they and a later way back start from. */
export async function planDelta(
  observation: Observation,
  ports: Ports,
  way: { readonly from: string; readonly to: string },
): Promise<Delta> {
  const { from, to } = way;
  const differences = await observeDifferences(observation, ports, { from, onto: to });
  if ("error" in differences) return uncompared(observation, differences.error, { from, onto: to });
  return {
    ...noDelta,
    sentences: sentencesOfDifferences(differences, { from, onto: to, discards: false }),
    findings: differences
      .filter(({ common }) => common === undefined)
      .map(({ flexVol }) => ({
        id: `common-snapshot:${flexVol}`,
        message: `no snapshot of "${flexVol}" is common to "${from}" and "${to}": no update can start from it, and no mirror be turned round`,
        remedy: `Initialise the mirror "${from}" → "${to}" anew.`,
      })),
  };
}

/**
 * What a reprotect of the active site discards at the other, and what it carries there, by FlexVol and volume. Without a
 * common snapshot a resync can't begin: a new baseline does, onto an empty FlexVol.
 */
export async function divergence(observation: Observation, ports: Ports, active: string): Promise<Delta> {
  const way = { from: active, onto: peerOf(observation.pair, active) };
  const differences = await observeDifferences(observation, ports, way);
  if ("error" in differences) return uncompared(observation, differences.error, way);
  const anew = differences.filter(
    // One that is on its way needs nothing but to be waited for.
    ({ common, flexVol }) =>
      common === undefined &&
      (mirrorOf(observation, way.from, way.onto, flexVol)?.state ?? "broken_off") === "broken_off",
  );
  return {
    sentences: sentencesOfDifferences(differences, { ...way, discards: true }),
    findings: [
      ...differences.flatMap(({ flexVol, there }) => [
        ...offline(observation, way.from, flexVol),
        ...(there === undefined ? [] : offline(observation, way.onto, flexVol)),
      ]),
      // LUNs of one that can't be written to can't be hidden from the driver. An empty one is what a baseline needs.
      ...anew
        .filter(({ there }) => there !== undefined && there.type !== "rw" && there.snapshots > 0)
        .map(({ flexVol, there }) => ({
          id: `common-snapshot:${flexVol}`,
          message: `"${flexVol}" of "${way.onto}" is of type ${there?.type ?? ""}, and none of its snapshots is common with "${way.from}": nothing can be resynced onto it`,
          remedy: `Nobody could write there: see that nothing needs it, delete it at "${way.onto}", then run again; it's made anew.`,
        })),
    ],
    resyncs: differences
      .filter(({ common, there }) => common !== undefined && there?.type === "rw")
      .map(({ flexVol }) => flexVol),
    baselines: anew.map(({ flexVol, sizeBytes, baselineBytes, there }) => ({
      flexVol,
      sizeBytes,
      baselineBytes,
      setAside: there?.type === "rw",
    })),
  };
}

/** One that is offline tells no snapshots, and what it has in common isn't known. */
function offline(observation: Observation, site: string, flexVol: string): Finding[] {
  const state = arrayOf(observation, site)?.flexVols.find(({ name }) => name === flexVol)?.state;
  if (state === "online") return [];
  return [
    {
      id: `flexvol:${site}:${flexVol}`,
      message: `FlexVol "${flexVol}" of "${site}" is ${state ?? "not there"}, needed online: what both sides have in common can't be told`,
      remedy: "Bring it online, then run again.",
    },
  ];
}

/** After an unplanned failover the lost site has the only copy of what was lost: nothing touches it until that's asked for. */
export async function unprotected(observation: Observation, ports: Ports, verdict: Verdict): Promise<string[]> {
  if (verdict.site === undefined || !verdict.promoted || verdict.replicating !== false) return [];
  const other = peerOf(observation.pair, verdict.site);
  const { sentences, findings } = await divergence(observation, ports, verdict.site);
  return [
    `"${verdict.site}" isn't protected; "${other}" isn't touched until reprotect is asked for`,
    ...sentences,
    ...findings.map(({ message }) => message),
  ];
}
