import type { Clock } from "../kernel/clock.ts";
import { acquireLock, type ProcessLock, tryLock } from "../kernel/lock.ts";

const GATE_POLL_MS = 50;
/** Longer than any one start or stop may take: whoever has the gate is doing just that. */
const GATE_PATIENCE_MS = 240_000;

async function enterGate(path: string, purpose: string, clock: Clock, signal?: AbortSignal): Promise<ProcessLock> {
  const deadlineMs = clock.monotonicMs() + GATE_PATIENCE_MS;
  while (clock.monotonicMs() < deadlineMs) {
    const lock = await tryLock(path, purpose, clock);
    if (lock !== null) return lock;
    await clock.sleep(GATE_POLL_MS, signal);
  }
  return await acquireLock(path, purpose, clock);
}

/** What one passage through the gate needs. */
export interface GateOptions {
  /** The lock file. */
  readonly path: string;
  /** Named to others who wait too long. */
  readonly purpose: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** Runs `use` behind the gate, waiting for whoever has it. @throws FulaError FULA_LOCKED after a bounded time */
export async function withGate<T>(options: GateOptions, use: () => Promise<T>): Promise<T> {
  const gate = await enterGate(options.path, options.purpose, options.clock, options.signal);
  try {
    return await use();
  } finally {
    gate.release();
  }
}
