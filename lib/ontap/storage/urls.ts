/** Paths of ONTAP's storage area that this package calls. */
export const volumesUrl = "/api/storage/volumes";
export const volumeUrl = (uuid: string) => `${volumesUrl}/${uuid}`;
export const snapshotsUrl = (volumeUuid: string) => `${volumeUrl(volumeUuid)}/snapshots`;
export const aggregatesUrl = "/api/storage/aggregates";
