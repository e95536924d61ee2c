/** What the tests of the product through its CLI share: a lab with both stacks, what to look at, and what to do to it. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import mysql from "mysql2/promise";
import { parse, stringify } from "yaml";
import { Guests } from "../../lab/demo/guests";
import { runGuest } from "../../lab/guest/main";
import type { DataPath, LabDescription } from "../../lab/lab";
import { type Flavour, labDown, labUp, readLab, readSecret } from "../../lab/lab";
import { Session } from "../../lab/openstack/cloud";
import type { CommandResult, RunOptions } from "../../lab/pulumi";
import { LabPulumi } from "../../lab/pulumi";
import type { Report } from "../../lib/switchover";
import type { JournalEntry } from "../../lib/switchover/journal";
import { ontapClient, otherSite, type Site } from "./site-pair";

export { otherSite, type Site };

interface Options extends Pick<RunOptions, "anyCode" | "onLine" | "env"> {
  readonly more?: readonly string[];
  /** Default: the recovery stack. */
  readonly stack?: string;
}

export const prefix = "guest-";
/** Of each device, behind its filesystem. */
const FILL_BYTES = 1 << 20;
/** With it a lab outlives the run, and a later run with `--grep` goes on in it. */
const KEEP_LAB = process.env["CHEESECAKE_KEEP_LAB"];

/** Of labs that a test doesn't choose itself: "embedded" for a quick look at what is proved on the real one. */
const FLAVOUR: Flavour = process.env["CHEESECAKE_LAB_FLAVOUR"] === "embedded" ? "embedded" : "openstack";

/** In a suite: says at once why a test failed (mocha does so at the end, many minutes later), and what the services say. */
export function sayFailures(scene: () => Scene | undefined): void {
  const errors = (): string[] =>
    scene()
      ?.errorsLogged()
      .map((line) => `  ${line}`) ?? [];
  afterEach(function () {
    if (this.currentTest?.state !== "failed") return;
    const { err } = this.currentTest;
    const text = [err?.stack ?? String(err), ...errors()].join("\n");
    say(text);
    // What the services logged is in the list of failures, too: of a long output often only the end is kept.
    if (err) err.stack = text;
  });
  // After a hook that failed no test has run, nor any afterEach.
  const ran = (suite: Mocha.Suite): boolean => suite.tests.some(({ state }) => state) || suite.suites.some(ran);
  after(function () {
    if (this.test?.parent && !ran(this.test.parent)) errors().forEach(say);
  });
}

/** Polls until the predicate holds; the last thing seen is in the error. */
export async function until<T>(
  what: string,
  read: () => Promise<T> | T,
  holds: (seen: T) => boolean,
  timeoutMs = 120_000,
  everyMs = 250,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const seen = await read();
    if (holds(seen)) return seen;
    if (Date.now() > deadline) throw new Error(`${what} hasn't come true; last seen: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

export interface Server {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly locked: boolean;
}
export interface Volume {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly "os-vol-host-attr:host": string;
  readonly attachments: readonly { readonly server_id: string; readonly device: string }[];
}
export interface VolumeService {
  readonly host: string;
  readonly status: string;
  readonly state: string;
  readonly replication_status: string;
  readonly active_backend_id: string | null;
  readonly updated_at: string;
}
export interface RecordedRequest {
  readonly id: number;
  readonly cluster: string;
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly status?: number;
  readonly who: string;
}

/** A lab, its two stacks, and its guests. */
export class Scene {
  readonly pulumi: LabPulumi;
  /** Everything that any command of Pulumi printed. */
  printed = "";
  private seeds = 0;
  /** By "instance device": sha256 of what was filled in last. */
  private fills = new Map<string, string>();

  private constructor(
    readonly lab: LabDescription,
    private readonly session: Session,
  ) {
    this.pulumi = new LabPulumi(lab, () => undefined);
  }

  static async open({
    flavour = FLAVOUR,
    instances = 3,
    computes,
    dataPath,
  }: { flavour?: Flavour; instances?: number; computes?: number; dataPath?: DataPath } = {}): Promise<Scene> {
    const python = process.env["CINDER_CHEESECAKE_PYTHON"] ?? "";
    const dir = KEEP_LAB ?? mkdtempSync(path.join(os.tmpdir(), "cheesecake-lab-"));
    // A database under a folder that only its owner may enter runs as root; the lab's own folders are closed themselves.
    const formerPath = process.env["CHEESECAKE_DATA_PATH"];
    if (dataPath !== undefined) process.env["CHEESECAKE_DATA_PATH"] = dataPath;
    await labUp({
      flavour,
      dir,
      python,
      supervise: false,
      progress: (line) => say(line),
      ...(computes === undefined ? {} : { computes }),
    }).finally(() => {
      if (formerPath === undefined) delete process.env["CHEESECAKE_DATA_PATH"];
      else process.env["CHEESECAKE_DATA_PATH"] = formerPath;
    });
    const lab = readLab(dir);
    const { username, passwordFile, project } = lab.admin;
    const session = await Session.open(lab.endpoints.identity, username, readSecret(passwordFile), project);
    const scene = new Scene(lab, session);
    await scene.pulumi.init({ instances });
    if (KEEP_LAB !== undefined) await scene.cancel(); // the lock of a run that was ended
    return scene;
  }

  async close(): Promise<void> {
    if (KEEP_LAB !== undefined) return;
    this.pulumi.remove();
    await labDown(this.lab.dir, { keepLogs: false, progress: (line) => say(line) });
  }

  // ------------------------------------------------------------------------------------------------------- the product

  get recovery(): string {
    return this.pulumi.recoveryStack;
  }

  /** Changes settings of the recovery stack in its file; undefined takes one out. */
  configure(settings: Readonly<Record<string, unknown>>): void {
    const file = this.pulumi.configFile(this.recovery);
    const document = parse(readFileSync(file, "utf8")) as { config: Record<string, unknown> };
    for (const [key, value] of Object.entries(settings)) document.config[`cinder-cheesecake:${key}`] = value;
    writeFileSync(file, stringify(document));
  }

  up(o: Options = {}): Promise<CommandResult> {
    return this.command("up", ["--yes", "--skip-preview", "--suppress-outputs"], o);
  }

  preview(o: Options = {}): Promise<CommandResult> {
    return this.command("preview", ["--diff", "--suppress-outputs"], o);
  }

  destroy(o: Options = {}): Promise<CommandResult> {
    return this.command("destroy", ["--yes", "--skip-preview", "--suppress-outputs"], o);
  }

  /** After a CLI that was killed: its stack is locked. */
  async cancel(): Promise<void> {
    await this.pulumi.run(["cancel", "--yes", "--stack", this.recovery], { anyCode: true });
  }

  /** As after the loss of that part of the state: the stack knows everything but where production runs. */
  async forgetActiveSite(): Promise<void> {
    const { stdout } = await this.pulumi.run(["stack", "export", "--stack", this.recovery], { quiet: true });
    const { deployment } = JSON.parse(stdout) as { deployment: { resources: { urn: string; type: string }[] } };
    const urn = deployment.resources.find(({ type }) => type.endsWith(":ActiveSite"))?.urn ?? "";
    const flags = ["--yes", "--target-dependents", "--non-interactive"];
    await this.pulumi.run(["state", "delete", urn, "--stack", this.recovery, ...flags], { quiet: true });
  }

  /** What the lab's services logged as errors, the last ones: a lab is gone when somebody reads of a failure. */
  errorsLogged(): string[] {
    const count = 15;
    const logs = path.join(this.lab.dir, "logs");
    if (!existsSync(logs)) return [];
    const files = readdirSync(logs, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".log"));
    const lines = files.flatMap((file) =>
      readFileSync(path.join(logs, file), "utf8")
        .split("\n")
        .filter((line) => / ERROR (?!stevedore|neutron\.api\.extensions)\S+ \[/.test(line)) // nor the lines of a traceback
        .slice(-count)
        .map((line) => `${line.slice(0, 23)} ${file}: ${line.slice(24, 400)}`),
    );
    return lines.sort().slice(-count);
  }

  private command(verb: string, flags: readonly string[], o: Options): Promise<CommandResult> {
    const { more = [], stack = this.recovery, onLine, anyCode = false, env = {} } = o;
    return this.pulumi.run([verb, "--stack", stack, "--non-interactive", ...flags, ...more], {
      anyCode,
      env,
      onLine: (line, pid) => {
        this.printed += `${line}\n`;
        if (/ running .*\[\d+\/\d+\] \S+: |^ *error:|Duration/.test(line)) say(line.replace(/^.* running /, "").trim());
        onLine?.(line, pid);
      },
    });
  }

  /** The recovery stack's settings as its file has them, secrets encrypted. */
  readConfiguration(): Record<string, unknown> {
    const file = readFileSync(this.pulumi.configFile(this.recovery), "utf8");
    return (parse(file) as { config: Record<string, unknown> }).config;
  }

  async setSecret(key: string, value: unknown): Promise<void> {
    const args = ["config", "set", "--stack", this.recovery, "--secret", `cinder-cheesecake:${key}`];
    await this.pulumi.run(args, { quiet: true, input: typeof value === "string" ? value : JSON.stringify(value) });
  }

  /** Does something under changed settings, and puts them back. */
  async withConfiguration<T>(
    change: (config: Record<string, unknown>) => void | Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    const file = this.pulumi.configFile(this.recovery);
    const before = readFileSync(file, "utf8");
    try {
      const document = parse(before) as { config: Record<string, unknown> };
      await change(document.config);
      writeFileSync(file, stringify(document));
      return await work();
    } finally {
      writeFileSync(file, before);
    }
  }

  /** One flip through `up`, as an operator does it. */
  async flip(site: Site, settings: Readonly<Record<string, unknown>> = {}): Promise<Report> {
    say(`── to ${site} ${JSON.stringify(settings)}`);
    this.configure({ activeSite: site, ...settings });
    await this.up();
    return this.lastReport();
  }

  /** An `up` that has to be refused: what it printed. */
  async refused(stack = this.recovery): Promise<string> {
    const { code, output } = await this.up({ anyCode: true, stack });
    assert.notEqual(code, 0, `this up should have been refused:\n${output}`);
    return output;
  }

  get reports(): string {
    return path.join(this.lab.dir, "reports");
  }

  /** Folders of reports, oldest first. */
  reportIds(): string[] {
    const entries = readdirSync(this.reports, { withFileTypes: true });
    return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
  }

  lastReport(): Report {
    return JSON.parse(
      readFileSync(path.join(this.reports, this.reportIds().at(-1) ?? "", "report.json"), "utf8"),
    ) as Report;
  }

  journal(switchoverId: string): JournalEntry[] {
    const lines = readFileSync(path.join(this.reports, `${switchoverId}.jsonl`), "utf8")
      .trim()
      .split("\n");
    return lines.map((line) => JSON.parse(line) as JournalEntry);
  }

  /** Every file of the lab that journals and reports are in, by path. */
  reportTexts(): Map<string, string> {
    const files = readdirSync(this.reports, { withFileTypes: true, recursive: true });
    return new Map(
      files
        .filter((entry) => entry.isFile() && /\.(jsonl?|md|html)$/.test(entry.name))
        .map((entry) => path.join(entry.parentPath, entry.name))
        .map((file) => [file, readFileSync(file, "utf8")]),
    );
  }

  /** All secrets of the lab, by what they are. */
  secrets(): Map<string, string> {
    const folder = path.dirname(this.lab.admin.passwordFile);
    const found = new Map<string, string>();
    for (const name of readdirSync(folder)) {
      const file = path.join(folder, name);
      const text = readFileSync(file, "utf8").trim();
      found.set(
        name,
        file === this.lab.applicationCredentialFile ? (JSON.parse(text) as { secret: string }).secret : text,
      );
    }
    const { secret } = JSON.parse(readFileSync(this.lab.applicationCredentialFile, "utf8")) as { secret: string };
    return found.set("application credential", secret);
  }

  // ------------------------------------------------------------------------------------------------------------ bytes

  /** Runs the guests' command line on every instance; returns what it printed as JSON. */
  private async guest<T>(verb: string, ...args: string[]): Promise<T> {
    const lines: string[] = [];
    const errors: string[] = [];
    const output = { out: (line: string) => void lines.push(line), err: (line: string) => void errors.push(line) };
    const code = await runGuest([verb, "--lab", this.lab.dir, "--all", prefix, "--json", ...args], output);
    if (lines.length === 0 || (code !== 0 && verb !== "check"))
      throw new Error(`guest ${verb} ended with ${code}: ${errors.join("\n")}`);
    return JSON.parse(lines.at(-1) ?? "") as T;
  }

  get record(): string {
    return path.join(this.lab.dir, "breadcrumbs.jsonl");
  }

  /** Data devices of every instance, in order. */
  async devices(): Promise<string[]> {
    const [guest] = await this.servers();
    const attachments = (await this.volumes()).flatMap((volume) => volume.attachments);
    const own = attachments.filter((attachment) => attachment.server_id === guest?.id);
    return own
      .map(({ device }) => device.replace("/dev/", ""))
      .filter((device) => device !== "vda")
      .sort();
  }

  async format(...devices: string[]): Promise<void> {
    await this.guest("mkfs", "--device", devices.join(","));
  }

  /** A file on every device that says where and when, and new bytes behind its filesystem. */
  async write(stage: string): Promise<void> {
    const device = ["--device", (await this.devices()).join(",")];
    await this.guest("breadcrumb", ...device, "--stage", stage, "--record", this.record);
    const seed = `${stage} ${++this.seeds}`;
    const filled = await this.guest<{ instance: string; device: string; result: string }[]>(
      "fill",
      ...device,
      ...["--bytes", String(FILL_BYTES), "--seed", seed],
    );
    for (const one of filled) this.fills.set(`${one.instance} ${one.device}`, one.result);
  }

  /** What is filled in now, for `forget`. */
  writes(): ReadonlyMap<string, string> {
    return new Map(this.fills);
  }

  /** A stage was lost, as had to be: what was there before it counts again. */
  forget(stage: string, before: ReadonlyMap<string, string>): void {
    this.fills = new Map(before);
    const lines = readFileSync(this.record, "utf8").trimEnd().split("\n");
    const kept = lines.filter((line) => !line.includes(`"stage":"${stage}"`));
    assert.equal(kept.length, lines.length - 1);
    writeFileSync(this.record, `${kept.join("\n")}\n`);
  }

  /** As `write` does it without the bytes, as a hook's command. */
  async writeCommand(stage: string): Promise<string[]> {
    return new Guests(this.lab, prefix).breadcrumbCommand(await this.devices(), stage);
  }

  /** Every byte that was written is on the device that it was written to, and every filesystem is clean. */
  async assertBytes(): Promise<void> {
    assert.deepEqual(await this.missing(), []);
  }

  /** What differs from what was written: one line each. */
  async missing(): Promise<string[]> {
    const checked = await this.guest<{
      devices: number;
      errors: string[];
      problems: { kind: string; instance: string; device: string; file: string }[];
    }>("check", "--expected", this.record);
    const hashes = await this.guest<{ instance: string; device: string; result: { fill: string } }[]>(
      "hash",
      ...["--device", (await this.devices()).join(","), "--bytes", String(FILL_BYTES)],
    );
    return [
      ...checked.errors,
      ...checked.problems.map(({ kind, instance, device, file }) => `${kind} ${instance} ${device} ${file}`),
      ...hashes.flatMap(({ instance, device, result }) =>
        result.fill === this.fills.get(`${instance} ${device}`) ? [] : [`fill ${instance} ${device}`],
      ),
    ].sort();
  }

  // ------------------------------------------------------------------------------------- where scenarios begin and end

  private readonly nothingSpecial = {
    approvedPlan: undefined,
    hooks: undefined,
    unplanned: undefined,
    reprotect: undefined,
  };

  /** In a new lab: iprod active, instances with two data volumes each, which write. */
  async begin(): Promise<void> {
    this.configure({ promotion: "immediate" });
    await this.up();
    await this.pulumi.set(this.pulumi.testLabStack, "lab.dataVolumeSets", "2");
    await this.up({ stack: this.pulumi.testLabStack });
    await this.format("vdb", "vdc");
    await this.write("at-first");
  }

  /** Where a scenario begins: promoted, protected, its bytes written. */
  async at(site: Site): Promise<void> {
    this.configure({ activeSite: site, promotion: "immediate", ...this.nothingSpecial });
    const outputs = await this.pulumi.outputs(this.recovery);
    const normal = `active at ${site} (${this.lab.volumeHost}@${site}), protected`;
    if (outputs["status"] !== normal) await this.flip(site);
    for (const { id, name } of await this.volumes())
      if (!name.startsWith(prefix)) {
        say(`left by a scenario that failed: ${name}`);
        await this.deleteVolume(id);
      }
    await this.assertNormal(site);
  }

  /** Everything runs, at the site, in its place, protected. */
  async assertNormal(site: Site): Promise<void> {
    const outputs = await this.pulumi.outputs(this.recovery);
    assert.equal(outputs["status"], `active at ${site} (${this.lab.volumeHost}@${site}), protected`);
    await this.assertInstancesRun();
    const volumes = (await this.volumes()).filter(({ name }) => !name.endsWith("-root"));
    for (const volume of volumes) {
      assert.ok(volume["os-vol-host-attr:host"].startsWith(`${this.lab.volumeHost}@${site}#`), JSON.stringify(volume));
      assert.equal(volume.status, "in-use");
    }
    const [own, other] = await Promise.all([this.volumeService(site), this.volumeService(otherSite(site))]);
    assert.deepEqual([own?.status, own?.state, own?.replication_status], ["enabled", "up", "enabled"]);
    if (other !== undefined) assert.equal(other.status, "disabled");
  }

  async assertInstancesRun(): Promise<void> {
    const seen = (await this.servers()).map(({ name, status, locked }) => ({ name, status, locked }));
    const running = ["guest-01", "guest-02", "guest-03"].map((name) => ({ name, status: "ACTIVE", locked: false }));
    assert.deepEqual(seen, running);
  }

  /** Neither a plain `up` nor one that looks at everything first finds anything to do, or does it. */
  async assertNothingLeft(ways: readonly string[][] = [[], ["--refresh"]]): Promise<void> {
    for (const stack of [this.recovery, this.pulumi.testLabStack])
      for (const more of ways) {
        const before = await this.lastMutation();
        const { output } = await this.up({ stack, more });
        assert.doesNotMatch(
          output,
          /\d+ (created|updated|deleted|replaced|changed)/,
          `${stack} ${more.join()}\n${output}`,
        );
        assert.match(output, /\d+ unchanged/);
        assert.deepEqual(await this.mutations(before), []);
      }
  }

  /** As after every switchover: a look at everything finds nothing to do on either stack, and sends the clusters nothing. */
  async assertSettled(site: Site): Promise<void> {
    await this.assertNormal(site);
    await this.assertBytes();
    await this.assertNothingLeft([["--refresh"]]);
  }

  /** Every item of every step was carried out at most once; but a final transfer of a run that was cut off doesn't count. */
  assertOnce(switchoverId: string): void {
    const applied = this.journal(switchoverId).flatMap((entry) =>
      entry.type === "done" && !entry.already && !entry.step.startsWith("final-sync/")
        ? [`${entry.step} ${entry.item}`]
        : [],
    );
    assert.deepEqual(applied, [...new Set(applied)]);
    assert.ok(applied.length > 0);
  }

  async onArray<T>(site: Site, work: (client: ReturnType<typeof ontapClient>) => Promise<T>): Promise<T> {
    const client = ontapClient(this.lab, site);
    try {
      return await work(client);
    } finally {
      await client.close();
    }
  }

  flexVols(): string[] {
    return this.lab.arrays.iprod.flexVols.map(({ name }) => name);
  }

  /** Both clusters' mirrors: whence, whither, in which state. */
  async mirrorsSeen(): Promise<unknown> {
    const sites = ["iprod", "idr"] as const;
    return Promise.all(
      sites.map((site) =>
        this.onArray(site, async (client) =>
          (await client.listMirrors(this.flexVols())).map(({ uuid, source, destination, state }) => ({
            uuid,
            source,
            destination,
            state,
          })),
        ),
      ),
    );
  }

  transferAll(into: Site): Promise<void> {
    return this.onArray(into, async (client) => {
      for (const { uuid } of await client.listMirrors(this.flexVols())) {
        const transfer = await client.startTransfer(uuid);
        await until(
          "the transfer succeeds",
          () => client.getTransfer(uuid, transfer),
          ({ state }) => state === "success",
        );
      }
    });
  }

  // ------------------------------------------------------------------------------------------------------- the systems

  cloud<T>(method: string, service: "compute" | "blockStorage", below: string, body?: object): Promise<T> {
    // From Nova's 2.9 on it says what is locked; from Cinder's 3.66 on snapshots of attached volumes need no force.
    const versions = { compute: "compute 2.90", blockStorage: "volume 3.70" };
    const headers = { "OpenStack-API-Version": versions[service] };
    return this.session.request<T>(
      method,
      this.lab.endpoints[service] + below,
      body as Record<string, unknown>,
      headers,
    );
  }

  async servers(): Promise<Server[]> {
    const rows = await this.cloud<{ servers: Server[] }>("GET", "compute", "/servers/detail?all_tenants=1");
    return rows.servers.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async volumes(): Promise<Volume[]> {
    const below = "/volumes/detail?all_tenants=1";
    return (await this.cloud<{ volumes: Volume[] }>("GET", "blockStorage", below)).volumes;
  }

  async volumeService(site: Site): Promise<VolumeService | undefined> {
    const { services } = await this.cloud<{ services: VolumeService[] }>(
      "GET",
      "blockStorage",
      "/os-services?binary=cinder-volume",
    );
    return services.find(({ host }) => host === `${this.lab.volumeHost}@${site}`);
  }

  async createVolume(name: string, type: string): Promise<string> {
    const body = { volume: { name, size: 1, volume_type: type } };
    const { volume } = await this.cloud<{ volume: Volume }>("POST", "blockStorage", "/volumes", body);
    await this.volumeIs(volume.id, "available");
    return volume.id;
  }

  async deleteVolume(id: string): Promise<void> {
    await this.cloud("DELETE", "blockStorage", `/volumes/${id}?force=true`);
    await until(
      "the volume is deleted",
      () => this.volumes(),
      (volumes) => volumes.every((v) => v.id !== id),
    );
  }

  async attach(server: string, volume: string): Promise<void> {
    const body = { volumeAttachment: { volumeId: volume } };
    await this.cloud("POST", "compute", `/servers/${server}/os-volume_attachments`, body);
    await this.volumeIs(volume, "in-use");
  }

  async detach(server: string, volume: string): Promise<void> {
    await this.cloud("DELETE", "compute", `/servers/${server}/os-volume_attachments/${volume}`);
    await this.volumeIs(volume, "available");
  }

  private async volumeIs(id: string, status: string): Promise<void> {
    const read = async () => (await this.cloud<{ volume: Volume }>("GET", "blockStorage", `/volumes/${id}`)).volume;
    const seen = await until(`volume ${id} is ${status}`, read, (v) => v.status === status || v.status === "error");
    assert.equal(seen.status, status);
  }

  /** A statement, by default of the account that all of OpenStack's services have. */
  async sql(
    statement: string,
    values: string[] = [],
    { user, passwordFile }: LabDescription["database"]["product"] = this.lab.database.services,
  ): Promise<unknown> {
    const { host, port } = this.lab.database;
    const connection = await mysql.createConnection({ host, port, user, password: readSecret(passwordFile) });
    try {
      const [rows] = await connection.query(statement, values);
      return rows;
    } finally {
      await connection.end();
    }
  }

  control<T>(method: string, below: string, body?: object): Promise<T> {
    const { address, port } = this.lab.arrayControl;
    return fetch(`http://${address}:${port}${below}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    }).then(async (response) => {
      if (!response.ok) throw new Error(`${method} ${below}: ${response.status} ${await response.text()}`);
      return (await response.json()) as T;
    });
  }

  /**
   * Requests to either cluster that may have changed something, after the one with this id; without the driver's own
   * tidying of QoS policies, which comes when it likes.
   */
  async mutations(since = 0): Promise<RecordedRequest[]> {
    const all = await this.control<RecordedRequest[]>("GET", `/requests?mutating=true&since=${since}`);
    return all.filter(({ path }) => path !== "/api/storage/qos/policies");
  }

  async lastMutation(): Promise<number> {
    return (await this.mutations()).at(-1)?.id ?? 0;
  }

  async setReachable(site: Site, reachable: boolean): Promise<void> {
    await this.control("POST", `/clusters/${this.lab.arrays[site].cluster}/reachable`, { reachable, how: "refuse" });
  }

  /** Bytes of every LUN of the pair, by cluster and path: changes with a resync that goes the wrong way. */
  luns(): Promise<unknown> {
    return this.control("GET", "/luns");
  }

  cinderConf(controller: number): string {
    return readFileSync(this.lab.controllers[controller]?.cinderConf ?? "", "utf8");
  }

  /** Everything that a refused run has to leave as it was. */
  async everything(): Promise<object> {
    const [servers, volumes, iprod, idr, mutations] = await Promise.all([
      this.servers(),
      this.volumes(),
      this.volumeService("iprod"),
      this.volumeService("idr"),
      this.lastMutation(),
    ]);
    const row = (service: VolumeService | undefined) =>
      service && [service.host, service.status, service.replication_status, service.active_backend_id];
    return {
      servers: servers.map(({ name, status }) => [name, status]),
      volumes: volumes.map((v) => [v.id, v.status, v["os-vol-host-attr:host"], v.attachments.map((a) => a.device)]),
      services: [row(iprod), row(idr)],
      conf: this.lab.controllers.map((_, at) => this.cinderConf(at)),
      mutations,
    };
  }

  // --------------------------------------------------------------------------------------------------------- processes

  /** Processes of the Pulumi CLI on this lab: itself, language hosts, providers, and what they started. */
  pulumiProcesses(): number[] {
    const backend = this.pulumi.environment()["PULUMI_BACKEND_URL"] ?? "";
    return processes().filter((pid) => environmentOf(pid).includes(`PULUMI_BACKEND_URL=${backend}\0`));
  }

  /** Those of them that run the product's code. */
  providers(): number[] {
    return this.pulumiProcesses().filter((pid) => /dynamic-provider/.test(commandLine(pid)));
  }

  /**
   * `up` that is killed when a line of its output matches: only the CLI, or everything that it started.
   * Resolves when the CLI is gone; false where `up` ended before the line came.
   */
  async killedUp(moment: RegExp, whom: "cli" | "tree", onKill?: (line: string) => void): Promise<boolean> {
    let killed = false;
    say(`── up, ${whom} to be killed at ${moment.source}`);
    const { code, output } = await this.up({
      anyCode: true,
      onLine: (line, pid) => {
        if (killed || !moment.test(line)) return;
        killed = true;
        onKill?.(line);
        say(`killed: ${line.trim()}`);
        if (whom === "tree") this.killTree();
        else kill(pid);
      },
    });
    if (!killed && code !== 0) say(`it failed by itself:\n${output.trimEnd().split("\n").slice(-40).join("\n")}`);
    return killed;
  }

  /** Nothing of the killed run goes on, and its stack can be used again. */
  async afterKill(): Promise<void> {
    await until(
      "no provider is left",
      () => this.providers(),
      (left) => left.length === 0,
      10_000,
    );
    await this.cancel();
  }

  /** The CLI and everything that it started. */
  killTree(): void {
    this.pulumiProcesses().forEach(kill);
  }

  /**
   * `up` that is killed after a time, where it still runs then. `at` is the last step it told of. Without a time: how long
   * it takes.
   */
  async upKilledAfter(o?: {
    readonly afterMs: number;
    readonly whom: "cli" | "tree";
  }): Promise<{ killed: boolean; at: string; tookMs: number }> {
    const began = Date.now();
    let at = "before the first step";
    let killed = false;
    const timer =
      o &&
      setTimeout(() => {
        const all = this.pulumiProcesses();
        const victims = o.whom === "tree" ? all : all.filter((pid) => /^pulumi up /.test(commandLine(pid)));
        killed = victims.length > 0;
        victims.forEach(kill);
        say(`killed ${victims.length} (${o.whom}) ${at}`);
      }, o.afterMs);
    await this.up({
      anyCode: o !== undefined,
      onLine: (line) => {
        at = / running \[\d+\/\d+\] ([a-z-]+\/[a-z-]+): /.exec(line)?.[1] ?? at;
      },
    });
    clearTimeout(timer);
    return { killed, at, tookMs: Date.now() - began };
  }
}

export function say(line: string): void {
  console.log(`      ${new Date().toISOString().slice(11, 19)} ${line}`);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function processes(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(isAlive);
}

/** A zombie has no program any more. */
function isAlive(pid: number): boolean {
  try {
    statSync(`/proc/${pid}`);
    return readlinkSync(`/proc/${pid}/exe`) !== "";
  } catch {
    return false;
  }
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
const environmentOf = (pid: number): string => readProc(pid, "environ");
const commandLine = (pid: number): string => readProc(pid, "cmdline").replaceAll("\0", " ");
