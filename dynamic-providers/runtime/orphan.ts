import * as net from "node:net";
import { DrError } from "../../lib/errors";

/**
 * What keeps a provider process from working on when nobody waits for it any more. A CLI that is killed leaves its
 * provider process running, under a shell that lives on too, so the parent's id tells nothing; the process would take
 * further steps and then spin on EPIPE in the SDK's own handler (measured with CLI 3.259.0). So: errors of
 * stdout and stderr are heard, and a connection to the engine's address (argument 2) is held open. Where either ends, or on SIGINT and
 * SIGTERM, `stopSignal` fires: the engine of the switchover stops at its next step boundary and gives up its lease. The process
 * ends when the last call has returned, and at the latest after the grace period.
 *
 * The first Ctrl-C comes as no signal, as the process is in a group of its own, but as the engine's call `Cancel`, 2 ms
 * after it (measured), which the SDK answers and forgets. Heard here, it fires `cancelSignal`: nothing new is begun, and what
 * is under way may take its time. The engine makes the same call before it ends the process, so it's never one too many;
 * and none where another resource has failed (measured).
 */

const controller = new AbortController();

/** Fires when the run has to stop at the next step boundary. */
export const stopSignal: AbortSignal = controller.signal;

const cancel = new AbortController();

/** Fires when nothing new is to be begun. */
export const cancelSignal: AbortSignal = cancel.signal;

/** A killed CLI is noticed at once; with this the process is gone within 10 s of it. */
const ORPHAN_GRACE_MS = 8_000;
/** Pulumi ends its plugins itself about 5 s after the interrupt. */
const INTERRUPT_GRACE_MS = 4_000;
/** The engine closes a connection that says nothing after a while, and then accepts the next one. */
const RECONNECT_MS = 500;

let guarded = false;
let running = 0;

/** Installs the guards, once for the process. */
export function guardProcess(): void {
  if (guarded) return;
  guarded = true;
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", () => stop("nobody reads the output any more", ORPHAN_GRACE_MS));
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => stop(`received ${signal}`, INTERRUPT_GRACE_MS));
  const engine = engineAddress();
  if (engine !== undefined) watchEngine(engine);
  hearCancel();
}

/** Runs a call of the engine; the process isn't ended by the guard between its start and its end, save by the grace period. */
export async function tracked<T>(call: () => Promise<T>): Promise<T> {
  if (stopSignal.aborted) throw stopped();
  running += 1;
  try {
    return await call();
  } finally {
    running -= 1;
    if (stopSignal.aborted) leaveWhenIdle();
  }
}

function stop(reason: string, graceMs: number): void {
  if (stopSignal.aborted) return;
  controller.abort(new DrError({ code: "stopped", attempted: "Run the provider", seen: reason, remedy: NEXT }));
  setTimeout(() => process.exit(1), graceMs);
  leaveWhenIdle();
}

const NEXT = "Run `pulumi cancel --yes`, if the stack is still locked, and `pulumi up` again: it resumes";

function stopped(): DrError {
  return new DrError({ code: "stopped", attempted: "Start another call", seen: "the run was stopped", remedy: NEXT });
}

/** One turn later than the last call's end, so that its answer is on its way where somebody still listens. */
function leaveWhenIdle(): void {
  setTimeout(() => {
    if (running === 0) process.exit(1);
  }, 100);
}

/** There is no way to the SDK's own server but this list, and to a second listener that server has nothing to say. */
function hearCancel(): void {
  const handles = (process as { _getActiveHandles?: () => unknown[] })._getActiveHandles?.() ?? [];
  for (const handle of handles)
    if (handle instanceof net.Server)
      handle.on("stream", (_stream: unknown, headers: Readonly<Record<string, unknown>>) => {
        if (headers[":path"] !== "/pulumirpc.ResourceProvider/Cancel" || cancel.signal.aborted) return;
        cancel.abort(new DrError({ code: "stopped", attempted: "Run the provider", seen: "Ctrl-C", remedy: NEXT }));
      });
}

export function engineAddress(argv: readonly string[] = process.argv): { host: string; port: number } | undefined {
  const match = /^(.+):(\d+)$/.exec(argv[2] ?? "");
  return match ? { host: String(match[1]), port: Number(match[2]) } : undefined;
}

function watchEngine(engine: { host: string; port: number }): void {
  const socket = net.connect(engine);
  let connected = false;
  socket.unref();
  socket.on("connect", () => (connected = true));
  socket.on("error", () => undefined); // "close" follows
  socket.on("data", () => undefined); // the server's HTTP/2 settings; unread they would hide the end of the connection
  socket.on("close", () => {
    if (connected) setTimeout(() => watchEngine(engine), RECONNECT_MS).unref();
    else stop("the Pulumi engine is gone", ORPHAN_GRACE_MS);
  });
}
