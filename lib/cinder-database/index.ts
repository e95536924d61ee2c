import { CinderDatabase } from "./cinder-database";
import { type DatabaseOptions, Database } from "./connection";
import { Coordination } from "./coordination";

export type { CinderDatabase, Coordination };
export type { DatabaseOptions };
export type { Description, HostRowCounts, PromotionChange, PromotionResult, ServiceRow } from "./cinder-database";
export type { LeaseHolder, LeaseRow } from "./coordination";
export type { DumpResult } from "./dump";

/**
 * Opens nothing yet. The lease gets a connection of its own: renewing it must not wait for a dump or a promotion.
 * Throws `config` for a remote host without TLS.
 */
export function connectCinderDatabase(options: DatabaseOptions): {
  readonly database: CinderDatabase;
  readonly coordination: Coordination;
  close(): Promise<void>;
} {
  const forCinder = new Database(options);
  const forCoordination = new Database(options);
  return {
    database: new CinderDatabase(forCinder),
    coordination: new Coordination(forCoordination),
    close: async () => {
      await Promise.all([forCinder.close(), forCoordination.close()]);
    },
  };
}
