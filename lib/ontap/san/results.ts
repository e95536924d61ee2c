import { z } from "zod";
import { identified } from "../wire";

export interface IscsiTargetInfo {
  readonly iqn: string;
  readonly enabled: boolean;
  /** `address:port` of every enabled data_iscsi interface. */
  readonly portals: readonly string[];
}

export interface Lun {
  readonly uuid: string;
  /** `/vol/<FlexVol>/<name>` */
  readonly path: string;
  readonly flexVol: string;
  readonly name: string;
  /** A mirror's LUN has a serial of its own. */
  readonly serial: string;
  readonly sizeBytes: number;
}

export interface LunMap {
  readonly lunUuid: string;
  readonly lunPath: string;
  readonly igroupUuid: string;
  readonly igroup: string;
  readonly logicalUnitNumber: number;
}

export const iscsiServiceBody = z.object({ enabled: z.boolean(), target: z.object({ name: z.string() }) });

export const interfaceBody = z.object({ ip: z.object({ address: z.string() }), enabled: z.boolean() });

export const lunBody = identified
  .extend({
    serial_number: z.string(),
    space: z.object({ size: z.number() }),
    location: z.object({ volume: z.object({ name: z.string() }) }),
  })
  .transform((lun): Lun => {
    const flexVol = lun.location.volume.name;
    return {
      uuid: lun.uuid,
      path: lun.name,
      flexVol,
      name: lun.name.slice(`/vol/${flexVol}/`.length),
      serial: lun.serial_number,
      sizeBytes: lun.space.size,
    };
  });

export const lunNameBody = z.object({ name: z.string() });

export const lunMapBody = z
  .object({ lun: identified, igroup: identified, logical_unit_number: z.number() })
  .transform((map): LunMap => ({
    lunUuid: map.lun.uuid,
    lunPath: map.lun.name,
    igroupUuid: map.igroup.uuid,
    igroup: map.igroup.name,
    logicalUnitNumber: map.logical_unit_number,
  }));
