/** amqplib's own frames and methods of AMQP 0-9-1, which it doesn't export by type: here for the server's side. */
import { createRequire } from "node:module";
import path from "node:path";

export interface Frame {
  /** Class and method; the class alone in a header frame; absent in body and heartbeat frames. */
  id?: number;
  channel: number;
  fields?: Record<string, unknown>;
  /** Of a header frame: bytes of the body. */
  size?: number;
  content?: Buffer;
}

interface Raw {
  type: number;
  channel: number;
  size: number;
  payload: Buffer;
  rest: Buffer;
}

const load = createRequire(__filename);
const inside = (file: string): string => path.join(path.dirname(load.resolve("amqplib")), file);
const frames = load(inside("lib/frame")) as {
  parseFrame(bytes: Buffer, max: number): Raw | false;
  decodeFrame(raw: Raw): Frame;
  makeBodyFrame(channel: number, payload: Buffer): Buffer;
  HEARTBEAT_BUF: Buffer;
};
const defs = load(inside("lib/defs")) as Record<string, unknown> & {
  encodeMethod(id: number, channel: number, fields: object): Buffer;
  encodeProperties(id: number, channel: number, size: number, fields: object): Buffer;
};

export const PROTOCOL_HEADER = Buffer.from("AMQP\0\0\x09\x01", "latin1");
export const HEARTBEAT = frames.HEARTBEAT_BUF;

const BASIC_CLASS = 60;
const FRAME_MAX = 131_072;
export const TUNING = { channelMax: 2047, frameMax: FRAME_MAX, heartbeat: 60 };

export type MethodName =
  | `Connection${"Start" | "StartOk" | "Tune" | "TuneOk" | "Open" | "OpenOk" | "Close" | "CloseOk"}`
  | `Channel${"Open" | "OpenOk" | "Close" | "CloseOk"}`
  | `Exchange${"Declare" | "DeclareOk"}`
  | `Queue${"Declare" | "DeclareOk" | "Bind" | "BindOk" | "Delete" | "DeleteOk" | "Purge" | "PurgeOk"}`
  | `Basic${"Qos" | "QosOk" | "Consume" | "ConsumeOk" | "Cancel" | "CancelOk" | "Publish" | "Deliver" | "Get" | "GetOk" | "GetEmpty" | "Ack" | "Nack" | "Reject"}`;

const names = new Map(
  Object.entries(defs).flatMap(([name, id]) =>
    typeof id === "number" && /^[A-Z][a-z]+[A-Z]/.test(name) ? [[id, name] as const] : [],
  ),
);

/** The method's name as in the specification, joined: "QueueDeclare". */
export const nameOf = (id: number): string => names.get(id) ?? String(id);

/** Class and method numbers, as a Close carries them. */
export const idsOf = (id: number): { classId: number; methodId: number } => ({
  classId: id >> 16,
  methodId: id & 0xffff,
});

export function encode(channel: number, name: MethodName, fields: object): Buffer {
  return defs.encodeMethod(Number(defs[name]), channel, fields);
}

/** Header and body frames behind a method that carries content. */
export function encodeContent(channel: number, properties: object, content: Buffer): Buffer {
  const parts = [defs.encodeProperties(BASIC_CLASS, channel, content.length, properties)];
  for (let at = 0; at < content.length; at += FRAME_MAX - 8)
    parts.push(frames.makeBodyFrame(channel, content.subarray(at, at + FRAME_MAX - 8)));
  return Buffer.concat(parts);
}

/** All whole frames at the head of the bytes, and what is left. Throws on bytes that are none. */
export function decodeAll(bytes: Buffer): { frames: Frame[]; rest: Buffer } {
  const found: Frame[] = [];
  let rest = bytes;
  for (;;) {
    const raw = frames.parseFrame(rest, FRAME_MAX);
    if (raw === false) return { frames: found, rest };
    found.push(frames.decodeFrame(raw));
    rest = raw.rest;
  }
}
