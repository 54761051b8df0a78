import { join } from "node:path";
import type { Pool } from "pg";
import { FulaError } from "../kernel/errors.ts";
import { type Backup, type DumpTools, findDumpTools, takeBackup } from "./backup.ts";
import { formatTarget, targetOf } from "./database-errors.ts";
import { type DatabaseState, foreignDatabase, listSome, readDatabaseState } from "./database-state.ts";
import { type BrokenIndex, findBrokenIndexes } from "./index-health.ts";
import { type Blocker, findBlockers } from "./migration-checks.ts";
import { loadMigrations, type Migration, migrationId } from "./migration-files.ts";
import { ensureHistoryTable, recordMigration } from "./migration-history.ts";
import { type MigrateOptions, withMigrationLock, withReadOnlySession } from "./migration-lock.ts";
import type { RunContext } from "./migration-run.ts";
import { type MigrationStep, planUpdate, runUp, toStep } from "./migrator.ts";

/** Where the backup before the adoption goes, and what takes it. */
export interface BackupOptions {
  /** Folder: `<base dir>/backups`. */
  readonly dir: string;
  /** Looked at first for `pg_dump`. */
  readonly binDirs: readonly string[];
  /** The PATH of this run. */
  readonly path: string;
  readonly releaseRoots?: readonly string[];
  /** Tools that are known already: those in the container of the server. */
  readonly tools?: DumpTools;
}

/** What `adopt` takes. */
export interface AdoptOptions extends MigrateOptions {
  /** Null = no backup; the operator has said so. */
  readonly backup: BackupOptions | null;
}

/** What `migrate adopt` did, or with `dryRun` would do. */
export interface AdoptReport {
  readonly dryRun: boolean;
  /** True when the database had been adopted, or made by us, before. */
  readonly alreadyOurs: boolean;
  /** Ids of the migrations that were found in effect and recorded. */
  readonly adopted: readonly string[];
  readonly applied: readonly MigrationStep[];
  /** Indexes that an interrupted build left unusable, or that are gone. */
  readonly mended: readonly BrokenIndex[];
  /** What has to be mended by hand first; without `dryRun` always empty, because adopt refuses then. */
  readonly blockers: readonly Blocker[];
  /** The dump that was taken; null where none was, and in a plan. */
  readonly backup: Backup | null;
  readonly version: number | null;
}

function refuseAdoption(state: DatabaseState, where: string): never {
  if (state.kind === "empty") {
    throw new FulaError("FULA_ADOPT_EMPTY", `${where} has no tables: there is nothing to adopt.`, {
      hint: "fula-master migrate up lays the schema down.",
    });
  }
  if (state.kind === "foreign") throw foreignDatabase(state, where);
  const missing = state.kind === "incomplete" ? state.missing : [];
  throw new FulaError(
    "FULA_ADOPT_INCOMPLETE",
    `${where} has a part of the pinning service's tables, but lacks ${missing.length} thing(s) of the shape after its migration 017: ` +
      `${listSome(missing.map(({ part }) => part))}. Nothing was changed.`,
    {
      hint: "bring it to 017 with the migrations of the software that made it, then run adopt again; --json lists everything that is missing.",
      details: { missing },
    },
  );
}

/** A table that we may not alter would stop the run half-way, after the backup and the first migrations. */
async function requireOwnership({ client, pool }: RunContext): Promise<void> {
  const { rows } = await client.query<{ name: string; owner: string; me: string }>(
    `select c.relname::text as name, pg_get_userbyid(c.relowner)::text as owner, current_user::text as me
       from pg_class c
      where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
        and not pg_has_role(c.relowner, 'usage')
      order by 1`,
  );
  const [first] = rows;
  if (first === undefined) return;
  throw new FulaError(
    "FULA_DATABASE_PERMISSION",
    `${first.me} may not change the tables of ${formatTarget(targetOf(pool))}: ${listSome(rows.map(({ name, owner }) => `${name} belongs to ${owner}`))}. Nothing was changed.`,
    {
      hint: `connect as the owner: --postgres-url postgresql://${first.owner}@…, or: grant ${first.owner} to ${first.me}`,
    },
  );
}

async function serverMajor({ client }: RunContext): Promise<number> {
  const { rows } = await client.query<{ major: number }>(
    "select current_setting('server_version_num')::integer / 10000 as major",
  );
  return rows[0]?.major ?? 0;
}

function backupPath(dir: string, nowMs: number): string {
  const stamp = new Date(nowMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  return join(dir, `pre-adopt-${stamp}Z.dump`);
}

async function requireDumpTools(context: RunContext, options: BackupOptions): Promise<DumpTools> {
  const major = await serverMajor(context);
  const tools = options.tools ?? (await findDumpTools(major, options));
  if (tools !== null) return tools;
  throw new FulaError(
    "FULA_BACKUP_TOOL",
    `There is no pg_dump of PostgreSQL ${major} or newer here to take a backup with. Nothing was changed.`,
    {
      hint: `apt install postgresql-client-${major} (or set postgres.binDir); or take a backup yourself and add --no-backup.`,
      details: { serverMajor: major },
    },
  );
}

async function backUp(context: RunContext, options: BackupOptions, tools: DumpTools): Promise<Backup> {
  const path = backupPath(options.dir, context.clock.nowMs());
  context.report({ event: "backup.started", path });
  const backup = await takeBackup(context.pool, path, tools, context.signal);
  context.report({ event: "backup.done", path, bytes: backup.bytes });
  return backup;
}

async function recordAdopted(context: RunContext, inEffect: readonly Migration[]): Promise<void> {
  const { client, toolVersion } = context;
  await client.query("begin");
  await ensureHistoryTable(client);
  for (const migration of inEffect) {
    await recordMigration(client, migration, { durationMs: 0, toolVersion, how: "adopted" });
  }
  await client.query("commit");
}

type Adoptable = Extract<DatabaseState, { kind: "adoptable" }>;

function requireAdoptable(state: DatabaseState, pool: Pool): Adoptable {
  return state.kind === "adoptable" ? state : refuseAdoption(state, formatTarget(targetOf(pool)));
}

function refuseBlockers(blockers: readonly Blocker[]): void {
  const [first] = blockers;
  if (first === undefined) return;
  const list = blockers.map(({ message, detail }) => (detail === null ? message : `${message} ${detail}`)).join(" ");
  throw new FulaError("FULA_MIGRATION_ABORTED", `${list} Nothing was changed.`, {
    hint: first.hint ?? "mend the data that it names, then run the command again.",
    details: { blockers },
  });
}

/**
 * Takes over the database of an existing pinning service: finds out by the migrations' probes how far it is, takes a
 * backup, records what is in effect, and applies the rest. Run again after an interruption, it goes on where it stopped.
 * @throws FulaError FULA_ADOPT_EMPTY, FULA_ADOPT_INCOMPLETE, FULA_DATABASE_FOREIGN, FULA_BACKUP_TOOL, FULA_BACKUP_FAILED,
 * and what `migrateUp` throws
 */
export async function adopt(pool: Pool, options: AdoptOptions): Promise<AdoptReport> {
  const migrations = await loadMigrations(options.dir);
  return await withMigrationLock(pool, options, async (context) => {
    const { client } = context;
    const state = await readDatabaseState(client, migrations);
    if (state.kind === "managed") {
      const report = await runUp(context, migrations, null);
      return { ...report, alreadyOurs: true, adopted: [], blockers: [], backup: null };
    }
    const { inEffect, pending } = requireAdoptable(state, pool);
    await requireOwnership(context);
    await client.query("begin read only");
    const blockers = await findBlockers(context, pending);
    await client.query("rollback");
    refuseBlockers(blockers);
    const tools = options.backup === null ? null : await requireDumpTools(context, options.backup);
    const backup = options.backup === null || tools === null ? null : await backUp(context, options.backup, tools);
    await recordAdopted(context, inEffect);
    const report = await runUp(context, migrations, null);
    return { ...report, alreadyOurs: false, adopted: inEffect.map(migrationId), blockers, backup };
  });
}

/** What `adopt` would do; writes nothing, and lists what stands in the way instead of refusing. @throws as `adopt` */
export async function planAdopt(pool: Pool, options: AdoptOptions): Promise<AdoptReport> {
  const migrations = await loadMigrations(options.dir);
  return await withReadOnlySession(pool, options, async (context) => {
    const state = await readDatabaseState(context.client, migrations);
    if (state.kind === "managed") {
      const plan = await planUpdate(context, migrations, state.history, null);
      return { ...plan, alreadyOurs: true, adopted: [], backup: null };
    }
    const { inEffect, pending } = requireAdoptable(state, pool);
    await requireOwnership(context);
    if (options.backup !== null) await requireDumpTools(context, options.backup);
    const everything = migrations.map(({ version }) => ({ version }));
    const indexes = await findBrokenIndexes(context.client, migrations, everything);
    return {
      dryRun: true,
      alreadyOurs: false,
      adopted: inEffect.map(migrationId),
      applied: pending.map(toStep),
      mended: indexes.filter(({ state: broken }) => broken === "invalid"),
      blockers: await findBlockers(context, pending),
      backup: null,
      version: migrations.at(-1)?.version ?? null,
    };
  });
}
