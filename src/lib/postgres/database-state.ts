import type { ClientBase } from "pg";
import { FulaError } from "../kernel/errors.ts";
import { type Migration, migrationId } from "./migration-files.ts";
import { type AppliedMigration, readHistory } from "./migration-history.ts";

/** One thing that a migration makes, and whether it is there. */
export interface ProbedPart {
  readonly part: string;
  readonly present: boolean;
}

/** What the probes of the migrations found in a database that has no history; versions without a probe are left out. */
export type Probes = ReadonlyMap<number, readonly ProbedPart[]>;

/** Whose a database is, and how far. */
export type DatabaseState =
  /** No tables; migrate up starts from nothing. */
  | { readonly kind: "empty" }
  /** It has our history. */
  | { readonly kind: "managed"; readonly history: readonly AppliedMigration[] }
  /** Tables of the pinning service in the shape that adopt starts from; `inEffect` is what to record. */
  | { readonly kind: "adoptable"; readonly inEffect: readonly Migration[]; readonly pending: readonly Migration[] }
  /** Some of the pinning service's tables, but parts are missing. */
  | { readonly kind: "incomplete"; readonly missing: readonly { readonly migration: string; readonly part: string }[] }
  /** Tables, and none of them ours. */
  | { readonly kind: "foreign"; readonly tables: readonly string[] };

/** Tables, views and the like that stand in the database, without what belongs to the server or to an extension. */
async function listTables(client: ClientBase): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and c.oid is distinct from to_regclass('public.schema_migrations')
        and not exists (select from pg_depend d
                         where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
      order by 1`,
  );
  return rows.map(({ name }) => name);
}

function isPart(row: object): row is ProbedPart {
  return "part" in row && typeof row.part === "string" && "present" in row && typeof row.present === "boolean";
}

async function runProbe(client: ClientBase, migration: Migration): Promise<readonly ProbedPart[]> {
  let rows: readonly object[] = [];
  for (const { text } of migration.probe?.statements ?? []) ({ rows } = await client.query<object>(text));
  if (rows.length > 0 && rows.every(isPart)) return rows;
  throw new FulaError(
    "FULA_MIGRATION_FILES",
    `${migration.probe?.fileName} does not return (part text, present boolean).`,
  );
}

/** Judges a database without history by what the probes found. Pure. */
export function judgeProbes(
  migrations: readonly Migration[],
  probes: Probes,
  tables: readonly string[],
): DatabaseState {
  const partsOf = ({ version }: Migration): readonly ProbedPart[] => probes.get(version) ?? [];
  const baseline = migrations.filter((migration) => migration.baseline);
  if (!baseline.some((migration) => partsOf(migration).some(({ present }) => present)))
    return { kind: "foreign", tables };
  const inEffect = migrations.filter((migration) => {
    const parts = partsOf(migration);
    return parts.length > 0 && parts.every(({ present }) => present);
  });
  const pending = migrations.filter((migration) => !inEffect.includes(migration));
  // A later migration may be pending, but not half in effect: running it could not be told from having run it.
  const incomplete = pending.filter(
    (migration) => migration.baseline || partsOf(migration).some(({ present }) => present),
  );
  if (incomplete.length === 0) return { kind: "adoptable", inEffect, pending };
  return {
    kind: "incomplete",
    missing: incomplete.flatMap((migration) =>
      partsOf(migration)
        .filter(({ present }) => !present)
        .map(({ part }) => ({ migration: migrationId(migration), part })),
    ),
  };
}

/**
 * Finds out whose the database is.
 * @throws FulaError FULA_DATABASE_FOREIGN when schema_migrations is another tool's.
 */
export async function readDatabaseState(client: ClientBase, migrations: readonly Migration[]): Promise<DatabaseState> {
  const history = await readHistory(client);
  const tables = await listTables(client);
  // A history without rows beside tables is what a hand-made table looks like; it does not make the tables ours.
  if (history !== null && (history.length > 0 || tables.length === 0)) return { kind: "managed", history };
  if (tables.length === 0) return { kind: "empty" };
  const probes = new Map<number, readonly ProbedPart[]>();
  for (const migration of migrations) {
    if (migration.probe !== null) probes.set(migration.version, await runProbe(client, migration));
  }
  return judgeProbes(migrations, probes, tables);
}

const LISTED_MAX = 8;

/** `a, b, c and 4 more`. */
export function listSome(names: readonly string[]): string {
  if (names.length <= LISTED_MAX) return names.join(", ");
  return `${names.slice(0, LISTED_MAX).join(", ")} and ${names.length - LISTED_MAX} more`;
}

/** The refusal for tables that are not the pinning service's. */
export function foreignDatabase(state: Extract<DatabaseState, { kind: "foreign" }>, where: string): FulaError {
  return new FulaError(
    "FULA_DATABASE_FOREIGN",
    `${where} holds other tables (${listSome(state.tables)}) and none of the pinning service's. Nothing was changed.`,
    {
      hint: "point fula-master at a database of its own (postgres.database, or --postgres-url).",
      details: { tables: state.tables },
    },
  );
}
