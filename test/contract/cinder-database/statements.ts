import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";

export interface Watched {
  readonly text: string;
  /** The answer to it never comes: called when the server has given it, and it was thrown away. */
  readonly swallowAnswer: (then: () => Promise<void>) => void;
}

/**
 * A way to a database server on which somebody stands and reads along: `on` is awaited before a statement goes on to the
 * server. Packets as MariaDB's protocol has them: three bytes of length, a number in its exchange, then COM_QUERY (3).
 */
export async function watchStatements(
  server: { readonly host: string; readonly port: number },
  at: { readonly host: string; readonly port: number },
  on: (statement: Watched) => Promise<void>,
): Promise<() => Promise<void>> {
  const open = new Set<Socket>();
  const listener = createServer((client) => {
    const upstream = connect(server.port, server.host);
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        open.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    let swallow: (() => Promise<void>) | undefined;
    upstream.on("data", (chunk) => {
      if (swallow === undefined) client.write(chunk);
      else void swallow();
    });
    let pending = Buffer.alloc(0);
    let turn: Promise<unknown> = Promise.resolve();
    client.on("data", (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 4 && pending.length >= 4 + pending.readUIntLE(0, 3)) {
        const end = 4 + pending.readUIntLE(0, 3);
        const packet = Buffer.from(pending.subarray(0, end));
        pending = pending.subarray(end);
        const text = packet[3] === 0 && packet[4] === 3 ? packet.toString("utf8", 5) : undefined;
        turn = turn.then(async () => {
          if (text !== undefined) await on({ text, swallowAnswer: (then) => (swallow = then) });
          upstream.write(packet);
        });
      }
    });
  });
  listener.listen(at.port, at.host);
  await once(listener, "listening");
  return async () => {
    for (const socket of open) socket.destroy();
    listener.close();
    await once(listener, "close");
  };
}
