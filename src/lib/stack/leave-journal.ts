import { type JournalEntry, latestJournal, readJournal } from "../kernel/journal.ts";
import { JOIN_JOURNAL } from "./join-journal.ts";

/** Names the journals of `leave` in the journal directory. */
export const LEAVE_JOURNAL = "leave";

/** The steps of `leave`, in the order they are taken. */
export const LEAVE_STEP_IDS = [
  "schedules",
  "standby",
  "serve",
  "snapshot",
  "control-plane",
  "federation",
  "control-plane-server",
  "containers",
  "purge",
] as const;

/** Names one of them. */
export type LeaveStepId = (typeof LEAVE_STEP_IDS)[number];

/** What became of the last `leave`. */
export interface LastLeave {
  readonly path: string;
  /** RFC 3339, UTC. */
  readonly startedAt: string;
  /** RFC 3339, UTC; null where it did not come to its end. */
  readonly finishedAt: string | null;
  /** True where it was to remove everything. */
  readonly purge: boolean;
  /** What is typed before a purge. */
  readonly name: string;
  /** Compose project of its containers; null where it has none. */
  readonly project: string | null;
  readonly done: readonly LeaveStepId[];
  /** The step that was being taken when it stopped; null for none. */
  readonly stoppedAt: LeaveStepId | null;
}

async function entriesOf(path: string): Promise<readonly JournalEntry[]> {
  const entries: JournalEntry[] = [];
  for await (const entry of readJournal(path)) entries.push(entry);
  return entries;
}

function stepsOf(entries: readonly JournalEntry[], event: string): readonly LeaveStepId[] {
  return entries
    .filter((entry) => entry.event === event)
    .flatMap((entry) => LEAVE_STEP_IDS.find((id) => id === entry["step"]) ?? []);
}

async function lastJoinAt(journalDir: string): Promise<string | null> {
  const path = await latestJournal(journalDir, JOIN_JOURNAL);
  if (path === null) return null;
  return (await entriesOf(path)).find(({ event }) => event === "join.started")?.at ?? null;
}

/**
 * Reads what became of the last `leave` of this base directory; null where there was none, or where `join` has run
 * since: then the box is in service again.
 */
export async function findLastLeave(journalDir: string): Promise<LastLeave | null> {
  const path = await latestJournal(journalDir, LEAVE_JOURNAL);
  if (path === null) return null;
  const entries = await entriesOf(path);
  const started = entries.find(({ event }) => event === "leave.started");
  if (started === undefined) return null;
  const joinedAt = await lastJoinAt(journalDir);
  if (joinedAt !== null && joinedAt > started.at) return null;
  const done = stepsOf(entries, "step.done");
  const { name, project } = started;
  return {
    path,
    startedAt: started.at,
    finishedAt: entries.find(({ event }) => event === "leave.finished")?.at ?? null,
    purge: started["purge"] === true,
    name: typeof name === "string" ? name : "",
    project: typeof project === "string" ? project : null,
    done,
    stoppedAt: stepsOf(entries, "step.started").findLast((id) => !done.includes(id)) ?? null,
  };
}
