import assert from "node:assert/strict";
import fs from "node:fs";
import Module from "node:module";
import path from "node:path";
import ts from "typescript";
import { parse } from "yaml";
import type { z } from "zod";
import { readSettings } from "../../../stacks/settings";
import { blocks, code, documents, read, root, rows } from "./documents";

interface Key {
  readonly required: boolean;
  /** Absent where there's none. */
  readonly default?: unknown;
}

/** What the walk needs of zod's definitions. */
interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly innerType?: z.ZodType;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly getter?: () => z.ZodType;
  readonly defaultValue?: unknown;
}

const definitionOf = (schema: z.ZodType): Definition => schema.def;

/** Every key that can be written, by its path: `a.b`, `list[].c` for an array's objects, `sites.<site>.d` for a record's. */
function keysOf(schema: z.ZodType, at = "", key: Key = { required: true }): Map<string, Key> {
  const definition = definitionOf(schema);
  const { innerType, element, valueType } = definition;
  const own = (): [string, Key][] => (at === "" ? [] : [[at, key]]);
  switch (definition.type) {
    case "object":
      return new Map([
        ...(key.required ? [] : own()),
        ...Object.entries(definition.shape ?? {}).flatMap(([name, value]) => [
          ...keysOf(value, at === "" ? name : `${at}.${name}`),
        ]),
      ]);
    case "default":
      return inner(innerType, at, { required: false, default: definition.defaultValue });
    case "prefault": // the parts' own defaults count
      return inner(innerType, at, { required: true });
    case "optional":
      return inner(innerType, at, { required: false });
    case "lazy":
      return inner(definition.getter?.(), at, key);
    case "union":
      return new Map((definition.options ?? []).flatMap((option) => [...keysOf(option, at, key)]));
    case "array":
      return new Map([...own(), ...(hasKeys(element) ? inner(element, `${at}[]`, { required: true }) : [])]);
    case "record":
      return hasKeys(valueType) ? inner(valueType, `${at}.<site>`, { required: true }) : new Map(own());
    default:
      return new Map(own());
  }
}

function inner(schema: z.ZodType | undefined, at: string, key: Key): Map<string, Key> {
  assert.ok(schema, `${at} has no inner schema`);
  return keysOf(schema, at, key);
}

const hasKeys = (schema: z.ZodType | undefined): boolean =>
  schema !== undefined && ["object", "union", "lazy"].includes(definitionOf(schema).type);

/** The schemas of both programs, which stacks/settings.ts keeps to itself. */
function programs(): Readonly<Record<string, z.ZodType>> {
  const file = path.join(root, "stacks", "settings.ts");
  const source = fs.readFileSync(file, "utf8").replace(/^export const programs\b/m, "const programs");
  const { outputText } = ts.transpileModule(`${source}\nexport { programs };\n`, {
    compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022, esModuleInterop: true },
  });
  const loaded = new Module(file, module) as Module & { _compile(code: string, file: string): void };
  loaded.filename = file;
  loaded.paths = module.paths;
  loaded._compile(outputText, file);
  return (loaded.exports as { programs: Record<string, z.ZodType> }).programs;
}

describe("docs/configuration.md", () => {
  const document = read("docs/configuration.md");
  const keys = new Map(Object.values(programs()).flatMap((schema) => [...keysOf(schema)]));
  const documented = new Map(
    rows(document).flatMap((cells) => {
      const name = code(cells[0]);
      return name === undefined ? [] : [[name, cells] as const];
    }),
  );

  it("has a row for every key that a stack can set, and for no other", () => {
    assert.ok(keys.size > 80, "the schemas were read");
    assert.deepEqual([...documented.keys()].sort(), [...keys.keys()].sort());
  });

  it("tells each key's default as the schema has it", () => {
    const wrong = [...keys].flatMap(([name, key]) => {
      const told = documented.get(name)?.[2] ?? "";
      const literal = code(told);
      const right = key.required
        ? told.startsWith("required")
        : key.default === undefined
          ? told === "–"
          : literal !== undefined && literal === asWritten(key.default);
      return right ? [] : [`${name}: "${told}"`];
    });
    assert.deepEqual(wrong, []);
  });

  it("gives every key a type and a meaning", () => {
    for (const [name, cells] of documented) {
      assert.equal(cells.length, 4, name);
      assert.ok(cells[1] !== "" && cells[3] !== "", name);
    }
  });
});

const asWritten = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

describe("the stack configurations in the documents", () => {
  const examples = documents().flatMap((document) =>
    blocks(document, "yaml stack").map((text, index) => ({ name: `${document.file} #${index + 1}`, text })),
  );

  it("are there", () => assert.ok(examples.length >= 3));

  for (const { name, text } of examples)
    it(`${name} is one that the program takes`, () => {
      const { config } = parse(text) as { config: Record<string, unknown> };
      const secretKeys: string[] = [];
      const texts = Object.entries(config).map(([key, value]) => {
        const plain = decrypted(value);
        if (plain !== value) secretKeys.push(key);
        return [key, typeof plain === "string" ? plain : JSON.stringify(plain)] as const;
      });
      readSettings({ project: "cinder-cheesecake", config: Object.fromEntries(texts), secretKeys });
    });
});

/** `{secure: …}` stands for a text, also inside an object; the value itself where nothing is encrypted. */
function decrypted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if ("secure" in value) return "a secret";
  const entries = Object.entries(value).map(([key, part]) => [key, decrypted(part)] as const);
  return entries.some(([key, part]) => part !== (value as Record<string, unknown>)[key])
    ? Object.fromEntries(entries)
    : value;
}
