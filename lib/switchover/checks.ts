import type { Mode } from "./intent";
import type { Finding } from "./preflight";

/** What was looked at before a switchover, in groups that an operator knows, with what is so where nothing was found. Pure. */

/** Holds; to be minded; fails; can't be judged. */
export type Mark = "✓" | "!" | "✗" | "–";

/** One thing that preflight looked at, and what came of it. */
export interface Check {
  readonly mark: Mark;
  readonly name: string;
  readonly text: string;
  readonly remedy?: string;
}

interface Group {
  readonly name: string;
  /** Of findings, before the colon. */
  readonly ids: readonly string[];
  readonly holds: Readonly<Record<Mode, string>>;
  /** What can't be judged where one of these was found. */
  readonly needs?: readonly string[];
}

const both = (text: string): Group["holds"] => ({ planned: text, unplanned: text });

/** In the order in which they are told. */
export const groups: readonly Group[] = [
  {
    name: "What was asked for",
    ids: [
      "expected-active",
      "lag-maximum",
      "too-soon",
      "unplanned-from",
      "source-alive",
      "lag-unknown",
      "lag-unbounded",
      "lag-too-high",
      "hook",
      "group-instance",
      "group-overlap",
    ],
    holds: {
      planned:
        "fits what is: the site that is left, the lag, the time since the last switchover, hooks and priority groups",
      unplanned: "fits what is: the site that is lost, and the loss that is accepted",
    },
    needs: ["array-unreachable"],
  },
  {
    name: "Arrays",
    ids: ["array-unreachable", "array", "ontap-version", "svm-state", "iscsi", "flexvol", "lun-shadowed"],
    holds: {
      planned: "both answer, their SVMs serve iSCSI, every FlexVol is online, no LUN is there twice",
      unplanned:
        "the one that takes over answers, its SVM serves iSCSI, every FlexVol is online, no LUN is there twice",
    },
  },
  {
    name: "Mirrors",
    ids: [
      "mirror-missing",
      "mirror-state",
      "mirror-unhealthy",
      "mirror-opposite",
      "mirror-coverage",
      "lag-day",
      "common-snapshot",
      "difference",
    ],
    holds: {
      planned: "every FlexVol has a healthy one in this direction, and no volume is without",
      unplanned: "every FlexVol has one in this direction that can be broken off, and no volume is without",
    },
    needs: ["array-unreachable"],
  },
  {
    name: "Controllers",
    ids: [
      "controller",
      "stanza",
      "replication-targets",
      "consistent-replication",
      "cluster",
      "backend-host",
      "unknown-volume-host",
      "cluster-row",
    ],
    holds: both("all answer, cinder.conf has both stanzas, and no cinder-volume runs that isn't known"),
  },
  {
    name: "Database",
    ids: ["database", "database-read-only", "database-rights", "database-schema", "service-row-twice"],
    holds: both("it can be written to, its schema is known, the account's rights suffice"),
  },
  {
    name: "Volumes",
    ids: [
      "cinder-api",
      "volume-host",
      "volume-status",
      "multiattach",
      "migration",
      "no-instance",
      "lun-missing",
      "lun-foreign",
      "not-replicated",
    ],
    holds: {
      planned: "all are in a state in which they can be moved, and have their LUN",
      unplanned: "all that are attached are in a state in which they can be moved",
    },
    needs: ["array-unreachable"],
  },
  {
    name: "Instances",
    ids: [
      "nova-api",
      "instance-unknown",
      "instance-status",
      "compute",
      "attachment-mismatch",
      "ghost",
      "root",
      "nova-manage",
      "device-gap",
    ],
    holds: both("all can be stopped and moved, Nova and Cinder agree on every attachment, no device name is missing"),
  },
  {
    name: "Way of the cutover",
    ids: ["route", "service-row", "failing-over", "volume-service", "cinder-api-silent", "message-queue", "queue"],
    holds: both("it can be made, and nothing waits for the backend that would run at its start"),
  },
];

const groupOf = ({ id }: Finding): Group | undefined => groups.find(({ ids }) => ids.includes(id.split(":")[0] ?? ""));

/** `complete`: all of preflight was gone through, so that a group without a finding holds. */
export function checksOf(o: {
  readonly mode: Mode;
  readonly findings: readonly Finding[];
  readonly warnings: readonly string[];
  readonly complete: boolean;
}): readonly Check[] {
  const failed = (finding: Finding, name: string): Check => ({
    mark: "✗",
    name,
    text: finding.message,
    remedy: finding.remedy,
  });
  const found = new Set(o.findings.map(({ id }) => id.split(":")[0] ?? ""));
  const grouped = groups.flatMap((group): Check[] => {
    const findings = o.findings.filter((finding) => groupOf(finding) === group);
    if (findings.length > 0) return findings.map((finding) => failed(finding, group.name));
    if (!o.complete) return [];
    const blind = (group.needs ?? []).some((id) => found.has(id));
    return [
      blind
        ? { mark: "–", name: group.name, text: "can't be judged until what they need answers" }
        : { mark: "✓", name: group.name, text: group.holds[o.mode] },
    ];
  });
  const others = o.findings.filter((finding) => groupOf(finding) === undefined);
  const warnings = o.warnings.map((text): Check => ({ mark: "!", name: "Mind", text }));
  const all = [...grouped, ...others.map((finding) => failed(finding, "Beginning")), ...warnings];
  return all.length > 0 || o.complete ? all : [{ mark: "✓", name: "Preconditions", text: "nothing stands against it" }];
}
