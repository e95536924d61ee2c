// Writes the tables of keys into docs/configuration.md, from the schemas: `npm run docs:configuration`.
import fs from "node:fs";
import path from "node:path";
import { format, resolveConfig } from "prettier";
import type { z } from "zod";
import { programs } from "../../stacks/settings";

export const page = path.resolve(__dirname, "../../docs/configuration.md");

interface Key {
  readonly type: string;
  readonly default: string;
  /** What `.describe` says. */
  readonly meaning: string;
}
type Keys = ReadonlyMap<string, Key>;

/** What the walk needs of zod's definitions. */
interface Definition {
  readonly type: string;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly innerType?: z.ZodType;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly discriminator?: string;
  readonly options?: readonly z.ZodType[];
  readonly entries?: Readonly<Record<string, string>>;
  readonly values?: readonly unknown[];
  readonly format?: string;
  readonly getter?: () => z.ZodType;
  readonly defaultValue?: unknown;
}
const definitionOf = (schema: z.ZodType): Definition => schema.def;

/** How a key may be left out, and what is said of it, the outermost schema's word first. */
interface Said {
  readonly default: string;
  readonly title?: string;
  readonly description?: string;
}

/** Every key that can be written, by its path: `a.b`, `list[].c` for a list's objects, `sites.<site>.d` for a record's. */
export function keysOf(schema: z.ZodType, at = "", outer: Said = { default: "required" }): Keys {
  const definition = definitionOf(schema);
  const { title, description } = schema.meta() ?? {};
  const said: Said = { ...(title === undefined ? {} : { title }), ...(description === undefined ? {} : { description }), ...outer }; // prettier-ignore
  const into = (inner: z.ZodType | undefined, more: Partial<Said> = {}, where = at): Keys => {
    if (inner === undefined) throw new Error(`${where}: ${definition.type} without an inner schema`);
    return keysOf(inner, where, { ...said, ...more });
  };
  const own = (type: string): [string, Key][] => [
    [at, { type: said.title ?? type, default: said.default, meaning: said.description ?? "" }],
  ];
  /** Of what stands in it, nothing of what was said of itself. */
  const children = (inner: z.ZodType | undefined, where: string): Keys =>
    inner !== undefined && hasKeys(inner) ? keysOf(inner, where) : new Map<string, Key>();
  switch (definition.type) {
    case "object":
      return new Map([
        ...(at === "" || said.default === "required" ? [] : own("object")),
        ...Object.entries(definition.shape ?? {}).flatMap(([name, value]) => [
          ...keysOf(value, at === "" ? name : `${at}.${name}`),
        ]),
      ]);
    case "union":
      return keysOfUnion(definition, at);
    case "lazy":
      return into(definition.getter?.());
    case "optional":
      return into(definition.innerType, { default: "–" });
    case "default":
      return into(definition.innerType, { default: `\`${asWritten(definition.defaultValue)}\`` });
    case "prefault": // the parts' own defaults count
      return into(definition.innerType);
    case "array": {
      const element = definition.element;
      return new Map([...own(listOf(element)), ...children(element, `${at}[]`)]);
    }
    case "record":
      return hasKeys(definition.valueType) ? children(definition.valueType, `${at}.<site>`) : new Map(own("options"));
    default:
      return new Map(own(said.title ?? scalar(definition)));
  }
}

/** What only some of the choices have is said with the choice. */
function keysOfUnion({ options = [], discriminator = "" }: Definition, at: string): Keys {
  const choices = options.map((option) => {
    const choice = definitionOf(option).shape?.[discriminator];
    return { word: String(definitionOf(choice ?? option).values?.[0]), keys: keysOf(option, at) };
  });
  const names = new Set(choices.flatMap(({ keys }) => [...keys.keys()]));
  return new Map(
    [...names].map((name) => {
      const having = choices.filter(({ keys }) => keys.has(name));
      const found = having.map(({ keys }) => keys.get(name)).filter((key) => key !== undefined);
      const key = found.find(({ meaning }) => meaning !== "") ?? found[0];
      if (key === undefined) throw new Error(`${name} is in no choice`);
      if (name === `${at}.${discriminator}`) return [name, { ...key, type: oneOf(choices.map(({ word }) => word)) }];
      const partial = having.length < choices.length && key.default === "required";
      return [name, partial ? { ...key, default: `required with ${oneOf(having.map(({ word }) => word))}` } : key];
    }),
  );
}

const hasKeys = (schema: z.ZodType | undefined): boolean =>
  schema !== undefined && ["object", "union", "lazy"].includes(definitionOf(schema).type);

function scalar({ type, entries = {}, values = [], format: form }: Definition): string {
  if (type === "enum") return oneOf(Object.values(entries));
  if (type === "literal") return oneOf(values.map(String));
  if (type === "boolean") return "true, false";
  if (type === "number") return "whole number";
  if (type === "string") return form === "url" ? "URL" : "text";
  throw new Error(`a ${type} needs a title to be told by`);
}

function listOf(element: z.ZodType | undefined): string {
  if (element === undefined || hasKeys(element)) return "list";
  return `list of ${element.meta()?.title ?? scalar(definitionOf(element))}s`;
}

function oneOf(words: readonly string[]): string {
  const quoted = words.map((word) => `\`${word}\``);
  return quoted.length < 2 ? quoted.join("") : `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1) ?? ""}`;
}

const asWritten = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

const MARKED = /(<!-- keys of ([^:]+):(.*?) -->\n)[\s\S]*?(<!-- end of keys -->)/g;

/**
 * The page with each table made anew. A marker names the program and what its table's keys begin with, by commas; a key
 * stands in the table that names most of it, and a table that names nothing has those that are left.
 */
export async function rewritten(text: string): Promise<string> {
  const places = [...text.matchAll(MARKED)].flatMap(([, , program = "", begins = ""]) =>
    begins.split(",").map((begin) => ({ program, begin: begin.trim() })),
  );
  const belongs = (program: string, name: string): string | undefined =>
    places
      .filter((place) => place.program === program && (place.begin === "" || isWithin(name, place.begin)))
      .map(({ begin }) => begin)
      .sort((a, b) => b.length - a.length)[0];
  const written = text.replaceAll(MARKED, (_, head: string, program: string, begins: string, end: string) => {
    const schema = (programs as Readonly<Record<string, z.ZodType>>)[program];
    if (schema === undefined) throw new Error(`docs/configuration.md: no program is called ${program}`);
    const here = begins.split(",").map((begin) => begin.trim());
    const keys = [...keysOf(schema)].filter(([name]) => here.includes(belongs(program, name) ?? "nowhere"));
    const lines = keys.map(([name, key]) => `| \`${name}\` | ${key.type} | ${key.default} | ${key.meaning} |`);
    return `${head}\n| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n${lines.join("\n")}\n\n${end}`;
  });
  return format(written, { ...(await resolveConfig(page)), parser: "markdown" });
}

/** The key itself, one of its keys, or one of its elements'. */
const isWithin = (name: string, key: string): boolean =>
  name.startsWith(key) && /^([.[]|$)/.test(name.slice(key.length));

async function main(): Promise<void> {
  fs.writeFileSync(page, await rewritten(fs.readFileSync(page, "utf8")));
}

if (require.main === module) void main();
