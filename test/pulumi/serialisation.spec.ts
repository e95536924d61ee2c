import * as pulumi from "@pulumi/pulumi";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { delegateTo } from "../../dynamic-providers/runtime/delegate";

const projectRoot = path.resolve(__dirname, "../..");
const folder = path.join(projectRoot, "dynamic-providers");
const providers = fs.readdirSync(folder).filter((file) => file.endsWith(".provider.ts"));

/** What Pulumi's provider process does with the text in the state, in a Node process that knows nothing else. */
const load = `
  const provider = require("require-from-string")(require("node:fs").readFileSync(process.argv[1], "utf8")).handler();
  const config = { get: () => undefined, require: () => { throw new Error("unset"); } };
  (async () => {
    await provider.configure({ config });
    const { failures } = await provider.check({}, {});
    console.log(JSON.stringify({ failures, loaders: Boolean(require.extensions[".ts"]) }));
    process.exit(0);
  })();
`;

describe("providers in the state", function () {
  this.timeout(60_000);

  it("covers every resource", () => {
    const resources = fs.readdirSync(folder).filter((file) => file.endsWith(".ts") && !file.endsWith(".provider.ts"));
    assert.deepEqual(providers.map((file) => file.replace(".provider", "")).sort(), resources.sort());
  });

  for (const file of providers)
    it(`${file} is a short text that loads the module in a bare process`, async () => {
      const provider = delegateTo(path.join(folder, path.basename(file, ".ts")));
      const { text, containsSecrets } = await pulumi.runtime.serializeFunction(() => provider, { allowSecrets: true });
      assert.equal(containsSecrets, false);
      assert.ok(text.length < 5000, `${text.length} characters`);
      assert.ok(!text.includes(projectRoot), "the text names this checkout's folder");

      const state = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "serialised-")), "provider.js");
      fs.writeFileSync(state, text);
      const { stdout } = await promisify(execFile)(process.execPath, ["-e", load, state], { cwd: projectRoot });
      const answer = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as {
        failures: { property: string }[];
        loaders: boolean;
      };
      assert.ok(answer.failures.length > 0, "inputs without anything are faulty");
      for (const { property } of answer.failures) assert.notEqual(property, "");
      fs.rmSync(path.dirname(state), { recursive: true });
    });
});
