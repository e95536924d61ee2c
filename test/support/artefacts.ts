import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";

/** What a run left behind or showed, looked through for every secret, in each form in which it could stand there. */
export class Artefacts {
  private readonly needles: readonly { readonly what: string; readonly bytes: Buffer }[];
  private readonly found = new Map<string, Set<string>>();
  private files = 0;
  private bytes = 0;

  constructor(private readonly secrets: ReadonlyMap<string, string>) {
    for (const [what, secret] of secrets) assert.ok(secret.length >= 8, `${what} is too short to be looked for`);
    this.needles = [...secrets].flatMap(([what, secret]) =>
      [...formsOf(secret)].map((form) => ({ what, bytes: Buffer.from(form) })),
    );
  }

  add(where: string, content: string | Buffer): this {
    const buffer = Buffer.from(content);
    this.files += 1;
    this.bytes += buffer.length;
    for (const { what, bytes } of this.needles)
      if (buffer.includes(bytes)) this.found.set(what, (this.found.get(what) ?? new Set()).add(where));
    return this;
  }

  /** Every file in a folder, and how many there are: none would prove nothing. */
  addFolder(folder: string, wanted: (file: string) => boolean = () => true): number {
    const files = readdirSync(folder, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.join(entry.parentPath, entry.name))
      .filter(wanted);
    for (const file of files) this.add(file, readFileSync(file));
    return files.length;
  }

  /** The secrets that were found, each with where. */
  get seen(): ReadonlyMap<string, readonly string[]> {
    return new Map([...this.found].map(([what, where]) => [what, [...where].sort()]));
  }

  get summary(): string {
    const counts = [this.files, this.bytes, this.secrets.size, this.needles.length].map((n) => n.toLocaleString("en"));
    return `${counts[0]} files and texts, ${counts[1]} bytes, searched for ${counts[2]} secrets in ${counts[3]} forms`;
  }
}

/** As it is, in JSON, in a URL, and in base64 by itself or after a user's name, wherever that ends within three bytes. */
function formsOf(secret: string): Set<string> {
  const forms = new Set([secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]);
  for (const before of ["", "x", "xx"]) {
    // Of the first and the last four characters some bits are the neighbours'.
    const encoded = Buffer.from(`${before}${secret}`).toString("base64").replace(/=+$/, "");
    forms.add(encoded.slice(before === "" ? 0 : 4, -4));
  }
  return forms;
}
