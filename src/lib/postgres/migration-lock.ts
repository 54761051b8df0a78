import type { Pool } from "pg";
import { type Clock, systemClock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { type Log, silentLog } from "../kernel/log.ts";
import { toolVersion } from "../kernel/project.ts";
import { describeSession, type LockWait, withAdvisoryLock } from "./advisory-lock.ts";
import { explainDatabaseError, formatTarget, targetOf } from "./database-errors.ts";
import { type MigrationEvent, prepareSession, type RunContext } from "./migration-run.ts";

/** Session lock of whoever changes the schema. The number before it is the cron family's lease of the existing fleet. */
export const MIGRATION_LOCK_KEY = 815_551_002n;
/** How long a second installer waits for the first. Building an index on a large ledger takes minutes. */
const LOCK_WAIT_MS = 300_000;

/** What every migration command takes. */
export interface MigrateOptions {
  /** Folder of the migrations; default the package's own. */
  readonly dir?: string;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
  readonly log?: Log;
  /** How long to wait for another installer, in milliseconds. Default `LOCK_WAIT_MS`. */
  readonly lockWaitMs?: number;
  readonly report?: (event: MigrationEvent) => void;
}

function lockWait(pool: Pool, options: MigrateOptions): LockWait {
  return {
    clock: options.clock ?? systemClock,
    signal: options.signal,
    waitMs: options.lockWaitMs ?? LOCK_WAIT_MS,
    onWaiting: (holder, waitedMs) => {
      options.report?.({ event: "lock.waiting", holder: describeSession(holder), waitedMs });
    },
    onTimeout: (holder, waitedMs) => {
      const since = holder?.connectedAt ?? null;
      return new FulaError(
        "FULA_MIGRATION_LOCKED",
        `Cannot change the schema of ${formatTarget(targetOf(pool))}: ${describeSession(holder)} holds the migration lock` +
          `${since === null ? "" : `, connected since ${since}`}; waited ${Math.round(waitedMs / 1_000)} s. Nothing was changed.`,
        {
          hint:
            holder === null
              ? "run the command again."
              : `wait for it to end and run the command again; if that installer is dead: select pg_terminate_backend(${holder.pid})`,
          details: { holder },
        },
      );
    },
  };
}

function contextOf(pool: Pool, options: MigrateOptions): Omit<RunContext, "client"> {
  return {
    pool,
    clock: options.clock ?? systemClock,
    signal: options.signal,
    log: options.log ?? silentLog,
    toolVersion: toolVersion(),
    report: options.report ?? (() => {}),
  };
}

/**
 * Runs `work` on a connection that holds the migration lock.
 * @throws FulaError FULA_MIGRATION_LOCKED, FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; what `work` throws.
 */
export async function withMigrationLock<T>(
  pool: Pool,
  options: MigrateOptions,
  work: (context: RunContext) => Promise<T>,
): Promise<T> {
  return await withAdvisoryLock(pool, MIGRATION_LOCK_KEY, lockWait(pool, options), async (client) => {
    await prepareSession(client);
    return await work({ ...contextOf(pool, options), client });
  });
}

/**
 * Runs `work` in a transaction that the server keeps from writing anything, without the lock: for plans and reports.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; what `work` throws.
 */
export async function withReadOnlySession<T>(
  pool: Pool,
  options: MigrateOptions,
  work: (context: RunContext) => Promise<T>,
): Promise<T> {
  try {
    const client = await pool.connect();
    try {
      await prepareSession(client);
      await client.query("begin transaction isolation level repeatable read read only");
      return await work({ ...contextOf(pool, options), client });
    } finally {
      client.release(true);
    }
  } catch (error) {
    throw explainDatabaseError(error, targetOf(pool));
  }
}
