import { siteOf } from "../../topology/site-pair";
import type { ConfigEditor } from "../ports";
import type { Step, StepContext } from "../context";
import { controllerOf } from "./promote-stop-services";

/**
 * Needs: services stopped (or nothing enabled yet). Does: puts the new site's name in the place of the old one's inside
 * enabled_backends, and sets replication_device in both stanzas; nothing else in the file changes. Unplanned: the new
 * site's stanza goes without replication_device, or its driver won't start while the other site is dead. Proof: the
 * file, read back. Safe to repeat because the edit of an edited file changes nothing; a file that somebody else
 * changed meanwhile is refused.
 */
export const promoteEditConfiguration: Step = {
  id: "promote/edit-configuration",
  lanes: 4,
  items: (ctx) =>
    ctx.ports.controllers.map((controller) => ({
      key: `conf@${controller.name}`,
      label: `cinder.conf on ${controller.name}`,
    })),
  async satisfied(ctx, item) {
    const controller = controllerOf(ctx, item.key);
    const file = await controller.readFile(controller.cinderConf);
    return edited(ctx, file.content) === file.content ? { sha256: file.sha256 } : undefined;
  },
  async apply(ctx, item) {
    const controller = controllerOf(ctx, item.key);
    const file = await controller.readFile(controller.cinderConf);
    await ctx.guard();
    await controller.writeFile(controller.cinderConf, edited(ctx, file.content), file.sha256);
  },
  async verify(ctx, item) {
    const controller = controllerOf(ctx, item.key);
    const file = await controller.readFile(controller.cinderConf);
    return {
      sha256: file.sha256,
      enabledBackends: ctx.ports.config.get(file.content, "DEFAULT", "enabled_backends") ?? "",
    };
  },
};

function edited(ctx: StepContext, content: string): string {
  const { config } = ctx.ports;
  const from = siteOf(ctx.pair, ctx.plan.from).backend;
  const to = siteOf(ctx.pair, ctx.plan.to).backend;
  const enabled = config.get(content, "DEFAULT", "enabled_backends") ?? "";
  const wanted = config.listItems(enabled).includes(from)
    ? config.replaceListItem(enabled, from, to)
    : config.addListItem(enabled, to);
  let text = config.set(content, "DEFAULT", "enabled_backends", wanted);
  text = withReplication(config, text, from, to);
  return ctx.plan.mode === "planned"
    ? withReplication(config, text, to, from)
    : config.remove(text, to, "replication_device");
}

function withReplication(config: ConfigEditor, content: string, backend: string, peer: string): string {
  const wanted = `backend_id:${peer}`;
  const present = config.getAll(content, backend, "replication_device");
  return present.length === 1 && present[0] === wanted
    ? content
    : config.set(content, backend, "replication_device", wanted);
}
