import { ControllerHost, type ControllerOptions } from "./controller-host";
import { NovaManage, type NovaManageOptions } from "./nova-manage";
import { LocalRunner, SshRunner } from "./runner";

export type { ControllerHost, ControllerOptions, FileVersion, ServiceRole, UnitStatus } from "./controller-host";
export type { NovaManage, NovaManageOptions } from "./nova-manage";
export type { CommandResult, CommandRunner, RunOptions } from "./runner";

/** Connects at the first call. */
export function connectController(options: ControllerOptions): ControllerHost {
  return new ControllerHost(options);
}

/** On the same host by a connection of its own: a refresh takes minutes. Connects at the first call. */
export function connectNovaManage(host: ControllerOptions, options: NovaManageOptions): NovaManage {
  return new NovaManage(options, host.kind === "local" ? new LocalRunner() : new SshRunner(host));
}
