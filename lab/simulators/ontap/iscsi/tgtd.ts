/**
 * One tgtd (Debian package tgt, 1.0.85) that serves the LUNs of one initiator on an internal loopback port.
 *
 * tgtd dies with this process, even by SIGKILL: the kernel does it (PDEATHSIG), and it's set before exec, then
 * checked against the parent's id, so there is no moment in which an orphan can start. The signal follows the *thread* that
 * spawned: don't run this in a worker thread that ends earlier.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { inodeOf, type ServedLun } from "./lun-tables";

const READY_DEADLINE_MS = 10_000;
const START_ATTEMPTS = 5;
const TARGET = "--lld iscsi --tid 1";

interface AppliedLun extends ServedLun {
  /** A file replaced by rename has the same path and other bytes. */
  inode: number;
}

export class Tgtd {
  private applied = new Map<number, AppliedLun>();
  private readonly exited: Promise<unknown>;

  private constructor(
    readonly address: string,
    readonly port: number,
    private readonly child: ChildProcess,
    private readonly socket: string,
    private readonly stateDir: string,
  ) {
    this.exited = new Promise((resolve) => child.once("exit", resolve));
  }

  /** Starts a tgtd with one target `iqn` and no LUNs, that only `initiator` may log in to. */
  static async start(o: {
    iqn: string;
    initiator: string;
    address: string;
    stateDir: string;
    name: string;
    log: (line: string) => void;
  }): Promise<Tgtd> {
    for (let attempt = 1; ; attempt++) {
      const tgtd = await Tgtd.launch(o);
      try {
        await tgtd.waitUntilReady();
        // No --initiator-address: tgtd admits whoever passes either list (usr/iscsi/iscsid.c, ip_acl && iqn_acl).
        await tgtd.run([
          `t ${TARGET} --mode target --op new --targetname ${quote(o.iqn)}`,
          `t ${TARGET} --mode target --op bind --initiator-name ${quote(o.initiator)}`,
        ]);
        return tgtd;
      } catch (cause) {
        await tgtd.kill();
        // The free port that was found may have been taken by another process before tgtd bound it.
        if (attempt === START_ATTEMPTS) throw new Error(`tgtd for ${o.initiator} doesn't start`, { cause });
      }
    }
  }

  private static async launch(o: {
    address: string;
    stateDir: string;
    name: string;
    log: (line: string) => void;
  }): Promise<Tgtd> {
    const port = await findFreePort(o.address);
    const child = spawn(
      "setpriv",
      [
        ...["--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$1" ] && exec tgtd -f -t 1 --iscsi "portal=$2"', "sh"],
        ...[String(process.pid), `${o.address}:${port}`],
      ],
      // A relative socket path, as a Unix socket's is limited to 107 bytes. A group of its own, so that Ctrl-C reaches only the parent.
      { cwd: o.stateDir, env: toolEnvironment(o.name), stdio: ["ignore", "pipe", "pipe"], detached: true },
    );
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on("line", (line) => o.log(`${o.name}: ${line}`));
    }
    const tgtd = new Tgtd(o.address, port, child, o.name, o.stateDir);
    await once(child, "spawn");
    return tgtd;
  }

  /** False when the process has ended: replace it then. */
  get usable(): boolean {
    return !this.child.killed && this.child.exitCode === null && this.child.signalCode === null;
  }

  /**
   * Makes the LUN table exactly `luns`; returns when it is served. Only the difference is sent, in one shell. If that fails half-way,
   * nobody knows the table any more: tgtd is ended, and the next one is given the whole table.
   * @throws before any change when a file isn't there or hasn't the size that its map says.
   */
  async setLuns(luns: readonly ServedLun[]): Promise<void> {
    const wanted = new Map<number, AppliedLun>();
    for (const lun of luns) wanted.set(lun.lun, { ...lun, inode: await inodeOf(lun) });
    const commands = planLunChanges(this.applied, wanted);
    if (commands.length === 0) return;
    try {
      await this.run(commands);
    } catch (error) {
      await this.kill();
      throw error;
    }
    this.applied = wanted;
  }

  /** Returns when tgtd has noticed that no connection is left: from then on nothing is written. */
  async waitUntilIdle(): Promise<void> {
    await waitFor(
      "tgtd gives up its connections",
      async () => !(await this.run([`t ${TARGET} --mode conn --op show`])).includes("Connection:"),
    );
  }

  async kill(): Promise<void> {
    if (this.usable) this.child.kill("SIGKILL");
    await this.exited;
  }

  private async waitUntilReady(): Promise<void> {
    await waitFor("tgtd answers", async () => {
      if (!this.usable) throw new Error(`tgtd ended with ${this.child.exitCode ?? this.child.signalCode ?? "?"}`);
      const answers = await this.run(["t --mode system --op show"]).then(
        () => true,
        () => false,
      );
      return answers && (await canConnect(this.address, this.port));
    });
  }

  /** Runs tgtadm commands in one shell, stopping at the first that fails. */
  private run(commands: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const options = { cwd: this.stateDir, env: toolEnvironment(this.socket), timeout: 60_000, maxBuffer: 1 << 24 };
      const shell = execFile("sh", ["-e"], options, (error, stdout, stderr) => {
        if (error) reject(new Error(`tgtadm: ${stderr.trim() || error.message}`, { cause: error }));
        else resolve(stdout);
      });
      shell.stdin?.on("error", () => undefined); // the shell left at a failed command; its exit code says so
      shell.stdin?.end(`${SHELL_FUNCTIONS}\n${commands.join("\n")}\n`);
    });
  }
}

/** `t` runs tgtadm. `d` deletes a LUN, waiting (10 s at most) for commands under way in it to end. */
const SHELL_FUNCTIONS = `
t() { tgtadm "$@" || { echo "in: tgtadm $*" >&2; exit 1; }; }
d() {
  n=0
  until m=$(tgtadm "$@" 2>&1); do
    case $m in *active*) n=$((n + 1)); [ $n -lt 500 ] || { echo "$m: $*" >&2; exit 1; }; sleep 0.02 ;;
    *) echo "$m: $*" >&2; exit 1 ;;
    esac
  done
}`;

/** Commands that turn the table `from` into `to`: removals first, so that a number can change its LUN. */
export function planLunChanges(from: ReadonlyMap<number, AppliedLun>, to: ReadonlyMap<number, AppliedLun>): string[] {
  const remove: string[] = [];
  const set: string[] = [];
  for (const [lun, old] of from) {
    if (to.get(lun)?.file !== old.file) remove.push(`d ${TARGET} --mode logicalunit --op delete --lun ${lun}`);
  }
  for (const [lun, next] of to) {
    const old = from.get(lun);
    const parameters = formatParameters(next);
    if (old?.file !== next.file) {
      set.push(`t ${TARGET} --mode logicalunit --op new --lun ${lun} --backing-store ${quote(next.file)}`);
    } else if (old.sizeBytes !== next.sizeBytes || old.inode !== next.inode) {
      // tgtd looks at the file's size only when it opens it, and reopens it only while offline (usr/target.c, tgt_device_path_update).
      parameters.unshift("online=0", `path=${next.file}`);
    } else if (formatParameters(old).join() === parameters.join()) {
      continue;
    }
    set.push(`t ${TARGET} --mode logicalunit --op update --lun ${lun} --params ${quote(parameters.join())}`);
  }
  return [...remove, ...set];
}

function formatParameters(lun: ServedLun): string[] {
  return [
    ...["vendor_id=NETAPP", "product_id=LUN C-Mode", "thin_provisioning=1"],
    ...[`readonly=${lun.readOnly ? 1 : 0}`, `scsi_sn=${lun.serial}`, `scsi_id=${lun.naa.replace(/^naa\./, "")}`],
  ];
}

/** tgtd and tgtadm find each other by this path, to which they append the control port (0). */
function toolEnvironment(socket: string): NodeJS.ProcessEnv {
  return { PATH: `/usr/sbin:/usr/bin:/sbin:/bin:${process.env.PATH ?? ""}`, LC_ALL: "C", TGT_IPC_SOCKET: socket };
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

async function findFreePort(address: string): Promise<number> {
  const server = createServer().listen(0, address);
  await once(server, "listening");
  const bound = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (bound === null || typeof bound === "string") throw new Error(`no free TCP port on ${address}`);
  return bound.port;
}

function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once("connect", () => (socket.destroy(), resolve(true))).once("error", () => resolve(false));
  });
}

async function waitFor(what: string, isDone: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + READY_DEADLINE_MS;
  while (!(await isDone())) {
    if (performance.now() > deadline) throw new Error(`waited ${READY_DEADLINE_MS} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
