import type {
  CheckFailure,
  CheckResult,
  CreateResult,
  DiffResult,
  ReadResult,
  UpdateResult,
} from "@pulumi/pulumi/dynamic";
import { isDeepStrictEqual } from "node:util";
import type { z } from "zod";
import { DrError } from "../../lib/errors";
import { type RawConfig, useConfig } from "./connection";
import { guardProcess, tracked } from "./orphan";

/** What Pulumi hands over: plain data, in which a preview may have put `UNKNOWN`. */
export type Properties = Record<string, unknown>;

/** Every method, always: a provider without `read` would hide drift, one without `diff` would replace. */
export interface Provider {
  configure(config: RawConfig): void;
  check(olds: Properties, news: Properties): Promise<CheckResult>;
  diff(id: string, olds: Properties, news: Properties): Promise<DiffResult>;
  create(inputs: Properties): Promise<CreateResult>;
  read(id: string, properties: Properties): Promise<ReadResult>;
  update(id: string, olds: Properties, news: Properties): Promise<UpdateResult>;
  delete(id: string, properties: Properties): Promise<void>;
}

/**
 * The provider as Pulumi's process runs it: configured from the stack, watched over by the orphan guard, and with every
 * call counted, so that the process leaves only between two calls.
 */
export function defineProvider(methods: Omit<Provider, "configure">): Provider {
  return {
    configure(config) {
      useConfig(config);
      guardProcess();
    },
    check: (olds, news) => called(() => methods.check(olds, news)),
    diff: (id, olds, news) => called(() => methods.diff(id, olds, news)),
    create: (inputs) => called(() => methods.create(inputs)),
    read: (id, properties) => called(() => methods.read(id, properties)),
    update: (id, olds, news) => called(() => methods.update(id, olds, news)),
    delete: (id, properties) => called(() => methods.delete(id, properties)),
  };
}

/** Pulumi prints the stack of what `read` and `delete` throw; where the text says it all, that's only noise. */
async function called<T>(method: () => Promise<T>): Promise<T> {
  try {
    return await tracked(method);
  } catch (error) {
    if (DrError.is(error)) error.stack = error.message;
    throw error;
  }
}

// ------------------------------------------------------------------------------------------------------------- unknowns

/** Stands for a value that a preview can't know yet (`unknownValue` of @pulumi/pulumi/runtime/rpc 3.270.0). */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** True where the value, or anything inside it, isn't known yet: such a value is neither validated nor compared. */
export function hasUnknown(value: unknown): boolean {
  if (value === UNKNOWN) return true;
  return typeof value === "object" && value !== null && Object.values(value).some(hasUnknown);
}

// ---------------------------------------------------------------------------------------------------------------- check

/** Faults of the inputs by the schema, each at its property; unknown properties are left to the real run. */
export function faultsOf(schema: z.ZodObject, inputs: Properties): CheckFailure[] {
  const parsed = schema.safeParse(withoutInternals(inputs));
  if (parsed.success) return [];
  return parsed.error.issues
    .filter((issue) => !hasUnknown(inputs[String(issue.path[0])]))
    .map((issue) => ({ property: issue.path.join(".") || "inputs", reason: issue.message }));
}

/** The inputs as the schema knows them; Pulumi's own entries and outputs of the same bag fall away. */
export function decode<T extends z.ZodObject>(schema: T, properties: Properties): z.output<T> {
  const known = Object.keys(schema.shape);
  return schema.parse(Object.fromEntries(Object.entries(properties).filter(([key]) => known.includes(key))));
}

function withoutInternals(inputs: Properties): Properties {
  return Object.fromEntries(Object.entries(inputs).filter(([key]) => !key.startsWith("__")));
}

// ----------------------------------------------------------------------------------------------------------------- diff

/** Fields that differ; one that is unknown in the new inputs counts as changed. */
export function changedFields(olds: Properties, news: Properties, fields: readonly string[]): string[] {
  return fields.filter((field) => hasUnknown(news[field]) || !isDeepStrictEqual(olds[field], news[field]));
}

// ------------------------------------------------------------------------------------------------------ state and outcome

/** Version of what the outputs hold. Every later version reads the state of this one. */
export const STATE_VERSION = 1;

/** `read`'s answer for an object that no longer exists: Pulumi takes it out of the state. */
export const gone: ReadResult = { id: "", props: {} };

/**
 * The object exists, but what was asked for isn't finished. Pulumi stores `outs` together with the reasons, keeps the
 * inputs of the last success, and calls `update` again at the next `pulumi up`, even without a difference (measured).
 */
export function unfinished(id: string, outs: Properties, reason: string, cause?: unknown): Error {
  return Object.assign(new Error(reason, { cause }), { id, properties: outs, reasons: [reason] });
}
