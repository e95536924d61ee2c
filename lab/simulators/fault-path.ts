const UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";

/** What a fault's path means: `*` stands for anything, `{id}` for one UUID. */
export function faultPath(path: string): RegExp {
  const source = path
    .split("*")
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .join(".*")
    .replaceAll("\\{id\\}", UUID);
  return new RegExp(`^${source}$`);
}
