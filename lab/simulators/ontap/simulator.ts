import type { FaultRule } from "./faults";
import type { RecordedRequest } from "./recorder";

/** One LUN with where its bytes are. */
export interface LunInfo {
  cluster: string;
  svm: string;
  /** "/vol/<volume>/<lun>" */
  path: string;
  volume: string;
  volumeType: "rw" | "dp";
  uuid: string;
  serial: string;
  file: string;
  sizeBytes: number;
  maps: { igroup: string; initiators: string[]; logicalUnitNumber: number }[];
}

/** `path` after /api, query included. */
export interface BulkRequest {
  method: string;
  path: string;
  body?: object;
}
export interface BulkAnswer {
  status: number;
  body: object;
}

export interface OntapSimulator {
  /** management endpoints, in the order of the configuration */
  readonly clusters: { name: string; address: string; port: number }[];
  readonly control: { address: string; port: number };
  requests(filter?: { cluster?: string; since?: number; mutating?: boolean }): RecordedRequest[];
  /** Requests the simulator didn't know. */
  unknown(): (RecordedRequest & { error: string })[];
  addFault(rule: FaultRule): number;
  clearFaults(): void;
  /** false: management, intercluster traffic and iSCSI of that cluster are gone; its state and bytes stay. */
  setReachable(cluster: string, reachable: boolean, how?: "refuse" | "blackhole"): Promise<void>;
  luns(): LunInfo[];
  /** Many requests at once, each as if it had come by HTTPS, but for the connection and the faults; none waits for another. */
  requestAll(cluster: string, svm: string, requests: readonly BulkRequest[]): Promise<BulkAnswer[]>;
  advanceClock(seconds: number): void;
  /** Ends everything; LUN files stay where they are. */
  close(): Promise<void>;
}
