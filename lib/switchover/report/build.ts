import type { Facts, JournalEntry } from "../journal";
import type { Plan, PlannedStep } from "../plan";
import { volumesOfServer } from "../plan";
import { partOf } from "../planned-step";
import type { ConnectionInfo } from "../ports";
import { isHook } from "../hooks";
import { passingStatuses } from "../states";
import type { StoppedAt } from "../stop";
import { stoppedAt } from "../stop";
import { failureOf, outcomeOf } from "../steps/hook";
import type { Picture, Report, ReportedServer, ReportedStep } from "./schema";
import { reportVersion } from "./schema";
import { stepName } from "./words";

type Span = Pick<ReportedStep, "startedAt" | "endedAt">;

/** What the journal tells of each step and item, gathered in one pass. */
interface Told {
  /** First begin, last end: a resumed step is one, and so is one that is done for one priority group after another. */
  readonly steps: ReadonlyMap<string, Span>;
  /** The same of what stands in the plan for itself: a step, or a group's part of one. */
  readonly parts: ReadonlyMap<string, Part>;
  /** By step and item: first intent, last outcome. */
  readonly items: ReadonlyMap<string, ReadonlyMap<string, Span>>;
  readonly facts: (step: string) => ReadonlyMap<string, Facts>;
}

interface Part extends OpenSpan {
  readonly items: Set<string>;
  readonly already: Set<string>;
  readonly failures: string[];
}

const stopStep = "quiesce/stop-instances";
const startStep = "start/instances";
const attachSteps = ["attach/volumes", "attach/renew-roots"];
const serverSteps = [stopStep, "detach/volumes", ...attachSteps, startStep];

/** What happened, from the journal alone: no secret is in a journal, so none is here. */
export function buildReport(entries: readonly JournalEntry[]): Report {
  const begin = entries.find((entry) => entry.type === "begin");
  if (begin?.type !== "begin") throw new RangeError("a journal without a begin entry");
  const plans = entries.flatMap((e) =>
    e.type === "begin" || e.type === "abort" || e.type === "replan" ? [e.plan] : [],
  );
  const plan = plans.at(-1) ?? begin.plan;
  const end = entries.findLast((entry) => entry.type === "end");
  const last = entries.at(-1) ?? begin;
  // What ran beside the item that failed may have come to its end after it.
  const run = entries.slice(entries.findLastIndex((entry) => entry.type === "begin" || entry.type === "resume"));
  const failed = run.findLast((entry) => entry.type === "failed");
  const told = gather(entries);
  const hooks = hooksOf(told);
  const stopped = end === undefined ? stoppedAt(entries) : undefined;
  const awaited = end === undefined ? awaitedIn(entries) : undefined;
  const verdict = end?.type === "end" ? end.outcome : failed === undefined ? "open" : "failed";

  const cutover = [told.facts("cutover/failover-host"), told.facts("cutover/break-mirrors")];
  const recoveryPoints = Object.assign(
    {},
    ...cutover.flatMap((step) => [...step.values()].map((facts) => facts["recoveryPoints"] ?? {})),
  ) as Report["recoveryPoints"];
  const destination = told.facts("cutover/verify-destination").get("all");
  const serials = (destination?.["serials"] as Record<string, string> | undefined) ?? {};
  const database = told.facts("promote/update-database").get("all");
  const dump = told.facts("promote/dump-database").get("all");

  const outageStep = plan.mode === "planned" ? stopStep : "hold/disable-backend";
  const stopBegan = told.steps.get(outageStep)?.startedAt;
  const startEnded = told.steps.get(startStep)?.endedAt;
  const cutoverAt = told.steps.get("cutover/verify-destination")?.startedAt;
  const rto = stopBegan === undefined || startEnded === undefined ? undefined : secondsBetween(stopBegan, startEnded);
  const rtoForecast = forecastBetween(plan, outageStep, startStep);
  const rpo = rpoOf(plan, recoveryPoints, cutoverAt);
  const rpoForecast = rpoForecastOf(plan);

  const [before, after] = [pictureBefore(begin.plan), pictureAfter(begin.plan, plan, told)];
  const sites = Object.assign({}, ...plans.toReversed().map((one) => one.sites ?? {})) as Report["sites"];
  const made = (database?.["made"] as string[] | undefined) ?? [];
  const steps = stepsOf(plans, told);
  return {
    version: reportVersion,
    switchoverId: begin.switchoverId,
    pair: plan.pair,
    kind: plan.kind,
    from: plan.from,
    to: plan.to,
    begunAs: { kind: begin.plan.kind, from: begin.plan.from, to: begin.plan.to },
    mode: plan.mode,
    route: plan.route,
    promotion: plan.promotion,
    verdict,
    summary: summaryOf(verdict, after, { failed: failed?.type === "failed" ? failed : undefined, awaited, stopped }),
    digest: plan.digest,
    startedAt: begin.at,
    endedAt: last.at,
    durationSeconds: secondsBetween(begin.at, last.at),
    forecastSeconds: plan.steps.reduce((sum, planned) => sum + planned.forecastSeconds, 0),
    ...(rto === undefined ? {} : { rtoSeconds: rto }),
    ...(rtoForecast === undefined ? {} : { rtoForecastSeconds: rtoForecast }),
    ...(rpo === undefined ? {} : { rpoSeconds: rpo }),
    ...(rpoForecast === undefined ? {} : { rpoForecastSeconds: rpoForecast }),
    sites,
    before,
    after,
    recoveryPoints,
    lostVolumes: (destination?.["lostVolumes"] as Report["lostVolumes"] | undefined) ?? [],
    lostSnapshotIds: (destination?.["lostSnapshotIds"] as string[] | undefined) ?? [],
    steps,
    hooks,
    ...(stopped === undefined ? {} : { stopped: { at: stopped.at, by: stopped.by, step: stopped.step } }),
    approvals: entries.flatMap((e) => (e.type === "approve" ? [{ group: e.group, by: e.by, at: e.at }] : [])),
    pauses: pausesOf(entries),
    resumes: entries.filter((entry) => entry.type === "resume").length,
    servers: plan.servers.map((server) => serverReport(server, told)),
    volumes: plan.volumes.map(({ id, name, flexVol, sizeGiB, snapshotIds, lunPath, serials: planned = {} }) => {
      const found = serials[id];
      const all = { ...planned, ...(found === undefined ? {} : { [begin.plan.to]: found }) };
      const luns = Object.entries(all).map(([site, serial]) => [site, { lunPath: lunPath ?? "", serial }] as const);
      return { id, name, flexVol, sizeGiB, snapshots: snapshotIds.length, luns: Object.fromEntries(luns) };
    }),
    ...(database === undefined
      ? {}
      : {
          database: {
            before: database["before"] as Record<string, number>,
            after: database["after"] as Record<string, number>,
            ...(dump === undefined ? {} : { dump: dump as NonNullable<Report["database"]>["dump"] }),
          } as NonNullable<Report["database"]>,
        }),
    warnings: [
      ...plan.warnings,
      ...(made.length > 0 ? [`not in the plan, moved all the same: volumes ${made.join(", ")}`] : []),
      // One that ended its run stands with what failed.
      ...hooks.flatMap(({ name, endedAt, passed, said = "", durationSeconds = 0, output }) =>
        endedAt !== undefined && passed === false
          ? [failureOf(name, { said, durationSeconds, ...(output === undefined ? {} : { output }) })]
          : [],
      ),
    ],
    remaining: [
      ...remainingOf({ begun: begin.plan, plan, ended: end !== undefined, steps, awaited, stopped, failed }),
      ...halfWayOf(database),
      ...(verdict === "completed" ? leftStopped(plan, told) : []),
      ...keptOf(plan, entries),
    ],
  };
}

interface OpenSpan {
  startedAt?: string;
  endedAt?: string;
}

const newSpan = (): OpenSpan => ({});

function gather(entries: readonly JournalEntry[]): Told {
  const steps = new Map<string, OpenSpan>();
  const parts = new Map<string, Part>();
  const items = new Map<string, Map<string, OpenSpan>>();
  const facts = new Map<string, Map<string, Facts>>();
  const inMap = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
    const known = map.get(key) ?? make();
    map.set(key, known);
    return known;
  };
  // A step's groups go one after another: what follows a part's begin belongs to it.
  const underWay = new Map<string, string>();
  const partUnderWay = (step: string): Part =>
    inMap(parts, underWay.get(step) ?? step, () => ({ items: new Set(), already: new Set(), failures: [] }));
  for (const entry of entries) {
    if (entry.type === "step") {
      const { step, group, event, at } = entry;
      const whole = inMap(steps, step, newSpan);
      underWay.set(step, partOf({ id: step, ...(group === undefined ? {} : { group }) }));
      const part = partUnderWay(step);
      if (event === "begin") {
        whole.startedAt ??= at;
        part.startedAt ??= at;
      } else {
        if (group === undefined) whole.endedAt = at;
        part.endedAt = at;
      }
    } else if (entry.type === "intent" || entry.type === "done") {
      const ofStep = inMap(items, entry.step, () => new Map<string, OpenSpan>());
      const span = inMap(ofStep, entry.item, newSpan);
      if (entry.type === "intent") span.startedAt ??= entry.at;
      else {
        span.endedAt = entry.at;
        inMap(facts, entry.step, () => new Map<string, Facts>()).set(entry.item, entry.facts);
        const part = partUnderWay(entry.step);
        part.items.add(entry.item);
        if (entry.already) part.already.add(entry.item);
      }
    } else if (entry.type === "failed") partUnderWay(entry.step).failures.push(entry.error);
  }
  const none = new Map<string, Facts>();
  return { steps, parts, items, facts: (step) => facts.get(step) ?? none };
}

/** Of a plan that was given up what was begun of it, then the one that counts. */
function stepsOf(plans: readonly Plan[], told: Told): ReportedStep[] {
  const plan = plans.at(-1);
  const counts = new Set(plan?.steps.map(partOf));
  const seen = new Set<string>();
  const former = plans
    .slice(0, -1)
    .flatMap((one) => one.steps)
    .filter((planned) => {
      const part = partOf(planned);
      return !counts.has(part) && told.parts.has(part) && !seen.has(part) && seen.add(part);
    });
  return [...former, ...(plan?.steps ?? [])].map((planned) => stepReport(planned, told));
}

function stepReport(planned: PlannedStep, told: Told): ReportedStep {
  const { id, group, phase, sentence, forecastSeconds } = planned;
  const { startedAt, endedAt, items, already, failures } = told.parts.get(partOf(planned)) ?? {};
  // Begun again, it hasn't ended.
  const over = startedAt !== undefined && endedAt !== undefined;
  return {
    id,
    ...(group === undefined ? {} : { group }),
    phase,
    sentence,
    forecastSeconds,
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(endedAt === undefined ? {} : { endedAt }),
    ...(over ? { durationSeconds: secondsBetween(startedAt, endedAt) } : {}),
    items: items?.size ?? 0,
    alreadySatisfied: already?.size ?? 0,
    failures: failures ?? [],
  };
}

function serverReport(server: Plan["servers"][number], told: Told): ReportedServer {
  const { id, name, running } = server;
  const timeline = serverSteps.flatMap((step) => {
    const span = told.items.get(step)?.get(id);
    return span === undefined ? [] : [{ step, ...span }];
  });
  const stopped = told.items.get(stopStep)?.get(id);
  // One that was found stopped, as by its owner, is out of service since then at the latest.
  const stoppedAt = stopped?.startedAt ?? stopped?.endedAt;
  const startedAt = told.items.get(startStep)?.get(id)?.endedAt;
  const connections = Object.assign(
    {},
    ...attachSteps.map((step) => told.facts(step).get(id)?.["connections"] ?? {}),
  ) as Record<string, ConnectionInfo>;
  return {
    id,
    name,
    running,
    ...(running && stoppedAt !== undefined && startedAt !== undefined
      ? { downSeconds: secondsBetween(stoppedAt, startedAt) }
      : {}),
    timeline,
    attachments: volumesOfServer(server).map(({ volumeId, volumeName, device, connectionBefore }) => {
      const after = connections[volumeId];
      return {
        volumeId,
        volumeName,
        device,
        ...(connectionBefore === undefined ? {} : { before: connectionBefore }),
        ...(after === undefined ? {} : { after }),
      };
    }),
  };
}

/** Each that was begun; of one that ended its run its last failure. */
function hooksOf(told: Told): Report["hooks"] {
  return [...told.items].flatMap(([step, items]) =>
    isHook({ id: step })
      ? [...items].map(([name, span]) => {
          const facts = told.facts(step).get(name);
          const said = told.parts.get(step)?.failures.at(-1);
          if (facts !== undefined) return { step, name, ...span, ...outcomeOf(facts) };
          return { step, name, ...span, ...(said === undefined ? {} : { passed: false, said }) };
        })
      : [],
  );
}

/** Between the last word of a run and the next one's first; an approval is neither's. */
function pausesOf(entries: readonly JournalEntry[]): Report["pauses"] {
  const ofRuns = entries.filter(({ type }) => type !== "approve");
  return ofRuns.flatMap((entry, index) => {
    const former = ofRuns[index - 1];
    return entry.type === "resume" && former !== undefined ? [{ from: former.at, to: entry.at }] : [];
  });
}

function forecastBetween({ steps }: Plan, first: string, last: string): number | undefined {
  const [from, to] = [steps.findIndex(({ id }) => id === first), steps.findLastIndex(({ id }) => id === last)];
  if (from < 0 || to < from) return undefined;
  return steps.slice(from, to + 1).reduce((sum, { forecastSeconds }) => sum + forecastSeconds, 0);
}

function rpoOf(
  plan: Plan,
  recoveryPoints: Report["recoveryPoints"],
  cutoverAt: string | undefined,
): number | undefined {
  if (plan.kind !== "switchover" || cutoverAt === undefined) return undefined;
  if (plan.mode === "planned") return 0;
  const points = plan.mirrors.map(({ flexVol }) => recoveryPoints[flexVol]);
  if (points.length === 0 || points.includes(undefined)) return undefined;
  const oldest = Object.values(recoveryPoints).reduce(
    (least, point) => Math.min(least, Date.parse(point.at)),
    Infinity,
  );
  return Math.max(0, Math.round((Date.parse(cutoverAt) - oldest) / 1000));
}

function rpoForecastOf({ kind, mode, mirrors }: Plan): number | undefined {
  if (kind !== "switchover") return undefined;
  if (mode === "planned") return 0;
  const lags = mirrors.flatMap(({ lagSeconds }) => lagSeconds ?? []);
  return lags.length === 0 || lags.length < mirrors.length ? undefined : lags.reduce((a, b) => Math.max(a, b));
}

// ------------------------------------------------------------------------------------------------------------ pictures

const attachmentsOf = (plan: Plan): number => plan.servers.reduce((sum, one) => sum + volumesOfServer(one).length, 0);

/** The plan's word, from its one look. */
function pictureBefore(plan: Plan): Picture {
  const { kind, from, to, mirrors } = plan;
  const servedBy = kind === "activation" ? undefined : kind === "switchover" ? from : to;
  return {
    ...(servedBy === undefined ? {} : { servedBy }),
    mirrors: mirrorsBefore(plan),
    attachments: servedBy === undefined ? {} : { [servedBy]: attachmentsOf(plan) },
    detached: 0,
    instancesStopped: 0,
    cinderStopped: false,
    ...(looksAtMirrors(plan)
      ? { protected: kind === "switchover" && mirrors.length > 0 && mirrors.every((m) => m.state === "snapmirrored") }
      : {}),
  };
}

function mirrorsBefore({ from, to, mirrors }: Plan): Picture["mirrors"] {
  return mirrors.map(({ flexVol, state, lagSeconds }) => ({
    flexVol,
    source: from,
    destination: to,
    state,
    ...(lagSeconds === undefined ? {} : { lagSeconds }),
  }));
}

function pictureAfter(first: Plan, plan: Plan, told: Told): Picture {
  const { from, to } = first;
  const ended = (step: string): boolean => told.steps.get(step)?.endedAt !== undefined;
  const isUnder = (begun: string, until: string): boolean => told.steps.has(begun) && !ended(until);
  const touched = ["cutover/failover-host", "cutover/break-mirrors"].filter((step) => told.items.has(step));
  const isCut = touched.some(ended);
  const servedBy =
    first.kind === "activation"
      ? ended("activate/restart-volume-service")
        ? to
        : undefined
      : first.kind !== "switchover" || isCut
        ? to
        : touched.length > 0
          ? undefined
          : from;
  const reversed = told.facts("promote/reverse-mirrors");
  const healthy = told.facts("reprotect/wait-healthy");
  const flexVols = [...new Set([...first.mirrors.map((m) => m.flexVol), ...reversed.keys(), ...healthy.keys()])];
  const forward = new Map(mirrorsBefore(first).map((mirror) => [mirror.flexVol, mirror]));
  const mirrors = flexVols.flatMap((flexVol): Picture["mirrors"][number][] => {
    const back = { flexVol, source: to, destination: from };
    const proved = healthy.get(flexVol);
    if (proved !== undefined) return [{ ...back, state: "snapmirrored", lagSeconds: Number(proved["lagSeconds"]) }];
    const turned = reversed.get(flexVol);
    if (turned !== undefined) return [{ ...back, state: stringOf(turned["state"]) ?? "snapmirrored" }];
    const former = forward.get(flexVol);
    if (former === undefined) return [];
    if (touched.length === 0) return [former];
    const { lagSeconds: _, ...cut } = former;
    return [{ ...cut, state: isCut ? "broken_off" : "unknown" }];
  });
  const { servedBy: before, protected: wasProtected = false } = pictureBefore(first);
  const isBack = plan.kind === "abort" && first.kind === "switchover" && !isCut;
  const counts = { there: 0, detached: 0, left: 0, stopped: 0 };
  for (const server of plan.servers) {
    const attached = Object.keys(
      Object.assign({}, ...attachSteps.map((step) => told.facts(step).get(server.id)?.["connections"] ?? {})) as object,
    ).length;
    // A root stays attached, to the site that is left, until its connection is renewed.
    const gone = told.items.get("detach/volumes")?.has(server.id) === true ? server.attachments.length : 0;
    const all = volumesOfServer(server).length;
    counts.there += attached;
    counts.detached += Math.min(gone, all - attached);
    counts.left += all - attached - Math.min(gone, all - attached);
    if (isStopped(server, told)) counts.stopped += 1;
  }
  const attachments: Record<string, number> = {};
  if (before !== undefined && counts.left > 0) attachments[before] = counts.left;
  if (counts.there > 0) attachments[plan.to] = (attachments[plan.to] ?? 0) + counts.there;
  return {
    ...(servedBy === undefined ? {} : { servedBy }),
    mirrors,
    attachments,
    detached: counts.detached,
    instancesStopped: counts.stopped,
    cinderStopped: isUnder("promote/stop-services", "promote/start-services"),
    ...(looksAtMirrors(first) ? { protected: ended("reprotect/wait-healthy") || (isBack && wasProtected) } : {}),
  };
}

const looksAtMirrors = ({ kind }: Plan): boolean => kind !== "activation" && kind !== "reload";

/** By us, and not started again. */
function isStopped({ id, running }: Plan["servers"][number], told: Told): boolean {
  const ended = (step: string): boolean => told.items.get(step)?.get(id)?.endedAt !== undefined;
  return running && ended(stopStep) && !ended(startStep);
}

const stringOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

// ------------------------------------------------------------------------------------------------------------- wording

function summaryOf(
  verdict: Report["verdict"],
  after: Picture,
  at: {
    readonly failed: Extract<JournalEntry, { readonly type: "failed" }> | undefined;
    readonly awaited: string | undefined;
    readonly stopped: StoppedAt | undefined;
  },
): string {
  const { servedBy } = after;
  const where =
    servedBy === undefined ? "which site serves production isn't settled" : `production is at "${servedBy}"`;
  const some = (n: number, what: string, how: string): string[] =>
    n > 0 ? [`${n} of its ${what} ${n === 1 ? "is" : "are"} ${how}`] : [];
  const stands = [
    where,
    ...some(after.instancesStopped, "instances", "stopped"),
    ...some(after.detached, "volumes", "detached"),
    ...(after.cinderStopped ? ["Cinder's services may be stopped"] : []),
  ].join(", ");
  switch (verdict) {
    case "completed":
      return `Completed: ${stands}${after.protected === undefined ? "" : after.protected ? ", protected" : ", not protected"}.`;
    case "aborted":
      return `Aborted: ${stands}.`;
    case "open":
      if (at.awaited !== undefined) return `Waits for the approval of group "${at.awaited}": ${stands}.`;
      if (at.stopped !== undefined)
        return `Stopped on request (${at.stopped.by}) at ${at.stopped.step}, and not finished: ${stands}.`;
      return `Not finished: ${stands}.`;
    case "failed":
      return `Failed at ${at.failed?.step ?? "a step"}, and not finished: ${stands}.`;
  }
}

interface Standing {
  readonly begun: Plan;
  readonly plan: Plan;
  readonly ended: boolean;
  readonly steps: readonly ReportedStep[];
  /** The priority group whose approval it waits for. */
  readonly awaited: string | undefined;
  readonly stopped: StoppedAt | undefined;
  readonly failed: unknown;
}

function remainingOf(o: Standing): string[] {
  const { plan, ended } = o;
  if (ended && plan.kind === "abort" && plan.diverged !== undefined)
    return [`"${plan.to}" isn't protected: set reprotect and run up when "${plan.from}" is back.`];
  if (!ended) return howToGoOn(o);
  if (plan.kind === "switchover" && plan.promotion === "deferred" && plan.route === "failover-host")
    return [`"${plan.to}" is failed over to, not promoted, unprotected: set promotion to "immediate" and run up.`];
  const without =
    plan.steps.some(({ id }) => id === "promote/update-database") &&
    !plan.steps.some(({ id }) => id === "promote/reverse-mirrors");
  if (plan.mode === "planned" && without)
    return [
      `"${plan.to}" isn't protected: when "${plan.from}" is back, take "unplanned" out, set reprotect and run up.`,
    ];
  if (plan.mode === "unplanned" && (plan.kind === "switchover" || plan.kind === "promotion"))
    return [
      `"${plan.from}" isn't protected yet and holds the only copy of what was lost: when it's back, set reprotect and run up.`,
      `Remove "unplanned" from the configuration.`,
    ];
  return [];
}

/** A run that waits for an approval has begun its step and nothing after it. */
function awaitedIn(entries: readonly JournalEntry[]): string | undefined {
  const last = entries.at(-1);
  return last?.type === "step" && last.step === "start/await-approval" && last.event === "begin"
    ? last.group
    : undefined;
}

/** Instances that lack a volume, or whose volumes can't be detached. */
function leftStopped(plan: Plan, told: Told): string[] {
  return plan.servers
    .filter((server) => isStopped(server, told))
    .map(({ name, id }) => `Instance "${name}" (${id}) is left stopped: see what it lacks, then start it.`);
}

/** Volumes that an operation was under way on when the site was lost. */
function halfWayOf(database: Facts | undefined): string[] {
  const inFlight = (database?.["inFlight"] as { readonly id: string; readonly status: string }[] | undefined) ?? [];
  return inFlight.map(({ id, status }) => {
    const [state = "", migration] = status.split(", migration ");
    const resets = [
      ...(migration === undefined ? [] : [`its migration (cinder reset-state --reset-migration-status ${id})`]),
      ...(migration === undefined || passingStatuses.has(state) ? ["its state (openstack volume set --state)"] : []),
    ];
    return `Volume ${id} is ${status}: reset ${resets.join(" and ")}.`;
  });
}

/** What a reprotect left at the other site, by the journal. */
function keptOf(plan: Plan, entries: readonly JournalEntry[]): string[] {
  const deleted = entries.some(
    (e) => e.type === "step" && e.event === "end" && e.step === "reprotect/delete-set-aside",
  );
  const names = entries.flatMap((entry) => {
    if (entry.type !== "done") return [];
    if (entry.step === "reprotect/keep-diverged") return [entry.facts["clone"]];
    if (entry.step === "reprotect/begin-baselines" && !deleted) return [entry.facts["setAside"]];
    return [];
  });
  const kept = [...new Set(names.filter((name) => typeof name === "string"))].sort().join(", ");
  return kept === "" ? [] : [`"${plan.from}" keeps what diverged in ${kept}; delete it when it's no longer needed.`];
}

function howToGoOn({ begun, plan, steps, awaited, stopped, failed }: Standing): string[] {
  const next = steps.findIndex(({ endedAt }) => endedAt === undefined);
  const at = steps[next];
  const reached = at === undefined ? "" : `, with step ${next + 1} of ${steps.length}, ${stepName(at)}`;
  // An item of a step that was entered may be under way.
  const isForward = steps.some(({ id, startedAt }) => startedAt !== undefined && /^(cutover|promote)\//.test(id));
  const back =
    plan.kind !== "switchover" || isForward
      ? []
      : [
          `Or back: set activeSite to "${begun.from}" and run \`pulumi up\`; what was detached is attached there again, and what was stopped started.`,
        ];
  return [
    ...(awaited === undefined
      ? []
      : [`See that group "${awaited}" works, then approve it: \`cheesecake approve ${awaited}\`.`]),
    // A journal alone doesn't tell whether somebody is at it.
    ...(awaited === undefined && stopped === undefined && failed === undefined
      ? ["If its run is still under way, let it end, or stop it at the next safe point: `cheesecake stop`."]
      : []),
    `The switchover is open: run again, it goes on where it stopped${reached}: \`pulumi up\` with activeSite "${plan.to}", or \`cheesecake resume\`.`,
    ...back,
  ];
}

function secondsBetween(from: string, to: string): number {
  return Math.max(0, Math.round((Date.parse(to) - Date.parse(from)) / 100) / 10);
}
