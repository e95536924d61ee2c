import { DrError } from "../errors";

/**
 * The grammar of oslo.config's files, line by line as `oslo_config/iniparser.py` and `ConfigParser` of oslo.config 10
 * read it. Nothing is thrown away: the lines of a document joined again are the text, byte for byte.
 */

export interface Line {
  readonly text: string;
  /** "\n", "\r\n", "\r" (Python reads files with universal newlines), or "" at the end of the file. */
  readonly eol: string;
}

export interface Assignment {
  /** As written in the header that precedes it. */
  readonly section: string;
  readonly option: string;
  /** As oslo.config sees it before substitution: quotes stripped, continuation lines joined by "\n". */
  readonly value: string;
  /** Index of its first line, and how many lines it has with its continuation lines. */
  readonly line: number;
  readonly lineCount: number;
  /** What stands before the value: name, delimiter and the blanks around it. */
  readonly prefix: string;
}

export interface Header {
  readonly section: string;
  readonly line: number;
}

export interface Document {
  readonly lines: readonly Line[];
  readonly headers: readonly Header[];
  readonly assignments: readonly Assignment[];
}

/** What Python's str.strip() strips; JavaScript's trim() strips another set. */
const pythonSpace = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const leading = new RegExp(`^${pythonSpace}+`, "u");
const trailing = new RegExp(`${pythonSpace}+$`, "u");

export const trimStart = (text: string): string => text.replace(leading, "");
export const trimEnd = (text: string): string => {
  // Every blank run would be tried by the regular expression: look at the last character first.
  return trailing.test(text.slice(-1)) ? text.replace(trailing, "") : text;
};
export const trim = (text: string): string => trimStart(trimEnd(text));

export function splitLines(content: string): Line[] {
  const lines: Line[] = [];
  const eol = /\r\n|\r|\n/g;
  let start = 0;
  for (let match = eol.exec(content); match !== null; match = eol.exec(content)) {
    lines.push({ text: content.slice(start, match.index), eol: match[0] });
    start = eol.lastIndex;
  }
  if (start < content.length) lines.push({ text: content.slice(start), eol: "" });
  return lines;
}

export function joinLines(lines: readonly Line[]): string {
  return lines.map((line) => line.text + line.eol).join("");
}

/** Quotes around a value are stripped by oslo.config if its first and last character are the same quote. */
export function unquote(value: string): string {
  const first = value[0];
  return (first === '"' || first === "'") && value.endsWith(first) ? value.slice(1, -1) : value;
}

/** Throws `config`, with the line's number but not its text, where oslo.config would refuse the file. */
export function parse(content: string): Document {
  const lines = splitLines(content);
  const utf16 = content.includes("\0") ? "; it holds NUL characters, as a file in UTF-16 does" : "";
  const invalid = (index: number, seen: string): DrError => refusal(index, seen + utf16);
  if (content.startsWith("\ufeff")) throw invalid(0, "it begins with a byte order mark");
  const headers: Header[] = [];
  const assignments: Assignment[] = [];
  let section: string | undefined;
  let open: { option: string; values: string[]; line: number; prefix: string } | undefined;

  const flush = (): void => {
    if (open === undefined) return;
    if (section === undefined) throw invalid(open.line, "an option stands before the first section");
    const { option, values, line, prefix } = open;
    assignments.push({ section, option, value: values.join("\n"), line, lineCount: values.length, prefix });
    open = undefined;
  };

  lines.forEach((raw, index) => {
    const text = trimEnd(raw.text);
    if (text === "") return flush();
    if (text.startsWith(" ") || text.startsWith("\t")) {
      if (open === undefined) throw invalid(index, "an indented line continues nothing");
      open.values.push(trimStart(text));
      return;
    }
    flush();
    if (text.startsWith("[")) {
      if (!text.endsWith("]")) throw invalid(index, 'a section header must end with "]"');
      if (text.length <= 2) throw invalid(index, "a section has no name");
      section = text.slice(1, -1);
      headers.push({ section, line: index });
      return;
    }
    if (text.startsWith("#") || text.startsWith(";")) return;
    const delimiter = text.search(/[:=]/);
    if (delimiter < 0) throw invalid(index, 'neither "=" nor ":" in an assignment');
    const option = trim(text.slice(0, delimiter));
    if (option === "") throw invalid(index, "an option has no name");
    const rest = text.slice(delimiter + 1);
    const bare = trimStart(rest);
    open = {
      option,
      values: [unquote(bare)],
      line: index,
      prefix: text.slice(0, text.length - bare.length),
    };
  });
  flush();
  return { lines, headers, assignments };
}

function refusal(index: number, seen: string): DrError {
  // The line itself may hold a password.
  return new DrError({
    code: "config",
    attempted: `Read an oslo.config file, line ${index + 1}`,
    seen,
    remedy: "Correct the line: the service itself refuses to start with it",
    context: { line: index + 1 },
  });
}

/** oslo.config compares group names in lower case, but for DEFAULT, which is itself only in capitals. */
export function normalizeSection(section: string): string {
  return section === "DEFAULT" ? section : section.toLowerCase();
}
