import path from "node:path";
import type { Step } from "../context";
import { whole } from "../context";
import { assertServicesStopped } from "./promote-stop-services";

/**
 * Needs: services stopped. Does: dumps Cinder's database to a file beside the journal, mode 0600: it holds CHAP
 * passwords. Proof: the file was read back: its end, every table, the rows of those that are about to change. Safe to repeat because a new dump replaces the old one
 * until the transaction has run; afterwards the journal has this step as done.
 */
export const promoteDumpDatabase: Step = {
  id: "promote/dump-database",
  lanes: 1,
  items: () => whole("cinder database"),
  premise: assertServicesStopped,
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx) {
    const file = path.join(path.dirname(ctx.journal.file), `${ctx.journal.switchoverId}.sql`);
    await ctx.guard();
    const dump = await ctx.ports.database.dump(file);
    return { file, ...dump };
  },
};
