import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Step, StepContext } from "../context";
import { waitFor, whole } from "../context";
import type { PlannedServer } from "../plan";
import { volumesOfServer } from "../plan";
import { isOffloaded, passingSnapshotStatuses, passingStatuses, reasonToLeave, restingStatuses } from "../states";

/**
 * Needs: the backend disabled, the instances locked. Does: nothing but wait until nothing works on any volume or snapshot
 * and no instance has a task; with the source lost not for long, as what hangs there doesn't come to rest. Proof: the
 * listing; and the volumes and attachments are still the planned ones. A volume that is `detaching` for longer than
 * any detach takes was forgotten (Nova leaves it so when Cinder's side fails): it's rolled back to in-use.
 * Safe to repeat: a roll-back changes nothing but `detaching`.
 */
export const holdDrainTransient: Step = {
  id: "hold/drain-transient",
  lanes: 1,
  items: () => whole("volumes and instances"),
  satisfied: () => Promise.resolve(undefined),
  apply: () => Promise.resolve(),
  async verify(ctx) {
    const planned = ctx.plan.mode === "planned";
    const beganMs = ctx.clock.now().getTime();
    await waitFor(ctx, {
      attempted: "Wait for volumes and instances to come to rest",
      deadlineSeconds: planned ? deadlines.drainTransient : deadlines.drainTransientUnplanned,
      check: async () => {
        const [volumes, servers, snapshots, parked] = await Promise.all([
          ctx.live.volumes(),
          ctx.live.servers(),
          ctx.ports.blockStorage.listSnapshots(),
          parkedVolumes(ctx),
        ]);
        const busy = [
          ...ctx.plan.volumes.flatMap(({ id, name }) => {
            const status = volumes.get(id)?.status ?? "";
            const passing = passingStatuses.has(status) || (status === "reserved" && !parked.has(id));
            return passing ? [`volume "${name}" is ${status}`] : [];
          }),
          ...snapshots.flatMap(({ id, volumeId, status }) =>
            volumes.has(volumeId) && passingSnapshotStatuses.has(status) ? [`snapshot ${id} is ${status}`] : [],
          ),
          ...ctx.plan.servers.flatMap(({ id, name }) => {
            const task = servers.get(id)?.taskState;
            return task === undefined ? [] : [`instance "${name}" is in task ${task}`];
          }),
        ];
        if (planned && ctx.clock.now().getTime() - beganMs > deadlines.detachStalled * 1000)
          for (const { id, name } of ctx.plan.volumes) {
            const volume = volumes.get(id);
            const ownersBusy = volume?.attachments.some((a) => servers.get(a.serverId)?.taskState !== undefined);
            if (volume?.status !== "detaching" || ownersBusy === true) continue;
            await ctx.guard();
            ctx.say(`rolling volume "${name}" back: it was left detaching`);
            await ctx.ports.blockStorage.rollDetaching(id);
          }
        return busy.length === 0 ? { value: undefined } : { seen: busy.join("; ") };
      },
    }).catch(async (error: unknown) => {
      if (planned || !DrError.is(error, "wait-timeout")) throw error;
      await assertDetachable(ctx, error);
      ctx.say(`going on without waiting any longer: ${error.seen}`);
    });
    // Between plan and hold somebody may have attached or made something: such a world wasn't planned.
    const volumes = await ctx.live.volumes();
    const expected = new Set(ctx.plan.volumes.map((volume) => volume.id));
    const strangers = [...volumes.values()].filter((volume) => !expected.has(volume.id));
    const attached = new Set(
      ctx.plan.servers.flatMap((server) => volumesOfServer(server).map((a) => `${server.id}/${a.volumeId}`)),
    );
    const servers = await ctx.live.servers();
    const isLeft = ({ serverId }: { serverId: string }): boolean => {
      const server = servers.get(serverId);
      // A host's, or a deleted instance's.
      return server === undefined ? !planned : reasonToLeave(server, ctx.plan.mode) !== undefined;
    };
    const moved = [...volumes.values()].flatMap((volume) =>
      volume.attachments
        .filter((a) => !attached.has(`${a.serverId}/${volume.id}`) && !isLeft(a))
        .map((a) => `"${volume.name}" on ${a.serverId}`),
    );
    const present = new Set(
      [...volumes.values()].flatMap((volume) => volume.attachments.map((a) => `${a.serverId}/${volume.id}`)),
    );
    const gone = movedServers(ctx).flatMap((server) =>
      volumesOfServer(server)
        .filter((a) => !present.has(`${server.id}/${a.volumeId}`))
        .map((a) => `"${a.volumeName}" from "${server.name}"`),
    );
    const parked = await parkedVolumes(ctx);
    const failed = ctx.plan.volumes.flatMap(({ id, name }) => {
      const status = volumes.get(id)?.status;
      return status === undefined || restingStatuses.has(status) || parked.has(id)
        ? []
        : [`volume "${name}" is ${status}`];
    });
    const changes = [
      ...(planned ? failed : []),
      ...strangers.map((volume) => `new volume "${volume.name}" (${volume.id})`),
      ...moved.map((text) => `new attachment of ${text}`),
      ...gone.map((text) => `detached meanwhile: ${text}`),
    ];
    if (changes.length > 0 && planned)
      throw new DrError({
        code: "stale-plan",
        attempted: "Hold volumes and attachments as planned",
        seen: changes.join("; "),
        state: "Nothing was stopped or detached; the instances are locked and the backend is disabled.",
        remedy: `Set activeSite back to "${ctx.plan.from}" and run up, which takes the hold back; then plan again.`,
      });
    for (const change of changes) ctx.say(`not in the plan: ${change}`);
    return { volumes: volumes.size, changes };
  },
};

const movedServers = ({ plan }: StepContext): readonly PlannedServer[] =>
  plan.servers.filter(({ stranded }) => stranded !== true);

/** What would be in the way after the cutover, when everybody waits, is told before. */
async function assertDetachable(ctx: StepContext, { attempted }: DrError): Promise<void> {
  const volumes = await ctx.live.volumes();
  const stuck = movedServers(ctx)
    .flatMap(volumesOfServer)
    .flatMap(({ volumeId, volumeName }) => {
      const status = volumes.get(volumeId)?.status ?? "";
      return passingStatuses.has(status) && status !== "detaching"
        ? [`volume "${volumeName}" (${volumeId}) is ${status}`]
        : [];
    });
  if (stuck.length > 0)
    throw new DrError({
      code: "wait-timeout",
      attempted,
      seen: `${stuck.join("; ")}, which Nova doesn't detach`,
      state: "Nothing was stopped or detached; the instances are locked and the backend is disabled.",
      remedy:
        "Set it back once nothing works on it any more (cinder reset-state --state in-use --attach-status attached), then run again.",
    });
}

/** Reserved for shelved instances: nobody works on these. */
async function parkedVolumes(ctx: StepContext): Promise<ReadonlySet<string>> {
  const volumes = await ctx.live.volumes();
  if (![...volumes.values()].some(({ status }) => status === "reserved")) return new Set();
  const [servers, attachments] = await Promise.all([ctx.live.servers(), ctx.ports.blockStorage.listAttachments()]);
  const parked = attachments.filter(({ volumeId, serverId }) => {
    const server = servers.get(serverId ?? "");
    return volumes.get(volumeId)?.status === "reserved" && server !== undefined && isOffloaded(server);
  });
  return new Set(parked.map(({ volumeId }) => volumeId));
}
