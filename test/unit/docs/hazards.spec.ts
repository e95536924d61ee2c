import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

const tests = path.resolve(__dirname, "..", "..");

describe("the hazards that tests on the real lab record", () => {
  const recorded = ["openstack", "full"]
    .flatMap((level) =>
      readdirSync(path.join(tests, level), { recursive: true, encoding: "utf8" })
        .filter((file) => file.endsWith(".ts"))
        .map((file) => readFileSync(path.join(tests, level, file), "utf8")),
    )
    .flatMap((text) => [...text.matchAll(/\bmet\(\{\s*id: "([^"]+)"/g)].map(([, id]) => id ?? ""));

  it("are each of the driver's eighteen measured behaviours", () => {
    const driver = Array.from({ length: 18 }, (_, at) => `D${at + 1}`);
    assert.deepEqual(
      driver.filter((id) => !recorded.includes(id)),
      [],
    );
  });

  it("have an id of their own", () => {
    assert.deepEqual(
      recorded.filter((id, at) => recorded.indexOf(id) !== at),
      [],
    );
  });
});
