import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { addressesOf, LAST_SLOT, ports } from "./addresses";
import { processesOfLab } from "./service-manager";

/** Shared by all checkouts of this user: slots, and what is slow to make. */
export function cacheFolder(): string {
  const base = process.env["XDG_CACHE_HOME"] ?? path.join(os.homedir(), ".cache");
  return path.join(base, "cinder-cheesecake");
}

/** One file for each slot in use, named by its number, holding the lab's folder. */
const slotsFolder = () => path.join(cacheFolder(), "lab-slots");

function takenSlots(): Map<number, string> {
  fs.mkdirSync(slotsFolder(), { recursive: true });
  const entries = fs.readdirSync(slotsFolder()).filter((name) => /^\d+$/.test(name));
  return new Map(entries.map((name) => [Number(name), fs.readFileSync(path.join(slotsFolder(), name), "utf8")]));
}

/** The slots that the lab in `dir` holds; more than one only after a start that was cut off. */
export function slotsOf(dir: string): number[] {
  return [...takenSlots()].filter(([, holder]) => holder === dir).map(([slot]) => slot);
}

export function releaseSlots(dir: string): void {
  for (const slot of slotsOf(dir)) fs.rmSync(path.join(slotsFolder(), String(slot)), { force: true });
}

async function canListen(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen(ports.database, address, () => server.close(() => resolve(true)));
  });
}

/**
 * Takes the lowest slot that no lab holds and returns its number; a lab that has one keeps it. A slot whose lab's folder
 * is gone and that has no process left is free again. Creating the file exclusively is what decides between two starts.
 */
export async function reserveSlot(dir: string): Promise<number> {
  const [own] = slotsOf(dir);
  if (own !== undefined) return own;
  for (const [slot, holder] of takenSlots())
    if (!fs.existsSync(holder) && processesOfLab(holder).length === 0)
      fs.rmSync(path.join(slotsFolder(), String(slot)), { force: true });
  for (let slot = 1; slot <= LAST_SLOT; slot++) {
    const file = path.join(slotsFolder(), String(slot));
    // Another user's labs have slots of their own on the same loopback network: hence the look at the port.
    if (fs.existsSync(file) || !(await canListen(addressesOf(slot).control))) continue;
    try {
      fs.writeFileSync(file, dir, { flag: "wx" });
      return slot;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  throw new Error(`All ${LAST_SLOT} lab slots in ${slotsFolder()} are taken: end labs with \`lab down --dir DIR\`.`);
}
