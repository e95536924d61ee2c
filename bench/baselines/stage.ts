/** Where every contender begins and has to end: a lab whose instances hold known bytes, at a site, protected. */
import * as fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { populateLab } from "../../lab/embedded/populate";
import { runGuest } from "../../lab/guest/main";
import { type Flavour, labDown, type LabDescription, type LabTiming, labUp, readLab } from "../../lab/lab";
import { pairOfLab, secretsOfLab } from "../../lab/pair";
import { LabPulumi } from "../../lab/pulumi";
import { connect } from "../../lib/connections";
import { DrError } from "../../lib/errors";
import type { ArrayPort } from "../../lib/switchover/ports";
import { sitePairSchema } from "../../lib/topology/site-pair";
import { type Digests, inspect, otherSite, problemsAt, type Seen, type Site } from "./end-state";

/** Of a cloud in production, where the embedded lab takes the time of a lab. */
export const productionTiming: LabTiming = {
  delays: { api: 40, detach: 2_000, attach: 3_000, stop: 5_000, start: 10_000 },
  array: { requestMs: 40, bytesPerSecond: 100 * 2 ** 20 },
};

/** vdb to vde: the sets of volumes of the runbook. */
export const VOLUMES_PER_INSTANCE = 4;
const devices = ["vdb", "vdc", "vdd", "vde"];
/** New on every volume before each switchover, so that each has the same to transfer. */
const NEW_BYTES = 2 ** 20;

export class Stage {
  private readonly instances = new Set<string>();
  private written = 0;
  private site: Site = "iprod";

  private constructor(
    readonly lab: LabDescription,
    readonly pulumi: LabPulumi,
    private readonly flavour: Flavour,
    private readonly say: (line: string) => void,
  ) {}

  static async open(o: {
    readonly flavour: Flavour;
    /** Of an embedded lab. */
    readonly timing: LabTiming | undefined;
    readonly dir: string;
    readonly say: (line: string) => void;
  }): Promise<Stage> {
    const { flavour, timing, dir, say } = o;
    const python = process.env["CINDER_CHEESECAKE_PYTHON"] ?? "";
    const formerPath = process.env["CHEESECAKE_DATA_PATH"];
    // What an embedded lab adds to the time that is asked for is its own: by files it's less.
    if (flavour === "embedded") process.env["CHEESECAKE_DATA_PATH"] = "files";
    try {
      await labUp({ flavour, dir, python, progress: say, ...(timing === undefined ? {} : { timing }) });
    } finally {
      if (formerPath === undefined) delete process.env["CHEESECAKE_DATA_PATH"];
      else process.env["CHEESECAKE_DATA_PATH"] = formerPath;
    }
    const lab = readLab(dir);
    const pulumi = new LabPulumi(lab, () => undefined);
    const stage = new Stage(lab, pulumi, flavour, say);
    try {
      await pulumi.init({ instances: 1 });
      await pulumi.set(pulumi.recoveryStack, "promotion", "immediate");
      await pulumi.up(pulumi.recoveryStack);
    } catch (error) {
      await stage.close();
      throw error;
    }
    say("the pair is declared");
    return stage;
  }

  async close(): Promise<void> {
    this.pulumi.remove();
    await labDown(this.lab.dir, { keepLogs: false, progress: this.say });
  }

  get at(): Site {
    return this.site;
  }

  /** As many running instances, each with its data volumes, formatted. */
  async growTo(instances: number): Promise<void> {
    this.say(`${instances} instances with ${VOLUMES_PER_INSTANCE} volumes each`);
    if (this.flavour === "embedded") {
      const more = instances - this.instances.size;
      const { dir } = this.lab;
      await populateLab({ dir, instances: more, volumesPerInstance: VOLUMES_PER_INSTANCE, progress: this.say });
    } else {
      await this.pulumi.set(this.pulumi.testLabStack, "lab.instances", String(instances));
      await this.pulumi.set(this.pulumi.testLabStack, "lab.dataVolumeSets", String(VOLUMES_PER_INSTANCE));
      // The OpenStack plugin waits some 10 s for each volume, instance and attachment: side by side.
      await this.pulumi.up(this.pulumi.testLabStack, "--parallel", "64");
    }
    const { servers } = await inspect(this.lab);
    const added = servers.map(({ name }) => name).filter((name) => !this.instances.has(name));
    for (const name of added) this.instances.add(name);
    // Who has a filesystem refuses another.
    await this.guests("mkfs", [], added);
    await this.updateMirrors();
  }

  /** What was added is at the other site, too, as in a pair that has been protected for a while: whoever begins finds it so. */
  private async updateMirrors(): Promise<void> {
    const pair = sitePairSchema.parse(pairOfLab(this.lab));
    const connections = connect(pair, secretsOfLab(this.lab));
    try {
      const array = connections.ports.arrays[otherSite(this.site)];
      if (array === undefined) throw new Error(`The pair has no array at ${otherSite(this.site)}.`);
      for (const mirror of await array.listMirrors(pair.flexVols)) await transfer(array, mirror.uuid);
    } finally {
      await connections.close();
    }
  }

  /** A file and new bytes on every volume; returns all that an end has to be compared with. */
  async write(): Promise<{ before: Seen; digests: Digests }> {
    const stage = `write-${++this.written}`;
    await this.guests("breadcrumb", ["--stage", stage]);
    await this.guests("fill", ["--bytes", String(NEW_BYTES), "--seed", stage]);
    return { before: await inspect(this.lab), digests: await this.digests() };
  }

  /** @throws Error with everything in which this isn't the end that every contender has to reach. */
  async assertMovedTo(to: Site, { before, digests }: { before: Seen; digests: Digests }): Promise<void> {
    const problems = [
      ...problemsAt(this.lab, to, before, await inspect(this.lab)),
      ...differences(digests, await this.digests()),
    ];
    if (problems.length > 0) throw new Error(`This isn't the end state at ${to}:\n  ${problems.join("\n  ")}`);
    // The product looks at all of it in its own way; of a switchover by other hands it takes note here.
    await this.pulumi.set(this.pulumi.recoveryStack, "activeSite", to);
    await this.pulumi.up(this.pulumi.recoveryStack);
    const { status } = await this.pulumi.outputs(this.pulumi.recoveryStack);
    const expected = `active at ${to} (${this.lab.volumeHost}@${to}), protected`;
    if (status !== expected) throw new Error(`The product says "${String(status)}", and not "${expected}".`);
    this.site = to;
  }

  private async digests(): Promise<Digests> {
    const found = await this.guests<{ filesystem: string; fill: string }>("hash", ["--bytes", String(NEW_BYTES)]);
    return new Map(
      found.map(({ instance, device, result }) => [`${instance} ${device}`, `${result.filesystem} ${result.fill}`]),
    );
  }

  private async guests<T>(
    verb: string,
    args: readonly string[],
    instances: Iterable<string> = this.instances,
  ): Promise<{ instance: string; device: string; result: T }[]> {
    const which = [...instances].flatMap((name) => ["--instance", name]);
    const lines: string[] = [];
    const errors: string[] = [];
    const code = await runGuest(
      [verb, "--lab", this.lab.dir, ...which, "--device", devices.join(","), "--json", ...args],
      { out: (line) => lines.push(line), err: (line) => errors.push(line) },
    );
    if (code !== 0) throw new Error(`The guests' ${verb} failed:\n${errors.join("\n").slice(0, 3000)}`);
    return JSON.parse(lines.at(-1) ?? "[]") as { instance: string; device: string; result: T }[];
  }

  /** A folder of the lab, for what a contender needs and leaves. */
  folder(name: string): string {
    const folder = path.join(this.lab.dir, name);
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    return folder;
  }
}

/** One that begins now: what its schedule began before may lack the newest. */
async function transfer(array: ArrayPort, mirrorUuid: string): Promise<void> {
  for (;;) {
    try {
      const uuid = await array.startTransfer(mirrorUuid);
      for (;;) {
        const { state } = await array.getTransfer(mirrorUuid, uuid);
        if (state === "success") return;
        if (state !== "queued" && state !== "transferring") throw new Error(`The transfer ${uuid} ended as ${state}.`);
        await sleep(200);
      }
    } catch (error) {
      if (!(DrError.is(error, "remote") && error.retryable)) throw error;
      await sleep(200);
    }
  }
}

function differences(before: Digests, after: Digests): string[] {
  const lost = [...before].flatMap(([device, digest]) =>
    after.get(device) === digest ? [] : [`${device} holds other bytes than before`],
  );
  return before.size === after.size ? lost : [...lost, `${before.size} devices were there, now ${after.size}`];
}
