import { DisasterRecoveryPair } from "../components/disaster-recovery-pair";
import type { DisasterRecoverySettings } from "../lib/settings";
import { pairArgs } from "./pair-from-config";

/** Both sites, the replication between them, and where production runs. */
export function disasterRecovery(settings: DisasterRecoverySettings, stack: string): Record<string, unknown> {
  const recovery = new DisasterRecoveryPair(settings.pair.name, pairArgs(settings, stack));
  return {
    activeSite: recovery.activeSite.activeSite,
    observedSite: recovery.activeSite.observedSite,
    status: recovery.activeSite.status,
    mismatches: recovery.activeSite.mismatches.apply((mismatches) => mismatches ?? []),
    plan: recovery.activeSite.plan,
    planDigest: recovery.activeSite.planDigest,
    report: recovery.activeSite.reportDirectory,
  };
}
