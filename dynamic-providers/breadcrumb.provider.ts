import { z } from "zod";
import { runCommand } from "../lib/connections/command";
import { DrError } from "../lib/errors";
import * as lifecycle from "./runtime/lifecycle";

const inputsSchema = z.object({
  instance: z.string().min(1),
  device: z.string().regex(/^\/dev\/[a-z0-9]+$/, "a device such as /dev/vdb"),
  stage: z.string().regex(/^[a-z0-9-]+$/, "lower-case letters, digits and dashes: it becomes a file's name"),
  command: z.array(z.string()).min(1),
  timeoutSeconds: z.number().int().positive(),
});
type Inputs = z.output<typeof inputsSchema>;

/** What the file is; the other inputs say how it's written. */
const IDENTITY = ["instance", "device", "stage"];

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
    const name = `${inputs.instance}:${inputs.device}:${inputs.stage}`;
    const { timeoutSeconds } = inputs;
    const { passed, said, output } = await runCommand({
      command: fillIn(inputs.command, inputs),
      timeoutSeconds,
      env: {},
    });
    if (!passed)
      throw new DrError({
        code: "failure-state",
        attempted: `Write breadcrumb "${name}"`,
        seen: output === undefined ? said : `${said}; its last output: ${output}`,
        remedy: "Repair what its command does, or correct the command; then run again: it runs again.",
      });
    return { id: name, outs: stored(inputs) };
  },

  read: (id, properties) => Promise.resolve({ id, props: properties }),

  update: (_id, _olds, news) => Promise.resolve({ outs: stored(lifecycle.decode(inputsSchema, news)) }),

  delete: () => Promise.resolve(),
});

const stored = (inputs: Inputs) => ({ ...inputs, stateVersion: lifecycle.STATE_VERSION });

/** The template with its words replaced, as an argument vector: what an instance is called can't become a command. */
export function fillIn(command: readonly string[], crumb: Pick<Inputs, "instance" | "device" | "stage">): string[] {
  const { instance, device, stage } = crumb;
  const words: Readonly<Record<string, string>> = { "{instance}": instance, "{device}": device, "{stage}": stage };
  return command.map((argument) => argument.replace(/\{[a-z]+\}/g, (word) => words[word] ?? word));
}
