import assert from "node:assert/strict";
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
});
