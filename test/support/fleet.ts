import { readFileSync } from "node:fs";
import { join } from "node:path";
import { emptyDatabase, type TestDatabase } from "./postgres.ts";

const FIXTURES = join(import.meta.dirname, "..", "fixtures");

/** What the fleet's own 018 to 020 leave, as its installers run them; and what goes wrong with them. */
export const FLEET_STEPS = {
  "018": [
    "create unique index concurrently idx_credit_history_hourly_dedup on credit_history (user_id, reference_id) where tx_type = 'hourly_deduction'",
  ],
  "019": ["alter table user_wallets alter column wallet_address drop not null"],
  "020": [
    `create table if not exists bucket_roots (owner_id text not null, bucket text not null, root_cid text not null,
       version bigint not null default 1, updated_at timestamptz not null default current_timestamp,
       primary key (owner_id, bucket))`,
    "insert into bucket_roots (owner_id, bucket, root_cid, version) values ('o', 'b', 'bafyroot', 7)",
  ],
} as const;

/** One charge that is there twice, as a master without idempotency leaves it. */
export const DOUBLE_CHARGE =
  "insert into credit_history (tx_type, amount_fula, balance_after, reference_id, user_id) select tx_type, amount_fula, balance_after, reference_id, user_id from credit_history where tx_type = 'hourly_deduction' order by id limit 1";

/** A database of the existing fleet at 017, with rows in every table; then `statements`, one by one. */
export async function fleetDatabase(...statements: readonly string[]): Promise<TestDatabase> {
  const database = await emptyDatabase();
  try {
    await database.pool.query(readFileSync(join(FIXTURES, "fleet-017.sql"), "utf8"));
    for (const statement of statements) await database.pool.query(statement);
    return database;
  } catch (error) {
    await database.drop();
    throw error;
  }
}

/**
 * The same with 018 interrupted: a first build failed on a double charge, which was mended since; the index is there,
 * INVALID, and `create … if not exists` takes it for done.
 */
export async function fleetDatabaseWithInvalidIndex(): Promise<TestDatabase> {
  const database = await fleetDatabase(DOUBLE_CHARGE);
  await database.pool.query(FLEET_STEPS["018"][0]).then(
    () => {
      throw new Error("the build was to fail");
    },
    () => {},
  );
  await database.pool.query("delete from credit_history where id = (select max(id) from credit_history)");
  return database;
}
