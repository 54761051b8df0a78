import type { Clock } from "../kernel/clock.ts";
import { explainDatabaseError, isLateLogin, targetOf } from "./database-errors.ts";
import type { Pool } from "./pool.ts";

const AGAIN_MS = 250;

/** How long a login is waited for. */
export interface LoginPatience {
  readonly clock: Clock;
  /** For as long it is asked again, beside what one attempt takes. */
  readonly patienceMs: number;
}

/**
 * Has a pool make its first connection. A server that is there and does not let us in yet (it starts, recovers from a crash, or
 * its box is busy) is asked again; one that refuses is not.
 * @param patience null = asked once
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN and what else `explainDatabaseError` makes of it; the
 *   signal's reason
 */
export async function awaitLogin(pool: Pool, patience: LoginPatience | null, signal?: AbortSignal): Promise<void> {
  const deadlineMs = patience === null ? 0 : patience.clock.monotonicMs() + patience.patienceMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      await pool.query("select 1");
      return;
    } catch (error) {
      const isOver = patience === null || patience.clock.monotonicMs() >= deadlineMs;
      if (isOver || !isLateLogin(error)) throw explainDatabaseError(error, targetOf(pool));
      await patience.clock.sleep(AGAIN_MS, signal);
    }
  }
}
