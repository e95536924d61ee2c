/** What runs on which host of the lab, as definitions for the service manager. */
import * as path from "node:path";
import { requireProgram } from "../programs";
import { type Addresses, ports } from "./addresses";
import { COMPUTES, CONTROLLERS } from "./config-files";
import type { Layout } from "./files";
import type { ServiceDefinition, ServiceId } from "./service-manager";

export interface LabService extends ServiceId {
  definition: ServiceDefinition;
}

export interface ServicesInput {
  layout: Layout;
  addresses: Addresses;
  /** The Python that has OpenStack installed. */
  python: string;
  /** Runs the lab's own TypeScript: program and arguments before the script. */
  node: string[];
  /** User of the operating system that the database runs as. */
  databaseUser: string;
}

const DRIVERS = path.join(__dirname, "drivers");
const RABBITMQ = "/usr/lib/rabbitmq/bin"; // the one on PATH insists on being started by its own user

export const databaseSocket = (layout: Layout) => layout.state("control", "mariadb", "my.sock");
export const databaseFolder = (layout: Layout) => layout.state("control", "mariadb", "data");
export const databaseInitFile = (layout: Layout) => layout.state("control", "mariadb", "accounts.sql");

/** Environment of `rabbitmqctl` and the server: a node of its own name, with its own cookie and epmd. */
export function rabbitmqEnvironment({ layout, addresses }: ServicesInput): Record<string, string> {
  const etc = (file: string) => layout.etc("control", "rabbitmq", file);
  const state = (file: string) => layout.state("control", "rabbitmq", file);
  return {
    HOME: state("home"),
    RABBITMQ_NODENAME: "lab@localhost",
    RABBITMQ_NODE_IP_ADDRESS: addresses.control,
    RABBITMQ_NODE_PORT: String(ports.messageQueue),
    RABBITMQ_DIST_PORT: String(addresses.erlang.distributionPort),
    RABBITMQ_MNESIA_BASE: state("mnesia"),
    RABBITMQ_LOG_BASE: state("log"),
    RABBITMQ_PID_FILE: state("pid"),
    RABBITMQ_CONFIG_FILE: etc("rabbitmq"),
    RABBITMQ_CONF_ENV_FILE: etc("rabbitmq-env.conf"),
    RABBITMQ_ENABLED_PLUGINS_FILE: etc("enabled_plugins"),
    RABBITMQ_ADVANCED_CONFIG_FILE: etc("advanced.config"),
    ERL_EPMD_PORT: String(addresses.erlang.epmdPort),
    ERL_EPMD_ADDRESS: "127.0.0.1",
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
  };
}

export function ontapConfigFile(layout: Layout): string {
  return layout.etc("ontap", "simulator.json");
}

/** The same in both flavours. */
export function databaseService({
  layout,
  addresses,
  databaseUser,
}: Pick<ServicesInput, "layout" | "addresses" | "databaseUser">): LabService {
  const command = [
    requireProgram("mariadbd"),
    "--no-defaults",
    `--user=${databaseUser}`,
    `--datadir=${databaseFolder(layout)}`,
    `--socket=${databaseSocket(layout)}`,
    `--pid-file=${layout.state("control", "mariadb", "pid")}`,
    `--init-file=${databaseInitFile(layout)}`,
    `--bind-address=${addresses.control}`,
    `--port=${ports.database}`,
    "--skip-name-resolve",
    "--max-connections=1024",
    "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=256M",
    "--innodb-log-file-size=16M",
    "--performance-schema=OFF",
  ];
  const definition = { command, env: {}, log: layout.log("control", "mariadb"), stopTimeoutSeconds: 30 };
  return { host: "control", name: "mariadb", definition };
}

/** The same in both flavours. */
export function ontapService({ layout, node }: Pick<ServicesInput, "layout" | "node">): LabService {
  const script = path.join(__dirname, "..", "simulators", "ontap", "main.ts");
  return {
    host: "ontap",
    name: "ontap-simulator",
    definition: {
      command: [...node, script, "--config", ontapConfigFile(layout)],
      env: {
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        no_proxy: "*",
        TS_NODE_TRANSPILE_ONLY: "true",
        TS_NODE_PROJECT: path.join(__dirname, "..", "..", "tsconfig.json"),
      },
      log: layout.log("ontap", "ontap-simulator"),
      stopTimeoutSeconds: 10,
    },
  };
}

export function servicesOf(input: ServicesInput): LabService[] {
  const { layout, addresses, python } = input;
  const bin = path.dirname(python);
  const environment = {
    PYTHONWARNINGS: "ignore",
    PYTHONDONTWRITEBYTECODE: "1", // the drivers are in the checkout
    PATH: `${bin}:/usr/sbin:/usr/bin:/sbin:/bin`,
    no_proxy: "*",
  };
  const service = (
    host: string,
    name: string,
    command: string[],
    env: Record<string, string> = {},
    stopTimeoutSeconds = 10,
  ): LabService => ({
    host,
    name,
    definition: { command, env: { ...environment, ...env }, log: layout.log(host, name), stopTimeoutSeconds },
  });
  const wsgi = (module: string, port: number, ...args: string[]) => [
    python,
    path.join(DRIVERS, "serve_wsgi.py"),
    module,
    addresses.control,
    String(port),
    ...args,
  ];
  const cinder = (controller: string) => ["--config-file", layout.etc(controller, "cinder", "cinder.conf")];
  const nova = (host: string) => ["--config-file", layout.etc(host, "nova", "nova.conf")];
  return [
    databaseService(input),
    service("control", "rabbitmq", [path.join(RABBITMQ, "rabbitmq-server")], rabbitmqEnvironment(input), 20),
    service("control", "keystone", wsgi("keystone.wsgi.api", ports.keystone), {
      OS_KEYSTONE_CONFIG_FILES: layout.etc("control", "keystone", "keystone.conf"),
    }),
    service("control", "glance", wsgi("glance.wsgi.api", ports.glance), {
      OS_GLANCE_CONFIG_DIR: layout.etc("control", "glance"),
      OS_GLANCE_CONFIG_FILES: "glance-api.conf",
    }),
    service("control", "placement", wsgi("placement.wsgi.api", ports.placement), {
      OS_PLACEMENT_CONFIG_DIR: layout.etc("control", "placement"),
    }),
    service(
      "control",
      "neutron",
      wsgi("neutron.wsgi.api", ports.neutron, "--config-file", layout.etc("control", "neutron", "neutron.conf")),
    ),
    service("control", "nova-api", wsgi("nova.wsgi.osapi_compute", ports.nova), {
      OS_NOVA_CONFIG_DIR: layout.etc("control", "nova"),
    }),
    service("control", "nova-conductor", [path.join(bin, "nova-conductor"), ...nova("control")]),
    service("control", "nova-scheduler", [path.join(bin, "nova-scheduler"), ...nova("control")]),
    ...CONTROLLERS.flatMap((controller) => [
      ...(controller === "controller-1"
        ? [
            service(controller, "cinder-api", wsgi("cinder.wsgi.api", ports.cinder, ...cinder(controller)), {
              OS_CINDER_DISABLE_EVENTLET_PATCHING: "1", // cheroot brings threads of its own
            }),
          ]
        : []),
      service(controller, "cinder-scheduler", [path.join(bin, "cinder-scheduler"), ...cinder(controller)]),
      service(controller, "cinder-volume", [path.join(bin, "cinder-volume"), ...cinder(controller)], {
        PYTHONPATH: DRIVERS,
      }),
    ]),
    ...COMPUTES.map((host) =>
      service(host, "nova-compute", [python, path.join(DRIVERS, "nova_compute.py"), ...nova(host)]),
    ),
    ontapService(input),
  ];
}

/** Installed but left stopped by `up`: the passive cinder-volume. */
export function isStandby({ host, name }: ServiceId): boolean {
  return name === "cinder-volume" && host !== CONTROLLERS[0];
}
