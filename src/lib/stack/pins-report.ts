import { formatCount, formatDuration } from "../kernel/units.ts";
import { type PinQueueFigures, readPinQueueFigures } from "../pinning/queue/figures.ts";
import type { Pool } from "../postgres/pool.ts";
import type { PartProblem } from "./status-part.ts";

/** How the pin queue stands, and what an operator has to do. */
export interface PinQueueReport extends PinQueueFigures {
  /** The worst first. */
  readonly problems: readonly PartProblem[];
}

/** A worker that lives takes what is due within a second; one that died gives it back after a minute. */
const OVERDUE_SECONDS_MAX = 300;

/** Judges the queue by its figures. */
export function judgePinQueue({ overdueSeconds, dead }: PinQueueFigures): readonly PartProblem[] {
  const problems: PartProblem[] = [];
  if (overdueSeconds > OVERDUE_SECONDS_MAX) {
    problems.push({
      severity: "bad",
      message: `Nobody works on the pin queue: a content has been due for ${formatDuration(overdueSeconds * 1_000)}.`,
      remedy: "see that a master serves (fula-master status), that pinning.workers is not 0, and its log.",
    });
  }
  if (dead > 0) {
    problems.push({
      severity: "attention",
      message: `${formatCount(dead, "content")} that users asked for ${dead === 1 ? "was" : "were"} given up.`,
      remedy: "fula-master pins queue --dead lists them; fula-master pins retry --all-dead tries them again.",
    });
  }
  return problems;
}

/** Looks how the queue stands. */
export async function readPinQueueReport(pool: Pool): Promise<PinQueueReport> {
  const figures = await readPinQueueFigures(pool);
  return { ...figures, problems: judgePinQueue(figures) };
}
