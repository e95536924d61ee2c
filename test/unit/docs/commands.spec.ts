import assert from "node:assert/strict";
import { stackOf } from "../../../cli/configuration";
import { runCli } from "../../../cli/run";
import { disasterRecoverySchema } from "../../../lib/settings";
import { keysOf } from "../../support/configuration-reference";
import { documents } from "./documents";

const lines = documents().flatMap(({ file, text }) =>
  [...text.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)].flatMap(([, info, block = ""]) =>
    (info === "" ? block : "")
      .split("\n")
      .map((line) => ({ file, line: line.replace(/#.*$/, "").trim() }))
      .filter(({ line }) => line !== ""),
  ),
);

/** What `cheesecake … --help` prints. */
async function helpOf(...args: string[]): Promise<string> {
  let printed = "";
  const print = (line: string): void => void (printed += `${line}\n`);
  const nothing = () => assert.fail("only help is asked for");
  await runCli([...args, "--help"], {
    env: {},
    cwd: "/",
    out: print,
    err: print,
    stopSignal: nothing,
    connect: nothing,
  });
  return printed;
}

describe("the commands in the documents", () => {
  it("of cheesecake are ones that there are, with options of theirs and all that they require", async () => {
    const calls = lines.flatMap(({ file, line }) => {
      const [, call] = /^(?:npm run --silent cheesecake --|npx cheesecake|cheesecake) ([a-z].+)$/.exec(line) ?? [];
      return call === undefined ? [] : [{ file, call }];
    });
    for (const { file, text } of documents())
      for (const [, call = ""] of text.matchAll(/`(?:npx )?cheesecake ([^`]*--config[^`]*)`/g))
        calls.push({ file, call });
    assert.ok(calls.length >= 10);
    const known = await helpOf();
    for (const { file, call } of calls) {
      const [command = ""] = call.split(" ");
      const where = `${file}: cheesecake ${call}`;
      assert.match(known, new RegExp(`^ +${command} `, "m"), where);
      const help = await helpOf(command);
      const options = [...call.matchAll(/ (--[a-z-]+)/g)].map(([, option = ""]) => option);
      for (const option of options) assert.match(help, new RegExp(`^ +${option}\\b`, "m"), `${where}: ${option}`);
      for (const needed of ["--config", ...(["plan", "apply"].includes(command) ? ["--to"] : [])])
        assert.ok(options.includes(needed), `${where}: lacks ${needed}`);
      // What changes something has to know whose the pair is.
      const [, config = ""] = / --config (\S+)/.exec(call) ?? [];
      if (["apply", "resume", "approve"].includes(command) && config !== "…")
        assert.ok(options.includes("--stack") || stackOf(config) !== undefined, `${where}: names no stack`);
    }
  });

  it("of pulumi config name keys that there are, and secrets as such", () => {
    const keys = [...keysOf(disasterRecoverySchema).keys()];
    const set = lines.flatMap(({ file, line }) => {
      const [, verb, flags = "", key = ""] = /^pulumi config (set|rm)((?: --\w+)*) '?([^\s']+)'?/.exec(line) ?? [];
      return verb === undefined ? [] : [{ where: `${file}: ${line}`, flags, key: key.replaceAll(/\[\d+\]/g, "[]") }];
    });
    assert.ok(set.length >= 20);
    const secret = /^((ontapPasswords|hookSecrets)\.\w+|\w+Password|openstackSecret)$/;
    for (const { where, flags, key } of set) {
      const known = keys.some((name) => name === key || `${name}[]` === key || name.startsWith(`${key}.`));
      assert.ok(known || secret.test(key), where);
      assert.equal(flags.includes("--path"), /[.[]/.test(key), `${where}: --path`);
      assert.equal(flags.includes("--secret"), secret.test(key), `${where}: --secret`);
    }
  });
});
