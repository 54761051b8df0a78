import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import { migrationId } from "../postgres/migration-files.ts";
import { planMigrations } from "../postgres/migrator.ts";
import type { Pool } from "../postgres/pool.ts";
import { type Ledger, withLedger } from "./ledger.ts";

/** What the commands about the ledger take from their command. */
export interface BillingContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** As `Actor` has it. */
  readonly operator?: string;
}

/** @throws FulaError FULA_FEDERATION_NEEDED on a storage node */
function requireMaster({ config }: LoadedConfig): void {
  if (config.node.role === "master") return;
  throw new FulaError("FULA_FEDERATION_NEEDED", "This box is a storage node: it has no ledger.", {
    hint: "run the command on a master.",
  });
}

/** An index that is broken is for the command to tell; a table that is missing keeps it from telling anything. */
async function requireSchema(pool: Pool): Promise<void> {
  const { applied } = await planMigrations(pool);
  if (applied.length === 0) return;
  const pending = applied.map(migrationId);
  throw new FulaError(
    "FULA_SCHEMA_BEHIND",
    `The ledger's schema is behind this build: ${pending.join(", ")} not applied.`,
    {
      hint: "fula-master migrate up",
      details: { pending },
    },
  );
}

/**
 * Lends the ledger of this box, with the schema that billing needs, for the time of one callback.
 * @throws FulaError as `withMasterLedger`
 */
export async function withBillingLedger<T>(
  context: BillingContext,
  use: (pool: Pool, loaded: LoadedConfig, ledger: Pick<Ledger, "connection">) => Promise<T>,
): Promise<T> {
  return await withMasterLedger(context, "billing", use);
}

/**
 * Lends the ledger of this box, with the schema of this build, for the time of one callback.
 * @param part who asks, as it shows in pg_stat_activity
 * @throws FulaError FULA_FEDERATION_NEEDED on a storage node, FULA_SCHEMA_BEHIND, FULA_LEDGER_UNREADABLE for what the
 * database refuses, and what `withLedger` and `use` throw
 */
export async function withMasterLedger<T>(
  context: BillingContext,
  part: string,
  use: (pool: Pool, loaded: LoadedConfig, ledger: Pick<Ledger, "connection">) => Promise<T>,
): Promise<T> {
  const loaded = await loadConfig(context);
  requireMaster(loaded);
  const { clock, random, signal } = context;
  return await withLedger(loaded, { clock, random, signal, part }, async (pool, ledger) => {
    await requireSchema(pool);
    try {
      return await use(pool, loaded, ledger);
    } catch (error) {
      if (sqlStateOf(error) === null) throw error;
      throw new FulaError("FULA_LEDGER_UNREADABLE", `The ledger could not be read: ${messageOf(error)}.`, {
        hint: "fula-master doctor looks at the ledger, its schema and this role's rights.",
        cause: error,
      });
    }
  });
}
