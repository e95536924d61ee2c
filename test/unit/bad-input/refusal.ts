import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import type { Intent } from "../../../lib/switchover";
import type { Told } from "../../support/bad-input";
import { at, operator } from "../switchover/support";
import { intentTo, type World } from "../switchover/world";

/** What preview says against a switchover to idr; `up` refuses it with the same faults. */
export async function refusalOf(world: World, journalDir: string, more: Partial<Intent> = {}): Promise<Told> {
  const somebody = operator(world, journalDir);
  const intent = intentTo("idr", more);
  const { failures } = await somebody.preview(intent, at("iprod"));
  assert.ok(failures.length > 0, "nothing is refused");
  const error: unknown = await somebody.up(intent, at("iprod")).then(
    () => assert.fail("it is done"),
    (thrown: unknown) => thrown,
  );
  assert.ok(DrError.is(error, "precondition"), String(error));
  for (const { message } of failures) assert.ok(error.message.includes(message), `up doesn't say: ${message}`);
  assert.match(error.message, /Nothing was changed/);
  return {
    faults: failures.map(({ message }) => message),
    text: failures.map(({ message, remedy }) => `${message}. ${remedy}`).join("\n"),
    error,
  };
}
