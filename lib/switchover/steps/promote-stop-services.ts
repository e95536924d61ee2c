import { DrError } from "../../errors";
import type { Step, StepContext } from "../context";
import type { ServiceRole } from "../ports";

/**
 * Needs: a way to each controller. Does: stops and masks all Cinder services everywhere, the API first, so that nothing
 * is accepted that nobody will carry out; units that normally don't run there are masked as well, or a cluster manager
 * starts them. Proof: no process. Safe to repeat because what is stopped and masked stays so.
 */
export const promoteStopServices: Step = {
  id: "promote/stop-services",
  lanes: 1, // the order is the point
  items: (ctx) =>
    (["api", "scheduler", "backup", "volume"] as const).flatMap((role) =>
      ctx.ports.controllers.map((controller) => ({
        key: `${role}@${controller.name}`,
        label: `cinder-${role} on ${controller.name}`,
      })),
    ),
  async satisfied(ctx, item) {
    const units = await unitsOf(ctx, item.key);
    return units.every((unit) => !unit.active && unit.masked) ? { units: units.map((unit) => unit.unit) } : undefined;
  },
  async apply(ctx, item) {
    const controller = controllerOf(ctx, item.key);
    for (const unit of await unitsOf(ctx, item.key)) {
      if (!unit.active && unit.masked) continue;
      await ctx.guard();
      await controller.stopAndMask(unit.unit);
    }
  },
  async verify(ctx, item) {
    const units = await unitsOf(ctx, item.key);
    const alive = units.filter((unit) => unit.active || !unit.masked);
    if (alive.length > 0)
      throw new DrError({
        code: "failure-state",
        attempted: `Stop ${item.label}`,
        seen: alive.map((unit) => `${unit.unit} is ${unit.active ? "running" : "not masked"}`).join("; "),
        remedy: "Find out what starts it, stop that, and run up again.",
      });
    return { units: units.map((unit) => unit.unit) };
  },
};

export function controllerOf(ctx: StepContext, key: string) {
  const name = key.slice(key.indexOf("@") + 1);
  const controller = ctx.ports.controllers.find((candidate) => candidate.name === name);
  if (controller === undefined)
    throw new DrError({ code: "invariant", attempted: `Use controller "${name}"`, seen: "it isn't configured" });
  return controller;
}

async function unitsOf(ctx: StepContext, key: string) {
  const role = key.slice(0, key.indexOf("@")) as ServiceRole;
  return (await controllerOf(ctx, key).listUnits()).filter((unit) => unit.role === role);
}

/** Invariant: between here and start no Cinder service runs anywhere. */
export async function assertServicesStopped(ctx: StepContext): Promise<void> {
  for (const controller of ctx.ports.controllers)
    for (const unit of await controller.listUnits())
      if (unit.active)
        throw new DrError({
          code: "invariant",
          attempted: "Promote while Cinder's services are stopped",
          seen: `${unit.unit} runs on ${controller.name}`,
          remedy: "Find out what started it although it's masked; stop it, and run up again.",
        });
}
