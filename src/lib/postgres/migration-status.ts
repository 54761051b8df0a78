import type { Pool } from "pg";
import { type DatabaseTarget, targetOf } from "./database-errors.ts";
import { type DatabaseState, readDatabaseState } from "./database-state.ts";
import { type BrokenIndex, findBrokenIndexes } from "./index-health.ts";
import { loadMigrations, type Migration } from "./migration-files.ts";
import type { AppliedMigration } from "./migration-history.ts";
import { type MigrateOptions, withReadOnlySession } from "./migration-lock.ts";

/**
 * How one migration stands: in effect (`applied` by us, `adopted`), `pending`, `changed` (its file is not the one that
 * was applied), `missing` (in effect, file gone), `newer` or `newer-breaking` (a newer build applied it).
 */
export type MigrationStanding = "applied" | "adopted" | "pending" | "changed" | "missing" | "newer" | "newer-breaking";

/** One line of `migrate status`; the last three are null where it is not in effect. */
export interface MigrationStatus {
  readonly version: number;
  readonly name: string;
  readonly standing: MigrationStanding;
  /** RFC 3339, UTC. */
  readonly appliedAt: string | null;
  readonly durationMs: number | null;
  readonly toolVersion: string | null;
}

/** What `migrate status` answers. */
export interface StatusReport {
  readonly target: DatabaseTarget;
  readonly database: DatabaseState["kind"];
  /** Highest version in effect; null for none. */
  readonly version: number | null;
  /** True when nothing is pending and nothing is wrong. */
  readonly upToDate: boolean;
  readonly migrations: readonly MigrationStatus[];
  readonly brokenIndexes: readonly BrokenIndex[];
  /** What an incomplete database lacks. */
  readonly missingParts: readonly { readonly migration: string; readonly part: string }[];
}

const IN_ORDER: ReadonlySet<MigrationStanding> = new Set(["applied", "adopted", "newer"]);

function standingOf(
  migration: Migration | undefined,
  row: AppliedMigration | undefined,
  highestKnown: number,
): MigrationStanding {
  if (row === undefined) return "pending";
  if (migration !== undefined) return migration.checksum === row.checksum ? row.how : "changed";
  if (row.version < highestKnown) return "missing";
  return row.breaking ? "newer-breaking" : "newer";
}

/** Puts files and history side by side, lowest version first. Pure. */
export function compareHistory(
  migrations: readonly Migration[],
  history: readonly AppliedMigration[],
): readonly MigrationStatus[] {
  const files = new Map(migrations.map((migration) => [migration.version, migration]));
  const rows = new Map(history.map((row) => [row.version, row]));
  const highestKnown = migrations.at(-1)?.version ?? 0;
  return [...new Set([...files.keys(), ...rows.keys()])]
    .toSorted((a, b) => a - b)
    .map((version) => {
      const row = rows.get(version);
      const migration = files.get(version);
      return {
        version,
        name: migration?.name ?? row?.name ?? "",
        standing: standingOf(migration, row, highestKnown),
        appliedAt: row?.appliedAt ?? null,
        durationMs: row?.durationMs ?? null,
        toolVersion: row?.toolVersion ?? null,
      };
    });
}

/**
 * Reads how the database stands against the migrations of this build. Changes nothing and refuses nothing: what is
 * wrong is in the answer.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_DATABASE_FOREIGN, FULA_MIGRATION_FILES
 */
export async function migrationStatus(pool: Pool, options: MigrateOptions = {}): Promise<StatusReport> {
  const migrations = await loadMigrations(options.dir);
  return await withReadOnlySession(pool, options, async ({ client }) => {
    const state = await readDatabaseState(client, migrations);
    const history = state.kind === "managed" ? state.history : [];
    const lines = compareHistory(migrations, history);
    const brokenIndexes = await findBrokenIndexes(client, migrations, history);
    return {
      target: targetOf(pool),
      database: state.kind,
      version: history.at(-1)?.version ?? null,
      upToDate: brokenIndexes.length === 0 && lines.every(({ standing }) => IN_ORDER.has(standing)),
      migrations: lines,
      brokenIndexes,
      missingParts: state.kind === "incomplete" ? state.missing : [],
    };
  });
}
