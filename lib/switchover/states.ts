import type { Mode } from "./intent";
import type { Server } from "./ports";

/**
 * What the states of volumes, snapshots and instances mean to a switchover. docs/switchover.md has the decisions as a
 * table. Statuses: cinder/objects/fields.py (29.0); `unmanaging`: cinder/volume/api.py; instances:
 * nova/api/openstack/common.py (34.0).
 */

/** Nothing works on such a volume, and its rows move as they are. */
export const restingStatuses: ReadonlySet<string> = new Set(["available", "in-use", "awaiting-transfer"]);

/** They pass by themselves: the hold phase waits for them. `maintenance` doesn't, unless a migration set it. */
export const passingStatuses: ReadonlySet<string> = new Set([
  "creating", "deleting", "managing", "unmanaging", "attaching", "detaching", "extending", "uploading", "downloading",
  "retyping", "backing-up", "restoring-backup", "reverting",
]); // prettier-ignore

export const passingSnapshotStatuses: ReadonlySet<string> = new Set([
  "creating", "deleting", "updating", "unmanaging", "backing-up", "restoring",
]); // prettier-ignore

/** Without a LUN of its name yet, or about to be: nothing that could be lost. */
export const lunlessStatuses: ReadonlySet<string> = new Set([
  "creating", "managing", "error_managing", "deleting", "error_deleting",
]); // prettier-ignore

/** Cinder's own "no migration" (cinder/volume/api.py: `AVAILABLE_MIGRATION_STATUS`). */
export function isMigrating(migrationStatus: string | undefined): boolean {
  return !["", "none", "success", "error", "deleting"].includes(migrationStatus ?? "");
}

/** Nova's words for an active instance, some for one in a task that leaves it where and as it is. */
const activeStatuses: ReadonlySet<string> = new Set(["ACTIVE", "REBOOT", "HARD_REBOOT", "PASSWORD"]);

/** Nova stops it, and detaches and attaches its volumes. */
export function isMovable(server: Server, mode: Mode): boolean {
  return (
    activeStatuses.has(server.status) ||
    server.status === "SHUTOFF" ||
    // Stopping is allowed in this state; with the storage lost, whoever rebooted an instance left it so.
    (mode === "unplanned" && server.status === "ERROR")
  );
}

/** Whether it's to run in the end: what its task leads to counts. */
export function runs({ status, taskState }: Server): boolean {
  if (taskState === "powering-off") return false;
  return activeStatuses.has(status) || taskState === "powering-on" || taskState?.startsWith("reboot") === true;
}

/** No compute host has anything of it, nor is about to; Cinder keeps its volumes reserved, without a connection. */
export const isOffloaded = ({ status, taskState }: Pick<Server, "status" | "taskState">): boolean =>
  status === "SHELVED_OFFLOADED" && taskState === undefined;

/**
 * Why an instance isn't touched: nothing of it can run, and Nova connects its volumes anew before anything does. Forced
 * down is how an operator tells Nova that a host is dead and fenced.
 */
export function reasonToLeave(server: Server, mode: Mode): string | undefined {
  // In a task it's being unshelved: planned, that connects its volumes to the site that is left.
  if (isOffloaded(server) || (mode === "unplanned" && server.status === "SHELVED_OFFLOADED"))
    return "is shelved and on no host: its volumes are moved, and connected when it's unshelved";
  if (mode === "unplanned" && server.hostStatus === "DOWN")
    return `is on compute host "${server.host ?? "?"}", which was forced down: its volumes are moved; evacuate it afterwards, not before`;
  return undefined;
}

/** What the operator does about an instance that can't be moved as it is. */
export function remedyFor({ status }: Server, mode: Mode): string {
  switch (status) {
    case "ERROR":
      return "See what failed (openstack server event list), then stop it (openstack server stop): Nova allows that.";
    case "PAUSED":
      return "Unpause it (openstack server unpause).";
    case "SUSPENDED":
      return mode === "planned"
        ? "Resume it (openstack server resume)."
        : "Set its state to active and stop it (openstack server set --state active, openstack server stop), which gives up its memory: the other site's disks may be older than that.";
    case "RESCUE":
      return "Unrescue it (openstack server unrescue).";
    case "VERIFY_RESIZE":
      return "Confirm or revert the resize (openstack server resize confirm, or revert).";
    case "SHELVED":
      return "Unshelve it, or let it be offloaded (openstack server shelve --offload).";
    case "UNKNOWN":
      return "Nova's cell of it doesn't answer: repair that.";
    default:
      return "Wait until its task has ended.";
  }
}
