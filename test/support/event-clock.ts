import type { Clock } from "../../src/lib/kernel/clock.ts";

interface Sleeper {
  readonly untilMs: number;
  readonly wake: () => void;
}

/** A clock that jumps to the next sleeper's time whenever nothing else is left to do: waiting takes no real time. */
export class EventClock implements Clock {
  #nowMs = Date.UTC(2026, 10, 22, 3);
  #sleepers: Sleeper[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { untilMs: this.#nowMs + ms, wake: resolve };
    this.#sleepers.push(sleeper);
    const end = (): void => {
      this.#sleepers = this.#sleepers.filter((each) => each !== sleeper);
      reject(signal?.reason instanceof Error ? signal.reason : new Error("The sleep was ended"));
    };
    signal?.addEventListener("abort", end, { once: true });
    setImmediate(() => this.#jump());
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", end);
    }
  }

  #jump(): void {
    const [next] = this.#sleepers.toSorted((a, b) => a.untilMs - b.untilMs);
    if (next === undefined) return;
    this.#sleepers = this.#sleepers.filter((each) => each !== next);
    this.#nowMs = Math.max(this.#nowMs, next.untilMs);
    next.wake();
  }
}
