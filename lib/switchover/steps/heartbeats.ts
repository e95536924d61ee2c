import type { ServiceRow } from "../ports";

/** Heartbeats of one services row since it was first looked at: a living cinder-volume's, with its driver initialised. */
export class Heartbeats {
  private first: Pick<ServiceRow, "id" | "reportCount"> | undefined;

  /** How many until now; a row that was deleted and made anew counts from its own first look. */
  until(row: Pick<ServiceRow, "id" | "reportCount"> | undefined): number {
    if (row === undefined) return 0;
    if (this.first?.id !== row.id) this.first = { id: row.id, reportCount: row.reportCount };
    return row.reportCount - this.first.reportCount;
  }
}
