/** An embedded lab with the pair declared, for measurements that need no bytes on the volumes. */
import path from "node:path";
import { populateLab } from "../lab/embedded/populate";
import { labDown, type LabDescription, type LabTiming, labUp, readLab } from "../lab/lab";
import { LabPulumi } from "../lab/pulumi";
import type { Context } from "./measurement";

/** Of an instance: the four sets of the runbook. */
export const VOLUMES_EACH = 4;
/** A compute host sees 4,095 LUNs at most. */
const VOLUMES_OF_A_HOST = 4000;

export class BenchLab {
  private constructor(
    readonly lab: LabDescription,
    readonly pulumi: LabPulumi,
    private readonly ctx: Pick<Context, "say">,
  ) {}

  /** For so many instances at most; gone after the work, whatever comes of it. */
  static async with<T>(
    ctx: Pick<Context, "say" | "scratch" | "signal">,
    o: { readonly instances: number; readonly timing?: LabTiming },
    work: (lab: BenchLab) => Promise<T>,
  ): Promise<T> {
    const dir = path.join(ctx.scratch, "lab");
    const formerPath = process.env["CHEESECAKE_DATA_PATH"];
    // iSCSI needs two programs run for each LUN that is mapped, which would be measured, too.
    process.env["CHEESECAKE_DATA_PATH"] = "files";
    try {
      await labUp({
        flavour: "embedded",
        dir,
        python: "",
        computes: Math.max(2, Math.ceil((o.instances * VOLUMES_EACH) / VOLUMES_OF_A_HOST)),
        ...(o.timing === undefined ? {} : { timing: o.timing }),
        progress: () => undefined,
      });
    } finally {
      if (formerPath === undefined) delete process.env["CHEESECAKE_DATA_PATH"];
      else process.env["CHEESECAKE_DATA_PATH"] = formerPath;
    }
    const lab = readLab(dir);
    const pulumi = new LabPulumi(lab, () => undefined);
    try {
      ctx.signal.throwIfAborted();
      await pulumi.init({ instances: 1 });
      await pulumi.set(pulumi.recoveryStack, "promotion", "immediate");
      await pulumi.up(pulumi.recoveryStack);
      return await work(new BenchLab(lab, pulumi, ctx));
    } finally {
      pulumi.remove();
      await labDown(dir, { keepLogs: false, progress: () => undefined });
    }
  }

  async add(instances: number): Promise<void> {
    if (instances === 0) return;
    const { dir } = this.lab;
    await populateLab({ dir, instances, volumesPerInstance: VOLUMES_EACH, progress: () => undefined });
    this.ctx.say(`${instances} instances more, with ${VOLUMES_EACH} volumes each`);
  }
}
