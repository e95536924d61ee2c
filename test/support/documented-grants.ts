import fs from "node:fs";
import path from "node:path";

/** The rights on Cinder's database as docs/real-cloud.md gives them, for an account of the test's own. */
export function documentedGrants(account: string): string {
  const page = fs.readFileSync(path.resolve(__dirname, "../../docs/real-cloud.md"), "utf8");
  const grants = [...page.matchAll(/^GRANT .+;$/gm)].map(([grant]) => grant);
  if (grants.length < 5) throw new Error("docs/real-cloud.md grants nothing");
  return grants.map((grant) => grant.replace(/ TO '[^']+'@'[^']+'/, ` TO ${account}`)).join(" ");
}
