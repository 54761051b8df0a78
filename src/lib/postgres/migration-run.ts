import { Client, type ClientBase, type Pool, type PoolClient } from "pg";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { isConnectionLoss, sqlStateOf } from "./database-errors.ts";
import { concurrentIndexOf, quoteIdentifier, readIndexStates } from "./index-health.ts";
import { watchIndexBuild } from "./index-progress.ts";
import { type Migration, migrationId, type MigrationScript } from "./migration-files.ts";
import { RETRYABLE_STATES, StatementFailure } from "./migration-failure.ts";
import { forgetMigration, recordMigration } from "./migration-history.ts";

/** What a run tells while it goes on. */
export type MigrationEvent =
  | { readonly event: "lock.waiting"; readonly holder: string; readonly waitedMs: number }
  | { readonly event: "migration.started"; readonly id: string; readonly direction: "up" | "down" }
  | { readonly event: "migration.retried"; readonly id: string; readonly reason: string; readonly delayMs: number }
  | {
      readonly event: "migration.done";
      readonly id: string;
      readonly direction: "up" | "down";
      readonly durationMs: number;
    }
  | { readonly event: "index.dropped"; readonly id: string; readonly index: string }
  | { readonly event: "index.building"; readonly id: string; readonly index: string; readonly phase: string }
  | { readonly event: "backup.started"; readonly path: string }
  | { readonly event: "backup.done"; readonly path: string; readonly bytes: number };

/** What a run of migrations needs, handed down by migrator.ts. */
export interface RunContext {
  readonly pool: Pool;
  /** The connection that holds the migration lock; everything runs on it. */
  readonly client: PoolClient;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
  readonly log: Log;
  readonly toolVersion: string;
  readonly report: (event: MigrationEvent) => void;
}

// ALTER TABLE waits for every transaction that has touched the table, and everybody else then waits behind it. So it
// waits briefly, gives the others room, and tries again.
const LOCK_TIMEOUT_MS = 5_000;
/** Pauses before the whole migration is tried again when a lock was not to be had, in milliseconds. */
const LOCK_RETRY_DELAYS_MS = [1_000, 2_000, 5_000, 10_000, 20_000] as const;
/** Runs a script's statements one by one. @returns the rows of the last one. @throws StatementFailure; the signal's reason */
export async function runStatements(
  { client, signal }: Pick<RunContext, "client" | "signal">,
  script: MigrationScript,
): Promise<readonly object[]> {
  let rows: readonly object[] = [];
  for (const statement of script.statements) {
    signal?.throwIfAborted();
    try {
      ({ rows } = await client.query<object>(statement.text));
    } catch (error) {
      throw new StatementFailure(script, statement, error);
    }
  }
  return rows;
}

/** Settings of the connection that migrates, so that neither a role's nor the server's own defaults change the outcome. */
export async function prepareSession(client: ClientBase): Promise<void> {
  await client.query("set search_path = public");
  await client.query("set statement_timeout = 0");
  await client.query("set idle_in_transaction_session_timeout = 0");
  await client.query("set client_min_messages = warning");
}

const CANCEL_INTERVAL_MS = 200;

/**
 * Asks the server to cancel what session `pid` is doing, until `done`: a request that arrives between two statements is
 * lost. On a connection of its own, because the pool may have none to spare.
 */
async function cancelUntil(context: RunContext, pid: number, done: AbortSignal): Promise<void> {
  const { host, port, database, user, password, ssl } = context.pool.options;
  const canceller = new Client({ host, port, database, user, password, ssl });
  canceller.on("error", () => {});
  try {
    await canceller.connect();
    while (!done.aborted) {
      await canceller.query("select pg_cancel_backend($1)", [pid]);
      await context.clock.sleep(CANCEL_INTERVAL_MS, done);
    }
  } catch (error) {
    if (!done.aborted) context.log.warn("migration.cancel.failed", { message: messageOf(error) });
  } finally {
    await canceller.end().catch(() => {});
  }
}

/** Runs `work` and, when the signal aborts, has the server cancel it. */
async function cancellable<T>(context: RunContext, work: () => Promise<T>): Promise<T> {
  const { client, signal } = context;
  if (signal === undefined) return await work();
  signal.throwIfAborted();
  const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
  const pid = rows[0]?.pid ?? 0;
  const done = new AbortController();
  const cancelling: Promise<void>[] = [];
  const onAbort = (): void => {
    cancelling.push(cancelUntil(context, pid, done.signal));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await work();
  } finally {
    signal.removeEventListener("abort", onAbort);
    done.abort();
    await Promise.all(cancelling);
  }
}

async function inTransaction(context: RunContext, work: () => Promise<void>): Promise<void> {
  const { client } = context;
  await client.query("begin");
  try {
    await client.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await cancellable(context, work);
    await client.query("commit");
  } catch (error) {
    const cause = error instanceof StatementFailure ? error.cause : error;
    if (!isConnectionLoss(cause)) await client.query("rollback");
    throw error;
  }
}

async function runTransactional(context: RunContext, id: string, work: () => Promise<void>): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await inTransaction(context, work);
      return;
    } catch (error) {
      const cause = error instanceof StatementFailure ? error.cause : error;
      const delayMs = LOCK_RETRY_DELAYS_MS[attempt];
      if (delayMs === undefined || !RETRYABLE_STATES.has(sqlStateOf(cause) ?? "")) throw error;
      context.report({ event: "migration.retried", id, reason: messageOf(cause), delayMs });
      await context.clock.sleep(delayMs, context.signal);
    }
  }
}

/**
 * Removes what an interrupted CREATE INDEX CONCURRENTLY left: an INVALID index, which IF NOT EXISTS would take for done.
 * @throws FulaError FULA_INDEX_BUSY when somebody is still building it.
 */
async function dropInvalidIndex(context: RunContext, id: string, index: string): Promise<void> {
  const [state] = await readIndexStates(context.client, [index]);
  if (state === undefined || state.valid) return;
  if (state.builder !== null) {
    throw new FulaError(
      "FULA_INDEX_BUSY",
      `Index ${index} is being built by session ${state.builder.pid} (${state.builder.applicationName}).`,
      { hint: "wait until that build is done, then run migrate up again.", details: { index, ...state.builder } },
    );
  }
  await cancellable(
    context,
    async () => await context.client.query(`drop index concurrently if exists public.${quoteIdentifier(index)}`),
  );
  context.report({ event: "index.dropped", id, index });
}

async function runAutocommit(context: RunContext, id: string, script: MigrationScript): Promise<void> {
  // CREATE INDEX CONCURRENTLY blocks nobody while it waits for old transactions, so it may wait as long as it must.
  await context.client.query("set lock_timeout = 0");
  for (const statement of script.statements) {
    const index = concurrentIndexOf(statement.text);
    if (index !== null) {
      await dropInvalidIndex(context, id, index);
    }
    const run = async (): Promise<void> => {
      await runStatements(context, { ...script, statements: [statement] });
    };
    await cancellable(context, async () => {
      await (index === null
        ? run()
        : watchIndexBuild(
            context,
            (phase) => {
              context.report({ event: "index.building", id, index, phase });
            },
            run,
          ));
    });
  }
}

/** Applies one migration and writes its row. @throws StatementFailure, FulaError FULA_INDEX_BUSY */
export async function applyMigration(context: RunContext, migration: Migration): Promise<number> {
  const { client, clock, toolVersion } = context;
  const id = migrationId(migration);
  context.report({ event: "migration.started", id, direction: "up" });
  const startMs = clock.monotonicMs();
  const record = async (): Promise<void> => {
    await recordMigration(client, migration, {
      durationMs: clock.monotonicMs() - startMs,
      toolVersion,
      how: "applied",
    });
  };
  if (migration.up.transactional) {
    await runTransactional(context, id, async () => {
      await runStatements(context, migration.up);
      await record();
    });
  } else {
    await runAutocommit(context, id, migration.up);
    await record();
  }
  const durationMs = Math.round(clock.monotonicMs() - startMs);
  context.report({ event: "migration.done", id, direction: "up", durationMs });
  return durationMs;
}

/** Runs a `-- no-transaction` migration's statements again, to rebuild an index that is not valid. Its row stays. */
export async function rebuildIndexes(context: RunContext, migration: Migration): Promise<void> {
  await runAutocommit(context, migrationId(migration), migration.up);
}

/** Reverts one migration and removes its row. `check` runs first, in the same transaction where there is one. */
export async function revertMigration(
  context: RunContext,
  migration: Migration,
  check: () => Promise<void>,
): Promise<number> {
  const { client, clock } = context;
  const id = migrationId(migration);
  const script = migration.down;
  if (script === null) throw new Error(`${id} has no down file, and the plan let it through`);
  context.report({ event: "migration.started", id, direction: "down" });
  const startMs = clock.monotonicMs();
  if (script.transactional) {
    await runTransactional(context, id, async () => {
      await check();
      await runStatements(context, script);
      await forgetMigration(client, migration.version);
    });
  } else {
    await check();
    await runAutocommit(context, id, script);
    await forgetMigration(client, migration.version);
  }
  const durationMs = Math.round(clock.monotonicMs() - startMs);
  context.report({ event: "migration.done", id, direction: "down", durationMs });
  return durationMs;
}
