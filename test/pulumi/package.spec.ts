import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import * as tar from "tar";
import { blocks, read } from "../unit/docs/documents";
import { newProject, packInto, root, run, succeed } from "../support/installed-package";
import { PulumiProject } from "./support/pulumi-project";
import { pairInput } from "./support/settings";

/** Every address refuses connections. */
const pair = {
  ...pairInput,
  sites: Object.fromEntries(
    ["iprod", "idr"].map((backend, at) => [
      backend,
      { backend, svm: "svm", ontap: { address: `127.66.9.${at + 1}`, port: 1, username: "u" } },
    ]),
  ),
  cinder: {
    ...pairInput.cinder,
    database: { host: "127.66.9.9", port: 1, user: "u", tls: false },
    messageQueue: { host: "127.66.9.9", port: 1, user: "u", tls: false },
  },
  openstack: { ...pairInput.openstack, authUrl: "http://127.66.9.9:1" },
};
const secrets = {
  "ontapPasswords.iprod": "hush-1",
  "ontapPasswords.idr": "hush-2",
  databasePassword: "hush-3",
  messageQueuePassword: "hush-4",
  openstackSecret: "hush-5",
};

/** With the revisions known there's nothing to wait for: the systems are asked in the preview. */
const ASKING = `
  const { ActiveSite, pairFromConfig } = require("cinder-cheesecake");
  const { active } = pairFromConfig({ otherKeys: ["greeting"] });
  new ActiveSite("asking", { ...active, backendRevisions: { iprod: "1", idr: "1" } });
`;

const documented = (language: string): string => {
  const [program, ...more] = blocks(read("docs/package.md"), `${language} program`);
  assert.ok(program !== undefined && more.length === 0);
  return program;
};

describe("the package", function () {
  this.timeout(300_000);
  const packed = fs.mkdtempSync(path.join(os.tmpdir(), "packed-"));
  let file = "";
  let folder = "";
  let project: PulumiProject | undefined;

  before(async () => {
    file = await packInto(packed);
    folder = await newProject(file, {
      "Pulumi.yaml": "name: my-cloud\nruntime: nodejs\n",
      "index.ts": documented("ts"),
      "asking.js": ASKING,
      "engine.mjs": documented("js"),
      "tsconfig.json": JSON.stringify({
        compilerOptions: { strict: true, target: "es2022", module: "node16", types: ["node"], skipLibCheck: true },
        files: ["index.ts"],
      }),
    });
  });
  afterEach(() => {
    project?.remove();
    project = undefined;
  });
  after(() => {
    for (const made of [packed, folder]) if (made !== "") fs.rmSync(made, { recursive: true, force: true });
  });

  describe("holds", () => {
    let names: string[];
    before(async () => {
      names = [];
      await tar.list({ file, onReadEntry: (entry) => void names.push(entry.path.replace(/^package\//, "")) });
    });
    const sources = () => {
      const files = fs.globSync("{cli,lib,stacks,dynamic-providers,components}/**/*.ts", { cwd: root });
      const left =
        /^stacks\/(index|disaster-recovery|test-lab)\.|^(components\/test-lab\/|dynamic-providers\/breadcrumb)|clouds-yaml/;
      return files.map((name) => name.replaceAll(path.sep, "/")).filter((name) => !left.test(name));
    };

    it("JavaScript and types of every source but the lab's and the programs', what npm wants, and nothing else", () => {
      const built = sources().flatMap((name) => [".js", ".d.ts"].map((end) => `dist/${name.replace(/\.ts$/, end)}`));
      assert.ok(built.length > 200);
      const expected = ["CHANGELOG.md", "LICENSE", "README.md", "package.json", ...built];
      assert.deepEqual(names.sort(), expected.sort());
    });

    it("nothing of this machine", () => {
      const texts = fs.globSync("**/*.{js,ts,json,md}", { cwd: path.join(folder, "node_modules/cinder-cheesecake") });
      assert.ok(texts.length > 200);
      for (const name of texts) {
        const text = fs.readFileSync(path.join(folder, "node_modules/cinder-cheesecake", name), "utf8");
        for (const place of [root, os.homedir()]) assert.ok(!text.includes(`${place}/`), `${name} names ${place}`);
      }
    });

    it("no need of what only a checkout has", () => {
      const installed = fs.readdirSync(path.join(folder, "node_modules"));
      for (const name of ["ts-node", "@swc", "fastify", "node-forge", "echarts"])
        assert.ok(!installed.includes(name), `${name} was installed with it`);
    });
  });

  it("type-checks in a program of somebody else's", async () => {
    await succeed(process.execPath, ["node_modules/typescript/bin/tsc", "--noEmit", "-p", "."], folder);
    fs.writeFileSync(
      path.join(folder, "wrong.ts"),
      'import { DisasterRecoveryPair } from "cinder-cheesecake";\nnew DisasterRecoveryPair("x", { pair: 1 });\n',
    );
    const wrong = ["node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--module", "node16", "--skipLibCheck"];
    const { code, output } = await run(process.execPath, [...wrong, "wrong.ts"], folder);
    assert.notEqual(code, 0, "a wrong program passed, so nothing is checked");
    assert.match(output, /wrong\.ts.*not assignable/s);
  });

  it("runs without Pulumi, imported by a JavaScript module", async () => {
    const output = await succeed(process.execPath, ["engine.mjs"], folder);
    assert.match(output, /^sites flexVols cinder openstack$/m);
    assert.match(output, /^true$/m);
  });

  it("brings the command line, which reads the project's configuration", async () => {
    const config = { "my-cloud:activeSite": "iprod", "my-cloud:pair": pair, "my-cloud:greeting": "hello" };
    fs.writeFileSync(path.join(folder, "Pulumi.prod.yaml"), JSON.stringify({ config }));
    const passwords = { ontapPasswords: { iprod: "hush-1", idr: "hush-2" }, databasePassword: "hush-3", messageQueuePassword: "hush-4", openstackSecret: "hush-5" }; // prettier-ignore
    fs.writeFileSync(path.join(folder, "secrets.json"), JSON.stringify(passwords), { mode: 0o600 });
    const program = path.join(folder, "node_modules/.bin/cheesecake");
    const { code, output } = await run(
      program,
      ["status", "--config", "Pulumi.prod.yaml", "--secrets", "secrets.json"],
      folder,
    );
    assert.equal(code, 4, output);
    assert.match(output, /^pair +netapp_iscsi$/m);
    assert.match(output, /127\.66\.9\.1:1/);
    assert.doesNotMatch(output, /hush/);
  });

  const plain = { pair: JSON.stringify(pair), activeSite: "iprod" };

  async function stackOf(context: Mocha.Context, main: string, more: Readonly<Record<string, string>> = {}) {
    fs.writeFileSync(path.join(folder, "Pulumi.yaml"), `name: my-cloud\nruntime: nodejs\nmain: ${main}\n`);
    return (project = await PulumiProject.create(context, folder, { plain: { ...plain, ...more }, secrets }));
  }

  it("is previewed as a component of a TypeScript program", async function () {
    const output = await (await stackOf(this, "index.ts")).succeed("preview", "--diff");
    assert.match(output, /cinder-cheesecake:index:DisasterRecoveryPair/);
    assert.match(output, /After the stanzas are written/);
    for (const type of ["CinderBackend", "ClusterPeer", "SvmPeer", "SnapMirrorRelationship", "ActiveSite"])
      assert.match(output, new RegExp(`cinder-cheesecake:${type}: \\(create\\)`));
    assert.doesNotMatch(output, /hush/);
  });

  it("asks the systems in the preview, and says which doesn't answer and what to do", async function () {
    const { exitCode, output } = await (await stackOf(this, "asking.js", { greeting: "hello" })).run("preview");
    assert.notEqual(exitCode, 0);
    assert.match(output, /127\.66\.9\.9:1\S* did not answer \(ECONNREFUSED\)/);
    assert.match(output, /Check server and network/);
    assert.doesNotMatch(output, /hush|at .*\.js:\d/, "a secret, or a stack trace");
  });

  it("refuses a key that it doesn't know, as it may be a misspelt one", async function () {
    const { exitCode, output } = await (await stackOf(this, "index.ts", { greeting: "hello" })).run("preview");
    assert.notEqual(exitCode, 0);
    assert.match(output, /greeting: is no key of this program/);
  });
});
