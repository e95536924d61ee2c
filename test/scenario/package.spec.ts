import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { missingFor } from "../../lab/lab";
import { pairOfLab, secretsOfLab } from "../../lab/pair";
import { sayFailures, Scene } from "../openstack/support";
import { PulumiProject } from "../pulumi/support/pulumi-project";
import { newProject, packInto, run } from "../support/installed-package";
import { skipBecause } from "../support/skip";
import { blocks, read } from "../unit/docs/documents";

/** A project of somebody else's, with nothing but the package, does the whole of it. */
describe("the package in another project (embedded lab)", function () {
  this.timeout(600_000);
  const packed = fs.mkdtempSync(path.join(os.tmpdir(), "packed-"));
  let scene: Scene;
  let folder = "";
  let project: PulumiProject | undefined;

  before(async function () {
    const missing = missingFor("embedded", process.env["CINDER_CHEESECAKE_PYTHON"]);
    if (missing !== undefined) skipBecause(this, missing);
    scene = await Scene.open({ flavour: "embedded", instances: 2 });
    folder = await newProject(await packInto(packed), {
      "Pulumi.yaml": "name: my-cloud\nruntime: nodejs\n",
      "index.ts": blocks(read("docs/package.md"), "ts program").join(""),
      "tsconfig.json": JSON.stringify({ compilerOptions: { strict: true, target: "es2022", module: "node16" } }),
    });
    const { ontapPasswords, hookSecrets: _, ...others } = secretsOfLab(scene.lab);
    const passwords = Object.entries(ontapPasswords).map(([site, value]) => [`ontapPasswords.${site}`, value] as const);
    fs.writeFileSync(path.join(folder, "secrets.json"), JSON.stringify(secretsOfLab(scene.lab)), { mode: 0o600 });
    project = await PulumiProject.create(this, folder, {
      plain: { activeSite: "iprod", pair: JSON.stringify(pairOfLab(scene.lab)) },
      secrets: { ...others, ...Object.fromEntries(passwords) },
    });
  });

  sayFailures(() => scene);

  after(async () => {
    project?.remove();
    await scene?.close();
    for (const made of [packed, folder]) if (made !== "") fs.rmSync(made, { recursive: true, force: true });
  });

  const pulumi = (...args: string[]): Promise<string> => {
    assert.ok(project);
    return project.succeed(...args);
  };
  const cheesecake = (command: string, ...args: string[]) => {
    const [config = ""] = fs.readdirSync(folder).filter((name) => /^Pulumi\..+\.yaml$/.test(name));
    const program = path.join(folder, "node_modules/.bin/cheesecake");
    return run(program, [command, "--config", config, "--secrets", "secrets.json", ...args], folder);
  };

  it("declares the pair, and finds nothing to do the second time", async () => {
    await pulumi("up", "--yes", "--skip-preview");
    assert.match(await pulumi("preview"), /\d+ unchanged/);
    assert.match(await pulumi("stack", "output", "status"), /^active at iprod .*, protected$/m);
    const dynamic = project?.resources().filter(({ type }) => type.startsWith("pulumi-nodejs:")) ?? [];
    const providers = dynamic.map(({ inputs }) => String(inputs["__provider"]));
    assert.equal(providers.length, 7, "of two stanzas, two peerings, two mirrors and the active site");
    for (const text of providers) {
      assert.match(text, /cinder-cheesecake\/providers\/[a-z-]+/);
      assert.doesNotMatch(text, /node_modules/, "another package manager, or the next version, has it elsewhere");
    }
  });

  it("previews the switchover of what runs there, as its command line does", async () => {
    await scene.up({ stack: scene.pulumi.testLabStack });
    await pulumi("config", "set", "activeSite", "idr");
    const preview = await pulumi("preview", "--diff");
    const [, digest = ""] = /planned switchover "iprod" → "idr" .*: 2 instances, .*; plan ([0-9a-f]{32})/.exec(preview) ?? []; // prettier-ignore
    assert.notEqual(digest, "", preview);
    assert.match(preview, /Attach them again at "idr" as vdb/);
    const { code, output } = await cheesecake("plan", "--to", "idr");
    assert.equal(code, 0, output);
    assert.ok(output.includes(`--digest ${digest}`), output);
  });

  it("switches over, and proves it", async () => {
    await pulumi("up", "--yes", "--skip-preview");
    assert.match(await pulumi("stack", "output", "status"), /^active at idr .*, protected$/m);
    const { code, output } = await cheesecake("verify");
    assert.equal(code, 0, output);
    assert.ok(fs.existsSync(path.join(folder, "reports")), "reports stand in the project that was run");
  });
});
