import { DrError } from "../../errors";
import { deadlines } from "../deadlines";
import type { Mirror } from "../ports";
import type { Step, StepContext } from "../context";
import { arrayAt, waitFor } from "../context";
import { findMirror, forward } from "./mirrors";
import { assertSourceUnmapped } from "./premises";
import { unitsOfAll } from "./units";

/**
 * The direct route. Needs: cinder-volume stopped and masked everywhere, or its housekeeping resyncs what is broken here.
 * Does: quiesces (aborting a transfer that doesn't end) and breaks each mirror at the destination; the source isn't
 * asked. Proof: broken_off. Safe to repeat because the mirror's state is read first.
 */
export const cutoverBreakMirrors: Step = {
  id: "cutover/break-mirrors",
  lanes: 8,
  items: (ctx) => ctx.pair.flexVols.map((flexVol) => ({ key: flexVol, label: flexVol })),
  async premise(ctx) {
    for (const { controller, role, unit, active, masked } of await unitsOfAll(ctx))
      if (role === "volume" && (active || !masked))
        throw new DrError({
          code: "invariant",
          attempted: `Break mirrors at "${ctx.plan.to}"`,
          seen: `${unit} on ${controller.name} is ${active ? "running" : "not masked"}: its housekeeping would resync them`,
          remedy: "Find out what started it; run again.",
        });
    // Where one is broken already, the way is only forward, also when the source has died since.
    if (ctx.plan.mode === "planned" && !(await anyBroken(ctx))) await assertSourceUnmapped(ctx);
  },
  async satisfied(ctx, item) {
    return (await find(ctx, item.key)).state === "broken_off" ? point(ctx, item.key) : undefined;
  },
  async apply(ctx, item) {
    const port = arrayAt(ctx, ctx.plan.to);
    let mirror = await find(ctx, item.key);
    if (mirror.state !== "paused") {
      await ctx.guard();
      await port.setMirrorState(mirror.uuid, "paused");
      mirror = await waitFor(ctx, {
        attempted: `Quiesce mirror ${item.label}`,
        // A dead source's transfer may never end by itself.
        deadlineSeconds: ctx.plan.mode === "planned" ? deadlines.quiesceMirror : 30,
        check: async () => {
          const now = await find(ctx, item.key);
          return now.state === "paused" ? { value: now } : { seen: now.state };
        },
      }).catch(async (error: unknown) => {
        if (!DrError.is(error, "wait-timeout")) throw error;
        const now = await find(ctx, item.key);
        if (now.transfer?.uuid !== undefined) {
          await ctx.guard();
          ctx.say(`aborting the transfer of ${item.label} that holds up its quiesce`);
          await port.abortTransfer(now.uuid, now.transfer.uuid);
        }
        return now;
      });
    }
    await ctx.guard();
    await port.setMirrorState(mirror.uuid, "broken_off");
  },
  async verify(ctx, item) {
    await waitFor(ctx, {
      attempted: `Break mirror ${item.label}`,
      deadlineSeconds: deadlines.serviceRow,
      check: async () => {
        const now = await find(ctx, item.key);
        return now.state === "broken_off" ? { value: undefined } : { seen: now.state };
      },
    });
    return point(ctx, item.key);
  },
};

async function anyBroken(ctx: StepContext): Promise<boolean> {
  for (const flexVol of ctx.pair.flexVols) if ((await find(ctx, flexVol)).state === "broken_off") return true;
  return false;
}

async function find(ctx: StepContext, flexVol: string): Promise<Mirror> {
  const mirror = await findMirror(ctx, forward(ctx, flexVol));
  if (mirror === undefined)
    throw new DrError({
      code: "failure-state",
      attempted: `Break mirror ${flexVol}`,
      seen: "it doesn't exist any more",
      remedy: "Find out who removed it.",
    });
  return mirror;
}

async function point(ctx: StepContext, flexVol: string) {
  const mirror = await find(ctx, flexVol);
  const snapshot = (await arrayAt(ctx, ctx.plan.to).listSnapshots(flexVol)).find(
    (s) => s.name === mirror.exportedSnapshot,
  );
  return snapshot === undefined
    ? {}
    : { recoveryPoints: { [flexVol]: { snapshot: snapshot.name, at: snapshot.createTime } } };
}
