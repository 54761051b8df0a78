import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { retryUntil } from "../kernel/retry.ts";
import { explainDatabaseError, isLateAnswer, targetOf } from "./database-errors.ts";
import type { Pool } from "./pool.ts";

const AGAIN_MS = 250;

/** How long a late answer is waited for. */
export interface LatePatience {
  readonly clock: Clock;
  /** For as long it is asked again, beside what one attempt takes. */
  readonly patienceMs: number;
}

/**
 * Asks again where the database is there and has not answered yet; where it refuses, the error is thrown at once.
 * @param ask may be called several times
 * @param patience null = asked once
 * @throws what `ask` throws; the signal's reason
 */
export async function outlastLateAnswers<T>(
  ask: () => Promise<T>,
  patience: LatePatience | null,
  signal?: AbortSignal,
): Promise<T> {
  signal?.throwIfAborted();
  if (patience === null) return await ask();
  const { clock, patienceMs } = patience;
  return await retryUntil(ask, {
    clock,
    signal,
    deadlineMs: clock.monotonicMs() + patienceMs,
    pauseMs: AGAIN_MS,
    shouldRetry: (error) => isLateAnswer(error instanceof FulaError ? error.cause : error),
  });
}

/**
 * Has a pool make its first connection, and waits for a server that starts, recovers from a crash, or is busy.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN and what else `explainDatabaseError` makes of it; the
 *   signal's reason
 */
export async function awaitLogin(pool: Pool, patience: LatePatience | null, signal?: AbortSignal): Promise<void> {
  const ask = async (): Promise<unknown> => await pool.query("select 1");
  await outlastLateAnswers(ask, patience, signal).catch((error: unknown) => {
    throw explainDatabaseError(error, targetOf(pool));
  });
}
