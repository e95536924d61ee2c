/**
 * Breadcrumbs: small files that say in which instance, on which device, in which volume and at which stage they were written, and whose
 * own digest shows damage. They prove after a switchover that nothing was lost, and that nothing changed places. Pure.
 */
import { createHash } from "node:crypto";

export interface Breadcrumb {
  instance: string;
  device: string;
  volumeId: string;
  stage: string;
  /** ISO 8601 */
  writtenAt: string;
}

/** A breadcrumb that must be there. With `sha256` (of the file, as reported when it was written) the very same bytes must be. */
export interface ExpectedBreadcrumb {
  instance: string;
  device: string;
  stage: string;
  sha256?: string;
}

/** What was found on one device. */
export interface DeviceFiles {
  instance: string;
  device: string;
  volumeId: string;
  files: readonly { name: string; sha256: string; content: Buffer }[];
}

/**
 * - missing: no such file on the device
 * - corrupted: its bytes aren't those that were written
 * - swapped: an intact breadcrumb of another instance, device or volume
 * - unexpected: a file nobody expects there
 */
export interface BreadcrumbProblem {
  kind: "missing" | "corrupted" | "swapped" | "unexpected";
  instance: string;
  device: string;
  file: string;
  detail: string;
}

export const breadcrumbName = (instance: string, stage: string) => `${instance}-${stage}`;

export function formatBreadcrumb(breadcrumb: Breadcrumb): string {
  const body = bodyOf(breadcrumb);
  return `${body}digest: ${digestOf(body)}\n`;
}

/** Undefined when the text isn't a breadcrumb, or not the one that was written. */
export function parseBreadcrumb(text: string): Breadcrumb | undefined {
  const match =
    /^instance: (.*)\ndevice: (.*)\nvolume: (.*)\nstage: (.*)\nwritten: (.*)\ndigest: ([0-9a-f]{64})\n$/.exec(text);
  if (!match) return undefined;
  const [, instance = "", device = "", volumeId = "", stage = "", writtenAt = "", digest = ""] = match;
  const breadcrumb = { instance, device, volumeId, stage, writtenAt };
  return digestOf(bodyOf(breadcrumb)) === digest ? breadcrumb : undefined;
}

/** Every difference between what is expected on the devices looked at and what is there; nothing when all is well. */
export function checkBreadcrumbs(
  expected: readonly ExpectedBreadcrumb[],
  devices: readonly DeviceFiles[],
): BreadcrumbProblem[] {
  const problems: BreadcrumbProblem[] = [];
  const isOf = (crumb: ExpectedBreadcrumb, device: DeviceFiles) =>
    crumb.instance === device.instance && crumb.device === device.device;
  for (const device of devices) {
    const wanted = new Map(
      expected
        .filter((crumb) => isOf(crumb, device))
        .map((crumb) => [breadcrumbName(crumb.instance, crumb.stage), crumb]),
    );
    const report = (kind: BreadcrumbProblem["kind"], file: string, detail: string) =>
      problems.push({ kind, instance: device.instance, device: device.device, file, detail });
    for (const file of device.files) {
      const crumb = wanted.get(file.name);
      const written = parseBreadcrumb(file.content.toString("utf8"));
      const stranger = written && strangeness(written, device);
      if (stranger !== undefined) report("swapped", file.name, stranger);
      else if (!crumb) report("unexpected", file.name, written ? `written ${written.writtenAt}` : "not a breadcrumb");
      else if (!written) report("corrupted", file.name, "its digest doesn't fit its content");
      else if (written.stage !== crumb.stage) report("corrupted", file.name, `it is of stage ${written.stage}`);
      else if (crumb.sha256 !== undefined && crumb.sha256 !== file.sha256) {
        report("corrupted", file.name, `sha256 ${file.sha256}, written was ${crumb.sha256}`);
      }
      wanted.delete(file.name);
    }
    for (const name of wanted.keys()) {
      report("missing", name, `the device holds ${device.files.map((file) => file.name).join(", ") || "no file"}`);
    }
  }
  for (const crumb of expected) {
    if (devices.some((device) => isOf(crumb, device))) continue;
    const file = breadcrumbName(crumb.instance, crumb.stage);
    problems.push({
      kind: "missing",
      instance: crumb.instance,
      device: crumb.device,
      file,
      detail: "the device wasn't read",
    });
  }
  return problems;
}

function strangeness(written: Breadcrumb, device: DeviceFiles): string | undefined {
  const same =
    written.instance === device.instance && written.device === device.device && written.volumeId === device.volumeId;
  if (same) return undefined;
  const place = (of: { instance: string; device: string; volumeId: string }) =>
    `${of.instance} ${of.device} (volume ${of.volumeId})`;
  return `written on ${place(written)}, found on ${place(device)}`;
}

function bodyOf(o: Breadcrumb): string {
  const { instance, device, volumeId, stage, writtenAt } = o;
  return `instance: ${instance}\ndevice: ${device}\nvolume: ${volumeId}\nstage: ${stage}\nwritten: ${writtenAt}\n`;
}

function digestOf(body: string): string {
  return createHash("sha256").update(body).digest("hex");
}
