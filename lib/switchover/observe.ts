import type { SitePair } from "../topology/site-pair";
import { backendHost, siteNames, siteOf } from "../topology/site-pair";
import { DrError, extend, messageOf } from "../errors";
import type { ArrayObservation, ControllerObservation, Observation, Seen, SitesObservation } from "./observation";
import { rootOf, strandedIn } from "./observation";
import type { ArrayPort, ConfigEditor, ControllerPort, Ports, ServerAttachment } from "./ports";
import { pooled } from "./pool";
import { reasonToLeave } from "./states";

/** What tells where production runs. Never changes anything; what doesn't answer is recorded, not thrown. */
export async function observeSites(pair: SitePair, ports: Ports): Promise<SitesObservation> {
  const sites = siteNames(pair);
  const backends = sites.map((site) => siteOf(pair, site).backend);
  const [arrays, controllers, database, serviceRows, volumes, attachments] = await Promise.all([
    Promise.all(sites.map((site) => seen(() => observeArray(portOf(ports, site), pair.flexVols)))),
    Promise.all(ports.controllers.map((port) => seen(() => observeController(port, ports.config, backends)))),
    seen(() => ports.database.describe()),
    seen(() => ports.database.listServiceRows()),
    Promise.all(sites.map((site) => seen(() => ports.blockStorage.listVolumes(backendHost(pair, site))))),
    seen(() => ports.blockStorage.listAttachments()),
  ]);
  const volumesError = firstError([...volumes, attachments]);
  return {
    pair,
    arrays: Object.fromEntries(sites.map((site, index) => [site, arrays[index] ?? { ok: false, error: "not asked" }])),
    controllers: controllers.flatMap((controller) => (controller.ok ? [controller.value] : [])),
    controllerErrors: controllers.flatMap((controller) => (controller.ok ? [] : [controller.error])),
    database: database.ok && !serviceRows.ok ? serviceRows : database,
    serviceRows: valueOr(serviceRows, []),
    volumes: Object.fromEntries(sites.map((site, index) => [site, valueOr(volumes[index], [])])),
    attachments: valueOr(attachments, []),
    ...(volumesError === undefined ? {} : { volumesError }),
  };
}

/** Reads both sites and the control plane once. Never changes anything; what doesn't answer is recorded, not thrown. */
export async function observe(pair: SitePair, ports: Ports): Promise<Observation> {
  const sites = siteNames(pair);
  const hosts = sites.map((site) => backendHost(pair, site));
  const [bothSites, cinderServices, snapshots, computes, allServers, queues, lease] = await Promise.all([
    observeSites(pair, ports),
    seen(() => ports.blockStorage.listServices()),
    seen(() => ports.blockStorage.listSnapshots()),
    seen(() => ports.compute.listComputeServices()),
    seen(() => ports.compute.listServers()),
    seen(() => Promise.all(hosts.map((host) => ports.messageQueue.listBackendQueues(host)))),
    seen(() => ports.coordination.findLease(pair.name)),
  ]);

  const volumes = Object.values(bothSites.volumes).flat();
  const ids = new Set(volumes.flatMap(({ id, status }) => (status === "available" ? [] : [id])));
  const involved = new Set([
    ...volumes.flatMap((volume) => volume.attachments.map((a) => a.serverId)),
    // Of shelved ones, and of those that are about to be attached.
    ...bothSites.attachments.flatMap((a) => (ids.has(a.volumeId) && a.serverId !== undefined ? [a.serverId] : [])),
  ]);
  const servers = valueOr(allServers, []).filter((server) => involved.has(server.id));
  const listed = new Set(valueOr(allServers, []).map(({ id }) => id));
  const unlisted = allServers.ok ? [...involved].filter((id) => id !== "" && !listed.has(id)) : [];
  const deletedServers = await pooled(8, unlisted, async (id) => {
    const how = await deletionOf(ports, id);
    return how === undefined ? [] : [[id, how] as const];
  });
  const serverAttachments = await seen(() =>
    pooled(pair.openstack.instancesAtOnce, servers, async (server): Promise<[string, readonly ServerAttachment[]]> => [
      server.id,
      await ports.compute.listServerAttachments(server.id, server.volumeIds),
    ]),
  );

  const volumesError = bothSites.volumesError ?? firstError([snapshots]);
  const serversError = firstError([allServers, computes, serverAttachments]);
  const leaseRow = valueOr(lease, undefined);
  const attachmentsByServer = Object.fromEntries(valueOr(serverAttachments, []));
  const held = { pair, volumes: bothSites.volumes, servers, serverAttachments: attachmentsByServer };
  const stranded = strandedIn(held);
  const booted = servers.find(
    (server) =>
      // Refused or left, it needs nova-manage in neither mode.
      reasonToLeave(server, "unplanned") === undefined && !stranded.has(server.id) && rootOf(held, server),
  );
  const { novaManage } = ports;
  const novaManageSeen =
    novaManage === undefined || booted === undefined
      ? undefined
      : await seen(async () => {
          await novaManage.probe(booted.id);
          return { controller: novaManage.name };
        });
  return {
    ...bothSites,
    at: ports.clock.now().toISOString(),
    cinderServices,
    ...(volumesError === undefined ? {} : { volumesError }),
    snapshots: valueOr(snapshots, []),
    servers,
    serverAttachments: attachmentsByServer,
    deletedServers: Object.fromEntries(deletedServers.flat()),
    ...(serversError === undefined ? {} : { serversError }),
    ...(novaManageSeen === undefined ? {} : { novaManage: novaManageSeen }),
    computeServices: valueOr(computes, []),
    queues: queues.ok
      ? { ok: true, value: Object.fromEntries(sites.map((site, index) => [site, queues.value[index] ?? []])) }
      : queues,
    ...(leaseRow === undefined ? {} : { lease: leaseRow }),
  };
}

/** By Nova's own word alone: what is missing from a listing, or isn't told, may run. */
async function deletionOf({ compute }: Ports, id: string): Promise<"gone" | "soft-deleted" | undefined> {
  try {
    const { status } = await compute.getServer(id);
    return status === "SOFT_DELETED" ? "soft-deleted" : status === "DELETED" ? "gone" : undefined;
  } catch (error) {
    return DrError.is(error, "remote") && error.context["status"] === 404 ? "gone" : undefined;
  }
}

async function observeArray(port: ArrayPort, flexVols: readonly string[]): Promise<ArrayObservation> {
  // First one cheap question: a dead cluster costs one deadline, not eight.
  const cluster = await port.getCluster();
  const svm = await port.getSvm();
  const [iscsi, volumes, luns, lunPaths, lunMaps, mirrors] = await Promise.all([
    port.getIscsiTarget(),
    port.listFlexVols(),
    port.listLuns(flexVols),
    port.listLunPaths(),
    port.listLunMaps(flexVols),
    port.listMirrors(flexVols),
  ]);
  return {
    cluster: cluster.name,
    version: cluster.version,
    svmState: svm.state,
    iscsi,
    flexVols: volumes,
    luns,
    lunPaths,
    lunMaps,
    mirrors,
  };
}

async function observeController(
  port: ControllerPort,
  config: ConfigEditor,
  backends: readonly string[],
): Promise<ControllerObservation> {
  const [units, file, dropIns] = await Promise.all([
    port.listUnits(),
    port.readFile(port.cinderConf),
    port.listDropIns(),
  ]);
  const { content } = file;
  try {
    const others = await Promise.all(
      dropIns.map(async (path) => ({ path, content: (await port.readFile(path)).content })),
    );
    assertAlone(content, others, config, backends);
    const clustered = config.get(content, "DEFAULT", "cluster") !== undefined;
    const stanza = (backend: string): ControllerObservation["stanzas"][string] => {
      const name = config.get(content, backend, "volume_backend_name");
      const host = config.get(content, backend, "backend_host");
      return {
        replicationDevices: config.getAll(content, backend, "replication_device"),
        ...(name === undefined ? {} : { volumeBackendName: name }),
        consistentReplication: /^(true|1|yes|on)$/i.test(
          config.get(content, backend, "netapp_consistent_replication") ?? "",
        ),
        ...(host === undefined ? {} : { backendHost: host }),
        clustered,
      };
    };
    return {
      name: port.name,
      cinderConf: port.cinderConf,
      sha256: file.sha256,
      enabledBackends: config.listItems(config.get(content, "DEFAULT", "enabled_backends") ?? ""),
      stanzas: Object.fromEntries(
        backends.filter((backend) => has(config, content, backend)).map((backend) => [backend, stanza(backend)]),
      ),
      units,
    };
  } catch (error) {
    const place = `${port.cinderConf} on ${port.name}`;
    throw DrError.is(error, "config") ? extend(error, { attempted: `${error.attempted} (${place})` }) : error;
  }
}

/** oslo.config compares the names of sections in lower case. */
function has(config: ConfigEditor, content: string, section: string): boolean {
  return config.sections(content).some((name) => name.toLowerCase() === section.toLowerCase());
}

/** What Cinder does has to follow from the text of cinder.conf: only that is read, and edited. */
function assertAlone(
  content: string,
  dropIns: readonly { readonly path: string; readonly content: string }[],
  config: ConfigEditor,
  backends: readonly string[],
): void {
  const faults: string[] = [];
  const enabled = config.get(content, "DEFAULT", "enabled_backends") ?? "";
  if (enabled.replaceAll(/\$\$|\\\$/g, "").includes("$"))
    faults.push(`enabled_backends is the substitution "${enabled}": write the names themselves`);
  // Cinder reads it for every backend whose stanza has none (cinder/volume/configuration.py).
  if (config.getAll(content, "backend_defaults", "replication_device").length > 0)
    faults.push("[backend_defaults] sets replication_device: move it into the stanzas it's meant for");
  for (const dropIn of dropIns) {
    const overrides = [
      ...(config.get(dropIn.content, "DEFAULT", "enabled_backends") === undefined ? [] : ["enabled_backends"]),
      ...backends.filter((name) => has(config, dropIn.content, name)).map((name) => `[${name}]`),
      ...(config.getAll(dropIn.content, "backend_defaults", "replication_device").length > 0
        ? ["replication_device in [backend_defaults]"]
        : []),
    ];
    if (overrides.length > 0)
      faults.push(`${dropIn.path}, which counts more, has ${overrides.join(" and ")}: move that into cinder.conf`);
  }
  if (faults.length > 0)
    throw new DrError({
      code: "config",
      attempted: "Read what Cinder is configured to do",
      seen: faults.join("; "),
      state: "Nothing was changed",
      remedy: "Edit these files, and restart cinder-volume where that changes what it does",
    });
}

async function seen<T>(read: () => Promise<T>): Promise<Seen<T>> {
  try {
    return { ok: true, value: await read() };
  } catch (error) {
    return { ok: false, error: messageOf(error) };
  }
}

function valueOr<T>(result: Seen<T> | undefined, otherwise: T): T {
  return result?.ok === true ? result.value : otherwise;
}

function firstError(results: readonly Seen<unknown>[]): string | undefined {
  for (const result of results) if (!result.ok) return result.error;
  return undefined;
}

function portOf(ports: Ports, site: string): ArrayPort {
  const port = ports.arrays[site];
  if (port === undefined) throw new RangeError(`no array port for site "${site}"`);
  return port;
}
