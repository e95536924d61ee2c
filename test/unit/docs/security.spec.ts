import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { read, root } from "./documents";

describe("docs/security.md", () => {
  const { text } = read("docs/security.md");
  const held = [...text.matchAll(/^\| .* \| `(test\/[\w./-]+)`: (.+?) +\|$/gm)];

  it("names for each claim a test that exists, by its words", () => {
    const sections = text.split("\n## ").filter((section) => /^(What holds it|Backup and way back)\n/.test(section));
    const claims = sections.flatMap((section) =>
      section
        .split("\n")
        .filter((line) => line.startsWith("| "))
        .slice(2),
    );
    assert.equal(sections.length, 2);
    assert.equal(held.length, claims.length, "each claim has its test");
    for (const [, file = "", words = ""] of held)
      assert.ok(read(file).text.includes(words), `${file} has no test "${words}"`);
  });

  it("names files that exist", () => {
    const files = [...text.matchAll(/`((?:lib|cli)\/[\w./-]+)`/g)].map(([, file = ""]) => file);
    assert.ok(files.length > 10);
    assert.deepEqual(files.filter((file) => !existsSync(path.join(root, file))), []); // prettier-ignore
  });
});
