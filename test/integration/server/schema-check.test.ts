import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { assertSchemaCurrent } from "../../../src/lib/server/schema-check.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const DEDUP_INDEX = "idx_credit_history_hourly_dedup";

let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

async function interruptBuild(): Promise<void> {
  const charge = `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
                  values ('u', 'hourly_deduction', -1, 0, 'hour:2026-11-20T03')`;
  const { pool } = database;
  await pool.query(`drop index ${DEDUP_INDEX}`);
  await pool.query(charge);
  await pool.query(charge);
  const build = `create unique index concurrently ${DEDUP_INDEX} on credit_history (user_id, reference_id)
                 where tx_type = 'hourly_deduction'`;
  await expect(pool.query(build)).rejects.toMatchObject({ code: "23505" });
  await pool.query("delete from credit_history where id = (select max(id) from credit_history)");
}

describe("the schema that serve starts on, and that /readyz asks for (defect 11)", () => {
  test("a schema with every migration and its indexes is current", async () => {
    await expect(assertSchemaCurrent(database.pool)).resolves.toMatch(/^\d{3}_/);
  });

  test("an INVALID index of an interrupted build is no current schema, although its migration is recorded", async () => {
    await interruptBuild();
    await expect(assertSchemaCurrent(database.pool)).rejects.toMatchObject({
      code: "FULA_INDEX_BROKEN",
      message: expect.stringContaining(`${DEDUP_INDEX} is invalid`),
    });
    await migrateUp(database.pool);
    await expect(assertSchemaCurrent(database.pool)).resolves.toMatch(/^\d{3}_/);
  });

  test("an index that somebody dropped is missed", async () => {
    await database.pool.query(`drop index ${DEDUP_INDEX}`);
    await expect(assertSchemaCurrent(database.pool)).rejects.toMatchObject({
      code: "FULA_INDEX_BROKEN",
      message: expect.stringContaining(`${DEDUP_INDEX} is missing`),
    });
  });
});
