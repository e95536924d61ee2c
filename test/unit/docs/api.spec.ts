import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { root } from "./documents";

describe("the public API", function () {
  this.timeout(120_000);

  it("is documented: every export, and all that it refers to", async () => {
    const typedoc = path.join(root, "node_modules", "typedoc", "bin", "typedoc");
    // Ends with an error at the first warning (typedoc.json).
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [typedoc, "--emit", "none", "--logLevel", "Verbose"],
      {
        cwd: root,
        maxBuffer: 1 << 26,
      },
    );
    assert.doesNotMatch(stdout, /\[warning\]/);
  });
});
