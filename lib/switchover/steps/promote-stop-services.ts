import { DrError } from "../../errors";
import { backendHost } from "../../topology/site-pair";
import type { Step, StepContext, StepItem } from "../context";
import { waitFor } from "../context";
import { deadlines } from "../deadlines";
import { pooled } from "../pool";
import { unitsOfAll } from "./units";

/**
 * Needs: a way to each controller; no volume in flight, as users work again and a service that is stopped leaves theirs
 * half-way; what died with a lost site isn't waited for long. Does: stops and masks all Cinder services everywhere, the API first, so that nothing
 * is accepted that nobody will carry out; units that normally don't run there are masked as well, or a cluster manager
 * starts them. Proof: no process. Safe to repeat because what is stopped and masked stays so.
 */
export const promoteStopServices: Step = {
  id: "promote/stop-services",
  lanes: 1, // the order is the point
  items: () => [
    { key: "api", label: "cinder-api on every controller" },
    { key: "others", label: "Cinder's other services on every controller" },
  ],
  async premise(ctx) {
    const died = diedWithSite(ctx);
    // Users don't work again before the direct route's.
    if ((died && ctx.plan.route === "direct") || !ctx.plan.steps.some(({ id }) => id === "promote/update-database"))
      return;
    const host = backendHost(ctx.pair, ctx.plan.from);
    await waitFor(ctx, {
      attempted: "Wait until nothing works on any volume",
      deadlineSeconds: died ? deadlines.drainTransientUnplanned : deadlines.drainTransient,
      state: "Cinder's services weren't stopped.",
      remedy: "Let it end, or reset the volume's state (openstack volume set --state); then run again.",
      check: async () => {
        const inFlight = await ctx.ports.database.listVolumesInFlight(host);
        // Half stopped, they end nothing any more; the API was first.
        if (inFlight.length === 0 || !(await apiRuns(ctx))) return { value: undefined };
        return { seen: inFlight.map((volume) => `volume ${volume.id} ${volume.status}`).join("; ") };
      },
    }).catch((error: unknown) => {
      if (!died || !DrError.is(error, "wait-timeout")) throw error;
      ctx.say(`going on without waiting any longer: ${error.seen}`);
    });
  },
  async satisfied(ctx, item) {
    const units = await unitsOf(ctx, item);
    return units.every((unit) => !unit.active && unit.masked) ? { units: units.map((unit) => unit.name) } : undefined;
  },
  async apply(ctx, item) {
    await pooled(8, await unitsOf(ctx, item), async (unit) => {
      if (!unit.active && unit.masked) return;
      await ctx.guard();
      await unit.controller.stopAndMask(unit.unit);
    });
  },
  async verify(ctx, item) {
    const units = await unitsOf(ctx, item);
    const alive = units.filter((unit) => unit.active || !unit.masked);
    if (alive.length > 0)
      throw new DrError({
        code: "failure-state",
        attempted: `Stop ${item.label}`,
        seen: alive.map((unit) => `${unit.name} is ${unit.active ? "running" : "not masked"}`).join("; "),
        remedy: "Find out what starts it, stop that, and run again.",
      });
    return { units: units.map((unit) => unit.name) };
  },
};

/**
 * What was under way at a lost site never ends, and its rows move as they are. A promotion by itself comes later: users
 * work again, and what is in flight is theirs.
 */
export function diedWithSite({ plan }: StepContext): boolean {
  return plan.kind === "switchover" && plan.mode === "unplanned";
}

async function apiRuns(ctx: StepContext): Promise<boolean> {
  return (await unitsOfAll(ctx)).every(({ role, active, startedHere }) => role !== "api" || active || !startedHere);
}

async function unitsOf(ctx: StepContext, item: StepItem) {
  return (await unitsOfAll(ctx))
    .filter((unit) => (unit.role === "api") === (item.key === "api"))
    .map((unit) => ({ ...unit, name: `${unit.unit}@${unit.controller.name}` }));
}

export function controllerOf(ctx: StepContext, key: string) {
  const name = key.slice(key.indexOf("@") + 1);
  const controller = ctx.ports.controllers.find((candidate) => candidate.name === name);
  if (controller === undefined)
    throw new DrError({ code: "invariant", attempted: `Use controller "${name}"`, seen: "it isn't configured" });
  return controller;
}

/** Invariant: between here and start no Cinder service runs anywhere. */
export async function assertServicesStopped(ctx: StepContext): Promise<void> {
  const running = (await unitsOfAll(ctx)).filter(({ active }) => active);
  if (running.length > 0)
    throw new DrError({
      code: "invariant",
      attempted: "Promote while Cinder's services are stopped",
      seen: running.map(({ unit, controller }) => `${unit} runs on ${controller.name}`).join("; "),
      remedy: "Find out what started them although they're masked; stop them, and run again.",
    });
}
