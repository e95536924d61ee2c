import { baselines } from "./baselines";
import { database } from "./baselines/database";
import { demoTimes } from "./demo";
import { limit } from "./limit";
import type { Measurement } from "./measurement";
import { pulumiShare } from "./pulumi-share";
import { requests } from "./requests";
import { scale } from "./scale";
import { service } from "./service";

/** In the order of their numbers, which is that of the page. */
export const measurements: readonly Measurement[] = [
  baselines,
  limit,
  requests,
  scale,
  database,
  service,
  pulumiShare,
  demoTimes,
];
