import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Live, Step, StepContext, StepItem } from "../context";
import {
  completeServers,
  mappedVolumes,
  plannedServer,
  pollListsMs,
  serverItems,
  untilAtRest,
  waitFor,
} from "../context";
import type { PlannedAttachment } from "../plan";
import type { CinderVolume, Server } from "../ports";
import { assertServed, assertStopped } from "./premises";

/**
 * Needs: instances stopped. Does: detaches all of an instance's volumes of this backend, so that none is attached again
 * before the last is gone. Proof: Nova has no block device mapping of them, Cinder no attachment. Safe to repeat because
 * only what is still attached and in use is asked for, as Nova's row outlives Cinder's for a moment and a DELETE is then
 * refused (400); a volume forgotten in `detaching` is rolled back first.
 */
export const detachVolumes: Step = {
  id: "detach/volumes",
  lanes: "instances",
  items: (ctx) => serverItems(completeServers(ctx)),
  premise: assertStopped,
  async satisfied(ctx, item) {
    const server = (await ctx.live.serversAtBoundary()).get(item.key);
    if (server === undefined) return { deleted: true };
    return (await stillAttached(ctx, item, server)).length === 0 ? {} : undefined;
  },
  async apply(ctx, item) {
    const [server, volumes] = await Promise.all([untilAtRest(ctx, item), ctx.live.volumes()]);
    await detachAll(ctx, item, await stillAttached(ctx, item, server, volumes), volumes);
  },
  async verify(ctx, item) {
    const patience = ctx.plan.mode === "planned" ? deadlines.detachStalled : deadlines.detachStalledOverDeadPaths;
    const progress = progressOf(ctx.live);
    let least = Number.POSITIVE_INFINITY;
    let stalledSince = ctx.clock.now().getTime();
    let attempts = 1;
    return waitFor(ctx, {
      attempted: `Detach the volumes of instance "${item.label}"`,
      // One after another, as Nova works on them.
      deadlineSeconds: deadlines.detachInstance * plannedServer(ctx, item.key).attachments.length,
      everyMs: pollListsMs,
      check: async () => {
        const [servers, volumes] = await Promise.all([ctx.live.servers(), ctx.live.volumes()]);
        const server = servers.get(item.key);
        const left = await stillAttached(ctx, item, server, volumes);
        const host = server?.host ?? "";
        const now = ctx.clock.now().getTime();
        if (left.length < least) {
          least = left.length;
          stalledSince = now;
          progress.set(host, now);
        }
        if (left.length === 0) return { value: { attempts } };
        const status = (a: PlannedAttachment): string => volumes.get(a.volumeId)?.status ?? "unknown";
        // Back in use: the hypervisor refused and Nova rolled it back. Detaching: somebody may still be at work on it.
        const refused = left.filter((a) => status(a) === "in-use");
        const lastProgress = Math.max(stalledSince, progress.get(host) ?? stalledSince);
        const stuck = now - lastProgress > patience * 1000;
        const orphaned = stuck ? left.filter((a) => status(a) === "available") : [];
        if (orphaned.length > 0)
          throw new DrError({
            code: "failure-state",
            attempted: `Detach the volumes of instance "${item.label}"`,
            seen: orphaned
              .map((a) => `Cinder has "${a.volumeName}" as available, Nova still has it at ${a.device}`)
              .join("; "),
            remedy:
              "Somebody reset the volume's state: a hard reboot of the instance removes such a mapping; stop it again, then run again.",
          });
        const stalled = stuck ? left.filter((a) => status(a) === "detaching") : [];
        if (refused.length > 0 || stalled.length > 0) {
          // Also before giving up: the next run would wait as long again for what nobody does.
          for (const a of stalled) {
            await ctx.guard();
            await ctx.ports.blockStorage.rollDetaching(a.volumeId);
          }
          if (attempts >= 4)
            throw new DrError({
              code: "failure-state",
              attempted: `Detach the volumes of instance "${item.label}"`,
              seen:
                left.map((a) => `${a.device} ("${a.volumeName}") is ${status(a)}`).join("; ") +
                ` after ${attempts} attempts`,
              remedy:
                "Look at nova-compute's log on its host: make dead paths fail fast there; where Cinder refuses with 409, let Nova send its service token ([service_user] send_service_user_token). Then run again.",
            });
          attempts += 1;
          stalledSince = now;
          await detachAll(ctx, item, [...refused, ...stalled], await ctx.live.volumes());
        }
        return { seen: left.map((a) => `${a.device} is ${status(a)}`).join(", "), progress: String(lastProgress) };
      },
    });
  },
};

/** By compute host: os-brick disconnects one volume after another there, so an instance waits for its neighbours' first. */
const progressByRun = new WeakMap<Live, Map<string, number>>();

function progressOf(live: Live): Map<string, number> {
  const progress = progressByRun.get(live) ?? new Map<string, number>();
  progressByRun.set(live, progress);
  return progress;
}

async function detachAll(
  ctx: StepContext,
  item: StepItem,
  left: readonly PlannedAttachment[],
  volumes: ReadonlyMap<string, CinderVolume>,
): Promise<void> {
  if (left.length === 0) return;
  await assertServed(ctx, item, left, volumes);
  // Others were asked for already, and verify waits for them.
  for (const attachment of left)
    if (volumes.get(attachment.volumeId)?.status === "in-use") await detach(ctx, item, attachment);
}

async function detach(ctx: StepContext, item: StepItem, attachment: PlannedAttachment): Promise<void> {
  await ctx.guard();
  try {
    await ctx.ports.compute.detachVolume(item.key, attachment.volumeId);
  } catch (error) {
    // About the volume's state, which changed since we looked: verify looks again, and asks again where it's in use.
    if (!DrError.is(error, "remote") || error.context["status"] !== 400) throw error;
  }
}

async function stillAttached(
  ctx: StepContext,
  item: StepItem,
  server: Server | undefined,
  volumes?: ReadonlyMap<string, CinderVolume>,
): Promise<readonly PlannedAttachment[]> {
  const present = await mappedVolumes(ctx, item, server, volumes);
  return plannedServer(ctx, item.key).attachments.filter((attachment) => present.has(attachment.volumeId));
}
