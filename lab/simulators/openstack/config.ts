/** What the simulator's processes are started with: one JSON file for all of them (mode 0600, it holds passwords). */
import { readFileSync, statSync } from "node:fs";

export interface Named {
  id: string;
  name: string;
}

export interface SimulatorConfig {
  /** Everything that isn't in the database: Glance's images, Neutron's groups. */
  stateDir: string;
  /** All services listen here. */
  address: string;
  ports: Record<"keystone" | "nova" | "cinder" | "placement" | "glance" | "neutron", number>;
  region: string;
  identity: {
    /** Signs tokens. */
    key: string;
    tokenSeconds: number;
    projects: Named[];
    users: (Named & { password: string })[];
    roles: Named[];
    /** Roles of a user on a project, by name. */
    grants: { user: string; project: string; roles: string[] }[];
    applicationCredentials: (Named & { secret: string; user: string; project: string })[];
    /** The catalogue, besides Keystone itself. */
    services: (Named & { type: string; url: string; endpointId: string })[];
  };
  database: { host: string; port: number; user: string; password: string };
  messageQueue: { host: string; port: number; user: string; password: string; vhost: string };
  image: Named & { sizeBytes: number };
  flavor: { id: string; name: string; ramMiB: number; vcpus: number; diskGiB: number };
  controllers: { name: string; cinderConf: string }[];
  computes: {
    name: string;
    initiator: string;
    /** One JSON object a line, as drivers/nova_virt/lab_hypervisor.py writes it. */
    hypervisorLog: string;
    failDeadPathDetachFile: string;
  }[];
  /** How a compute host asks a portal for a LUN: a real iSCSI INQUIRY, or the protocol of ontap/iscsi/file-target.ts. */
  dataPath: "iscsi" | "files";
  heartbeatSeconds: number;
  serviceDownSeconds: number;
  rpcTimeoutSeconds: number;
  /** How often NetApp's driver looks after its mirrors; its own ten minutes, unless shortened. */
  housekeepingSeconds: number;
  /** How long a transition takes, in ms; `api`: what every answer of an API takes besides (default 0). */
  delays: Record<"boot" | "stop" | "start" | "attach" | "detach" | "create" | "delete" | "deadPathDetach", number> & {
    api?: number;
  };
}

export function readConfig(file: string): SimulatorConfig {
  if ((statSync(file).mode & 0o077) !== 0)
    throw new Error(`${file} holds passwords: it must be readable by its owner only (chmod 600).`);
  return JSON.parse(readFileSync(file, "utf8")) as SimulatorConfig;
}
