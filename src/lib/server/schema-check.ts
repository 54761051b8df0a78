import { FulaError } from "../kernel/errors.ts";
import { loadMigrations, migrationId } from "../postgres/migration-files.ts";
import { readHistory } from "../postgres/migration-history.ts";
import { planUp } from "../postgres/migration-plan.ts";
import type { Pool } from "../postgres/pool.ts";

/**
 * Checks that every migration of this build is in effect and none that it cannot run on.
 * @returns the id of the newest migration in effect: `025_gateway_objects`
 * @throws FulaError FULA_SCHEMA_BEHIND, FULA_SCHEMA_NEWER, FULA_MIGRATION_CHANGED, FULA_MIGRATION_MISSING
 */
export async function assertSchemaCurrent(pool: Pool): Promise<string> {
  const migrations = await loadMigrations();
  const client = await pool.connect();
  let broken = true;
  try {
    const history = (await readHistory(client)) ?? [];
    broken = false;
    const { pending } = planUp(migrations, history);
    if (pending.length > 0) {
      throw new FulaError(
        "FULA_SCHEMA_BEHIND",
        `The ledger's schema is behind this build: ${pending.map(migrationId).join(", ")} not applied.`,
        { hint: "fula-master migrate up", details: { pending: pending.map(migrationId) } },
      );
    }
    const newest = history.at(-1);
    return newest === undefined ? "none" : migrationId(newest);
  } finally {
    client.release(broken);
  }
}
