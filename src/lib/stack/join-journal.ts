import { type JournalEntry, latestJournal, readJournal } from "../kernel/journal.ts";
import { STEP_IDS, type StepId } from "./plan.ts";

/** Names the journals of `join` in the journal directory. */
export const JOIN_JOURNAL = "join";

/** A run of `join` that a kill, a power loss or an error stopped before its end. */
export interface UnfinishedRun {
  readonly path: string;
  /** RFC 3339, UTC. */
  readonly startedAt: string;
  /** The step that was being taken, or that would have come next; null where none was begun. */
  readonly stoppedAt: StepId | null;
  /** True where that step had been begun. */
  readonly begun: boolean;
  readonly done: readonly StepId[];
}

function stepOf(entry: JournalEntry): StepId | null {
  return STEP_IDS.find((id) => id === entry["step"]) ?? null;
}

/** Tells from a journal's entries where the run stopped; null where it came to its end, or never began. */
function whereItStopped(path: string, entries: readonly JournalEntry[]): UnfinishedRun | null {
  const started = entries.find(({ event }) => event === "join.started");
  if (started === undefined || entries.some(({ event }) => event === "join.finished")) return null;
  const steps = (event: string): StepId[] =>
    entries.filter((entry) => entry.event === event).flatMap((entry) => stepOf(entry) ?? []);
  const done = steps("step.done");
  const open = steps("step.started").findLast((id) => !done.includes(id)) ?? null;
  const planned = Array.isArray(started["steps"]) ? started["steps"] : [];
  const next = STEP_IDS.find((id) => planned.includes(id) && !done.includes(id)) ?? null;
  return {
    path,
    startedAt: started.at,
    stoppedAt: open ?? (done.length === 0 ? null : next),
    begun: open !== null,
    done,
  };
}

/** Looks for the last run of `join` and says where it stopped; null where it came to its end, or there was none. */
export async function findUnfinishedRun(journalDir: string): Promise<UnfinishedRun | null> {
  const path = await latestJournal(journalDir, JOIN_JOURNAL);
  if (path === null) return null;
  const entries: JournalEntry[] = [];
  for await (const entry of readJournal(path)) entries.push(entry);
  return whereItStopped(path, entries);
}
