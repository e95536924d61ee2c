import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { DrError } from "../../../lib/errors";
import type { DrErrorCode } from "../../../lib/errors";
import type { ApplyOptions, Intent, OpenSwitchover, Preview, SwitchoverState } from "../../../lib/switchover";
import { applySwitchover, approveGroup, openSwitchover, previewSwitchover } from "../../../lib/switchover";
import type { ExecutionEvent } from "../../../lib/switchover/execute";
import type { Observation } from "../../../lib/switchover/observation";
import { observe } from "../../../lib/switchover/observe";
import type { SitePair } from "../../../lib/topology/site-pair";
import { pair, type World } from "./world";

/** Thousands of journal entries, each with its fsync: in memory where there's a place for it. */
const memory = existsSync("/dev/shm") ? "/dev/shm" : os.tmpdir();

export const at = (activeSite: string, promoted = true, isProtected = true): SwitchoverState => ({
  activeSite,
  promoted,
  protected: isProtected,
  observedSite: activeSite,
  status: "",
  backendRevisions: {},
});

export const lost = { from: "iprod", acceptLossSeconds: 3600 };

/** For `assert.rejects`. */
export const fails = (code: DrErrorCode, message: RegExp) => (error: unknown) => {
  assert.ok(DrError.is(error, code), String(error));
  assert.match(error.message, message);
  return true;
};

/** A run that ends where `onEvent` throws this. */
export class Killed extends Error {}

/** A folder for a test's journals, removed after it. */
export function journals(): () => string {
  let root = "";
  let runs = 0;
  before(async () => void (root = await mkdtemp(path.join(memory, "switchover-"))));
  after(() => rm(root, { recursive: true }));
  return () => path.join(root, String(++runs));
}

export interface Operator {
  readonly said: string[];
  readonly journalDir: string;
  up(
    intent: Intent,
    state?: SwitchoverState,
    onEvent?: ApplyOptions["onEvent"],
    more?: Partial<ApplyOptions>,
  ): Promise<SwitchoverState>;
  preview(intent: Intent, state?: SwitchoverState): Promise<Preview>;
  approve(group?: string): Promise<{ readonly switchoverId: string; readonly group: string }>;
  open(): Promise<OpenSwitchover | undefined>;
}

export function operator(world: World, journalDir: string, stack = "test", on: SitePair = pair): Operator {
  const said: string[] = [];
  const question = (intent: Intent, state: SwitchoverState | undefined) => ({
    pair: on,
    intent,
    ...(state === undefined ? {} : { state }),
    ports: world.ports(),
    stack,
    journalDir,
  });
  return {
    said,
    journalDir,
    up: (intent, state, onEvent, more) =>
      applySwitchover({
        ...question(intent, state),
        signal: new AbortController().signal,
        progress: (line) => void said.push(line),
        ...(onEvent === undefined ? {} : { onEvent }),
        ...more,
      }),
    preview: (intent, state) => previewSwitchover(question(intent, state)),
    approve: (group) =>
      approveGroup({
        pair: on,
        ports: world.ports(),
        stack,
        journalDir,
        signal: new AbortController().signal,
        progress: (line) => void said.push(line),
        by: "ann",
        ...(group === undefined ? {} : { group }),
      }),
    open: () => openSwitchover({ pair: on, ports: world.ports(), journalDir }),
  };
}

export const look = (world: World, on: SitePair = pair): Promise<Observation> => observe(on, world.ports());

/** Ends a run at the first event that fits; with it all that it does side by side, as a process's death would. */
export function killAt(step: string, kind: ExecutionEvent["kind"], item?: string): (event: ExecutionEvent) => void {
  let dead = false;
  return (event) => {
    dead ||= event.step === step && event.kind === kind && (item === undefined || event.item === item);
    if (dead) throw new Killed(`${kind} ${step}`);
  };
}
