import type { Lsn } from "./lsn.ts";
import type { Session } from "./session.ts";
import type {
  CatchUpBudget,
  ProgressTracker,
  RebuildPhase,
  RebuildSource,
  ReplicaId,
  SessionId,
  SessionKind,
  SessionPhase,
} from "./types.ts";
import type { Epoch } from "./epoch.ts";

/** A copy of a session: every field of every phase, null or 0 where it has none yet. */
export interface SessionView {
  readonly id: SessionId;
  readonly replicaId: ReplicaId;
  readonly epoch: Epoch;
  readonly kind: SessionKind;
  readonly phase: SessionPhase;
  /** Exclusive. */
  readonly startLsn: Lsn;
  /** Inclusive. */
  readonly targetLsn: Lsn;
  /** The target that a catch-up may not go beyond; 0 before one begins. */
  readonly frozenTargetLsn: Lsn;
  readonly recoveredTo: Lsn;
  readonly truncateRequired: boolean;
  readonly truncateToLsn: Lsn | null;
  readonly truncateRecorded: boolean;
  readonly budget: CatchUpBudget | null;
  readonly tracker: ProgressTracker | null;
  readonly rebuild: { readonly phase: RebuildPhase; readonly source: RebuildSource | null } | null;
  readonly invalidateReason: string | null;
}

/** Copies a session for readers: what they change in it changes nothing. */
export function viewSession(session: Session): SessionView {
  const { id, replicaId, epoch, kind, phase } = session;
  const range = "range" in session ? session.range : null;
  const truncateToLsn = range?.truncateToLsn ?? null;
  const catchUp = session.phase === "catchup" ? session : null;
  const rebuild = "rebuild" in session ? session.rebuild : null;
  return {
    id,
    replicaId,
    epoch: { ...epoch },
    kind,
    phase,
    startLsn: range?.startLsn ?? 0n,
    targetLsn: range?.targetLsn ?? 0n,
    frozenTargetLsn: catchUp?.frozenTargetLsn ?? 0n,
    recoveredTo: "recoveredTo" in session ? session.recoveredTo : 0n,
    truncateRequired: truncateToLsn !== null,
    truncateToLsn,
    truncateRecorded: catchUp?.truncateRecorded ?? (phase === "completed" && truncateToLsn !== null),
    budget: catchUp === null || catchUp.budget === null ? null : { ...catchUp.budget },
    tracker: trackerOf(session),
    rebuild: rebuild === null ? null : { phase: rebuild.phase, source: "source" in rebuild ? rebuild.source : null },
    invalidateReason: session.phase === "invalidated" ? session.invalidateReason : null,
  };
}

function trackerOf(session: Session): ProgressTracker | null {
  if (session.phase === "catchup") return { ...session.tracker };
  if (session.phase !== "handshake" || session.rebuild?.phase !== "tail_replay") return null;
  return { ...session.rebuild.tracker };
}
