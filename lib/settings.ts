import { z } from "zod";
import { phases, type HookSpec } from "./switchover/intent";
import { pairSecretsSchema, siteNames, type SitePair, sitePairSchema } from "./topology/site-pair";

/** What an operator declares of a pair, however it's read: by Pulumi for a stack, or from a file without it. Pure. */

/** A configuration as Pulumi hands it to a program: texts, objects as JSON, secrets in clear. */
export interface RawSettings {
  readonly project: string;
  /** By key with its namespace, e.g. `cinder-cheesecake:pair`. */
  readonly config: Readonly<Record<string, string>>;
}

const moments = ["during:promote", ...phases.flatMap((phase) => [`before:${phase}`, `after:${phase}`])];

const hookSchema = z.strictObject({
  name: z.string().min(1).describe("Unique among the hooks."),
  when: z
    .custom<HookSpec["when"]>((value) => moments.includes(value as string), `one of ${moments.join(", ")}`)
    .meta({
      title: "`before:<phase>`, `after:<phase>`, `during:promote`",
      description:
        "Phases: `activate`, `hold`, `pre-sync`, `quiesce`, `detach`, `final-sync`, `cutover`, `attach`, `start`, `promote`, `reprotect`. `during:promote` runs while Cinder's services are stopped.",
    }),
  command: z
    .array(z.string())
    .min(1)
    .describe("Program and arguments. Its last output is in the error if it fails, so it mustn't print secrets."),
  timeoutSeconds: z
    .number()
    .int()
    .positive()
    .default(300)
    .describe("After that it's killed with its process group, and the run stops."),
});

function checkHookNames(hooks: readonly z.output<typeof hookSchema>[], ctx: z.RefinementCtx): void {
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
    .describe(
      "Commands of yours at boundaries of phases. They run on the machine that runs Pulumi, without a shell, with `FROM_SITE`, `TO_SITE` and `PHASE` in their environment.",
    ),
  approvedPlan: z.string().min(1).exactOptional().meta({
    title: "digest",
    description:
      "The plan that was approved, as the preview prints it. Any other plan is refused, under the lease, before the first change.",
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
  const { data: unplanned } = unplannedSchema.safeParse(values["unplanned"]);
  const { data: passwords } = z.record(z.string(), z.unknown()).safeParse(values["ontapPasswords"]);
  const faults = differentBackendNames(pair);
  for (const [key, site] of [
    ["activeSite", active?.activeSite],
    ["unplanned.from", unplanned?.from],
  ] as const)
    if (site !== undefined && !sites.includes(site)) faults.push(`${key}: "${site}" is not one of ${sites.join(", ")}`);
  if (passwords === undefined) return faults;
  for (const site of sites) if (!Object.hasOwn(passwords, site)) faults.push(`ontapPasswords.${site}: not set`);
  for (const site of Object.keys(passwords))
    if (!sites.includes(site))
      faults.push(`ontapPasswords.${site}: the pair has no such site; its sites are ${sites.join(", ")}`);
  return faults;
}

/** Volume types name a backend by `volume_backend_name`: with two names they would resolve on one site only. */
function differentBackendNames(pair: SitePair): string[] {
  const names = siteNames(pair).map((site) => pair.sites[site]?.stanza["volume_backend_name"] ?? pair.name);
  return names[0] === names[1]
    ? []
    : [`pair.sites: volume_backend_name is "${names[0]}" and "${names[1]}"; give both sites the same`];
}
