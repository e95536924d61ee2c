import type { Spread } from "./measurement";

export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** As many digits as mean something. */
export function figure(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 10 ? value.toFixed(2) : Math.abs(value) < 100 ? value.toFixed(1) : String(Math.round(value));
}

export function spreadText({ min, median, max, times }: Spread): string {
  return times === 1 ? figure(median) : `${figure(median)} (${figure(min)}–${figure(max)})`;
}
