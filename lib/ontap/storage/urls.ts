/** Paths of ONTAP's storage area that this package calls. */
export const volumesUrl = "/api/storage/volumes";
export const snapshotsUrl = (volumeUuid: string) => `${volumesUrl}/${volumeUuid}/snapshots`;
export const aggregatesUrl = "/api/storage/aggregates";
