import { migrationId } from "../postgres/migration-files.ts";
import { planMigrations } from "../postgres/migrator.ts";
import type { Pool } from "../postgres/pool.ts";

/** How the ledger's schema stands beside this build. */
export interface SchemaLook {
  /** Number of the highest migration that is in effect or will be; null for none. */
  readonly version: number | null;
  /** What `migrate up` would do, one line each; empty where the schema is current. */
  readonly toDo: readonly string[];
}

/** Looks at the schema and changes nothing. @throws FulaError what `planMigrations` throws */
export async function lookAtSchema(pool: Pool): Promise<SchemaLook> {
  const { applied, mended, version } = await planMigrations(pool);
  return {
    version,
    toDo: [
      ...applied.map((step) => `apply ${migrationId(step)}`),
      ...mended.map(({ index, state }) => `build index ${index} again (it is ${state})`),
    ],
  };
}
