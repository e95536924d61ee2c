/**
 * An initiator's side of a FileTarget. A session is one connection: it asks for a LUN's file, and as long as it reads or writes the file
 * it watches the connection, whose end means that the LUN is no longer this initiator's.
 */
import { constants, open, type FileHandle } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { encode, type Answer, type LocatedLun, type LoginRequest, type LunRequest } from "./file-protocol";

export interface LunAddress {
  /** address:port */
  portal: string;
  iqn: string;
  lun: number;
  initiator: string;
}

/** A LUN during one session. Errors are in the words of libiscsi's programs. */
export interface OpenLun extends LocatedLun {
  read(offset: number, bytes: number): Promise<Buffer>;
  write(offset: number, bytes: Buffer): Promise<void>;
  flush(): Promise<void>;
}

/** So much is read or written before the connection is looked at again. */
const CHUNK_BYTES = 1 << 20;

/** What the portal says about the LUN now. @throws as `withLun` */
export function inquire(at: LunAddress, deadlineMs: number): Promise<LocatedLun> {
  return inSession(at, deadlineMs, (session) => session.lunOf({ inquiry: { lun: at.lun } }));
}

/**
 * Does I/O on the LUN's file, in one session.
 * @throws Error: the portal can't be reached, refuses the login, has no such LUN, cuts the session, or there's no end of it within the
 * deadline. What was written until then stays, as with a cable that is pulled.
 */
export function withLun<T>(at: LunAddress, deadlineMs: number, work: (lun: OpenLun) => Promise<T>): Promise<T> {
  return inSession(at, deadlineMs, async (session) => {
    const lun = await session.lunOf({ locate: { lun: at.lun } });
    // Never created: a LUN that is gone would come back as a file of another size.
    const handle = await open(lun.file, lun.readOnly ? constants.O_RDONLY : constants.O_RDWR);
    try {
      return await work(openLun(lun, handle, session));
    } finally {
      await handle.close();
    }
  });
}

function openLun(lun: LocatedLun, handle: FileHandle, session: Session): OpenLun {
  const assertInside = (offset: number, bytes: number): void => {
    if (offset >= 0 && offset + bytes <= lun.sizeBytes) return;
    throw new Error(
      `SENSE KEY:ILLEGAL_REQUEST(5) ASCQ:LBA_OUT_OF_RANGE(0x2100): bytes ${offset} to ${offset + bytes} of ${lun.sizeBytes}`,
    );
  };
  return {
    ...lun,
    read: async (offset, bytes) => {
      assertInside(offset, bytes);
      const buffer = Buffer.alloc(bytes);
      for (let done = 0; done < bytes;) {
        session.assertAlive();
        const { bytesRead } = await handle.read(buffer, done, Math.min(CHUNK_BYTES, bytes - done), offset + done);
        if (bytesRead === 0) throw new Error(`SENSE KEY:MEDIUM_ERROR(3): ${lun.file} ends at ${offset + done}`);
        done += bytesRead;
      }
      session.assertAlive();
      return buffer;
    },
    write: async (offset, bytes) => {
      if (lun.readOnly) throw new Error("SENSE KEY:DATA_PROTECT(7) ASCQ:WRITE_PROTECTED(0x2700)");
      assertInside(offset, bytes.length);
      for (let done = 0; done < bytes.length;) {
        session.assertAlive();
        const length = Math.min(CHUNK_BYTES, bytes.length - done);
        done += (await handle.write(bytes, done, length, offset + done)).bytesWritten;
      }
    },
    flush: async () => {
      session.assertAlive();
      await handle.datasync();
    },
  };
}

async function inSession<T>(at: LunAddress, deadlineMs: number, work: (session: Session) => Promise<T>): Promise<T> {
  const session = new Session(at.portal, deadlineMs);
  try {
    await session.login({ login: { initiator: at.initiator, target: at.iqn } });
    return await work(session);
  } finally {
    session.close();
  }
}

class Session {
  private readonly socket: Socket;
  private readonly lines: AsyncIterator<string>;
  private readonly deadline: NodeJS.Timeout;
  private admitted = false;
  /** Why nothing can be asked or done any more. */
  private failure: Error | undefined;
  /** Rejected when no line will come any more, without one that says why. */
  private readonly failed: Promise<never>;

  constructor(portal: string, deadlineMs: number) {
    const colon = portal.lastIndexOf(":");
    const at = { host: portal.slice(0, colon), port: Number(portal.slice(colon + 1)) };
    // Half open: our end of the connection says that the I/O has ended, so it mustn't follow the portal's by itself.
    this.socket = connect({ ...at, noDelay: true, allowHalfOpen: true });
    this.lines = createInterface({ input: this.socket })[Symbol.asyncIterator]();
    let reject: (error: Error) => void = () => undefined;
    this.failed = new Promise((_, fail) => (reject = fail));
    this.failed.catch(() => undefined);
    const failWith = (text: string): Error => (this.failure ??= new Error(text));
    this.deadline = setTimeout(() => reject(failWith(`no answer within ${deadlineMs} ms`)), deadlineMs);
    this.socket.on("error", (error) => reject(failWith(`Failed to connect: ${error.message}`)));
    this.socket.on("end", () => {
      const before = "closed the connection before it answered, as one with real iSCSI does";
      failWith(`Failed to connect: the portal ${this.admitted ? "ended the session" : before}`);
    });
  }

  async login(request: LoginRequest): Promise<void> {
    const answer = await this.ask(request);
    if ("refused" in answer) throw new Error(answer.refused);
    this.admitted = true;
  }

  async lunOf(request: LunRequest): Promise<LocatedLun> {
    const answer = await this.ask(request);
    if ("refused" in answer) throw new Error(answer.refused);
    if ("lun" in answer) return answer.lun;
    throw new Error(`the portal's answer is about no LUN: ${JSON.stringify(answer)}`);
  }

  /** @throws when the portal has ended the session, or the deadline is over */
  assertAlive(): void {
    if (this.failure) throw this.failure;
  }

  close(): void {
    clearTimeout(this.deadline);
    this.socket.destroy();
  }

  private async ask(request: LoginRequest | LunRequest): Promise<Answer> {
    this.assertAlive();
    this.socket.write(encode(request));
    const next = await Promise.race([this.lines.next(), this.failed]);
    if (next.done) throw this.failure ?? new Error("Failed to connect: the connection is closed");
    return JSON.parse(next.value) as Answer;
  }
}
