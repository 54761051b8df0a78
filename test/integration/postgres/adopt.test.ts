import { beforeAll, describe, expect, test } from "vitest";
import { adopt, type AdoptOptions, planAdopt } from "../../../src/lib/postgres/adopt.ts";
import { migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { migrationStatus } from "../../../src/lib/postgres/migration-status.ts";
import { type ColumnContent, describeCatalog, readContents } from "../../support/catalog.ts";
import { DOUBLE_CHARGE, FLEET_STEPS, fleetDatabase, fleetDatabaseWithInvalidIndex } from "../../support/fleet.ts";
import { asSuperuser, emptyDatabase, freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const NO_BACKUP: AdoptOptions = { backup: null };
/** What the web UI makes by itself; a database that we made has none of it. */
const RUNTIME_TABLES = ["share_manifests", "collab_manifests"];
const BASELINE = [
  "001_pinning",
  "005_web_accounts",
  "007_x402",
  "008_admin_audit",
  "014_credits",
  "016_blocked_cids",
  "017_referrals",
];

let expectedCatalog: readonly string[];

beforeAll(async () => {
  await using database = await freshDatabase();
  expectedCatalog = await describeCatalog(database.pool);
});

/** Every column that was there is there, with the same rows and the same values, money to the last digit. */
function expectNothingLost(
  before: ReadonlyMap<string, ColumnContent>,
  after: ReadonlyMap<string, ColumnContent>,
): void {
  for (const [column, content] of before) expect([column, after.get(column)]).toEqual([column, content]);
}

async function adoptAndCompare(database: TestDatabase): Promise<Awaited<ReturnType<typeof adopt>>> {
  const before = await readContents(database.pool);
  const report = await adopt(database.pool, NO_BACKUP);
  const after = await readContents(database.pool);
  expectNothingLost(before, after);
  expect(await describeCatalog(database.pool, RUNTIME_TABLES)).toEqual(expectedCatalog);
  expect(await migrationStatus(database.pool)).toMatchObject({ upToDate: true });
  return report;
}

describe("the fixture of the fleet", () => {
  test("has rows in every table, and at least as many columns as the contract names", async () => {
    await using database = await fleetDatabase();
    const contents = await readContents(database.pool);
    expect(contents.size).toBeGreaterThan(190);
    expect([...contents].filter(([, { rows }]) => rows === "0").map(([column]) => column)).toEqual([]);
  });

  test("comes to the same catalog at 017 as our own migrations up to 017", async () => {
    await using fleet = await fleetDatabase();
    await using ours = await emptyDatabase();
    await migrateUp(ours.pool, { to: 17 });
    expect(await describeCatalog(fleet.pool, RUNTIME_TABLES)).toEqual(
      await describeCatalog(ours.pool, ["schema_migrations"]),
    );
  });
});

describe("adopting a fleet's database", () => {
  test("at 017: nothing is lost, and it becomes what an empty database becomes", async () => {
    await using database = await fleetDatabase();
    const report = await adoptAndCompare(database);
    expect(report).toMatchObject({ alreadyOurs: false, adopted: BASELINE, backup: null, version: expect.any(Number) });
    expect(report.applied[0]).toMatchObject({ name: "service_role" });
  });

  test("at 018, and at 020: what is in effect is recorded and not run again", async () => {
    await using at018 = await fleetDatabase(...FLEET_STEPS["018"]);
    expect((await adoptAndCompare(at018)).adopted).toEqual([...BASELINE, "018_hourly_dedup_index"]);
    await using at020 = await fleetDatabase(...FLEET_STEPS["018"], ...FLEET_STEPS["019"], ...FLEET_STEPS["020"]);
    const report = await adoptAndCompare(at020);
    expect(report.adopted.slice(-3)).toEqual([
      "018_hourly_dedup_index",
      "019_wallet_address_nullable",
      "020_bucket_roots",
    ]);
    expect((await at020.pool.query("select how from schema_migrations where version = 20")).rows).toEqual([
      { how: "adopted" },
    ]);
  });

  test("with 019 applied by hand and 018 left out: the gap is filled", async () => {
    await using database = await fleetDatabase(...FLEET_STEPS["019"]);
    const report = await adoptAndCompare(database);
    expect(report.adopted).toEqual([...BASELINE, "019_wallet_address_nullable"]);
    expect(report.applied.map(({ name }) => name)).toContain("hourly_dedup_index");
  });

  test("with an INVALID 018 index: it is not taken for done, but built again", async () => {
    await using database = await fleetDatabaseWithInvalidIndex();
    expect((await planAdopt(database.pool, NO_BACKUP)).mended).toEqual([
      { index: "idx_credit_history_hourly_dedup", migration: "018_hourly_dedup_index", state: "invalid" },
    ]);
    expect((await adoptAndCompare(database)).adopted).toEqual(BASELINE);
  });

  test("money is taken over as the decimal that was shown, not as float4::numeric would cut it", async () => {
    await using database = await fleetDatabase();
    await adopt(database.pool, NO_BACKUP);
    const { rows } = await database.pool.query(
      "select trim_scale(balance_fula)::text as balance, trim_scale(total_bonus_received_fula)::text as bonus from user_credits where user_id is not null order by id",
    );
    expect(rows).toEqual([
      { balance: "1000000.06", bonus: "0.1" },
      { balance: "-0.0416667", bonus: "16777216" },
    ]);
    // Control: the plain cast keeps six digits.
    expect((await database.pool.query("select '1000000.06'::real::numeric::text as cut")).rows).toEqual([
      { cut: "1000000" },
    ]);
  });

  test("a second time says already so, and a run that was cut after recording goes on", async () => {
    await using database = await fleetDatabase();
    await adopt(database.pool, NO_BACKUP);
    expect(await adopt(database.pool, NO_BACKUP)).toMatchObject({
      alreadyOurs: true,
      adopted: [],
      applied: [],
      backup: null,
    });
    // A view on a column that 021 has to change stops the run half-way.
    await using cut = await fleetDatabase("create view shown as select amount_fula from credit_history");
    await expect(adopt(cut.pool, NO_BACKUP)).rejects.toMatchObject({
      code: "FULA_MIGRATION_FAILED",
      details: { failed: "021_exact_ledger", applied: expect.arrayContaining(["018_hourly_dedup_index"]) },
    });
    await cut.pool.query("drop view shown");
    await adoptAndCompare(cut);
  });

  test("a dry run says what would be done and writes nothing", async () => {
    await using database = await fleetDatabase();
    const before = [await describeCatalog(database.pool), await readContents(database.pool)];
    const plan = await planAdopt(database.pool, NO_BACKUP);
    expect(plan).toMatchObject({ dryRun: true, alreadyOurs: false, adopted: BASELINE, blockers: [], backup: null });
    expect([await describeCatalog(database.pool), await readContents(database.pool)]).toEqual(before);
  });
});

describe("what adopt refuses, with nothing changed", () => {
  async function expectRefused(database: TestDatabase, expected: object): Promise<void> {
    const before = await describeCatalog(database.pool);
    await expect(adopt(database.pool, NO_BACKUP)).rejects.toMatchObject({ kind: "refused", ...expected });
    expect(await describeCatalog(database.pool)).toEqual(before);
  }

  test("an empty database", async () => {
    await using database = await emptyDatabase();
    await expectRefused(database, { code: "FULA_ADOPT_EMPTY", hint: expect.stringContaining("migrate up") });
  });

  test("an unrelated database", async () => {
    await using database = await emptyDatabase();
    await database.pool.query("create table orders (id bigint primary key)");
    await expectRefused(database, { code: "FULA_DATABASE_FOREIGN", message: expect.stringContaining("public.orders") });
  });

  test("a fleet's database before 017, with the list of what it lacks", async () => {
    await using database = await fleetDatabase(
      "drop table referral_bonuses",
      "alter table user_credits drop column total_bonus_received_fula",
      "drop index idx_referrals_referred_id_unique",
    );
    await expectRefused(database, {
      code: "FULA_ADOPT_INCOMPLETE",
      message: expect.stringMatching(/lacks 20 thing\(s\).*column user_credits\.total_bonus_received_fula real/),
      details: {
        missing: expect.arrayContaining([
          { migration: "014_credits", part: "column user_credits.total_bonus_received_fula real" },
          { migration: "017_referrals", part: "unique index idx_referrals_referred_id_unique" },
          { migration: "017_referrals", part: "column referral_bonuses.level integer" },
        ]),
      },
    });
  });

  test("a column of another type, an index that is not unique, a bucket_roots of another shape", async () => {
    await using database = await fleetDatabase(
      "alter table pins alter column size type numeric",
      "drop index idx_user_credits_user_id_unique",
      "create index idx_user_credits_user_id_unique on user_credits (user_id)",
      "create table bucket_roots (owner_id text, bucket text, root_cid text)",
    );
    await expect(adopt(database.pool, NO_BACKUP)).rejects.toMatchObject({
      code: "FULA_ADOPT_INCOMPLETE",
      details: {
        missing: [
          { migration: "001_pinning", part: "column pins.size bigint" },
          { migration: "014_credits", part: "unique index idx_user_credits_user_id_unique" },
          { migration: "020_bucket_roots", part: "column bucket_roots.version bigint" },
          { migration: "020_bucket_roots", part: "column bucket_roots.updated_at timestamp with time zone" },
          { migration: "020_bucket_roots", part: "primary key bucket_roots_pkey" },
        ],
      },
    });
  });

  test("amounts that are no money", async () => {
    await using database = await fleetDatabase(
      "insert into credit_history (tx_type, amount_fula, balance_after) values ('adjustment', 'nan', 1e30)",
    );
    await expectRefused(database, {
      code: "FULA_MIGRATION_ABORTED",
      message: expect.stringMatching(
        /2 amount\(s\) are no amounts of money\. Found: credit_history\.amount_fula of row \d+ is NaN; credit_history\.balance_after of row \d+ is 1e\+30\./,
      ),
    });
  });

  test("duplicates, all of them at once, before anything is recorded or dumped", async () => {
    await using database = await fleetDatabase(
      DOUBLE_CHARGE,
      "insert into users (username, password_hash) values ('ada@example.org', 'x')",
      "insert into credit_history (tx_type, amount_fula, balance_after, reference_id) values ('deposit', 5, 110, '8453:0xAA')",
      "update user_wallets set is_verified = 1 where wallet_address = '0xGrace'",
    );
    const plan = await planAdopt(database.pool, NO_BACKUP);
    expect(plan.blockers.map(({ migration }) => migration)).toEqual([
      "018_hourly_dedup_index",
      "023_unique_keys",
      "026_wallet_owners",
    ]);
    await expectRefused(database, {
      code: "FULA_MIGRATION_ABORTED",
      message: expect.stringMatching(
        /Migration 018 aborted: 1 user\(s\) were charged more than once.*deposit 8453:0xaa \(rows \d+, \d+ of credit_history\).*users\.username ada@example\.org \(rows 1, 5\).*Migration 026 aborted: 1 wallet/,
      ),
    });
    expect((await database.pool.query("select to_regclass('schema_migrations') as history")).rows).toEqual([
      { history: null },
    ]);
  });

  test("tables of another owner, who is named", async () => {
    await using database = await fleetDatabase();
    await asSuperuser("alter table pins owner to postgres", database.name);
    await expect(adopt(database.pool, NO_BACKUP)).rejects.toMatchObject({
      code: "FULA_DATABASE_PERMISSION",
      message: expect.stringContaining("pins belongs to postgres"),
    });
  });

  test("migrate up on a database that was not adopted points to adopt", async () => {
    await using database = await fleetDatabase();
    await expect(migrateUp(database.pool)).rejects.toMatchObject({
      code: "FULA_ADOPT_NEEDED",
      kind: "refused",
      hint: expect.stringContaining("migrate adopt"),
    });
    expect(await migrationStatus(database.pool)).toMatchObject({ database: "adoptable", upToDate: false });
  });
});
