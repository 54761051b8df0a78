import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import { violationOf } from "./budget.ts";
import type { Floor } from "./decide.ts";
import type { Lsn } from "./lsn.ts";
import type { HoldingPlan } from "./plan.ts";
import type { EngineParts } from "./planner.ts";
import type { Refusal, Result } from "./result.ts";
import type { RewritingRung } from "./sender.ts";
import type { SessionStep } from "./session.ts";
import type { SessionView } from "./session-view.ts";
import type { RecoveryEventName, ReplicaState } from "./types.ts";

/** What came of carrying out a plan. Whatever it is, nothing is held any more. */
export type Execution =
  | { readonly outcome: "in_sync"; readonly achievedLsn: Lsn }
  /** A base was laid, as old as its beginning: a second catch-up closes the gap to now. */
  | { readonly outcome: "second_catchup_needed"; readonly achievedLsn: Lsn }
  /** The rung will not do; the replica's floor says which may be next. */
  | { readonly outcome: "needs_rebuild"; readonly because: string; readonly error?: unknown }
  /** It may be tried again as it was. */
  | { readonly outcome: "failed"; readonly because: string; readonly error?: unknown }
  /** The session ended under it: a newer epoch, another address, a cancellation. */
  | { readonly outcome: "invalidated"; readonly because: string }
  /** The plan was carried out, cancelled or let go before. */
  | { readonly outcome: "refused"; readonly refusal: Refusal };

/** A run that is to end, and how. */
type Stopped = Exclude<Execution, { readonly outcome: "in_sync" | "second_catchup_needed" }>;

/** One plan being carried out: every step names its session and epoch, and every way out says why. */
export class Run {
  readonly #parts: EngineParts;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #plan: HoldingPlan;
  /** Set once this run itself ended its session: what goes wrong while its work is being stopped changes nothing about that. */
  #stopped: Stopped | null = null;

  constructor(parts: EngineParts, clock: Pick<Clock, "monotonicMs">, plan: HoldingPlan) {
    this.#parts = parts;
    this.#clock = clock;
    this.#plan = plan;
  }

  /** Given when the session ends; already so where it has. */
  get signal(): AbortSignal {
    const { authority } = this.#plan;
    return this.#parts.registry.signalOf(authority.sessionId) ?? AbortSignal.abort(new Error("session_invalidated"));
  }

  get nowMs(): number {
    return this.#clock.monotonicMs();
  }

  act(step: SessionStep): Result<SessionView> {
    return this.#parts.registry.act(this.#plan.authority, step);
  }

  /** From here on the replica's data are in doubt, until the session completes or records the truncation. */
  rewrite(rung: RewritingRung): Result<SessionView> {
    return this.#parts.registry.rewrite(this.#plan.authority, rung);
  }

  /** Takes steps one after another. @returns how it ends where one is refused, else null */
  steps(...steps: readonly SessionStep[]): Stopped | null {
    for (const step of steps) {
      const done = this.act(step);
      if (!done.ok) return this.refused(done.refusal);
    }
    return null;
  }

  /** Brings WAL up to the target, and looks at session and budget after each chunk. */
  async stream(chunks: AsyncIterable<Lsn>, targetLsn: Lsn): Promise<Stopped | null> {
    for await (const reachedLsn of chunks) {
      const nowMs = this.nowMs;
      const moved = this.act({ step: "progress", reachedLsn, nowMs });
      if (!moved.ok) return this.refused(moved.refusal);
      if (reachedLsn >= targetLsn) return null;
      const { tracker } = moved.value;
      const violation = tracker === null ? null : violationOf(this.#plan.budget, tracker, nowMs);
      if (violation !== null) return this.needsRebuild(`budget_${violation}`);
    }
    return null;
  }

  /** A step was refused: the session has ended, or the replica did what it may not. */
  refused(refusal: Refusal): Stopped {
    return this.#stopped ?? this.#lost() ?? this.#failed(`${refusal.code}: ${refusal.detail}`);
  }

  /** Something was thrown: the session has ended, so that it had to be, or the work failed. */
  threw(error: unknown): Stopped {
    return this.#stopped ?? this.#lost() ?? this.#failed(messageOf(error), error);
  }

  /** The rung will not do. */
  needsRebuild(because: string, error?: unknown): Stopped {
    const lost = this.#lost();
    if (lost !== null) return lost;
    this.#end(because, "needs_rebuild");
    const floor = this.#floor();
    this.note("exec_escalated", floor === null ? because : `${because}: next is ${floor.rung}`);
    this.#stopped = { outcome: "needs_rebuild", because, ...(error === undefined ? {} : { error }) };
    return this.#stopped;
  }

  note(event: RecoveryEventName, detail: string): void {
    const { replicaId, sessionId } = this.#plan.authority;
    this.#parts.log.append(replicaId, sessionId, event, detail);
  }

  #failed(because: string, error?: unknown): Stopped {
    if (this.#plan.outcome === "rebuild") return this.needsRebuild(because, error);
    this.#end(because, "degraded");
    this.note("exec_failed", because);
    this.#stopped = { outcome: "failed", because, ...(error === undefined ? {} : { error }) };
    return this.#stopped;
  }

  #end(reason: string, state: ReplicaState): void {
    this.#parts.registry.end(this.#plan.authority, { reason, state, hasFailed: true });
    this.#plan.hold.because(reason);
  }

  #lost(): Stopped | null {
    const alive = this.#parts.registry.check(this.#plan.authority);
    if (alive.ok) return null;
    this.#plan.hold.because(`session_invalidated: ${alive.refusal.detail}`);
    return { outcome: "invalidated", because: alive.refusal.detail };
  }

  #floor(): Floor | null {
    return this.#parts.registry.floorOf(this.#plan.authority.replicaId);
  }
}
