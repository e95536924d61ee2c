import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parse } from "yaml";
import { disasterRecoverySchema } from "../../lib/settings";
import { pairSecretsSchema } from "../../lib/topology/site-pair";
import { root, run } from "../support/installed-package";
import { skipBecause } from "../support/skip";
import { PulumiProject } from "./support/pulumi-project";
import { pairInput } from "./support/settings";

interface Template {
  readonly description: string;
  readonly config: Readonly<Record<string, { description: string; default?: string; secret?: boolean }>>;
}

/** What git wouldn't clone; `pulumi new` by itself leaves out .git alone. */
const notCloned = [".git", "node_modules", ".lab", "dist", "reports", "coverage"];

describe("the repository as a template", function () {
  this.timeout(120_000);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "template-"));
  const clone = path.join(folder, "clone");
  const made = path.join(folder, "made");
  let project: PulumiProject | undefined;
  after(() => {
    project?.remove();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const { template } = parse(fs.readFileSync(path.join(root, "Pulumi.yaml"), "utf8")) as { template: Template };

  it("asks for keys that there are, and for secrets as such", () => {
    assert.ok(Object.keys(template.config).length >= 4);
    for (const [key, { description, secret = false, default: value }] of Object.entries(template.config)) {
      const schema = (disasterRecoverySchema.shape as Record<string, { safeParse(v: unknown): { success: boolean } }>)[
        key
      ];
      assert.ok(schema, key);
      assert.ok(description.length > 10, key);
      assert.equal(secret, key in pairSecretsSchema.shape, key);
      if (value !== undefined) assert.ok(schema.safeParse(value).success, `${key}: ${value}`);
    }
  });

  it("gives `pulumi new` a project that is the same but for its name, and runs", async function () {
    const binaries = process.env["CINDER_CHEESECAKE_PULUMI_BIN"];
    if (binaries === undefined) skipBecause(this, "the Pulumi CLI isn't set up; `node tools/test.mjs pulumi` does it");
    const copied = (source: string): boolean => !notCloned.includes(path.relative(root, source));
    fs.cpSync(root, clone, { recursive: true, filter: copied });
    fs.mkdirSync(path.join(folder, "home"));
    const env = {
      ...process.env,
      PATH: [binaries, process.env["PATH"]].join(path.delimiter),
      PULUMI_HOME: path.join(folder, "home"),
      PULUMI_BACKEND_URL: `file://${folder}`,
      PULUMI_SKIP_UPDATE_CHECK: "1",
    };
    const args = ["new", clone, "--generate-only", "--yes", "--non-interactive", "--name", "my-cloud", "--dir", made];
    const { code, output } = await run("pulumi", args, folder, env);
    assert.equal(code, 0, output);

    const filesOf = (at: string) =>
      fs
        .readdirSync(at, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => path.relative(at, path.join(entry.parentPath, entry.name)));
    assert.deepEqual(filesOf(made).sort(), filesOf(clone).sort());
    const changed = filesOf(made).filter(
      (name) => !fs.readFileSync(path.join(made, name)).equals(fs.readFileSync(path.join(clone, name))),
    );
    assert.deepEqual(changed, ["Pulumi.yaml"], "a placeholder of Pulumi's templates stands in some other file, too");

    fs.symlinkSync(path.join(root, "node_modules"), path.join(made, "node_modules"));
    project = await PulumiProject.create(this, made, {
      plain: { program: "disaster-recovery", activeSite: "iprod", pair: JSON.stringify(pairInput) },
      secrets: {
        "ontapPasswords.iprod": "hush-1",
        "ontapPasswords.idr": "hush-2",
        databasePassword: "hush-3",
        messageQueuePassword: "hush-4",
        openstackSecret: "hush-5",
      },
    });
    const preview = await project.succeed("preview", "--diff");
    assert.match(preview, /::my-cloud::/);
    assert.match(preview, /cinder-cheesecake:ActiveSite: \(create\)/);
  });
});
