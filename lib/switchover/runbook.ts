import type { SitePair } from "../topology/site-pair";
import { backendHost, siteOf } from "../topology/site-pair";
import { type Check, checksOf } from "./checks";
import { namesOf } from "./drift";
import { durationOf } from "./duration";
import { list, table } from "./markdown";
import type { Intent, Mode, Phase, Promotion, Route } from "./intent";
import type { Plan, PlanKind, PlannedStep } from "./plan";
import { count, forecastSeconds, volumesOfServer } from "./plan";
import type { Finding } from "./preflight";

/**
 * What the operator reads before a switchover, as data, and as lines, as those of a plan's input, and as Markdown. Pure:
 * preview, `cheesecake plan` and `up` say the same of the same plan. What is only of this moment (lags, findings) is never
 * part of the input: preview and `up` would differ.
 */

/** A phase of the plan, with its steps under their numbers. */
export interface RunbookPhase {
  readonly phase: Phase;
  readonly forecastSeconds: number;
  readonly steps: readonly { readonly number: number; readonly id: string; readonly group?: string; readonly sentence: string; readonly forecastSeconds: number }[]; // prettier-ignore
}

/** What the operator reads before a switchover, as data. */
export interface Runbook {
  readonly version: 1;
  readonly headline: string;
  readonly kind: PlanKind;
  readonly pair: string;
  readonly from: string;
  readonly to: string;
  readonly mode: Mode;
  readonly route: Route;
  readonly routeReason?: string;
  readonly promotion: Promotion;
  /** What `up` compares with `approvedPlan`, and `cheesecake apply` with `--digest`. */
  readonly digest: string;
  readonly forecastSeconds: number;
  /** From the first instance's stop to the last one's start; absent where no instance is stopped. */
  readonly interruptionSeconds?: number;
  readonly sites: readonly string[];
  readonly checks: readonly Check[];
  readonly phases: readonly RunbookPhase[];
  readonly users: readonly string[];
  readonly instances: readonly { readonly id: string; readonly name: string; readonly running: boolean; readonly volumes: number }[]; // prettier-ignore
  /** What holds of the data whatever the moment is. */
  readonly data: readonly string[];
  readonly differences: readonly string[];
  readonly mirrors: readonly { readonly flexVol: string; readonly lagSeconds?: number; readonly newestSnapshot?: string }[]; // prettier-ignore
  readonly untouched: readonly string[];
  readonly approval: readonly string[];
}

export interface RunbookOptions {
  readonly plan: Plan;
  readonly pair: SitePair;
  readonly intent: Intent;
  readonly findings: readonly Finding[];
  readonly warnings: readonly string[];
  /** All of preflight was gone through. */
  readonly complete: boolean;
  readonly routeReason?: string;
  /** What cinder.conf enables beside the pair. */
  readonly otherBackends?: readonly string[];
  /** How far the two sites' data is apart; may be among the warnings, too. */
  readonly differences?: readonly string[];
  /** Of a journal that goes on: its headline, and the steps that are left. */
  readonly underway?: { readonly headline: string; readonly left: readonly PlannedStep[]; readonly replanned: boolean };
}

export function runbookOf(o: RunbookOptions): Runbook {
  const { plan, pair, intent, underway, differences = [] } = o;
  const warnings = o.warnings.filter((warning) => !differences.includes(warning));
  const steps = underway?.left ?? plan.steps;
  const interruption = interruptionOf(steps);
  return {
    version: 1,
    headline: underway?.headline ?? headlineOf(plan),
    kind: plan.kind,
    pair: plan.pair,
    from: plan.from,
    to: plan.to,
    mode: plan.mode,
    route: plan.route,
    ...(o.routeReason === undefined ? {} : { routeReason: o.routeReason }),
    promotion: plan.promotion,
    digest: plan.digest,
    forecastSeconds: sumOf(steps),
    ...(interruption === undefined ? {} : { interruptionSeconds: interruption }),
    sites: sitesOf(plan, pair),
    checks: checksOf({ mode: plan.mode, findings: o.findings, warnings, complete: o.complete }),
    phases: phasesOf(plan, steps),
    users: usersOf(plan, steps),
    instances: plan.servers.map((server) => ({
      id: server.id,
      name: server.name,
      running: server.running,
      volumes: volumesOfServer(server).length,
    })),
    data: dataOf(plan, intent),
    differences,
    mirrors: plan.mirrors.map(({ flexVol, lagSeconds, newestSnapshot }) => ({
      flexVol,
      ...(lagSeconds === undefined ? {} : { lagSeconds }),
      ...(newestSnapshot === undefined ? {} : { newestSnapshot }),
    })),
    untouched: untouchedOf(plan, o.otherBackends ?? []),
    approval:
      underway?.replanned === false ? ["none is asked for: it goes on as it was begun"] : approvalOf(plan, intent),
  };
}

// ------------------------------------------------------------------------------------------------------------- as lines

/** Mirrors that are told one by one; the others are counted. */
const shownMirrors = 10;

/** Everything, for a terminal or a log. */
export function linesOf(runbook: Runbook): string[] {
  const { kind, mode, route, promotion } = runbook;
  return [
    runbook.headline,
    ...section("Sites", runbook.sites),
    ...(kind === "switchover"
      ? section("Mode", [
          modeSaid(mode),
          `cutover by ${route}${runbook.routeReason === undefined ? "" : `: ${runbook.routeReason}`}`,
          promotionSaid(promotion),
        ])
      : []),
    ...section("Preflight", runbook.checks.flatMap(checkLines)),
    "",
    ...stepLines(runbook),
    ...section("What it means for users", runbook.users),
    ...section("Data", [...runbook.data, ...momentLines(runbook)]),
    ...section("What isn't touched", runbook.untouched),
    ...section("Approval", runbook.approval),
  ];
}

/** The plan's input: what preview and `up` say alike of a plan with this digest, whenever they're asked. */
export function inputLinesOf(runbook: Runbook): string[] {
  const { kind, mode, promotion } = runbook;
  return [
    runbook.headline,
    ...runbook.sites,
    ...(kind === "switchover" ? [modeSaid(mode), promotionSaid(promotion)] : []),
    `${extent(runbook)}: ${runbook.phases.map((each) => `${each.phase} ${durationOf(each.forecastSeconds)}`).join(", ")}`,
    ...runbook.phases.flatMap(({ phase, steps }) =>
      steps.map(({ number, sentence }) => `${number}. ${phase}: ${sentence}`),
    ),
    ...labelled("Users", runbook.users),
    ...labelled("Data", runbook.data),
    ...labelled("Not touched", runbook.untouched),
    ...labelled("Approval", runbook.approval),
  ];
}

const labelled = (label: string, lines: readonly string[]): string[] => lines.map((line) => `${label}: ${line}`);

const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];

function checkLines({ mark, name, text, remedy }: Check): string[] {
  const said = mark === "!" ? `! ${text}` : `${mark} ${name}: ${text}`;
  return remedy === undefined ? [said] : [said, `    → ${remedy}`];
}

function extent({ phases, forecastSeconds }: Runbook): string {
  const steps = phases.reduce((sum, phase) => sum + phase.steps.length, 0);
  return `${count(steps, "step")} in ${count(phases.length, "phase")}, about ${durationOf(forecastSeconds)} in all`;
}

function stepLines(runbook: Runbook): string[] {
  return [
    extent(runbook),
    ...runbook.phases.flatMap(({ phase, steps: own, forecastSeconds: seconds }) => [
      `  ${phase}, about ${durationOf(seconds)}`,
      ...own.map(({ number, sentence }) => `    ${number}. ${sentence}`),
    ]),
  ];
}

/** How far behind the other site is now, and what of it would be lost. */
function momentLines({ kind, mode, mirrors, differences }: Runbook): string[] {
  const lost = kind === "switchover" && mode === "unplanned";
  const told = mirrors.slice(0, shownMirrors).map(({ flexVol, lagSeconds, newestSnapshot }) => {
    const lag = lagSeconds === undefined ? undefined : durationOf(lagSeconds);
    const behind =
      lag === undefined
        ? `how far it is behind isn't known${lost ? ", nor what is lost" : ""}`
        : `${lag} behind now${lost ? ": as much is lost" : ""}`;
    return `${flexVol}: ${behind}${newestSnapshot === undefined ? "" : `, newest snapshot ${newestSnapshot}`}`;
  });
  const more = mirrors.slice(shownMirrors);
  const lags = more.flatMap(({ lagSeconds }) => lagSeconds ?? []);
  return [
    ...told,
    ...(more.length === 0
      ? []
      : [`and ${more.length} more${lags.length === 0 ? "" : `, at most ${durationOf(Math.max(...lags))} behind`}`]),
    ...cut(differences),
  ];
}

const cut = (lines: readonly string[]): string[] =>
  lines.length <= 2 * shownMirrors
    ? [...lines]
    : [...lines.slice(0, 2 * shownMirrors), `and ${lines.length - 2 * shownMirrors} more`];

// ---------------------------------------------------------------------------------------------------------- as Markdown

/** To be pasted into a change request. */
export function markdownOf(runbook: Runbook): string {
  const { kind, from, to, mode, route, routeReason, promotion, digest } = runbook;
  const part = (title: string, body: string): string[] => (body === "" ? [] : [`## ${title}\n\n${body}`]);
  const seconds = runbook.interruptionSeconds;
  return `${[
    kind === "switchover"
      ? `# Switchover of ${runbook.pair}: ${from} → ${to}`
      : `# ${kind} of ${runbook.pair} at ${to}`,
    table(
      ["What", "Value"],
      [
        ...(kind === "switchover"
          ? [
              ["Mode", modeSaid(mode)],
              ["Cutover", `${route}${routeReason === undefined ? "" : `: ${routeReason}`}`],
              ["Promotion", promotionSaid(promotion)],
            ]
          : [["What is done", runbook.headline]]),
        ["Forecast", durationOf(runbook.forecastSeconds)],
        ["Instances are off for", seconds === undefined ? "none is stopped" : `about ${durationOf(seconds)}`],
        ["Plan", digest],
      ],
    ),
    ...part("Sites", list(runbook.sites)),
    ...part(
      "Preflight",
      table(
        ["", "What", "Seen", "Remedy"],
        runbook.checks.map(({ mark, name, text, remedy = "" }) => [mark, name, text, remedy]),
      ),
    ),
    ...part(
      "Steps",
      table(
        ["#", "Phase", "What is done", "About"],
        runbook.phases.flatMap(({ phase, steps }) =>
          steps.map((step) => [String(step.number), phase, step.sentence, durationOf(step.forecastSeconds)]),
        ),
      ),
    ),
    ...part("What it means for users", list(runbook.users)),
    ...part("Data", list([...runbook.data, ...momentLines(runbook)])),
    ...part("What isn't touched", list(runbook.untouched)),
    ...part("Approval", list(runbook.approval)),
  ].join("\n\n")}\n`;
}

// --------------------------------------------------------------------------------------------------------------- wording

export function headlineOf(plan: Plan): string {
  const how =
    plan.kind === "switchover"
      ? `${plan.mode} switchover "${plan.from}" → "${plan.to}" (${plan.route}, promotion ${plan.promotion})`
      : `${plan.kind} of "${plan.to}"`;
  const volumes = plan.servers.reduce((sum, server) => sum + volumesOfServer(server).length, 0);
  return `${how}: ${plan.servers.length} instances, ${plan.volumes.length} volumes (${volumes} attached), ${plan.mirrors.length} mirrors; forecast ${forecastSeconds(plan)} s; plan ${plan.digest}`;
}

const sumOf = (steps: readonly PlannedStep[]): number => steps.reduce((sum, step) => sum + step.forecastSeconds, 0);

/** From the first stop to the last start, with all that lies between. */
function interruptionOf(steps: readonly PlannedStep[]): number | undefined {
  const first = steps.findIndex(({ id }) => id === "quiesce/stop-instances");
  const last = steps.findLastIndex(({ id }) => id === "start/instances");
  if (last < 0) return undefined;
  // Underway they may be stopped already.
  return sumOf(steps.slice(Math.max(0, first), last + 1));
}

function phasesOf(plan: Plan, steps: readonly PlannedStep[]): RunbookPhase[] {
  const phases: { phase: Phase; forecastSeconds: number; steps: RunbookPhase["steps"][number][] }[] = [];
  for (const step of steps) {
    const { id, group, phase, sentence, forecastSeconds } = step;
    let last = phases.at(-1);
    if (last?.phase !== phase) phases.push((last = { phase, forecastSeconds: 0, steps: [] }));
    last.forecastSeconds += forecastSeconds;
    const number = plan.steps.indexOf(step) + 1;
    last.steps.push({ number, id, ...(group === undefined ? {} : { group }), sentence, forecastSeconds });
  }
  return phases;
}

function sitesOf(plan: Plan, pair: SitePair): string[] {
  const where = (site: string): string =>
    `"${site}" (backend ${backendHost(pair, site)}, SVM ${siteOf(pair, site).svm})`;
  if (plan.kind === "switchover")
    return [`production leaves ${where(plan.from)}`, `production runs afterwards at ${where(plan.to)}`];
  if (plan.kind === "abort") return [`production stays at ${where(plan.to)}`];
  return [`production runs at ${where(plan.to)}, and stays there`];
}

const modeSaid = (mode: Mode): string =>
  mode === "planned"
    ? "planned: both sites are there, and no byte is lost"
    : "unplanned: the site that is left is taken for lost, and nothing is asked of it";

const promotionSaid = (promotion: Promotion): string =>
  promotion === "immediate"
    ? "promotion immediate: cinder.conf and Cinder's database name the new site in the same run"
    : "promotion deferred: Cinder stays failed over, and nothing is protected, until a later run promotes";

function usersOf(plan: Plan, steps: readonly PlannedStep[]): string[] {
  const has = (id: string): boolean => steps.some((step) => step.id === id);
  const seconds = interruptionOf(steps);
  const stranded = plan.servers.filter((server) => server.stranded === true);
  const moved = plan.servers.filter((server) => server.stranded !== true);
  const back = startedAlready(plan, steps);
  const running = moved.filter((server) => server.running && !back.has(server.id));
  const off = moved.filter((server) => !server.running);
  const named = (servers: readonly { readonly name: string }[]): string => namesOf(servers.map(({ name }) => name));
  const lines: string[] = [];
  if (seconds === undefined) lines.push("no instance is stopped, nothing is detached: users' I/O goes on");
  else {
    if (running.length > 0)
      lines.push(
        `running: ${count(running.length, "instance")}, stopped${has("quiesce/stop-instances") ? "" : " already"} and started again: ${named(running)}`,
        `users are without them for about ${durationOf(seconds)} of the ${durationOf(sumOf(steps))}, from the first stop to the last start`,
      );
    else if (back.size === 0) lines.push("no instance that uses this backend runs: nobody is interrupted");
    if (back.size > 0) lines.push(`started again already: ${count(back.size, "instance")}`);
    lines.push(...groupLines(plan, steps));
    if (off.length > 0)
      lines.push(`off: ${count(off.length, "instance")}, with volumes that are moved, and left off: ${named(off)}`);
    if (stranded.length > 0)
      lines.push(
        `stopped and left so: ${count(stranded.length, "instance")}, for which preflight says why: ${named(stranded)}`,
      );
    if ((plan.shelved ?? []).length > 0)
      lines.push(`shelved instances can't be unshelved meanwhile: ${named(plan.shelved ?? [])}`);
  }
  const down = steps.slice(
    steps.findIndex(({ id }) => id === "promote/stop-services"),
    steps.findIndex(({ id }) => id === "promote/start-services") + 1,
  );
  if (has("promote/stop-services") && has("promote/start-services"))
    lines.push(
      `Cinder's API and services are down for about ${durationOf(sumOf(down))}, for every backend: no volume can be made, deleted, attached or detached`,
    );
  else if (has("activate/restart-volume-service"))
    lines.push("cinder-volume is restarted: new requests for this backend wait meanwhile");
  if (has("hold/disable-backend"))
    lines.push("from the beginning on, no new volume of this backend is made until the end");
  return lines;
}

/** Underway, those of the priority groups that were started. */
function startedAlready({ groups = [] }: Plan, steps: readonly PlannedStep[]): ReadonlySet<string> {
  const left = steps.flatMap(({ id, group }) => (id === "start/instances" && group !== undefined ? [group] : []));
  return new Set(
    left.length === 0 ? [] : groups.flatMap(({ name, serverIds }) => (left.includes(name) ? [] : serverIds)),
  );
}

/** In which order they come back, and what no forecast knows: how long an approval takes. */
function groupLines({ groups = [] }: Plan, steps: readonly PlannedStep[]): string[] {
  const left = groups.filter(({ name }) => steps.some(({ id, group }) => id === "start/instances" && group === name));
  const awaited = steps.flatMap(({ id, group }) =>
    id === "start/await-approval" && group !== undefined ? [group] : [],
  );
  return [
    ...(left.length > 1
      ? [`one group after another is started: ${left.map(({ name }) => `"${name}"`).join(", ")}`]
      : []),
    ...awaited.map(
      (name) =>
        `after group "${name}" the run ends, and nothing more is started until somebody approves it (cheesecake approve ${name}): that counts on top`,
    ),
  ];
}

function dataOf(plan: Plan, intent: Intent): string[] {
  if (plan.kind === "reprotect") {
    const { resyncs = [], baselines = [] } = plan;
    return [
      ...(resyncs.length > 0
        ? [
            `what "${plan.from}" holds beyond the last transfer is ${plan.diverged === "keepDiverged" ? "kept as clones, and discarded from" : "discarded from"} ${namesOf(resyncs)}`,
          ]
        : []),
      ...(baselines.length > 0 ? [`copied anew as a whole: ${namesOf(baselines.map(({ flexVol }) => flexVol))}`] : []),
    ];
  }
  if (plan.kind !== "switchover") return ["no volume's data is copied or moved"];
  if (plan.mode === "planned")
    return ["nothing is lost: the last transfer begins when nobody can write any more, and what it carries is proved"];
  const { acceptLossSeconds } = intent.unplanned ?? {};
  return [
    `what was written at "${plan.from}" after the last transfer is lost to production${acceptLossSeconds === undefined ? "" : `; accepted are up to ${durationOf(acceptLossSeconds)}`}`,
    `volumes and snapshots that were made or extended since then are told by name in the report`,
    `"${plan.from}" keeps what it has, until reprotect says what is to become of it`,
  ];
}

function untouchedOf(plan: Plan, otherBackends: readonly string[]): string[] {
  const others = otherBackends.length === 0 ? "other backends" : `other backends (${namesOf(otherBackends)})`;
  const touchesInstances = plan.kind === "switchover" || plan.kind === "abort";
  return [
    touchesInstances
      ? `instances without a volume of this backend; volumes of ${others}`
      : `every instance and attachment; volumes of ${others}`,
    ...(touchesInstances
      ? ["names, ids, addresses and device names of instances and volumes; volume types, quotas"]
      : []),
    ...(plan.mode === "unplanned" && plan.kind === "switchover"
      ? [`"${plan.from}": the switchover asks nothing of its array`]
      : []),
    ...(plan.kind === "switchover" && plan.promotion === "deferred" && plan.route === "failover-host"
      ? ["cinder.conf, and which backend the database names"]
      : []),
  ];
}

/** Also the way to give it: where it's used, for someone who reads no manual in the middle of a night. */
function approvalOf({ digest }: Plan, { approvedPlan, requireApproval }: Intent): string[] {
  const give = `pulumi config set approvedPlan ${digest}; without Pulumi, cheesecake apply --digest ${digest}`;
  const after = "afterwards take it out (pulumi config rm approvedPlan): it counts for one plan";
  if (approvedPlan === digest) return [`approvedPlan names this very plan, and up does no other; ${after}`];
  if (approvedPlan !== undefined) return [`approvedPlan names another plan (${approvedPlan}): ${give}`];
  if (requireApproval)
    return [
      `this stack asks for it (requireApproval): up does nothing but a plan that was read and approved: ${give}`,
      after,
    ];
  return [`none is asked for; to bind up to exactly this plan: ${give}`];
}
