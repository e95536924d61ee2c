import path from "node:path";
import { connect } from "../lib/connections";
import { DrError } from "../lib/errors";
import { runCli } from "./run";

/** One press may arrive more than once: from the terminal, and from a program between. */
const SAME_PRESS_MS = 500;

const cwd = process.cwd();
// As Pulumi does it: paths in the configuration are relative to the project.
process.chdir(path.resolve(__dirname, ".."));

void runCli(process.argv.slice(2), {
  env: process.env,
  cwd,
  out: (line) => void process.stdout.write(`${line}\n`),
  err: (line) => void process.stderr.write(`${line}\n`),
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

/** The first one ends the run at its next safe point, the second one at once: also that is safe, but the lease has to run out. */
function stopSignal(said = "Stopping at the next safe point; once more ends it at once."): AbortSignal {
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
      process.stderr.write(`${said}\n`);
      stop(`received ${signal}`);
    });
  // Whoever reads is gone, as with a lost ssh session.
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", () => stop("nobody reads the output any more"));
  return controller.signal;
}
