import type { Floor } from "./decide.ts";
import { type Epoch, formatEpoch, relateEpoch } from "./epoch.ts";
import type { RecoveryLog } from "./recovery-log.ts";
import { accept, type Refusal, type Result, refuse } from "./result.ts";
import {
  act,
  type Authority,
  attach,
  authorize,
  type Ending,
  endSession,
  epochMismatch,
  newSender,
  type RewritingRung,
  rewrite,
  type Sender,
} from "./sender.ts";
import { isActive, type SessionStep } from "./session.ts";
import { type SessionView, viewSession } from "./session-view.ts";
import type {
  AssignmentIntent,
  AssignmentResult,
  Endpoint,
  ReplicaId,
  ReplicaState,
  SessionId,
  SessionKind,
} from "./types.ts";

/** A sender as readers see it: a copy. */
export interface SenderView {
  readonly replicaId: ReplicaId;
  readonly state: ReplicaState;
  readonly epoch: Epoch;
  readonly endpoint: Endpoint;
  readonly session: SessionView | null;
  readonly stopped: boolean;
  readonly floor: Floor | null;
}

/** All replicas, and how many are in which condition; those that were stopped count for nothing. */
export interface RegistryStatus {
  readonly senders: readonly SenderView[];
  readonly inSync: number;
  readonly recovering: number;
  readonly degraded: number;
  readonly rebuilding: number;
}

type Assigned = { -readonly [K in keyof AssignmentResult]: AssignmentResult[K][number][] };

/** Who is replicated to, keyed by who they are. It alone changes senders and sessions, and never waits for anything. */
export class Registry {
  readonly #log: RecoveryLog;
  readonly #senders = new Map<ReplicaId, Sender>();
  readonly #stops = new Map<SessionId, AbortController>();
  #epoch: Epoch | null = null;

  constructor(log: RecoveryLog) {
    this.#log = log;
  }

  /**
   * Follows the control plane: takes in who is new, stops who is gone, ends what ran under an older epoch or at an older
   * address, and begins the sessions that are asked for. An intent of an older epoch changes nothing.
   * @param sessionIds one for each recovery target
   */
  assign(intent: AssignmentIntent, sessionIds: ReadonlyMap<ReplicaId, SessionId>): AssignmentResult {
    const result: Assigned = {
      added: [],
      removed: [],
      sessionsCreated: [],
      sessionsSuperseded: [],
      sessionsFailed: [],
    };
    const refusal = this.#refusalOf(intent);
    if (refusal !== null) {
      for (const replicaId of intent.recoveryTargets.keys()) this.#fail(result, replicaId, refusal);
      return result;
    }
    this.#epoch = { ...intent.epoch };
    const wasActive = new Set([...this.#senders.values()].filter(isBusy).map(({ replicaId }) => replicaId));
    this.#remove(intent, result);
    for (const { replicaId, endpoint } of intent.replicas) this.#adopt(replicaId, endpoint, intent.epoch, result);
    for (const [replicaId, kind] of intent.recoveryTargets) {
      this.#begin(replicaId, kind, sessionIds.get(replicaId), wasActive.has(replicaId), result);
    }
    return result;
  }

  /** Begins a session at the epoch in force. @returns the authority that every later call names */
  open(replicaId: ReplicaId, kind: SessionKind, id: SessionId): Result<Authority> {
    const sender = this.#senders.get(replicaId);
    const begun =
      sender !== undefined && isBusy(sender)
        ? refuse("session_active", `${replicaId} is in session ${sender.session?.id}`)
        : this.#attach(replicaId, kind, id);
    if (!begun.ok) {
      this.#log.append(replicaId, null, "session_refused", `${begun.refusal.code}: ${begun.refusal.detail}`);
      return begun;
    }
    this.#log.append(replicaId, id, "session_created", kind);
    return accept({ replicaId, sessionId: id, epoch: { ...begun.value.epoch } });
  }

  /** Takes a step of a session. Refused, it has changed nothing. */
  act(authority: Authority, step: SessionStep): Result<SessionView> {
    return this.#change(authority, (sender) => act(sender, authority, step));
  }

  /** Notes that the session is about to change the replica's data, so that they are in doubt until it has. */
  rewrite(authority: Authority, rung: RewritingRung): Result<SessionView> {
    return this.#change(authority, (sender) => rewrite(sender, authority, rung));
  }

  /** Ends a session before it is complete; its signal is given with the reason. */
  end(authority: Authority, ending: Ending): Result<SessionView> {
    return this.#change(authority, (sender) => {
      const session = authorize(sender, authority);
      return session.ok ? accept(this.#ended(sender, ending)) : session;
    });
  }

  /** Whether the session may still act. */
  check(authority: Authority): Result<SessionView> {
    return this.#change(authority, (sender) => {
      const session = authorize(sender, authority);
      return session.ok ? accept(sender) : session;
    });
  }

  /** Is given, with the reason, when the session ends before it is complete; null for one that is not active. */
  signalOf(sessionId: SessionId): AbortSignal | null {
    return this.#stops.get(sessionId)?.signal ?? null;
  }

  /** The cheapest rung that a replica may still be brought back by; null where nothing has failed. */
  floorOf(replicaId: ReplicaId): Floor | null {
    return this.#senders.get(replicaId)?.floor ?? null;
  }

  activeSessions(): readonly SessionId[] {
    return [...this.#senders.values()].flatMap(({ session }) =>
      session !== null && isActive(session) ? [session.id] : [],
    );
  }

  status(): RegistryStatus {
    const senders = [...this.#senders.values()].map(viewSender);
    const count = (...states: readonly ReplicaState[]): number =>
      senders.filter(({ stopped, state }) => !stopped && states.includes(state)).length;
    return {
      senders,
      inSync: count("in_sync"),
      recovering: count("connecting", "catching_up"),
      degraded: count("degraded"),
      rebuilding: count("needs_rebuild"),
    };
  }

  /** A copy of one sender; null for a replica that was never assigned. */
  sender(replicaId: ReplicaId): SenderView | null {
    const sender = this.#senders.get(replicaId);
    return sender === undefined ? null : viewSender(sender);
  }

  #change(authority: Authority, change: (sender: Sender) => Result<Sender>): Result<SessionView> {
    const sender = this.#senders.get(authority.replicaId);
    if (sender === undefined) return refuse("unknown_replica", `${authority.replicaId} is no replica`);
    const next = change(sender);
    if (!next.ok) return next;
    this.#senders.set(authority.replicaId, next.value);
    const { session } = next.value;
    if (session === null) return refuse("no_session", `${authority.replicaId} has no session`);
    if (session.phase === "completed") this.#stops.delete(session.id);
    return accept(viewSession(session));
  }

  /** The sender without its session, which is told to stop. */
  #ended(sender: Sender, ending: Ending): Sender {
    const { session } = sender;
    // What needs a rebuild needs it wherever it is reached, and whoever is the primary.
    if (session === null || !isActive(session))
      return { ...sender, state: sender.floor === null ? ending.state : sender.state };
    this.#log.append(sender.replicaId, session.id, "session_invalidated", ending.reason);
    this.#stops.get(session.id)?.abort(new Error(ending.reason));
    this.#stops.delete(session.id);
    return endSession(sender, ending);
  }

  #refusalOf({ epoch }: AssignmentIntent): Refusal | null {
    if (this.#epoch === null || relateEpoch(epoch, this.#epoch) === "newer") return null;
    const mismatch = epochMismatch(epoch, this.#epoch);
    return mismatch === null || mismatch.ok ? null : mismatch.refusal;
  }

  #remove(intent: AssignmentIntent, result: Assigned): void {
    const kept = new Set(intent.replicas.map(({ replicaId }) => replicaId));
    for (const sender of this.#senders.values()) {
      if (sender.stopped || kept.has(sender.replicaId)) continue;
      const ended = this.#ended(sender, interruption("sender_stopped"));
      this.#senders.set(sender.replicaId, { ...ended, stopped: true });
      this.#log.append(sender.replicaId, null, "sender_stopped", "not in the assignment");
      result.removed.push(sender.replicaId);
    }
  }

  #adopt(replicaId: ReplicaId, endpoint: Endpoint, epoch: Epoch, result: Assigned): void {
    const known = this.#senders.get(replicaId);
    if (known === undefined || known.stopped) {
      // One that comes back is new in all but this: what was broken off in its data still is.
      const { floor, lastSessionId } = known ?? { floor: null, lastSessionId: 0n };
      const sender = newSender(replicaId, { ...endpoint }, { ...epoch });
      this.#senders.set(replicaId, { ...sender, floor, lastSessionId });
      this.#log.append(replicaId, null, "sender_added", `${endpoint.dataAddr} at epoch ${formatEpoch(epoch)}`);
      result.added.push(replicaId);
      return;
    }
    let sender = known;
    if (relateEpoch(epoch, sender.epoch) !== "same") {
      const reason = `epoch_advanced_${sender.epoch.number}_to_${epoch.number}`;
      sender = { ...this.#ended(sender, interruption(reason)), epoch: { ...epoch } };
    }
    this.#senders.set(replicaId, this.#moved(sender, endpoint));
  }

  #moved(sender: Sender, endpoint: Endpoint): Sender {
    const { endpoint: known, replicaId } = sender;
    if (endpoint.version < known.version) {
      const detail = `stale_endpoint: version ${endpoint.version}, known is ${known.version}`;
      this.#log.append(replicaId, null, "session_refused", detail);
      return sender;
    }
    const isSame = endpoint.dataAddr === known.dataAddr && endpoint.ctrlAddr === known.ctrlAddr;
    if (isSame && endpoint.version === known.version) return sender;
    this.#log.append(replicaId, null, "endpoint_changed", `${known.dataAddr} to ${endpoint.dataAddr}`);
    return { ...this.#ended(sender, interruption("endpoint_changed")), endpoint: { ...endpoint } };
  }

  #begin(
    replicaId: ReplicaId,
    kind: SessionKind,
    id: SessionId | undefined,
    wasActive: boolean,
    result: Assigned,
  ): void {
    const begun = this.#attach(replicaId, kind, id);
    if (!begun.ok) {
      this.#fail(result, replicaId, begun.refusal);
      return;
    }
    const { lastSessionId } = begun.value;
    this.#log.append(replicaId, lastSessionId, wasActive ? "session_superseded" : "session_created", kind);
    (wasActive ? result.sessionsSuperseded : result.sessionsCreated).push(lastSessionId);
  }

  /** Begins a session; one that is active ends. */
  #attach(replicaId: ReplicaId, kind: SessionKind, id: SessionId | undefined): Result<Sender> {
    const sender = this.#senders.get(replicaId);
    if (sender === undefined) return refuse("unknown_replica", `${replicaId} is no replica`);
    if (id === undefined || id <= sender.lastSessionId) {
      return refuse("session_id_not_growing", `session ${id ?? "without an id"} after ${sender.lastSessionId}`);
    }
    const free = isBusy(sender) ? this.#ended(sender, interruption("superseded")) : sender;
    const attached = attach(free, id, kind, sender.epoch);
    if (!attached.ok) return attached;
    this.#senders.set(replicaId, attached.value);
    this.#stops.set(id, new AbortController());
    return attached;
  }

  #fail(result: Assigned, replicaId: ReplicaId, { code, detail }: Refusal): void {
    this.#log.append(replicaId, null, "session_refused", `${code}: ${detail}`);
    result.sessionsFailed.push({ replicaId, because: `${code}: ${detail}` });
  }
}

/** An end that nobody's failure brought about. */
function interruption(reason: string): Ending {
  return { reason, state: "disconnected", hasFailed: false };
}

function isBusy({ session }: Sender): boolean {
  return session !== null && isActive(session);
}

function viewSender(sender: Sender): SenderView {
  const { replicaId, state, epoch, endpoint, session, stopped, floor } = sender;
  return {
    replicaId,
    state,
    epoch: { ...epoch },
    endpoint: { ...endpoint },
    session: session === null ? null : viewSession(session),
    stopped,
    floor: floor === null ? null : { ...floor },
  };
}
