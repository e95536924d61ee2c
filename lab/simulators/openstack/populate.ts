/**
 * Instances with data volumes by the thousand: the rows and LUNs that the services would have made, one step after
 * another, had each been asked for through the APIs, all at once. What the steps write is shared with the services
 * (cinder/rows.ts, nova/rows.ts, cinder/netapp-driver.ts).
 */
import { randomUUID } from "node:crypto";
import { CinderConf } from "./cinder/conf";
import type { ConnectionInfo, Connector } from "./cinder/driver";
import { FileDriver } from "./cinder/file-driver";
import { connectionInfo, lunPath, NetAppDriver } from "./cinder/netapp-driver";
import type { Target } from "./cinder/netapp-driver";
import {
  attachedVolume,
  completedAttachment,
  connectedAttachment,
  createdVolume,
  creatingVolume,
  flatConnection,
  imageMetadata,
  isUp,
  reservedAttachment,
  scheduledVolume,
  useQuota,
} from "./cinder/rows";
import { sqlTime } from "./clock";
import type { SimulatorConfig } from "./config";
import { Database } from "./database";
import { Glance } from "./glance";
import type { Row } from "./database";
import { nestedConnection } from "./nova/cinder-calls";
import {
  activeInstance,
  buildingInstance,
  connectedMapping,
  connectorOf,
  dataMapping,
  deviceName,
  endedEvent,
  isNovaServiceUp,
  networkCache,
  newAction,
  newEvent,
  placedInstance,
  rootMapping,
} from "./nova/rows";

/** Of a LUN, as ONTAP numbers them for an igroup. */
const LAST_LUN = 4095;
/** Requests to a cluster, files of roots: at once. */
const BATCH = 500;
const NAME = "populated-";

export interface ArrayRequest {
  method: "POST" | "DELETE";
  path: string;
  body?: object;
}
export interface ArrayAnswer {
  status: number;
  body: object;
}

export interface Population {
  instances: number;
  volumesPerInstance: number;
  sizeGiB: number;
  /** Whose they are, and who made them. */
  projectId: string;
  userId: string;
  /** Called once when nothing speaks against it: gives the types for volumes of these `volume_backend_name`s. */
  prepare: (backendNames: { roots: string; data: string }) => Promise<Types>;
  /** Puts requests to the cluster and SVM of that stanza's, none of which needs another. */
  ask: (stanza: string, requests: readonly ArrayRequest[]) => Promise<ArrayAnswer[]>;
  progress: (line: string) => void;
}
export interface Type {
  id: string;
  name: string;
}
export interface Types {
  roots: Type;
  data: Type;
}
export interface Populated {
  /** `host@backend` */
  backend: string;
  instances: number;
  volumes: number;
}

/** All or nothing: of what fails, no row and no LUN stays. */
export async function populate(config: SimulatorConfig, o: Population): Promise<Populated> {
  for (const [what, count] of [
    ["instances", o.instances],
    ["volumes for each instance", o.volumesPerInstance],
  ] as const)
    if (!Number.isInteger(count) || count < 1) throw new Error(`${count} ${what}: a whole number from 1 on is needed.`);
  const database = Database.open(config);
  let drivers: Drivers | undefined;
  try {
    drivers = await openDrivers(config, database);
    return await new Populating(config, o, database, drivers).run();
  } finally {
    drivers?.data.close();
    await database.close();
  }
}

interface Drivers {
  stanza: string;
  backendNames: { roots: string; data: string };
  data: NetAppDriver;
  pools: readonly string[];
  target: Target;
  service: Row;
  roots: FileDriver;
  rootsService: Row;
}

/** The backend where the pair is active, and the one of the roots, by cinder.conf and the rows of their services. */
async function openDrivers(config: SimulatorConfig, database: Database): Promise<Drivers> {
  const [controller] = config.controllers;
  const conf = CinderConf.read(controller?.cinderConf ?? "");
  const enabled = conf.enabledBackends();
  const serviceOf = async (stanza: string): Promise<Row | undefined> => {
    const sql = "SELECT * FROM cinder.services WHERE deleted = 0 AND `binary` = 'cinder-volume' AND host = ?";
    return database.row(sql, [conf.hostOf(stanza, controller?.name ?? "")]);
  };
  const driving = (name: string) =>
    enabled.find((stanza) => conf.get(stanza, "volume_driver")?.endsWith(name) === true) ?? "";
  const [stanza, rootStanza] = [driving("NetAppDriver"), driving("LabFileVolumes")];
  if (stanza === "")
    throw new Error(
      `No backend of the pair is enabled (enabled_backends = ${enabled.join(", ")}): declare the pair first, so that one of its sites is active.`,
    );
  const [service, rootsService] = [await serviceOf(stanza), await serviceOf(rootStanza)];
  const wrong = (seen: string) => new Error(`The backend ${stanza} takes no volumes now: ${seen}.`);
  if (service === undefined || rootsService === undefined) throw wrong("its cinder-volume has never run");
  if (service["disabled"] === 1) throw wrong(`it's disabled (${String(service["disabled_reason"])})`);
  if (service["replication_status"] !== "enabled")
    throw wrong(`its replication is ${String(service["replication_status"])}, and has to be enabled`);
  if (!isUp(service, config.serviceDownSeconds)) throw wrong("its cinder-volume is down");
  const data = new NetAppDriver(conf, stanza, null, config.housekeepingSeconds, () => undefined);
  try {
    const pools = await data.listFlexVols();
    if (pools.length === 0) throw wrong("it has no pools: no FlexVol matches netapp_pool_name_search_pattern");
    const roots = new FileDriver(conf, rootStanza);
    await roots.setup();
    const nameOf = (backend: string): string => conf.get(backend, "volume_backend_name") ?? backend;
    const backendNames = { roots: nameOf(rootStanza), data: nameOf(stanza) };
    return { stanza, backendNames, data, pools, target: await data.target(), service, roots, rootsService };
  } catch (error) {
    data.close();
    throw error;
  }
}

type Compute = SimulatorConfig["computes"][number];

/** What is to be: ids and names, before anything is made. */
interface Disk {
  volume: Row;
  attachmentId: string;
  mappingUuid: string;
  device: string;
  lun: number;
}
interface Instance {
  uuid: string;
  name: string;
  compute: Compute;
  root: Disk;
  disks: Disk[];
}

class Populating {
  constructor(
    private readonly config: SimulatorConfig,
    private readonly o: Population,
    private readonly database: Database,
    private readonly drivers: Drivers,
  ) {
    this.glance = new Glance(config);
  }
  private readonly glance: Glance;

  async run(): Promise<Populated> {
    const { o, drivers } = this;
    const computes = await this.computes();
    await this.assertNumbers(computes);
    const types = await o.prepare(drivers.backendNames);
    const instances = await this.draw(computes, types);
    const disks = instances.flatMap((instance) => instance.disks);
    try {
      const { bytes } = this.glance;
      const image = () => Promise.resolve(bytes);
      await inBatches(instances, (some) =>
        Promise.all(some.map(({ root }) => drivers.roots.createFromImage(root.volume, image))),
      );
      o.progress(`${instances.length} root volumes`);
      await inBatches(disks, (some) =>
        this.ask(
          some.map(({ volume }) => ({ method: "POST", path: "/storage/luns", body: drivers.data.newLun(volume) })),
        ),
      );
      o.progress(`${disks.length} LUNs in ${drivers.pools.join(", ")} of ${drivers.stanza}`);
      await this.map(instances);
      o.progress(`${disks.length} LUN maps for ${computes.length} compute hosts`);
      await this.database.transaction((database) => this.write(database, instances, types));
      o.progress("the rows of Nova and Cinder");
    } catch (error) {
      await this.undo(instances).catch((also: unknown) => {
        throw new AggregateError(
          [error, also],
          `${String(error)}; what was made until then is left over: ${String(also)}`,
        );
      });
      throw error;
    }
    return { backend: String(drivers.service["host"]), instances: instances.length, volumes: disks.length };
  }

  private async computes(): Promise<Compute[]> {
    const rows = await this.database.rows(
      "SELECT * FROM nova.services WHERE deleted = 0 AND `binary` = 'nova-compute' AND disabled = 0",
    );
    const up = rows.filter((row) => isNovaServiceUp(row, this.config.serviceDownSeconds)).map((row) => row["host"]);
    const computes = this.config.computes.filter(({ name }) => up.includes(name));
    if (computes.length === 0) throw new Error("No compute host is up and enabled: there is nowhere to put instances.");
    return computes;
  }

  /** An initiator sees 4,095 LUNs of an SVM: a cluster refuses more, so this says it before anything is made. */
  private async assertNumbers(computes: readonly Compute[]): Promise<void> {
    const { instances, volumesPerInstance } = this.o;
    const rows = await this.database.rows(
      "SELECT a.attached_host AS host, COUNT(*) AS n FROM cinder.volume_attachment a JOIN cinder.volumes v ON v.id = a.volume_id WHERE a.deleted = 0 AND SUBSTRING_INDEX(v.host, '#', 1) = ? GROUP BY a.attached_host",
      [this.drivers.service["host"] ?? null],
    );
    const more = Math.ceil(instances / computes.length) * volumesPerInstance;
    const full = computes.flatMap(({ name }) => {
      const now = Number(rows.find(({ host }) => host === name)?.["n"] ?? 0);
      return now + more > LAST_LUN ? [`${name} has ${now} and would get ${more} more`] : [];
    });
    if (full.length > 0)
      throw new Error(
        `${instances} instances with ${volumesPerInstance} volumes each don't go onto ${computes.length} compute hosts: a host sees ${LAST_LUN} LUNs at most, and ${full.join(", ")}. Bring up a lab with more compute hosts (--computes).`,
      );
  }

  private async draw(computes: readonly Compute[], types: Types): Promise<Instance[]> {
    const { instances, volumesPerInstance } = this.o;
    const { pools, service, rootsService } = this.drivers;
    const [last] = await this.database.rows(
      "SELECT COALESCE(MAX(CAST(SUBSTRING(display_name, ?) AS UNSIGNED)), 0) AS n FROM nova.instances WHERE display_name REGEXP ?",
      [NAME.length + 1, `^${NAME}[0-9]+$`],
    );
    const former = Number(last?.["n"]);
    return Array.from({ length: instances }, (_, index): Instance => {
      const name = NAME + String(former + index + 1).padStart(5, "0");
      const disk = (what: string, at: number, type: Type, host: string): Disk => ({
        volume: {
          ...creatingVolume({
            id: randomUUID(),
            userId: this.o.userId,
            projectId: this.o.projectId,
            name: `${name}-${what}`,
            size: this.o.sizeGiB,
            typeId: type.id,
          }),
          ...scheduledVolume(host),
        },
        attachmentId: randomUUID(),
        mappingUuid: randomUUID(),
        device: deviceName(at),
        lun: 0,
      });
      return {
        uuid: randomUUID(),
        name,
        compute: at(computes, index),
        root: disk("root", 0, types.roots, `${String(rootsService["host"])}#roots`),
        disks: Array.from({ length: volumesPerInstance }, (_each, set) => {
          const pool = at(pools, index * volumesPerInstance + set);
          return disk(deviceName(set + 1).slice(5), set + 1, types.data, `${String(service["host"])}#${pool}`);
        }),
      };
    });
  }

  private async ask(requests: readonly ArrayRequest[]): Promise<ArrayAnswer[]> {
    const { stanza } = this.drivers;
    const answers = await this.o.ask(stanza, requests);
    const refused = answers.findIndex(({ status }) => status >= 300);
    if (refused < 0) return answers;
    const { method, path } = at(requests, refused);
    const { status, body } = at(answers, refused);
    throw new Error(`${method} ${path} at ${stanza}: ${status} ${JSON.stringify(body)}`);
  }

  private async map(instances: readonly Instance[]): Promise<void> {
    for (const compute of new Set(instances.map((instance) => instance.compute))) {
      const igroup = await this.drivers.data.igroupOf(compute.initiator);
      const disks = instances.filter((instance) => instance.compute === compute).flatMap((instance) => instance.disks);
      await inBatches(disks, async (some) => {
        const answers = await this.ask(
          some.map(({ volume }) => ({
            method: "POST",
            path: "/protocols/san/lun-maps?return_records=true",
            body: { "lun.name": lunPath(volume), "igroup.name": igroup },
          })),
        );
        some.forEach((disk, index) => {
          const { records } = at(answers, index).body as { records: { logical_unit_number: number }[] };
          disk.lun = at(records, 0).logical_unit_number;
        });
      });
    }
  }

  private async undo(instances: readonly Instance[]): Promise<void> {
    const disks = instances.flatMap((instance) => instance.disks);
    await inBatches(disks, async (some) => {
      const answers = await this.o.ask(
        this.drivers.stanza,
        some.map(({ volume }) => ({
          method: "DELETE",
          path: `/storage/luns?allow_delete_while_mapped=true&name=${encodeURIComponent(lunPath(volume))}`,
        })),
      );
      const left = answers.find(({ status }) => status >= 300);
      if (left !== undefined) throw new Error(`LUNs of ${NAME}…: ${JSON.stringify(left.body)}`);
    });
    await inBatches(instances, (some) =>
      Promise.all(some.map(({ root }) => this.drivers.roots.deleteVolume(root.volume))),
    );
  }

  // ------------------------------------------------------------------------------------------------------------- rows

  private async write(database: Database, instances: readonly Instance[], types: Types): Promise<void> {
    const { o, drivers } = this;
    const { uuid: serviceUuid = null } = drivers.service;
    const { uuid: rootsServiceUuid = null } = drivers.rootsService;
    const updated = { updated_at: sqlTime() };
    const flavor = await database.row("SELECT * FROM nova_api.flavors WHERE flavorid = ?", [this.config.flavor.id]);

    const root = ({ volume }: Disk): Row => ({
      ...volume,
      bootable: 1,
      ...createdVolume(rootsServiceUuid, drivers.roots.sharedTargets),
      ...attachedVolume,
      ...updated,
    });
    const data = ({ volume }: Disk): Row => ({
      ...volume,
      ...drivers.data.modelUpdate(),
      provider_location: drivers.data.location(lunPath(volume)),
      ...createdVolume(serviceUuid, drivers.data.sharedTargets),
      ...attachedVolume,
      ...updated,
    });
    await database.insertAll(
      "cinder.volumes",
      instances.map(({ root: disk }) => root(disk)),
    );
    await database.insertAll(
      "cinder.volumes",
      instances.flatMap(({ disks }) => disks.map(data)),
    );
    const metadata = Object.entries(imageMetadata(this.glance.view()));
    await database.insertAll(
      "cinder.volume_glance_metadata",
      instances.flatMap(({ root: { volume } }) =>
        metadata.map(([key, value]) => ({ volume_id: volume["id"] ?? null, key, value })),
      ),
    );
    const count = (type: Type, each: number) =>
      useQuota(database, o.projectId, "volumes", each, each * o.sizeGiB, type.name);
    await count(types.roots, instances.length);
    await count(types.data, instances.length * o.volumesPerInstance);

    const networks = instances.map(({ uuid }) => networkCache(uuid));
    await database.insertAll(
      "nova.instances",
      instances.map(({ uuid, name, compute }) => ({
        ...buildingInstance({ uuid, name, userId: o.userId, projectId: o.projectId, key: undefined }, flavor ?? {}),
        ...placedInstance(compute.name),
        ...activeInstance(),
        ...updated,
      })),
    );
    await database.insertAll("nova.instance_info_caches", networks);
    const attached = await this.connections(instances);
    await database.insertAll(
      "cinder.volume_attachment",
      attached.map((each) => ({ ...each.attachment, ...updated })),
    );
    const mappings = (isRoot: boolean): Row[] =>
      attached.filter((each) => each.isRoot === isRoot).map((each) => ({ ...each.mapping, ...updated }));
    await database.insertAll("nova.block_device_mapping", mappings(true));
    await database.insertAll("nova.block_device_mapping", mappings(false));
    await this.writeActions(database, instances, updated);
  }

  private async connections(instances: readonly Instance[]): Promise<Attached[]> {
    const { roots, target } = this.drivers;
    const all: Attached[] = [];
    for (const { uuid, compute, root, disks } of instances) {
      const connector = (disk: Disk): Connector => connectorOf(compute, this.config.address, disk.device);
      all.push(attach(uuid, root, await roots.initializeConnection(root.volume), connector(root), true));
      for (const disk of disks)
        all.push(attach(uuid, disk, connectionInfo(disk.volume, target, disk.lun, false), connector(disk), false));
    }
    return all;
  }

  /** Who did it, as for requests of the owner's. */
  private async writeActions(database: Database, instances: readonly Instance[], updated: Row): Promise<void> {
    const { userId, projectId } = this.o;
    const wanted = instances.flatMap(({ uuid, compute, disks }) => [
      { uuid, compute, action: "create", event: "compute__do_build_and_run_instance" },
      ...disks.map(() => ({ uuid, compute, action: "attach_volume", event: "compute_attach_volume" })),
    ]);
    const ids = await database.insertAll(
      "nova.instance_actions",
      wanted.map(({ action, uuid }) => ({
        ...newAction(action, uuid, `req-${randomUUID()}`, { userId, projectId }),
        ...updated,
      })),
    );
    await database.insertAll(
      "nova.instance_actions_events",
      wanted.map(({ event, compute }, index) => ({
        ...newEvent(event, at(ids, index), compute.name),
        ...endedEvent("Success"),
        ...updated,
      })),
    );
  }
}

interface Attached {
  isRoot: boolean;
  attachment: Row;
  mapping: Row;
}

/** Attached for reading and writing, as Cinder and Nova tell it. */
function attach(
  instanceUuid: string,
  { volume, attachmentId, mappingUuid, device }: Disk,
  connection: ConnectionInfo,
  connector: Connector,
  isRoot: boolean,
): Attached {
  const volumeId = String(volume["id"]);
  const info = flatConnection(connection, attachmentId, "rw", connector);
  const size = Number(volume["size"]);
  const common = { uuid: mappingUuid, instanceUuid, volumeId, size, deleteOnTermination: false };
  const mapping: Row = isRoot
    ? rootMapping({ ...common, attachmentId })
    : { ...dataMapping({ ...common, device, tag: null }), attachment_id: attachmentId };
  return {
    isRoot,
    attachment: {
      ...reservedAttachment(attachmentId, volumeId, instanceUuid),
      ...connectedAttachment(info, "rw", connector),
      ...completedAttachment(),
    },
    mapping: { ...mapping, ...connectedMapping(nestedConnection(info), instanceUuid, volumeId) },
  };
}

async function inBatches<T>(items: readonly T[], work: (some: T[]) => Promise<unknown>): Promise<void> {
  for (let index = 0; index < items.length; index += BATCH) await work(items.slice(index, index + BATCH));
}

/** Round and round. */
function at<T>(items: readonly T[], index: number): T {
  const item = items[index % items.length];
  if (item === undefined) throw new RangeError("nothing to choose from");
  return item;
}
