/**
 * The LUNs of one simulated ONTAP SVM without iSCSI and without programs: on the SVM's portals it answers, by the rules of an
 * IscsiTarget, which file a LUN is (file-protocol.ts). The client announces its I/O by keeping the connection; taking a LUN away from it
 * means telling it to stop, and waiting until it has.
 */
import type { Socket } from "node:net";
import { encode, FIRST_BYTE, MAX_LINE_BYTES, type Answer } from "./file-protocol";
import { inodeOf, refusalOf, type LoginRefusal, type LunTable, type ServedLun } from "./lun-tables";
import { LoginStatus } from "./pdu";
import { SvmTarget } from "./svm-target";

const IDLE_DEADLINE_MS = 15_000;
const RELEASE_DEADLINE_MS = 10_000;

interface Session {
  initiator: string;
  /** LUNs that it does I/O on, as they were when it asked. */
  held: Map<number, ServedLun>;
}

export class FileTarget extends SvmTarget {
  /** initiator → LUN number → LUN */
  private readonly located = new Map<string, LunTable>();
  private readonly sessions = new Map<Socket, Session>();

  protected served(): Iterable<string> {
    return this.located.keys();
  }

  protected async serve(initiator: string, table: LunTable): Promise<void> {
    const before = this.located.get(initiator);
    for (const [number, lun] of table) if (!isSame(before?.get(number), lun)) await inodeOf(lun);
    if (table.size > 0) this.located.set(initiator, table);
    else this.located.delete(initiator);
    const isTaken = (held: ServedLun): boolean => {
      const now = table.get(held.lun);
      if (now?.file !== held.file || now.sizeBytes < held.sizeBytes) return true;
      return now.readOnly && !held.readOnly;
    };
    const losers = [...this.sessions]
      .filter(([, session]) => session.initiator === initiator && [...session.held.values()].some(isTaken))
      .map(([socket]) => socket);
    this.cut(losers);
    await this.released(losers);
  }

  protected quiesce(): Promise<void> {
    return this.released([...this.sessions.keys()]);
  }

  protected end(): Promise<void> {
    this.located.clear();
    return Promise.resolve();
  }

  /** A session ends its I/O when it sees the connection's end, and closes then; anybody else is cut off at once. */
  protected override cut(connections: Iterable<Socket>): void {
    for (const socket of connections) {
      if (this.sessions.has(socket)) socket.end();
      else socket.resetAndDestroy();
    }
  }

  /** @throws when one of them doesn't close: its process stands still, and might write when it goes on */
  private async released(sockets: readonly Socket[]): Promise<void> {
    const deadline = performance.now() + RELEASE_DEADLINE_MS;
    while (sockets.some((socket) => this.sessions.has(socket))) {
      if (performance.now() > deadline) {
        const names = sockets.flatMap((socket) => this.sessions.get(socket)?.initiator ?? []);
        throw new Error(`waited ${RELEASE_DEADLINE_MS} ms until ${names.join(", ")} gives up its LUN's file`);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  protected accept(socket: Socket): void {
    let received = "";
    let initiator: string | undefined;
    const drop = (why: string): void => {
      this.o.log(`${socket.remoteAddress ?? "?"}: connection dropped: ${why}`);
      socket.destroy();
    };
    socket.setTimeout(IDLE_DEADLINE_MS, () => socket.destroy());
    socket.once("close", () => this.sessions.delete(socket));
    socket.on("end", () => socket.end());
    socket.on("data", (chunk: Buffer) => {
      if (received === "" && chunk[0] !== FIRST_BYTE)
        return drop("not a client of LUN files; the lab has no iSCSI here (dataPath files)");
      received += chunk.toString("utf8");
      if (received.length > MAX_LINE_BYTES) return drop(`a line of more than ${MAX_LINE_BYTES} bytes`);
      const lines = received.split("\n");
      received = lines.pop() ?? "";
      for (const line of lines) {
        if (socket.writableEnded) return; // cut, or refused
        const request = parseRequest(line);
        if (!request) return drop(`an unknown request: ${line.slice(0, 200)}`);
        if ("login" in request) {
          const refusal = refusalOf(request.login, { iqn: this.o.iqn, admitted: this.admitted });
          if (refusal) return this.refuse(socket, request.login, refusal);
          initiator = request.login.initiator;
          socket.write(encode({ admitted: true }));
        } else {
          if (initiator === undefined) return drop("a request before the login");
          socket.write(encode(this.answer(socket, initiator, request)));
        }
      }
    });
  }

  private refuse(socket: Socket, login: Login, { status, why }: LoginRefusal): void {
    this.o.log(`login of ${login.initiator ?? "?"} to ${login.target ?? "?"} refused: ${why}`);
    socket.end(encode({ refused: `Failed to log in: ${STATUS_TEXTS[status] ?? "Refused"}(${status}): ${why}` }));
  }

  private answer(socket: Socket, initiator: string, { kind, lun: number }: LunQuestion): Answer {
    const lun = this.located.get(initiator)?.get(number);
    if (!lun) return { refused: `LOGICAL_UNIT_NOT_SUPPORTED: no LUN ${number} is mapped to ${initiator}` };
    if (kind === "locate") {
      const session = this.sessions.get(socket) ?? { initiator, held: new Map<number, ServedLun>() };
      session.held.set(number, lun);
      this.sessions.set(socket, session);
      // From now on the connection's end says that the I/O has ended.
      socket.setTimeout(0);
    }
    const { file, sizeBytes, readOnly, serial } = lun;
    return { lun: { file, sizeBytes, readOnly, serial } };
  }
}

const isSame = (one: ServedLun | undefined, other: ServedLun): boolean =>
  one?.file === other.file && one.sizeBytes === other.sizeBytes;

/** As libiscsi prints them (lib/login.c, login_error_str). */
const STATUS_TEXTS: Partial<Record<number, string>> = {
  [LoginStatus.authorizationFailure]: "Authorization failure",
  [LoginStatus.targetNotFound]: "Target not found",
  [LoginStatus.missingParameter]: "Missing parameter",
};

interface Login {
  initiator: string | undefined;
  target: string | undefined;
}

interface LunQuestion {
  kind: "inquiry" | "locate";
  lun: number;
}

function parseRequest(line: string): { login: Login } | LunQuestion | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return undefined;
  }
  const login = memberOf(parsed, "login");
  const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);
  if (login !== undefined)
    return { login: { initiator: text(memberOf(login, "initiator")), target: text(memberOf(login, "target")) } };
  for (const kind of ["inquiry", "locate"] as const) {
    const lun = memberOf(memberOf(parsed, kind), "lun");
    if (typeof lun === "number") return { kind, lun };
  }
  return undefined;
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
