import { createHash } from "node:crypto";
import type { ConnectionInfo } from "./ports";
import type { PlannedGroup } from "./groups";
import { groupsOf } from "./groups";
import { hookKey, hooksOnward, withHooks } from "./hooks";
import type { HookSpec, Intent, Mode, Phase, Promotion, Route } from "./intent";
import type { Observation } from "./observation";
import { arrayOf, lunPathOf, mirrorOf, poolOf, rootOf, strandedIn, volumesOf } from "./observation";
import type { PlanKind, PlannedStep } from "./planned-step";
import { partOf } from "./planned-step";
import { sizeOf } from "./size";
import { isOffloaded, reasonToLeave, runs } from "./states";
import { backendHost, peerOf, siteNames, siteOf } from "../topology/site-pair";

/** A plan is data: printable, comparable, and complete. The executor decides nothing that isn't written here. */

export interface PlannedAttachment {
  readonly volumeId: string;
  readonly volumeName: string;
  readonly sizeGiB: number;
  readonly device: string;
  readonly tag?: string;
  readonly deleteOnTermination: boolean;
  readonly attachmentId?: string;
  readonly connectionBefore?: ConnectionInfo;
}

export interface PlannedServer {
  readonly id: string;
  readonly name: string;
  readonly host?: string;
  /** It ran when the plan was made, so it is started again. */
  readonly running: boolean;
  readonly lockedBefore: boolean;
  /** Its volumes can't be detached: it's stopped and locked, and stays so. */
  readonly stranded?: true;
  /** Its root, where it boots from a volume of the pair: that stays attached, and its connection is renewed. */
  readonly root?: PlannedAttachment;
  /** Without the root; in device order, which is the order of attaching. */
  readonly attachments: readonly PlannedAttachment[];
}

/** All of an instance's volumes of the pair, in device order. */
export function volumesOfServer(server: PlannedServer): readonly PlannedAttachment[] {
  return server.root === undefined ? server.attachments : [server.root, ...server.attachments];
}

export interface PlannedVolume {
  readonly id: string;
  readonly name: string;
  readonly flexVol: string;
  readonly sizeGiB: number;
  readonly snapshotIds: readonly string[];
  /** The same at both sites, as its FlexVol is mirrored. */
  readonly lunPath?: string;
  /** By site that holds its LUN. */
  readonly serials?: Readonly<Record<string, string>>;
}

/** As it's configured, and what its SVM offers to initiators; without that where it doesn't answer. */
export interface PlannedSite {
  readonly backend: string;
  readonly svm: string;
  readonly iqn?: string;
  readonly portals?: readonly string[];
}

export interface PlannedMirror {
  readonly flexVol: string;
  readonly uuid: string;
  readonly state: string;
  readonly lagSeconds?: number;
  readonly newestSnapshot?: string;
}

/** A FlexVol of the lost site that is replicated to from nothing, as no snapshot is common. */
export interface PlannedBaseline {
  readonly flexVol: string;
  /** In which it's created anew. */
  readonly sizeBytes: number;
  /** What the baseline carries at most. */
  readonly baselineBytes: number;
  /** The lost site has one of this name, which gets another one first. */
  readonly setAside: boolean;
}

export type { PlanKind, PlannedStep };

export interface Plan {
  readonly version: 1;
  readonly kind: PlanKind;
  readonly pair: string;
  /** The site that is left; for activation, reload and reprotect the peer of `to`. */
  readonly from: string;
  readonly to: string;
  readonly mode: Mode;
  readonly route: Route;
  readonly promotion: Promotion;
  readonly diverged?: "discardDiverged" | "keepDiverged";
  /** Of a reprotect: FlexVols of the lost site that were written to, and are resynced. */
  readonly resyncs?: readonly string[];
  readonly baselines?: readonly PlannedBaseline[];
  readonly startIncomplete: boolean;
  /** By name; nothing is decided upon it, the report tells it. */
  readonly sites?: Readonly<Record<string, PlannedSite>>;
  readonly servers: readonly PlannedServer[];
  /** Left as they are, and locked by us meanwhile: unshelved, they'd connect their volumes to the site that is left. */
  readonly shelved?: readonly Pick<PlannedServer, "id" | "name">[];
  /** In the order of their start; absent where none is declared. */
  readonly groups?: readonly PlannedGroup[];
  readonly volumes: readonly PlannedVolume[];
  readonly mirrors: readonly PlannedMirror[];
  readonly hooks: readonly HookSpec[];
  readonly steps: readonly PlannedStep[];
  readonly warnings: readonly string[];
  readonly digest: string;
}

/**
 * What the digest covers: direction, mode, route, relationships, instances, volumes and their device order. Not times,
 * lags or bytes: they change while nobody has changed anything.
 */
export function digestOf(plan: Omit<Plan, "digest">): string {
  const bound = {
    version: plan.version,
    kind: plan.kind,
    pair: plan.pair,
    from: plan.from,
    to: plan.to,
    mode: plan.mode,
    route: plan.route,
    promotion: plan.promotion,
    startIncomplete: plan.startIncomplete,
    mirrors: plan.mirrors.map((mirror) => mirror.flexVol).sort(),
    diverged: plan.diverged,
    baselines: plan.baselines?.map(({ flexVol, setAside }) => `${flexVol} ${setAside}`).sort(),
    servers: [...plan.servers]
      .sort((a, b) => a.id.localeCompare(b.id))
      .map((server) => [
        server.id,
        volumesOfServer(server).map((a) => [a.volumeId, a.device]),
        ...(server.stranded === true ? ["stranded"] : []),
      ]),
    volumes: plan.volumes.map((volume) => volume.id).sort(),
    groups: plan.groups?.map((group) => [
      group.name,
      [...group.serverIds].sort(),
      group.pauseAfterSeconds,
      group.approveAfter,
    ]),
    steps: plan.steps.map(partOf),
    hooks: plan.hooks.map(hookKey),
  };
  return createHash("sha256").update(JSON.stringify(bound)).digest("hex").slice(0, 32);
}

/** Nova names disks vda … vdz, vdaa: shorter names come first. */
export function compareDevices(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** Seconds each piece of work takes, for the forecast that the preview shows; measured values replace it in the report. */
export const forecast = {
  stopInstance: 8,
  detachVolume: 3,
  attachVolume: 4,
  renewRoot: 6,
  startInstance: 8,
  transfer: 15,
  failoverPerFlexVol: 8,
  stopServices: 10,
  startServices: 30,
  dump: 10,
  rootLanes: 4,
} as const;

export const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

/** The whole journey from a switchover's observation: pure. `route` and preflight were settled before. */
export function planSwitchover(o: {
  readonly intent: Intent;
  readonly observation: Observation;
  readonly from: string;
  readonly route: Route;
  readonly warnings: readonly string[];
  /** Of a journey that goes on: what was read before its first change counts, as what was stopped or detached since did run. */
  readonly begun?: Plan;
  readonly mode?: Mode;
}): Plan {
  const { intent, observation, from, route, begun } = o;
  const to = peerOf(observation.pair, from);
  const mode: Mode = o.mode ?? (intent.unplanned === undefined ? "planned" : "unplanned");
  const all = { ...inventoryOf(observation, from, to), ...(begun === undefined ? {} : begunInventory(begun)) };
  const left = new Set(
    observation.servers.flatMap((each) => (reasonToLeave(each, mode) === undefined ? [] : [each.id])),
  );
  // Past the cutover the plan that was begun knows them: what is detached or attached then may look like one.
  const strands = mode === "unplanned" && o.mode === undefined ? strandedIn(observation) : new Map<string, never>();
  const servers = all.servers
    .filter((server) => !left.has(server.id))
    .map((server): PlannedServer => (strands.has(server.id) ? { ...server, stranded: true } : server));
  const inventory = { ...all, servers };
  const leftUnderway = (begun?.servers ?? [])
    .filter(({ id }) => left.has(id) || strands.has(id))
    .flatMap((server) =>
      remainderOf(server, left.has(server.id) ? "it's evacuated or unshelved" : "what it has is detached"),
    );
  const shelved = [
    ...(begun?.shelved ?? []),
    ...observation.servers
      .filter((server) => isOffloaded(server) && !server.locked)
      .map(({ id, name }) => ({ id, name })),
  ].filter(({ id }, index, every) => every.findIndex((each) => each.id === id) === index);
  const groups = begun === undefined ? groupsOf(observation, servers) : begun.groups;
  const steps = sentencesFor({
    ...inventory,
    ...(groups === undefined ? {} : { groups }),
    shelved,
    observation,
    mode,
    route,
    from,
    to,
    promotion: intent.promotion,
  });
  return sealed({
    version: 1,
    kind: "switchover",
    pair: observation.pair.name,
    from,
    to,
    mode,
    route,
    promotion: intent.promotion,
    startIncomplete: intent.startIncomplete,
    ...inventory,
    ...(groups === undefined ? {} : { groups }),
    ...(shelved.length > 0 ? { shelved } : {}),
    hooks: begun === undefined ? intent.hooks : hooksOnward(begun.hooks, intent.hooks),
    steps,
    warnings: [...o.warnings, ...leftUnderway],
  });
}

/** What was done to it before it was left, no step takes back: its volumes may be detached, and only the plan knows where they were. */
function remainderOf({ id, name, attachments, lockedBefore }: PlannedServer, once: string): readonly string[] {
  const wanted = attachments.map((a) => `"${a.volumeName}" (${a.volumeId}) at ${a.device}`).join(", ");
  const todo = [
    ...(wanted === "" ? [] : [`attach in this order what it lacks of ${wanted}`]),
    ...(lockedBefore ? [] : ["unlock it (openstack server unlock)"]),
  ];
  if (todo.length === 0) return [];
  return [`instance "${name}" (${id}) is left underway: once ${once}, ${todo.join(", then ")}`];
}

const begunInventory = ({ servers, volumes }: Plan): Pick<Inventory, "servers" | "volumes"> => ({ servers, volumes });

const untilFinalSync = ["pre-sync/update-mirrors", "detach/unmap-source", "final-sync/update-mirrors"];

/**
 * The source was lost after its data had arrived: the rest without what needs it, of its protection those steps that
 * weren't done. They are asked for later.
 */
export function planWithoutSource(plan: Plan, mode: Mode, unprotected: readonly string[]): Plan {
  const without = new Set([...untilFinalSync, ...unprotected]);
  return sealed({ ...plan, mode, steps: plan.steps.filter(({ id }) => !without.has(id)) });
}

/** The same with the hooks as they are declared by now. */
export function planWithHooks(plan: Plan, hooks: readonly HookSpec[]): Plan {
  return sealed({ ...plan, hooks: hooksOnward(plan.hooks, hooks) });
}

/** The control plane's part alone, after a switchover whose promotion was deferred. */
export function planPromotion(o: {
  readonly intent: Intent;
  readonly observation: Observation;
  readonly to: string;
  readonly mode: Mode;
  readonly warnings: readonly string[];
}): Plan {
  const from = peerOf(o.observation.pair, o.to);
  const inventory = inventoryOf(o.observation, from, o.to);
  const words = { ...inventory, observation: o.observation, mode: o.mode, from, to: o.to };
  return sealed({
    version: 1,
    kind: "promotion",
    pair: o.observation.pair.name,
    from,
    to: o.to,
    mode: o.mode,
    route: "failover-host",
    promotion: "immediate",
    startIncomplete: false,
    ...inventory,
    hooks: o.intent.hooks,
    steps: [...promoteSteps(words), ...(o.mode === "planned" ? reprotectWait(words) : [])],
    warnings: o.warnings,
  });
}

/** Replication from the new site back to the lost one, after its return and only when asked for. */
export function planReprotect(o: {
  readonly intent: Intent;
  readonly observation: Observation;
  readonly activeSite: string;
  readonly resyncs: readonly string[];
  readonly baselines: readonly PlannedBaseline[];
  readonly warnings: readonly string[];
}): Plan {
  const to = o.activeSite;
  const from = peerOf(o.observation.pair, to);
  const inventory = inventoryOf(o.observation, from, to);
  const diverged = o.intent.reprotect ?? "keepDiverged";
  const words = { ...inventory, observation: o.observation, from, to };
  const { resyncs, baselines } = o;
  const setAside = baselines.filter((baseline) => baseline.setAside);
  const waiting = o.observation.pair.flexVols.length - resyncs.length - baselines.length;
  const replicate = [
    ...(resyncs.length > 0
      ? [`${count(resyncs.length, "FlexVol")} by resync: what diverged on "${from}" is discarded`]
      : []),
    ...(baselines.length > 0 ? [`${count(baselines.length, "FlexVol")} by the new baseline`] : []),
    ...(waiting > 0 ? [`${count(waiting, "FlexVol")} replicated already`] : []),
  ];
  return sealed({
    version: 1,
    kind: "reprotect",
    pair: o.observation.pair.name,
    from,
    to,
    mode: "planned",
    route: "failover-host",
    promotion: "immediate",
    diverged,
    resyncs,
    ...(baselines.length > 0 ? { baselines } : {}),
    startIncomplete: false,
    ...inventory,
    hooks: o.intent.hooks,
    steps: [
      step(
        "reprotect/fence-source",
        `Remove every LUN map that "${from}" still holds, so that nobody can write there`,
        5,
      ),
      ...(diverged === "keepDiverged" && resyncs.length > 0
        ? [
            step(
              "reprotect/keep-diverged",
              `Keep what "${from}" holds beyond the last transfer as clones of ${count(resyncs.length, "FlexVol")}`,
              10,
            ),
          ]
        : []),
      ...(baselines.length > 0
        ? [
            step(
              "reprotect/begin-baselines",
              `Begin a new baseline of up to ${sizeOf(baselines.reduce((sum, { baselineBytes }) => sum + baselineBytes, 0))} onto ${count(baselines.length, "empty FlexVol")} of "${from}" (${baselines.map(({ flexVol }) => flexVol).join(", ")})${setAside.length > 0 ? `; those that are there are renamed, and stay whole` : ""}`,
              10,
            ),
          ]
        : []),
      step(
        "promote/stop-services",
        `Stop and mask Cinder's services on every controller, API first`,
        forecast.stopServices,
      ),
      step("promote/edit-configuration", `Put replication_device back into cinder.conf on every controller`, 2),
      step(
        "promote/reverse-mirrors",
        `Replicate from "${to}" to "${from}": ${replicate.join("; ")}`,
        forecast.transfer,
      ),
      step("promote/drain-queues", `Drain messages that wait for backends without a consumer`, 2),
      step(
        "promote/start-services",
        `Start Cinder's services and prove that "${to}" is initialised`,
        forecast.startServices,
      ),
      ...reprotectWait(words),
      ...(diverged === "discardDiverged" && setAside.length > 0
        ? [
            step(
              "reprotect/delete-set-aside",
              `Delete what was renamed at "${from}" (once ${setAside.map(({ flexVol }) => flexVol).join(", ")})`,
              5,
            ),
          ]
        : []),
    ],
    warnings: o.warnings,
  });
}

/** A reprotect that is given up while Cinder's services are stopped for it: they start again, without replication. */
export function planWithoutReprotect(plan: Plan, hooks: readonly HookSpec[]): Plan {
  return sealed({
    ...plan,
    kind: "abort",
    mode: "unplanned",
    servers: [],
    hooks,
    steps: [
      step(
        "promote/stop-services",
        `See that Cinder's services are stopped and masked on every controller`,
        forecast.stopServices,
      ),
      step("promote/edit-configuration", `Take replication_device out of cinder.conf on every controller`, 2),
      step("promote/drain-queues", `Drain messages that wait for backends without a consumer`, 2),
      step(
        "promote/start-services",
        `Start Cinder's services and prove that "${plan.to}" is initialised`,
        forecast.startServices,
      ),
    ],
    warnings: [],
  });
}

/** First activation: nothing is enabled, no volumes anywhere. */
export function planActivation(o: {
  readonly intent: Intent;
  readonly observation: Observation;
  readonly site: string;
}): Plan {
  const from = peerOf(o.observation.pair, o.site);
  return sealed({
    ...emptyPlan(o.observation, from, o.site),
    kind: "activation",
    hooks: o.intent.hooks,
    steps: [
      step(
        "promote/edit-configuration",
        `Enable backend "${siteOf(o.observation.pair, o.site).backend}" in cinder.conf on ${count(o.observation.controllers.length, "controller")}, replicating to "${from}"`,
        2,
      ),
      step(
        "activate/restart-volume-service",
        `Restart cinder-volume and prove that "${o.site}" is initialised`,
        forecast.startServices,
      ),
    ],
  });
}

/** The active stanza's options changed: cinder-volume reads them at its start only. */
export function planReload(o: {
  readonly intent: Intent;
  readonly observation: Observation;
  readonly site: string;
}): Plan {
  const from = peerOf(o.observation.pair, o.site);
  return sealed({
    ...emptyPlan(o.observation, from, o.site),
    kind: "reload",
    hooks: o.intent.hooks,
    steps: [
      step(
        "activate/restart-volume-service",
        `Restart cinder-volume, as the options of "${o.site}" changed, and prove that it is initialised`,
        forecast.startServices,
      ),
    ],
  });
}

/** The way back before cutover, made from the plan that is abandoned. It asks for no approval: it has to end by itself. */
export function planAbort(plan: Plan, hooks: readonly HookSpec[]): Plan {
  const servers = plan.servers.map((server): PlannedServer => {
    const { stranded, root: _kept, ...others } = server;
    return stranded === true ? { ...others, attachments: [] } : server;
  });
  const volumes = servers.reduce((sum, server) => sum + server.attachments.length, 0);
  const groups = plan.groups?.map(({ approveAfter: _, ...group }): PlannedGroup => group);
  return sealed({
    ...plan,
    kind: "abort",
    from: plan.to,
    to: plan.from,
    mode: "planned",
    servers,
    ...(groups === undefined ? {} : { groups }),
    hooks,
    steps: [
      step("attach/volumes", `Attach ${count(volumes, "volume")} at "${plan.from}" again, in device order`, 10),
      ...renewRoots(servers, plan.from),
      ...startSteps({ servers, lanes: Math.max(1, servers.length), ...(groups === undefined ? {} : { groups }) }),
      step("start/unlock-instances", `Unlock the instances that weren't locked before`, 2),
      step("start/enable-backend", `Enable "${plan.from}" for new volumes again`, 2),
    ],
    warnings: [],
  });
}

export function forecastSeconds(plan: Plan): number {
  return plan.steps.reduce((sum, planned) => sum + planned.forecastSeconds, 0);
}

// ------------------------------------------------------------------------------------------------------------- inside

interface Inventory {
  readonly sites: Readonly<Record<string, PlannedSite>>;
  readonly servers: readonly PlannedServer[];
  readonly volumes: readonly PlannedVolume[];
  readonly mirrors: readonly PlannedMirror[];
}

function emptyPlan(
  observation: Observation,
  from: string,
  to: string,
): Omit<Plan, "digest" | "kind" | "steps" | "hooks"> {
  return {
    version: 1,
    pair: observation.pair.name,
    from,
    to,
    mode: "planned",
    route: "failover-host",
    promotion: "immediate",
    startIncomplete: false,
    sites: sitesOf(observation),
    servers: [],
    volumes: [],
    mirrors: [],
    warnings: [],
  };
}

/** With its hooks in their places, and its digest. */
function sealed(plan: Omit<Plan, "digest">): Plan {
  const { digest: _stale, ...unsealed } = plan as Plan;
  const whole = { ...unsealed, steps: withHooks(plan.kind, plan.steps, plan.hooks) };
  return { ...whole, digest: digestOf(whole) };
}

function step(id: string, sentence: string, seconds: number, group?: string): PlannedStep {
  return {
    id,
    ...(group === undefined ? {} : { group }),
    phase: id.split("/")[0] as Phase,
    sentence,
    forecastSeconds: Math.ceil(seconds),
  };
}

function sitesOf(observation: Observation): Inventory["sites"] {
  return Object.fromEntries(
    siteNames(observation.pair).map((name) => {
      const { backend, svm } = siteOf(observation.pair, name);
      const target = arrayOf(observation, name)?.iscsi;
      return [name, { backend, svm, ...(target === undefined ? {} : { iqn: target.iqn, portals: target.portals }) }];
    }),
  );
}

/** Serials of LUNs, by path and site. */
function serialsOf(observation: Observation): (lunPath: string) => Pick<PlannedVolume, "lunPath" | "serials"> {
  const bySite = siteNames(observation.pair).map(
    (site) => [site, new Map(arrayOf(observation, site)?.luns.map(({ path, serial }) => [path, serial]))] as const,
  );
  return (lunPath) => {
    const held = bySite.flatMap(([site, serials]) => {
      const serial = serials.get(lunPath);
      return serial === undefined ? [] : [[site, serial] as const];
    });
    return { lunPath, serials: Object.fromEntries(held) };
  };
}

/** Instances, volumes and mirrors, from the observation alone. */
function inventoryOf(observation: Observation, from: string, to: string): Inventory {
  const volumes = volumesOf(observation);
  const byId = new Map(volumes.map((volume) => [volume.id, volume]));
  const connections = new Map(observation.attachments.map((attachment) => [attachment.id, attachment.connection]));
  const servers = observation.servers.map((server): PlannedServer => {
    const rootVolume = rootOf(observation, server)?.volumeId;
    const all = (observation.serverAttachments[server.id] ?? [])
      .filter((attachment) => byId.has(attachment.volumeId) && attachment.device !== undefined)
      .map((attachment): PlannedAttachment => {
        const volume = byId.get(attachment.volumeId);
        const before = attachment.attachmentId === undefined ? undefined : connections.get(attachment.attachmentId);
        return {
          volumeId: attachment.volumeId,
          volumeName: volume?.name ?? "",
          sizeGiB: volume?.sizeGiB ?? 0,
          device: attachment.device ?? "",
          ...(attachment.tag === undefined ? {} : { tag: attachment.tag }),
          deleteOnTermination: attachment.deleteOnTermination,
          ...(attachment.attachmentId === undefined ? {} : { attachmentId: attachment.attachmentId }),
          ...(before === undefined ? {} : { connectionBefore: before }),
        };
      })
      .sort((a, b) => compareDevices(a.device, b.device));
    const root = all.find((attachment) => attachment.volumeId === rootVolume);
    return {
      id: server.id,
      name: server.name,
      ...(server.host === undefined ? {} : { host: server.host }),
      running: runs(server),
      lockedBefore: server.locked,
      ...(root === undefined ? {} : { root }),
      attachments: all.filter((attachment) => attachment !== root),
    };
  });
  const snapshots = new Map<string, string[]>();
  for (const { volumeId, id } of observation.snapshots) {
    const known = snapshots.get(volumeId);
    if (known === undefined) snapshots.set(volumeId, [id]);
    else known.push(id);
  }
  const mirrors = observation.pair.flexVols.flatMap((flexVol): PlannedMirror[] => {
    const mirror = mirrorOf(observation, from, to, flexVol);
    if (mirror === undefined) return [];
    return [
      {
        flexVol,
        uuid: mirror.uuid,
        state: mirror.state,
        ...(mirror.lagSeconds === undefined ? {} : { lagSeconds: mirror.lagSeconds }),
        ...(mirror.exportedSnapshot === undefined ? {} : { newestSnapshot: mirror.exportedSnapshot }),
      },
    ];
  });
  const serials = serialsOf(observation);
  return {
    sites: sitesOf(observation),
    servers: servers
      .filter((server) => volumesOfServer(server).length > 0)
      .sort((a, b) => a.name.localeCompare(b.name)),
    volumes: volumes
      .map((volume) => ({
        id: volume.id,
        name: volume.name,
        flexVol: poolOf(volume.host),
        sizeGiB: volume.sizeGiB,
        snapshotIds: snapshots.get(volume.id) ?? [],
        ...serials(lunPathOf(volume)),
      }))
      .sort((a, b) => a.id.localeCompare(b.id)),
    mirrors,
  };
}

interface Moving {
  readonly servers: readonly PlannedServer[];
  readonly groups?: readonly PlannedGroup[];
  readonly lanes: number;
}

/** How many of a group's, or of all, run. */
function runningIn(servers: readonly PlannedServer[], group?: PlannedGroup): number {
  const ids = group && new Set(group.serverIds);
  return servers.filter(({ id, running }) => running && ids?.has(id) !== false).length;
}

/** Without groups all at once, else one group after another, the last to be started first. */
function stopSteps(o: Moving & { readonly mode: Mode }): PlannedStep[] {
  const how = o.mode === "planned" ? "" : ", forced after a deadline";
  const stop = (n: number, of: string, group?: string): PlannedStep =>
    step(
      "quiesce/stop-instances",
      `Stop ${count(n, "instance")}${of}${how}`,
      (n * forecast.stopInstance) / o.lanes,
      group,
    );
  if (o.groups === undefined) return [stop(runningIn(o.servers), "")];
  return [...o.groups]
    .reverse()
    .map((group) => stop(runningIn(o.servers, group), ` of group "${group.name}"`, group.name));
}

/** The next group only when the former one is ACTIVE, its pause over and its approval given. */
function startSteps(o: Moving): PlannedStep[] {
  const start = (n: number, of: string, group?: string): PlannedStep =>
    step(
      "start/instances",
      `Start the ${count(n, "instance")}${of} that ran`,
      (n * forecast.startInstance) / o.lanes,
      group,
    );
  if (o.groups === undefined) return [start(runningIn(o.servers), "")];
  return o.groups.flatMap((group) => {
    const { name, pauseAfterSeconds, approveAfter } = group;
    return [
      start(runningIn(o.servers, group), ` of group "${name}"`, name),
      ...(pauseAfterSeconds === undefined
        ? []
        : [step("start/pause", `Wait ${pauseAfterSeconds} s after group "${name}"`, pauseAfterSeconds, name)]),
      ...(approveAfter === true
        ? [
            step(
              "start/await-approval",
              `End as waiting until group "${name}" is approved (\`cheesecake approve ${name}\`)`,
              0,
              name,
            ),
          ]
        : []),
    ];
  });
}

type Words = Inventory & { readonly observation: Observation; readonly from: string; readonly to: string };

/** The runbook, in its order. Unplanned asks nothing of the lost site, so detaching comes after cutover. */
function sentencesFor(
  o: Words & Required<Pick<Plan, "shelved">> & Pick<Plan, "mode" | "route" | "promotion" | "groups">,
): PlannedStep[] {
  const { from, to, servers, mirrors } = o;
  const planned = o.mode === "planned";
  const moved = servers.filter(({ stranded }) => stranded !== true);
  const attachments = moved.reduce((sum, server) => sum + server.attachments.length, 0);
  const lanes = Math.max(1, Math.min(o.observation.pair.openstack.instancesAtOnce, servers.length));
  const devices = [
    ...new Set(moved.flatMap((server) => server.attachments.map((a) => a.device.replace("/dev/", "")))),
  ].sort(compareDevices);
  const groups = o.groups === undefined ? {} : { groups: o.groups };
  const mirrorCount = count(mirrors.length, "mirror");
  const locks = servers.length + o.shelved.length;
  const roots = moved.filter((server) => server.root !== undefined).length;

  const detach = [
    step(
      "detach/volumes",
      `Detach ${count(attachments, "volume")} from ${count(moved.length, "instance")}${planned ? "" : `, over dead paths where "${from}" doesn't answer`}`,
      (attachments * forecast.detachVolume * (planned ? 1 : 4)) / lanes,
    ),
  ];
  const attach = [
    step(
      "attach/volumes",
      `Attach them again at "${to}" as ${devices.join(", ") || "nothing"}, each instance's in its old order`,
      (attachments * forecast.attachVolume) / lanes,
    ),
    ...renewRoots(moved, to),
    ...startSteps({ servers: moved, lanes, ...groups }),
    step(
      "start/unlock-instances",
      `Unlock the instances that weren't locked before`,
      (moved.length + o.shelved.length) / 4,
    ),
  ];
  const head = [
    step("hold/disable-backend", `Disable ${backendHost(o.observation.pair, from)} for new volumes`, 2),
    step("hold/lock-instances", `Lock ${count(locks, "instance")} with a reason`, locks / 4),
    step("hold/drain-transient", `Wait until no volume and no instance is in a passing state`, 5),
    ...(planned
      ? [step("pre-sync/update-mirrors", `Update ${mirrorCount} while users still work`, forecast.transfer)]
      : []),
    ...stopSteps({ servers, lanes, mode: o.mode, ...groups }),
    ...(planned
      ? [
          ...detach,
          step(
            "detach/unmap-source",
            roots > 0
              ? `Unmap ${count(roots, "root")} at "${from}", whose instances are stopped, and prove that it maps none of these LUNs to any host`
              : `Prove that "${from}" maps none of these LUNs to any host`,
            2,
          ),
          step(
            "final-sync/update-mirrors",
            `Update ${mirrorCount} for the last time: nothing can write any more`,
            forecast.transfer,
          ),
        ]
      : []),
  ];
  const verifyCutover = step(
    "cutover/verify-destination",
    `Prove that ${count(o.volumes.length, "volume")} have their LUNs at "${to}" in their size`,
    3,
  );
  const promote = promoteSteps(o);
  if (o.route === "direct") {
    // Past Cinder's own failover: its services are stopped, so promotion happens here and nothing is left to defer.
    const breakMirrors = step(
      "cutover/break-mirrors",
      `Break ${mirrorCount} at "${to}"`,
      mirrors.length * forecast.failoverPerFlexVol,
    );
    const [stop, ...rest] = promote;
    return [
      ...head,
      ...(stop === undefined ? [] : [stop]),
      breakMirrors,
      ...rest,
      verifyCutover,
      ...(planned ? [] : detach),
      ...attach,
      ...(planned ? reprotectWait(o) : []),
    ];
  }
  return [
    ...head,
    step(
      "cutover/failover-host",
      `Fail ${backendHost(o.observation.pair, from)} over to "${siteOf(o.observation.pair, to).backend}"`,
      mirrors.length * forecast.failoverPerFlexVol,
    ),
    verifyCutover,
    ...(planned ? [] : detach),
    ...attach,
    ...(o.promotion === "deferred"
      ? [
          step(
            "start/enable-backend",
            `Enable the backend for new volumes at "${to}"; promotion is left for a later run`,
            2,
          ),
        ]
      : [...promote, ...(planned ? reprotectWait(o) : [])]),
  ];
}

/** Nothing where no instance boots from the pair: then nova-manage isn't needed either. */
function renewRoots(servers: readonly PlannedServer[], site: string): PlannedStep[] {
  const roots = servers.filter((server) => server.root !== undefined).length;
  if (roots === 0) return [];
  return [
    step(
      "attach/renew-roots",
      `Renew the connection of ${count(roots, "root")} to "${site}" by nova-manage: a root stays attached`,
      (roots * forecast.renewRoot) / Math.min(forecast.rootLanes, roots),
    ),
  ];
}

function promoteSteps(o: Words & { readonly mode: Mode }): PlannedStep[] {
  const controllers = count(o.observation.controllers.length, "controller");
  const backend = siteOf(o.observation.pair, o.to).backend;
  return [
    step(
      "promote/stop-services",
      `Stop and mask Cinder's services on ${controllers}, API first; users' I/O goes on`,
      forecast.stopServices,
    ),
    step(
      "promote/edit-configuration",
      o.mode === "planned"
        ? `Name "${backend}" in enabled_backends on ${controllers}`
        : `Name "${backend}" in enabled_backends on ${controllers}, without replication_device: "${o.from}" isn't there`,
      2,
    ),
    step("promote/dump-database", `Back up Cinder's database`, forecast.dump),
    step(
      "promote/update-database",
      `Move ${count(o.volumes.length, "volume")} to ${backendHost(o.observation.pair, o.to)} in one transaction; the row of "${o.from}" stays as a fence`,
      2,
    ),
    ...(o.mode === "planned"
      ? [
          step(
            "promote/reverse-mirrors",
            `Turn ${count(o.observation.pair.flexVols.length, "mirror")} round: "${o.to}" → "${o.from}"`,
            10,
          ),
        ]
      : []),
    step("promote/drain-queues", `Drain messages that wait for backends without a consumer`, 2),
    step(
      "promote/start-services",
      `Start Cinder's services and prove that "${backend}" is initialised`,
      forecast.startServices,
    ),
  ];
}

function reprotectWait(o: Words): PlannedStep[] {
  return [
    step(
      "reprotect/wait-healthy",
      `Wait until "${o.to}" → "${o.from}" is healthy, its lag below ${o.observation.pair.replication.targetLagSeconds} s`,
      forecast.transfer,
    ),
  ];
}
