import { openSwitchover, requestStop } from "../lib/switchover";
import type { Session } from "./commands";
import { type ExitCode, exitCodes } from "./exit-codes";

/** As long as what is under way gets, twice: the run looks whether it's asked with each renewal of its lease. */
const defaultWaitSeconds = 120;

/** Whatever runs it, Pulumi or this command line, on whichever machine. */
export async function stop(session: Session, o: { readonly wait?: number }): Promise<ExitCode> {
  const { terminal, ports, settings } = session;
  const pair = { pair: settings.pair, ports, journalDir: settings.journalDir };
  const { run, said, open } = await requestStop({
    ...pair,
    waitSeconds: o.wait ?? defaultWaitSeconds,
    say: terminal.out,
  });
  terminal.out(`${said}.`.replace(/\.\.$/, "."));
  if (run === "running") return exitCodes.unfinished;
  if (open !== undefined) {
    const begun = await openSwitchover(pair).catch(() => undefined);
    const back = begun !== undefined && begun.canAbort ? `; back: \`cheesecake apply --to ${begun.plan.from}\`` : "";
    terminal.out(`${open} isn't finished. Go on: \`cheesecake resume\`, or \`pulumi up\`${back}.`);
  }
  return run === "dead" ? exitCodes.unfinished : exitCodes.fine;
}
