import assert from "node:assert/strict";
import { dataPathLine } from "../../../lab/description";
import { chooseStorage, type Machine } from "../../../lab/embedded/data-path";

const ALL = ["tgtd", "iscsi-inq", "qemu-img", "qemu-io", "mke2fs", "debugfs", "e2fsck"];

function machine(missing: readonly string[] = [], qemuHasIscsi = true): Machine {
  const there = ALL.filter((program) => !missing.includes(program));
  return { find: (name) => (there.includes(name) ? `/usr/bin/${name}` : undefined), qemuHasIscsi: () => qemuHasIscsi };
}

describe("chooseStorage", () => {
  it("takes iSCSI and ext4 where everything for them is installed", () => {
    assert.deepEqual(chooseStorage({}, machine()), { dataPath: "iscsi", filesystem: "ext4" });
  });

  for (const program of ["tgtd", "iscsi-inq", "qemu-img", "qemu-io"])
    it(`takes the LUNs' files without ${program}, and says so`, () => {
      const { dataPath, dataPathReason, filesystem } = chooseStorage({}, machine([program]));
      assert.deepEqual([dataPath, filesystem], ["files", "ext4"]);
      assert.match(dataPathReason ?? "", new RegExp(`^there is no ${program} \\(Debian: [a-z-]+\\) here$`));
    });

  it("takes the LUNs' files where QEMU can't open an iSCSI disk", () => {
    assert.match(chooseStorage({}, machine([], false)).dataPathReason ?? "", /iSCSI driver of QEMU/);
  });

  for (const program of ["mke2fs", "debugfs", "e2fsck"])
    it(`takes archives without ${program}`, () => {
      assert.deepEqual(chooseStorage({}, machine([program])), { dataPath: "iscsi", filesystem: "archive" });
    });

  it("does as CHEESECAKE_DATA_PATH and CHEESECAKE_FILESYSTEM say", () => {
    assert.deepEqual(chooseStorage({ CHEESECAKE_DATA_PATH: "files", CHEESECAKE_FILESYSTEM: "archive" }, machine()), {
      dataPath: "files",
      dataPathReason: "CHEESECAKE_DATA_PATH says so",
      filesystem: "archive",
    });
    assert.equal(chooseStorage({ CHEESECAKE_DATA_PATH: "iscsi" }, machine()).dataPath, "iscsi");
  });

  const refused: [NodeJS.ProcessEnv, string[], RegExp][] = [
    [{ CHEESECAKE_DATA_PATH: "iscsi" }, ["tgtd"], /asks for iSCSI, but there is no tgtd \(Debian: tgt\) here: install/],
    [{ CHEESECAKE_FILESYSTEM: "ext4" }, ["debugfs"], /asks for ext4, but there is no debugfs here: install e2fsprogs/],
    [{ CHEESECAKE_DATA_PATH: "fiels" }, [], /CHEESECAKE_DATA_PATH is "fiels": needed is one of iscsi, files/],
  ];
  for (const [env, missing, text] of refused)
    it(`refuses ${JSON.stringify(env)}${missing.length === 0 ? "" : ` without ${missing.join()}`}`, () => {
      assert.throws(() => chooseStorage(env, machine(missing)), text);
    });
});

describe("dataPathLine", () => {
  it("says which way it is, and why it isn't iSCSI", () => {
    assert.match(dataPathLine({ dataPath: "iscsi", filesystem: "ext4" }), /by real iSCSI \(formatted as ext4\)$/);
    const files = dataPathLine({ dataPath: "files", dataPathReason: "there is no tgtd here", filesystem: "archive" });
    assert.match(files, /by the LUNs' files, not by iSCSI: there is no tgtd here \(formatted as archives/);
  });
});
