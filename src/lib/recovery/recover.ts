import type { CatchUpIO, ControlPlaneAdapter, RebuildIO } from "./adapters.ts";
import type { RecoveryEngine } from "./engine.ts";
import type { RecoveryPlan } from "./plan.ts";
import type { PlanEdge } from "./planner.ts";
import type { Result } from "./result.ts";
import type { Execution } from "./run.ts";
import type { ReplicaId, Rung, SessionId } from "./types.ts";

// Every rung once, each after a plan that found it, and a second catch-up; what goes on longer goes in circles.
const SESSIONS_MAX = 12;

/** How a replica's recovery ended. */
export interface Recovery {
  /** `stopped` may be tried again; `halted` waits for an operator. */
  readonly outcome: "in_sync" | "halted" | "stopped";
  readonly because: string;
  /** What was tried, in order. */
  readonly rungs: readonly Rung[];
}

/** Whom a replica is brought back with. */
export interface RecoveryEdge extends PlanEdge {
  readonly io: CatchUpIO & RebuildIO;
  readonly sessions: Pick<ControlPlaneAdapter, "newSessionIds">;
}

type Next = { readonly kind: "catchup" | "rebuild" } | Recovery;

/**
 * Brings a replica back by as many sessions as it takes: plans, carries out, takes the rung above where one will not do, and
 * catches up once more after a full base. Waits for whoever still works on the replica; refused where a session is active.
 * @throws what the source of session ids throws; nothing is held then, and no session is left
 */
export async function recoverReplica(
  engine: RecoveryEngine,
  replicaId: ReplicaId,
  edge: RecoveryEdge,
): Promise<Recovery> {
  const rungs: Rung[] = [];
  let kind: "catchup" | "rebuild" = "catchup";
  for (let session = 0; session < SESSIONS_MAX; session += 1) {
    const [id = 0n] = await edge.sessions.newSessionIds(1);
    await engine.whenFree(replicaId);
    const plan = await planNext(engine, { replicaId, kind, id }, edge);
    if (!plan.ok) return stopped(`${plan.refusal.code}: ${plan.refusal.detail}`, rungs);
    if (plan.value.outcome !== "needs_rebuild") rungs.push(plan.value.rung);
    const next = await carryOut(engine, plan.value, edge, rungs);
    if ("outcome" in next) return next;
    kind = next.kind;
  }
  return stopped(`not back after ${SESSIONS_MAX} sessions`, rungs);
}

interface NextSession {
  readonly replicaId: ReplicaId;
  readonly kind: "catchup" | "rebuild";
  readonly id: SessionId;
}

async function planNext(
  engine: RecoveryEngine,
  { replicaId, kind, id }: NextSession,
  edge: RecoveryEdge,
): Promise<Result<RecoveryPlan>> {
  const authority = engine.open(replicaId, kind, id);
  if (!authority.ok) return authority;
  const plan = await (kind === "rebuild"
    ? engine.planRebuild(authority.value, edge)
    : engine.planRecovery(authority.value, edge));
  // Whoever began to work on the replica in between keeps it; the session that found it so has nothing to do.
  if (!plan.ok) engine.abandon(authority.value, plan.refusal.code);
  return plan;
}

async function carryOut(
  engine: RecoveryEngine,
  plan: RecoveryPlan,
  edge: RecoveryEdge,
  rungs: readonly Rung[],
): Promise<Next> {
  switch (plan.outcome) {
    case "zero_gap":
      return { outcome: "in_sync", because: plan.proof.reason, rungs };
    case "needs_rebuild":
      return { kind: "rebuild" };
    case "halt":
      return { outcome: "halted", because: plan.proof.reason, rungs };
    case "catchup":
      return afterwards(await engine.executeCatchUp(plan, edge.io, edge.cancel), rungs);
    default:
      return afterwards(await engine.executeRebuild(plan, edge.io, edge.cancel), rungs);
  }
}

function afterwards(execution: Execution, rungs: readonly Rung[]): Next {
  switch (execution.outcome) {
    case "in_sync":
      return { outcome: "in_sync", because: "completed", rungs };
    case "second_catchup_needed":
      return { kind: "catchup" };
    case "needs_rebuild":
      return { kind: "rebuild" };
    case "refused":
      return stopped(`${execution.refusal.code}: ${execution.refusal.detail}`, rungs);
    default:
      return stopped(execution.because, rungs);
  }
}

function stopped(because: string, rungs: readonly Rung[]): Recovery {
  return { outcome: "stopped", because, rungs };
}
