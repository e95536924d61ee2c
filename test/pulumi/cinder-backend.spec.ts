import assert from "node:assert/strict";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { provider } from "../../dynamic-providers/cinder-backend.provider";
import { pairInput } from "./support/settings";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cinder-backend-"));
const files = ["c1", "c2"].map((name) => path.join(folder, `${name}.conf`));
const before = "[DEFAULT]\n# kept\nenabled_backends = nfs, iprod\n\n[nfs]\nvolume_driver = x\n";

const inputs = {
  site: "iprod",
  backend: "iprod",
  options: { volume_driver: "netapp", netapp_vserver: "svm" },
  credential: "as configured",
};
const written = "\n[iprod]\nvolume_driver = netapp\nnetapp_vserver = svm\nnetapp_password = hu$$sh\n";

function configure(password = "hu$sh"): void {
  const nothing = ["true"];
  const controllers = files.map((cinderConf, index) => ({
    kind: "local",
    name: `c${index + 1}`,
    cinderConf,
    services: {
      manager: "custom",
      commands: { start: nothing, stop: nothing, mask: nothing, unmask: nothing, isActive: nothing, isMasked: nothing },
      units: [{ role: "volume", unit: "cinder-volume", logFile: "/dev/null" }],
    },
  }));
  const values: Readonly<Record<string, string>> = {
    pair: JSON.stringify({
      ...pairInput,
      sites: Object.fromEntries(
        ["iprod", "idr"].map((backend, at) => [
          backend,
          { backend, svm: "svm", ontap: { address: `127.66.9.${at}`, username: "u" } },
        ]),
      ),
      cinder: { ...pairInput.cinder, controllers, database: { host: "127.66.9.9", user: "u", tls: false } },
    }),
    ontapPasswords: JSON.stringify({ iprod: password, idr: "hush" }),
    databasePassword: "hush",
    messageQueuePassword: "hush",
    openstackSecret: "hush",
  };
  provider.configure({ get: (key) => values[key] });
}

describe("CinderBackend on two controllers", () => {
  beforeEach(() => {
    for (const file of files) fs.writeFileSync(file, before);
    configure();
  });
  after(() => fs.rmSync(folder, { recursive: true }));

  const contents = () => files.map((file) => fs.readFileSync(file, "utf8"));
  const create = async (more: object = {}) =>
    (await provider.create({ ...inputs, ...more })).outs as Record<string, unknown>;

  it("writes the stanza on all of them and leaves the rest of the file as it is", async () => {
    const outs = await create();
    assert.deepEqual(contents(), [before + written, before + written]);
    assert.deepEqual(outs["createdOn"], ["c1", "c2"]);
    assert.doesNotMatch(JSON.stringify(outs), /hu\$+sh/, "the password is no output");
  });

  it("adopts an equal stanza, replication_device left aside", async () => {
    const theirs = `${before}${written}replication_device = backend_id:idr\n`;
    for (const file of files) fs.writeFileSync(file, theirs);
    assert.deepEqual((await create())["createdOn"], []);
    assert.deepEqual(contents(), [theirs, theirs]);
  });

  it("refuses a stanza with other values, naming each option but no password, and changes nothing", async () => {
    const other = before + written.replace("= svm", "= other").replace("hu$$sh", "secret-of-theirs") + "max_luns = 4\n";
    fs.writeFileSync(files[1] ?? "", other);
    await assert.rejects(create(), (error: Error) => {
      assert.match(
        error.message,
        /on c2 .*max_luns = "4" isn't declared, netapp_password is another one, netapp_vserver is "other", declared "svm"/,
      );
      assert.doesNotMatch(error.message, /secret-of-theirs/);
      return true;
    });
    assert.deepEqual(contents(), [before, other]);
  });

  it("edits and drops options, and changes the revision", async () => {
    const outs = await create();
    const news = { ...inputs, options: { netapp_vserver: "svm2", extra: "1" } };
    const { changes } = await provider.diff("iprod", outs, news);
    assert.equal(changes, true);
    const { outs: updated } = (await provider.update("iprod", outs, news)) as { outs: Record<string, unknown> };
    const expected = `${before}\n[iprod]\nnetapp_vserver = svm2\nnetapp_password = hu$$sh\nextra = 1\n`;
    assert.deepEqual(contents(), [expected, expected]);
    assert.notEqual(updated["revision"], outs["revision"]);
    assert.deepEqual(updated["createdOn"], ["c1", "c2"]);
  });

  it("shows by a refresh what was edited by hand on one of them, and repairs it", async () => {
    const outs = await create();
    fs.writeFileSync(files[1] ?? "", contents()[1]?.replace("= svm", "= edited") ?? "");
    const { inputs: found } = (await provider.read("iprod", outs)) as { inputs: typeof inputs };
    assert.equal(found.options.netapp_vserver, "svm on c1, edited on c2");
    assert.equal((await provider.diff("iprod", { ...outs, ...found }, inputs)).changes, true);
    await provider.update("iprod", outs, inputs);
    assert.deepEqual(contents(), [before + written, before + written]);
  });

  it("finds no change when nothing has changed", async () => {
    const outs = await create();
    const {
      id,
      props,
      inputs: found,
    } = (await provider.read("iprod", outs)) as { id: string; props: unknown; inputs: unknown };
    assert.equal(id, "iprod");
    assert.deepEqual(props, outs);
    assert.deepEqual(found, inputs);
    assert.equal((await provider.diff("iprod", outs, inputs)).changes, false);
  });

  it("tells a refresh of another password, and a restart is due after it was written", async () => {
    const outs = await create();
    for (const file of files)
      fs.writeFileSync(
        file,
        fs.readFileSync(file, "utf8").replace("hu$$sh", () => "former"),
      );
    const { inputs: found } = (await provider.read("iprod", outs)) as { inputs: typeof inputs };
    assert.equal(found.credential, "not as configured on c1, c2");
    const { outs: updated } = (await provider.update("iprod", outs, inputs)) as { outs: Record<string, unknown> };
    assert.notEqual(updated["revision"], outs["revision"]);
  });

  it("is gone when no controller has the stanza", async () => {
    const outs = await create();
    for (const file of files) fs.writeFileSync(file, before);
    assert.equal((await provider.read("iprod", outs)).id, "");
  });

  it("refuses options that aren't its own", async () => {
    const options = { netapp_password: "x", replication_device: "backend_id:idr" };
    const { failures } = await provider.check({}, { ...inputs, options });
    assert.deepEqual(failures?.map(({ property }) => property).sort(), [
      "options.netapp_password",
      "options.replication_device",
    ]);
  });

  it("leaves an adopted stanza where it is when it's deleted", async () => {
    for (const file of files) fs.writeFileSync(file, before + written);
    await provider.delete("iprod", await create());
    assert.deepEqual(contents(), [before + written, before + written]);
  });
});
