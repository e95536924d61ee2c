/**
 * What another Pulumi project imports: a pair of sites as one component, and the resources it is made of.
 *
 * ```ts
 * import { DisasterRecoveryPair, pairFromConfig } from "cinder-cheesecake";
 *
 * const { activeSite } = new DisasterRecoveryPair("production", pairFromConfig());
 * export const { plan, planDigest, status, observedSite } = activeSite;
 * ```
 *
 * The engine without Pulumi is `cinder-cheesecake/library`.
 *
 * @packageDocumentation
 */
export { DisasterRecoveryPair, type DisasterRecoveryPairArgs } from "../components/disaster-recovery-pair";
export { ActiveSite, type ActiveSiteArgs } from "../dynamic-providers/active-site";
export { CinderBackend, type CinderBackendArgs } from "../dynamic-providers/cinder-backend";
export { ClusterPeer, type ClusterPeerArgs } from "../dynamic-providers/cluster-peer";
export {
  type ObservedMirror,
  SnapMirrorRelationship,
  type SnapMirrorRelationshipArgs,
} from "../dynamic-providers/snapmirror-relationship";
export { SvmPeer, type SvmPeerArgs } from "../dynamic-providers/svm-peer";
export { DrError, type DrErrorCode, type DrErrorFields } from "../lib/errors";
export type { HookSpec, Phase, Promotion, Route, Unplanned } from "../lib/switchover/intent";
export type { SitePair, SitePairInput } from "../lib/topology/site-pair";
export { pairFromConfig } from "./pair-from-config";
