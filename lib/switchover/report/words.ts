import type { ConnectionInfo } from "../ports";
import { durationOf } from "../duration";
import { count } from "../plan";
import type { Picture, Report } from "./schema";

/** What both readable forms of a report say alike. */

export const duration = (seconds: number | undefined): string => (seconds === undefined ? "–" : durationOf(seconds));

/** With the priority group, where it's a group's part of a step. */
export const stepName = ({ id, group }: Pick<Report["steps"][number], "id" | "group">): string =>
  group === undefined ? id : `${id} (${group})`;

export const approvalsSaid = ({ approvals }: Report): string =>
  approvals.map(({ group, by, at }) => `${group} by ${by} at ${moment(at)}`).join("; ");

/** `2026-01-01 00:00:00 UTC` */
export const moment = (at: string): string => `${at.slice(0, 10)} ${at.slice(11, 19)} UTC`;

export const titleOf = ({ kind, from, to }: Report): string =>
  kind === "switchover" || kind === "abort" ? `${kind} ${from} → ${to}` : `${kind} of ${to}`;

/** Against the forecast, in words. */
export function comparison(measured: number | undefined, forecast: number | undefined): string {
  if (forecast === undefined) return measured === undefined ? "not measured" : "no forecast";
  const said = `forecast ${duration(forecast)}`;
  if (measured === undefined) return `not measured; ${said}`;
  if (measured <= forecast) return `${said}: kept`;
  return `${said}: ${duration(measured - forecast)} over`;
}

export const where = (connection: ConnectionInfo | undefined): string =>
  connection === undefined
    ? "–"
    : `${connection.portal ?? connection.portals?.join(" ") ?? "no portal"} LUN ${connection.lun ?? "–"}`;

export const protection = ({ protected: is }: Picture): string =>
  is === undefined ? "not looked at" : is ? "yes" : "no";

export const isRunning = (state: string): boolean => state === "snapmirrored" || state === "in_sync";

/** Mirrors of the same direction and state are told together. */
export function mirrorGroups({ mirrors }: Picture): readonly {
  readonly source: string;
  readonly destination: string;
  readonly state: string;
  readonly said: string;
  readonly lag: string;
}[] {
  const groups = new Map<string, Picture["mirrors"][number][]>();
  for (const mirror of mirrors) {
    const key = JSON.stringify([mirror.source, mirror.destination, mirror.state]);
    groups.set(key, [...(groups.get(key) ?? []), mirror]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const lags = group.flatMap(({ lagSeconds }) => lagSeconds ?? []);
    return [
      {
        source: first.source,
        destination: first.destination,
        state: first.state,
        said: `${count(group.length, "mirror")} ${first.state}`,
        lag: lags.length === 0 ? "" : `lag up to ${duration(Math.max(...lags))}`,
      },
    ];
  });
}

export function volumesOfInstances(report: Report): {
  readonly attached: number;
  readonly unattached: Report["volumes"];
} {
  const attached = new Set(report.servers.flatMap((server) => server.attachments.map(({ volumeId }) => volumeId)));
  return { attached: attached.size, unattached: report.volumes.filter(({ id }) => !attached.has(id)) };
}
