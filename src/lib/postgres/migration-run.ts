import { Client, DatabaseError, type ClientBase, type Pool, type PoolClient } from "pg";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { isConnectionLoss, sqlStateOf } from "./database-errors.ts";
import { concurrentIndexOf, quoteIdentifier, readIndexStates } from "./index-health.ts";
import { type Migration, migrationId, type MigrationScript } from "./migration-files.ts";
import { forgetMigration, recordMigration } from "./migration-history.ts";
import type { SqlStatement } from "./sql-split.ts";

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
// lock_not_available, deadlock_detected, serialization_failure: nothing was changed, and the next attempt may do it.
const RETRYABLE_STATES: ReadonlySet<string> = new Set(["55P03", "40P01", "40001"]);
// raise_exception: a check that the migration itself makes.
const RAISED_STATE = "P0001";

/** A statement of a migration that failed; `explainFailure` turns it into words once it is known what was applied. */
export class StatementFailure extends Error {
  readonly script: MigrationScript;
  readonly statement: SqlStatement;

  constructor(script: MigrationScript, statement: SqlStatement, cause: unknown) {
    super(messageOf(cause), { cause });
    this.script = script;
    this.statement = statement;
  }

  /** Line of the file at which the server stopped, or on which the statement begins where the server names no place. */
  get line(): number {
    const position = this.cause instanceof DatabaseError ? Number(this.cause.position) : Number.NaN;
    if (!Number.isInteger(position)) return this.statement.line;
    // The server counts characters from 1, not UTF-16 units.
    const before = Array.from(this.statement.text).slice(0, position - 1);
    return this.statement.line + before.filter((char) => char === "\n").length;
  }
}

/** Runs a script's statements one by one. @returns the rows of the last one. @throws StatementFailure */
export async function runStatements(client: ClientBase, script: MigrationScript): Promise<readonly object[]> {
  let rows: readonly object[] = [];
  for (const statement of script.statements) {
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

/** Runs `work` and, when the signal aborts, asks the server to cancel what `client` is doing. */
async function cancellable<T>(context: RunContext, work: () => Promise<T>): Promise<T> {
  const { client, pool, signal } = context;
  signal?.throwIfAborted();
  const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
  const pid = rows[0]?.pid;
  const onAbort = (): void => {
    // A connection of its own: the pool may have none to spare.
    const { host, port, database, user, password, ssl } = pool.options;
    const canceller = new Client({ host, port, database, user, password, ssl });
    canceller.on("error", () => {});
    void canceller
      .connect()
      .then(async () => await canceller.query("select pg_cancel_backend($1)", [pid]))
      .catch((error: unknown) => {
        context.log.warn("migration.cancel.failed", { message: messageOf(error) });
      })
      .finally(() => {
        void canceller.end().catch(() => {});
      });
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await work();
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

async function inTransaction(client: ClientBase, work: () => Promise<void>): Promise<void> {
  await client.query("begin");
  try {
    await client.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await work();
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
      await cancellable(context, async () => {
        await inTransaction(context.client, work);
      });
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
  await context.client.query(`drop index concurrently if exists public.${quoteIdentifier(index)}`);
  context.report({ event: "index.dropped", id, index });
}

async function runAutocommit(context: RunContext, id: string, script: MigrationScript): Promise<void> {
  // CREATE INDEX CONCURRENTLY blocks nobody while it waits for old transactions, so it may wait as long as it must.
  await context.client.query("set lock_timeout = 0");
  for (const statement of script.statements) {
    const index = concurrentIndexOf(statement.text);
    if (index !== null) {
      await dropInvalidIndex(context, id, index);
      context.report({ event: "index.building", id, index, phase: "started" });
    }
    await cancellable(context, async () => {
      await runStatements(context.client, { ...script, statements: [statement] });
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
      await runStatements(client, migration.up);
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
      await runStatements(client, script);
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

function describePlace(failure: StatementFailure): string {
  const first = failure.statement.text.split("\n", 1)[0] ?? "";
  return `${failure.script.fileName}:${failure.line} (${first.length > 80 ? `${first.slice(0, 79)}…` : first})`;
}

/** How far a run came when it stopped. */
export interface FailedRun {
  readonly migration: Migration;
  /** Ids of the migrations that the run had done. */
  readonly done: readonly string[];
  readonly verb: "applied" | "reverted";
  readonly signal: AbortSignal | undefined;
}

const BLOCKED_HINT =
  "end the transactions that hold the table (select pid, application_name, xact_start, query from pg_stat_activity order by xact_start), then run the command again.";

/** The error an operator gets for a run that stopped in the middle: what is in effect, what failed, where and why. */
export function explainFailure(error: unknown, run: FailedRun): unknown {
  const { migration, done, verb } = run;
  const id = migrationId(migration);
  const before = done.length === 0 ? `Nothing was ${verb} before it.` : `Before it, ${done.join(", ")} was ${verb}.`;
  if (run.signal?.aborted === true) {
    return new FulaError("FULA_INTERRUPTED", `Stopped in the middle of ${id}. ${before}`, {
      hint: "run the same command again; it goes on where it stopped.",
      cause: error,
      details: { [verb]: done, interrupted: id },
    });
  }
  if (!(error instanceof StatementFailure)) return error;
  const { cause } = error;
  if (isConnectionLoss(cause) || !(cause instanceof DatabaseError)) return cause;
  const details = {
    [verb]: done,
    failed: id,
    file: error.script.fileName,
    line: error.line,
    sqlState: cause.code,
    detail: cause.detail,
  };
  if (cause.code === RAISED_STATE) {
    const why = [cause.message, cause.detail, before].filter((part) => part !== undefined).join(" ");
    return new FulaError("FULA_MIGRATION_ABORTED", why, {
      hint: cause.hint ?? "mend the data that it names, then run the command again.",
      cause: error,
      details,
    });
  }
  return new FulaError(
    "FULA_MIGRATION_FAILED",
    `${id} failed at ${describePlace(error)}: ${cause.message} [${cause.code ?? "no SQLSTATE"}]. ${before}`,
    {
      hint: RETRYABLE_STATES.has(cause.code ?? "")
        ? BLOCKED_HINT
        : "mend what it names, then run the command again; it goes on with the migration that failed.",
      cause: error,
      details,
    },
  );
}
