/** What the promotion knows of Cinder's schema. Pure. */

/**
 * Last migration (`alembic_version`) of the releases that the promotion is tested against, each on the tables that
 * `cinder-manage db sync` of that release makes (cinder/db/migrations/versions).
 */
const knownSchemas: Readonly<Record<string, string>> = {
  c92a3e68beed: "Cinder 21",
  daa98075b90d: "Cinder 22",
  "89aa6f9639f9": "Cinder 23",
  "9c74c1c6971f": "Cinder 24 to 29",
};

/** "Cinder 24 to 29"; undefined for a version that the promotion was never tested on. */
export const releasesOf = (schemaHead: string): string | undefined => knownSchemas[schemaHead];

/** By their names, columns (`table.column`) that may say where something runs or is stored. */
const suspicious =
  /\.\w*(host|cluster|service|server|node|backend|zone|replication|provider|connect|location|binary|topic|frozen|disabled|migration|namespace|initiator)|^(clusters\.name|services\.uuid)$/;

const ofTheService = "a service's own row, which it writes itself when it starts";
const ofTheCluster = "clusters aren't supported: the promotion is refused while a row of its hosts names one";
const ofTheBackup = "of cinder-backup, which is no backend of volumes and stays where it is";
const ofTheZone = "both sites' backends belong to one Cinder and one availability zone";
const ofTheDriver = "the driver's own, written anew when a volume is next attached";
const ofTheAttachment = "made anew by detaching and attaching, before the promotion";
const ofOtherDrivers = "never written by NetApp's driver";

/** Columns that may say where something is: `true` = the promotion writes it, else why it's left alone. */
export const hostColumns: Readonly<Record<string, true | string>> = {
  "volumes.host": true,
  "volumes.service_uuid": true,
  "volumes.replication_status": true,
  "groups.host": true,
  "consistencygroups.host": true,
  "image_volume_cache_entries.host": true,
  "services.replication_status": true,
  "services.active_backend_id": true,
  "services.disabled": true,
  "services.disabled_reason": true,
  "services.frozen": true,
  "services.uuid": ofTheService,
  "services.host": ofTheService,
  "services.binary": ofTheService,
  "services.topic": ofTheService,
  "services.availability_zone": ofTheService,
  "services.cluster_name": ofTheCluster,
  "volumes.cluster_name": ofTheCluster,
  "groups.cluster_name": ofTheCluster,
  "consistencygroups.cluster_name": ofTheCluster,
  "image_volume_cache_entries.cluster_name": ofTheCluster,
  "clusters.name": ofTheCluster,
  "clusters.binary": ofTheCluster,
  "clusters.disabled": ofTheCluster,
  "clusters.disabled_reason": ofTheCluster,
  "clusters.frozen": ofTheCluster,
  "clusters.replication_status": ofTheCluster,
  "clusters.active_backend_id": ofTheCluster,
  "backups.host": ofTheBackup,
  "backups.service": ofTheBackup,
  "backups.service_metadata": ofTheBackup,
  "backups.availability_zone": ofTheBackup,
  "volumes.availability_zone": ofTheZone,
  "groups.availability_zone": ofTheZone,
  "consistencygroups.availability_zone": ofTheZone,
  "groups.replication_status": "NetApp's driver replicates no groups: its failover leaves this as it is too",
  "volumes.migration_status": "planned, the promotion is refused while a volume migrates",
  "workers.service_id": "planned, the promotion is refused while a row of workers names one of its volumes",
  "volumes.provider_location": ofTheDriver,
  "volumes.provider_auth": ofTheDriver,
  "volumes.provider_id": ofOtherDrivers,
  "volumes.provider_geometry": ofOtherDrivers,
  "volumes.replication_driver_data": ofOtherDrivers,
  "volumes.replication_extended_status": ofOtherDrivers,
  "snapshots.provider_location": ofOtherDrivers,
  "snapshots.provider_auth": ofOtherDrivers,
  "snapshots.provider_id": ofOtherDrivers,
  "driver_initiator_data.initiator": ofOtherDrivers,
  "driver_initiator_data.namespace": ofOtherDrivers,
  "volume_attachment.attached_host": ofTheAttachment,
  "volume_attachment.connector": ofTheAttachment,
  "volume_attachment.connection_info": ofTheAttachment,
  "encryption.provider": "how a volume type is encrypted, not where",
  "encryption.control_location": "how a volume type is encrypted, not where",
};

/** Of all columns (`table.column`) those that may say where something is and that nobody has decided about. */
export const undecidedColumns = (columns: readonly string[]): string[] =>
  columns.filter((column) => suspicious.test(column) && hostColumns[column] === undefined).sort();
