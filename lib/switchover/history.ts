import { messageOf } from "../errors";
import { Journal } from "./journal";
import type { CoordinationPort } from "./ports";
import type { Report } from "./report";
import { buildReport, folderWith } from "./report";

/** What is told of a switchover in a list of them. */
export interface Past {
  readonly switchoverId: string;
  readonly startedAt: string;
  /** Of its last entry where it's open. */
  readonly endedAt: string;
  readonly kind: Report["kind"];
  readonly from: string;
  readonly to: string;
  readonly mode: Report["mode"];
  readonly verdict: Report["verdict"];
  readonly rtoSeconds?: number;
  readonly rpoSeconds?: number;
  readonly volumes: number;
  readonly durationSeconds: number;
  /** On this machine; `report` writes it anew where it's missing. */
  readonly reportDirectory?: string;
}

/** What was begun of a pair, newest first, by both copies of the journals. */
export interface History {
  readonly switchovers: readonly Past[];
  /** What couldn't be read: the rest is told also then. */
  readonly unread: readonly string[];
}

export async function historyOf(o: {
  readonly directory: string;
  readonly coordination: Pick<CoordinationPort, "listSwitchovers" | "readJournal">;
  readonly pair: string;
}): Promise<History> {
  const unread: string[] = [];
  const switchovers: Past[] = [];
  // One journal at a time: each may be of ten thousand volumes.
  for await (const { switchoverId, entries } of Journal.all({ ...o, onFault: (fault) => unread.push(fault) }))
    try {
      const report = buildReport(entries);
      const reportDirectory = await folderWith(o.directory, report);
      switchovers.push({ ...pastOf(report), ...(reportDirectory === undefined ? {} : { reportDirectory }) });
    } catch (error) {
      unread.push(`${switchoverId}: ${messageOf(error)}`);
    }
  return { switchovers, unread };
}

export function pastOf(report: Report): Past {
  const { switchoverId, startedAt, endedAt, kind, from, to, mode, verdict, durationSeconds } = report;
  const { rtoSeconds, rpoSeconds } = report;
  return {
    switchoverId,
    startedAt,
    endedAt,
    kind,
    from,
    to,
    mode,
    verdict,
    ...(rtoSeconds === undefined ? {} : { rtoSeconds }),
    ...(rpoSeconds === undefined ? {} : { rpoSeconds }),
    volumes: report.volumes.length,
    durationSeconds,
  };
}
