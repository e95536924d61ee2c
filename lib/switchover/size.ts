/** As people read it; undefined = unknown. */
export function sizeOf(bytes: number | undefined): string {
  if (bytes === undefined) return "an unknown number of bytes";
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, bytes < 1024 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 2 ** (10 * power);
  return `${power === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[power] ?? ""}`;
}
