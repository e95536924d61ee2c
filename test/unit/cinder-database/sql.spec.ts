import assert from "node:assert/strict";
import fc from "fast-check";
import { isLoopback } from "../../../lib/topology/loopback";
import {
  grantedOn,
  literal,
  namesHost,
  readBeforeImage,
  type RowGroup,
  rollbackStatements,
} from "../../../lib/cinder-database/sql";

describe("grantedOn", () => {
  const cases: { grant: string; rights: string[] }[] = [
    { grant: "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*1'", rights: ["ALL PRIVILEGES"] },
    { grant: "GRANT SELECT, INSERT ON `cinder_cheesecake`.* TO `a`@`%`", rights: ["SELECT", "INSERT"] },
    { grant: "GRANT CREATE ON `cinder\\_%`.* TO `a`@`%`", rights: ["CREATE"] },
    { grant: "GRANT CREATE ON `cinder_cheesecak_`.* TO `a`@`%`", rights: ["CREATE"] },
    { grant: "GRANT CREATE ON `cinder\\_cheesecak\\_`.* TO `a`@`%`", rights: [] },
    { grant: "GRANT CREATE ON `cinder`.* TO `a`@`%`", rights: [] },
    { grant: "GRANT SELECT ON `cinder_cheesecake`.`lease` TO `a`@`%`", rights: [] },
    { grant: "GRANT `role` TO `a`@`%`", rights: [] },
  ];
  for (const { grant, rights } of cases)
    it(`reads ${grant}`, () => assert.deepEqual([...grantedOn("cinder_cheesecake", [grant])], rights));
});

describe("namesHost", () => {
  it("escapes what LIKE would take as a pattern", () => {
    assert.deepEqual(namesHost("h_1@50%|x").values[1], "h|_1@50|%||x#%");
  });
});

describe("literal", () => {
  it("never holds a quote or a backslash of the value, and keeps every character", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (value) => {
        const text = literal(value);
        const hex = /^CONVERT\(X'([0-9a-f]*)' USING utf8mb3\)$/.exec(text)?.[1];
        const back = hex === undefined ? /^'([^'\\]*)'$/.exec(text)?.[1] : Buffer.from(hex, "hex").toString("utf8");
        return back === value;
      }),
    );
  });
  it("takes NULL and numbers, and refuses what it doesn't know", () => {
    assert.deepEqual([literal(null), literal(0), literal("")], ["NULL", "0", "''"]);
    assert.throws(() => literal({}), TypeError);
  });
});

describe("rollbackStatements", () => {
  const volumesOf = (host: string, ...keys: string[]): RowGroup => ({
    keys,
    before: { host, replication_status: "failed-over", service_uuid: null },
  });

  it("puts rows with the same former values into one statement, for rows that still name the new host", () => {
    const volumes = [volumesOf("h@a#p", "v1", "v2"), volumesOf("h@a#q", "v3")];
    assert.deepEqual(rollbackStatements("cinder", { volumes }, "h@b"), [
      "START TRANSACTION",
      "UPDATE `cinder`.`volumes` SET `host` = 'h@a#p', `replication_status` = 'failed-over', `service_uuid` = NULL WHERE `id` IN ('v1', 'v2') AND SUBSTRING_INDEX(host, '#', 1) = BINARY 'h@b'",
      "UPDATE `cinder`.`volumes` SET `host` = 'h@a#q', `replication_status` = 'failed-over', `service_uuid` = NULL WHERE `id` IN ('v3') AND SUBSTRING_INDEX(host, '#', 1) = BINARY 'h@b'",
      "COMMIT",
    ]);
  });
  it("names every row exactly once, at most 500 in a statement", () => {
    const volumes = [volumesOf("h@a#p", ...Array.from({ length: 1201 }, (_, i) => `v${i}`))];
    const statements = rollbackStatements("cinder", { volumes }, "h@b");
    assert.equal(statements.length, 2 + 3);
    const named = statements.flatMap((statement) => statement.match(/'v\d+'/g) ?? []);
    assert.equal(new Set(named).size, 1201);
    assert.equal(named.length, 1201);
  });
  it("is nothing for nothing", () => assert.deepEqual(rollbackStatements("cinder", { volumes: [] }, "h@b"), []));
});

describe("readBeforeImage", () => {
  it("reads what was stored row by row", () => {
    const before = { id: "v1", host: "h@a#p", replication_status: null, service_uuid: "u" };
    const services = { id: 7, disabled: 1 };
    const image = readBeforeImage(JSON.stringify({ volumes: [before], services: [services] }));
    assert.deepEqual(image, {
      volumes: [{ keys: ["v1"], before }],
      services: [{ keys: ["7"], before: services }],
    });
  });
  it("reads what it stores now", () => {
    const image = { volumes: [{ keys: ["v1", "v2"], before: { host: "h@a#p" } }] };
    assert.deepEqual(readBeforeImage(JSON.stringify(image)), image);
  });
});

describe("isLoopback", () => {
  for (const [host, wanted] of [
    ["127.0.0.1", true],
    ["127.71.0.2", true],
    ["::1", true],
    ["localhost", true],
    ["/run/mysqld/mysqld.sock", true],
    ["127.evil.example", false],
    ["10.0.0.1", false],
    ["localhost.example", false],
  ] as const)
    it(`says ${wanted} of ${host}`, () => assert.equal(isLoopback(host), wanted));
});
