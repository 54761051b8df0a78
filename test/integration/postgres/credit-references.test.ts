import { expect, test } from "vitest";
import { migrateDown, migrateUp, planMigrateDown } from "../../../src/lib/postgres/migrator.ts";
import { emptyDatabase } from "../../support/postgres.ts";

test("031 and 032: reasons are not lost and corrections not unprotected without being told, unless forced", async () => {
  await using database = await emptyDatabase();
  const { pool } = database;
  await migrateUp(pool, { to: 32 });
  expect((await planMigrateDown(pool, { to: 30 })).losses).toEqual([]);
  await pool.query(
    "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ('ada', 'adjustment', 1, 1, 'adjustment:k')",
  );
  await pool.query("insert into credit_notes (entry_id, operator, reason) values (1, 'tester', 'a test')");
  expect((await planMigrateDown(pool, { to: 30 })).losses).toEqual([
    {
      migration: "032_credit_references",
      what: "protection against applying a correction twice (corrections of the last two hours)",
      rows: "1",
    },
    { migration: "031_credit_notes", what: "credit_notes: reasons and operators of corrections", rows: "1" },
  ]);
  await expect(migrateDown(pool, { to: 30 })).rejects.toMatchObject({ code: "FULA_MIGRATION_LOSES_DATA" });
  await migrateDown(pool, { to: 30, force: true });
  await migrateUp(pool, { to: 32 });
});

test("032 names the references of its own kind that are there twice, in whatever case, and leaves the fleet's free text alone", async () => {
  await using database = await emptyDatabase();
  const { pool } = database;
  await migrateUp(pool, { to: 31 });
  await pool.query(
    `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
     values ('ada', 'adjustment', 1, 1, 'system:x402:refund'), ('ada', 'adjustment', 1, 2, 'system:x402:refund'),
            ('ada', 'adjustment', 1, 3, 'adjustment:k'), ('ada', 'adjustment', 1, 4, 'adjustment:K')`,
  );
  await expect(migrateUp(pool, { to: 32 })).rejects.toMatchObject({
    code: "FULA_MIGRATION_ABORTED",
    message: expect.stringContaining("Duplicates: adjustment:k (rows 3, 4 of credit_history)."),
  });
  await pool.query("update credit_history set reference_id = 'duplicate-' || reference_id where id = 4");
  await migrateUp(pool, { to: 32 });
  await expect(
    pool.query(
      "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ('eve', 'adjustment', 1, 1, 'adjustment:K')",
    ),
  ).rejects.toMatchObject({ code: "23505", constraint: "idx_credit_history_own_reference" });
});
