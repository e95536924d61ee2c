import os from "node:os";
import { DrError } from "../errors";
import type { SitePair } from "../topology/site-pair";
import { Lease } from "./lease";
import type { Ports } from "./ports";

export interface Owner {
  readonly pair: SitePair;
  readonly ports: Ports;
  readonly stack: string;
  readonly previewed?: { readonly digest: string };
  readonly signal: AbortSignal;
  readonly progress: (line: string) => void;
}

/** Work that changes something of a pair: by the stack that it belongs to, one at a time. */
export async function asOwner<T>(o: Owner, work: (lease: Lease) => Promise<T>): Promise<T> {
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
    signal: o.signal,
    say: o.progress,
  });
  try {
    return await work(lease);
  } finally {
    await lease.release();
  }
}
