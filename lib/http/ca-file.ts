import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { DrError, messageOf } from "../errors";

/**
 * Text of the PEM file with the only CAs that are trusted, whatever the protocol.
 * @throws DrError `config`, also for a file without a certificate: Node takes it for an empty list, and blames the server.
 */
export function readCaFile(caFile: string): string {
  try {
    const text = readFileSync(caFile, "utf8");
    void new X509Certificate(text); // the first one
    return text;
  } catch (error) {
    throw new DrError({
      code: "config",
      attempted: `Read the CA certificates in ${caFile}`,
      seen: messageOf(error),
      remedy: "Name a readable PEM file with certificates as caFile",
      cause: error,
    });
  }
}
