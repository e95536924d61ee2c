import assert from "node:assert/strict";
import { stringify } from "yaml";
import { readConfiguration, secretVariables, stackOf } from "../../../cli/configuration";
import { DrError } from "../../../lib/errors";
import { pairInput } from "../../pulumi/support/settings";
import { fileIn, folder, secrets } from "./support";

const newFolder = folder();
const keys = { program: "disaster-recovery", activeSite: "iprod", pair: pairInput };

type Sources = Parameters<typeof readConfiguration>[0];
const read = (configFile: string, more: Partial<Sources> = {}) =>
  readConfiguration({ configFile, env: {}, overrides: () => ({}), ...more });

function faultsOf(configFile: string, more: Partial<Sources> = {}): string[] {
  try {
    read(configFile, more);
  } catch (error) {
    assert.ok(DrError.is(error, "config"), String(error));
    assert.doesNotMatch(error.message, /hush|0123/, "a message never quotes a secret");
    return error.message
      .split("\n")
      .filter((line) => line.startsWith("  - "))
      .map((line) => line.slice(4));
  }
  return [];
}

/** As `pulumi config --json` prints it (CLI 3.259.0); secrets with --show-secrets. */
const exported = (values: Readonly<Record<string, unknown>>, showSecrets: boolean): object =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => {
      const secret = key in secrets;
      const shown = {
        value: typeof value === "string" ? value : JSON.stringify(value),
        ...(typeof value === "string" ? {} : { objectValue: value }),
      };
      return [`cinder-cheesecake:${key}`, { ...(secret && !showSecrets ? {} : shown), secret }];
    }),
  );

/** As a stack's file has it, secrets encrypted. */
const stackFile = (changes: Readonly<Record<string, unknown>> = {}): string =>
  stringify({
    encryptionsalt: "v1:abc",
    config: Object.fromEntries(
      Object.entries({
        ...keys,
        ontapPasswords: { iprod: { secure: "AAAB" }, idr: { secure: "AAAB" } },
        databasePassword: { secure: "AAAB" },
        messageQueuePassword: { secure: "AAAB" },
        openstackSecret: { secure: "AAAB" },
        ...changes,
      }).map(([key, value]) => [`cinder-cheesecake:${key}`, value]),
    ),
  });

const variables = Object.fromEntries(
  Object.entries(secretVariables).map(([name, variable]) => {
    const value = secrets[name as keyof typeof secrets];
    return [variable, typeof value === "string" ? value : JSON.stringify(value)];
  }),
);

const secretsOf = ({ ontapPasswords, databasePassword, messageQueuePassword, openstackSecret }: typeof secrets) => ({
  ontapPasswords,
  databasePassword,
  messageQueuePassword,
  openstackSecret,
});

describe("readConfiguration", () => {
  for (const [name, content] of [
    [
      "the keys by themselves, as YAML, a password like a number",
      stringify({ ...keys, ...secrets }).replace('"0123"', "0123"),
    ],
    ["the keys by themselves, as JSON", { ...keys, ...secrets }],
    ["what Pulumi exported with its secrets", exported({ ...keys, ...secrets }, true)],
  ] as const)
    // prettier-ignore
    it(`reads ${name}`, () => {
      const settings = read(fileIn(newFolder(), "config", content));
      assert.deepEqual(secretsOf(settings as never), secrets);
      assert.equal(settings.pair.sites["idr"]?.svm, "svm-idr");
      assert.deepEqual([settings.promotion, settings.journalDir], ["immediate", "reports"]);
    });

  it("reads a stack's file as it is, with the secrets from the environment", () => {
    const file = fileIn(newFolder(), "Pulumi.prod.yaml", stackFile({ requireApproval: "true" }), 0o644);
    const settings = read(file, { env: variables });
    assert.deepEqual(secretsOf(settings as never), secrets);
    assert.equal(settings.requireApproval, true, "as `pulumi config set` writes it");
    assert.equal(stackOf(file), "prod");
    assert.equal(stackOf("/elsewhere/config.json"), undefined);
  });

  it("takes secrets from the environment first, then from their file, then from the configuration", () => {
    const dir = newFolder();
    const configFile = fileIn(dir, "config.yaml", { ...keys, ...secrets });
    const secretsFile = fileIn(dir, "secrets.yaml", { databasePassword: "filed", openstackSecret: "filed" });
    const { databasePassword, openstackSecret, messageQueuePassword } = read(configFile, {
      secretsFile,
      env: { [secretVariables.openstackSecret]: "given" },
    });
    assert.deepEqual([databasePassword, openstackSecret, messageQueuePassword], ["filed", "given", "0123"]);
  });

  it("says of each secret that only Pulumi could read how to give it", () => {
    for (const content of [stackFile(), exported({ ...keys, ...secrets }, false)]) {
      const faults = faultsOf(fileIn(newFolder(), "config", content, 0o644));
      assert.deepEqual(faults.map((fault) => fault.split(":")[0]).sort(), Object.keys(secrets).sort());
      for (const fault of faults) assert.match(fault, /encrypted.*CHEESECAKE_[A-Z_]+.*--secrets/);
    }
  });

  it("refuses files with secrets that others may read", () => {
    const dir = newFolder();
    const configFile = fileIn(dir, "config.yaml", { ...keys, databasePassword: "hush-3" }, 0o640);
    const secretsFile = fileIn(dir, "secrets.yaml", secrets, 0o604);
    assert.deepEqual(faultsOf(configFile, { secretsFile }), [
      `${secretsFile}: holds secrets and has mode 0604; chmod 600 it`,
      `${configFile}: holds secrets and has mode 0640; chmod 600 it`,
    ]);
  });

  it("names every fault at once, each with its key", () => {
    const dir = newFolder();
    const content = stackFile({ activeSite: "mars", promotion: "later", aproved: "x", hooks: [{ secure: "AAAB" }] });
    const faults = faultsOf(fileIn(dir, "Pulumi.prod.yaml", content), {
      secretsFile: fileIn(dir, "secrets.yaml", { ontapPasswords: { iprod: "hush-1" }, password: "hush" }),
      env: { ...variables, [secretVariables.ontapPasswords]: undefined },
    });
    assert.deepEqual(faults.map((fault) => fault.split(":")[0]).sort(), [
      "activeSite",
      "aproved",
      "hooks",
      "ontapPasswords.idr",
      "password",
      "promotion",
    ]);
    const across = faultsOf(fileIn(dir, "Pulumi.prod.yaml", stackFile({ activeSite: "mars" })), {
      env: { ...variables, [secretVariables.ontapPasswords]: '{"iprod":"hush-1"}' },
    });
    assert.deepEqual(across, [
      'activeSite: "mars" is not one of iprod, idr',
      "ontapPasswords.idr: not set in clear (the configuration has it encrypted); give it by CHEESECAKE_ONTAP_PASSWORDS, or in a file of mode 0600 by --secrets",
    ]);
  });

  it("tells where a file can't be parsed, without its text", () => {
    const file = fileIn(newFolder(), "config.yaml", "activeSite: iprod\ndatabasePassword: hush: hush\n");
    assert.deepEqual(faultsOf(file), [`${file}: line 2 isn't YAML (BLOCK_AS_IMPLICIT_KEY)`]);
    assert.deepEqual(faultsOf("/nowhere"), ["/nowhere: can't be read (ENOENT)"]);
  });

  it("is only for pairs", () => {
    const file = fileIn(newFolder(), "config.yaml", { program: "test-lab" });
    assert.deepEqual(faultsOf(file), ['program: "test-lab" is unknown; it is one of disaster-recovery']);
  });

  it("reads the stack of a project that only uses the package: its name before the keys, keys of its own beside them", () => {
    const { program: _, ...without } = { ...keys, ...secrets };
    const config = Object.fromEntries(Object.entries(without).map(([key, value]) => [`my-cloud:${key}`, value]));
    const others = { "my-cloud:vpc": "v", "aws:region": "r", "aws:activeSite": "mars" };
    const file = fileIn(newFolder(), "Pulumi.prod.yaml", { config: { ...others, ...config } });
    assert.equal(read(file).activeSite, "iprod");
  });

  it("takes a misspelt key of this project for a fault, whoever else has a pair", () => {
    const config = Object.fromEntries(
      Object.entries({ ...keys, ...secrets, approvedplan: "d" }).map(([key, value]) => [
        `cinder-cheesecake:${key}`,
        value,
      ]),
    );
    const file = fileIn(newFolder(), "Pulumi.prod.yaml", { config: { "shoes:pair": "of them", ...config } });
    assert.match(faultsOf(file).join(), /approvedplan: is no key/);
  });
});
