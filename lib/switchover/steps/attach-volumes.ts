import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import { lunPathOf } from "../observation";
import type { CinderVolume, ConnectionInfo, IscsiTargetInfo, Server } from "../ports";
import type { LunMapsByPath, Step, StepContext, StepItem } from "../context";
import {
  arrayAt,
  completeServers,
  listedVolumes,
  lostVolumes,
  mappedVolumes,
  plannedServer,
  pollListsMs,
  serverItems,
  untilAtRest,
  waitFor,
} from "../context";
import type { PlannedAttachment } from "../plan";
import { assertServed } from "./premises";

/**
 * Needs: all of the instance's volumes detached. Does: attaches them one after another in device order: the hypervisor
 * takes the lowest free name, whatever is asked for. Proof: the old device names, connection_info that names the new
 * site's IQN and portals, and under its number the volume's own LUN. Safe to repeat because what is attached already is left, and the order of the rest kept.
 */
export const attachVolumes: Step = {
  id: "attach/volumes",
  lanes: "instances",
  items: (ctx) => serverItems(completeServers(ctx)),
  async satisfied(ctx, item) {
    const server = (await ctx.live.serversAtBoundary()).get(item.key);
    if (server === undefined) return { deleted: true };
    if (outstanding(ctx, item, listedVolumes(server, item)).length > 0) return undefined;
    // Nova's row outlives a detach that is under way.
    const volumes = await ctx.live.volumes();
    const used = wantedAttachments(ctx, item).every((a) => volumes.get(a.volumeId)?.status === "in-use");
    return used ? proof(ctx, item) : undefined;
  },
  async apply(ctx, item) {
    const [server, volumes] = await Promise.all([untilAtRest(ctx, item), ctx.live.volumes()]);
    const present = await mappedVolumes(ctx, item, server, volumes);
    await attachAll(ctx, item, server, present, volumes);
  },
  async verify(ctx, item) {
    let attempts = 1;
    await waitFor(ctx, {
      attempted: `Attach the volumes of instance "${item.label}"`,
      deadlineSeconds: deadlines.attachInstance,
      everyMs: pollListsMs,
      check: async () => {
        const volumes = await ctx.live.volumes();
        const wanted = wantedAttachments(ctx, item);
        const waiting = wanted.filter((a) => volumes.get(a.volumeId)?.status !== "in-use");
        if (waiting.length === 0) return { value: undefined };
        const status = (a: PlannedAttachment): string => volumes.get(a.volumeId)?.status ?? "unknown";
        const failed = waiting.filter((a) => ["available", "error", "error_attaching"].includes(status(a)));
        // Nova gave up on it: the name is free again. The lowest first, so that each gets its own back.
        if (failed.length > 0 && waiting.length === failed.length) {
          const server = (await ctx.live.servers()).get(item.key);
          const present = await mappedVolumes(ctx, item, server, volumes);
          const left = outstanding(ctx, item, present);
          if (left.length === 0) await assertNoGhosts(ctx, item);
          if (left.length === 0) return { seen: "Nova and Cinder disagree" };
          if (attempts >= 4 || failed.some((a) => status(a) !== "available"))
            throw new DrError({
              code: "failure-state",
              attempted: `Attach the volumes of instance "${item.label}"`,
              seen: failed.map((a) => `"${a.volumeName}" is ${status(a)}`).join("; ") + ` after ${attempts} attempts`,
              state: "The instance is stopped.",
              remedy: "Look at nova-compute's log on its host and at cinder-volume's; then run again.",
            });
          attempts += 1;
          await attachAll(ctx, item, server, present, volumes);
        }
        return { seen: waiting.map((a) => `${a.device} is ${status(a)}`).join(", ") };
      },
    });
    return proof(ctx, item);
  },
};

function wantedAttachments(ctx: StepContext, item: StepItem): readonly PlannedAttachment[] {
  const lost = lostVolumes(ctx);
  return plannedServer(ctx, item.key).attachments.filter((attachment) => !lost.has(attachment.volumeId));
}

/** An instance that lost a volume and is started all the same gets the next free names. */
function keepsNames(ctx: StepContext, item: StepItem): boolean {
  return wantedAttachments(ctx, item).length === plannedServer(ctx, item.key).attachments.length;
}

/** In device order, those that Nova doesn't have yet. */
function outstanding(ctx: StepContext, item: StepItem, present: ReadonlySet<string>): readonly PlannedAttachment[] {
  return wantedAttachments(ctx, item).filter((attachment) => !present.has(attachment.volumeId));
}

/** An attach that nova-compute took up after its caller had given up leaves a mapping that nothing but SQL removes. */
async function assertNoGhosts(ctx: StepContext, item: StepItem): Promise<void> {
  const rows = await ctx.ports.compute.listServerAttachments(item.key);
  const wanted = new Set(wantedAttachments(ctx, item).map(({ volumeId }) => volumeId));
  const ghosts = rows.filter((row) => row.attachmentId === undefined && wanted.has(row.volumeId));
  if (ghosts.length > 0)
    throw new DrError({
      code: "failure-state",
      attempted: `Attach the volumes of instance "${item.label}"`,
      seen: `Nova has a mapping without attachment of ${ghosts.map(({ volumeId, device }) => `${volumeId} (${device ?? "no device"})`).join(", ")}, made while nova-compute was down`,
      state: "The instance is stopped; the volume is available.",
      remedy: `Remove it in Nova's database: ${ghosts.map(({ volumeId }) => `UPDATE block_device_mapping SET deleted = id, deleted_at = NOW() WHERE instance_uuid = '${item.key}' AND volume_id = '${volumeId}' AND deleted = 0 AND attachment_id IS NULL`).join("; ")}. Then run again.`,
    });
}

/**
 * One after another. An instance that has everything needs no cinder-volume, so the way back goes without it. Where Nova
 * gives up on one while the next is asked for, that one gets its name: no more is asked for then, and `verify` comes back
 * when what is under way has ended.
 */
async function attachAll(
  ctx: StepContext,
  item: StepItem,
  server: Server | undefined,
  present: ReadonlySet<string>,
  volumes: ReadonlyMap<string, CinderVolume>,
): Promise<void> {
  const misnamed = await misnamedOf(ctx, item, present);
  if (misnamed.some(({ volumeId }) => volumes.get(volumeId)?.status !== "in-use")) return;
  const left = wantedAttachments(ctx, item).filter((a) => !present.has(a.volumeId) || misnamed.includes(a));
  if (left.length > 0) await assertServed(ctx, item, left, volumes);
  if (misnamed.length > 0) await release(ctx, item, misnamed);
  for (const attachment of left) {
    // An attach while nova-compute is down leaves a mapping without attachment that blocks the volume everywhere.
    await assertComputeUp(ctx, server, `Attach "${attachment.volumeName}" to instance "${item.label}"`);
    if (!(await attach(ctx, item, attachment))) return;
  }
}

/** Those that have the name of one before them, which Nova gave up on: this step's own doing, also that of a run before. */
async function misnamedOf(
  ctx: StepContext,
  item: StepItem,
  present: ReadonlySet<string>,
): Promise<readonly PlannedAttachment[]> {
  const wanted = wantedAttachments(ctx, item);
  if (!keepsNames(ctx, item) || !wanted.some(({ volumeId }) => present.has(volumeId))) return [];
  const rows = await ctx.ports.compute.listServerAttachments(item.key);
  const devices = new Map(rows.map(({ volumeId, device }) => [volumeId, device]));
  return wanted.filter((attachment) => isOfOneBefore(wanted, attachment, devices.get(attachment.volumeId)));
}

function isOfOneBefore(
  wanted: readonly PlannedAttachment[],
  attachment: PlannedAttachment,
  device: string | undefined,
): boolean {
  return wanted.slice(0, wanted.indexOf(attachment)).some((before) => before.device === device);
}

/** The instance is stopped and no guest has seen the name. A repeat finds them detached, or waits for it. */
async function release(ctx: StepContext, item: StepItem, misnamed: readonly PlannedAttachment[]): Promise<void> {
  for (const { volumeId } of misnamed) {
    await ctx.guard();
    await ctx.ports.compute.detachVolume(item.key, volumeId);
  }
  const names = misnamed.map(({ volumeName }) => `"${volumeName}"`).join(", ");
  ctx.say(`instance "${item.label}": Nova gave up on a volume and its name to another one; attaching ${names} anew`);
  await waitFor(ctx, {
    attempted: `Detach ${names}, which have names of others, from instance "${item.label}"`,
    deadlineSeconds: deadlines.detachInstance * misnamed.length,
    everyMs: pollListsMs,
    check: async () => {
      const [servers, volumes] = await Promise.all([ctx.live.serversJustNow(), ctx.live.volumes()]);
      const present = await mappedVolumes(ctx, item, servers.get(item.key), volumes);
      const left = misnamed.filter(
        ({ volumeId }) => present.has(volumeId) || volumes.get(volumeId)?.status !== "available",
      );
      if (left.length === 0) return { value: true };
      return {
        seen: left.map((a) => `"${a.volumeName}" is ${volumes.get(a.volumeId)?.status ?? "unknown"}`).join(", "),
      };
    },
  });
}

/** False where it got the name of one before it. */
async function attach(ctx: StepContext, item: StepItem, attachment: PlannedAttachment): Promise<boolean> {
  await ctx.guard();
  const device = await ctx.ports.compute.attachVolume({
    serverId: item.key,
    volumeId: attachment.volumeId,
    device: attachment.device,
    ...(attachment.tag === undefined ? {} : { tag: attachment.tag }),
    deleteOnTermination: attachment.deleteOnTermination,
  });
  if (device === attachment.device || !keepsNames(ctx, item)) return true;
  if (isOfOneBefore(wantedAttachments(ctx, item), attachment, device)) return false;
  throw new DrError({
    code: "failure-state",
    attempted: `Attach "${attachment.volumeName}" to instance "${item.label}" as ${attachment.device}`,
    seen: `Nova took ${device}`,
    state: "The instance is stopped; no guest has seen the wrong name.",
    remedy: `See which device names are taken, detach "${attachment.volumeName}" by hand; then run again.`,
  });
}

/** `server` as it is now: it may have been evacuated since the plan. */
export async function assertComputeUp(ctx: StepContext, server: Server | undefined, attempted: string): Promise<void> {
  const host = server?.host;
  if (host === undefined) return;
  const compute = (await ctx.live.computeServices()).find((service) => service.host === host);
  if (compute?.up !== true)
    throw new DrError({
      code: "failure-state",
      attempted,
      seen: `nova-compute on "${host}" is down`,
      remedy:
        "Start it, or evacuate the instance (openstack server evacuate) once that host is fenced; then run again.",
    });
}

/** Every attachment on its device, leading to the new site. */
async function proof(ctx: StepContext, item: StepItem) {
  const wanted = wantedAttachments(ctx, item);
  const [target, mappings, cinder, volumes, maps] = await Promise.all([
    arrayAt(ctx, ctx.plan.to).getIscsiTarget(),
    ctx.ports.compute.listServerAttachments(
      item.key,
      wanted.map(({ volumeId }) => volumeId),
    ),
    ctx.live.attachments(),
    ctx.live.volumes(),
    ctx.live.lunMaps(ctx.plan.to),
  ]);
  const nova = new Map(mappings.map((mapping) => [mapping.volumeId, mapping]));
  const connections: Record<string, ConnectionInfo> = {};
  const wrong: string[] = [];
  let foreign = false;
  for (const attachment of wanted) {
    const mapping = nova.get(attachment.volumeId);
    if (mapping?.device !== attachment.device && keepsNames(ctx, item))
      wrong.push(`"${attachment.volumeName}" is ${mapping?.device ?? "not attached"} instead of ${attachment.device}`);
    const connection = cinder.get(mapping?.attachmentId ?? "")?.connection;
    if (connection === undefined || !leadsTo(connection, target))
      wrong.push(
        `"${attachment.volumeName}" leads to ${connection?.iqn ?? "nowhere"} at ${connection?.portal ?? "no portal"}`,
      );
    else if (!leadsToLun(connection, maps, volumes.get(attachment.volumeId))) {
      foreign = true;
      wrong.push(
        `"${attachment.volumeName}" leads to LUN ${connection.lun ?? "without a number"}, under which its own LUN isn't mapped: another one of its name may be`,
      );
    } else connections[attachment.volumeId] = connection;
  }
  if (wrong.length > 0)
    throw new DrError({
      code: "failure-state",
      attempted: `Prove that instance "${item.label}" uses "${ctx.plan.to}"`,
      seen: wrong.join("; "),
      state: `The instance is stopped. "${ctx.plan.to}" is ${target.iqn} at ${target.portals.join(", ")}.`,
      remedy: foreign
        ? `Rename or delete the other LUN, detach these volumes by hand, restart cinder-volume, which has read the other's path; then run again. If its driver doesn't come up because "${ctx.plan.from}" is away, set route to direct.`
        : "Detach what is wrong by hand, then run again.",
    });
  return { connections };
}

/** Initiators have LUN numbers of their own: which igroup is the host's isn't known, but that the number is the LUN's in one. */
export function leadsToLun(
  connection: ConnectionInfo | undefined,
  maps: LunMapsByPath,
  volume: CinderVolume | undefined,
): boolean {
  if (volume === undefined) return false;
  return maps.get(lunPathOf(volume))?.some((map) => map.logicalUnitNumber === connection?.lun) === true;
}

export function leadsTo(connection: ConnectionInfo, target: IscsiTargetInfo): boolean {
  const portals = [...(connection.portal === undefined ? [] : [connection.portal]), ...(connection.portals ?? [])];
  return (
    connection.iqn === target.iqn && portals.length > 0 && portals.every((portal) => target.portals.includes(portal))
  );
}
