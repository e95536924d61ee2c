import { z } from "zod";
import { durationSeconds, identified, named } from "../wire";

/** Quiesced is "paused" here; whether a transfer runs is said by the transfer. */
export const mirrorStates = [
  "uninitialized",
  "snapmirrored",
  "paused",
  "broken_off",
  "in_sync",
  "out_of_sync",
  "synchronizing",
] as const;
export type MirrorState = (typeof mirrorStates)[number] | (string & {});

export interface Mirror {
  readonly uuid: string;
  /** The SVM as the answering cluster names it. */
  readonly source: { readonly svm: string; readonly flexVol: string };
  readonly destination: { readonly svm: string; readonly flexVol: string };
  readonly state: MirrorState;
  readonly healthy: boolean;
  readonly unhealthyReasons: readonly string[];
  readonly policy?: string;
  /** Age of the newest snapshot at the destination, growing while paused or broken off; absent while uninitialized. */
  readonly lagSeconds?: number;
  readonly exportedSnapshot?: string;
  /** The current transfer, else the last one; absent before the first. */
  readonly transfer?: {
    /** Only while it is current. */
    readonly uuid?: string;
    readonly state: "queued" | "transferring" | "success" | "failed" | "aborted" | "hard_aborted" | (string & {});
    readonly bytesTransferred?: number;
    readonly endTime?: string;
  };
}

export interface Transfer {
  readonly uuid: string;
  readonly state: string;
  readonly bytesTransferred: number;
  readonly snapshot?: string;
  readonly endTime?: string;
  readonly error?: string;
}

export interface Policy {
  readonly uuid: string;
  readonly name: string;
  readonly type: "async" | "sync" | "continuous" | (string & {});
  readonly scope: "cluster" | "svm" | (string & {});
}

/** `svm:volume`; other kinds of endpoint (`svm:`, `svm:/cg/name`) have no FlexVol of that name. */
function endpoint(path: string): { readonly svm: string; readonly flexVol: string } {
  const [svm = "", ...rest] = path.split(":");
  return { svm, flexVol: rest.join(":") };
}

export const pathOf = (end: { readonly svm: string; readonly flexVol: string }) => `${end.svm}:${end.flexVol}`;

const code = z.union([z.string(), z.number()]).optional();

export const mirrorFields =
  "uuid,source.path,destination.path,state,healthy,unhealthy_reason,policy.name,lag_time,exported_snapshot," +
  "transfer.uuid,transfer.state,transfer.bytes_transferred,transfer.end_time";

export const mirrorBody = z
  .object({
    uuid: z.string(),
    source: z.object({ path: z.string() }),
    destination: z.object({ path: z.string() }),
    state: z.string(),
    healthy: z.boolean(),
    // Codes are numbers up to ONTAP 9.12 and strings from 9.13; nested up to four levels, as a flat list.
    unhealthy_reason: z.array(z.object({ code, message: z.string().optional() })).optional(),
    policy: named.optional(),
    lag_time: durationSeconds.optional(),
    exported_snapshot: z.string().optional(),
    transfer: z
      .object({
        uuid: z.string().optional(),
        state: z.string().optional(),
        bytes_transferred: z.number().optional(),
        end_time: z.string().optional(),
      })
      .optional(),
  })
  .transform((record): Mirror => {
    const { transfer } = record;
    return {
      uuid: record.uuid,
      source: endpoint(record.source.path),
      destination: endpoint(record.destination.path),
      state: record.state,
      healthy: record.healthy,
      unhealthyReasons: (record.unhealthy_reason ?? []).map(
        (reason) => `${reason.message ?? "no reason given"}${reason.code === undefined ? "" : ` (${reason.code})`}`,
      ),
      ...(record.policy === undefined ? {} : { policy: record.policy.name }),
      ...(record.lag_time === undefined ? {} : { lagSeconds: record.lag_time }),
      ...(record.exported_snapshot === undefined ? {} : { exportedSnapshot: record.exported_snapshot }),
      ...(transfer?.state === undefined
        ? {}
        : {
            transfer: {
              state: transfer.state,
              ...(transfer.uuid === undefined ? {} : { uuid: transfer.uuid }),
              ...(transfer.bytes_transferred === undefined ? {} : { bytesTransferred: transfer.bytes_transferred }),
              ...(transfer.end_time === undefined ? {} : { endTime: transfer.end_time }),
            },
          }),
    };
  });

/** What the source's cluster knows of a relationship: no more than these are certain to be there. */
export const destinationBody = z
  .object({ uuid: z.string(), source: z.object({ path: z.string() }), destination: z.object({ path: z.string() }) })
  .transform((record) => ({
    uuid: record.uuid,
    source: endpoint(record.source.path),
    destination: endpoint(record.destination.path),
  }));

export const transferFields = "uuid,state,bytes_transferred,snapshot,end_time,error_info";

export const transferBody = z
  .object({
    uuid: z.string(),
    state: z.string(),
    bytes_transferred: z.number().optional(),
    snapshot: z.string().optional(),
    end_time: z.string().optional(),
    error_info: z.object({ code, message: z.string().optional() }).optional(),
  })
  .transform((record): Transfer => ({
    uuid: record.uuid,
    state: record.state,
    bytesTransferred: record.bytes_transferred ?? 0,
    ...(record.snapshot === undefined ? {} : { snapshot: record.snapshot }),
    ...(record.end_time === undefined ? {} : { endTime: record.end_time }),
    ...(record.error_info === undefined
      ? {}
      : { error: `${record.error_info.message ?? "no reason given"} (${record.error_info.code ?? "no code"})` }),
  }));

/** Without an SVM it's the cluster's. */
export const policyBody = identified.extend({ type: z.string(), scope: z.string(), svm: named.optional() });
