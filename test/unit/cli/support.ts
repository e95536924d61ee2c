import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Surroundings, runCli } from "../../../cli/run";
import { pair, type World } from "../switchover/world";

export const secrets = {
  ontapPasswords: { iprod: "hush-1", idr: "hush-2" },
  databasePassword: "hush-3",
  messageQueuePassword: "0123",
  openstackSecret: "hush-5",
};

/** A folder for a suite's files, removed after it. */
export function folder(): () => string {
  let root = "";
  before(() => void (root = mkdtempSync(path.join(os.tmpdir(), "cheesecake-cli-"))));
  after(() => rmSync(root, { recursive: true }));
  return () => mkdtempSync(path.join(root, "test-"));
}

export function fileIn(dir: string, name: string, content: unknown, mode = 0o600): string {
  const file = path.join(dir, name);
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content), { mode });
  return file;
}

export interface Answer {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface Cli {
  readonly journalDir: string;
  /** Everything that any command printed. */
  readonly printed: () => string;
  /** A command on the world, with the configuration; a line that `stopAt` fits is followed by Ctrl-C. */
  run(
    args: readonly string[],
    o?: {
      readonly stopAt?: RegExp;
      readonly settings?: object;
      readonly file?: string;
      readonly redraw?: Surroundings["redraw"];
    },
  ): Promise<Answer>;
}

/** The command line on a simulated world. */
export function cliOn(world: World, dir: string, heard: (line: string) => void = () => undefined): Cli {
  const journalDir = path.join(dir, "reports");
  let printed = "";
  return {
    journalDir,
    printed: () => printed,
    async run([command = "", ...more], o = {}) {
      const config = { program: "disaster-recovery", activeSite: "iprod", pair, journalDir, ...secrets, ...o.settings };
      const file = fileIn(dir, o.file ?? "Pulumi.test.yaml", config);
      const [out, err]: [string[], string[]] = [[], []];
      const stop = new AbortController();
      const surroundings: Surroundings = {
        env: {},
        cwd: dir,
        out: (line) => {
          out.push(line);
          heard(line);
          if (o.stopAt?.test(line)) stop.abort();
        },
        err: (line) => void err.push(line),
        stopSignal: () => stop.signal,
        ...(o.redraw === undefined ? {} : { redraw: o.redraw }),
        connect: () => ({ ports: world.ports(), close: () => Promise.resolve() }),
      };
      const code = await runCli([command, "--config", file, ...more], surroundings);
      printed += [...out, ...err, ""].join("\n");
      return { code, out: out.join("\n"), err: err.join("\n") };
    },
  };
}
