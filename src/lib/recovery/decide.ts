import { isRecoverable, prove, truncationOf } from "./history.ts";
import { formatLsn, type Lsn } from "./lsn.ts";
import {
  type Handshake,
  type RebuildSource,
  type RecoverabilityProof,
  RUNGS,
  type RefusedRung,
  type RetainedHistory,
  type Rung,
} from "./types.ts";

/** From which rung on a replica may be brought back, because work at a cheaper one failed or broke off. */
export interface Floor {
  readonly rung: RebuildSource;
  readonly because: string;
}

/** The cheapest allowed way, why it is allowed, and why no cheaper one is. */
export type Decision = DecisionBase & Choice;

type Choice =
  | { readonly outcome: "zero_gap"; readonly rung: "zero_gap" }
  | { readonly outcome: "catchup"; readonly rung: "catchup" | "truncate_only" }
  | { readonly outcome: "needs_rebuild"; readonly rung: RebuildSource }
  | { readonly outcome: "halt"; readonly rung: "halt" };

interface DecisionBase {
  readonly proof: RecoverabilityProof;
  /** Every cheaper rung, in order. */
  readonly refused: readonly RefusedRung[];
  /** Where WAL is needed from, exclusive. */
  readonly startLsn: Lsn;
  /** What the replica has to have in the end, inclusive: what was committed when this was decided. */
  readonly targetLsn: Lsn;
  /** Set on the rung `truncate_only`. */
  readonly truncateLsn: Lsn | null;
}

/** What a decision rests on. */
export interface DecisionFacts {
  readonly handshake: Handshake;
  readonly history: RetainedHistory;
  readonly floor: Floor | null;
  /** Set where a rebuild was assigned: no rung that keeps the data as they are will do. */
  readonly mustRebuild: boolean;
}

/**
 * Goes up the ladder and takes the first rung that nothing speaks against. Pure, so that a dry run decides as the real one.
 * `history` has passed `checkHistory`.
 */
export function decide(facts: DecisionFacts): Decision {
  const proof = prove(facts.handshake, facts.history);
  const refused: RefusedRung[] = [];
  for (const rung of RUNGS) {
    const because = refusalOf(rung, facts, proof);
    if (because === null) return decisionOf(rung, facts, proof, refused);
    refused.push({ rung, because });
  }
  return decisionOf("halt", facts, proof, refused);
}

/** The rung above: what is left when one failed. */
export function rungAbove(rung: Rung): RebuildSource {
  if (rung === "rewind" || rung === "snapshot_tail" || rung === "full_base") {
    return rung === "rewind" ? "snapshot_tail" : "full_base";
  }
  return "rewind";
}

function decisionOf(
  rung: Rung,
  { handshake, history }: DecisionFacts,
  proof: RecoverabilityProof,
  refused: readonly RefusedRung[],
): Decision {
  const common = { proof, refused, targetLsn: history.committedLsn, truncateLsn: null };
  const { replicaFlushedLsn, rewind } = handshake;
  switch (rung) {
    case "zero_gap":
      return { ...common, outcome: "zero_gap", rung, startLsn: replicaFlushedLsn };
    case "catchup":
      return { ...common, outcome: "catchup", rung, startLsn: replicaFlushedLsn };
    case "truncate_only": {
      const truncateLsn = truncationOf(handshake, history);
      return { ...common, outcome: "catchup", rung, startLsn: truncateLsn ?? replicaFlushedLsn, truncateLsn };
    }
    case "rewind":
      return { ...common, outcome: "needs_rebuild", rung, startLsn: rewind.possible ? rewind.fromLsn : 0n };
    case "snapshot_tail":
      return { ...common, outcome: "needs_rebuild", rung, startLsn: history.checkpointLsn };
    case "full_base": {
      // Whoever copies everything has at least what is flushed now, also where nothing is known to be committed.
      const targetLsn = history.committedLsn === 0n ? history.headLsn : history.committedLsn;
      return { ...common, outcome: "needs_rebuild", rung, startLsn: 0n, targetLsn };
    }
    default:
      return { ...common, outcome: "halt", rung, startLsn: 0n };
  }
}

/** Why a rung cannot be taken, or null. */
function refusalOf(rung: Rung, facts: DecisionFacts, proof: RecoverabilityProof): string | null {
  if (proof.code === "epoch_above_arbiter") return rung === "halt" ? null : proof.reason;
  const { floor } = facts;
  if (floor !== null && RUNGS.indexOf(rung) < RUNGS.indexOf(floor.rung)) return `below_floor: ${floor.because}`;
  switch (rung) {
    case "zero_gap":
      return keepsData(facts) ?? only("zero_gap", proof);
    case "catchup":
      return keepsData(facts) ?? only("gap_within_retention", proof);
    case "truncate_only":
      return keepsData(facts) ?? only("replica_ahead_needs_truncation", proof);
    case "rewind":
      return rewindRefusal(facts, proof);
    case "snapshot_tail":
      return snapshotRefusal(facts.history);
    default:
      return null;
  }
}

function keepsData({ mustRebuild }: DecisionFacts): string | null {
  return mustRebuild ? "rebuild_assigned" : null;
}

function only(code: RecoverabilityProof["code"], proof: RecoverabilityProof): string | null {
  return proof.code === code ? null : proof.reason;
}

function rewindRefusal({ handshake, history }: DecisionFacts, proof: RecoverabilityProof): string | null {
  const { lineage, rewind } = handshake;
  const isDiverged = lineage.kind === "forked" || lineage.kind === "ahead";
  if (!isDiverged && !(lineage.kind === "interrupted" && lineage.mayRewindAgain)) return `not_diverged: ${proof.code}`;
  if (history.committedLsn === 0n) return "nothing_committed";
  if (!rewind.possible) return `rewind_impossible: ${rewind.because}`;
  if (isRecoverable(history, rewind.fromLsn, history.committedLsn)) return null;
  return `gap_beyond_retention: need LSN ${formatLsn(rewind.fromLsn + 1n)} but tail=${formatLsn(history.tailLsn)}`;
}

function snapshotRefusal(history: RetainedHistory): string | null {
  if (history.committedLsn === 0n) return "nothing_committed";
  if (history.checkpointLsn === 0n) return "no_checkpoint";
  if (!history.checkpointTrusted || history.checkpointLsn > history.headLsn) return "untrusted_checkpoint";
  const isReplayable = isRecoverable(history, history.checkpointLsn, history.committedLsn);
  return isReplayable ? null : "trusted_checkpoint_unreplayable_tail";
}
