import type { Pool } from "pg";
import { FulaError } from "../kernel/errors.ts";
import { formatTarget, targetOf } from "./database-errors.ts";
import { foreignDatabase, readDatabaseState } from "./database-state.ts";
import { type BrokenIndex, findBrokenIndexes } from "./index-health.ts";
import { type Blocker, findBlockers } from "./migration-checks.ts";
import { loadMigrations, type Migration, migrationId } from "./migration-files.ts";
import { type AppliedMigration, ensureHistoryTable } from "./migration-history.ts";
import { explainFailure } from "./migration-failure.ts";
import { type MigrateOptions, withMigrationLock, withReadOnlySession } from "./migration-lock.ts";
import { planDown, planUp } from "./migration-plan.ts";
import { applyMigration, rebuildIndexes, revertMigration, type RunContext, runStatements } from "./migration-run.ts";

/** One migration that a run applied or reverted, or would. */
export interface MigrationStep {
  readonly version: number;
  readonly name: string;
  /** 0 in a plan. */
  readonly durationMs: number;
}

/** What `migrate up` did, or with `dryRun` would do. */
export interface UpReport {
  readonly dryRun: boolean;
  readonly applied: readonly MigrationStep[];
  /** Indexes of migrations already in effect that were, or would be, built again. */
  readonly mended: readonly BrokenIndex[];
  /** Ids of migrations of a newer, compatible build that are in effect and unknown here. */
  readonly newer: readonly string[];
  /** Highest version in effect afterwards; null for none. */
  readonly version: number | null;
}

/** What `migrate up --dry-run` answers. */
export interface UpPlanReport extends UpReport {
  /** Data that has to be mended by hand before the migration that names it can run. */
  readonly blockers: readonly Blocker[];
}

/** Something that `migrate down` destroys. */
export interface Loss {
  /** Id of the migration whose reverting destroys it. */
  readonly migration: string;
  /** What, in the words of its guard: "bucket_roots: roots of buckets". */
  readonly what: string;
  /** How many rows; a bigint as text. */
  readonly rows: string;
}

/** What `migrate down` did, or with `dryRun` would do. */
export interface DownReport {
  readonly dryRun: boolean;
  readonly reverted: readonly MigrationStep[];
  readonly losses: readonly Loss[];
  readonly version: number | null;
}

function highest(versions: readonly number[]): number | null {
  return versions.length === 0 ? null : Math.max(...versions);
}

/** A migration as a line of a plan. */
export function toStep({ version, name }: Migration): MigrationStep {
  return { version, name, durationMs: 0 };
}

/** The history of a database that is ours, or has nothing in it yet. @throws FULA_ADOPT_NEEDED, FULA_DATABASE_FOREIGN */
async function historyOf(
  { client, pool }: RunContext,
  migrations: readonly Migration[],
): Promise<readonly AppliedMigration[]> {
  const state = await readDatabaseState(client, migrations);
  if (state.kind === "empty") return [];
  if (state.kind === "managed") return state.history;
  const where = formatTarget(targetOf(pool));
  if (state.kind === "foreign") throw foreignDatabase(state, where);
  throw new FulaError(
    "FULA_ADOPT_NEEDED",
    `${where} is an existing pinning service's database without a record of its migrations. Nothing was changed.`,
    { hint: "fula-master migrate adopt --dry-run shows what adopting it would do; then run it without --dry-run." },
  );
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
      throw explainFailure(error, { migration, done: [], verb: "applied", signal: context.signal });
    }
  }
}

async function applyAll(context: RunContext, pending: readonly Migration[]): Promise<readonly MigrationStep[]> {
  const steps: MigrationStep[] = [];
  for (const migration of pending) {
    try {
      steps.push({ ...toStep(migration), durationMs: await applyMigration(context, migration) });
    } catch (error) {
      throw explainFailure(error, { migration, done: steps.map(migrationId), verb: "applied", signal: context.signal });
    }
  }
  return steps;
}

/** Brings a database that is empty or ours up to date, on a connection that holds the lock; `adopt` ends with it. */
export async function runUp(
  context: RunContext,
  migrations: readonly Migration[],
  to: number | null,
): Promise<UpReport> {
  const history = await historyOf(context, migrations);
  const { pending, newer } = planUp(migrations, history, to);
  await ensureHistoryTable(context.client);
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
 * FULA_MIGRATION_FAILED, FULA_MIGRATION_FILES, FULA_INDEX_BUSY, FULA_INTERRUPTED
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

/** What `runUp` would do to a database with this history, read in an open transaction. */
export async function planUpdate(
  context: RunContext,
  migrations: readonly Migration[],
  history: readonly AppliedMigration[],
  to: number | null,
): Promise<UpPlanReport> {
  const { pending, newer } = planUp(migrations, history, to);
  return {
    dryRun: true,
    applied: pending.map(toStep),
    mended: await findBrokenIndexes(context.client, migrations, history),
    newer: newer.map(migrationId),
    blockers: await findBlockers(context, pending),
    version: highest([...history, ...pending].map(({ version }) => version)),
  };
}

/**
 * What `migrateUp` would do, and what would stop it; writes nothing and does not wait for another installer.
 * @throws as `migrateUp`
 */
export async function planMigrations(
  pool: Pool,
  options: MigrateOptions & { readonly to?: number } = {},
): Promise<UpPlanReport> {
  const migrations = await loadMigrations(options.dir);
  return await withReadOnlySession(pool, options, async (context) => {
    const history = await historyOf(context, migrations);
    return await planUpdate(context, migrations, history, options.to ?? null);
  });
}

function isLoss(row: object): row is { what: string; rows: string } {
  return "what" in row && typeof row.what === "string" && "rows" in row && typeof row.rows === "string";
}

/** What reverting would destroy. `lock` also takes the guard's table locks, for as long as the transaction lives. */
async function findLosses(context: RunContext, migration: Migration, lock: boolean): Promise<readonly Loss[]> {
  const { guard } = migration;
  if (guard === null) return [];
  const rows = await runStatements(context, lock ? guard : { ...guard, statements: guard.statements.slice(-1) });
  if (!rows.every(isLoss)) {
    throw new FulaError("FULA_MIGRATION_FILES", `${guard.fileName} does not return (what text, rows bigint).`);
  }
  return rows
    .filter((row) => row.rows !== "0")
    .map((row) => ({ migration: migrationId(migration), what: row.what, rows: row.rows }));
}

/** Refuses to destroy anything. @throws FulaError FULA_MIGRATION_LOSES_DATA */
export function refuseLosses(losses: readonly Loss[]): void {
  if (losses.length === 0) return;
  const list = losses.map(({ migration, what, rows }) => `${what}: ${rows} (${migration})`).join("; ");
  throw new FulaError("FULA_MIGRATION_LOSES_DATA", `Going down would lose ${list}. Nothing was changed.`, {
    hint: "take a backup (pg_dump -Fc) and add --force if that is what you want.",
    details: { losses },
  });
}

async function planReverting(
  context: RunContext,
  migrations: readonly Migration[],
  to: number | null,
): Promise<{ plan: readonly Migration[]; losses: readonly Loss[]; history: readonly AppliedMigration[] }> {
  const history = await historyOf(context, migrations);
  const plan = planDown(migrations, history, to);
  const losses: Loss[] = [];
  for (const migration of plan) {
    try {
      losses.push(...(await findLosses(context, migration, false)));
    } catch (error) {
      throw explainFailure(error, { migration, done: [], verb: "reverted", signal: context.signal });
    }
  }
  return { plan, losses, history };
}

async function revertAll(
  context: RunContext,
  plan: readonly Migration[],
  force: boolean,
): Promise<readonly MigrationStep[]> {
  const steps: MigrationStep[] = [];
  for (const migration of plan) {
    const check = async (): Promise<void> => {
      // Looked at again under the guard's locks: rows may have come since the plan was made.
      const losses = await findLosses(context, migration, migration.down?.transactional === true);
      if (!force) refuseLosses(losses);
    };
    try {
      steps.push({ ...toStep(migration), durationMs: await revertMigration(context, migration, check) });
    } catch (error) {
      throw explainFailure(error, {
        migration,
        done: steps.map(migrationId),
        verb: "reverted",
        signal: context.signal,
      });
    }
  }
  return steps;
}

/** What `migrate down` takes. */
export interface DownOptions extends MigrateOptions {
  /** Revert everything above this version; without it, only the newest migration. */
  readonly to?: number;
  /** Go on although data will be lost. */
  readonly force?: boolean;
}

/**
 * Reverts migrations, newest first, each with its down file. All guards are asked before the first one is reverted.
 * @throws FulaError FULA_MIGRATION_LOSES_DATA without `force`, FULA_MIGRATION_IRREVERSIBLE, and what `migrateUp` throws
 */
export async function migrateDown(pool: Pool, options: DownOptions = {}): Promise<DownReport> {
  const migrations = await loadMigrations(options.dir);
  const force = options.force === true;
  return await withMigrationLock(pool, options, async (context) => {
    const { plan, losses, history } = await planReverting(context, migrations, options.to ?? null);
    if (!force) refuseLosses(losses);
    const reverted = await revertAll(context, plan, force);
    const gone = new Set(reverted.map(({ version }) => version));
    return {
      dryRun: false,
      reverted,
      losses,
      version: highest(history.map(({ version }) => version).filter((version) => !gone.has(version))),
    };
  });
}

/** What `migrateDown` would revert and lose; writes nothing, and does not refuse losses. @throws as `migrateDown` */
export async function planMigrateDown(pool: Pool, options: DownOptions = {}): Promise<DownReport> {
  const migrations = await loadMigrations(options.dir);
  return await withReadOnlySession(pool, options, async (context) => {
    const { plan, losses, history } = await planReverting(context, migrations, options.to ?? null);
    const gone = new Set(plan.map(({ version }) => version));
    return {
      dryRun: true,
      reverted: plan.map(toStep),
      losses,
      version: highest(history.map(({ version }) => version).filter((version) => !gone.has(version))),
    };
  });
}
