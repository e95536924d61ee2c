/** Keystone's tokens, which every service checks by itself: what they say is signed, as fernet tokens are. */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { appendFileSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { SimulatorConfig } from "./config";

export interface Token {
  userId: string;
  userName: string;
  projectId: string;
  projectName: string;
  roles: string[];
  /** ms since the epoch */
  expiresAt: number;
}

export class Tokens {
  /** Signatures, a line each: what one process revokes, the others refuse. */
  private readonly revokedFile: string;
  private revoked: { bytes: number; signatures: ReadonlySet<string> } = { bytes: 0, signatures: new Set() };

  constructor(private readonly config: SimulatorConfig) {
    this.revokedFile = path.join(config.stateDir, "revoked-tokens");
  }

  issue(userId: string, projectId: string, expiresAt: number): string {
    const audit = randomBytes(6).toString("base64url"); // two of one second differ
    const payload = Buffer.from(JSON.stringify([userId, projectId, expiresAt, audit])).toString("base64url");
    return `gAAAAAB${payload}.${this.sign(payload)}`;
  }

  /** Undefined for one that isn't ours, has expired, or has lost its user. */
  check(token: string | string[] | undefined): Token | undefined {
    if (typeof token !== "string" || !token.startsWith("gAAAAAB")) return undefined;
    const [payload = "", signature = ""] = token.slice("gAAAAAB".length).split(".");
    const expected = this.sign(payload);
    if (signature.length !== expected.length || !timingSafeEqual(Buffer.from(signature), Buffer.from(expected)))
      return undefined;
    if (this.revokedSignatures().has(signature)) return undefined;
    const [userId, projectId, expiresAt] = JSON.parse(Buffer.from(payload, "base64url").toString()) as [
      string,
      string,
      number,
    ];
    if (expiresAt < Date.now()) return undefined;
    const { users, projects, grants } = this.config.identity;
    const user = users.find(({ id }) => id === userId);
    const project = projects.find(({ id }) => id === projectId);
    const grant = grants.find((each) => each.user === userId && each.project === projectId);
    if (user === undefined || project === undefined || grant === undefined) return undefined;
    return { userId, userName: user.name, projectId, projectName: project.name, roles: grant.roles, expiresAt };
  }

  /** Of a token that `check` takes. */
  revoke(token: string): void {
    appendFileSync(this.revokedFile, `${token.split(".")[1] ?? ""}\n`, { mode: 0o600 });
  }

  private revokedSignatures(): ReadonlySet<string> {
    const bytes = statSync(this.revokedFile, { throwIfNoEntry: false })?.size ?? 0;
    if (bytes !== this.revoked.bytes)
      this.revoked = { bytes, signatures: new Set(readFileSync(this.revokedFile, "utf8").split("\n").filter(Boolean)) };
    return this.revoked.signatures;
  }

  private sign(payload: string): string {
    return createHmac("sha256", this.config.identity.key).update(payload).digest("base64url");
  }
}

export const isAdmin = (token: Token): boolean => token.roles.includes("admin");
