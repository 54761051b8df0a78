import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";

/** What each name may do. */
export interface Rate {
  /** Requests that come back in a second; may be a fraction. */
  readonly perSecond: number;
  /** Requests that may come at once, at least 1. */
  readonly burst: number;
}

/** Counts requests by name, such as the owner of buckets or an address. */
export interface RateLimit {
  /** Takes one request of a name. @returns null where it may go on; else in how many milliseconds one more may */
  take(name: string): number | null;
}

/** Names beyond these forget the one that was idle longest: most likely its bucket had filled again anyway. */
const NAMES_MAX = 50_000;

/**
 * Makes a token bucket a name: full at first, filled evenly, and emptied by what was let in alone. Whoever is refused
 * and asks again at once is not put off further. Of each bucket only the time is kept at which it will be full (the
 * generic cell rate algorithm, ITU-T I.371).
 */
export function createRateLimit(
  { perSecond, burst }: Rate,
  clock: Pick<Clock, "monotonicMs">,
  namesMax = NAMES_MAX,
): RateLimit {
  const fullAtMs = new LRUCache<string, number>({ max: namesMax });
  const intervalMs = 1_000 / perSecond;
  return {
    take: (name) => {
      const nowMs = clock.monotonicMs();
      const present = Math.max(fullAtMs.get(name) ?? nowMs, nowMs);
      const waitMs = present - nowMs - (burst - 1) * intervalMs;
      if (waitMs > 0) return Math.ceil(waitMs);
      fullAtMs.set(name, present + intervalMs);
      return null;
    },
  };
}
