import type { Mismatch } from "./drift";
import { toldOf } from "./drift";
import type { StoppedAt } from "./stop";
import type { Verdict } from "./verdict";

/** One word for it all, and what is to be done. */
export interface Judgement {
  readonly word: "in place" | "elsewhere" | "unfinished" | "out of place" | "contradiction" | "unknown" | "alarm";
  readonly said: string;
  /** Empty where nothing is to be done. */
  readonly remedy: string;
}

export function judge(o: {
  readonly verdict: Verdict;
  /** As the state or the configuration has it. */
  readonly expected: string;
  /** Of the switchover that this software began and didn't finish. */
  readonly open?: {
    readonly switchoverId: string;
    readonly stopped?: StoppedAt;
    readonly awaitsApprovalOf?: string;
  };
}): Judgement {
  const { site, promoted, mismatches } = o.verdict;
  const first = (kind: Mismatch["kind"]) => mismatches.find((mismatch) => mismatch.kind === kind);
  const about = (word: Judgement["word"], mismatch: Mismatch): Judgement => ({
    word,
    said: toldOf(mismatch),
    remedy: mismatch.remedy,
  });
  const alarm = first("alarm");
  if (alarm !== undefined) return about("alarm", alarm);
  if (o.open?.awaitsApprovalOf !== undefined) {
    const { switchoverId, awaitsApprovalOf: group } = o.open;
    return {
      word: "unfinished",
      said: `${switchoverId} waits for the approval of group "${group}"`,
      remedy: `See that the group works, then \`cheesecake approve ${group}\`, and run up, which goes on, or \`cheesecake resume\`.`,
    };
  }
  if (o.open?.stopped !== undefined) {
    const { at, by, step } = o.open.stopped;
    return {
      word: "unfinished",
      said: `${o.open.switchoverId} was stopped by request at ${at}, at ${step} (${by})`,
      remedy: "Run up, which goes on, or `cheesecake resume`.",
    };
  }
  if (o.open !== undefined)
    return {
      word: "unfinished",
      said: `${o.open.switchoverId} isn't finished`,
      remedy:
        "Let its run end, or stop it at the next safe point (`cheesecake stop`); where none is under way, run up, which goes on.",
    };
  const blind = first("blind");
  if (blind !== undefined) return about("unknown", blind);
  if (site === undefined) {
    const [mismatch] = mismatches;
    if (mismatch !== undefined) return about("contradiction", mismatch);
    return {
      word: "contradiction",
      said: "no site is enabled in cinder.conf",
      remedy: "Put the backend back into enabled_backends on every controller; where there are no volumes yet, run up.",
    };
  }
  const half = first("half");
  if (half !== undefined) return about("unfinished", half);
  if (site !== o.expected)
    return {
      word: "elsewhere",
      said: `production runs at "${site}", not at "${o.expected}"${promoted ? "" : ": failed over to, and not promoted"}`,
      remedy: `To accept it, set activeSite to "${site}" and run up${promoted ? "" : ", which promotes it where promotion is immediate"}.`,
    };
  const [stray] = mismatches;
  if (stray !== undefined) return about("out of place", stray);
  const all = o.verdict.unseen.length === 0 ? "every system" : "every system that answers";
  return { word: "in place", said: `${all} names "${site}"${promoted ? "" : ", not promoted"}`, remedy: "" };
}
