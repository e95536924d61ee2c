#!/usr/bin/env node
import { existsSync } from "node:fs";
import path from "node:path";
import { connect } from "../lib/connections";
import { DrError } from "../lib/errors";
import { runCli } from "./run";

/** One press may arrive more than once: from the terminal, and from a program between. */
const SAME_PRESS_MS = 500;

const cwd = process.cwd();
process.chdir(projectFolder());

void runCli(process.argv.slice(2), {
  env: process.env,
  cwd,
  out: (line) => void process.stdout.write(`${line}\n`),
  err: (line) => void process.stderr.write(`${line}\n`),
  stopSignal,
  connect,
}).then((code) => {
  process.exitCode = code;
});

/** The first one ends the run at its next safe point, the second one at once: also that is safe, but the lease has to run out. */
function stopSignal(): AbortSignal {
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
      if (askedMs !== undefined) process.exit(130);
      askedMs = Date.now();
      process.stderr.write("Stopping at the next safe point; once more ends it at once.\n");
      stop(`received ${signal}`);
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
