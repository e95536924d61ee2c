import { ControllerHost, type ControllerOptions } from "./controller-host";

export type { ControllerHost, ControllerOptions, FileVersion, ServiceRole, UnitStatus } from "./controller-host";
export type { CommandResult, CommandRunner, RunOptions } from "./runner";

/** Connects at the first call. */
export function connectController(options: ControllerOptions): ControllerHost {
  return new ControllerHost(options);
}
