import { Duration } from "luxon";
import { z } from "zod";

/** Pieces that ONTAP's records share. Fields that aren't asked for or aren't set are absent, never null. */

export const named = z.object({ name: z.string() });
export const identified = z.object({ uuid: z.string(), name: z.string() });

/** ISO 8601, days the largest unit, zero parts dropped ("P1DT2H", "PT54S", "PT0S"), as seconds. */
export const durationSeconds = z.string().transform((value, context) => {
  const duration = Duration.fromISO(value);
  if (duration.isValid) return duration.as("seconds");
  context.addIssue({ code: "custom", message: "not an ISO 8601 duration" });
  return z.NEVER;
});

/** One query value that matches any of these names; the names hold none of ONTAP's query operators. */
export function anyOf(names: readonly string[]): string {
  return names.join("|");
}
