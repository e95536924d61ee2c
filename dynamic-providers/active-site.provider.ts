import { z } from "zod";
import { DrError, messageOf } from "../lib/errors";
import {
  applySwitchover,
  hasOpenJournal,
  linesOf,
  observeState,
  outputsOf,
  previewSwitchover,
  sentenceOf,
  statusOf,
  tellFailure,
} from "../lib/switchover";
import type { SwitchoverState } from "../lib/switchover/intent";
import { hookSchema } from "../lib/topology/hooks";
import { configuredPair } from "./runtime/connection";
import * as lifecycle from "./runtime/lifecycle";
import { cancelSignal, stopSignal } from "./runtime/orphan";
import { connection } from "./runtime/ports";
import { watched } from "./runtime/status";

/** What the operator declares. */
const intentSchema = z.object({
  activeSite: z.string().min(1),
  promotion: z.enum(["immediate", "deferred"]),
  unplanned: z
    .object({
      from: z.string().min(1),
      acceptLossSeconds: z.number().int().nonnegative().exactOptional(),
      acceptUnknownLoss: z.boolean().exactOptional(),
      force: z.boolean().exactOptional(),
    })
    .exactOptional(),
  hooks: z.array(hookSchema),
  approvedPlan: z.string().min(1).exactOptional(),
  requireApproval: z.boolean(),
  startIncomplete: z.boolean(),
  reprotect: z.enum(["discardDiverged", "keepDiverged"]).exactOptional(),
  route: z.enum(["failover-host", "direct"]).exactOptional(),
  acceptSchema: z.string().min(1).exactOptional(),
  expectedActive: z.string().min(1).exactOptional(),
  maximumLagSeconds: z.number().int().positive().exactOptional(),
  minimumSecondsBetweenSwitchovers: z.number().int().nonnegative().exactOptional(),
  soonAfter: z.string().min(1).exactOptional(),
  backendRevisions: z.record(z.string(), z.string()),
});
const declaredSchema = intentSchema.extend({
  stack: z.string().min(1),
  journalDir: z.string().min(1),
});
type Declared = z.output<typeof declaredSchema>;

/** What `check` adds: the plan, which `pulumi preview --diff` shows, and which an update has to be about. */
const inputsSchema = declaredSchema.extend({
  plan: z.array(z.string()),
  planDigest: z.string(),
  planMode: z.string(),
  planRoute: z.string(),
});
type Inputs = z.output<typeof inputsSchema>;

/** What the state holds besides; every field has what version 1 meant where it's missing. */
const stateSchema = z.object({
  activeSite: z.string(),
  promoted: z.boolean().default(true),
  protected: z.boolean().default(true),
  observedSite: z.string().default(""),
  status: z.string().default(""),
  mismatches: z.array(z.string()).exactOptional(),
  backendRevisions: z.record(z.string(), z.string()).default({}),
  lastSwitchoverId: z.string().exactOptional(),
  reportDirectory: z.string().exactOptional(),
});

/** A change of one of these can mean work; a change of any other is only written down. */
const MEANING_WORK = ["activeSite", "promotion", "reprotect", "backendRevisions"];
const declaredFields = Object.keys(declaredSchema.shape);

const AFTER_STANZAS = "After the stanzas are written: find out what runs where, and adopt it.";
const NOTHING = { plan: [] as string[], planDigest: "", planMode: "", planRoute: "" };

export const provider = lifecycle.defineProvider({
  /**
   * `olds` are the inputs of the last run that succeeded, so `olds.activeSite` is the site of the state also after a
   * switchover that failed half-way (measured: an update that ends unfinished keeps the inputs before it).
   */
  async check(olds, news) {
    const declared = Object.fromEntries(Object.entries(news).filter(([key]) => declaredFields.includes(key)));
    const failures = lifecycle.faultsOf(declaredSchema, declared);
    const quiet = { inputs: { ...declared, ...NOTHING }, failures };
    const { backendRevisions, ...rest } = declared;
    if (failures.length > 0 || lifecycle.hasUnknown(rest)) return quiet;

    const first = olds["activeSite"] === undefined;
    const revisionsKnown = !lifecycle.hasUnknown(backendRevisions);
    // The stanzas that the plan would be about are about to be written: `up` asks again when they are.
    if (first && !revisionsKnown) return { ...quiet, inputs: { ...quiet.inputs, plan: [AFTER_STANZAS] } };

    const comparable = revisionsKnown ? declared : { ...rest, backendRevisions: olds["backendRevisions"] };
    const asBefore = !first && lifecycle.changedFields(olds, comparable, MEANING_WORK).length === 0;
    const intent = lifecycle.decode(declaredSchema, comparable);
    try {
      if (asBefore && revisionsKnown && !(await journalOpen(intent)) && !(await moved(intent))) return quiet;
      const preview = await previewSwitchover({
        ...question(intent),
        ...(first ? {} : { state: stateFrom(olds) }),
        stack: intent.stack,
      });
      const { runbook, warnings, sentences } = preview;
      // As lines it reads better than as a difference to the last one, it has what is only of this moment, and with a failure
      // Pulumi shows no inputs at all.
      const lines = runbook ? linesOf(runbook) : [...warnings.map((warning) => `Warning: ${warning}`), ...sentences];
      for (const line of lines.filter((each) => each !== "")) console.log(line);
      const { sentences: plan, digest: planDigest, mode: planMode, route: planRoute } = preview;
      return {
        inputs: { ...declared, plan, planDigest, planMode, planRoute },
        failures: preview.failures.map((failure) => ({
          property: failure.field ?? "activeSite",
          reason: tellFailure(failure),
        })),
      };
    } catch (error) {
      if (!DrError.is(error)) throw error;
      return { ...quiet, failures: [{ property: "activeSite", reason: error.message }] };
    }
  },

  /** Never replaces: a replacement would run the switchover twice. */
  diff(_id, olds, news) {
    const planned = lifecycle.hasUnknown(news["plan"]) || (news["plan"] as string[] | undefined)?.length !== 0;
    const changed = lifecycle.changedFields(olds, news, declaredFields).length > 0;
    return Promise.resolve({ changes: planned || changed || drifted(olds) });
  },

  /** Adopts what runs, or activates a backend for the first time; the library refuses a switch here. */
  create: async (properties) => {
    const inputs = lifecycle.decode(inputsSchema, properties);
    return { id: configuredPair().name, outs: await apply(inputs, undefined) };
  },

  /** `activeSite` stays as it was, in inputs and outputs: were the live one returned, `up --refresh` would switch. */
  async read(id, properties) {
    const { activeSite: expected } = stateFrom(properties);
    const pair = configuredPair();
    const journalDir = String(properties["journalDir"]);
    const seen = await statusOf({ pair, ports: connection(), journalDir, expected });
    const { site, promoted, protected: isProtected } = seen.verdict;
    const live = outputsOf(pair, seen);
    for (const text of [...(live.mismatches ?? []), ...seen.unseen]) console.log(`Warning: ${text}`);
    const { mismatches: _, ...before } = properties;
    return { id, props: { ...before, ...(site === expected ? { promoted, protected: isProtected } : {}), ...live } };
  },

  async update(id, olds, news) {
    const inputs = lifecycle.decode(inputsSchema, news);
    const before = stateFrom(olds);
    const changed = lifecycle.changedFields(olds, news, MEANING_WORK).length > 0;
    if (!changed && inputs.plan.length === 0 && !drifted(olds)) return { outs: stored(inputs, before) };
    try {
      return { outs: await apply(inputs, before) };
    } catch (error) {
      // Journal and live systems know how far it went; the state keeps the site before, with the reason.
      throw lifecycle.unfinished(id, { ...olds, status: messageOf(error) }, messageOf(error), error);
    }
  },

  /** Forgets. Production stays where it runs. */
  delete: () => Promise.resolve(),
});

async function apply(inputs: Inputs, state: SwitchoverState | undefined): Promise<lifecycle.Properties> {
  const { planDigest: digest, planMode: mode, planRoute: route } = inputs;
  const next = await watched((onStatus) =>
    applySwitchover({
      ...question(inputs),
      ...(state === undefined ? {} : { state }),
      previewed: { digest, mode, route },
      stack: inputs.stack,
      signal: cancelSignal,
      cutOff: stopSignal,
      progress: (line) => console.log(line),
      onStatus,
    }),
  );
  return stored(inputs, next);
}

function question(declared: Declared) {
  const { journalDir } = declared;
  return { pair: configuredPair(), intent: lifecycle.decode(intentSchema, declared), ports: connection(), journalDir };
}

/** Nothing is planned any more once it was done: the stack's outputs show an empty plan, as the next preview does. */
const stored = (inputs: Declared, state: SwitchoverState): lifecycle.Properties => ({
  ...inputs,
  ...NOTHING,
  ...state,
  stateVersion: lifecycle.STATE_VERSION,
});

/** What the last refresh saw isn't what the state says: an update asks the library, which refuses it with the way on. */
function drifted(state: lifecycle.Properties): boolean {
  const { activeSite, observedSite } = stateFrom(state);
  return observedSite !== "" && observedSite !== activeSite;
}

const stateFrom = (properties: lifecycle.Properties): SwitchoverState => lifecycle.decode(stateSchema, properties);

/**
 * Production runs elsewhere than the state and the configuration say: the library refuses that with the way on. Where
 * nothing is asked for, what doesn't fit or doesn't answer is no fault, but worth a word.
 */
async function moved(intent: Declared): Promise<boolean> {
  const { site, mismatches, unseen } = await observeState({ pair: configuredPair(), ports: connection() });
  if (site !== undefined && site !== intent.activeSite) return true;
  const told = mismatches.map(sentenceOf);
  if (site === undefined)
    console.log(
      `Warning: whether production still runs at "${intent.activeSite}" can't be told: ${told.join("; ") || "no site is enabled in cinder.conf"}`,
    );
  else for (const text of [...told, ...unseen]) console.log(`Warning: ${text}`);
  return false;
}

/** Where nothing is asked for, a database that doesn't answer is no fault: the switchover's own preflight would tell. */
async function journalOpen(inputs: Declared): Promise<boolean> {
  try {
    return await hasOpenJournal({ pair: configuredPair(), ports: connection(), journalDir: inputs.journalDir });
  } catch (error) {
    if (DrError.is(error, "unreachable")) return false;
    throw error;
  }
}
