/** Two simulated ONTAP clusters in one process. */
import { promises as fs } from "node:fs";
import * as path from "node:path";
import { dispatch, splitUrl } from "./api";
import { ClusterServer } from "./cluster-server";
import type { SimulatorConfig } from "./config";
import { startControl } from "./control";
import { asOntapError } from "./errors";
import { Faults } from "./faults";
import { FileTarget } from "./iscsi/file-target";
import { IscsiTarget } from "./iscsi/iscsi-target";
import { keepSaved, load, restore } from "./persistence";
import { Recorder } from "./recorder";
import { clusterRoutes } from "./routes/cluster";
import { allLuns, lunRoutes, mapsOf } from "./routes/luns";
import { peerRoutes } from "./routes/peers";
import { sanRoutes } from "./routes/san";
import { snapmirrorRoutes } from "./routes/snapmirror";
import { infrastructureRoutes } from "./routes/svm";
import { volumeRoutes } from "./routes/volumes";
import { runSchedules } from "./schedule";
import type { BulkAnswer, OntapSimulator } from "./simulator";
import { cutTransfers } from "./snapmirror/engine";
import { lunFile, lunPath, newCluster, type Cluster } from "./state";
import { World } from "./world";

export type { ClusterConfig, SimulatorConfig, SvmConfig } from "./config";
export type { FaultRule } from "./faults";
export type { RecordedRequest } from "./recorder";
export type { BulkAnswer, BulkRequest, LunInfo, OntapSimulator } from "./simulator";

const routes = [
  ...clusterRoutes,
  ...peerRoutes,
  ...infrastructureRoutes,
  ...volumeRoutes,
  ...lunRoutes,
  ...sanRoutes,
  ...snapmirrorRoutes,
];
const marker = ".ontap-simulator";

/** Empties a cluster's folder, if it's one of ours (or new). */
async function freshFolder(dir: string): Promise<void> {
  const entries = await fs.readdir(dir).catch(() => undefined);
  if (entries && entries.length > 0 && !entries.includes(marker)) {
    throw new Error(`${dir} is not empty and was not made by the ONTAP simulator; choose another stateDir.`);
  }
  await fs.rm(dir, { recursive: true, force: true });
  await fs.mkdir(dir, { recursive: true, mode: 0o700 });
  await fs.writeFile(path.join(dir, marker), "LUN files and snapshots of a simulated cluster\n");
}

async function addLunServers(
  world: World,
  kind: "tgtd" | "files",
  stateDir: string,
  log: (line: string) => void,
): Promise<void> {
  for (const cluster of world.clusters) {
    for (const svm of cluster.svms.values()) {
      const addresses = cluster.config.svms.find((s) => s.name === svm.name)?.iscsiAddresses ?? [];
      if (!svm.iscsi || addresses.length === 0) continue;
      const dir = path.join(stateDir, "iscsi", cluster.name, svm.name);
      await fs.mkdir(dir, { recursive: true, mode: 0o700 });
      const portals = addresses.map((address) => ({ address, port: 3260 }));
      const options = { iqn: svm.iscsi.iqn, portals, log };
      const server = kind === "files" ? new FileTarget(options) : new IscsiTarget({ ...options, stateDir: dir });
      world.lunServers.set(svm.uuid, server);
    }
  }
}

export async function startOntapSimulator(
  config: SimulatorConfig,
  log: (line: string) => void = () => undefined,
): Promise<OntapSimulator> {
  const stateDir = path.resolve(config.stateDir);
  const clusters: Cluster[] = config.clusters.map((c) => newCluster(c, stateDir, Date.now()));
  const world = new World(config, clusters);
  const recorder = new Recorder();
  const saved = await load(config, stateDir);
  if (saved) await restore(saved, world);
  else for (const cluster of clusters) await freshFolder(cluster.dir);
  const faults = new Faults();
  const servers = clusters.map((cluster) => new ClusterServer(world, cluster, routes, config.tls, recorder, faults));
  const closers: (() => Promise<unknown> | void)[] = [];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };

  const serverOf = (name: string): ClusterServer => {
    const server = servers.find((s) => s.cluster.name === name);
    if (!server)
      throw new Error(`There is no cluster "${name}"; there are ${clusters.map((c) => c.name).join(" and ")}.`);
    return server;
  };

  const simulator: OntapSimulator = {
    get clusters() {
      return servers.map((s) => ({ name: s.cluster.name, address: s.cluster.config.address, port: s.port }));
    },
    control: { ...config.control },
    requests: (filter) => recorder.list(filter),
    unknown: () => recorder.listUnknown(),
    addFault: (rule) => faults.add(rule),
    clearFaults: () => faults.clear(),
    setReachable: async (name, reachable, how) => {
      const server = serverOf(name);
      server.cluster.reachable = reachable;
      if (!reachable) cutTransfers(world);
      await server.setReachable(reachable, how);
      await world.publishAll(server.cluster);
    },
    luns: () =>
      clusters.flatMap((cluster) =>
        allLuns(cluster).map(({ volume, lun }) => ({
          cluster: cluster.name,
          svm: cluster.svms.get(volume.svmUuid)?.name ?? "",
          path: lunPath(volume, lun),
          volume: volume.name,
          volumeType: volume.type,
          uuid: lun.uuid,
          serial: lun.serial,
          file: lunFile(cluster, volume, lun.fileId),
          sizeBytes: lun.sizeBytes,
          maps: mapsOf(cluster, { volume, lun }).map((m) => {
            const group = cluster.igroups.get(m.igroupUuid);
            return {
              igroup: group?.name ?? "",
              initiators: group?.initiators.map((i) => i.name) ?? [],
              logicalUnitNumber: m.number,
            };
          }),
        })),
      ),
    requestAll: async (name, svmName, requests) => {
      const { cluster } = serverOf(name);
      const time = new Date(world.clock.now()).toISOString();
      return Promise.all(
        requests.map(async ({ method, path: url, body }): Promise<BulkAnswer> => {
          const text = body === undefined ? "" : JSON.stringify(body);
          const [rest, query] = splitUrl(`/api${url}`);
          const entry = recorder.begin({ time, cluster: name, method, path: rest, query, body: text, who: "control" });
          const call = { method, url: `/api${url}`, body: text, accept: "application/json", svmName };
          const answer: BulkAnswer = await dispatch(world, cluster, routes, {
            ...call,
            svmUuid: undefined,
            jobFailure: undefined,
          }).catch((cause: unknown) => {
            const error = asOntapError(cause);
            return { status: error.status, body: error.body() };
          });
          entry.status = answer.status;
          return { status: answer.status, body: answer.body };
        }),
      );
    },
    advanceClock: (seconds) => world.clock.advance(seconds),
    close,
  };

  try {
    if (config.iscsi === "tgtd" || config.iscsi === "files") {
      await addLunServers(world, config.iscsi, stateDir, log);
      closers.push(() => world.close());
      for (const cluster of clusters) await world.publishAll(cluster);
    }
    for (const server of servers) {
      await server.start();
      closers.push(() => server.close());
    }
    const control = await startControl(simulator, config.control);
    closers.push(() => control.close());
    simulator.control.port = control.port;
    closers.push(keepSaved(config, stateDir, world, () => recorder.mutations));
    const stopSchedules = runSchedules(world);
    closers.push(stopSchedules);
  } catch (cause) {
    await close();
    throw cause;
  }
  return simulator;
}
