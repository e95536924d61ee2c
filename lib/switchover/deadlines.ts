/** How long each wait may take, in seconds. A resumed run starts each anew. */
export const deadlines = {
  serviceRow: 60,
  drainTransient: 600,
  /** With the source lost, what hangs there doesn't come to rest. */
  drainTransientUnplanned: 60,
  splitClone: 7_200,
  /** Nova itself forces a guest off after shutdown_timeout (60 s by default). */
  stopInstance: 300,
  startInstance: 300,
  /** A dead path costs up to 16 minutes a volume on a real compute host (multipath flush, three attempts). */
  detachInstance: 1_800,
  /**
   * Without progress for so long, a volume that is `detaching` has been forgotten by somebody: rolled back and tried
   * again. Over live paths Nova gives up after five times 60 s; over dead ones one volume may take 16 minutes.
   */
  detachStalled: 420,
  detachStalledOverDeadPaths: 1_200,
  attachInstance: 900,
  /** Disconnecting a dead path and connecting the new one, twice over. */
  renewRoot: 3_600,
  transfer: 7_200,
  quiesceMirror: 3_600,
  failover: 3_600,
  heartbeat: 90,
  initialised: 240,
  mirrorHealthy: 7_200,
} as const;
