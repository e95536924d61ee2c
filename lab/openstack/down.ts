import * as fs from "node:fs";
import * as path from "node:path";
import { descriptionFile } from "../description";
import type { Progress } from "./progress";
import { listServices, processesOfLab, setSupervisor, stop } from "./service-manager";
import { releaseSlots } from "./slots";

export interface LabDownOptions {
  /** Keep <lab>/logs. */
  keepLogs?: boolean;
  progress?: Progress;
}

/** What `up` makes in the folder; lab.json last, so that a repeat still knows the lab. Anything else there is left alone. */
const ENTRIES = [
  ...[
    "admin-openrc",
    "demo-openrc",
    "clouds.yaml",
    "computes",
    "control",
    "controllers",
    "lab",
    "logs",
    "ontap",
    "run",
  ],
  ...["secrets", "services", "tls", "lab.json"],
];

/**
 * Ends the lab in `dir`, whatever state it's in, and removes its folder and its slot. Returns when no process carries
 * the lab's marker any more. A repeat, or a folder that has no lab, is no error.
 */
export async function labDown(
  dir: string,
  { keepLogs = false, progress = () => undefined }: LabDownOptions = {},
): Promise<void> {
  const lab = path.resolve(dir);
  const folder = fs.existsSync(lab) ? fs.realpathSync(lab) : lab;
  const known = fs.existsSync(descriptionFile(folder));
  if (known) {
    await setSupervisor(folder, "off", "");
    // Nothing of them is kept: no need to wait for a graceful end.
    await Promise.all(listServices(folder).map((id) => stop(folder, id, 1)));
    progress("all services have ended");
  }
  await endStragglers(folder);
  if (known) {
    for (const entry of ENTRIES.filter((entry) => !keepLogs || entry !== "logs"))
      fs.rmSync(path.join(folder, entry), { recursive: true, force: true });
    if (fs.readdirSync(folder).length === 0) fs.rmdirSync(folder);
  }
  releaseSlots(folder); // last: the addresses are free from here on
  progress("the lab is gone");
}

/** Tools of an `up` that was killed, and whatever left its service's session: all carry the lab's marker. */
async function endStragglers(lab: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (let signal: NodeJS.Signals = "SIGTERM"; ; signal = "SIGKILL") {
    const pids = processesOfLab(lab);
    if (pids.length === 0) return;
    if (Date.now() > deadline) throw new Error(`Processes of the lab in ${lab} can't be ended: ${pids.join(", ")}.`);
    for (const pid of pids)
      try {
        process.kill(pid, signal);
      } catch {
        // It ended by itself meanwhile.
      }
    for (let waited = 0; waited < 3000 && processesOfLab(lab).length > 0; waited += 100)
      await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
