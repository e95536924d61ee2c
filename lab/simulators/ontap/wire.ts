/**
 * The grammar of ONTAP's REST interface: dotted bodies, field selection, query operators, paging.
 * Source: NetApp REST reference 9.17 "getting started"; comma lists as NetApp's Cinder driver sends them (see FIDELITY.md).
 */
import { invalidValue, missingValue, OntapError, unknownArgument, unknownField } from "./errors";

export type Json = string | number | boolean | null | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json | undefined;
}

/** A value as text; objects by their JSON. */
export const textOf = (value: Json | undefined): string =>
  value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

// ------------------------------------------------------------------------------------------------ field names

/** "a,b.{c,d},!e" → ["a","b.c","b.d","!e"]. */
export function expandFields(text: string): string[] {
  const out: string[] = [];
  let depth = 0;
  let start = 0;
  const parts: string[] = [];
  for (let i = 0; i <= text.length; i++) {
    const c = text[i];
    if (c === "{") depth++;
    else if (c === "}") depth--;
    else if (c === undefined || (c === "," && depth === 0)) {
      const part = text.slice(start, i).trim();
      if (part !== "") parts.push(part);
      start = i + 1;
    }
  }
  for (const part of parts) {
    const brace = part.indexOf("{");
    if (brace < 0) out.push(part);
    else {
      const prefix = part.slice(0, brace);
      for (const inner of expandFields(part.slice(brace + 1, -1))) out.push(prefix + inner);
    }
  }
  return out;
}

/** The names a resource knows. A name that ends in ".*" is open below that object. */
export class FieldSet {
  private readonly leaves = new Set<string>();
  private readonly objects = new Set<string>();
  private readonly open: string[] = [];

  constructor(spec: string) {
    for (const name of expandFields(spec.replace(/\s+/g, ""))) {
      const isOpen = name.endsWith(".*");
      const path = isOpen ? name.slice(0, -2) : name;
      if (isOpen) this.open.push(`${path}.`);
      this.leaves.add(path);
      const parts = path.split(".");
      for (let i = 1; i < parts.length; i++) this.objects.add(parts.slice(0, i).join("."));
    }
  }

  knows(path: string): boolean {
    return this.leaves.has(path) || this.objects.has(path) || this.open.some((prefix) => path.startsWith(prefix));
  }
}

// ------------------------------------------------------------------------------------------------ bodies

/** Dotted keys equal nested objects: {"space.size":1} → {space:{size:1}}. */
export function nest(body: JsonObject): JsonObject {
  const out: JsonObject = {};
  for (const [key, value] of Object.entries(body)) {
    const nested = nestValue(value);
    const parts = key.split(".");
    let at = out;
    for (const part of parts.slice(0, -1)) {
      const next = at[part];
      if (isObject(next)) at = next;
      else at = at[part] = {};
    }
    const last = parts[parts.length - 1] ?? key;
    const present = at[last];
    at[last] = isObject(present) && isObject(nested) ? { ...present, ...nested } : nested;
  }
  return out;
}
const nestValue = (value: Json | undefined): Json | undefined =>
  Array.isArray(value) ? value.map((v) => nestValue(v) ?? null) : isObject(value) ? nest(value) : value;

/** Every leaf of a body has to be a field that the method accepts. */
export function checkBody(body: JsonObject, allowed: FieldSet, prefix = ""): void {
  for (const [key, value] of Object.entries(body)) {
    const path = prefix + key;
    if (key === "_links") continue;
    if (!allowed.knows(path)) throw unknownArgument(path);
    for (const item of Array.isArray(value) ? value : [value]) {
      if (isObject(item)) checkBody(item, allowed, `${path}.`);
    }
  }
}

export function at(body: JsonObject, path: string): Json | undefined {
  let value: Json | undefined = body;
  for (const part of path.split(".")) {
    if (!isObject(value)) return undefined;
    value = value[part];
  }
  return value;
}

export function textAt(body: JsonObject, path: string): string | undefined {
  const value = at(body, path);
  if (value === undefined || value === null) return undefined;
  if (typeof value === "object") throw invalidValue(path, JSON.stringify(value));
  return String(value);
}

export function requireText(body: JsonObject, path: string): string {
  const value = textAt(body, path);
  if (value === undefined || value === "") throw missingValue(path);
  return value;
}

/** "true" and "True" count too: clients send both. */
export function flagAt(body: JsonObject, path: string): boolean | undefined {
  const value = textAt(body, path);
  return value === undefined ? undefined : parseFlag(path, value);
}

export function parseFlag(name: string, value: string): boolean {
  const lower = value.toLowerCase();
  if (lower === "true") return true;
  if (lower === "false") return false;
  throw invalidValue(name, value);
}

const unit: Record<string, number> = {
  "": 1,
  B: 1,
  K: 2 ** 10,
  KB: 2 ** 10,
  M: 2 ** 20,
  MB: 2 ** 20,
  G: 2 ** 30,
  GB: 2 ** 30,
  T: 2 ** 40,
  TB: 2 ** 40,
};

/** A number of bytes: 1073741824, "1073741824" or "1GB". */
export function bytesAt(body: JsonObject, path: string): number | undefined {
  const value = textAt(body, path);
  if (value === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]{0,2})$/.exec(value);
  const factor = match ? unit[(match[2] ?? "").toUpperCase()] : undefined;
  if (!match || factor === undefined) throw invalidValue(path, value);
  return Math.floor(Number(match[1]) * factor);
}

export function listAt(body: JsonObject, path: string): Json[] | undefined {
  const value = at(body, path);
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw new OntapError(400, "262254", `An array is expected for field "${path}".`, path);
  return value;
}

// ------------------------------------------------------------------------------------------------ query strings

const reserved = new Set([
  "fields",
  "max_records",
  "return_records",
  "return_timeout",
  "order_by",
  "$orderBy",
  "offset",
  "pretty",
  "ignore_unknown_fields",
  "return_unmatched_nested_array_objects",
  "continue_on_failure",
  "serial_records",
]);

export interface Query {
  readonly path: string;
  readonly all: ReadonlyMap<string, string>;
  readonly filters: ReadonlyMap<string, string>;
  /** where the page starts: values of the key fields of the last record of the page before. */
  readonly start: ReadonlyMap<string, string>;
  readonly fields: readonly string[] | undefined;
  readonly maxRecords: number;
  readonly returnRecords: boolean | undefined;
  readonly returnTimeoutSeconds: number | undefined;
  flag(name: string): boolean;
}

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text.replace(/\+/g, "%20"));
  } catch {
    return text; // Cinder's driver puts values into the URL as they are
  }
};

export function parseQuery(path: string, text: string, parameters: readonly string[]): Query {
  const all = new Map<string, string>();
  for (const pair of text.split("&")) {
    if (pair === "") continue;
    const eq = pair.indexOf("=");
    const name = decode(eq < 0 ? pair : pair.slice(0, eq));
    if (all.has(name)) throw new OntapError(400, "262188", `Field "${name}" was specified twice`, name);
    all.set(name, eq < 0 ? "" : decode(pair.slice(eq + 1)));
  }
  const filters = new Map<string, string>();
  const start = new Map<string, string>();
  for (const [name, value] of all) {
    if (name.startsWith("start.")) start.set(name.slice(6), value);
    else if (!reserved.has(name) && !parameters.includes(name)) filters.set(name, value);
  }
  const whole = (name: string, from: number, to: number): number | undefined => {
    const value = all.get(name);
    if (value === undefined) return undefined;
    const n = Number(value);
    if (!Number.isInteger(n) || n < from || n > to) throw invalidValue(name, value);
    return n;
  };
  const fields = all.get("fields");
  const returnRecords = all.get("return_records");
  return {
    path,
    all,
    filters,
    start,
    fields: fields === undefined ? undefined : expandFields(fields),
    maxRecords: whole("max_records", 1, 1_000_000) ?? 10_000,
    returnRecords: returnRecords === undefined ? undefined : parseFlag("return_records", returnRecords),
    returnTimeoutSeconds: whole("return_timeout", 0, 120),
    flag: (name) => {
      const value = all.get(name);
      return value !== undefined && parseFlag(name, value === "" ? "true" : value);
    },
  };
}

// ------------------------------------------------------------------------------------------------ operators

/** Everything found at a dotted path; arrays are searched element by element. */
export function valuesAt(record: Json | undefined, path: readonly string[]): Json[] {
  if (Array.isArray(record)) return record.flatMap((item) => valuesAt(item, path));
  const [head, ...rest] = path;
  if (head === undefined) return record === undefined || record === null ? [] : [record];
  return isObject(record) ? valuesAt(record[head], rest) : [];
}

const durationPattern = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/;
/** "P1DT2H" → 93600; undefined when it isn't a duration. */
export function durationSeconds(text: string): number | undefined {
  const match = durationPattern.exec(text);
  if (!match || text.length < 2) return undefined;
  const [d, h, m, s] = match.slice(1).map((part) => Number(part ?? 0));
  return (((d ?? 0) * 24 + (h ?? 0)) * 60 + (m ?? 0)) * 60 + (s ?? 0);
}

function comparable(text: string): number | string {
  const seconds = durationSeconds(text);
  if (seconds !== undefined) return seconds;
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (/^\d{4}-\d\d-\d\dT/.test(text)) {
    const time = Date.parse(text);
    if (!Number.isNaN(time)) return time;
  }
  return text;
}
function compare(a: string, b: string): number {
  const [x, y] = [comparable(a), comparable(b)];
  if (typeof x === "number" && typeof y === "number") return x - y;
  return String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;
}

function matchesOne(value: string, pattern: string): boolean {
  const quoted = /^"(.*)"$|^\{(.*)\}$/s.exec(pattern);
  if (quoted) return value === (quoted[1] ?? quoted[2]);
  for (const operator of ["<=", ">=", "<", ">"] as const) {
    if (!pattern.startsWith(operator)) continue;
    const c = compare(value, pattern.slice(operator.length));
    return operator === "<" ? c < 0 : operator === ">" ? c > 0 : operator === "<=" ? c <= 0 : c >= 0;
  }
  const range = /^(.+)\.\.(.+)$/.exec(pattern);
  if (range) return compare(value, range[1] ?? "") >= 0 && compare(value, range[2] ?? "") <= 0;
  if (pattern.includes("*")) {
    const source = pattern
      .split("*")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
      .join(".*");
    return new RegExp(`^${source}$`, "s").test(value);
  }
  if (value === "true" || value === "false") return value === pattern.toLowerCase();
  return value === pattern || (/^\d+$/.test(value) && compare(value, pattern) === 0);
}

/** Whether a query value matches only what is equal to it: no operator, no list, no number that may be written otherwise. */
export const isLiteral = (pattern: string): boolean =>
  /^[\w/:@-][\w/:@.-]*$/.test(pattern) && !pattern.includes("..") && !/^([\d.]+|null|true|false)$/i.test(pattern);

/** Splits at a separator outside quotes and braces. */
function split(text: string, separator: string): string[] {
  const out: string[] = [];
  let quote = "";
  let part = "";
  for (const c of text) {
    if (quote !== "") {
      if (c === quote) quote = "";
    } else if (c === '"') quote = '"';
    else if (c === "{") quote = "}";
    else if (c === separator) {
      out.push(part);
      part = "";
      continue;
    }
    part += c;
  }
  out.push(part);
  return out;
}

/** One query value against everything that a record holds there. */
export function matches(found: readonly Json[], pattern: string, isArray: boolean): boolean {
  const values = found.filter((v) => typeof v !== "object").map(String);
  const anyOf = split(pattern, "|");
  return anyOf.some((alternative) => {
    if (alternative === "null") return found.length === 0;
    if (alternative.startsWith("!")) {
      const inner = alternative.slice(1);
      return inner === "null" ? found.length > 0 : !values.some((v) => matchesOne(v, inner));
    }
    const list = split(alternative, ",");
    if (list.length === 1) return values.some((v) => matchesOne(v, alternative));
    // A list asks an array for all its members, and a single value for one of them.
    const hit = (p: string): boolean => values.some((v) => matchesOne(v, p));
    return isArray ? list.every(hit) : list.some(hit);
  });
}

const throughArray = (record: JsonObject, path: readonly string[]): boolean => {
  let value: Json | undefined = record;
  for (const part of path) {
    if (Array.isArray(value)) return true;
    value = isObject(value) ? value[part] : undefined;
  }
  return Array.isArray(value);
};

export interface ResourceShape {
  /** Key fields: always returned, and what pages and links are made of. */
  readonly keys: readonly string[];
  /** Returned by a collection GET without `fields`. */
  readonly defaults: readonly string[];
  readonly fields: FieldSet;
  /** Only on request or with fields=**. */
  readonly expensive?: readonly string[];
  /** `svm=NAME` as NetApp's Cinder driver writes it: an object's name stands for its name or uuid. */
  readonly namedObjects?: readonly string[];
}

export function filterRecords(records: readonly JsonObject[], query: Query, shape: ResourceShape): JsonObject[] {
  const filters = [...query.filters].map(([name, pattern]) => {
    if (!shape.fields.knows(name)) {
      throw new OntapError(400, "262250", `Field "${name}" is not queryable`, name, true);
    }
    return { path: name.split("."), name, pattern };
  });
  return records.filter((record) =>
    filters.every(({ path, name, pattern }) => {
      const found = valuesAt(record, path);
      if (shape.namedObjects?.includes(name)) {
        return matches(
          [...valuesAt(record, [...path, "name"]), ...valuesAt(record, [...path, "uuid"])],
          pattern,
          false,
        );
      }
      return matches(found, pattern, throughArray(record, path));
    }),
  );
}

// ------------------------------------------------------------------------------------------------ selection

function pickInto(target: JsonObject, source: JsonObject, path: readonly string[]): void {
  const [head, ...rest] = path;
  if (head === undefined) return;
  const value = source[head];
  if (value === undefined) return;
  if (rest.length === 0) target[head] = value;
  else if (Array.isArray(value)) {
    const present = target[head];
    const list: Json[] = Array.isArray(present) ? present : value.map(() => ({}));
    value.forEach((item, i) => {
      const into = list[i];
      if (isObject(item) && isObject(into)) pickInto(into, item, rest);
    });
    target[head] = list;
  } else if (isObject(value)) {
    const present = target[head];
    const into = isObject(present) ? present : {};
    pickInto(into, value, rest);
    target[head] = into;
  }
}

function drop(target: JsonObject, path: readonly string[]): void {
  const [head, ...rest] = path;
  if (head === undefined) return;
  if (rest.length === 0) {
    delete target[head];
    return;
  }
  const value = target[head];
  for (const item of Array.isArray(value) ? value : [value]) if (isObject(item)) drop(item, rest);
}

/** The record as `fields` asks for it. `whole`: an instance GET, where no `fields` means all that isn't expensive. */
export function selectFields(record: JsonObject, query: Query, shape: ResourceShape, whole: boolean): JsonObject {
  const asked = query.fields ?? (whole ? ["*"] : [...shape.defaults]);
  const everything = asked.includes("**");
  const base = everything || asked.includes("*");
  const out: JsonObject = base ? structuredClone(record) : {};
  if (base && !everything) for (const name of shape.expensive ?? []) drop(out, name.split("."));
  const names = [...asked, ...(query.fields === undefined ? [] : []), ...query.filters.keys(), ...shape.keys];
  for (const name of names) {
    if (name === "*" || name === "**" || name.startsWith("!")) continue;
    const clean = name.endsWith(".*") ? name.slice(0, -2) : name;
    if (!shape.fields.knows(clean)) {
      if (query.all.get("ignore_unknown_fields")?.toLowerCase() === "true") continue;
      throw unknownField(name);
    }
    pickInto(out, record, clean.split("."));
  }
  for (const name of asked) if (name.startsWith("!")) drop(out, name.slice(1).split("."));
  return prune(out);
}

/** Unset fields are left out, never null: older official clients reject null. */
export function prune(record: JsonObject): JsonObject {
  const out: JsonObject = {};
  for (const [key, value] of Object.entries(record)) {
    if (value === undefined || value === null) continue;
    if (isObject(value)) {
      const inner = prune(value);
      if (Object.keys(inner).length > 0) out[key] = inner;
    } else out[key] = Array.isArray(value) ? value.map((v) => (isObject(v) ? prune(v) : v)) : value;
  }
  return out;
}

export interface Page {
  readonly records: JsonObject[];
  readonly next: string | undefined;
}

/** Orders, cuts one page, and makes the link to the next one from the key of its last record. */
export function page(records: readonly JsonObject[], query: Query, shape: ResourceShape): Page {
  let ordered = [...records];
  const order = query.all.get("order_by") ?? query.all.get("$orderBy");
  if (order !== undefined) {
    const terms = order.split(",").map((term) => {
      const [field = "", direction = "asc"] = term.trim().split(/\s+/);
      if (!shape.fields.knows(field) || !/^(asc|desc)$/i.test(direction)) {
        throw new OntapError(400, "262268", `Invalid "order_by" value "${term}"`, "order_by");
      }
      return { path: field.split("."), sign: direction.toLowerCase() === "desc" ? -1 : 1 };
    });
    ordered.sort((a, b) => {
      for (const { path, sign } of terms) {
        const c = compare(textOf(valuesAt(a, path)[0]), textOf(valuesAt(b, path)[0]));
        if (c !== 0) return c * sign;
      }
      return 0;
    });
  }
  const offset = query.all.get("offset");
  if (offset !== undefined) ordered = ordered.slice(Number(offset));
  const keyOf = (record: JsonObject): string =>
    shape.keys.map((k) => textOf(valuesAt(record, k.split("."))[0])).join("\n");
  if (query.start.size > 0) {
    const wanted = shape.keys.map((k) => query.start.get(k) ?? "").join("\n");
    const i = ordered.findIndex((record) => keyOf(record) === wanted);
    ordered = i < 0 ? [] : ordered.slice(i + 1);
  }
  const records_ = ordered.slice(0, query.maxRecords);
  const last = records_[records_.length - 1];
  if (ordered.length <= query.maxRecords || last === undefined) return { records: records_, next: undefined };
  const parameters = [...query.all].filter(([name]) => !name.startsWith("start.") && name !== "offset");
  for (const key of shape.keys) parameters.push([`start.${key}`, textOf(valuesAt(last, key.split("."))[0])]);
  const text = parameters.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join("&");
  return { records: records_, next: `/api${query.path}?${text}` };
}

// ------------------------------------------------------------------------------------------------ time on the wire

/** "2026-01-31T08:00:00+00:00": an offset always, as clients parse it with ISO parsers of varying strictness. */
export const isoTime = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, "+00:00");

/** ISO 8601 as ONTAP writes it: zero parts left out, days from 24 h on, no weeks ("PT54S", "PT8H35M42S", "P1DT2H"). */
export function isoDuration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s === 0) return "PT0S";
  const [days, hours, minutes, rest] = [
    Math.floor(s / 86400),
    Math.floor(s / 3600) % 24,
    Math.floor(s / 60) % 60,
    s % 60,
  ];
  const time = `${hours ? `${hours}H` : ""}${minutes ? `${minutes}M` : ""}${rest ? `${rest}S` : ""}`;
  return `P${days ? `${days}D` : ""}${time ? `T${time}` : ""}`;
}
