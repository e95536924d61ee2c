import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { connectCinderDatabase, type DatabaseOptions } from "../../../lib/cinder-database";
import { systemClock } from "../../../lib/connections/system-clock";
import { DrError } from "../../../lib/errors";
import type { Ports } from "../../../lib/switchover/ports";
import { hookSchema } from "../../../lib/topology/hooks";
import { cliOn } from "../../unit/cli/support";
import { at, operator } from "../../unit/switchover/support";
import { intentTo, World } from "../../unit/switchover/world";

/**
 * An operator in a process of its own: a switchover of a world of its own, its lease and journal in a real database. Waits at
 * the hook `before:detach` for a line. Says each call that changes something, and how it ended.
 */
export interface Order {
  readonly by: "pulumi" | "cli";
  readonly stack: string;
  readonly options: DatabaseOptions;
  readonly folder: string;
  readonly waits: boolean;
}

const order = JSON.parse(process.argv[2] ?? "") as Order;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const client = connectCinderDatabase(order.options);

class Shared extends World {
  override ports(): Ports {
    const ports = super.ports();
    return {
      ...ports,
      coordination: client.coordination,
      hooks: {
        run: async () => {
          say("at the hook");
          for await (const _ of createInterface(process.stdin)) break;
          return { passed: true, said: "", durationSeconds: 0 };
        },
      },
      clock: {
        now: () => new Date(),
        // The world's time passes with its waits; the lease's is real.
        sleep: async (ms, signal) => {
          if (ms >= 8_000) return systemClock.sleep(ms, signal);
          await ports.clock.sleep(ms, signal);
          await delay(20);
        },
      },
    };
  }
}

const world = new Shared();
world.meanwhile = (call) => say(`call: ${call}`);
const hook = hookSchema.parse({ name: "wait", when: "before:detach", command: ["wait"] });
const hooks = order.waits ? [hook] : [];

async function byPulumi(): Promise<string> {
  const dr = operator(world, order.folder, order.stack);
  dr.said.push = (...lines) => (lines.forEach((line) => say(`said: ${line}`)), 0);
  try {
    return (await dr.up(intentTo("idr", { hooks }), at("iprod"))).activeSite;
  } catch (error) {
    if (!DrError.is(error)) throw error;
    return `${error.code} ${error.message}`;
  }
}

async function byCli(): Promise<string> {
  const args = ["apply", "--to", "idr", "--yes", "--stack", order.stack];
  const { code, err } = await cliOn(world, order.folder, (line) => say(`said: ${line}`)).run(args, {
    // Each world is one before its first switchover; the journals are of both.
    settings: { hooks, minimumSecondsBetweenSwitchovers: 0 },
  });
  return code === 0 ? "idr" : `exit ${code} ${err}`;
}

void (order.by === "cli" ? byCli() : byPulumi()).then(async (end) => {
  say(`ended: ${end.replaceAll("\n", " ")}`);
  process.stdin.destroy();
  await client.close();
});
