import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { missingForEmbeddedLab } from "../../../lab/embedded/up";
import { findProgram, requireProgram } from "../../../lab/programs";

describe("the machine's programs", () => {
  let folder: string;
  const name = "cheesecake-program";

  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "cheesecake-programs-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it("are found on PATH: files that may be run, the first counts", () => {
    const [first, second] = [path.join(folder, "first"), path.join(folder, "second")];
    for (const each of [first, second]) {
      mkdirSync(each);
      writeFileSync(path.join(each, name), "");
    }
    mkdirSync(path.join(folder, name));
    chmodSync(path.join(second, name), 0o755);
    assert.equal(findProgram(name, [folder, first, "", second].join(":")), path.join(second, name));
    assert.equal(findProgram(name, first), undefined);
  });

  it("are found beyond PATH where systems put servers, and are named where they aren't there", () => {
    assert.match(findProgram("ldconfig", "") ?? "", /sbin\/ldconfig$/);
    assert.throws(() => requireProgram(name), /^Error: cheesecake-program can't be found on this machine\.$/);
  });

  it("of an embedded lab are MariaDB's; without them the set-up is named, which says how to get them", () => {
    assert.equal(
      missingForEmbeddedLab((program) => `/somewhere/${program}`, "linux"),
      undefined,
    );
    const without = missingForEmbeddedLab((program) => (program === "mariadbd" ? undefined : program), "linux");
    assert.match(without ?? "", /^MariaDB is missing \(mariadbd\): run `npm run setup -- --need embedded`/);
    const elsewhere = missingForEmbeddedLab((program) => program, "darwin");
    assert.match(elsewhere ?? "", /^it needs Linux, .*; take a container or a virtual machine \(docs\/lab\.md\)$/);
  });
});
