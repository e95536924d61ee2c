/**
 * Remote calls as oslo.messaging 18 does them: envelope 2.0, a message for a service in `<topic>.<server>`, one for all
 * of a topic in a queue of each, answers in a queue of the caller. A message is acknowledged when it arrives, before
 * anything is done, so what a killed service had taken is lost; what it hadn't stays in its queue.
 */
import { randomUUID } from "node:crypto";
import { connect } from "amqplib";
import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";
import { pause } from "./clock";
import type { SimulatorConfig } from "./config";

export type Arguments = Record<string, unknown>;
export type Handler = (method: string, args: Arguments) => Promise<unknown>;

interface Message {
  method: string;
  args: Arguments;
  version: string;
  namespace?: null;
  _msg_id?: string;
  _reply_q?: string;
  _unique_id: string;
  _context_request_id: string | null;
}
interface Reply {
  _msg_id: string;
  result: unknown;
  failure: { class: string; message: string } | null;
  ending: true;
}

/** What the other side raised. */
export class RemoteError extends Error {
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }
}
/** No answer in time: what was asked may still be done. */
export class MessagingTimeout extends Error {}

interface Server {
  topic: string;
  server: string;
  handler: Handler;
}

export class Rpc {
  private connection: ChannelModel | undefined;
  private closed = false;
  private readonly replyQueue = `reply_${randomUUID().replaceAll("-", "")}`;
  private readonly waiting = new Map<string, (reply: Reply) => void>();
  private readonly servers: Server[] = [];
  private opening: Promise<Channel> | undefined;

  constructor(
    private readonly config: SimulatorConfig,
    private readonly log: (line: string) => void,
  ) {}

  /** Waits for the broker as long as it takes. */
  async serve(topic: string, server: string, handler: Handler): Promise<void> {
    const channel = await this.open();
    this.servers.push({ topic, server, handler });
    await this.consume(channel, { topic, server, handler });
  }

  async cast(queue: string, method: string, args: Arguments, exchange = "openstack"): Promise<void> {
    const channel = await this.open();
    channel.publish(exchange, queue, envelope(this.message(method, args)), { contentType: "application/json" });
  }

  async fanout(topic: string, method: string, args: Arguments): Promise<void> {
    const channel = await this.open();
    await channel.assertExchange(`${topic}_fanout`, "fanout", { durable: false, autoDelete: true });
    channel.publish(`${topic}_fanout`, "", envelope(this.message(method, args)), { contentType: "application/json" });
  }

  /** @throws MessagingTimeout, RemoteError */
  async call(queue: string, method: string, args: Arguments): Promise<unknown> {
    const channel = await this.open();
    const id = randomUUID().replaceAll("-", "");
    const seconds = this.config.rpcTimeoutSeconds;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new MessagingTimeout(`Timed out waiting for a reply to message ID ${id}`));
      }, seconds * 1000);
      this.waiting.set(id, ({ result, failure }) => {
        clearTimeout(timer);
        this.waiting.delete(id);
        if (failure) reject(new RemoteError(failure.class, failure.message));
        else resolve(result);
      });
      const message = { ...this.message(method, args), _msg_id: id, _reply_q: this.replyQueue };
      channel.publish("openstack", queue, envelope(message), {
        contentType: "application/json",
        expiration: seconds * 1000,
      });
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.connection?.close().catch(() => undefined);
  }

  private message(method: string, args: Arguments): Message {
    const unique = randomUUID().replaceAll("-", "");
    return { method, args, version: "3.0", _unique_id: unique, _context_request_id: null };
  }

  private open(): Promise<Channel> {
    this.opening ??= this.reopen();
    return this.opening;
  }

  private async reopen(): Promise<Channel> {
    const { host, port, user, password, vhost } = this.config.messageQueue;
    for (;;) {
      if (this.closed) throw new Error("the connection to the message queue is closed");
      try {
        const settings = { protocol: "amqp", hostname: host, port, username: user, password, vhost, heartbeat: 60 };
        const connection = await connect(settings, { timeout: 10_000 });
        connection.on("error", () => undefined);
        connection.on("close", () => {
          this.opening = undefined;
          if (!this.closed) void this.open().catch(() => undefined);
        });
        const channel = await connection.createChannel();
        channel.on("error", (error: Error) => this.log(`message queue: ${error.message}`));
        this.connection = connection;
        await channel.assertQueue(this.replyQueue, { durable: false, autoDelete: true });
        await channel.consume(this.replyQueue, (message) => this.reply(message), { noAck: true });
        for (const server of this.servers) await this.consume(channel, server);
        return channel;
      } catch {
        await pause(1000);
      }
    }
  }

  private reply(message: ConsumeMessage | null): void {
    if (message === null) return;
    const reply = content(message) as Reply;
    this.waiting.get(reply._msg_id)?.(reply);
  }

  private async consume(channel: Channel, { topic, server, handler }: Server): Promise<void> {
    const own = `${topic}_fanout_${randomUUID().replaceAll("-", "")}`;
    await channel.assertExchange(`${topic}_fanout`, "fanout", { durable: false, autoDelete: true });
    await channel.assertQueue(own, { durable: false, autoDelete: true });
    await channel.bindQueue(own, `${topic}_fanout`, "");
    const queues = [topic, `${topic}.${server}`];
    for (const queue of queues) await channel.assertQueue(queue, { durable: false });
    for (const queue of [...queues, own])
      await channel.consume(queue, (message) => {
        if (message === null) return;
        channel.ack(message);
        void this.handle(channel, content(message) as Message, handler);
      });
  }

  private async handle(channel: Channel, message: Message, handler: Handler): Promise<void> {
    let result: unknown = null;
    let failure: Reply["failure"] = null;
    try {
      result = (await handler(message.method, message.args)) ?? null;
    } catch (error) {
      const kind = error instanceof RemoteError ? error.kind : error instanceof Error ? error.name : "Error";
      failure = { class: kind, message: error instanceof Error ? error.message : String(error) };
      this.log(`${message.method}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
    if (message._msg_id === undefined || message._reply_q === undefined || this.closed) return;
    const reply: Reply = { _msg_id: message._msg_id, result, failure, ending: true };
    channel.publish("", message._reply_q, envelope(reply));
  }
}

function envelope(message: Message | Reply): Buffer {
  return Buffer.from(JSON.stringify({ "oslo.version": "2.0", "oslo.message": JSON.stringify(message) }));
}

function content(message: ConsumeMessage): unknown {
  const outer = JSON.parse(message.content.toString()) as { "oslo.message": string };
  return JSON.parse(outer["oslo.message"]);
}
