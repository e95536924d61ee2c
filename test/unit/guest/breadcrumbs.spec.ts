import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  breadcrumbName,
  checkBreadcrumbs,
  formatBreadcrumb,
  parseBreadcrumb,
  type Breadcrumb,
  type DeviceFiles,
} from "../../../lab/guest/breadcrumbs";

const crumb = (stage: string, changes: Partial<Breadcrumb> = {}): Breadcrumb => ({
  instance: "vm-07",
  device: "vdb",
  volumeId: "vol-b",
  stage,
  writtenAt: "2026-01-01T00:00:00.000Z",
  ...changes,
});

function file(breadcrumb: Breadcrumb, text = formatBreadcrumb(breadcrumb)) {
  const content = Buffer.from(text);
  const sha256 = createHash("sha256").update(content).digest("hex");
  return { name: breadcrumbName(breadcrumb.instance, breadcrumb.stage), sha256, content };
}

const device = (files: DeviceFiles["files"], changes: Partial<DeviceFiles> = {}): DeviceFiles => ({
  instance: "vm-07",
  device: "vdb",
  volumeId: "vol-b",
  files,
  ...changes,
});

const expected = (...stages: string[]) => stages.map((stage) => ({ instance: "vm-07", device: "vdb", stage }));
const kinds = (...args: Parameters<typeof checkBreadcrumbs>) =>
  checkBreadcrumbs(...args).map(({ kind, instance, device, file }) => `${kind} ${instance} ${device} ${file}`);

describe("parseBreadcrumb", () => {
  it("reads back what was formatted", () => {
    assert.deepEqual(parseBreadcrumb(formatBreadcrumb(crumb("pre-failover"))), crumb("pre-failover"));
  });

  it("doesn't take a text in which a letter has changed", () => {
    const text = formatBreadcrumb(crumb("pre-failover"));
    assert.equal(parseBreadcrumb(text.replace("vol-b", "vol-c")), undefined);
    assert.equal(parseBreadcrumb(text.slice(0, -10)), undefined);
  });
});

describe("checkBreadcrumbs", () => {
  it("finds nothing when every breadcrumb is in its place", () => {
    const files = [file(crumb("pre-failover")), file(crumb("down-services"))];
    assert.deepEqual(checkBreadcrumbs(expected("pre-failover", "down-services"), [device(files)]), []);
  });

  it("names a missing one, also on a device that wasn't read", () => {
    assert.deepEqual(kinds(expected("a", "b"), [device([file(crumb("a"))])]), ["missing vm-07 vdb vm-07-b"]);
    assert.deepEqual(kinds(expected("a"), []), ["missing vm-07 vdb vm-07-a"]);
  });

  it("names an unexpected one", () => {
    assert.deepEqual(kinds([], [device([file(crumb("a"))])]), ["unexpected vm-07 vdb vm-07-a"]);
  });

  it("names one whose bytes have changed", () => {
    const damaged = file(crumb("a"), formatBreadcrumb(crumb("a")).replace("2026", "2025"));
    assert.deepEqual(kinds(expected("a"), [device([damaged])]), ["corrupted vm-07 vdb vm-07-a"]);
  });

  it("names one that was replaced by another valid one, when its hash is known", () => {
    const later = file(crumb("a", { writtenAt: "2026-01-02T00:00:00.000Z" }));
    const known = expected("a").map((one) => ({ ...one, sha256: file(crumb("a")).sha256 }));
    assert.deepEqual(kinds(known, [device([later])]), ["corrupted vm-07 vdb vm-07-a"]);
  });

  it("names one whose name and stage differ", () => {
    assert.deepEqual(kinds(expected("a"), [device([{ ...file(crumb("b")), name: "vm-07-a" }])]), [
      "corrupted vm-07 vdb vm-07-a",
    ]);
  });

  it("sees two devices that changed places, though their files have the same names", () => {
    const b = [file(crumb("a"))];
    const c = [file(crumb("a", { device: "vdc", volumeId: "vol-c" }))];
    const both = [...expected("a"), { instance: "vm-07", device: "vdc", stage: "a" }];
    const found = checkBreadcrumbs(both, [
      device(c, { volumeId: "vol-c" }),
      device(b, { device: "vdc", volumeId: "vol-b" }),
    ]);
    assert.deepEqual(
      found.map((problem) => `${problem.kind} ${problem.device}: ${problem.detail}`),
      [
        "swapped vdb: written on vm-07 vdc (volume vol-c), found on vm-07 vdb (volume vol-c)",
        "swapped vdc: written on vm-07 vdb (volume vol-b), found on vm-07 vdc (volume vol-b)",
      ],
    );
  });

  it("sees a breadcrumb of another instance", () => {
    const foreign = file(crumb("a", { instance: "vm-08" }));
    assert.deepEqual(kinds(expected("a"), [device([foreign])]), [
      "swapped vm-07 vdb vm-08-a",
      "missing vm-07 vdb vm-07-a",
    ]);
  });
});
