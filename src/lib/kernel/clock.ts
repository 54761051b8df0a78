import { setTimeout as sleepTimer } from "node:timers/promises";

/** Time as a dependency: domain code never reads the machine's clock by itself. */
export interface Clock {
  /** Wall time, milliseconds since the Unix epoch, UTC. */
  nowMs(): number;
  /** A time that never goes back, in milliseconds from an arbitrary start. */
  monotonicMs(): number;
  /** Waits; rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's own clocks. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      await sleepTimer(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      // Node.js wraps the signal's reason in an AbortError of its own.
      signal?.throwIfAborted();
      throw error;
    }
  },
};

/** Renders a time as RFC 3339 in UTC, whole seconds: `2026-11-20T03:00:00Z`. */
export function formatUtc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
