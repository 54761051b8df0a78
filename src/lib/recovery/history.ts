import { formatLsn, type Lsn } from "./lsn.ts";
import { accept, type Result, refuse } from "./result.ts";
import type { Handshake, ProofReason, RecoverabilityProof, RetainedHistory } from "./types.ts";

/** Whether all WAL above `startExclusive` up to `endInclusive` is still there. */
export function isRecoverable(history: RetainedHistory, startExclusive: Lsn, endInclusive: Lsn): boolean {
  return startExclusive >= history.tailLsn && endInclusive <= history.headLsn;
}

/** Refuses a history that the primary could not tell, or whose positions cannot all be true. */
export function checkHistory(history: RetainedHistory | null): Result<RetainedHistory> {
  if (history === null) return refuse("history_missing", "the primary did not say what it still has");
  const { headLsn, tailLsn, committedLsn } = history;
  if (tailLsn < 0n || committedLsn < 0n || headLsn <= 0n || tailLsn > headLsn || committedLsn > headLsn) {
    const positions = `tail=${formatLsn(tailLsn)} committed=${formatLsn(committedLsn)} head=${formatLsn(headLsn)}`;
    return refuse("history_inconsistent", `the primary's positions contradict one another: ${positions}`);
  }
  return accept(history);
}

/** To which position a replica has to be taken back before it can go on; null where it has nothing too much. */
export function truncationOf(handshake: Handshake, history: RetainedHistory): Lsn | null {
  const { lineage, replicaFlushedLsn } = handshake;
  if (lineage.kind === "ahead") return replicaFlushedLsn > lineage.forkLsn ? lineage.forkLsn : null;
  // On the lineage and beyond what the primary has: it lost, in a crash, what it had sent already.
  return lineage.kind === "on_lineage" && replicaFlushedLsn > history.headLsn ? history.committedLsn : null;
}

/** Says whether the WAL that is still there brings the replica to what is committed, and why. */
export function prove(handshake: Handshake, history: RetainedHistory): RecoverabilityProof {
  const { code, positions = "" } = judge(handshake, history);
  return {
    replicaFlushedLsn: handshake.replicaFlushedLsn,
    committedLsn: history.committedLsn,
    tailLsn: history.tailLsn,
    headLsn: history.headLsn,
    recoverable: RECOVERABLE.has(code),
    code,
    reason: positions === "" ? code : `${code}: ${positions}`,
  };
}

const RECOVERABLE: ReadonlySet<ProofReason> = new Set([
  "zero_gap",
  "gap_within_retention",
  "replica_ahead_needs_truncation",
]);

interface Verdict {
  readonly code: ProofReason;
  readonly positions?: string;
}

/** Lineage first: positions of two histories say nothing about one another. */
function judge(handshake: Handshake, history: RetainedHistory): Verdict {
  const { lineage, replicaFlushedLsn } = handshake;
  switch (lineage.kind) {
    case "epoch_above_arbiter":
      return { code: "epoch_above_arbiter", positions: `the replica knows epoch ${lineage.epoch.number}` };
    case "interrupted":
      return { code: "interrupted", positions: lineage.what };
    case "lost":
      return { code: lineage.because };
    case "forked":
      return { code: lineage.because, positions: `common ancestor ${formatLsn(lineage.ancestorLsn)}` };
    case "ahead":
    case "on_lineage":
  }
  // Nothing is committed, so that nothing is missing: true of every replica, and no proof of anything.
  if (history.committedLsn === 0n) return { code: "nothing_committed" };
  const truncateLsn = truncationOf(handshake, history);
  if (truncateLsn === null) {
    return replicaFlushedLsn >= history.committedLsn
      ? { code: "zero_gap" }
      : gap(handshake, history, replicaFlushedLsn);
  }
  if (handshake.recoveryPointLsn > truncateLsn) {
    const { recoveryPointLsn } = handshake;
    const positions = `recovery point ${formatLsn(recoveryPointLsn)} is above ${formatLsn(truncateLsn)}`;
    return { code: "truncation_unsafe", positions };
  }
  if (truncateLsn < history.committedLsn && !isRecoverable(history, truncateLsn, history.committedLsn)) {
    return gap(handshake, history, truncateLsn);
  }
  const positions = `replica=${formatLsn(replicaFlushedLsn)} truncate to ${formatLsn(truncateLsn)}`;
  return { code: "replica_ahead_needs_truncation", positions };
}

function gap(handshake: Handshake, history: RetainedHistory, start: Lsn): Verdict {
  const [need, end, tail, head] = [start + 1n, history.committedLsn, history.tailLsn, history.headLsn].map(formatLsn);
  if (isRecoverable(history, start, history.committedLsn)) {
    return { code: "gap_within_retention", positions: `need LSN ${need}-${end}, tail=${tail} head=${head}` };
  }
  const code = handshake.isSlotLost ? "slot_lost" : "gap_beyond_retention";
  return { code, positions: `need LSN ${need} but tail=${tail}` };
}
