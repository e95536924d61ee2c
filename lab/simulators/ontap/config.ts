/** Configuration of the two clusters. */
export interface SimulatorConfig {
  /**
   * LUN files and snapshots live in <stateDir>/<cluster>/<volume uuid>/…, everything else in <stateDir>/state.json. A start with the same
   * configuration goes on from there; remove the folder to start anew.
   */
  stateDir: string;
  /** Server certificate (PEM files) covering both clusters' addresses. */
  tls: { certFile: string; keyFile: string };
  /** Plain HTTP on loopback: recorder, faults, clock. */
  control: { address: string; port: number };
  clusters: [ClusterConfig, ClusterConfig];
  /**
   * How hosts reach LUNs at the SVMs' portals. "tgtd": real iSCSI. "files": the portals say which file a LUN is, by the same rules, for
   * machines without iSCSI programs. "none" (default): LUN maps are kept, but nothing is served.
   */
  iscsi?: (typeof iscsiKinds)[number];
  timing?: {
    /** added to every answer of a cluster; default 0. */
    requestMs?: number;
    /** how long an asynchronous job runs before its work begins; default 0. */
    jobMs?: number;
    /** added to every transfer; default 0. */
    transferLatencyMs?: number;
    /** SnapMirror's speed; default unlimited. */
    bytesPerSecond?: number;
  };
  /** Where documentation and clients differ (FIDELITY.md, "Switches"). */
  behaviour?: {
    createOntoReadWriteDestination?: "accept-broken-off" | "refuse";
    reversal?: "patch-swapped-paths" | "refuse";
    unflaggedDelete?: "removes-both" | "destination-only";
  };
}

export const iscsiKinds = ["tgtd", "files", "none"] as const;

export interface SvmConfig {
  name: string;
  iscsiAddresses: string[];
  volumes: { name: string; type: "rw" | "dp"; sizeBytes: number }[];
}

export interface ClusterConfig {
  name: string;
  address: string;
  /** 0 takes a free port. */
  port: number;
  username: string;
  password: string;
  /** default [9, 16, 1] */
  version?: [number, number, number];
  interclusterAddresses: string[];
  aggregates: string[];
  svms: SvmConfig[];
}

/** Says what is wrong with a parsed configuration file, or returns it. Throws Error. */
export function checkConfig(value: unknown): SimulatorConfig {
  const problems: string[] = [];
  const object = (v: unknown): Record<string, unknown> =>
    typeof v === "object" && v !== null ? (v as Record<string, unknown>) : {};
  const config = object(value);
  const text = (holder: unknown, name: string, where: string): void => {
    const v = object(holder)[name];
    if (typeof v !== "string" || v === "") problems.push(`${where}.${name} must be a text`);
  };
  text(config, "stateDir", "configuration");
  text(config["tls"], "certFile", "tls");
  text(config["tls"], "keyFile", "tls");
  text(config["control"], "address", "control");
  const iscsi = config["iscsi"];
  if (iscsi !== undefined && !iscsiKinds.some((kind) => kind === iscsi))
    problems.push(`iscsi must be one of ${iscsiKinds.join(", ")}`);
  const clusters = Array.isArray(config["clusters"]) ? (config["clusters"] as unknown[]) : [];
  if (clusters.length !== 2) problems.push("clusters must be a list of two");
  clusters.forEach((cluster, i) => {
    for (const name of ["name", "address", "username", "password"]) text(cluster, name, `clusters[${i}]`);
    for (const name of ["interclusterAddresses", "aggregates", "svms"]) {
      if (!Array.isArray(object(cluster)[name])) problems.push(`clusters[${i}].${name} must be a list`);
    }
    if (typeof object(cluster)["port"] !== "number") problems.push(`clusters[${i}].port must be a number`);
  });
  if (problems.length > 0) throw new Error(`The simulator's configuration is not usable: ${problems.join("; ")}.`);
  return value as SimulatorConfig;
}
