/** Which LUN an initiator sees under which number, from the maps of an SVM's igroups; and who may log in. */
import { stat } from "node:fs/promises";
import { LoginStatus } from "./pdu";

/** A LUN as its initiator has to see it. `naa` is 32 hex digits, with or without "naa.". */
export interface ServedLun {
  lun: number;
  file: string;
  serial: string;
  naa: string;
  sizeBytes: number;
  readOnly: boolean;
}

/** `removed` needs no more than where the map was. */
export interface MapChange {
  removed: readonly Pick<LunMap, "lun" | "initiators">[];
  added: readonly LunMap[];
}

/** One LUN map: what every initiator of the igroup has to see. */
export interface LunMap extends ServedLun {
  igroup: string;
  initiators: readonly string[];
}

/** An initiator's LUNs by number. */
export type LunTable = ReadonlyMap<number, LunMap>;

/** LUN table of each initiator: the union over the igroups it's in. @throws on maps that ONTAP or tgtd can't have. */
export function planTables(maps: readonly LunMap[]): Map<string, LunTable> {
  return changeTables(new Map(), { removed: [], added: maps });
}

/** Tables of the initiators that the change touches, as they are after it; the others' aren't looked at. @throws as planTables */
export function changeTables(
  before: ReadonlyMap<string, LunTable>,
  { removed, added }: MapChange,
): Map<string, LunTable> {
  const tables = new Map<string, Map<number, LunMap>>();
  const tableOf = (initiator: string): Map<number, LunMap> => {
    const table = tables.get(initiator) ?? new Map(before.get(initiator));
    tables.set(initiator, table);
    return table;
  };
  for (const map of removed) for (const initiator of map.initiators) tableOf(initiator).delete(map.lun);
  for (const map of added) {
    if (!Number.isInteger(map.lun) || map.lun < 1 || map.lun > 4095) {
      throw new Error(`igroup ${map.igroup}: LUN number ${map.lun} of ${map.file} isn't in 1..4095`);
    }
    // Where tgtd would misread the text of a parameter list.
    if (/[,\s]/.test(map.file + map.serial + map.naa))
      throw new Error(`${map.file}: comma or space in its path, serial or NAA`);
    for (const initiator of map.initiators) {
      const table = tableOf(initiator);
      const other = table.get(map.lun);
      if (other && other.file !== map.file) {
        const where = `igroups ${other.igroup} and ${map.igroup}`;
        throw new Error(`LUN ${map.lun} of ${initiator} is both ${other.file} and ${map.file} (${where})`);
      }
      table.set(map.lun, map);
    }
  }
  return tables;
}

/** @throws when the LUN's file isn't there or hasn't the size that its map says */
export async function inodeOf(lun: ServedLun): Promise<number> {
  const { ino, size } = await stat(lun.file);
  if (size !== lun.sizeBytes) throw new Error(`LUN file ${lun.file} has ${size} bytes, its map says ${lun.sizeBytes}`);
  return ino;
}

export interface LoginRefusal {
  status: (typeof LoginStatus)[keyof typeof LoginStatus];
  why: string;
}

/** Why a login isn't let in; undefined when it is. */
export function refusalOf(
  login: { initiator: string | undefined; target: string | undefined },
  svm: { iqn: string; admitted: ReadonlySet<string> },
): LoginRefusal | undefined {
  const { initiator, target } = login;
  if (initiator === undefined || target === undefined)
    return { status: LoginStatus.missingParameter, why: "a name is missing" };
  if (target !== svm.iqn) return { status: LoginStatus.targetNotFound, why: `the target here is ${svm.iqn}` };
  if (!svm.admitted.has(initiator)) return { status: LoginStatus.authorizationFailure, why: "no LUN is mapped to it" };
  return undefined;
}
