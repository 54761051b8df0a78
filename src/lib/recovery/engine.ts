import type { Clock } from "../kernel/clock.ts";
import type { CatchUpIO, RebuildIO } from "./adapters.ts";
import { catchUp } from "./catch-up-executor.ts";
import { Hold } from "./hold.ts";
import { formatLsn } from "./lsn.ts";
import type { CatchUpPlan, HoldingPlan, RebuildPlan, RecoveryPlan } from "./plan.ts";
import { type EngineParts, type PlanEdge, Planner } from "./planner.ts";
import { rebuild } from "./rebuild-executor.ts";
import type { RecoveryLog } from "./recovery-log.ts";
import { Registry, type RegistryStatus, type SenderView } from "./registry.ts";
import { accept, type Result, refuse } from "./result.ts";
import { type Execution, Run } from "./run.ts";
import type { Authority } from "./sender.ts";
import type { AssignmentIntent, AssignmentResult, ReplicaId, SessionId, SessionKind } from "./types.ts";

interface Work {
  readonly hold: Hold;
  readonly done: PromiseWithResolvers<void>;
}

/**
 * Brings replicas back: sessions, plans and their execution. One session at a time works on a replica, from before it is
 * asked what it has until everything is let go; what an ended one still has in hand is waited for (`whenFree`).
 */
export class RecoveryEngine {
  readonly log: RecoveryLog;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #registry: Registry;
  readonly #work = new Map<ReplicaId, Work>();

  constructor(clock: Pick<Clock, "monotonicMs">, log: RecoveryLog) {
    this.log = log;
    this.#clock = clock;
    this.#registry = new Registry(log);
  }

  /** As `Registry.assign`; what plans held that nobody will carry out any more is let go when it returns. */
  async assign(intent: AssignmentIntent, sessionIds: ReadonlyMap<ReplicaId, SessionId>): Promise<AssignmentResult> {
    const result = this.#registry.assign(intent, sessionIds);
    await this.#releaseDeadPlans();
    return result;
  }

  /** Begins a session at the epoch in force. Refused where one is active. */
  open(replicaId: ReplicaId, kind: SessionKind, id: SessionId): Result<Authority> {
    return this.#registry.open(replicaId, kind, id);
  }

  /** The authority of a replica's session, by which plans are made; refused where none is active. */
  authorityOf(replicaId: ReplicaId): Result<Authority> {
    const sender = this.#registry.sender(replicaId);
    if (sender === null) return refuse("unknown_replica", `${replicaId} is no replica`);
    if (sender.session === null) return refuse("no_session", `${replicaId} has no session`);
    const authority = { replicaId, sessionId: sender.session.id, epoch: sender.epoch };
    const alive = this.#registry.check(authority);
    return alive.ok ? accept(authority) : alive;
  }

  /** Ends a session for which no plan was made; nothing to do where it has ended. */
  abandon(authority: Authority, reason: string): void {
    this.#registry.end(authority, { reason: `abandoned: ${reason}`, state: "disconnected", hasFailed: false });
  }

  /** The sessions that may hold pins: active ones, and those that ended and have not let go yet. */
  liveSessions(): ReadonlySet<SessionId> {
    const active = this.#registry.activeSessions();
    return new Set([...active, ...[...this.#work.values()].map(({ hold }) => hold.authority.sessionId)]);
  }

  status(): RegistryStatus {
    return this.#registry.status();
  }

  sender(replicaId: ReplicaId): SenderView | null {
    return this.#registry.sender(replicaId);
  }

  /** Waits until nobody works on a replica. */
  async whenFree(replicaId: ReplicaId): Promise<void> {
    let work = this.#work.get(replicaId);
    while (work !== undefined) {
      await work.done.promise;
      work = this.#work.get(replicaId);
    }
  }

  /** Plans how a replica comes back without a rebuild, or finds that it needs one. Refused, nothing is held. */
  async planRecovery(authority: Authority, edge: PlanEdge): Promise<Result<RecoveryPlan>> {
    return this.#plan(authority, edge, false);
  }

  /** Plans a rebuild, for a session that is one. Refused, nothing is held. */
  async planRebuild(authority: Authority, edge: PlanEdge): Promise<Result<RecoveryPlan>> {
    return this.#plan(authority, edge, true);
  }

  /** Gives a plan up: lets go of what it holds and ends its own session. One that was carried out is left alone. */
  async cancelPlan(plan: HoldingPlan, reason: string): Promise<void> {
    if (!plan.hold.isIdle) return;
    const { replicaId, sessionId } = plan.authority;
    this.log.append(replicaId, sessionId, "plan_cancelled", reason);
    const state = plan.outcome === "rebuild" ? "needs_rebuild" : "disconnected";
    this.#registry.end(plan.authority, { reason: `plan_cancelled: ${reason}`, state, hasFailed: false });
    await plan.hold.release(`plan_cancelled: ${reason}`);
  }

  /** Carries out a plan to catch up. `cancel` ends its session. Never throws for what replicas and storage can do. */
  async executeCatchUp(plan: CatchUpPlan, io: CatchUpIO, cancel?: AbortSignal): Promise<Execution> {
    const span = `${formatLsn(plan.catchUpStartLsn)} to ${formatLsn(plan.catchUpTarget)}`;
    return this.#execute(plan, span, (run) => catchUp(run, plan, io), cancel);
  }

  /** Carries out a plan to rebuild; as `executeCatchUp`. */
  async executeRebuild(plan: RebuildPlan, io: RebuildIO, cancel?: AbortSignal): Promise<Execution> {
    const span = `${formatLsn(plan.rebuildSnapshotLsn)} to ${formatLsn(plan.rebuildTargetLsn)}`;
    return this.#execute(plan, span, (run) => rebuild(run, plan, io), cancel);
  }

  #parts(): EngineParts {
    return { registry: this.#registry, log: this.log };
  }

  async #plan(authority: Authority, edge: PlanEdge, isRebuild: boolean): Promise<Result<RecoveryPlan>> {
    const session = this.#registry.check(authority);
    if (!session.ok) return session;
    const { kind } = session.value;
    if ((kind === "rebuild") !== isRebuild) {
      return refuse("wrong_kind", `session ${authority.sessionId} is a ${kind}`);
    }
    const other = this.#work.get(authority.replicaId);
    if (other !== undefined) {
      return refuse(
        "replica_busy",
        `session ${other.hold.authority.sessionId} has not let go of ${authority.replicaId}`,
      );
    }
    await using hold = this.#hold(authority);
    using _ = this.#cancelling(authority, isRebuild, edge.cancel);
    const planner = new Planner(this.#parts(), edge, hold, isRebuild ? "needs_rebuild" : "disconnected");
    // Awaited here: what is held is let go, and cancelling ends, only when the plan is made.
    const plan = await (isRebuild ? planner.planRebuild() : planner.planRecovery());
    return plan;
  }

  #hold(authority: Authority): Hold {
    const done = Promise.withResolvers<void>();
    const free = (): void => {
      this.#work.delete(authority.replicaId);
      done.resolve();
    };
    const bound = Object.freeze({ ...authority, epoch: Object.freeze({ ...authority.epoch }) });
    const hold = new Hold({ authority: bound, log: this.log, free });
    this.#work.set(authority.replicaId, { hold, done });
    return hold;
  }

  async #execute(
    plan: HoldingPlan,
    span: string,
    work: (run: Run) => Promise<Execution>,
    cancel: AbortSignal | undefined,
  ): Promise<Execution> {
    const { authority, hold } = plan;
    if (!hold.begin()) {
      const detail = `the plan of session ${authority.sessionId} was carried out, cancelled or let go before`;
      return { outcome: "refused", refusal: { code: "plan_used", detail } };
    }
    await using held = hold;
    using _ = this.#cancelling(authority, plan.outcome === "rebuild", cancel);
    const run = new Run(this.#parts(), this.#clock, plan);
    run.note("exec_started", `${plan.rung}: ${span}`);
    const execution = await work(run);
    if (execution.outcome === "in_sync" || execution.outcome === "second_catchup_needed") {
      run.note("exec_completed", `${plan.rung}: achieved ${formatLsn(execution.achievedLsn)}`);
      held.because("completed");
    }
    return execution;
  }

  /** Ends a session when its caller gives it up. */
  #cancelling(authority: Authority, isRebuild: boolean, cancel: AbortSignal | undefined): Disposable {
    const state = isRebuild ? "needs_rebuild" : "disconnected";
    const end = (): void => {
      this.#registry.end(authority, { reason: "cancelled", state, hasFailed: false });
    };
    if (cancel?.aborted === true) end();
    cancel?.addEventListener("abort", end, { once: true });
    return { [Symbol.dispose]: () => cancel?.removeEventListener("abort", end) };
  }

  async #releaseDeadPlans(): Promise<void> {
    for (const { hold } of this.#work.values()) {
      const alive = this.#registry.check(hold.authority);
      if (!alive.ok && hold.isIdle) await hold.release(`session_invalidated: ${alive.refusal.detail}`);
    }
  }
}
