import type { RebuildIO } from "./adapters.ts";
import { formatLsn, type Lsn } from "./lsn.ts";
import type { RebuildPlan } from "./plan.ts";
import type { Execution, Run } from "./run.ts";

/** Carries out a plan to rebuild: lays the base that was chosen, then replays the tail, and records what was achieved. */
export async function rebuild(run: Run, plan: RebuildPlan, io: RebuildIO): Promise<Execution> {
  const { rebuildSource: source, rebuildSnapshotLsn: snapshotLsn, rebuildTargetLsn: targetLsn } = plan;
  const begun = run.steps(
    { step: "connect" },
    { step: "handshake", range: { startLsn: 0n, targetLsn, truncateToLsn: null } },
    { step: "select_source", source, snapshotLsn },
    { step: "begin_transfer" },
  );
  if (begun !== null) return begun;
  const marked = run.rewrite(source);
  if (!marked.ok) return run.refused(marked.refusal);
  try {
    const achievedLsn = await transfer(plan, io, run.signal);
    const stopped = run.steps({ step: "transferred", achievedLsn });
    if (stopped !== null) return stopped;
    run.note("exec_transferred", `achieved ${formatLsn(achievedLsn)}`);
    if (source === "full_base") return complete(run, achievedLsn, "second_catchup_needed");
    return (
      (await replayTail(run, achievedLsn, targetLsn, io)) ?? complete(run, latest(achievedLsn, targetLsn), "in_sync")
    );
  } catch (error) {
    return run.threw(error);
  }
}

function transfer(plan: RebuildPlan, io: RebuildIO, signal: AbortSignal): Promise<Lsn> {
  switch (plan.rebuildSource) {
    case "rewind":
      return io.rewind(plan.rebuildSnapshotLsn, signal);
    case "snapshot_tail":
      return io.transferSnapshot(plan.rebuildSnapshotLsn, signal);
    default:
      return io.transferFullBase(plan.rebuildTargetLsn, signal);
  }
}

async function replayTail(run: Run, fromLsn: Lsn, targetLsn: Lsn, io: RebuildIO): Promise<Execution | null> {
  const begun = run.steps({ step: "begin_tail", nowMs: run.nowMs });
  if (begun !== null || fromLsn >= targetLsn) return begun;
  return run.stream(io.streamWal(fromLsn, targetLsn, run.signal), targetLsn);
}

function complete(run: Run, achievedLsn: Lsn, outcome: "in_sync" | "second_catchup_needed"): Execution {
  return run.steps({ step: "complete" }) ?? { outcome, achievedLsn };
}

function latest(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}
