import { appendFileSync } from "node:fs";

/** A row of the table that tools/test.mjs prints after a level, and writes as JSON where asked to. */
export interface Hazard {
  /**
   * D = one of the driver's measured behaviours, I = an invariant of docs/architecture.md, N = Nova and Cinder, R = the
   * direct route, L = a site lost for long, F = failback, C = several controllers.
   */
  readonly id: string;
  readonly behaviour: string;
  readonly produced: string;
  readonly handled: string;
  /** Bytes that were written and are gone; after an unplanned failover what the lag says, in words. */
  readonly lost: "0" | (string & {});
}

/** Recorded at a test's end, when everything that the row says was seen. */
export function met(row: Hazard): void {
  console.log(`      met ${row.id}: ${row.handled} (lost: ${row.lost})`);
  const file = process.env["CHEESECAKE_TEST_HAZARDS"];
  if (file !== undefined && file !== "") appendFileSync(file, `${JSON.stringify(row)}\n`);
}
