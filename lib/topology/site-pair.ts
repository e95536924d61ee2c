import { z } from "zod";
import { isLoopback } from "./loopback";
import { priorityGroupsSchema } from "./priority-groups";

/**
 * The pair of sites as the operator writes it down, once. Plain data without a secret: it goes into plans, journals
 * and reports as it is. Secrets travel beside it, in `PairSecrets`.
 */

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "letters, digits, dots, dashes and underscores only");
const port = z.number().int().min(1).max(65535);

/** Keystone's. The pair goes into journals, so that no password may be in it. */
const authUrl = z
  .url({
    protocol: /^https?$/,
    error: ({ input }) => (input === undefined ? undefined : "a URL that begins with http:// or https:// is needed"),
  })
  .refine((url) => !URL.canParse(url) || `${new URL(url).username}${new URL(url).password}` === "", {
    error: "it holds a user or a password; take them out, the secret goes to openstackSecret",
  })
  .refine((url) => !/\/v2(\.0)?\/*$/.test(url), { error: "that's version 2 of Keystone, needed 3" });

/** By its name: the value of such an option is shown nowhere. */
export function isSecretOption(option: string): boolean {
  return /password|passphrase|secret|token/i.test(option);
}

/** The stanza goes into the state in clear, and some of its options belong to others. */
const stanzaSchema = z.record(z.string(), z.string()).superRefine((stanza, ctx) => {
  const refuse = (option: string, message: string): void =>
    ctx.addIssue({ code: "custom", path: [option], message: `${message}; leave it out` });
  for (const option of Object.keys(stanza))
    if (!/^[a-z0-9_]+$/.test(option))
      refuse(option, "no option has this name: small letters, digits, underscores only");
    else if (option === "replication_device") refuse(option, "it belongs to the switchover, which turns it round");
    else if (option === "netapp_password") refuse(option, "it comes from the secret ontapPasswords");
    else if (isSecretOption(option)) refuse(option, "a secret would stand in the state in clear");
});

/** Sections of cinder.conf that aren't a backend's. */
const reserved = ["default", "backend_defaults"];
const backend = name.refine((value) => !reserved.includes(value.toLowerCase()), "cinder.conf has another use for it");

/** ONTAP's REST API of the cluster that holds the site's SVM. */
const ontapSchema = z.strictObject({
  address: z.string().min(1),
  port: port.default(443),
  username: z.string().min(1),
  /** PEM file of the CA that signed the cluster's certificate; the system's CAs where absent. TLS is always verified. */
  caFile: z.string().optional(),
  /** Addresses of the intercluster interfaces, for cluster peering. */
  interclusterAddresses: z.array(z.string().min(1)).default([]),
});

const siteObject = z.strictObject({
  /** Name of the stanza in cinder.conf; Cinder's backend id is the same word. */
  backend,
  svm: name,
  ontap: ontapSchema,
  /** Options of the stanza besides those that follow from the fields above. */
  stanza: stanzaSchema.default({}),
});

const siteSchema = siteObject.superRefine(({ svm, stanza }, ctx) => {
  if ((stanza["netapp_vserver"] ?? svm) !== svm)
    ctx.addIssue({
      code: "custom",
      path: ["stanza", "netapp_vserver"],
      message: `"${stanza["netapp_vserver"]}" isn't the site's svm "${svm}"; leave it out`,
    });
});

/** How a controller's services are operated and its files are read. */
const controllerSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("local"),
    name,
    cinderConf: z.string().default("/etc/cinder/cinder.conf"),
    services: z.lazy(() => servicesSchema),
  }),
  z.strictObject({
    kind: z.literal("ssh"),
    name,
    address: z.string().min(1),
    port: port.default(22),
    username: z.string().min(1),
    privateKeyFile: z.string().min(1),
    /** SHA-256 of the host key as `ssh-keygen -lf` prints it: the host is always verified. */
    hostKeySha256: z
      .string()
      .regex(/^(SHA256:)?[A-Za-z0-9+/]{43}=?$/, "not a fingerprint as `ssh-keygen -lf` prints it (SHA256:…)"),
    sudo: z.boolean().default(true),
    cinderConf: z.string().default("/etc/cinder/cinder.conf"),
    services: z.lazy(() => servicesSchema),
  }),
]);

/** Said before anything connects, with all other faults. */
function checkTls(server: { readonly host: string; readonly tls: boolean }, ctx: z.RefinementCtx): void {
  if (!server.tls && !isLoopback(server.host))
    ctx.addIssue({
      code: "custom",
      path: ["tls"],
      message: `off for "${server.host}", which isn't this host: the password would cross the network in clear; leave it out, and name the server's CA in caFile`,
    });
}

const unit = z.strictObject({
  role: z.enum(["api", "scheduler", "volume", "backup"]),
  /** systemd unit, container name, or the word given to the custom commands as {service}. */
  unit: z.string().min(1),
  /** False for a standby that is started by a cluster manager or by hand only (active/passive cinder-volume). */
  startedHere: z.boolean().default(true),
  /** Where its log is, read for initialisation errors after a start. */
  logFile: z.string().optional(),
});

const servicesSchema = z.discriminatedUnion("manager", [
  z.strictObject({ manager: z.literal("systemd"), units: z.array(unit).min(1) }),
  z.strictObject({ manager: z.literal("kolla"), engine: z.enum(["docker", "podman"]), units: z.array(unit).min(1) }),
  z.strictObject({
    manager: z.literal("custom"),
    /** Argument vectors; "{service}" is replaced. isActive exits 0 when running, 3 when not. isMasked likewise. */
    commands: z.strictObject({
      start: z.array(z.string()).min(1),
      stop: z.array(z.string()).min(1),
      mask: z.array(z.string()).min(1),
      unmask: z.array(z.string()).min(1),
      isActive: z.array(z.string()).min(1),
      isMasked: z.array(z.string()).min(1),
    }),
    units: z.array(unit).min(1),
  }),
]);

function checkSites(sites: Readonly<Record<string, Site>>, ctx: z.RefinementCtx): void {
  const entries = Object.entries(sites);
  const [one, other] = entries;
  if (one === undefined || other === undefined || entries.length > 2) {
    ctx.addIssue({ code: "custom", message: `a pair has exactly two sites, ${entries.length} given` });
    return;
  }
  const [[firstName, first], [secondName, second]] = [one, other];
  // oslo.config compares the names of sections in lower case.
  if (first.backend.toLowerCase() === second.backend.toLowerCase())
    ctx.addIssue({
      code: "custom",
      path: [secondName, "backend"],
      message: `both sites name the backend "${first.backend}"; each needs a stanza of its own`,
    });
  const sameArray = first.ontap.address === second.ontap.address && first.ontap.port === second.ontap.port;
  if (sameArray && first.svm === second.svm)
    ctx.addIssue({
      code: "custom",
      path: [secondName, "svm"],
      message: `"${firstName}" and "${secondName}" are the same SVM "${first.svm}" on ${first.ontap.address}`,
    });
}

function checkControllers(controllers: readonly z.output<typeof controllerSchema>[], ctx: z.RefinementCtx): void {
  const names = controllers.map((controller) => controller.name);
  controllers.forEach(({ name: controller, services }, index) => {
    if (names.indexOf(controller) !== index)
      ctx.addIssue({ code: "custom", path: [index, "name"], message: `controller "${controller}" is listed twice` });
    services.units.forEach(({ role, startedHere, logFile }, at) => {
      if (services.manager === "custom" && role === "volume" && startedHere && logFile === undefined)
        ctx.addIssue({
          code: "custom",
          path: [index, "services", "units", at, "logFile"],
          message: "not set; custom commands give no output, in which a failed start would show",
        });
    });
  });
  if (!controllers.some(({ services }) => services.units.some(({ role }) => role === "volume")))
    ctx.addIssue({ code: "custom", message: "none has a unit of the role volume, which is to be restarted" });
}

export const sitePairSchema = z
  .strictObject({
    /** Names the pair in the lease, the journal and the reports. */
    name,
    sites: z.record(name, siteSchema).superRefine(checkSites),
    /** FlexVols that hold the backend's volumes: the same names on both sites, each mirrored by one relationship. */
    flexVols: z
      .array(name)
      .min(1)
      .refine((names) => new Set(names).size === names.length, "a FlexVol is listed twice"),
    replication: z
      .strictObject({
        policy: z.string().default("MirrorAllSnapshots"),
        /** ONTAP cron schedule of the transfers; the driver's own default is hourly. */
        schedule: z.string().default("hourly"),
        /** Time between two transfers, of a schedule that ONTAP doesn't come with. */
        scheduleSeconds: z.number().int().positive().optional(),
        /** A mirror counts as healthy for a switchover below this lag. */
        targetLagSeconds: z.number().int().positive().default(7200),
      })
      .prefault({}),
    cinder: z.strictObject({
      /** `backend_host` (or `host`) of the stanzas: the part before "@" in Cinder's services rows. */
      volumeHost: name,
      controllers: z.array(controllerSchema).min(1).superRefine(checkControllers),
      database: z
        .strictObject({
          host: z.string().min(1),
          port: port.default(3306),
          user: z.string().min(1),
          cinderSchema: name.default("cinder"),
          caFile: z.string().optional(),
          /** Loopback or a socket-like private path only: a remote database without TLS is refused. */
          tls: z.boolean().default(true),
        })
        .superRefine(checkTls),
      messageQueue: z
        .strictObject({
          host: z.string().min(1),
          port: port.default(5672),
          user: z.string().min(1),
          vhost: z.string().default("/"),
          caFile: z.string().optional(),
          tls: z.boolean().default(true),
        })
        .superRefine(checkTls),
    }),
    /** Where `nova-manage` runs with Nova's own configuration: needed only where instances boot from the pair's volumes. */
    novaManage: z
      .strictObject({
        /** Name of one of `cinder.controllers`. */
        controller: name,
        /** What leads to where it's installed, such as `docker exec -i nova_api`. */
        prefix: z.array(z.string().min(1)).default([]),
        /** The program, and options such as `--config-file` that come before its command. */
        command: z.array(z.string().min(1)).min(1).default(["nova-manage"]),
      })
      .optional(),
    openstack: z.strictObject({
      authUrl,
      region: z.string().min(1),
      interface: z.enum(["public", "internal", "admin"]).default("public"),
      /**
       * Instances that are stopped, detached, attached or started side by side; within one, calls follow each other. As many
       * as nova-compute works on at once (executor_thread_pool_size): more would wait in its queue, with an RPC's
       * time-out running.
       */
      instancesAtOnce: z.number().int().min(1).max(1000).default(64),
      /** Instances that are started one group after another, and stopped in the reverse order. */
      priorityGroups: priorityGroupsSchema,
      caFile: z.string().optional(),
      credential: z.discriminatedUnion("kind", [
        z.strictObject({
          kind: z.literal("password"),
          username: z.string().min(1),
          userDomainName: z.string().default("Default"),
          projectName: z.string().min(1),
          projectDomainName: z.string().default("Default"),
        }),
        z.strictObject({ kind: z.literal("applicationCredential"), id: z.string().min(1) }),
      ]),
    }),
  })
  .superRefine((pair, ctx) => {
    const { volumeHost, controllers } = pair.cinder;
    for (const [site, { stanza }] of Object.entries(pair.sites))
      if ((stanza["backend_host"] ?? volumeHost) !== volumeHost)
        ctx.addIssue({
          code: "custom",
          path: ["sites", site, "stanza", "backend_host"],
          message: `"${stanza["backend_host"]}" isn't cinder.volumeHost "${volumeHost}"; leave it out`,
        });
    const names = controllers.map((controller) => controller.name);
    if (pair.novaManage !== undefined && !names.includes(pair.novaManage.controller))
      ctx.addIssue({
        code: "custom",
        path: ["novaManage", "controller"],
        message: `"${pair.novaManage.controller}" is none of the controllers ${names.join(", ")}`,
      });
  });

export type SitePair = z.output<typeof sitePairSchema>;
export type SitePairInput = z.input<typeof sitePairSchema>;
export type Site = z.output<typeof siteSchema>;
export type Controller = SitePair["cinder"]["controllers"][number];
export type ControllerServices = z.output<typeof servicesSchema>;
export type ServiceUnit = z.output<typeof unit>;

/** Passwords of the pair. Never serialised: they come from the stack's secret configuration or the environment. */
export const pairSecretsSchema = z.strictObject({
  /** By site name. */
  ontapPasswords: z.record(z.string(), z.string().min(1)),
  databasePassword: z.string().min(1),
  messageQueuePassword: z.string().min(1),
  /** Keystone password, or the application credential's secret. */
  openstackSecret: z.string().min(1),
  hookSecrets: z
    .record(z.string(), z.string().min(1))
    .exactOptional()
    .meta({ title: "text for each name", description: "What hooks name as `{secret:<name>}`." }),
});
export type PairSecrets = z.output<typeof pairSecretsSchema>;

export function siteNames(pair: SitePair): readonly [string, string] {
  const names = Object.keys(pair.sites);
  return [names[0] ?? "", names[1] ?? ""];
}

export function siteOf(pair: SitePair, siteName: string): Site {
  const site = pair.sites[siteName];
  if (site === undefined) throw new RangeError(`site "${siteName}" is not one of ${siteNames(pair).join(", ")}`);
  return site;
}

/** The other one of the two. */
export function peerOf(pair: SitePair, siteName: string): string {
  const [first, second] = siteNames(pair);
  return siteName === first ? second : first;
}

/** Cinder's name for a backend: `<host>@<backend>`, as in services.host. */
export function backendHost(pair: SitePair, siteName: string): string {
  return `${pair.cinder.volumeHost}@${siteOf(pair, siteName).backend}`;
}
