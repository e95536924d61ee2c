/** Paths of ONTAP's SAN areas that this package calls. */
export const iscsiServicesUrl = "/api/protocols/san/iscsi/services";
export const interfacesUrl = "/api/network/ip/interfaces";
export const lunsUrl = "/api/storage/luns";
export const lunUrl = (uuid: string) => `${lunsUrl}/${uuid}`;
export const lunMapsUrl = "/api/protocols/san/lun-maps";
export const lunMapUrl = (lunUuid: string, igroupUuid: string) => `${lunMapsUrl}/${lunUuid}/${igroupUuid}`;
