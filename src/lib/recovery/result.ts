/** Why a call changed nothing. */
export type RefusalCode =
  | "unknown_replica"
  | "sender_stopped"
  | "no_session"
  | "wrong_session"
  | "inactive_session"
  | "stale_epoch"
  | "foreign_epoch"
  | "session_active"
  | "session_id_not_growing"
  | "wrong_phase"
  | "wrong_kind"
  | "beyond_target"
  | "not_monotonic"
  | "not_converged"
  | "truncation_unrecorded"
  | "wrong_truncation"
  | "short_of_source"
  | "replica_busy"
  | "history_missing"
  | "history_inconsistent"
  | "pin_failed"
  | "handshake_failed"
  | "plan_used"
  | "halted";

/** A refused call: its code, and what was asked against what is. */
export interface Refusal {
  readonly code: RefusalCode;
  readonly detail: string;
  /** What was thrown, where something was. */
  readonly cause?: unknown;
}

/** The answer of whatever may be refused without that being an error of the program. */
export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly refusal: Refusal };

export function accept<T>(value: T): Result<T> {
  return { ok: true, value };
}

/** `cause` is what was thrown, where something was. */
export function refuse(code: RefusalCode, detail: string, cause?: unknown): Result<never> {
  return { ok: false, refusal: cause === undefined ? { code, detail } : { code, detail, cause } };
}
