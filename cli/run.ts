import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import path from "node:path";
import type { connect } from "../lib/connections";
import { DrError, messageOf } from "../lib/errors";
import * as commands from "./commands";
import { exporter } from "./exporter";
import { status } from "./status";
import { readConfiguration, secretVariables, stackOf } from "./configuration";
import { type ExitCode, exitCodes } from "./exit-codes";
import { stop } from "./stop";

/** What the commands have of the process that runs them. */
export interface Surroundings extends commands.Terminal {
  /** The secrets are taken out of it: programs that are started inherit the rest. */
  readonly env: Record<string, string | undefined>;
  /** Files named on the command line are relative to it. */
  readonly cwd: string;
  readonly connect: typeof connect;
}

/** Of all commands; each takes those that are declared for it. */
interface Options {
  readonly config: string;
  readonly secrets?: string;
  readonly stack?: string;
  readonly to?: string;
  readonly unplannedFrom?: string;
  readonly acceptLossSeconds?: number;
  readonly route?: string;
  readonly reprotect?: string;
  readonly promotion?: string;
  readonly expectedActive?: string;
  readonly maximumLagSeconds?: number;
  readonly soonAfter?: string;
  readonly digest?: string;
  readonly yes?: boolean;
  readonly json?: boolean;
  readonly by?: string;
  readonly markdown?: boolean;
  readonly watch?: boolean;
  readonly every?: number;
  readonly readiness?: boolean;
  readonly readinessEvery?: number;
  readonly listen?: { readonly address: string; readonly port: number };
  readonly wait?: number;
}

/** Runs one command line, without the program's name; resolves to its exit code. */
export async function runCli(argv: readonly string[], o: Surroundings): Promise<ExitCode> {
  let code: ExitCode = exitCodes.fine;
  const program = new Command("cheesecake")
    .description("The switchover without Pulumi: the same steps, on the same journal, under the same lease.")
    .configureOutput({ writeOut: (text) => o.out(text.trimEnd()), writeErr: (text) => o.err(text.trimEnd()) })
    .exitOverride();

  /** A command on the configured pair. */
  const command = (
    name: string,
    description: string,
    work: (session: commands.Session, options: Options, argument: string | undefined) => Promise<ExitCode>,
  ): Command => {
    const made = program
      .command(name)
      .description(description)
      .requiredOption("--config <file>", "the stack's file, or what `pulumi config --json` printed")
      .option("--secrets <file>", "YAML or JSON with the secrets, of mode 0600")
      .option("--stack <name>", "the pair's stack, where the file isn't called Pulumi.<stack>.yaml");
    return made.action(async () => {
      const options = made.opts<Options>();
      const configFile = path.resolve(o.cwd, options.config);
      const settings = readConfiguration({
        configFile,
        ...(options.secrets === undefined ? {} : { secretsFile: path.resolve(o.cwd, options.secrets) }),
        env: o.env,
        overrides: (configured) => overridesOf(options, configured),
      });
      for (const name of Object.values(secretVariables)) delete o.env[name];
      const stack = options.stack ?? stackOf(configFile);
      const connections = o.connect(settings.pair, settings);
      try {
        code = await work({ settings, ports: connections.ports, stack, terminal: o }, options, made.args[0]);
      } finally {
        await connections.close();
      }
    });
  };

  command("status", "the pair at a glance", (session, { every = 30, readiness = true, ...options }) =>
    status(session, { ...options, everySeconds: every, readiness }),
  )
    .option("--watch", "again and again, until Ctrl-C")
    .option("--every <seconds>", "with --watch: from one look to the next (30)", interval)
    .option("--no-readiness", "without asking Nova what stands against a switchover")
    .option(...JSON_OPTION);
  command("exporter", "the same as metrics for Prometheus, over HTTP", (session, options) => {
    const { every = 60, readinessEvery = 900, listen = { address: "127.0.0.1", port: 9843 } } = options;
    return exporter(session, { ...listen, everySeconds: every, readinessEverySeconds: readinessEvery });
  })
    .option("--listen <address:port>", "where (127.0.0.1:9843)", addressAndPort)
    .option("--every <seconds>", "from one look to the next (60)", interval)
    .option("--readiness-every <seconds>", "from one look at readiness to the next (900); 0 = never", seconds);
  towards(command("plan", "what would be done, and its digest", commands.plan))
    .addOption(new Option(...JSON_OPTION).conflicts("markdown"))
    .option("--markdown", "as Markdown, for a change request");
  towards(command("apply", "do it", commands.apply))
    .option(...DIGEST_OPTION)
    .option("--yes", "whatever the plan is");
  onTheWay(command("resume", "go on with what was begun and isn't finished", commands.resume)).option(...DIGEST_OPTION);
  command("approve", "let a switchover go on that waits for it after a priority group", commands.approve)
    .argument("[group]", "only if it's this one")
    .option("--by <name>", "who approves, for journal and report");
  command("stop", "ask the run that is under way to stop at its next safe point, and wait until it did", stop).option(
    "--wait <seconds>",
    "so long at most",
    seconds,
  );
  command("verify", "prove that everything is in its place", commands.verify).option(...JSON_OPTION);
  command("history", "the pair's switchovers, newest first", commands.history).option(...JSON_OPTION);
  command("report", "writes the report of the last switchover, or of the one named, and prints it", commands.report)
    .argument("[id]")
    .option(...JSON_OPTION);

  try {
    await program.parseAsync(argv, { from: "user" });
    return code;
  } catch (error) {
    // Its text is out already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.fine : exitCodes.usage;
    o.err(DrError.is(error) ? error.message : ((error as Error).stack ?? messageOf(error)));
    return DrError.is(error, "config") ? exitCodes.usage : exitCodes.refused;
  }
}

const JSON_OPTION = ["--json", "as JSON"] as const;
const DIGEST_OPTION = ["--digest <digest>", "only if it's this plan"] as const;

/** What counts at the beginning alone. */
function towards(command: Command): Command {
  return onTheWay(command)
    .requiredOption("--to <site>", "where production is to run; the active site, to promote or protect it")
    .addOption(new Option("--promotion <when>", "of the other site's backend").choices(["immediate", "deferred"]))
    .option("--expected-active <site>", "refuse where production doesn't run there")
    .option("--maximum-lag-seconds <seconds>", "refuse a planned switchover where a mirror is further behind", seconds)
    .option("--soon-after <id>", "don't wait after the switchover of this id");
}

/** What may also change a switchover that was begun. */
function onTheWay(command: Command): Command {
  return command
    .option("--unplanned-from <site>", "this site is lost")
    .option("--accept-loss-seconds <seconds>", "with a site lost: the lag up to which the loss is acceptable", seconds)
    .addOption(new Option("--route <route>", "of the cutover").choices(["failover-host", "direct"]))
    .addOption(
      new Option("--reprotect <how>", "replicate to the lost site again").choices(["discardDiverged", "keepDiverged"]),
    );
}

function seconds(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It's a whole number of seconds.");
  return Number(text);
}

function interval(text: string): number {
  const value = seconds(text);
  if (value === 0) throw new InvalidArgumentError("It's at least one second.");
  return value;
}

function addressAndPort(text: string): { readonly address: string; readonly port: number } {
  const [, address, port] =
    /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)?.filter((part) => part !== undefined) ?? [];
  if (address === undefined || Number(port) > 65_535)
    throw new InvalidArgumentError("It's an address and a port, such as 127.0.0.1:9843 or [::1]:9843.");
  return { address, port: Number(port) };
}

function overridesOf(o: Options, configured: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { to: activeSite, route, reprotect, promotion, unplannedFrom, acceptLossSeconds } = o;
  const { expectedActive, maximumLagSeconds, soonAfter } = o;
  const given = { activeSite, route, reprotect, promotion, expectedActive, maximumLagSeconds, soonAfter };
  const overrides = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  if (unplannedFrom === undefined && acceptLossSeconds === undefined) return overrides;
  const before = configured["unplanned"] as { readonly from?: unknown } | undefined;
  // What was accepted for the loss of one site isn't accepted for the other's.
  const kept = unplannedFrom === undefined || before?.from === unplannedFrom ? before : {};
  return {
    ...overrides,
    unplanned: {
      ...kept,
      ...(unplannedFrom === undefined ? {} : { from: unplannedFrom }),
      ...(acceptLossSeconds === undefined ? {} : { acceptLossSeconds }),
    },
  };
}
