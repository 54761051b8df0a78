import type { BudgetViolation, CatchUpBudget, ProgressTracker } from "./types.ts";

/** Which limit a catch-up is over, if any. `nowMs` is of the monotonic clock. */
export function violationOf(budget: CatchUpBudget, tracker: ProgressTracker, nowMs: number): BudgetViolation | null {
  const { maxDurationMs, maxEntries, progressDeadlineMs } = budget;
  if (maxDurationMs > 0 && nowMs - tracker.startedAtMs > maxDurationMs) return "duration_exceeded";
  if (maxEntries > 0n && tracker.entries > maxEntries) return "entries_exceeded";
  if (progressDeadlineMs > 0 && nowMs - tracker.lastProgressAtMs > progressDeadlineMs) return "progress_stalled";
  return null;
}
