import { unknownValue } from "@pulumi/pulumi/runtime";
import assert from "node:assert/strict";
import { z } from "zod";
import { fillIn } from "../../../dynamic-providers/breadcrumb.provider";
import * as lifecycle from "../../../dynamic-providers/runtime/lifecycle";

const { UNKNOWN } = lifecycle;

describe("unknowns", () => {
  it("are Pulumi's own", () => assert.equal(UNKNOWN, unknownValue));

  it("are found at any depth", () => {
    assert.equal(lifecycle.hasUnknown({ a: [1, { b: UNKNOWN }] }), true);
    assert.equal(lifecycle.hasUnknown({ a: [1, { b: null }] }), false);
  });
});

describe("faultsOf", () => {
  const schema = z.object({ name: z.string().min(1), ports: z.array(z.number()) });

  it("names the property of every fault", () => {
    const properties = lifecycle.faultsOf(schema, { name: "", ports: [1, "x"] }).map(({ property }) => property);
    assert.deepEqual(properties, ["name", "ports.1"]);
  });

  it("doesn't judge what isn't known yet", () => {
    assert.deepEqual(lifecycle.faultsOf(schema, { name: UNKNOWN, ports: UNKNOWN }), []);
  });
});

describe("changedFields", () => {
  it("compares by value, and counts unknown as changed", () => {
    const olds = { a: { x: [1] }, b: 1, c: 1 };
    assert.deepEqual(lifecycle.changedFields(olds, { a: { x: [1] }, b: 2, c: UNKNOWN }, ["a", "b", "c"]), ["b", "c"]);
  });
});

describe("unfinished", () => {
  it("carries what Pulumi needs to store the resource and call update again", () => {
    const error = lifecycle.unfinished("id", { created: true }, "still initialising");
    assert.deepEqual({ ...error }, { id: "id", properties: { created: true }, reasons: ["still initialising"] });
  });
});

describe("fillIn", () => {
  it("replaces the words of the template inside one argument each", () => {
    const crumb = { instance: "a b; rm -rf", device: "/dev/vdb", stage: "pre-failover" };
    assert.deepEqual(fillIn(["guest", "--on={instance}", "{device}", "{stage}", "{other}"], crumb), [
      "guest",
      "--on=a b; rm -rf",
      "/dev/vdb",
      "pre-failover",
      "{other}",
    ]);
  });

  it("doesn't replace a second time what a name brought in", () => {
    assert.deepEqual(fillIn(["{instance}"], { instance: "{stage}", device: "/dev/vdb", stage: "x" }), ["{stage}"]);
  });
});
