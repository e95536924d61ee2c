export interface DrainedMessage {
  readonly method: string;
  readonly summary: string;
}

/**
 * What a message would have done, in words that hold no secret: names of the arguments, with values only of those that
 * are ids or hosts. Envelope 2.0 of oslo.messaging (_drivers/common.py: serialize_msg): a JSON object whose
 * "oslo.message" is JSON again, with method, args, namespace and the caller's context (a token among it).
 */
export function describeMessage(content: Buffer): DrainedMessage {
  const message = decode(content);
  if (typeof message?.method !== "string")
    return { method: "unknown", summary: `${content.length} bytes that are no message of oslo.messaging` };
  const args = asRecord(message.args) ?? {};
  const namespace = typeof message.namespace === "string" ? `${message.namespace}.` : "";
  const shown = Object.entries(args).map(([name, value]) => {
    const id = publicValue(name, value);
    return id === undefined ? name : `${name}=${id}`;
  });
  return { method: message.method, summary: `${namespace}${message.method}(${shown.join(", ")})` };
}

function decode(content: Buffer): Record<string, unknown> | undefined {
  const outer = asRecord(parseJson(content.toString("utf8")));
  const inner = outer?.["oslo.message"];
  return typeof inner === "string" ? asRecord(parseJson(inner)) : outer;
}

/** Ids, hosts and backend ids; of a versioned object its id. */
function publicValue(name: string, value: unknown): string | undefined {
  const data = asRecord(asRecord(value)?.["versioned_object.data"] ?? asRecord(value)?.["cinder_object.data"]);
  if (data !== undefined) return publicValue("id", data.id);
  if (typeof value !== "string" || !/(^|_)(id|host)$/.test(name)) return undefined;
  return /^[\w@#.-]{1,120}$/.test(value) ? value : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
