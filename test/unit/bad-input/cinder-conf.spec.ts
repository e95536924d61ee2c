import assert from "node:assert/strict";
import { type BadInput, refuses } from "../../support/bad-input";
import { preflight } from "../../../lib/switchover/preflight";
import { journals, look } from "../switchover/support";
import { intentTo, World } from "../switchover/world";
import { refusalOf } from "./refusal";

/** What the controllers have, and what is changed of it before anybody looks. */
interface Given {
  /** Of c1, and of c2 where nothing else is said. */
  readonly edit?: (content: string) => string;
  readonly editOfC2?: (content: string) => string;
  readonly dropIns?: Readonly<Record<string, string>>;
}

const line = (wanted: string | RegExp, other: string) => (content: string) => {
  const edited = content.replace(wanted, () => other);
  assert.notEqual(edited, content, String(wanted));
  return edited;
};
const begins = (text: string) => (content: string) => text + content;
const ends = (text: string) => (content: string) => content + text;
const keep = (content: string): string => content;
const onC1 = (edit: (content: string) => string): Given => ({ edit, editOfC2: keep });
const both = (edit: (content: string) => string): Given => ({ edit });
const enabled = /^enabled_backends = .*$/m;
const of1 = String.raw`\(/etc/cinder/cinder\.conf on c1\)`;
const where1 = "/etc/cinder/cinder\\.conf on c1";

const correctLine = /Correct the line: the service itself refuses to start with it/;
const oneFile = /Edit these files, and restart cinder-volume/;
const upFirst = /Run up with the pair's CinderBackend resources first/;
const agree = /Write the same into cinder\.conf of every controller/;

const cases: readonly (readonly [name: string, given: Given, remedy: RegExp, ...faults: RegExp[]])[] = [
  ["a byte order mark", onC1(begins("\ufeff")), correctLine, new RegExp(`line 1 ${of1}: it begins with a byte order mark`)],
  ["UTF-16 without a mark", onC1((text) => [...text].join("\0")), correctLine, new RegExp(`line 1 ${of1}: .*as a file in UTF-16 does`)],
  ["an option before the first section", onC1(begins("transport_url = rabbit://u:hush@h\n")), correctLine, new RegExp(`line 1 ${of1}: an option stands before the first section`)],
  ["an indented line that continues nothing", onC1(begins("  hush\n")), correctLine, new RegExp(`line 1 ${of1}: an indented line continues nothing`)],
  ["a section that isn't closed", onC1(line("[idr]", "[idr")), correctLine, new RegExp(`line \\d+ ${of1}: a section header must end with "\\]"`)],
  ["a section without a name", onC1(ends("[]\n")), correctLine, new RegExp(`${of1}: a section has no name`)],
  ["a password without its option", onC1(ends("netapp_password hush\n")), correctLine, new RegExp(`${of1}: neither "=" nor ":" in an assignment`)],
  ["an option without a name", onC1(ends("= hush\n")), correctLine, new RegExp(`${of1}: an option has no name`)],
  ["a conflict of version control", onC1(ends("<<<<<<< HEAD\n")), correctLine, new RegExp(`${of1}: neither "=" nor ":"`)],
  ["other faults on each controller", { edit: begins("\ufeff"), editOfC2: ends("hush\n") }, correctLine, new RegExp(`${of1}: it begins with a byte order mark`), /cinder\.conf on c2\): neither "=" nor ":"/],

  ["backends by a substitution", both(line(enabled, "enabled_backends = $my_backends")), oneFile, new RegExp(`${of1}: enabled_backends is the substitution "\\$my_backends"`), /on c2\): enabled_backends is/],
  ["one of the backends by a substitution", onC1(line(enabled, "enabled_backends = iprod, ${extra}")), oneFile, new RegExp(`${of1}: enabled_backends is the substitution`)],
  ["a replication_device that counts for every backend", onC1(ends("[backend_defaults]\nreplication_device = backend_id:idr\n")), oneFile, new RegExp(`${of1}: \\[backend_defaults\\] sets replication_device`)],
  ["a file read later that enables another site", { dropIns: { "/etc/cinder/cinder.conf.d/10-site.conf": "[DEFAULT]\nenabled_backends = idr\n" } }, oneFile, new RegExp(`${of1}: /etc/cinder/cinder\\.conf\\.d/10-site\\.conf, which counts more, has enabled_backends`)],
  ["a file read later with a stanza of the pair, in other letters", { dropIns: { "/etc/cinder/cinder.conf.d/x.conf": "[IPROD]\nnetapp_password = hush\n" } }, oneFile, new RegExp(`${of1}: /etc/cinder/cinder\\.conf\\.d/x\\.conf, .* has \\[iprod\\]`)],
  ["a file read later with a replication_device for every backend", { dropIns: { "/etc/cinder/cinder.conf.d/x.conf": "[backend_defaults]\nreplication_device = backend_id:idr\n" } }, oneFile, new RegExp(`${of1}: /etc/cinder/cinder\\.conf\\.d/x\\.conf, .* has replication_device in \\[backend_defaults\\]`)],
  ["a file read later that can't be read", { dropIns: { "/etc/cinder/cinder.conf.d/x.conf": "hush\n" } }, correctLine, new RegExp(`${of1}: neither "=" nor ":"`)],
  ["three of these at once", { edit: (text) => ends("[backend_defaults]\nreplication_device = backend_id:idr\n")(line(enabled, "enabled_backends = $x")(text)), editOfC2: keep, dropIns: { "/d/x.conf": "[idr]\na = b\n" } }, oneFile, new RegExp(`${of1}: enabled_backends is the substitution "\\$x".*; \\[backend_defaults\\] sets.*; /d/x\\.conf, .* has \\[idr\\]`)],

  ["no enabled_backends", both(line(/^enabled_backends = .*\n/m, "")), agree, /enabled_backends of .*: neither site, expected "iprod", as 4 volumes/],
  ["only other backends", both(line(enabled, "enabled_backends = loweropenstack1")), agree, /enabled_backends of .*: neither site, expected "iprod"/],
  ["a site's name in other letters, which is another backend", both(line(enabled, "enabled_backends = IPROD")), agree, /enabled_backends of .*: neither site, expected "iprod"/],
  ["enabled_backends in a section of its own", both(line("[DEFAULT]", "[default]")), agree, /enabled_backends of .*: neither site, expected "iprod"/],
  ["enabled_backends in other letters", both(line("enabled_backends", "Enabled_Backends")), agree, /enabled_backends of .*: neither site, expected "iprod"/],
  ["enabled_backends in a comment", both(line("enabled_backends", "# enabled_backends")), agree, /enabled_backends of .*: neither site, expected "iprod"/],
  ["an empty file", both(() => ""), agree, /enabled_backends of .*: neither site, expected "iprod"/],
  ["both sites", both(line(enabled, "enabled_backends = iprod, idr")), agree, /enabled_backends of .*: "iprod", "idr", expected "iprod"/],
  ["both sites, the second one in a continuation line", both(line(enabled, "enabled_backends = iprod,\n  idr")), agree, /enabled_backends of .*: "iprod", "idr", expected "iprod"/],
  ["enabled_backends twice: the last one counts", both(ends("[DEFAULT]\nenabled_backends = iprod, idr\n")), agree, /enabled_backends of .*: "iprod", "idr", expected "iprod"/],
  ["controllers that differ", { edit: keep, editOfC2: line(enabled, "enabled_backends = idr") }, agree, /enabled_backends of .* on c2: "idr", expected "iprod"/],
  ["a controller that knows neither site", { edit: keep, editOfC2: () => "[DEFAULT]\n" }, agree, /enabled_backends of .* on c2: neither site, expected "iprod"/],

  ["no stanza of the standby site", onC1(line("[idr]", "[idr2]")), upFirst, new RegExp(`${where1} has no stanza \\[idr\\]`)],
  ["no stanza of either site", both(line(/\[iprod\][\s\S]*(?=\[loweropenstack1\])/, "")), upFirst, new RegExp(`${where1} has no stanza \\[iprod\\]`), new RegExp(`${where1} has no stanza \\[idr\\]`), /on c2 has no stanza \[iprod\]/, /on c2 has no stanza \[idr\]/],
  ["two targets of replication", both(line("[idr]", "replication_device = backend_id:third\n[idr]")), /Keep one replication_device/, /\[iprod\] in .* on c1 has 2 replication targets/, /on c2 has 2 replication targets/],
  ["two targets, of a section that stands twice", onC1(ends("[IPROD]\nreplication_device = backend_id:third\n")), /Keep one replication_device/, new RegExp(`\\[iprod\\] in ${where1} has 2 replication targets`)],
  ["consistent replication", onC1(line("[idr]", "netapp_consistent_replication = yes\n[idr]")), /Take it out/, new RegExp(`\\[iprod\\] in ${where1} sets netapp_consistent_replication`)],
  ["an active/active cluster", onC1(line("[iprod]", "cluster = c\n[iprod]")), /Run cinder-volume active\/passive/, new RegExp(`${where1} uses cluster=`)],
  ["another backend_host", onC1(line("[idr]", "backend_host = elsewhere\n[idr]")), /Make them the same/, new RegExp(`\\[iprod\\] in ${where1} has backend_host "elsewhere", the pair says volumeHost "cinder"`)],
  ["a backend_host by a substitution", onC1(line("[idr]", "backend_host = $host\n[idr]")), /Make them the same/, new RegExp(`${where1} has backend_host "\\$host"`)],
  ["much at once", both((text) => line("[idr]", "backend_host = elsewhere\nnetapp_consistent_replication = 1\nreplication_device = backend_id:third\n[idr]")(text)), /Make them the same/, /on c[12] has 2 replication targets/, /on c[12] sets netapp_consistent_replication/, /on c[12] has backend_host/],
]; // prettier-ignore

describe("bad input: cinder.conf, to the switchover", () => {
  const journalDir = journals();

  refuses({
    area: "cinder.conf",
    secrets: ["hush"],
    cases: cases.map(([name, given, remedy, ...faults]): BadInput<Given> => ({
      name,
      given,
      expected: { faults, remedy },
    })),
    arrange({ edit = keep, editOfC2 = edit, dropIns }) {
      const world = new World();
      const { c1, c2 } = world.controllers;
      assert.ok(c1 !== undefined && c2 !== undefined);
      c1.content = edit(c1.content);
      c2.content = editOfC2(c2.content);
      if (dropIns !== undefined) c1.dropIns = { ...dropIns };
      return world;
    },
    tell: (world) => refusalOf(world, journalDir()),
    state: (world) => [world.calls.slice(), structuredClone(world.endState()), [...world.journals]],
  });

  it("takes a file read later that sets nothing which is read or edited here", async () => {
    const world = new World();
    const { c1 } = world.controllers;
    assert.ok(c1 !== undefined);
    c1.dropIns = { "/d/x.conf": "[backend_defaults]\nimage_volume_cache_enabled = true\n[lvm]\nvolume_group = v\n" };
    assert.deepEqual(preflight(await look(world), intentTo("idr"), "iprod").failures, []);
  });
});
