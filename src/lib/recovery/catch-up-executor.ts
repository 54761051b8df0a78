import { messageOf } from "../kernel/errors.ts";
import type { CatchUpIO } from "./adapters.ts";
import { formatLsn } from "./lsn.ts";
import type { CatchUpPlan } from "./plan.ts";
import type { Execution, Run } from "./run.ts";

/** Carries out a plan to catch up: takes away what is too much, then streams what is missing up to the frozen target. */
export async function catchUp(run: Run, plan: CatchUpPlan, io: CatchUpIO): Promise<Execution> {
  const begun = run.steps({ step: "begin_catchup", budget: plan.budget, nowMs: run.nowMs });
  if (begun !== null) return begun;
  try {
    const stopped = (await truncate(run, plan, io)) ?? (await stream(run, plan, io));
    if (stopped !== null) return stopped;
  } catch (error) {
    return run.threw(error);
  }
  return run.steps({ step: "complete" }) ?? { outcome: "in_sync", achievedLsn: plan.catchUpTarget };
}

async function truncate(run: Run, { truncateLsn }: CatchUpPlan, io: CatchUpIO): Promise<Execution | null> {
  if (truncateLsn === null) return null;
  const marked = run.rewrite("truncate_only");
  if (!marked.ok) return run.refused(marked.refusal);
  try {
    await io.truncate(truncateLsn, run.signal);
  } catch (error) {
    return run.needsRebuild(`truncation_unsafe: ${messageOf(error)}`, error);
  }
  const recorded = run.steps({ step: "truncated", lsn: truncateLsn });
  if (recorded === null) run.note("exec_truncated", `to ${formatLsn(truncateLsn)}`);
  return recorded;
}

async function stream(run: Run, plan: CatchUpPlan, io: CatchUpIO): Promise<Execution | null> {
  const { catchUpStartLsn: start, catchUpTarget: target } = plan;
  return start >= target ? null : run.stream(io.streamWal(start, target, run.signal), target);
}
