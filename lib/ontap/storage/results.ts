import { z } from "zod";
import { identified, named } from "../wire";

export interface FlexVol {
  readonly uuid: string;
  readonly name: string;
  /** dp: a mirror's destination, read-only. */
  readonly type: "rw" | "dp" | (string & {});
  /** online, offline, restricted, … */
  readonly state: string;
  /** 0 where ONTAP doesn't tell, as for a FlexVol that is offline. */
  readonly sizeBytes: number;
}

export interface Snapshot {
  readonly uuid: string;
  readonly name: string;
  /** Identical on both sides for the same point in time; this is what makes a snapshot common. */
  readonly versionUuid: string;
  /** ISO 8601 with offset. */
  readonly createTime: string;
}

export const flexVolFields = "uuid,name,type,state,size";
export const flexVolBody = identified
  .extend({ type: z.string(), state: z.string(), size: z.number().optional() })
  .transform(({ uuid, name, type, state, size }): FlexVol => ({ uuid, name, type, state, sizeBytes: size ?? 0 }));

export const junctionBody = z.object({
  /** Absent while it isn't mounted. */
  nas: z.object({ path: z.string().optional() }).optional(),
});

export const cloneBody = z.object({
  uuid: z.string(),
  clone: z
    .object({
      /** False again once it's split; then there's no parent either. */
      is_flexclone: z.boolean().optional(),
      parent_volume: named.optional(),
      split_initiated: z.boolean().optional(),
    })
    .optional(),
});

export const snapshotBody = identified
  .extend({ version_uuid: z.string(), create_time: z.string() })
  .transform((snapshot): Snapshot => ({
    uuid: snapshot.uuid,
    name: snapshot.name,
    versionUuid: snapshot.version_uuid,
    createTime: snapshot.create_time,
  }));

export const deltaBody = z.object({ delta: z.object({ size_consumed: z.number().optional() }).optional() });

export const aggregateBody = z.object({
  name: z.string(),
  state: z.string(),
  /** Absent while the aggregate is offline. */
  space: z.object({ block_storage: z.object({ available: z.number() }) }).optional(),
});
