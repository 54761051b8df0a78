import { systemClock } from "../../src/lib/kernel/clock.ts";

const POLL_MS = 10;
/** What takes long to ask is asked less often: the question must not keep what is waited for from the processor. */
const POLL_MS_MAX = 250;
/** Ten times what anything takes on a machine of its own: CI's has others' work to do. */
const DEADLINE_MS = 60_000;

type Ask<T> = () => Promise<T | null | undefined | false>;

async function firstAnswer<T>(ask: Ask<T>, withinMs: number): Promise<T | null> {
  const deadlineMs = systemClock.monotonicMs() + withinMs;
  while (systemClock.monotonicMs() < deadlineMs) {
    const askedMs = systemClock.monotonicMs();
    const answer = await ask();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    const tookMs = systemClock.monotonicMs() - askedMs;
    await systemClock.sleep(Math.min(Math.max(POLL_MS, tookMs), POLL_MS_MAX));
  }
  return null;
}

const inVain = (what: string, withinMs: number): string => `Waited ${withinMs} ms in vain until ${what}`;

/** Asks until the answer is something, and gives it back. @throws Error naming `what` when it takes too long */
export async function until<T>(what: string, ask: Ask<T>, withinMs: number = DEADLINE_MS): Promise<T> {
  const answer = await firstAnswer(ask, withinMs);
  if (answer === null) throw new Error(inVain(what, withinMs));
  return answer;
}

/** As `until`, where an error is no answer yet. @throws Error naming `what` when it takes too long; its cause is the last error */
export async function eventually<T>(what: string, ask: Ask<T>, withinMs: number = DEADLINE_MS): Promise<T> {
  let cause: unknown;
  const answered = async (): ReturnType<Ask<T>> => {
    try {
      cause = undefined;
      return await ask();
    } catch (error) {
      cause = error;
      return null;
    }
  };
  const answer = await firstAnswer(answered, withinMs);
  if (answer === null) throw new Error(inVain(what, withinMs), { cause });
  return answer;
}

/**
 * Asks until the answer is as wanted, or the time is over, and gives the last one back: for a caller who then holds it
 * against what it must be, and says what is wrong with it.
 */
export async function settled<T>(
  ask: () => Promise<T>,
  isAsWanted: (answer: T) => boolean,
  withinMs: number = DEADLINE_MS,
): Promise<T> {
  const deadlineMs = systemClock.monotonicMs() + withinMs;
  for (;;) {
    const answer = await ask();
    if (isAsWanted(answer) || systemClock.monotonicMs() >= deadlineMs) return answer;
    await systemClock.sleep(POLL_MS_MAX);
  }
}
