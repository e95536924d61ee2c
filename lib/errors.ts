/**
 * The one error of the project. It is recognised by its code, never by `instanceof` (a dynamic provider runs from
 * another copy of this module) and never by its text.
 */

/** Every code says who has to act: the operator, the remote system, or us. */
export type DrErrorCode =
  /** Configuration or input is wrong; nothing was changed. */
  | "config"
  /** A precondition of the switchover isn't met; nothing was changed. */
  | "precondition"
  /** A remote system refused or failed a request. */
  | "remote"
  /** A remote system did not answer (connection refused, reset, deadline of one request). */
  | "unreachable"
  /** Something awaited did not happen within its deadline. */
  | "wait-timeout"
  /** An object went to a state from which it can't reach what was awaited. */
  | "failure-state"
  /** Another run holds the lease, or ours was lost. */
  | "lease"
  /** The world isn't the one that was planned or approved. */
  | "stale-plan"
  /** A file changed between reading and writing it. */
  | "conflict"
  /** The journal on disk or in the database doesn't fit the plan. */
  | "journal"
  /** The run ended where somebody is to approve before it goes on: nothing is wrong. */
  | "approval"
  /** The run was asked to stop and did so at a step boundary. */
  | "stopped"
  /** A rule that must always hold doesn't: a fault of this software or of its surroundings. */
  | "invariant";

/** What an error is made of. */
export interface DrErrorFields {
  readonly code: DrErrorCode;
  /** What was attempted on which object, e.g. "Break SnapMirror svm-iprod:pool1 → svm-idr:pool1". */
  readonly attempted: string;
  /** What was seen, against what was needed. */
  readonly seen: string;
  /** The state things were left in. */
  readonly state?: string;
  /** What the operator does next. */
  readonly remedy?: string;
  /** True where the same call may succeed later without anybody changing anything. */
  readonly retryable?: boolean;
  /** Plain data for machines; never a secret. */
  readonly context?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** Context that every remote error carries: what was sent, what came back. */
export interface RemoteContext {
  readonly method: string;
  readonly url: string;
  readonly expectedStatus?: readonly number[];
  readonly status?: number;
  /** The vendor's own code, e.g. ONTAP "13303808". */
  readonly vendorCode?: string;
  readonly requestId?: string;
}

const BRAND = "cinder-cheesecake/DrError";

/** What fails, fails with this: a stable `code`, and in words what was attempted, seen, left behind and is to be done. */
export class DrError extends Error implements DrErrorFields {
  readonly brand = BRAND;
  readonly code: DrErrorCode;
  readonly attempted: string;
  readonly seen: string;
  readonly state?: string;
  readonly remedy?: string;
  readonly retryable: boolean;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(fields: DrErrorFields) {
    super(sentences(fields), fields.cause === undefined ? undefined : { cause: fields.cause });
    this.name = "DrError";
    this.code = fields.code;
    this.attempted = fields.attempted;
    this.seen = fields.seen;
    if (fields.state !== undefined) this.state = fields.state;
    if (fields.remedy !== undefined) this.remedy = fields.remedy;
    this.retryable = fields.retryable ?? false;
    this.context = fields.context ?? {};
  }

  /** Recognises it, also of another copy of this module; with a code, only that one. */
  static is(error: unknown, code?: DrErrorCode): error is DrError {
    const candidate = error as Partial<DrError> | null | undefined;
    return candidate?.brand === BRAND && (code === undefined || candidate.code === code);
  }
}

function sentences(fields: DrErrorFields): string {
  const head = `${fields.attempted}: ${fields.seen}`;
  return [head, fields.state, fields.remedy]
    .filter((part): part is string => part !== undefined && part !== "")
    .map(sentence)
    .join(" ");
}

/** The same error with more for the operator. */
export function extend(
  error: unknown,
  more: Partial<Pick<DrErrorFields, "attempted" | "state" | "remedy" | "retryable">>,
): unknown {
  if (!DrError.is(error)) return error;
  return new DrError({
    code: error.code,
    attempted: error.attempted,
    seen: error.seen,
    ...(error.state === undefined ? {} : { state: error.state }),
    ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
    retryable: error.retryable,
    context: error.context,
    cause: error.cause,
    ...more,
  });
}

/** Nobody answered but, at most, a gateway in front of a service that is down (502, 503, 504). */
export function isUnanswered(error: unknown): boolean {
  if (DrError.is(error, "unreachable")) return true;
  return DrError.is(error, "remote") && [502, 503, 504].includes(Number(error.context["status"]));
}

/** The text of anything thrown, on one line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What couldn't be read, beside what could: in a disaster the rest is told all the same. */
export async function readable<T>(
  read: () => Promise<T>,
): Promise<{ readonly value?: T; readonly faults: readonly string[] }> {
  try {
    return { value: await read(), faults: [] };
  } catch (error) {
    return { faults: [messageOf(error)] };
  }
}

/** With a full stop; a system's own words may end in one. */
export function sentence(part: string): string {
  return /[.!?…\n]$/.test(part) ? part : `${part}.`;
}
