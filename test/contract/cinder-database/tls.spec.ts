import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import forge from "node-forge";
import { connectCinderDatabase, type DatabaseOptions } from "../../../lib/cinder-database";
import { DrError } from "../../../lib/errors";
import { badInput } from "../../support/bad-input";
import { type PrivateMariadb, createCinderSchema, startMariadb, writePem } from "./private-mariadb";

interface Issued {
  readonly certificate: forge.pki.Certificate;
  readonly keys: forge.pki.rsa.KeyPair;
}

function issue(name: string, addresses: readonly string[], by?: Issued): Issued {
  const keys = forge.pki.rsa.generateKeyPair(2048);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = keys.publicKey;
  certificate.serialNumber = by === undefined ? "01" : "02";
  certificate.validity.notBefore = new Date(Date.now() - 86_400_000);
  certificate.validity.notAfter = new Date(Date.now() + 86_400_000);
  certificate.setSubject([{ name: "commonName", value: name }]);
  certificate.setIssuer((by ?? { certificate }).certificate.subject.attributes);
  certificate.setExtensions(
    by === undefined
      ? [{ name: "basicConstraints", cA: true }]
      : [{ name: "subjectAltName", altNames: addresses.map((ip) => ({ type: 7, ip })) }],
  );
  certificate.sign((by ?? { keys }).keys.privateKey, forge.md.sha256.create());
  return { certificate, keys };
}

describe("cinder-database over TLS", function () {
  this.timeout(60_000);
  const host = "127.71.0.6";
  let folder: string;
  let server: PrivateMariadb;
  let options: DatabaseOptions;
  let otherCa: string;

  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "tls-"));
    chmodSync(folder, 0o755);
    const ca = issue("CA", []);
    const own = issue("database", [host], ca);
    const caFile = writePem(folder, "ca.pem", forge.pki.certificateToPem(ca.certificate));
    const cert = writePem(folder, "cert.pem", forge.pki.certificateToPem(own.certificate));
    const key = writePem(folder, "key.pem", forge.pki.privateKeyToPem(own.keys.privateKey));
    otherCa = writePem(folder, "other.pem", forge.pki.certificateToPem(issue("Other", []).certificate));
    server = await startMariadb(host, 13306, [`--ssl-cert=${cert}`, `--ssl-key=${key}`, `--ssl-ca=${caFile}`]);
    await createCinderSchema(server, "cinder");
    await server.sql("CREATE USER dr@'127.%' IDENTIFIED BY 'x' REQUIRE SSL; GRANT ALL ON *.* TO dr@'127.%'");
    options = { host, port: 13306, user: "dr", password: "x", cinderSchema: "cinder", tls: true, caFile };
  });
  after(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const listing = async (more: Partial<DatabaseOptions>): Promise<unknown> => {
    const client = connectCinderDatabase({ ...options, ...more });
    return client.database.listServiceRows().finally(() => client.close());
  };

  it("reads, and dumps, with a certificate of its CA for its address", async () => {
    const client = connectCinderDatabase(options);
    assert.deepEqual(await client.database.listServiceRows(), []);
    assert.equal((await client.database.dump(path.join(server.folder, "tls.sql"))).tables, 36);
    await client.close();
  });
  badInput("database", "is refused to a server of another CA, and sends no password", async () => {
    await assert.rejects(listing({ caFile: otherCa }), (error) => DrError.is(error, "config"));
  });
  badInput("database", "is refused to a server whose certificate is for another address", async () => {
    // The same server at an address that its certificate doesn't hold.
    const forward = createServer((from) => {
      const to = connect(13306, host);
      from.pipe(to).pipe(from);
      for (const [one, other] of [[from, to], [to, from]] as const)
        one.on("error", () => undefined).on("close", () => other.destroy()); // prettier-ignore
    });
    await new Promise<void>((resolve) => forward.listen(13307, "127.71.0.7", resolve));
    try {
      await assert.rejects(
        listing({ host: "127.71.0.7", port: 13307 }),
        (error: Error) => DrError.is(error, "config") && /127\.71\.0\.7 is not in the cert/.test(error.message),
      );
    } finally {
      forward.close();
    }
  });
  badInput("database", "is refused by a server that insists on it, where it is off", async () => {
    await assert.rejects(
      listing({ tls: false }),
      (error: Error) => DrError.is(error, "remote") && /1045/.test(error.message),
    );
  });
});
