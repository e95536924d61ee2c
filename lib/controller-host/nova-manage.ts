import { DrError } from "../errors";
import { type CommandRunner, failed } from "./runner";

export interface NovaManageOptions {
  readonly controller: string;
  /** What leads to where it's installed, such as `docker exec -i nova_api`. */
  readonly prefix: readonly string[];
  readonly command: readonly string[];
}

/** A dead path costs nova-compute up to 16 minutes; nova-manage itself waits rpc_response_timeout, 60 s by default. */
const answerSeconds = 1_800;
const nobody = "00000000-0000-0000-0000-000000000000";
const mutedCode = 74;
const busyCode = 75;

/** Exit codes of `volume_attachment refresh` (nova 34, cmd/manage.py); 0 is success. */
const refreshCodes: Readonly<Record<number, string>> = {
  1: "it failed in between",
  4: "Nova has no such instance",
  5: "the instance isn't stopped, or is locked where this release of Nova refuses that",
  6: "Nova has no such volume at the instance",
  7: "the connector is another compute host's",
};

/**
 * `nova-manage volume_attachment` on a controller, where it has Nova's configuration: both databases, the message queue,
 * and Cinder's access with the service token.
 */
export class NovaManage {
  readonly name: string;

  constructor(
    private readonly options: NovaManageOptions,
    private readonly runner: CommandRunner,
  ) {
    this.name = options.controller;
  }

  close(): Promise<void> {
    return this.runner.close();
  }

  /**
   * Asks for a volume that no instance has: 3 says so, after the databases of Nova's API and of the instance's cell were
   * read. By the same script as a refresh, so that shell, lock and standard input are proved, too.
   */
  async probe(serverId: string): Promise<void> {
    const argv = this.wrapped("shared", nobody, ["show", serverId, nobody]);
    const result = await this.runner.run(argv, { stdin: "anything" });
    if (result.code === 3) return;
    // Its own words are printed; the rest are warnings of libraries.
    const said = /^Unexpected error.*$/m.exec(result.stdout.toString("utf8"))?.[0] ?? result.stderr;
    const { prefix, command } = this.options;
    throw failed(this.name, [...prefix, ...command, "volume_attachment", "show"], { ...result, stderr: said });
  }

  private wrapped(lock: "shared" | "exclusive", volumeId: string, subcommand: readonly string[]): readonly string[] {
    const { prefix, command } = this.options;
    return [
      ...prefix,
      ...["sh", "-c", wrapperScript, "sh", String(answerSeconds), volumeId, `--${lock}`],
      ...[...command, "volume_attachment", ...subcommand],
    ];
  }

  /**
   * Ends when the new attachment is there. A process that dies here leaves nova-manage running, or any prefix of its
   * work; a lock on that host keeps a repeat from running beside it. The connector goes by standard input.
   *
   * @throws DrError `remote`, retryable while another one works on the volume; `wait-timeout` and `unreachable`,
   * retryable, where the outcome isn't known.
   */
  async refreshAttachment(o: {
    readonly serverId: string;
    readonly volumeId: string;
    readonly connector: string;
  }): Promise<void> {
    const { serverId, volumeId } = o;
    const argv = this.wrapped("exclusive", volumeId, ["refresh", serverId, volumeId, "/dev/stdin"]);
    const result = await this.runner.run(argv, { stdin: o.connector, timeoutMs: (answerSeconds + 60) * 1000 });
    if (result.code === 0) return;
    const attempted = `Refresh the attachment of volume ${volumeId} to instance ${serverId} by nova-manage on ${this.name}`;
    const busy = result.code === busyCode;
    const meaning = refreshCodes[result.code];
    throw new DrError({
      code: "remote",
      attempted,
      seen: busy
        ? "another one works on this volume"
        : `it ended with ${result.code}: ${meaning ?? reason(result.stderr)}`,
      ...(busy
        ? {}
        : { remedy: `See nova-manage.log on ${this.name} and nova-compute's log on the instance's host; then repeat` }),
      retryable: busy,
      context: { exitCode: result.code },
    });
  }
}

/** What it prints may tell of a connection, CHAP password included: only the shell's own words are passed on. */
function reason(stderr: string): string {
  const said = stderr
    .split("\n")
    .filter((line) => /not found|permission denied|no such container|is not running|no standard input/i.test(line));
  return said.join("; ").slice(0, 300) || "see its log";
}

/**
 * Seconds to wait for nova-compute, volume, kind of lock, command. The environment comes before nova.conf (oslo.config).
 * By a pipe, as a program can't open standard input anew where that is a socket, or another user's. The lock is held for
 * as long as any process of it lives; a code of its own tells one that is held from a flock that is missing (127).
 */
const wrapperScript = `OS_DEFAULT__RPC_RESPONSE_TIMEOUT=$1
export OS_DEFAULT__RPC_RESPONSE_TIMEOUT
exec 9>>"/tmp/cinder-cheesecake-$2.lock"
flock "$3" -n -E ${busyCode} 9 || exit
shift 3
input=$(cat) && [ -n "$input" ] || { echo "no standard input comes through" >&2; exit ${mutedCode}; }
printf %s "$input" | "$@"
`;
