import type { StepContext } from "../context";
import { pooled } from "../pool";
import type { ControllerPort } from "../ports";

export type UnitOfController = Awaited<ReturnType<ControllerPort["listUnits"]>>[number] & {
  readonly controller: ControllerPort;
};

/** Of every controller, in the order configured; asked side by side. */
export async function unitsOfAll({ ports }: StepContext): Promise<readonly UnitOfController[]> {
  const lists = await pooled(8, ports.controllers, async (controller) =>
    (await controller.listUnits()).map((unit) => ({ ...unit, controller })),
  );
  return lists.flat();
}
