import { FulaError } from "../kernel/errors.ts";
import { formatVersion, type Migration, migrationId } from "./migration-files.ts";
import type { AppliedMigration } from "./migration-history.ts";

/** What `migrate up` would do. */
export interface UpPlan {
  readonly pending: readonly Migration[];
  /** Migrations of a newer build that this one does not know and that allow older builds beside them. */
  readonly newer: readonly AppliedMigration[];
}

function namesOf(list: readonly { readonly version: number; readonly name: string }[]): string {
  return list.map(migrationId).join(", ");
}

function refuseChanged(known: ReadonlyMap<number, Migration>, history: readonly AppliedMigration[]): void {
  const changed = history.filter(({ version, checksum }) => {
    const migration = known.get(version);
    return migration !== undefined && migration.checksum !== checksum;
  });
  if (changed.length === 0) return;
  throw new FulaError(
    "FULA_MIGRATION_CHANGED",
    `The file of ${namesOf(changed)} is not the one that was applied to this database (its SHA-256 differs). Nothing was changed.`,
    {
      hint: "put the released file back and write the change as a new migration; a released migration is never edited.",
      details: {
        changed: changed.map(({ version, name, checksum }) => ({
          version,
          name,
          appliedChecksum: checksum,
          fileChecksum: known.get(version)?.checksum,
        })),
      },
    },
  );
}

function refuseMissing(highestKnown: number, unknown: readonly AppliedMigration[]): void {
  const missing = unknown.filter(({ version }) => version < highestKnown);
  if (missing.length === 0) return;
  throw new FulaError(
    "FULA_MIGRATION_MISSING",
    `The database has ${namesOf(missing)}, but this build has no such file although it has newer ones. Nothing was changed.`,
    { hint: "install fula-master anew; in a working copy, get the missing file back.", details: { missing } },
  );
}

function refuseNewerBreaking(highestKnown: number, unknown: readonly AppliedMigration[]): void {
  const breaking = unknown.findLast(({ version, breaking: isBreaking }) => version > highestKnown && isBreaking);
  if (breaking === undefined) return;
  throw new FulaError(
    "FULA_SCHEMA_NEWER",
    `The database is at migration ${formatVersion(breaking.version)} (breaking); this build knows up to ${formatVersion(highestKnown)}. Nothing was changed.`,
    {
      hint: `install fula-master ${breaking.toolVersion} or newer on this node.`,
      details: { databaseVersion: breaking.version, knownVersion: highestKnown, toolVersion: breaking.toolVersion },
    },
  );
}

/**
 * Checks that files and database fit together, whoever asks.
 * @returns the migrations of a newer build, each compatible with this one.
 * @throws FulaError FULA_MIGRATION_CHANGED, FULA_MIGRATION_MISSING, FULA_SCHEMA_NEWER
 */
function checkHistory(
  migrations: readonly Migration[],
  history: readonly AppliedMigration[],
): readonly AppliedMigration[] {
  const known = new Map(migrations.map((migration) => [migration.version, migration]));
  const highestKnown = migrations.at(-1)?.version ?? 0;
  const unknown = history.filter(({ version }) => !known.has(version));
  refuseMissing(highestKnown, unknown);
  refuseNewerBreaking(highestKnown, unknown);
  refuseChanged(known, history);
  return unknown;
}

function assertKnownVersion(migrations: readonly Migration[], to: number, also: readonly number[]): void {
  if (also.includes(to) || migrations.some(({ version }) => version === to)) return;
  throw new FulaError("FULA_USAGE", `There is no migration ${formatVersion(to)}.`, {
    hint: "fula-master migrate status lists them.",
  });
}

/**
 * What has to be applied, in order: every migration up to `to` that is not in effect, also one whose number is below
 * others that are (an adopted database may have 019 and not 018).
 * @throws FulaError FULA_USAGE for an unknown `to`, and what `checkHistory` throws.
 */
export function planUp(
  migrations: readonly Migration[],
  history: readonly AppliedMigration[],
  to: number | null = null,
): UpPlan {
  const newer = checkHistory(migrations, history);
  if (to !== null) assertKnownVersion(migrations, to, []);
  const applied = new Set(history.map(({ version }) => version));
  const pending = migrations.filter(({ version }) => !applied.has(version) && (to === null || version <= to));
  return { pending, newer };
}

/**
 * What has to be reverted, newest first: everything above `to`, or only the newest migration where `to` is null.
 * @throws FulaError FULA_MIGRATION_IRREVERSIBLE when one of them has no down file, and what `planUp` throws.
 */
export function planDown(
  migrations: readonly Migration[],
  history: readonly AppliedMigration[],
  to: number | null = null,
): readonly Migration[] {
  const newer = checkHistory(migrations, history);
  if (to !== null) assertKnownVersion(migrations, to, [0]);
  const versions = history.map(({ version }) => version).toSorted((a, b) => b - a);
  const chosen = to === null ? versions.slice(0, 1) : versions.filter((version) => version > to);
  const byVersion = new Map(migrations.map((migration) => [migration.version, migration]));
  const foreign = newer.filter(({ version }) => chosen.includes(version));
  if (foreign.length > 0) {
    throw new FulaError(
      "FULA_SCHEMA_NEWER",
      `Cannot revert ${namesOf(foreign)}: only the newer build that applied it has its down file. Nothing was changed.`,
      { hint: `run migrate down with fula-master ${foreign.at(-1)?.toolVersion ?? ""} or newer.` },
    );
  }
  const plan = chosen.flatMap((version) => byVersion.get(version) ?? []);
  const stuck = plan.filter(({ down }) => down === null);
  if (stuck.length > 0) {
    throw new FulaError(
      "FULA_MIGRATION_IRREVERSIBLE",
      `Cannot go down: ${namesOf(stuck)} has no down file. Nothing was changed.`,
      { hint: "go down only as far as the migration above it (--to), or restore a backup." },
    );
  }
  return plan;
}
