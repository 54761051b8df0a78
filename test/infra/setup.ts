import { join } from "node:path";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { type ProcessLock, tryLock } from "../../src/lib/kernel/lock.ts";
import { makeCacheDir } from "./cache.ts";
import { buildDaemons } from "./daemons.ts";
import type { Say } from "./run.ts";

/** What a run of the set-up had to make; all empty where everything was there. */
export interface Made {
  readonly daemons: readonly string[];
}

const LOCK_POLL_MS = 500;

/** Two runs at once would build the same thing twice into one place; the second waits and then finds it. */
async function takeTurn(say: Say): Promise<ProcessLock> {
  const path = join(makeCacheDir(), "setup.lock");
  for (let waited = false; ; waited = true) {
    const lock = await tryLock(path, "test infrastructure", systemClock);
    if (lock !== null) return lock;
    if (!waited) say("waiting for another set-up that is running");
    await systemClock.sleep(LOCK_POLL_MS);
  }
}

/** Makes what is missing of the test infrastructure, and nothing else. */
export async function setUpInfra(say: Say): Promise<Made> {
  using _turn = await takeTurn(say);
  return { daemons: await buildDaemons(say) };
}
