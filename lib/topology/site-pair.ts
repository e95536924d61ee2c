import { z } from "zod";

/**
 * The pair of sites as the operator writes it down, once. Plain data without a secret: it goes into plans, journals
 * and reports as it is. Secrets travel beside it, in `PairSecrets`.
 */

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "letters, digits, dots, dashes and underscores only");
const port = z.number().int().min(1).max(65535);

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

const siteSchema = z.strictObject({
  /** Name of the stanza in cinder.conf; Cinder's backend id is the same word. */
  backend: name,
  svm: name,
  ontap: ontapSchema,
  /** Options of the stanza besides those that follow from the fields above. */
  stanza: z.record(z.string(), z.string()).default({}),
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
    hostKeySha256: z.string().min(1),
    sudo: z.boolean().default(true),
    cinderConf: z.string().default("/etc/cinder/cinder.conf"),
    services: z.lazy(() => servicesSchema),
  }),
]);

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

export const sitePairSchema = z
  .strictObject({
    /** Names the pair in the lease, the journal and the reports. */
    name,
    sites: z.record(name, siteSchema),
    /** FlexVols that hold the backend's volumes: the same names on both sites, each mirrored by one relationship. */
    flexVols: z.array(name).min(1),
    replication: z
      .strictObject({
        policy: z.string().default("MirrorAllSnapshots"),
        /** ONTAP cron schedule of the transfers; the driver's own default is hourly. */
        schedule: z.string().default("hourly"),
        /** A mirror counts as healthy for a switchover below this lag. */
        targetLagSeconds: z.number().int().positive().default(7200),
      })
      .prefault({}),
    cinder: z.strictObject({
      /** `backend_host` (or `host`) of the stanzas: the part before "@" in Cinder's services rows. */
      volumeHost: name,
      controllers: z.array(controllerSchema).min(1),
      database: z.strictObject({
        host: z.string().min(1),
        port: port.default(3306),
        user: z.string().min(1),
        cinderSchema: name.default("cinder"),
        caFile: z.string().optional(),
        /** Loopback or a socket-like private path only: a remote database without TLS is refused. */
        tls: z.boolean().default(true),
      }),
      messageQueue: z.strictObject({
        host: z.string().min(1),
        port: port.default(5672),
        user: z.string().min(1),
        vhost: z.string().default("/"),
        caFile: z.string().optional(),
        tls: z.boolean().default(true),
      }),
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
      authUrl: z.url(),
      region: z.string().min(1),
      interface: z.enum(["public", "internal", "admin"]).default("public"),
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
    const sites = Object.entries(pair.sites);
    if (sites.length !== 2) {
      ctx.addIssue({ code: "custom", path: ["sites"], message: `a pair has exactly two sites, ${sites.length} given` });
      return;
    }
    const [[firstName, first], [secondName, second]] = sites as [[string, Site], [string, Site]];
    if (first.backend === second.backend)
      ctx.addIssue({
        code: "custom",
        path: ["sites", secondName, "backend"],
        message: `both sites name the backend "${first.backend}"; each needs a stanza of its own`,
      });
    const sameArray = first.ontap.address === second.ontap.address && first.ontap.port === second.ontap.port;
    if (sameArray && first.svm === second.svm)
      ctx.addIssue({
        code: "custom",
        path: ["sites", secondName, "svm"],
        message: `"${firstName}" and "${secondName}" are the same SVM "${first.svm}" on ${first.ontap.address}`,
      });
    const controllers = pair.cinder.controllers.map((controller) => controller.name);
    controllers.forEach((controller, index) => {
      if (controllers.indexOf(controller) !== index)
        ctx.addIssue({
          code: "custom",
          path: ["cinder", "controllers", index, "name"],
          message: `controller "${controller}" is listed twice`,
        });
    });
    if (pair.novaManage !== undefined && !controllers.includes(pair.novaManage.controller))
      ctx.addIssue({
        code: "custom",
        path: ["novaManage", "controller"],
        message: `"${pair.novaManage.controller}" is none of the controllers ${controllers.join(", ")}`,
      });
    if (new Set(pair.flexVols).size !== pair.flexVols.length)
      ctx.addIssue({ code: "custom", path: ["flexVols"], message: "a FlexVol is listed twice" });
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
