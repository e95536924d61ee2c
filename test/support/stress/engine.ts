/** A process with the engine, made to be killed: one `up` on a lab that another process has opened. */
import { DrError } from "../../../lib/errors";
import type { LabDescription } from "../../../lab/lab";
import type { SwitchoverState } from "../../../lib/switchover";
import { type Fault, FaultLab, type Journey } from "../faults/lab";

export interface Order {
  readonly lab: LabDescription;
  readonly state: SwitchoverState | undefined;
  readonly journey: Journey;
  readonly faults: readonly Fault[];
}

export type Told =
  | { readonly step: string }
  | { readonly state: SwitchoverState }
  /** What an error has to tell besides its message; undefined where it isn't one of the product's. */
  | { readonly stopped: string; readonly facts?: Partial<Record<"attempted" | "seen" | "state", string>> };

const tell = (told: Told): Promise<void> =>
  new Promise((resolve, reject) => process.send?.(told, (error: Error | null) => (error ? reject(error) : resolve())));

// Nobody waits for it any more.
process.on("disconnect", () => process.exit(1));

process.once("message", (order: Order) => {
  void (async () => {
    const lab = FaultLab.attach(order.lab, order.state);
    const { state, error } = await lab.run(order.journey, order.faults, (step) => void tell({ step }));
    if (state !== undefined) await tell({ state });
    else if (!DrError.is(error)) await tell({ stopped: String(error) });
    else
      await tell({
        stopped: error.message,
        facts: {
          attempted: error.attempted,
          seen: error.seen,
          ...(error.state === undefined ? {} : { state: error.state }),
        },
      });
    process.exit(0);
  })();
});
