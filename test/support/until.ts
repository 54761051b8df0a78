import { systemClock } from "../../src/lib/kernel/clock.ts";

const POLL_MS = 10;
/** Ten times what anything takes on a machine of its own: CI's has others' work to do. */
const DEADLINE_MS = 60_000;

/** Asks until the answer is something, and gives it back. @throws Error naming `what` when it takes too long */
export async function until<T>(
  what: string,
  ask: () => Promise<T | null | undefined | false>,
  withinMs: number = DEADLINE_MS,
): Promise<T> {
  const deadlineMs = systemClock.monotonicMs() + withinMs;
  while (systemClock.monotonicMs() < deadlineMs) {
    const answer = await ask();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    await systemClock.sleep(POLL_MS);
  }
  throw new Error(`Waited ${withinMs} ms in vain until ${what}`);
}
