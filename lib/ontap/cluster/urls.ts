/** Paths of ONTAP's "cluster" area that this package calls, and of the interfaces that peering goes over. */
export const clusterUrl = "/api/cluster";
export const peersUrl = "/api/cluster/peers";
export const peerUrl = (uuid: string) => `${peersUrl}/${uuid}`;
export const schedulesUrl = "/api/cluster/schedules";
export const interfacesUrl = "/api/network/ip/interfaces";
