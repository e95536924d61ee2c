import { strict as assert } from "node:assert";
import fc from "fast-check";
import {
  at,
  checkBody,
  expandFields,
  FieldSet,
  filterRecords,
  isLiteral,
  isoDuration,
  isoTime,
  matches,
  nest,
  page,
  parseQuery,
  selectFields,
  type JsonObject,
  type ResourceShape,
} from "../../../lab/simulators/ontap/wire";

const shape: ResourceShape = {
  keys: ["uuid"],
  defaults: ["name"],
  expensive: ["maps"],
  fields: new FieldSet("uuid,name,size,lag,svm.{name,uuid},services,initiators.{name,comment},maps,comment,enabled"),
  namedObjects: ["svm"],
};
const records: JsonObject[] = [
  {
    uuid: "1",
    name: "alpha",
    size: 10,
    lag: "PT30M",
    svm: { name: "s1", uuid: "u1" },
    services: ["data_core", "data_iscsi"],
    initiators: [{ name: "iqn.a" }, { name: "iqn.b" }],
    enabled: true,
  },
  {
    uuid: "2",
    name: "beta",
    size: 200,
    lag: "P1DT2H",
    svm: { name: "s2", uuid: "u2" },
    services: ["intercluster_core"],
    comment: "x|y",
    enabled: false,
    maps: [1],
  },
  { uuid: "3", name: "gamma", size: 30, svm: { name: "s1", uuid: "u1" }, services: [] },
];
const found = (query: string): unknown[] =>
  filterRecords(records, parseQuery("/x", query, []), shape).map((r) => r["uuid"]);

describe("ONTAP's query grammar", () => {
  it("expands nested field lists", () => {
    assert.deepEqual(expandFields("a,b.{c,d.{e,f}},!g"), ["a", "b.c", "b.d.e", "b.d.f", "!g"]);
  });

  for (const [query, expected] of [
    ["name=alpha", ["1"]],
    ["name=a*", ["1"]],
    ["name=*a", ["1", "2", "3"]],
    ["name=alpha|gamma", ["1", "3"]],
    ["name=!alpha", ["2", "3"]],
    ["name=!*a*p*", ["2", "3"]],
    ["size=>20", ["2", "3"]],
    ["size=<=30", ["1", "3"]],
    ["size=20..100", ["3"]],
    ["lag=>PT1H", ["2"]],
    ["lag=<PT10H", ["1"]],
    ["lag=null", ["3"]],
    ["lag=!null", ["1", "2"]],
    ["lag=<PT10H|null", ["1", "3"]],
    ["enabled=True", ["1"]],
    ["services=data_iscsi", ["1"]],
    ["initiators.name=iqn.a", ["1"]],
    ["initiators.name=iqn.a,iqn.b", ["1"]],
    ["initiators.name=iqn.a,iqn.c", []],
    ["name=alpha,beta", ["1", "2"]],
    ['comment="x|y"', ["2"]],
    ["comment={x|y}", ["2"]],
    ["svm=s1", ["1", "3"]],
    ["svm=u2", ["2"]],
    ["svm.name=s1&size=>20", ["3"]],
  ] as const) {
    it(`finds by ${query}`, () => assert.deepEqual(found(query), expected));
  }

  it("calls a value literal only where nothing but what equals it is found by it", () => {
    const text = fc.stringMatching(/^[0-9a-c/:.@_*|,!<>"{}-]{1,8}$/);
    const either = fc.oneof(
      text,
      fc.constantFrom("null", "true", "False", "12", "012", "12.0", "1..2", "/vol/v/volume-1", "iqn.a:b"),
    );
    fc.assert(
      fc.property(either, either, (pattern, value) => {
        if (isLiteral(pattern)) assert.equal(matches([value], pattern, false), value === pattern);
      }),
    );
    assert.deepEqual(["/vol/pool1/volume-0a-1", "iqn.1994-05.com.redhat:0a"].map(isLiteral), [true, true]);
    assert.deepEqual(["a*", "a|b", "!a", "12", "null", "a..b", '"a"', ">1", ""].filter(isLiteral), []);
  });

  it("refuses a field that isn't known, and one given twice", () => {
    assert.throws(() => found("nonsense=1"), { code: "262250" });
    assert.throws(() => parseQuery("/x", "name=a&name=b", []), { code: "262188" });
    assert.throws(() => parseQuery("/x", "return_timeout=600", []), { code: "262185" });
  });

  it("selects fields: keys and defaults, everything but the expensive, one object, all but one", () => {
    const select = (query: string, whole = false): JsonObject =>
      selectFields(records[1] ?? {}, parseQuery("/x", query, []), shape, whole);
    assert.deepEqual(select(""), { uuid: "2", name: "beta" });
    assert.deepEqual(select("size=>1"), { uuid: "2", name: "beta", size: 200 });
    assert.equal(select("", true)["maps"], undefined);
    assert.deepEqual(select("fields=**")["maps"], [1]);
    assert.deepEqual(select("fields=maps"), { uuid: "2", maps: [1] });
    assert.deepEqual(select("fields=svm"), { uuid: "2", svm: { name: "s2", uuid: "u2" } });
    assert.deepEqual(select("fields=svm,!svm.uuid"), { uuid: "2", svm: { name: "s2" } });
    assert.deepEqual(select("fields=svm.{name}"), { uuid: "2", svm: { name: "s2" } });
    assert.throws(() => select("fields=nonsense"), { code: "262197" });
    assert.deepEqual(select("fields=nonsense&ignore_unknown_fields=true"), { uuid: "2" });
  });

  it("pages through everything once, in order, whatever the page size", () => {
    for (const size of [1, 2, 3, 4]) {
      const seen: unknown[] = [];
      let search: string | undefined = `max_records=${size}&order_by=name%20desc&fields=name`;
      while (search !== undefined) {
        const result = page(records, parseQuery("/x", search, []), shape);
        seen.push(...result.records.map((r) => r["uuid"]));
        search = result.next?.split("?")[1];
      }
      assert.deepEqual(seen, ["3", "2", "1"]);
    }
    assert.throws(() => page(records, parseQuery("/x", "order_by=nonsense", []), shape), { code: "262268" });
  });

  it("takes dotted and nested bodies alike, and names an argument it doesn't know", () => {
    const body = nest({ "space.size": 1, space: { used: 2 }, "remote.ip_addresses": ["a"] });
    assert.deepEqual(body, { space: { size: 1, used: 2 }, remote: { ip_addresses: ["a"] } });
    assert.equal(at(body, "space.size"), 1);
    assert.throws(() => checkBody(body, new FieldSet("space.size,remote.ip_addresses")), {
      code: "262179",
      target: "space.used",
    });
  });

  it("writes times and durations as ONTAP does", () => {
    assert.equal(isoTime(Date.UTC(2026, 0, 31, 8, 0, 0, 999)), "2026-01-31T08:00:00+00:00");
    for (const [seconds, text] of [
      [0, "PT0S"],
      [54, "PT54S"],
      [2880, "PT48M"],
      [30942, "PT8H35M42S"],
      [86400, "P1D"],
      [93600, "P1DT2H"],
      [37061119, "P428DT22H45M19S"],
    ] as const) {
      assert.equal(isoDuration(seconds), text);
    }
  });
});
