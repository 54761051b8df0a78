import type { Clock } from "./clock.ts";

/** How often and how long `retry` goes on. */
export interface RetryOptions {
  /** Pause before the second, third … attempt, in milliseconds; its length plus one is the number of attempts. */
  readonly delaysMs: readonly number[];
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  /** False ends the retrying at once. Default: every error is tried again. */
  readonly shouldRetry?: (error: unknown) => boolean;
}

/** Runs `operation` until it succeeds or the delays are used up. @throws the last error of `operation`. */
export async function retry<T>(operation: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    options.signal?.throwIfAborted();
    try {
      return await operation(attempt);
    } catch (error) {
      const delayMs = options.delaysMs[attempt];
      if (delayMs === undefined || options.shouldRetry?.(error) === false) throw error;
      await options.clock.sleep(delayMs, options.signal);
    }
  }
}

/** How long `retryUntil` goes on. */
export interface RetryUntilOptions {
  readonly clock: Clock;
  /** Asked between two attempts; the first is made whatever it says, for what cleans up after an abort. */
  readonly signal?: AbortSignal | undefined;
  /** Of `clock.monotonicMs`: what fails later is not tried again. Default: there is none. */
  readonly deadlineMs?: number;
  /** Between two attempts, in milliseconds. */
  readonly pauseMs: number;
  /** False ends the retrying at once. */
  readonly shouldRetry: (error: unknown) => boolean | Promise<boolean>;
  /** Told of each failure after which it is tried again, before the pause. */
  readonly onRetry?: (error: unknown) => void | Promise<void>;
}

/**
 * Runs `operation` until it succeeds, its time is over, or it fails in a way that time does not mend.
 * @throws the last error of `operation`; the signal's reason
 */
export async function retryUntil<T>(
  operation: (attempt: number) => Promise<T>,
  { clock, signal, deadlineMs = Infinity, pauseMs, shouldRetry, onRetry }: RetryUntilOptions,
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await operation(attempt);
    } catch (error) {
      if (clock.monotonicMs() >= deadlineMs || !(await shouldRetry(error))) throw error;
      signal?.throwIfAborted();
      await onRetry?.(error);
    }
    await clock.sleep(pauseMs, signal);
  }
}
