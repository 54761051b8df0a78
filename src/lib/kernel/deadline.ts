import type { Clock } from "./clock.ts";

/**
 * Waits for an answer, but not longer than `ms`. What comes later, an error too, is nobody's: who must not miss it looks
 * at the work itself.
 * @returns null where there was no answer in time
 * @throws what the work throws in time
 */
export async function answerWithin<T>(
  clock: Clock,
  ms: number,
  work: Promise<T>,
): Promise<{ readonly value: T } | null> {
  const enough = new AbortController();
  const late = clock.sleep(ms, enough.signal).then(
    () => null,
    () => null,
  );
  try {
    return await Promise.race([work.then((value) => ({ value })), late]);
  } finally {
    enough.abort();
    work.catch(() => {});
  }
}
