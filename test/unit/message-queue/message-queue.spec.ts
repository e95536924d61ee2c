import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { createServer } from "node:tls";
import forge from "node-forge";
import { backendQueueNames, MessageQueue } from "../../../lib/message-queue";
import { describeMessage } from "../../../lib/message-queue/envelope";
import { DrError } from "../../../lib/errors";

const envelope = (message: unknown): Buffer =>
  Buffer.from(JSON.stringify({ "oslo.version": "2.0", "oslo.message": JSON.stringify(message) }));

describe("describeMessage", () => {
  it("names method, arguments and ids, and no other value", () => {
    const seen = describeMessage(
      envelope({
        method: "initialize_connection",
        namespace: "volume",
        version: "3.0",
        args: {
          connector: { initiator: "iqn", auth_password: "secret-1" },
          volume: {
            "versioned_object.name": "Volume",
            "versioned_object.data": { id: "0d5-1", provider_auth: "secret-2" },
          },
          secondary_backend_id: "idr",
          host: "cinder-a@iprod",
          auth_token: "secret-3",
          odd_id: "no id at all: secret-4",
        },
        _context_auth_token: "secret-5",
      }),
    );
    assert.deepEqual(seen, {
      method: "initialize_connection",
      summary:
        "volume.initialize_connection(connector, volume=0d5-1, secondary_backend_id=idr, host=cinder-a@iprod, auth_token, odd_id)",
    });
  });
  it("knows the form without an envelope", () => {
    assert.equal(describeMessage(Buffer.from('{"method":"failover","args":{}}')).summary, "failover()");
  });
  for (const odd of ["", "not json", "[]", "null", '{"oslo.message":"{"}', '{"oslo.message":"[]"}', "{}"])
    it(`tells the size only of ${JSON.stringify(odd)}`, () => {
      const seen = describeMessage(Buffer.from(odd));
      assert.equal(seen.method, "unknown");
      assert.ok(seen.summary.startsWith(`${odd.length} bytes`));
    });
});

describe("backendQueueNames", () => {
  it("are the topic of the backend, and the one of its server, which is the host", () => {
    assert.deepEqual(backendQueueNames("cinder-a@iprod"), [
      "cinder-volume.cinder-a@iprod",
      "cinder-volume.cinder-a@iprod.cinder-a",
    ]);
  });
});

describe("MessageQueue", () => {
  it("refuses a remote host without TLS", () => {
    assert.throws(
      () => new MessageQueue({ host: "192.0.2.1", port: 5672, user: "u", password: "p", vhost: "/", tls: false }),
      (error: Error) => DrError.is(error, "config") && /TLS/.test(error.message),
    );
  });

  it("sends nothing to a server whose certificate isn't signed by a CA it trusts", async () => {
    const keys = forge.pki.rsa.generateKeyPair(2048);
    const certificate = forge.pki.createCertificate();
    certificate.publicKey = keys.publicKey;
    certificate.validity.notAfter = new Date(Date.now() + 86_400_000);
    certificate.sign(keys.privateKey, forge.md.sha256.create());
    let received = 0;
    const server = createServer(
      { key: forge.pki.privateKeyToPem(keys.privateKey), cert: forge.pki.certificateToPem(certificate) },
      (socket) => socket.on("data", (chunk: Buffer) => (received += chunk.length)),
    );
    server.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, "127.71.0.8", resolve));
    const { port } = server.address() as AddressInfo;
    const queue = new MessageQueue({ host: "127.71.0.8", port, user: "u", password: "p", vhost: "/", tls: true });
    await assert.rejects(
      queue.drainQueue("q", () => Promise.resolve()),
      (error: Error) => DrError.is(error, "config") && /can't be trusted/.test(error.message),
    );
    await new Promise<void>((resolve) => server.close(() => resolve()));
    assert.equal(received, 0);
  });
});
