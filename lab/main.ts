import { Command, Option } from "commander";
import { existsSync, rmSync } from "node:fs";
import path from "node:path";
import { descriptionFile } from "./description";
import { populateLab } from "./embedded/populate";
import { type Flavour, flavours, labDown, labStatus, labUp, readLab } from "./lab";
import { progressTo } from "./openstack/progress";
import { statusTable } from "./openstack/status";
import { LabPulumi } from "./pulumi";

const program = new Command("lab").description("An OpenStack cloud with two simulated ONTAP clusters, on loopback.");
const progress = () => progressTo((line) => console.log(line));
const FOLDER: [string, string, string] = ["--dir <dir>", "folder of the lab", ".lab"];

program
  .command("up")
  .description("bring a lab up, or what is missing of it")
  .option(...FOLDER)
  .option("--supervise", "restart what dies, as a service manager does")
  .addOption(
    new Option("--flavour <flavour>", "the real OpenStack or the simulated one").choices(flavours).default("openstack"),
  )
  .option("--computes <number>", "compute hosts of an embedded lab: each sees 4095 LUNs at most", Number)
  .action(async (o: { dir: string; supervise?: boolean; flavour: Flavour; computes?: number }) => {
    const python = process.env["CINDER_CHEESECAKE_PYTHON"] ?? "";
    const lab = await labUp({ supervise: false, ...o, python, progress: progress() });
    console.log(`OS_CLIENT_CONFIG_FILE=${lab.cloudsYaml} (clouds: admin, demo)`);
  });

program
  .command("populate")
  .description("add running instances with replicated volumes to an embedded lab, as many as are asked for")
  .option(...FOLDER)
  .requiredOption("--instances <number>", "instances, each with a root", Number)
  .requiredOption("--volumes-per-instance <number>", "data volumes of each: vdb, vdc, …", Number)
  .action(async (o: { dir: string; instances: number; volumesPerInstance: number }) => {
    const { backend, instances, volumes } = await populateLab({ ...o, progress: progress() });
    console.log(`${instances} instances with ${volumes} volumes on ${backend}`);
  });

program
  .command("status")
  .description("what runs, where, and its memory")
  .option(...FOLDER)
  .action(({ dir }: { dir: string }) => console.log(statusTable(labStatus(dir))));

program
  .command("down")
  .description("end a lab and remove it")
  .option(...FOLDER)
  .option("--keep-logs", "leave logs and reports in the folder")
  .action(async ({ dir, keepLogs }: { dir: string; keepLogs?: boolean }) => {
    // First, as it needs the lab's description, which goes with the lab.
    if (existsSync(descriptionFile(dir))) {
      new LabPulumi(readLab(dir), () => undefined).remove();
      rmSync(path.join(dir, "breadcrumbs.jsonl"), { force: true });
      if (keepLogs !== true) rmSync(path.join(dir, "reports"), { recursive: true, force: true });
    }
    await labDown(dir, { keepLogs: keepLogs ?? false, progress: progress() });
  });

program.parseAsync().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
