/** Names are their owners': nothing of one becomes a tag, a link or a line of its own. */
export const escaped = (text: string): string =>
  text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(/[\\`[\]]/g, "\\$&")
    .replaceAll(/\s/g, " ");

/** The same of a sentence that has commands between backticks. */
export const prose = (text: string): string =>
  text
    .split(/(`[^`\s][^`]*`)/)
    .map((part, index) => (index % 2 === 1 ? part.replaceAll(/\s/g, " ") : escaped(part)))
    .join("");

export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  told: (text: string) => string = prose,
): string {
  const line = (cells: readonly (string | number)[]): string =>
    `| ${cells.map((cell) => told(String(cell)).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

export const list = (lines: readonly string[], told: (text: string) => string = prose): string =>
  lines.map((line) => `- ${told(line)}`).join("\n");
