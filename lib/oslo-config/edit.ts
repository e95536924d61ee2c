import { DrError } from "../errors";
import {
  type Assignment,
  type Document,
  type Line,
  joinLines,
  normalizeSection,
  parse,
  splitLines,
  trim,
  unquote,
} from "./parse";

/**
 * Edits of an oslo.config file given as text, returned as text: only the lines of the option in question change.
 * Values are as they stand in the file: `$name` in them is substituted by oslo.config, `escapeSubstitution` prevents it.
 * All functions throw `config` for text that oslo.config refuses.
 */

const find = (document: Document, section: string, option: string): Assignment[] => {
  const wanted = normalizeSection(section);
  return document.assignments.filter((one) => one.option === option && normalizeSection(one.section) === wanted);
};

/** The value in force: of an option given more than once in a file the last one counts. */
export function get(content: string, section: string, option: string): string | undefined {
  return find(parse(content), section, option).at(-1)?.value;
}

/** Every value in the file's order, as a MultiStrOpt (`replication_device`) reads them. */
export function getAll(content: string, section: string, option: string): readonly string[] {
  return find(parse(content), section, option).map((one) => one.value);
}

/** Names of the sections as first written, each once. */
export function sections(content: string): readonly string[] {
  const names = new Map<string, string>();
  for (const { section } of parse(content).headers) {
    const key = normalizeSection(section);
    if (!names.has(key)) names.set(key, section);
  }
  return [...names.values()];
}

/** Options of a section with their values, in the file's order, repeated ones repeated. */
export function options(
  content: string,
  section: string,
): readonly { readonly option: string; readonly value: string }[] {
  const wanted = normalizeSection(section);
  return parse(content)
    .assignments.filter((one) => normalizeSection(one.section) === wanted)
    .map(({ option, value }) => ({ option, value }));
}

/**
 * Afterwards the option has exactly this value. The line in force keeps its place and its delimiter; other lines of the
 * same option go. A new option comes after the section's last one, a new section at the file's end. Unchanged text if
 * the option has the value already.
 */
export function set(content: string, section: string, option: string, value: string): string {
  checkOptionName(option);
  const document = parse(content);
  const present = find(document, section, option);
  const last = present.at(-1);
  if (last !== undefined) {
    if (present.length === 1 && last.value === value) return content;
    const indent = document.lines.slice(last.line + 1, last.line + last.lineCount).map(indentOf)[0];
    const edited = present.map((one) => ({ ...one, texts: one === last ? render(last.prefix, value, indent) : [] }));
    return joinLines(
      edited.reduceRight((lines, one) => splice(lines, one.line, one.lineCount, one.texts), document.lines),
    );
  }

  const wanted = normalizeSection(section);
  const blocks = document.headers
    .filter((header) => normalizeSection(header.section) === wanted)
    .map((header) => {
      const end = document.headers.find((next) => next.line > header.line)?.line ?? document.lines.length;
      const own = document.assignments.filter((one) => one.line > header.line && one.line < end);
      return { header, last: own.at(-1) };
    });
  const block = blocks.findLast((one) => one.last !== undefined) ?? blocks.at(-1);
  if (block !== undefined) {
    const neighbour = block.last;
    const texts = render(`${option}${delimiterOf(neighbour)}`, value);
    const after = neighbour === undefined ? block.header.line + 1 : neighbour.line + neighbour.lineCount;
    return joinLines(splice(document.lines, after, 0, texts));
  }

  checkSectionName(section);
  const { lines } = document;
  const lastLine = lines.at(-1);
  const gap = lastLine === undefined || trim(lastLine.text) === "" ? [] : [""];
  const texts = [...gap, `[${section}]`, ...render(`${option} = `, value)];
  return joinLines(splice(lines, lines.length, 0, texts));
}

/** Takes every line of the option away; unchanged text if there is none. */
export function remove(content: string, section: string, option: string): string {
  const document = parse(content);
  const lines = find(document, section, option).reduceRight<readonly Line[]>(
    (rest, one) => splice(rest, one.line, one.lineCount, []),
    document.lines,
  );
  return joinLines(lines);
}

/** Takes the section's headers and options away. Comments stay: nobody can know whether they belong to the next one. */
export function removeSection(content: string, section: string): string {
  const document = parse(content);
  const wanted = normalizeSection(section);
  const spans = [
    ...document.headers.map((one) => ({ section: one.section, line: one.line, lineCount: 1 })),
    ...document.assignments,
  ]
    .filter((one) => normalizeSection(one.section) === wanted)
    .sort((a, b) => b.line - a.line);
  return joinLines(
    spans.reduce<readonly Line[]>((lines, one) => splice(lines, one.line, one.lineCount, []), document.lines),
  );
}

/** Text that oslo.config reads back literally: "$" would start a substitution. */
export function escapeSubstitution(value: string): string {
  return value.replaceAll("$", "$$$$");
}

// ---------------------------------------------------------------------------------------------------------------- lists

/** Items of a ListOpt's value, as oslo.config's List type reads it. */
export function listItems(value: string): readonly string[] {
  const bare = trim(value).replace(/,+$/, "");
  return bare === "" ? [] : bare.split(",").map(trim);
}

/**
 * One name replaced by another; other names, their order and the blanks stay. Where `to` is in the list already, `from`
 * only goes; without `from` the list must hold `to` (a repeat). Throws `config` if it holds neither.
 */
export function replaceListItem(value: string, from: string, to: string): string {
  const items = listItems(value);
  if (!items.includes(from)) {
    if (items.includes(to)) return value;
    throw new DrError({
      code: "config",
      attempted: `Replace "${from}" by "${to}" in the list "${value}"`,
      seen: "it holds neither of them",
      remedy: "Write one of the two names into the list",
    });
  }
  if (items.includes(to)) return removeListItem(value, from);
  return value
    .split(",")
    .map((part) => (trim(part) === from ? part.replace(from, () => to) : part))
    .join(",");
}

/** Appended with the spacing the list has; unchanged if it's there already. */
export function addListItem(value: string, item: string): string {
  const items = listItems(value);
  if (items.includes(item)) return value;
  if (items.length === 0) return item;
  const separator = /,[ \t]/.test(value) || items.length === 1 ? ", " : ",";
  return `${value.replace(/[,\s]+$/, "")}${separator}${item}`;
}

export function removeListItem(value: string, item: string): string {
  const parts = value.split(",");
  const kept = parts.filter((part) => trim(part) !== item);
  if (kept.length === parts.length) return value;
  const [first, ...rest] = kept;
  return first === undefined ? "" : [trim(first), ...rest].join(",");
}

// ------------------------------------------------------------------------------------------------------------- helpers

/** Lines of an assignment so that parsing gives `value` again. */
function render(prefix: string, value: string, indent = "    "): string[] {
  const [first = "", ...rest] = value.split("\n");
  const unreadable = rest.some((line) => line === "" || trim(line) !== line) || /\r/.test(value);
  if (unreadable)
    throw new DrError({
      code: "config",
      attempted: `Write the option "${trim(prefix.replace(/[:=]\s*$/, ""))}"`,
      seen: "its value has an empty line, a carriage return, or blanks around a continuation line, which oslo.config can't hold",
      remedy: "Give the value without them",
    });
  const needsQuotes = trim(first) !== first || unquote(first) !== first;
  const written = needsQuotes ? `"${first}"` : first;
  // "name =" without a value: the blank that stands before the delimiter is wanted after it too.
  const gap = written !== "" && /\s[:=]$/.test(prefix) ? " " : "";
  return [`${prefix}${gap}${written}`, ...rest.map((line) => `${indent}${line}`)];
}

/** Lines replaced; new ones end as their surroundings do, and a file without a final newline stays so. */
function splice(lines: readonly Line[], start: number, count: number, texts: readonly string[]): readonly Line[] {
  const before = [...lines.slice(0, start)];
  const removed = lines.slice(start, start + count);
  const after = lines.slice(start + count);
  const eol = lines.find((line) => line.eol !== "")?.eol ?? "\n";
  const previous = before.at(-1);
  const unfinished = previous?.eol === "" || removed.at(-1)?.eol === "";
  if (previous?.eol === "" && texts.length > 0) before[before.length - 1] = { ...previous, eol };
  const added = texts.map((text, index) => ({
    text,
    eol: unfinished && index === texts.length - 1 ? "" : removed[Math.min(index, removed.length - 1)]?.eol || eol,
  }));
  return [...before, ...added, ...after];
}

const indentOf = (line: Line): string => /^[ \t]*/.exec(line.text)?.[0] ?? "";

const delimiterOf = (one: Assignment | undefined): string => {
  const found = one === undefined ? null : /\s*[:=]\s*$/.exec(one.prefix);
  return found?.[0] ?? " = ";
};

function checkOptionName(option: string): void {
  if (option === "" || trim(option) !== option || /[:=\r\n]|^[[#;]/.test(option)) throw badName("option", option);
}

function checkSectionName(section: string): void {
  if (section === "" || splitLines(section).length !== 1 || /[\r\n]/.test(section)) throw badName("section", section);
}

function badName(kind: string, name: string): DrError {
  return new DrError({
    code: "config",
    attempted: `Write the ${kind} ${JSON.stringify(name)}`,
    seen: `oslo.config can't read a ${kind} of this name`,
    remedy: "Choose another name",
  });
}
