import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import { retryUntil } from "../kernel/retry.ts";
import { isWorthAnotherAttempt } from "./kv/budget.ts";

/** How long a silence of the control plane is borne. */
export interface Patience {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Of `clock.monotonicMs`; what fails later is thrown. */
  readonly deadlineMs: number;
  /** Told what is waited for, a sentence without its stop; once for each silence. */
  readonly onWait?: (sentence: string) => void;
}

const AGAIN_MS = 250;

function sentenceOf(error: unknown): string {
  return isFulaError(error) && error.details?.["silence"] === "unreachable"
    ? "waiting for a NATS server to answer"
    : "waiting for the NATS servers to elect a leader";
}

/**
 * Does the work as often as it takes: servers that lost their leader, or take others in, elect anew within seconds, and answer
 * nobody meanwhile.
 * @param work is called anew after a silence, so that whatever it has done by then must be no harm to do again
 * @throws what `work` throws, FULA_CONTROL_PLANE_UNREACHABLE only where the time is over or waiting does not help; the
 *   signal's reason
 */
export async function outlastSilence<T>(
  work: (isFirst: boolean) => Promise<T>,
  { clock, signal, deadlineMs, onWait }: Patience,
): Promise<T> {
  let said: string | null = null;
  return await retryUntil(async (attempt) => await work(attempt === 0), {
    clock,
    signal,
    deadlineMs,
    pauseMs: AGAIN_MS,
    shouldRetry: isWorthAnotherAttempt,
    onRetry: (error) => {
      const sentence = sentenceOf(error);
      if (sentence !== said) onWait?.(sentence);
      said = sentence;
    },
  });
}
