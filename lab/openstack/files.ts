/** A lab's folder: where things are in it. */
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";

export const SECRETS = [
  "admin", // Keystone user admin
  "demo", // Keystone user demo
  "keystone-service-users", // cinder, nova, glance, neutron, placement
  "database-services", // owner of the services' schemas
  "database-product", // cinder_dr
  "message-queue",
  "erlang-cookie",
  "ontap-iprod",
  "ontap-idr",
] as const;
export type SecretName = (typeof SECRETS)[number];

export interface Layout {
  dir: string;
  secret: (name: SecretName) => string;
  log: (host: string, service: string) => string;
  state: (host: string, ...below: string[]) => string;
  etc: (host: string, ...below: string[]) => string;
  tls: (file: "ca.pem" | "clusters.pem" | "clusters.key") => string;
}

/** Hosts that have folders of their own; everything else runs on the host `control`. */
function hostFolder(dir: string, host: string): string {
  if (host.startsWith("controller-")) return path.join(dir, "controllers", host);
  if (host.startsWith("compute-")) return path.join(dir, "computes", host);
  return path.join(dir, host);
}

export function layoutOf(dir: string): Layout {
  return {
    dir,
    secret: (name) => path.join(dir, "secrets", name),
    log: (host, service) => path.join(dir, "logs", host, `${service}.log`),
    state: (host, ...below) => path.join(hostFolder(dir, host), "state", ...below),
    etc: (host, ...below) => path.join(hostFolder(dir, host), "etc", ...below),
    tls: (file) => path.join(dir, "tls", file),
  };
}

/** Writes whole files only, so that a reader or a repeat never sees half of one. */
export function writeFile(file: string, text: string, mode = 0o644): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const draft = `${file}.new`;
  fs.rmSync(draft, { force: true });
  fs.writeFileSync(draft, text, { mode });
  fs.renameSync(draft, file);
}

/** Makes the secrets that aren't there yet; a repeat keeps all. */
export function ensureSecrets(layout: Layout): void {
  for (const name of SECRETS) {
    const file = layout.secret(name);
    if (!fs.existsSync(file)) writeFile(file, crypto.randomBytes(18).toString("base64url"), 0o600);
  }
}

export function secretReader(layout: Layout): (name: SecretName) => string {
  return (name) => fs.readFileSync(layout.secret(name), "utf8").trim();
}
