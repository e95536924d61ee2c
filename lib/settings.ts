import { z } from "zod";
import { type HookSpec, hookSchema, secretsOf } from "./topology/hooks";
import { pairSecretsSchema, siteNames, type SitePair, sitePairSchema } from "./topology/site-pair";

/** What an operator declares of a pair, however it's read: by Pulumi for a stack, or from a file without it. Pure. */

/** A configuration as Pulumi hands it to a program: texts, objects as JSON, secrets in clear. */
export interface RawSettings {
  readonly project: string;
  /** By key with its namespace, e.g. `cinder-cheesecake:pair`. */
  readonly config: Readonly<Record<string, string>>;
}

function checkHookNames(hooks: readonly HookSpec[], ctx: z.RefinementCtx): void {
  const names = hooks.map((hook) => hook.name);
  names.forEach((name, index) => {
    if (names.indexOf(name) !== index)
      ctx.addIssue({ code: "custom", path: [index, "name"], message: `hook "${name}" is declared twice` });
  });
}

const unplannedSchema = z.strictObject({
  from: z
    .string()
    .min(1)
    .meta({ title: "name of a site", description: "The lost site. Refused where it isn't the active one." }),
  acceptLossSeconds: z
    .number()
    .int()
    .nonnegative()
    .exactOptional()
    .describe("The lag up to which a loss is acceptable. A mirror that is further behind is refused."),
  acceptUnknownLoss: z
    .boolean()
    .exactOptional()
    .describe("Goes on although a mirror's lag can't be read, or no `acceptLossSeconds` is given."),
  force: z
    .boolean()
    .exactOptional()
    .describe("Goes on although the site answers, serves iSCSI and its mirrors are healthy."),
});

/** What ActiveSite takes as it stands. */
const activeSchema = z.strictObject({
  activeSite: z
    .string()
    .min(1)
    .meta({ title: "name of a site", description: "Where production is to run. Changing it is the switchover." }),
  promotion: z
    .enum(["immediate", "deferred"])
    .default("immediate")
    .describe(
      "`deferred` ends after the instances run again: Cinder is failed over, the backend is open for new volumes, nothing is protected. Setting it to `immediate` later promotes.",
    ),
  unplanned: unplannedSchema
    .exactOptional()
    .describe("One-shot: the site named in it is lost. Take it out afterwards."),
  hooks: z
    .array(hookSchema)
    .superRefine(checkHookNames)
    .default([])
    .describe("Commands and HTTP calls of yours at boundaries of phases: see [hooks.md](hooks.md)."),
  approvedPlan: z.string().min(1).exactOptional().meta({
    title: "digest",
    description:
      "The plan that was approved, as the preview prints it. Any other plan is refused, under the lease, before the first change.",
  }),
  expectedActive: z.string().min(1).exactOptional().meta({
    title: "name of a site",
    description:
      "Where production has to run for anything to be switched, promoted or adopted; elsewhere that is refused. A guard against a look that is out of date.",
  }),
  maximumLagSeconds: z
    .number()
    .int()
    .positive()
    .exactOptional()
    .describe(
      "A planned switchover is refused while a mirror is further behind, or its lag can't be read; an unplanned one warns, as `unplanned.acceptLossSeconds` decides there.",
    ),
  minimumSecondsBetweenSwitchovers: z
    .number()
    .int()
    .nonnegative()
    .default(600)
    .describe(
      "From the end of a switchover to the next planned one, which is refused before. As long as NetApp's driver takes from its start to its next look at the mirrors: what it makes of the last switchover shows by then. Never asked of an unplanned failover, an abort or a resume.",
    ),
  soonAfter: z.string().min(1).exactOptional().meta({
    title: "id of a switchover",
    description: "Lets the next one begin at once after this one, and after no other: it needn't be taken out.",
  }),
  requireApproval: z.boolean().default(false).describe("Refuses every plan that `approvedPlan` doesn't name."),
  startIncomplete: z
    .boolean()
    .default(false)
    .describe(
      "Starts instances whose volumes were lost or are short after an unplanned failover, without these volumes.",
    ),
  reprotect: z
    .enum(["discardDiverged", "keepDiverged"])
    .exactOptional()
    .describe(
      "After an unplanned failover, when the lost site is back: replicate to it again. `keepDiverged` keeps what it holds beyond the last transfer.",
    ),
  route: z
    .enum(["failover-host", "direct"])
    .exactOptional()
    .describe(
      "How the cutover is made. Without it preflight chooses: `failover-host` where Cinder's own failover can run.",
    ),
  acceptSchema: z.string().min(1).exactOptional().meta({
    title: "version",
    description:
      "Goes on although Cinder's schema isn't of a version that the [promotion](promotion.md) is tested on. It has to name the version found (`alembic_version`), which preflight prints.",
  }),
  journalDir: z.string().min(1).default("reports").meta({
    title: "path",
    description:
      "Journals, reports and dumps of the database, relative to the project. Dumps hold CHAP passwords; they are readable by their owner only.",
  }),
});

/** A whole configuration, secrets included: every key of docs/configuration.md. */
export const disasterRecoverySchema = z.strictObject({
  program: z.literal("disaster-recovery").describe("Which program this stack is."),
  pair: sitePairSchema,
  ...activeSchema.shape,
  ...pairSecretsSchema.shape,
});

/** The whole configuration, checked, with its defaults. */
export type DisasterRecoverySettings = z.output<typeof disasterRecoverySchema>;

/** The part of the settings that goes to ActiveSite: without the pair, and above all without the passwords. */
export function activeSettings(settings: DisasterRecoverySettings): z.output<typeof activeSchema> {
  return activeSchema.strip().parse(settings);
}

/**
 * Settings of the program that the configuration names, or every fault at once, each with its key. Values are never
 * quoted: they might be secrets.
 */
export function parseSettings<P extends Readonly<Record<string, z.ZodObject>>>(
  raw: RawSettings,
  programs: P,
): { readonly settings?: z.output<P[keyof P]>; readonly faults: readonly string[] } {
  const prefix = `${raw.project}:`;
  const own = Object.entries(raw.config).filter(([key]) => key.startsWith(prefix));
  const texts = new Map(own.map(([key, value]) => [key.slice(prefix.length), value]));
  const program = texts.get("program") ?? "";
  const schema = Object.hasOwn(programs, program) ? programs[program] : undefined;
  if (schema === undefined) {
    const seen = program === "" ? "not set" : `"${program}" is unknown`;
    return { faults: [`program: ${seen}; it is one of ${Object.keys(programs).join(", ")}`] };
  }
  const values = Object.fromEntries(
    [...texts].map(([key, text]) => [key, valueOf(text, schema.shape[key] as z.ZodType | undefined)]),
  );
  const parsed = schema.safeParse(values);
  const faults = parsed.success ? [] : parsed.error.issues.flatMap(faultsOfIssue);
  if (schema === disasterRecoverySchema) faults.push(...acrossKeys(values));
  return parsed.success && faults.length === 0 ? { settings: parsed.data as z.output<P[keyof P]>, faults } : { faults };
}

/** Texts stay texts where the schema wants one ("12" as a password); everything else is JSON. */
function valueOf(text: string, schema: z.ZodType | undefined): unknown {
  if (schema === undefined || schema.safeParse(text).success) return text;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Values are never quoted: they might be secrets. */
function faultsOfIssue(issue: z.core.$ZodIssue): string[] {
  const at = pathOf(issue.path);
  if (issue.code === "unrecognized_keys")
    return issue.keys.map(
      (key) => `${pathOf([...issue.path, key])}: is no key of this program; remove it or correct its spelling`,
    );
  if (issue.code === "invalid_key") return issue.issues.map(({ message }) => `${at}: as a name: ${message}`);
  if (issue.code === "too_small" && issue.minimum === 1 && issue.origin !== "number") return [`${at}: is empty`];
  return [`${at}: ${issue.message.endsWith("received undefined") ? "not set" : issue.message}`];
}

/** As `pulumi config set --path` takes it: `hooks[0].name`. */
function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((at, part) => {
    if (typeof part === "number") return `${at}[${part}]`;
    return at === "" ? String(part) : `${at}.${String(part)}`;
  }, "");
}

/** What only shows when two keys are looked at together; keys that are faulty by themselves are left out. */
function acrossKeys(values: Readonly<Record<string, unknown>>): string[] {
  const { data: pair } = sitePairSchema.safeParse(values["pair"]);
  if (pair === undefined) return [];
  const sites = siteNames(pair);
  const { data: active } = activeSchema.pick({ activeSite: true }).strip().safeParse(values);
  const { data: expected } = activeSchema.pick({ expectedActive: true }).strip().safeParse(values);
  const { data: unplanned } = unplannedSchema.safeParse(values["unplanned"]);
  const { data: passwords } = z.record(z.string(), z.unknown()).safeParse(values["ontapPasswords"]);
  const faults = [...differentBackendNames(pair), ...acrossHooks(values, pair)];
  for (const [key, site] of [
    ["activeSite", active?.activeSite],
    ["unplanned.from", unplanned?.from],
    ["expectedActive", expected?.expectedActive],
  ] as const)
    if (site !== undefined && !sites.includes(site)) faults.push(`${key}: "${site}" is not one of ${sites.join(", ")}`);
  if (passwords === undefined) return faults;
  for (const site of sites) if (!Object.hasOwn(passwords, site)) faults.push(`ontapPasswords.${site}: not set`);
  for (const site of Object.keys(passwords))
    if (!sites.includes(site))
      faults.push(`ontapPasswords.${site}: the pair has no such site; its sites are ${sites.join(", ")}`);
  return faults;
}

/** Hooks name groups, which the pair has, and secrets, which stand beside it. */
function acrossHooks(values: Readonly<Record<string, unknown>>, pair: SitePair): string[] {
  const { data: listed = [] } = z.array(z.unknown()).safeParse(values["hooks"]);
  const hooks = listed.map((hook) => hookSchema.safeParse(hook).data);
  const { data: secrets = {} } = z.record(z.string(), z.unknown()).safeParse(values["hookSecrets"]);
  const groups = pair.openstack.priorityGroups.map(({ name }) => name);
  const missing = new Set(
    hooks
      .flatMap((hook) => (hook === undefined ? [] : secretsOf(hook)))
      .filter((name) => !Object.hasOwn(secrets, name)),
  );
  return [
    ...hooks.flatMap((hook, index) =>
      hook?.group === undefined || groups.includes(hook.group)
        ? []
        : [`hooks[${index}].group: "${hook.group}" is none of pair.openstack.priorityGroups`],
    ),
    ...[...missing].map((name) => `hookSecrets.${name}: not set`),
  ];
}

/** Volume types name a backend by `volume_backend_name`: with two names they would resolve on one site only. */
function differentBackendNames(pair: SitePair): string[] {
  const names = siteNames(pair).map((site) => pair.sites[site]?.stanza["volume_backend_name"] ?? pair.name);
  return names[0] === names[1]
    ? []
    : [`pair.sites: volume_backend_name is "${names[0]}" and "${names[1]}"; give both sites the same`];
}
