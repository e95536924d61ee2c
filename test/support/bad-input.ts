import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { inspect } from "node:util";

/**
 * The catalogue of bad input: what operators get wrong, and what the product has to say to it. In every case the message
 * names what is at fault and what to do, says all faults there are, quotes no secret, and nothing has changed.
 */

export type Area = "stack configuration" | "cinder.conf" | "database" | "ONTAP" | "credentials";

export interface BadInput<G> {
  readonly name: string;
  readonly given: G;
  readonly expected: {
    /** One for each fault that has to be told, with the name of the field or object; no other fault may be told. */
    readonly faults: readonly RegExp[];
    readonly remedy: RegExp;
  };
}

/** What the operator reads. */
export interface Told {
  readonly faults: readonly string[];
  /** All of it, with the remedies. */
  readonly text: string;
  /** Where a secret could hide besides: the error itself, with its context, causes and stack. */
  readonly error?: unknown;
}

export interface Catalogue<G, S> {
  readonly area: Area;
  readonly cases: readonly BadInput<G>[];
  readonly secrets: readonly string[];
  /** What the product meets. */
  readonly arrange: (given: G) => S | Promise<S>;
  readonly tell: (scene: S) => Told | Promise<Told>;
  /** All that the product could have changed, read without the product. */
  readonly state: (scene: S) => unknown;
}

/** One test for each case. */
export function refuses<G, S>({ area, cases, secrets, arrange, tell, state }: Catalogue<G, S>): void {
  for (const { name, given, expected } of cases)
    badInput(area, name, async () => {
      const scene = await arrange(given);
      const before = await state(scene);
      const told = await tell(scene);
      for (const fault of expected.faults)
        assert.ok(
          told.faults.some((text) => fault.test(text)),
          `${String(fault)} isn't told: ${told.faults.join(" | ")}`,
        );
      for (const text of told.faults)
        assert.ok(
          expected.faults.some((fault) => fault.test(text)),
          `told, but not expected: ${text}`,
        );
      assert.match(told.text, expected.remedy);
      const everything = `${told.text}\n${inspect(told.error, { depth: 10, maxStringLength: null })}`;
      for (const secret of secrets) assert.ok(!everything.includes(secret), `"${secret}" is told: ${everything}`);
      assert.deepEqual(await state(scene), before);
    });
}

/** A test that counts as a case of the catalogue; for tables that stand where their subject is tested. */
export function badInput(area: Area, name: string, test: () => void | Promise<void>): void {
  it(name, async () => {
    let passed = false;
    try {
      await test();
      passed = true;
    } finally {
      // As for the hazards: the runner counts them, over all its processes.
      const file = process.env["CHEESECAKE_TEST_BAD_INPUTS"];
      if (file !== undefined && file !== "") appendFileSync(file, `${JSON.stringify({ area, passed })}\n`);
    }
  });
}
