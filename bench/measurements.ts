import type { Measurement } from "./measurement";

/** In the order of their numbers, which is that of the page. */
export const measurements: readonly Measurement[] = [];
