import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { Draft } from "./draft.ts";
import { earliest, LateMove, type MoverOutcome, type PlannedMove, type Planner } from "./root-mover.ts";
import type { BucketName, BucketState } from "./roots/root-pointer.ts";
import type { BucketIndex } from "./tree/bucket-index.ts";

/** A change that can share a flush with others. */
export interface Edit<T> {
  /** Makes the change on the draft; again, on another draft, where the race for the root was lost. */
  readonly make: (draft: Draft) => Promise<T>;
  /** How many keys it is about. */
  readonly size: number;
  /** When what it refers to was announced, by the arbiter's clock; null where it refers to nothing new. */
  readonly announcedMs: number | null;
}

/** What somebody waits for, whatever it gives back. */
interface Job {
  readonly size: number;
  absent(): void;
  fail(error: unknown): void;
}

interface EditJob extends Job {
  readonly kind: "edit";
  readonly announcedMs: number | null;
  /** Makes the change on a draft. @returns what tells the caller, once the draft is what the bucket is */
  make(draft: Draft): Promise<() => void>;
}

interface MoveJob extends Job {
  readonly kind: "move";
  readonly plan: Planner<() => void>;
}

/** How a flush went. */
export interface Flush {
  /** `failed` with an error; `absent` where there was no such bucket. */
  readonly outcome: MoverOutcome<unknown>["kind"] | "failed";
  /** How many callers shared it; 0 where it was a move of another kind. */
  readonly edits: number;
  readonly durationMs: number;
}

/** What a writer needs. */
export interface BucketWriterParts {
  readonly name: BucketName;
  readonly move: <T>(plan: Planner<T>) => Promise<MoverOutcome<T>>;
  /** False makes each edit a flush of its own. */
  readonly groupsEdits: boolean;
  /** Called after each flush. */
  readonly onFlush: (flush: Flush) => void;
  /** Called when nothing waits any more. */
  readonly onIdle: () => void;
  readonly clock: Clock;
}

/** Keys that may wait for one bucket; what comes beyond is refused at once. */
const WAITING_MAX = 10_000;
/** Keys that go into one flush, unless a single edit has more. */
const FLUSH_SIZE_MAX = 1_000;

function busy({ bucket }: BucketName): FulaError {
  return new FulaError("FULA_BUCKET_BUSY", `${WAITING_MAX} changes wait for bucket ${bucket} already.`, {
    hint: "try again in a moment, or write to several buckets.",
    details: { bucket, waitingMax: WAITING_MAX },
  });
}

/** The move that makes a draft's changes. @throws what encoding them throws */
async function planDraft(
  draft: Draft,
  state: BucketState,
  index: BucketIndex,
  claimsSinceMs: number | null,
): Promise<PlannedMove> {
  const changes = draft.changes();
  const appended = changes.length === 0 ? null : await index.append(changes);
  const { objectCount, totalBytes, metadata } = draft;
  const content = { root: appended?.root ?? state.root, objectCount, totalBytes, metadata };
  return {
    next: { kind: "content", content, userId: state.userId },
    blocks: appended?.blocks ?? [],
    claims: draft.claims(),
    garbage: draft.replaced(),
    index: appended?.index ?? index,
    claimsSinceMs,
  };
}

/** True where ledger, node or pinset did not answer in time. */
function isSilence(error: unknown): boolean {
  if (error instanceof LateMove) return false;
  return isFulaError(error, "FULA_DATABASE_UNREACHABLE") || isFulaError(error, "FULA_BUCKET_BUSY");
}

/** The changes of a flush could not be encoded. */
class EditsUnfit extends Error {}

/** Plans several edits as one move. An edit that throws changes nothing and fails alone. */
function planOf(jobs: readonly EditJob[]): Planner<readonly (() => void)[]> {
  const claimsSinceMs = jobs.map(({ announcedMs }) => announcedMs).reduce(earliest, null);
  return async (state, index) => {
    const draft = new Draft(state, index);
    const result: (() => void)[] = [];
    for (const job of jobs) {
      try {
        result.push(await job.make(draft));
      } catch (error) {
        result.push(() => {
          job.fail(error);
        });
      }
    }
    if (!draft.isChanged) return { result, move: null };
    try {
      return { result, move: await planDraft(draft, state, index, claimsSinceMs) };
    } catch (error) {
      throw new EditsUnfit("The changes of a flush cannot be written down", { cause: error });
    }
  };
}

/**
 * The one writer of a bucket in this process. What comes while a flush is under way waits and goes into the next one
 * together, each judged on what those before it made of the bucket.
 */
export class BucketWriter {
  readonly #parts: BucketWriterParts;
  #waiting: (EditJob | MoveJob)[] = [];
  #waitingSize = 0;
  #isRunning = false;

  constructor(parts: BucketWriterParts) {
    this.#parts = parts;
  }

  /** Makes a change in a flush that others may share. @returns null where there is no such bucket */
  async edit<T>({ make, size, announcedMs }: Edit<T>): Promise<T | null> {
    return await this.#enqueue<T>((done) => ({
      kind: "edit",
      size,
      announcedMs,
      make: async (draft) => {
        const value = await make(draft);
        return () => {
          done.resolve(value);
        };
      },
      ...endsOf(done),
    }));
  }

  /** Moves the root by a plan of its own, between two flushes. @returns null where there is no such bucket */
  async move<T>(plan: Planner<T>): Promise<T | null> {
    return await this.#enqueue<T>((done) => ({
      kind: "move",
      size: 1,
      plan: async (state, index) => {
        const { result, move } = await plan(state, index);
        const settle = (): void => {
          done.resolve(result);
        };
        return { result: settle, move };
      },
      ...endsOf(done),
    }));
  }

  async #enqueue<T>(jobOf: (done: PromiseWithResolvers<T | null>) => EditJob | MoveJob): Promise<T | null> {
    if (this.#waitingSize >= WAITING_MAX) throw busy(this.#parts.name);
    const done = Promise.withResolvers<T | null>();
    const job = jobOf(done);
    this.#waiting.push(job);
    this.#waitingSize += job.size;
    if (!this.#isRunning) {
      this.#isRunning = true;
      void this.#run();
    }
    return await done.promise;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const jobs = this.#takeNext();
      const [first] = jobs;
      try {
        if (first?.kind === "move") await this.#flushMove(first);
        else await this.#flushEdits(jobs.filter((job) => job.kind === "edit"));
      } catch (error) {
        for (const job of jobs) job.fail(error);
        // Those behind would only wait for the same silence, one after the other.
        if (isSilence(error)) this.#failWaiting(error);
      }
    }
    this.#isRunning = false;
    this.#parts.onIdle();
  }

  #takeNext(): readonly (EditJob | MoveJob)[] {
    const [first] = this.#waiting;
    let size = 0;
    const end = this.#waiting.findIndex((job, at) => {
      size += job.size;
      if (at === 0) return false;
      return first?.kind === "move" || job.kind === "move" || !this.#parts.groupsEdits || size > FLUSH_SIZE_MAX;
    });
    const count = end === -1 ? this.#waiting.length : end;
    const jobs = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    for (const job of jobs) this.#waitingSize -= job.size;
    return jobs;
  }

  #failWaiting(error: unknown): void {
    for (const job of this.#waiting) job.fail(error);
    this.#waiting = [];
    this.#waitingSize = 0;
  }

  async #flushMove(job: MoveJob): Promise<void> {
    const outcome = await this.#noted(0, async () => await this.#parts.move(job.plan));
    if (outcome.kind === "absent") job.absent();
    else outcome.result();
  }

  async #flushEdits(jobs: readonly EditJob[]): Promise<void> {
    try {
      const outcome = await this.#noted(jobs.length, async () => await this.#parts.move(planOf(jobs)));
      if (outcome.kind === "absent") for (const job of jobs) job.absent();
      else for (const settle of outcome.result) settle();
    } catch (error) {
      if (error instanceof LateMove) await this.#flushWithoutLate(jobs, error);
      else if (!(error instanceof EditsUnfit)) throw error;
      // One of them cannot be written down; the others are not to fail with it.
      else if (jobs.length === 1) throw error.cause;
      else for (const job of jobs) await this.#flushAlone(job);
    }
  }

  /** What one of them was to refer to has waited too long; the others are not to fail with it. */
  async #flushWithoutLate(jobs: readonly EditJob[], late: LateMove): Promise<void> {
    const isLate = ({ announcedMs }: EditJob): boolean => announcedMs !== null && announcedMs < late.announcedBeforeMs;
    const left = jobs.filter((job) => !isLate(job));
    if (left.length === jobs.length) throw late;
    for (const job of jobs.filter(isLate)) job.fail(late);
    if (left.length > 0) await this.#flushEdits(left);
  }

  async #flushAlone(job: EditJob): Promise<void> {
    try {
      await this.#flushEdits([job]);
    } catch (error) {
      job.fail(error);
    }
  }

  async #noted<T>(edits: number, flush: () => Promise<MoverOutcome<T>>): Promise<MoverOutcome<T>> {
    const { clock, onFlush } = this.#parts;
    const beganMs = clock.monotonicMs();
    let outcome: Flush["outcome"] = "failed";
    try {
      const moved = await flush();
      outcome = moved.kind;
      return moved;
    } finally {
      onFlush({ outcome, edits, durationMs: clock.monotonicMs() - beganMs });
    }
  }
}

/** How a job ends without a result of its own. */
function endsOf<T>(done: PromiseWithResolvers<T | null>): Pick<Job, "absent" | "fail"> {
  return {
    absent: () => {
      done.resolve(null);
    },
    fail: (error) => {
      done.reject(error);
    },
  };
}
