import assert from "node:assert/strict";
import { parse } from "yaml";
import type { z } from "zod";
import { programs, readSettings } from "../../../stacks/settings";
import { keysOf, rewritten } from "../../support/configuration-reference";
import { blocks, code, documents, read, rows } from "./documents";

describe("docs/configuration.md", () => {
  const { text } = read("docs/configuration.md");

  it("is what the schemas say; `npm run docs:configuration` writes it", async () => {
    assert.equal(text, await rewritten(text));
  });

  it("has a row for every key that a stack can set, and for no other", () => {
    const keys = Object.values<z.ZodType>(programs).flatMap((schema) => [...keysOf(schema).keys()]);
    assert.ok(keys.length > 80, "the schemas were read");
    const told = rows({ file: "", text }).flatMap((cells) => code(cells[0]) ?? []);
    assert.deepEqual(told.sort(), keys.sort());
  });

  it("gives every key a meaning", () => {
    for (const [program, schema] of Object.entries<z.ZodType>(programs))
      for (const [name, { meaning }] of keysOf(schema)) assert.notEqual(meaning, "", `${program}: describe ${name}`);
  });
});

describe("the stack configurations in the documents", () => {
  const examples = documents().flatMap((document) =>
    blocks(document, "yaml stack").map((text, index) => ({ name: `${document.file} #${index + 1}`, text })),
  );

  it("are there", () => assert.ok(examples.length >= 3));

  for (const { name, text } of examples)
    it(`${name} is one that the program takes`, () => {
      const { config } = parse(text) as { config: Record<string, unknown> };
      const secretKeys: string[] = [];
      const texts = Object.entries(config).map(([key, value]) => {
        const plain = decrypted(value);
        if (plain !== value) secretKeys.push(key);
        return [key, typeof plain === "string" ? plain : JSON.stringify(plain)] as const;
      });
      readSettings({ project: "cinder-cheesecake", config: Object.fromEntries(texts), secretKeys });
    });
});

/** `{secure: …}` stands for a text, also inside an object; the value itself where nothing is encrypted. */
function decrypted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if ("secure" in value) return "a secret";
  const entries = Object.entries(value).map(([key, part]) => [key, decrypted(part)] as const);
  return entries.some(([key, part]) => part !== (value as Record<string, unknown>)[key])
    ? Object.fromEntries(entries)
    : value;
}
