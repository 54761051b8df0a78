import { describe, expect, test } from "vitest";
import { adopt } from "../../../src/lib/postgres/adopt.ts";
import { loadMigrations, migrationId } from "../../../src/lib/postgres/migration-files.ts";
import { migrateDown, migrateUp, planMigrateDown } from "../../../src/lib/postgres/migrator.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { describeCatalog } from "../../support/catalog.ts";
import { DOUBLE_CHARGE, fleetDatabase } from "../../support/fleet.ts";
import { emptyDatabase, freshDatabase, testPostgres, type TestDatabase } from "../../support/postgres.ts";

async function catalogOf(database: TestDatabase): Promise<readonly string[]> {
  return await describeCatalog(database.pool, ["schema_migrations"]);
}

describe("every migration of this build", () => {
  test("is undone by its down file to the catalog before it, and can be applied again", async () => {
    await using database = await emptyDatabase();
    const before = new Map<number, readonly string[]>();
    const migrations = await loadMigrations();
    for (const { version } of migrations) {
      before.set(version, await catalogOf(database));
      await migrateUp(database.pool, { to: version });
    }
    const newest = await catalogOf(database);
    for (const migration of migrations.filter(({ version }) => version > 0).toReversed()) {
      await migrateDown(database.pool);
      expect([migrationId(migration), await catalogOf(database)]).toEqual([
        migrationId(migration),
        before.get(migration.version),
      ]);
    }
    await migrateUp(database.pool);
    expect(await catalogOf(database)).toEqual(newest);
  });

  test("leaves no money in a float and no id in 32 bits", async () => {
    await using database = await freshDatabase();
    const { rows } = await database.pool.query<{ name: string }>(
      `select format('%s.%s', c.relname, a.attname) as name
         from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
          and (a.atttypid in ('real'::regtype, 'double precision'::regtype)
               or a.atttypid = 'integer'::regtype and (a.attname = 'id' or a.attname like '%\\_id'))
        order by 1`,
    );
    expect(rows.map(({ name }) => name)).toEqual([
      // Chain ids are numbers of the chains' own (EIP-155) and stay as the fleet's scanner compares them.
      "chain_blocks.chain_id",
      "chain_sync_state.chain_id",
      "token_transactions.chain_id",
      "user_wallets.chain_id",
      "users.pool_id",
      "x402_ephemeral_objects.size_mb",
      "x402_payment_logs.size_mb",
    ]);
  });

  test("takes the lock of each table before it rewrites the first row", async () => {
    for (const { version, up } of await loadMigrations()) {
      if (version !== 21 && version !== 22) continue;
      const words = up.statements.map(({ text }) => text.split(/\s/, 2).join(" "));
      expect(words[0]).toBe("lock table");
      expect(words.indexOf("alter table")).toBeGreaterThan(0);
    }
  });
});

describe("018", () => {
  test("is aborted by a double charge, names it, and makes no index", async () => {
    await using database = await emptyDatabase();
    await migrateUp(database.pool, { to: 17 });
    await database.pool.query(
      "insert into credit_history (tx_type, amount_fula, balance_after, reference_id, user_id) values ('hourly_deduction', -1, 0, 'hour:2026-06-12T14', 'ada'), ('hourly_deduction', -1, 0, 'hour:2026-06-12T14', 'ada')",
    );
    await expect(migrateUp(database.pool)).rejects.toMatchObject({
      code: "FULA_MIGRATION_ABORTED",
      message:
        "Migration 018 aborted: 1 user(s) were charged more than once for one hour. Duplicates: ada hour:2026-06-12T14 (2 rows). Nothing was applied before it.",
    });
    const { rows } = await database.pool.query(
      "select to_regclass('idx_credit_history_hourly_dedup') as index, max(version) as version from schema_migrations",
    );
    expect(rows).toEqual([{ index: null, version: 17 }]);
  });

  test("going down is refused while somebody bills with it", async () => {
    await using database = await emptyDatabase();
    await migrateUp(database.pool, { to: 18 });
    expect((await planMigrateDown(database.pool)).losses).toEqual([]);
    await database.pool.query(
      "insert into credit_history (tx_type, amount_fula, balance_after, reference_id, user_id) values ('hourly_deduction', -1, 0, 'hour:2026-06-12T14', 'ada')",
    );
    await expect(migrateDown(database.pool)).rejects.toMatchObject({ code: "FULA_MIGRATION_LOSES_DATA" });
    expect(await migrateDown(database.pool, { force: true })).toMatchObject({ version: 17 });
  });
});

describe("019 and 020", () => {
  test("019 is not reverted while a wallet has no plain address, not even by force", async () => {
    await using database = await emptyDatabase();
    await migrateUp(database.pool, { to: 19 });
    await database.pool.query("insert into user_wallets (chain_id) values (1)");
    await expect(migrateDown(database.pool, { force: true })).rejects.toMatchObject({
      code: "FULA_MIGRATION_ABORTED",
      message: expect.stringContaining("Revert 019 aborted: 1 wallet(s) have no plain address."),
    });
  });

  test("020 is not dropped with roots in it, unless forced", async () => {
    await using database = await emptyDatabase();
    await migrateUp(database.pool, { to: 20 });
    await database.pool.query("insert into bucket_roots (owner_id, bucket, root_cid) values ('o', 'b', 'c')");
    await expect(migrateDown(database.pool)).rejects.toMatchObject({
      code: "FULA_MIGRATION_LOSES_DATA",
      message: "Going down would lose bucket_roots: roots of buckets: 1 (020_bucket_roots). Nothing was changed.",
    });
    expect(await migrateDown(database.pool, { force: true })).toMatchObject({ version: 19 });
  });
});

describe("021 and 022", () => {
  test("going down names the rows that float4 would round, and refuses ids that int4 cannot hold even by force", async () => {
    await using database = await emptyDatabase();
    await migrateUp(database.pool, { to: 21 });
    await database.pool.query(
      "insert into user_credits (user_id, balance_fula) values ('exact', 0.5), ('rounded', 0.123456789012345678)",
    );
    await database.pool.query(
      "insert into token_transactions (tx_hash, chain_id, log_index, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp) values ('0xa', 1, 7, '', '', '', 1, 1, 1)",
    );
    expect((await planMigrateDown(database.pool)).losses).toEqual([
      { migration: "021_exact_ledger", what: "user_credits: rows with amounts that would be rounded", rows: "1" },
      { migration: "021_exact_ledger", what: "token_transactions: rows whose log_index would be dropped", rows: "1" },
    ]);
    await database.pool.query("insert into credit_history (id, amount_fula, balance_after) values (2147483648, 1, 1)");
    await expect(migrateDown(database.pool, { force: true })).rejects.toMatchObject({
      code: "FULA_MIGRATION_ABORTED",
      message: expect.stringContaining("credit_history (2147483648)"),
    });
  });

  test("every finite float4 keeps its shortest decimal up to 18 places", async () => {
    await using database = await fleetDatabase();
    const { rows: sent } = await database.pool.query<{ text: string }>(
      `insert into credit_history (amount_fula, balance_after, reference_id, tx_type)
       select x, x, 'probe', 'adjustment'
         from (select (setseed(0.5)) is null) as seeded,
              lateral (select (random() * 2 - 1)::real * (10 ^ (random() * 16 - 7))::real as x from generate_series(1, 2000)) as numbers
       returning amount_fula::text as text`,
    );
    await adopt(database.pool, { backup: null });
    const { rows: kept } = await database.pool.query<{ text: string; back: string }>(
      "select trim_scale(amount_fula)::text as text, amount_fula::real::text as back from credit_history where reference_id = 'probe' order by id",
    );
    const { rows: wanted } = await database.pool.query<{ text: string }>(
      "select trim_scale(round(t::numeric, 18))::text as text from unnest($1::text[]) with ordinality as list (t, n) order by n",
      [sent.map(({ text }) => text)],
    );
    expect(kept.map(({ text }) => text)).toEqual(wanted.map(({ text }) => text));
    expect(kept.map(({ back }) => back)).toEqual(sent.map(({ text }) => text));
  });
});

test("a duplicate that comes after adoption's look is caught by the index itself, and the database stays consistent", async () => {
  await using database = await fleetDatabase();
  await adopt(database.pool, { backup: null });
  await expect(database.pool.query(DOUBLE_CHARGE)).rejects.toMatchObject({
    code: "23505",
    constraint: "idx_credit_history_hourly_dedup",
  });
});

test("the role of the services is made without a password and cannot log in, and gets what it needs in this database", async () => {
  await using database = await emptyDatabase();
  const admin = createPool({ ...database.options, ...testPostgres().superuser });
  try {
    await migrateUp(admin);
    const { rows } = await admin.query(
      `select rolcanlogin as login, rolpassword is null as no_password,
              has_table_privilege('pinning_user', 'pins', 'insert') as writes,
              has_sequence_privilege('pinning_user', 'pins_id_seq', 'usage') as counts,
              has_table_privilege('pinning_user', 'pins', 'truncate') as truncates
         from pg_authid where rolname = 'pinning_user'`,
    );
    expect(rows).toEqual([{ login: false, no_password: true, writes: true, counts: true, truncates: false }]);
  } finally {
    await admin.end();
  }
});

describe("040", () => {
  test("going down leaves no access key that was to end, and none that could not be opened", async () => {
    await using database = await emptyDatabase();
    await migrateUp(database.pool, { to: 40 });
    const insert = async (id: string, columns: string, values: string): Promise<void> => {
      await database.pool.query(
        `insert into access_keys (key_id, user_id, scopes, ${columns})
         values ('FULA' || rpad('${id}', 16, 'A'), repeat('0', 64), '{storage:read}', ${values})`,
      );
    };
    await insert("STAYS", "sealed_secret", "'s'");
    await insert("ENDS", "sealed_secret, expires_at", "'s', now() + interval '1 day'");
    await insert("WALLET", "sealed_secret, wallet", "'s', '0x' || repeat('a', 40)");
    await insert("HASH", "secret_hash", "sha256('s')");
    await expect(migrateDown(database.pool)).rejects.toMatchObject({ code: "FULA_MIGRATION_LOSES_DATA" });
    expect(await migrateDown(database.pool, { force: true })).toMatchObject({ version: 39 });
    const { rows } = await database.pool.query(
      "select key_id, revoked_at is null as in_force from access_keys order by key_id",
    );
    expect(rows).toEqual([
      { key_id: "FULAENDSAAAAAAAAAAAA", in_force: false },
      { key_id: "FULASTAYSAAAAAAAAAAA", in_force: true },
    ]);
  });
});
