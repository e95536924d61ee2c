import { execFile } from "node:child_process";
import { z } from "zod";
import { DrError } from "../lib/errors";
import * as lifecycle from "./runtime/lifecycle";
import { stopSignal } from "./runtime/orphan";

const inputsSchema = z.object({
  instance: z.string().min(1),
  device: z.string().regex(/^\/dev\/[a-z0-9]+$/, "a device such as /dev/vdb"),
  stage: z.string().regex(/^[a-z0-9-]+$/, "lower-case letters, digits and dashes: it becomes a file's name"),
  command: z.array(z.string()).min(1),
  timeoutSeconds: z.number().int().positive(),
});
type Inputs = z.output<typeof inputsSchema>;

const outputsSchema = inputsSchema.extend({ output: z.string() });

/** What the file is; the other inputs say how it's written. */
const IDENTITY = ["instance", "device", "stage"];
const MAX_OUTPUT = 4096;

export const provider = lifecycle.defineProvider({
  check(_olds, news) {
    return Promise.resolve({ inputs: news, failures: lifecycle.faultsOf(inputsSchema, news) });
  },

  diff(_id, olds, news) {
    const changed = lifecycle.changedFields(olds, news, Object.keys(inputsSchema.shape));
    return Promise.resolve({
      changes: changed.length > 0,
      replaces: changed.filter((field) => IDENTITY.includes(field)),
    });
  },

  /** Killed before the state is saved: the command runs again, and has to write the same file again. */
  async create(properties) {
    const inputs = lifecycle.decode(inputsSchema, properties);
    const output = await run(inputs);
    return { id: `${inputs.instance}:${inputs.device}:${inputs.stage}`, outs: stored(inputs, output) };
  },

  read: (id, properties) => Promise.resolve({ id, props: properties }),

  update: (_id, olds, news) =>
    Promise.resolve({
      outs: stored(lifecycle.decode(inputsSchema, news), lifecycle.decode(outputsSchema, olds).output),
    }),

  delete: () => Promise.resolve(),
});

const stored = (inputs: Inputs, output: string) => ({ ...inputs, output, stateVersion: lifecycle.STATE_VERSION });

export function fillIn(command: readonly string[], values: Readonly<Record<string, string>>): string[] {
  return command.map((argument) =>
    argument.replace(/\{(instance|device|stage)\}/g, (_all, key: string) => values[key] ?? ""),
  );
}

function run(inputs: Inputs): Promise<string> {
  const [program = "", ...args] = fillIn(inputs.command, {
    instance: inputs.instance,
    device: inputs.device,
    stage: inputs.stage,
  });
  const options = { timeout: inputs.timeoutSeconds * 1000, killSignal: "SIGKILL", signal: stopSignal } as const;
  return new Promise((resolve, reject) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout.slice(0, MAX_OUTPUT));
      const ended = error.killed
        ? `did not end within ${inputs.timeoutSeconds} s`
        : `failed (${error.code ?? error.signal ?? error.message})`;
      reject(
        new DrError({
          code: "remote",
          attempted: `Write the breadcrumb "${inputs.stage}" on ${inputs.device} of ${inputs.instance}`,
          seen: `${program} ${ended}: ${stderr.trim().slice(-500) || "no error output"}`,
          remedy: "Try the command by hand, then run `pulumi up` again: it writes the file again",
          cause: error,
        }),
      );
    });
  });
}
