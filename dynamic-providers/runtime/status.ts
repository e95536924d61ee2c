import * as log from "@pulumi/pulumi/log";
import { resetOptions } from "@pulumi/pulumi/runtime/settings";
import * as fs from "node:fs";
import { engineAddress } from "./orphan";

/**
 * How things stand, where Pulumi shows it (measured with CLI 3.259.0): an ephemeral message of the engine's log stands in
 * the stack's Info column until the next one; where there's no terminal it's a line like any other. In neither case it's
 * among the diagnostics that are repeated in the end, as what is printed is. A provider isn't told which of the two it is.
 */
const everyMs = (): number => (hasTerminal() ? 5_000 : 30_000);

function hasTerminal(): boolean {
  try {
    fs.closeSync(fs.openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}

/** Runs the work, and shows what it tells of itself until it ends. */
export async function watched<T>(
  work: (onStatus: (status: () => string) => void) => Promise<T>,
  periodMs = everyMs(),
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await work((status) => {
      const engine = engineAddress();
      if (engine === undefined) return;
      // The SDK tells this process the address of the engine's log as an argument alone.
      resetOptions("", "", -1, `${engine.host}:${engine.port}`, "", false, "");
      timer = setInterval(() => void log.info(status(), undefined, undefined, true), periodMs);
    });
  } finally {
    clearInterval(timer);
  }
}
