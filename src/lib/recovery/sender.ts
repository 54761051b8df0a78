import { type Floor, rungAbove } from "./decide.ts";
import { type Epoch, formatEpoch, relateEpoch } from "./epoch.ts";
import { accept, type Result, refuse } from "./result.ts";
import { advance, isActive, newSession, type Session, type SessionStep } from "./session.ts";
import {
  type Endpoint,
  type RebuildSource,
  type ReplicaId,
  type ReplicaState,
  RUNGS,
  type SessionId,
  type SessionKind,
} from "./types.ts";

/** A rung that changes the replica's data in place: broken off, it leaves them good for nothing cheaper. */
export type RewritingRung = "truncate_only" | RebuildSource;

/** All that is known of one replica. */
export interface Sender {
  readonly replicaId: ReplicaId;
  readonly endpoint: Endpoint;
  readonly epoch: Epoch;
  readonly state: ReplicaState;
  readonly session: Session | null;
  readonly stopped: boolean;
  /** What the replica's data are changed by at this moment. */
  readonly rewriting: RewritingRung | null;
  /** The cheapest rung that may still be taken; stands until the replica is back. */
  readonly floor: Floor | null;
  /** The newest session that it ever had; 0 is none. */
  readonly lastSessionId: SessionId;
}

/** Who asks for a change: a call without the running session's id and the epoch in force changes nothing. */
export interface Authority {
  readonly replicaId: ReplicaId;
  readonly sessionId: SessionId;
  readonly epoch: Epoch;
}

/** How a session ended that did not complete. */
export interface Ending {
  readonly reason: string;
  /** What the replica is then; `needs_rebuild` in any case where its data were being changed. */
  readonly state: ReplicaState;
  /** Whether the rung itself failed, so that the next attempt has to take the one above. */
  readonly hasFailed: boolean;
}

export function newSender(replicaId: ReplicaId, endpoint: Endpoint, epoch: Epoch): Sender {
  const fresh = { session: null, stopped: false, rewriting: null, floor: null, lastSessionId: 0n };
  return { replicaId, endpoint, epoch, state: "disconnected", ...fresh };
}

/** Begins a session. Needs the sender's own epoch, and that none is active. */
export function attach(sender: Sender, id: SessionId, kind: SessionKind, epoch: Epoch): Result<Sender> {
  if (sender.stopped) return refuse("sender_stopped", `${sender.replicaId} is not replicated to any more`);
  const mismatch = epochMismatch(epoch, sender.epoch);
  if (mismatch !== null) return mismatch;
  if (sender.session !== null && isActive(sender.session)) {
    return refuse("session_active", `session ${sender.session.id} is in ${sender.session.phase}`);
  }
  const session = newSession({ id, replicaId: sender.replicaId, epoch, kind });
  const state: ReplicaState = kind === "rebuild" ? "needs_rebuild" : "disconnected";
  return accept({ ...sender, session, state, lastSessionId: id });
}

/** Takes a step of the running session, and with it the replica's state. */
export function act(sender: Sender, authority: Authority, step: SessionStep): Result<Sender> {
  const session = authorize(sender, authority);
  if (!session.ok) return session;
  const next = advance(session.value, step);
  if (!next.ok) return next;
  const moved = { ...sender, session: next.value, state: stateAfter(step, sender.state, next.value) };
  if (step.step === "truncated") return accept({ ...moved, rewriting: null });
  return accept(step.step === "complete" ? { ...moved, rewriting: null, floor: null } : moved);
}

/** Notes that the replica's data are about to be changed by the running session. */
export function rewrite(sender: Sender, authority: Authority, rung: RewritingRung): Result<Sender> {
  const session = authorize(sender, authority);
  return session.ok ? accept({ ...sender, rewriting: rung }) : session;
}

/** Ends the running session; nothing to do where none is active. */
export function endSession(sender: Sender, { reason, state, hasFailed }: Ending): Sender {
  if (sender.session === null) return sender;
  const ended = advance(sender.session, { step: "invalidate", reason });
  if (!ended.ok) return sender;
  const { rewriting } = sender;
  if (rewriting === null) {
    return { ...sender, session: ended.value, state: sender.floor === null ? state : "needs_rebuild" };
  }
  const rung = hasFailed ? rungAbove(rewriting) : rungAfterBreak(rewriting);
  const floor = higher(sender.floor, { rung, because: `${rewriting}: ${reason}` });
  return { ...sender, session: ended.value, state: "needs_rebuild", rewriting: null, floor };
}

/** The session that a call may act on. */
export function authorize(sender: Sender, authority: Authority): Result<Session> {
  const { session, replicaId } = sender;
  if (sender.stopped) return refuse("sender_stopped", `${replicaId} is not replicated to any more`);
  if (session === null) return refuse("no_session", `${replicaId} has no session`);
  if (session.id !== authority.sessionId) {
    return refuse("wrong_session", `${replicaId} is in session ${session.id}, not ${authority.sessionId}`);
  }
  if (!isActive(session)) {
    const why = session.phase === "invalidated" ? `: ${session.invalidateReason}` : "";
    return refuse("inactive_session", `session ${session.id} is ${session.phase}${why}`);
  }
  return epochMismatch(authority.epoch, sender.epoch) ?? accept(session);
}

/** Refuses an epoch that is not the one in force. */
export function epochMismatch(epoch: Epoch, inForce: Epoch): Result<never> | null {
  const relation = relateEpoch(epoch, inForce);
  if (relation === "same") return null;
  const detail = `epoch ${formatEpoch(epoch)}, in force is ${formatEpoch(inForce)}`;
  return refuse(relation === "older" ? "stale_epoch" : "foreign_epoch", detail);
}

function stateAfter({ step }: SessionStep, state: ReplicaState, session: Session): ReplicaState {
  switch (step) {
    case "connect":
      return session.kind === "rebuild" ? state : "connecting";
    case "begin_catchup":
      return "catching_up";
    case "complete":
      return isFreshBase(session) ? "degraded" : "in_sync";
    default:
      return state;
  }
}

/** A full base is as old as its beginning: a second catch-up has to follow. */
function isFreshBase(session: Session): boolean {
  return (
    session.phase === "completed" && session.rebuild?.phase === "completed" && session.rebuild.source === "full_base"
  );
}

/** What is left after work that did not fail was broken off: what writes everything anew may do so again. */
function rungAfterBreak(rung: RewritingRung): RebuildSource {
  return rung === "snapshot_tail" ? rung : rungAbove(rung);
}

function higher(a: Floor | null, b: Floor): Floor {
  return a !== null && RUNGS.indexOf(a.rung) > RUNGS.indexOf(b.rung) ? a : b;
}
