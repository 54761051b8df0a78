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
