import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { describeSession, type SessionInfo, withAdvisoryLock } from "../postgres/advisory-lock.ts";
import { explainDatabaseError, targetOf } from "../postgres/database-errors.ts";
import type { Pool } from "../postgres/pool.ts";

/** Session lock of whoever collects, or must not be collected under: one of all masters at a time. */
const COLLECTOR_LOCK = 815_551_008n;

/** How long to wait for another master that collects. */
export interface CollectorWait {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** 0 = do not wait. */
  readonly waitMs: number;
}

function collecting(holder: SessionInfo | null): FulaError {
  return new FulaError(
    "FULA_BUCKETS_COLLECTING",
    `${describeSession(holder)} holds the lock of the buckets' collector.`,
    {
      hint: "it is freed when that run or import ends; fula-master buckets gc --wait 10m waits for it.",
    },
  );
}

/**
 * Looks that the lock has been ours all the time: it lives as long as its session.
 * @throws FulaError FULA_DATABASE_UNREACHABLE where that is lost: somebody may have collected since
 */
export type AssertHeld = () => Promise<void>;

/**
 * Keeps every other collector out while `use` runs: for a run of the collector itself, and for an import, which takes
 * longer than any grace time between its first pin and the move that refers to it.
 * @throws FulaError FULA_BUCKETS_COLLECTING where somebody else holds it for longer than the wait
 */
export async function withCollectorLock<T>(
  pool: Pool,
  { clock, signal, waitMs }: CollectorWait,
  use: (assertHeld: AssertHeld) => Promise<T>,
): Promise<T> {
  const wait = { clock, signal, waitMs, onTimeout: collecting };
  return await withAdvisoryLock(pool, COLLECTOR_LOCK, wait, async (client) => {
    const assertHeld: AssertHeld = async () => {
      try {
        await client.query("select");
      } catch (error) {
        throw explainDatabaseError(error, targetOf(pool));
      }
    };
    return await use(assertHeld);
  });
}
