/** Paths of ONTAP's "snapmirror" area that this package calls. */
export const relationshipsUrl = "/api/snapmirror/relationships";
export const relationshipUrl = (uuid: string) => `${relationshipsUrl}/${uuid}`;
export const transfersUrl = (uuid: string) => `${relationshipUrl(uuid)}/transfers`;
export const transferUrl = (uuid: string, transferUuid: string) => `${transfersUrl(uuid)}/${transferUuid}`;
export const policiesUrl = "/api/snapmirror/policies";
