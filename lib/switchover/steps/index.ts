import { DrError } from "../../errors";
import type { Step } from "../context";
import { activateRestartVolumeService } from "./activate-restart-volume-service";
import { attachRenewRoots } from "./attach-renew-roots";
import { attachVolumes } from "./attach-volumes";
import { cutoverBreakMirrors } from "./cutover-break-mirrors";
import { cutoverFailoverHost } from "./cutover-failover-host";
import { cutoverVerifyDestination } from "./cutover-verify-destination";
import { detachUnmapSource } from "./detach-unmap-source";
import { detachVolumes } from "./detach-volumes";
import { holdDisableBackend } from "./hold-disable-backend";
import { holdDrainTransient } from "./hold-drain-transient";
import { holdLockInstances } from "./hold-lock-instances";
import { promoteDrainQueues } from "./promote-drain-queues";
import { promoteDumpDatabase } from "./promote-dump-database";
import { promoteEditConfiguration } from "./promote-edit-configuration";
import { promoteReverseMirrors } from "./promote-reverse-mirrors";
import { promoteStartServices } from "./promote-start-services";
import { promoteStopServices } from "./promote-stop-services";
import { promoteUpdateDatabase } from "./promote-update-database";
import { quiesceStopInstances } from "./quiesce-stop-instances";
import { reprotectDeleteSetAside } from "./reprotect-delete-set-aside";
import { reprotectFenceSource } from "./reprotect-fence-source";
import { reprotectKeepDiverged } from "./reprotect-keep-diverged";
import { reprotectBeginBaselines } from "./reprotect-begin-baselines";
import { reprotectWaitHealthy } from "./reprotect-wait-healthy";
import { startAwaitApproval } from "./start-await-approval";
import { startEnableBackend } from "./start-enable-backend";
import { startInstances } from "./start-instances";
import { startPause } from "./start-pause";
import { startUnlockInstances } from "./start-unlock-instances";
import { finalSyncUpdateMirrors, preSyncUpdateMirrors } from "./update-mirrors";

/** Every step there is. Ids are in journals: stable once released. */
export const allSteps: readonly Step[] = [
  activateRestartVolumeService,
  holdDisableBackend,
  holdLockInstances,
  holdDrainTransient,
  preSyncUpdateMirrors,
  quiesceStopInstances,
  detachVolumes,
  detachUnmapSource,
  finalSyncUpdateMirrors,
  cutoverFailoverHost,
  cutoverBreakMirrors,
  cutoverVerifyDestination,
  attachVolumes,
  attachRenewRoots,
  startInstances,
  startPause,
  startAwaitApproval,
  startUnlockInstances,
  startEnableBackend,
  promoteStopServices,
  promoteEditConfiguration,
  promoteDumpDatabase,
  promoteUpdateDatabase,
  promoteReverseMirrors,
  promoteDrainQueues,
  promoteStartServices,
  reprotectFenceSource,
  reprotectKeepDiverged,
  reprotectBeginBaselines,
  reprotectWaitHealthy,
  reprotectDeleteSetAside,
];

export function stepById(id: string): Step {
  const step = allSteps.find((candidate) => candidate.id === id);
  if (step === undefined)
    throw new DrError({
      code: "journal",
      attempted: `Run step ${id}`,
      seen: "this version doesn't know it",
      remedy: "Resume with the version that planned it.",
    });
  return step;
}
