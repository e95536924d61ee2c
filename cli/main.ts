#!/usr/bin/env node
import { existsSync } from "node:fs";
import path from "node:path";
import { connect } from "../lib/connections";
import { DrError } from "../lib/errors";
import { runCli } from "./run";
import { Screen } from "./screen";

/** One press may arrive more than once: from the terminal, and from a program between. */
const SAME_PRESS_MS = 500;

const cwd = process.cwd();
const { stdout, stderr } = process;
const screen = new Screen(stdout, stderr, stdout.isTTY && process.env["TERM"] !== "dumb");
process.chdir(projectFolder());

void runCli(process.argv.slice(2), {
  env: process.env,
  cwd,
  out: screen.out,
  err: screen.err,
  watch: screen.watch,
  stopSignal,
  ...(process.stdout.isTTY ? { redraw } : {}),
  connect,
}).then((code) => {
  process.exitCode = code;
});

/** From the top left corner, with what is below taken away. */
function redraw(lines: readonly string[]): void {
  process.stdout.write(`\x1b[H\x1b[2J${lines.join("\n")}\n`);
}

/**
 * Of a run the first one ends it at its next safe point, which the engine says, the second one at once. What only looks,
 * and says what `said` is, has nothing to be resumed.
 */
function stopSignal(said?: string): AbortSignal {
  const controller = new AbortController();
  let askedMs: number | undefined;
  const stop = (seen: string): void => {
    controller.abort(
      new DrError({ code: "stopped", attempted: "Switch over", seen, remedy: "Go on with `cheesecake resume`" }),
    );
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      if (askedMs !== undefined && Date.now() - askedMs < SAME_PRESS_MS) return;
      if (askedMs !== undefined) {
        if (said === undefined)
          screen.err("Ended at once. Nothing is lost: `cheesecake resume` goes on, once the lease has run out (30 s)");
        process.exit(130);
      }
      askedMs = Date.now();
      stop(signal === "SIGINT" ? "Ctrl-C" : `received ${signal}`);
      screen.err(
        said ?? "Once more ends it at once: that's safe, too, but an item may be half done, which the resume finishes",
      );
    });
  // Whoever reads is gone, as with a lost ssh session.
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", () => stop("nobody reads the output any more"));
  return controller.signal;
}

/** As Pulumi does it: paths in the configuration are relative to the project. That's the checkout, or the one it's installed in. */
function projectFolder(): string {
  const above = (folder: string): readonly string[] =>
    path.dirname(folder) === folder ? [folder] : [folder, ...above(path.dirname(folder))];
  const isProject = (folder: string): boolean => existsSync(path.join(folder, "Pulumi.yaml"));
  return [path.resolve(__dirname, ".."), ...above(cwd)].find(isProject) ?? cwd;
}
