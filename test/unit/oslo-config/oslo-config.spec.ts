import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { DrError } from "../../../lib/errors";
import * as osloConfig from "../../../lib/oslo-config";
import { normalizeSection, trim } from "../../../lib/oslo-config/parse";
import type { ConfigEditor } from "../../../lib/switchover/ports";

const { get, getAll, set, remove, removeSection, sections, options, parse, joinLines } = osloConfig;
const editor: ConfigEditor = osloConfig;

const cinderConf = `# managed by hand
[DEFAULT]
enabled_backends = iprod, nfs   
# debug = true
debug=false

[iprod]
volume_backend_name: netapp_iscsi
# the other site
replication_device = backend_id:idr

[nfs]
nfs_mount_options = vers=4,
    nconnect=4
`;

describe("ConfigEditor port", () => {
  it("is satisfied by the module itself", () => {
    assert.equal(editor.get(cinderConf, "DEFAULT", "debug"), "false");
  });
});

describe("parse", () => {
  const fixture = process.env.OSLO_CONFIG_CASES ?? path.join(__dirname, "../../fixtures/oslo-config-10.7-parsed.json");
  const { cases } = JSON.parse(readFileSync(fixture, "utf8")) as {
    cases: { text: string; sections?: Record<string, Record<string, string[]>>; error?: number }[];
  };

  it("reads and refuses what oslo.config's own parser does", () => {
    assert.ok(cases.length > 50);
    for (const { text, sections: wanted, error } of cases) {
      if (wanted === undefined) {
        // It names the line where the assignment ends, we the one where it begins.
        assert.throws(
          () => parse(text),
          (thrown) => DrError.is(thrown, "config") && Number(thrown.context.line) <= Number(error),
          JSON.stringify(text),
        );
        continue;
      }
      const seen: Record<string, Record<string, string[]>> = {};
      for (const section of sections(text)) {
        const own: Record<string, string[]> = {};
        for (const { option, value } of options(text, section)) (own[option] ??= []).push(value);
        seen[normalizeSection(section)] = own;
      }
      assert.deepEqual(seen, wanted, JSON.stringify(text));
    }
  });

  it("keeps every character", () => {
    for (const { text, error } of cases) if (error === undefined) assert.equal(joinLines(parse(text).lines), text);
  });

  it("never shows the text of a line that it refuses", () => {
    assert.throws(
      () => parse("[a]\npassword hunter2\n"),
      (thrown: Error) =>
        DrError.is(thrown, "config") && /line 2/.test(thrown.message) && !thrown.message.includes("hunter2"),
    );
  });
});

describe("get and getAll", () => {
  it("take the last value of a repeated option, and all of them", () => {
    const text = "[a]\nx = 1\nx = 2\n[b]\nx = 3\n[A]\nx = 4\n";
    assert.equal(get(text, "a", "x"), "4");
    assert.deepEqual(getAll(text, "a", "x"), ["1", "2", "4"]);
    assert.equal(get(text, "c", "x"), undefined);
    assert.deepEqual(sections(text), ["a", "b"]);
  });
  it("compare section names in any case but DEFAULT's, and option names as they are", () => {
    const text = "[default]\nx = 1\n[DEFAULT]\nx = 2\n[IPROD]\nX = 3\n";
    assert.equal(get(text, "DEFAULT", "x"), "2");
    assert.equal(get(text, "iprod", "X"), "3");
    assert.equal(get(text, "iprod", "x"), undefined);
  });
  it("join continuation lines", () => {
    assert.equal(get(cinderConf, "nfs", "nfs_mount_options"), "vers=4,\nnconnect=4");
  });
});

describe("set", () => {
  const cases: { name: string; text: string; args: [string, string, string]; wanted: string }[] = [
    {
      name: "changes a value in its place",
      text: cinderConf,
      args: ["DEFAULT", "enabled_backends", "idr, nfs"],
      wanted: cinderConf.replace("iprod, nfs   ", "idr, nfs"),
    },
    {
      name: "keeps the delimiter",
      text: cinderConf,
      args: ["iprod", "volume_backend_name", "x"],
      wanted: cinderConf.replace(": netapp_iscsi", ": x"),
    },
    {
      name: "leaves a value that's right alone, odd blanks included",
      text: cinderConf,
      args: ["DEFAULT", "enabled_backends", "iprod, nfs"],
      wanted: cinderConf,
    },
    {
      name: "adds after the section's last option",
      text: cinderConf,
      args: ["DEFAULT", "x", "1"],
      wanted: cinderConf.replace("debug=false\n", "debug=false\nx=1\n"),
    },
    {
      name: "adds to a section without options",
      text: "[a]\n\n[b]\n",
      args: ["a", "x", "1"],
      wanted: "[a]\nx = 1\n\n[b]\n",
    },
    {
      name: "adds a missing section at the end",
      text: cinderConf,
      args: ["idr", "x", "1"],
      wanted: `${cinderConf}\n[idr]\nx = 1\n`,
    },
    { name: "starts an empty file", text: "", args: ["idr", "x", "1"], wanted: "[idr]\nx = 1\n" },
    { name: "keeps a missing final newline", text: "[a]\nx = 1", args: ["a", "x", "2"], wanted: "[a]\nx = 2" },
    {
      name: "adds where the final newline is missing",
      text: "[a]\nx = 1",
      args: ["a", "y", "2"],
      wanted: "[a]\nx = 1\ny = 2",
    },
    { name: "keeps CRLF", text: "[a]\r\nx = 1\r\n", args: ["a", "y", "2"], wanted: "[a]\r\nx = 1\r\ny = 2\r\n" },
    {
      name: "replaces continuation lines",
      text: "[a]\nx = 1,\n\t2\n# c\ny = 3\n",
      args: ["a", "x", "4,\n5,\n6"],
      wanted: "[a]\nx = 4,\n\t5,\n\t6\n# c\ny = 3\n",
    },
    {
      name: "leaves one of several, where the one in force is",
      text: "[a]\nx = 1\n# c\nx = 2\n",
      args: ["a", "x", "3"],
      wanted: "[a]\n# c\nx = 3\n",
    },
    {
      name: "adds to the last block of a section that is given twice",
      text: "[a]\nx = 1\n[b]\ny = 2\n[a]\nz = 3\n",
      args: ["a", "n", "4"],
      wanted: "[a]\nx = 1\n[b]\ny = 2\n[a]\nz = 3\nn = 4\n",
    },
    {
      name: "gives an empty option a value",
      text: "[a]\nx =\ny=\n",
      args: ["a", "x", "1"],
      wanted: "[a]\nx = 1\ny=\n",
    },
  ];
  for (const { name, text, args, wanted } of cases)
    it(name, () => {
      assert.equal(set(text, ...args), wanted);
      assert.equal(set(wanted, ...args), wanted, "a repeat changes nothing");
    });

  it("refuses what can't be written so that oslo.config reads it back", () => {
    for (const [section, option, value] of [
      ["a", "x", "1\n\n2"],
      ["a", "x", "1\n 2"],
      ["a", "x", "1\r2"],
      ["a", "x=y", "1"],
      ["a", "#x", "1"],
      ["", "x", "1"],
      ["a\nb", "x", "1"],
    ] as const)
      assert.throws(
        () => set("[c]\n", section, option, value),
        (thrown) => DrError.is(thrown, "config"),
        JSON.stringify([section, option, value]),
      );
  });
});

describe("remove and removeSection", () => {
  it("take all lines of an option and nothing else", () => {
    assert.equal(remove("[a]\nx = 1,\n  2\n# c\nx = 3\ny = 4\n", "a", "x"), "[a]\n# c\ny = 4\n");
    assert.equal(remove(cinderConf, "iprod", "nothing"), cinderConf);
  });
  it("take a section's headers and options, and leave comments and other sections", () => {
    assert.equal(removeSection("[a]\nx = 1\n# c\n[b]\ny = 2\n[A]\nz = 3\n", "a"), "# c\n[b]\ny = 2\n");
  });
});

describe("lists", () => {
  const { addListItem, listItems, removeListItem, replaceListItem } = osloConfig;
  it("replace one name and keep the others, their order and blanks", () => {
    assert.equal(replaceListItem("nfs,  iprod ,ceph", "iprod", "idr"), "nfs,  idr ,ceph");
    assert.equal(replaceListItem("iprod", "iprod", "idr"), "idr");
    assert.equal(replaceListItem("iprod2, iprod", "iprod", "$&"), "iprod2, $&");
    assert.equal(replaceListItem("nfs,\niprod", "iprod", "idr"), "nfs,\nidr");
  });
  it("are safe to repeat, and never list a name twice", () => {
    assert.equal(replaceListItem("nfs, idr", "iprod", "idr"), "nfs, idr");
    assert.equal(replaceListItem("idr, nfs, iprod", "iprod", "idr"), "idr, nfs");
  });
  it("refuse a list with neither name", () => {
    assert.throws(
      () => replaceListItem("nfs", "iprod", "idr"),
      (thrown) => DrError.is(thrown, "config"),
    );
  });
  it("add and remove", () => {
    assert.equal(addListItem("", "a"), "a");
    assert.equal(addListItem("a,b", "c"), "a,b,c");
    assert.equal(addListItem("a", "b"), "a, b");
    assert.equal(addListItem("a,b", "a"), "a,b");
    assert.equal(removeListItem("a, b", "a"), "b");
    assert.equal(removeListItem("a, b", "c"), "a, b");
    assert.deepEqual(listItems(" a, b ,"), ["a", "b"]);
    assert.deepEqual(listItems(""), []);
  });
});

describe("properties of edits", () => {
  const section = fc.constantFrom("DEFAULT", "iprod", "IDR", "idr", "default");
  const option = fc.constantFrom("enabled_backends", "replication_device", "x", "na me");
  const blank = fc.constantFrom("", " ", "\t", "  ", "\u00a0", "\u0085");
  const word = fc.string({
    unit: fc.constantFrom("a", "=", ":", "#", '"', "'", " ", "$", "[", "é", "\u000b", ","),
    maxLength: 8,
  });
  const value = fc
    .array(word, { minLength: 1, maxLength: 3 })
    .map((words) => [words[0], ...words.slice(1).map((one) => trim(one) || "c")].join("\n"));
  const assignment = fc
    .tuple(option, blank, fc.constantFrom("=", ":"), blank, word, blank)
    .map((parts) => parts.join(""));
  const continued = fc.tuple(assignment, word).map(([first, rest]) => [first, `\t${rest}`]);
  const line = fc.oneof(
    { weight: 2, arbitrary: section.map((name) => [`[${name}]`]) },
    { weight: 3, arbitrary: assignment.map((text) => [text]) },
    { weight: 1, arbitrary: continued },
    { weight: 1, arbitrary: fc.constantFrom([""], ["# c = d"], ["; [x]"], [" "]) },
  );
  const file = fc
    .tuple(section, fc.array(line, { maxLength: 12 }), fc.constantFrom("\n", "\r\n", "\r"), fc.boolean())
    .map(([first, lines, eol, final]) => [`[${first}]`, ...lines.flat()].join(eol) + (final ? eol : ""));
  /** Texts of all lines but those of one option. */
  const others = (content: string, of: string, name: string): string[] => {
    const document = parse(content);
    const own = document.assignments.filter(
      (one) => one.option === name && normalizeSection(one.section) === normalizeSection(of),
    );
    return document.lines
      .filter((_, index) => !own.some((one) => index >= one.line && index < one.line + one.lineCount))
      .map((one) => one.text);
  };

  it("parse and join is identity for any text that is accepted", () => {
    fc.assert(
      fc.property(fc.oneof(file, fc.string({ unit: "binary" })), (content) => {
        let document;
        try {
          document = parse(content);
        } catch (thrown) {
          return DrError.is(thrown, "config");
        }
        return joinLines(document.lines) === content;
      }),
    );
  });
  it("get after set gives the value, and it's the only one", () => {
    fc.assert(
      fc.property(file, section, option, value, (content, s, o, v) => {
        const edited = set(content, s, o, v);
        assert.deepEqual(getAll(edited, s, o), [v]);
        assert.equal(set(edited, s, o, v), edited);
      }),
    );
  });
  it("set touches only the option's lines", () => {
    fc.assert(
      fc.property(file, section, option, value, (content, s, o, v) => {
        const before = others(content, s, o);
        const after = others(set(content, s, o, v), s, o);
        const known = sections(content).map(normalizeSection).includes(normalizeSection(s));
        assert.deepEqual(after.slice(0, before.length), before);
        assert.deepEqual(
          after.slice(before.length).filter((text) => text !== ""),
          known ? [] : [`[${s}]`],
        );
      }),
    );
  });
  it("remove touches only the option's lines", () => {
    fc.assert(
      fc.property(file, section, option, (content, s, o) => {
        const edited = remove(content, s, o);
        assert.deepEqual(getAll(edited, s, o), []);
        assert.deepEqual(others(edited, s, o), others(content, s, o));
      }),
    );
  });
});
