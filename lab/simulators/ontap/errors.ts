/**
 * Errors as ONTAP puts them on the wire: `{"error":{"message","code","target"?}}`, code always a string.
 * HTTP status by code follows NetApp's REST reference 9.17, "getting started"; feature codes (1330xxxx, 66xxxxx …) are 400.
 */
export class OntapError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly target?: string,
    /** A route, parameter or field that the simulator doesn't know: also listed by GET /unknown of the control API. */
    readonly unknown = false,
  ) {
    super(message);
    this.name = "OntapError";
  }

  body(): { error: { message: string; code: string; target?: string } } {
    return {
      error: { message: this.message, code: this.code, ...(this.target === undefined ? {} : { target: this.target }) },
    };
  }
}

/** A refusal by a feature (HTTP 400). */
export const refused = (code: number, message: string, target?: string): OntapError =>
  new OntapError(400, String(code), message, target);

/** `1330xxxx` family: "<table text>. Reason:<detail>" (literal sample only for 13303808, in Trident). */
export const refusedBecause = (code: number, text: string, reason: string): OntapError =>
  new OntapError(400, String(code), `${text}. Reason:${reason}`);

export const notFound = (target = "uuid"): OntapError => new OntapError(404, "4", "entry doesn't exist", target);
export const conflict = (code: number, message: string): OntapError => new OntapError(409, String(code), message);
export const notAuthenticated = (): OntapError => new OntapError(401, "6691623", "User is not authorized.");
export const missingValue = (field: string): OntapError =>
  new OntapError(400, "262212", `A required value for "${field}" is missing.`, field);
export const invalidValue = (field: string, value: unknown): OntapError =>
  new OntapError(400, "262185", `Invalid value "${String(value)}" for field "${field}"`, field);
export const unknownField = (field: string): OntapError =>
  new OntapError(400, "262197", `The value "${field}" is invalid for field "fields"`, "fields", true);
export const unknownArgument = (field: string): OntapError =>
  new OntapError(400, "262179", `Unexpected argument "${field}".`, field, true);
export const unknownRoute = (): OntapError => new OntapError(404, "3", "API not found", undefined, true);
export const unsupportedVerb = (): OntapError =>
  new OntapError(405, "3", "The specified HTTP method is not supported", undefined, true);
export const svmNotFound = (name: string): OntapError => refused(2621462, `SVM "${name}" does not exist.`, "svm.name");
export const volumeNotFound = (path: string): OntapError =>
  refused(917927, `The specified volume "${path}" was not found.`);

/** Anything that isn't an OntapError is a bug of the simulator: 500, and listed as unknown. */
export const asOntapError = (cause: unknown): OntapError =>
  cause instanceof OntapError
    ? cause
    : new OntapError(
        500,
        "262145",
        `Simulator fault: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}`,
        undefined,
        true,
      );
