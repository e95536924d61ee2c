/**
 * The engine without Pulumi: observe, plan, switch over, verify a pair of sites.
 *
 * ```ts
 * import { connect, previewSwitchover, sitePairSchema } from "cinder-cheesecake/library";
 *
 * const pair = sitePairSchema.parse(written);
 * const { ports, close } = connect(pair, secrets);
 * const { sentences, failures } = await previewSwitchover({ pair, ports, intent, stack: "prod", journalDir: "reports" });
 * await close();
 * ```
 *
 * Whatever fails, fails with a {@link DrError}, which is recognised by its `code`. Units stand in the names: seconds, bytes
 * and milliseconds as numbers, points in time as ISO 8601.
 *
 * @packageDocumentation
 */
export { connect, type Connections } from "./connections";
export { DrError, type DrErrorCode, type DrErrorFields, messageOf, type RemoteContext } from "./errors";
export {
  activeSettings,
  type DisasterRecoverySettings,
  disasterRecoverySchema,
  parseSettings,
  type RawSettings,
} from "./settings";
export {
  applySwitchover,
  type ApplyOptions,
  approveGroup,
  type Check,
  durationOf,
  type Failure,
  hasOpenJournal,
  type History,
  type HookSpec,
  type Intent,
  type Judgement,
  type LastSwitchover,
  linesOf,
  listHistory,
  markdownOf,
  type Mark,
  type MirrorLag,
  type Mismatch,
  type Mode,
  observeState,
  openSwitchover,
  type OpenSwitchover,
  type Overview,
  overviewOf,
  type Past,
  type Phase,
  phases,
  type Preview,
  previewSwitchover,
  type Promotion,
  type Proof,
  type Readiness,
  type Report,
  reportAsHtml,
  reportAsMarkdown,
  reportOf,
  reportSchema,
  requestStop,
  type Route,
  type Runbook,
  type RunbookPhase,
  saveReport,
  sentenceOf,
  type Status,
  statusOf,
  type StopOutcome,
  type StoppedAt,
  type SwitchoverState,
  toldOf,
  type Unplanned,
  type Verdict,
  verifyEndState,
} from "./switchover";
export {
  backendHost,
  type Controller,
  type ControllerServices,
  type PairSecrets,
  pairSecretsSchema,
  peerOf,
  type ServiceUnit,
  type Site,
  siteNames,
  siteOf,
  type SitePair,
  type SitePairInput,
  sitePairSchema,
} from "./topology/site-pair";
