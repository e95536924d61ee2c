/**
 * `lab.json` of a lab: everything about it but its secrets, which are files of their own (mode 0600), named here by
 * path.
 */
import * as fs from "node:fs";
import * as path from "node:path";

/** An SVM and the cluster that holds it. */
export interface LabArray {
  cluster: string;
  /** Management LIF: HTTPS, certificate signed by the lab's CA. */
  address: string;
  port: number;
  username: string;
  passwordFile: string;
  interclusterAddresses: string[];
  aggregate: string;
  svm: string;
  /** iSCSI LIFs, port 3260. */
  iscsiAddresses: string[];
  /** FlexVols that exist when the lab is new: `rw` at iprod, `dp` of the same names at idr. */
  flexVols: { name: string; type: "rw" | "dp"; sizeBytes: number }[];
}

export interface LabController {
  name: string;
  cinderConf: string;
  /** Names for `lab-service --host <controller>`; started says whether `up` starts it (cinder-volume is active/passive). */
  services: { name: "cinder-api" | "cinder-scheduler" | "cinder-volume"; started: boolean; log: string }[];
}

export interface LabCompute {
  name: string;
  novaConf: string;
  /** iSCSI initiator name in this host's connector. */
  initiator: string;
  /** What its hypervisor connected, disconnected and started, one JSON object a line. */
  hypervisorLog: string;
  /** While this file exists, a disconnect over a dead path fails instead of being slow only. */
  failDeadPathDetachFile: string;
}

/** A user with its project; domain and region are `Default` and `RegionOne`. */
export interface LabAccount {
  username: string;
  project: string;
  passwordFile: string;
  /** Shell variables without the password, as Horizon's download does. */
  openrc: string;
}

/** How guests and compute hosts reach LUNs: by real iSCSI, or by the files that the portals name. */
export type DataPath = "iscsi" | "files";
/** What guests format their disks with: ext4 by e2fsprogs, or an archive in its place. */
export type FilesystemKind = "ext4" | "archive";

export interface StorageFacts {
  dataPath: DataPath;
  /** Why the data path isn't iSCSI. */
  dataPathReason?: string;
  filesystem: FilesystemKind;
}

export interface LabDescription extends StorageFacts {
  formatVersion: 1;
  dir: string;
  slot: number;
  /** Python of the environment that the services run in. */
  python: string;
  region: "RegionOne";
  endpoints: Record<"identity" | "compute" | "blockStorage" | "image" | "network" | "placement", string>;
  admin: LabAccount;
  demo: LabAccount;
  /** Of the admin: `{ "id", "secret" }`. */
  applicationCredentialFile: string;
  /** Clouds `admin` and `demo`, passwords included (0600). */
  cloudsYaml: string;
  /** Signed the clusters' certificates. */
  caFile: string;
  database: {
    host: string;
    port: number;
    /** Of root, without a password for the operating system's root. */
    socket: string;
    /** Owner of the services' schemas. */
    services: { user: string; passwordFile: string };
    /** Least privilege: what a switchover needs. */
    product: { user: string; passwordFile: string };
  };
  messageQueue: { host: string; port: number; user: string; vhost: string; passwordFile: string };
  /** `backend_host` of the stanzas. */
  volumeHost: "cinder-dr";
  controllers: LabController[];
  /** As an operator's nova-manage: with the control services' configuration. */
  novaManage: { program: string; novaConf: string };
  computes: LabCompute[];
  arrays: { iprod: LabArray; idr: LabArray };
  /** The ONTAP simulator's own API, for faults and its clock. */
  arrayControl: { address: string; port: number };
  /** `lab-service`; called as `[serviceManager, "--lab", dir, "--host", HOST, COMMAND, SERVICE]`. */
  serviceManager: string;
  image: string;
  flavor: string;
}

export const descriptionFile = (dir: string) => path.join(dir, "lab.json");

/** Throws when there's no lab in the folder. */
export function readLab(dir: string): LabDescription {
  const file = descriptionFile(path.resolve(dir));
  if (!fs.existsSync(file)) throw new Error(`There is no lab in ${path.resolve(dir)}: bring one up with \`lab up\`.`);
  return JSON.parse(fs.readFileSync(file, "utf8")) as LabDescription;
}

/** How guests reach their disks in this lab, in a sentence. */
export function dataPathLine({ dataPath, dataPathReason, filesystem }: StorageFacts): string {
  const by = { iscsi: "by real iSCSI", files: "by the LUNs' files, not by iSCSI" }[dataPath];
  const why = dataPathReason === undefined ? "" : `: ${dataPathReason}`;
  const formatted = { ext4: "ext4", archive: "archives in place of ext4, without e2fsprogs" }[filesystem];
  return `guests reach their volumes ${by}${why} (formatted as ${formatted})`;
}

/** A secret of the lab by the path in its description. */
export function readSecret(file: string): string {
  return fs.readFileSync(file, "utf8").trim();
}
