import { connect, createServer, type Socket } from "node:net";

/** What becomes of a statement: refused as Galera refuses at its commit, or done and its answer lost. */
export type Fate = "deadlock" | "answer lost" | undefined;

/**
 * Between a client and its database, packet by packet (header: length in 3 bytes, number; COM_QUERY is 3). Galera tells a
 * failed certification as error 1213, at COMMIT or at a statement that commits by itself.
 */
export class FaultProxy {
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer((client) => this.serve(client));
  /** Asked for every statement. */
  fate: (sql: string) => Fate = () => undefined;
  /** Nobody is connected or let in. */
  private away = false;

  private constructor(
    readonly host: string,
    readonly port: number,
    private readonly database: { readonly host: string; readonly port: number },
  ) {}

  static async start(host: string, port: number, database: { host: string; port: number }): Promise<FaultProxy> {
    const proxy = new FaultProxy(host, port, database);
    await new Promise<void>((resolve) => proxy.server.listen(port, host, resolve));
    return proxy;
  }

  setAway(away: boolean): void {
    this.away = away;
    if (away) for (const socket of this.sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.setAway(true);
    await new Promise((resolve) => this.server.close(resolve));
  }

  private serve(client: Socket): void {
    if (this.away) return void client.destroy();
    const database = connect(this.database);
    for (const [socket, other] of [[client, database], [database, client]] as const) {
      this.sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => (this.sockets.delete(socket), other.destroy()));
    } // prettier-ignore
    let loses = false;
    database.on("data", (answer) => (loses ? client.destroy() : client.write(answer)));
    let pending = Buffer.alloc(0);
    client.on("data", (data) => {
      pending = Buffer.concat([pending, Buffer.from(data)]);
      for (;;) {
        const length = pending.length < 4 ? Infinity : 4 + pending.readUIntLE(0, 3);
        if (pending.length < length) return;
        const packet = pending.subarray(0, length);
        pending = pending.subarray(length);
        const fate = packet[3] === 0 && packet[4] === 3 ? this.fate(packet.subarray(5).toString()) : undefined;
        if (fate === "deadlock") client.write(deadlock);
        else database.write(packet);
        loses ||= fate === "answer lost";
      }
    });
  }
}

const text = "Deadlock found when trying to get lock; try restarting transaction";
const deadlock = Buffer.concat([
  Buffer.from([9 + text.length, 0, 0, 1, 0xff, 1213 & 0xff, 1213 >> 8]),
  Buffer.from(`#40001${text}`),
]);
