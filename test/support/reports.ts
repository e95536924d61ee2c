import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Intent } from "../../lib/switchover";
import type { ExecutionEvent } from "../../lib/switchover/execute";
import { Journal } from "../../lib/switchover/journal";
import { buildReport, type Report } from "../../lib/switchover/report";
import { at, operator } from "../unit/switchover/support";
import { intentTo, type World } from "../unit/switchover/world";

/** The report of a switchover in a world in memory; of one that ends by an error, what it left. */
export async function reportFrom(
  world: World,
  intent: Intent = intentTo("idr"),
  onEvent?: (event: ExecutionEvent) => void,
): Promise<Report> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "cheesecake-report-"));
  try {
    const dr = operator(world, directory);
    await dr.up(intent, at("iprod"), onEvent).catch((error: unknown) => {
      if (world.journals.size === 0) throw error;
    });
    const files = await Journal.list(directory);
    return buildReport(await Journal.read(files.at(-1) ?? ""));
  } finally {
    await rm(directory, { recursive: true });
  }
}
