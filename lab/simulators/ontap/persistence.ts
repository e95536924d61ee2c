/**
 * The clusters' state on disk, beside the LUN files, so that a simulator that's started again with the same configuration goes on
 * where it was. Written at most every half second (tens of thousands of LUNs: every few seconds) and at the end: a kill loses what was changed since the last write, and
 * the next start drops records without files and files without records.
 */
import { createHash } from "node:crypto";
import { promises as fs } from "node:fs";
import * as path from "node:path";
import writeFileAtomic from "write-file-atomic";
import { forEachFile } from "./bytes";
import type { SimulatorConfig } from "./config";
import { LunMaps } from "./lun-maps";
import { Luns } from "./luns";
import { Mutex } from "./mutex";
import { currentTransfer } from "./snapmirror/engine";
import { lunFile, snapshotFile, volumeDir, type Cluster } from "./state";
import type { World } from "./world";

const fileOf = (stateDir: string): string => path.join(stateDir, "state.json");

interface Saved {
  configuration: string;
  clockOffsetMs: number;
  clusters: Partial<Cluster>[];
}

/** What the arrays are made of: another one means other arrays. Passwords and ports don't count. */
const configurationOf = (config: SimulatorConfig): string =>
  createHash("sha256")
    .update(
      JSON.stringify(
        config.clusters.map(({ name, address, version, interclusterAddresses, aggregates, svms }) => ({
          name,
          address,
          version,
          interclusterAddresses,
          aggregates,
          svms,
        })),
      ),
    )
    .digest("hex");

const left = new Set(["lock", "abort", "done", "config", "jobs", "dir", "reachable"]);
const toJson = (key: string, value: unknown): unknown =>
  left.has(key) ? undefined : value instanceof Map ? { $map: [...(value as Map<unknown, unknown>)] } : value;
const fromJson = (_key: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && "$map" in value ? new Map(value.$map as [unknown, unknown][]) : value;

/** The saved state, or undefined when there is none. Throws when it belongs to another configuration. */
export async function load(config: SimulatorConfig, stateDir: string): Promise<Saved | undefined> {
  const text = await fs.readFile(fileOf(stateDir), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const saved = JSON.parse(text, fromJson) as Saved;
  if (saved.configuration !== configurationOf(config)) {
    throw new Error(
      `${stateDir} holds the state of differently configured clusters; remove it to start anew, or start with its configuration.`,
    );
  }
  return saved;
}

/** Puts the saved state into fresh clusters. Transfers that ran are failed ones now. */
export async function restore(saved: Saved, world: World): Promise<void> {
  world.clock.advance(saved.clockOffsetMs / 1000);
  for (const [i, cluster] of world.clusters.entries()) {
    Object.assign(cluster, saved.clusters[i]);
    cluster.lunMaps = new LunMaps(cluster.lunMaps);
    for (const r of cluster.relationships.values()) {
      for (const t of r.transfers) {
        t.abort = new AbortController();
        t.done = Promise.resolve();
        if (t.state !== "transferring") continue;
        t.state = "failed";
        t.endMs = world.clock.now();
        t.error = { code: 6620046, message: "Transfer aborted" };
        r.unhealthy = [{ code: "6620046", message: "Transfer aborted" }];
      }
    }
    for (const volume of cluster.volumes.values()) {
      volume.lock = new Mutex();
      volume.luns = new Luns(volume.luns);
      await forEachFile(volume.luns.values(), async (lun) => {
        const stat = await fs.stat(lunFile(cluster, volume, lun.fileId)).catch(() => undefined);
        if (stat) lun.sizeBytes = stat.size;
        else {
          volume.luns.delete(lun.fileId);
          cluster.lunMaps.deleteOfLun({ volumeUuid: volume.uuid, fileId: lun.fileId });
        }
      });
      for (const name of await fs.readdir(volumeDir(cluster, volume)).catch(() => [])) {
        if (name.endsWith(".img") && !volume.luns.has(name.slice(0, -4)))
          await fs.rm(path.join(volumeDir(cluster, volume), name));
      }
      const whole = await Promise.all(
        volume.snapshots.map((s) =>
          Promise.all(s.files.map((f) => fs.access(snapshotFile(cluster, volume, s, f.fileId)))).then(
            () => true,
            () => false,
          ),
        ),
      );
      volume.snapshots = volume.snapshots.filter((_, n) => whole[n]);
    }
  }
}

/** Saves while something changes; the returned function saves a last time and ends it. `changes` counts mutating requests. */
export function keepSaved(
  config: SimulatorConfig,
  stateDir: string,
  world: World,
  changes: () => number,
): () => Promise<void> {
  let saved = -1;
  let busy = false;
  let writing: Promise<void> = Promise.resolve();
  let notBefore = 0;
  const save = (): Promise<void> => {
    const began = performance.now();
    const state: Saved = {
      configuration: configurationOf(config),
      clockOffsetMs: world.clock.offset(),
      clusters: world.clusters,
    };
    const text = JSON.stringify(state, toJson);
    // Everything is written each time: a large state is so seldom enough to cost a tenth of the time at most.
    notBefore = performance.now() + 9 * (performance.now() - began);
    return (writing = writing
      .catch(() => undefined)
      .then(() => writeFileAtomic(fileOf(stateDir), text, { mode: 0o600 })));
  };
  const timer = setInterval(() => {
    const count = changes();
    const moving = world.clusters.some(
      (c) =>
        [...c.jobs.values()].some((j) => j.endMs === undefined) ||
        [...c.relationships.values()].some((r) => currentTransfer(r)),
    );
    if ((count === saved && !moving && !busy) || performance.now() < notBefore) return;
    saved = count;
    busy = moving; // once more after the last job or transfer has ended
    save().catch((cause: unknown) => console.error("ONTAP simulator: its state can't be saved:", cause));
  }, 500);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await save();
  };
}
