import { DrError } from "../../errors";
import { backendHost, siteOf } from "../../topology/site-pair";
import { deadlines } from "../deadlines";
import { isMirrorOf, isServed, isVolumeServiceOf } from "../observation";
import type { Step, StepContext } from "../context";
import { arrayAt, waitFor, whole } from "../context";
import { Heartbeats } from "./heartbeats";
import { assertSourceUnmapped, assertStopped } from "./premises";

/**
 * Needs: cinder-volume proved alive: the API accepts a failover for a while after its death, and the message then waits
 * in the queue and runs whenever that backend next starts. Does: `failover-host`. Proof: the services row is failed-over
 * to the new backend, every volume's replication_status follows, every mirror is broken off. Safe to repeat because the
 * row tells whether it was begun.
 */
export const cutoverFailoverHost: Step = {
  id: "cutover/failover-host",
  lanes: 1,
  items: (ctx) => whole(backendHost(ctx.pair, ctx.plan.from)),
  async premise(ctx) {
    await assertStopped(ctx);
    if (ctx.plan.mode === "planned" && (await row(ctx)).replicationStatus === "enabled")
      await assertSourceUnmapped(ctx);
  },
  async satisfied(ctx) {
    return (await row(ctx)).replicationStatus === "failed-over" ? outcome(ctx) : undefined;
  },
  async apply(ctx) {
    const { replicationStatus } = await row(ctx);
    if (replicationStatus === "failing-over") return; // sent by the run that was cut off; verify waits for it
    await provenAlive(ctx);
    // The heartbeats took their time: what must hold is read again right before the call.
    await assertStopped(ctx, ctx.live.servers());
    if (ctx.plan.mode === "planned") await assertSourceUnmapped(ctx);
    await ctx.guard();
    await ctx.ports.blockStorage.failoverHost(
      backendHost(ctx.pair, ctx.plan.from),
      siteOf(ctx.pair, ctx.plan.to).backend,
    );
  },
  verify: outcome,
};

async function row(ctx: StepContext) {
  const host = backendHost(ctx.pair, ctx.plan.from);
  const found = (await ctx.ports.database.listServiceRows()).find(isVolumeServiceOf(host));
  if (found === undefined)
    throw new DrError({
      code: "failure-state",
      attempted: `Fail ${host} over`,
      seen: "Cinder has no such service any more",
      remedy: "Start cinder-volume, then run again.",
    });
  return found;
}

/** Two heartbeats after now, and no message left over by an earlier process. */
async function provenAlive(ctx: StepContext): Promise<void> {
  const host = backendHost(ctx.pair, ctx.plan.from);
  const counted = new Heartbeats();
  await waitFor(ctx, {
    attempted: `Prove that cinder-volume of ${host} is alive`,
    deadlineSeconds: deadlines.heartbeat,
    state: `Nothing was failed over; production is still at "${ctx.plan.from}".`,
    remedy: "Start cinder-volume and run again, or set route to direct.",
    check: async () => {
      const heartbeats = counted.until(await row(ctx));
      return heartbeats >= 2 ? { value: undefined } : { seen: `${heartbeats} of 2 heartbeats` };
    },
  });
  const queues = await ctx.ports.messageQueue.listBackendQueues(host);
  // A process that lost the message queue still writes its heartbeats to the database.
  if (!isServed(queues))
    throw new DrError({
      code: "precondition",
      attempted: `Fail ${host} over`,
      seen: "its heartbeat advances, but nothing consumes its queue",
      state: `Nothing was failed over; production is still at "${ctx.plan.from}".`,
      remedy: "See that cinder-volume is connected to the message queue and run again, or set route to direct.",
    });
  const orphaned = queues.filter((queue) => queue.messages > 0 && queue.consumers === 0);
  if (orphaned.length > 0)
    throw new DrError({
      code: "precondition",
      attempted: `Fail ${host} over`,
      seen: orphaned.map((queue) => `${queue.messages} messages wait in ${queue.name} without a consumer`).join("; "),
      remedy: "Find out what they are and purge the queue, then run again.",
    });
}

/** A process that dies over it leaves the row failing-over for ever; the message may wait for the next one. */
async function assertAlive(ctx: StepContext, host: string, attempted: string, silent: boolean): Promise<void> {
  const served = isServed(await ctx.ports.messageQueue.listBackendQueues(host));
  if (served && !silent) return;
  throw new DrError({
    code: "failure-state",
    attempted,
    seen: served
      ? `the services row is failing-over, and its cinder-volume has sent no heartbeat for ${deadlines.heartbeat} s: one with a dead driver`
      : "the services row is failing-over, and no cinder-volume consumes its queue any more",
    state: "Some mirrors may be broken off or paused; nothing is attached.",
    remedy: `Don't start cinder-volume: the failover may run late. Set route to "direct" and run up.`,
  });
}

/** Called down, and without a heartbeat for longer than any that lives: restarted over it, its driver didn't come up. */
function watchHeartbeats(ctx: StepContext, host: string): () => Promise<boolean> {
  const beats = new Heartbeats();
  let counted = -1;
  let lookedAt = 0;
  let silentMs = 0;
  return async () => {
    const now = ctx.clock.now().getTime();
    const count = beats.until(await row(ctx));
    // A look that hung says nothing about the service.
    silentMs = count === counted ? silentMs + Math.min(now - lookedAt, 5_000) : 0;
    [counted, lookedAt] = [count, now];
    if (silentMs < deadlines.heartbeat * 1000) return false;
    const services = await ctx.ports.blockStorage.listServices();
    return services.some((each) => isVolumeServiceOf(host)(each) && !each.up);
  };
}

const pastCindersFailover = `Look at cinder-volume's log. The way on past Cinder's failover: set route to "direct" and run up.`;

/** A node of a replicated database may tell of the former status for a moment. */
const staleReads = 5;

/**
 * Cinder's API writes `failing-over` before it answers (cinder/volume/api.py: `failover`), so `enabled` means that the
 * failover is over: cinder-volume refused its target (cinder/volume/manager.py: `InvalidReplicationTarget`).
 */
async function outcome(ctx: StepContext) {
  const host = backendHost(ctx.pair, ctx.plan.from);
  const { backend } = siteOf(ctx.pair, ctx.plan.to);
  const attempted = `Fail ${host} over to "${backend}"`;
  const isSilent = watchHeartbeats(ctx, host);
  let begun = false;
  let enabledReads = 0;
  await waitFor(ctx, {
    attempted,
    deadlineSeconds: deadlines.failover,
    check: async () => {
      const { replicationStatus, activeBackendId } = await row(ctx);
      if (replicationStatus === "failed-over" && activeBackendId === backend) return { value: undefined };
      if (replicationStatus === "failed-over")
        throw new DrError({
          code: "failure-state",
          attempted,
          seen: `it's failed over to "${activeBackendId ?? ""}"`,
          remedy: "Find out who did that, and correct it; then run again.",
        });
      if (replicationStatus === "failing-over") {
        begun = true;
        await assertAlive(ctx, host, attempted, await isSilent());
      }
      if (replicationStatus === "enabled") enabledReads += 1;
      if (
        replicationStatus === "failover-error" ||
        replicationStatus === "error" ||
        (begun && replicationStatus === "enabled") ||
        enabledReads > staleReads
      )
        throw new DrError({
          code: "failure-state",
          attempted,
          seen: `the services row went to ${replicationStatus}`,
          state: "Some mirrors may be broken off or paused; nothing is attached.",
          remedy: pastCindersFailover,
        });
      return { seen: replicationStatus ?? "unset" };
    },
  });
  // The service row is written before the volumes' rows.
  await waitFor(ctx, {
    attempted: `${attempted}: wait for every volume`,
    deadlineSeconds: deadlines.failover,
    check: async () => {
      const volumes = await ctx.live.volumes();
      const waiting = ctx.plan.volumes.filter(({ id }) => {
        const volume = volumes.get(id);
        return volume !== undefined && volume.replicationStatus !== "failed-over";
      });
      const failed = waiting.filter(({ id }) =>
        ["error", "not-capable"].includes(volumes.get(id)?.replicationStatus ?? ""),
      );
      if (failed.length > 0) {
        const flexVols = [...new Set(failed.map(({ flexVol }) => flexVol))].sort();
        const states = (await arrayAt(ctx, ctx.plan.to).listMirrors(flexVols)).map(
          ({ destination, state }) => `${destination.flexVol} is ${state}`,
        );
        throw new DrError({
          code: "failure-state",
          attempted,
          seen:
            `the driver couldn't fail over ${failed.map((volume) => `"${volume.name}"`).join(", ")}; at ` +
            `"${ctx.plan.to}" ${states.join(", ")}`,
          state: "The other mirrors are broken off; nothing is attached.",
          remedy: pastCindersFailover,
        });
      }
      return waiting.length === 0 ? { value: undefined } : { seen: `${waiting.length} volumes not failed-over` };
    },
  });
  if (ctx.plan.mode === "planned") await assertUnusedMeanwhile(ctx);
  return provenBroken(ctx);
}

/** A volume that was attached elsewhere between our last look and the failover was written at the source alone. */
async function assertUnusedMeanwhile(ctx: StepContext): Promise<void> {
  try {
    await assertSourceUnmapped(
      ctx,
      `"${ctx.plan.to}" is failed over to, but what was written to these LUNs since the final transfer isn't there.`,
    );
  } catch (error) {
    if (!DrError.is(error, "unreachable")) throw error;
    ctx.say(`"${ctx.plan.from}" doesn't answer any more; its last look, right before the failover, counts`);
  }
}

/** Every mirror of the pair is broken off at the destination, and what is the newest that it holds. */
export async function provenBroken(ctx: StepContext) {
  const port = arrayAt(ctx, ctx.plan.to);
  const mirrors = await port.listMirrors(ctx.pair.flexVols);
  const recoveryPoints: Record<string, { snapshot: string; at: string }> = {};
  for (const flexVol of ctx.pair.flexVols) {
    const mirror = mirrors.find((candidate) => isMirrorOf(ctx.pair, candidate, ctx.plan.from, ctx.plan.to, flexVol));
    if (mirror?.state !== "broken_off")
      throw new DrError({
        code: "failure-state",
        attempted: `Prove that every mirror is broken off at "${ctx.plan.to}"`,
        seen: mirror === undefined ? `there is no mirror of ${flexVol}` : `${flexVol} is ${mirror.state}`,
        remedy: `Set route to "direct" and run up, which breaks it.`,
      });
    const snapshot = (await port.listSnapshots(flexVol)).find(
      (candidate) => candidate.name === mirror.exportedSnapshot,
    );
    if (snapshot !== undefined) recoveryPoints[flexVol] = { snapshot: snapshot.name, at: snapshot.createTime };
  }
  return { recoveryPoints };
}
