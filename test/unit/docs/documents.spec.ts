import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { decide, type Verdict } from "../../../lib/switchover/verdict";
import { allSteps } from "../../../lib/switchover/steps";
import { code, documents, read, root, rows } from "./documents";

describe("the documents", () => {
  for (const document of documents())
    it(`${document.file} has only links that lead somewhere`, () => {
      const broken = linksOf(document.text).filter((link) => !leadsSomewhere(document.file, link));
      assert.deepEqual(broken, []);
    });

  it("are all reachable from README.md", () => {
    const files = documents().map(({ file }) => file);
    const reached = new Set(["README.md"]);
    for (const file of reached)
      for (const link of linksOf(read(file).text)) {
        const target = path.posix.join(path.posix.dirname(file), link.split("#")[0] ?? "");
        if (files.includes(target)) reached.add(target);
      }
    assert.deepEqual(
      files.filter((file) => !reached.has(file)),
      [],
    );
  });

  it("run no npm script that doesn't exist", () => {
    const { scripts } = JSON.parse(read("package.json").text) as { scripts: Record<string, string> };
    for (const { file, text } of documents())
      for (const [, script] of text.matchAll(/npm run (?:--silent )?([a-z:]+)/g))
        assert.ok(script !== undefined && script in scripts, `${file}: npm run ${script}`);
  });
});

function linksOf(text: string): string[] {
  const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link]) =>
    link === undefined || /^https?:/.test(link) ? [] : [link],
  );
}

function leadsSomewhere(from: string, link: string): boolean {
  const [file = "", anchor] = link.split("#");
  const target = file === "" ? from : path.posix.join(path.posix.dirname(from), file);
  if (!fs.existsSync(path.join(root, target))) return false;
  return anchor === undefined || anchorsOf(read(target).text).includes(anchor);
}

/** As GitHub makes them of headings. */
function anchorsOf(text: string): string[] {
  const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, "");
  return [...prose.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

describe("docs/switchover.md", () => {
  const document = read("docs/switchover.md");
  const firstCells = rows(document).flatMap((cells) => code(cells[0]) ?? []);

  it("has a row for every step that there is, in the order of a journey, and for no other", () => {
    const told = firstCells.filter((cell) => /^[a-z-]+\/[a-z-]+$/.test(cell));
    assert.deepEqual([...told].sort(), allSteps.map((step) => step.id).sort());
  });

  it("has a row for every finding of preflight, and for no other", () => {
    const source = read("lib/switchover/preflight.ts").text;
    const findings = [...source.matchAll(/\bfail\(\s*["`]([a-z-]+)/g)].flatMap(([, id]) => id ?? []);
    assert.ok(findings.length > 30);
    const section = document.text.split("\n## Preflight\n")[1]?.split("\n## ")[0] ?? "";
    const told = rows({ file: document.file, text: section }).flatMap((cells) => code(cells[0]) ?? []);
    assert.deepEqual(told.sort(), [...new Set(findings)].sort());
  });

  const arms = [...document.text.matchAll(/^\| (\d+) +\| .*\|$/gm)].map(([line]) => line.split("|"));
  const at = (site: string | undefined, promoted = true, isProtected = true): Verdict => ({
    ...(site === undefined ? {} : { site }),
    promoted,
    protected: isProtected,
    mismatches: [],
    unseen: [],
  });
  const contradiction = { kind: "stray", what: "they", seen: "differ", expected: "one", remedy: "" } as const;
  const state = (activeSite: string) => ({
    activeSite,
    promoted: true,
    protected: true,
    backendRevisions: { iprod: "1" },
  });
  const half = { left: "idr", attachments: 1, unbroken: [] };
  const asked = { configured: "iprod", promotion: "immediate", reprotect: false, volumes: 1 } as const;
  const examples: Readonly<Record<string, Parameters<typeof decide>[0]>> = {
    1: { ...asked, state: state("iprod"), verdict: { ...at(undefined), mismatches: [contradiction] } },
    2: { ...asked, verdict: at(undefined), volumes: 0 },
    3: { ...asked, state: state("iprod"), verdict: at(undefined) },
    4: { ...asked, verdict: at("iprod") },
    5: { ...asked, verdict: at("idr") },
    6: { ...asked, state: state("idr"), verdict: { ...at("iprod", false), half }, unplannedFrom: "idr" },
    7: { ...asked, state: state("idr"), verdict: { ...at("iprod", false), half } },
    8: { ...asked, state: state("iprod"), verdict: at("idr") },
    9: { ...asked, state: state("iprod"), verdict: at("iprod", false) },
    10: {
      ...asked,
      state: state("iprod"),
      verdict: { ...at("iprod", true, false), replicating: false },
      reprotect: true,
    },
    11: { ...asked, state: state("iprod"), verdict: at("iprod"), backendRevisions: { iprod: "2" } },
    12: { ...asked, state: state("iprod"), verdict: at("iprod"), backendRevisions: { iprod: "1" } },
    13: { ...asked, state: state("idr"), verdict: at("iprod", false) },
    14: { ...asked, state: state("idr"), verdict: at("iprod") },
    15: { ...asked, state: state("idr"), verdict: at("idr", false) },
    16: { ...asked, state: state("idr"), verdict: at("idr") },
  };
  const words: Readonly<Record<string, RegExp>> = {
    refuse: /refused/,
    activate: /\*\*activation\*\*/,
    adopt: /\*\*adopt\*\*/,
    promote: /\*\*promotion\*\*/,
    reprotect: /\*\*reprotect\*\*/,
    reload: /\*\*reload\*\*/,
    nothing: /nothing/,
    switchover: /\*\*switchover\*\*/,
  };

  it("tells the arms of decide()", () => {
    assert.deepEqual(
      arms.map((cells) => cells[1]?.trim()),
      Object.keys(examples),
    );
  });

  for (const [, number = "", situation = "", told = ""] of arms)
    it(`tells what decide() does about "${situation.trim()}"`, () => {
      const example = examples[number.trim()];
      assert.ok(example);
      assert.match(told, words[decide(example).action] ?? /^$/);
    });
});

describe("docs/real-cloud.md", () => {
  it("grants every path of ONTAP's REST API that is called", () => {
    const files = fs
      .readdirSync(path.join(root, "lib", "ontap"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith("urls.ts") || name === "api.ts");
    const called = files.flatMap((name) =>
      [...read(path.posix.join("lib/ontap", name)).text.matchAll(/["`](\/api\/[a-z/-]+)/g)].flatMap(
        ([, url]) => url?.replace(/\/$/, "") ?? [],
      ),
    );
    assert.ok(called.length >= 12);
    const granted = [...read("docs/real-cloud.md").text.matchAll(/-api (\/api\/\S+) -access/g)].flatMap(
      ([, api]) => api ?? [],
    );
    const without = called.filter((url) => !granted.some((api) => url === api || url.startsWith(`${api}/`)));
    assert.deepEqual(without, []);
  });

  it("grants the methods, too, with which each path is called", async () => {
    const levels: Readonly<Record<string, string>> = {
      readonly: "",
      read_create: "POST",
      read_modify: "PATCH",
      read_create_modify: "POST PATCH",
      all: "POST PATCH DELETE",
    };
    const text = read("docs/real-cloud.md").text;
    const granted = [...text.matchAll(/-api (\/api\/\S+) -access (\w+)/g)].map(([, api = "", level = ""]) => ({
      api,
      level,
    }));
    assert.deepEqual(
      granted.filter(({ level }) => !(level in levels)),
      [],
    );
    const areas = fs
      .readdirSync(path.join(root, "lib", "ontap"), { withFileTypes: true })
      .filter((entry) => entry.isDirectory());
    const changes: { method: string; url: string }[] = [];
    for (const { name } of areas) {
      const urls = (await import(`../../../lib/ontap/${name}/urls`)) as Record<
        string,
        string | ((...ids: string[]) => string)
      >;
      const source = read(`lib/ontap/${name}/requests.ts`).text;
      for (const [, method = "", url = ""] of source.matchAll(/method: "(POST|PATCH|DELETE)",\s*path: (\w+)/g)) {
        const made = urls[url];
        assert.ok(made !== undefined, `lib/ontap/${name}/urls.ts has no ${url}`);
        changes.push({ method, url: typeof made === "string" ? made : made("x", "y") });
      }
    }
    assert.ok(changes.length >= 18, `${changes.length} changes were found`);
    const without = changes.filter(
      ({ method, url }) =>
        !granted.some(
          ({ api, level }) => (url === api || url.startsWith(`${api}/`)) && levels[level]?.includes(method),
        ),
    );
    assert.deepEqual(without, []);
  });

  it("grants every table of the database that is written", () => {
    const source = read("lib/cinder-database/sql.ts").text;
    const tables = /changedColumns = \{([\s\S]*?)\n\} as const/.exec(source)?.[1] ?? "";
    const names = [...tables.matchAll(/^ {2}(\w+): \{/gm)].flatMap(([, name]) => name ?? []);
    assert.ok(names.length >= 5);
    const text = read("docs/real-cloud.md").text;
    for (const name of names) assert.match(text, new RegExp(`^GRANT UPDATE ON cinder\\.\`?${name}\`? TO`, "m"));
  });
});

for (const [file, least] of [
  ["docs/what-if.md", 20],
  ["docs/bad-day.md", 4],
] as const)
  describe(file, () => {
    const source = sources("lib").join("\n");
    const prose = read(file).text.replaceAll(/^```[\s\S]*?^```$/gm, "");
    const quotes = [...prose.matchAll(/`([^`]+)`/g)].flatMap(([, quote = ""]) =>
      quote.split(" ").length > 4 && !/^(pulumi|mariadb|rabbitmqctl|cheesecake|openstack) /.test(quote)
        ? [quote.replaceAll("\n", " ")]
        : [],
    );

    it("quotes the software", () => assert.ok(quotes.length >= least));

    for (const quote of quotes)
      it(`quotes it as it speaks: ${quote.slice(0, 60)}`, () => {
        // Names and numbers are filled in; what stands between them is in the source.
        const parts = quote.split(/"[^"]*"|\([^)]*\)|…|\d[\w-]*|\S+[/@]\S+|[.;:,](?= |$)/).map((part) => part.trim());
        const longest = parts.reduce((a, b) => (b.length > a.length ? b : a), "");
        assert.ok(longest.length >= 12, `too little to compare: ${longest}`);
        assert.ok(source.includes(longest), `nothing in lib/ says "${longest}"`);
      });
  });

describe("docs/comparison.md", () => {
  it("has a source for every note, and a note for every source", () => {
    const [text = "", sources = ""] = read("docs/comparison.md").text.split("\n## Sources\n");
    const listed = [...sources.matchAll(/^(\d+)\. .*https:\/\//gm)].map(([, number]) => Number(number));
    const cited = [...text.matchAll(/\[(\d+)\]/g)].map(([, number]) => Number(number));
    assert.ok(listed.length >= 15);
    assert.deepEqual(
      [...new Set(cited)].sort((a, b) => a - b),
      listed,
    );
  });
});

describe("CONTRIBUTING.md", () => {
  const { text } = read("CONTRIBUTING.md");

  it("names only files and folders that there are", () => {
    const named = [...text.matchAll(/`((?:lib|lab|test|docs|cli|components|dynamic-providers|stacks)\/[^`<…]+)`/g)];
    assert.ok(named.length > 40);
    const missing = named.flatMap(([, name = ""]) => (fs.existsSync(path.join(root, name)) ? [] : [name]));
    assert.deepEqual(missing, []);
  });

  it("names the list that a step has to be in", () => {
    assert.match(read("lib/switchover/steps/index.ts").text, /export const allSteps/);
    assert.match(text, /`lib\/switchover\/steps\/index\.ts`: into `allSteps`/);
  });
});

function sources(folder: string): string[] {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => read(path.posix.join(folder, name)).text);
}
