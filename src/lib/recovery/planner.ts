import { messageOf } from "../kernel/errors.ts";
import type { Pin, ReplicaProbe, StorageAdapter } from "./adapters.ts";
import { type Decision, type DecisionFacts, decide } from "./decide.ts";
import { checkHistory } from "./history.ts";
import type { Hold } from "./hold.ts";
import { formatLsn, type Lsn } from "./lsn.ts";
import type { CatchUpPlan, RebuildPlan, RecoveryPlan } from "./plan.ts";
import type { RecoveryLog } from "./recovery-log.ts";
import type { Registry } from "./registry.ts";
import { accept, type Refusal, type Result, refuse } from "./result.ts";
import type { SessionStep } from "./session.ts";
import type { CatchUpBudget, Handshake, RecoveryEventName, ReplicaState, RetainedHistory } from "./types.ts";

/** Whom a plan is made with: the primary's storage and the replica; and what its execution may cost. */
export interface PlanEdge {
  readonly storage: StorageAdapter;
  readonly probe: ReplicaProbe;
  readonly budget: CatchUpBudget;
  /** Ends the session, when its caller gives it up. */
  readonly cancel?: AbortSignal;
}

/** Where planning and executing note what they do. */
export interface EngineParts {
  readonly registry: Registry;
  readonly log: RecoveryLog;
}

/**
 * Makes one plan for one session: asks, decides, holds what is needed, asks again, and binds what was found then. Whatever
 * is refused on the way has ended the session, so that none is left hanging.
 */
export class Planner {
  readonly #parts: EngineParts;
  readonly #edge: PlanEdge;
  readonly #hold: Hold;
  readonly #stateOnFailure: ReplicaState;

  constructor(parts: EngineParts, edge: PlanEdge, hold: Hold, stateOnFailure: ReplicaState) {
    this.#parts = parts;
    this.#edge = edge;
    this.#hold = hold;
    this.#stateOnFailure = stateOnFailure;
  }

  /** A plan for a session that is no rebuild: nothing, catching up, or the finding that a rebuild is needed. */
  async planRecovery(): Promise<Result<RecoveryPlan>> {
    const connected = this.#act({ step: "connect" });
    if (!connected.ok) return connected;
    const asked = await this.#ask(false);
    if (!asked.ok) return asked;
    const first = decide(asked.value);
    this.#record("handshake", first.proof.reason);
    if (first.outcome !== "catchup" || first.startLsn >= first.targetLsn) return this.#conclude(first);
    const pinned = await this.#pin("wal_pin_failed", () => this.#pinWal(first.startLsn));
    if (!pinned.ok) return pinned;
    const again = await this.#askHistory();
    if (!again.ok) return again;
    const second = decide({ ...asked.value, history: again.value });
    const isSameWay = second.startLsn === first.startLsn && second.truncateLsn === first.truncateLsn;
    if (second.outcome === "catchup" && !isSameWay) return this.#historyMoved(first, second);
    return this.#conclude(second);
  }

  /** A plan for a session that is a rebuild. */
  async planRebuild(): Promise<Result<RecoveryPlan>> {
    const asked = await this.#ask(true);
    if (!asked.ok) return asked;
    const first = decide(asked.value);
    this.#record("handshake", first.proof.reason);
    if (first.outcome !== "needs_rebuild") return this.#conclude(first);
    const held = await this.#holdForRebuild(first);
    if (!held.ok) return held;
    const again = await this.#askHistory();
    if (!again.ok) return again;
    const second = decide({ ...asked.value, history: withCheckpointOf(asked.value.history, again.value) });
    const isSameWay = second.rung === first.rung && second.startLsn === first.startLsn;
    if (second.outcome !== "needs_rebuild" || !isSameWay) return this.#historyMoved(first, second);
    return this.#planned({
      outcome: "rebuild",
      rung: second.rung,
      rebuildSource: second.rung,
      rebuildSnapshotLsn: second.startLsn,
      rebuildTargetLsn: second.targetLsn,
      ...this.#bound(second),
    });
  }

  #conclude(decision: Decision): Result<RecoveryPlan> {
    if (decision.outcome === "zero_gap") return this.#zeroGap(decision);
    if (decision.outcome === "catchup") return this.#catchUp(decision);
    const { outcome, proof, refused } = decision;
    this.#noteRefused(decision);
    this.#record(`plan_${outcome}`, proof.reason);
    this.#end(`${outcome}: ${proof.reason}`, outcome === "halt" ? "disconnected" : "needs_rebuild");
    const base = { authority: this.#hold.authority, proof, refused };
    if (outcome === "halt") return accept(Object.freeze({ ...base, outcome, rung: decision.rung }));
    return accept(Object.freeze({ ...base, outcome, rung: decision.rung }));
  }

  #zeroGap(decision: Decision): Result<RecoveryPlan> {
    const { proof, refused, startLsn, targetLsn } = decision;
    const done = this.#steps([
      { step: "handshake", range: { startLsn, targetLsn, truncateToLsn: null } },
      { step: "complete" },
    ]);
    if (!done.ok) return done;
    this.#record("plan_zero_gap", proof.reason);
    this.#hold.because("zero_gap");
    return accept(
      Object.freeze({ outcome: "zero_gap", rung: "zero_gap", authority: this.#hold.authority, proof, refused }),
    );
  }

  #catchUp(decision: Extract<Decision, { outcome: "catchup" }>): Result<RecoveryPlan> {
    const { startLsn, targetLsn, truncateLsn, rung } = decision;
    const target = targetLsn > startLsn ? targetLsn : startLsn;
    const range = { startLsn, targetLsn: target, truncateToLsn: truncateLsn };
    const handshaken = this.#act({ step: "handshake", range });
    if (!handshaken.ok) return handshaken;
    return this.#planned({
      outcome: "catchup",
      rung,
      catchUpStartLsn: startLsn,
      catchUpTarget: target,
      truncateLsn,
      ...this.#bound(decision),
    });
  }

  #bound({ proof, refused }: Decision): Pick<CatchUpPlan, "authority" | "proof" | "refused" | "budget" | "hold"> {
    const budget = Object.freeze({ ...this.#edge.budget });
    return { authority: this.#hold.authority, proof, refused, budget, hold: this.#hold };
  }

  #planned(plan: CatchUpPlan | RebuildPlan): Result<RecoveryPlan> {
    // The session may have ended since the history was read: others run between an answer and whoever waits for it.
    const alive = this.#parts.registry.check(this.#hold.authority);
    if (!alive.ok) return this.#lost(alive.refusal);
    this.#noteRefused(plan);
    this.#record(`plan_${plan.rung}`, plan.proof.reason);
    this.#hold.keepForPlan();
    return accept(Object.freeze(plan));
  }

  async #holdForRebuild({ rung, startLsn, targetLsn }: Decision): Promise<Result<null>> {
    const { storage } = this.#edge;
    const id = this.#hold.authority.sessionId;
    if (rung === "full_base") return this.#pin("full_base_pin_failed", () => storage.pinFullBase(targetLsn, id));
    if (rung === "snapshot_tail") {
      const snapshot = await this.#pin("snapshot_pin_failed", () => storage.pinSnapshot(startLsn, id));
      if (!snapshot.ok) return snapshot;
    }
    return this.#pin("wal_pin_failed_during_rebuild", () => this.#pinWal(startLsn));
  }

  #pinWal(startExclusive: Lsn): Promise<Pin> {
    return this.#edge.storage.pinWal(startExclusive, this.#hold.authority.sessionId);
  }

  /** Takes a pin. One that arrives after the session has ended is held, and so let go with the rest. */
  async #pin(failure: string, take: () => Promise<Pin>): Promise<Result<null>> {
    try {
      this.#hold.take(await take());
    } catch (error) {
      this.#record("pin_failed", `${failure}: ${messageOf(error)}`);
      return this.#failed({ code: "pin_failed", detail: `${failure}: ${messageOf(error)}`, cause: error }, failure);
    }
    return this.#alive();
  }

  /** What the replica and the primary say of themselves, in this order: what is read later is the more exact. */
  async #ask(mustRebuild: boolean): Promise<Result<DecisionFacts>> {
    const { registry } = this.#parts;
    const { authority } = this.#hold;
    const signal = registry.signalOf(authority.sessionId);
    if (signal === null) return refuse("inactive_session", `session ${authority.sessionId} is not active`);
    let handshake: Handshake;
    try {
      handshake = await this.#edge.probe.handshake(signal);
    } catch (error) {
      const detail = `${authority.replicaId} did not say what it has: ${messageOf(error)}`;
      return this.#failed({ code: "handshake_failed", detail, cause: error }, "handshake_failed");
    }
    const history = await this.#askHistory();
    if (!history.ok) return history;
    return accept({ handshake, history: history.value, floor: registry.floorOf(authority.replicaId), mustRebuild });
  }

  async #askHistory(): Promise<Result<RetainedHistory>> {
    const before = this.#alive();
    if (!before.ok) return before;
    let history: Result<RetainedHistory>;
    try {
      history = checkHistory(await this.#edge.storage.getRetainedHistory());
    } catch (error) {
      history = refuse("history_missing", `the primary did not say what it still has: ${messageOf(error)}`, error);
    }
    if (!history.ok) return this.#failed(history.refusal, history.refusal.code);
    const alive = this.#alive();
    return alive.ok ? history : alive;
  }

  #historyMoved(first: Decision, second: Decision): Result<never> {
    const detail = `the history moved while it was being pinned: ${first.rung} from ${formatLsn(first.startLsn)} became ${second.rung} from ${formatLsn(second.startLsn)} (${second.proof.reason})`;
    return this.#failed({ code: "history_inconsistent", detail }, `history_moved: ${second.proof.reason}`);
  }

  #alive(): Result<null> {
    const alive = this.#parts.registry.check(this.#hold.authority);
    return alive.ok ? accept(null) : this.#lost(alive.refusal);
  }

  #steps(steps: readonly SessionStep[]): Result<null> {
    for (const step of steps) {
      const done = this.#act(step);
      if (!done.ok) return done;
    }
    return accept(null);
  }

  #act(step: SessionStep): Result<null> {
    const done = this.#parts.registry.act(this.#hold.authority, step);
    return done.ok ? accept(null) : this.#lost(done.refusal);
  }

  /** The session is not ours any more: whoever ended it has said why. */
  #lost(refusal: Refusal): Result<never> {
    this.#hold.because(`session_invalidated: ${refusal.detail}`);
    return { ok: false, refusal };
  }

  #failed(refusal: Refusal, reason: string): Result<never> {
    this.#end(reason, this.#stateOnFailure);
    return { ok: false, refusal };
  }

  #end(reason: string, state: ReplicaState): void {
    this.#parts.registry.end(this.#hold.authority, { reason, state, hasFailed: false });
    this.#hold.because(reason);
  }

  #noteRefused({ refused }: Pick<Decision, "refused">): void {
    for (const { rung, because } of refused) this.#record("rung_refused", `${rung}: ${because}`);
  }

  #record(event: RecoveryEventName, detail: string): void {
    const { replicaId, sessionId } = this.#hold.authority;
    this.#parts.log.append(replicaId, sessionId, event, detail);
  }
}

/** The second reading with the backup that was pinned: a newer one that appeared meanwhile is not. */
function withCheckpointOf(pinned: RetainedHistory, later: RetainedHistory): RetainedHistory {
  if (later.checkpointLsn === pinned.checkpointLsn) return later;
  return { ...later, checkpointLsn: pinned.checkpointLsn, checkpointTrusted: pinned.checkpointTrusted };
}
