import { z } from "zod";
import { phases } from "../intent";

/**
 * `report.json`, by its version: what reads it may rely on. A field may be added to a version; whatever else changes makes
 * a new one. docs/report.schema.json is made of this.
 */
export const reportVersion = 2;

const seconds = z.number().nonnegative();
const at = z.iso.datetime();
const site = z.string();
const kind = z.enum(["activation", "reload", "switchover", "promotion", "reprotect", "abort"]);

const connection = z.strictObject({
  type: z.string(),
  iqn: z.string().exactOptional(),
  portal: z.string().exactOptional(),
  portals: z.array(z.string()).exactOptional(),
  lun: z.number().exactOptional(),
});

/** What a volume is at one site: absent where that site couldn't be asked, or doesn't hold it. */
const held = z.strictObject({ lunPath: z.string(), serial: z.string() });

const mirror = z.strictObject({
  flexVol: z.string(),
  source: site,
  destination: site,
  state: z.string(),
  lagSeconds: seconds.exactOptional(),
});

const picture = z.strictObject({
  /** Absent before a first activation, and between the beginning and the end of a cutover. */
  servedBy: site.exactOptional(),
  mirrors: z.array(mirror),
  /** By site, how many attachments of the pair's volumes lead there. */
  attachments: z.record(site, z.number()),
  /** Of the plan's attachments: lead nowhere. */
  detached: z.number(),
  instancesStopped: z.number(),
  cinderStopped: z.boolean(),
  /** Absent where the journal doesn't tell: an activation and a reload don't look at mirrors. */
  protected: z.boolean().exactOptional(),
});

const span = z.strictObject({ startedAt: at.exactOptional(), endedAt: at.exactOptional() });

/** Of `report.json`. */
export const reportSchema = z.strictObject({
  version: z.literal(reportVersion),
  switchoverId: z.string(),
  pair: z.string(),
  kind,
  from: site,
  to: site,
  /** As it was begun: an abort counts as one from then on, and mostly goes the other way. */
  begunAs: z.strictObject({ kind, from: site, to: site }),
  mode: z.enum(["planned", "unplanned"]),
  route: z.enum(["failover-host", "direct"]),
  promotion: z.enum(["immediate", "deferred"]),
  /** `open`: it was stopped, or goes on. `failed`: open as well, by an error. */
  verdict: z.enum(["completed", "aborted", "open", "failed"]),
  /** The verdict in one sentence. */
  summary: z.string(),
  digest: z.string(),
  startedAt: at,
  /** Of its last entry where it's open. */
  endedAt: at,
  durationSeconds: seconds,
  forecastSeconds: seconds,
  /** From the first instance's stop (unplanned: from the beginning) until the last one is ACTIVE again. */
  rtoSeconds: seconds.exactOptional(),
  rtoForecastSeconds: seconds.exactOptional(),
  /** Planned: 0, as the last transfer began after nothing could write any more. Unplanned: age of what was recovered. */
  rpoSeconds: seconds.exactOptional(),
  /** Unplanned: the largest lag as the plan was made. */
  rpoForecastSeconds: seconds.exactOptional(),
  sites: z.record(
    site,
    z.strictObject({
      backend: z.string(),
      svm: z.string(),
      iqn: z.string().exactOptional(),
      portals: z.array(z.string()).exactOptional(),
    }),
  ),
  before: picture,
  /** As the journal's last entry left it. */
  after: picture,
  /** Newest snapshot that the destination held at cutover, by FlexVol. */
  recoveryPoints: z.record(z.string(), z.strictObject({ snapshot: z.string(), at: z.string() })),
  lostVolumes: z.array(z.strictObject({ id: z.string(), name: z.string() })),
  lostSnapshotIds: z.array(z.string()),
  /** In the plan's order; those of a plan that was given up first, as far as they were begun. */
  steps: z.array(
    span.extend({
      id: z.string(),
      /** Of a step that is done for one priority group after another: it stands here once for each. */
      group: z.string().exactOptional(),
      phase: z.enum(phases),
      sentence: z.string(),
      durationSeconds: seconds.exactOptional(),
      forecastSeconds: seconds,
      items: z.number(),
      alreadySatisfied: z.number(),
      failures: z.array(z.string()),
    }),
  ),
  /** Each that was begun. */
  hooks: z.array(
    span.extend({
      step: z.string(),
      name: z.string(),
      /** Absent where nothing is known of its outcome. */
      passed: z.boolean().exactOptional(),
      /** How it ended. */
      said: z.string().exactOptional(),
      durationSeconds: seconds.exactOptional(),
      /** The last of its output, or of its answer. */
      output: z.string().exactOptional(),
    }),
  ),
  /** Of one that is open: its last run was stopped on request, at this step. */
  stopped: z.strictObject({ at, by: z.string(), step: z.string() }).exactOptional(),
  /** Of priority groups. */
  approvals: z.array(z.strictObject({ group: z.string(), by: z.string(), at })),
  /** No run was at it. */
  pauses: z.array(z.strictObject({ from: at, to: at })),
  resumes: z.number(),
  servers: z.array(
    z.strictObject({
      id: z.string(),
      name: z.string(),
      /** It ran before, and was to be started again. */
      running: z.boolean(),
      /** From the request to stop it until it was ACTIVE again. */
      downSeconds: seconds.exactOptional(),
      timeline: z.array(span.extend({ step: z.string() })),
      /** In device order. */
      attachments: z.array(
        z.strictObject({
          volumeId: z.string(),
          volumeName: z.string(),
          device: z.string(),
          before: connection.exactOptional(),
          after: connection.exactOptional(),
        }),
      ),
    }),
  ),
  /** Each of the plan's, attached or not. */
  volumes: z.array(
    z.strictObject({
      id: z.string(),
      name: z.string(),
      flexVol: z.string(),
      sizeGiB: z.number(),
      snapshots: z.number(),
      /** By site. */
      luns: z.record(site, held),
    }),
  ),
  database: z
    .strictObject({
      /** By table: rows that named the backend host of the site that was left, then those that name the new one's. */
      before: z.record(z.string(), z.number()),
      after: z.record(z.string(), z.number()),
      dump: z
        .strictObject({
          file: z.string(),
          bytes: z.number(),
          sha256: z.string(),
          tables: z.number(),
          rows: z.record(z.string(), z.number()),
        })
        .exactOptional(),
    })
    .exactOptional(),
  warnings: z.array(z.string()),
  /** What is left to do; of one that is open, how to go on. */
  remaining: z.array(z.string()),
});

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** What happened, from the journal alone. */
export type Report = DeepReadonly<z.infer<typeof reportSchema>>;
export type ReportedStep = Report["steps"][number];
export type ReportedServer = Report["servers"][number];
export type Picture = Report["before"];
