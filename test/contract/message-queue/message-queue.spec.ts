import assert from "node:assert/strict";
import { type Channel, type ChannelModel, connect } from "amqplib";
import { DrError } from "../../../lib/errors";
import { MessageQueue } from "../../../lib/message-queue";
import type { MessageQueuePort } from "../../../lib/switchover/ports";
import { skipBecause } from "../../support/skip";
import { type PrivateRabbitmq, installed, rabbitmqServer, startRabbitmq } from "./private-rabbitmq";

const dontKeep = (): Promise<void> => Promise.resolve();
const backendHost = "cinder-a@iprod";
const topic = `cinder-volume.${backendHost}`;
const server = `${topic}.cinder-a`;

describe("message-queue against RabbitMQ", function () {
  this.timeout(120_000);
  let rabbit: PrivateRabbitmq;
  let connection: ChannelModel;
  let channel: Channel;
  let queue: MessageQueuePort;
  const options = (): ConstructorParameters<typeof MessageQueue>[0] => ({
    host: rabbit.host,
    port: rabbit.port,
    user: "guest",
    password: "guest",
    vhost: "/",
    tls: false,
  });
  const cast = (method: string, args: Record<string, unknown> = {}): Buffer =>
    Buffer.from(
      JSON.stringify({
        "oslo.version": "2.0",
        "oslo.message": JSON.stringify({ method, args, _context_auth_token: "secret" }),
      }),
    );
  const rejects = (work: Promise<unknown>, code: string, text: RegExp): Promise<void> =>
    assert.rejects(work, (error: Error) => DrError.is(error) && error.code === code && text.test(error.message));
  const messages = async (name: string): Promise<number> => {
    // A message that was given back counts again only after the server has seen its channel close.
    const deadline = Date.now() + 10_000;
    for (;;) {
      const { messageCount } = await channel.checkQueue(name);
      if (messageCount > 0 || Date.now() > deadline) return messageCount;
    }
  };

  before(async function () {
    if (!installed()) skipBecause(this, `RabbitMQ isn't installed (${rabbitmqServer})`);
    rabbit = await startRabbitmq("127.71.0.3", 15672);
    connection = await connect({ hostname: rabbit.host, port: rabbit.port, username: "guest", password: "guest" });
    queue = new MessageQueue(options());
  });
  after(async () => {
    await connection?.close();
    await rabbit?.stop();
  });
  beforeEach(async () => {
    channel = await connection.createConfirmChannel();
    for (const name of [topic, server]) await channel.deleteQueue(name);
  });
  afterEach(() => channel.close());

  const kinds = [
    { kind: "classic", options: { durable: false } },
    { kind: "durable classic", options: { durable: true } },
    { kind: "quorum", options: { durable: true, arguments: { "x-queue-type": "quorum" } } },
  ];
  for (const { kind, options: declared } of kinds)
    describe(`${kind} queues`, () => {
      const publish = async (...bodies: Buffer[]): Promise<void> => {
        for (const body of bodies) channel.sendToQueue(server, body);
        await (channel as unknown as { waitForConfirms(): Promise<void> }).waitForConfirms();
      };

      it("are listed with their messages and consumers, and nothing is taken", async () => {
        await channel.assertQueue(topic, declared);
        await channel.assertQueue(server, declared);
        await publish(cast("failover"), cast("delete_volume"));
        await channel.consume(topic, () => undefined);
        const wanted = [
          { name: topic, messages: 0, consumers: 1 },
          { name: server, messages: 2, consumers: 0 },
        ];
        assert.deepEqual(await queue.listBackendQueues(backendHost), wanted);
        assert.deepEqual(await queue.listBackendQueues(backendHost), wanted);
      });

      it("give what waits in them and are gone then; a repeat finds nothing", async () => {
        await channel.assertQueue(server, declared);
        await publish(cast("failover", { secondary_backend_id: "idr" }), Buffer.from("odd"), cast("delete_volume"));
        assert.deepEqual(await queue.drainQueue(server, dontKeep), [
          { method: "failover", summary: "failover(secondary_backend_id=idr)" },
          { method: "unknown", summary: "3 bytes that are no message of oslo.messaging" },
          { method: "delete_volume", summary: "delete_volume()" },
        ]);
        assert.deepEqual(await queue.listBackendQueues(backendHost), []);
        assert.deepEqual(await queue.drainQueue(server, dontKeep), []);
      });

      it("keep everything where what waits in them can't be written down", async () => {
        await channel.assertQueue(server, declared);
        await publish(cast("failover"), cast("delete_volume"));
        const kept: string[] = [];
        const full = new DrError({ code: "journal", attempted: "Write down", seen: "no room" });
        const keep = async (waiting: readonly { readonly method: string }[]): Promise<void> => {
          kept.push(...waiting.map(({ method }) => method));
          throw full;
        };
        await assert.rejects(queue.drainQueue(server, keep), full);
        assert.deepEqual(kept, ["failover", "delete_volume"]);
        assert.equal(await messages(server), 2);
      });

      it("are refused while a consumer listens, with every message kept", async () => {
        await channel.assertQueue(server, declared);
        await channel.prefetch(1);
        await channel.consume(server, () => undefined);
        await publish(cast("failover"), cast("delete_volume"));
        await rejects(queue.drainQueue(server, dontKeep), "precondition", /1 consumers listen/);
        assert.equal(await messages(server), 1);
      });

      it("are deleted when empty", async () => {
        await channel.assertQueue(server, declared);
        assert.deepEqual(await queue.drainQueue(server, dontKeep), []);
        assert.deepEqual(await queue.listBackendQueues(backendHost), []);
      });
    });

  it("lists nothing where no queue exists", async () => {
    assert.deepEqual(await queue.listBackendQueues(backendHost), []);
  });

  it("says so of a queue that a living connection owns", async () => {
    await channel.assertQueue(server, { exclusive: true });
    await rejects(queue.listBackendQueues(backendHost), "remote", /405.*service that was not stopped/s);
    await rejects(queue.drainQueue(server, dontKeep), "remote", /405/);
  });

  it("gives up, and gives all messages back, while new ones keep coming in", async () => {
    await channel.assertQueue(server);
    let stopped = false;
    const refill = (async () => {
      while (!stopped) {
        channel.sendToQueue(server, cast("create_volume"));
        await (channel as unknown as { waitForConfirms(): Promise<void> }).waitForConfirms();
      }
    })();
    const outcome = await queue.drainQueue(server, dontKeep).then(
      (drained) => ({ drained }),
      (error: unknown) => ({ error }),
    );
    stopped = true;
    await refill;
    // Either it met a quiet moment, and told every message of it, or it refused.
    if ("error" in outcome) {
      assert.ok(DrError.is(outcome.error, "precondition"), String(outcome.error));
      assert.ok((await messages(server)) > 0);
    } else assert.ok(outcome.drained.length > 0);
  });

  it("doesn't show the password where it's refused, and says unreachable where nobody listens", async () => {
    const wrong = new MessageQueue({ ...options(), password: "wrong-password" });
    await assert.rejects(
      wrong.listBackendQueues(backendHost),
      (error: Error) =>
        DrError.is(error, "remote") && /403/.test(error.message) && !JSON.stringify(error).includes("wrong-password"),
    );
    await rejects(
      new MessageQueue({ ...options(), vhost: "no/such" }).listBackendQueues(backendHost),
      "remote",
      /refused: .*vhost/s,
    );
    await rejects(
      new MessageQueue({ ...options(), port: 1 }).listBackendQueues(backendHost),
      "unreachable",
      /ECONNREFUSED/,
    );
  });
});
