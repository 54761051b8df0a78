import { FulaError } from "../kernel/errors.ts";
import { findBrokenIndexes } from "../postgres/index-health.ts";
import { loadMigrations, migrationId } from "../postgres/migration-files.ts";
import { readHistory } from "../postgres/migration-history.ts";
import { planUp } from "../postgres/migration-plan.ts";
import type { Pool } from "../postgres/pool.ts";

/**
 * Checks that every migration of this build is in effect, with the indexes it made, and none that it cannot run on.
 * @returns the id of the newest migration in effect: `025_gateway_objects`
 * @throws FulaError FULA_SCHEMA_BEHIND, FULA_INDEX_BROKEN, FULA_SCHEMA_NEWER, FULA_MIGRATION_CHANGED, FULA_MIGRATION_MISSING
 */
export async function assertSchemaCurrent(pool: Pool): Promise<string> {
  const migrations = await loadMigrations();
  const client = await pool.connect();
  let broken = true;
  try {
    const history = (await readHistory(client)) ?? [];
    const indexes = await findBrokenIndexes(client, migrations, history);
    broken = false;
    const { pending } = planUp(migrations, history);
    if (pending.length > 0) {
      throw new FulaError(
        "FULA_SCHEMA_BEHIND",
        `The ledger's schema is behind this build: ${pending.map(migrationId).join(", ")} not applied.`,
        { hint: "fula-master migrate up", details: { pending: pending.map(migrationId) } },
      );
    }
    if (indexes.length > 0) {
      throw new FulaError(
        "FULA_INDEX_BROKEN",
        `The ledger lacks a unique index that billing rests on: ${indexes.map(({ index, state }) => `${index} is ${state}`).join(", ")}.`,
        { hint: "fula-master migrate up builds it again.", details: { indexes } },
      );
    }
    const newest = history.at(-1);
    return newest === undefined ? "none" : migrationId(newest);
  } finally {
    client.release(broken);
  }
}
