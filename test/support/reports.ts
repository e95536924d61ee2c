import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Intent } from "../../lib/switchover";
import type { ExecutionEvent } from "../../lib/switchover/execute";
import { Journal } from "../../lib/switchover/journal";
import { buildReport, type Report } from "../../lib/switchover/report";
import type { SitePair } from "../../lib/topology/site-pair";
import { at, operator } from "../unit/switchover/support";
import { intentTo, type World } from "../unit/switchover/world";

/** The report of a switchover in a world in memory; of one that ends by an error or is killed, what it left. */
export async function reportFrom(
  world: World,
  intent: Intent = intentTo("idr"),
  onEvent?: (event: ExecutionEvent) => void,
  on?: SitePair,
): Promise<Report> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "cheesecake-report-"));
  try {
    const dr = operator(world, directory, "test", on);
    await dr.up(intent, at("iprod"), onEvent).catch((error: unknown) => {
      if (world.journals.size === 0) throw error;
    });
    const files = await Journal.list(directory);
    const entries = await Journal.read(files.at(-1) ?? "");
    // A process that is killed says no word of it.
    return buildReport(onEvent === undefined ? entries : entries.filter(({ type }) => type !== "failed"));
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** The same journey with so many more instances, in waves of 64: thousands take minutes in a world in memory. */
export function widened(report: Report, instances: number): Report {
  const byId = new Map(report.volumes.map((volume) => [volume.id, volume]));
  const later = (at: string | undefined, seconds: number): string =>
    new Date(Date.parse(at ?? report.startedAt) + seconds * 1000).toISOString();
  const servers: Report["servers"][number][] = [];
  const volumes: Report["volumes"][number][] = [];
  for (let index = 0; index < instances; index++) {
    const original = report.servers[index % report.servers.length];
    if (original === undefined) throw new RangeError("a report without instances");
    const name = `guest-${String(index + 1).padStart(4, "0")}`;
    const seconds = Math.floor(index / 64) * 6 + (index % 7) / 4;
    const idOf = (id: string): string => `${name}-${id}`;
    servers.push({
      ...original,
      id: idOf(original.id),
      name,
      timeline: original.timeline.map((span) => ({
        step: span.step,
        ...(span.startedAt === undefined ? {} : { startedAt: later(span.startedAt, seconds) }),
        ...(span.endedAt === undefined ? {} : { endedAt: later(span.endedAt, seconds + (index % 5)) }),
      })),
      attachments: original.attachments.map((a) => ({
        ...a,
        volumeId: idOf(a.volumeId),
        volumeName: idOf(a.volumeName),
      })),
    });
    for (const { volumeId } of original.attachments) {
      const volume = byId.get(volumeId);
      if (volume !== undefined) volumes.push({ ...volume, id: idOf(volume.id), name: idOf(volume.name) });
    }
  }
  return { ...report, servers, volumes };
}
