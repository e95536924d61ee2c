import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(__dirname, "..", "..", "..");

/** A cell's files and folders in code marks; a bare file name lies in the folder of the path before it. */
function testsNamed(cell: string): string[] {
  let folder = "";
  return namesIn(cell).map((name) => {
    if (name.includes("/")) folder = path.dirname(name);
    return name.includes("/") ? name : path.join(folder, name);
  });
}

const namesIn = (cell: string): string[] =>
  [...cell.matchAll(/`([\w./-]+)`/g)].flatMap(([, name = ""]) => (/\.ts$|\//.test(name) ? [name] : []));

describe("the invariants", () => {
  const rows = readFileSync(path.join(root, "lib/switchover/INVARIANTS.md"), "utf8")
    .split("\n")
    .filter((line) => /^\| \d+ /.test(line))
    .map((line) => line.split("|").map((cell) => cell.trim()));

  it("are numbered, and each is kept and tried somewhere", () => {
    assert.deepEqual(
      rows.map(([, number]) => Number(number)),
      rows.map((_, at) => at + 1),
    );
    assert.ok(rows.length >= 16);
    for (const [, number, , keptIn = "", triedIn = ""] of rows)
      assert.ok(keptIn !== "" && testsNamed(triedIn).length > 0, `row ${number ?? ""}`);
  });

  it("name tests that exist", () => {
    const missing = rows.flatMap(([, , , , triedIn = ""]) =>
      testsNamed(triedIn).filter((file) => !existsSync(path.join(root, file))),
    );
    assert.deepEqual(missing, []);
  });

  it("name files of the engine that exist", () => {
    const missing = rows.flatMap(([, , , keptIn = ""]) =>
      namesIn(keptIn).filter(
        (file) => ![root, path.join(root, "lib/switchover")].some((folder) => existsSync(path.join(folder, file))),
      ),
    );
    assert.deepEqual(missing, []);
  });
});
