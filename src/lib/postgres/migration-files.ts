import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { PROJECT_ROOT } from "../kernel/project.ts";
import { normalizeStatement, splitStatements, type SqlStatement } from "./sql-split.ts";

/** Where the package keeps its migrations. */
const MIGRATIONS_DIR: string = join(PROJECT_ROOT, "migrations");

/** One SQL file, cut into statements. */
export interface MigrationScript {
  readonly fileName: string;
  readonly statements: readonly SqlStatement[];
  /** False with `-- no-transaction`: each statement commits by itself, so each must bear being run again. */
  readonly transactional: boolean;
}

/** One numbered change of the schema, with what belongs to it. docs/migrations.md describes the files and markers. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly up: MigrationScript;
  /** SHA-256 of the up file, lower-case hex, line ends as "\n". */
  readonly checksum: string;
  /** An older build must not run on a database that has it. */
  readonly breaking: boolean;
  /** `migrate adopt` cannot apply it to a database in use; it must be in effect there already. */
  readonly baseline: boolean;
  readonly down: MigrationScript | null;
  /** Statements of which the last one returns what `down` would lose: rows of (what text, rows bigint). */
  readonly guard: MigrationScript | null;
  /** Statements of which the last one returns what the migration makes: rows of (part text, present boolean). */
  readonly probe: MigrationScript | null;
}

const FILE_NAME = /^(?<version>\d{3,6})_(?<name>[a-z0-9_]+)(?<role>\.down|\.guard|\.probe)?\.sql$/;
const MARKER = /^-- (?<marker>no-transaction|breaking|baseline)\s*$/gm;
const TRANSACTION_CONTROL = /^(?:begin|commit|rollback|start transaction|savepoint|release|abort|end)\b/i;

/** `18` → `018`: how a version is written in file names and messages. */
export function formatVersion(version: number): string {
  return String(version).padStart(3, "0");
}

/** `018_hourly_dedup_index`. */
export function migrationId(migration: { readonly version: number; readonly name: string }): string {
  return `${formatVersion(migration.version)}_${migration.name}`;
}

function refuseFiles(message: string): never {
  throw new FulaError("FULA_MIGRATION_FILES", message, {
    hint: "install fula-master anew; in a working copy, see docs/migrations.md for how the files are named.",
  });
}

function parseScript(fileName: string, sql: string): MigrationScript {
  const statements = splitStatements(sql);
  const control = statements.find(({ text }) => TRANSACTION_CONTROL.test(normalizeStatement(text)));
  if (control !== undefined) {
    refuseFiles(`${fileName}:${control.line} controls transactions itself; the runner does that.`);
  }
  return { fileName, statements, transactional: !markersOf(sql).has("no-transaction") };
}

function markersOf(sql: string): ReadonlySet<string> {
  return new Set([...sql.matchAll(MARKER)].map((match) => match.groups?.["marker"] ?? ""));
}

interface Files {
  readonly version: number;
  readonly name: string;
  readonly textByRole: Map<string, string>;
}

async function readFiles(dir: string): Promise<readonly Files[]> {
  const byVersion = new Map<number, Files>();
  for (const fileName of (await readdir(dir)).toSorted()) {
    if (!fileName.endsWith(".sql")) continue;
    const groups = FILE_NAME.exec(fileName)?.groups;
    const name = groups?.["name"];
    if (groups === undefined || name === undefined) return refuseFiles(`${fileName} is not named NNN_name.sql.`);
    const version = Number(groups["version"]);
    const files = byVersion.get(version) ?? { version, name, textByRole: new Map<string, string>() };
    if (files.name !== name)
      refuseFiles(`Two migrations have the number ${formatVersion(version)}: ${files.name} and ${name}.`);
    const text = await readFile(join(dir, fileName), "utf8");
    files.textByRole.set(groups["role"] ?? "up", text.replaceAll("\r\n", "\n"));
    byVersion.set(version, files);
  }
  return [...byVersion.values()].toSorted((a, b) => a.version - b.version);
}

function toMigration({ version, name, textByRole }: Files): Migration {
  const id = migrationId({ version, name });
  const upSql = textByRole.get("up") ?? refuseFiles(`${id}.sql is missing, but other files of ${id} are there.`);
  const part = (role: string): MigrationScript | null => {
    const sql = textByRole.get(role);
    return sql === undefined ? null : parseScript(`${id}${role}.sql`, sql);
  };
  const markers = markersOf(upSql);
  return {
    version,
    name,
    up: parseScript(`${id}.sql`, upSql),
    checksum: createHash("sha256").update(upSql).digest("hex"),
    breaking: markers.has("breaking"),
    baseline: markers.has("baseline"),
    down: part(".down"),
    guard: part(".guard"),
    probe: part(".probe"),
  };
}

/**
 * Reads every migration of a folder, lowest number first.
 * @throws FulaError FULA_MIGRATION_FILES when the folder is missing or its files do not fit together.
 */
export async function loadMigrations(dir: string = MIGRATIONS_DIR): Promise<readonly Migration[]> {
  try {
    return (await readFiles(dir)).map(toMigration);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return refuseFiles(`There is no folder ${dir}.`);
    throw error;
  }
}
