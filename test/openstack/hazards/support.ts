/**
 * What the tests of hazards share: one lab, the engine on its systems, and a table of what was met. Every suite begins
 * and ends with production at iprod, promoted and protected, its instances running and its bytes known.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { type Flavour, missingFor } from "../../../lab/lab";
import { pairOfLab, secretsOfLab } from "../../../lab/pair";
import { connect, type Connections } from "../../../lib/connections";
import type { HookSpec, Intent, Preview, Report, SwitchoverState, Verdict } from "../../../lib/switchover";
import { applySwitchover, hasOpenJournal, observeState, previewSwitchover } from "../../../lib/switchover";
import { systemClock } from "../../../lib/connections/system-clock";
import type { Clock } from "../../../lib/switchover/ports";
import { hookSchema } from "../../../lib/topology/hooks";
import type { SitePair } from "../../../lib/topology/site-pair";
import { backendHost, sitePairSchema } from "../../../lib/topology/site-pair";
import { skipBecause } from "../../support/skip";
import { changeOntap } from "../site-pair";
import { otherSite, say, sayFailures, Scene, type Site, until } from "../support";

const run = promisify(execFile);

// ---------------------------------------------------------------------------------------------------------------- lab

/** The machine's clock, which a test may set ahead: a wait of minutes is over at once, and nothing else goes faster. */
class MovableClock implements Clock {
  private aheadMs = 0;
  now(): Date {
    return new Date(Date.now() + this.aheadMs);
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(ms, signal);
  }
  advance(seconds: number): void {
    this.aheadMs += seconds * 1000;
  }
}

/** A hook at which `meanwhile` of the same name is run. */
export const hook = (when: HookSpec["when"]): HookSpec => hookSchema.parse({ name: when, when, command: ["-"] });

/** An intent as a stack's settings give it. */
export type Wish = Partial<Omit<Intent, "activeSite">>;

export class HazardLab {
  readonly clock = new MovableClock();
  /** What happens at a hook of that name. */
  meanwhile: Record<string, () => Promise<unknown>> = {};
  private state: SwitchoverState | undefined;

  private constructor(
    readonly scene: Scene,
    readonly pair: SitePair,
    private readonly connections: Connections,
    private readonly flavour: Flavour,
  ) {}

  static async open(flavour: Flavour): Promise<HazardLab> {
    const scene = await Scene.open({ flavour, instances: 2 });
    const pair = sitePairSchema.parse(pairOfLab(scene.lab));
    const lab = new HazardLab(scene, pair, connect(pair, secretsOfLab(scene.lab)), flavour);
    if ((await lab.verdict()).site === undefined) {
      await scene.up();
      await scene.pulumi.set(scene.pulumi.testLabStack, "lab.dataVolumeSets", "2");
      await scene.up({ stack: scene.pulumi.testLabStack });
      await scene.format("vdb", "vdc");
    }
    return lab;
  }

  async close(): Promise<void> {
    await this.connections.close();
    await this.scene.close();
  }

  // ------------------------------------------------------------------------------------------------------ the product

  private question(site: Site, wish: Wish) {
    const intent: Intent = {
      activeSite: site,
      promotion: "immediate",
      hooks: [],
      requireApproval: false,
      startIncomplete: false,
      ...wish,
    };
    return {
      pair: this.pair,
      intent,
      ...(this.state === undefined ? {} : { state: this.state }),
      ports: {
        ...this.connections.ports,
        clock: this.clock,
        hooks: {
          run: async ({ hook: { name } }: { hook: HookSpec }) => {
            await this.meanwhile[name]?.();
            return { passed: true, said: "", durationSeconds: 0 };
          },
        },
      },
      stack: this.scene.recovery,
      journalDir: this.scene.reports,
    };
  }

  verdict(): Promise<Verdict> {
    return observeState({ pair: this.pair, ports: this.connections.ports });
  }

  preview(site: Site, wish: Wish = {}): Promise<Preview> {
    return previewSwitchover(this.question(site, wish));
  }

  /** What would be done isn't: every failure's text. */
  async refusals(site: Site, wish: Wish = {}): Promise<string> {
    const { failures } = await this.preview(site, wish);
    assert.ok(failures.length > 0, "nothing is refused");
    return failures.map(({ message, remedy }) => `${message}. ${remedy}`).join("\n");
  }

  /** Makes the site the active one; `onLine` sees each line of progress as it is told. */
  async up(site: Site, wish: Wish = {}, onLine: (line: string) => void = () => undefined): Promise<SwitchoverState> {
    say(`── to ${site}, ${Object.keys(wish).join(", ") || "nothing special"}`);
    const progress = (line: string): void => {
      if (/^\[\d+\/\d+\] |^warning|^removed|^lost|^going|^resuming/.test(line)) say(line);
      onLine(line);
    };
    this.state = await applySwitchover({
      ...this.question(site, wish),
      signal: new AbortController().signal,
      progress,
    });
    return this.state;
  }

  /** An `up` that ends with an error: its text. */
  async failedUp(site: Site, wish: Wish = {}, onLine?: (line: string) => void): Promise<string> {
    const failure = await this.up(site, wish, onLine).then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    assert.ok(failure !== undefined, "this up should have failed");
    say(`failed, as it should: ${failure.slice(0, 300)}`);
    return failure;
  }

  report(): Report {
    return this.scene.lastReport();
  }

  /** What speaks against the restart that a changed option of the active stanza would mean. */
  async refusalOfReload(site: Site): Promise<string> {
    const before = this.state;
    assert.ok(before);
    try {
      this.state = { ...before, backendRevisions: { [site]: "former" } };
      return await this.refusals(site, { backendRevisions: { [site]: "changed" } });
    } finally {
      this.state = before;
    }
  }

  // ------------------------------------------------------------------------------------------------------ start and end

  /** Production at the site, promoted, protected; brings it there after a test that failed. */
  async home(site: Site = "iprod"): Promise<void> {
    await this.heal();
    const { pair, ports, journalDir } = this.question(site, {});
    if (await hasOpenJournal({ pair, ports, journalDir })) await this.up(site).catch(() => this.up(otherSite(site)));
    const verdict = await this.verdict();
    if (this.state === undefined && verdict.site !== undefined) await this.up(verdict.site as Site);
    const now = (verdict.site ?? site) as Site;
    if (!verdict.promoted) await this.up(now);
    if (!(await this.verdict()).protected) await this.up(now, { reprotect: "discardDiverged" });
    if (now !== site) await this.up(site);
    await this.normal(site);
    if (this.scene.writes().size === 0) await this.scene.write("at-first");
  }

  /** What a test that failed may have left behind. */
  private async heal(): Promise<void> {
    await this.control("DELETE", "/faults");
    for (const site of ["iprod", "idr"] as const) {
      await this.scene.setReachable(site, true);
      await this.setOnline(site, true);
    }
    for (const { name, services } of this.scene.lab.controllers)
      for (const service of services) if (service.started) await this.service(name, service.name, "start").catch(say);
    for (const { id, status } of await this.scene.volumes())
      if (status === "detaching")
        await this.scene.cloud("POST", "blockStorage", `/volumes/${id}/action`, { "os-roll_detaching": null });
  }

  /** Takes the site's first FlexVol offline or brings it back. */
  setOnline(site: Site, online: boolean): Promise<void> {
    return this.scene.onArray(site, async (client) => {
      const flexVol = (await client.listFlexVols()).find(({ name }) => name === this.pair.flexVols[0]);
      const state = online ? "online" : "offline";
      if (flexVol?.state !== state)
        await changeOntap(this.scene.lab, site, `/api/storage/volumes/${flexVol?.uuid ?? ""}`, { state });
    });
  }

  async normal(site: Site): Promise<void> {
    const verdict = await this.verdict();
    assert.deepEqual(
      [verdict.site, verdict.promoted, verdict.protected, verdict.mismatches],
      [site, true, true, []],
      JSON.stringify(verdict),
    );
    for (const { name, status, locked } of await this.scene.servers())
      assert.deepEqual([name, status, locked], [name, "ACTIVE", false]);
    const [own, other] = await Promise.all([this.row(site), this.row(otherSite(site))]);
    assert.deepEqual([own?.disabled, own?.replicationStatus, own?.activeBackendId || null], [false, "enabled", null]);
    if (other !== undefined && other.replicationStatus === "failed-over")
      assert.deepEqual([other.disabled, other.activeBackendId], [true, site]);
  }

  // ------------------------------------------------------------------------------------------------------- the systems

  host(site: Site): string {
    return backendHost(this.pair, site);
  }

  async row(site: Site) {
    const rows = await this.connections.ports.database.listServiceRows();
    return rows.find(({ binary, host }) => binary === "cinder-volume" && host === this.host(site));
  }

  queues(site: Site) {
    return this.connections.ports.messageQueue.listBackendQueues(this.host(site));
  }

  control<T>(method: string, below: string, body?: object): Promise<T> {
    return this.scene.control<T>(method, below, body);
  }

  /** By the lab's service manager, as systemctl would do it on that host. */
  async service(host: string, name: string, verb: "start" | "stop" | "restart"): Promise<void> {
    await run(this.scene.lab.serviceManager, ["--lab", this.scene.lab.dir, "--host", host, verb, name]);
  }

  /** Ends a service's processes without a word to anybody, as a crash does. */
  async kill(host: string, name: string): Promise<void> {
    const args = ["--lab", this.scene.lab.dir, "--host", host, "pids", name];
    const { stdout } = await run(this.scene.lab.serviceManager, args);
    for (const pid of stdout.trim().split("\n").filter(Boolean)) process.kill(Number(pid), "SIGKILL");
  }

  log(host: string, name: string): string {
    const file = `${this.scene.lab.dir}/logs/${host}/${name}.log`;
    return existsSync(file) ? readFileSync(file, "utf8") : ""; // one that never ran there has none
  }

  /**
   * As somebody does who tidies up while a site is away from production: the mirrors' records go on both clusters, and then
   * the FlexVol's snapshots at that site, which nothing holds any more.
   */
  async forgetCommon(flexVol: string, site: Site): Promise<void> {
    const other = otherSite(site);
    await this.scene.onArray(other, async (client) => {
      for (const { uuid } of await client.listMirrors([flexVol])) await client.deleteMirror(uuid);
    });
    await this.scene.onArray(site, async (client) => {
      await client.releaseMirror({ sourceFlexVol: flexVol, destinationSvm: this.scene.lab.arrays[other].svm });
      const volume = (await client.listFlexVols()).find(({ name }) => name === flexVol);
      for (const { uuid } of await client.listSnapshots(flexVol))
        await changeOntap(
          this.scene.lab,
          site,
          `/api/storage/volumes/${volume?.uuid ?? ""}/snapshots/${uuid}`,
          {},
          "DELETE",
        );
      assert.deepEqual(await client.listSnapshots(flexVol), []);
    });
  }

  /** Mirrors into the site. */
  mirrors(into: Site) {
    return this.scene.onArray(into, (client) => client.listMirrors(this.pair.flexVols));
  }

  /** Cinder's own failover, by hand, until its row says how it ended. */
  async failOverByHand(from: Site, backendId: string, ends: (status: string) => boolean): Promise<string> {
    await this.putService("failover_host", { host: this.host(from), backend_id: backendId });
    const row = await until(
      `failover_host of ${from} to ${backendId} ends`,
      () => this.row(from),
      (seen) => ends(seen?.replicationStatus ?? ""),
    );
    return row?.replicationStatus ?? "";
  }

  /** `cinder-manage db reset_active_backend`; an embedded lab has the statement that it comes to. */
  async resetActiveBackend(host: string): Promise<void> {
    const { python, controllers } = this.scene.lab;
    if (this.flavour === "embedded") {
      await this.scene.sql(
        "UPDATE cinder.services SET active_backend_id = NULL, replication_status = 'enabled' WHERE deleted = 0 AND `binary` = 'cinder-volume' AND host = ? AND disabled = 1 AND frozen = 1",
        [host],
      );
      return;
    }
    const command = path.join(path.dirname(python), "cinder-manage");
    const reset = ["db", "reset_active_backend", "--backend-host", host];
    await run(command, ["--config-file", controllers[0]?.cinderConf ?? "", ...reset]);
  }

  putService(verb: string, body: object): Promise<unknown> {
    return this.scene.cloud("PUT", "blockStorage", `/os-services/${verb}`, body);
  }

  /** Kills nova-compute on every host, and waits until Nova knows it; returns what starts it again. */
  async withoutComputes(unnoticed: () => Promise<unknown> = async () => undefined): Promise<() => Promise<void>> {
    const { computes } = this.scene.lab;
    for (const { name } of computes) await this.kill(name, "nova-compute");
    await unnoticed();
    await this.computesAre((service) => service.state === "down");
    const beats = new Map((await this.computes()).map(({ host, updated_at }) => [host, updated_at]));
    return async () => {
      for (const { name } of computes) await this.service(name, "nova-compute", "start");
      await this.computesAre(({ host, state, updated_at }) => state === "up" && updated_at !== beats.get(host));
    };
  }

  private async computes() {
    const below = "/os-services?binary=nova-compute";
    const { services } = await this.scene.cloud<{ services: { host: string; state: string; updated_at: string }[] }>(
      "GET",
      "compute",
      below,
    );
    return services;
  }

  private async computesAre(holds: (service: { host: string; state: string; updated_at: string }) => boolean) {
    await until(
      "every nova-compute is as awaited",
      () => this.computes(),
      (services) => services.length > 0 && services.every(holds),
    );
  }

  /** Waits until the API calls the backend's service up or down. */
  async serviceIs(site: Site, state: "up" | "down"): Promise<void> {
    await until(
      `cinder-volume of ${site} is ${state}`,
      () => this.scene.volumeService(site),
      (row) => row?.state === state,
    );
  }

  /** Edits every controller's cinder.conf, or one's; returns what puts it back. */
  editConf(edit: (text: string) => string, only?: number): () => void {
    const files = this.scene.lab.controllers
      .filter((_, at) => only === undefined || at === only)
      .map(({ cinderConf }) => ({ cinderConf, before: readFileSync(cinderConf, "utf8") }));
    for (const { cinderConf, before } of files) {
      assert.notEqual(edit(before), before, "the edit changes nothing");
      writeFileSync(cinderConf, edit(before));
    }
    return () => files.forEach(({ cinderConf, before }) => writeFileSync(cinderConf, before));
  }
}

// -------------------------------------------------------------------------------------------------------------- suites

let shared: Promise<HazardLab> | undefined;
let suites = 0;

async function closeShared(): Promise<void> {
  const lab = await shared?.catch(() => undefined);
  shared = undefined;
  await lab?.close();
}

/** A suite on the lab that all of a process share: brought up by the first that runs, ended after the last. */
export function onSharedLab(title: string, flavour: Flavour, define: (lab: () => HazardLab) => void): void {
  describe(`${title} (${flavour} lab)`, function () {
    this.timeout(900_000);
    let lab: HazardLab | undefined;
    suites += 1;

    before(async function () {
      const missing = missingFor(flavour, process.env["CINDER_CHEESECAKE_PYTHON"]);
      if (missing !== undefined) skipBecause(this, missing);
      lab = await (shared ??= HazardLab.open(flavour));
      await lab.home();
    });

    sayFailures(() => lab?.scene);

    // What a test that failed left under way stays its own failure.
    let failed = false;
    afterEach(function () {
      failed = this.currentTest?.state === "failed";
    });
    beforeEach(async () => {
      if (failed) await lab?.home();
    });

    after(async () => {
      suites -= 1;
      if (suites === 0) await closeShared();
    });

    define(() => {
      assert.ok(lab, "the lab isn't up");
      return lab;
    });
  });
}

// With --grep the last suite may not run.
after(closeShared);
