import { createHash } from "node:crypto";
import { DrError } from "../../../lib/errors";
import * as osloConfig from "../../../lib/oslo-config";
import type { Intent } from "../../../lib/switchover";
import type {
  ArrayPort,
  CinderSnapshot,
  CinderVolume,
  ControllerPort,
  LeaseRow,
  Mirror,
  Ports,
  PromotionChange,
  Server,
  ServerAttachment,
} from "../../../lib/switchover/ports";
import { type SitePair, sitePairSchema } from "../../../lib/topology/site-pair";

/**
 * Both sites and the control plane as data, for the engine's own tests: what the real systems refuse it refuses, and what
 * NetApp's driver does at its start it does, so that a wrong order shows as overwritten data. Time passes by sleeping.
 */

type Site = "iprod" | "idr";
const peer = (site: Site): Site => (site === "iprod" ? "idr" : "iprod");

export const pair: SitePair = sitePairSchema.parse({
  name: "pair",
  sites: {
    iprod: { backend: "iprod", svm: "svm-iprod", ontap: { address: "127.0.0.10", username: "admin" } },
    idr: { backend: "idr", svm: "svm-idr", ontap: { address: "127.0.0.11", username: "admin" } },
  },
  flexVols: ["pool1", "pool2"],
  cinder: {
    volumeHost: "cinder",
    controllers: ["c1", "c2"].map((name) => ({
      kind: "local",
      name,
      services: { manager: "systemd", units: [{ role: "volume", unit: "cinder-volume" }] },
    })),
    database: { host: "127.0.0.1", user: "dr", tls: false },
    messageQueue: { host: "127.0.0.1", user: "dr", tls: false },
  },
  openstack: {
    authUrl: "http://127.0.0.1:5000/v3",
    region: "RegionOne",
    credential: { kind: "applicationCredential", id: "id" },
  },
});

export const intentTo = (activeSite: Site, more: Partial<Intent> = {}): Intent => ({
  activeSite,
  promotion: "immediate",
  hooks: [],
  requireApproval: false,
  startIncomplete: false,
  ...more,
});

interface WorldMirror {
  uuid: string;
  from: Site;
  flexVol: string;
  state: string;
  transfers: { uuid: string; state: string }[];
  /** A baseline on its way. */
  baseline?: { sinceMs: number; seconds: number };
  failed?: true;
}

interface WorldUnit {
  role: "api" | "scheduler" | "volume";
  unit: string;
  startedHere: boolean;
  active: boolean;
  masked: boolean;
}

/** Snapshots are LUNs of their own. */
const lunName = (id: string): string => (id.startsWith("snapshot-") ? id : `volume-${id}`);

const refused = (status: number, attempted: string, seen: string): DrError =>
  new DrError({ code: "remote", attempted, seen, context: { status } });

/** Takes one of a fault that happens so often. */
function used(left: Map<string, number>, key: string): boolean {
  const n = left.get(key) ?? 0;
  if (n > 0) left.set(key, n - 1);
  return n > 0;
}

const conf = `[DEFAULT]
# the backends
enabled_backends = loweropenstack1, iprod
[iprod]
volume_backend_name = netapp
replication_device = backend_id:idr
[idr]
volume_backend_name = netapp
replication_device = backend_id:iprod
[loweropenstack1]
volume_backend_name = lower
`;

export class World {
  nowMs = Date.parse("2026-01-01T00:00:00Z");
  /** Every mutating call, in its order. */
  readonly calls: string[] = [];
  /** What each hook was told. */
  readonly hooked: Readonly<Record<string, unknown>>[] = [];
  /** Where a rule was broken that must always hold. */
  readonly violations: string[] = [];
  flexVolType: Record<Site, Record<string, "rw" | "dp">> = {
    iprod: { pool1: "rw", pool2: "rw" },
    idr: { pool1: "dp", pool2: "dp" },
  };
  readonly luns: Record<Site, Map<string, { flexVol: string; sizeBytes: number; name?: string }>> = {
    iprod: new Map(),
    idr: new Map(),
  };
  readonly maps: Record<Site, Map<string, string>> = { iprod: new Map(), idr: new Map() };
  mirrors: WorldMirror[] = [];
  readonly reachable: Record<Site, boolean> = { iprod: true, idr: true };
  readonly volumes = new Map<string, CinderVolume>();
  readonly servers = new Map<
    string,
    {
      name: string;
      running: boolean;
      locked: boolean;
      attachments: ServerAttachment[];
      /** What Nova says of it besides. */
      as?: Partial<Server>;
    }
  >();
  readonly connections = new Map<string, { volumeId: string; serverId: string; site: Site }>();
  /** Attachments that a refresh hasn't finished: reserved ones without a site, attaching ones with it. */
  readonly unfinished = new Map<string, { volumeId: string; serverId: string; site?: Site }>();
  readonly rows: Record<
    Site,
    {
      disabled: boolean;
      disabledReason?: string;
      replicationStatus: string;
      activeBackendId: string | null;
      exists: boolean;
    }
  > = {
    iprod: { disabled: false, replicationStatus: "enabled", activeBackendId: null, exists: true },
    idr: { disabled: false, replicationStatus: "not-capable", activeBackendId: null, exists: false },
  };
  /** `dropIns`: files that are read after cinder.conf, by path. */
  readonly controllers: Record<string, { content: string; units: WorldUnit[]; dropIns?: Record<string, string> }>;
  readonly queues = new Map<string, string[]>();
  lease: (LeaseRow & { expiresMs: number }) | undefined;
  stopRequest: { token: string; by: string } | undefined;
  owner: string | undefined;
  readonly journals = new Map<string, { pair: string; open: boolean; closedMs?: number; entries: string[] }>();
  /** A site that came back with the maps it had: nobody could take them away while it was gone. */
  unfenced: Site | undefined;
  baselineSeconds = 0;
  /** `<site>:<FlexVol>` of type dp without a snapshot. */
  readonly empty = new Set<string>();
  /** FlexVols whose two sides have no snapshot in common. */
  readonly uncommon = new Set<string>();
  /** FlexClones at the lost site, with how often one has to be asked until its split is done. */
  readonly clones = new Map<string, number>();
  /** What goes wrong, and how often; each is used up by happening. */
  readonly faults = {
    /** By volume: the hypervisor refuses, and Nova rolls the detach back to in-use. */
    detachRolledBack: new Map<string, number>(),
    /** By volume: cinder-volume never answers, and the volume stays `detaching`. */
    detachStuck: new Map<string, number>(),
    /** By volume: Cinder calls it available while Nova's row is still there, for so many listings. */
    rowLingers: new Map<string, number>(),
    /** By volume: Nova gives up on the attach, and the volume is available again. */
    attachFallsBack: new Map<string, number>(),
    /** By volume: the device that it gets. */
    device: new Map<string, string>(),
    /** `<site>:<FlexVol>`: it tells no snapshots then. */
    offline: "",
    /** The baseline's transfers fail so often. */
    baseline: 0,
    /** Volumes for which the driver finds another LUN of the same name. */
    otherLun: new Set<string>(),
    /** By instance: listings for which it stays in a task after a stop or start. */
    task: new Map<string, number>(),
    /** A load balancer answers for a dead cinder-api. */
    gateway: false,
    /** By hook. */
    hook: new Map<string, number>(),
    /** Until it's ended. */
    hookHangs: new Set<string>(),
    failoverError: 0,
    unbrokenFlexVol: undefined as string | undefined,
    /** By volume: after which of its calls nova-manage dies; "busy": another one is at it. */
    refresh: new Map<string, "busy" | "created" | "removed" | "refused" | "updated" | "saved">(),
    /** The status by which an attachment's deletion fails. */
    deleteAttachment: 0,
    /** Instances that are missing from Nova's listing though they are there. */
    unlisted: new Set<string>(),
    /** Instances that Nova lists without volumes though they have some: it couldn't read their cell's mappings. */
    mappingsUnread: new Set<string>(),
    /** What nova-manage's probe says. */
    novaManage: "",
    /** cinder-volume consumes its queue and sends no heartbeat: its driver isn't initialised. */
    silent: false,
    /** The same, a while later: it's called down. */
    driverDead: false,
    /** The clocks of API and service are apart: it's called down whatever it does. */
    calledDown: false,
    /** The cluster takes no lock for it: `renewLease` says that somebody else has it. */
    leaseTaken: false,
    /** Writes to the journal's table that fail, before (or after) they're done. */
    journalWrite: { before: 0, after: 0 },
    /** Seconds that the database takes to renew the lease. */
    renewalSeconds: 0,
  };
  /** Called after every change: what others do meanwhile. */
  meanwhile: (call: string) => void = () => undefined;
  readonly snapshots: CinderSnapshot[] = [];
  private readonly tasks = new Map<string, number>();
  private counter = 0;
  /** How long cinder-volume has run: it sends a heartbeat every 10 s. */
  computes = [{ host: "compute", up: true, enabled: true }];
  private servingMs = 0;
  reversal: "swap" | "refused" = "swap";

  constructor(servers = 2, volumesEach = 2) {
    const units = (active: boolean): WorldUnit[] => [
      { role: "api", unit: "cinder-api", startedHere: active, active, masked: false },
      { role: "scheduler", unit: "cinder-scheduler", startedHere: true, active: true, masked: false },
      { role: "volume", unit: "cinder-volume", startedHere: active, active, masked: false },
    ];
    this.controllers = { c1: { content: conf, units: units(true) }, c2: { content: conf, units: units(false) } };
    for (const flexVol of pair.flexVols)
      this.mirrors.push({ uuid: `m-${flexVol}`, from: "iprod", flexVol, state: "snapmirrored", transfers: [] });
    for (let s = 0; s < servers; s++) {
      const serverId = `server-${s}`;
      const attachments: ServerAttachment[] = [];
      for (let v = 0; v < volumesEach; v++) {
        const id = `${s}${v}`;
        const flexVol = v % 2 === 0 ? "pool1" : "pool2";
        for (const site of ["iprod", "idr"] as const) this.luns[site].set(id, { flexVol, sizeBytes: 2 ** 30 });
        const device = `/dev/vd${String.fromCharCode(98 + v)}`;
        const attachmentId = `a-${id}`;
        attachments.push({ serverId, volumeId: id, device, deleteOnTermination: v === 1, attachmentId });
        this.connections.set(attachmentId, { volumeId: id, serverId, site: "iprod" });
        this.maps.iprod.set(id, "host");
        this.volumes.set(id, this.volume(id, flexVol, [{ attachmentId, serverId, device }]));
      }
      this.servers.set(serverId, { name: serverId, running: s !== 1, locked: s === 1, attachments });
    }
  }

  /** The instance boots from a volume of the pair. Its id begins like those of its data volumes. */
  bootFromVolume(serverId: string): string {
    const server = this.servers.get(serverId);
    if (server === undefined) throw new Error(serverId);
    const id = `root-${serverId}`;
    const attachmentId = `a-${id}`;
    for (const site of ["iprod", "idr"] as const) this.luns[site].set(id, { flexVol: "pool1", sizeBytes: 2 ** 30 });
    const root = { serverId, volumeId: id, device: "/dev/vda", deleteOnTermination: true, attachmentId };
    server.attachments = [root, ...server.attachments];
    this.connections.set(attachmentId, { volumeId: id, serverId, site: "iprod" });
    this.maps.iprod.set(id, "host");
    this.volumes.set(id, this.volume(id, "pool1", [{ attachmentId, serverId, device: "/dev/vda" }]));
    return id;
  }

  /** A volume that nobody uses, with its LUN. */
  addVolume(id: string, more: Partial<CinderVolume> = {}): void {
    for (const site of ["iprod", "idr"] as const)
      this.luns[site].set(more.nameId ?? id, { flexVol: "pool1", sizeBytes: 2 ** 30 });
    this.volumes.set(id, { ...this.volume(id, "pool1", []), ...more });
  }

  /** No compute host has anything of it any more; its volumes are kept for it. */
  shelveAndOffload(serverId: string): void {
    const server = this.servers.get(serverId);
    if (server === undefined) throw new Error(serverId);
    server.as = { status: "SHELVED_OFFLOADED" };
    for (const { volumeId, attachmentId = "" } of server.attachments) {
      this.connections.delete(attachmentId);
      this.maps.iprod.delete(volumeId);
      this.unfinished.set(attachmentId, { volumeId, serverId });
      const volume = this.volumes.get(volumeId);
      if (volume !== undefined) this.volumes.set(volumeId, { ...volume, status: "reserved", attachments: [] });
    }
  }

  private volume(id: string, flexVol: string, attachments: CinderVolume["attachments"]): CinderVolume {
    return {
      id,
      name: `v${id}`,
      host: `cinder@iprod#${flexVol}`,
      status: attachments.length > 0 ? "in-use" : "available",
      sizeGiB: 1,
      projectId: "p",
      replicationStatus: "enabled",
      multiattach: false,
      bootable: false,
      encrypted: false,
      attachments,
    };
  }

  /** Which side Cinder's driver uses for volumes of a backend. */
  private servingSite(volume: CinderVolume): Site {
    const site = volume.host.split("@")[1]?.split("#")[0] as Site;
    return this.rows[site].replicationStatus === "failed-over" ? peer(site) : site;
  }

  /** After every change: no two writable sides that are both mapped. */
  private did(call: string): void {
    this.calls.push(call);
    this.meanwhile(call);
    if (this.unfenced !== undefined && this.maps[this.unfenced].size === 0) this.unfenced = undefined;
    if (this.unfenced !== undefined) return;
    const writableMapped = (site: Site): boolean =>
      [...this.maps[site].keys()].some((id) => this.flexVolType[site][this.luns[site].get(id)?.flexVol ?? ""] === "rw");
    if (writableMapped("iprod") && writableMapped("idr") && this.reachable.iprod && this.reachable.idr)
      this.violations.push(`after ${call}: both sides are writable and mapped`);
  }

  private lunPath(site: Site, volumeId: string): string {
    const id = this.volumes.get(volumeId)?.nameId ?? volumeId;
    return `/vol/${this.luns[site].get(id)?.flexVol ?? ""}/${lunName(id)}`;
  }

  private clonesAt(site: Site): string[] {
    return [...this.clones.keys()].filter((key) => key.startsWith(`${site}:`)).map((key) => key.slice(site.length + 1));
  }

  private findMirror(uuid: string): WorldMirror {
    const mirror = this.mirrors.find((candidate) => candidate.uuid === uuid);
    if (mirror === undefined) throw new DrError({ code: "remote", attempted: uuid, seen: "entry doesn't exist" });
    return mirror;
  }

  private setMirror(mirror: WorldMirror, state: string): void {
    const to = peer(mirror.from);
    if (state === "snapmirrored" && mirror.state === "uninitialized") {
      if (this.flexVolType[to][mirror.flexVol] !== "dp")
        throw refused(409, "Initialize", "Destination must be a dp volume");
      if (this.faults.baseline > 0) {
        this.faults.baseline -= 1;
        mirror.failed = true;
        return;
      }
      delete mirror.failed;
      mirror.baseline ??= { sinceMs: this.nowMs, seconds: this.baselineSeconds };
      this.advance(mirror);
      return;
    }
    if (state === "snapmirrored" && mirror.state === "broken_off") {
      if (this.uncommon.has(mirror.flexVol)) throw refused(409, "Resync", "no common snapshot");
      // A resync overwrites the destination with the source's data.
      if (this.activeData() === to) this.violations.push(`resync of ${mirror.flexVol} overwrote the active site ${to}`);
      this.flexVolType[to][mirror.flexVol] = "dp";
      this.copyLuns(mirror);
    }
    if (state === "broken_off") this.flexVolType[to][mirror.flexVol] = "rw";
    mirror.state = state;
  }

  private advance(mirror: WorldMirror): void {
    if (mirror.baseline === undefined || this.nowMs < mirror.baseline.sinceMs + mirror.baseline.seconds * 1000) return;
    delete mirror.baseline;
    this.empty.delete(`${peer(mirror.from)}:${mirror.flexVol}`);
    this.copyLuns(mirror);
    this.uncommon.delete(mirror.flexVol);
    mirror.state = "snapmirrored";
  }

  private copyLuns(mirror: WorldMirror): void {
    const to = peer(mirror.from);
    for (const [id, lun] of this.luns[to]) if (lun.flexVol === mirror.flexVol) this.luns[to].delete(id);
    for (const [id, lun] of this.luns[mirror.from]) if (lun.flexVol === mirror.flexVol) this.luns[to].set(id, lun);
  }

  /** The side that holds what users wrote last: where attached volumes lead, but for a stopped instance's unmapped root. */
  activeData(): Site | undefined {
    const used = [...this.connections.values()].filter(({ site, volumeId }) => this.maps[site].has(volumeId));
    const sites = new Set(used.map((connection) => connection.site));
    return sites.size === 1 ? [...sites][0] : undefined;
  }

  /** What NetApp's driver does when its service starts: repair replication from its own side. */
  startVolumeService(controller: string): void {
    const content = this.controllers[controller]?.content ?? "";
    const enabled = osloConfig.listItems(osloConfig.get(content, "DEFAULT", "enabled_backends") ?? "");
    for (const site of ["iprod", "idr"] as const) {
      if (!enabled.includes(site)) continue;
      const row = this.rows[site];
      if (!row.exists)
        Object.assign(row, { exists: true, replicationStatus: "enabled", disabled: false, activeBackendId: null });
      if (row.replicationStatus === "failed-over") continue;
      if (osloConfig.get(content, site, "replication_device") === undefined) continue;
      for (const mirror of this.mirrors.filter(
        (candidate) =>
          candidate.from === site && candidate.state !== "snapmirrored" && candidate.baseline === undefined,
      ))
        this.setMirror(mirror, "snapmirrored");
      for (const queue of [...this.queues.keys()].filter((name) => name.includes(`@${site}`)))
        this.violations.push(`messages in ${queue} ran at the start of ${site}`);
    }
  }

  ports(): Ports {
    const array = (site: Site): ArrayPort => {
      const up = (): void => {
        if (!this.reachable[site])
          throw new DrError({ code: "unreachable", attempted: `Ask ${site}`, seen: "no answer" });
      };
      const view = (mirror: WorldMirror): Mirror => ({
        uuid: mirror.uuid,
        source: { svm: `svm-${mirror.from}`, flexVol: mirror.flexVol },
        destination: { svm: `svm-${peer(mirror.from)}`, flexVol: mirror.flexVol },
        state: mirror.state,
        healthy: true,
        unhealthyReasons: [],
        lagSeconds: 60,
        exportedSnapshot: "snap",
        transfer:
          mirror.baseline === undefined
            ? { state: mirror.failed ? "failed" : "success" }
            : {
                state: "transferring",
                bytesTransferred: Number.isFinite(mirror.baseline.seconds) ? this.nowMs - mirror.baseline.sinceMs : 1,
              },
      });
      return {
        site,
        getCluster: async () => (up(), { name: site, version: "9.16.1" }),
        getSvm: async () => (up(), { uuid: site, state: "running" }),
        getIscsiTarget: async () => (up(), { iqn: `iqn.${site}`, enabled: true, portals: [`${site}:3260`] }),
        listFlexVols: async () => (
          up(),
          [...Object.keys(this.flexVolType[site]), ...this.clonesAt(site)].map((name) => ({
            uuid: name,
            name,
            type: this.flexVolType[site][name] ?? "rw",
            state: this.faults.offline === `${site}:${name}` ? "offline" : "online",
            sizeBytes: 1,
          }))
        ),
        listLuns: async (flexVols) => (
          up(),
          [...this.luns[site]]
            .filter(([, lun]) => flexVols.includes(lun.flexVol))
            .map(([id, lun]) => ({
              uuid: `${site}-${id}`,
              path: `/vol/${lun.flexVol}/${lun.name ?? lunName(id)}`,
              flexVol: lun.flexVol,
              name: lun.name ?? lunName(id),
              serial: `${site}${id}`,
              sizeBytes: lun.sizeBytes,
            }))
        ),
        listLunPaths: async () => (
          up(),
          [...this.luns[site]].map(([id, lun]) => `/vol/${lun.flexVol}/${lun.name ?? lunName(id)}`)
        ),
        renameLun: async (lun, name) => {
          up();
          const found = this.luns[site].get(lun.uuid.slice(site.length + 1));
          if (found === undefined) throw refused(404, "Rename", "no such LUN");
          found.name = name;
          this.did(`rename LUN ${site} ${name}`);
        },
        listLunMaps: async () => (
          up(),
          [...this.maps[site]].map(([id, igroup]) => ({
            lunUuid: id,
            lunPath: this.lunPath(site, id),
            igroupUuid: igroup,
            igroup,
            logicalUnitNumber: 1,
          }))
        ),
        deleteLunMap: async (map) => {
          up();
          this.maps[site].delete(map.lunUuid);
          this.did(`unmap ${site} ${map.lunUuid}`);
        },
        listSnapshots: async (flexVol) => {
          up();
          if (this.faults.offline === `${site}:${flexVol}`) return [];
          // A destination that was never written to.
          if (this.empty.has(`${site}:${flexVol}`)) return [];
          const versionUuid = this.uncommon.has(flexVol) ? `of ${site}` : "s";
          return [{ uuid: "s", name: "snap", versionUuid, createTime: new Date(this.nowMs).toISOString() }];
        },
        findChangedBytes: async () => (up(), 4096),
        listMirrors: async () => {
          up();
          this.mirrors.forEach((mirror) => this.advance(mirror));
          return this.mirrors.filter((mirror) => peer(mirror.from) === site).map(view);
        },
        startTransfer: async (uuid) => {
          up();
          const mirror = this.findMirror(uuid);
          if (mirror.state !== "snapmirrored")
            throw new DrError({ code: "remote", attempted: "Update", seen: `it is ${mirror.state}` });
          this.copyLuns(mirror);
          const transfer = { uuid: `t${++this.counter}`, state: "success" };
          mirror.transfers.push(transfer);
          this.did(`transfer ${mirror.from} ${mirror.flexVol}`);
          return transfer.uuid;
        },
        getTransfer: async (uuid, transferUuid) => {
          up();
          const transfer = this.findMirror(uuid).transfers.find((candidate) => candidate.uuid === transferUuid);
          return { uuid: transferUuid, state: transfer?.state ?? "failed", bytesTransferred: 1 };
        },
        abortTransfer: async () => undefined,
        setMirrorState: async (uuid, state) => {
          up();
          const mirror = this.findMirror(uuid);
          this.setMirror(mirror, state);
          this.did(`${state} ${mirror.from} ${mirror.flexVol}`);
        },
        createMirror: async (o) => {
          up();
          const existing = this.mirrors.find((m) => m.flexVol === o.flexVol && peer(m.from) === site);
          if (existing !== undefined) return existing.uuid;
          const mirror = {
            uuid: `m${++this.counter}`,
            from: peer(site),
            flexVol: o.flexVol,
            // Onto a FlexVol that can be written to it's one to be resynced.
            state: this.flexVolType[site][o.flexVol] === "dp" ? "uninitialized" : "broken_off",
            transfers: [],
          };
          this.mirrors.push(mirror);
          this.did(`create mirror ${mirror.from} ${o.flexVol}`);
          return mirror.uuid;
        },
        reverseMirror: async (mirror) => {
          up();
          if (this.reversal === "refused")
            throw new DrError({ code: "remote", attempted: "Reverse", seen: "not supported" });
          const found = this.findMirror(mirror.uuid);
          if (this.uncommon.has(found.flexVol)) throw refused(409, "Reverse", "no common snapshot");
          found.from = peer(found.from);
          this.setMirror(found, "snapmirrored");
          this.did(`reverse ${found.from} ${found.flexVol}`);
        },
        deleteMirror: async (uuid) => {
          up();
          this.mirrors = this.mirrors.filter((mirror) => mirror.uuid !== uuid);
          this.did(`delete mirror ${uuid}`);
        },
        releaseMirror: async () => this.did(`release ${site}`),
        createDestinationVolume: async ({ name, sizeBytes }) => {
          up();
          if (this.flexVolType[site][name] === undefined) this.empty.add(`${site}:${name}`);
          const type = (this.flexVolType[site][name] ??= (this.did(`create ${site} ${name}`), "dp"));
          return { uuid: name, name, type, state: "online", sizeBytes };
        },
        renameFlexVol: async ({ from, to }) => {
          up();
          const { [from]: type, ...others } = this.flexVolType[site];
          if (type === undefined && others[to] !== undefined) return;
          if (type === undefined || others[to] !== undefined) throw refused(409, "Rename", "no such FlexVol");
          if (this.mirrors.some(({ flexVol }) => flexVol === from)) throw refused(409, "Rename", "it has mirrors");
          this.flexVolType[site] = { ...others, [to]: type };
          for (const [id, lun] of this.luns[site]) {
            if (lun.flexVol !== from) continue;
            // Cinder's names may come again under the old path.
            this.luns[site].delete(id);
            this.luns[site].set(`${to}/${id}`, { ...lun, flexVol: to, name: lun.name ?? lunName(id) });
          }
          this.did(`rename ${site} ${from}`);
        },
        deleteFlexVol: async (name) => {
          up();
          if (this.flexVolType[site][name] === undefined) return;
          const mirror = this.mirrors.find(({ flexVol }) => name.startsWith(flexVol));
          if (mirror?.state !== "snapmirrored")
            this.violations.push(`${name} was deleted before its successor was whole`);
          delete this.flexVolType[site][name];
          for (const [id, lun] of this.luns[site]) if (lun.flexVol === name) this.luns[site].delete(id);
          this.did(`delete ${site} FlexVol`);
        },
        cloneFlexVol: async ({ parent, name }) => {
          up();
          this.clones.set(`${site}:${name}`, 2);
          for (const [id, lun] of [...this.luns[site]])
            if (lun.flexVol === parent)
              this.luns[site].set(`${name}/${id}`, { ...lun, flexVol: name, name: lunName(id) });
          this.did(`clone ${site}`);
        },
        splitFlexClone: async (name) => {
          up();
          const left = this.clones.get(`${site}:${name}`);
          if (left === undefined) throw new DrError({ code: "config", attempted: "Split", seen: "no such FlexVol" });
          this.clones.set(`${site}:${name}`, Math.max(0, left - 1));
          return left === 0;
        },
      };
    };
    const row = (site: Site) => ({
      id: 1,
      uuid: site,
      host: `cinder@${site}`,
      binary: "cinder-volume",
      disabled: this.rows[site].disabled,
      disabledReason: this.rows[site].disabledReason ?? null,
      replicationStatus: this.rows[site].replicationStatus,
      activeBackendId: this.rows[site].activeBackendId,
      frozen: false,
      reportCount: Math.floor(this.servingMs / 10_000),
      clusterName: null,
    });
    const rows = () => (["iprod", "idr"] as const).filter((site) => this.rows[site].exists).map(row);
    const apiUp = (): void => {
      if (!this.controllers["c1"]?.units.some((unit) => unit.role === "api" && unit.active))
        throw this.faults.gateway
          ? new DrError({
              code: "remote",
              attempted: "Ask Cinder",
              seen: "status 503",
              retryable: true,
              context: { status: 503 },
            })
          : new DrError({ code: "unreachable", attempted: "Ask Cinder", seen: "connection refused" });
    };
    const volumeUp = (): boolean =>
      Object.values(this.controllers).some((c) => c.units.some((unit) => unit.role === "volume" && unit.active));
    const siteOfHost = (host: string): Site => host.split("@")[1] as Site;
    const controller = (name: string): ControllerPort => {
      const state = this.controllers[name];
      if (state === undefined) throw new Error(name);
      const unitNamed = (unit: string): WorldUnit => {
        const found = state.units.find((candidate) => candidate.unit === unit);
        if (found === undefined) throw new Error(unit);
        return found;
      };
      const digest = (): string => createHash("sha256").update(state.content).digest("hex");
      return {
        name,
        cinderConf: "/etc/cinder/cinder.conf",
        listUnits: async () => state.units.map((unit) => ({ ...unit })),
        stopAndMask: async (unit) => {
          Object.assign(unitNamed(unit), { active: false, masked: true });
          this.did(`stop ${unit}@${name}`);
        },
        unmaskAndStart: async (unit) => {
          const found = unitNamed(unit);
          Object.assign(found, { active: true, masked: false });
          if (found.role === "volume") this.startVolumeService(name);
          this.did(`start ${unit}@${name}`);
        },
        unmask: async (unit) => {
          unitNamed(unit).masked = false;
          this.did(`unmask ${unit}@${name}`);
        },
        restart: async (unit) => {
          if (unitNamed(unit).role === "volume") this.startVolumeService(name);
          this.did(`restart ${unit}@${name}`);
        },
        readFile: async (path) => ({ content: state.dropIns?.[path] ?? state.content, sha256: digest() }),
        listDropIns: async () => Object.keys(state.dropIns ?? {}),
        writeFile: async (_path, content, expected) => {
          if (digest() !== expected)
            throw new DrError({ code: "conflict", attempted: "Write cinder.conf", seen: "it changed" });
          state.content = content;
          this.did(`edit conf@${name}`);
          return { content, sha256: digest() };
        },
        markLog: async () => "0",
        readLogSince: async () => "",
      };
    };
    const attachments = async () => (
      apiUp(),
      [...this.connections, ...this.unfinished].map(([id, { volumeId, serverId, site }]) => ({
        id,
        volumeId,
        serverId,
        status: this.connections.has(id) ? "attached" : site === undefined ? "reserved" : "attaching",
        ...(site === undefined
          ? {}
          : { connection: { type: "iscsi", iqn: `iqn.${site}`, portal: `${site}:3260`, lun: 1 } }),
      }))
    );
    return {
      arrays: { iprod: array("iprod"), idr: array("idr") },
      blockStorage: {
        listServices: async () => (
          apiUp(),
          rows().map(({ disabled, disabledReason, replicationStatus, activeBackendId, reportCount: _, ...r }) => ({
            ...r,
            enabled: !disabled,
            ...(disabledReason === null ? {} : { disabledReason }),
            up: volumeUp() && !this.faults.driverDead && !this.faults.calledDown,
            replicationStatus,
            ...(activeBackendId === null ? {} : { activeBackendId }),
          }))
        ),
        listVolumes: async (host) => (
          apiUp(),
          [...this.volumes.values()].filter((volume) => volume.host.startsWith(`${host}#`))
        ),
        listSnapshots: async () => (apiUp(), this.snapshots),
        listAttachments: attachments,
        listConnections: attachments,
        listPools: async () => (
          apiUp(),
          rows()
            .filter((r) => !r.disabled)
            .flatMap((r) => pair.flexVols.map((flexVol) => ({ name: `${r.host}#${flexVol}` })))
        ),
        disableService: async (host, reason) => {
          apiUp();
          Object.assign(this.rows[siteOfHost(host)], { disabled: true, disabledReason: reason });
          this.did(`disable ${host}`);
        },
        enableService: async (host) => {
          apiUp();
          const enabled = this.rows[siteOfHost(host)];
          enabled.disabled = false;
          delete enabled.disabledReason;
          this.did(`enable ${host}`);
        },
        failoverHost: async (host, backendId) => {
          apiUp();
          const from = siteOfHost(host);
          const target = this.rows[from];
          if (target.replicationStatus !== "enabled" || !volumeUp())
            throw new DrError({
              code: "remote",
              attempted: "failover-host",
              seen: `refused: ${target.replicationStatus}`,
            });
          if (this.faults.failoverError > 0) {
            this.faults.failoverError -= 1;
            target.replicationStatus = "failover-error";
            return this.did(`failover-host ${host} ${backendId}`);
          }
          const unbroken = this.faults.unbrokenFlexVol;
          for (const mirror of this.mirrors.filter((m) => m.from === from && m.flexVol !== unbroken))
            this.setMirror(mirror, "broken_off");
          Object.assign(target, {
            replicationStatus: "failed-over",
            activeBackendId: backendId,
            disabled: true,
            disabledReason: "failed-over",
          });
          for (const [id, volume] of this.volumes)
            if (volume.host.startsWith(`${host}#`))
              this.volumes.set(id, {
                ...volume,
                // As cinder/volume/manager.py writes what NetApp's driver says of a FlexVol that it couldn't break.
                replicationStatus: volume.host === `${host}#${unbroken ?? ""}` ? "error" : "failed-over",
              });
          this.did(`failover-host ${host} ${backendId}`);
        },
        rollDetaching: async (volumeId) => {
          const volume = this.volumes.get(volumeId);
          if (volume?.status === "detaching") this.volumes.set(volumeId, { ...volume, status: "in-use" });
          this.did(`roll back ${volumeId}`);
        },
        completeAttachment: async (id) => {
          const begun = this.unfinished.get(id);
          if (begun?.site === undefined) throw refused(404, `Complete ${id}`, "no such attachment");
          this.complete(id, { ...begun, site: begun.site });
          this.did(`complete the attachment of ${begun.volumeId}`);
        },
        deleteAttachment: async (id) => {
          const left = this.unfinished.get(id);
          const status = this.faults.deleteAttachment;
          this.faults.deleteAttachment = 0;
          if (status !== 0) throw refused(status, `Delete attachment ${id}`, `status ${status}`);
          if (this.named(id)) throw refused(409, `Delete ${id}`, "Nova refers to it");
          if (left === undefined) return;
          this.unfinished.delete(id);
          const volume = this.volumes.get(left.volumeId);
          if (left.site !== undefined && volume !== undefined) this.maps[left.site].delete(left.volumeId);
          this.settleStatus(left.volumeId);
          this.did(`delete the unfinished attachment of ${left.volumeId}`);
        },
      },
      novaManage: {
        name: "c1",
        probe: async () => {
          if (this.faults.novaManage !== "") throw refused(1, "Run nova-manage", this.faults.novaManage);
        },
        refreshAttachment: async (o) => this.refresh(o),
      },
      compute: {
        listServers: async () =>
          [...this.servers]
            .filter(([id, { as }]) => as?.status !== "SOFT_DELETED" && !this.faults.unlisted.has(id))
            .map(([id]) => this.server(id)),
        getServer: async (id) => this.server(id),
        listServerAttachments: async (id) => this.mappings(id),
        listComputeServices: async () => this.computes,
        lock: async (id) => this.change(id, "lock", (server) => (server.locked = true)),
        unlock: async (id) => this.change(id, "unlock", (server) => (server.locked = false)),
        stop: async (id) =>
          this.act(id, "stop", (server) => {
            server.running = false;
            if (server.as?.status !== undefined) delete server.as;
          }),
        start: async (id) =>
          this.act(id, "start", (server) => {
            server.running = true;
            for (const { attachmentId, volumeId } of server.attachments) {
              const site = this.connections.get(attachmentId ?? "")?.site;
              if (site === undefined || !this.maps[site].has(volumeId))
                this.violations.push(`${id} was started, and ${volumeId} leads nowhere`);
            }
          }),
        detachVolume: async (id, volumeId) =>
          this.act(id, `detach ${volumeId}`, (server) => {
            const gone = server.attachments.find((attachment) => attachment.volumeId === volumeId);
            if (gone === undefined) return;
            const status = this.volumes.get(volumeId)?.status ?? "";
            if (status !== "in-use")
              throw refused(400, `Detach ${volumeId}`, `Volume status must be 'in-use', it is ${status}`);
            if (used(this.faults.detachRolledBack, volumeId)) return;
            if (used(this.faults.detachStuck, volumeId)) return this.setStatus(volumeId, "detaching");
            const connection = this.connections.get(gone.attachmentId ?? "");
            const volume = this.volumes.get(volumeId);
            if ((this.faults.rowLingers.get(volumeId) ?? 0) === 0)
              server.attachments = server.attachments.filter((attachment) => attachment !== gone);
            this.connections.delete(gone.attachmentId ?? "");
            // The driver unmaps at the side that it uses now; maps of the other side stay.
            if (volume !== undefined && connection !== undefined) this.maps[this.servingSite(volume)].delete(volumeId);
            if (volume !== undefined) this.volumes.set(volumeId, { ...volume, status: "available", attachments: [] });
          }),
        attachVolume: async ({ serverId, volumeId, tag, deleteOnTermination }) => {
          let taken = "";
          const volume = this.volumes.get(volumeId);
          if (volume === undefined) throw new Error(volumeId);
          if (volume.status !== "available") throw refused(400, `Attach ${volumeId}`, `it is ${volume.status}`);
          this.act(serverId, `attach ${volumeId}`, (server) => {
            const site = this.servingSite(volume);
            const names = new Set<string | undefined>(server.attachments.map((attachment) => attachment.device));
            taken = this.faults.device.get(volumeId) ?? "";
            this.faults.device.delete(volumeId);
            for (let letter = 98; taken === ""; letter++) {
              const name = `/dev/vd${String.fromCharCode(letter)}`;
              if (!names.has(name)) taken = name;
            }
            if (used(this.faults.attachFallsBack, volumeId)) return;
            const attachmentId = `a${++this.counter}`;
            server.attachments = [
              ...server.attachments,
              {
                serverId,
                volumeId,
                device: taken,
                deleteOnTermination,
                attachmentId,
                ...(tag === undefined ? {} : { tag }),
              },
            ];
            this.connections.set(attachmentId, { volumeId, serverId, site });
            this.maps[site].set(this.faults.otherLun.has(volumeId) ? `another-${volumeId}` : volumeId, "host");
            this.volumes.set(volumeId, {
              ...volume,
              status: "in-use",
              attachments: [{ attachmentId, serverId, device: taken }],
            });
          });
          return taken;
        },
      },
      database: {
        describe: async () => ({
          version: "10.11",
          schemaHead: "head",
          schemaReleases: "Cinder 24 to 29",
          undecidedColumns: [],
          wsrepOn: false,
          readOnly: false,
          missingRights: [],
        }),
        listServiceRows: async () => rows(),
        countHostRows: async (host) => ({
          volumes: [...this.volumes.values()].filter((v) => v.host.startsWith(`${host}#`)).length,
        }),
        listVolumesInFlight: async (host) => this.inFlight(host),
        findConnector: async ({ serverId }) => JSON.stringify({ host: "compute", initiator: serverId }),
        dump: async () => ({ bytes: 1, sha256: "x", tables: 1, rows: {} }),
        promote: async (change) => this.promote(change),
      },
      coordination: {
        prepare: async () => undefined,
        findLease: async () => this.lease && { ...this.lease, expired: this.lease.expiresMs < this.nowMs },
        acquireLease: async (name, holder, token, ttlSeconds) => {
          if (this.lease !== undefined && this.lease.expiresMs >= this.nowMs && this.lease.token !== token)
            return undefined;
          const expiresMs = this.nowMs + ttlSeconds * 1000;
          this.lease = { ...holder, pair: name, token, acquiredAt: "", expiresAt: "", expired: false, expiresMs };
          return this.lease;
        },
        renewLease: async (_name, token, ttlSeconds) => {
          this.nowMs += this.faults.renewalSeconds * 1000;
          if (this.faults.leaseTaken || this.lease?.token !== token) return false;
          this.lease.expiresMs = this.nowMs + ttlSeconds * 1000;
          return true;
        },
        releaseLease: async (_name, token) => {
          if (this.lease?.token === token) this.lease = undefined;
        },
        requestStop: async (_name, token, by) => void (this.stopRequest = { token, by }),
        findStop: async (_name, token) => (this.stopRequest?.token === token ? this.stopRequest.by : undefined),
        claimOwnership: async (_name, stack) => ({ stack: (this.owner ??= stack) }),
        appendJournal: async (id, seq, name, entries) => {
          const { journalWrite } = this.faults;
          const lost = (): never => {
            throw new DrError({ code: "unreachable", attempted: "Append to the journal", seen: "connection lost" });
          };
          if (journalWrite.before > 0 && journalWrite.before-- > 0) lost();
          const journal = this.journals.get(id) ?? { pair: name, open: true, entries: [] };
          this.journals.set(id, journal);
          if (seq !== journal.entries.length)
            throw new Error(`journal ${id}: entry ${seq} after ${journal.entries.length}`);
          journal.entries.push(...entries);
          if (journalWrite.after > 0 && journalWrite.after-- > 0) lost();
        },
        readJournal: async (id) => this.journals.get(id)?.entries ?? [],
        listSwitchovers: async () =>
          [...this.journals]
            .map(([switchoverId, { open, closedMs }]) => ({
              switchoverId,
              startedAt: "",
              open,
              ...(closedMs === undefined ? {} : { closedSecondsAgo: (this.nowMs - closedMs) / 1000 }),
            }))
            .reverse(),
        closeSwitchover: async (id) => {
          const journal = this.journals.get(id);
          if (journal === undefined) return;
          journal.open = false;
          journal.closedMs ??= this.nowMs;
        },
      },
      controllers: Object.keys(this.controllers).map(controller),
      messageQueue: {
        listBackendQueues: async (host) =>
          [...new Set([`cinder-volume.${host}`, ...this.queues.keys()])]
            .filter((name) => name.includes(host))
            .map((name) => ({ name, messages: this.queues.get(name)?.length ?? 0, consumers: volumeUp() ? 1 : 0 })),
        drainQueue: async (name, keep) => {
          const messages = (this.queues.get(name) ?? []).map((method) => ({ method, summary: method }));
          if (messages.length > 0) await keep(messages);
          if (this.queues.delete(name)) this.did(`drain ${name}`);
          return messages;
        },
      },
      config: osloConfig,
      hooks: {
        run: async ({ hook: { name }, facts, instances, signal }) => {
          this.did(`hook ${name}`);
          if (this.faults.hookHangs.has(name)) {
            await new Promise((ended) => signal.addEventListener("abort", ended, { once: true }));
            return { passed: false, said: "it was killed before its end", cutOff: true, durationSeconds: 0 };
          }
          this.hooked.push({ ...facts, instances: instances.map((each) => each.name) });
          const exitCode = used(this.faults.hook, name) ? 1 : 0;
          const said = `it ended with status ${exitCode}`;
          return Promise.resolve({
            passed: exitCode === 0,
            said,
            exitCode,
            durationSeconds: 0,
            output: `${name} said so`,
          });
        },
      },
      clock: {
        now: () => new Date(this.nowMs),
        sleep: async (ms, signal) => {
          // A renewal loop must not let time pass by itself: it waits for the work's own sleeps.
          if (ms >= 8_000)
            return new Promise((_resolve, reject) =>
              signal?.addEventListener("abort", () => reject(new Error("closed"))),
            );
          if (signal?.aborted === true)
            throw new DrError({ code: "stopped", attempted: "Wait", seen: "the signal fired" });
          this.nowMs += ms;
          if (volumeUp() && !this.faults.silent && !this.faults.driverDead) this.servingMs += ms;
          await Promise.resolve();
        },
      },
    };
  }

  private named(attachmentId: string): boolean {
    return [...this.servers.values()].some(({ attachments }) =>
      attachments.some((a) => a.attachmentId === attachmentId),
    );
  }

  private complete(id: string, attachment: { volumeId: string; serverId: string; site: Site }): void {
    this.unfinished.delete(id);
    this.connections.set(id, attachment);
    const { volumeId, serverId } = attachment;
    const volume = this.volumes.get(volumeId);
    if (volume !== undefined)
      this.volumes.set(volumeId, {
        ...volume,
        status: "in-use",
        attachments: [{ attachmentId: id, serverId, device: "/dev/vda" }],
      });
  }

  /** As Cinder works it out from the attachments that are left. */
  private settleStatus(volumeId: string): void {
    const of = (rows: ReadonlyMap<string, { volumeId: string; site?: Site }>) =>
      [...rows.values()].filter((row) => row.volumeId === volumeId);
    const begun = of(this.unfinished);
    const status =
      of(this.connections).length > 0
        ? "in-use"
        : begun.some((row) => row.site !== undefined)
          ? "attaching"
          : begun.length > 0
            ? "reserved"
            : "available";
    this.setStatus(volumeId, status);
  }

  /** nova-manage volume_attachment refresh, call by call: each may be its last. */
  private refresh({ serverId, volumeId, connector }: { serverId: string; volumeId: string; connector: string }): void {
    const server = this.servers.get(serverId);
    const volume = this.volumes.get(volumeId);
    const row = server?.attachments.find((a) => a.volumeId === volumeId);
    if (server === undefined || volume === undefined || row === undefined) throw new Error(`${serverId} ${volumeId}`);
    if (server.running) throw refused(5, `Refresh ${volumeId}`, "the instance isn't stopped");
    const { initiator } = JSON.parse(connector) as { initiator?: string };
    if (initiator !== serverId) throw refused(7, `Refresh ${volumeId}`, "another host's connector");
    const dies = this.faults.refresh.get(volumeId);
    this.faults.refresh.delete(volumeId);
    if (dies === "busy")
      throw new DrError({ code: "remote", attempted: "Refresh", seen: "another one works on it", retryable: true });
    const cut = (after: typeof dies): void => {
      if (dies === after) throw new DrError({ code: "remote", attempted: "Refresh", seen: `died when ${after}` });
    };
    if (volume.status !== "in-use" && volume.status !== "reserved" && volume.status !== "available")
      throw refused(1, `Refresh ${volumeId}`, `Invalid volume: it is ${volume.status}`);
    // Nova's row has no connection then, and the hypervisor can't disconnect that.
    const named = this.unfinished.get(row.attachmentId ?? "");
    if (named !== undefined && named.site === undefined) throw refused(1, `Refresh ${volumeId}`, "KeyError");
    const made = `a${++this.counter}`;
    const site = this.servingSite(volume);
    this.unfinished.set(made, { volumeId, serverId });
    this.settleStatus(volumeId);
    cut("created");
    this.connections.delete(row.attachmentId ?? "");
    this.maps[site].delete(volumeId);
    this.volumes.set(volumeId, { ...volume, attachments: [] });
    this.settleStatus(volumeId);
    cut("removed");
    if (dies === "refused") {
      // Cinder couldn't connect it: nova-manage leaves a reserved attachment, and no connection.
      server.attachments = server.attachments.map((a) => (a === row ? { ...a, attachmentId: made } : a));
      throw refused(1, `Refresh ${volumeId}`, "Unexpected error");
    }
    this.unfinished.set(made, { volumeId, serverId, site });
    this.maps[site].set(volumeId, "host");
    this.settleStatus(volumeId);
    cut("updated");
    server.attachments = server.attachments.map((a) => (a === row ? { ...a, attachmentId: made } : a));
    cut("saved");
    this.complete(made, { volumeId, serverId, site });
    this.did(`${serverId} refresh ${volumeId}`);
  }

  private inFlight(host: string) {
    return [...this.volumes.values()].flatMap(({ id, host: of, status, migrationStatus = "" }) => {
      if (!of.startsWith(`${host}#`)) return [];
      if (!["", "success", "error", "deleting"].includes(migrationStatus))
        return [{ id, status: `${status}, migration ${migrationStatus}` }];
      return /^(available|in-use|reserved|awaiting-transfer|error.*)$/.test(status) ? [] : [{ id, status }];
    });
  }

  private promote(change: PromotionChange) {
    const moved = [...this.volumes.values()].filter((v) => v.host.startsWith(`${change.fromHost}#`));
    const before = { volumes: moved.length };
    if (change.expected["volumes"] !== before.volumes)
      throw new DrError({ code: "conflict", attempted: "Promote", seen: "row counts" });
    if (!change.takeInFlight && this.inFlight(change.fromHost).length > 0)
      throw new DrError({ code: "precondition", attempted: "Promote", seen: "volumes are in flight" });
    const from = change.fromHost.split("@")[1] as Site;
    const fence = this.rows[from];
    if (change.writeFence)
      Object.assign(fence, {
        replicationStatus: "failed-over",
        activeBackendId: change.toBackendId,
        disabled: true,
        disabledReason: "failed-over",
      });
    if (fence.replicationStatus !== "failed-over" || fence.activeBackendId !== change.toBackendId || !fence.disabled)
      throw new DrError({ code: "invariant", attempted: "Promote", seen: "no fence" });
    for (const [id, volume] of this.volumes)
      if (volume.host.startsWith(`${change.fromHost}#`))
        this.volumes.set(id, {
          ...volume,
          host: volume.host.replace(change.fromHost, change.toHost),
          replicationStatus: "enabled",
        });
    const to = this.rows[peer(from)];
    if (to.exists) Object.assign(to, { replicationStatus: "enabled", activeBackendId: null, disabled: false });
    delete to.disabledReason;
    this.did("promote");
    return {
      before,
      after: { volumes: [...this.volumes.values()].filter(({ host }) => host.startsWith(`${change.toHost}#`)).length },
      beforeImage: { volumes: moved.map(({ id, host }) => ({ keys: [id], before: { host } })) },
      rollbackSql: [],
    };
  }

  private server(id: string) {
    const server = this.servers.get(id);
    if (server === undefined) throw refused(404, `Read ${id}`, "no such server");
    const task = used(this.tasks, id) ? { taskState: "powering-off" } : {};
    return {
      ...task,
      id,
      name: server.name,
      status: server.running ? "ACTIVE" : "SHUTOFF",
      host: "compute",
      hostStatus: "UP",
      locked: server.locked,
      projectId: "p",
      rootDevice: "/dev/vda",
      localDisks: 0,
      volumeIds: this.faults.mappingsUnread.has(id) ? [] : this.mappings(id).map(({ volumeId }) => volumeId),
      ...server.as,
    };
  }

  /** Nova's rows; those that linger go after so many looks. */
  private mappings(id: string): readonly ServerAttachment[] {
    const server = this.servers.get(id);
    if (server === undefined) throw refused(404, `List the volumes of ${id}`, "no such server");
    const rows = server.attachments;
    for (const { volumeId } of rows)
      if (this.volumes.get(volumeId)?.status === "available" && !used(this.faults.rowLingers, volumeId))
        server.attachments = server.attachments.filter((attachment) => attachment.volumeId !== volumeId);
    return rows;
  }

  /** What Nova refuses while a task is going on or in another state, and what may begin one. */
  private act(id: string, what: string, how: (server: NonNullable<ReturnType<World["servers"]["get"]>>) => void): void {
    if ((this.tasks.get(id) ?? 0) > 0)
      throw refused(409, `${id} ${what}`, "Cannot do that while it is in task_state powering-off");
    const status = this.servers.get(id)?.as?.status;
    if (status !== undefined && !(status === "ERROR" && what === "stop"))
      throw refused(409, `${id} ${what}`, `Cannot do that while it is in vm_state ${status}`);
    this.change(id, what, how);
    if (what === "stop") this.tasks.set(id, this.faults.task.get(id) ?? 0);
  }

  setStatus(volumeId: string, status: string): void {
    const volume = this.volumes.get(volumeId);
    if (volume !== undefined) this.volumes.set(volumeId, { ...volume, status });
  }

  private change(
    id: string,
    what: string,
    how: (server: NonNullable<ReturnType<World["servers"]["get"]>>) => void,
  ): void {
    const server = this.servers.get(id);
    if (server === undefined) throw refused(404, `${id} ${what}`, "no such server");
    how(server);
    this.did(`${id} ${what}`);
  }

  /** What must be the same however a switchover came to its end. */
  endState(): unknown {
    return {
      rows: this.rows,
      conf: Object.fromEntries(Object.entries(this.controllers).map(([name, c]) => [name, c.content])),
      units: Object.fromEntries(Object.entries(this.controllers).map(([name, c]) => [name, c.units])),
      volumes: [...this.volumes.values()].map((v) => [v.id, v.host, v.status, v.replicationStatus]),
      servers: [...this.servers].map(([id, s]) => [
        id,
        s.running,
        s.locked,
        s.attachments.map((a) => [
          a.volumeId,
          a.device,
          a.deleteOnTermination,
          this.connections.get(a.attachmentId ?? "")?.site,
        ]),
      ]),
      mirrors: this.mirrors.map((m) => [m.from, m.flexVol, m.state]).sort(),
      types: this.flexVolType,
      maps: Object.fromEntries(Object.entries(this.maps).map(([site, maps]) => [site, [...maps.keys()].sort()])),
      unfinished: this.unfinished.size,
      open: [...this.journals.values()].filter((journal) => journal.open).length,
    };
  }
}
