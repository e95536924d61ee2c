/** A volume's LUNs by fileId, and by name: a path is what nearly every request names. */
export class Luns<Lun extends { name: string }> extends Map<string, Lun> {
  private readonly byName: Map<string, Lun>;

  constructor(luns: Iterable<readonly [string, Lun]> = []) {
    super();
    this.byName = new Map();
    for (const [fileId, lun] of luns) this.set(fileId, lun);
  }

  named(name: string): Lun | undefined {
    return this.byName.get(name);
  }

  override set(fileId: string, lun: Lun): this {
    this.forget(this.get(fileId));
    this.byName.set(lun.name, lun);
    return super.set(fileId, lun);
  }

  override delete(fileId: string): boolean {
    this.forget(this.get(fileId));
    return super.delete(fileId);
  }

  rename(lun: Lun, name: string): void {
    this.forget(lun);
    lun.name = name;
    this.byName.set(name, lun);
  }

  /** Its name may have gone to another meanwhile. */
  private forget(lun: Lun | undefined): void {
    if (lun && this.byName.get(lun.name) === lun) this.byName.delete(lun.name);
  }
}
