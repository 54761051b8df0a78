import { join } from "node:path";
import { loadConfig, type LoadedConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import type { BackupOptions } from "../postgres/adopt.ts";
import { parseDatabaseUrl } from "../postgres/database-url.ts";
import { createPool, type Pool } from "../postgres/pool.ts";
import { withLedger } from "./ledger.ts";

/** What opening the database to migrate needs: the run's context, and the URL of another database than the ledger. */
export interface MigrationDatabaseContext extends PathsContext {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const PART = "migrate";

function urlPool(url: string, loaded: LoadedConfig, env: PathsContext["env"]): Pool {
  const options = parseDatabaseUrl(url);
  // As with psql: a password in the URL shows in the list of processes, one in PGPASSWORD does not.
  const password = options.password ?? env["PGPASSWORD"];
  return createPool({
    ...options,
    ...(password === undefined ? {} : { password }),
    // Whoever names a database means that one.
    ledgerEpoch: "unchecked",
    part: PART,
    node: loaded.config.node.name,
    max: 2,
  });
}

/**
 * Opens the database that is to be migrated for the time of `use`: the one `url` names, else the ledger.
 * @throws FulaError FULA_DATABASE_URL, what `loadConfig` and `withLedger` throw, and what `use` throws
 */
export async function withMigrationDatabase<T>(
  context: MigrationDatabaseContext,
  url: string | undefined,
  use: (pool: Pool, loaded: LoadedConfig) => Promise<T>,
): Promise<T> {
  const loaded = await loadConfig(context);
  if (url === undefined) {
    const deps = { clock: context.clock, signal: context.signal, part: PART };
    return await withLedger(loaded, deps, async (pool) => await use(pool, loaded));
  }
  const pool = urlPool(url, loaded, context.env);
  try {
    return await use(pool, loaded);
  } finally {
    await pool.end();
  }
}

/** Where `migrate adopt` puts its dump, `<base dir>/backups`, and where it looks for pg_dump. */
export function backupOptions({ config, paths }: LoadedConfig, env: PathsContext["env"]): BackupOptions {
  const { binDir } = config.postgres;
  return { dir: join(paths.baseDir, "backups"), binDirs: binDir === null ? [] : [binDir], path: env["PATH"] ?? "" };
}
