const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;

/** Schedules that ONTAP comes with (`job schedule cron show`). */
const builtIn: Readonly<Record<string, number>> = {
  "5min": 5 * minute,
  "10min": 10 * minute,
  "pg-15-minutely": 15 * minute,
  hourly: hour,
  "pg-hourly": hour,
  "pg-6-hourly": 6 * hour,
  "8hour": 8 * hour,
  daily: day,
  "pg-daily": day,
  weekly: 7 * day,
  "pg-weekly": 7 * day,
  monthly: 31 * day,
  "pg-monthly": 31 * day,
};

/** Between two transfers; undefined for a schedule of somebody's own, which has to be declared. */
export function scheduleSecondsOf(o: {
  readonly schedule: string;
  readonly scheduleSeconds?: number | undefined;
}): number | undefined {
  // prettier-ignore
  return o.scheduleSeconds ?? builtIn[o.schedule];
}
