import * as fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { defineProvider } from "../../../../dynamic-providers/runtime/lifecycle";
import { cancelSignal, stopSignal } from "../../../../dynamic-providers/runtime/orphan";
import { watched } from "../../../../dynamic-providers/runtime/status";

const asked = AbortSignal.any([stopSignal, cancelSignal]);

/** Takes steps without end, says so on stdout and in a file, and stops at a step's boundary when it's told to. */
export const provider = defineProvider({
  check: (_olds, news) => Promise.resolve({ inputs: news }),
  diff: () => Promise.resolve({ changes: false }),
  async create({ trace }) {
    const say = (line: string) => fs.appendFileSync(trace as string, `${line}\n`);
    say(`pid ${process.pid}`);
    let step = 0;
    await watched(async (onStatus) => {
      onStatus(() => `at step ${step}`);
      for (step = 1; !asked.aborted; step += 1) {
        console.log(`step ${step}`);
        say(`step ${step}`);
        await sleep(100);
      }
    }, 200);
    say(`stopped: ${(asked.reason as Error).message}`);
    throw new Error("stopped");
  },
  read: (id, properties) => Promise.resolve({ id, props: properties }),
  update: () => Promise.resolve({}),
  delete: () => Promise.resolve(),
});
