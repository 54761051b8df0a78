import type { ClientBase } from "pg";
import { type Migration, migrationId } from "./migration-files.ts";
import type { AppliedMigration } from "./migration-history.ts";
import { normalizeStatement } from "./sql-split.ts";

/** A session that is building an index right now. */
export interface IndexBuilder {
  readonly pid: number;
  readonly applicationName: string;
}

/** How an index stands in the catalog. */
export interface IndexState {
  readonly name: string;
  /** False when a CREATE INDEX CONCURRENTLY was interrupted, or is still running (then `builder` is set). */
  readonly valid: boolean;
  readonly builder: IndexBuilder | null;
}

const IDENTIFIER = String.raw`(?:"(?<quoted>(?:[^"]|"")+)"|(?<plain>[a-z_][\w$]*))`;
const CREATE_INDEX = new RegExp(
  String.raw`^create (?:unique )?index (?<concurrently>concurrently )?(?:if not exists )?${IDENTIFIER} on `,
  "i",
);
const DROP_INDEX = new RegExp(
  String.raw`^drop index (?:concurrently )?(?:if exists )?(?:public\.)?${IDENTIFIER}(?: |$)`,
  "i",
);

function identifierOf(groups: Record<string, string | undefined> | undefined): string | null {
  if (groups?.["quoted"] !== undefined) return groups["quoted"].replaceAll('""', '"');
  return groups?.["plain"]?.toLowerCase() ?? null;
}

/** The index that a CREATE INDEX CONCURRENTLY makes; null for any other statement. */
export function concurrentIndexOf(statement: string): string | null {
  const groups = CREATE_INDEX.exec(normalizeStatement(statement))?.groups;
  return groups?.["concurrently"] === undefined ? null : identifierOf(groups);
}

/** The index that a DROP INDEX removes; null for any other statement. */
export function droppedIndexOf(statement: string): string | null {
  return identifierOf(DROP_INDEX.exec(normalizeStatement(statement))?.groups);
}

/** Quotes a name for use in a statement. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** State of the named indexes of schema public that exist; a name that is not in the answer does not exist. */
export async function readIndexStates(client: ClientBase, names: readonly string[]): Promise<readonly IndexState[]> {
  const { rows } = await client.query<{
    name: string;
    valid: boolean;
    pid: number | null;
    application_name: string | null;
  }>(
    `select c.relname::text as name, i.indisvalid and i.indisready and i.indislive as valid, p.pid, a.application_name
       from pg_index i
       join pg_class c on c.oid = i.indexrelid
       left join pg_stat_progress_create_index p on p.index_relid = i.indexrelid
       left join pg_stat_activity a on a.pid = p.pid
      where c.relnamespace = 'public'::regnamespace and c.relname = any($1)`,
    [names],
  );
  return rows.map(({ name, valid, pid, application_name: applicationName }) => ({
    name,
    valid,
    builder: pid === null ? null : { pid, applicationName: applicationName ?? "" },
  }));
}

/** An index that a migration in effect makes and that is not usable, or not there. */
export interface BrokenIndex {
  readonly index: string;
  /** Id of the migration that makes it: `018_hourly_dedup_index`. */
  readonly migration: string;
  readonly state: "invalid" | "missing";
}

/** Indexes that the migrations in effect build concurrently and that no later one of them drops, with their maker. */
function expectedIndexes(
  migrations: readonly Migration[],
  history: readonly Pick<AppliedMigration, "version">[],
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

/** Finds indexes that should be there and are INVALID or gone. One that somebody is building now is not broken. */
export async function findBrokenIndexes(
  client: ClientBase,
  migrations: readonly Migration[],
  history: readonly Pick<AppliedMigration, "version">[],
): Promise<readonly BrokenIndex[]> {
  const expected = expectedIndexes(migrations, history);
  const states = new Map((await readIndexStates(client, [...expected.keys()])).map((state) => [state.name, state]));
  return [...expected].flatMap(([index, migration]): readonly BrokenIndex[] => {
    const state = states.get(index);
    if (state === undefined) return [{ index, migration: migrationId(migration), state: "missing" }];
    return state.valid || state.builder !== null
      ? []
      : [{ index, migration: migrationId(migration), state: "invalid" }];
  });
}
