import { join } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { ErrorCode } from "../kernel/error-codes.ts";
import type { Journal } from "../kernel/journal.ts";
import { acquireLock, type ProcessLock, readLockHolder } from "../kernel/lock.ts";
import { retry } from "../kernel/retry.ts";
import type { RunStep } from "./join-step.ts";
import { NOT_TAKEN_TEXT, type PlannedStep, type StepId } from "./plan.ts";

/** One step as a list of tasks shows it; the shape of `Task` in terminal/tasks.ts. */
export interface StepTask {
  readonly title: string;
  readonly run: (report: (text: string) => void) => Promise<string>;
  readonly skip: () => Promise<string | null>;
}

/** How a run shows its progress: runs the tasks one after the other and throws the first error as it is. */
export type ShowTasks = (tasks: readonly StepTask[]) => Promise<void>;

/** The lock that whoever changes a base directory's node holds. */
export function joinLockFile(locksDir: string): string {
  return join(locksDir, "join.lock");
}

/** The caretaker of the control plane in `serve` holds the lock for seconds; while it starts or stops a container, longer. */
const CARETAKER_MS = 60_000;
const CARETAKER_POLL_MS = 200;
/** Looks at a lock of which nothing tells who has it. */
const NAMELESS_LOOKS_MAX = 5;

/** What the caretaker in `serve` calls itself where it holds the lock. */
export const CARETAKER = "serve";

/**
 * Takes the lock. A person waits for the caretaker of this box, which is soon done, and is told of anybody else at once.
 * @throws FulaError FULA_LOCKED, and the signal's reason
 */
export async function acquireJoinLock(
  locksDir: string,
  purpose: string,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<ProcessLock> {
  const lockFile = joinLockFile(locksDir);
  const deadlineMs = clock.monotonicMs() + CARETAKER_MS;
  let namelessLooks = 0;
  for (;;) {
    try {
      return await acquireLock(lockFile, purpose, clock);
    } catch (error) {
      const holder = isFulaError(error, "FULA_LOCKED") ? readLockHolder(lockFile) : undefined;
      // The name comes a moment after the lock, and goes a moment before it.
      if (holder === null) namelessLooks += 1;
      const mayBeCaretaker = holder === null ? namelessLooks <= NAMELESS_LOOKS_MAX : holder?.purpose === CARETAKER;
      if (!mayBeCaretaker || clock.monotonicMs() >= deadlineMs) throw error;
    }
    await clock.sleep(CARETAKER_POLL_MS, signal);
  }
}

/**
 * Refuses early where another join runs. On a box where none does, not even the lock's file is touched: a run that
 * finds everything done leaves no trace.
 * @throws FulaError FULA_LOCKED
 */
export async function refuseSecondRun(
  locksDir: string,
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  if (readLockHolder(joinLockFile(locksDir)) === null) return;
  const lock = await acquireJoinLock(locksDir, "join", deps);
  lock.release();
}

/** Asks each step what it would do. */
export async function planSteps(
  steps: readonly RunStep<StepId>[],
  signal: AbortSignal,
): Promise<readonly PlannedStep[]> {
  const planned: PlannedStep[] = [];
  for (const { id, title, assess } of steps) {
    signal.throwIfAborted();
    planned.push({ id, title, ...(await assess()) });
  }
  return planned;
}

/** What a run of steps is given. */
export interface StepRunOptions<Id extends string = StepId> {
  /** The command whose run this is, as it is typed; messages name it. */
  readonly command: "join" | "join-as-storage-node" | "leave" | "standby add";
  readonly steps: readonly RunStep<Id>[];
  readonly journal: Journal;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly show: ShowTasks;
}

/** What a service that has just come up, or whose box is busy, says once and not again. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "FULA_CLUSTER_UNREADABLE",
  "FULA_COMMIT_UNKNOWN",
  "FULA_DATABASE_UNREACHABLE",
  "FULA_DOCKER_FAILED",
  "FULA_DOCKER_UNREACHABLE",
  "FULA_KUBO_UNREACHABLE",
  "FULA_LOOK_TIMEOUT",
  "FULA_MEMBERSHIP_RACED",
]);
/** Before a step is taken again; whoever has to mend something is told soon enough. */
const AGAIN_DELAYS_MS = [1_000, 3_000, 6_000] as const;

/** How events of a run's end begin in its journal. */
const JOURNAL_KINDS: Readonly<Record<StepRunOptions["command"], string>> = {
  join: "join",
  "join-as-storage-node": "join",
  leave: "leave",
  "standby add": "standby",
};

interface Progress<Id extends string> {
  current: RunStep<Id> | null;
  readonly done: Id[];
  readonly changed: Id[];
}

/** Adds how to go on to what is to be done first, where that does not say it itself. */
function goOn(hint: string): string {
  if (/run the (?:same )?command again/.test(hint)) return `${hint} It goes on with that step.`;
  return `${hint === "" ? "" : `${hint}\n  Then `}run the same command again; it goes on with that step.`;
}

/** Turns the error that ended a run into the one that is shown: what failed, what was done before, how to go on. */
function explainEnd<Id extends string>(
  error: unknown,
  { current, done }: Progress<Id>,
  { command, signal }: StepRunOptions<Id>,
): unknown {
  const before = done.length === 0 ? "Nothing was done before it." : `Done before it: ${done.join(", ")}.`;
  const where = current === null ? "before its first step" : `at the step "${current.id}"`;
  if (signal.aborted) {
    return new FulaError("FULA_INTERRUPTED", `${command} was stopped ${where}. ${before}`, {
      cause: error,
      hint: "run the same command again; it goes on where it stopped.",
      details: { step: current?.id ?? null, done },
    });
  }
  if (!isFulaError(error)) return error;
  return new FulaError(error.code, `${error.message}\n  ${command} failed ${where}. ${before}`, {
    cause: error,
    hint: goOn(error.hint ?? ""),
    details: { ...error.details, step: current?.id ?? null, done },
  });
}

function taskOf<Id extends string>(
  step: RunStep<Id>,
  { journal, clock, signal }: StepRunOptions<Id>,
  progress: Progress<Id>,
): StepTask {
  // A step goes on where it stopped, in this run as in the next one.
  const outlast = async <T>(work: () => Promise<T>, onAgain?: (message: string) => void): Promise<T> =>
    await retry(work, {
      delaysMs: AGAIN_DELAYS_MS,
      clock,
      signal,
      shouldRetry: (error) => {
        const isPassing = isFulaError(error) && PASSING.has(error.code);
        if (isPassing) onAgain?.(error.message);
        return isPassing;
      },
    });
  return {
    title: step.title,
    skip: async () => {
      progress.current = step;
      signal.throwIfAborted();
      const assessment = await outlast(step.assess);
      if (assessment.state === "todo") return null;
      await journal.append("step.done", { step: step.id, already: true });
      progress.done.push(step.id);
      return `${NOT_TAKEN_TEXT[assessment.state]}: ${assessment.why}`;
    },
    run: async (report) => {
      await journal.append("step.started", { step: step.id });
      const result = await outlast(
        async () => await step.apply(report),
        (message) => {
          report(`trying again: ${message}`);
        },
      );
      await journal.append("step.done", { step: step.id, result });
      progress.done.push(step.id);
      progress.changed.push(step.id);
      return result;
    },
  };
}

async function noteEnd<Id extends string>(
  { command, journal, signal }: StepRunOptions<Id>,
  step: RunStep<Id> | null,
  error: unknown,
): Promise<void> {
  const kind = JOURNAL_KINDS[command];
  const code = isFulaError(error) ? error.code : "BUG";
  // The disk may be full or gone; the error that ended the run is the one to show.
  await journal
    .append(signal.aborted ? `${kind}.interrupted` : `${kind}.failed`, {
      step: step?.id ?? null,
      code,
      message: messageOf(error),
    })
    .catch(() => {});
}

/**
 * Takes the steps one after the other, each written to the journal before and after; those that look and find nothing
 * to do are passed over.
 * @returns the steps that changed something
 * @throws FulaError FULA_INTERRUPTED, and what the steps throw, with where the run stopped and how it goes on
 */
export async function runSteps<Id extends string = StepId>(options: StepRunOptions<Id>): Promise<readonly Id[]> {
  const { steps, signal, show } = options;
  const progress: Progress<Id> = { current: null, done: [], changed: [] };
  try {
    await show(steps.map((step) => taskOf(step, options, progress)));
    signal.throwIfAborted();
  } catch (error) {
    await noteEnd(options, progress.current, error);
    throw explainEnd(error, progress, options);
  }
  return progress.changed;
}
