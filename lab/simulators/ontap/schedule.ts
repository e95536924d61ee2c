/** Scheduled transfers, on the simulator's clock. */
import { currentTransfer, transferNow } from "./snapmirror/engine";
import type { Schedule } from "./state";
import type { World } from "./world";

const minuteMs = 60_000;

/** Did the cron schedule fall due in (from, to]? Times are UTC; what isn't given means every. */
export function due(cron: NonNullable<Schedule["cron"]>, fromMs: number, toMs: number): boolean {
  const fits = (values: readonly number[] | undefined, value: number): boolean =>
    values === undefined || values.length === 0 || values.includes(value);
  const earliest = Math.max(fromMs, toMs - 366 * 86_400_000);
  for (let ms = Math.floor(toMs / minuteMs) * minuteMs; ms > earliest; ms -= minuteMs) {
    const t = new Date(ms);
    if (
      fits(cron.minutes, t.getUTCMinutes()) &&
      fits(cron.hours, t.getUTCHours()) &&
      fits(cron.days, t.getUTCDate()) &&
      fits(cron.months, t.getUTCMonth() + 1) &&
      fits(cron.weekdays, t.getUTCDay())
    ) {
      return true;
    }
  }
  return false;
}

/** Starts what fell due since the last call; several missed times make one transfer. Returns a function that ends it. */
export function runSchedules(world: World): () => void {
  let last = world.clock.now();
  const tick = (): void => {
    const now = world.clock.now();
    const from = last;
    last = now;
    for (const cluster of world.clusters) {
      if (!cluster.reachable) continue;
      for (const relationship of cluster.relationships.values()) {
        const name = relationship.schedule ?? cluster.policies.get(relationship.policyUuid)?.schedule;
        const cron = [...cluster.schedules.values()].find((s) => s.name === name)?.cron;
        if (!cron || relationship.state !== "snapmirrored" || currentTransfer(relationship) || !due(cron, from, now))
          continue;
        try {
          transferNow({ world, cluster, relationship });
        } catch {
          // transferNow has put the reason into unhealthy_reason
        }
      }
    }
  };
  const timer = setInterval(tick, 1000);
  timer.unref();
  world.clock.onAdvance(tick);
  return () => clearInterval(timer);
}
