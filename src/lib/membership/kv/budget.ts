import { answerWithin } from "../../kernel/deadline.ts";
import type { Clock } from "../../kernel/clock.ts";
import { FulaError } from "../../kernel/errors.ts";

/** Why nobody could be asked: what a denial and `doctor` make of it. */
export type Silence = "unreachable" | "no-quorum";

/** The error of whatever did not answer. @param why a sentence without its full stop */
export function controlPlaneSilent(why: string, silence: Silence, hint: string, cause?: unknown): FulaError {
  return new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", `${why}.`, { hint, details: { silence }, cause });
}

/** True for what may be different when the servers have found one another: worth another attempt. */
export function isWorthAnotherAttempt(error: unknown): boolean {
  return (
    error instanceof FulaError && error.code === "FULA_CONTROL_PLANE_UNREACHABLE" && error.details?.["refused"] !== true
  );
}

/** What is left of the time that one operation may take; counted by a clock that does not jump. */
export class Budget {
  readonly #clock: Clock;
  readonly #endMs: number;
  readonly totalMs: number;

  constructor(clock: Clock, totalMs: number) {
    this.#clock = clock;
    this.totalMs = totalMs;
    this.#endMs = clock.monotonicMs() + totalMs;
  }

  leftMs(): number {
    return Math.max(0, this.#endMs - this.#clock.monotonicMs());
  }

  /**
   * Waits for an answer until the time is over. @param what was asked, as in “write KV_FULA_rooms” @param silence what
   * no answer means
   * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE
   */
  async wait<T>(what: string, work: (leftMs: number) => Promise<T>, silence: Silence = "no-quorum"): Promise<T> {
    const leftMs = this.leftMs();
    const answer = leftMs < 1 ? null : await answerWithin(this.#clock, leftMs, work(leftMs));
    if (answer !== null) return answer.value;
    throw controlPlaneSilent(
      `The control plane did not ${what} within ${Math.round(this.totalMs)} ms`,
      silence,
      "fula-master status shows its servers. With fewer than half of them it neither writes nor says who may act.",
    );
  }
}
