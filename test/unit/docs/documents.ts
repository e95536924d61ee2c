import fs from "node:fs";
import path from "node:path";

export const root = path.resolve(__dirname, "../../..");

export interface Document {
  /** Relative to the project. */
  readonly file: string;
  readonly text: string;
}

export function read(file: string): Document {
  return { file, text: fs.readFileSync(path.join(root, file), "utf8") };
}

/** README.md, what stands beside it, and all of docs/. */
export function documents(): readonly Document[] {
  const names = fs.readdirSync(path.join(root, "docs"), { recursive: true, encoding: "utf8" });
  const files = names.filter((name) => name.endsWith(".md")).map((name) => path.posix.join("docs", name));
  return ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", ...files.sort()].map(read);
}

/** Bodies of the fenced blocks whose line of the opening fence, after the backticks, is `info`. */
export function blocks({ text }: Document, info: string): string[] {
  return [...text.matchAll(/^```(.+)\n([\s\S]*?)^```$/gm)].flatMap(([, fence, body]) =>
    fence === info && body !== undefined ? [body] : [],
  );
}

/** Cells of every table row whose first cell is `code`. */
export function rows({ text }: Document): readonly (readonly string[])[] {
  return [...text.matchAll(/^\| `.*\|$/gm)].map(([line]) =>
    line
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim()),
  );
}

/** `code` → code; undefined for anything else. */
export function code(cell: string | undefined): string | undefined {
  return cell === undefined ? undefined : /^`([^`]+)`$/.exec(cell)?.[1];
}
