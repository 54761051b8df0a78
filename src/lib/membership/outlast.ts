import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import { isWorthAnotherAttempt } from "./kv/budget.ts";

/** How long a silence of the control plane is borne. */
export interface Patience {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Of `clock.monotonicMs`; what fails later is thrown. */
  readonly deadlineMs: number;
  /** Told in a sentence what is being waited for. */
  readonly onWait?: (sentence: string) => void;
}

const AGAIN_MS = 500;

/**
 * Does the work as often as it takes: servers that take others in elect anew, and answer nobody for some seconds.
 * @param work is called anew after a silence, so that whatever it has done by then must be no harm to do again
 * @throws what `work` throws, FULA_CONTROL_PLANE_UNREACHABLE only where the time is over or waiting does not help
 */
export async function outlastSilence<T>(
  work: () => Promise<T>,
  { clock, signal, deadlineMs, onWait }: Patience,
): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isWorthAnotherAttempt(error) || signal.aborted || clock.monotonicMs() >= deadlineMs) throw error;
      onWait?.(messageOf(error));
    }
    await clock.sleep(AGAIN_MS, signal);
  }
}
