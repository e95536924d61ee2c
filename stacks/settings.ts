import { z } from "zod";
import { DrError } from "../lib/errors";
import {
  type DisasterRecoverySettings,
  disasterRecoverySchema,
  parseSettings,
  type RawSettings,
} from "../lib/settings";
import { pairSecretsSchema } from "../lib/topology/site-pair";

/** A stack's configuration, with what Pulumi knows of it besides. */
export interface StackSettings extends RawSettings {
  /** Keys that are encrypted in the stack's file, in part or as a whole. */
  readonly secretKeys: readonly string[];
}

export const dataVolumeSets = ["prefailover", "postfailover", "prefailback", "postfailback"] as const;

const accountSchema = (username: string, project: string) =>
  z.strictObject({ username: z.string().min(1).describe(username), project: z.string().min(1).describe(project) });

const testLabSchema = z.strictObject({
  program: z.literal("test-lab").describe("Which program this stack is."),
  lab: z.strictObject({
    authUrl: z.url().describe("Keystone."),
    region: z.string().min(1).describe("Region of the endpoints."),
    caFile: z.string().exactOptional().meta({ title: "path", description: "PEM file of the endpoints' CA." }),
    admin: accountSchema("Makes volume types and quotas. Domain `Default`.", "Project on which it is admin."),
    demo: accountSchema("Owns the instances.", "Its quotas are lifted."),
    image: z.string().min(1).describe("Name of the image that roots are made from."),
    flavor: z.string().min(1).describe("Name of the flavor."),
    instances: z.number().int().min(1).default(49).describe("How many there are."),
    volumeSizeGiB: z.number().int().min(1).default(1).describe("Of each data volume."),
    rootBackendName: z
      .string()
      .min(1)
      .default("loweropenstack1")
      .describe("`volume_backend_name` of the backend for roots, which stays up."),
    dataBackendName: z.string().min(1).describe("`volume_backend_name` that both sites' stanzas share: `pair.name`."),
    dataVolumeSets: z.number().int().min(0).max(dataVolumeSets.length).default(1).meta({
      title: "0 to 4",
      description:
        "How many of the sets `prefailover`, `postfailover`, `prefailback`, `postfailback` exist, in that order.",
    }),
    publicKey: z.string().min(1).describe("Key pair of the instances."),
    breadcrumbs: z
      .strictObject({
        command: z.array(z.string()).min(1).describe("Program and arguments that write one."),
        timeoutSeconds: z.number().int().positive().default(120).describe("For one run of it."),
        written: z
          .array(
            z.strictObject({
              set: z.enum(dataVolumeSets).describe("Into which set's volume."),
              stage: z
                .string()
                .regex(/^[a-z0-9-]+$/)
                .describe("Small letters, digits, dashes."),
            }),
          )
          .describe("What has been written, in order."),
      })
      .exactOptional()
      .describe("Has each instance write files that prove later that nothing was lost."),
  }),
  adminPassword: z.string().min(1).describe("Of `lab.admin.username`."),
  demoPassword: z.string().min(1).describe("Of `lab.demo.username`."),
});

export type TestLabSettings = z.output<typeof testLabSchema>;
export type Settings = DisasterRecoverySettings | TestLabSettings;

/** What a stack's configuration can be, by its key `program`. */
export const programs = { "disaster-recovery": disasterRecoverySchema, "test-lab": testLabSchema } as const;
const secrets = [...Object.keys(pairSecretsSchema.shape), "adminPassword", "demoPassword"];

/**
 * Settings of the program that the configuration names. Pure.
 * @throws DrError `config` with every fault at once: the key, what is wrong, and the command that sets it.
 */
export function readSettings(raw: StackSettings): Settings {
  return settingsOf(raw, programs);
}

/** The same where `program` isn't asked for, as there's only one. */
export function readRecoverySettings(raw: StackSettings): DisasterRecoverySettings {
  const config = { ...raw.config, [`${raw.project}:program`]: "disaster-recovery" };
  return settingsOf({ ...raw, config }, { "disaster-recovery": disasterRecoverySchema });
}

function settingsOf<P extends Readonly<Record<string, z.ZodObject>>>(
  raw: StackSettings,
  schemas: P,
): z.output<P[keyof P]> {
  const { settings, faults } = parseSettings(raw, schemas);
  const inClear = secrets.filter((key) => {
    const name = `${raw.project}:${key}`;
    return name in raw.config && !raw.secretKeys.includes(name);
  });
  const all = [
    ...faults,
    ...inClear.map((key) => `${key}: stands in the stack's file in clear; set it with \`pulumi config set --secret\``),
  ];
  if (settings === undefined || all.length > 0) throw faulty(all);
  return settings;
}

function faulty(faults: readonly string[]): DrError {
  return new DrError({
    code: "config",
    attempted: "Read the stack's configuration",
    seen: `${faults.length === 1 ? "one fault" : `${faults.length} faults`}\n${faults.map((fault) => `  - ${fault}`).join("\n")}\n`,
    remedy: "Set the keys with `pulumi config set KEY VALUE` (--path for parts of an object, --secret for passwords)",
  });
}
