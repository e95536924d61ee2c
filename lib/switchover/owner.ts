import os from "node:os";
import { DrError } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { Lease } from "./lease";
import type { Ports } from "./ports";
import { Stop } from "./stop";

export interface Owner {
  readonly pair: SitePair;
  readonly ports: Ports;
  readonly stack: string;
  readonly previewed?: { readonly digest: string };
  /** Nothing new is begun from then on, and what is under way is finished. */
  readonly signal: AbortSignal;
  /** Nothing is waited for any more. */
  readonly cutOff?: AbortSignal;
  /** Lines to keep: one for each step, and what is remarkable. */
  readonly progress: (line: string) => void;
}

type Work<T> = (lease: Lease, stop: Stop) => Promise<T>;

/** Work that changes something of a pair: by the stack that it belongs to, one at a time, until it's asked to stop. */
export async function asOwner<T>(o: Owner, work: Work<T>): Promise<T> {
  const { coordination, clock } = o.ports;
  await coordination.prepare();
  const owner = await coordination.claimOwnership(o.pair.name, o.stack);
  if (owner.stack !== o.stack)
    throw new DrError({
      code: "lease",
      attempted: `Operate pair "${o.pair.name}" from stack "${o.stack}"`,
      seen: `the pair belongs to stack "${owner.stack}"`,
      state: "Nothing was changed.",
      remedy: `Use that stack, or hand the pair over in ${"cinder_cheesecake"}.ownership.`,
    });
  const { signal, cutOff, progress: say } = o;
  const stop = new Stop({ pair: o.pair.name, coordination, clock, signal, cutOff, say });
  try {
    return await holding(o, stop, work);
  } finally {
    await stop.close();
  }
}

async function holding<T>(o: Owner, stop: Stop, work: Work<T>): Promise<T> {
  const { coordination, clock } = o.ports;
  const lease = await Lease.acquire({
    pair: o.pair.name,
    holder: {
      owner: os.userInfo().username,
      host: os.hostname(),
      pid: process.pid,
      stack: o.stack,
      planDigest: o.previewed?.digest ?? "",
    },
    coordination,
    clock,
    signal: stop.asked,
    say: o.progress,
    onRenewal: (token) => stop.look(token),
  });
  try {
    return await work(lease, stop);
  } finally {
    await lease.release();
  }
}
