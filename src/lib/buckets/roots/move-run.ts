import { explainDatabaseError, isConnectionLoss, sqlStateOf, targetOf } from "../../postgres/database-errors.ts";
import type { Pool, PoolClient } from "../../postgres/pool.ts";
import type { NamedQuery } from "../../postgres/run-query.ts";

/** How often a statement is run again that the server gave up so that another one could go on. */
const DEADLOCK_TRIES = 5;
/** SQLSTATE deadlock_detected: two statements took the same CIDs of the queue in another order. */
const DEADLOCK = "40P01";

/** Runs a statement that stands for itself; again where it was the victim of a deadlock, of which nothing is left. */
export async function runAgainAfterDeadlock<T>(run: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await run();
    } catch (error) {
      if (sqlStateOf(error) !== DEADLOCK || tries >= DEADLOCK_TRIES) throw error;
    }
  }
}

async function connect(pool: Pool): Promise<PoolClient> {
  try {
    return await pool.connect();
  } catch (error) {
    throw explainDatabaseError(error, targetOf(pool));
  }
}

async function runOnce(pool: Pool, query: NamedQuery): Promise<bigint | null> {
  const client = await connect(pool);
  let lost: Error | undefined;
  try {
    const { rows } = await client.query<{ version: string }>({ ...query, values: [...query.values] });
    const [row] = rows;
    return row === undefined ? null : BigInt(row.version);
  } catch (error) {
    if (!isConnectionLoss(error)) throw explainDatabaseError(error, targetOf(pool));
    lost = error instanceof Error ? error : new Error(String(error));
    throw lost;
  } finally {
    client.release(lost);
  }
}

/**
 * Runs the statement of a move.
 * @returns the new version; null where the row is not as expected
 * @throws FulaError where it was certainly not run; what the driver throws where the answer was lost on the way
 */
export async function runMove(pool: Pool, query: NamedQuery): Promise<bigint | null> {
  return await runAgainAfterDeadlock(async () => await runOnce(pool, query));
}
