import { DrError, messageOf } from "../../errors";
import { deadlines } from "../deadlines";
import type { Facts } from "../journal";
import type { PlannedAttachment } from "../plan";
import { isVolumeServiceOf } from "../observation";
import type { CinderAttachment, NovaManagePort } from "../ports";
import type { Step, StepContext, StepItem } from "../context";
import { arrayAt, completeServers, deletedServer, plannedServer, serverItems, untilAtRest, waitFor } from "../context";
import { assertComputeUp, leadsTo, leadsToLun } from "./attach-volumes";

/**
 * Needs: the instance stopped, Cinder serving the site. Does: has nova-manage replace the root's attachment by one at
 * the site, over the connector that Cinder stored with the former one; the device stays. Proof: the attachment that
 * Nova names, and no other, is attached, leads to the site, and its LUN is mapped there. Safe to repeat because what a
 * refresh left that was cut off is told from Cinder's attachments: one that lacks its last call only is completed, one
 * that Nova doesn't name is deleted, and else the refresh is run again; two at once are kept apart by a lock beside it.
 */
export const attachRenewRoots: Step = {
  id: "attach/renew-roots",
  lanes: 4,
  items: (ctx) => serverItems(completeServers(ctx).filter((server) => server.root !== undefined)),
  async satisfied(ctx, item) {
    const deleted = await deletedServer(ctx, item);
    return deleted ?? factsOf(await look(ctx, item));
  },
  async apply(ctx, item) {
    await untilAtRest(ctx, item);
    await waitFor(ctx, {
      attempted: `Renew the root of instance "${item.label}"`,
      deadlineSeconds: deadlines.renewRoot,
      everyMs: 10_000,
      check: async () => {
        const seen = await look(ctx, item);
        if (factsOf(seen) !== undefined) return { value: undefined };
        try {
          await renew(ctx, item, seen);
          return { value: undefined };
        } catch (error) {
          // Another one is at it, or its outcome isn't known: look again. What Cinder refuses isn't asked for again.
          const again = DrError.is(error) && error.retryable && error.context["status"] === undefined;
          if (again) return { seen: error.seen };
          throw error;
        }
      },
    });
  },
  async verify(ctx, item) {
    const seen = await look(ctx, item);
    const facts = factsOf(seen);
    if (facts !== undefined) return facts;
    const { root, own } = seen;
    throw new DrError({
      code: "failure-state",
      attempted: `Prove that the root of instance "${item.label}" uses "${ctx.plan.to}"`,
      seen:
        `"${root.volumeName}" at ${root.device} leads to ${own?.connection?.iqn ?? "nowhere"} at ${own?.connection?.portal ?? "no portal"}, ` +
        `its attachment is ${own?.status ?? "gone"}, its LUN is ${seen.mapped ? "mapped" : "not mapped"} there`,
      state: "The instance is stopped.",
      remedy: `Run again. If that doesn't help: ${byShelving}`,
    });
  },
};

interface Look {
  readonly root: PlannedAttachment;
  /** Cinder's row of the attachment that Nova names. */
  readonly own: CinderAttachment | undefined;
  /** Cinder's other rows of this volume and this instance: of refreshes that were cut off. */
  readonly others: readonly CinderAttachment[];
  readonly leads: boolean;
  /** Under the number that the connection names. */
  readonly mapped: boolean;
}

async function look(ctx: StepContext, item: StepItem): Promise<Look> {
  const { root } = plannedServer(ctx, item.key);
  if (root === undefined)
    throw new DrError({ code: "invariant", attempted: `Look at the root of "${item.label}"`, seen: "it has none" });
  const [target, maps, mappings, attachments, volumes] = await Promise.all([
    arrayAt(ctx, ctx.plan.to).getIscsiTarget(),
    ctx.live.lunMaps(ctx.plan.to),
    ctx.ports.compute.listServerAttachments(item.key),
    ctx.live.attachments(),
    ctx.live.volumes(),
  ]);
  const mapping = mappings.find(({ volumeId }) => volumeId === root.volumeId);
  if (mapping?.device !== root.device)
    throw new DrError({
      code: "failure-state",
      attempted: `Renew the root of instance "${item.label}"`,
      seen: `Nova has "${root.volumeName}" at ${mapping?.device ?? "no device"}, not at ${root.device}`,
      state: "The instance is stopped.",
      remedy: "Find out who changed it; then run again.",
    });
  const rows = [...attachments.values()].filter(
    ({ volumeId, serverId }) => volumeId === root.volumeId && serverId === item.key,
  );
  const own = rows.find(({ id }) => id === mapping.attachmentId);
  const connection = own?.connection;
  return {
    root,
    own,
    others: rows.filter((row) => row !== own),
    leads: connection !== undefined && leadsTo(connection, target),
    mapped: leadsToLun(connection, maps, volumes.get(root.volumeId)),
  };
}

function factsOf({ root, own, others, leads, mapped }: Look): Facts | undefined {
  if (own?.status !== "attached" || !leads || !mapped || others.length > 0) return undefined;
  return { connections: { [root.volumeId]: own.connection } };
}

async function renew(ctx: StepContext, item: StepItem, seen: Look): Promise<void> {
  const { root, own, others } = seen;
  const { blockStorage, database } = ctx.ports;
  const remove = async (rows: readonly CinderAttachment[]): Promise<void> => {
    for (const { id } of rows) {
      await ctx.guard();
      await blockStorage.deleteAttachment(id).catch((error: unknown) => {
        if (!DrError.is(error, "remote") || error.context["status"] !== 500) throw error;
        // One with a connection: Cinder asks Nova with our token, which Keystone refuses (500) to application credentials.
        throw new DrError({
          code: "failure-state",
          attempted: `Delete attachment ${id} of "${root.volumeName}", which a refresh left that was cut off`,
          seen: messageOf(error),
          state: "The instance is stopped; Nova doesn't refer to this attachment.",
          remedy: `Delete it with an administrator's password (not an application credential): openstack --os-volume-api-version 3.70 volume attachment delete ${id}; then run again.`,
          cause: error,
        });
      });
    }
  };
  if (own !== undefined && seen.leads && seen.mapped) {
    await remove(others);
    if (own.status === "attached") return;
    await ctx.guard();
    return blockStorage.completeAttachment(own.id);
  }
  const attempted = `Renew the root of instance "${item.label}"`;
  // Nova has no connection of it then: a refresh would fail at disconnecting it (measured; libvirt's driver alike).
  if (own?.status === "reserved")
    throw new DrError({
      code: "failure-state",
      attempted,
      seen: `a refresh failed when Cinder had to connect "${root.volumeName}", and left Nova without a connection of it`,
      state: "The instance is stopped; its root is reserved for it. Started now it would come up without its root.",
      remedy: byShelving,
    });
  await assertComputeUp(ctx, (await ctx.live.servers()).get(item.key), attempted);
  await assertVolumeServiceUp(ctx, root, attempted);
  // One with a connection holds the volume `attaching`, and no new one could be made; one without keeps it reserved.
  await remove(others.filter(({ connection }) => connection !== undefined));
  const connector = await database.findConnector({ serverId: item.key, volumeId: root.volumeId });
  if (connector === undefined)
    throw new DrError({
      code: "failure-state",
      attempted,
      seen: `Cinder has no connector of any attachment of "${root.volumeName}" to it`,
      state: "The instance is stopped.",
      remedy: byShelving,
    });
  await ctx.guard();
  await novaManage(ctx, attempted).refreshAttachment({ serverId: item.key, volumeId: root.volumeId, connector });
  const { own: renewed, others: left } = await look(ctx, item);
  if (renewed !== undefined) await remove(left);
}

const byShelving = "Shelve and unshelve the instance by hand, which connects its volumes anew; then run again.";

/** A refresh disconnects before it connects: with cinder-volume down it would leave the root without a connection. */
async function assertVolumeServiceUp(ctx: StepContext, root: PlannedAttachment, attempted: string): Promise<void> {
  const [host] = (await ctx.live.volumes()).get(root.volumeId)?.host.split("#") ?? [];
  const services = await ctx.ports.blockStorage.listServices();
  if (services.some((service) => isVolumeServiceOf(host ?? "")(service) && service.up)) return;
  throw new DrError({
    code: "failure-state",
    attempted,
    seen: `cinder-volume of ${host ?? "its backend"} is down`,
    state: "The instance is stopped.",
    remedy: "Start it, then run again.",
  });
}

function novaManage(ctx: StepContext, attempted: string): NovaManagePort {
  if (ctx.ports.novaManage !== undefined) return ctx.ports.novaManage;
  throw new DrError({
    code: "config",
    attempted,
    seen: "no host of nova-manage is configured",
    state: "The instance is stopped.",
    remedy: "Configure novaManage as docs/real-cloud.md shows; then run again.",
  });
}
