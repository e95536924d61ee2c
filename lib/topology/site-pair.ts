import { z } from "zod";
import { isLoopback } from "./loopback";
import { priorityGroupsSchema } from "./priority-groups";

/**
 * The pair of sites as the operator writes it down, once. Plain data without a secret: it goes into plans, journals
 * and reports as it is. Secrets travel beside it, in `PairSecrets`.
 */

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "letters, digits, dots, dashes and underscores only")
  .meta({ title: "name" });
const port = z.number().int().min(1).max(65535).meta({ title: "port" });

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
  address: z
    .string()
    .min(1)
    .meta({ title: "host", description: "Management LIF of the cluster, as its certificate names it." }),
  port: port.default(443).describe("HTTPS port of the management LIF."),
  username: z
    .string()
    .min(1)
    .describe("Account of the cluster, used by this software and, through the stanza, by Cinder's driver."),
  caFile: z.string().optional().meta({
    title: "path",
    description:
      "PEM file of the CA that signed the cluster's certificate; the system's CAs without it. It's also written into the stanza (`netapp_ssl_cert_path`), so the path has to hold on the controllers, too; override that option in `stanza` where it differs.",
  }),
  interclusterAddresses: z.array(z.string().min(1)).default([]).meta({
    title: "list of addresses",
    description: "Intercluster LIFs, for cluster peering. Not needed where peering is there already.",
  }),
});

const siteObject = z.strictObject({
  backend: backend.describe(
    "Name of the stanza in cinder.conf, and so Cinder's backend id. There are exactly two sites.",
  ),
  svm: name.describe("The SVM that serves this backend."),
  ontap: ontapSchema,
  stanza: stanzaSchema
    .default({})
    .describe(
      "More options of the stanza, and overrides. Not `replication_device`, which belongs to the switchover, and no password; no `netapp_vserver` or `backend_host` that differs from `svm` or `volumeHost`.",
    ),
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
    kind: z.literal("local").describe("`local` is the machine that runs Pulumi."),
    name,
    cinderConf: z.string().default("/etc/cinder/cinder.conf"),
    services: z.lazy(() => servicesSchema),
  }),
  z.strictObject({
    kind: z.literal("ssh"),
    name: name.describe("Unique among the controllers."),
    address: z.string().min(1).meta({ title: "host", description: "Name or address of the host." }),
    port: port.default(22).describe("Of its sshd."),
    username: z.string().min(1).describe("Account on the host; see [real-cloud.md](real-cloud.md#controllers)."),
    privateKeyFile: z
      .string()
      .min(1)
      .meta({ title: "path", description: "Private key without a passphrase, on the machine that runs Pulumi." }),
    hostKeySha256: z
      .string()
      .regex(/^(SHA256:)?[A-Za-z0-9+/]{43}=?$/, "not a fingerprint as `ssh-keygen -lf` prints it (SHA256:…)")
      .meta({
        title: "fingerprint",
        description: "As `ssh-keygen -lf` prints it on the host. Another key is refused.",
      }),
    sudo: z.boolean().default(true).describe("Runs every command through `sudo -n`."),
    cinderConf: z
      .string()
      .default("/etc/cinder/cinder.conf")
      .meta({ title: "path", description: "The file that cinder-volume reads on this host." }),
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
  role: z.enum(["api", "scheduler", "volume", "backup"]).describe("Decides the order of stopping and starting."),
  unit: z.string().min(1).describe("systemd unit, container, or the word for `{service}`."),
  startedHere: z
    .boolean()
    .default(true)
    .describe("False for a standby that only a cluster manager or a person starts (active/passive cinder-volume)."),
  logFile: z.string().optional().meta({
    title: "path",
    description:
      "Where its log is, as seen by the host. Without it systemd's journal or the container's output is read; `custom` needs it for `volume`.",
  }),
});

const units = z
  .array(unit)
  .min(1)
  .describe("Its services of Cinder, all of them: promotion stops what is listed here.");

const servicesSchema = z.discriminatedUnion("manager", [
  z.strictObject({ manager: z.literal("systemd").describe("How its services are operated."), units }),
  z.strictObject({
    manager: z.literal("kolla"),
    engine: z.enum(["docker", "podman"]).describe("Which engine the containers run in."),
    units,
  }),
  z.strictObject({
    manager: z.literal("custom"),
    /** Argument vectors; "{service}" is replaced. isActive exits 0 when running, 3 when not. isMasked likewise. */
    commands: z.strictObject({
      start: z.array(z.string()).min(1).describe("Argument vector; `{service}` is replaced."),
      stop: z.array(z.string()).min(1).describe("Ends it; returns when no process is left, or soon before."),
      mask: z.array(z.string()).min(1).describe("From then on nothing may start it, also not a reboot."),
      unmask: z.array(z.string()).min(1).describe("Takes that back; starts nothing."),
      isActive: z
        .array(z.string())
        .min(1)
        .describe("Ends with 0 when a process of it runs, 3 when none does; anything else is an error."),
      isMasked: z.array(z.string()).min(1).describe("0 or 3 likewise."),
    }),
    units,
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

/** Checks a pair as it's written down, and puts the defaults in. */
export const sitePairSchema = z
  .strictObject({
    name: name.describe(
      "Names the pair in lease, journal and reports. Also the `volume_backend_name` of both stanzas.",
    ),
    sites: z.record(name, siteSchema).superRefine(checkSites),
    flexVols: z
      .array(name)
      .min(1)
      .refine((names) => new Set(names).size === names.length, "a FlexVol is listed twice")
      .describe(
        "FlexVols that hold the backend's volumes: the same names on both sites, each mirrored by one relationship.",
      ),
    replication: z
      .strictObject({
        policy: z
          .string()
          .default("MirrorAllSnapshots")
          .describe("SnapMirror policy of relationships made here, and `netapp_replication_policy`."),
        schedule: z
          .string()
          .default("hourly")
          .describe("ONTAP schedule of relationships made here. It bounds the loss of an unplanned failover."),
        scheduleSeconds: z
          .number()
          .int()
          .positive()
          .optional()
          .describe("Time between two transfers, of a schedule that ONTAP doesn't come with."),
        targetLagSeconds: z
          .number()
          .int()
          .positive()
          .default(7200)
          .describe(
            "A mirror is healthy below this lag: a warning before a switchover, and what `reprotect` waits for after it.",
          ),
      })
      .prefault({}),
    cinder: z.strictObject({
      volumeHost: name.describe("`backend_host` of both stanzas: the part before `@` in Cinder's services rows."),
      controllers: z
        .array(controllerSchema)
        .min(1)
        .superRefine(checkControllers)
        .describe("Every host on which a service of Cinder is installed."),
      database: z
        .strictObject({
          host: z.string().min(1).meta({
            title: "host or socket path",
            description: "Server of Cinder's database. With Galera: one node, not the load balancer.",
          }),
          port: port.default(3306).describe("Of the database server."),
          user: z.string().min(1).describe("See [real-cloud.md](real-cloud.md#database) for its rights."),
          cinderSchema: name.default("cinder").describe("Cinder's own schema."),
          caFile: z.string().optional().meta({ title: "path", description: "PEM file of the server's CA." }),
          tls: z.boolean().default(true).describe("False is accepted for loopback and sockets only."),
        })
        .superRefine(checkTls),
      messageQueue: z
        .strictObject({
          host: z.string().min(1).meta({ title: "host", description: "RabbitMQ." }),
          port: port.default(5672).describe("5671 is the usual one with TLS."),
          user: z.string().min(1).describe("See [real-cloud.md](real-cloud.md#message-queue) for its rights."),
          vhost: z.string().default("/").describe("The one of Cinder's `transport_url`."),
          caFile: z.string().optional().meta({ title: "path", description: "PEM file of the server's CA." }),
          tls: z.boolean().default(true).describe("False is accepted for loopback only."),
        })
        .superRefine(checkTls),
    }),
    novaManage: z
      .strictObject({
        controller: name.describe("One of `pair.cinder.controllers`, reached the same way."),
        prefix: z
          .array(z.string().min(1))
          .default([])
          .describe(
            "What leads to where it's installed, such as `[docker, exec, -i, nova_api]` or `[sudo, -u, nova]`.",
          ),
        command: z
          .array(z.string().min(1))
          .min(1)
          .default(["nova-manage"])
          .describe("The program, and options that come before its command, such as `--config-file`."),
      })
      .optional()
      .describe("Where `nova-manage` runs with Nova's own configuration. Without it roots on the pair are refused."),
    openstack: z.strictObject({
      authUrl: authUrl.describe("Keystone."),
      region: z.string().min(1).describe("Region of the endpoints."),
      interface: z
        .enum(["public", "internal", "admin"])
        .default("public")
        .describe("Which endpoints of the catalogue are used."),
      instancesAtOnce: z
        .number()
        .int()
        .min(1)
        .max(1000)
        .default(64)
        .describe(
          "Instances that are stopped, detached, attached or started side by side; within one, calls follow each other. nova-compute works on 64 messages at once (`executor_thread_pool_size`), even if all instances are on one host; more would wait in its queue while the time-outs of their calls run. Where Cinder's or ONTAP's APIs bear less, set less: a switchover takes as many rounds as instances don't fit.",
        ),
      priorityGroups: priorityGroupsSchema,
      caFile: z.string().optional().meta({ title: "path", description: "PEM file of the endpoints' CA." }),
      credential: z.discriminatedUnion("kind", [
        z.strictObject({
          kind: z
            .literal("password")
            .describe("An account with the role admin on a project; system scope is refused by Nova."),
          username: z.string().min(1).describe("The password goes to `openstackSecret`."),
          userDomainName: z.string().default("Default").describe("Domain of the user."),
          projectName: z.string().min(1).describe("Project on which it is admin."),
          projectDomainName: z.string().default("Default").describe("Domain of the project."),
        }),
        z.strictObject({
          kind: z.literal("applicationCredential"),
          id: z.string().min(1).describe("The secret goes to `openstackSecret`."),
        }),
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

/** The pair, checked, with its defaults. Without a secret. */
export type SitePair = z.output<typeof sitePairSchema>;
/** The pair as it's written down. */
export type SitePairInput = z.input<typeof sitePairSchema>;
/** One of the two sites. */
export type Site = z.output<typeof siteSchema>;
/** A host on which services of Cinder are installed. */
export type Controller = SitePair["cinder"]["controllers"][number];
/** How a controller's services are operated, and which they are. */
export type ControllerServices = z.output<typeof servicesSchema>;
/** One service on one controller. */
export type ServiceUnit = z.output<typeof unit>;

/** Passwords of the pair. Never serialised: they come from the stack's secret configuration or the environment. */
export const pairSecretsSchema = z.strictObject({
  ontapPasswords: z.record(z.string(), z.string().min(1)).meta({
    title: "text for each site",
    description: "`ontapPasswords.iprod`, `ontapPasswords.idr`. Also written into the stanzas as `netapp_password`.",
  }),
  databasePassword: z.string().min(1).describe("Of `pair.cinder.database.user`."),
  messageQueuePassword: z.string().min(1).describe("Of `pair.cinder.messageQueue.user`."),
  openstackSecret: z.string().min(1).describe("Keystone password, or the application credential's secret."),
  hookSecrets: z
    .record(z.string(), z.string().min(1))
    .exactOptional()
    .meta({ title: "text for each name", description: "What hooks name as `{secret:<name>}`." }),
});
/** The passwords, by {@link pairSecretsSchema}. */
export type PairSecrets = z.output<typeof pairSecretsSchema>;

/** Both names, in the order in which they are written down. */
export function siteNames(pair: SitePair): readonly [string, string] {
  const names = Object.keys(pair.sites);
  return [names[0] ?? "", names[1] ?? ""];
}

/** The site of this name. @throws RangeError where the pair has none. */
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
