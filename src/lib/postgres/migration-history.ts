import type { ClientBase } from "pg";
import { FulaError } from "../kernel/errors.ts";
import { formatVersion, type Migration } from "./migration-files.ts";

/** How a migration came to be in effect: run by us, or found in effect by `migrate adopt`. */
export type MigrationOrigin = "applied" | "adopted";

/** One row of `schema_migrations`. */
export interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  /** RFC 3339, UTC. */
  readonly appliedAt: string;
  readonly durationMs: number;
  /** Version of fula-master that wrote the row. */
  readonly toolVersion: string;
  readonly how: MigrationOrigin;
  readonly breaking: boolean;
}

const COLUMNS = [
  "version",
  "name",
  "checksum",
  "applied_at",
  "duration_ms",
  "tool_version",
  "how",
  "breaking",
] as const;

/** Creates `schema_migrations` where it is not there yet. */
export async function ensureHistoryTable(client: ClientBase): Promise<void> {
  await client.query(`
    create table if not exists public.schema_migrations (
      version integer primary key,
      name text not null,
      checksum text not null,
      applied_at timestamptz not null default now(),
      duration_ms bigint not null,
      tool_version text not null,
      how text not null constraint schema_migrations_how_check check (how in ('applied', 'adopted')),
      breaking boolean not null default false
    )`);
}

interface HistoryRow {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly applied_at: Date;
  readonly duration_ms: string;
  readonly tool_version: string;
  readonly how: MigrationOrigin;
  readonly breaking: boolean;
}

/**
 * Reads `schema_migrations`, lowest version first; null where there is no such table.
 * @throws FulaError FULA_DATABASE_FOREIGN when the table is another tool's.
 */
export async function readHistory(client: ClientBase): Promise<readonly AppliedMigration[] | null> {
  const { rows: columns } = await client.query<{ attname: string }>(
    `select attname from pg_attribute
      where attrelid = to_regclass('public.schema_migrations') and attnum > 0 and not attisdropped`,
  );
  if (columns.length === 0) return null;
  const names = new Set(columns.map(({ attname }) => attname));
  const missing = COLUMNS.filter((column) => !names.has(column));
  if (missing.length > 0) {
    throw new FulaError(
      "FULA_DATABASE_FOREIGN",
      `The table schema_migrations was made by another tool: it has no column ${missing.join(", ")}.`,
      { hint: "point fula-master at a database of its own (postgres.database, or --postgres-url)." },
    );
  }
  const { rows } = await client.query<HistoryRow>(
    `select ${COLUMNS.join(", ")} from public.schema_migrations order by version`,
  );
  return rows.map((row) => ({
    version: row.version,
    name: row.name,
    checksum: row.checksum,
    appliedAt: row.applied_at.toISOString(),
    durationMs: Number(row.duration_ms),
    toolVersion: row.tool_version,
    how: row.how,
    breaking: row.breaking,
  }));
}

/** Writes the row of a migration that is in effect; the primary key refuses a second one. */
export async function recordMigration(
  client: ClientBase,
  migration: Migration,
  facts: { readonly durationMs: number; readonly toolVersion: string; readonly how: MigrationOrigin },
): Promise<void> {
  await client.query(
    `insert into public.schema_migrations (version, name, checksum, duration_ms, tool_version, how, breaking)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [
      migration.version,
      migration.name,
      migration.checksum,
      Math.round(facts.durationMs),
      facts.toolVersion,
      facts.how,
      migration.breaking,
    ],
  );
}

/** Removes the row of a migration that was reverted. */
export async function forgetMigration(client: ClientBase, version: number): Promise<void> {
  const { rowCount } = await client.query("delete from public.schema_migrations where version = $1", [version]);
  if (rowCount !== 1) throw new Error(`schema_migrations had no row ${formatVersion(version)} to remove`);
}
