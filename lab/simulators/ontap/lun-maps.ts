/** The LUN maps of a cluster: a LUN's own, and which numbers an igroup uses, are found without a look at all the others. */
export interface LunMap {
  svmUuid: string;
  volumeUuid: string;
  fileId: string;
  igroupUuid: string;
  number: number;
}

type LunOfMap = Pick<LunMap, "volumeUuid" | "fileId">;

export class LunMaps implements Iterable<LunMap> {
  private readonly maps = new Set<LunMap>();
  private readonly byLun = new Map<string, LunMap[]>();
  private readonly numbers = new Map<string, Set<number>>();

  constructor(maps: Iterable<LunMap> = []) {
    for (const map of maps) this.add(map);
  }

  [Symbol.iterator](): Iterator<LunMap> {
    return this.maps[Symbol.iterator]();
  }

  /** As the saved state has them. */
  toJSON(): LunMap[] {
    return [...this.maps];
  }

  has(map: LunMap): boolean {
    return this.maps.has(map);
  }

  ofLun(lun: LunOfMap): readonly LunMap[] {
    return this.byLun.get(keyOf(lun)) ?? [];
  }

  ofIgroup(igroupUuid: string): LunMap[] {
    return [...this.maps].filter((map) => map.igroupUuid === igroupUuid);
  }

  isInUse(igroupUuid: string, number: number): boolean {
    return this.numbers.get(igroupUuid)?.has(number) ?? false;
  }

  isMapped(igroupUuid: string): boolean {
    return (this.numbers.get(igroupUuid)?.size ?? 0) > 0;
  }

  add(map: LunMap): void {
    this.maps.add(map);
    this.byLun.set(keyOf(map), [...this.ofLun(map), map]);
    const numbers = this.numbers.get(map.igroupUuid) ?? new Set();
    this.numbers.set(map.igroupUuid, numbers.add(map.number));
  }

  delete(map: LunMap): void {
    if (!this.maps.delete(map)) return;
    const rest = this.ofLun(map).filter((other) => other !== map);
    if (rest.length > 0) this.byLun.set(keyOf(map), rest);
    else this.byLun.delete(keyOf(map));
    this.numbers.get(map.igroupUuid)?.delete(map.number);
  }

  deleteOfLun(lun: LunOfMap): void {
    for (const map of this.ofLun(lun)) this.delete(map);
  }
}

const keyOf = ({ volumeUuid, fileId }: LunOfMap): string => `${volumeUuid}/${fileId}`;
