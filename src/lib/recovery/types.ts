import type { Epoch } from "./epoch.ts";
import type { LineageRelation } from "./lineage.ts";
import type { Lsn } from "./lsn.ts";

/** Who a replica is, whatever its address: the same text as its member id. */
export type ReplicaId = string;

/** Comes from the control plane, unique and growing over all processes; pins carry it in their names. */
export type SessionId = bigint;

/** Where a replica is reached. It may change; who it is does not. */
export interface Endpoint {
  readonly dataAddr: string;
  readonly ctrlAddr: string;
  /** Grows with every change of the addresses. */
  readonly version: number;
}

export type ReplicaState = "disconnected" | "connecting" | "catching_up" | "in_sync" | "degraded" | "needs_rebuild";

export type SessionKind = "bootstrap" | "catchup" | "rebuild" | "reassign";

export type SessionPhase = "init" | "connecting" | "handshake" | "catchup" | "completed" | "invalidated";

export type RebuildPhase = "init" | "source_select" | "transfer" | "tail_replay" | "completed" | "aborted";

/** Ways back into sync, the cheapest first; `halt` is none: an operator has to look. */
export const RUNGS = ["zero_gap", "catchup", "truncate_only", "rewind", "snapshot_tail", "full_base", "halt"] as const;
export type Rung = (typeof RUNGS)[number];

/** From what a replica is rebuilt: its own data and a common ancestor, a backup and the WAL after it, or everything anew. */
export type RebuildSource = Extract<Rung, "rewind" | "snapshot_tail" | "full_base">;

/** The primary's own account of what it still has, read from its real state. */
export interface RetainedHistory {
  /** Flushed on the primary, inclusive. */
  readonly headLsn: Lsn;
  /** Exclusive: what lies above it is still there. */
  readonly tailLsn: Lsn;
  /** What enough replicas have flushed; the head where none is asked for. 0 is unknown, and never enough for anything. */
  readonly committedLsn: Lsn;
  /** The newest base backup's end; 0 is none. */
  readonly checkpointLsn: Lsn;
  /** Whether that backup was verified, signed, and made on this lineage. */
  readonly checkpointTrusted: boolean;
}

/** Whether a replica can be rewound. `fromLsn` is the checkpoint before the fork: all WAL after it is needed then. */
export type RewindReadiness =
  | { readonly possible: true; readonly fromLsn: Lsn }
  | { readonly possible: false; readonly because: string };

/** What a replica says of itself and how its history stands to the primary's. */
export interface Handshake {
  /** What it has durably, inclusive. */
  readonly replicaFlushedLsn: Lsn;
  /** Below this nothing can be taken away: up to it all may be in its data files. A former primary's is all it has. */
  readonly recoveryPointLsn: Lsn;
  readonly lineage: LineageRelation;
  readonly rewind: RewindReadiness;
  /** Whether the slot that the primary had for it was invalidated. */
  readonly isSlotLost: boolean;
}

/** The reasons that a proof may give, without the positions. */
export type ProofReason =
  | "zero_gap"
  | "replica_ahead_needs_truncation"
  | "gap_within_retention"
  | "gap_beyond_retention"
  | "nothing_committed"
  | "truncation_unsafe"
  | "forked_before_recovery_point"
  | "same_tli_uuid_mismatch"
  | "no_common_epoch"
  | "slot_lost"
  | "interrupted"
  | "foreign_system"
  | "empty"
  | "control_unreadable"
  | "epoch_above_arbiter";

/** Why a decision was allowed: what was compared with what. Every decision carries one. */
export interface RecoverabilityProof {
  readonly replicaFlushedLsn: Lsn;
  readonly committedLsn: Lsn;
  readonly tailLsn: Lsn;
  readonly headLsn: Lsn;
  /** Whether what the replica lacks is still there. */
  readonly recoverable: boolean;
  readonly code: ProofReason;
  /** The code, with positions where it is about some: `gap_beyond_retention: need LSN 0/A but tail=0/F`. */
  readonly reason: string;
}

/** A cheaper rung that was not taken, and why not. */
export interface RefusedRung {
  readonly rung: Rung;
  readonly because: string;
}

/** What a catch-up may cost; 0 is no limit. */
export interface CatchUpBudget {
  readonly maxDurationMs: number;
  /** In bytes of WAL from where the replica began. */
  readonly maxEntries: bigint;
  /** How long it may stand still, in milliseconds. */
  readonly progressDeadlineMs: number;
}

export type BudgetViolation = "duration_exceeded" | "entries_exceeded" | "progress_stalled";

/** What a session has streamed so far, by the monotonic clock. */
export interface ProgressTracker {
  readonly startedAtMs: number;
  readonly lastProgressAtMs: number;
  /** Bytes of WAL since the start position, not since 0. */
  readonly entries: bigint;
}

/** Who is replicated to, and by which kind of session each is to come back. */
export interface AssignmentIntent {
  readonly epoch: Epoch;
  readonly replicas: readonly { readonly replicaId: ReplicaId; readonly endpoint: Endpoint }[];
  readonly recoveryTargets: ReadonlyMap<ReplicaId, SessionKind>;
}

/** What became of an intent. */
export interface AssignmentResult {
  readonly added: readonly ReplicaId[];
  readonly removed: readonly ReplicaId[];
  readonly sessionsCreated: readonly SessionId[];
  readonly sessionsSuperseded: readonly SessionId[];
  readonly sessionsFailed: readonly { readonly replicaId: ReplicaId; readonly because: string }[];
}

/** One line of the log of recoveries. */
export interface RecoveryEvent {
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
  readonly replicaId: ReplicaId;
  /** null for what happened to a replica without a session. */
  readonly sessionId: SessionId | null;
  readonly event: RecoveryEventName;
  /** The cause, in words that stay the same: see docs/recovery-engine.md. */
  readonly detail: string;
}

export const RECOVERY_EVENTS = [
  "sender_added",
  "sender_stopped",
  "endpoint_changed",
  "session_created",
  "session_superseded",
  "session_invalidated",
  "session_refused",
  "handshake",
  "rung_refused",
  "plan_zero_gap",
  "plan_catchup",
  "plan_truncate_only",
  "plan_rewind",
  "plan_snapshot_tail",
  "plan_full_base",
  "plan_needs_rebuild",
  "plan_halt",
  "plan_cancelled",
  "pin_acquired",
  "pin_failed",
  "pin_release_failed",
  "exec_started",
  "exec_truncated",
  "exec_transferred",
  "exec_escalated",
  "exec_completed",
  "exec_failed",
  "exec_resources_released",
] as const;
export type RecoveryEventName = (typeof RECOVERY_EVENTS)[number];
