/**
 * An embedded lab for many journeys in a row: short transitions, the engine's clock ahead of the machine's, controllers
 * operated in this process; everything else as it is, HTTP, AMQP and SQL included.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import mysql from "mysql2/promise";
import { labDown, type LabDescription, labUp, readSecret } from "../../../lab/lab";
import { Session } from "../../../lab/openstack/cloud";
import { layoutOf } from "../../../lab/openstack/files";
import * as serviceManager from "../../../lab/openstack/service-manager";
import { pairOfLab, secretsOfLab } from "../../../lab/pair";
import { connect, type Connections } from "../../../lib/connections";
import { systemClock } from "../../../lib/connections/system-clock";
import { ControllerHost } from "../../../lib/controller-host/controller-host";
import { type CommandResult, LocalRunner, type RunOptions } from "../../../lib/controller-host/runner";
import { parse } from "../../../lib/oslo-config";
import {
  applySwitchover,
  type Intent,
  type Proof,
  type Report,
  reportOf,
  type SwitchoverState,
  verifyEndState,
} from "../../../lib/switchover";
import type { JournalEntry } from "../../../lib/switchover/journal";
import type { Clock, CoordinationPort, LeaseRow, Ports } from "../../../lib/switchover/ports";
import { backendHost, type SitePair, sitePairSchema } from "../../../lib/topology/site-pair";
import { enableSite, ontapClient, otherSite, peerSites, type Site } from "../../openstack/site-pair";
import type { Call, Effect, System } from "./cases";

/** No wait of the engine takes longer. */
const LONGEST_SLEEP_MS = 250;
/** By so much the deadline of a request and of a job is shorter. */
const SHORTER = 10;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false>,
  timeoutMs = 60_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > end) throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    await pause(50);
  }
}

/** Waits are over sooner than they seem to be; a jump ends them all. */
class FastClock implements Clock {
  private aheadMs = 0;
  now(): Date {
    return new Date(Date.now() + this.aheadMs);
  }
  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const realMs = Math.min(ms, LONGEST_SLEEP_MS);
    await systemClock.sleep(realMs, signal);
    this.aheadMs += ms - realMs;
  }
  jump(): void {
    this.aheadMs += 86_400_000;
  }
}

/** The lab's service manager without a process for each call. */
class LabRunner extends LocalRunner {
  constructor(private readonly program: string) {
    super();
  }
  override async exitCodes(commands: readonly (readonly string[])[]): Promise<readonly number[]> {
    const codes = [];
    for (const argv of commands) codes.push((await this.run(argv)).code);
    return codes;
  }
  override async run(argv: readonly string[], options?: RunOptions): Promise<CommandResult> {
    const [program, , dir = "", , host = "", verb = "", name = ""] = argv;
    if (program !== this.program) return super.run(argv, options);
    const id = { host, name };
    const done = (code: number, stderr = ""): CommandResult => ({ code, stdout: Buffer.alloc(0), stderr });
    try {
      switch (verb) {
        case "is-active":
          return done(serviceManager.mainPid(dir, id) === undefined ? 3 : 0);
        case "is-masked":
          return done(serviceManager.isMasked(dir, id) ? 0 : 3);
        case "start":
          await serviceManager.start(dir, id);
          return done(0);
        case "stop":
          await serviceManager.stop(dir, id);
          return done(0);
        case "mask":
          await serviceManager.mask(dir, id);
          return done(0);
        case "unmask":
          serviceManager.unmask(dir, id);
          return done(0);
        default:
          return await super.run(argv, options);
      }
    } catch (error) {
      return done(1, String(error));
    }
  }
}

/** As the simulators' recorders have it. */
interface Recorded {
  readonly id: number;
  readonly cluster?: string;
  readonly method: string;
  readonly path: string;
  readonly status?: number;
  readonly who: string;
  readonly body?: string;
  readonly action?: string;
  readonly fault?: string;
}

/** A call of the engine, with what it would change. */
export interface Made extends Call {
  readonly what: string;
  /** It took effect, whatever the engine heard of it. */
  readonly done: boolean;
  readonly fault?: string;
}

export interface Journey {
  readonly from: Site;
  readonly to: Site;
  readonly wish: Partial<Omit<Intent, "activeSite">>;
}

/** The ways that production goes, from where it is. */
export type JourneyName =
  "planned" | "planned, deferred" | "promotion" | "planned, direct" | "unplanned" | "unplanned, direct" | "reprotect";

export const isLoss = (name: string): boolean => name.startsWith("unplanned");

export function journeyOf(name: JourneyName, at: Site): Journey {
  const away = { from: at, to: otherSite(at) };
  const here = { from: otherSite(at), to: at };
  const unplanned = { from: at, acceptLossSeconds: 3600 };
  switch (name) {
    case "planned":
      return { ...away, wish: {} };
    case "planned, deferred":
      return { ...away, wish: { promotion: "deferred" } };
    case "promotion":
      return { ...here, wish: {} };
    case "planned, direct":
      return { ...away, wish: { route: "direct" } };
    case "unplanned":
      return { ...away, wish: { unplanned } };
    case "unplanned, direct":
      return { ...away, wish: { unplanned, route: "direct" } };
    case "reprotect":
      return { ...here, wish: { reprotect: "discardDiverged" } };
  }
}

export interface Run {
  readonly state?: SwitchoverState;
  readonly error?: unknown;
  readonly calls: readonly Made[];
  readonly said: readonly string[];
}

export interface Fault extends Effect {
  readonly call: Pick<Call, "step" | "system" | "method" | "path">;
  /** The first of these calls that it meets, from when the step begins; 1 where absent. */
  readonly nth?: number;
}

interface LunFact {
  readonly cluster: string;
  readonly path: string;
  readonly volumeType: string;
  readonly file: string;
  readonly maps: readonly { readonly initiators: readonly string[] }[];
}

const MARK_AT = 1 << 20;
const MARK_BYTES = 128;

/** Set for a run that meets faults: what hangs is waited for. Others are to bear a machine that is busy. */
const meetsFaults = new AsyncLocalStorage<boolean>();
const realTimeout = AbortSignal.timeout.bind(AbortSignal);
AbortSignal.timeout = (ms) => realTimeout(meetsFaults.getStore() === true ? ms / SHORTER : ms);

export class FaultLab {
  /** One lab is opened at a time: how is told by the environment. */
  private static opening: Promise<unknown> = Promise.resolve();
  state: SwitchoverState | undefined;
  readonly pair: SitePair;
  private readonly clock = new FastClock();
  /** Ids of the newest requests that were looked at, by recorder. */
  private readonly seen = new Map<string, number>();
  private cinderApi: number | undefined;
  private written = 0;
  private readonly own: Connections;
  private readonly database: mysql.Pool;

  private constructor(readonly lab: LabDescription) {
    this.pair = sitePairSchema.parse(pairOfLab(lab));
    this.own = connect(this.pair, secretsOfLab(lab));
    const { host, port, services } = lab.database;
    const password = readSecret(services.passwordFile);
    this.database = mysql.createPool({ host, port, user: services.user, password, dateStrings: true });
  }

  /** In another process than the one that opened it, which alone closes it. */
  static attach(description: LabDescription, state: SwitchoverState | undefined): FaultLab {
    const lab = new FaultLab(description);
    lab.state = state;
    return lab;
  }

  static open(): Promise<FaultLab> {
    const opened = FaultLab.opening.then(() => FaultLab.openNow());
    FaultLab.opening = opened.catch(() => undefined);
    return opened;
  }

  private static async openNow(): Promise<FaultLab> {
    const dir = mkdtempSync(path.join(os.tmpdir(), "cheesecake-faults-"));
    // Nobody logs in here: `write` and `read` go to the LUNs' files.
    const former = process.env["CHEESECAKE_DATA_PATH"];
    process.env["CHEESECAKE_DATA_PATH"] = "files";
    const description = await labUp({ flavour: "embedded", dir, python: "", progress: () => undefined }).finally(() => {
      if (former === undefined) delete process.env["CHEESECAKE_DATA_PATH"];
      else process.env["CHEESECAKE_DATA_PATH"] = former;
    });
    const lab = new FaultLab(description);
    try {
      await lab.settle();
      // Adopted, then once there and back: a new lab has no fence yet.
      for (const to of ["iprod", "idr", "iprod"] as const) {
        const { state, error } = await lab.run({ from: otherSite(to), to, wish: {} });
        if (state === undefined) throw error;
        lab.state = state;
      }
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.own.close(), this.database.end()]);
    await labDown(this.lab.dir, { keepLogs: false });
    rmSync(this.lab.dir, { recursive: true, force: true });
  }

  databaseRuns(): boolean {
    return serviceManager.mainPid(this.lab.dir, { host: "control", name: "mariadb" }) !== undefined;
  }

  /** Short transitions, both sites, two instances with two volumes each. */
  private async settle(): Promise<void> {
    const { lab } = this;
    const file = layoutOf(lab.dir).etc("control", "openstack", "simulator.json");
    const config = JSON.parse(readFileSync(file, "utf8")) as { delays: Record<string, number> };
    for (const name of Object.keys(config.delays)) config.delays[name] = 5;
    writeFileSync(file, JSON.stringify(config));
    await peerSites(lab);
    enableSite(lab, "iprod");
    for (const { name } of lab.computes) await serviceManager.restart(lab.dir, { host: name, name: "nova-compute" });
    await this.restartVolumeService();
    const host = backendHost(this.pair, "iprod");
    await until("iprod reports its pools", async () =>
      (await this.own.ports.blockStorage.listPools()).some(({ name }) => name.startsWith(`${host}#`)),
    );
    const { username, passwordFile, project } = lab.admin;
    const session = await Session.open(lab.endpoints.identity, username, readSecret(passwordFile), project);
    const make = <T>(service: keyof typeof lab.endpoints, below: string, body?: Record<string, unknown>): Promise<T> =>
      session.request<T>(body === undefined ? "GET" : "POST", lab.endpoints[service] + below, body, {
        "OpenStack-API-Version": service === "compute" ? "compute 2.37" : "volume 3.70",
      });
    const type = async (name: string, extra_specs: Record<string, string>): Promise<void> =>
      void (await make("blockStorage", "/types", { volume_type: { name, extra_specs } }));
    await type("data", { volume_backend_name: "netapp_iscsi", replication_enabled: "<is> True" });
    await type("roots", { volume_backend_name: "loweropenstack1" });
    const volume = async (name: string, volume_type: string, imageRef?: string): Promise<string> => {
      const body = { volume: { name, size: 1, volume_type, ...(imageRef === undefined ? {} : { imageRef }) } };
      const { id } = (await make<{ volume: { id: string } }>("blockStorage", "/volumes", body)).volume;
      await until(`${name} is available`, async () => {
        const { status } = (await make<{ volume: { status: string } }>("blockStorage", `/volumes/${id}`)).volume;
        if (status === "error") throw new Error(`${name} went to error`);
        return status === "available";
      });
      return id;
    };
    const { images } = await make<{ images: { id: string }[] }>("image", `/v2/images?name=${lab.image}`);
    const { flavors } = await make<{ flavors: { id: string; name: string }[] }>("compute", "/flavors");
    const flavorRef = flavors.find(({ name }) => name === lab.flavor)?.id;
    for (const name of ["guest-01", "guest-02"]) {
      const uuid = await volume(`${name}-root`, "roots", images[0]?.id);
      const root = { boot_index: 0, uuid, source_type: "volume", destination_type: "volume" };
      const body = { server: { name, flavorRef, networks: "none", block_device_mapping_v2: [root] } };
      const { id } = (await make<{ server: { id: string } }>("compute", "/servers", body)).server;
      await until(`${name} runs`, async () => {
        const { status } = (await make<{ server: { status: string } }>("compute", `/servers/${id}`)).server;
        return status === "ACTIVE";
      });
      for (const device of ["vdb", "vdc"]) {
        const volumeId = await volume(`${name}-${device}`, "data");
        await make("compute", `/servers/${id}/os-volume_attachments`, { volumeAttachment: { volumeId } });
        await until(`${name}-${device} is attached`, async () => {
          const { status } = (await make<{ volume: { status: string } }>("blockStorage", `/volumes/${volumeId}`))
            .volume;
          return status === "in-use";
        });
      }
    }
    await until("both mirrors are whole", async () => {
      const mirrors = await this.mirrors("idr");
      return mirrors.length === 2 && mirrors.every(({ state, healthy }) => state === "snapmirrored" && healthy);
    });
  }

  // -------------------------------------------------------------------------------------------------------- the engine

  /** Writes where production is, and takes a site away that is to be lost; returns what has to be read at the end. */
  async begin({ from, to, wish }: Journey, at: Site): Promise<string> {
    const mark = `mark ${++this.written}`;
    await this.write(at, mark);
    if (wish.unplanned !== undefined) {
      await this.transferAll(to); // what is lost otherwise
      await this.setReachable(from, false);
    }
    return mark;
  }

  /** One `up`, by connections of its own; a fault is armed when its step begins. Never rejects. */
  async run(
    journey: Journey,
    faults: readonly Fault[] = [],
    onStep: (step: string) => void = () => undefined,
  ): Promise<Run> {
    const said: string[] = [];
    const calls: Made[] = [];
    const connections = connect(this.pair, secretsOfLab(this.lab));
    const stop = new AbortController();
    let step = "before";
    const reached = async (next: string): Promise<void> => {
      calls.push(...(await this.collect(step, journey)));
      step = next;
      for (const fault of faults) if (fault.call.step === step) await this.arm(journey, fault, stop.signal);
      onStep(step);
    };
    await this.collect(step, journey); // what was asked before
    await reached("before");
    try {
      const up: Parameters<typeof applySwitchover>[0] = {
        pair: this.pair,
        intent: {
          activeSite: journey.to,
          promotion: "immediate",
          hooks: [],
          requireApproval: false,
          startIncomplete: false,
          ...journey.wish,
        },
        ...(this.state === undefined ? {} : { state: this.state }),
        ports: this.portsFor(connections.ports, reached),
        stack: "faults",
        journalDir: path.join(this.lab.dir, "reports"),
        signal: stop.signal,
        progress: (line) => void said.push(line),
      };
      const state = await meetsFaults.run(faults.length > 0, () => applySwitchover(up));
      return { state, calls, said };
    } catch (error) {
      return { error, calls, said };
    } finally {
      stop.abort();
      await this.disarm();
      calls.push(...(await this.collect(step, journey)));
      await connections.close();
    }
  }

  private portsFor(ports: Ports, reached: (step: string) => Promise<void>): Ports {
    const { coordination } = ports;
    const watched: CoordinationPort = {
      prepare: () => coordination.prepare(),
      findLease: (pair) => coordination.findLease(pair),
      acquireLease: (...args) => coordination.acquireLease(...args),
      renewLease: (...args) => coordination.renewLease(...args),
      releaseLease: (...args) => coordination.releaseLease(...args),
      requestStop: (...args) => coordination.requestStop(...args),
      findStop: (...args) => coordination.findStop(...args),
      claimOwnership: (...args) => coordination.claimOwnership(...args),
      readJournal: (id) => coordination.readJournal(id),
      listSwitchovers: (pair) => coordination.listSwitchovers(pair),
      closeSwitchover: (id) => coordination.closeSwitchover(id),
      appendJournal: async (id, seq, pair, lines) => {
        await coordination.appendJournal(id, seq, pair, lines);
        for (const line of lines) {
          const entry = JSON.parse(line) as JournalEntry;
          if (entry.type === "step" && entry.event === "begin") await reached(entry.step);
          if (entry.type === "end") await reached("after");
        }
      },
    };
    const runner = new LabRunner(this.lab.serviceManager);
    return {
      ...ports,
      clock: this.clock,
      coordination: watched,
      controllers: this.pair.cinder.controllers.map((controller) => new ControllerHost(controller, runner)),
    };
  }

  // ------------------------------------------------------------------------------------------------------------ faults

  private url(system: System): string {
    const { address, port } = this.lab.arrayControl;
    if (system.startsWith("ontap")) return `http://${address}:${port}`;
    const { identity, blockStorage, compute } = this.lab.endpoints;
    const endpoint = { keystone: identity, cinder: blockStorage, nova: compute }[system as "keystone"];
    return `${new URL(endpoint).origin}/_lab`;
  }

  private clusterOf(system: System, { from, to }: Journey): string {
    return this.lab.arrays[system === "ontap-from" ? from : to].cluster;
  }

  /** Armed once the service is there: that may be only in the middle of the step. */
  private async arm(journey: Journey, { call, effect, count, nth = 1 }: Fault, signal: AbortSignal): Promise<void> {
    const ontap = call.system.startsWith("ontap");
    // `*` would stand for more than the id: /servers/detail, or what lies below.
    const path = call.path.replaceAll("*", "{id}");
    const rule = {
      ...(ontap ? { cluster: this.clusterOf(call.system, journey) } : {}),
      method: call.method,
      path: ontap ? path.replace(/^\/api/, "") : path,
      who: "",
      nth,
      count,
      effect,
    };
    const send = async (): Promise<boolean> => {
      const headers = { "content-type": "application/json" };
      const response = await fetch(`${this.url(call.system)}/faults`, {
        method: "POST",
        headers,
        body: JSON.stringify(rule),
      }).catch(() => undefined);
      if (response?.ok === false) throw new Error(await response.text());
      return response !== undefined;
    };
    if (effect.kind === "frozen") void this.jumpOnceFrozen(call.system, signal);
    if (await send()) return;
    void (async () => {
      while (!signal.aborted && !(await send())) await pause(10);
    })();
  }

  /** What never changes is waited for in vain: then the deadline is over. */
  private async jumpOnceFrozen(system: System, signal: AbortSignal): Promise<void> {
    const since = this.seen.get(system.startsWith("ontap") ? "ontap-to" : system) ?? 0;
    let met = 0;
    for (let looks = 0; looks < 200 && met < 8 && !signal.aborted; looks++) {
      await pause(100);
      met = (await this.requests(system, since)).filter(({ fault }) => fault === "frozen").length;
    }
    if (met >= 8) this.clock.jump();
  }

  async disarm(): Promise<void> {
    for (const system of ["keystone", "cinder", "nova", "ontap-to"] as const)
      await fetch(`${this.url(system)}/faults`, { method: "DELETE" }).catch(() => undefined);
  }

  private async requests(system: System, since: number): Promise<readonly Recorded[]> {
    const response = await fetch(`${this.url(system)}/requests?since=${since}`).catch(() => undefined);
    return response === undefined ? [] : ((await response.json()) as Recorded[]);
  }

  /** What the engine has asked since the last time. A service that was restarted begins to count anew. */
  async collect(step: string, journey: Journey): Promise<Made[]> {
    const made: Made[] = [];
    const api = serviceManager.mainPid(this.lab.dir, { host: "controller-1", name: "cinder-api" });
    if (api !== undefined && api !== this.cinderApi) this.seen.delete("cinder");
    this.cinderApi = api ?? this.cinderApi;
    for (const system of ["keystone", "cinder", "nova", "ontap-to"] as const) {
      const found = await this.requests(system, this.seen.get(system) ?? 0);
      const last = found.at(-1)?.id;
      if (last !== undefined) this.seen.set(system, last);
      for (const request of found.filter(({ who }) => who === ""))
        made.push(this.madeOf(system, step, journey, request));
    }
    return made;
  }

  private madeOf(system: System, step: string, journey: Journey, request: Recorded): Made {
    const { method, cluster, status, fault } = request;
    const [below = ""] = request.path.split("?");
    const at: System =
      cluster === undefined ? system : cluster === this.lab.arrays[journey.to].cluster ? "ontap-to" : "ontap-from";
    const answered = status !== undefined && status < 300 && fault !== "job-failure";
    return {
      step,
      system: at,
      method,
      path: templateOf(below),
      status: status ?? 0,
      // Relationships get new ids when they are turned round; a LUN map has two.
      what: cluster === undefined ? `${below} ${request.action ?? ""}` : `${templateOf(below)} ${request.body ?? ""}`,
      done: answered || fault === "lost-answer",
      ...(fault === undefined ? {} : { fault }),
    };
  }

  // -------------------------------------------------------------------------------------------------------- the systems

  async setReachable(site: Site, reachable: boolean): Promise<void> {
    const { address, port } = this.lab.arrayControl;
    await fetch(`http://${address}:${port}/clusters/${this.lab.arrays[site].cluster}/reachable`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ reachable, how: "refuse" }),
    });
  }

  async mirrors(into: Site) {
    const client = ontapClient(this.lab, into);
    try {
      return await client.listMirrors(this.pair.flexVols);
    } finally {
      await client.close();
    }
  }

  async transferAll(into: Site): Promise<void> {
    const client = ontapClient(this.lab, into);
    try {
      for (const { uuid } of await client.listMirrors(this.pair.flexVols)) {
        const transfer = await client.startTransfer(uuid);
        await until(
          "the transfer succeeds",
          async () => (await client.getTransfer(uuid, transfer)).state === "success",
        );
      }
    } finally {
      await client.close();
    }
  }

  private async rows(sql: string): Promise<Record<string, unknown>[]> {
    const [found] = await this.database.query<mysql.RowDataPacket[]>(sql);
    return found;
  }

  async luns(): Promise<readonly LunFact[]> {
    const { address, port } = this.lab.arrayControl;
    return (await (await fetch(`http://${address}:${port}/luns`)).json()) as LunFact[];
  }

  /** Of the pair's LUNs at the site, by path. */
  private async lunsAt(site: Site): Promise<readonly LunFact[]> {
    const volumes = this.pair.flexVols.map((name) => `/vol/${name}/volume-`);
    return (await this.luns()).filter(
      ({ cluster, path: at }) =>
        cluster === this.lab.arrays[site].cluster && volumes.some((start) => at.startsWith(start)),
    );
  }

  /** As a guest does that writes: at the same place of every disk, with the disk's own name. */
  async write(site: Site, text: string): Promise<void> {
    for (const { file, path: lun } of await this.lunsAt(site)) writeAt(file, `${text} ${lun}`.padEnd(MARK_BYTES));
  }

  /** The text of every disk; where another disk's name is with it, that name, too. */
  async read(site: Site): Promise<readonly string[]> {
    return (await this.lunsAt(site)).map(({ file, path: lun }) => readAt(file).trim().replace(` ${lun}`, ""));
  }

  /** LUNs that are writable and mapped at both sites. */
  async twofold(): Promise<readonly string[]> {
    const open = (await this.luns()).filter(({ volumeType, maps }) => volumeType === "rw" && maps.length > 0);
    return open
      .filter((one) => open.some((other) => other.path === one.path && other.cluster < one.cluster))
      .map(({ path: at }) => at);
  }

  /** What the engine itself proves of the end. */
  verify(): Promise<readonly Proof[]> {
    return verifyEndState(this.asked());
  }

  /** Of the last switchover. */
  async report(): Promise<Report> {
    return (await reportOf(this.asked())) ?? Promise.reject(new Error("no switchover is recorded"));
  }

  /** Of every item that was carried out, not found as it should be: step and item, once for each time. */
  async carriedOut(switchoverId: string): Promise<readonly string[]> {
    const lines = await this.own.ports.coordination.readJournal(switchoverId);
    return lines.flatMap((line) => {
      const entry = JSON.parse(line) as JournalEntry;
      return entry.type === "done" && !entry.already ? [`${entry.step} ${entry.item}`] : [];
    });
  }

  private asked() {
    const ports = this.portsFor(this.own.ports, async () => undefined);
    return { pair: this.pair, ports, journalDir: path.join(this.lab.dir, "reports") };
  }

  lease(): Promise<LeaseRow | undefined> {
    return this.own.ports.coordination.findLease(this.pair.name);
  }

  /** As after half a minute in which nobody renewed it. */
  async letLeaseRunOut(): Promise<void> {
    const held = await this.lease();
    if (held !== undefined) await this.own.ports.coordination.releaseLease(this.pair.name, held.token);
  }

  /** Everything that a journey may change, without ids and times that differ from run to run. */
  async endState(): Promise<object> {
    const arrays = Object.values(this.lab.arrays);
    const perSite = async <T>(read: (client: ReturnType<typeof ontapClient>) => Promise<T>) =>
      Promise.all(
        (["iprod", "idr"] as const).map(async (site) => {
          const client = ontapClient(this.lab, site);
          try {
            return await read(client);
          } catch {
            return "doesn't answer";
          } finally {
            await client.close();
          }
        }),
      );
    const attachments = await this.rows(
      "SELECT v.display_name AS volume, a.instance_uuid, a.attach_status, a.attach_mode, a.mountpoint, a.attached_host, a.connection_info FROM cinder.volume_attachment a JOIN cinder.volumes v ON v.id = a.volume_id WHERE a.deleted = 0 ORDER BY 1, 2, a.attach_status",
    );
    const siteOf = (info: unknown): string =>
      arrays.find(({ iscsiAddresses }) => iscsiAddresses.some((each) => String(info).includes(each)))?.svm ?? "none";
    return {
      state: this.state && [this.state.activeSite, this.state.promoted, this.state.protected, this.state.observedSite],
      open: (await this.own.ports.coordination.listSwitchovers(this.pair.name)).filter(({ open }) => open).length,
      // Where in its stanza an option stands depends on the way.
      conf: this.lab.controllers.map(({ cinderConf }) =>
        parse(readFileSync(cinderConf, "utf8"))
          .assignments.map(({ section, option, value }) => `[${section}] ${option} = ${value}`)
          .sort(),
      ),
      units: this.lab.controllers.flatMap(({ name, services }) =>
        services.map((service) => {
          const id = { host: name, name: service.name };
          const active = serviceManager.mainPid(this.lab.dir, id) !== undefined;
          return `${name} ${service.name} ${active ? "runs" : "is stopped"}${serviceManager.isMasked(this.lab.dir, id) ? ", masked" : ""}`;
        }),
      ),
      services: await this.rows(
        "SELECT `binary`, host, disabled, disabled_reason, replication_status, active_backend_id, frozen FROM cinder.services WHERE deleted = 0 AND host LIKE 'cinder-dr@i%' ORDER BY host",
      ),
      volumes: await this.rows(
        "SELECT v.display_name AS name, v.host, v.status, v.attach_status, v.replication_status, v.migration_status, s.host AS service FROM cinder.volumes v LEFT JOIN cinder.services s ON s.uuid = v.service_uuid WHERE v.deleted = 0 ORDER BY 1",
      ),
      attachments: attachments.map(({ connection_info, ...row }) => ({ ...row, at: siteOf(connection_info) })),
      servers: await this.rows(
        "SELECT display_name, vm_state, power_state, task_state, locked FROM nova.instances WHERE deleted = 0 ORDER BY 1",
      ),
      devices: await this.rows(
        "SELECT i.display_name AS server, b.device_name, b.volume_id, b.delete_on_termination, b.tag FROM nova.block_device_mapping b JOIN nova.instances i ON i.uuid = b.instance_uuid WHERE b.deleted = 0 ORDER BY 1, 2",
      ),
      mirrors: await perSite(async (client) =>
        (await client.listMirrors(this.pair.flexVols))
          .map(
            ({ source, destination, state, healthy }) =>
              `${source.svm}:${source.flexVol} → ${destination.svm}:${destination.flexVol} ${state} ${healthy}`,
          )
          .sort(),
      ),
      flexVols: await perSite(async (client) =>
        (await client.listFlexVols()).map(({ name, type, state }) => `${name} ${type} ${state}`).sort(),
      ),
      luns: (await this.luns())
        .map(
          ({ cluster, path: at, volumeType, maps }) =>
            `${cluster} ${at} ${volumeType} ${maps.flatMap(({ initiators }) => initiators).join()}`,
        )
        .sort(),
      waiting: (
        await Promise.all(
          (["iprod", "idr"] as const).map((site) =>
            this.own.ports.messageQueue.listBackendQueues(backendHost(this.pair, site)),
          ),
        )
      )
        .flat()
        .filter(({ messages, consumers }) => messages > 0 && consumers === 0)
        .map(({ name, messages }) => `${messages} in ${name}`),
    };
  }

  async restartVolumeService(): Promise<void> {
    await serviceManager.restart(this.lab.dir, { host: "controller-1", name: "cinder-volume" });
  }

  /**
   * What a restart does, by somebody or by a supervisor: NetApp's driver looks after its mirrors at once. Not while Cinder
   * fails over (its death over that is a hazard of its own), nor where the services are masked.
   */
  async housekeeping(): Promise<void> {
    const id = { host: "controller-1", name: "cinder-volume" };
    const rows = await this.rows(
      "SELECT host, replication_status, report_count FROM cinder.services WHERE deleted = 0 AND host LIKE 'cinder-dr@i%'",
    );
    if (rows.some((row) => row["replication_status"] === "failing-over")) return;
    if (serviceManager.isMasked(this.lab.dir, id) || serviceManager.mainPid(this.lab.dir, id) === undefined) return;
    await this.restartVolumeService();
    await until("cinder-volume's backend reports again", async () => {
      const now = await this.rows(
        "SELECT host, report_count FROM cinder.services WHERE deleted = 0 AND host LIKE 'cinder-dr@i%'",
      );
      return now.some(
        (row) =>
          Number(row["report_count"]) >
          1 + Number(rows.find(({ host }) => host === row["host"])?.["report_count"] ?? 0),
      );
    });
  }
}

function writeAt(file: string, text: string): void {
  const descriptor = openSync(file, "r+");
  try {
    writeSync(descriptor, text, MARK_AT);
  } finally {
    closeSync(descriptor);
  }
}

function readAt(file: string): string {
  const descriptor = openSync(file, "r");
  try {
    const bytes = Buffer.alloc(MARK_BYTES);
    readSync(descriptor, bytes, 0, MARK_BYTES, MARK_AT);
    return bytes.toString("utf8").replaceAll("\0", "");
  } finally {
    closeSync(descriptor);
  }
}

function templateOf(below: string): string {
  return below.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "*");
}
