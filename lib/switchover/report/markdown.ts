import { list, prose, table } from "../markdown";
import { count } from "../plan";
import type { Picture, Report } from "./schema";
import {
  approvalsSaid,
  comparison,
  duration,
  mirrorGroups,
  moment,
  protection,
  stepName,
  titleOf,
  volumesOfInstances,
  where,
} from "./words";

const section = (title: string, text: string, there = true): string[] => (there ? [`## ${title}\n\n${text}`] : []);

/** Verdict first. */
export function reportAsMarkdown(report: Report): string {
  const { lostVolumes, lostSnapshotIds, recoveryPoints, database, remaining, warnings, volumes } = report;
  const lost = [
    ...lostVolumes.map((volume) => `volume "${volume.name}" (${volume.id})`),
    ...lostSnapshotIds.map((id) => `snapshot ${id}`),
  ];
  const { attached } = volumesOfInstances(report);
  const parts = [
    `# ${titleOf(report)}: ${report.verdict}`,
    `**${prose(report.summary)}**`,
    table(
      ["", "Measured", "Forecast"],
      [
        ["RTO", duration(report.rtoSeconds), comparison(report.rtoSeconds, report.rtoForecastSeconds)],
        ["RPO", duration(report.rpoSeconds), comparison(report.rpoSeconds, report.rpoForecastSeconds)],
        ["Duration", duration(report.durationSeconds), comparison(report.durationSeconds, report.forecastSeconds)],
        ["Moved", `${count(report.servers.length, "instance")}, ${count(volumes.length, "volume")} (${attached} attached)`, ""], // prettier-ignore
      ],
    ),
    ...section("Lost", list(lost), lost.length > 0),
    ...section("What is left to do", remaining.length > 0 ? list(remaining) : "Nothing."),
    ...section("Warnings", list(warnings), warnings.length > 0),
    ...section("Sites", sites(report)),
    ...section(
      "Steps",
      table(
        ["Step", "Begun", "Took", "Forecast", "Items", "Failures"],
        report.steps.map((step) => [
          stepName(step),
          step.startedAt === undefined ? "–" : moment(step.startedAt),
          duration(step.durationSeconds),
          duration(step.forecastSeconds),
          step.items,
          step.failures.join("; ") || "–",
        ]),
      ),
    ),
    ...section(
      "Hooks",
      table(
        ["Hook", "When", "Took", "Outcome"],
        report.hooks.map(({ name, step, durationSeconds, passed, said = "" }) => [
          name,
          step.replace("hook/", ""),
          duration(durationSeconds),
          passed === undefined ? "not finished" : `${passed ? "✓" : "✗"} ${said}`,
        ]),
      ),
      report.hooks.length > 0,
    ),
    ...section(
      `Recovery points at ${report.to}`,
      table(
        ["FlexVol", "Snapshot", "Taken"],
        Object.entries(recoveryPoints).map(([flexVol, point]) => [flexVol, point.snapshot, point.at]),
      ),
      Object.keys(recoveryPoints).length > 0,
    ),
    ...section("Volumes", volumeTable(report), volumes.length > 0),
    ...(database === undefined
      ? []
      : section(
          "Database",
          table(
            ["Rows", `Before, of ${report.from}`, `After, of ${report.to}`],
            Object.keys(database.before).map((name) => [name, database.before[name] ?? 0, database.after[name] ?? 0]),
          ),
        )),
    ...section(
      "The run",
      table(
        ["What", "Value"],
        [
          ["Switchover", report.switchoverId],
          ["Pair", report.pair],
          ["Mode, route, promotion", `${report.mode}, ${report.route}, ${report.promotion}`],
          ["Started, ended", `${moment(report.startedAt)}, ${moment(report.endedAt)}`],
          ["Resumed", count(report.resumes, "time")],
          ...(report.approvals.length > 0 ? [["Approved", approvalsSaid(report)]] : []),
          ["Plan", report.digest],
        ],
      ),
    ),
  ];
  return `${parts.join("\n\n")}\n`;
}

function sites(report: Report): string {
  const said = (picture: Picture): string[] => [
    picture.servedBy ?? "–",
    mirrorGroups(picture)
      .map((group) => `${group.said} ${group.source} → ${group.destination}${group.lag === "" ? "" : `, ${group.lag}`}`)
      .join("; ") || "none",
    [
      ...Object.entries(picture.attachments).map(([site, attachments]) => `${attachments} at ${site}`),
      ...(picture.detached > 0 ? [`${picture.detached} detached`] : []),
    ].join(", ") || "none",
    protection(picture),
  ];
  const [before, after] = [said(report.before), said(report.after)];
  const names = ["Production", "Mirrors", "Attachments", "Protected"];
  return `${table(
    ["", "Before", "After"],
    names.map((name, row) => [name, before[row] ?? "", after[row] ?? ""]),
  )}\n\n${table(
    ["Site", "Backend", "SVM", "Target"],
    Object.entries(report.sites).map(([name, site]) => [
      name,
      site.backend,
      site.svm,
      site.iqn === undefined ? "–" : `${site.iqn} at ${site.portals?.join(", ") ?? ""}`,
    ]),
  )}`;
}

function volumeTable(report: Report): string {
  const byId = new Map(report.volumes.map((volume) => [volume.id, volume]));
  const { unattached } = volumesOfInstances(report);
  const { from, to } = report.begunAs;
  const held = (volume: Report["volumes"][number] | undefined): string[] => {
    const luns = volume?.luns ?? {};
    return [
      [...new Set(Object.values(luns).map((lun) => lun.lunPath))].join(" ") || "–",
      ...[from, to].map((site) => luns[site]?.serial ?? "–"),
    ];
  };
  const name = (volumeName: string, id: string): string => `${volumeName} (${id})`;
  return table(
    [
      "Instance",
      "Device",
      "Volume",
      "Target before",
      "Target after",
      "LUN path",
      `Serial at ${from}`,
      `Serial at ${to}`,
    ],
    [
      ...report.servers.flatMap((server) =>
        server.attachments.map((a) => [
          server.name,
          a.device,
          name(a.volumeName, a.volumeId),
          where(a.before),
          where(a.after),
          ...held(byId.get(a.volumeId)),
        ]),
      ),
      ...unattached.map((volume) => ["–", "–", name(volume.name, volume.id), "–", "–", ...held(volume)]),
    ],
  );
}
