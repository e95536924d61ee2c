/** Both clusters, the clock, and what serves their LUNs. */
import type { SimulatorConfig } from "./config";
import { Clock, pause } from "./clock";
import type { LunMap } from "./iscsi/lun-tables";
import { lunFile, naaOf, type Cluster, type Svm } from "./state";

/** What serves one SVM's LUNs to hosts (iscsi/). Every call settles when it has taken effect. */
export interface LunServer {
  start(): Promise<void>;
  stop(): Promise<void>;
  setMaps(maps: readonly LunMap[]): Promise<void>;
  close(): Promise<void>;
}

export class World {
  readonly clock = new Clock();
  readonly jobMs: number;
  readonly transferLatencyMs: number;
  readonly bytesPerSecond: number;
  readonly behaviour: Required<NonNullable<SimulatorConfig["behaviour"]>>;
  /** by SVM uuid; empty when nothing is served */
  readonly lunServers = new Map<string, LunServer>();
  private readonly serving = new Set<string>();
  private publishing: Promise<unknown> = Promise.resolve();

  constructor(
    config: SimulatorConfig,
    readonly clusters: Cluster[],
  ) {
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
    const result = this.publishing.then(() => this.publishNow(cluster, svmUuid));
    this.publishing = result.catch(() => undefined);
    return result;
  }

  async publishAll(cluster: Cluster): Promise<void> {
    for (const svm of cluster.svms.values()) await this.publish(cluster, svm.uuid);
  }

  private async publishNow(cluster: Cluster, svmUuid: string): Promise<void> {
    const server = this.lunServers.get(svmUuid);
    const svm = cluster.svms.get(svmUuid);
    if (!server || !svm) return;
    if (!this.serves(cluster, svm)) {
      if (this.serving.delete(svmUuid)) await server.stop();
      return;
    }
    if (!this.serving.has(svmUuid)) {
      await server.start();
      this.serving.add(svmUuid);
    }
    for (let attempt = 1; ; attempt++) {
      try {
        return await server.setMaps(this.mapsOf(cluster, svmUuid));
      } catch (cause) {
        // A file may be between its old and its new size just now: its record follows at once.
        if (attempt === 5) throw cause;
        await pause(50);
      }
    }
  }

  private mapsOf(cluster: Cluster, svmUuid: string): LunMap[] {
    return cluster.lunMaps.flatMap((map) => {
      const volume = cluster.volumes.get(map.volumeUuid);
      const lun = volume?.luns.get(map.fileId);
      const igroup = cluster.igroups.get(map.igroupUuid);
      if (map.svmUuid !== svmUuid || !volume || !lun || !igroup || volume.state !== "online" || !lun.enabled) return [];
      return [
        {
          igroup: igroup.name,
          initiators: igroup.initiators.map((i) => i.name),
          lun: map.number,
          file: lunFile(cluster, volume, lun.fileId),
          serial: lun.serial,
          naa: naaOf(lun.serial),
          sizeBytes: lun.sizeBytes,
          readOnly: volume.type === "dp",
        },
      ];
    });
  }

  private serves(cluster: Cluster, svm: Svm): boolean {
    return cluster.reachable && svm.state === "running" && svm.iscsi?.enabled === true;
  }

  async close(): Promise<void> {
    await this.publishing;
    for (const server of this.lunServers.values()) await server.close();
  }
}
