import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { provider } from "../../../dynamic-providers/cinder-backend.provider";
import { DrError } from "../../../lib/errors";
import { pairInput } from "../../pulumi/support/settings";
import { type BadInput, refuses } from "../../support/bad-input";

const absent = Symbol("absent");
const aFolder = Symbol("a folder");

/** Of the files on the two controllers. */
interface Given {
  readonly c1?: string | Buffer | typeof absent | typeof aFolder;
  readonly c2?: Given["c1"];
  /** Where the files are. */
  readonly name?: string;
  readonly options?: Readonly<Record<string, string>>;
  readonly call?: "create" | "update";
}
interface Scene extends Given {
  readonly files: readonly string[];
}

const fine = "[DEFAULT]\nenabled_backends = iprod\n\n[nfs]\nnfs_shares_config = /etc/x\n";
const options = { volume_driver: "netapp", netapp_vserver: "svm" };
const stanza = "\n[iprod]\nvolume_driver = netapp\nnetapp_vserver = svm\nnetapp_password = hush\n";
const latin1 = Buffer.concat([Buffer.from("[DEFAULT]\n# caf"), Buffer.from([0xe9]), Buffer.from("\n")]);
const utf16 = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(fine, "utf16le")]);

const declare = /Declare the values that the file has, or edit the file/;
const line = /Correct the line: the service itself refuses to start with it/;
const cause = /Correct the cause on the host/;
const encoding = /Correct the file's encoding/;

const cases: readonly (readonly [name: string, given: Given, remedy: RegExp, ...faults: RegExp[]])[] = [
  ["no file on one controller", { c2: absent }, cause, /cat -- \S+c2\S+ on c2: it ended with 1: .*No such file/],
  ["no file on either", { c1: absent, c2: absent }, cause, /on c1: .*No such file/, /on c2: .*No such file/],
  ["a folder by its name", { c1: aFolder }, cause, /on c1: .*Is a directory/],
  ["Latin 1", { c1: latin1 }, encoding, /Read \S+c1\S+ on c1: it isn't valid UTF-8, near line 2/],
  ["UTF-16 with its mark", { c2: utf16 }, encoding, /Read \S+c2\S+ on c2: it isn't valid UTF-8, near line 1/],
  ["UTF-8 with a byte order mark", { c1: `\ufeff${fine}` }, line, /line 1 \(\S+c1\S+ on c1\): it begins with a byte order mark/],
  ["a line that is no option, with a password", { c2: `${fine}netapp_password hush\n` }, line, /line 6 \(\S+c2\S+ on c2\): neither "=" nor ":"/],
  ["other faults on each controller", { c1: latin1, c2: `hush = 1\n${fine}` }, line, /on c1: it isn't valid UTF-8/, /line 1 \(\S+c2\S+ on c2\): an option stands before the first section/],
  ["another value in a stanza that is there", { c1: fine + stanza.replace("= svm", "= other") }, declare, /\[iprod\] of cinder\.conf: on c1 netapp_vserver is "other", declared "svm"$/],
  ["other values on each controller, CRLF on one", { c1: (fine + stanza.replace("= svm", "= other")).replaceAll("\n", "\r\n"), c2: `${fine}${stanza}max_luns = 4\n` }, declare, /on c1 netapp_vserver is "other", declared "svm"; on c2 max_luns = "4" isn't declared$/],
  ["another password, which isn't told", { c1: fine + stanza.replace("hush", "hush-of-theirs") }, declare, /on c1 netapp_password is another one$/],
  ["secrets that nobody declared, which aren't told", { c1: `${fine}${stanza}san_password = hush-1\nchap_secret: hush-2\n` }, declare, /on c1 chap_secret isn't declared, san_password isn't declared$/],
  ["an option twice", { c1: `${fine}${stanza}netapp_vserver = svm2\n` }, declare, /on c1 netapp_vserver is "svm \| svm2", declared "svm"/],
  ["the stanza in two sections of one name", { c1: `${fine}${stanza}\n[Iprod]\nnetapp_vserver = svm2\n` }, declare, /on c1 netapp_vserver is "svm \| svm2"/],
  ["a value over two lines", { c1: fine + stanza.replace("= svm", "= svm,\n  svm2") }, declare, /on c1 netapp_vserver is "svm,\nsvm2", declared "svm"/],
  ["a value that the file can't hold", { options: { ...options, x: "a\n\nb" } }, /Give the value without them/, /Write the option "x": its value has an empty line/],
  ["a folder that takes no other file", { name: "n".repeat(250) }, cause, /Run "write \S+" on c1: it ended with 1: mktemp: .*File name too long/],
  ["a file that vanished before an update", { c1: fine + stanza, c2: absent, call: "update" }, cause, /on c2: .*No such file/],
]; // prettier-ignore

describe("bad input: cinder.conf, to CinderBackend", () => {
  let folder: string;
  let number = 0;
  before(() => void (folder = mkdtempSync(path.join(tmpdir(), "bad-cinder-conf-"))));
  after(() => rmSync(folder, { recursive: true }));

  function configure(files: readonly string[]): void {
    const nothing = ["true"];
    const commands = { start: nothing, stop: nothing, mask: nothing, unmask: nothing, isActive: nothing, isMasked: nothing };
    const units = [{ role: "volume", unit: "cinder-volume", logFile: "/dev/null" }];
    const controllers = files.map((cinderConf, index) => ({
      kind: "local",
      name: `c${index + 1}`,
      cinderConf,
      services: { manager: "custom", commands, units },
    }));
    const nowhere = { host: "127.66.9.9", user: "u", tls: false };
    const values: Readonly<Record<string, string>> = {
      pair: JSON.stringify({
        ...pairInput,
        cinder: { ...pairInput.cinder, controllers, database: nowhere, messageQueue: nowhere },
      }),
      ontapPasswords: JSON.stringify({ iprod: "hush", idr: "hush" }),
      databasePassword: "hush",
      messageQueuePassword: "hush",
      openstackSecret: "hush",
    };
    provider.configure({ get: (key) => values[key] });
  } // prettier-ignore

  refuses<Given, Scene>({
    area: "cinder.conf",
    secrets: ["hush"],
    cases: cases.map(
      ([name, given, remedy, ...faults]): BadInput<Given> => ({ name, given, expected: { faults, remedy } }),
    ),
    arrange(given) {
      const { name = "cinder.conf" } = given;
      const place = path.join(folder, String(++number));
      const files = ["c1", "c2"].map((controller) => path.join(place, controller, name));
      files.forEach((file, index) => {
        const content = (index === 0 ? given.c1 : given.c2) ?? fine;
        mkdirSync(content === aFolder ? file : path.dirname(file), { recursive: true });
        if (content === absent || content === aFolder) return;
        writeFileSync(file, content);
        chmodSync(file, 0o640);
      });
      configure(files);
      return { ...given, files };
    },
    async tell({ options: declared = options, call = "create" }) {
      const inputs = { site: "iprod", backend: "iprod", options: declared, credential: "as configured" };
      const olds = { ...inputs, createdOn: ["c1", "c2"], passwordChanges: 0 };
      const calls = {
        create: () => provider.create(inputs),
        update: () => provider.update("iprod", olds, { ...inputs, options: { ...declared, netapp_vserver: "svm2" } }),
      };
      const error: unknown = await calls[call]().then(
        () => assert.fail("it is taken"),
        (thrown: unknown) => thrown,
      );
      assert.ok(DrError.is(error), String(error));
      const [, ...several] = error.message.split("\n  ✗ ");
      return { faults: several.length > 0 ? several : [`${error.attempted}: ${error.seen}`], text: error.message, error };
    },
    state: ({ files }) =>
      files.map((file) => {
        const beside = path.dirname(file);
        const names = readdirSync(beside).sort();
        const stat = names.includes(path.basename(file)) ? statSync(file) : undefined;
        return [names, stat?.ino, stat?.mode, stat?.isFile() === true ? readFileSync(file).toString("hex") : ""];
      }),
  });
}); // prettier-ignore
