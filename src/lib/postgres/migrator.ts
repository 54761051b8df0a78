import type { ClientBase, Pool } from "pg";
import { type Clock, systemClock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { type Log, silentLog } from "../kernel/log.ts";
import { toolVersion } from "../kernel/project.ts";
import { type LockWait, type SessionInfo, withAdvisoryLock } from "./advisory-lock.ts";
import { formatTarget, targetOf } from "./database-errors.ts";
import { concurrentIndexOf, droppedIndexOf, readIndexStates } from "./index-health.ts";
import { loadMigrations, type Migration, migrationId } from "./migration-files.ts";
import { type AppliedMigration, ensureHistoryTable, readHistory } from "./migration-history.ts";
import { planUp } from "./migration-plan.ts";
import {
  applyMigration,
  explainFailure,
  type MigrationEvent,
  prepareSession,
  rebuildIndexes,
  type RunContext,
} from "./migration-run.ts";

/** Session lock of whoever changes the schema; one number below it would be the cron family's lease of old masters. */
export const MIGRATION_LOCK_KEY = 815_551_002n;
/** How long a second installer waits for the first. Building an index on a large ledger takes minutes. */
export const LOCK_WAIT_MS = 300_000;

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

/** One migration that a run applied or reverted, or would. */
export interface MigrationStep {
  readonly version: number;
  readonly name: string;
  /** 0 in a plan. */
  readonly durationMs: number;
}

/** An index that a migration makes and that is not usable, or not there. */
export interface BrokenIndex {
  readonly index: string;
  /** Id of the migration that makes it: `018_hourly_dedup_index`. */
  readonly migration: string;
  readonly state: "invalid" | "missing";
}

/** What `migrate up` did, or with `dryRun` would do. */
export interface UpReport {
  readonly dryRun: boolean;
  readonly applied: readonly MigrationStep[];
  /** Indexes of migrations already in effect that were (or would be) dropped and built again. */
  readonly mended: readonly BrokenIndex[];
  /** Migrations of a newer, compatible build that are in effect and unknown here. */
  readonly newer: readonly string[];
  /** Highest version in effect afterwards; null for none. */
  readonly version: number | null;
}

/** Describes a session for a message: `fula-master/migrate@fula-2 (pid 4711, 10.0.0.2)`. */
export function describeSession(session: SessionInfo | null): string {
  if (session === null) return "another session";
  const name = session.applicationName === "" ? `a session of ${session.user}` : session.applicationName;
  const from = session.clientAddress === null ? "" : `, ${session.clientAddress}`;
  return `${name} (pid ${session.pid}${from})`;
}

function lockWait(pool: Pool, options: MigrateOptions): LockWait {
  return {
    clock: options.clock ?? systemClock,
    signal: options.signal,
    waitMs: options.lockWaitMs ?? LOCK_WAIT_MS,
    onWaiting: (holder, waitedMs) => {
      options.report?.({ event: "lock.waiting", holder: describeSession(holder), waitedMs });
    },
    onTimeout: (holder, waitedMs) =>
      new FulaError(
        "FULA_MIGRATION_LOCKED",
        `Cannot change the schema of ${formatTarget(targetOf(pool))}: ${describeSession(holder)} holds the migration lock` +
          `${holder?.connectedAt === null || holder === null ? "" : ` since ${holder.connectedAt}`}; waited ${Math.round(waitedMs / 1000)} s. Nothing was changed.`,
        {
          hint:
            holder === null
              ? "run the command again."
              : `wait for it to end and run the command again; if that installer is dead: select pg_terminate_backend(${holder.pid})`,
          details: { holder },
        },
      ),
  };
}

/** Runs `work` on a prepared connection that holds the migration lock. */
export async function withMigrationLock<T>(
  pool: Pool,
  options: MigrateOptions,
  work: (context: RunContext) => Promise<T>,
): Promise<T> {
  return await withAdvisoryLock(pool, MIGRATION_LOCK_KEY, lockWait(pool, options), async (client) => {
    await prepareSession(client);
    return await work({
      pool,
      client,
      clock: options.clock ?? systemClock,
      signal: options.signal,
      log: options.log ?? silentLog,
      toolVersion: toolVersion(),
      report: options.report ?? (() => {}),
    });
  });
}

/** Indexes that the migrations in effect build concurrently and that no later one of them drops, with their maker. */
function expectedIndexes(
  migrations: readonly Migration[],
  history: readonly AppliedMigration[],
): ReadonlyMap<string, Migration> {
  const inEffect = new Set(history.map(({ version }) => version));
  const expected = new Map<string, Migration>();
  for (const migration of migrations.filter(({ version }) => inEffect.has(version))) {
    for (const { text } of migration.up.statements) {
      const dropped = droppedIndexOf(text);
      if (dropped !== null) expected.delete(dropped);
      const created = concurrentIndexOf(text);
      if (created !== null) expected.set(created, migration);
    }
  }
  return expected;
}

/** Finds indexes that should be there and are INVALID or gone. An index that somebody is building now is not broken. */
export async function findBrokenIndexes(
  client: ClientBase,
  migrations: readonly Migration[],
  history: readonly AppliedMigration[],
): Promise<readonly BrokenIndex[]> {
  const expected = expectedIndexes(migrations, history);
  if (expected.size === 0) return [];
  const states = new Map((await readIndexStates(client, [...expected.keys()])).map((state) => [state.name, state]));
  return [...expected].flatMap(([index, migration]): readonly BrokenIndex[] => {
    const state = states.get(index);
    if (state === undefined) return [{ index, migration: migrationId(migration), state: "missing" }];
    return state.valid || state.builder !== null
      ? []
      : [{ index, migration: migrationId(migration), state: "invalid" }];
  });
}

async function mendIndexes(
  context: RunContext,
  migrations: readonly Migration[],
  broken: readonly BrokenIndex[],
): Promise<void> {
  const ids = new Set(broken.map(({ migration }) => migration));
  for (const migration of migrations.filter((candidate) => ids.has(migrationId(candidate)))) {
    try {
      await rebuildIndexes(context, migration);
    } catch (error) {
      throw explainFailure(error, migration, [], "applied");
    }
  }
}

async function applyAll(context: RunContext, pending: readonly Migration[]): Promise<readonly MigrationStep[]> {
  const steps: MigrationStep[] = [];
  for (const migration of pending) {
    try {
      const durationMs = await applyMigration(context, migration);
      steps.push({ version: migration.version, name: migration.name, durationMs });
    } catch (error) {
      throw explainFailure(error, migration, steps.map(migrationId), "applied");
    }
  }
  return steps;
}

function highest(versions: readonly number[]): number | null {
  return versions.length === 0 ? null : Math.max(...versions);
}

/** Brings a database that is empty or already ours up to date, on a connection that holds the lock. */
export async function runUp(
  context: RunContext,
  migrations: readonly Migration[],
  to: number | null,
): Promise<UpReport> {
  await ensureHistoryTable(context.client);
  const history = (await readHistory(context.client)) ?? [];
  const { pending, newer } = planUp(migrations, history, to);
  const mended = await findBrokenIndexes(context.client, migrations, history);
  await mendIndexes(context, migrations, mended);
  const applied = await applyAll(context, pending);
  return {
    dryRun: false,
    applied,
    mended,
    newer: newer.map(migrationId),
    version: highest([...history, ...applied].map(({ version }) => version)),
  };
}

/**
 * Applies every migration that is not in effect yet, in order, one installer at a time. Stops at the first that fails;
 * what was applied before it stays, and a further run goes on with it.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_DATABASE_FOREIGN, FULA_ADOPT_NEEDED,
 * FULA_MIGRATION_LOCKED, FULA_MIGRATION_CHANGED, FULA_MIGRATION_MISSING, FULA_SCHEMA_NEWER, FULA_MIGRATION_ABORTED,
 * FULA_MIGRATION_FAILED, FULA_INDEX_BUSY, FULA_MIGRATION_FILES
 */
export async function migrateUp(
  pool: Pool,
  options: MigrateOptions & { readonly to?: number } = {},
): Promise<UpReport> {
  const migrations = await loadMigrations(options.dir);
  return await withMigrationLock(
    pool,
    options,
    async (context) => await runUp(context, migrations, options.to ?? null),
  );
}
