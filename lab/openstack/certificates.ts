import * as crypto from "node:crypto";
import * as fs from "node:fs";
import forge from "node-forge";
import { writeFile, type Layout } from "./files";

const DAY_MS = 86_400_000;

/** OpenSSL's generator: forge's own takes seconds for a key. */
function newKey(): { privateKey: forge.pki.rsa.PrivateKey; publicKey: forge.pki.rsa.PublicKey; pem: string } {
  const { privateKey: pem } = crypto.generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
  });
  const privateKey = forge.pki.privateKeyFromPem(pem);
  return { privateKey, publicKey: forge.pki.setRsaPublicKey(privateKey.n, privateKey.e), pem };
}

function newCertificate(commonName: string): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate();
  // DER wants neither a sign bit nor a zero byte in front that isn't needed: OpenSSL reads no certificate with either.
  certificate.serialNumber = "01" + crypto.randomBytes(15).toString("hex");
  certificate.validity.notBefore = new Date(Date.now() - DAY_MS);
  certificate.validity.notAfter = new Date(Date.now() + 365 * DAY_MS);
  certificate.setSubject([{ name: "commonName", value: commonName }]);
  return certificate;
}

/**
 * The lab's own CA and one certificate for both clusters' management addresses. The CA's key is never written: what it
 * signed is all that it ever will. A repeat keeps what is there.
 */
export function ensureCertificates(layout: Layout, addresses: readonly string[]): void {
  if (fs.existsSync(layout.tls("ca.pem"))) return;
  const ca = newKey();
  const caCertificate = newCertificate("cinder-cheesecake lab CA");
  caCertificate.publicKey = ca.publicKey;
  caCertificate.setIssuer(caCertificate.subject.attributes);
  caCertificate.setExtensions([
    { name: "basicConstraints", cA: true, critical: true },
    { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    { name: "subjectKeyIdentifier" },
  ]);
  caCertificate.sign(ca.privateKey, forge.md.sha256.create());

  const server = newKey();
  const certificate = newCertificate("cinder-cheesecake lab clusters");
  certificate.publicKey = server.publicKey;
  certificate.setIssuer(caCertificate.subject.attributes);
  certificate.setExtensions([
    { name: "basicConstraints", cA: false, critical: true },
    { name: "keyUsage", digitalSignature: true, keyEncipherment: true, critical: true },
    { name: "extKeyUsage", serverAuth: true },
    { name: "subjectAltName", altNames: addresses.map((ip) => ({ type: 7, ip })) },
    { name: "authorityKeyIdentifier", keyIdentifier: caCertificate.generateSubjectKeyIdentifier().getBytes() },
  ]);
  certificate.sign(ca.privateKey, forge.md.sha256.create());

  writeFile(layout.tls("clusters.key"), server.pem, 0o600);
  writeFile(layout.tls("clusters.pem"), forge.pki.certificateToPem(certificate));
  writeFile(layout.tls("ca.pem"), forge.pki.certificateToPem(caCertificate)); // last: its presence says all are there
}
