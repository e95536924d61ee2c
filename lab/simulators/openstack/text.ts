/** A value of an unknown shape as text: what is no text or number already, as JSON. */
export const textOf = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
