/**
 * A message broker: as much of AMQP 0-9-1 as oslo.messaging's services and a look at their queues need, with RabbitMQ
 * 3.10's refusals. Classic queues that aren't durable, kept in memory: they are gone with the process, as those of the
 * real lab are. A queue stays when its consumers go, and so does what is in it.
 */
import * as net from "node:net";
import * as codec from "./amqp-codec";
import { textOf } from "./text";

interface Message {
  properties: object;
  content: Buffer;
  exchange: string;
  routingKey: string;
  redelivered: boolean;
}
interface Consumer {
  tag: string;
  channel: Channel;
  noAck: boolean;
}
interface Queue {
  name: string;
  messages: Message[];
  consumers: Consumer[];
  exclusive: Session | undefined;
  autoDelete: boolean;
  /** Handed out and not acknowledged. */
  unacked: number;
}
interface Channel {
  session: Session;
  number: number;
  prefetch: number;
  nextTag: number;
  unacked: Map<number, { queue: Queue; message: Message; consumer: Consumer | undefined }>;
  /** A publish whose content is still coming. */
  publishing: { exchange: string; routingKey: string; size: number; properties: object; parts: Buffer[] } | undefined;
}

export interface BrokerOptions {
  address: string;
  port: number;
  user: string;
  password: string;
  vhost: string;
  log: (line: string) => void;
}

/** A refusal with AMQP's reply code: of a channel, or of the connection where `whole`. */
class Refusal extends Error {
  constructor(
    readonly code: number,
    message: string,
    readonly whole = false,
  ) {
    super(message);
  }
}

export class Broker {
  readonly queues = new Map<string, Queue>();
  /** Fanout exchanges: names of the queues bound to each. */
  readonly fanouts = new Map<string, Set<string>>();
  private readonly sessions = new Set<Session>();
  private server: net.Server | undefined;
  private names = 0;

  constructor(readonly options: BrokerOptions) {}

  async listen(): Promise<void> {
    const server = net.createServer((socket) => {
      const session = new Session(this, socket);
      this.sessions.add(session);
      socket.on("close", () => {
        this.sessions.delete(session);
        session.end();
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.options.port, this.options.address, resolve);
    });
    this.server = server;
  }

  async close(): Promise<void> {
    for (const session of this.sessions) session.destroy();
    await new Promise((resolve) => this.server?.close(resolve) ?? resolve(undefined));
  }

  newName(): string {
    return `amq.gen-${(++this.names).toString(36).padStart(22, "0")}`;
  }

  /** What can't be routed is dropped, as the default exchange and topic exchanges do without `mandatory`. */
  publish(message: Message): void {
    const bound = this.fanouts.get(message.exchange);
    const targets = bound === undefined ? [message.routingKey] : [...bound];
    for (const name of targets) {
      const queue = this.queues.get(name);
      if (queue === undefined) continue;
      queue.messages.push({ ...message });
      this.deliver(queue);
    }
  }

  /** Round robin over the consumers that have room. */
  deliver(queue: Queue): void {
    while (queue.messages.length > 0) {
      const at = queue.consumers.findIndex(
        ({ channel, noAck }) => noAck || channel.prefetch === 0 || channel.unacked.size < channel.prefetch,
      );
      const [consumer] = at < 0 ? [] : queue.consumers.splice(at, 1);
      if (consumer === undefined) return;
      queue.consumers.push(consumer);
      const message = queue.messages.shift();
      if (message === undefined) return;
      const { channel } = consumer;
      const deliveryTag = channel.nextTag++;
      if (!consumer.noAck) {
        channel.unacked.set(deliveryTag, { queue, message, consumer });
        queue.unacked++;
      }
      const { exchange, routingKey, redelivered } = message;
      const fields = { consumerTag: consumer.tag, deliveryTag, redelivered, exchange, routingKey };
      channel.session.send(
        Buffer.concat([
          codec.encode(channel.number, "BasicDeliver", fields),
          codec.encodeContent(channel.number, message.properties, message.content),
        ]),
      );
    }
  }

  drop(queue: Queue): void {
    this.queues.delete(queue.name);
    for (const bound of this.fanouts.values()) bound.delete(queue.name);
  }
}

class Session {
  private readonly channels = new Map<number, Channel>();
  private buffer = Buffer.alloc(0);
  private greeted = false;
  private open = false;
  private consumerTags = 0;
  private beat: NodeJS.Timeout | undefined;

  constructor(
    private readonly broker: Broker,
    private readonly socket: net.Socket,
  ) {
    socket.setNoDelay(true);
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      try {
        this.receive(chunk);
      } catch (error) {
        this.broker.options.log(`connection closed: ${error instanceof Error ? error.message : String(error)}`);
        socket.destroy();
      }
    });
  }

  send(bytes: Buffer): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Everything that isn't acknowledged goes back to the head of its queue, in order. */
  end(): void {
    clearInterval(this.beat);
    for (const channel of this.channels.values()) this.closeChannel(channel);
    for (const queue of [...this.broker.queues.values()]) if (queue.exclusive === this) this.broker.drop(queue);
  }

  private receive(chunk: Buffer): void {
    this.buffer = Buffer.concat([this.buffer, chunk]);
    if (!this.greeted) {
      if (this.buffer.length < 8) return;
      if (!this.buffer.subarray(0, 8).equals(codec.PROTOCOL_HEADER)) {
        this.socket.end(codec.PROTOCOL_HEADER);
        return;
      }
      this.buffer = this.buffer.subarray(8);
      this.greeted = true;
      const capabilities = { authentication_failure_close: true, "basic.nack": true, consumer_cancel_notify: true };
      this.send(
        codec.encode(0, "ConnectionStart", {
          versionMajor: 0,
          versionMinor: 9,
          serverProperties: { product: "RabbitMQ", version: "3.10.8", capabilities },
          mechanisms: Buffer.from("AMQPLAIN PLAIN"),
          locales: Buffer.from("en_US"),
        }),
      );
    }
    const { frames, rest } = codec.decodeAll(this.buffer);
    this.buffer = Buffer.from(rest);
    for (const frame of frames) this.handle(frame);
  }

  private handle(frame: codec.Frame): void {
    const { channel: number, id, fields = {} } = frame;
    if (frame.content !== undefined || frame.size !== undefined) return this.content(frame);
    if (id === undefined) return; // heartbeat
    try {
      if (number === 0) this.onConnection(codec.nameOf(id), fields);
      else this.onChannel(number, codec.nameOf(id), fields);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const close = { replyCode: error.code, replyText: error.message, ...codec.idsOf(id) };
      if (error.whole) {
        this.send(codec.encode(0, "ConnectionClose", close));
      } else {
        const channel = this.channels.get(number);
        if (channel !== undefined) this.closeChannel(channel);
        this.channels.delete(number);
        this.send(codec.encode(number, "ChannelClose", close));
      }
    }
  }

  private onConnection(method: string, fields: Record<string, unknown>): void {
    const { user, password, vhost } = this.broker.options;
    switch (method) {
      case "ConnectionStartOk": {
        const response = Buffer.isBuffer(fields["response"])
          ? fields["response"].toString()
          : String(fields["response"]);
        const mechanism = String(fields["mechanism"]);
        if (mechanism !== "PLAIN" || response !== `\0${user}\0${password}`)
          throw new Refusal(
            403,
            `ACCESS_REFUSED - Login was refused using authentication mechanism ${mechanism}. For details see the broker logfile.`,
            true,
          );
        this.send(codec.encode(0, "ConnectionTune", codec.TUNING));
        return;
      }
      case "ConnectionTuneOk": {
        const seconds = Number(fields["heartbeat"]);
        if (seconds > 0) this.beat = setInterval(() => this.send(codec.HEARTBEAT), (seconds * 1000) / 2).unref();
        return;
      }
      case "ConnectionOpen":
        if (fields["virtualHost"] !== vhost)
          throw new Refusal(530, `NOT_ALLOWED - vhost ${String(fields["virtualHost"])} not found`, true);
        this.open = true;
        this.send(codec.encode(0, "ConnectionOpenOk", {}));
        return;
      case "ConnectionClose":
        this.send(codec.encode(0, "ConnectionCloseOk", {}));
        this.socket.end();
        return;
      case "ConnectionCloseOk":
        this.socket.end();
        return;
      default:
        throw new Refusal(540, `NOT_IMPLEMENTED - ${method} isn't simulated`, true);
    }
  }

  private onChannel(number: number, method: string, fields: Record<string, unknown>): void {
    if (!this.open) throw new Refusal(503, "COMMAND_INVALID - connection isn't open", true);
    if (method === "ChannelOpen") {
      const opened = { session: this, number, prefetch: 0, nextTag: 1, unacked: new Map(), publishing: undefined };
      this.channels.set(number, opened);
      this.send(codec.encode(number, "ChannelOpenOk", {}));
      return;
    }
    const channel = this.channels.get(number);
    if (channel === undefined) {
      if (method === "ChannelCloseOk") return; // of a channel that a refusal closed
      throw new Refusal(504, `CHANNEL_ERROR - expected 'channel.open'`, true);
    }
    const text = (name: string): string => textOf(fields[name]);
    const flag = (name: string): boolean => fields[name] === true;
    const reply = (name: codec.MethodName, values: object): void => {
      if (!flag("nowait")) this.send(codec.encode(number, name, values));
    };
    switch (method) {
      case "ChannelClose":
        this.closeChannel(channel);
        this.channels.delete(number);
        this.send(codec.encode(number, "ChannelCloseOk", {}));
        return;
      case "ChannelCloseOk":
        return;
      case "ExchangeDeclare":
        if (text("type") === "fanout" && !this.broker.fanouts.has(text("exchange")))
          this.broker.fanouts.set(text("exchange"), new Set());
        return reply("ExchangeDeclareOk", {});
      case "QueueDeclare": {
        const queue = this.declare(text("queue"), flag("passive"), flag("exclusive"), flag("autoDelete"));
        const { name, messages, consumers } = queue;
        return reply("QueueDeclareOk", { queue: name, messageCount: messages.length, consumerCount: consumers.length });
      }
      case "QueueBind": {
        const queue = this.queue(text("queue"));
        this.broker.fanouts.get(text("exchange"))?.add(queue.name);
        return reply("QueueBindOk", {});
      }
      case "QueueDelete": {
        const found = this.broker.queues.get(text("queue"));
        if (found === undefined) return reply("QueueDeleteOk", { messageCount: 0 });
        const queue = this.queue(text("queue"));
        if (flag("ifUnused") && queue.consumers.length > 0)
          throw new Refusal(406, `PRECONDITION_FAILED - queue '${queue.name}' in vhost '/' in use`);
        if (flag("ifEmpty") && queue.messages.length > 0)
          throw new Refusal(406, `PRECONDITION_FAILED - queue '${queue.name}' in vhost '/' is not empty`);
        const messageCount = queue.messages.length;
        this.broker.drop(queue);
        return reply("QueueDeleteOk", { messageCount });
      }
      case "BasicQos":
        channel.prefetch = Number(fields["prefetchCount"]);
        return reply("BasicQosOk", {});
      case "BasicConsume": {
        const queue = this.queue(text("queue"));
        const tag = text("consumerTag") || `ctag-${++this.consumerTags}`;
        queue.consumers.push({ tag, channel, noAck: flag("noAck") });
        reply("BasicConsumeOk", { consumerTag: tag });
        return this.broker.deliver(queue);
      }
      case "BasicCancel":
        for (const queue of this.broker.queues.values())
          queue.consumers = queue.consumers.filter(
            (consumer) => consumer.channel !== channel || consumer.tag !== text("consumerTag"),
          );
        return reply("BasicCancelOk", { consumerTag: text("consumerTag") });
      case "BasicPublish":
        channel.publishing = {
          exchange: text("exchange"),
          routingKey: text("routingKey"),
          size: -1,
          properties: {},
          parts: [],
        };
        return;
      case "BasicGet":
        return this.get(channel, text("queue"), flag("noAck"));
      case "BasicAck":
        return this.settle(channel, Number(fields["deliveryTag"]), flag("multiple"), false);
      case "BasicNack":
        return this.settle(channel, Number(fields["deliveryTag"]), flag("multiple"), flag("requeue"));
      case "BasicReject":
        return this.settle(channel, Number(fields["deliveryTag"]), false, flag("requeue"));
      default:
        throw new Refusal(540, `NOT_IMPLEMENTED - ${method} isn't simulated`, true);
    }
  }

  private queue(name: string): Queue {
    const queue = this.broker.queues.get(name);
    if (queue === undefined) throw new Refusal(404, `NOT_FOUND - no queue '${name}' in vhost '/'`);
    if (queue.exclusive !== undefined && queue.exclusive !== this)
      throw new Refusal(405, `RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${name}' in vhost '/'`);
    return queue;
  }

  private declare(wanted: string, passive: boolean, exclusive: boolean, autoDelete: boolean): Queue {
    if (passive || this.broker.queues.has(wanted)) return this.queue(wanted);
    const name = wanted === "" ? this.broker.newName() : wanted;
    const owner = exclusive ? this : undefined;
    const queue: Queue = { name, messages: [], consumers: [], exclusive: owner, autoDelete, unacked: 0 };
    this.broker.queues.set(name, queue);
    return queue;
  }

  private get(channel: Channel, name: string, noAck: boolean): void {
    const queue = this.queue(name);
    const message = queue.messages.shift();
    if (message === undefined) {
      this.send(codec.encode(channel.number, "BasicGetEmpty", {}));
      return;
    }
    const deliveryTag = channel.nextTag++;
    if (!noAck) {
      channel.unacked.set(deliveryTag, { queue, message, consumer: undefined });
      queue.unacked++;
    }
    const { redelivered, exchange, routingKey } = message;
    const fields = { deliveryTag, redelivered, exchange, routingKey, messageCount: queue.messages.length };
    this.send(
      Buffer.concat([
        codec.encode(channel.number, "BasicGetOk", fields),
        codec.encodeContent(channel.number, message.properties, message.content),
      ]),
    );
  }

  private settle(channel: Channel, tag: number, multiple: boolean, requeue: boolean): void {
    const tags = multiple ? [...channel.unacked.keys()].filter((each) => tag === 0 || each <= tag) : [tag];
    const touched = new Set<Queue>();
    // From the last to the first, so that those that go back stand in their order.
    for (const each of tags.sort((a, b) => b - a)) {
      const held = channel.unacked.get(each);
      if (held === undefined) throw new Refusal(406, `PRECONDITION_FAILED - unknown delivery tag ${each}`);
      channel.unacked.delete(each);
      held.queue.unacked--;
      if (requeue) held.queue.messages.unshift({ ...held.message, redelivered: true });
      touched.add(held.queue);
    }
    for (const queue of channel.unacked.size < channel.prefetch || channel.prefetch === 0
      ? this.broker.queues.values()
      : touched)
      if (queue.messages.length > 0) this.broker.deliver(queue);
  }

  private closeChannel(channel: Channel): void {
    for (const queue of [...this.broker.queues.values()]) {
      const before = queue.consumers.length;
      queue.consumers = queue.consumers.filter((consumer) => consumer.channel !== channel);
      if (queue.autoDelete && before > 0 && queue.consumers.length === 0) this.broker.drop(queue);
    }
    if (channel.unacked.size > 0) this.settle(channel, 0, true, true);
  }

  private content(frame: codec.Frame): void {
    const channel = this.channels.get(frame.channel);
    const publishing = channel?.publishing;
    if (channel === undefined || publishing === undefined) return;
    if (frame.size !== undefined) {
      publishing.size = frame.size;
      publishing.properties = frame.fields ?? {};
    } else if (frame.content !== undefined) publishing.parts.push(Buffer.from(frame.content));
    if (publishing.parts.reduce((sum, part) => sum + part.length, 0) < publishing.size) return;
    channel.publishing = undefined;
    const { exchange, routingKey, properties, parts } = publishing;
    this.broker.publish({ exchange, routingKey, properties, content: Buffer.concat(parts), redelivered: false });
  }
}
