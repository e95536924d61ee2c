import { DrError } from "../errors";
import { Journal } from "./journal";
import type { Owner } from "./owner";
import { asOwner } from "./owner";

/** The priority group whose approval is all that an open journal waits for. */
export function awaitedApproval(journal: Journal): string | undefined {
  const next = journal.plan.steps.find((planned) => !journal.isPassed(planned));
  if (next?.id !== "start/await-approval" || next.group === undefined) return undefined;
  return journal.approvalOf(next.group) === undefined ? next.group : undefined;
}

/**
 * Writes into the open journal that what comes after the group it waits for may be started; the next run goes on. Under the
 * lease: a journal has one writer. Only what waits can be approved, and `group`, where it's given, has to be that.
 */
export async function approveGroup(
  o: Owner & { readonly journalDir: string; readonly by: string; readonly group?: string },
): Promise<{ readonly switchoverId: string; readonly group: string }> {
  return asOwner(o, async (lease) => {
    const { coordination, clock } = o.ports;
    const journal = await Journal.findOpen({ directory: o.journalDir, coordination, clock, pair: o.pair.name });
    const group = journal && awaitedApproval(journal);
    if (journal === undefined || group === undefined || group !== (o.group ?? group))
      throw new DrError({
        code: "precondition",
        attempted: o.group === undefined ? "Approve" : `Approve group "${o.group}"`,
        seen: group === undefined ? "nothing waits for an approval" : `it's group "${group}" that waits for one`,
        state: "Nothing was changed.",
        remedy: "See by `cheesecake status` what is open.",
      });
    await lease.guard();
    await journal.settle();
    await journal.append({ type: "approve", group, by: o.by });
    return { switchoverId: journal.switchoverId, group };
  });
}
