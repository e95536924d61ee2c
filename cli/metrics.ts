import { Gauge, Registry } from "prom-client";
import type { Overview } from "../lib/switchover";

/**
 * An overview as Prometheus has it. Labels are the pair, its sites, its FlexVols and a few words: never a volume, an
 * instance or a text that a system said.
 */

const words = ["in place", "elsewhere", "unfinished", "out of place", "contradiction", "unknown", "alarm"] as const;

/** By name without its prefix. */
const gauges = {
  up: { labels: [], help: "1 if the last look is recent and tells where production runs" },
  look_timestamp_seconds: { labels: [], help: "When the last look that succeeded began" },
  look_duration_seconds: { labels: [], help: "How long it took" },
  site_up: { labels: ["site"], help: "1 if the site's array answers" },
  site_active: { labels: ["site"], help: "1 if production runs at the site" },
  promoted: { labels: [], help: "1 if the active site's backend is named by cinder.conf and the database" },
  protected: { labels: [], help: "1 if every FlexVol has a healthy mirror to the other site, and Cinder knows of it" },
  verdict: { labels: ["word"], help: "1 for the word that cheesecake status says" },
  mismatches: { labels: [], help: "Things that don't fit" },
  unseen: { labels: [], help: "Things that couldn't be compared, as they don't answer" },
  both_sites_writable: { labels: [], help: "1 if a FlexVol can be written to and is mapped to hosts at both sites" },
  mirror_lag_seconds: { labels: ["flexvol", "source", "destination"], help: "Age of what the destination holds" },
  mirror_healthy: { labels: ["flexvol", "source", "destination"], help: "1 if the mirror is there and healthy" },
  schedule_seconds: { labels: [], help: "Time between two transfers, where it's known" },
  target_lag_seconds: { labels: [], help: "targetLagSeconds" },
  open_switchover: { labels: [], help: "1 if a switchover was begun and isn't finished" },
  awaits_approval: { labels: ["group"], help: "1 if a switchover waits for the approval of this priority group" },
  run: { labels: [], help: "1 if a run holds the lease" },
  last_switchover_timestamp_seconds: { labels: [], help: "When the last switchover ended" },
  last_switchover_rto_seconds: { labels: [], help: "From its first stop to its last start" },
  readiness_timestamp_seconds: { labels: [], help: "When the last look at readiness began" },
  ready: { labels: ["to", "mode"], help: "1 if nothing stands against a switchover" },
  reasons_against: { labels: ["to", "mode"], help: "How many things stand against it" },
} as const;

export type MetricName = keyof typeof gauges;
export const prefix = "cheesecake_";
export const metricNames = Object.keys(gauges).map((name) => prefix + name);
export const labelNames: readonly string[] = ["pair", ...Object.values(gauges).flatMap(({ labels }) => labels)];

export interface Snapshot {
  readonly pair: string;
  /** Absent where the last look is too old, or failed. */
  readonly seen?: { readonly overview: Overview; readonly beganMs: number; readonly tookSeconds: number };
  readonly readiness?: { readonly of: NonNullable<Overview["readiness"]>; readonly beganMs: number };
}

/** In Prometheus's text format. */
export async function exposition(snapshot: Snapshot): Promise<{ readonly text: string; readonly type: string }> {
  const registry = new Registry();
  registry.setDefaultLabels({ pair: snapshot.pair });
  const made = Object.fromEntries(
    Object.entries(gauges).map(([name, { help, labels }]) => [
      name,
      new Gauge({ name: prefix + name, help, labelNames: [...labels], registers: [registry] }),
    ]),
  ) as Record<MetricName, Gauge>;
  // Without a label a gauge is 0 from its beginning: what isn't known isn't told.
  for (const [name, { labels }] of Object.entries(gauges)) if (labels.length === 0) made[name as MetricName].remove();
  fill(snapshot, (name, value, labels = {}) => {
    if (value !== undefined) made[name].set(labels, Number(value));
  });
  return { text: await registry.metrics(), type: registry.contentType };
}

type Set = (name: MetricName, value: number | boolean | undefined, labels?: Record<string, string>) => void;

function fill({ seen, readiness }: Snapshot, set: Set): void {
  const up = seen !== undefined && seen.overview.verdict.site !== undefined;
  set("up", up);
  if (seen === undefined) return;
  const { overview, beganMs, tookSeconds } = seen;
  const { verdict, judgement, last } = overview;
  set("look_timestamp_seconds", beganMs / 1000);
  set("look_duration_seconds", tookSeconds);
  for (const { name, answers, active } of overview.sites) {
    set("site_up", answers, { site: name });
    set("site_active", active, { site: name });
  }
  for (const word of words) set("verdict", judgement.word === word, { word });
  set("mismatches", verdict.mismatches.length);
  set("unseen", overview.unseen.length);
  const alarm = verdict.mismatches.some(({ kind }) => kind === "alarm");
  // What a silent array maps isn't known.
  if (alarm || overview.sites.every(({ answers }) => answers)) set("both_sites_writable", alarm);
  set("target_lag_seconds", overview.mirrors[0]?.targetLagSeconds);
  set("schedule_seconds", overview.mirrors[0]?.scheduleSeconds);
  for (const { flexVol, from, to, healthy, lagSeconds } of overview.mirrors) {
    const labels = { flexvol: flexVol, source: from, destination: to };
    set("mirror_lag_seconds", lagSeconds, labels);
    set("mirror_healthy", healthy, labels);
  }
  if (overview.openUnknown === undefined) set("open_switchover", overview.open !== undefined);
  if (overview.open?.awaitsApprovalOf !== undefined)
    set("awaits_approval", true, { group: overview.open.awaitsApprovalOf });
  set("run", overview.run !== undefined);
  // An open one hasn't ended: its time is that of its last entry.
  const hasEnded = last?.verdict === "completed" || last?.verdict === "aborted";
  if (hasEnded) set("last_switchover_timestamp_seconds", Date.parse(last.endedAt) / 1000);
  set("last_switchover_rto_seconds", last?.rtoSeconds);
  if (readiness !== undefined) {
    set("readiness_timestamp_seconds", readiness.beganMs / 1000);
    for (const { to, mode, ready, reasons } of readiness.of) {
      set("ready", ready, { to, mode });
      set("reasons_against", reasons.length, { to, mode });
    }
  }
  if (verdict.site === undefined) return;
  set("promoted", verdict.promoted);
  set("protected", verdict.protected);
}
