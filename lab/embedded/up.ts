/**
 * The embedded lab: the same description, folder, addresses, service manager, database and ONTAP simulator as the real
 * one, with lab/simulators/openstack in place of OpenStack and RabbitMQ. Needs Node and MariaDB.
 */
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import type { RowDataPacket } from "mysql2";
import mysql from "mysql2/promise";
import { dataPathLine, descriptionFile, type LabDescription, readLab, type StorageFacts } from "../description";
import { type Addresses, addressesOf, ports } from "../openstack/addresses";
import { ensureCertificates } from "../openstack/certificates";
import { APPLICATION_CREDENTIAL, FLAVOR, IMAGE, IMAGE_BYTES, writeClientFiles } from "../openstack/cloud";
import { cinderConfigFiles, COMPUTES, CONTROLLERS, endpointsOf, REGION } from "../openstack/config-files";
import { connectDatabase, databaseUp, type Schemas } from "../openstack/database";
import { ensureSecrets, type Layout, layoutOf, secretReader, writeFile } from "../openstack/files";
import { type Progress, waitUntil } from "../openstack/progress";
import {
  mainPid,
  processesOfLab,
  type ServiceId,
  setSupervisor,
  start,
  writeService,
} from "../openstack/service-manager";
import {
  databaseService,
  databaseSocket,
  isStandby,
  type LabService,
  ontapConfigFile,
  ontapService,
} from "../openstack/services";
import { reserveSlot } from "../openstack/slots";
import { answers, databaseUser, describe, ontapConfig, SERVICE_MANAGER, settled } from "../openstack/up";
import { findProgram } from "../programs";
import type { SimulatorConfig as ArraySimulatorConfig } from "../simulators/ontap/config";
import type { SimulatorConfig } from "../simulators/openstack/config";
import { chooseStorage } from "./data-path";
import { transpiledSimulators } from "./transpiled";

export interface EmbeddedLabOptions {
  dir: string;
  supervise?: boolean;
  /** Compute hosts: each sees 4,095 LUNs of an SVM at most. A lab that is there keeps at least those it has. */
  computes?: number;
  /** How long everything takes; a lab that is there keeps what it has. */
  timing?: LabTiming;
  progress: Progress;
}

/** Of a lab that isn't as fast as it can be. */
export interface LabTiming {
  /** Of OpenStack, in ms; what isn't named stays short. */
  delays: Partial<SimulatorConfig["delays"]>;
  /** Of both clusters. */
  array: NonNullable<ArraySimulatorConfig["timing"]>;
}

const projectRoot = path.resolve(__dirname, "..", "..");
/** Of the services: proofs wait for two and more. */
const HEARTBEAT_SECONDS = 1;
const SHORT_DELAYS: SimulatorConfig["delays"] = {
  boot: 200,
  stop: 200,
  start: 200,
  attach: 50,
  detach: 50,
  create: 50,
  delete: 50,
  deadPathDetach: 3000,
};
const FIXTURES = path.join(projectRoot, "test", "fixtures");
/** Schema → its tables, as the services' own tools made them. */
const SCHEMA_FILES = {
  cinder: path.join(FIXTURES, "cinder-29-schema.sql"),
  nova: path.join(FIXTURES, "openstack-traffic", "nova-schema.sql"),
  nova_api: path.join(FIXTURES, "openstack-traffic", "nova-api-schema.sql"),
};

/** What keeps an embedded lab from running on this machine, in words; undefined when nothing does. */
export function missingForEmbeddedLab(find = findProgram, platform: string = process.platform): string | undefined {
  if (platform !== "linux")
    return "it needs Linux, whose /proc tells of its services, and which has an address of 127.0.0.0/8 for each; take a container or a virtual machine (docs/lab.md)";
  const lacking = ["mariadbd", "mariadb-install-db"].filter((name) => find(name) === undefined);
  if (lacking.length === 0) return undefined;
  return `MariaDB is missing (${lacking.join(", ")}): run \`npm run setup -- --need embedded\`, which gets it or says how`;
}

function schemasFromFiles(layout: Layout, addresses: Addresses): Schemas {
  return {
    fingerprint: () =>
      Object.values(SCHEMA_FILES)
        .map((file) => fs.readFileSync(file, "utf8"))
        .join("\n"),
    create: async () => {
      const password = secretReader(layout)("database-services");
      for (const [database, file] of Object.entries(SCHEMA_FILES)) {
        const at = { host: addresses.control, port: ports.database, user: "openstack", password, database };
        const connection = await mysql.createConnection({ ...at, multipleStatements: true });
        try {
          await connection.query(`SET FOREIGN_KEY_CHECKS = 0; ${fs.readFileSync(file, "utf8")}`);
        } finally {
          await connection.end();
        }
      }
    },
  };
}

export const simulatorConfigFile = (layout: Layout) => layout.etc("control", "openstack", "simulator.json");
const hexId = (): string => crypto.randomBytes(16).toString("hex");

const computesOf = (lab: LabDescription): SimulatorConfig["computes"] =>
  lab.computes.map(({ name, initiator, hypervisorLog, failDeadPathDetachFile }) => ({
    name,
    initiator,
    hypervisorLog,
    failDeadPathDetachFile,
  }));

/** Made once for each lab: ids stay what they are. */
function simulatorConfig(
  layout: Layout,
  lab: LabDescription,
  addresses: Addresses,
  timing: LabTiming | undefined,
): SimulatorConfig {
  const secret = secretReader(layout);
  const urls = endpointsOf(addresses);
  const named = (name: string) => ({ id: hexId(), name });
  const [admin, demo, service] = [named("admin"), named("demo"), named("service")];
  const user = (name: string, password: string) => ({ ...named(name), password });
  const [adminUser, demoUser] = [user("admin", secret("admin")), user("demo", secret("demo"))];
  const serviceUsers = ["cinder", "nova"].map((name) => user(name, secret("keystone-service-users")));
  const everything = ["admin", "reader", "manager", "member"];
  const credential = {
    id: hexId(),
    name: APPLICATION_CREDENTIAL,
    secret: crypto.randomBytes(32).toString("base64url"),
    user: adminUser.id,
    project: admin.id,
  };
  const catalogue: [name: string, type: string, url: string][] = [
    ["keystone", "identity", urls.identity],
    ["cinder", "block-storage", urls.blockStorage],
    ["cinderv3", "volumev3", urls.blockStorage],
    ["nova", "compute", urls.compute],
    ["glance", "image", urls.image],
    ["neutron", "network", urls.network],
    ["placement", "placement", urls.placement],
  ];
  return {
    stateDir: layout.state("control", "openstack"),
    address: addresses.control,
    ports: {
      keystone: ports.keystone,
      nova: ports.nova,
      cinder: ports.cinder,
      placement: ports.placement,
      glance: ports.glance,
      neutron: ports.neutron,
    },
    region: REGION,
    identity: {
      key: crypto.randomBytes(32).toString("base64url"),
      tokenSeconds: 86_400,
      projects: [admin, demo, service],
      users: [adminUser, demoUser, ...serviceUsers],
      roles: [...everything, "service"].map(named),
      grants: [
        { user: adminUser.id, project: admin.id, roles: everything },
        { user: adminUser.id, project: demo.id, roles: ["admin"] },
        { user: demoUser.id, project: demo.id, roles: ["member", "reader"] },
        ...serviceUsers.map(({ id }) => ({ user: id, project: service.id, roles: ["admin", "service"] })),
      ],
      applicationCredentials: [credential],
      services: catalogue.map(([name, type, url]) => ({ ...named(name), type, url, endpointId: hexId() })),
    },
    database: {
      host: addresses.control,
      port: ports.database,
      user: lab.database.services.user,
      password: secret("database-services"),
    },
    messageQueue: {
      host: addresses.control,
      port: ports.messageQueue,
      user: lab.messageQueue.user,
      password: secret("message-queue"),
      vhost: lab.messageQueue.vhost,
    },
    image: { id: crypto.randomUUID(), name: IMAGE, sizeBytes: IMAGE_BYTES },
    flavor: { id: crypto.randomUUID(), name: FLAVOR, ramMiB: 64, vcpus: 1, diskGiB: 1 },
    controllers: lab.controllers.map(({ name, cinderConf }) => ({ name, cinderConf })),
    computes: computesOf(lab),
    dataPath: lab.dataPath,
    heartbeatSeconds: HEARTBEAT_SECONDS,
    serviceDownSeconds: 12,
    rpcTimeoutSeconds: 60,
    housekeepingSeconds: 600,
    delays: { ...SHORT_DELAYS, ...timing?.delays },
  };
}

function writeLabFiles(
  layout: Layout,
  lab: LabDescription,
  addresses: Addresses,
  services: readonly LabService[],
  timing: LabTiming | undefined,
): void {
  // First, so that `down` knows the lab from here on.
  writeFile(descriptionFile(layout.dir), JSON.stringify(lab, null, 2) + "\n");
  fs.mkdirSync(path.join(layout.dir, "secrets"), { recursive: true, mode: 0o700 });
  ensureSecrets(layout);
  ensureCertificates(layout, [lab.arrays.iprod.address, lab.arrays.idr.address]);
  const input = { layout, addresses, pythonPrefix: path.join(layout.dir, "no-python"), secret: secretReader(layout) };
  for (const { file, text, mode } of cinderConfigFiles(input, HEARTBEAT_SECONDS))
    if (!fs.existsSync(file)) writeFile(file, text, mode);
  const arrays = ontapConfig(layout, lab, formerArrayTiming(layout) ?? timing?.array);
  writeFile(ontapConfigFile(layout), JSON.stringify(arrays, null, 2) + "\n", 0o600);
  const file = simulatorConfigFile(layout);
  const simulators = fs.existsSync(file)
    ? { ...readSimulatorConfig(layout), dataPath: lab.dataPath, computes: computesOf(lab) }
    : simulatorConfig(layout, lab, addresses, timing);
  writeFile(file, JSON.stringify(simulators, null, 2) + "\n", 0o600);
  const [credential] = readSimulatorConfig(layout).identity.applicationCredentials;
  writeFile(
    lab.applicationCredentialFile,
    JSON.stringify({ id: credential?.id, secret: credential?.secret }) + "\n",
    0o600,
  );
  const folders = [
    layout.state("control", "root-volumes"),
    layout.state("control", "openstack"),
    ...lab.computes.map(({ name }) => layout.state(name, "nova")),
    layout.state("ontap"),
  ];
  for (const folder of folders) fs.mkdirSync(folder, { recursive: true });
  for (const { host, name, definition } of services) writeService(layout.dir, { host, name }, definition);
  writeClientFiles(addresses, lab.cloudsYaml, [lab.admin, lab.demo]);
}

function formerArrayTiming(layout: Layout): ArraySimulatorConfig["timing"] {
  const file = ontapConfigFile(layout);
  if (!fs.existsSync(file)) return undefined;
  return (JSON.parse(fs.readFileSync(file, "utf8")) as ArraySimulatorConfig).timing;
}

export function readSimulatorConfig(layout: Layout): SimulatorConfig {
  return JSON.parse(fs.readFileSync(simulatorConfigFile(layout), "utf8")) as SimulatorConfig;
}

function servicesOf(layout: Layout, lab: LabDescription, addresses: Addresses, user: string): LabService[] {
  const simulators = transpiledSimulators();
  const node = [process.execPath, "-r", path.join(projectRoot, "node_modules/ts-node/register")];
  const simulated = (host: string, name: string, service = name): LabService => ({
    host,
    name,
    definition: {
      command: [
        process.execPath,
        path.join(simulators, "openstack", "main.js"),
        ...["--config", simulatorConfigFile(layout), "--service", service, "--host", host],
      ],
      env: {
        PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
        NODE_PATH: path.join(projectRoot, "node_modules"),
        NODE_COMPILE_CACHE: path.join(simulators, "compile-cache"),
        no_proxy: "*",
      },
      log: layout.log(host, name),
      stopTimeoutSeconds: 10,
    },
  });
  return [
    databaseService({ layout, addresses, databaseUser: user }),
    ontapService({ layout, node }),
    simulated("control", "rabbitmq"),
    simulated("control", "keystone", "identity"),
    simulated("control", "nova-api"),
    ...CONTROLLERS.flatMap((controller) => [
      ...(controller === CONTROLLERS[0] ? [simulated(controller, "cinder-api")] : []),
      simulated(controller, "cinder-scheduler"),
      simulated(controller, "cinder-volume"),
    ]),
    ...lab.computes.map(({ name }) => simulated(name, "nova-compute")),
  ];
}

async function ensureFlavor(connection: mysql.Connection, { flavor }: SimulatorConfig): Promise<void> {
  const [found] = await connection.query<RowDataPacket[]>("SELECT id FROM nova_api.flavors WHERE flavorid = ?", [
    flavor.id,
  ]);
  if (found.length > 0) return;
  await connection.query(
    "INSERT INTO nova_api.flavors (created_at, name, memory_mb, vcpus, swap, flavorid, rxtx_factor, root_gb, ephemeral_gb, disabled, is_public) VALUES (UTC_TIMESTAMP(), ?, ?, ?, 0, ?, 1, ?, 0, 0, 1)",
    [flavor.name, flavor.ramMiB, flavor.vcpus, flavor.id, flavor.diskGiB],
  );
}

/** What a lab that runs was started with holds until it's down: its services know no other. */
function storageOf(dir: string): StorageFacts {
  const chosen = chooseStorage();
  if (!fs.existsSync(descriptionFile(dir)) || processesOfLab(dir).length === 0) return chosen;
  const { dataPath = "iscsi", dataPathReason, filesystem = "ext4" }: Partial<StorageFacts> = readLab(dir);
  const forced = process.env["CHEESECAKE_DATA_PATH"] ?? "";
  if (forced !== "" && forced !== dataPath)
    throw new Error(
      `CHEESECAKE_DATA_PATH is ${forced}, but the lab in ${dir} runs with the data path ${dataPath}: take it down first, with \`npm run lab -- down --dir ${dir}\`.`,
    );
  return { dataPath, filesystem, ...(dataPathReason === undefined ? {} : { dataPathReason }) };
}

function computeNames(dir: string, wanted: number): string[] {
  if (!Number.isInteger(wanted) || wanted < 1)
    throw new Error(`${wanted} compute hosts: a whole number from 1 on is needed.`);
  const present = fs.existsSync(descriptionFile(dir)) ? readLab(dir).computes.length : 0;
  return Array.from({ length: Math.max(wanted, present) }, (_, at) => `compute-${at + 1}`);
}

/** As the real lab's `labUp`: from nothing or from whatever an earlier one left. */
export async function embeddedLabUp({
  dir,
  supervise = false,
  computes: wantedComputes = COMPUTES.length,
  timing,
  progress,
}: EmbeddedLabOptions): Promise<LabDescription> {
  const missing = missingForEmbeddedLab();
  if (missing !== undefined) throw new Error(`A lab can't run here: ${missing}.`);
  const folder = path.resolve(dir);
  fs.mkdirSync(folder, { recursive: true });
  fs.chmodSync(folder, 0o711); // the database's user passes through
  const layout = layoutOf(fs.realpathSync(folder));
  if (databaseSocket(layout).length > 100) throw new Error(`The path ${folder} is too long for a socket in it.`);

  const slot = await reserveSlot(layout.dir);
  const addresses = addressesOf(slot);
  const computes = computeNames(layout.dir, wantedComputes);
  const lab = { ...describe(layout, slot, addresses, "", computes), ...storageOf(layout.dir) };
  const user = databaseUser(layout.dir);
  const services = servicesOf(layout, lab, addresses, user);
  writeLabFiles(layout, lab, addresses, services, timing);
  progress(`slot ${slot}: the lab in ${layout.dir} is on ${addresses.control.replace(/\.1$/, ".0")}/24`);
  progress(dataPathLine(lab));

  const up = (id: ServiceId) => start(layout.dir, id);
  const simulator = { host: "ontap", name: "ontap-simulator" };
  const { address, port } = lab.arrayControl;
  await settled([
    (async () => {
      await up(simulator);
      await waitUntil(layout, "the ONTAP clusters answer", () => answers(`http://${address}:${port}/`), [simulator]);
      progress("both ONTAP clusters answer");
    })(),
    databaseUp({ layout, addresses, databaseUser: user }, schemasFromFiles(layout, addresses), progress),
  ]);
  const connection = await connectDatabase(layout, addresses);
  try {
    await ensureFlavor(connection, readSimulatorConfig(layout));
    // Where an operator has moved cinder-volume to the standby, it stays there: two at once would be split brain.
    const moved = services.some((id) => isStandby(id) && mainPid(layout.dir, id) !== undefined);
    const started = services.filter((id) => (id.name === "cinder-volume" ? isStandby(id) === moved : true));
    for (const id of started) await up(id);
    const apis = Object.values(lab.endpoints);
    await waitUntil(
      layout,
      "all APIs answer",
      async () => (await Promise.all(apis.map((url) => answers(url).catch(() => false)))).every(Boolean),
      started,
    );
    const count = async (sql: string): Promise<number> => {
      const [rows] = await connection.query<RowDataPacket[]>(`SELECT count(*) AS n FROM ${sql}`);
      return Number((rows[0] as { n: number } | undefined)?.n ?? 0);
    };
    const workers = started.filter(({ name }) => name === "cinder-scheduler" || name === "cinder-volume").length;
    await waitUntil(
      layout,
      "all services report",
      async () =>
        (await count("cinder.services WHERE deleted=0 AND updated_at > utc_timestamp() - INTERVAL 10 SECOND")) >=
          workers &&
        (await count(
          "nova.services WHERE `binary`='nova-compute' AND last_seen_up > utc_timestamp() - INTERVAL 10 SECOND",
        )) >= computes.length,
      started,
    );
  } finally {
    await connection.end();
  }
  await setSupervisor(layout.dir, supervise ? "died" : "off", SERVICE_MANAGER);
  progress("the lab is up");
  return lab;
}
