import type { Epoch } from "./epoch.ts";
import { formatLsn, type Lsn } from "./lsn.ts";
import { accept, type Result, refuse } from "./result.ts";
import type {
  CatchUpBudget,
  ProgressTracker,
  RebuildSource,
  ReplicaId,
  SessionId,
  SessionKind,
  SessionPhase,
} from "./types.ts";

/** What a handshake found: from where to where, and whether something has to be taken away first. */
export interface RecoveryRange {
  /** Exclusive. */
  readonly startLsn: Lsn;
  /** Inclusive. */
  readonly targetLsn: Lsn;
  readonly truncateToLsn: Lsn | null;
}

/** How far a rebuild is. */
export type Rebuild =
  | { readonly phase: "init" }
  | ({ readonly phase: "source_select" } & RebuildGoal)
  | ({ readonly phase: "transfer"; readonly transferredTo: Lsn | null } & RebuildGoal)
  | ({ readonly phase: "tail_replay"; readonly transferredTo: Lsn; readonly tracker: ProgressTracker } & RebuildGoal)
  | { readonly phase: "completed"; readonly source: RebuildSource; readonly transferredTo: Lsn }
  | { readonly phase: "aborted"; readonly because: string };

interface RebuildGoal {
  readonly source: RebuildSource;
  /** What the transfer has to reach before any WAL is replayed on it. */
  readonly snapshotLsn: Lsn;
}

interface CatchUp {
  readonly range: RecoveryRange;
  readonly frozenTargetLsn: Lsn;
  readonly recoveredTo: Lsn;
  readonly truncateRecorded: boolean;
  readonly budget: CatchUpBudget | null;
  readonly tracker: ProgressTracker;
}

interface Identity {
  readonly id: SessionId;
  readonly replicaId: ReplicaId;
  readonly epoch: Epoch;
  readonly kind: SessionKind;
}

/** One attempt at recovery, at one epoch. */
export type Session = Identity &
  (
    | { readonly phase: "init" | "connecting" }
    | {
        readonly phase: "handshake";
        readonly range: RecoveryRange;
        readonly recoveredTo: Lsn;
        readonly rebuild: Rebuild | null;
      }
    | ({ readonly phase: "catchup" } & CatchUp)
    | {
        readonly phase: "completed";
        readonly range: RecoveryRange;
        readonly recoveredTo: Lsn;
        readonly rebuild: Rebuild | null;
      }
    | {
        readonly phase: "invalidated";
        readonly invalidateReason: string;
        readonly range: RecoveryRange | null;
        readonly recoveredTo: Lsn;
        readonly rebuild: Rebuild | null;
      }
  );

/** What may happen to a session. Times are of the monotonic clock. */
export type SessionStep =
  | { readonly step: "connect" }
  | { readonly step: "handshake"; readonly range: RecoveryRange }
  | { readonly step: "begin_catchup"; readonly budget: CatchUpBudget | null; readonly nowMs: number }
  | { readonly step: "truncated"; readonly lsn: Lsn }
  | { readonly step: "progress"; readonly reachedLsn: Lsn; readonly nowMs: number }
  | { readonly step: "select_source"; readonly source: RebuildSource; readonly snapshotLsn: Lsn }
  | { readonly step: "begin_transfer" }
  | { readonly step: "transferred"; readonly achievedLsn: Lsn }
  | { readonly step: "begin_tail"; readonly nowMs: number }
  | { readonly step: "complete" }
  | { readonly step: "invalidate"; readonly reason: string };

export function newSession(identity: Identity): Session {
  return { ...identity, phase: "init" };
}

export function isActive({ phase }: { readonly phase: SessionPhase }): boolean {
  return phase !== "completed" && phase !== "invalidated";
}

/** The state after a step, or why it may not be taken now. Never changes what it is given. */
export function advance(session: Session, step: SessionStep): Result<Session> {
  if (!isActive(session)) return refuse("inactive_session", `session ${session.id} is ${session.phase}`);
  switch (step.step) {
    case "invalidate":
      return accept(invalidated(session, step.reason));
    case "connect":
      return session.phase === "init"
        ? accept({ ...identityOf(session), phase: "connecting" })
        : outOfPhase(session, step);
    case "handshake":
      return session.phase === "connecting" ? accept(handshaken(session, step.range)) : outOfPhase(session, step);
    case "begin_catchup":
      return beginCatchUp(session, step);
    case "truncated":
      return truncated(session, step.lsn);
    case "progress":
      return progress(session, step.reachedLsn, step.nowMs);
    case "complete":
      return complete(session);
    default:
      return advanceRebuild(session, step);
  }
}

type RebuildStep = Extract<SessionStep, { step: "select_source" | "begin_transfer" | "transferred" | "begin_tail" }>;

function advanceRebuild(session: Session, step: RebuildStep): Result<Session> {
  if (session.kind !== "rebuild") return refuse("wrong_kind", `session ${session.id} is a ${session.kind}, no rebuild`);
  if (session.phase !== "handshake" || session.rebuild === null) return outOfPhase(session, step);
  const { rebuild, range } = session;
  switch (step.step) {
    case "select_source":
      if (rebuild.phase !== "init") return outOfPhase(session, step);
      return accept({
        ...session,
        rebuild: { phase: "source_select", source: step.source, snapshotLsn: step.snapshotLsn },
      });
    case "begin_transfer":
      if (rebuild.phase !== "source_select") return outOfPhase(session, step);
      return accept({ ...session, rebuild: { ...rebuild, phase: "transfer", transferredTo: null } });
    case "transferred":
      if (rebuild.phase !== "transfer" || rebuild.transferredTo !== null) return outOfPhase(session, step);
      return accept({
        ...session,
        recoveredTo: step.achievedLsn,
        rebuild: { ...rebuild, transferredTo: step.achievedLsn },
      });
    default:
      if (rebuild.phase !== "transfer" || rebuild.transferredTo === null || rebuild.source === "full_base") {
        return outOfPhase(session, step);
      }
      if (rebuild.transferredTo < rebuild.snapshotLsn) return short(rebuild.transferredTo, rebuild.snapshotLsn);
      return accept({
        ...session,
        rebuild: {
          ...rebuild,
          phase: "tail_replay",
          transferredTo: rebuild.transferredTo,
          tracker: trackerFrom(step.nowMs),
        },
        range: { ...range, startLsn: rebuild.transferredTo },
      });
  }
}

function beginCatchUp(session: Session, step: Extract<SessionStep, { step: "begin_catchup" }>): Result<Session> {
  if (session.kind === "rebuild") return refuse("wrong_kind", `session ${session.id} is a rebuild`);
  if (session.phase !== "handshake") return outOfPhase(session, step);
  const { range } = session;
  return accept({
    ...identityOf(session),
    phase: "catchup",
    range,
    frozenTargetLsn: range.targetLsn,
    recoveredTo: range.startLsn,
    truncateRecorded: false,
    budget: step.budget,
    tracker: trackerFrom(step.nowMs),
  });
}

function truncated(session: Session, lsn: Lsn): Result<Session> {
  if (session.phase !== "catchup") return outOfPhase(session, { step: "truncated" });
  const { truncateToLsn } = session.range;
  if (truncateToLsn === null || truncateToLsn !== lsn) {
    const planned = truncateToLsn === null ? "nowhere" : formatLsn(truncateToLsn);
    return refuse("wrong_truncation", `truncated to ${formatLsn(lsn)}, planned ${planned}`);
  }
  return accept({ ...session, truncateRecorded: true });
}

/** A position reached, by catching up or by replaying the tail of a rebuild. */
function progress(session: Session, reachedLsn: Lsn, nowMs: number): Result<Session> {
  if (session.phase === "catchup") {
    const tracker = tracked(session.tracker, session, reachedLsn, nowMs);
    return misplaced(session, reachedLsn) ?? accept({ ...session, recoveredTo: reachedLsn, tracker });
  }
  if (session.phase === "handshake" && session.rebuild?.phase === "tail_replay") {
    const tracker = tracked(session.rebuild.tracker, session, reachedLsn, nowMs);
    const rebuild = { ...session.rebuild, tracker };
    return misplaced(session, reachedLsn) ?? accept({ ...session, recoveredTo: reachedLsn, rebuild });
  }
  return outOfPhase(session, { step: "progress" });
}

interface Position {
  readonly range: RecoveryRange;
  readonly recoveredTo: Lsn;
}

/** Refuses a position behind the last one, and one beyond the frozen target: a head that moves on is not chased. */
function misplaced({ range, recoveredTo }: Position, reachedLsn: Lsn): Result<never> | null {
  if (reachedLsn < recoveredTo) {
    return refuse("not_monotonic", `reached ${formatLsn(reachedLsn)} after ${formatLsn(recoveredTo)}`);
  }
  if (reachedLsn === recoveredTo || reachedLsn <= range.targetLsn) return null;
  return refuse("beyond_target", `reached ${formatLsn(reachedLsn)}, frozen target ${formatLsn(range.targetLsn)}`);
}

function complete(session: Session): Result<Session> {
  if (session.phase !== "handshake" && session.phase !== "catchup") return outOfPhase(session, { step: "complete" });
  const { range, recoveredTo } = session;
  if (session.phase === "catchup" && range.truncateToLsn !== null && !session.truncateRecorded) {
    return refuse("truncation_unrecorded", `truncation to ${formatLsn(range.truncateToLsn)} was not recorded`);
  }
  if (session.phase === "handshake" && range.truncateToLsn !== null) {
    return refuse("truncation_unrecorded", `truncation to ${formatLsn(range.truncateToLsn)} was not begun`);
  }
  const rebuild = session.phase === "handshake" ? session.rebuild : null;
  const unfinished = rebuild === null ? null : unfinishedRebuild(rebuild);
  if (unfinished !== null) return refuse("not_converged", unfinished);
  if (recoveredTo < range.targetLsn || recoveredTo === 0n) {
    return refuse("not_converged", `at ${formatLsn(recoveredTo)}, target ${formatLsn(range.targetLsn)}`);
  }
  return accept({ ...identityOf(session), phase: "completed", range, recoveredTo, rebuild: rebuildDone(rebuild) });
}

/** What a rebuild has not done yet, or null. */
function unfinishedRebuild(rebuild: Rebuild): string | null {
  if (rebuild.phase === "tail_replay") return null;
  if (rebuild.phase === "transfer" && rebuild.source === "full_base" && rebuild.transferredTo !== null) return null;
  return `the rebuild is in ${rebuild.phase}`;
}

function rebuildDone(rebuild: Rebuild | null): Rebuild | null {
  if (rebuild === null || (rebuild.phase !== "tail_replay" && rebuild.phase !== "transfer")) return null;
  return { phase: "completed", source: rebuild.source, transferredTo: rebuild.transferredTo ?? 0n };
}

function invalidated(session: Session, invalidateReason: string): Session {
  const rebuild: Rebuild | null = session.kind === "rebuild" ? { phase: "aborted", because: invalidateReason } : null;
  const { range, recoveredTo } = "range" in session ? session : { range: null, recoveredTo: 0n };
  return { ...identityOf(session), phase: "invalidated", invalidateReason, range, recoveredTo, rebuild };
}

function handshaken(session: Session, range: RecoveryRange): Session {
  const rebuild: Rebuild | null = session.kind === "rebuild" ? { phase: "init" } : null;
  return { ...identityOf(session), phase: "handshake", range, recoveredTo: range.startLsn, rebuild };
}

function identityOf({ id, replicaId, epoch, kind }: Session): Identity {
  return { id, replicaId, epoch, kind };
}

function trackerFrom(nowMs: number): ProgressTracker {
  return { startedAtMs: nowMs, lastProgressAtMs: nowMs, entries: 0n };
}

function tracked(tracker: ProgressTracker, from: Position, reachedLsn: Lsn, nowMs: number): ProgressTracker {
  if (reachedLsn === from.recoveredTo) return tracker;
  return { ...tracker, lastProgressAtMs: nowMs, entries: reachedLsn - from.range.startLsn };
}

function outOfPhase(session: Session, { step }: Pick<SessionStep, "step">): Result<never> {
  const rebuild =
    session.phase === "handshake" && session.rebuild !== null ? `, rebuild in ${session.rebuild.phase}` : "";
  return refuse("wrong_phase", `${step} in ${session.phase}${rebuild}`);
}

function short(achieved: Lsn, needed: Lsn): Result<never> {
  return refuse("short_of_source", `transferred to ${formatLsn(achieved)}, the tail begins at ${formatLsn(needed)}`);
}
