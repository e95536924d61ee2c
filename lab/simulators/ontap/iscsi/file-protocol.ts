/**
 * What a FileTarget and its clients say to each other: JSON objects, one a line, the client first. A made-up protocol, for machines
 * without iSCSI programs: the portal says which file a LUN is, and the client reads and writes that itself.
 */

export interface LoginRequest {
  login: { initiator: string; target: string };
}

/** `locate` is an inquiry that also announces I/O on the file, until the client closes the connection. */
export type LunRequest = { inquiry: { lun: number } } | { locate: { lun: number } };

export interface LocatedLun {
  file: string;
  sizeBytes: number;
  readOnly: boolean;
  serial: string;
}

/** `refused` is in the words that libiscsi's programs print for the same case. */
export type Answer = { admitted: true } | { lun: LocatedLun } | { refused: string };

/** A client's first byte. An iSCSI login begins with 0x43 or 0x03 (RFC 7143 11.12), so the two can't be mixed up. */
export const FIRST_BYTE = "{".charCodeAt(0);
export const MAX_LINE_BYTES = 8192;

export const encode = (message: LoginRequest | LunRequest | Answer): string => `${JSON.stringify(message)}\n`;
