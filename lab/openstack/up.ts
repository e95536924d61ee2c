import { execFileSync } from "node:child_process";
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import type { RowDataPacket } from "mysql2";
import { dataPathLine, descriptionFile, type LabAccount, type LabArray, type LabDescription } from "../description";
import { type Addresses, addressesOf, ports } from "./addresses";
import { ensureCertificates } from "./certificates";
import { ensureIdentity, ensureImageAndFlavor, FLAVOR, IMAGE, writeClientFiles } from "./cloud";
import {
  cinderConfigFiles,
  COMPUTES,
  configFiles,
  CONTROLLERS,
  DATABASE_USER,
  endpointsOf,
  MESSAGE_QUEUE_USER,
  REGION,
  VOLUME_HOST,
} from "./config-files";
import { connectDatabase, databaseUp, PRODUCT_USER, schemasByTools } from "./database";
import type { SimulatorConfig as ArraySimulatorConfig } from "../simulators/ontap/config";
import { ensureSecrets, type Layout, layoutOf, secretReader, writeFile } from "./files";
import { type Progress, runTool, waitUntil } from "./progress";
import { databaseSocket, isStandby, ontapConfigFile, type ServicesInput, servicesOf } from "./services";
import { mainPid, type ServiceId, setSupervisor, start, writeService } from "./service-manager";
import { reserveSlot } from "./slots";

export interface LabUpOptions {
  dir: string;
  /** The Python that has the services installed (tools/python/requirements.txt). */
  python: string;
  /** Keep a supervisor that restarts what dies. */
  supervise?: boolean;
  progress: Progress;
}

const GIB = 2 ** 30;
/** Short, as proofs wait for heartbeats; not so short that a machine under load misses `service_down_time`. */
const REPORT_INTERVAL_SECONDS = 3;
export const SERVICE_MANAGER = path.join(__dirname, "bin", "lab-service");

/** Program → Debian package that has it. */
const PROGRAMS: Record<string, string> = {
  "/usr/sbin/mariadbd": "mariadb-server",
  "/usr/bin/mariadb-install-db": "mariadb-server",
  "/usr/lib/rabbitmq/bin/rabbitmq-server": "rabbitmq-server",
  "/usr/sbin/tgtd": "tgt",
  "/usr/bin/iscsi-inq": "libiscsi-bin",
};

/** What keeps a real lab from running on this machine, in words; undefined when nothing does. */
export function missingForLab(python: string | undefined): string | undefined {
  const packages = new Set(Object.entries(PROGRAMS).flatMap(([file, name]) => (fs.existsSync(file) ? [] : [name])));
  if (packages.size > 0) return `Debian packages are missing: apt-get install ${[...packages].join(" ")}`;
  if (python === undefined || !fs.existsSync(path.join(path.dirname(python), "cinder-volume")))
    return "the Python environment with OpenStack is missing: set CINDER_CHEESECAKE_PYTHON to its python";
  return undefined;
}

/** The database doesn't run as root where its user can reach the folder; under a private home it runs as its owner. */
export function databaseUser(dir: string): string {
  const own = execFileSync("id", ["-un"], { encoding: "utf8" }).trim();
  if (own !== "root") return own;
  for (let folder = dir; folder !== "/"; folder = path.dirname(folder))
    if ((fs.statSync(folder).mode & 0o001) === 0) return own;
  return "mysql";
}

function arraysOf(layout: Layout, addresses: Addresses): LabDescription["arrays"] {
  const site = (name: "iprod" | "idr", cluster: string, aggregate: string, type: "rw" | "dp"): LabArray => ({
    cluster,
    address: addresses.clusterManagement[name],
    port: ports.ontap,
    username: "admin",
    passwordFile: layout.secret(`ontap-${name}`),
    interclusterAddresses: [addresses.intercluster[name]],
    aggregate,
    svm: `svm-${name}`,
    iscsiAddresses: addresses.iscsi[name],
    flexVols: ["pool1", "pool2"].map((flexVol) => ({ name: flexVol, type, sizeBytes: 50 * GIB })),
  });
  return { iprod: site("iprod", "cluster-prod", "aggr_prod", "rw"), idr: site("idr", "cluster-dr", "aggr_dr", "dp") };
}

export function describe(
  layout: Layout,
  slot: number,
  addresses: Addresses,
  python: string,
  computes: readonly string[] = COMPUTES,
): LabDescription {
  const account = (username: "admin" | "demo"): LabAccount => ({
    username,
    project: username,
    passwordFile: layout.secret(username),
    openrc: path.join(layout.dir, `${username}-openrc`),
  });
  return {
    formatVersion: 1,
    dir: layout.dir,
    slot,
    python,
    region: REGION,
    endpoints: endpointsOf(addresses),
    admin: account("admin"),
    demo: account("demo"),
    applicationCredentialFile: path.join(layout.dir, "secrets", "application-credential.json"),
    cloudsYaml: path.join(layout.dir, "clouds.yaml"),
    caFile: layout.tls("ca.pem"),
    database: {
      host: addresses.control,
      port: ports.database,
      socket: databaseSocket(layout),
      services: { user: DATABASE_USER, passwordFile: layout.secret("database-services") },
      product: { user: PRODUCT_USER, passwordFile: layout.secret("database-product") },
    },
    messageQueue: {
      host: addresses.control,
      port: ports.messageQueue,
      user: MESSAGE_QUEUE_USER,
      vhost: "/",
      passwordFile: layout.secret("message-queue"),
    },
    volumeHost: VOLUME_HOST,
    controllers: CONTROLLERS.map((name) => ({
      name,
      cinderConf: layout.etc(name, "cinder", "cinder.conf"),
      services: (["cinder-api", "cinder-scheduler", "cinder-volume"] as const)
        .filter((service) => service !== "cinder-api" || name === CONTROLLERS[0])
        .map((service) => ({
          name: service,
          started: !isStandby({ host: name, name: service }),
          log: layout.log(name, service),
        })),
    })),
    novaManage: {
      program: path.join(path.dirname(python), "nova-manage"),
      novaConf: layout.etc("control", "nova", "nova.conf"),
    },
    computes: computes.map((name) => ({
      name,
      novaConf: layout.etc(name, "nova", "nova.conf"),
      // As drivers/nova_virt/lab_hypervisor.py makes it.
      initiator: `iqn.1994-05.com.redhat:${crypto.createHash("sha1").update(name).digest("hex").slice(0, 12)}`,
      hypervisorLog: layout.state(name, "nova", "hypervisor.jsonl"),
      failDeadPathDetachFile: layout.state(name, "nova", "fail-dead-path-detach"),
    })),
    arrays: arraysOf(layout, addresses),
    // Always: on this lab the driver and the data path are to be proved.
    dataPath: "iscsi",
    filesystem: "ext4",
    arrayControl: { address: addresses.arrayControl, port: ports.arrayControl },
    serviceManager: SERVICE_MANAGER,
    image: IMAGE,
    flavor: FLAVOR,
  };
}

/** What the ONTAP simulator is started with; holds the clusters' passwords. */
export function ontapConfig(layout: Layout, lab: LabDescription, timing?: ArraySimulatorConfig["timing"]) {
  const secret = secretReader(layout);
  const cluster = (site: "iprod" | "idr") => {
    const {
      cluster: name,
      address,
      port,
      username,
      interclusterAddresses,
      aggregate,
      svm,
      iscsiAddresses,
      flexVols,
    } = lab.arrays[site];
    const svms = [{ name: svm, iscsiAddresses, volumes: flexVols }];
    const password = secret(`ontap-${site}`);
    return { name, address, port, username, password, interclusterAddresses, aggregates: [aggregate], svms };
  };
  return {
    stateDir: layout.state("ontap"),
    tls: { certFile: layout.tls("clusters.pem"), keyFile: layout.tls("clusters.key") },
    control: lab.arrayControl,
    clusters: [cluster("iprod"), cluster("idr")],
    iscsi: lab.dataPath === "files" ? "files" : "tgtd",
    ...(timing === undefined ? {} : { timing }),
  };
}

/** Random keys in the form that Keystone's fernet repositories want: URL-safe base64 with padding. */
function ensureKeystoneKeys(layout: Layout): void {
  for (const repository of ["fernet-keys", "credential-keys"])
    for (const name of ["0", "1"]) {
      const file = layout.etc("control", "keystone", repository, name);
      const key = crypto.randomBytes(32).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
      if (!fs.existsSync(file)) writeFile(file, key, 0o600);
    }
}

/** All files of the lab; a repeat keeps secrets, certificates, keys and the controllers' cinder.conf. */
function writeLabFiles(layout: Layout, lab: LabDescription, services: ServicesInput): void {
  const { addresses, python } = services;
  // First, so that `down` knows the lab from here on.
  writeFile(descriptionFile(layout.dir), JSON.stringify(lab, null, 2) + "\n");
  fs.mkdirSync(path.join(layout.dir, "secrets"), { recursive: true, mode: 0o700 });
  ensureSecrets(layout);
  ensureCertificates(layout, [lab.arrays.iprod.address, lab.arrays.idr.address]);
  ensureKeystoneKeys(layout);
  const pythonPrefix = path.dirname(path.dirname(python));
  const input = { layout, addresses, pythonPrefix, secret: secretReader(layout) };
  for (const { file, text, mode } of configFiles(input)) writeFile(file, text, mode);
  for (const { file, text, mode } of cinderConfigFiles(input, REPORT_INTERVAL_SECONDS))
    if (!fs.existsSync(file)) writeFile(file, text, mode);
  // Nova's WSGI module reads both files from one folder.
  fs.copyFileSync(path.join(pythonPrefix, "etc/nova/api-paste.ini"), layout.etc("control", "nova", "api-paste.ini"));
  writeFile(ontapConfigFile(layout), JSON.stringify(ontapConfig(layout, lab), null, 2) + "\n", 0o600);
  const folders = [
    ...[
      "lock",
      "coordination",
      "root-volumes",
      "glance/images",
      "glance/staging",
      "glance/tasks",
      "neutron",
      "nova",
    ].map((name) => layout.state("control", name)),
    ...["home", "mnesia", "log"].map((name) => layout.state("control", "rabbitmq", name)),
    ...CONTROLLERS.flatMap((name) => ["lock", "cinder"].map((folder) => layout.state(name, folder))),
    ...COMPUTES.flatMap((name) => ["lock", "nova/instances"].map((folder) => layout.state(name, folder))),
    layout.state("ontap"),
  ];
  for (const folder of folders) fs.mkdirSync(folder, { recursive: true });
  const cookie = layout.state("control", "rabbitmq", "home", ".erlang.cookie");
  if (!fs.existsSync(cookie)) writeFile(cookie, secretReader(layout)("erlang-cookie"), 0o400);
  for (const { host, name, definition } of servicesOf(services)) writeService(layout.dir, { host, name }, definition);
  writeClientFiles(addresses, lab.cloudsYaml, [lab.admin, lab.demo]);
}

export async function answers(url: string): Promise<boolean> {
  return (await fetch(url)).status < 500;
}

/** The message queue's port accepts and greets: a broker that is still booting closes the connection. */
function brokerAnswers(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.createConnection({ host, port: ports.messageQueue, timeout: 2000 });
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", () => socket.write(Buffer.from("AMQP\0\0\x09\x01", "latin1")));
    socket.once("data", () => end(true));
    for (const event of ["error", "close", "timeout"]) socket.once(event, () => end(false));
  });
}

/**
 * Brings the lab in `dir` up, from nothing or from whatever an earlier `up` left, and returns its description. What
 * doesn't start is an error with the end of its log; the rest keeps running, so that it can be looked at.
 */
export async function labUp({ dir, python, supervise = false, progress }: LabUpOptions): Promise<LabDescription> {
  const missing = missingForLab(python);
  if (missing !== undefined) throw new Error(`A lab can't run here: ${missing}.`);
  const folder = path.resolve(dir);
  fs.mkdirSync(folder, { recursive: true });
  fs.chmodSync(folder, 0o711); // the database's user passes through
  const layout = layoutOf(fs.realpathSync(folder));
  if (databaseSocket(layout).length > 100) throw new Error(`The path ${folder} is too long for a socket in it.`);

  const slot = await reserveSlot(layout.dir);
  const addresses = addressesOf(slot);
  const node = [process.execPath, "-r", path.join(__dirname, "../../node_modules/ts-node/register")];
  const services: ServicesInput = { layout, addresses, python, node, databaseUser: databaseUser(layout.dir) };
  const lab = describe(layout, slot, addresses, python);
  writeLabFiles(layout, lab, services);
  progress(`slot ${slot}: the lab in ${layout.dir} is on ${addresses.control.replace(/\.1$/, ".0")}/24`);
  progress(dataPathLine(lab));

  const control = (name: string): ServiceId => ({ host: "control", name });
  const up = (id: ServiceId) => start(layout.dir, id);
  const { identity, compute, blockStorage, image, network, placement } = lab.endpoints;

  const messageQueue = (async () => {
    await up(control("rabbitmq"));
    await waitUntil(layout, "RabbitMQ answers", () => brokerAnswers(addresses.control), [control("rabbitmq")]);
    progress("rabbitmq answers");
  })();
  const arrays = (async () => {
    const simulator = { host: "ontap", name: "ontap-simulator" };
    if (!fs.existsSync(path.join(__dirname, "..", "simulators", "ontap", "main.ts"))) return;
    await up(simulator);
    const { address, port } = lab.arrayControl;
    await waitUntil(layout, "the ONTAP clusters answer", () => answers(`http://${address}:${port}/`), [simulator]);
    progress("both ONTAP clusters answer");
  })();
  const keystone = (async () => {
    await databaseUp(services, schemasByTools(layout, python), progress);
    const bootstrapped = path.join(layout.dir, "run", "keystone-bootstrapped");
    if (!fs.existsSync(bootstrapped)) {
      const conf = layout.etc("control", "keystone", "keystone.conf");
      const manage = path.join(path.dirname(python), "keystone-manage");
      await runTool(layout, "keystone-bootstrap", manage, ["--config-file", conf, "bootstrap"], {
        OS_BOOTSTRAP_PASSWORD: secretReader(layout)("admin"),
        OS_BOOTSTRAP_REGION_ID: REGION,
        OS_BOOTSTRAP_ADMIN_URL: identity,
        OS_BOOTSTRAP_INTERNAL_URL: identity,
        OS_BOOTSTRAP_PUBLIC_URL: identity,
      });
      writeFile(bootstrapped, "");
    }
    await up(control("keystone"));
    await waitUntil(layout, "Keystone answers", () => answers(identity), [control("keystone")]);
    await ensureIdentity(layout, addresses, lab.applicationCredentialFile);
    progress("keystone answers; users, projects and catalogue are there");
  })();
  await settled([keystone, messageQueue, arrays]);

  // The conductor first: a nova-compute whose first call finds no conductor's queue waits a minute for its answer.
  const connection = await connectDatabase(layout, addresses);
  const count = async (sql: string): Promise<number> => {
    const [rows] = await connection.query<(RowDataPacket & { n: number })[]>(`SELECT count(*) AS n FROM ${sql}`);
    return Number(rows[0]?.n ?? 0);
  };
  try {
    const apis: [ServiceId, string][] = [
      [control("placement"), placement],
      [control("glance"), image],
      [control("neutron"), network],
      [control("nova-api"), compute],
      [{ host: "controller-1", name: "cinder-api" }, blockStorage],
    ];
    const apiIds = apis.map(([id]) => id);
    await up(control("nova-conductor"));
    await up(control("nova-scheduler"));
    for (const id of apiIds) await up(id);
    const workers = servicesOf(services).filter(({ name }) => name === "cinder-scheduler" || name === "cinder-volume");
    // Where an operator has moved cinder-volume to the standby, it stays there: two at once would be split brain.
    const moved = workers.some((id) => isStandby(id) && mainPid(layout.dir, id) !== undefined);
    const started = workers.filter((id) => (id.name === "cinder-volume" ? isStandby(id) === moved : true));
    for (const id of started) await up(id);
    await waitUntil(
      layout,
      "nova-conductor reports",
      async () =>
        (await count(
          "nova.services WHERE `binary`='nova-conductor' AND last_seen_up > utc_timestamp() - INTERVAL 10 SECOND",
        )) > 0,
      [control("nova-conductor")],
    );
    const computeIds = COMPUTES.map((host) => ({ host, name: "nova-compute" }));
    for (const id of computeIds) await up(id);
    await waitUntil(
      layout,
      "all APIs answer",
      async () => (await Promise.all(apis.map(([, url]) => answers(url).catch(() => false)))).every(Boolean),
      apiIds,
    );
    progress("placement, glance, neutron, nova and cinder answer");
    await ensureImageAndFlavor(layout, addresses);
    progress("image and flavor are there");
    await waitUntil(
      layout,
      "the schedulers and cinder-volume report",
      async () =>
        (await count("cinder.services WHERE deleted=0 AND updated_at > utc_timestamp() - INTERVAL 10 SECOND")) >=
        started.length,
      started,
    );
    await waitUntil(
      layout,
      "both compute hosts are mapped into the cell",
      async () => (await count("nova_api.host_mappings")) >= COMPUTES.length,
      [...computeIds, control("nova-scheduler")],
    );
  } finally {
    await connection.end();
  }
  await setSupervisor(layout.dir, supervise ? "died" : "off", SERVICE_MANAGER);
  progress("the lab is up");
  return lab;
}

/** Waits for all, and then reports the first failure: no start goes on behind an error. */
export async function settled(work: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((each) => each.status === "rejected");
  if (failed) throw failed.reason;
}
