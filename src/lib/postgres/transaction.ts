import type { Pool, PoolClient } from "pg";
import { type Clock, systemClock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { type Random, systemRandom } from "../kernel/random.ts";
import {
  EPOCH_STALE,
  explainDatabaseError,
  formatTarget,
  isConnectionLoss,
  sqlStateOf,
  targetOf,
} from "./database-errors.ts";

/** The connection inside a transaction: queries only; begin, commit and release are not the callback's business. */
export type TransactionClient = Pick<PoolClient, "query">;

/** How a transaction is run. */
export interface TransactionOptions {
  /** Default "read committed", PostgreSQL's own. */
  readonly isolation?: "read committed" | "repeatable read" | "serializable";
  readonly readOnly?: boolean;
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly random?: Random;
}

/**
 * SQLSTATEs after which the same transaction can succeed when it is run again as a whole, and the pauses before each
 * further attempt, in milliseconds (https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html).
 */
const RETRY_DELAYS_MS: Readonly<Record<string, readonly number[]>> = {
  // serialization_failure: another transaction committed first; nothing is held, so it can run at once.
  "40001": [0, 10, 50, 100, 250, 500],
  // deadlock_detected: we were the victim.
  "40P01": [10, 50, 100, 250, 500],
  // lock_not_available: only where lock_timeout is set or `nowait` is used.
  "55P03": [250, 1_000, 2_000],
  // admin_shutdown, crash_shutdown, cannot_connect_now: the server restarts.
  "57P01": [250, 1_000, 2_000],
  "57P02": [250, 1_000, 2_000],
  "57P03": [250, 1_000, 2_000],
  // connection_failure: what we call a connection that was lost before the commit was sent, where no server says why.
  "08006": [250, 1_000, 2_000],
  // The ledger has moved, and this connection is about to be cut for it.
  [EPOCH_STALE]: [250, 1_000, 2_000],
};

function beginStatement({ isolation, readOnly }: TransactionOptions): string {
  return `begin isolation level ${isolation ?? "read committed"}${readOnly === true ? " read only" : ""}`;
}

/** Commits. A connection that is lost right here leaves the outcome unknown, and running it again could do it twice. */
async function commit(pool: Pool, client: PoolClient): Promise<void> {
  try {
    const { command } = await client.query("commit");
    // An aborted transaction answers COMMIT with ROLLBACK and no error; the callback swallowed one.
    if (command !== "COMMIT")
      throw new Error("the transaction had failed before its commit, and its error was swallowed");
  } catch (error) {
    if (!isConnectionLoss(error)) throw error;
    throw new FulaError(
      "FULA_COMMIT_UNKNOWN",
      `The connection to ${formatTarget(targetOf(pool))} was lost during a commit; the change may or may not be there.`,
      { hint: "look whether it is there before you run the command again.", cause: error },
    );
  }
}

/** A server that cannot be reached at all is told at once; only one that answers "not yet" is worth another attempt. */
async function connect(pool: Pool): Promise<PoolClient> {
  try {
    return await pool.connect();
  } catch (error) {
    throw sqlStateOf(error) === null ? explainDatabaseError(error, targetOf(pool)) : error;
  }
}

async function runOnce<T>(
  pool: Pool,
  use: (client: TransactionClient) => Promise<T>,
  options: TransactionOptions,
): Promise<T> {
  const client = await connect(pool);
  let broken = true;
  try {
    await client.query(beginStatement(options));
    try {
      const result = await use(client);
      await commit(pool, client);
      broken = false;
      return result;
    } catch (error) {
      if (!isConnectionLoss(error) && !isFulaError(error, "FULA_COMMIT_UNKNOWN")) {
        await client.query("rollback");
        broken = false;
      }
      throw error;
    }
  } finally {
    client.release(broken);
  }
}

/**
 * Runs `use` in one transaction on a connection of its own: commits what it did when it returns, rolls back when it
 * throws. Run again, as a whole and from the start, only for the SQLSTATEs of `RETRY_DELAYS_MS`; so `use` must not do
 * anything outside the database that may not happen twice. There are no savepoints.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_COMMIT_UNKNOWN; what `use` throws.
 */
export async function withTransaction<T>(
  pool: Pool,
  use: (client: TransactionClient) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? systemRandom;
  for (let attempt = 0; ; attempt += 1) {
    options.signal?.throwIfAborted();
    try {
      return await runOnce(pool, use, options);
    } catch (error) {
      const state = sqlStateOf(error) ?? (isConnectionLoss(error) ? "08006" : "");
      const delayMs = RETRY_DELAYS_MS[state]?.[attempt];
      if (delayMs === undefined) throw explainDatabaseError(error, targetOf(pool));
      // Half of the pause is random, so that two losers of one race do not meet again.
      await clock.sleep(delayMs / 2 + random.int(delayMs / 2 + 1), options.signal);
    }
  }
}
