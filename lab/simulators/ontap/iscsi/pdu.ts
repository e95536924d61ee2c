/**
 * The few iSCSI protocol data units the router reads or answers itself (RFC 7143, section 11). Pure.
 * Everything after a normal session's first login request goes to tgtd untouched.
 */

export const BHS_BYTES = 48;
/** RFC 7143 13.12: before negotiation no data segment is longer than this. */
const MAX_DATA_BYTES = 8192;

export const Opcode = { nopOut: 0x00, loginRequest: 0x03, textRequest: 0x04, logoutRequest: 0x06 } as const;
/** Login status class × 256 + detail (RFC 7143 11.13.5). */
export const LoginStatus = {
  success: 0x0000,
  authorizationFailure: 0x0202,
  targetNotFound: 0x0203,
  missingParameter: 0x0207,
  serviceUnavailable: 0x0301,
} as const;

const FINAL = 0x80;
const CONTINUE = 0x40;
const FULL_FEATURE = 3;
const NO_TAG = 0xffffffff;

export interface Pdu {
  opcode: number;
  /** Basic header segment, 48 bytes. */
  header: Buffer;
  data: Buffer;
  /** Length on the wire, with additional headers and padding. */
  bytes: number;
}

/** First PDU in `buffer`, or undefined while it's incomplete. Throws on a length that no initiator sends before full feature phase. */
export function parsePdu(buffer: Buffer): Pdu | undefined {
  if (buffer.length < BHS_BYTES) return undefined;
  const dataBytes = buffer.readUIntBE(5, 3);
  if (dataBytes > MAX_DATA_BYTES) throw new Error(`data segment of ${dataBytes} bytes before full feature phase`);
  const start = BHS_BYTES + buffer.readUInt8(4) * 4;
  const bytes = start + padded(dataBytes);
  if (buffer.length < bytes) return undefined;
  return {
    opcode: buffer.readUInt8(0) & 0x3f,
    header: buffer.subarray(0, BHS_BYTES),
    data: buffer.subarray(start, start + dataBytes),
    bytes,
  };
}

/** key=value pairs of a login or text data segment, in their order. */
export function parseKeys(data: Buffer): Map<string, string> {
  const keys = new Map<string, string>();
  for (const pair of data.toString("utf8").split("\0")) {
    const equals = pair.indexOf("=");
    if (equals > 0) keys.set(pair.slice(0, equals), pair.slice(equals + 1));
  }
  return keys;
}

/** The final answer to a login that's refused. */
export function rejectLogin(request: Pdu, status: number): Buffer {
  return loginResponse(request, { flags: 0, keys: [], status, statSn: 0, tsih: 0 });
}

/** One step of a discovery session: the answer, and whether the connection ends after it. */
export interface DiscoveryStep {
  response: Buffer;
  end: boolean;
}

/**
 * Answers the discovery session of any initiator, as ONTAP does (igroups matter only in normal sessions).
 * `statSn` counts the answers of this connection. Throws on a PDU that has no place in a discovery session.
 */
export function answerDiscovery(
  request: Pdu,
  statSn: number,
  target: { iqn: string; portals: readonly { address: string; port: number }[] },
): DiscoveryStep {
  const { header } = request;
  switch (request.opcode) {
    case Opcode.loginRequest:
      return { response: acceptDiscoveryLogin(request, statSn), end: false };
    case Opcode.textRequest: {
      const wanted = parseKeys(request.data).get("SendTargets");
      const keys: [string, string][] = [];
      if (wanted === "All" || wanted === target.iqn) {
        keys.push(["TargetName", target.iqn]);
        for (const portal of target.portals) keys.push(["TargetAddress", `${portal.address}:${portal.port},1`]);
      }
      return {
        response: response(0x24, request, { flags: FINAL, statSn, data: formatKeys(keys), ttt: NO_TAG }),
        end: false,
      };
    }
    case Opcode.nopOut:
      if (header.readUInt32BE(16) === NO_TAG) return { response: Buffer.alloc(0), end: false };
      return {
        response: response(0x20, request, { flags: FINAL, statSn, data: request.data, ttt: NO_TAG }),
        end: false,
      };
    case Opcode.logoutRequest:
      return { response: response(0x26, request, { flags: FINAL, statSn, data: Buffer.alloc(0), ttt: 0 }), end: true };
    default:
      throw new Error(`opcode 0x${request.opcode.toString(16)} in a discovery session`);
  }
}

function acceptDiscoveryLogin(request: Pdu, statSn: number): Buffer {
  const asked = request.header.readUInt8(1);
  const keys: [string, string][] = [];
  for (const [key, value] of parseKeys(request.data)) {
    if (["InitiatorName", "InitiatorAlias", "SessionType", "TargetName", "MaxRecvDataSegmentLength"].includes(key))
      continue;
    if (["AuthMethod", "HeaderDigest", "DataDigest"].includes(key)) keys.push([key, "None"]);
    else keys.push([key, /^(\d+|Yes|No)$/.test(value) ? value : "NotUnderstood"]);
  }
  const currentStage = (asked >> 2) & 3;
  const goesOn = (asked & FINAL) !== 0 && (asked & CONTINUE) === 0;
  const flags = goesOn ? FINAL | (currentStage << 2) | (asked & 3) : currentStage << 2;
  const tsih = goesOn && (asked & 3) === FULL_FEATURE ? 1 : 0;
  return loginResponse(request, { flags, keys, status: LoginStatus.success, statSn, tsih });
}

function loginResponse(
  request: Pdu,
  o: { flags: number; keys: [string, string][]; status: number; statSn: number; tsih: number },
): Buffer {
  const pdu = response(0x23, request, { flags: o.flags, statSn: o.statSn, data: formatKeys(o.keys), ttt: 0 });
  request.header.copy(pdu, 8, 8, 14); // ISID
  pdu.writeUInt16BE(o.tsih, 14);
  pdu.writeUInt16BE(o.status, 36);
  return pdu;
}

/** The fields that every answer used here shares: task tag, sequence numbers, data. */
function response(
  opcode: number,
  request: Pdu,
  o: { flags: number; statSn: number; data: Buffer; ttt: number },
): Buffer {
  const pdu = Buffer.alloc(BHS_BYTES + padded(o.data.length));
  pdu.writeUInt8(opcode, 0);
  pdu.writeUInt8(o.flags, 1);
  pdu.writeUIntBE(o.data.length, 5, 3);
  request.header.copy(pdu, 16, 16, 20); // initiator task tag
  pdu.writeUInt32BE(o.ttt, 20);
  pdu.writeUInt32BE(o.statSn >>> 0, 24);
  const immediate = (request.header.readUInt8(0) & 0x40) !== 0;
  const expectedCommand = (request.header.readUInt32BE(24) + (immediate ? 0 : 1)) >>> 0;
  pdu.writeUInt32BE(expectedCommand, 28);
  pdu.writeUInt32BE((expectedCommand + 31) >>> 0, 32);
  o.data.copy(pdu, BHS_BYTES);
  return pdu;
}

function formatKeys(keys: readonly [string, string][]): Buffer {
  return Buffer.from(keys.map(([key, value]) => `${key}=${value}\0`).join(""), "utf8");
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
