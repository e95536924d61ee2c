/** Paths of ONTAP's "svm" area that this package calls. */
export const svmsUrl = "/api/svm/svms";
export const svmPeersUrl = "/api/svm/peers";
export const svmPeerUrl = (uuid: string) => `${svmPeersUrl}/${uuid}`;
