import { readLab } from "../description";
import { listServices, type ServiceStatus, statusOf } from "./service-manager";

/** Every service of the lab in `dir`, by host. Throws when there's no lab. */
export function labStatus(dir: string): ServiceStatus[] {
  const lab = readLab(dir);
  return listServices(lab.dir)
    .map((id) => statusOf(lab.dir, id))
    .sort((a, b) => a.host.localeCompare(b.host) || a.name.localeCompare(b.name));
}

export function statusTable(services: readonly ServiceStatus[]): string {
  const rows = services.map(({ host, name, active, masked, pid, processes, memoryMiB }) => [
    host,
    name,
    (active ? "up" : "down") + (masked ? ", masked" : ""),
    pid === undefined ? "" : String(pid),
    String(processes),
    `${memoryMiB} MiB`,
  ]);
  const total = services.reduce((sum, { memoryMiB }) => sum + memoryMiB, 0);
  const table = [
    ["HOST", "SERVICE", "STATE", "PID", "PROCESSES", "MEMORY"],
    ...rows,
    ["", "", "", "", "", `${total} MiB`],
  ];
  const widths = table.reduce<number[]>(
    (sofar, row) => row.map((cell, at) => Math.max(cell.length, sofar[at] ?? 0)),
    [],
  );
  return table
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
