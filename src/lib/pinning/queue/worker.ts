import { coalesce } from "../../kernel/coalesce.ts";
import type { Clock } from "../../kernel/clock.ts";
import { answerWithin } from "../../kernel/deadline.ts";
import { messageOf } from "../../kernel/errors.ts";
import type { Log } from "../../kernel/log.ts";
import type { Pool } from "../../postgres/pool.ts";
import { claimJobs, releaseJobs, renewClaim } from "./claim.ts";
import type { ClaimedJob, JobOutcome, ContentWish } from "./job.ts";
import { type SettledJob, settleJobs } from "./settle.ts";
import { readWishes } from "./wishes.ts";
import { type WorkParts, workOn } from "./work.ts";

/** What workers need. */
export interface WorkerParts extends WorkParts {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Log;
  /** The master's name. */
  readonly node: string;
  /** Workers of this master; each has several jobs in hand. */
  readonly workers: number;
  /** After that long without a sign of life others take over what a worker has in hand, in milliseconds. */
  readonly claimMs: number;
  /** Told of each job that a worker is done with for now. */
  readonly onSettled: (kind: JobOutcome["kind"]) => void;
}

/** Jobs that a worker has in hand at the same time. */
const JOBS_AT_ONCE = 16;
/** Signs of life in the time of a claim: one or two may be late. */
const RENEWALS = 3;
/** How soon a worker that is idle, or waits for something that takes long, sees what was put on the queue. */
const IDLE_MS = 1_000;
const SETTLED_AT_ONCE = 64;
const STOP_MAX_MS = 5_000;

type Settle = (settled: readonly SettledJob[]) => Promise<void>;

/**
 * Works on the queue until it is disposed of, which gives back what is in hand. Any number of masters may: a job is in one
 * hand at a time, and one whose worker died is taken by another when its claim ends.
 */
export function startWorkers(parts: WorkerParts): AsyncDisposable {
  const { pool, workers, clock } = parts;
  const end = new AbortController();
  // What several workers are done with at the same time shares a statement.
  const settle = coalesce<SettledJob>({ batchMax: SETTLED_AT_ONCE }, async (settled) => {
    await settleJobs(pool, settled);
  });
  const running = Array.from({ length: workers }, async () => {
    await keepWorking(parts, settle, end.signal);
  });
  return {
    [Symbol.asyncDispose]: async () => {
      end.abort();
      // A pinset that does not answer is not waited for: what it was told can be told again by whoever claims it next.
      await answerWithin(clock, STOP_MAX_MS, Promise.all(running));
    },
  };
}

/** A content may take minutes to be measured: the rest of what a worker may have in hand goes on meanwhile. */
async function keepWorking(parts: WorkerParts, settle: Settle, signal: AbortSignal): Promise<void> {
  const { pool, random, clock, log, node, claimMs } = parts;
  const batches = new Set<Promise<void>>();
  let inHand = 0;
  const take = async (): Promise<{ readonly batch: Promise<void> } | null> => {
    if (inHand === JOBS_AT_ONCE) return null;
    const claim = random.uuid();
    const jobs = await claimJobs(pool, { claim, node, limit: JOBS_AT_ONCE - inHand, claimMs });
    if (jobs.length === 0) return null;
    inHand += jobs.length;
    const onDone = (): void => {
      inHand -= 1;
    };
    const batch = workOnBatch(parts, { settle, claim, jobs, onDone }, signal).finally(() => {
      batches.delete(batch);
    });
    batches.add(batch);
    return { batch };
  };
  while (!signal.aborted) {
    try {
      const taken = await take();
      if (taken === null) await clock.sleep(IDLE_MS, signal);
      else await answerWithin(clock, IDLE_MS, taken.batch);
    } catch (error) {
      if (signal.aborted) break;
      // Claims end by themselves.
      log.warn("pinning.queue.failed", { message: messageOf(error) });
      await clock.sleep(IDLE_MS, signal).catch(() => {});
    }
  }
  await Promise.allSettled(batches);
}

/** Jobs under one claim. */
interface Batch {
  readonly settle: Settle;
  readonly claim: string;
  readonly jobs: readonly ClaimedJob[];
  /** Told of each that is out of hand. */
  readonly onDone: () => void;
}

async function workOnBatch(
  parts: WorkerParts,
  { settle, claim, jobs, onDone }: Batch,
  signal: AbortSignal,
): Promise<void> {
  const { pool, log } = parts;
  const done = new AbortController();
  const renewing = keepClaimed(parts, claim, done.signal);
  const open = new Set(jobs);
  const close = (job: ClaimedJob): void => {
    if (open.delete(job)) onDone();
  };
  try {
    // Read after the claim: whoever changes rows later raises the revision, and then this work is not the last.
    const cids = jobs.map(({ cid }) => cid);
    const wishes = await readWishes(pool, cids);
    const ends = await Promise.allSettled(
      jobs.map(async (job) => {
        await workOnJob(parts, settle, job, wishes.get(job.cid), signal).finally(() => {
          close(job);
        });
      }),
    );
    const failed = ends.find((end) => end.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  } catch (error) {
    // Whoever is told to stop leaves nothing that others have to wait for.
    if (signal.aborted) await releaseJobs(pool, jobs);
    else log.warn("pinning.queue.failed", { message: messageOf(error) });
  } finally {
    for (const job of open) close(job);
    done.abort();
    await renewing;
  }
}

async function workOnJob(
  parts: WorkerParts,
  settle: Settle,
  job: ClaimedJob,
  wish: ContentWish | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (wish === undefined) throw new Error(`nothing was read of what is wanted of ${job.cid}`);
  const outcome = await workOn(parts, job, wish, signal);
  await settle([{ job, outcome }]);
  parts.onSettled(outcome.kind);
  const { cid, attempts } = job;
  if (outcome.kind === "dead") parts.log.warn("pinning.given_up", { cid, because: outcome.error });
  if (outcome.kind === "later" && outcome.error !== null) {
    parts.log.warn("pinning.not_done", { cid, attempts: attempts + 1, message: outcome.error });
  }
}

/** Keeps a claim for as long as the work on it takes. */
async function keepClaimed(
  { pool, clock, log, claimMs }: WorkerParts,
  claim: string,
  done: AbortSignal,
): Promise<void> {
  for (;;) {
    await clock.sleep(claimMs / RENEWALS, done).catch(() => {});
    if (done.aborted) return;
    try {
      await renewClaim(pool, claim, claimMs);
    } catch (error) {
      log.warn("pinning.claim.not_renewed", { message: messageOf(error) });
    }
  }
}
