/** The backend of root volumes: lab/openstack/drivers/lab_file_volumes.py, sparse files in a folder. */
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import path from "node:path";
import type { Row } from "../database";
import type { CinderConf } from "./conf";
import type { ConnectionInfo, Stats, VolumeDriver } from "./driver";
import { snapshotName, volumeName } from "./driver";

const GIB = 2 ** 30;

export class FileDriver implements VolumeDriver {
  readonly name = "LabFileVolumes";
  readonly version = "1.0";
  readonly sharedTargets = false;
  private readonly folder: string;

  constructor(
    private readonly conf: CinderConf,
    private readonly stanza: string,
  ) {
    this.folder = conf.get(stanza, "lab_volumes_folder") ?? "";
  }

  async setup(): Promise<void> {
    const isFolder = this.folder !== "" && (await fs.stat(this.folder).catch(() => undefined))?.isDirectory() === true;
    if (!isFolder) throw new Error(`lab_volumes_folder ${this.folder} is not a folder`);
  }

  async stats(): Promise<Stats> {
    const entries = await Promise.all(
      (await fs.readdir(this.folder)).map((name) => fs.stat(path.join(this.folder, name)).catch(() => undefined)),
    );
    const used = entries.reduce((sum, entry) => sum + (entry?.blocks ?? 0) * 512, 0);
    const provisioned = entries.reduce((sum, entry) => sum + (entry?.size ?? 0), 0);
    const capacity = this.conf.number(this.stanza, "lab_capacity_gib", 1000);
    return {
      volume_backend_name: this.conf.get(this.stanza, "volume_backend_name") ?? this.stanza,
      vendor_name: "cinder-cheesecake lab",
      driver_version: this.version,
      storage_protocol: "file",
      replication_enabled: false,
      pools: [
        {
          pool_name: "roots",
          total_capacity_gb: capacity,
          free_capacity_gb: capacity - Math.floor(used / GIB),
          provisioned_capacity_gb: Math.floor(provisioned / GIB),
          max_over_subscription_ratio: "20.0",
          thin_provisioning_support: true,
          thick_provisioning_support: false,
          reserved_percentage: 0,
          multiattach: false,
          QoS_support: false,
        },
      ],
    };
  }

  async createVolume(volume: Row): Promise<Row> {
    await fs.writeFile(this.file(volumeName(volume)), "");
    await fs.truncate(this.file(volumeName(volume)), Number(volume["size"]) * GIB);
    return {};
  }

  async createFromSnapshot(volume: Row, snapshot: Row): Promise<Row> {
    return this.copy(snapshotName(snapshot), volume);
  }

  async createClone(volume: Row, source: Row): Promise<Row> {
    return this.copy(volumeName(source), volume);
  }

  async createFromImage(volume: Row, imageFile: () => Promise<Buffer>): Promise<Row> {
    const image = await imageFile();
    await fs.writeFile(this.file(volumeName(volume)), "");
    await fs.truncate(this.file(volumeName(volume)), Number(volume["size"]) * GIB);
    // Zeroes stay holes.
    if (image.some((byte) => byte !== 0)) {
      const handle = await fs.open(this.file(volumeName(volume)), "r+");
      await handle.write(image, 0, image.length, 0);
      await handle.close();
    }
    return {};
  }

  async deleteVolume(volume: Row): Promise<void> {
    await fs.rm(this.file(volumeName(volume)), { force: true });
  }

  async extendVolume(volume: Row, sizeGiB: number): Promise<void> {
    await fs.truncate(this.file(volumeName(volume)), sizeGiB * GIB);
  }

  async createSnapshot(snapshot: Row, volume: Row): Promise<void> {
    await this.copyFile(volumeName(volume), snapshotName(snapshot));
  }

  async deleteSnapshot(snapshot: Row): Promise<void> {
    await fs.rm(this.file(snapshotName(snapshot)), { force: true });
  }

  createExport(): Promise<Row> {
    return Promise.resolve({});
  }

  initializeConnection(volume: Row): Promise<ConnectionInfo> {
    const data = { device_path: this.file(volumeName(volume)), volume_id: volume["id"] };
    return Promise.resolve({ driver_volume_type: "local", data });
  }

  terminateConnection(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    // Nothing runs.
  }

  private file(name: string): string {
    return path.join(this.folder, name);
  }

  private async copy(source: string, volume: Row): Promise<Row> {
    await this.copyFile(source, volumeName(volume));
    await fs.truncate(this.file(volumeName(volume)), Number(volume["size"]) * GIB);
    return {};
  }

  private copyFile(from: string, to: string): Promise<void> {
    return fs.copyFile(this.file(from), this.file(to), constants.COPYFILE_FICLONE);
  }
}
