/** Text that is markup already. What is put into a template without being one is escaped. */
export class Markup {
  constructor(readonly text: string) {}
}

export type Part = Markup | string | number | false | undefined | readonly Part[];

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

const textOf = (part: Part): string => {
  if (part instanceof Markup) return part.text;
  if (part === false || part === undefined) return "";
  if (typeof part === "object") return part.map(textOf).join("");
  // What no XML may hold would end an SVG.

  return String(part).replace(/[&<>"]|[\0-\x08\x0b\x0c\x0e-\x1f]/g, (character) => entities[character] ?? "�");
};

/** HTML or SVG. */
export const markup = (strings: TemplateStringsArray, ...parts: readonly Part[]): Markup =>
  new Markup(strings.map((string, index) => string + textOf(parts[index])).join(""));
