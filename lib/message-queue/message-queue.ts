import { type ChannelModel, type Channel, connect } from "amqplib";
import { DrError, messageOf } from "../errors";
import { readCaFile } from "../http/ca-file";
import { isLoopback } from "../topology/loopback";
import { type DrainedMessage, describeMessage } from "./envelope";

export type { DrainedMessage };

export interface MessageQueueOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly vhost: string;
  readonly tls: boolean;
  /** PEM file of the CA; the system's CAs where absent. */
  readonly caFile?: string | undefined;
}

export interface QueueInfo {
  readonly name: string;
  readonly messages: number;
  readonly consumers: number;
}

type Keep = (messages: readonly DrainedMessage[]) => Promise<void>;

const connectTimeoutMs = 10_000;
const callTimeoutMs = 60_000;
const attempts = 5;

/**
 * Queues that carry a call or cast for one backend. cinder-volume has two RPC servers (cinder/service.py: topic
 * `cinder-volume`, server `<host>@<backend>`; topic `cinder-volume.<host>@<backend>`, server `<host>`), and
 * oslo.messaging's server declares `<topic>`, `<topic>.<server>` and a fanout queue (amqpdriver.py: listen). Fanout
 * queues have random names, expire by themselves, and carry only log levels and capability requests.
 */
export function backendQueueNames(backendHost: string): readonly string[] {
  const [host = ""] = backendHost.split("@");
  return [`cinder-volume.${backendHost}`, `cinder-volume.${backendHost}.${host}`];
}

/** RabbitMQ as oslo.messaging 12 to 18 uses it. Every call opens a connection of its own: calls are few. */
export class MessageQueue {
  constructor(private readonly options: MessageQueueOptions) {
    if (!options.tls && !isLoopback(options.host))
      throw new DrError({
        code: "config",
        attempted: `Connect to the message queue on ${options.host}`,
        seen: "TLS is off for a host that isn't this one: the password would cross the network in clear",
        remedy: "Set messageQueue.tls to true, with caFile where the server's certificate isn't signed by a public CA",
      });
  }

  /** Those that exist. Reads only. */
  listBackendQueues(backendHost: string): Promise<readonly QueueInfo[]> {
    return this.connected(`List the queues of ${backendHost}`, async (connection) => {
      const found: QueueInfo[] = [];
      for (const name of backendQueueNames(backendHost)) {
        const info = await findQueue(connection, name);
        if (info !== undefined) found.push(info);
      }
      return found;
    });
  }

  /**
   * The messages are held unacknowledged until the queue is deleted, on condition that it has no consumer and that
   * nothing came in meanwhile. So a process that dies before that loses nothing: they go back to the queue, in order.
   * `keep` writes them down before that; it's called again where the queue changed meanwhile, and not for an empty one.
   * A queue that's gone is empty: a repeat resolves to nothing.
   */
  async drainQueue(name: string, keep: Keep): Promise<readonly DrainedMessage[]> {
    const attempted = `Drain the queue ${name}`;
    let conditional = true;
    for (let attempt = 1; attempt <= attempts; attempt++) {
      try {
        return await this.connected(attempted, (connection) => drain(connection, name, attempted, conditional, keep));
      } catch (error) {
        const vendorCode = DrError.is(error) ? error.context.vendorCode : undefined;
        // 540: a quorum queue knows no conditions (RabbitMQ 3.10 to 4). 406: one of them wasn't met, look again which.
        if (vendorCode === "540" && conditional) conditional = false;
        else if (vendorCode !== "406") throw error;
      }
    }
    throw new DrError({
      code: "precondition",
      attempted,
      seen: `new messages came in during each of ${attempts} attempts`,
      state: "The queue is as it was",
      remedy: "Stop cinder-api and cinder-scheduler on every controller, then repeat",
      retryable: true,
    });
  }

  /** For symmetry with the other clients: no connection outlives its call. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  private async connected<T>(attempted: string, work: (connection: ChannelModel) => Promise<T>): Promise<T> {
    const { host, port, user, password, vhost, tls, caFile } = this.options;
    let connection: ChannelModel | undefined;
    let timer: NodeJS.Timeout | undefined;
    // Why the server closed the connection: the call under way is only told that there'll be no reply.
    let closed: unknown;
    try {
      const secure = tls && caFile !== undefined ? { ca: [readCaFile(caFile)] } : {};
      connection = await connect(
        {
          protocol: tls ? "amqps" : "amqp",
          hostname: host,
          port,
          username: user,
          password,
          vhost: encodeURIComponent(vhost),
          heartbeat: 20,
        },
        { ...secure, timeout: connectTimeoutMs, clientProperties: { connection_name: "cinder-cheesecake" } },
      );
      connection.on("error", (error) => (closed = error));
      const deadline = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${callTimeoutMs} ms`)), callTimeoutMs);
      });
      return await Promise.race([work(connection), deadline]);
    } catch (error) {
      throw this.translate(attempted, closed ?? error);
    } finally {
      clearTimeout(timer);
      await connection?.close().catch(() => undefined);
    }
  }

  private translate(attempted: string, error: unknown): unknown {
    if (DrError.is(error)) return error;
    const { code } = error as { code?: unknown };
    const url = `amqp${this.options.tls ? "s" : ""}://${this.options.host}:${this.options.port}/${encodeURIComponent(this.options.vhost)}`;
    const refusal = typeof code === "number" ? code : refusedToOpen(messageOf(error));
    const context = { method: "AMQP", url, vendorCode: refusal > 0 ? String(refusal) : code };
    if (refusal > 0)
      return new DrError({
        code: "remote",
        attempted,
        seen: `RabbitMQ at ${url} refused: ${messageOf(error)}`,
        state: "The queue is as it was",
        remedy:
          refusal === 405
            ? "A living connection owns the queue: find the service that was not stopped"
            : "Check user, vhost and permissions (configure, write and read on cinder-volume.*)",
        context,
        cause: error,
      });
    if (typeof code === "string" && /CERT|TLS|SSL|UNABLE_TO_VERIFY/.test(code))
      return new DrError({
        code: "config",
        attempted,
        seen: `RabbitMQ at ${url} can't be trusted: ${messageOf(error)}`,
        state: "No password was sent",
        remedy:
          "Set messageQueue.caFile to the CA of the server's certificate, and messageQueue.host to a name or address that the certificate holds",
        context,
        cause: error,
      });
    return new DrError({
      code: "unreachable",
      attempted,
      seen: `RabbitMQ at ${url} did not answer: ${messageOf(error)}`,
      state: "Messages that were being read go back to their queue",
      remedy: "Check server and network, then repeat: it's safe",
      retryable: true,
      context,
      cause: error,
    });
  }
}

/** The library tells a refusal during the handshake by its text alone: login (403), or vhost (530 or 403). */
function refusedToOpen(message: string): number {
  if (message.includes("Expected ConnectionOpenOk; got <ConnectionClose")) return 530;
  return message.includes("403 (ACCESS-REFUSED)") || message.includes("403 (ACCESS_REFUSED)") ? 403 : 0;
}

/** A channel is closed by the server at the first refusal, so each question gets its own. */
async function onChannel<T>(connection: ChannelModel, work: (channel: Channel) => Promise<T>): Promise<T> {
  const channel = await connection.createChannel();
  channel.on("error", () => undefined);
  try {
    return await work(channel);
  } finally {
    await channel.close().catch(() => undefined);
  }
}

async function findQueue(connection: ChannelModel, name: string): Promise<QueueInfo | undefined> {
  try {
    const seen = await onChannel(connection, (channel) => channel.checkQueue(name));
    return { name, messages: seen.messageCount, consumers: seen.consumerCount };
  } catch (error) {
    if ((error as { code?: unknown }).code === 404) return undefined;
    throw error;
  }
}

async function drain(
  connection: ChannelModel,
  name: string,
  attempted: string,
  conditional: boolean,
  keep: Keep,
): Promise<DrainedMessage[]> {
  return onChannel(connection, async (channel) => {
    const drained: DrainedMessage[] = [];
    const info = await findQueue(connection, name);
    if (info === undefined) return drained;
    assertUnused(info, attempted);
    // Only those that were there: with more coming in this would never end.
    for (let left = info.messages; left > 0; left--) {
      const message = await channel.get(name, { noAck: false });
      if (message === false) break;
      drained.push(describeMessage(message.content));
    }
    if (drained.length > 0) await keep(drained);
    if (conditional) {
      await channel.deleteQueue(name, { ifUnused: true, ifEmpty: true });
      return drained;
    }
    // A quorum queue counts each message that we hold as a consumer (RabbitMQ 3.10).
    const last = await findQueue(connection, name);
    if (last !== undefined) assertUnused({ ...last, consumers: last.consumers - drained.length }, attempted);
    const { messageCount } = await channel.deleteQueue(name);
    if (messageCount > 0)
      drained.push({ method: "unknown", summary: `${messageCount} more messages came in while the queue was deleted` });
    return drained;
  });
}

function assertUnused(info: QueueInfo, attempted: string): void {
  if (info.consumers <= 0) return;
  throw new DrError({
    code: "precondition",
    attempted,
    seen: `${info.consumers} consumers listen on it, so a cinder-volume of this backend still runs`,
    state: "The queue is as it was",
    remedy: "Stop and mask cinder-volume on every controller, then repeat",
    context: { ...info },
  });
}
