import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Facts, JournalEntry } from "./journal";
import type { Plan } from "./plan";
import { volumesOfServer } from "./plan";
import type { ConnectionInfo } from "./ports";
import { passingStatuses } from "./states";

/** What happened, from the journal alone. `report.json` follows this type; no secret is in a journal, so none is here. */
export interface Report {
  readonly version: 1;
  readonly switchoverId: string;
  readonly pair: string;
  readonly kind: Plan["kind"];
  readonly from: string;
  readonly to: string;
  readonly mode: Plan["mode"];
  readonly route: Plan["route"];
  readonly promotion: Plan["promotion"];
  readonly verdict: "completed" | "aborted" | "open" | "failed";
  readonly digest: string;
  readonly startedAt: string;
  readonly endedAt: string;
  readonly durationSeconds: number;
  /** From the first instance's stop (unplanned: from the beginning) until the last one is ACTIVE again. */
  readonly rtoSeconds?: number;
  readonly forecastSeconds: number;
  /** Planned: 0, as the last transfer began after nothing could write any more. Unplanned: age of what was recovered. */
  readonly rpoSeconds?: number;
  /** Newest snapshot that the destination holds, by FlexVol. */
  readonly recoveryPoints: Readonly<Record<string, { readonly snapshot: string; readonly at: string }>>;
  readonly lostVolumes: readonly { readonly id: string; readonly name: string }[];
  readonly lostSnapshotIds: readonly string[];
  readonly steps: readonly {
    readonly id: string;
    readonly sentence: string;
    readonly startedAt?: string;
    readonly durationSeconds?: number;
    readonly items: number;
    readonly alreadySatisfied: number;
    readonly failures: readonly string[];
  }[];
  readonly servers: readonly {
    readonly id: string;
    readonly name: string;
    readonly attachments: readonly {
      readonly volumeId: string;
      readonly volumeName: string;
      readonly device: string;
      readonly before?: ConnectionInfo;
      readonly after?: ConnectionInfo;
      readonly serialAtDestination?: string;
    }[];
  }[];
  readonly database?: { readonly before: unknown; readonly after: unknown; readonly dump?: unknown };
  readonly resumes: number;
  readonly warnings: readonly string[];
  readonly remaining: readonly string[];
}

export function buildReport(entries: readonly JournalEntry[]): Report {
  const begin = entries.find((entry) => entry.type === "begin");
  if (begin?.type !== "begin") throw new RangeError("a journal without a begin entry");
  let plan = begin.plan;
  for (const entry of entries) if (entry.type === "abort" || entry.type === "replan") plan = entry.plan;
  const end = entries.findLast((entry) => entry.type === "end");
  const last = entries.at(-1) ?? begin;
  // What ran beside the item that failed may have come to its end after it.
  const run = entries.slice(entries.findLastIndex((entry) => entry.type === "begin" || entry.type === "resume"));
  const failed = run.some((entry) => entry.type === "failed");
  const steps = plan.steps.map((planned) => stepReport(entries, planned));
  const facts = (step: string): ReadonlyMap<string, Facts> =>
    new Map(entries.flatMap((e) => (e.type === "done" && e.step === step ? [[e.item, e.facts] as const] : [])));

  const cutover = new Map([...facts("cutover/failover-host"), ...facts("cutover/break-mirrors")]);
  const recoveryPoints = Object.assign(
    {},
    ...[...cutover.values()].map((f) => f["recoveryPoints"] ?? {}),
  ) as Report["recoveryPoints"];
  const destination = facts("cutover/verify-destination").get("all");
  const serials = (destination?.["serials"] as Record<string, string> | undefined) ?? {};
  const attached = ["attach/volumes", "attach/renew-roots"].map(facts);
  const connectionsOf = (server: string): Record<string, ConnectionInfo> =>
    Object.assign({}, ...attached.map((step) => step.get(server)?.["connections"] ?? {})) as Record<
      string,
      ConnectionInfo
    >;
  const database = facts("promote/update-database").get("all");
  const dump = facts("promote/dump-database").get("all");

  const stopBegan = boundary(
    entries,
    plan.mode === "planned" ? "quiesce/stop-instances" : "hold/disable-backend",
    "begin",
  );
  const startEnded = boundary(entries, "start/instances", "end");
  const rtoSeconds =
    stopBegan === undefined || startEnded === undefined ? undefined : secondsBetween(stopBegan, startEnded);
  const cutoverAt = boundary(entries, "cutover/verify-destination", "begin");
  const oldest = Object.values(recoveryPoints)
    .map((point) => Date.parse(point.at))
    .sort((a, b) => a - b)[0];
  const rpoSeconds =
    plan.kind !== "switchover" || cutoverAt === undefined
      ? undefined
      : plan.mode === "planned"
        ? 0
        : oldest === undefined || plan.mirrors.some(({ flexVol }) => recoveryPoints[flexVol] === undefined)
          ? undefined
          : Math.max(0, Math.round((Date.parse(cutoverAt) - oldest) / 1000));
  return {
    version: 1,
    switchoverId: begin.switchoverId,
    pair: plan.pair,
    kind: plan.kind,
    from: plan.from,
    to: plan.to,
    mode: plan.mode,
    route: plan.route,
    promotion: plan.promotion,
    verdict: end?.type === "end" ? end.outcome : failed ? "failed" : "open",
    digest: plan.digest,
    startedAt: begin.at,
    endedAt: last.at,
    durationSeconds: secondsBetween(begin.at, last.at),
    ...(rtoSeconds === undefined ? {} : { rtoSeconds }),
    forecastSeconds: plan.steps.reduce((sum, planned) => sum + planned.forecastSeconds, 0),
    ...(rpoSeconds === undefined ? {} : { rpoSeconds }),
    recoveryPoints,
    lostVolumes: (destination?.["lostVolumes"] as Report["lostVolumes"] | undefined) ?? [],
    lostSnapshotIds: (destination?.["lostSnapshotIds"] as string[] | undefined) ?? [],
    steps,
    servers: plan.servers.map((server) => {
      const connections = connectionsOf(server.id);
      return {
        id: server.id,
        name: server.name,
        attachments: volumesOfServer(server).map((attachment) => {
          const after = connections[attachment.volumeId];
          const serial = serials[attachment.volumeId];
          return {
            volumeId: attachment.volumeId,
            volumeName: attachment.volumeName,
            device: attachment.device,
            ...(attachment.connectionBefore === undefined ? {} : { before: attachment.connectionBefore }),
            ...(after === undefined ? {} : { after }),
            ...(serial === undefined ? {} : { serialAtDestination: serial }),
          };
        }),
      };
    }),
    ...(database === undefined
      ? {}
      : {
          database: { before: database["before"], after: database["after"], ...(dump === undefined ? {} : { dump }) },
        }),
    resumes: entries.filter((entry) => entry.type === "resume").length,
    warnings: plan.warnings,
    remaining: [...remainingOf(plan, end !== undefined), ...halfWayOf(database), ...keptOf(plan, entries)],
  };
}

function remainingOf(plan: Plan, ended: boolean): string[] {
  if (ended && plan.kind === "abort" && plan.diverged !== undefined)
    return [`"${plan.to}" isn't protected: set reprotect and run up when "${plan.from}" is back.`];
  if (!ended) return ["The switchover is open: run again, it goes on where it stopped."];
  if (plan.kind === "switchover" && plan.promotion === "deferred" && plan.route === "failover-host")
    return [`"${plan.to}" is failed over to, not promoted, unprotected: set promotion to "immediate" and run up.`];
  const without =
    plan.steps.some(({ id }) => id === "promote/update-database") &&
    !plan.steps.some(({ id }) => id === "promote/reverse-mirrors");
  if (plan.mode === "planned" && without)
    return [
      `"${plan.to}" isn't protected: when "${plan.from}" is back, take "unplanned" out, set reprotect and run up.`,
    ];
  if (plan.mode === "unplanned" && (plan.kind === "switchover" || plan.kind === "promotion"))
    return [
      `"${plan.from}" isn't protected yet and holds the only copy of what was lost: when it's back, set reprotect and run up.`,
      `Remove "unplanned" from the configuration.`,
    ];
  return [];
}

/** Volumes that an operation was under way on when the site was lost. */
function halfWayOf(database: Facts | undefined): string[] {
  const inFlight = (database?.["inFlight"] as { readonly id: string; readonly status: string }[] | undefined) ?? [];
  return inFlight.map(({ id, status }) => {
    const [state = "", migration] = status.split(", migration ");
    const resets = [
      ...(migration === undefined ? [] : [`its migration (cinder reset-state --reset-migration-status ${id})`]),
      ...(migration === undefined || passingStatuses.has(state) ? ["its state (openstack volume set --state)"] : []),
    ];
    return `Volume ${id} is ${status}: reset ${resets.join(" and ")}.`;
  });
}

/** What a reprotect left at the other site, by the journal. */
function keptOf(plan: Plan, entries: readonly JournalEntry[]): string[] {
  const deleted = entries.some(
    (e) => e.type === "step" && e.event === "end" && e.step === "reprotect/delete-set-aside",
  );
  const names = entries.flatMap((entry) => {
    if (entry.type !== "done") return [];
    if (entry.step === "reprotect/keep-diverged") return [entry.facts["clone"]];
    if (entry.step === "reprotect/begin-baselines" && !deleted) return [entry.facts["setAside"]];
    return [];
  });
  const kept = [...new Set(names.filter((name) => typeof name === "string"))].sort().join(", ");
  return kept === "" ? [] : [`"${plan.from}" keeps what diverged in ${kept}; delete it when it's no longer needed.`];
}

function stepReport(entries: readonly JournalEntry[], planned: Plan["steps"][number]): Report["steps"][number] {
  const startedAt = boundary(entries, planned.id, "begin");
  const endedAt = boundary(entries, planned.id, "end");
  const done = entries.filter((entry) => entry.type === "done" && entry.step === planned.id);
  return {
    id: planned.id,
    sentence: planned.sentence,
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(startedAt === undefined || endedAt === undefined
      ? {}
      : { durationSeconds: secondsBetween(startedAt, endedAt) }),
    items: new Set(done.map((entry) => (entry.type === "done" ? entry.item : ""))).size,
    alreadySatisfied: done.filter((entry) => entry.type === "done" && entry.already).length,
    failures: entries.flatMap((entry) => (entry.type === "failed" && entry.step === planned.id ? [entry.error] : [])),
  };
}

/** First begin, last end: a resumed step is one. */
function boundary(entries: readonly JournalEntry[], step: string, event: "begin" | "end"): string | undefined {
  const matches = (entry: JournalEntry): boolean =>
    entry.type === "step" && entry.step === step && entry.event === event;
  return (event === "begin" ? entries.find(matches) : entries.findLast(matches))?.at;
}

function secondsBetween(from: string, to: string): number {
  return Math.round((Date.parse(to) - Date.parse(from)) / 100) / 10;
}

/** The report for people, in Markdown. */
export function reportAsMarkdown(report: Report): string {
  const rows = (lines: readonly (readonly (string | number)[])[]): string =>
    lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  const where = (c: ConnectionInfo | undefined): string =>
    c === undefined ? "–" : `${c.portal ?? ""} ${c.iqn ?? ""} LUN ${c.lun ?? ""}`;
  const parts = [
    `# ${report.kind} ${report.from} → ${report.to}: ${report.verdict}`,
    rows([
      ["What", "Value"],
      ["---", "---"],
      ["Mode, route", `${report.mode}, ${report.route}`],
      ["Started, ended", `${report.startedAt}, ${report.endedAt}`],
      ["Duration (forecast)", `${report.durationSeconds} s (${report.forecastSeconds} s)`],
      ["RTO", report.rtoSeconds === undefined ? "–" : `${report.rtoSeconds} s`],
      ["RPO", report.rpoSeconds === undefined ? "–" : `${report.rpoSeconds} s`],
      ["Resumed", `${report.resumes} times`],
      ["Plan", report.digest],
    ]),
    ...(report.lostVolumes.length + report.lostSnapshotIds.length > 0
      ? [
          `## Lost\n\n${[
            ...report.lostVolumes.map((v) => `- volume "${v.name}" (${v.id})`),
            ...report.lostSnapshotIds.map((id) => `- snapshot ${id}`),
          ].join("\n")}`,
        ]
      : []),
    ...(report.remaining.length > 0
      ? [`## What is left to do\n\n${report.remaining.map((line) => `- ${line}`).join("\n")}`]
      : []),
    ...(report.warnings.length > 0 ? [`## Warnings\n\n${report.warnings.map((line) => `- ${line}`).join("\n")}`] : []),
    `## Steps\n\n${rows([
      ["Step", "Items", "Seconds", "Failures"],
      ["---", "---", "---", "---"],
      ...report.steps.map((s) => [s.id, s.items, s.durationSeconds ?? "–", s.failures.length]),
    ])}`,
    ...(Object.keys(report.recoveryPoints).length > 0
      ? [
          `## Recovery points at ${report.to}\n\n${rows([
            ["FlexVol", "Snapshot", "Taken"],
            ["---", "---", "---"],
            ...Object.entries(report.recoveryPoints).map(([flexVol, point]) => [flexVol, point.snapshot, point.at]),
          ])}`,
        ]
      : []),
    ...(report.servers.length > 0
      ? [
          `## Attachments\n\n${rows([
            ["Instance", "Device", "Volume", "Before", "After"],
            ["---", "---", "---", "---", "---"],
            ...report.servers.flatMap((s) =>
              s.attachments.map((a) => [s.name, a.device, a.volumeName, where(a.before), where(a.after)]),
            ),
          ])}`,
        ]
      : []),
    ...(report.database === undefined
      ? []
      : [
          `## Database\n\nRows that named the host before: \`${JSON.stringify(report.database.before)}\`; after: \`${JSON.stringify(report.database.after)}\`.`,
        ]),
  ];
  return `${parts.join("\n\n")}\n`;
}

/** Writes `<directory>/<switchover id>/report.{json,md}`; a repeat replaces them. Resolves to the folder. */
export async function writeReport(directory: string, report: Report): Promise<string> {
  const folder = path.join(directory, report.switchoverId);
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(path.join(folder, "report.md"), reportAsMarkdown(report));
  return folder;
}
