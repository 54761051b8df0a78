import { formatDuration } from "../kernel/units.ts";
import type { Rung } from "../recovery/types.ts";
import type { ResyncPlan } from "./resync-plan.ts";
import type { ResyncReport } from "./resync-run.ts";

const WAYS: Readonly<Record<Rung, string>> = {
  zero_gap: "it has everything, and only has to follow",
  catchup: "it streams what it lacks; nothing that it has is changed",
  truncate_only: "log that it received and nobody else has is set aside, and it streams",
  rewind: "what it alone has is kept and then taken back (pg_rewind), and it streams",
  snapshot_tail: "a verified base backup takes the place of its data, and it streams what came after",
  full_base: "a new copy of the primary takes the place of its data, and it streams",
  halt: "none: somebody has to look",
};

/** What is done first, of what was cut off; and what most likely comes of it. */
const SETTLES: Readonly<Record<NonNullable<ResyncReport["settles"]>, string>> = {
  truncation:
    "First: log that a run had begun to set aside when it was cut off is put back. Only then it is decided: that run had proven truncate_only.",
  exchange:
    "First: an exchange of the old data for the new, which was cut off, is ended. Only then it is decided: the new data lack no more than what came since.",
};

const LINEAGES: Readonly<Record<ResyncPlan["lineage"], string>> = {
  on_lineage: "What it has is a part of the primary's history.",
  ahead: "It received more of the old history than the primary had when that began a new one.",
  forked: "It has history of its own, which nobody else has.",
  lost: "Nothing of its data can be used.",
  interrupted: "A recovery of it was cut off while it rewrote the data.",
  epoch_above_arbiter: "It knows an epoch that the control plane never gave out: the control plane was set back.",
};

const SOURCES: Readonly<Record<ResyncPlan["proof"]["source"], string>> = {
  pg_wal: "at the primary",
  archive: "in this box's archive",
  mixed: "at the primary, and before that in this box's archive",
};

/** What the codes of proofs mean, in words. */
const PROOFS: Readonly<Record<string, string>> = {
  zero_gap: "It has everything up to the position that has to be reached.",
  replica_ahead_needs_truncation: "None of the surplus is in its data files: taking the log away takes it all away.",
  gap_within_retention: "Everything that it lacks is still there.",
  gap_beyond_retention: "A part of what it lacks is not there any more.",
  nothing_committed: "The primary does not know of anything that is certain.",
  truncation_unsafe: "A part of the surplus may be in its data files.",
  forked_before_recovery_point: "Its own history begins below a position that its data files have passed.",
  same_tli_uuid_mismatch: "Both have a timeline of the same number, and what was written on it differs.",
  no_common_epoch: "The two histories have nothing in common.",
  slot_lost: "The primary has given up the log that it kept for this server.",
  interrupted: "Nobody can tell what of its data is rewritten.",
  foreign_system: "Its data are another ledger's.",
  empty: "It has no data.",
  control_unreadable: "Its control file cannot be read.",
  epoch_above_arbiter: "Whoever is behind cannot judge who is ahead.",
};

function tailText({ forkLsn, timeline, endLsn }: NonNullable<ResyncPlan["tail"]>, lineage: string): string {
  return lineage === "lost"
    ? `Of what it has, the log from ${forkLsn} (timeline ${timeline}) to ${endLsn} is left, and is kept.`
    : `It left the common history at ${forkLsn}, on timeline ${timeline}, and its own goes on to ${endLsn}.`;
}

/** Why a plan is what it is, for people: every position that was compared, and why no cheaper way will do. */
function explainPlan({ proof, refused, lineage, tail, epoch, startLsn, targetLsn, rung }: ResyncPlan): string {
  const kept = tail === null ? [] : [tailText(tail, lineage)];
  return [
    LINEAGES[lineage],
    ...kept,
    `It has everything up to ${proof.replicaFlushedLsn}. The primary of epoch ${epoch.number} has log above ${proof.tailLsn} and up to ${proof.headLsn}; ${proof.committedLsn} is certain.`,
    `${PROOFS[proof.code] ?? ""} (${proof.reason})`.trim(),
    `${proof.segmentsFound} of ${proof.segmentsNeeded} segments of log that it would need are there (${SOURCES[proof.source]}).`,
    `So: ${WAYS[rung]}. Log is needed above ${startLsn}; it is back when it has ${targetLsn}.`,
    ...(refused.length === 0 ? [] : ["Cheaper ways, and why not:"]),
    ...refused.map(({ rung: cheaper, because }) => `  ${cheaper.padEnd(14)}${because}`),
  ].join("\n");
}

/** What would be done, or is asked about. */
export function renderPlan(plan: ResyncPlan, explained: boolean): string {
  const { node, primary, epoch, rung } = plan;
  const head = `${node} comes back to ${primary} (epoch ${epoch.number}) by ${rung}: ${WAYS[rung]}.`;
  return explained ? `${head}\n\n${explainPlan(plan)}` : head;
}

/** What was done, or would be. @param explained for a plan: with what was compared */
export function renderResync(report: ResyncReport, explained: boolean): string {
  const { outcome, plan, rungs, durationMs, keptOldData, settles } = report;
  if (outcome === "planned") {
    const said = renderPlan(plan, explained);
    const text = settles === null ? said : `${SETTLES[settles]}\n\nAs the data lie there now, at the dearest: ${said}`;
    return `${text}\n\nNothing was changed.${explained ? "" : " --explain says why so."}`;
  }
  const tried = rungs.length === 0 ? "nothing was to be done" : `by ${rungs.join(", then ")}`;
  return [
    `${plan.node} is in sync with ${plan.primary} (epoch ${plan.epoch.number}), ${tried}, in ${formatDuration(durationMs)}.`,
    ...(plan.tail === null
      ? []
      : [
          `What it alone had is in salvage/${plan.epoch.number} or quarantine beside its data: docs/resync.md says how to look at it.`,
        ]),
    ...(keptOldData.length > 0
      ? [
          `Replaced data were left beside the new ones (${keptOldData.join(", ")}): not all that they alone have is kept elsewhere. Remove them when nobody needs them.`,
        ]
      : []),
  ].join("\n");
}
