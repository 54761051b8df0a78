import { systemClock } from "../../src/lib/kernel/clock.ts";

const POLL_MS = 10;
const DEADLINE_MS = 20_000;

/** Asks until the answer is something, and gives it back. @throws Error naming `what` when it takes too long */
export async function until<T>(what: string, ask: () => Promise<T | null | undefined | false>): Promise<T> {
  const deadlineMs = systemClock.monotonicMs() + DEADLINE_MS;
  while (systemClock.monotonicMs() < deadlineMs) {
    const answer = await ask();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    await systemClock.sleep(POLL_MS);
  }
  throw new Error(`Waited ${DEADLINE_MS} ms in vain until ${what}`);
}
