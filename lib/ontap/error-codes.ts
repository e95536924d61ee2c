import { DrError } from "../errors";

/**
 * ONTAP's own error codes that decide something here. Texts are those of the tables in ONTAP 9.17.1's REST reference
 * (NetAppDocs/ontap-restapi) and of the bindings that Trident generates from the 9.19.1 swagger.
 */
export const errorCodes = {
  /** "entry doesn't exist"; comes with 404, or as the code of a failed job. */
  notFound: "4",
  /** "Failed to contact the peer cluster." */
  peerUnreachable: "262224",
  peerUnreachableToo: "262228",
  volumeExists: "917526",
  /** DELETE lun-maps: the map doesn't exist. */
  lunMapNotFound: "5374922",
  /** POST relationships: "Relationship with specified destination volume already exists." */
  relationshipExists: "6619637",
  /** "Modification of relationship is in progress. Retry the command after a few minutes." */
  modificationInProgress: "6619715",
  /** "Relationship information has been updated and is being propagated. Wait a few minutes and try the operation again." */
  relationshipPropagating: "6619720",
  /** "Could not retrieve information for the peer cluster." */
  peerClusterInformation: "13303815",
  /** "Could not retrieve the state or status values for the relationship. Wait a few minutes …" */
  relationshipStatusUnknown: "13303816",
  relationshipStatusUnknownToo: "13304159",
  /** "Transient state." */
  transientState: "13303830",
  breakFailed: "13303808",
  quiesceFailed: "13303809",
  resyncFailed: "13303810",
  resumeFailed: "13303811",
  /** POST transfers on an uninitialized relationship; also while its baseline runs. */
  initializeFailed: "13303812",
  /** POST transfers: "Update operation failed."; also while another transfer runs. */
  updateFailed: "13303844",
  /** PATCH transfers: "SnapMirror transfer state is invalid."; it has ended. */
  transferStateInvalid: "13303849",
  /** "Failed to access capabilities on remote cluster." */
  peerCapabilities: "13304071",
} as const;

const passing: ReadonlySet<string> = new Set([
  errorCodes.peerUnreachable,
  errorCodes.peerUnreachableToo,
  errorCodes.modificationInProgress,
  errorCodes.relationshipPropagating,
  errorCodes.peerClusterInformation,
  errorCodes.relationshipStatusUnknown,
  errorCodes.relationshipStatusUnknownToo,
  errorCodes.transientState,
  errorCodes.peerCapabilities,
]);

const transitions: ReadonlySet<string> = new Set([
  errorCodes.breakFailed,
  errorCodes.quiesceFailed,
  errorCodes.resyncFailed,
  errorCodes.resumeFailed,
  errorCodes.initializeFailed,
  errorCodes.updateFailed,
]);

/**
 * Whether the same request may succeed later by itself. One code covers every reason that a transition can fail for, so
 * the reason's text decides there, as it does in Cinder, Manila and Trident ("Another transfer is in progress").
 */
export function passesByItself(codes: readonly string[], message: string): boolean {
  if (codes.some((code) => passing.has(code))) return true;
  return codes.some((code) => transitions.has(code)) && /another transfer is in progress/i.test(message);
}

/** ONTAP's code of a failed request or job. */
export function vendorCodeOf(error: unknown): string | undefined {
  if (!DrError.is(error, "remote")) return undefined;
  const code = error.context["vendorCode"];
  return typeof code === "string" ? code : undefined;
}

/** By the code, not by the status: 404 is also the answer of an array, or of a proxy, that doesn't know the path. */
export function isNotFound(error: unknown): boolean {
  return vendorCodeOf(error) === errorCodes.notFound;
}
