import type { Clock } from "../../src/lib/kernel/clock.ts";

/** A clock that stands still until somebody sleeps on it or steps it; sleeping takes no real time. */
export class FakeClock implements Clock {
  /** What was slept, in order, in milliseconds. */
  readonly sleptMs: number[] = [];
  /** Called at each sleep: what happens meanwhile. */
  onSleep: () => void = () => {};
  #nowMs: number;

  constructor(startMs: number = Date.UTC(2026, 10, 20, 3)) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  step(ms: number): void {
    this.#nowMs += ms;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    await Promise.resolve();
    signal?.throwIfAborted();
    this.sleptMs.push(ms);
    this.onSleep();
    this.step(ms);
  }
}
