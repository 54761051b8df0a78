import { DatabaseError } from "pg";
import { type Migration, migrationId } from "./migration-files.ts";
import type { RunContext } from "./migration-run.ts";
import { normalizeStatement } from "./sql-split.ts";

/** Data that a pending migration would refuse to touch. */
export interface Blocker {
  /** Id of the migration: `023_unique_keys`. */
  readonly migration: string;
  readonly message: string;
  /** What was found, such as the duplicates; null where the check does not say. */
  readonly detail: string | null;
  readonly hint: string | null;
}

// A block tagged `$check$` only reads, and raises an exception when the migration must not run.
const CHECK = /^do \$check\$/i;
// raise_exception
const RAISED_STATE = "P0001";

/**
 * Runs the checks of pending migrations ahead of time, so that a plan can say what stands in the way before anything
 * is changed. Needs an open transaction; leaves it as it was. A check that cannot run yet, because it needs what an
 * earlier pending migration makes, is left to its migration.
 */
export async function findBlockers({ client }: RunContext, pending: readonly Migration[]): Promise<readonly Blocker[]> {
  const blockers: Blocker[] = [];
  for (const migration of pending) {
    for (const { text } of migration.up.statements.filter((each) => CHECK.test(normalizeStatement(each.text)))) {
      await client.query("savepoint migration_check");
      try {
        await client.query(text);
      } catch (error) {
        if (!(error instanceof DatabaseError)) throw error;
        if (error.code === RAISED_STATE) {
          blockers.push({
            migration: migrationId(migration),
            message: error.message,
            detail: error.detail ?? null,
            hint: error.hint ?? null,
          });
        }
      }
      await client.query("rollback to savepoint migration_check");
    }
  }
  return blockers;
}
