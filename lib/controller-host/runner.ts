import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import pLimit from "p-limit";
import { Client } from "ssh2";
import { childEnvironment } from "../child-environment";
import { DrError, messageOf } from "../errors";

export interface CommandResult {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string;
  readonly timeoutMs?: number;
  /**
   * For a command that may start a daemon, which then holds its pipes for ever: done soon after its own end, whatever
   * is still to be read. Without it a command ends with its output, so that none is lost.
   */
  readonly leavesProcesses?: boolean;
}

/**
 * Runs programs on a controller, `run` without a shell. It resolves whatever its exit code is; throws `wait-timeout` after the
 * deadline (the program is killed), `unreachable` where the host is, `remote` for more output than 16 MiB or no such program.
 */
export interface CommandRunner {
  run(argv: readonly string[], options?: RunOptions): Promise<CommandResult>;
  /**
   * Exit codes of commands that only ask, one after another, by one shell: to start each from here, or over a connection,
   * takes many times as long. What they say is lost. 124 where one didn't end in `defaultTimeoutMs`; undefined where the
   * shell's answer has none.
   */
  exitCodes(commands: readonly (readonly string[])[]): Promise<readonly (number | undefined)[]>;
  close(): Promise<void>;
}

async function exitCodesByShell(
  runner: CommandRunner,
  commands: readonly (readonly string[])[],
): Promise<readonly (number | undefined)[]> {
  const seconds = defaultTimeoutMs / 1000;
  const lines = commands.map(
    (argv, at) => `timeout -k 5 ${seconds} ${argv.map(quote).join(" ")} >/dev/null 2>&1; echo exit-code ${at} $?`,
  );
  const { stdout } = await runner.run(["sh", "-c", lines.join("\n")], {
    timeoutMs: (defaultTimeoutMs + 10_000) * commands.length,
  });
  // By their numbers: a login shell may have printed something of its own.
  const codes = new Map<number, number>();
  for (const [, at, code] of stdout.toString("utf8").matchAll(/^exit-code (\d+) (\d+)$/gm))
    codes.set(Number(at), Number(code));
  return commands.map((_, at) => codes.get(at));
}

export const defaultTimeoutMs = 60_000;
/** How long output may still come after the end of a command that leaves processes. */
const drainMs = 500;
/** Of one connection: sshd refuses more than its MaxSessions, 10 where nothing is configured, 4 where it was hardened. */
const sessionsAtOnce = 4;
const maxOutputBytes = 16 * 1024 * 1024;

export class LocalRunner implements CommandRunner {
  exitCodes(commands: readonly (readonly string[])[]): Promise<readonly (number | undefined)[]> {
    return exitCodesByShell(this, commands);
  }

  async run(
    argv: readonly string[],
    { stdin = "", timeoutMs = defaultTimeoutMs, leavesProcesses = false }: RunOptions = {},
  ): Promise<CommandResult> {
    const [program = "", ...args] = argv;
    // A group of its own, so that the deadline ends its children too.
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], detached: true, env: childEnvironment() });
    const stdout = new Output();
    const stderr = new Output();
    return new Promise<CommandResult>((resolve, reject) => {
      const end = (error: DrError): void => {
        killGroup(child);
        reject(error);
      };
      const timer = setTimeout(() => end(tooLong(argv, timeoutMs, "this host")), timeoutMs);
      for (const [stream, output] of [
        [child.stdout, stdout],
        [child.stderr, stderr],
      ] as const)
        stream.on("data", (chunk: Buffer) => {
          if (!output.add(chunk)) end(tooMuch(argv, "this host"));
        });
      child.stdin.on("error", () => undefined); // it may end without reading
      child.stdin.end(stdin);
      child.on("error", (error) => {
        clearTimeout(timer);
        reject(cannotRun(argv, "this host", messageOf(error)));
      });
      const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
        clearTimeout(timer);
        child.stdout.destroy();
        child.stderr.destroy();
        resolve({
          code: code ?? signalCode(signal),
          stdout: stdout.content(),
          stderr: stderr.content().toString("utf8"),
        });
      };
      child.on("close", finish);
      if (leavesProcesses) child.on("exit", (code, signal) => setTimeout(() => finish(code, signal), drainMs).unref());
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export interface SshOptions {
  readonly address: string;
  readonly port: number;
  readonly username: string;
  readonly privateKeyFile: string;
  /** As `ssh-keygen -lf` prints it, with or without "SHA256:". */
  readonly hostKeySha256: string;
  readonly sudo: boolean;
}

/** One connection, opened at the first command and again after it was lost. */
export class SshRunner implements CommandRunner {
  private connection: Promise<Client> | undefined;
  private readonly sessions = pLimit(sessionsAtOnce);

  constructor(private readonly options: SshOptions) {}

  private get where(): string {
    return `${this.options.username}@${this.options.address}:${this.options.port}`;
  }

  exitCodes(commands: readonly (readonly string[])[]): Promise<readonly (number | undefined)[]> {
    return exitCodesByShell(this, commands);
  }

  run(argv: readonly string[], options?: RunOptions): Promise<CommandResult> {
    return this.sessions(() => this.runInSession(argv, options));
  }

  private async runInSession(
    argv: readonly string[],
    { stdin = "", timeoutMs = defaultTimeoutMs, leavesProcesses = false }: RunOptions = {},
  ): Promise<CommandResult> {
    const connection = this.open();
    const client = await connection;
    // sshd leaves a program alone when its connection goes: `timeout` (coreutils) ends it over there.
    const limited = ["timeout", "-k", "5", String(Math.ceil(timeoutMs / 1000)), ...argv];
    const command = (this.options.sudo ? ["sudo", "-n", "--", ...limited] : limited).map(quote).join(" ");
    const stdout = new Output();
    const stderr = new Output();
    return new Promise<CommandResult>((resolve, reject) => {
      const end = (error: DrError): void => {
        clearTimeout(timer);
        // Not a newer one, which the next command may have opened already.
        if (this.connection === connection) this.connection = undefined;
        client.destroy();
        reject(error);
      };
      // Longer than over there, for a host that doesn't answer at all.
      const timer = setTimeout(() => end(tooLong(argv, timeoutMs, this.where)), timeoutMs + 10_000);
      const lost = (error?: Error): void =>
        end(this.unreachable(argv, error === undefined ? "the connection was closed" : error.message));
      client.once("close", lost);
      client.exec(command, (error, stream) => {
        if (error !== undefined) return lost(error);
        stream.on("data", (chunk: Buffer) => {
          if (!stdout.add(chunk)) end(tooMuch(argv, this.where));
        });
        stream.stderr.on("data", (chunk: Buffer) => {
          if (!stderr.add(chunk)) end(tooMuch(argv, this.where));
        });
        const finish = (code: number | null, signal: string | undefined): void => {
          clearTimeout(timer);
          client.removeListener("close", lost);
          if (code === 124 || code === 137) return reject(tooLong(argv, timeoutMs, this.where));
          resolve({
            code: code ?? signalCode(signal),
            stdout: stdout.content(),
            stderr: stderr.content().toString("utf8"),
          });
        };
        stream.on("close", (code: number | null | undefined, signal?: string) => {
          // Without either the connection went, and its own event follows.
          if (code !== undefined || signal !== undefined) finish(code ?? null, signal);
        });
        if (leavesProcesses)
          stream.on("exit", (code: number | null, signal?: string) =>
            setTimeout(() => {
              stream.close();
              finish(code, signal);
            }, drainMs).unref(),
          );
        stream.on("error", () => undefined);
        stream.end(stdin);
      });
    });
  }

  async close(): Promise<void> {
    const { connection } = this;
    this.connection = undefined;
    await connection?.then(
      (client) => client.end(),
      () => undefined,
    );
  }

  private open(): Promise<Client> {
    if (this.connection !== undefined) return this.connection;
    const connection = this.connect();
    this.connection = connection;
    const forget = (): void => {
      if (this.connection === connection) this.connection = undefined;
    };
    connection.then((client) => client.once("close", forget), forget);
    return connection;
  }

  private async connect(): Promise<Client> {
    const { address, port, username, privateKeyFile, hostKeySha256 } = this.options;
    const attempted = `Log in to ${this.where}`;
    const privateKey = await readFile(privateKeyFile).catch((error: unknown) => {
      throw new DrError({
        code: "config",
        attempted,
        seen: `the private key can't be read: ${messageOf(error)}`,
        remedy: "Correct privateKeyFile",
        cause: error,
      });
    });
    let seenKey = "";
    const client = new Client();
    return new Promise<Client>((resolve, reject) => {
      const fail = (error: Error & { level?: string }): void => {
        client.destroy();
        const wanted = bareFingerprint(hostKeySha256);
        if (seenKey !== "" && seenKey !== wanted)
          return reject(
            new DrError({
              code: "config",
              attempted,
              seen: `the host shows the key SHA256:${seenKey}, but SHA256:${wanted} is configured: it's another host, or it has a new key`,
              state: "Nothing was sent to it",
              remedy: "Compare with `ssh-keygen -lf` on the host itself before you correct hostKeySha256",
              cause: error,
            }),
          );
        if (error.level === "client-authentication")
          return reject(
            new DrError({
              code: "config",
              attempted,
              seen: "the host refuses the user or the key",
              remedy: "Correct username, privateKeyFile, or authorized_keys on the host",
              cause: error,
            }),
          );
        reject(this.unreachable(["log in"], messageOf(error)));
      };
      client.once("ready", () => {
        client.removeListener("error", fail);
        client.on("error", () => undefined); // "close" follows, and rejects what is under way
        resolve(client);
      });
      client.once("error", fail);
      try {
        client.connect({
          host: address,
          port,
          username,
          privateKey,
          readyTimeout: 20_000,
          keepaliveInterval: 10_000,
          keepaliveCountMax: 3,
          hostVerifier: (key: Buffer) => {
            seenKey = bareFingerprint(createHash("sha256").update(key).digest("base64"));
            return seenKey === bareFingerprint(hostKeySha256);
          },
        });
      } catch (error) {
        // An unreadable or encrypted key.
        reject(
          new DrError({
            code: "config",
            attempted,
            seen: messageOf(error),
            remedy: "Give a private key without a passphrase",
            cause: error,
          }),
        );
      }
    });
  }

  private unreachable(argv: readonly string[], seen: string): DrError {
    return new DrError({
      code: "unreachable",
      attempted: `Run ${show(argv)} on ${this.where}`,
      seen,
      state: "Whether the command ran to its end is unknown",
      remedy: "Check host and network, then repeat: it's safe",
      retryable: true,
      context: { method: "SSH", url: `ssh://${this.where}` },
    });
  }
}

const bareFingerprint = (text: string): string => text.replace(/^SHA256:/, "").replace(/=+$/, "");

/** For a POSIX shell: the remote side always has one. */
export const quote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** A script is shown by its first word only; no command line of ours holds a secret. */
export function show(argv: readonly string[]): string {
  const text = argv.map((word) => (word.includes("\n") ? "…" : word)).join(" ");
  return `"${text.length > 200 ? `${text.slice(0, 200)}…` : text}"`;
}

class Output {
  private readonly chunks: Buffer[] = [];
  private bytes = 0;

  add(chunk: Buffer): boolean {
    this.bytes += chunk.length;
    if (this.bytes > maxOutputBytes) return false;
    this.chunks.push(chunk);
    return true;
  }

  content(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch {
    // it has ended
  }
}

const signalCode = (signal: string | null | undefined): number =>
  signal === "SIGKILL" || signal === "KILL" ? 137 : 128;

const tooLong = (argv: readonly string[], timeoutMs: number, where: string): DrError =>
  new DrError({
    code: "wait-timeout",
    attempted: `Run ${show(argv)} on ${where}`,
    seen: `it did not end within ${timeoutMs} ms`,
    state: "It was killed; what it has done is unknown",
    remedy: "Look at the host, then repeat",
    retryable: true,
  });

const tooMuch = (argv: readonly string[], where: string): DrError =>
  new DrError({
    code: "remote",
    attempted: `Run ${show(argv)} on ${where}`,
    seen: `it wrote more than ${maxOutputBytes} bytes`,
    state: "It was ended",
  });

const cannotRun = (argv: readonly string[], where: string, seen: string): DrError =>
  new DrError({
    code: "remote",
    attempted: `Run ${show(argv)} on ${where}`,
    seen,
    remedy: "Install the program, or correct the configured command",
  });

/** Throws `remote` unless the command ends with 0. */
export async function succeed(
  runner: CommandRunner,
  where: string,
  argv: readonly string[],
  options?: RunOptions,
): Promise<string> {
  const result = await runner.run(argv, options);
  if (result.code === 0) return result.stdout.toString("utf8");
  throw failed(where, argv, result);
}

export function failed(where: string, argv: readonly string[], result: CommandResult): DrError {
  const output = result.stderr.trim() || result.stdout.toString("utf8").trim();
  // Libraries like to quote the URL of a database or a queue that they can't use.
  const said = output.replace(/(:\/\/[^\s:@/]*):[^\s/]*@/g, "$1:…@").slice(-500);
  return new DrError({
    code: "remote",
    attempted: `Run ${show(argv)} on ${where}`,
    seen: `it ended with ${result.code}${said === "" ? "" : `: ${said}`}`,
    remedy: "Correct the cause on the host, then repeat",
    context: { exitCode: result.code },
  });
}
