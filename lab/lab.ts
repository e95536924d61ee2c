/** The lab as others see it: a cloud, real or embedded, and two simulated ONTAP clusters, living in a folder. */
import type { LabDescription } from "./description";
import { embeddedLabUp, type LabTiming, missingForEmbeddedLab } from "./embedded/up";
import { labUp as realLabUp, type LabUpOptions, missingForLab } from "./openstack/up";

export * from "./description";
export type { LabTiming } from "./embedded/up";
export { labDown } from "./openstack/down";
export { labStatus } from "./openstack/status";

/** `openstack` proves, on Debian as root; `embedded` is fast, and runs where Node and MariaDB do. */
export type Flavour = "openstack" | "embedded";
export const flavours = ["openstack", "embedded"] as const satisfies readonly Flavour[];

export function labUp({
  flavour = "openstack",
  computes,
  timing,
  ...o
}: LabUpOptions & { flavour?: Flavour; computes?: number; timing?: LabTiming }): Promise<LabDescription> {
  if (flavour === "embedded")
    return embeddedLabUp({
      ...o,
      ...(computes === undefined ? {} : { computes }),
      ...(timing === undefined ? {} : { timing }),
    });
  if (computes !== undefined) throw new Error("Only an embedded lab has as many compute hosts as are asked for.");
  if (timing !== undefined)
    throw new Error("A real OpenStack takes the time that it takes: only an embedded lab can be told.");
  return realLabUp(o);
}

/** What keeps a lab from running on this machine, in words; undefined when nothing does. */
export function missingFor(flavour: Flavour, python: string | undefined): string | undefined {
  return flavour === "embedded" ? missingForEmbeddedLab() : missingForLab(python);
}
