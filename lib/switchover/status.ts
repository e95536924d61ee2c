import { readable } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { awaitedApproval } from "./approve";
import { Journal } from "./journal";
import type { Judgement } from "./judgement";
import { judge } from "./judgement";
import { observeSites } from "./observe";
import type { Plan } from "./plan";
import type { Ports } from "./ports";
import type { StoppedAt } from "./stop";
import { stoppedAt } from "./stop";
import type { Verdict } from "./verdict";
import { verdictOf } from "./verdict";

/** Where production runs, and what is open. Read-only. */

interface Asked {
  readonly pair: SitePair;
  readonly ports: Ports;
  readonly journalDir: string;
}

export function findOpenJournal(o: Asked): Promise<Journal | undefined> {
  return Journal.findOpen({
    directory: o.journalDir,
    coordination: o.ports.coordination,
    clock: o.ports.clock,
    pair: o.pair.name,
  });
}

/** A switchover whose journal is open. */
export interface OpenSwitchover {
  readonly switchoverId: string;
  readonly begunAt: string;
  /** The plan that counts: the abort's where one was begun. */
  readonly plan: Plan;
  /** Before its cutover a switchover can be taken back. */
  readonly canAbort: boolean;
  /** Where its last run was stopped on request. */
  readonly stopped?: StoppedAt;
  /** The priority group after which it waits for an approval. */
  readonly awaitsApprovalOf?: string;
}

/** What was begun and not ended. */
export async function openSwitchover(o: Asked): Promise<OpenSwitchover | undefined> {
  const journal = await findOpenJournal(o);
  if (journal === undefined) return undefined;
  const { switchoverId, entries, plan } = journal;
  const group = awaitedApproval(journal);
  const stopped = stoppedAt(entries);
  return {
    switchoverId,
    begunAt: entries[0]?.at ?? "",
    plan,
    canAbort: plan.kind === "switchover" && !journal.pastCutover,
    ...(stopped === undefined ? {} : { stopped }),
    ...(group === undefined ? {} : { awaitsApprovalOf: group }),
  };
}

/** By the systems' own word. */
export async function observeState(o: Pick<Asked, "pair" | "ports">): Promise<Verdict> {
  return verdictOf(await observeSites(o.pair, o.ports));
}

/** One verdict on everything that can be asked. */
export interface Status {
  readonly verdict: Verdict;
  readonly judgement: Judgement;
  /** What was begun and not ended. */
  readonly open?: OpenSwitchover;
  /** Why it can't be told whether anything is open. */
  readonly openUnknown?: string;
  /** What couldn't be compared, and why. */
  readonly unseen: readonly string[];
}

/** One verdict on what cinder.conf, Cinder's rows, the mirrors and the attachments say; of a look that was taken, where given. */
export async function statusOf(o: Asked & { readonly expected: string; readonly seen?: Verdict }): Promise<Status> {
  const verdict = o.seen ?? (await observeState(o));
  // In a disaster the rest is told also where this can't be read.
  const { value: open, faults } = await readable(() => openSwitchover(o));
  const [openUnknown] = faults;
  const judgement = judge({
    verdict,
    expected: o.expected,
    ...(open === undefined ? {} : { open }),
  });
  return {
    verdict,
    judgement,
    ...(open === undefined ? {} : { open }),
    ...(openUnknown === undefined ? {} : { openUnknown }),
    unseen: [...verdict.unseen, ...faults],
  };
}
