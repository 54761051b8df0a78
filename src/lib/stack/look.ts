import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { formatDuration } from "../kernel/units.ts";

/** What bounds a look at something that may hang. */
export interface LookLimits {
  readonly clock: Clock;
  /** Ends every look. */
  readonly signal: AbortSignal;
  readonly limitMs: number;
}

/** How long one look of a command may take that wants to know rather than to be quick: a busy box answers later than soon. */
export const LONG_LOOK_MS = 18_000;

/** Puts whatever was thrown into one line: code and message. */
export function describeError(error: unknown): string {
  return isFulaError(error) ? `${error.code}: ${error.message}` : messageOf(error);
}

/**
 * Runs `read` with a signal of its own that aborts when its time is up, and does not wait for it any longer then,
 * whether it heeds the signal or not.
 * @throws FulaError FULA_LOOK_TIMEOUT when the time is up; the reason of `signal` when that aborts; what `read` throws
 */
export async function withinLimit<T>(limits: LookLimits, read: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { clock, signal, limitMs } = limits;
  signal.throwIfAborted();
  const late = new AbortController();
  const done = new AbortController();
  const stop = AbortSignal.any([signal, late.signal]);
  const { promise: given, reject } = Promise.withResolvers<never>();
  const giveUp = (): void => {
    reject(stop.reason);
  };
  stop.addEventListener("abort", giveUp, { once: true });
  clock.sleep(limitMs, done.signal).then(
    () => {
      late.abort(new FulaError("FULA_LOOK_TIMEOUT", `There was no answer within ${formatDuration(limitMs)}.`));
    },
    // The answer was there first.
    () => {},
  );
  const reading = read(stop);
  // One that ends later than it may is nobody's business any more.
  reading.catch(() => {});
  try {
    return await Promise.race([reading, given]);
  } finally {
    stop.removeEventListener("abort", giveUp);
    done.abort();
  }
}
