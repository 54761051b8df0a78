import type { Clock } from "../../src/lib/kernel/clock.ts";

interface Sleeper {
  readonly untilMs: number;
  readonly wake: () => void;
}

/** A clock that moves only when a test steps it; who sleeps wakes when their time has come. */
export class ManualClock implements Clock {
  #nowMs: number;
  #sleepers: Sleeper[] = [];

  constructor(startMs: number = Date.UTC(2026, 10, 20, 3)) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  /** Moves on, wakes who is due, and lets what follows from it happen. */
  async step(ms: number): Promise<void> {
    this.#nowMs += ms;
    const due = this.#sleepers.filter(({ untilMs }) => untilMs <= this.#nowMs);
    this.#sleepers = this.#sleepers.filter(({ untilMs }) => untilMs > this.#nowMs);
    for (const { wake } of due) wake();
    await new Promise((resolve) => setImmediate(resolve));
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#sleepers.push({ untilMs: this.#nowMs + ms, wake: resolve });
    signal?.addEventListener("abort", () => {
      reject(new Error("The sleep was ended"));
    });
    await promise;
  }
}
