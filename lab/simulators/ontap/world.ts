/** Both clusters, the clock, and what serves their LUNs. */
import type { SimulatorConfig } from "./config";
import { Clock, pause } from "./clock";
import type { LunMap as ServedMap, MapChange } from "./iscsi/lun-tables";
import type { LunMap } from "./lun-maps";
import { lunFile, naaOf, type Cluster, type Svm } from "./state";

/** What serves one SVM's LUNs to hosts (iscsi/). Every call settles when it has taken effect. */
export interface LunServer {
  start(): Promise<void>;
  stop(): Promise<void>;
  setMaps(maps: readonly ServedMap[]): Promise<void>;
  changeMaps(change: MapChange): Promise<void>;
  close(): Promise<void>;
}

export class World {
  readonly clock = new Clock();
  readonly requestMs: number;
  readonly jobMs: number;
  readonly transferLatencyMs: number;
  readonly bytesPerSecond: number;
  readonly behaviour: Required<NonNullable<SimulatorConfig["behaviour"]>>;
  /** by SVM uuid; empty when nothing is served */
  readonly lunServers = new Map<string, LunServer>();
  private readonly serving = new Set<string>();
  /** SVMs whose target has taken over everything, so that the next change alone is enough. */
  private readonly inStep = new Set<string>();
  private publishing: Promise<unknown> = Promise.resolve();
  /** By SVM: one that hasn't begun yet, which sees what all who wait for it have changed. */
  private readonly next = new Map<string, { done: Promise<void>; changed: Set<LunMap> | "anything" }>();

  constructor(
    config: SimulatorConfig,
    readonly clusters: Cluster[],
  ) {
    this.requestMs = config.timing?.requestMs ?? 0;
    this.jobMs = config.timing?.jobMs ?? 0;
    this.transferLatencyMs = config.timing?.transferLatencyMs ?? 0;
    this.bytesPerSecond = config.timing?.bytesPerSecond ?? Number.POSITIVE_INFINITY;
    this.behaviour = {
      createOntoReadWriteDestination: "accept-broken-off",
      reversal: "patch-swapped-paths",
      unflaggedDelete: "removes-both",
      ...config.behaviour,
    };
  }

  clusterNamed(name: string): Cluster | undefined {
    return this.clusters.find((c) => c.name === name);
  }

  peerOf(cluster: Cluster): Cluster {
    const other = this.clusters.find((c) => c !== cluster);
    if (!other) throw new Error("there is only one cluster");
    return other;
  }

  /** Intercluster traffic passes only while neither side is cut off. */
  connected(): boolean {
    return this.clusters.every((c) => c.reachable);
  }

  /** Brings what is served in line with the maps and states; settles when the target has taken it over. */
  publish(cluster: Cluster, svmUuid: string): Promise<void> {
    const next = this.nextOf(cluster, svmUuid);
    next.changed = "anything";
    return next.done;
  }

  /** As publish, where nothing but the map has come or gone since. */
  publishMap(cluster: Cluster, map: LunMap): Promise<void> {
    const next = this.nextOf(cluster, map.svmUuid);
    if (next.changed !== "anything") next.changed.add(map);
    return next.done;
  }

  private nextOf(cluster: Cluster, svmUuid: string): { done: Promise<void>; changed: Set<LunMap> | "anything" } {
    const waiting = this.next.get(svmUuid);
    if (waiting) return waiting;
    const next = { done: Promise.resolve(), changed: new Set<LunMap>() as Set<LunMap> | "anything" };
    next.done = this.publishing.then(() => {
      this.next.delete(svmUuid);
      return this.publishNow(cluster, svmUuid, next.changed);
    });
    this.next.set(svmUuid, next);
    this.publishing = next.done.catch(() => undefined);
    return next;
  }

  async publishAll(cluster: Cluster): Promise<void> {
    for (const svm of cluster.svms.values()) await this.publish(cluster, svm.uuid);
  }

  private async publishNow(cluster: Cluster, svmUuid: string, changed: Set<LunMap> | "anything"): Promise<void> {
    const server = this.lunServers.get(svmUuid);
    const svm = cluster.svms.get(svmUuid);
    if (!server || !svm) return;
    const wasInStep = this.inStep.delete(svmUuid);
    if (!this.serves(cluster, svm)) {
      if (this.serving.delete(svmUuid)) await server.stop();
      return;
    }
    if (!this.serving.has(svmUuid)) {
      await server.start();
      this.serving.add(svmUuid);
    }
    const change = wasInStep && changed !== "anything" ? this.changeOf(cluster, changed) : undefined;
    for (let attempt = 1; ; attempt++) {
      try {
        if (change && attempt === 1) await server.changeMaps(change);
        else await server.setMaps(this.mapsOf(cluster, svmUuid));
        this.inStep.add(svmUuid);
        return;
      } catch (cause) {
        // A file may be between its old and its new size just now: its record follows at once.
        if (attempt === 5) throw cause;
        await pause(50);
      }
    }
  }

  private mapsOf(cluster: Cluster, svmUuid: string): ServedMap[] {
    return [...cluster.lunMaps].flatMap((map) => (map.svmUuid === svmUuid ? (this.servedMap(cluster, map) ?? []) : []));
  }

  private servedMap(cluster: Cluster, map: LunMap): ServedMap | undefined {
    const volume = cluster.volumes.get(map.volumeUuid);
    const lun = volume?.luns.get(map.fileId);
    const igroup = cluster.igroups.get(map.igroupUuid);
    if (!volume || !lun || !igroup || volume.state !== "online" || !lun.enabled) return undefined;
    return {
      igroup: igroup.name,
      initiators: initiatorsOf(cluster, map),
      lun: map.number,
      file: lunFile(cluster, volume, lun.fileId),
      serial: lun.serial,
      naa: naaOf(lun.serial),
      sizeBytes: lun.sizeBytes,
      readOnly: volume.type === "dp",
    };
  }

  /** Undefined where an initiator is in several igroups, so that another map may give it the same LUN. */
  private changeOf(cluster: Cluster, changed: ReadonlySet<LunMap>): MapChange | undefined {
    const groups = [...cluster.igroups.values()];
    const initiators = new Set([...changed].flatMap((map) => initiatorsOf(cluster, map)));
    for (const name of initiators)
      if (groups.filter((group) => group.initiators.some((i) => i.name === name)).length > 1) return undefined;
    const added = [...changed].flatMap((map) => (cluster.lunMaps.has(map) ? (this.servedMap(cluster, map) ?? []) : []));
    const removed = [...changed].map((map) => ({ lun: map.number, initiators: initiatorsOf(cluster, map) }));
    return { removed, added };
  }

  private serves(cluster: Cluster, svm: Svm): boolean {
    return cluster.reachable && svm.state === "running" && svm.iscsi?.enabled === true;
  }

  async close(): Promise<void> {
    await this.publishing;
    for (const server of this.lunServers.values()) await server.close();
  }
}

const initiatorsOf = (cluster: Cluster, { igroupUuid }: LunMap): string[] =>
  cluster.igroups.get(igroupUuid)?.initiators.map(({ name }) => name) ?? [];
